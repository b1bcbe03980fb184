//! Pointwise functions. Activations are compositions: fusion makes one kernel of them again.

use std::f64::consts::PI;

use gatec_lang::program::{Binary, Unary};

use super::Problem;
use super::frame::Frame;
use crate::graph::{Elem, Value};
use crate::{ops, scalar};

/// Of the powers 1, 3, 5, ... of `1 / w` in the logarithm of the gamma function (Abramowitz and Stegun, 6.1.41). From 8 on the next one is 1e-15.
const STIRLING: [f64; 7] =
    [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];

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
                let scaled = self.scaled(sum, (2.0 / PI).sqrt())?;
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
            Unary::HardSigmoid => return self.hard_sigmoid(x),
            Unary::HardSwish => {
                let gate = self.hard_sigmoid(x)?;
                return self.mul(&[x, gate]);
            }
            Unary::Lgamma => return self.lgamma(x),
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

    fn hard_sigmoid(&mut self, x: Value) -> Result<Value, Problem> {
        let shifted = self.plus(x, 3.0)?;
        let positive = self.relu(shifted)?;
        let six = self.number_like(x, 6.0)?;
        let clipped = self.binary(scalar::Binary::Min, positive, six)?;
        self.scaled(clipped, 1.0 / 6.0)
    }

    /// Stirling's series from 8 on; below, of `x + 8`, less the logarithm of `x (x + 1) ... (x + 7)`; below a half by reflection:
    /// `lgamma(x) = log(pi / |sin(pi x)|) - lgamma(1 - x)`. In f64, whatever the type: near 1 and 2 large terms leave little.
    fn lgamma(&mut self, x: Value) -> Result<Value, Problem> {
        use scalar::{Binary as B, Unary as U};
        let elem = self.build.ty(x).elem;
        let x = self.cast(x, Elem::F64)?;
        let [half, eight] = [0.5, 8.0].map(|n| self.number_like(x, n));
        let (half, eight) = (half?, eight?);
        let minus = self.unary(U::Neg, x)?;
        let other = self.plus(minus, 1.0)?;
        let is_reflected = self.binary(B::Lt, x, half)?;
        let z = self.build.try_add(ops::Select, &[is_reflected, other, x])?;
        let factors = (1..8).map(|n| self.plus(z, f64::from(n))).collect::<Result<Vec<_>, _>>()?;
        let product = self.mul(&[&[z], &factors[..]].concat())?;
        let is_small = self.binary(B::Lt, z, eight)?;
        let (more, one) = (self.add(&[z, eight])?, self.number_like(x, 1.0)?);
        let w = self.build.try_add(ops::Select, &[is_small, more, z])?;
        let product = self.build.try_add(ops::Select, &[is_small, product, one])?;
        // (w - 1/2) (log w - 1) + (log(2 pi) - 1) / 2 + the series, in which w stands below.
        let below = self.unary(U::Recip, w)?;
        let square = self.mul(&[below, below])?;
        let mut series = self.number_like(x, STIRLING[STIRLING.len() - 1])?;
        for coefficient in STIRLING.iter().rev().skip(1) {
            series = self.mul(&[series, square])?;
            series = self.plus(series, *coefficient)?;
        }
        let series = self.mul(&[series, below])?;
        let (log, less) = (self.unary(U::Log, w)?, self.plus(w, -0.5)?);
        let log = self.plus(log, -1.0)?;
        let main = self.mul(&[less, log])?;
        let constant = self.number_like(x, ((2.0 * PI).ln() - 1.0) / 2.0)?;
        let taken = self.unary(U::Log, product)?;
        let taken = self.unary(U::Neg, taken)?;
        let direct = self.add(&[main, constant, series, taken])?;
        // The sine is that of the distance to the nearest integer, where it is exact: 0 at the poles.
        let nearest = self.unary(U::Round, x)?;
        let distance = self.binary(B::Sub, x, nearest)?;
        let angle = self.scaled(distance, PI)?;
        let sine = self.unary(U::Sin, angle)?;
        let sine = self.unary(U::Abs, sine)?;
        let pi = self.number_like(x, PI)?;
        let ratio = self.binary(B::Div, pi, sine)?;
        let ratio = self.unary(U::Log, ratio)?;
        let reflected = self.binary(B::Sub, ratio, direct)?;
        let y = self.build.try_add(ops::Select, &[is_reflected, reflected, direct])?;
        self.cast(y, elem)
    }

    /// `x / 2 * (1 + y)`
    fn half_of_one_plus(&mut self, x: Value, y: Value) -> Result<Value, Problem> {
        let factor = self.plus(y, 1.0)?;
        let half = self.number_like(x, 0.5)?;
        self.mul(&[half, x, factor])
    }
}
