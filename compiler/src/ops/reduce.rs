//! Folds over axes.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, AxisSet, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar::Fold;

/// `reduce[fold, k] x`: `y[..] = fold over k of x[.., k]`, the unit of `fold` over an empty axis. The order of the fold is free.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reduce {
    pub fold: Fold,
    pub over: AxisSet,
}

impl OpDef for Reduce {
    const NAME: &'static str = "reduce";
    const DOC: &'static str = "`reduce[fold, k] x`: `y[..] = fold over k of x[.., k]`, the unit of `fold` over an empty axis. The order of the fold is free.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::word(self.fold.name()), Attr::Axes(self.over.clone())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [fold, over] = attrs else { return None };
        Some(Self { fold: Fold::parse(fold.as_word()?)?, over: over.as_axes()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(1)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let x = operands[0];
        if self.fold.is_logical() {
            x.needs_elem(0, Elem::Bool)?;
        } else {
            x.needs_number(0)?;
        }
        self.over.iter().try_for_each(|a| x.needs(0, a))?;
        Ok(vec![x.over(x.axes.minus(&self.over))])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let over: Vec<Axis> = self.over.iter().collect();
        let x = operands[0].with_last(&over);
        let rest = x.axes[..x.axes.len() - over.len()].to_vec();
        let row: usize = x.axes[rest.len()..].iter().map(|a| a.1).product();
        let unit = self.fold.unit(x.elem);
        let folded = |i: usize| x.data[i * row..(i + 1) * row].iter().fold(unit, |y, v| self.fold.step(x.elem, y, *v));
        Ok(vec![Tensor::from_fn(x.elem, rest, folded)])
    }
    fn class(&self) -> Class {
        Class::Reduce
    }
}
