//! `erf` of f32 with AVX-512 (2 ulp): 32 polynomials, whose coefficients stand in registers and are looked up by permuting.
//!
//! One stands for the points nearest to i / 8: erf(i / 8 + r) by powers of r (least maximum of the relative error, coefficients
//! rounded one after the other). Beyond 3.93 the result is 1. Half the work of what [`erf`](super::erf) does elsewhere, and
//! GELU is made of it.

use inkwell::FloatPredicate;

use super::super::super::llvm::emit::{Emit, Val};

/// Coefficients of the polynomials, of the highest power first.
#[rustfmt::skip]
const TABLE: [[f64; 32]; 5] = [
    [
        0.021_154_042, 0.067_288_23, 0.125_998_91, 0.166_023_54, 0.182_715_03, 0.176_242_99, 0.150_597_36, 0.112_413_53,
        0.069_282_57, 0.028_122_256, -0.005_990_345_5, -0.030_338_526, -0.044_463_28, -0.049_620_498, -0.048_041_653, -0.042_232_54,
        -0.034_442_317, -0.026_373_532, -0.019_103_346, -0.013_154_54, -0.008_641_517, -0.005_429_656_7, -0.003_269_445_8, -0.001_889_557,
        -0.001_049_446_5, -5.606_690_5e-4, -2.883_730_6e-4, -1.428_905e-4, -6.825_032e-5, -3.143_941_3e-5, -1.397_328_65e-5, -5.994_404_5e-6,
    ],
    [
        -0.377_316_36, -0.358_223_94, -0.308_787_32, -0.234_654_72, -0.146_428_35, -0.055_805_44, 0.026_529_146, 0.092_595_73,
        0.138_031_62, 0.162_153_08, 0.167_305_48, 0.157_788_25, 0.138_679_34, 0.114_830_15, 0.090_189_494, 0.067_496_955,
        0.048_286_807, 0.033_098_38, 0.021_776_58, 0.013_771_343, 0.008_379_97, 0.004_911_034_4, 0.002_773_857_4, 0.001_510_912,
        7.940_719_4e-4, 4.028_422_4e-4, 1.973_452_9e-4, 9.338_465e-5, 4.269_762e-5, 1.886_768_8e-5, 8.059_642e-6, 3.328_730_6e-6,
    ],
    [
        2.112_785_5e-5, -0.138_856_02, -0.265_000_1, -0.367_630_84, -0.439_390_57, -0.477_186_95, -0.482_198_33, -0.459_152_13,
        -0.415_107_82, -0.358_058_57, -0.295_651_76, -0.234_245, -0.178_395_69, -0.130_767_6, -0.092_356_354, -0.062_898_48,
        -0.041_333_973, -0.026_224_22, -0.016_070_182, -0.009_515_346, -0.005_445_676, -0.003_013_144_2, -0.001_612_241_8, -8.343_921_5e-4,
        -4.1775e-4, -2.023_652_8e-4, -9.486_106e-5, -4.303_530_7e-5, -1.889_702_8e-5, -8.03222e-6, -3.305_131e-6, -1.316_699_4e-6,
    ],
    [
        0.128_379_1, 1.110_884_8, 1.060_013_8, 0.980_352_6, 0.878_782_6, 0.763_499_7, 0.642_931_34, 0.524_745_35,
        0.415_107_82, 0.318_274_26, 0.236_521_35, 0.170_359_92, 0.118_930_36, 0.080_472_27, 0.052_774_966, 0.033_545_773,
        0.020_666_923, 0.012_340_761, 0.007_142_268, 0.004_006_438, 0.002_178_255, 0.001_147_855, 5.862_640_7e-4, 2.902_201e-4,
        1.392_482e-4, 6.475_593e-5, 2.918_752_4e-5, 1.275_095_75e-5, 5.399_034e-6, 2.215_730_8e-6, 8.813_442e-7, 3.397_830_4e-7,
    ],
    [
        0.0, 0.140_316_2, 0.276_326_4, 0.404_116_9, 0.520_499_9, 0.623_240_9, 0.711_155_65, 0.784_075_1,
        0.842_700_8, 0.888_388_2, 0.922_900_14, 0.948_170_07, 0.966_105_16, 0.978_443_74, 0.986_671_7, 0.991_990_03,
        0.995_322_3, 0.997_346, 0.998_537_3, 0.999_217_03, 0.999_593, 0.999_794_6, 0.999_899_4, 0.999_952_14,
        0.999_977_9, 0.999_990_1, 0.999_995_7, 0.999_998_2, 0.999_999_3, 0.999_999_7, 0.999_999_9, 0.999_999_94,
    ],
];

/// Of 16 lanes.
pub fn erf<'ctx>(e: &Emit<'ctx>, x: Val<'ctx>) -> Val<'ctx> {
    let a = e.call("llvm.fabs", &[x]);
    let most = e.same(x, 3.93);
    // NaN stays.
    let a = e.select(e.fcmp(FloatPredicate::OGT, a, most), most, a);
    // The number of the polynomial is in the low bits, where a permutation looks for it.
    let magic = e.same(x, 12_582_912.0);
    let shifted = e.fma_n(a, 8.0, magic);
    let whole = e.sub(shifted, magic);
    let r = e.fma_n(whole, -0.125, a);
    let at = e.bitcast(shifted, e.int(32));
    let coefficient = |table: &[f64; 32]| {
        let half = |part: &[f64]| e.constant_vector(&part.iter().map(|c| e.number(e.f32(), *c)).collect::<Vec<_>>());
        let (low, high) = table.split_at(16);
        e.call_as("llvm.x86.avx512.vpermi2var.ps.512", &[], &[half(low), at, half(high)])
    };
    let [highest, between @ .., last] = &TABLE;
    let sum = between.iter().fold(coefficient(highest), |sum, c| e.fma(sum, r, coefficient(c)));
    // Near 0 the result is x and a little: what is left of the factor has more digits then.
    let first = e.fcmp(FloatPredicate::OEQ, whole, e.same(x, 0.0));
    let y = e.fma(sum, r, e.select(first, r, coefficient(last)));
    e.call("llvm.copysign", &[y, x])
}
