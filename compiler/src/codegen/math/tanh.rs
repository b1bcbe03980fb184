//! `tanh` (f32: 3 ulp).
//!
//! tanh |x| = t / (t + 2) with t = exp(2 |x|) - 1, and the sign of x: one exponential and one division, exact to the last bits
//! near 0, because t is. The argument is cut where tanh is 1.

use inkwell::FloatPredicate;

use super::super::llvm::emit::{Emit, Val};
use super::{exp, is_double};

pub fn tanh<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let most = e.same(x, if is_double(e, x) { 20.0 } else { 9.5 });
    let a = e.call("llvm.fabs", &[x]);
    let cut = e.select(e.fcmp(FloatPredicate::OGT, a, most), most, a);
    // |2 x| is far below where expm1 needs its outer branch.
    let t = exp::expm1_near(e, e.add(cut, cut));
    let y = e.fdiv(t, e.add(t, e.same(x, 2.0)));
    e.call("llvm.copysign", &[y, x])
}
