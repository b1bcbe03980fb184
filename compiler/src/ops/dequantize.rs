//! A view: weights of few bits, in blocks that share a scale, as the numbers that they stand for.

use gatec_lang::Size;

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::{Tensor, extents, walk};
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `dequantize[d, b, n] q, s`: `y[d, ..] = q[d, ..] * s[b = d / n, ..]` in `f32`; `q` is of `i8`, and `n` neighbours along `d` share a scale. `dequantize[d, b, n, c] q, s`: `q[c, ..]` is of `u8` and holds two values, `q % 16 - 8` of `d = 2 c` and `q / 16 - 8` of the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dequantize {
    pub axis: Axis,
    /// The axis of the blocks, which the scales have in its place; the last block may be shorter.
    pub block: Axis,
    /// Elements of a block.
    pub size: i64,
    /// Two values stand in each byte along this axis.
    pub bytes: Option<Axis>,
}

impl Dequantize {
    /// What is taken from half a byte: it holds -8 to 7.
    pub const ZERO: f64 = 8.0;

    /// Is `pieces` an axis, of `n` elements, cut into pieces of `by`, the last one perhaps shorter?
    fn check_pieces(sizes: &Sizes, axis: (Axis, i64), pieces: Axis, by: i64) -> Result<(), String> {
        let want = Size::known((axis.1 + by - 1) / by);
        match sizes.require(pieces)? {
            n if *n == want => Ok(()),
            n => Err(format!(
                "axis {pieces} has size {n}; axis {} of size {} makes {want} of {by} elements",
                axis.0, axis.1
            )),
        }
    }
}

impl OpDef for Dequantize {
    const NAME: &'static str = "dequantize";
    const DOC: &'static str = "`dequantize[d, b, n] q, s`: `y[d, ..] = q[d, ..] * s[b = d / n, ..]` in `f32`; `q` is of `i8`, and `n` neighbours along `d` share a scale. `dequantize[d, b, n, c] q, s`: `q[c, ..]` is of `u8` and holds two values, `q % 16 - 8` of `d = 2 c` and `q / 16 - 8` of the next.";

    fn attrs(&self) -> Vec<Attr> {
        let bytes = self.bytes.map(Attr::Axis);
        [Attr::Axis(self.axis), Attr::Axis(self.block), Attr::Int(self.size)].into_iter().chain(bytes).collect()
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let (axis, block, size, bytes) = match attrs {
            [axis, block, size] => (axis, block, size, None),
            [axis, block, size, bytes] => (axis, block, size, Some(bytes.as_axis()?)),
            _ => return None,
        };
        Some(Self { axis: axis.as_axis()?, block: block.as_axis()?, size: size.as_int()?, bytes })
    }
    fn arity(&self) -> Option<usize> {
        Some(2)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let [q, scale] = operands else { return Err("takes 2 operands".into()) };
        let elem = if self.bytes.is_some() { Elem::U8 } else { Elem::I8 };
        if q.elem != elem {
            return Err(format!("operand 0 ({q}) is not of {elem}"));
        }
        if !matches!(scale.elem, Elem::F16 | Elem::Bf16 | Elem::F32) {
            return Err(format!("operand 1 ({scale}) is not of f16, bf16 or f32"));
        }
        if self.size < 1 || self.bytes.is_some() && self.size % 2 != 0 {
            return Err(format!("blocks of {} elements", self.size));
        }
        q.needs(0, self.bytes.unwrap_or(self.axis))?;
        scale.needs(1, self.block)?;
        let rest = q.over(q.axes.without(self.bytes.unwrap_or(self.axis)));
        rest.lacks(0, self.axis)?;
        rest.lacks(0, self.block)?;
        if let Some(axis) = scale.axes.without(self.block).minus(&rest.axes).iter().next() {
            return Err(format!("operand 1 ({scale}) has axis {axis}, operand 0 ({q}) has none"));
        }
        let Some(n) = sizes.require(self.axis)?.as_known() else {
            return Err(format!("axis {} has no size when building", self.axis));
        };
        Self::check_pieces(sizes, (self.axis, n), self.block, self.size)?;
        if let Some(bytes) = self.bytes {
            Self::check_pieces(sizes, (self.axis, n), bytes, 2)?;
        }
        Ok(vec![Type::new(Elem::F32, rest.axes.with(self.axis))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (q, scale) = (operands[0], operands[1]);
        let stored = self.bytes.unwrap_or(self.axis);
        let mut axes: Vec<(Axis, usize)> = q.axes.iter().copied().filter(|a| a.0 != stored).collect();
        let rest = axes.clone();
        axes.push((self.axis, env.extent(self.axis)?));
        let (of_q, of_scale) = (q.strides_along(&rest), scale.strides_along(&rest));
        let along = [q.strides_along(&[(stored, 0)])[0], scale.strides_along(&[(self.block, 0)])[0]];
        let mut data = Vec::with_capacity(axes.iter().map(|a| a.1).product());
        walk(&extents(&rest), [&of_q, &of_scale], |[q_at, scale_at]| {
            for i in 0..axes[axes.len() - 1].1 {
                let value = match self.bytes {
                    None => q.data[q_at + i * along[0]],
                    Some(_) => {
                        let byte = q.data[q_at + i / 2 * along[0]];
                        let half = if i % 2 == 0 { byte.rem_euclid(16.0) } else { (byte / 16.0).floor() };
                        half - Self::ZERO
                    }
                };
                data.push(value * scale.data[scale_at + i / self.size as usize * along[1]]);
            }
        });
        Ok(vec![Tensor::new(Elem::F32, axes, data)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
