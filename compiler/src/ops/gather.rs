//! Elements of an axis at indices that come at run time.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::{Tensor, extents, walk};
use crate::graph::{Axis, Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// `gather[a] x, i`: `y[..] = x[a = i[..], ..]`: the axes of `i` take the place of `a`, axes that both have go together. An index outside is an error; with `gather[a, or_zero]` a negative one is none, and `y` is 0 there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gather {
    pub axis: Axis,
    /// A negative index reads 0.
    pub or_zero: bool,
}

impl Gather {
    /// Every index must be inside.
    pub fn new(axis: Axis) -> Self {
        Self { axis, or_zero: false }
    }
}

impl OpDef for Gather {
    const NAME: &'static str = "gather";
    const DOC: &'static str = "`gather[a] x, i`: `y[..] = x[a = i[..], ..]`: the axes of `i` take the place of `a`, axes that both have go together. An index outside is an error; with `gather[a, or_zero]` a negative one is none, and `y` is 0 there.";

    fn attrs(&self) -> Vec<Attr> {
        let word = self.or_zero.then(|| Attr::word("or_zero"));
        [Attr::Axis(self.axis)].into_iter().chain(word).collect()
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let (axis, or_zero) = match attrs {
            [axis] => (axis, false),
            [axis, word] if word.as_word() == Some("or_zero") => (axis, true),
            _ => return None,
        };
        Some(Self { axis: axis.as_axis()?, or_zero })
    }
    fn arity(&self) -> Option<usize> {
        Some(2)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        let [x, index] = operands else { return Err("takes 2 operands".into()) };
        x.needs(0, self.axis)?;
        if index.elem.is_float() || index.elem == Elem::Bool {
            return Err(format!("operand 1 ({index}) is not of integers"));
        }
        Ok(vec![x.over(x.axes.without(self.axis).union(&index.axes))])
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (x, index) = (operands[0], operands[1]);
        let mut axes = index.axes.clone();
        axes.extend(x.axes.iter().filter(|a| a.0 != self.axis && index.extent(a.0).is_none()));
        let along = x.strides_along(&[(self.axis, 0)])[0];
        let mut strides = x.strides_along(&axes);
        for (stride, axis) in strides.iter_mut().zip(&axes) {
            if axis.0 == self.axis {
                *stride = 0;
            }
        }
        let by_index = index.strides_along(&axes);
        let mut data = Vec::with_capacity(axes.iter().map(|a| a.1).product());
        let mut error = None;
        walk(&extents(&axes), [&strides, &by_index], |[at, i]| match env.check_index(self.axis, index.data[i]) {
            Err(_) if self.or_zero && index.data[i] < 0.0 => data.push(0.0),
            Ok(i) => data.push(x.data[at + i * along]),
            Err(e) => {
                data.push(env.outside.map_or(0.0, |outside| outside.of(x.elem)));
                error.get_or_insert(e);
            }
        });
        match error {
            Some(e) if env.outside.is_none() => Err(e),
            _ => Ok(vec![Tensor::new(x.elem, axes, data)]),
        }
    }
    fn class(&self) -> Class {
        Class::View
    }
}
