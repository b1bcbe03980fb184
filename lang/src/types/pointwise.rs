//! Operators and functions, element by element, broadcast by name.

use super::scope::Scope;
use super::{Checked, Checker, Val, is_float};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Span, Unary};
use crate::syntax::{Expr, Infix, Prefix};

/// Functions of one float and their names.
pub const UNARY: &[(&str, Unary)] = &[
    ("abs", Unary::Abs),
    ("sign", Unary::Sign),
    ("floor", Unary::Floor),
    ("ceil", Unary::Ceil),
    ("round", Unary::Round),
    ("sqrt", Unary::Sqrt),
    ("rsqrt", Unary::Rsqrt),
    ("exp", Unary::Exp),
    ("log", Unary::Log),
    ("log1p", Unary::Log1p),
    ("expm1", Unary::Expm1),
    ("sin", Unary::Sin),
    ("cos", Unary::Cos),
    ("tanh", Unary::Tanh),
    ("sigmoid", Unary::Sigmoid),
    ("erf", Unary::Erf),
    ("relu", Unary::Relu),
    ("silu", Unary::Silu),
    ("gelu", Unary::Gelu),
    ("gelu_tanh", Unary::GeluTanh),
    ("softplus", Unary::Softplus),
    ("hard_sigmoid", Unary::HardSigmoid),
    ("hard_swish", Unary::HardSwish),
    ("lgamma", Unary::Lgamma),
];

/// Functions of two operands and their names.
pub const BINARY: &[(&str, Binary)] =
    &[("min", Binary::Min), ("max", Binary::Max), ("pow", Binary::Pow), ("rotate", Binary::Rotate)];

impl Checker<'_> {
    /// The union of axes.
    pub fn union(&self, nodes: &[NodeId]) -> Vec<AxisId> {
        let mut axes: Vec<AxisId> = nodes.iter().flat_map(|n| self.ty(*n).axes.iter().copied()).collect();
        axes.sort();
        axes.dedup();
        axes
    }

    pub fn same_elem(&mut self, a: NodeId, b: NodeId, span: Span) -> Checked<()> {
        let (left, right) = (self.ty(a).elem, self.ty(b).elem);
        if left == right {
            return Ok(());
        }
        let (left, right) = (left.name(), right.name());
        let message = format!("one operand is {left}, the other {right}");
        Err(self.say(Diagnostic::error(codes::ELEMS, span, message).help(format!("cast one: `{left}(..)`"))))
    }

    /// Two values as tensors of one element type: a number takes the other's.
    pub fn pair(&mut self, a: (&Val, Span), b: (&Val, Span), span: Span) -> Checked<(NodeId, NodeId)> {
        let elem = |this: &Self, val: &Val| match val {
            Val::Tensor(node) => Some(this.ty(*node).elem),
            Val::Bool(_) => Some(Elem::Bool),
            _ => None,
        };
        let with = elem(self, a.0).or(elem(self, b.0)).unwrap_or(Elem::F32);
        for (number, other) in [(a, b), (b, a)] {
            if let (Val::Number(n), Val::Tensor(_)) = (number.0, other.0)
                && !super::values::has_number(with, *n)
            {
                let message = format!("one operand is {}, which has no {n}", with.name());
                let fix = self.cast_text(Elem::F32, other.1);
                let diagnostic = Diagnostic::error(codes::ELEMS, span, message).help("cast the other one");
                return Err(self.say(if n.fract() == 0.0 { diagnostic } else { diagnostic.fix(other.1, fix) }));
            }
        }
        let left = self.as_tensor(a.0, with, a.1);
        let right = self.as_tensor(b.0, with, b.1);
        let (left, right) = (left?, right?);
        let elems = (self.ty(left).elem, self.ty(right).elem);
        if elems.0 != elems.1 {
            // A float loses less than an integer does.
            let (at, to) = if is_float(elems.1) && !is_float(elems.0) { (a.1, elems.1) } else { (b.1, elems.0) };
            let message = format!("one operand is {}, the other {}", elems.0.name(), elems.1.name());
            let fix = self.cast_text(to, at);
            let diagnostic = Diagnostic::error(codes::ELEMS, span, message).help("cast one of them").fix(at, fix);
            return Err(self.say(diagnostic));
        }
        Ok((left, right))
    }

    pub fn binary(&mut self, f: Binary, a: (&Val, Span), b: (&Val, Span), span: Span) -> Checked<Val> {
        if let (Val::Number(x), Val::Number(y)) = (a.0, b.0)
            && let Some(exact) = inexact(f, *x, *y)
        {
            let message = format!("a whole number beyond 2^53 may be off here: {exact} would be {}", exact as f64);
            let help = "a float is written with its point; of an i64, `i64(n)` and what it meets are exact";
            return Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, span, message).help(help)));
        }
        if let Some(known) = known_binary(f, a.0, b.0).or_else(|| Self::sizes_made(f, a.0, b.0)) {
            return Ok(known);
        }
        let (left, right) = self.pair(a, b, span)?;
        let elem = self.ty(left).elem;
        let logical = matches!(f, Binary::And | Binary::Or);
        let compares = matches!(f, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge);
        if logical != (elem == Elem::Bool) && !matches!(f, Binary::Eq | Binary::Ne) {
            let want = if logical { "bool" } else { "numbers" };
            let message = format!("the operands must be {want}, they are {}", elem.name());
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message)));
        }
        if is_of_bits(f) && is_float(elem) {
            let message = format!("operators of bits take integers, not {}", elem.name());
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message)));
        }
        if f == Binary::Pow && !is_float(elem) {
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, "`pow` takes floats")));
        }
        let result = if compares { Elem::Bool } else { elem };
        let axes = self.union(&[left, right]);
        self.tensor(Kind::Binary(f, left, right), result, axes, span)
    }

    pub fn infix(&mut self, scope: &mut Scope, f: Infix, a: &Expr, b: &Expr, span: Span) -> Checked<Val> {
        let (left, right) = (self.expr(scope, a), self.expr(scope, b));
        let f = match f {
            Infix::Or => Binary::Or,
            Infix::And => Binary::And,
            Infix::Eq => Binary::Eq,
            Infix::Ne => Binary::Ne,
            Infix::Le => Binary::Le,
            Infix::Ge => Binary::Ge,
            Infix::Lt => Binary::Lt,
            Infix::Gt => Binary::Gt,
            Infix::BitOr => Binary::BitOr,
            Infix::BitXor => Binary::BitXor,
            Infix::BitAnd => Binary::BitAnd,
            Infix::Shl => Binary::Shl,
            Infix::Shr => Binary::Shr,
            Infix::Add => Binary::Add,
            Infix::Sub => Binary::Sub,
            Infix::Mul => Binary::Mul,
            Infix::Div => Binary::Div,
            Infix::Rem => Binary::Rem,
        };
        self.binary(f, (&left?, a.span), (&right?, b.span), span)
    }

    pub fn prefix(&mut self, scope: &mut Scope, f: Prefix, x: &Expr, span: Span) -> Checked<Val> {
        let val = self.expr(scope, x)?;
        match (f, &val) {
            (Prefix::Neg, Val::Number(n)) => Ok(Val::Number(-n)),
            (Prefix::Neg, Val::Size(_)) => self.binary(Binary::Mul, (&Val::Number(-1.0), span), (&val, x.span), span),
            (Prefix::Not, Val::Bool(b)) => Ok(Val::Bool(!b)),
            (Prefix::Neg, _) => self.unary(Unary::Neg, &val, x.span, span),
            (Prefix::Not, _) => {
                let node = self.as_tensor(&val, Elem::Bool, x.span)?;
                if self.ty(node).elem != Elem::Bool {
                    return Err(self.say(Diagnostic::error(codes::ELEMS, span, "`not` takes bool")));
                }
                let axes = self.ty(node).axes.clone();
                self.tensor(Kind::Unary(Unary::Not, node), Elem::Bool, axes, span)
            }
        }
    }

    pub fn unary(&mut self, f: Unary, val: &Val, at: Span, span: Span) -> Checked<Val> {
        if let (Val::Number(x), Some(f)) = (val, known(f)) {
            return Ok(Val::Number(f(*x)));
        }
        let node = self.as_tensor(val, Elem::F32, at)?;
        let elem = self.ty(node).elem;
        let of_numbers = matches!(f, Unary::Neg | Unary::Abs | Unary::Sign | Unary::Relu);
        if !(is_float(elem) || of_numbers && elem != Elem::Bool) {
            let message = format!("this takes floats, not {}", elem.name());
            let fix = self.cast_text(Elem::F32, at);
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message).help("cast it").fix(at, fix)));
        }
        let axes = self.ty(node).axes.clone();
        self.tensor(Kind::Unary(f, node), elem, axes, span)
    }
}

/// Is it of the bits of integers?
fn is_of_bits(f: Binary) -> bool {
    use Binary::{BitAnd, BitOr, BitXor, Rotate, Shl, Shr};
    matches!(f, BitAnd | BitOr | BitXor | Shl | Shr | Rotate)
}

/// Functions that sizes are computed with.
fn known(f: Unary) -> Option<fn(f64) -> f64> {
    Some(match f {
        Unary::Neg => |x| -x,
        Unary::Abs => f64::abs,
        Unary::Floor => f64::floor,
        Unary::Ceil => f64::ceil,
        Unary::Sqrt => f64::sqrt,
        Unary::Rsqrt => |x| 1.0 / x.sqrt(),
        Unary::Exp => f64::exp,
        Unary::Log => f64::ln,
        _ => return None,
    })
}

/// What two values that are known when building make.
fn known_binary(f: Binary, a: &Val, b: &Val) -> Option<Val> {
    match (f, a, b) {
        (_, Val::Number(a), Val::Number(b)) => compared(f, a, b).or_else(|| fold(f, *a, *b).map(Val::Number)),
        (Binary::And, Val::Bool(a), Val::Bool(b)) => Some(Val::Bool(*a && *b)),
        (Binary::Or, Val::Bool(a), Val::Bool(b)) => Some(Val::Bool(*a || *b)),
        (Binary::Eq | Binary::Ne, Val::Bool(a), Val::Bool(b)) => compared(f, a, b),
        (Binary::Eq | Binary::Ne, Val::Text(a), Val::Text(b)) => compared(f, a, b),
        _ => None,
    }
}

fn compared<T: PartialOrd>(f: Binary, a: &T, b: &T) -> Option<Val> {
    Some(Val::Bool(match f {
        Binary::Eq => a == b,
        Binary::Ne => a != b,
        Binary::Lt => a < b,
        Binary::Le => a <= b,
        Binary::Gt => a > b,
        Binary::Ge => a >= b,
        _ => return None,
    }))
}

fn fold(f: Binary, a: f64, b: f64) -> Option<f64> {
    Some(match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Rem => a - b * (a / b).floor(),
        Binary::Pow => a.powf(b),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        f => of_whole(f, a, b).filter(|_| is_of_bits(f))? as f64,
    })
}

/// The integer of more than 53 bits, but of 64, that f64 lacks and that two whole numbers make.
fn inexact(f: Binary, a: f64, b: f64) -> Option<i64> {
    let exact = of_whole(f, a, b)?;
    (exact as f64 as i128 != i128::from(exact)).then_some(exact)
}

/// What two whole numbers make, in integers; `None` for others and what leaves 64 bits.
fn of_whole(f: Binary, a: f64, b: f64) -> Option<i64> {
    let whole = |x: f64| (x.fract() == 0.0 && super::values::has_number(Elem::I64, x)).then_some(x as i64);
    let (a, b) = (whole(a)?, whole(b)?);
    match f {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::BitAnd => Some(a & b),
        Binary::BitOr => Some(a | b),
        Binary::BitXor => Some(a ^ b),
        Binary::Shl => Some(a.wrapping_shl(b as u32)),
        Binary::Shr => Some(a.wrapping_shr(b as u32)),
        _ => None,
    }
}
