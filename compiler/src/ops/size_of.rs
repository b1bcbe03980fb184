//! A leaf: the size of an axis as a number.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `size_of[t]`: a scalar; for sizes that are bound when a model runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeOf {
    pub axis: Axis,
    pub elem: Elem,
}

impl OpDef for SizeOf {
    const NAME: &'static str = "size_of";
    const DOC: &'static str = "`size_of[t]`: a scalar; for sizes that are bound when a model runs.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.axis)]
    }
    fn parse(attrs: &[Attr], types: &[Type]) -> Option<Self> {
        let ([axis], [ty]) = (attrs, types) else { return None };
        ty.axes.is_empty().then_some(Self { axis: axis.as_axis()?, elem: ty.elem })
    }
    fn arity(&self) -> Option<usize> {
        Some(0)
    }
    fn infer(&self, sizes: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
        sizes.require(self.axis)?;
        Ok(vec![Type::scalar(self.elem)])
    }
    fn eval(&self, env: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor::scalar(self.elem, env.extent(self.axis)? as f64)])
    }
    fn class(&self) -> Class {
        Class::Leaf
    }
}
