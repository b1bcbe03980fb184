//! Selection: the largest elements of an axis.

use std::cmp::Ordering;

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `top_k[a, slot] x`: `i32[.., slot]`: indices along `a` of the largest elements, largest first, ties to the lower index, NaN last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopK {
    pub axis: Axis,
    /// Its size says how many.
    pub slot: Axis,
}

impl OpDef for TopK {
    const NAME: &'static str = "top_k";
    const DOC: &'static str = "`top_k[a, slot] x`: `i32[.., slot]`: indices along `a` of the largest elements, largest first, ties to the lower index, NaN last.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.axis), Attr::Axis(self.slot)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [axis, slot] = attrs else { return None };
        Some(Self { axis: axis.as_axis()?, slot: slot.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs_number(0)?;
        x.needs(0, self.axis)?;
        let rest = x.over(x.axes.without(self.axis));
        rest.lacks(0, self.slot)?;
        let (axis, slot) = (sizes.require(self.axis)?, sizes.require(self.slot)?);
        if axis.checked_sub(slot).and_then(|n| n.as_known()).is_some_and(|n| n < 0) {
            return Err(format!("axis {} has {axis} elements, axis {} asks for {slot}", self.axis, self.slot));
        }
        Ok(vec![Type::new(Elem::I32, rest.axes.with(self.slot))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0].with_last(&[self.axis]);
        let (n, k) = (env.extent(self.axis)?, env.extent(self.slot)?);
        if k > n {
            return Err(EvalError::TooFew { axis: self.axis, extent: n, wanted: k });
        }
        let mut axes = x.axes[..x.axes.len() - 1].to_vec();
        let rows: usize = axes.iter().map(|a| a.1).product();
        axes.push((self.slot, k));
        let mut data = Vec::with_capacity(rows * k);
        for r in 0..rows {
            let row = &x.data[r * n..(r + 1) * n];
            let mut order: Vec<usize> = (0..n).collect();
            // A stable sort keeps the lower index first among equals; -0 and 0 are equal.
            order.sort_by(|a, b| {
                let (a, b) = (row[*a], row[*b]);
                a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
            });
            data.extend(order[..k].iter().map(|i| *i as f64));
        }
        Ok(vec![Tensor::new(Elem::I32, axes, data)])
    }
    fn class(&self) -> Class {
        Class::Select
    }
}
