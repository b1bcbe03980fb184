//! Where an extreme element stands.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar::Extreme;

/// `arg_reduce[which, k] x`: `i32`: the index along `k` of the first extreme element; NaN never wins, and 0 if nothing does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgReduce {
    pub which: Extreme,
    pub over: Axis,
}

impl OpDef for ArgReduce {
    const NAME: &'static str = "arg_reduce";
    const DOC: &'static str = "`arg_reduce[which, k] x`: `i32`: the index along `k` of the first extreme element; NaN never wins, and 0 if nothing does.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::word(self.which.name()), Attr::Axis(self.over)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [which, over] = attrs else { return None };
        Some(Self { which: Extreme::parse(which.as_word()?)?, over: over.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        x.needs_number(0)?;
        x.needs(0, self.over)?;
        Ok(vec![Type::new(Elem::I32, x.axes.without(self.over))])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0].with_last(&[self.over]);
        let rest = x.axes[..x.axes.len() - 1].to_vec();
        let row = x.extent(self.over).unwrap_or(0);
        let wins = |v: f64, best: f64| match self.which {
            Extreme::Max => v > best,
            Extreme::Min => v < best,
        };
        let first = |i: usize| {
            let row = &x.data[i * row..(i + 1) * row];
            let mut best: Option<(usize, f64)> = None;
            for (at, v) in row.iter().enumerate() {
                if !v.is_nan() && best.is_none_or(|(_, b)| wins(*v, b)) {
                    best = Some((at, *v));
                }
            }
            best.map_or(0, |b| b.0) as f64
        };
        Ok(vec![Tensor::from_fn(Elem::I32, rest, first)])
    }
    fn class(&self) -> Class {
        Class::Reduce
    }
}
