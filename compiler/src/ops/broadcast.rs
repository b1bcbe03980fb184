//! A view: repeats a value along axes that it lacks.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{AxisSet, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `broadcast[a] x`: `y[a, ..] = x[..]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Broadcast {
    pub over: AxisSet,
}

impl OpDef for Broadcast {
    const NAME: &'static str = "broadcast";
    const DOC: &'static str = "`broadcast[a] x`: `y[a, ..] = x[..]`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axes(self.over.clone())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [over] = attrs else { return None };
        Some(Self { over: over.as_axes()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        for axis in self.over.iter() {
            sizes.require(axis)?;
            operands[0].lacks(0, axis)?;
        }
        Ok(vec![operands[0].over(operands[0].axes.union(&self.over))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let mut axes = env.axes(&self.over)?;
        axes.extend(&x.axes);
        let copies = self.over.iter().map(|a| env.extent(a)).product::<Result<usize, _>>()?;
        Ok(vec![Tensor::new(x.elem, axes, x.data.repeat(copies))])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
