//! `floor`, `ceil`, `round` (to even): exact.
//!
//! Processors before SSE4.1 have no instruction for it, and LLVM would call the C library: there, adding and subtracting 2^23
//! (2^52) rounds.

use gatec_runtime::format::Isa;
use inkwell::FloatPredicate;

use super::super::llvm::emit::{Emit, Val};
use super::is_double;

pub fn round<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    if e.isa != Isa::X86 {
        return e.call("llvm.roundeven", &[x]);
    }
    let big = e.same(x, if is_double(e, x) { 4_503_599_627_370_496.0 } else { 8_388_608.0 });
    let a = e.call("llvm.fabs", &[x]);
    let rounded = e.sub(e.add(a, big), big);
    let rounded = e.call("llvm.copysign", &[rounded, x]);
    // Larger numbers are integers already; NaN stays.
    e.select(e.fcmp(FloatPredicate::OLT, a, big), rounded, x)
}

pub fn floor<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    if e.isa != Isa::X86 {
        return e.call("llvm.floor", &[x]);
    }
    let rounded = round(e, x);
    let over = e.fcmp(FloatPredicate::OGT, rounded, x);
    let lower = e.sub(rounded, e.same(x, 1.0));
    e.select(over, lower, rounded)
}

pub fn ceil<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    e.fneg(floor(e, e.fneg(x)))
}
