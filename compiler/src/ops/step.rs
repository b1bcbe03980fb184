//! A leaf: where a loop stands.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `step`: in a loop's body: the index along the loop's axis, `i32[]`; it counts down in a reverse loop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step;

impl OpDef for Step {
    const NAME: &'static str = "step";
    const DOC: &'static str = "`step`: in a loop's body: the index along the loop's axis, `i32[]`; it counts down in a reverse loop.";

    fn attrs(&self) -> Vec<Attr> {
        Vec::new()
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        attrs.is_empty().then_some(Self)
    }
    fn arity(&self) -> Option<usize> {
        Some(0)
    }
    fn infer(&self, _: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::scalar(Elem::I32)])
    }
    fn eval(&self, env: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor::scalar(Elem::I32, env.step as f64)])
    }
    fn class(&self) -> Class {
        Class::Leaf
    }
}
