//! Reductions and running folds.

use gatec_lang::Size;
use gatec_lang::program::{Reduce, Running};

use super::Problem;
use super::frame::Frame;
use crate::graph::{Axis, AxisSet, Value};
use crate::ops;
use crate::scalar::{Binary, Extreme, Fold, Unary};

/// The fold of a reduction that is nothing else.
fn fold_of(with: Reduce) -> Result<Fold, Problem> {
    Ok(match with {
        Reduce::Sum => Fold::Sum,
        Reduce::Prod => Fold::Prod,
        Reduce::Max => Fold::Max,
        Reduce::Min => Fold::Min,
        Reduce::Any => Fold::Any,
        Reduce::All => Fold::All,
        Reduce::Mean | Reduce::Argmax | Reduce::Argmin => {
            return Err(Problem::new(format!("{with:?} is no plain fold")));
        }
    })
}

impl Frame<'_, '_> {
    pub(super) fn reduce(&mut self, with: Reduce, over: &[Axis], x: Value) -> Result<Value, Problem> {
        match with {
            Reduce::Mean => self.mean(over.iter().copied().collect(), x),
            Reduce::Argmax => self.arg_reduce(Extreme::Max, over, x),
            Reduce::Argmin => self.arg_reduce(Extreme::Min, over, x),
            with => self.fold(fold_of(with)?, over.iter().copied().collect(), x),
        }
    }

    pub(super) fn fold(&mut self, fold: Fold, over: AxisSet, x: Value) -> Result<Value, Problem> {
        Ok(self.build.try_add(ops::Reduce { fold, over }, &[x])?)
    }

    /// The sum times one over the number of elements.
    pub(super) fn mean(&mut self, over: AxisSet, x: Value) -> Result<Value, Problem> {
        let elem = self.build.ty(x).elem;
        let (mut known, mut factors) = (1.0, Vec::new());
        for axis in over.iter() {
            match self.build.sizes.known(axis) {
                Some(n) => known *= n as f64,
                None => {
                    let size = self.size_of(axis, elem)?;
                    factors.push(self.unary(Unary::Recip, size)?);
                }
            }
        }
        let sum = self.fold(Fold::Sum, over, x)?;
        factors.extend([sum, self.number_like(x, 1.0 / known)?]);
        self.mul(&factors)
    }

    /// The mean is the sum by the number of elements, or by 1 where there is none.
    pub(super) fn segment(
        &mut self,
        with: Reduce,
        (from, to): (Axis, Axis),
        x: Value,
        index: Value,
    ) -> Result<Value, Problem> {
        let fold = if with == Reduce::Mean { Fold::Sum } else { fold_of(with)? };
        let folded = self.build.try_add(ops::Segment { fold, from, to }, &[x, index])?;
        if with != Reduce::Mean {
            return Ok(folded);
        }
        let one = self.number_like(x, 1.0)?;
        let ones = self.build.try_add(ops::Broadcast { over: from.into() }, &[one])?;
        let count = self.build.try_add(ops::Segment { fold, from, to }, &[ones, index])?;
        let count = self.binary(Binary::Max, count, one)?;
        let by = self.unary(Unary::Recip, count)?;
        self.mul(&[folded, by])
    }

    /// Several axes count as one, outermost first.
    fn arg_reduce(&mut self, which: Extreme, over: &[Axis], x: Value) -> Result<Value, Problem> {
        if let [over] = over {
            return Ok(self.build.try_add(ops::ArgReduce { which, over: *over }, &[x])?);
        }
        let mut size = Size::known(1);
        for axis in over {
            let factor = self.build.sizes.require(*axis).map_err(Problem::new)?;
            size = size.checked_mul(factor).ok_or_else(|| Problem::new("a size is too large"))?;
        }
        let merged = self.build.sizes.fresh("all", size);
        let x = self.build.try_add(ops::Merge { from: over.to_vec(), to: merged }, &[x])?;
        Ok(self.build.try_add(ops::ArgReduce { which, over: merged }, &[x])?)
    }

    pub(super) fn running(&mut self, with: Running, over: Axis, exclusive: bool, x: Value) -> Result<Value, Problem> {
        let fold = match with {
            Running::Sum => Fold::Sum,
            Running::Prod => Fold::Prod,
            Running::Max => Fold::Max,
        };
        Ok(self.build.try_add(ops::Running { fold, over, exclusive }, &[x])?)
    }
}
