//! A view: operands one after the other.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use gatec_lang::Size;

/// `concat[a, (b, c)] x, y`: along `a` first `x` over its `b`, then `y` over its `c`; all other axes are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Concat {
    pub to: Axis,
    /// The axis of each operand.
    pub axes: Vec<Axis>,
}

impl OpDef for Concat {
    const NAME: &'static str = "concat";
    const DOC: &'static str = "`concat[a, (b, c)] x, y`: along `a` first `x` over its `b`, then `y` over its `c`; all other axes are equal.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axis(self.to), Attr::List(self.axes.clone())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [to, axes] = attrs else { return None };
        Some(Self { to: to.as_axis()?, axes: axes.as_list()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(self.axes.len())
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let (Some(first), Some(along)) = (operands.first(), self.axes.first()) else {
            return Err("takes at least one operand".into());
        };
        let rest = first.over(first.axes.without(*along));
        let mut sum = Size::known(0);
        for (i, (x, axis)) in operands.iter().zip(&self.axes).enumerate() {
            x.needs_elem(i, first.elem)?;
            x.needs(i, *axis)?;
            if x.axes.without(*axis) != rest.axes {
                return Err(format!("operand {i} ({x}) and operand 0 ({first}) differ in other axes"));
            }
            sum = sum.checked_add(sizes.require(*axis)?).ok_or("a size is too large")?;
        }
        rest.lacks(0, self.to)?;
        let to = sizes.require(self.to)?;
        if *to != sum {
            return Err(format!("axis {} has size {to}, the operands together {sum}", self.to));
        }
        Ok(vec![rest.over(rest.axes.with(self.to))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let first = operands[0];
        let rest: Vec<Axis> = first.axes.iter().map(|a| a.0).filter(|a| *a != self.axes[0]).collect();
        // With the axis in front, operands stand one after the other.
        let mut data = Vec::new();
        for (x, axis) in operands.iter().zip(&self.axes) {
            data.extend_from_slice(&x.ordered(&[&[*axis], rest.as_slice()].concat()).data);
        }
        let mut axes = vec![(self.to, env.extent(self.to)?)];
        axes.extend(first.axes.iter().filter(|a| a.0 != self.axes[0]));
        Ok(vec![Tensor::new(first.elem, axes, data)])
    }
    fn class(&self) -> Class {
        Class::View
    }
}
