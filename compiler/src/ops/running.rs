//! A fold that leaves every partial result.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar::Fold;

/// `running[fold, t, how] x`: `y[t] = fold of x[0..=t]` (`inclusive`), or of `x[0..t]` (`exclusive`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Running {
    pub fold: Fold,
    pub over: Axis,
    /// Leaves the element itself out.
    pub exclusive: bool,
}

impl OpDef for Running {
    const NAME: &'static str = "running";
    const DOC: &'static str = "`running[fold, t, how] x`: `y[t] = fold of x[0..=t]` (`inclusive`), or of `x[0..t]` (`exclusive`).";

    fn attrs(&self) -> Vec<Attr> {
        let how = if self.exclusive { "exclusive" } else { "inclusive" };
        vec![Attr::word(self.fold.name()), Attr::Axis(self.over), Attr::word(how)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [fold, over, how] = attrs else { return None };
        let exclusive = match how.as_word()? {
            "exclusive" => true,
            "inclusive" => false,
            _ => return None,
        };
        Some(Self { fold: Fold::parse(fold.as_word()?)?, over: over.as_axis()?, exclusive })
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
        x.needs(0, self.over)?;
        Ok(vec![x.clone()])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0].with_last(&[self.over]);
        let row = x.extent(self.over).unwrap_or(0);
        let mut data = Vec::with_capacity(x.data.len());
        let mut sum = 0.0;
        for (i, v) in x.data.iter().enumerate() {
            if i % row == 0 {
                sum = self.fold.unit(x.elem);
            }
            let next = self.fold.step(x.elem, sum, *v);
            data.push(if self.exclusive { sum } else { next });
            sum = next;
        }
        Ok(vec![Tensor::new(x.elem, x.axes.clone(), data)])
    }
    fn class(&self) -> Class {
        Class::Reduce
    }
}
