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
    let one = e.same(a, 1.0);
    let base = e.call("llvm.fabs", &[a]);
    let size = exp::exp(e, e.mul(b, log::log(e, base)));
    let half = e.mul(b, e.same(b, 0.5));
    let integer = e.fcmp(FloatPredicate::OEQ, round::floor(e, b), b);
    let even = e.fcmp(FloatPredicate::OEQ, round::floor(e, half), half);
    // Zeros have signs, too.
    let negative = e.fcmp(FloatPredicate::OLT, e.call("llvm.copysign", &[one, a]), e.same(a, 0.0));
    let finite = e.fcmp(FloatPredicate::OLT, base, e.same(a, f64::INFINITY));
    let fails = e.and(finite, e.fcmp(FloatPredicate::ONE, a, e.same(a, 0.0)));
    let broken = e.select(fails, e.same(a, f64::NAN), size);
    let of_negative = e.select(integer, e.select(even, size, e.fneg(size)), broken);
    let y = e.select(negative, of_negative, size);
    // 1 to any power, anything to the power of 0; and -1 to an infinite one, which counts as even.
    let endless = e.fcmp(FloatPredicate::OEQ, e.call("llvm.fabs", &[b]), e.same(b, f64::INFINITY));
    let unit = e.and(endless, e.fcmp(FloatPredicate::OEQ, base, one));
    let is_one = e.or(e.fcmp(FloatPredicate::OEQ, b, e.same(b, 0.0)), e.fcmp(FloatPredicate::OEQ, a, one));
    e.select(e.or(is_one, unit), one, y)
}
