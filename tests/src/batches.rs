//! Same row, same bits: a row's result does not depend on how many rows there are, on its place among them, or on threads.

use std::path::Path;

use gatec::graph::interp::Values;
use gatec::graph::random;
use gatec::graph::tensor::{Extents, Tensor};
use gatec::graph::{Axis, Module, text};
use gatec::{lower, pipeline};
use gatec_runtime::format::Isa;
use gatec_tests::{Built, elements};

/// How many rows the largest batch has.
const ROWS: usize = 64;

/// A model whose rows stand along an axis.
struct Case<'a> {
    model: &'a str,
    sizes: &'static [(&'static str, i64)],
    entry: &'a str,
    /// Sizes of other symbolic axes.
    symbols: &'static [(&'static str, i64)],
    rows: &'static str,
    /// Rows depend on those before them: only batches that begin with the first have the same rows.
    in_sequence: bool,
}

fn module(case: &Case) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(case.model);
    let sizes: Vec<(String, i64)> = case.sizes.iter().map(|(name, n)| ((*name).to_string(), *n)).collect();
    let program = gatec_lang::load(&path, &sizes).unwrap_or_else(|d| panic!("{}", d.render(false)));
    pipeline::optimize(lower::lower(&program).unwrap(), &Default::default()).unwrap().module
}

/// Rows `from..from + count` along `axis`; what has no such axis as it is.
fn cut(x: &Tensor, axis: Axis, from: usize, count: usize) -> Tensor {
    if x.extent(axis).is_none() {
        return x.clone();
    }
    let order: Vec<Axis> = std::iter::once(axis).chain(x.axes.iter().map(|a| a.0).filter(|a| *a != axis)).collect();
    let x = x.ordered(&order);
    let row: usize = x.axes[1..].iter().map(|a| a.1).product();
    let mut axes = x.axes.clone();
    axes[0].1 = count;
    Tensor::new(x.elem, axes, x.data[from * row..(from + count) * row].to_vec())
}

fn inputs(values: &Values, axis: &str, from: usize, count: usize) -> Values {
    let mut part = values.clone();
    part.inputs = values.inputs.iter().map(|x| cut(x, Axis::new(axis), from, count)).collect();
    part.symbols.insert(axis.to_string(), count as i64);
    part
}

/// The outputs of a run, each with the rows outermost.
fn run(
    built: &Built,
    module: &Module,
    entry: usize,
    values: &Values,
    rows: Axis,
    isa: Isa,
    threads: usize,
) -> Vec<Tensor> {
    let extents = Extents::bind(&module.sizes, &values.symbols).unwrap();
    let found = built.run(entry, values, isa, threads).unwrap();
    let count = extents.get(rows).unwrap();
    let tensors = found.into_iter().zip(&module.entries[entry].outputs).map(|(data, boundary)| {
        let axes = boundary.order.iter().map(|a| (*a, extents.get(*a).unwrap())).collect();
        cut(&Tensor::new(boundary.elem, axes, data), rows, 0, count)
    });
    tensors.collect()
}

fn check(case: &Case) {
    check_module(case, &module(case));
}

fn check_module(case: &Case, module: &Module) {
    let built = Built::new(module).unwrap();
    let entry = module.entries.iter().position(|e| e.name == case.entry).expect("the entry of the case");
    let rows = Axis::new(case.rows);
    let mut symbols: Vec<(&str, i64)> = case.symbols.to_vec();
    symbols.push((case.rows, ROWS as i64));
    let all = random::values(module, entry, &symbols, 3);
    let mut compared = 0;
    for &isa in &built.isas {
        let whole = run(&built, module, entry, &all, rows, isa, 1);
        for count in [1, 2, 7, ROWS] {
            let first = if case.in_sequence { vec![0] } else { vec![0, 5.min(ROWS - count), ROWS - count] };
            for from in first {
                let values = inputs(&all, case.rows, from, count);
                for threads in [1, 2, 7] {
                    let part = run(&built, module, entry, &values, rows, isa, threads);
                    for (number, (part, whole)) in part.iter().zip(&whole).enumerate() {
                        if whole.extent(rows).is_none() {
                            continue;
                        }
                        let expected = cut(whole, rows, from, count);
                        let same = part.data.len() == expected.data.len()
                            && part.data.iter().zip(expected.data.iter()).all(|(a, b)| a.to_bits() == b.to_bits());
                        let until = from + count;
                        assert!(
                            same,
                            "{}, {isa}, output {number}, rows {from}..{until}, {threads} threads",
                            case.model
                        );
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 0, "{}: no output has rows", case.model);
}

#[test]
fn sequences_of_different_length_have_the_same_bits_in_every_batch() {
    check(&Case {
        model: "filetests/run/lengths.gate",
        sizes: &[("d", 64)],
        entry: "m",
        symbols: &[("t", 13)],
        rows: "b",
        in_sequence: false,
    });
}

#[test]
fn rows_of_products_and_of_experts_have_the_same_bits_in_every_batch() {
    check(&Case {
        model: "../examples/mixtral-ffn/model.gate",
        sizes: &[("d", 40), ("h", 56)],
        entry: "moe",
        symbols: &[],
        rows: "tokens",
        in_sequence: false,
    });
    check(&Case {
        model: "bench/cases/swiglu_ffn.gate",
        sizes: &[("d", 37), ("h", 50)],
        entry: "swiglu_ffn",
        symbols: &[],
        rows: "t",
        in_sequence: false,
    });
}

#[test]
fn sequences_of_a_recurrence_have_the_same_bits_in_every_batch() {
    for (model, entry) in [("bench/cases/lstm.gate", "lstm"), ("bench/cases/gru.gate", "gru")] {
        for sizes in [&[("i", 19), ("h", 23)], &[("i", 64), ("h", 48)]] {
            check(&Case { model, sizes, entry, symbols: &[("t", 5)], rows: "b", in_sequence: false });
        }
    }
}

const SMALL: &[(&str, i64)] = &[("k", 8), ("v", 24)];
const LARGE: &[(&str, i64)] = &[("k", 32), ("v", 40)];

#[test]
fn sequences_of_a_linear_recurrence_have_the_same_bits_in_every_batch() {
    for (sizes, symbols) in [(SMALL, &[("t", 9)]), (LARGE, &[("t", 4)])] {
        let model = "filetests/run/linear-recurrences.gate";
        check(&Case { model, sizes, entry: "m", symbols, rows: "b", in_sequence: false });
    }
}

#[test]
fn steps_of_a_recording_have_the_same_bits_however_long_it_is() {
    check(&Case {
        model: "../examples/silero-vad/vad.gate",
        sizes: &[],
        entry: "whole",
        symbols: &[],
        rows: "step",
        in_sequence: true,
    });
}

#[test]
fn rows_of_every_element_type_have_the_same_bits_in_every_batch() {
    for case in elements::all().into_iter().step_by(3) {
        let module = case.optimized();
        let entry = module.entries[0].name.clone();
        let about = Case { model: &case.name, sizes: &[], entry: &entry, symbols: &[], rows: "t", in_sequence: false };
        check_module(&about, &module);
    }
}

#[test]
fn rows_by_quantised_weights_have_the_same_bits_in_every_batch() {
    let model = "filetests/run/quantized.gate";
    check(&Case { model, sizes: &[], entry: "m", symbols: &[], rows: "t", in_sequence: false });
    let model = "filetests/run/quantized-tiles.gate";
    check(&Case { model, sizes: &[], entry: "m", symbols: &[], rows: "t", in_sequence: true });
}

/// A normalised row, gates and numbers of 8 bits.
#[test]
fn rows_that_may_leave_a_loop_have_the_same_bits_in_every_batch() {
    let model = "filetests/run/exits.gate";
    check(&Case { model, sizes: &[], entry: "m", symbols: &[], rows: "t", in_sequence: false });
}

#[test]
fn rows_of_a_prologue_have_the_same_bits_in_every_batch() {
    for program in [include_str!("../filetests/fuse/normalised.gir"), include_str!("../filetests/fuse/gated.gir")] {
        let module = text::parse(program).unwrap();
        let entry = module.entries[0].name.clone();
        let about =
            Case { model: &module.name, sizes: &[], entry: &entry, symbols: &[], rows: "t", in_sequence: false };
        check_module(&about, &module);
    }
}
