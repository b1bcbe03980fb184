//! Pointwise functions of two numbers: [`scalar::Binary`] but `add` and `mul`, which are ops of their own.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Elem, Sizes, Type};
use crate::ops::{Attr, Class, OpDef};
use crate::scalar;

/// `binary[f] a, b`: each pair of elements by `f`; axes broadcast by name. Comparisons give `bool`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binary {
    pub f: scalar::Binary,
}

impl OpDef for Binary {
    const NAME: &'static str = "binary";
    const DOC: &'static str =
        "`binary[f] a, b`: each pair of elements by `f`; axes broadcast by name. Comparisons give `bool`.";

    fn attrs(&self) -> Vec<Attr> {
        vec![Attr::word(self.f.name())]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [f] = attrs else { return None };
        let f = scalar::Binary::parse(f.as_word()?)?;
        (!matches!(f, scalar::Binary::Add | scalar::Binary::Mul)).then_some(Self { f })
    }
    fn arity(&self) -> Option<usize> {
        Some(2)
    }
    fn infer(&self, _: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        use scalar::Binary as B;
        let ty = Type::broadcast(operands)?;
        match self.f {
            B::Add | B::Mul => return Err(format!("{} is an op of its own", self.f)),
            B::And | B::Or => operands[0].needs_elem(0, Elem::Bool)?,
            B::Eq | B::Ne => {}
            B::Pow => operands[0].needs_float(0)?,
            B::BitAnd | B::BitOr | B::BitXor | B::Shl | B::Shr | B::Rotate => operands[0].needs_integer(0)?,
            B::Sub | B::Div | B::Rem | B::Min | B::Max | B::Lt | B::Le | B::Gt | B::Ge => {
                operands[0].needs_number(0)?
            }
        }
        Ok(vec![if self.f.is_predicate() { ty.of(Elem::Bool) } else { ty }])
    }
    fn eval(&self, _: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let elem = operands[0].elem;
        let result = if self.f.is_predicate() { Elem::Bool } else { elem };
        let f = |[a, b]: [f64; 2]| scalar::wrap(result, self.f.eval(elem, a, b));
        Ok(vec![Tensor::zip(result, [operands[0], operands[1]], f)])
    }
    fn class(&self) -> Class {
        Class::Pointwise
    }
}
