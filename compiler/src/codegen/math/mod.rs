//! Vector functions as straight-line code: no tables in memory, no calls, any width. One function is one file, with its error bound.
//!
//! Bounds are in units in the last place (ulp) of f32 against the exact value, over all normal results; the tests of generated
//! code check them over the whole range. `docs/numerics.md` has the table.

mod erf;
mod exp;
mod integer;
mod log;
mod pow;
mod round;
mod tanh;
#[cfg(test)]
mod tests;
mod trig;

use std::cmp::Ordering;

use inkwell::FloatPredicate;
use inkwell::values::InstructionOpcode;

use super::llvm::emit::{Emit, Val};
use crate::scalar::{Binary, Unary};

pub use integer::integer;

/// A function of a float (f32 or f64, scalar or vector).
pub fn unary<'ctx>(e: &Emit<'ctx>, f: Unary, x: Val<'ctx>) -> Val<'ctx> {
    let one = e.same(x, 1.0);
    match f {
        Unary::Neg => e.fneg(x),
        Unary::Abs => e.call("llvm.fabs", &[x]),
        Unary::Sign => {
            let zero = e.same(x, 0.0);
            let away = e.call("llvm.copysign", &[one, x]);
            // 0 and NaN stay as they are.
            e.select(e.fcmp(FloatPredicate::ONE, x, zero), away, x)
        }
        Unary::Floor => round::floor(e, x),
        Unary::Ceil => round::ceil(e, x),
        Unary::Round => round::round(e, x),
        Unary::Sqrt => e.call("llvm.sqrt", &[x]),
        Unary::Rsqrt => e.fdiv(one, e.call("llvm.sqrt", &[x])),
        Unary::Recip => e.fdiv(one, x),
        Unary::Exp => exp::exp(e, x),
        Unary::Expm1 => exp::expm1(e, x),
        Unary::Log => log::log(e, x),
        Unary::Log1p => log::log1p(e, x),
        Unary::Sigmoid => exp::sigmoid(e, x),
        Unary::Tanh => tanh::tanh(e, x),
        Unary::Erf => erf::erf(e, x),
        Unary::Sin => trig::sin(e, x),
        Unary::Cos => trig::cos(e, x),
        Unary::Not => unreachable!("`not` is of bool"),
    }
}

/// A function of two floats.
pub fn binary<'ctx>(e: &Emit<'ctx>, f: Binary, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
    let (a, b) = e.matched(a, b);
    let compare = |p| e.fcmp(p, a, b);
    match f {
        Binary::Add => e.add(a, b),
        Binary::Sub => e.sub(a, b),
        Binary::Mul => e.mul(a, b),
        Binary::Div => e.fdiv(a, b),
        Binary::Rem => {
            let quotient = round::floor(e, e.fdiv(a, b));
            e.sub(a, e.mul(b, quotient))
        }
        Binary::Pow => pow::pow(e, a, b),
        Binary::Min => extreme(e, FloatPredicate::OLT, a, b),
        Binary::Max => extreme(e, FloatPredicate::OGT, a, b),
        Binary::Eq => compare(FloatPredicate::OEQ),
        Binary::Ne => compare(FloatPredicate::UNE),
        Binary::Lt => compare(FloatPredicate::OLT),
        Binary::Le => compare(FloatPredicate::OLE),
        Binary::Gt => compare(FloatPredicate::OGT),
        Binary::Ge => compare(FloatPredicate::OGE),
        Binary::And | Binary::Or => unreachable!("`and` and `or` are of bool"),
        Binary::BitAnd | Binary::BitOr | Binary::BitXor | Binary::Shl | Binary::Shr | Binary::Rotate => {
            unreachable!("bits are those of integers")
        }
    }
}

/// The smaller or greater number; NaN if either is.
fn extreme<'ctx>(e: &Emit<'ctx>, p: FloatPredicate, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
    let chosen = e.select(e.fcmp(p, a, b), a, b);
    // `b` was chosen if it is NaN; `a` must be if that is.
    e.select(e.fcmp(FloatPredicate::UNO, a, a), a, chosen)
}

/// A function of a whole register of f32, of any number of lanes: a scalar has the same bits as a lane.
fn in_registers<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, f: &dyn Fn(Val<'ctx>) -> Val<'ctx>) -> Val<'ctx> {
    let lanes = e.lanes_of(x);
    match lanes.cmp(&e.lanes) {
        Ordering::Equal => f(x),
        Ordering::Less => e.resized(f(e.resized(x, e.lanes)), lanes),
        Ordering::Greater => {
            let [low, high] = [false, true].map(|upper| in_registers(e, e.half(x, upper), f));
            e.shuffle(low, high, &(0..lanes).collect::<Vec<_>>())
        }
    }
}

/// Is it f64?
fn is_double<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> bool {
    e.element_of(x.get_type()) == e.f64()
}

/// The integer nearest to `x * scale` as a float and as an integer: adding 1.5 * 2^52 (2^23) leaves it in the low bits. For numbers
/// far inside the integer range; NaN gives NaN and some integer.
fn nearest<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, scale: f64) -> (Val<'ctx>, Val<'ctx>) {
    let (magic, bits, int) = if is_double(e, x) {
        (6_755_399_441_055_744.0, 0x4338_0000_0000_0000, e.i64())
    } else {
        (12_582_912.0, 0x4B40_0000, e.int(32))
    };
    let shifted = e.fma_n(x, scale, e.same(x, magic));
    let whole = e.sub(shifted, e.same(x, magic));
    let raw = e.bitcast(shifted, int);
    (whole, e.sub(raw, e.bits(raw.get_type(), bits)))
}

/// 2^n for integers in the exponent's range.
fn power_of_two<'ctx>(e: &Emit<'ctx>, n: Val<'ctx>) -> Val<'ctx> {
    let double = e.element_of(n.get_type()) == e.i64();
    let (bias, shift) = if double { (1023, 52) } else { (127, 23) };
    let raised = e.add(n, e.bits(n.get_type(), bias));
    e.bitcast(e.shl(raised, shift), if double { e.f64() } else { e.f32() })
}

/// `n / 2`, rounded down, of signed integers.
fn halved<'ctx>(e: &Emit<'ctx>, n: Val<'ctx>) -> Val<'ctx> {
    e.op(InstructionOpcode::AShr, n, e.bits(n.get_type(), 1))
}
