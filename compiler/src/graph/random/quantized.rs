//! Steps with weights of few bits, in blocks that share a scale.

use gatec_lang::Size;

use super::Generator;
use crate::graph::{Axis, Elem, Value};
use crate::ops;

impl Generator<'_, '_> {
    /// A contraction with such weights, a choice of their rows, or they themselves.
    pub(super) fn quantized(&mut self) -> Option<Value> {
        let x = self.any();
        let (over, n) = self.known_axis(x)?;
        let out = self.build.sizes.fresh("out", Size::known(1 + self.rng.below(6) as i64));
        if !self.is_small(&self.build.ty(x).axes.with(out)) {
            return None;
        }
        let size = 2 + 2 * self.rng.below(4) as i64;
        let pieces = |by: i64| Size::known((n + by - 1) / by);
        let block = self.build.sizes.fresh("block", pieces(size));
        let bytes = self.rng.chance(50).then(|| self.build.sizes.fresh("byte", pieces(2)));
        let elem = if bytes.is_some() { Elem::U8 } else { Elem::I8 };
        let q = self.param_of(elem, vec![bytes.unwrap_or(over), out])?;
        let of: &[Axis] = if self.rng.chance(80) { &[block, out] } else { &[block] };
        let scales = *self.rng.pick(&[Elem::F16, Elem::Bf16, Elem::F32]);
        let scale = self.param_of(scales, of.to_vec())?;
        let w = self.build.add(ops::Dequantize { axis: over, block, size, bytes }, &[q, scale]);
        let y = match self.rng.below(4) {
            0 => {
                let order = self.some_axes(2);
                let index = self.input_over(Elem::I32, order)?;
                self.build.add(ops::Gather::new(out), &[w, index])
            }
            1 => self.build.add(ops::Add, &[x, w]),
            _ => self.build.contract(over.into(), x, w),
        };
        let y = self.tame(y);
        self.is_small(&self.build.ty(y).axes.clone()).then_some(y)
    }
}
