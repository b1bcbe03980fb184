//! `erf` (f32: 2 ulp, f64: 8 ulp).
//!
//! f32: two polynomials that meet at 0.9277 (minimax coefficients after N. Juffa): below, in x^2; above, 1 - exp(p(|x|)).
//! With AVX-512 by a table ([`permuted`]).
//! f64: they meet at 1: below, in x^2; above, 1 - exp(-x^2) q(u), u a ratio that maps 1..6 to -1..1 (Chebyshev interpolations).

mod permuted;

use inkwell::FloatPredicate;

use super::super::llvm::emit::{Emit, Val};
use super::{exp, in_registers, is_double};

/// erf(x) / x in x^2, highest power first.
const NEAR_F64: [f64; 13] = [
    5.957_176_147_748_911e-11,
    -1.137_284_885_679_167_4e-9,
    1.465_977_527_404_743_6e-8,
    -1.635_031_270_105_469_5e-7,
    1.646_100_048_412_136_8e-6,
    -1.492_559_526_683_118_2e-5,
    0.000_120_553_311_116_427_1,
    -0.000_854_832_698_083_379,
    0.005_223_977_624_818_014_5,
    -0.026_866_170_645_076_792,
    0.112_837_916_709_548_79,
    -0.376_126_389_031_837_5,
    std::f64::consts::FRAC_2_SQRT_PI,
];

/// erfc(x) exp(x^2) in u.
const FAR_F64: [f64; 19] = [
    1.921_273_267_988_057_4e-14,
    -1.421_314_030_471_531_6e-13,
    -1.018_514_015_998_055_7e-12,
    1.271_822_631_818_182_5e-13,
    2.227_830_935_694_050_2e-11,
    7.362_738_434_909_444e-11,
    -2.688_307_223_353_653_7e-10,
    -2.624_021_947_866_73e-9,
    -5.885_355_290_157_333e-10,
    7.005_319_580_576_908e-8,
    1.634_993_529_346_647_9e-7,
    -1.979_561_818_957_844_6e-6,
    -7.340_517_934_970_952e-6,
    8.079_220_426_293_067e-5,
    0.000_197_139_177_727_722_6,
    -0.005_588_816_281_839_609,
    0.038_560_570_425_182_43,
    -0.161_893_568_041_024_98,
    0.221_429_540_229_931_8,
];

pub fn erf<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    if e.has_avx512() && !is_double(e, x) {
        return in_registers(e, x, &|x| permuted::erf(e, x));
    }
    let a = e.call("llvm.fabs", &[x]);
    let (near, tail, border) = if is_double(e, x) { double(e, x, a) } else { single(e, x, a) };
    let far = e.call("llvm.copysign", &[e.sub(e.same(x, 1.0), tail), x]);
    // NaN takes the near side, where it stays NaN.
    e.select(e.fcmp(FloatPredicate::OGT, a, e.same(x, border)), far, near)
}

/// erf near 0, erfc of |x| far from it, and where they meet.
fn single<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, a: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>, f64) {
    let most = e.same(x, 4.5);
    let t = e.select(e.fcmp(FloatPredicate::OGT, a, most), most, a);
    let s = e.mul(x, x);
    let near = e.polynomial(
        s,
        &[-5.967_617_03e-4, 4.991_194_23e-3, -2.676_813_49e-2, 1.128_199_25e-1, -3.761_253_36e-1, 1.283_791_66e-1],
    );
    let near = e.fma(near, x, x);
    let power = e.polynomial(
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
    (near, exp::exp_near(e, power), 0.927_734_375)
}

fn double<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>, a: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>, f64) {
    let near = e.mul(e.polynomial(e.mul(x, x), &NEAR_F64), x);
    // Beyond 6 the result is 1.
    let most = e.same(x, 6.0);
    let t = e.select(e.fcmp(FloatPredicate::OGT, a, most), most, a);
    let two = e.same(x, 2.0);
    let ratio = e.fdiv(e.sub(t, two), e.add(t, two));
    let u = e.fma_n(ratio, 2.4, e.same(x, -0.2));
    let tail = e.mul(exp::exp_near(e, e.fneg(e.mul(t, t))), e.polynomial(u, &FAR_F64));
    (near, tail, 1.0)
}
