//! `sin`, `cos` (f32: 1 ulp, f64: 2 ulp, for |x| < 2^20; beyond, the absolute error grows with |x|).
//!
//! The argument is reduced to [-pi/4, pi/4] in f64, where the polynomials are evaluated too: for f32 nearly all error is that of
//! the last rounding. Of infinities: NaN.

use inkwell::IntPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::{Emit, Val};
use super::{is_double, nearest};

/// pi / 2 in parts of 33 bits, the last of 53: products of the first two with integers below 2^20 are exact.
const HALF_PI: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];

pub fn sin<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    quarter_turns(e, x, 0)
}

pub fn cos<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    quarter_turns(e, x, 1)
}

/// sin(x + turns pi/2)
fn quarter_turns<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, turns: u64) -> Val<'ctx> {
    if !is_double(e, x) {
        let wide = quarter_turns(e, e.cast(InstructionOpcode::FPExt, x, e.f64()), turns);
        return e.cast(InstructionOpcode::FPTrunc, wide, e.f32());
    }
    let (n, quadrant) = nearest(e, x, std::f64::consts::FRAC_2_PI);
    let minus = e.fneg(n);
    let r = HALF_PI.iter().fold(x, |r, part| e.fma_n(minus, *part, r));
    let z = e.mul(r, r);
    let taylor = |from: u32| -> Vec<f64> {
        let term = |i: u32| {
            let sign = if i.is_multiple_of(2) { 1.0 } else { -1.0 };
            sign / (1..=(2 * i + from)).map(f64::from).product::<f64>()
        };
        (0..=8).rev().map(term).collect()
    };
    // As a product, so that -0 keeps its sign.
    let sine = e.mul(r, e.polynomial(z, &taylor(1)));
    let cosine = e.polynomial(z, &taylor(0));
    let quadrant = e.add(quadrant, e.bits(quadrant.get_type(), turns));
    let one = e.bits(quadrant.get_type(), 1);
    let two = e.bits(quadrant.get_type(), 2);
    let zero = e.bits(quadrant.get_type(), 0);
    let odd = e.icmp(IntPredicate::NE, e.and(quadrant, one), zero);
    let negative = e.icmp(IntPredicate::NE, e.and(quadrant, two), zero);
    let y = e.select(odd, cosine, sine);
    e.select(negative, e.fneg(y), y)
}
