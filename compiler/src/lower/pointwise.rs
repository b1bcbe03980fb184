//! Pointwise functions. Activations are compositions: fusion makes one kernel of them again.

use gatec_lang::program::{Binary, Unary};

use super::Problem;
use super::frame::Frame;
use crate::graph::{Elem, Value};
use crate::{ops, scalar};

impl Frame<'_, '_> {
    pub(super) fn pointwise_unary(&mut self, f: Unary, x: Value) -> Result<Value, Problem> {
        use scalar::Unary as U;
        let f = match f {
            Unary::Neg => U::Neg,
            Unary::Not => U::Not,
            Unary::Abs => U::Abs,
            Unary::Sign => U::Sign,
            Unary::Floor => U::Floor,
            Unary::Ceil => U::Ceil,
            Unary::Round => U::Round,
            Unary::Sqrt => U::Sqrt,
            Unary::Rsqrt => U::Rsqrt,
            Unary::Exp => U::Exp,
            Unary::Log => U::Log,
            Unary::Log1p => U::Log1p,
            Unary::Expm1 => U::Expm1,
            Unary::Sin => U::Sin,
            Unary::Cos => U::Cos,
            Unary::Tanh => U::Tanh,
            Unary::Sigmoid => U::Sigmoid,
            Unary::Erf => U::Erf,
            Unary::Relu => return self.relu(x),
            Unary::Silu => {
                let gate = self.unary(U::Sigmoid, x)?;
                return self.mul(&[x, gate]);
            }
            Unary::Gelu => {
                let scaled = self.scaled(x, std::f64::consts::FRAC_1_SQRT_2)?;
                let erf = self.unary(U::Erf, scaled)?;
                return self.half_of_one_plus(x, erf);
            }
            Unary::GeluTanh => {
                // tanh(sqrt(2 / pi) * (x + 0.044715 x^3))
                let cube = self.mul(&[x, x, x])?;
                let cube = self.scaled(cube, 0.044_715)?;
                let sum = self.add(&[x, cube])?;
                let scaled = self.scaled(sum, (2.0 / std::f64::consts::PI).sqrt())?;
                let tanh = self.unary(U::Tanh, scaled)?;
                return self.half_of_one_plus(x, tanh);
            }
            Unary::Softplus => {
                // max(x, 0) + log1p(exp(-|x|)): exp never overflows.
                let positive = self.relu(x)?;
                let abs = self.unary(U::Abs, x)?;
                let minus = self.unary(U::Neg, abs)?;
                let exp = self.unary(U::Exp, minus)?;
                let rest = self.unary(U::Log1p, exp)?;
                return self.add(&[positive, rest]);
            }
        };
        self.unary(f, x)
    }

    pub(super) fn pointwise_binary(&mut self, f: Binary, a: Value, b: Value) -> Result<Value, Problem> {
        use scalar::Binary as B;
        let f = match f {
            Binary::Add => return self.add(&[a, b]),
            Binary::Mul => return self.mul(&[a, b]),
            Binary::Sub => B::Sub,
            Binary::Div => B::Div,
            Binary::Rem => B::Rem,
            Binary::Pow => B::Pow,
            Binary::Min => B::Min,
            Binary::Max => B::Max,
            Binary::Eq => B::Eq,
            Binary::Ne => B::Ne,
            Binary::Lt => B::Lt,
            Binary::Le => B::Le,
            Binary::Gt => B::Gt,
            Binary::Ge => B::Ge,
            Binary::And => B::And,
            Binary::Or => B::Or,
            Binary::BitAnd => B::BitAnd,
            Binary::BitOr => B::BitOr,
            Binary::BitXor => B::BitXor,
            Binary::Shl => B::Shl,
            Binary::Shr => B::Shr,
            Binary::Rotate => B::Rotate,
        };
        self.binary(f, a, b)
    }

    pub(super) fn unary(&mut self, f: scalar::Unary, x: Value) -> Result<Value, Problem> {
        Ok(self.build.try_add(ops::Unary { f }, &[x])?)
    }
    pub(super) fn binary(&mut self, f: scalar::Binary, a: Value, b: Value) -> Result<Value, Problem> {
        Ok(self.build.try_add(ops::Binary { f }, &[a, b])?)
    }
    pub(super) fn add(&mut self, xs: &[Value]) -> Result<Value, Problem> {
        Ok(self.build.try_add(ops::Add, xs)?)
    }
    pub(super) fn mul(&mut self, xs: &[Value]) -> Result<Value, Problem> {
        Ok(self.build.try_add(ops::Mul, xs)?)
    }
    pub(super) fn cast(&mut self, x: Value, to: Elem) -> Result<Value, Problem> {
        if self.build.ty(x).elem == to { Ok(x) } else { Ok(self.build.try_add(ops::Cast { to }, &[x])?) }
    }

    /// A number of the element type of `like`.
    pub(super) fn number_like(&mut self, like: Value, x: f64) -> Result<Value, Problem> {
        let elem = self.build.ty(like).elem;
        Ok(self.build.try_add(ops::Const::new(elem, x), &[])?)
    }
    pub(super) fn scaled(&mut self, x: Value, by: f64) -> Result<Value, Problem> {
        let by = self.number_like(x, by)?;
        self.mul(&[x, by])
    }
    pub(super) fn plus(&mut self, x: Value, n: f64) -> Result<Value, Problem> {
        let n = self.number_like(x, n)?;
        self.add(&[x, n])
    }

    fn relu(&mut self, x: Value) -> Result<Value, Problem> {
        let zero = self.number_like(x, 0.0)?;
        self.binary(scalar::Binary::Max, x, zero)
    }

    /// `x / 2 * (1 + y)`
    fn half_of_one_plus(&mut self, x: Value, y: Value) -> Result<Value, Problem> {
        let factor = self.plus(y, 1.0)?;
        let half = self.number_like(x, 0.5)?;
        self.mul(&[half, x, factor])
    }
}
