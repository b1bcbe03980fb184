//! A view: one axis becomes several.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use gatec_lang::Size;

/// `split[a, (b, c)] x`: `y[b, c, ..] = x[a = b * size(c) + c, ..]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Split {
    pub from: Axis,
    /// Outermost first.
    pub to: Vec<Axis>,
}

impl OpDef for Split {
    const NAME: &'static str = "split";
    const DOC: &'static str = "`split[a, (b, c)] x`: `y[b, c, ..] = x[a = b * size(c) + c, ..]`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.from), Attr::List(self.to.clone())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to] = attrs else { return None };
        Some(Self { from: from.as_axis()?, to: to.as_list()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs(0, self.from)?;
        let rest = x.over(x.axes.without(self.from));
        let mut axes = rest.axes.clone();
        let mut product = Size::known(1);
        for axis in &self.to {
            x.over(axes.clone()).lacks(0, *axis)?;
            axes = axes.with(*axis);
            product = product.checked_mul(sizes.require(*axis)?).ok_or("a size is too large")?;
        }
        let from = sizes.require(self.from)?;
        if *from != product {
            return Err(format!("axis {} has size {from}, the parts have {product}", self.from));
        }
        Ok(vec![x.over(axes)])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let mut axes = Vec::new();
        for (a, n) in &x.axes {
            if *a == self.from {
                for part in &self.to {
                    axes.push((*part, env.extent(*part)?));
                }
            } else {
                axes.push((*a, *n));
            }
        }
        Ok(vec![x.relabelled(axes)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
