//! A view: a range of an axis.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use gatec_lang::Size;
use gatec_lang::size::MAX_SIZE;

/// `slice[a, b, start] x`: `y[b, ..] = x[a = start + b, ..]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    pub from: Axis,
    pub to: Axis,
    pub start: i64,
}

impl OpDef for Slice {
    const NAME: &'static str = "slice";
    const DOC: &'static str = "`slice[a, b, start] x`: `y[b, ..] = x[a = start + b, ..]`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.from), Attr::Axis(self.to), Attr::Int(self.start)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to, start] = attrs else { return None };
        Some(Self { from: from.as_axis()?, to: to.as_axis()?, start: start.as_int()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs(0, self.from)?;
        let rest = x.over(x.axes.without(self.from));
        rest.lacks(0, self.to)?;
        let (from, to) = (sizes.require(self.from)?, sizes.require(self.to)?);
        if !(0..=MAX_SIZE).contains(&self.start) {
            return Err(format!("cannot start at {}", self.start));
        }
        let left = from.checked_sub(to).and_then(|n| n.checked_sub(&Size::known(self.start)));
        if left.and_then(|n| n.as_known()).is_some_and(|n| n < 0) {
            return Err(format!("{to} elements from {} on leave axis {} of size {from}", self.start, self.from));
        }
        Ok(vec![rest.over(rest.axes.with(self.to))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (from, to) = (env.extent(self.from)?, env.extent(self.to)?);
        if to > 0 {
            env.check_index(self.from, (self.start + to as i64 - 1) as f64)?;
        }
        let place = |i: usize| Ok(Some(self.start as usize + i).filter(|i| *i < from));
        Ok(vec![operands[0].moved(self.from, self.to, to, 0.0, place)?])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
