//! A view: operands along a new axis.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `stack[a] x, y`: `z[a = 0, ..] = x[..]`, `z[a = 1, ..] = y[..]`; all types are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stack {
    pub axis: Axis,
}

impl OpDef for Stack {
    const NAME: &'static str = "stack";
    const DOC: &'static str = "`stack[a] x, y`: `z[a = 0, ..] = x[..]`, `z[a = 1, ..] = y[..]`; all types are equal.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.axis)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [axis] = attrs else { return None };
        Some(Self { axis: axis.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        None
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let first = operands.first().ok_or("takes at least one operand")?;
        for (i, x) in operands.iter().enumerate() {
            x.lacks(i, self.axis)?;
            if x != first {
                return Err(format!("operand {i} ({x}) and operand 0 ({first}) differ"));
            }
        }
        let size = sizes.require(self.axis)?;
        if size.as_known() != i64::try_from(operands.len()).ok() {
            return Err(format!("axis {} has size {size} for {} operands", self.axis, operands.len()));
        }
        Ok(vec![first.over(first.axes.with(self.axis))])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let first = operands[0];
        let order: Vec<Axis> = first.axes.iter().map(|a| a.0).collect();
        let data = operands.iter().flat_map(|x| x.ordered(&order).data.to_vec()).collect();
        let mut axes = vec![(self.axis, operands.len())];
        axes.extend(&first.axes);
        Ok(vec![Tensor::new(first.elem, axes, data)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
