//! Every folder of `examples/` that has a `case.toml`: the interpreter against the golden file, compiled code against the golden
//! file on every variant that this machine has, and the same bits with 1, 2 and 7 threads. Models for measuring must build.
#![allow(clippy::print_stderr, reason = "says which variants this machine lacks, and how close each example comes")]

use std::collections::BTreeMap;
use std::path::Path;

use gatec::BuildOptions;
use gatec::graph::interp::{self, Values};
use gatec::graph::{Axis, Module};
use gatec_runtime::format::Isa;
use gatec_runtime::{LoadOptions, Model, View, cpu};
use gatec_tests::example::{self, Example, Run, Stored};
use gatec_tests::{ISAS, difference, params, symbols, tensor};

const THREADS: [usize; 3] = [1, 2, 7];

/// Outputs by name, each of all calls one after the other; then states after the last call.
type Results = BTreeMap<String, Vec<f64>>;

#[test]
fn the_interpreter_agrees_with_every_golden_file() {
    let mut wrong = Vec::new();
    for example in Example::all() {
        let program =
            gatec_lang::load(&example.model(), &example.sizes()).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let module = gatec::lower::lower(&program).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        for (number, run) in example.case.run.iter().enumerate() {
            let results = interpret(&example, run, &module);
            compare(&example, run, number, "interpreter", &results, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn models_without_weights_build() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = std::fs::read_dir(tests.join("bench/cases")).expect("the cases of the benchmark");
    let cases = cases.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "gate"));
    for model in cases.chain([tests.join("../examples/moe-transformer/model.gate")]) {
        let built = gatec::compile(&model, &BuildOptions::default());
        assert!(built.is_ok(), "{}: {}", model.display(), built.err().map(|e| e.to_string()).unwrap_or_default());
    }
}

#[test]
fn compiled_code_agrees_with_every_golden_file_and_threads_change_no_bit() {
    let mut wrong = Vec::new();
    for isa in ISAS.into_iter().filter(|isa| !cpu::supports(*isa)) {
        eprintln!("not run: {isa}, which this processor lacks");
    }
    for example in Example::all() {
        let out = tempfile::tempdir().expect("a temporary folder");
        let artifact = out.path().join("model.so");
        let options = BuildOptions { sizes: example.sizes(), ..Default::default() };
        gatec::build(&example.model(), &options, &artifact).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        for (number, run) in example.case.run.iter().enumerate() {
            for isa in gatec_tests::runnable() {
                let results = THREADS.map(|threads| compiled(&example, run, &artifact, isa, threads));
                compare(&example, run, number, isa.name(), &results[0], &mut wrong);
                for (threads, other) in THREADS.iter().zip(&results).skip(1) {
                    if bits(&results[0]) != bits(other) {
                        wrong.push(format!(
                            "{}, run {number}, {isa}: {threads} threads change the result",
                            example.name()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn bits(results: &Results) -> Vec<u64> {
    results.values().flatten().map(|x| x.to_bits()).collect()
}

/// Adds what differs from the golden file by more than it may.
fn compare(example: &Example, run: &Run, number: usize, by: &str, results: &Results, wrong: &mut Vec<String>) {
    for (name, found) in results {
        let (golden, tolerance) = match name.strip_prefix("state ") {
            Some(state) => (example.state(&run.states[state]), run.states_tolerance.get("f32")),
            None => (example.output(run, name), None),
        };
        let tolerance = tolerance.copied().unwrap_or(example.case.tolerance["f32"]);
        let error = difference(found, &golden.numbers());
        eprintln!("{}, run {number}, {by}: {name} differs by {error:.1e}", example.name());
        if error > tolerance {
            wrong.push(format!(
                "{}, run {number}, {by}: {name} differs by {error:.1e}, may by {tolerance:.0e}",
                example.name()
            ));
        }
    }
}

/// Runs an artifact, all calls of a run in one session.
fn compiled(example: &Example, run: &Run, artifact: &Path, isa: Isa, threads: usize) -> Results {
    let options = LoadOptions::default().isa(isa).threads(threads);
    let model =
        Model::load(artifact, example.weights(run), &options).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
    let entries = &model.manifest().entries;
    let entry = match &run.entry {
        Some(name) => entries.iter().find(|e| e.name == *name).expect("the entry of the case"),
        None => &entries[0],
    };
    let known = |tensor: &gatec_runtime::format::Tensor| -> Vec<Option<usize>> {
        tensor.axes.iter().map(|a| a.size.eval(&[]).and_then(|n| usize::try_from(n).ok())).collect()
    };
    let inputs: Vec<(String, Stored)> = entry
        .inputs
        .iter()
        .map(|input| (input.name.clone(), example.input(run, &input.name, &row(&known(input), run.calls.is_some()))))
        .collect();
    let mut session = model.session(&entry.name).expect("a session");
    let mut results = Results::new();
    for call in calls(run, &inputs) {
        let views: Vec<(&str, View)> = call
            .iter()
            .map(|(name, x)| (name.as_str(), View::bytes(x.elem, x.bytes(), Some(&x.shape)).expect("a view")))
            .collect();
        let outputs = session.run(&views).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        for (name, elem, _, bytes) in outputs.iter() {
            results.entry(name.into()).or_default().extend(gatec_tests::numbers(elem, bytes));
        }
    }
    for state in run.states.keys() {
        let values: Vec<f64> = session.state::<f32>(state).expect("a state").iter().map(|x| f64::from(*x)).collect();
        results.insert(format!("state {state}"), values);
    }
    results
}

/// The known shape of a row: that of the input itself where it is given row by row.
fn row(shape: &[Option<usize>], by_row: bool) -> Vec<usize> {
    shape.iter().skip(usize::from(!by_row)).map(|n| n.unwrap_or(1)).collect()
}

/// The inputs of each call.
fn calls(run: &Run, inputs: &[(String, Stored)]) -> Vec<Vec<(String, Stored)>> {
    let Some(by) = &run.calls else { return vec![inputs.to_vec()] };
    let count = inputs.iter().find(|(name, _)| name == by).map_or(0, |(_, x)| x.shape[0]);
    let one = |i: usize| {
        inputs.iter().map(|(name, x)| (name.clone(), if name == by { x.row(i) } else { x.clone() })).collect()
    };
    (0..count).map(one).collect()
}

/// Interprets, all calls of a run with the states that they leave.
fn interpret(example: &Example, run: &Run, module: &Module) -> Results {
    let entry = match &run.entry {
        Some(name) => module.entries.iter().find(|e| e.name == *name).expect("the entry of the case"),
        None => &module.entries[0],
    };
    let known = |axis: Axis| module.sizes.known(axis).map(|n| n as usize);
    let inputs: Vec<(String, Stored)> = entry
        .inputs
        .iter()
        .map(|input| {
            let shape: Vec<Option<usize>> = input.order.iter().map(|a| known(*a)).collect();
            (input.name.clone(), example.input(run, &input.name, &row(&shape, run.calls.is_some())))
        })
        .collect();
    let calls = calls(run, &inputs);
    let symbols = symbols(module, entry, &calls[0]);
    let params = params(module, &example::read(&example.weights(run)));
    let mut states = interp::initial_states(module, &symbols).expect("initial states");
    let mut results = Results::new();
    for call in &calls {
        let tensors = entry.inputs.iter().zip(call).map(|(boundary, (_, x))| tensor(boundary, x)).collect();
        let values = Values { symbols: symbols.clone(), inputs: tensors, params: params.clone(), states };
        let outcome = interp::run(module, entry, &values).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        for (boundary, output) in entry.outputs.iter().zip(&outcome.outputs) {
            results.entry(boundary.name.clone()).or_default().extend(output.ordered(&boundary.order).data.iter());
        }
        states = outcome.states;
    }
    for name in run.states.keys() {
        let at = module.states.iter().position(|s| s.tensor.name == *name).expect("a state of the case");
        let state = states[at].ordered(&module.states[at].tensor.order);
        results.insert(format!("state {name}"), state.data.to_vec());
    }
    results
}
