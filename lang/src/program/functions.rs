//! What nodes compute, element by element and along axes.

use super::AxisId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    Neg,
    Not,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Sqrt,
    Rsqrt,
    Exp,
    Log,
    Log1p,
    Expm1,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Erf,
    Relu,
    Silu,
    /// With `erf`.
    Gelu,
    /// With `tanh`.
    GeluTanh,
    Softplus,
    /// A sixth of `x + 3`, from 0 to 1.
    HardSigmoid,
    /// `x` by its hard sigmoid.
    HardSwish,
    /// The logarithm of the absolute value of the gamma function.
    Lgamma,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Pow,
    Min,
    Max,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    // Of the bits of integers. Shifts are by the second operand modulo the width of the type; `Shr` of a signed one keeps the sign.
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
    /// To the left, what leaves there comes in on the right.
    Rotate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    Any,
    All,
    Argmax,
    Argmin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Running {
    Sum,
    Prod,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    Constant(u64),
    /// Mirrored without repeating the edge.
    Reflect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mix {
    /// Weighted.
    Sum,
    Mean,
    Max,
    LogSumExp,
    /// The value as it stands, where one expert is chosen.
    None,
    /// The slots' values along `from`, one after the other, are `to`.
    Concat {
        from: AxisId,
        to: AxisId,
    },
}

impl PadMode {
    /// Pads with `value`.
    pub fn constant(value: f64) -> Self {
        Self::Constant(value.to_bits())
    }
}
