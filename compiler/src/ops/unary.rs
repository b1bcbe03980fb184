//! Pointwise functions of one number: [`scalar::Unary`].

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar;

/// `unary[f] x`: each element by `f`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unary {
    pub f: scalar::Unary,
}

impl OpDef for Unary {
    const NAME: &'static str = "unary";
    const DOC: &'static str = "`unary[f] x`: each element by `f`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::word(self.f.name())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [f] = attrs else { return None };
        Some(Self { f: scalar::Unary::parse(f.as_word()?)? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        match self.f {
            scalar::Unary::Not => x.needs_elem(0, Elem::Bool)?,
            f if f.needs_float() => x.needs_float(0)?,
            _ => x.needs_number(0)?,
        }
        Ok(vec![x.clone()])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        Ok(vec![x.map(x.elem, |v| scalar::wrap(x.elem, self.f.eval(v)))])
    }
    fn class(&self) -> Class {
        Class::Pointwise
    }
}
