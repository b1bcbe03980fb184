//! A leaf: a number.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef, bits};

/// `const[x]`: a scalar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Const {
    pub elem: Elem,
    /// Bits of an f64, one NaN only: [`Const::new`].
    pub bits: u64,
}

impl OpDef for Const {
    const NAME: &'static str = "const";
    const DOC: &'static str = "`const[x]`: a scalar.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Num(self.bits)]
    }
    fn parse(attrs: &[Attr], types: &[Type]) -> Option<Self> {
        let ([x], [ty]) = (attrs, types) else { return None };
        ty.axes.is_empty().then_some(Self { elem: ty.elem, bits: x.as_num()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(0)
    }
    fn infer(&self, _: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
        Ok(vec![Type::scalar(self.elem)])
    }
    fn eval(&self, _: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor::scalar(self.elem, self.value())])
    }
    fn class(&self) -> Class {
        Class::Leaf
    }
}

impl Const {
    pub fn new(elem: Elem, x: f64) -> Self {
        Self { elem, bits: bits(x) }
    }
    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}
