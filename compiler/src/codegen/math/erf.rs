//! `erf` (f32: 2 ulp), f32 only.
//!
//! Two polynomials that meet at 0.9277 (minimax coefficients after N. Juffa): below, in x^2; above, 1 - exp(p(|x|)).

use inkwell::FloatPredicate;

use super::super::llvm::emit::{Emit, Val};
use super::exp;

pub fn erf<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let a = e.call("llvm.fabs", &[x]);
    let most = e.same(x, 4.5);
    let t = e.select(e.fcmp(FloatPredicate::OGT, a, most), most, a);
    let s = e.mul(x, x);
    let near = e.horner(
        s,
        &[-5.967_617_03e-4, 4.991_194_23e-3, -2.676_813_49e-2, 1.128_199_25e-1, -3.761_253_36e-1, 1.283_791_66e-1],
    );
    let near = e.fma(near, x, x);
    let power = e.horner(
        t,
        &[
            -1.728_534_7e-5,
            3.831_971_26e-4,
            -3.883_964_38e-3,
            2.425_462_19e-2,
            -1.067_778_77e-1,
            -6.348_466_87e-1,
            -1.287_175_12e-1,
        ],
    );
    let power = e.fma(power, t, e.fneg(t));
    let far = e.sub(e.same(x, 1.0), exp::exp(e, power));
    let far = e.call("llvm.copysign", &[far, x]);
    // NaN takes the near side, where it stays NaN.
    e.select(e.fcmp(FloatPredicate::OGT, a, e.same(x, 0.927_734_375)), far, near)
}
