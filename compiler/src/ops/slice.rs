//! A view: a range of an axis.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use gatec_lang::Size;
use gatec_lang::size::MAX_SIZE;

/// `slice[a, b, start] x`: `y[b, ..] = x[a = start + b, ..]`; from `last`, the last elements of `a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    pub from: Axis,
    pub to: Axis,
    pub start: Start,
}

/// Where a slice begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    At(i64),
    /// So that it ends where the axis does.
    Last,
}

impl OpDef for Slice {
    const NAME: &'static str = "slice";
    const DOC: &'static str = "`slice[a, b, start] x`: `y[b, ..] = x[a = start + b, ..]`; from `last`, the last elements of `a`.";

    fn attrs(&self) -> Vec<Attr> {
        let start = match self.start {
            Start::At(start) => Attr::Int(start),
            Start::Last => Attr::word("last"),
        };
        vec![Attr::Axis(self.from), Attr::Axis(self.to), start]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to, start] = attrs else { return None };
        let start = match start.as_word() {
            Some("last") => Start::Last,
            _ => Start::At(start.as_int()?),
        };
        Some(Self { from: from.as_axis()?, to: to.as_axis()?, start })
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
        let start = match self.start {
            Start::At(start) => start,
            Start::Last => 0,
        };
        if !(0..=MAX_SIZE).contains(&start) {
            return Err(format!("cannot start at {start}"));
        }
        let left = from.checked_sub(to).and_then(|n| n.checked_sub(&Size::known(start)));
        if left.and_then(|n| n.as_known()).is_some_and(|n| n < 0) {
            return Err(format!("{to} elements from {start} on leave axis {} of size {from}", self.from));
        }
        Ok(vec![rest.over(rest.axes.with(self.to))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (from, to) = (env.extent(self.from)?, env.extent(self.to)?);
        let start = match self.start {
            Start::At(start) => start,
            Start::Last => from as i64 - to as i64,
        };
        if to > 0 {
            env.check_index(self.from, start as f64)?;
            env.check_index(self.from, (start + to as i64 - 1) as f64)?;
        }
        let place = |i: usize| Ok(Some(start as usize + i).filter(|i| *i < from));
        Ok(vec![operands[0].moved(self.from, self.to, to, 0.0, place)?])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
