//! `log` (f32: 1 ulp, denormals included), `log1p` (f32: 2 ulp).
//!
//! x = 2^k m with m in [sqrt 1/2, sqrt 2). f32: Cephes' polynomial of degree 8 in m - 1; f64: the series of 2 artanh(s),
//! s = (m - 1) / (m + 1). log 0 = -inf, log of a negative number is NaN.

use inkwell::FloatPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::{Emit, Val};
use super::is_double;

/// k as a float, and m.
fn split<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
    let double = is_double(e, x);
    let (int, float, fraction) = if double { (e.i64(), e.f64(), 52u64) } else { (e.int(32), e.f32(), 23) };
    // Denormals are scaled up first.
    let smallest = if double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) };
    let tiny = e.fcmp(FloatPredicate::OLT, x, e.same(x, smallest));
    let up = (1u64 << (fraction + 1)) as f64;
    let scaled = e.select(tiny, e.mul(x, e.same(x, up)), x);
    let bits = e.bitcast(scaled, int);
    // Subtracting the bits of sqrt 1/2 makes the exponent field count from there.
    let root = if double {
        std::f64::consts::FRAC_1_SQRT_2.to_bits()
    } else {
        u64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits())
    };
    let from_root = e.sub(bits, e.bits(bits.get_type(), root));
    let k = e.op(InstructionOpcode::AShr, from_root, e.bits(bits.get_type(), fraction));
    let m = e.bitcast(e.sub(bits, e.shl(k, fraction)), float);
    let correction = e.select(tiny, e.bits(k.get_type(), (fraction + 1).wrapping_neg()), e.bits(k.get_type(), 0));
    (e.cast(InstructionOpcode::SIToFP, e.add(k, correction), float), m)
}

pub fn log<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let (k, m) = split(e, x);
    let one = e.same(x, 1.0);
    let y = if is_double(e, x) {
        let s = e.fdiv(e.sub(m, one), e.add(m, one));
        let z = e.mul(s, s);
        let series: Vec<f64> = (1..=12).rev().map(|i| 2.0 / (2.0 * f64::from(i) + 1.0)).collect();
        let rest = e.mul(e.mul(s, z), e.polynomial(z, &series));
        let head = e.fma_n(k, 0.693_147_180_369_123_8, e.add(s, s));
        e.add(head, e.fma_n(k, 1.908_214_929_270_587_7e-10, rest))
    } else {
        let f = e.sub(m, one);
        let z = e.mul(f, f);
        let p = e.polynomial(
            f,
            &[
                7.037_683_629_2e-2,
                -1.151_461_031e-1,
                1.167_699_874e-1,
                -1.242_014_084_6e-1,
                1.424_932_278_7e-1,
                -1.666_805_766_5e-1,
                2.000_071_476_5e-1,
                -2.499_999_399_3e-1,
                3.333_333_117_4e-1,
            ],
        );
        let tail = e.fma_n(k, -2.121_944_4e-4, e.mul(e.mul(f, z), p));
        let tail = e.fma_n(z, -0.5, tail);
        e.fma_n(k, 0.693_359_375, e.add(f, tail))
    };
    let zero = e.same(x, 0.0);
    let y = e.select(e.fcmp(FloatPredicate::OEQ, x, zero), e.same(x, f64::NEG_INFINITY), y);
    let y = e.select(e.fcmp(FloatPredicate::OEQ, x, e.same(x, f64::INFINITY)), x, y);
    // Below 0, and NaN.
    e.select(e.fcmp(FloatPredicate::ULT, x, zero), e.same(x, f64::NAN), y)
}

/// log(u) + (x - (u - 1)) / u with u = 1 + x: the second term is what rounding took from u.
pub fn log1p<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let (zero, one) = (e.same(x, 0.0), e.same(x, 1.0));
    let u = e.add(one, x);
    let lost = e.fdiv(e.sub(x, e.sub(u, one)), u);
    // At -1 and inf, whose logarithms need no correction.
    let lost = e.select(e.fcmp(FloatPredicate::ORD, lost, lost), lost, zero);
    let y = e.add(log(e, u), lost);
    // So small that it is its own result, and -0 has a sign to keep.
    e.select(e.fcmp(FloatPredicate::OEQ, u, one), x, y)
}
