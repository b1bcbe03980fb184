//! Scalar functions: the one list that Graph IR, Kernel IR, interpreters and code generation share.

use std::fmt;

use gatec_runtime::format::Elem;

macro_rules! functions {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($variant),* }
        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $text),* } }
            pub fn parse(name: &str) -> Option<Self> { Self::ALL.iter().copied().find(|f| f.name() == name) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
        }
    };
}

functions! {
    /// Functions of one number. `not` is of `bool`; `round` is to even; `sign` of 0 is 0, of NaN is NaN.
    Unary {
        Neg = "neg", Not = "not", Abs = "abs", Sign = "sign", Floor = "floor", Ceil = "ceil", Round = "round", Sqrt = "sqrt",
        Rsqrt = "rsqrt", Recip = "recip", Exp = "exp", Log = "log", Log1p = "log1p", Expm1 = "expm1", Sin = "sin", Cos = "cos",
        Tanh = "tanh", Sigmoid = "sigmoid", Erf = "erf",
    }
}

functions! {
    /// Functions of two numbers. `min` and `max` give NaN if either is NaN. Integer division and remainder floor; by 0 they
    /// give 0. Comparisons with NaN are false, but `ne`. `and` and `or` are of bool, `bit_` functions, shifts and `rotate` (to the left) of
    /// integers: by the second operand modulo the width of the type; `shr` of a signed one keeps the sign.
    Binary {
        Add = "add", Sub = "sub", Mul = "mul", Div = "div", Rem = "rem", Pow = "pow", Min = "min", Max = "max",
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge", And = "and", Or = "or",
        BitAnd = "bit_and", BitOr = "bit_or", BitXor = "bit_xor", Shl = "shl", Shr = "shr", Rotate = "rotate",
    }
}

functions! {
    /// How a reduction folds. Over nothing each gives its unit; `min` and `max` give NaN if an element is NaN.
    Fold { Sum = "sum", Prod = "prod", Max = "max", Min = "min", Any = "any", All = "all" }
}

functions! {
    /// Which element an `arg_reduce` looks for.
    Extreme { Max = "max", Min = "min" }
}

impl Fold {
    /// What folding nothing gives; of integers `max` and `min` give the ends of the type's range.
    pub fn unit(self, elem: Elem) -> f64 {
        match self {
            Self::Sum | Self::Any => 0.0,
            Self::Prod | Self::All => 1.0,
            Self::Max => lowest(elem),
            Self::Min => highest(elem),
        }
    }

    /// One step, in f64; integers wrap around.
    pub fn step(self, elem: Elem, so_far: f64, x: f64) -> f64 {
        let f = match self {
            Self::Sum => Binary::Add,
            Self::Prod => Binary::Mul,
            Self::Max => Binary::Max,
            Self::Min => Binary::Min,
            Self::Any => Binary::Or,
            Self::All => Binary::And,
        };
        f.eval(elem, so_far, x)
    }

    /// Does it fold `bool`?
    pub const fn is_logical(self) -> bool {
        matches!(self, Self::Any | Self::All)
    }
}

/// The least value of an element type.
pub fn lowest(elem: Elem) -> f64 {
    match elem {
        Elem::I64 => i64::MIN as f64,
        Elem::I32 => f64::from(i32::MIN),
        Elem::I8 => f64::from(i8::MIN),
        Elem::U8 | Elem::Bool => 0.0,
        Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::F64 => f64::NEG_INFINITY,
    }
}

/// The greatest value of an element type.
pub fn highest(elem: Elem) -> f64 {
    match elem {
        Elem::I64 => i64::MAX as f64,
        Elem::I32 => f64::from(i32::MAX),
        Elem::I8 => f64::from(i8::MAX),
        Elem::U8 => f64::from(u8::MAX),
        Elem::Bool => 1.0,
        Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::F64 => f64::INFINITY,
    }
}

/// A result of arithmetic as its element type holds it: integers wrap around, floats stay as they are (the interpreter is
/// exact where hardware rounds).
pub fn wrap(elem: Elem, x: f64) -> f64 {
    match elem {
        Elem::Bool => f64::from(x != 0.0),
        elem if elem.is_float() || x.is_nan() => x,
        // i128 holds every integer that f64 can tell apart in this range.
        _ => wrap_integer(elem, x as i128),
    }
}

/// The low bits of an integer that an element type holds; NaN for an i64 that f64 does not have.
fn wrap_integer(elem: Elem, x: i128) -> f64 {
    match elem {
        Elem::I32 => f64::from(x as i32),
        Elem::I8 => f64::from(x as i8),
        Elem::U8 => f64::from(x as u8),
        _ => exactly(x as i64),
    }
}

fn exactly(x: i64) -> f64 {
    let near = x as f64;
    if near as i128 == i128::from(x) { near } else { f64::NAN }
}

/// Is it a value of the element type? What stands for an i64 that f64 does not have is none: NaN, and 2^63 for the greatest.
pub fn is_exact(elem: Elem, x: f64) -> bool {
    elem != Elem::I64 || (lowest(elem)..highest(elem)).contains(&x)
}

/// A cast: float to integer truncates toward zero and saturates, NaN is 0; integer to integer wraps; to `bool`: is not 0.
pub fn cast(from: Elem, to: Elem, x: f64) -> f64 {
    match (from.is_float(), to) {
        (_, Elem::Bool) => f64::from(x != 0.0),
        (true, Elem::I64) => (x as i64) as f64,
        (true, Elem::I32) => f64::from(x as i32),
        (true, Elem::I8) => f64::from(x as i8),
        (true, Elem::U8) => f64::from(x as u8),
        _ => wrap(to, x),
    }
}

impl Unary {
    /// Is it of floats only?
    pub const fn needs_float(self) -> bool {
        !matches!(self, Self::Neg | Self::Not | Self::Abs | Self::Sign)
    }

    /// Is it computed in many steps, each of which waits for the one before?
    pub const fn is_long(self) -> bool {
        use Unary::{Cos, Erf, Exp, Expm1, Log, Log1p, Sigmoid, Sin, Tanh};
        matches!(self, Exp | Expm1 | Log | Log1p | Sigmoid | Tanh | Erf | Sin | Cos)
    }

    /// The meaning, in f64.
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Self::Neg => -x,
            Self::Not => f64::from(x == 0.0),
            Self::Abs => x.abs(),
            Self::Sign if x == 0.0 || x.is_nan() => x,
            Self::Sign => x.signum(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Sqrt => x.sqrt(),
            Self::Rsqrt => x.sqrt().recip(),
            Self::Recip => x.recip(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Log1p => x.ln_1p(),
            Self::Expm1 => x.exp_m1(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => (1.0 + (-x).exp()).recip(),
            Self::Erf => erf(x),
        }
    }
}

impl Binary {
    /// Does it give `bool`?
    pub const fn is_predicate(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::And | Self::Or)
    }

    /// Is it of the bits of integers?
    pub const fn is_of_bits(self) -> bool {
        matches!(self, Self::BitAnd | Self::BitOr | Self::BitXor | Self::Shl | Self::Shr | Self::Rotate)
    }

    /// The meaning, in f64, for operands of that type. Integers wrap around at its width; what f64 does not have is NaN.
    pub fn eval(self, elem: Elem, a: f64, b: f64) -> f64 {
        match self {
            f if f.is_of_bits() && (a.is_nan() || b.is_nan()) => f64::NAN,
            f if f.is_of_bits() => f.of_bits(elem, a as i64, b as i64),
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Rem
                if !(elem.is_float() || a.is_nan() || b.is_nan()) =>
            {
                wrap_integer(elem, self.of_integers(a as i128, b as i128))
            }
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Rem => a - b * (a / b).floor(),
            Self::Pow => a.powf(b),
            Self::Min | Self::Max if a.is_nan() || b.is_nan() => f64::NAN,
            Self::Min => a.min(b),
            Self::Max => a.max(b),
            Self::Eq => f64::from(a == b),
            Self::Ne => f64::from(a != b),
            Self::Lt => f64::from(a < b),
            Self::Le => f64::from(a <= b),
            Self::Gt => f64::from(a > b),
            Self::Ge => f64::from(a >= b),
            Self::And => f64::from(a != 0.0 && b != 0.0),
            Self::Or => f64::from(a != 0.0 || b != 0.0),
            Self::BitAnd | Self::BitOr | Self::BitXor | Self::Shl | Self::Shr | Self::Rotate => unreachable!("of bits"),
        }
    }

    /// Arithmetic, exactly: of operands of 64 bits none leaves 128.
    fn of_integers(self, a: i128, b: i128) -> i128 {
        let quotient =
            |a: i128, b: i128| if b == 0 { 0 } else { a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0) };
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Rem if b == 0 => 0,
            Self::Rem => a - b * quotient(a, b),
            _ => quotient(a, b),
        }
    }

    fn of_bits(self, elem: Elem, a: i64, b: i64) -> f64 {
        let width = 8 * elem.bytes() as u32;
        let by = b.rem_euclid(i64::from(width)) as u32;
        let low = i128::from(a as u64 & (u64::MAX >> (64 - width)));
        let bits = match self {
            Self::BitAnd => i128::from(a & b),
            Self::BitOr => i128::from(a | b),
            Self::BitXor => i128::from(a ^ b),
            Self::Shl => low << by,
            Self::Shr => i128::from(a >> by),
            _ => low << by | low >> (width - by),
        };
        wrap_integer(elem, bits)
    }
}

/// The error function, to about 1e-15 of its value: a series of positive terms near 0, the continued fraction of `erfc` further out.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 2.5 {
        // 2 / sqrt(pi) exp(-a^2) (a + 2/3 a^3 + 4/15 a^5 + ...)
        let (mut term, mut sum, mut n) = (a, a, 1.0);
        while term > 1e-17 * sum {
            n += 2.0;
            term *= 2.0 * a * a / n;
            sum += term;
        }
        return (sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    if a > 6.0 {
        return 1f64.copysign(x);
    }
    // erfc(a) = exp(-a^2) / sqrt(pi) / (a + (1/2)/(a + 1/(a + (3/2)/(a + ...))))
    let fraction = (1..=80).rev().fold(a, |tail, i| a + f64::from(i) * 0.5 / tail);
    let erfc = (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt());
    (1.0 - erfc).copysign(x)
}
