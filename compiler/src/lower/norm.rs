//! Normalisations, as compositions of reductions and pointwise ops.

use super::Problem;
use super::frame::Frame;
use gatec_lang::program::Reduce;

use crate::graph::{Axis, AxisSet, Value};
use crate::ops;
use crate::scalar::{Binary, Fold, Unary};

impl Frame<'_, '_> {
    /// `exp(x - max) * (1 / sum of exp(x - max))`: one division for each row instead of one for each element.
    pub(super) fn softmax(&mut self, over: AxisSet, x: Value) -> Result<Value, Problem> {
        let max = self.fold(Fold::Max, over.clone(), x)?;
        let shifted = self.binary(Binary::Sub, x, max)?;
        let exp = self.unary(Unary::Exp, shifted)?;
        let sum = self.fold(Fold::Sum, over, exp)?;
        let scale = self.unary(Unary::Recip, sum)?;
        self.mul(&[exp, scale])
    }

    /// [`Self::softmax`] over the elements of a segment: each looks up the maximum and the scale of its own.
    pub(super) fn segment_softmax(
        &mut self,
        (from, to): (Axis, Axis),
        x: Value,
        index: Value,
    ) -> Result<Value, Problem> {
        let max = self.segment(Reduce::Max, (from, to), x, index)?;
        let max = self.build.try_add(ops::Gather::new(to), &[max, index])?;
        let shifted = self.binary(Binary::Sub, x, max)?;
        let exp = self.unary(Unary::Exp, shifted)?;
        let sum = self.segment(Reduce::Sum, (from, to), exp, index)?;
        let scale = self.unary(Unary::Recip, sum)?;
        let scale = self.build.try_add(ops::Gather::new(to), &[scale, index])?;
        self.mul(&[exp, scale])
    }

    /// `log(sum of exp(x - m)) + m`, where `m` is the maximum, or 0 where that is infinite: `inf - inf` has no value.
    pub(super) fn logsumexp(&mut self, over: AxisSet, x: Value) -> Result<Value, Problem> {
        let max = self.fold(Fold::Max, over.clone(), x)?;
        let size = self.unary(Unary::Abs, max)?;
        let infinity = self.number_like(x, f64::INFINITY)?;
        let is_infinite = self.binary(Binary::Eq, size, infinity)?;
        let zero = self.number_like(x, 0.0)?;
        let max = self.build.try_add(ops::Select, &[is_infinite, zero, max])?;
        let shifted = self.binary(Binary::Sub, x, max)?;
        let exp = self.unary(Unary::Exp, shifted)?;
        let sum = self.fold(Fold::Sum, over, exp)?;
        let log = self.unary(Unary::Log, sum)?;
        self.add(&[log, max])
    }

    /// `x * rsqrt(mean(x^2) + eps) * scale`
    pub(super) fn rmsnorm(
        &mut self,
        over: AxisSet,
        x: Value,
        scale: Option<Value>,
        eps: f64,
    ) -> Result<Value, Problem> {
        let by = self.one_over_deviation(over, x, eps)?;
        let factors: Vec<Value> = [x, by].into_iter().chain(scale).collect();
        self.mul(&factors)
    }

    /// `(x - mean) * rsqrt(mean((x - mean)^2) + eps) * scale + shift`
    pub(super) fn layernorm(
        &mut self,
        over: AxisSet,
        x: Value,
        (scale, shift): (Option<Value>, Option<Value>),
        eps: f64,
    ) -> Result<Value, Problem> {
        let mean = self.mean(over.clone(), x)?;
        let centred = self.binary(Binary::Sub, x, mean)?;
        let by = self.one_over_deviation(over, centred, eps)?;
        let factors: Vec<Value> = [centred, by].into_iter().chain(scale).collect();
        let y = self.mul(&factors)?;
        match shift {
            Some(shift) => self.add(&[y, shift]),
            None => Ok(y),
        }
    }

    fn one_over_deviation(&mut self, over: AxisSet, x: Value, eps: f64) -> Result<Value, Problem> {
        let square = self.mul(&[x, x])?;
        let mean = self.mean(over, square)?;
        let mean = self.plus(mean, eps)?;
        self.unary(Unary::Rsqrt, mean)
    }
}
