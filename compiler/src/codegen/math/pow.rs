//! `pow` (f32: 1 ulp; f64: relative error grows with |b log a|).
//!
//! exp(b log |a|) in f64, with the sign of a for odd b; of a negative number to a power that is no integer: NaN.

use inkwell::FloatPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::{Emit, Val};
use super::{exp, is_double, log, round};

pub fn pow<'ctx>(e: &Emit<'ctx>, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
    if !is_double(e, a) {
        let [a, b] = [a, b].map(|v| e.cast(InstructionOpcode::FPExt, v, e.f64()));
        return e.cast(InstructionOpcode::FPTrunc, pow(e, a, b), e.f32());
    }
    let (zero, one) = (e.same(a, 0.0), e.same(a, 1.0));
    let size = exp::exp(e, e.mul(b, log::log(e, e.call("llvm.fabs", &[a]))));
    let half = e.mul(b, e.same(b, 0.5));
    let integer = e.fcmp(FloatPredicate::OEQ, round::floor(e, b), b);
    let even = e.fcmp(FloatPredicate::OEQ, round::floor(e, half), half);
    let negative = e.fcmp(FloatPredicate::OLT, a, zero);
    let signed = e.select(even, size, e.fneg(size));
    let of_negative = e.select(integer, signed, e.same(a, f64::NAN));
    let y = e.select(negative, of_negative, size);
    let is_one = e.or(e.fcmp(FloatPredicate::OEQ, b, zero), e.fcmp(FloatPredicate::OEQ, a, one));
    e.select(is_one, one, y)
}
