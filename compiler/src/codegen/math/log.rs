//! `log` (f32: 1 ulp, denormals included), `log1p` (f32: 2 ulp).
//!
//! x = 2^k (1 + f) with 1 + f in [sqrt 1/2, sqrt 2). f32: Cephes' polynomial of degree 8 in f; f64: the series of 2 artanh(s),
//! s = f / (f + 2). log 0 = -inf, log of a negative number is NaN.

use inkwell::FloatPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::{Emit, Val};
use super::{is_double, power_of_two};

/// k as an integer, and m, of a number 2^k m that is not denormal.
fn split<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
    let double = is_double(e, x);
    let (int, float, fraction) = if double { (e.i64(), e.f64(), 52u64) } else { (e.int(32), e.f32(), 23) };
    let bits = e.bitcast(x, int);
    // Subtracting the bits of sqrt 1/2 makes the exponent field count from there.
    let root = if double {
        std::f64::consts::FRAC_1_SQRT_2.to_bits()
    } else {
        u64::from(std::f32::consts::FRAC_1_SQRT_2.to_bits())
    };
    let from_root = e.sub(bits, e.bits(bits.get_type(), root));
    let k = e.op(InstructionOpcode::AShr, from_root, e.bits(bits.get_type(), fraction));
    (k, e.bitcast(e.sub(bits, e.shl(k, fraction)), float))
}

/// log(2^k (1 + f)).
fn joined<'ctx>(e: &Emit<'ctx>, k: Val<'ctx>, f: Val<'ctx>) -> Val<'ctx> {
    let k = e.cast(InstructionOpcode::SIToFP, k, e.element_of(f.get_type()));
    if is_double(e, f) {
        let s = e.fdiv(f, e.add(f, e.same(f, 2.0)));
        let z = e.mul(s, s);
        let series: Vec<f64> = (1..=12).rev().map(|i| 2.0 / (2.0 * f64::from(i) + 1.0)).collect();
        let rest = e.mul(e.mul(s, z), e.polynomial(z, &series));
        let head = e.fma_n(k, 0.693_147_180_369_123_8, e.add(s, s));
        return e.add(head, e.fma_n(k, 1.908_214_929_270_587_7e-10, rest));
    }
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
}

/// The logarithm `y` of `x` as it is for all x.
fn with_ends<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, y: Val<'ctx>) -> Val<'ctx> {
    let zero = e.same(x, 0.0);
    let y = e.select(e.fcmp(FloatPredicate::OEQ, x, zero), e.same(x, f64::NEG_INFINITY), y);
    let y = e.select(e.fcmp(FloatPredicate::OEQ, x, e.same(x, f64::INFINITY)), x, y);
    // Below 0, and NaN.
    e.select(e.fcmp(FloatPredicate::ULT, x, zero), e.same(x, f64::NAN), y)
}

pub fn log<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    // Denormals are scaled up first.
    let (smallest, up) = if is_double(e, x) { (f64::MIN_POSITIVE, 53u64) } else { (f64::from(f32::MIN_POSITIVE), 24) };
    let tiny = e.fcmp(FloatPredicate::OLT, x, e.same(x, smallest));
    let (k, m) = split(e, e.select(tiny, e.mul(x, e.same(x, (1u64 << up) as f64)), x));
    let ty = k.get_type();
    let k = e.add(k, e.select(tiny, e.bits(ty, up.wrapping_neg()), e.bits(ty, 0)));
    with_ends(e, x, joined(e, k, e.sub(m, e.same(x, 1.0))))
}

/// k is that of 1 + x; f = 2^-k x + (2^-k - 1), rounded once, so that nothing of x is lost.
pub fn log1p<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let one = e.same(x, 1.0);
    let u = e.add(one, x);
    let (k, m) = split(e, u);
    let scale = power_of_two(e, e.sub(e.bits(k.get_type(), 0), k));
    let f = e.fma(x, scale, e.sub(scale, one));
    // Where 1 is nothing beside x, and where 2^-k may be denormal.
    let is_large = e.fcmp(FloatPredicate::OGT, x, e.same(x, 1e18));
    let y = with_ends(e, u, joined(e, k, e.select(is_large, e.sub(m, one), f)));
    // -0 has a sign to keep.
    e.select(e.fcmp(FloatPredicate::OEQ, x, e.same(x, 0.0)), x, y)
}
