use std::ops::Range;

use gatec_runtime::format::Isa;

use super::{InterpError, run, units};
use crate::kernel::text::parse;
use crate::kernel::verify::verify;
use crate::kernel::{Body, Kernel};
use crate::schedule::{BodySchedule, Gpu, Schedule, packed_lanes, packed_parts, schedule};

fn kernel(text: &str) -> Kernel {
    let kernel = parse(text).unwrap_or_else(|e| panic!("{e} in {text}"));
    verify(&kernel).unwrap_or_else(|faults| panic!("{faults:?} in {text}"));
    kernel
}

/// Numbers that are exact in f32 and whose sums are, too.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 58) as f64 - 31.0) / 8.0
        })
        .collect()
}

/// All units at once, backwards, and in ragged shares: the results are the same.
fn run_all(kernel: &Kernel, schedule: &Schedule, dims: &[i64], buffers: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let count = units(kernel, schedule, dims);
    let orders: [Vec<Range<i64>>; 3] = [
        std::iter::once(0..count).collect(),
        (0..count).rev().map(|u| u..u + 1).collect(),
        vec![count / 3..count, 0..count / 3],
    ];
    let mut results = orders.iter().map(|ranges| {
        let mut buffers = buffers.to_vec();
        match run(kernel, schedule, dims, &mut buffers, ranges) {
            Ok(in_range) => assert!(in_range, "an index was out of range"),
            Err(e) => panic!("{:?}: {e}", schedule.body),
        }
        buffers
    });
    let first = results.next().unwrap_or_default();
    let bits = |all: &[Vec<f64>]| all.iter().flatten().map(|x| x.to_bits()).collect::<Vec<u64>>();
    assert!(results.all(|other| bits(&other) == bits(&first)), "{:?}: the order of units matters", schedule.body);
    first
}

/// `w[matrix][sum][group][col]`, packed.
fn pack(w: &[f64], [matrices, sum, groups, cols]: [usize; 4], lanes: usize, isa: Isa) -> Vec<f64> {
    let parts = packed_parts(groups as u32, isa) as usize;
    let panels = cols.div_ceil(lanes);
    let mut packed = Vec::new();
    for m in 0..matrices {
        for panel in 0..panels {
            for (part, k) in (0..parts).flat_map(|part| (0..sum).map(move |k| (part, k))) {
                for g in (0..groups).filter(|g| g * parts / groups == part) {
                    packed.extend((0..lanes).map(|lane| {
                        let col = panel * lanes + lane;
                        if col < cols { w[((m * sum + k) * groups + g) * cols + col] } else { 0.0 }
                    }));
                }
            }
        }
    }
    packed
}

fn contraction(groups: u32, batch: i64, grouped: bool) -> Kernel {
    contraction_by(groups, batch, if grouped { "experts 3 order b3 offsets b4" } else { "" })
}

fn contraction_by(groups: u32, batch: i64, grouping: &str) -> Kernel {
    let accs: String = (0..groups).map(|g| format!("%{} = acc {g} ", g + 1)).collect();
    let stores: String =
        (0..groups).map(|g| format!("b2[(i0*n0 + i1)*{0}*n1 + {g}*n1 + i2] = %{1} ", groups, g + 1)).collect();
    // Written out, for an index is a plain sum of products.
    let stores = stores.replace(&format!("(i0*n0 + i1)*{groups}*n1"), &format!("{groups}*i0*n0*n1 + {groups}*i1*n1"));
    kernel(&format!(
        "kernel \"c\" dims 3 vars 4 {{ b0 = read f32 \"x\" b1 = read packed f32 \"w\" b2 = write f32 \"y\"
         b3 = read i32 \"order\" b4 = read i32 \"offsets\" %0 = load b0[i0*n0*n2 + i1*n2 + i3] {accs}
         contract batch i0 \"b\" in {batch} rows i1 \"t\" in n0 cols i2 \"h\" in n1 sums i3 \"d\" in n2 groups {groups} x %0 w b1
         {grouping} {{ {stores} }} }}"
    ))
}

/// Every schedule of every machine gives what plain loops give, at sizes around the borders of tiles and panels.
#[test]
fn contractions_of_every_machine_agree_with_plain_loops() {
    for isa in Isa::ALL {
        for (groups, batch) in [(1u32, 2usize), (2, 1), (3, 1), (4, 2)] {
            let kernel = contraction(groups, batch as i64, false);
            let chosen = schedule(&kernel, isa);
            let lanes = packed_lanes(groups, crate::kernel::Elem::F32, isa) as usize;
            for (rows, cols, sum) in [(1, 1, 1), (5, lanes + 1, 3), (67, 2 * lanes, 9), (131, 3, 0), (0, 5, 2)] {
                let x = numbers(batch * rows * sum, 1);
                let w = numbers(batch * sum * groups as usize * cols, 2);
                let packed = pack(&w, [batch, sum, groups as usize, cols], lanes, isa);
                let y = vec![f64::NAN; batch * rows * groups as usize * cols];
                let buffers = [x.clone(), packed, y, vec![], vec![]];
                let dims = [rows as i64, cols as i64, sum as i64];
                let result = run_all(&kernel, &chosen, &dims, &buffers);
                let groups = groups as usize;
                for (i, y) in result[2].iter().enumerate() {
                    let (col, g, row) = (i % cols, i / cols % groups, i / cols / groups);
                    let b = row / rows;
                    let want: f64 =
                        (0..sum).map(|k| x[row * sum + k] * w[((b * sum + k) * groups + g) * cols + col]).sum();
                    assert_eq!(*y, want, "{isa} {groups} groups, {rows}x{cols}x{sum}, element {i}");
                }
            }
        }
    }
}

#[test]
fn grouped_rows_take_the_matrix_of_their_expert() {
    let groupings = ["experts 3 order b3 offsets b4", "experts 3 last none order b3 offsets b4"];
    for (isa, grouping) in Isa::ALL.into_iter().flat_map(|isa| groupings.map(|g| (isa, g))) {
        let kernel = contraction_by(2, 1, grouping);
        let has_matrix = |e| e < 2 || !grouping.contains("last none");
        let chosen = schedule(&kernel, isa);
        let lanes = packed_lanes(2, crate::kernel::Elem::F32, isa) as usize;
        // All rows to one expert; one expert without rows; more rows than a tile.
        for experts in [vec![1; 70], vec![2, 0, 2, 2, 0], (0..200).map(|i| i * 7 % 3).collect::<Vec<usize>>()] {
            let (rows, cols, sum) = (experts.len(), lanes + 3, 4);
            let mut order = Vec::new();
            let mut offsets = vec![0.0];
            for e in 0..3 {
                order.extend((0..rows).filter(|r| experts[*r] == e).map(|r| r as f64));
                offsets.push(order.len() as f64);
            }
            let x = numbers(rows * sum, 3);
            let w = numbers(3 * sum * 2 * cols, 4);
            let packed = pack(&w, [3, sum, 2, cols], lanes, isa);
            let buffers = [x.clone(), packed, vec![f64::NAN; rows * 2 * cols], order, offsets];
            let result = run_all(&kernel, &chosen, &[rows as i64, cols as i64, sum as i64], &buffers);
            for (i, y) in result[2].iter().enumerate() {
                let (col, g, row) = (i % cols, i / cols % 2, i / cols / 2);
                let e = experts[row];
                let steps = if has_matrix(e) { sum } else { 0 };
                let want: f64 = (0..steps).map(|k| x[row * sum + k] * w[((e * sum + k) * 2 + g) * cols + col]).sum();
                assert_eq!(*y, want, "{isa}: row {row} of expert {e}, {grouping}");
            }
        }
    }
}

#[test]
fn attention_of_every_processor_agrees_with_plain_loops() {
    // Causal, two heads, values times their weights over the weights' sum.
    let kernel = kernel(
        "kernel \"attend\" dims 4 vars 5 { b0 = read f32 \"q\" b1 = read packed f32 \"k\" b2 = read packed f32 \"v\" b3 = write f32 \"y\"
         %0 = load b0[i0*n0*n3 + i1*n3 + i4] %1 = acc 0 %2 = index i32 i1 %3 = index i32 i2 %4 = ge %2, %3 %5 = const f32 -inf
         %6 = select %4, %1, %5 %7 = acc 1 %8 = acc 2 %9 = div %7, %8
         attend batch i0 \"h\" in 2 rows i1 \"t\" in n0 over i2 \"s\" in n1 by 64 cols i3 \"v\" in n2 sums i4 \"k\" in n3
         x %0 keys b1 score %6 values b2 { b3[i0*n0*n2 + i1*n2 + i3] = %9 } }",
    );
    for isa in Isa::ALL.into_iter().filter(|isa| *isa != Isa::Sm80) {
        let lanes = packed_lanes(1, crate::kernel::Elem::F32, isa) as usize;
        for [rows, over, cols, sum] in
            [[1, 1, 1, 1], [5, 70, lanes + 1, 3], [131, 131, 3, 4], [2, 2, 5, 0], [0, 3, 4, 2]]
        {
            let (q, k, v) = (numbers(2 * rows * sum, 1), numbers(2 * sum * over, 2), numbers(2 * over * cols, 3));
            let (keys, values) = (pack(&k, [2, sum, 1, over], lanes, isa), pack(&v, [2, over, 1, cols], lanes, isa));
            let buffers = [q.clone(), keys, values, vec![f64::NAN; 2 * rows * cols]];
            let dims = [rows, over, cols, sum].map(|n| n as i64);
            let result = run_all(&kernel, &schedule(&kernel, isa), &dims, &buffers);
            for (i, y) in result[3].iter().enumerate() {
                let (col, row, head) = (i % cols, i / cols % rows, i / cols / rows);
                let score = |s: usize| -> f64 {
                    (0..sum).map(|d| q[(head * rows + row) * sum + d] * k[(head * sum + d) * over + s]).sum()
                };
                let weights: Vec<f64> = (0..over.min(row + 1)).map(|s| score(s).exp()).collect();
                let mixed: f64 = weights.iter().enumerate().map(|(s, w)| w * v[(head * over + s) * cols + col]).sum();
                let want = mixed / weights.iter().sum::<f64>();
                assert!(
                    (y - want).abs() <= 1e-6 * want.abs().max(1.0),
                    "{isa}: {y} for {want} at {head}, {row}, {col}"
                );
            }
        }
    }
}

#[test]
fn nests_of_every_machine_agree_with_plain_loops() {
    let softmax = kernel(
        "kernel \"softmax\" dims 2 vars 4 { b0 = read f32 \"x\" b1 = write f32 \"y\"
         %0 = load b0[i0*n1 + i1] %1 = temp t0 %2 = load b0[i0*n1 + i2] %3 = sub %2, %1 %4 = exp %3 %5 = temp t1
         %6 = load b0[i0*n1 + i3] %7 = sub %6, %1 %8 = exp %7 %9 = div %8, %5
         nest i0 \"t\" in n0 { t0 = max f32 over i1 \"d\" in n1 of %0 t1 = sum f32 over i2 \"d\" in n1 of %4
         map i3 \"d\" in n1 { b1[i0*n1 + i3] = %9 } } }",
    );
    let shifted = kernel(
        "kernel \"shift\" dims 2 vars 2 { b0 = read f32 \"x\" b1 = write f32 \"y\"
         %0 = load b0[i0*n1 + i1 + -2] if i1 + -2 < n1 else 7.0
         nest i0 \"t\" in n0 { map i1 \"d\" in n1 { b1[i0*n1 + i1] = %0 } } }",
    );
    let running = kernel(
        "kernel \"running\" dims 2 vars 2 { b0 = read f32 \"x\" b1 = write f32 \"y\" %0 = load b0[i0*n1 + i1]
         nest i0 \"t\" in n0 { running sum exclusive over i1 \"d\" in n1 of %0 { b1[i0*n1 + i1] = %0 } } }",
    );
    for isa in Isa::ALL {
        for (rows, cols) in [(1usize, 1usize), (3, 5), (130, 40), (2, 700), (0, 3)] {
            let x = numbers(rows * cols, 5);
            let buffers = [x.clone(), vec![f64::NAN; rows * cols]];
            let dims = [rows as i64, cols as i64];
            let result = |kernel: &Kernel| run_all(kernel, &schedule(kernel, isa), &dims, &buffers).remove(1);
            let (soft, shift, sums) = (result(&softmax), result(&shifted), result(&running));
            for row in 0..rows {
                let x = &x[row * cols..(row + 1) * cols];
                let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = x.iter().map(|x| (x - most).exp()).sum();
                for col in 0..cols {
                    let at = row * cols + col;
                    let want = (x[col] - most).exp() / total;
                    assert!((soft[at] - want).abs() <= 1e-7 * want.abs(), "{isa}: {} for {want}", soft[at]);
                    assert_eq!(shift[at], if col < 2 { 7.0 } else { x[col - 2] }, "{isa}");
                    assert_eq!(sums[at], x[..col].iter().sum::<f64>(), "{isa}");
                }
            }
        }
    }
}

#[test]
fn selection_is_total_and_sorting_stable() {
    let top = kernel(
        "kernel \"top_k\" dims 1 vars 3 { b0 = read f32 \"s\" b1 = write i32 \"i\" %0 = load b0[5*i0 + i1]
         top_k i0 \"t\" in n0 over i1 \"e\" in 5 of %0 take 3 slot i2 { b1[3*i0 + i2] } }",
    );
    let group = kernel(
        "kernel \"group\" dims 1 vars 2 { b0 = read i32 \"e\" b1 = write i32 \"order\" b2 = write i32 \"offsets\"
         %0 = load b0[i0] group_rows i0 \"t\" in n0 of %0 experts 3 order b1 offsets b2 }",
    );
    for isa in Isa::ALL {
        let scores = vec![1.0, f64::NAN, 1.0, 3.0, -1.0, f64::NAN, f64::NAN, f64::NAN, 0.0, f64::NEG_INFINITY];
        let result = run_all(&top, &schedule(&top, isa), &[2], &[scores, vec![9.0; 6]]);
        assert_eq!(result[1], [3.0, 0.0, 2.0, 3.0, 4.0, 0.0], "{isa}");
        let chosen = schedule(&group, isa);
        let result = run_all(&group, &chosen, &[5], &[vec![2.0, 0.0, 2.0, 2.0, 0.0], vec![9.0; 5], vec![9.0; 4]]);
        assert_eq!(result[1], [1.0, 4.0, 0.0, 2.0, 3.0], "{isa}");
        assert_eq!(result[2], [0.0, 2.0, 2.0, 5.0], "{isa}");
        let mut buffers = [vec![2.0, 7.0, -1.0], vec![9.0; 3], vec![9.0; 4]];
        assert_eq!(
            run(&group, &chosen, &[3], &mut buffers, std::slice::from_ref(&(0..1))),
            Ok(false),
            "{isa}: an expert out of range"
        );
        assert_eq!((buffers[1][0], buffers[2][3]), (0.0, 1.0));
    }
}

#[test]
fn faults_are_found() {
    let read = kernel(
        "kernel \"k\" dims 1 vars 1 { b0 = read f32 \"x\" b1 = write f32 \"y\" %0 = load b0[i0 + 1]
         nest { map i0 \"t\" in n0 { b1[i0] = %0 } } }",
    );
    let error = |kernel: &Kernel, isa, y: usize| {
        let mut buffers = [vec![0.0; 4], vec![0.0; y]];
        let chosen = schedule(kernel, isa);
        let count = units(kernel, &chosen, &[4]);
        run(kernel, &chosen, &[4], &mut buffers, std::slice::from_ref(&(0..count)))
    };
    let fault = error(&read, Isa::X86V3, 4);
    assert_eq!(fault, Err(InterpError::ReadOutside { buffer: 0, name: "x".into(), index: 4, len: 4 }));
    let write = kernel(
        "kernel \"k\" dims 1 vars 1 { b0 = read f32 \"x\" b1 = write f32 \"y\" %0 = load b0[i0]
         nest i0 \"t\" in n0 { map { b1[(i0 / 2)] = %0 } } }",
    );
    assert!(matches!(
        error(&write, Isa::X86, 1),
        Err(InterpError::TwoWriters { .. } | InterpError::WriteOutside { .. })
    ));
    let Body::Nest(_) = &write.body else { panic!("a nest") };
    let wrong = Schedule { isa: Isa::Sm80, lanes: 1, body: BodySchedule::Gpu(Gpu::Block) };
    let mut buffers = [vec![0.0; 4], vec![0.0; 4]];
    assert_eq!(run(&write, &wrong, &[4], &mut buffers, &[0..1, 1..2]), Err(InterpError::Schedule));
}

#[test]
fn halves_round_to_even() {
    use super::rounded;
    use crate::kernel::Elem;
    assert_eq!(rounded(Elem::Bf16, 1.0 + 1.0 / 256.0), 1.0);
    assert_eq!(rounded(Elem::Bf16, 1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
    assert_eq!(rounded(Elem::F16, 65520.0), f64::INFINITY);
    assert_eq!(rounded(Elem::F16, 65519.0), 65504.0);
    assert_eq!(rounded(Elem::F16, 2f64.powi(-25)), 0.0);
    assert_eq!(rounded(Elem::F16, -3.0 * 2f64.powi(-25)), -(2f64.powi(-23)));
}
