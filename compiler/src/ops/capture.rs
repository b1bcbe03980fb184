//! A leaf: in a loop's body: capture operand `i`, the same in every iteration.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `capture[i]`: in a loop's body: capture operand `i`, the same in every iteration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capture {
    pub index: u32,
    pub ty: Type,
}

impl OpDef for Capture {
    const NAME: &'static str = "capture";
    const DOC: &'static str = "`capture[i]`: in a loop's body: capture operand `i`, the same in every iteration.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Int(i64::from(self.index))]
    }
    fn parse(attrs: &[Attr], types: &[Type]) -> Option<Self> {
        let ([index], [ty]) = (attrs, types) else { return None };
        Some(Self { index: index.as_count()?, ty: ty.clone() })
    }
    fn arity(&self) -> Option<usize> {
        Some(0)
    }
    fn infer(&self, sizes: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
        self.ty.is_sized(sizes)?;
        Ok(vec![self.ty.clone()])
    }
    fn eval(&self, env: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![env.leaf(Self::NAME, env.captures, self.index, &self.ty)?])
    }
    fn class(&self) -> Class {
        Class::Leaf
    }
}
