//! Sums of products over named axes: the op that matrix products, convolutions and mixtures become.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, AxisSet, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar::Binary;

/// `contract[k] a, b`: `y[b, m, n] = sum over k of a[b, m, k] * b[b, n, k]`; both have every axis of `k`, other shared axes are batch axes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contract {
    pub over: AxisSet,
}

impl OpDef for Contract {
    const NAME: &'static str = "contract";
    const DOC: &'static str = "`contract[k] a, b`: `y[b, m, n] = sum over k of a[b, m, k] * b[b, n, k]`; both have every axis of `k`, other shared axes are batch axes.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::Axes(self.over.clone())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [over] = attrs else { return None };
        Some(Self { over: over.as_axes()? })
    }
    fn arity(&self) -> Option<usize> {
        Some(2)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let [a, b] = operands else { return Err("takes 2 operands".into()) };
        b.needs_elem(1, a.elem)?;
        a.needs_number(0)?;
        for axis in self.over.iter() {
            a.needs(0, axis)?;
            b.needs(1, axis)?;
        }
        Ok(vec![a.over(a.axes.union(&b.axes).minus(&self.over))])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (a, b) = (operands[0], operands[1]);
        let (left, right) = (a.axis_set(), b.axis_set());
        let pick = |t: &Tensor, f: &dyn Fn(Axis) -> bool| -> Vec<Axis> { t.axes.iter().map(|x| x.0).filter(|x| f(*x)).collect() };
        let over = pick(a, &|x| self.over.contains(x));
        let batch = pick(a, &|x| right.contains(x) && !self.over.contains(x));
        let rows = pick(a, &|x| !right.contains(x));
        let cols = pick(b, &|x| !left.contains(x));
        // Dense matrices a[batch, rows, over] and b[batch, over, cols]; the innermost loop runs along the columns.
        let a = a.ordered(&[batch.as_slice(), &rows, &over].concat());
        let b = b.ordered(&[batch.as_slice(), &over, &cols].concat());
        let count = |t: &Tensor, axes: &[Axis]| axes.iter().filter_map(|x| t.extent(*x)).product::<usize>();
        let (batches, m, k, n) = (count(&a, &batch), count(&a, &rows), count(&a, &over), count(&b, &cols));
        let mut y = vec![0.0; batches * m * n];
        for r in 0..batches * m {
            let (row, matrix) = (&a.data[r * k..(r + 1) * k], &b.data[r / m * k * n..]);
            let sums = &mut y[r * n..(r + 1) * n];
            for (i, x) in row.iter().enumerate() {
                for (sum, w) in sums.iter_mut().zip(&matrix[i * n..(i + 1) * n]) {
                    *sum = match a.elem.is_float() {
                        true => *sum + x * w,
                        false => Binary::Add.eval(a.elem, *sum, Binary::Mul.eval(a.elem, *x, *w)),
                    };
                }
            }
        }
        let mut axes = a.axes[..batch.len() + rows.len()].to_vec();
        axes.extend(&b.axes[batch.len() + over.len()..]);
        Ok(vec![Tensor::new(a.elem, axes, y)])
    }
    fn class(&self) -> Class {
        Class::Contract
    }
}
