//! A view: one element of an axis, at an index that is known when building.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `pick[a, i] x`: `y[..] = x[a = i, ..]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pick {
    pub axis: Axis,
    pub index: i64,
}

impl OpDef for Pick {
    const NAME: &'static str = "pick";
    const DOC: &'static str = "`pick[a, i] x`: `y[..] = x[a = i, ..]`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.axis), Attr::Int(self.index)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [axis, index] = attrs else { return None };
        Some(Self { axis: axis.as_axis()?, index: index.as_int()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs(0, self.axis)?;
        let size = sizes.require(self.axis)?;
        if self.index < 0 || size.as_known().is_some_and(|n| self.index >= n) {
            return Err(format!("index {} is outside axis {} of size {size}", self.index, self.axis));
        }
        Ok(vec![x.over(x.axes.without(self.axis))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let index = env.check_index(self.axis, self.index as f64)?;
        Ok(vec![operands[0].at(self.axis, index)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
