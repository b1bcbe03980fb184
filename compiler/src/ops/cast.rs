//! Pointwise change of the element type.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar;

/// `cast[e] x`: float to integer truncates toward zero and saturates, NaN is 0; integers wrap; to `bool`: is not 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cast {
    pub to: Elem,
}

impl OpDef for Cast {
    const NAME: &'static str = "cast";
    const DOC: &'static str = "`cast[e] x`: float to integer truncates toward zero and saturates, NaN is 0; integers wrap; to `bool`: is not 0.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Elem(self.to)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [to] = attrs else { return None };
        Some(Self { to: to.as_elem()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![operands[0].of(self.to)])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        Ok(vec![x.map(self.to, |v| scalar::cast(x.elem, self.to, v))])
    }
    fn class(&self) -> Class {
        Class::Pointwise
    }
}
