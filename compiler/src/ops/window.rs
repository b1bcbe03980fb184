//! A view: what a convolution sees at each place.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// The largest stride, dilation and pad: products with extents stay inside `i64`.
const MAX_STEP: i64 = 1 << 12;

/// `window[a, b, tap, stride, dilation, pad] x`: `y[b, tap, ..] = x[a = b * stride + tap * dilation - pad, ..]`, 0 outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    pub from: Axis,
    pub to: Axis,
    pub tap: Axis,
    pub stride: i64,
    pub dilation: i64,
    pub pad: i64,
}

impl OpDef for Window {
    const NAME: &'static str = "window";
    const DOC: &'static str = "`window[a, b, tap, stride, dilation, pad] x`: `y[b, tap, ..] = x[a = b * stride + tap * dilation - pad, ..]`, 0 outside.";

    fn attrs(&self) -> Vec<Attr> {
        let Self { from, to, tap, stride, dilation, pad } = *self;
        vec![Attr::Axis(from), Attr::Axis(to), Attr::Axis(tap), Attr::Int(stride), Attr::Int(dilation), Attr::Int(pad)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to, tap, stride, dilation, pad] = attrs else { return None };
        let (from, to, tap) = (from.as_axis()?, to.as_axis()?, tap.as_axis()?);
        Some(Self { from, to, tap, stride: stride.as_int()?, dilation: dilation.as_int()?, pad: pad.as_int()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs(0, self.from)?;
        let limits = [(self.stride, 1), (self.dilation, 1), (self.pad, 0)];
        if limits.iter().any(|(n, least)| !(*least..=MAX_STEP).contains(n)) {
            return Err(format!("stride and dilation are at least 1, pad at least 0, none above {MAX_STEP}"));
        }
        let rest = x.over(x.axes.without(self.from));
        rest.lacks(0, self.to)?;
        rest.lacks(0, self.tap)?;
        if self.to == self.tap {
            return Err(format!("axis {} occurs twice", self.to));
        }
        sizes.require(self.to)?;
        sizes.require(self.tap)?;
        Ok(vec![rest.over(rest.axes.with(self.to).with(self.tap))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0].with_last(&[self.from]);
        let (from, to, taps) = (env.extent(self.from)?, env.extent(self.to)?, env.extent(self.tap)?);
        let mut axes = x.axes[..x.axes.len() - 1].to_vec();
        let rows: usize = axes.iter().map(|a| a.1).product();
        axes.extend([(self.to, to), (self.tap, taps)]);
        let mut data = Vec::with_capacity(rows * to * taps);
        for row in 0..rows {
            for i in 0..to {
                for tap in 0..taps {
                    let at = i as i64 * self.stride + tap as i64 * self.dilation - self.pad;
                    let at = usize::try_from(at).ok().filter(|at| *at < from);
                    data.push(at.map_or(0.0, |at| x.data[row * from + at]));
                }
            }
        }
        Ok(vec![Tensor::new(x.elem, axes, data)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
