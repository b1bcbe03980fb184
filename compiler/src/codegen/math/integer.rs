//! Functions of two integers: wrapping, and defined for every operand.

use inkwell::IntPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::{Emit, Val};
use crate::scalar::Binary;

pub fn integer<'ctx>(e: &Emit<'ctx>, f: Binary, signed: bool, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
    let (a, b) = e.matched(a, b);
    let order = |s, u| e.icmp(if signed { s } else { u }, a, b);
    match f {
        Binary::Add => e.add(a, b),
        Binary::Sub => e.sub(a, b),
        Binary::Mul => e.mul(a, b),
        Binary::Div => divide(e, signed, a, b).0,
        Binary::Rem => divide(e, signed, a, b).1,
        Binary::Min => e.select(order(IntPredicate::SLT, IntPredicate::ULT), a, b),
        Binary::Max => e.select(order(IntPredicate::SGT, IntPredicate::UGT), a, b),
        Binary::Eq => e.icmp(IntPredicate::EQ, a, b),
        Binary::Ne => e.icmp(IntPredicate::NE, a, b),
        Binary::Lt => order(IntPredicate::SLT, IntPredicate::ULT),
        Binary::Le => order(IntPredicate::SLE, IntPredicate::ULE),
        Binary::Gt => order(IntPredicate::SGT, IntPredicate::UGT),
        Binary::Ge => order(IntPredicate::SGE, IntPredicate::UGE),
        Binary::And | Binary::BitAnd => e.and(a, b),
        Binary::Or | Binary::BitOr => e.or(a, b),
        Binary::BitXor => e.xor(a, b),
        Binary::Shl => e.op(InstructionOpcode::Shl, a, amount(e, a, b)),
        Binary::Shr if signed => e.op(InstructionOpcode::AShr, a, amount(e, a, b)),
        Binary::Shr => e.op(InstructionOpcode::LShr, a, amount(e, a, b)),
        // Takes the amount modulo the width by itself.
        Binary::Rotate => e.call("llvm.fshl", &[a, a, b]),
        Binary::Pow => unreachable!("the front end takes powers of floats only"),
    }
}

/// How far a shift goes: modulo the width, as more is undefined to LLVM.
fn amount<'ctx>(e: &Emit<'ctx>, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
    let width = e.element_of(a.get_type()).into_int_type().get_bit_width();
    e.and(b, e.bits(a.get_type(), u64::from(width - 1)))
}

/// Quotient rounded down and remainder with the divisor's sign; both 0 for a divisor of 0. The least integer by -1 wraps.
fn divide<'ctx>(e: &Emit<'ctx>, signed: bool, a: Val<'ctx>, b: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
    let zero = e.zero(a.get_type());
    let one = e.bits(a.get_type(), 1);
    let by_zero = e.icmp(IntPredicate::EQ, b, zero);
    if !signed {
        let safe = e.select(by_zero, one, b);
        let quotient = e.udiv(a, safe);
        let rest = e.urem(a, safe);
        return (e.select(by_zero, zero, quotient), e.select(by_zero, zero, rest));
    }
    // By -1 the processor traps on the least integer: negate instead.
    let minus_one = e.icmp(IntPredicate::EQ, b, e.bits(a.get_type(), u64::MAX));
    let safe = e.select(e.or(by_zero, minus_one), one, b);
    let quotient = e.op(InstructionOpcode::SDiv, a, safe);
    let rest = e.sub(a, e.mul(quotient, safe));
    let other_sign = e.icmp(IntPredicate::SLT, e.xor(rest, safe), zero);
    let adjust = e.and(other_sign, e.icmp(IntPredicate::NE, rest, zero));
    let quotient = e.select(adjust, e.sub(quotient, one), quotient);
    let rest = e.select(adjust, e.add(rest, safe), rest);
    let quotient = e.select(minus_one, e.sub(zero, a), quotient);
    let rest = e.select(e.or(by_zero, minus_one), zero, rest);
    (e.select(by_zero, zero, quotient), rest)
}
