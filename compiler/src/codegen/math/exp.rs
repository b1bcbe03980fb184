//! `exp` (f32: 1 ulp), `expm1` (f32: 2 ulp), `sigmoid` (f32: 3 ulp).
//!
//! x = n ln 2 + r with |r| <= ln 2 / 2; a polynomial in r (Cephes for f32, Taylor for f64); times 2^n in two steps, so that
//! results near the ends of the range, denormal ones too, come out right. exp(-inf) = 0, exp(inf) = inf, NaN stays NaN.

use inkwell::FloatPredicate;

use super::super::llvm::emit::{Emit, Val};
use super::{halved, is_double, nearest, power_of_two};

/// ln 2 as a number with few bits, so that n times it is exact, and the rest.
const LN2_F32: (f64, f64) = (0.693_359_375, -2.121_944_400_546_905_6e-4);
const LN2_F64: (f64, f64) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);

/// r, and n as a float and as an integer.
fn reduce<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>, Val<'ctx>) {
    let (n, int) = nearest(e, x, std::f64::consts::LOG2_E);
    let (high, low) = if is_double(e, x) { LN2_F64 } else { LN2_F32 };
    (e.fma_n(n, -low, e.fma_n(n, -high, x)), n, int)
}

/// exp(r) - 1 for a reduced r.
fn kernel<'ctx>(e: &Emit<'ctx>, r: Val<'ctx>) -> Val<'ctx> {
    let square = e.mul(r, r);
    let rest = if is_double(e, r) {
        // 1/13!, 1/12!, ... 1/2!
        let taylor: Vec<f64> = (2..=13).rev().map(|n| 1.0 / (1..=n).map(f64::from).product::<f64>()).collect();
        e.polynomial(r, &taylor)
    } else {
        e.polynomial(
            r,
            &[
                1.987_569_15e-4,
                1.398_199_950_7e-3,
                8.333_451_907_3e-3,
                4.166_579_589_4e-2,
                1.666_666_545_9e-1,
                5.000_000_120_1e-1,
            ],
        )
    };
    e.fma(rest, square, r)
}

/// Beyond these the result is inf or 0.
fn clamp<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let (low, high) = if is_double(e, x) { (-746.0, 710.0) } else { (-104.0, 89.0) };
    let x = e.select(e.fcmp(FloatPredicate::OGT, x, e.same(x, high)), e.same(x, high), x);
    e.select(e.fcmp(FloatPredicate::OLT, x, e.same(x, low)), e.same(x, low), x)
}

pub fn exp<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let (r, n, int) = reduce(e, clamp(e, x));
    let y = e.add(kernel(e, r), e.same(r, 1.0));
    if e.has_avx512() && e.lanes_of(x) == 16 && !is_double(e, x) {
        // The same bits in one instruction of AVX-512.
        let (all, rounding_as_set) = (e.bits(e.int(16), 0xFFFF), e.bits(e.int(32), 4));
        return e.call_as("llvm.x86.avx512.mask.scalef.ps.512", &[], &[y, n, y, all, rounding_as_set]);
    }
    let half = halved(e, int);
    e.mul(e.mul(y, power_of_two(e, half)), power_of_two(e, e.sub(int, half)))
}

/// [`exp`] where the result is a normal number: one step of scaling, and nothing is cut off.
pub fn exp_near<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let (r, _, n) = reduce(e, x);
    e.mul(e.add(kernel(e, r), e.same(r, 1.0)), power_of_two(e, n))
}

/// 2^n (exp(r) - 1) + (2^n - 1), for x where 2^n is in range: exact near 0, for n = 0 there.
pub fn expm1_near<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let (r, _, n) = reduce(e, x);
    let scale = power_of_two(e, n);
    e.fma(scale, kernel(e, r), e.sub(scale, e.same(x, 1.0)))
}

pub fn expm1<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    // Where 2^n would overflow, and below, where the result is -1, exp(x) - 1 serves.
    let (low, high) = if is_double(e, x) { (-40.0, 700.0) } else { (-20.0, 87.0) };
    let above = e.fcmp(FloatPredicate::OGT, x, e.same(x, low));
    let inner = e.and(above, e.fcmp(FloatPredicate::OLT, x, e.same(x, high)));
    let near = expm1_near(e, e.select(inner, x, e.same(x, 0.0)));
    let far = e.sub(exp(e, x), e.same(x, 1.0));
    // -0 has a sign to keep.
    let zero = e.fcmp(FloatPredicate::OEQ, x, e.same(x, 0.0));
    e.select(zero, x, e.select(inner, near, far))
}

/// 1 / (1 + exp(-x)), for negative x as exp(x) / (1 + exp(x)): nothing overflows, and results fade out through denormal numbers.
pub fn sigmoid<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let one = e.same(x, 1.0);
    let small = exp(e, e.fneg(e.call("llvm.fabs", &[x])));
    let upper = e.select(e.fcmp(FloatPredicate::OLT, x, e.same(x, 0.0)), small, one);
    e.fdiv(upper, e.add(one, small))
}
