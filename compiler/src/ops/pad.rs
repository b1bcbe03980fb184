//! A view: an axis made longer at its ends.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use gatec_lang::Size;
use gatec_lang::size::MAX_SIZE;

/// `pad[a, b, before, fill] x`: `y[b, ..] = x[a = b - before, ..]`; outside `fill`, or mirrored without the edge (`reflect`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pad {
    pub from: Axis,
    pub to: Axis,
    pub before: i64,
    pub fill: Fill,
}

impl OpDef for Pad {
    const NAME: &'static str = "pad";
    const DOC: &'static str = "`pad[a, b, before, fill] x`: `y[b, ..] = x[a = b - before, ..]`; outside `fill`, or mirrored without the edge (`reflect`).";

    fn attrs(&self) -> Vec<Attr> {
        let fill = match self.fill {
            Fill::Constant(bits) => Attr::Num(bits),
            Fill::Reflect => Attr::word("reflect"),
        };
        vec![Attr::Axis(self.from), Attr::Axis(self.to), Attr::Int(self.before), fill]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to, before, fill] = attrs else { return None };
        let fill = match fill {
            Attr::Num(bits) => Fill::Constant(*bits),
            Attr::Word(word) if word == "reflect" => Fill::Reflect,
            _ => return None,
        };
        Some(Self { from: from.as_axis()?, to: to.as_axis()?, before: before.as_int()?, fill })
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
        if !(0..=MAX_SIZE).contains(&self.before) {
            return Err(format!("cannot add {} elements", self.before));
        }
        let after = to.checked_sub(from).and_then(|n| n.checked_sub(&Size::known(self.before)));
        let after = after.ok_or("a size is too large")?;
        if after.as_known().is_some_and(|n| n < 0) {
            return Err(format!("axis {} of size {to} has no room for {} + {from} elements", self.to, self.before));
        }
        if let (Fill::Reflect, Some(n)) = (self.fill, from.as_known())
            && (self.before >= n.max(1) || after.as_known().is_some_and(|after| after >= n.max(1)))
        {
            return Err(format!("axis {} of size {n} is too short to mirror", self.from));
        }
        Ok(vec![rest.over(rest.axes.with(self.to))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (from, to) = (env.extent(self.from)?, env.extent(self.to)?);
        let n = from as i64;
        let place = |i: usize| {
            let i = i as i64 - self.before;
            Ok(match self.fill {
                _ if (0..n).contains(&i) => Some(i as usize),
                Fill::Constant(_) => None,
                Fill::Reflect => {
                    let mirrored = if i < 0 { -i } else { 2 * (n - 1) - i };
                    Some(env.check_index(self.from, mirrored as f64)?)
                }
            })
        };
        let fill = match self.fill {
            Fill::Constant(bits) => f64::from_bits(bits),
            Fill::Reflect => 0.0,
        };
        Ok(vec![operands[0].moved(self.from, self.to, to, fill, place)?])
    }
    fn class(&self) -> Class {
        Class::View
    }
}

/// What stands beyond the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fill {
    /// Bits of a number.
    Constant(u64),
    /// Mirrored without repeating the edge; needs an axis longer than what is added on either side.
    Reflect,
}
