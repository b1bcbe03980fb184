//! A leaf: a small constant tensor.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, AxisSet, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `table[(a, b), [x, ..]]`: constant values, outermost axis first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    pub elem: Elem,
    pub order: Vec<Axis>,
    /// Bits of each value.
    pub values: Vec<u64>,
}

impl OpDef for Table {
    const NAME: &'static str = "table";
    const DOC: &'static str = "`table[(a, b), [x, ..]]`: constant values, outermost axis first.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::List(self.order.clone()), Attr::Nums(self.values.clone())]
    }
    fn parse(attrs: &[Attr], types: &[Type]) -> Option<Self> {
        let ([order, values], [ty]) = (attrs, types) else { return None };
        Some(Self { elem: ty.elem, order: order.as_list()?, values: values.as_nums()?.to_vec() })
    }
    fn arity(&self) -> Option<usize> {
        Some(0)
    }
    fn infer(&self, sizes: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
        let axes: AxisSet = self.order.iter().copied().collect();
        if axes.len() != self.order.len() {
            return Err("an axis occurs twice".into());
        }
        let mut count: i64 = 1;
        for axis in &self.order {
            let n = sizes.require(*axis)?.as_known().ok_or_else(|| format!("the size of axis {axis} is not known"))?;
            count = count.checked_mul(n).ok_or("too many values")?;
        }
        if usize::try_from(count).ok() != Some(self.values.len()) {
            return Err(format!("{} values for {count} elements", self.values.len()));
        }
        Ok(vec![Type::new(self.elem, axes)])
    }
    fn eval(&self, env: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let axes = self.order.iter().map(|a| Ok((*a, env.extent(*a)?))).collect::<Result<_, EvalError>>()?;
        Ok(vec![Tensor::new(self.elem, axes, self.values.iter().map(|x| f64::from_bits(*x)).collect())])
    }
    fn class(&self) -> Class {
        Class::Leaf
    }
}
