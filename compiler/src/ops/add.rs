//! The pointwise sum of any number of operands; they may stand in any order.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar::Binary;

/// `add a, b, ..`: the sum of the operands; axes broadcast by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Add;

impl OpDef for Add {
    const NAME: &'static str = "add";
    const DOC: &'static str = "`add a, b, ..`: the sum of the operands; axes broadcast by name.";

    fn attrs(&self) -> Vec<Attr> {
        Vec::new()
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        attrs.is_empty().then_some(Self)
    }
    fn arity(&self) -> Option<usize> {
        None
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let ty = Type::broadcast(operands)?;
        ty.needs_number(0)?;
        Ok(vec![ty])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let mut result = operands[0].clone();
        for x in &operands[1..] {
            result = Tensor::zip(x.elem, [&result, x], |[a, b]| Binary::Add.eval(x.elem, a, b));
        }
        Ok(vec![result])
    }
    fn class(&self) -> Class {
        Class::Pointwise
    }
}
