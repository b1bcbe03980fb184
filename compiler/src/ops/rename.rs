//! A view: another name for an axis.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `rename[a, b] x`: `y[b, ..] = x[a, ..]`; both axes have one size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rename {
    pub from: Axis,
    pub to: Axis,
}

impl OpDef for Rename {
    const NAME: &'static str = "rename";
    const DOC: &'static str = "`rename[a, b] x`: `y[b, ..] = x[a, ..]`; both axes have one size.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.from), Attr::Axis(self.to)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [from, to] = attrs else { return None };
        Some(Self { from: from.as_axis()?, to: to.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs(0, self.from)?;
        if self.to != self.from {
            x.lacks(0, self.to)?;
        }
        let (from, to) = (sizes.require(self.from)?, sizes.require(self.to)?);
        if from != to {
            return Err(format!("axis {} has size {from}, axis {} has size {to}", self.from, self.to));
        }
        Ok(vec![x.over(x.axes.without(self.from).with(self.to))])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let axes = x.axes.iter().map(|(a, n)| (if *a == self.from { self.to } else { *a }, *n)).collect();
        Ok(vec![x.relabelled(axes)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
