//! Pointwise choice.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `select cond, then, otherwise`: `then` where `cond` holds, else `otherwise`; axes broadcast by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Select;

impl OpDef for Select {
    const NAME: &'static str = "select";
    const DOC: &'static str = "`select cond, then, otherwise`: `then` where `cond` holds, else `otherwise`; axes broadcast by name.";

    fn attrs(&self) -> Vec<Attr> {
        Vec::new()
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        attrs.is_empty().then_some(Self)
    }
    fn arity(&self) -> Option<usize> {
        Some(3)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let [cond, then, otherwise] = operands else { return Err("takes 3 operands".into()) };
        cond.needs_elem(0, Elem::Bool)?;
        otherwise.needs_elem(2, then.elem)?;
        Ok(vec![then.over(cond.axes.union(&then.axes).union(&otherwise.axes))])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let operands = [operands[0], operands[1], operands[2]];
        Ok(vec![Tensor::zip(operands[1].elem, operands, |[cond, a, b]| if cond != 0.0 { a } else { b })])
    }
    fn class(&self) -> Class {
        Class::Pointwise
    }
}
