//! The documented error bounds, over the whole range of f32, for every variant that this processor has.
//!
//! Every `STRIDE`th bit pattern, all special values and the neighbourhoods of borders. `GATEC_STRIDE=37` looks closer, `GATEC_SHOW=1` shows
//! the largest error of each function (with `--nocapture`).
#![allow(unsafe_code, reason = "calls generated code")]

use gatec_runtime::format::{Isa, abi};
use inkwell::OptimizationLevel;
use inkwell::context::Context;

use crate::codegen::build;
use crate::kernel::Elem;
use crate::kernel::text::parse;
use crate::scalar::{Binary, Unary};
use crate::schedule::interp::rounded;
use crate::schedule::{lanes, schedule};

/// A prime: all exponents and, over the exponents, all sorts of fractions.
const STRIDE: usize = 1021;

/// Bounds in units in the last place of f32, `docs/numerics.md` shows them.
const BOUNDS: &[(Unary, f64)] = &[
    (Unary::Exp, 1.01),
    (Unary::Expm1, 2.0),
    (Unary::Log, 1.0),
    (Unary::Log1p, 2.0),
    (Unary::Tanh, 3.0),
    (Unary::Sigmoid, 3.0),
    (Unary::Erf, 2.0),
    (Unary::Sin, 1.0),
    (Unary::Cos, 1.0),
    (Unary::Rsqrt, 2.0),
    (Unary::Recip, 0.5),
    (Unary::Sqrt, 0.5),
    (Unary::Floor, 0.0),
    (Unary::Ceil, 0.0),
    (Unary::Round, 0.0),
    (Unary::Neg, 0.0),
    (Unary::Abs, 0.0),
    (Unary::Sign, 0.0),
];

/// Runs `y = f(x...)` as a kernel of its own, compiled for `isa`.
fn run<T: Copy + Default>(isa: Isa, elem: &str, f: &str, operands: &[&[T]]) -> Vec<T> {
    let reads: String = (0..operands.len()).map(|i| format!("b{i} = read {elem} \"x\" ")).collect();
    let loads: String = (0..operands.len()).map(|i| format!("%{i} = load b{i}[i0] ")).collect();
    let n = operands.len();
    let list = (0..n).map(|i| format!("%{i}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "kernel \"f\" dims 1 vars 1 {{ {reads} b{n} = write {elem} \"y\" {loads} %{n} = {f} {list}
         nest {{ map i0 \"t\" in n0 {{ b{n}[i0] = %{n} }} }} }}"
    );
    let count = operands[0].len();
    let mut y = vec![T::default(); count];
    let mut args: Vec<*mut u8> = operands.iter().map(|x| x.as_ptr().cast_mut().cast()).collect();
    args.push(y.as_mut_ptr().cast());
    call(isa, &text, &args, count);
    y
}

/// Compiles a kernel of one unit for `isa` and calls it with buffers of `count` elements, its only size.
fn call(isa: Isa, text: &str, args: &[*mut u8], count: usize) {
    let kernel = parse(text).unwrap_or_else(|e| panic!("{e} in {text}"));
    let chosen = schedule(&kernel, isa);
    let context = Context::create();
    let (module, _) = build(&context, &[("f".into(), kernel, chosen)]).unwrap_or_else(|e| panic!("{e}"));
    let engine = module.create_jit_execution_engine(OptimizationLevel::Default).unwrap_or_else(|e| panic!("{e}"));
    let address = engine.get_function_address("f").unwrap_or_else(|e| panic!("{e}"));
    // SAFETY: generated code has this type, and `engine` lives until the call is over.
    let entry: abi::Kernel = unsafe { std::mem::transmute(address) };
    // SAFETY: each buffer has `count` elements; the nest has one unit; the kernel needs no scratch.
    let failed = unsafe { entry(args.as_ptr(), [count as i64].as_ptr(), 0, 1, std::ptr::null_mut()) };
    assert_eq!(failed, 0);
}

/// Elements stored as another type.
fn converted<X, Y: Copy + Default>(isa: Isa, from: &str, to: &str, x: &[X]) -> Vec<Y> {
    let text = format!(
        "kernel \"f\" dims 1 vars 1 {{ b0 = read {from} \"x\" b1 = write {to} \"y\" %0 = load b0[i0]
         nest {{ map i0 \"t\" in n0 {{ b1[i0] = %0 }} }} }}"
    );
    let mut y = vec![Y::default(); x.len()];
    call(isa, &text, &[x.as_ptr().cast_mut().cast(), y.as_mut_ptr().cast()], x.len());
    y
}

/// Every half is widened exactly; every f32 around the borders of rounding becomes the nearest half, the even one of two.
#[test]
fn halves_convert_as_the_standard_says() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for (elem, name, fraction, bias) in [(Elem::F16, "f16", 10, 15), (Elem::Bf16, "bf16", 7, 127)] {
        let value = |bits: u16| -> f64 {
            let exponent = i32::from(bits & 0x7FFF) >> fraction;
            let part = f64::from(bits & ((1 << fraction) - 1)) / f64::from(1 << fraction);
            let magnitude = match exponent {
                0 => part * 2f64.powi(1 - bias),
                e if e == 2 * bias + 1 => [f64::NAN, f64::INFINITY][usize::from(part == 0.0)],
                e => (1.0 + part) * 2f64.powi(e - bias),
            };
            if bits & 0x8000 == 0 { magnitude } else { -magnitude }
        };
        // Each half, the middle between it and the next one away from zero, and what is next to that middle.
        let near = |bits: u16| {
            let (here, next) = (value(bits), value(bits ^ 1));
            let middle = f32::midpoint(here as f32, next as f32).to_bits();
            [(here as f32).to_bits(), middle, middle.wrapping_add(1), middle.wrapping_sub(1)].map(f32::from_bits)
        };
        let mut borders: Vec<f32> = all.iter().flat_map(|bits| near(*bits)).collect();
        borders.extend([
            65504.0,
            65519.996,
            65520.0,
            65536.0,
            1e9,
            f32::MAX,
            3.389e38,
            1e-45,
            1e-8,
            f32::INFINITY,
            -0.0,
        ]);
        for isa in isas() {
            let wide: Vec<f32> = converted(isa, name, "f32", &all);
            for (bits, found) in all.iter().zip(&wide) {
                let want = value(*bits);
                let same = f64::from(*found).to_bits() == want.to_bits();
                assert!(same || want.is_nan() && found.is_nan(), "{isa:?}, {name} {bits:#x}: {found}");
            }
            let narrow: Vec<u16> = converted(isa, "f32", name, &borders);
            for (x, bits) in borders.iter().zip(&narrow) {
                let (found, want) = (value(*bits), rounded(elem, f64::from(*x)));
                let same = found.to_bits() == want.to_bits();
                assert!(same || want.is_nan() && found.is_nan(), "{isa:?}, {x:e} as {name}: {found:e}, not {want:e}");
            }
        }
    }
}

/// The x86 variants that can run here; the others are named.
fn isas() -> Vec<Isa> {
    let all = [Isa::X86V4, Isa::X86V3, Isa::X86];
    let supported: Vec<Isa> = gatec_runtime::cpu::supported().collect();
    let lacking: Vec<&Isa> = all.iter().filter(|isa| !supported.contains(isa)).collect();
    assert!(supported.contains(&Isa::X86), "every x86-64 runs the baseline");
    if !lacking.is_empty() {
        // Tests are read where they run.
        #[allow(clippy::print_stderr, reason = "says what is not covered here")]
        {
            eprintln!("not run: this processor has no {lacking:?}");
        }
    }
    all.into_iter().filter(|isa| supported.contains(isa)).collect()
}

fn inputs() -> Vec<f32> {
    let stride = std::env::var("GATEC_STRIDE").ok().and_then(|s| s.parse().ok()).unwrap_or(STRIDE);
    let mut all: Vec<f32> = (0..=u32::MAX).step_by(stride).map(f32::from_bits).collect();
    let borders = [
        0.0f32,
        1.0,
        2.0,
        0.5,
        9.5,
        87.0,
        88.722,
        88.73,
        103.97,
        104.0,
        0.927_734_4,
        4.5,
        20.0,
        8_388_608.0,
        1e-20,
        std::f32::consts::LN_2,
        std::f32::consts::FRAC_1_SQRT_2,
        std::f32::consts::FRAC_PI_2,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        1e-45,
        1e-38,
        3.2,
        1e-7,
        f32::NAN,
    ];
    for border in borders {
        for bits in border.to_bits().saturating_sub(40)..=border.to_bits().saturating_add(40) {
            all.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
        }
    }
    all
}

/// How far `y` is from the exact value, in units in the last place of f32.
fn ulps(y: f32, exact: f64) -> f64 {
    if y.is_nan() || exact.is_nan() {
        return if y.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let nearest = exact as f32;
    if y == nearest {
        return 0.0;
    }
    // One beyond the greatest number counts as one step, not as infinitely many.
    let finite = |x: f32| if x.is_infinite() { 2f64.powi(128).copysign(f64::from(x)) } else { f64::from(x) };
    let exact = if nearest.is_infinite() { finite(nearest) } else { exact };
    let exponent = exact.abs().log2().floor().clamp(-126.0, 127.0) as i32;
    (finite(y) - exact).abs() / 2f64.powi(exponent - 23)
}

#[test]
fn functions_of_f32_keep_their_bounds_over_the_whole_range() {
    let x = inputs();
    let mut faults = Vec::new();
    for (f, bound) in BOUNDS {
        // Beyond 2^20 the reduced argument of sin and cos has an absolute error only.
        let is_trig = matches!(f, Unary::Sin | Unary::Cos);
        let x: Vec<f32> = x.iter().copied().filter(|x| !is_trig || x.abs() < 1_048_576.0 || !x.is_finite()).collect();
        let exact: Vec<f64> = x.iter().map(|x| f.eval(f64::from(*x))).collect();
        for isa in isas() {
            let y = run(isa, "f32", f.name(), &[&x]);
            let worst = (0..x.len()).max_by(|a, b| ulps(y[*a], exact[*a]).total_cmp(&ulps(y[*b], exact[*b])));
            let worst = worst.expect("there are inputs");
            let error = ulps(y[worst], exact[worst]);
            let line = format!("{f} {isa}: {error:.3} ulp at {:e}: {:e} for {:e}", x[worst], y[worst], exact[worst]);
            if std::env::var_os("GATEC_SHOW").is_some() {
                #[allow(clippy::print_stderr, reason = "asked for")]
                {
                    eprintln!("{line}");
                }
            }
            if error > *bound {
                faults.push(line);
            }
        }
    }
    assert!(faults.is_empty(), "{} bounds broken:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_documented_bounds_are_those_that_are_tested() {
    let page = include_str!("../../../../docs/numerics.md");
    for (f, bound) in BOUNDS.iter().filter(|(_, bound)| *bound > 0.0) {
        let row =
            page.lines().find(|l| l.starts_with(&format!("| `{f}` |"))).unwrap_or_else(|| panic!("no row of `{f}`"));
        assert!(row.starts_with(&format!("| `{f}` | {bound} |")), "{row} (tested: {bound})");
    }
}

#[test]
fn zeros_keep_their_sign() {
    let odd = [Unary::Sin, Unary::Tanh, Unary::Erf, Unary::Expm1, Unary::Log1p, Unary::Sqrt, Unary::Sign, Unary::Floor];
    for f in odd.into_iter().chain([Unary::Ceil, Unary::Round]) {
        for isa in isas() {
            let x = vec![-0.0f32; 2 * lanes(isa) as usize + 1];
            assert!(run(isa, "f32", f.name(), &[&x]).iter().all(|y| y.to_bits() == (-0.0f32).to_bits()), "{f} {isa}");
        }
    }
}

/// A vector's lanes and the tail's give the same bits.
#[test]
fn a_number_has_the_same_result_in_every_lane() {
    let x: Vec<f32> = inputs().into_iter().step_by(4099).collect();
    for (f, _) in BOUNDS {
        for isa in isas() {
            let width = lanes(isa) as usize;
            let together = run(isa, "f32", f.name(), &[&x]);
            for shift in 1..width {
                let shifted = run(isa, "f32", f.name(), &[&x[shift.min(x.len())..]]);
                // What NaN carries is nobody's business.
                let differs = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
                let found = shifted.iter().zip(&together[shift..]).find(differs);
                assert_eq!(found, None, "{f} {isa}: shifted by {shift}");
            }
        }
    }
}

#[test]
fn powers_keep_their_bound() {
    let mut a = Vec::new();
    let mut b = Vec::new();
    let bases: Vec<f32> = inputs().into_iter().step_by(4001).chain([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5]).collect();
    let powers = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        10.0,
        0.333,
        1.5,
        -7.25,
        31.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e30,
        16_777_217.0,
    ];
    for x in &bases {
        for p in &powers {
            a.push(*x);
            b.push(*p);
        }
    }
    for isa in isas() {
        let y = run(isa, "f32", "pow", &[&a, &b]);
        for i in 0..a.len() {
            let exact = Binary::Pow.eval(Elem::F32, f64::from(a[i]), f64::from(b[i]));
            let error = ulps(y[i], exact);
            assert!(error <= 1.0, "{isa}: {:e} ^ {:e} = {:e}, not {exact:e}", a[i], b[i], y[i]);
        }
    }
}

/// f64 in units of f64's last place, against the host's functions, which are right to about one.
#[test]
fn functions_of_f64_keep_their_bounds() {
    let mut x: Vec<f64> =
        (0..400_000u64).map(|i| f64::from_bits(i.wrapping_mul(0x2_E8BA_2E8B_A2E9) << 1 | i & 1)).collect();
    x.extend((-40_000..40_000).map(|i| f64::from(i) * 0.001_953_1));
    x.extend([
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        5e-324,
        -5e-324,
        709.78,
        709.79,
        -745.2,
        1e-308,
        1.0,
    ]);
    let mut faults = Vec::new();
    let bounds = [
        (Unary::Exp, 2.0),
        (Unary::Expm1, 4.0),
        (Unary::Log, 3.0),
        (Unary::Log1p, 4.0),
        (Unary::Tanh, 5.0),
        (Unary::Sigmoid, 4.0),
        (Unary::Erf, 8.0),
        (Unary::Sin, 2.0),
        (Unary::Cos, 2.0),
        (Unary::Rsqrt, 2.0),
        (Unary::Recip, 0.5),
    ];
    for (f, bound) in bounds {
        let is_trig = matches!(f, Unary::Sin | Unary::Cos);
        let x: Vec<f64> = x.iter().copied().filter(|x| !is_trig || x.abs() < 1_048_576.0 || !x.is_finite()).collect();
        for isa in isas() {
            let y = run(isa, "f64", f.name(), &[&x]);
            let error = |i: usize| {
                let exact = f.eval(x[i]);
                if y[i] == exact || y[i].is_nan() && exact.is_nan() {
                    return 0.0;
                }
                let ulp = exact.abs().next_up() - exact.abs();
                let error = (y[i] - exact).abs() / ulp;
                if error.is_nan() { f64::INFINITY } else { error }
            };
            let worst = (0..x.len()).max_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0);
            if error(worst) > bound {
                let (x, y, exact) = (x[worst], y[worst], f.eval(x[worst]));
                faults.push(format!("{f} {isa}: {:.2} ulp at {x:e}: {y:e} for {exact:e}", error(worst)));
            }
        }
    }
    assert!(faults.is_empty(), "{} bounds broken:\n{}", faults.len(), faults.join("\n"));
}
