//! A leaf: the numbers of an axis.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `index[t]`: `i32[t]`: 0, 1, 2, ...
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index {
    pub axis: Axis,
}

impl OpDef for Index {
    const NAME: &'static str = "index";
    const DOC: &'static str = "`index[t]`: `i32[t]`: 0, 1, 2, ...";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.axis)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [axis] = attrs else { return None };
        Some(Self { axis: axis.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(0)
    }
    fn infer(&self, sizes: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
        sizes.require(self.axis)?;
        Ok(vec![Type::new(Elem::I32, self.axis.into())])
    }
    fn eval(&self, env: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor::from_fn(Elem::I32, vec![(self.axis, env.extent(self.axis)?)], |i| i as f64)])
    }
    fn class(&self) -> Class {
        Class::Leaf
    }
}
