//! Compiled kernels against the interpreter of kernels, for every variant that this processor has.
#![allow(unsafe_code, reason = "calls generated code")]

use gatec_runtime::format::{Isa, abi};
use inkwell::OptimizationLevel;
use inkwell::context::Context;

use crate::codegen::build;
use crate::kernel::text::parse;
use crate::kernel::verify::verify;
use crate::kernel::{Elem, Extent, Kernel};
use crate::schedule::{Choices, Schedule, UnitsExpr, interp, schedule, schedule_as, scratch};

fn isas() -> impl Iterator<Item = Isa> {
    gatec_runtime::cpu::supported().filter(|isa| matches!(isa, Isa::X86V4Bf16 | Isa::X86V4 | Isa::X86V3 | Isa::X86))
}

fn known(size: &UnitsExpr, dims: &[i64]) -> i64 {
    match size {
        UnitsExpr::Known(n) | UnitsExpr::Extent(Extent::Known(n)) => *n,
        UnitsExpr::Extent(Extent::Dim(d)) => dims[d.0 as usize],
        UnitsExpr::Add(terms) => terms.iter().map(|t| known(t, dims)).sum(),
        UnitsExpr::Mul(factors) => factors.iter().map(|t| known(t, dims)).product(),
        UnitsExpr::Min(parts) => parts.iter().map(|t| known(t, dims)).min().unwrap_or(0),
        UnitsExpr::DivUp(n, by) => (known(n, dims) + by - 1) / by,
    }
}

fn to_bytes(elem: Elem, numbers: &[f64]) -> Vec<u8> {
    match elem {
        Elem::F32 => numbers.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        Elem::I32 => numbers.iter().flat_map(|x| (*x as i32).to_le_bytes()).collect(),
        Elem::F64 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        other => unreachable!("no test has {other}"),
    }
}

fn to_numbers(elem: Elem, bytes: &[u8]) -> Vec<f64> {
    match elem {
        Elem::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        Elem::I32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        _ => bytes
            .chunks_exact(8)
            .map(|b| f64::from_bits(u64::from_le_bytes(b.try_into().unwrap_or_default())))
            .collect(),
    }
}

/// Runs the compiled kernel's units in two halves, the later ones first.
fn compiled(kernel: &Kernel, chosen: &Schedule, dims: &[i64], buffers: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let context = Context::create();
    let scheduled = ("f".into(), kernel.clone(), chosen.clone());
    let (module, _) = build(&context, &[scheduled]).unwrap_or_else(|e| panic!("{e}"));
    let engine = module.create_jit_execution_engine(OptimizationLevel::Default).unwrap_or_else(|e| panic!("{e}"));
    let address = engine.get_function_address("f").unwrap_or_else(|e| panic!("{e}"));
    // SAFETY: generated code has this type, and `engine` lives until the calls are over.
    let entry: abi::Kernel = unsafe { std::mem::transmute(address) };
    // Buffers begin with a cache line, as those of sessions do.
    let mut memory: Vec<(Vec<u8>, usize)> = Vec::new();
    for (b, numbers) in kernel.buffers.iter().zip(buffers) {
        let bytes = to_bytes(b.elem, numbers);
        let mut space = vec![0; LINE + bytes.len()];
        let start = space.as_ptr().align_offset(LINE);
        space[start..start + bytes.len()].copy_from_slice(&bytes);
        memory.push((space, start));
    }
    let args: Vec<*mut u8> = memory.iter_mut().map(|(space, start)| space[*start..].as_mut_ptr()).collect();
    let mut space = vec![f64::NAN; known(&scratch(kernel, chosen), dims) as usize / 8 + 1];
    let units = interp::units(kernel, chosen, dims);
    for (from, to) in [(units / 2, units), (0, units / 2)] {
        // SAFETY: buffers and scratch are as large as the kernel asks for.
        let failed = unsafe { entry(args.as_ptr(), dims.as_ptr(), from, to, space.as_mut_ptr().cast()) };
        assert_eq!(failed, 0);
    }
    let results = memory.iter().zip(&kernel.buffers).zip(buffers);
    results
        .map(|(((m, from), b), x)| to_numbers(b.elem, &m[*from..*from + x.len() * b.elem.bytes() as usize]))
        .collect()
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Every variant gives what the interpreter gives, within `tolerance`.
fn agrees(text: &str, dims: &[i64], buffers: &[Vec<f64>], tolerance: f64) {
    let kernel = parse(text).unwrap_or_else(|e| panic!("{e} in {text}"));
    verify(&kernel).unwrap_or_else(|faults| panic!("{faults:?} in {text}"));
    for isa in isas() {
        let chosen = schedule(&kernel, isa);
        let mut expected = buffers.to_vec();
        let units = interp::units(&kernel, &chosen, dims);
        let in_range = interp::run(&kernel, &chosen, dims, &mut expected, std::slice::from_ref(&(0..units)));
        assert_eq!(in_range, Ok(true), "{isa}: {text}");
        let found = compiled(&kernel, &chosen, dims, buffers);
        for ((found, expected), buffer) in found.iter().zip(&expected).zip(&kernel.buffers) {
            if !buffer.access.writes() {
                continue;
            }
            for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance;
                assert!(same, "{isa}, dims {dims:?}, {} [{i}]: {a}, not {b}\n{text}", buffer.name);
            }
        }
    }
}

/// Numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn small(&mut self) -> f64 {
        (self.next() % 2001) as f64 / 1000.0 - 1.0
    }
    /// Ties, both zeros, both infinities, NaN of both signs.
    fn score(&mut self) -> f64 {
        match self.next() % 12 {
            0 => f64::NAN,
            1 => -f64::NAN,
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            4 => 0.0,
            5 => -0.0,
            6 => f64::from(f32::MIN_POSITIVE) / 4.0,
            7 => -1.5,
            8 => 1.5,
            9 => f64::from(f32::MAX),
            _ => self.small(),
        }
    }
}

#[test]
fn top_k_keeps_the_total_order() {
    let mut numbers = Numbers(5);
    for (n, k) in [(1, 1), (2, 1), (5, 5), (8, 2), (16, 16), (17, 3), (33, 33), (64, 8), (512, 10)] {
        for elem in ["f32", "f64"] {
            let text = format!(
                "kernel \"top_k\" dims 1 vars 3 {{ b0 = read {elem} \"s\" b1 = write i32 \"i\" %0 = load b0[{n}*i0 + i1]
                 top_k i0 \"t\" in n0 over i1 \"e\" in {n} of %0 take {k} slot i2 {{ b1[{k}*i0 + i2] }} }}"
            );
            let scores: Vec<f64> = (0..7 * n).map(|_| numbers.score()).collect();
            agrees(&text, &[7], &[scores, vec![-1.0; 7 * k]], 0.0);
        }
        let whole: Vec<f64> = (0..7 * n)
            .map(|_| match numbers.next() % 4 {
                0 => f64::from(i32::MAX),
                1 => f64::from(i32::MIN),
                _ => (numbers.next() % 7) as f64 - 3.0,
            })
            .collect();
        let text = format!(
            "kernel \"top_k\" dims 1 vars 3 {{ b0 = read i32 \"s\" b1 = write i32 \"i\" %0 = load b0[{n}*i0 + i1]
             top_k i0 \"t\" in n0 over i1 \"e\" in {n} of %0 take {k} slot i2 {{ b1[{k}*i0 + i2] }} }}"
        );
        agrees(&text, &[7], &[whole, vec![-1.0; 7 * k]], 0.0);
    }
}

/// Candidates all NaN, or all alike: the lowest indices, in order.
#[test]
fn top_k_of_equals_takes_the_first() {
    let text = "kernel \"top_k\" dims 1 vars 3 { b0 = read f32 \"s\" b1 = write i32 \"i\" %0 = load b0[20*i0 + i1]
                top_k i0 \"t\" in n0 over i1 \"e\" in 20 of %0 take 4 slot i2 { b1[4*i0 + i2] } }";
    for all in [f64::NAN, 0.0, f64::NEG_INFINITY] {
        agrees(text, &[3], &[vec![all; 60], vec![-1.0; 12]], 0.0);
    }
}

#[test]
fn rows_are_grouped_stably() {
    let mut numbers = Numbers(9);
    for experts in [1i64, 3, 8, 300] {
        for rows in [0i64, 1, 7, 100] {
            let text = format!(
                "kernel \"group\" dims 1 vars 1 {{ b0 = read i32 \"e\" b1 = write i32 \"order\" b2 = write i32 \"offsets\"
                 %0 = load b0[i0] group_rows i0 \"t\" in n0 of %0 experts {experts} order b1 offsets b2 }}"
            );
            let of: Vec<f64> = (0..rows).map(|_| (numbers.next() % experts as u64) as f64).collect();
            agrees(&text, &[rows], &[of, vec![-1.0; rows as usize], vec![-1.0; experts as usize + 1]], 0.0);
        }
    }
}

/// Along the outermost axis: vectors run across, each lane folds for itself.
#[test]
fn running_folds_along_the_outer_axis() {
    let mut numbers = Numbers(3);
    for cols in [1i64, 5, 16, 37] {
        let text = format!(
            "kernel \"running\" dims 1 vars 2 {{ b0 = read f32 \"x\" b1 = write f32 \"y\" %0 = load b0[{cols}*i1 + i0]
             nest i0 \"e\" in {cols} {{ running sum over i1 \"t\" in n0 of %0 {{ b1[{cols}*i1 + i0] = %0 }} }} }}"
        );
        let x: Vec<f64> = (0..9 * cols).map(|_| numbers.small()).collect();
        agrees(&text, &[9], &[x, vec![0.0; 9 * cols as usize]], 1e-5);
    }
}

/// A left operand that is guarded at its borders, and one that gates itself; odd sizes.
#[test]
fn prologues_feed_the_product() {
    let mut numbers = Numbers(7);
    // Each with the number of its last expression.
    let lefts = [
        (1, "%0 = load b0[SUM*i1 + i3 + -3] if SUM*i1 + i3 + -3 < 300 else 0.5 %1 = neg %0"),
        (2, "%0 = load b0[SUM*i1 + i3] %1 = sigmoid %0 %2 = mul %0, %1"),
    ];
    // Row counts around the tile's, sums around a vector's, columns around a panel's.
    for (rows, sum, cols) in [(1i64, 1i64, 1i64), (2, 17, 5), (7, 16, 48), (9, 33, 50)] {
        for (x, left) in lefts {
            let left = left.replace("SUM", &sum.to_string());
            for isa in isas() {
                let lanes = crate::schedule::packed_lanes(1, Elem::F32, isa) as i64;
                let panels = (cols + lanes - 1) / lanes;
                let text = format!(
                    "kernel \"contract\" dims 1 vars 4 {{ b0 = read f32 \"x\" b1 = read packed f32 \"w\" b2 = write f32 \"y\" {left}
                     %{acc} = acc 0 contract batch i0 \"\" in 1 rows i1 \"t\" in n0 cols i2 \"h\" in {cols} sums i3 \"d\" in {sum}
                     groups 1 x %{x} w b1 {{ b2[{cols}*i1 + i2] = %{acc} }} }}",
                    acc = x + 1
                );
                let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
                let chosen = schedule(&kernel, isa);
                let data: Vec<f64> = (0..300).map(|_| numbers.small()).collect();
                let w: Vec<f64> = (0..panels * sum * lanes).map(|_| numbers.small()).collect();
                let buffers = vec![data, w, vec![0.0; (rows * cols) as usize]];
                let mut expected = buffers.clone();
                let units = interp::units(&kernel, &chosen, &[rows]);
                interp::run(&kernel, &chosen, &[rows], &mut expected, std::slice::from_ref(&(0..units))).unwrap();
                let found = compiled(&kernel, &chosen, &[rows], &buffers);
                for (a, b) in found[2].iter().zip(&expected[2]) {
                    assert!((a - b).abs() < 1e-4, "{isa}: {a}, not {b}\n{text}");
                }
            }
        }
    }
}

/// Sums of more steps than a block, in one loop and in several: as rows stand, evaluated, near one another, with pieces of any depth.
#[test]
fn long_sums_have_the_same_bits_among_few_and_many() {
    let mut numbers = Numbers(21);
    // Loops of the sum, where its rows stand, and the left operand.
    let loops = |extents: &[i64]| {
        let each = extents.iter().zip(3..).map(|(n, i)| format!("i{i} \"d\" in {n}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let cases = [
        ([300, 1, 1].as_slice(), "%0 = load b0[300*i1 + i3 + i4 + i5]", 0),
        (&[127, 1, 1], "%0 = load b0[300*i1 + i3] %1 = neg %0", 1),
        (&[257, 1, 1], "%0 = load b0[300*i1 + i3] %1 = sigmoid %0 %2 = mul %0, %1", 2),
        // Windows: 3 by 3 of 40 channels, and few channels of long ones.
        (&[40, 3, 3], "%0 = load b0[i1 + 100*i3 + 10*i4 + i5]", 0),
        (&[3, 5, 29], "%0 = load b0[i1 + 200*i3 + 40*i4 + i5]", 0),
    ];
    for (extents, left, x) in cases {
        let sum: i64 = extents.iter().product();
        for isa in isas() {
            let lanes = crate::schedule::packed_lanes(1, Elem::F32, isa) as i64;
            let text = format!(
                "kernel \"contract\" dims 1 vars 6 {{ b0 = read f32 \"x\" b1 = read packed f32 \"w\" b2 = write f32 \"y\" {left}
                 %{acc} = acc 0 contract batch i0 \"\" in 1 rows i1 \"t\" in n0 cols i2 \"h\" in 20 sums {sums}
                 groups 1 x %{x} w b1 {{ b2[20*i1 + i2] = %{acc} }} }}",
                acc = x + 1,
                sums = loops(extents)
            );
            let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
            let panels = (20 + lanes - 1) / lanes;
            let data: Vec<f64> = (0..300 * 40).map(|_| numbers.small()).collect();
            let w: Vec<f64> = (0..panels * sum * lanes).map(|_| numbers.small()).collect();
            let run = |rows: i64, choices: Choices| {
                let chosen = schedule_as(&kernel, isa, &choices);
                let buffers = vec![data.clone(), w.clone(), vec![0.0; (rows * 20) as usize]];
                compiled(&kernel, &chosen, &[rows], &buffers).swap_remove(2)
            };
            let one = run(1, Choices::default());
            for rows in [2, 14, 40] {
                for (piece_kib, narrow_panels) in [(1, 0), (16, 4), (64, 4)] {
                    let found = run(rows, Choices { piece_kib, narrow_panels, ..Choices::default() });
                    assert_eq!(found[..20], one, "{isa}, {rows} rows, {piece_kib} KiB, {narrow_panels}: {text}");
                }
            }
        }
    }
}

/// More results than caches hold, with rows that are aligned and rows that are not.
#[test]
fn results_that_exceed_the_caches_are_stored_past_them() {
    for cols in [1040i64, 1037] {
        let rows = 1024 * i64::from(crate::schedule::Choices::default().streamed_kib) / 4 / cols + 1;
        let lanes = |isa| crate::schedule::packed_lanes(1, Elem::F32, isa) as i64;
        let text = format!(
            "kernel \"contract\" dims 1 vars 4 {{ b0 = read f32 \"x\" b1 = read packed f32 \"w\" b2 = write f32 \"y\"
             %0 = load b0[i1 + i3] %1 = acc 0 contract batch i0 \"\" in 1 rows i1 \"t\" in n0 cols i2 \"h\" in {cols}
             sums i3 \"d\" in 1 groups 1 x %0 w b1 {{ b2[{cols}*i1 + i2] = %1 }} }}"
        );
        let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
        let x: Vec<f64> = (0..rows).map(|r| (r % 1000) as f64).collect();
        for isa in isas() {
            let panels = (cols + lanes(isa) - 1) / lanes(isa);
            let w: Vec<f64> = (0..panels * lanes(isa)).map(|c| (c % 1000) as f64).collect();
            let buffers = [x.clone(), w.clone(), vec![0.0; (rows * cols) as usize]];
            let found = compiled(&kernel, &schedule(&kernel, isa), &[rows], &buffers);
            for (i, y) in found[2].iter().enumerate() {
                assert_eq!(*y, x[i / cols as usize] * w[i % cols as usize], "{isa}: element {i}");
            }
        }
    }
}

/// Attention of two heads over `q[2][rows][sum]`: its text, with a score (of `%1`, the product; masks see row `%2` and element `%3`).
fn attention(elem: &str, cols: i64, sum: i64, score: &[&str]) -> String {
    let score: String = score.iter().enumerate().map(|(i, s)| format!("%{} = {s} ", i + 6)).collect();
    let number = score.matches('=').count() + 5;
    format!(
        "kernel \"attend\" dims 2 vars 5 {{ b0 = read {elem} \"q\" b1 = read packed {elem} \"k\" b2 = read packed {elem} \"v\"
         b3 = read {elem} \"bias\" b4 = write {elem} \"y\" %0 = load b0[{sum}*i0*n0 + {sum}*i1 + i4] %1 = acc 0 %2 = index i32 i1
         %3 = index i32 i2 %4 = const {elem} -inf %5 = load b3[i1*n1 + i2] {score} %{w} = acc 1 %{t} = acc 2 %{y} = div %{w}, %{t}
         attend batch i0 \"h\" in 2 rows i1 \"t\" in n0 over i2 \"s\" in n1 by 64 cols i3 \"v\" in {cols} sums i4 \"k\" in {sum}
         x %0 keys b1 score %{number} values b2 {{ b4[{cols}*i0*n0 + {cols}*i1 + i3] = %{y} }} }}",
        w = number + 1,
        t = number + 2,
        y = number + 3,
    )
}

/// Operands of [`attention`]: panels of a processor.
fn operands(kernel: &Kernel, isa: Isa, [rows, over, cols, sum]: [i64; 4], seed: u64) -> Vec<Vec<f64>> {
    let mut numbers = Numbers(seed);
    let elem = kernel.buffers[0].elem;
    let panel = i64::from(crate::schedule::packed_lanes(1, elem, isa));
    let mut some = |count: i64| (0..count).map(|_| 3.0 * numbers.small()).collect::<Vec<f64>>();
    let whole = |n: i64| (n + panel - 1) / panel * panel;
    let mut operands = vec![some(2 * rows * sum), some(2 * whole(over) * sum), some(2 * over * whole(cols))];
    operands.extend([some(rows * over), vec![0.0; (2 * rows * cols) as usize]]);
    operands
}

#[test]
fn attention_streams() {
    // Plain; scaled, biased, causal; a window, masked the other way round; nothing at all for the first rows.
    let scores: [&[&str]; 4] = [
        &["neg %1"],
        &["add %1, %5", "ge %2, %3", "select %7, %6, %4"],
        &["const i32 5.0", "sub %2, %6", "lt %3, %7", "gt %3, %2", "or %8, %9", "select %10, %4, %1"],
        &[
            "const i32 3.0",
            "ge %2, %6",
            "eq %2, %3",
            "or %7, %8",
            "select %9, %1, %4",
            "tanh %10",
            "select %7, %11, %4",
        ],
    ];
    for isa in isas() {
        // Rows around tiles and blocks, elements around panels and blocks, columns around panels and vectors.
        for [rows, over, cols, sum] in
            [[1, 1, 1, 1], [7, 63, 33, 5], [15, 64, 16, 16], [130, 130, 40, 17], [300, 65, 8, 3]]
        {
            for (elem, tolerance) in [("f32", 2e-5), ("f64", 1e-13)] {
                for score in scores {
                    let text = attention(elem, cols, sum, score);
                    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
                    verify(&kernel).unwrap_or_else(|faults| panic!("{faults:?} in {text}"));
                    let chosen = schedule(&kernel, isa);
                    let buffers = operands(&kernel, isa, [rows, over, cols, sum], 11);
                    let mut expected = buffers.clone();
                    let units = interp::units(&kernel, &chosen, &[rows, over]);
                    interp::run(&kernel, &chosen, &[rows, over], &mut expected, std::slice::from_ref(&(0..units)))
                        .unwrap();
                    let found = compiled(&kernel, &chosen, &[rows, over], &buffers);
                    for (i, (a, b)) in found[4].iter().zip(&expected[4]).enumerate() {
                        let same = a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance;
                        assert!(same, "{isa}, {rows}x{over}x{cols}x{sum} [{i}]: {a}, not {b}\n{text}");
                    }
                }
            }
        }
    }
}

/// Whatever rows stand beside it, and so whatever blocks their tiles pass over.
#[test]
fn a_row_of_attention_has_the_same_bits_among_few_and_many() {
    let causal: &[&str] = &["add %1, %5", "ge %2, %3", "select %7, %6, %4"];
    let (over, cols, sum) = (200, 40, 12);
    for isa in isas() {
        let text = attention("f32", cols, sum, causal);
        let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
        let chosen = schedule(&kernel, isa);
        let all = operands(&kernel, isa, [200, over, cols, sum], 5);
        let whole = compiled(&kernel, &chosen, &[200, over], &all);
        for rows in [1i64, 3, 16, 113] {
            let mut few = all.clone();
            // The second head's rows follow the first's.
            let head = |from: i64, width: i64| from as usize..(from + rows * width) as usize;
            few[0] = [&all[0][head(0, sum)], &all[0][head(200 * sum, sum)]].concat();
            few[4].truncate((2 * rows * cols) as usize);
            let found = compiled(&kernel, &chosen, &[rows, over], &few);
            let expected = [&whole[4][head(0, cols)], &whole[4][head(200 * cols, cols)]].concat();
            let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<u64>>();
            assert_eq!(bits(&found[4]), bits(&expected), "{isa}, {rows} rows");
        }
    }
}

/// Rows of a convolution: neighbours in an image, also across its lines, over several pieces of the sum; those of an image, or of
/// any place, with an expert.
#[test]
fn rows_near_one_another_are_read_where_they_stand() {
    let mut numbers = Numbers(21);
    for (width, images, scattered) in [(16i64, 3i64, false), (7, 3, false), (6, 4, true), (2, 1, false)] {
        let (side, positions) = (width + 2, width * width);
        let plane = side * side;
        let rows = images * positions;
        let x = format!("{plane}*i3 + {side}*i4 + i5 + {}*(i1 / {positions})", 40 * plane);
        let x = format!("{x} + (i1 mod {width}) + {side}*((i1 / {width}) mod {width})");
        let sums = "sums i3 \"c\" in 40, i4 \"kh\" in 3, i5 \"kw\" in 3";
        let values: Vec<f64> = (0..images * 40 * plane).map(|_| numbers.small()).collect();
        let w: Vec<f64> = (0..2 * 64 * 360).map(|_| numbers.small()).collect();
        let y = vec![0.0; (rows * 40) as usize];
        let plain = format!(
            "kernel \"conv\" dims 1 vars 6 {{ b0 = read f32 \"x\" b1 = read packed f32 \"w\" b2 = write f32 \"y\"
             %0 = load b0[{x}] %1 = acc 0
             contract batch i0 \"\" in 1 rows i1 \"at\" in n0 cols i2 \"m\" in 40 {sums} groups 1 x %0 w b1 {{ b2[40*i1 + i2] = %1 }} }}"
        );
        agrees(&plain, &[rows], &[values.clone(), w.clone(), y.clone()], 1e-4);
        let expert = |row: i64| if scattered { (row * row / 3) % 2 } else { (row / positions) % 2 };
        let mut order: Vec<i64> = (0..rows).collect();
        order.sort_by_key(|row| expert(*row));
        let first = order.iter().filter(|row| expert(**row) == 0).count();
        let grouped = format!(
            "kernel \"conv\" dims 1 vars 6 {{ b0 = read f32 \"x\" b1 = read packed f32 \"w\" b2 = read i32 \"order\"
             b3 = read i32 \"offsets\" b4 = write f32 \"y\" %0 = load b0[{x}] %1 = acc 0
             contract batch i0 \"\" in 1 rows i1 \"at\" in n0 cols i2 \"m\" in 40 {sums} groups 1 x %0 w b1
             experts 2 order b2 offsets b3 {{ b4[40*i1 + i2] = %1 }} }}"
        );
        let order = order.iter().map(|row| *row as f64).collect();
        let offsets = vec![0.0, first as f64, rows as f64];
        agrees(&grouped, &[rows], &[values, w, order, offsets, y], 1e-4);
    }
}
