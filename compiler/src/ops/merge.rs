//! A view: several axes become one.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, AxisSet, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use gatec_lang::Size;

/// `merge[(a, b), c] x`: `y[c = a * size(b) + b, ..] = x[a, b, ..]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Merge {
    /// Outermost first.
    pub from: Vec<Axis>,
    pub to: Axis,
}

impl OpDef for Merge {
    const NAME: &'static str = "merge";
    const DOC: &'static str = "`merge[(a, b), c] x`: `y[c = a * size(b) + b, ..] = x[a, b, ..]`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::List(self.from.clone()), Attr::Axis(self.to)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to] = attrs else { return None };
        Some(Self { from: from.as_list()?, to: to.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        let from: AxisSet = self.from.iter().copied().collect();
        if from.len() != self.from.len() {
            return Err("an axis occurs twice".into());
        }
        let mut product = Size::known(1);
        for axis in &self.from {
            x.needs(0, *axis)?;
            product = product.checked_mul(sizes.require(*axis)?).ok_or("a size is too large")?;
        }
        let rest = x.over(x.axes.minus(&from));
        rest.lacks(0, self.to)?;
        let to = sizes.require(self.to)?;
        if *to != product {
            return Err(format!("axis {} has size {to}, the parts have {product}", self.to));
        }
        Ok(vec![rest.over(rest.axes.with(self.to))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0].with_last(&self.from);
        let mut axes = x.axes[..x.axes.len() - self.from.len()].to_vec();
        axes.push((self.to, env.extent(self.to)?));
        Ok(vec![x.relabelled(axes)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
