//! A view: an axis moved, with a fill.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `shift[t, by, fill] x`: `y[t, ..] = x[t + by, ..]`, `fill` where that is outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shift {
    pub axis: Axis,
    pub by: i64,
    /// Bits of the fill.
    pub fill: u64,
}

impl OpDef for Shift {
    const NAME: &'static str = "shift";
    const DOC: &'static str = "`shift[t, by, fill] x`: `y[t, ..] = x[t + by, ..]`, `fill` where that is outside.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.axis), Attr::Int(self.by), Attr::Num(self.fill)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [axis, by, fill] = attrs else { return None };
        Some(Self { axis: axis.as_axis()?, by: by.as_int()?, fill: fill.as_num()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        operands[0].needs(0, self.axis)?;
        Ok(vec![operands[0].clone()])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let n = env.extent(self.axis)?;
        let place = |i: usize| Ok((i as i64).checked_add(self.by).and_then(|i| usize::try_from(i).ok()).filter(|i| *i < n));
        Ok(vec![operands[0].moved(self.axis, self.axis, n, f64::from_bits(self.fill), place)?])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
