//! Same row, same bits: a row's result does not depend on how many rows there are, on its place among them, or on threads.

use std::path::Path;

use gatec::graph::interp::Values;
use gatec::graph::random;
use gatec::graph::tensor::Tensor;
use gatec::graph::{Axis, Module};
use gatec::{lower, pipeline};
use gatec_tests::{Built, elements, runnable};

fn module(model: &str, sizes: &[(&str, i64)]) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let sizes: Vec<(String, i64)> = sizes.iter().map(|(name, n)| ((*name).to_string(), *n)).collect();
    let program = gatec_lang::load(&path, &sizes).unwrap_or_else(|d| panic!("{}", d.render(false)));
    pipeline::optimize(lower::lower(&program).unwrap(), &Default::default()).unwrap().module
}

/// Rows `from..from + count` of every input along `axis`.
fn rows(values: &Values, axis: &str, from: usize, count: usize) -> Values {
    let along = Axis::new(axis);
    let cut = |x: &Tensor| {
        if x.extent(along).is_none() {
            return x.clone();
        }
        let order: Vec<Axis> =
            std::iter::once(along).chain(x.axes.iter().map(|a| a.0).filter(|a| *a != along)).collect();
        let x = x.ordered(&order);
        let row: usize = x.axes[1..].iter().map(|a| a.1).product();
        let mut axes = x.axes.clone();
        axes[0].1 = count;
        Tensor::new(x.elem, axes, x.data[from * row..(from + count) * row].to_vec())
    };
    let mut cut_values = values.clone();
    cut_values.inputs = values.inputs.iter().map(cut).collect();
    cut_values.symbols.insert(axis.to_string(), count as i64);
    cut_values
}

#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    // The batch is the outermost axis of the output.
    let cases = [
        ("../examples/mixtral-ffn/model.gate", vec![("d", 40), ("h", 56)], "tokens"),
        ("bench/cases/swiglu_ffn.gate", vec![("d", 37), ("h", 50)], "t"),
    ];
    let models = cases.into_iter().map(|(model, sizes, axis)| (model.to_string(), module(model, &sizes), axis));
    let elements = elements::all().into_iter().step_by(3).map(|case| (case.name.clone(), case.optimized(), "t"));
    for (model, module, axis) in models.chain(elements) {
        let built = Built::new(&module).unwrap();
        let all = random::values(&module, 0, &[(axis, 64)], 3);
        for isa in runnable() {
            let whole = built.run(0, &all, isa, 1).unwrap().remove(0);
            let row = whole.len() / 64;
            for count in [1, 2, 7] {
                for from in [0, 5, 64 - count] {
                    for threads in [1, 2, 7] {
                        let part = built.run(0, &rows(&all, axis, from, count), isa, threads).unwrap().remove(0);
                        let expected = &whole[from * row..(from + count) * row];
                        let same = part.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(
                            same && part.len() == expected.len(),
                            "{model}, {isa:?}, rows {from}..{}, {threads} threads",
                            from + count
                        );
                    }
                }
            }
        }
    }
}
