//! `sin`, `cos` (f32: 1 ulp for |x| < 2^20; beyond, the absolute error grows with |x|), f32 only.
//!
//! The argument is reduced to [-pi/4, pi/4] in f64, where the polynomials are evaluated too. Of infinities: NaN.

use inkwell::IntPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::{Emit, Val};
use super::nearest;

pub fn sin<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    quarter_turns(e, x, 0)
}

pub fn cos<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    quarter_turns(e, x, 1)
}

/// sin(x + turns pi/2)
fn quarter_turns<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, turns: u64) -> Val<'ctx> {
    let wide = e.cast(InstructionOpcode::FPExt, x, e.f64());
    let (n, quadrant) = nearest(e, e.mul(wide, e.same(wide, std::f64::consts::FRAC_2_PI)));
    let minus = e.fneg(n);
    let r = e.fma_n(minus, 6.123_233_995_736_766e-17, e.fma_n(minus, std::f64::consts::FRAC_PI_2, wide));
    let z = e.mul(r, r);
    let taylor = |from: u32| -> Vec<f64> {
        let term = |i: u32| {
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            sign / (1..=(2 * i + from)).map(f64::from).product::<f64>()
        };
        (0..=6).rev().map(term).collect()
    };
    let sine = e.mul(r, e.horner(z, &taylor(1)));
    let cosine = e.horner(z, &taylor(0));
    let quadrant = e.add(quadrant, e.bits(quadrant.get_type(), turns));
    let one = e.bits(quadrant.get_type(), 1);
    let two = e.bits(quadrant.get_type(), 2);
    let zero = e.bits(quadrant.get_type(), 0);
    let odd = e.icmp(IntPredicate::NE, e.and(quadrant, one), zero);
    let negative = e.icmp(IntPredicate::NE, e.and(quadrant, two), zero);
    let y = e.select(odd, cosine, sine);
    e.cast(InstructionOpcode::FPTrunc, e.select(negative, e.fneg(y), y), e.f32())
}
