//! Folds over the elements that share an index.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::{Tensor, extents, walk};
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar::Fold;

/// `segment[fold, e, n] x, i`: `y[.., n] = fold over the e with i[.., e] = n of x[.., e]`, in the order of `e`; the unit of `fold` where there is none. An index outside `n` is an error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    pub fold: Fold,
    pub from: Axis,
    pub to: Axis,
}

impl OpDef for Segment {
    const NAME: &'static str = "segment";
    const DOC: &'static str = "`segment[fold, e, n] x, i`: `y[.., n] = fold over the e with i[.., e] = n of x[.., e]`, in the order of `e`; the unit of `fold` where there is none. An index outside `n` is an error.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::word(self.fold.name()), Attr::Axis(self.from), Attr::Axis(self.to)]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [fold, from, to] = attrs else { return None };
        Some(Self { fold: Fold::parse(fold.as_word()?)?, from: from.as_axis()?, to: to.as_axis()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(2)
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let [x, index] = operands else { return Err("takes 2 operands".into()) };
        if self.fold.is_logical() {
            x.needs_elem(0, Elem::Bool)?;
        } else {
            x.needs_number(0)?;
        }
        if index.elem.is_float() || index.elem == Elem::Bool {
            return Err(format!("operand 1 ({index}) is not of integers"));
        }
        sizes.require(self.to)?;
        for (number, operand) in operands.iter().enumerate() {
            operand.needs(number, self.from)?;
            if operand.axes.contains(self.to) {
                return Err(format!("operand {number} ({operand}) has axis {} of the segments", self.to));
            }
        }
        Ok(vec![x.over(x.axes.union(&index.axes).without(self.from).with(self.to))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (x, index) = (operands[0], operands[1]);
        let rest = |t: &Tensor| t.axes.iter().copied().filter(|a| a.0 != self.from).collect::<Vec<_>>();
        let mut over = rest(index);
        over.extend(rest(x).into_iter().filter(|a| index.extent(a.0).is_none()));
        let (mut axes, mut all) = (over.clone(), over);
        axes.push((self.to, env.extent(self.to)?));
        all.push((self.from, index.extent(self.from).unwrap_or(0)));
        let units = Tensor::from_fn(x.elem, axes, |_| self.fold.unit(x.elem));
        let [by_x, by_index, by_segment] = [x, index, &units].map(|t| t.strides_along(&all));
        let mut data = units.data.to_vec();
        let mut error = None;
        walk(&extents(&all), [&by_x, &by_index, &by_segment], |[at, i, segment]| {
            match env.check_index(self.to, index.data[i]) {
                Ok(n) => {
                    let sum = &mut data[segment + n];
                    *sum = self.fold.step(x.elem, *sum, x.data[at]);
                }
                Err(e) => drop(error.get_or_insert(e)),
            }
        });
        error.map_or_else(|| Ok(vec![Tensor::new(x.elem, units.axes, data)]), Err)
    }
    fn class(&self) -> Class {
        Class::Reduce
    }
}
