//! What sessions keep from call to call, and what a call says that fails, on every variant and with several threads.

use gatec::BuildOptions;
use gatec::graph::interp::{self, Values};
use gatec::graph::tensor::Tensor;
use gatec::graph::{Axis, Elem, Module};
use gatec::{lower, pipeline};
use gatec_runtime::{Artifact, LoadOptions, Model, Session, View, Weights};
use gatec_tests::runnable;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const D: usize = 3;

/// A buffer that a block sets in each layer, and one that an entry sets and another one reads.
const FOLLOWS: &str = r#"
axis d = 3

block centred(x: f32[t, d]) -> f32[t, d] {
    buffer mean: f32[d] = 0.5 from "layers.{layer}.mean"
    next mean = 0.75 * mean + 0.25 * mean[t](x)
    x - mean
}

network net {
    buffer table: f32[d, n] from "table"[n, d]
    buffer calls: i32[] = 4

    entry learn(x: f32[t, d], at: i32[t]) -> (y: f32[t, d], row: f32[t, d], n: i32[]) {
        next calls = calls + 1
        next table = table + 1.0
        (y: repeat layer in 2 carry x { next layer: centred(x) }, row: table[n = at], n: calls)
    }

    entry look() -> (table: f32[d, n], n: i32[]) {
        (table: table, n: calls)
    }
}

axis n = 2
"#;

fn module(text: &str) -> Module {
    let program = gatec_lang::load_text("test.gate", text, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
    pipeline::optimize(lower::lower(&program).unwrap(), &Default::default()).unwrap().module
}

fn artifact(module: &Module) -> Artifact {
    let options = BuildOptions { ptx: false, ..Default::default() };
    let planned = gatec::plan_all(module, &options).unwrap();
    Artifact::from_bytes(gatec::generate(module, "", planned).unwrap()).unwrap()
}

fn safetensors(tensors: &[(&str, &[usize], &[f32])]) -> Weights {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    Weights::from_bytes(safetensors::serialize(views, None).unwrap()).unwrap()
}

/// Runs on every variant, with 1, 2 and 7 threads.
fn on_all(artifact: &Artifact, weights: &Weights, run: impl Fn(&Model, &str)) {
    for isa in runnable(artifact) {
        for threads in [1, 2, 7] {
            let options = LoadOptions::default().isa(isa).threads(threads);
            let model = Model::from_artifact(artifact, weights.clone(), &options).unwrap();
            run(&model, &format!("{isa}, {threads} threads"));
        }
    }
}

const X: [f32; 2 * D] = [1.0, 2.0, -1.0, 3.0, 0.0, 1.0];
/// As the file has it: `n`, then `d`.
const TABLE: [f32; 2 * D] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

fn learn(session: &mut Session, at: [i32; 2]) -> Result<(Vec<f32>, Vec<f32>, i32), String> {
    let x = View::shaped(&X, &[2, D]).unwrap();
    let outputs = session.run(&[("x", x), ("at", (&at).into())]).map_err(|e| e.to_string())?;
    let all = |name: &str| outputs.slice::<f32>(name).unwrap().to_vec();
    Ok((all("y"), all("row"), outputs.slice::<i32>("n").unwrap()[0]))
}

/// The same on the host: `means` are those of the layers.
fn follow(means: &mut [[f32; D]; 2]) -> Vec<f32> {
    let mut x = X;
    for mean in means {
        let before = *mean;
        for (i, mean) in mean.iter_mut().enumerate() {
            *mean = 0.75 * *mean + 0.25 * (x[i] + x[D + i]) / 2.0;
        }
        x.iter_mut().enumerate().for_each(|(i, x)| *x -= before[i % D]);
    }
    x.to_vec()
}

fn near(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn each_session_sets_its_own_buffers_and_begins_with_the_weights() {
    let artifact = artifact(&module(FOLLOWS));
    // The second layer's mean has its default.
    let first = [0.25f32, -1.0, 2.0];
    let weights = safetensors(&[("table", &[2, D], &TABLE), ("layers.0.mean", &[D], &first)]);
    on_all(&artifact, &weights, |model, at| {
        let mut session = model.session("learn").unwrap();
        let mut means = [first, [0.5; D]];
        assert_eq!(session.state::<f32>("layer.mean").unwrap(), means.concat(), "{at}");
        for call in 0..3i32 {
            let (y, row, n) = learn(&mut session, [1, 0]).unwrap();
            assert!(near(&y, &follow(&mut means)), "{at}, call {call}: {y:?}");
            let now: Vec<f32> = TABLE.iter().map(|x| x + call as f32).collect();
            assert_eq!((row, n), ([&now[D..], &now[..D]].concat(), 4 + call), "{at}");
            assert!(near(session.state("layer.mean").unwrap(), &means.concat()), "{at}");
        }
        // A call that fails changes nothing.
        let error = learn(&mut session, [0, 2]).unwrap_err();
        assert!(error.starts_with("`at[t = 1]` is 2, an index out of range: axis `n` has 2 elements"), "{at}: {error}");
        assert!(near(session.state("layer.mean").unwrap(), &means.concat()), "{at}");
        // Other entries of the session read what was set; another session, what the file has.
        session.enter("look").unwrap();
        let found = session.run(&[]).unwrap().slice::<f32>("table").unwrap().to_vec();
        assert_eq!(found, [4.0, 7.0, 5.0, 8.0, 6.0, 9.0], "{at}");
        let mut other = model.session("look").unwrap();
        assert_eq!(other.run(&[]).unwrap().slice::<f32>("table").unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0], "{at}");
        other.set_state("table", &[0.0f32; 2 * D]).unwrap();
        assert_eq!(other.run(&[]).unwrap().slice::<f32>("table").unwrap(), [0.0; 2 * D], "{at}");
        let kept: Vec<(String, Elem, Vec<usize>)> =
            other.states().map(|(name, elem, shape, _)| (name.to_string(), elem, shape)).collect();
        assert!(kept.contains(&("table".into(), Elem::F32, vec![2, D])), "{kept:?}");
        session.reset();
        assert_eq!(session.state::<f32>("table").unwrap(), TABLE, "{at}");
        assert_eq!(session.state::<i32>("calls").unwrap(), [4], "{at}");
    });
}

/// What the interpreter says of two calls.
#[test]
fn the_interpreter_hands_buffers_on() {
    let module = module(FOLLOWS);
    let axes = |names: &[(&str, usize)]| names.iter().map(|(name, size)| (Axis::new(name), *size)).collect();
    let numbers = |elem, names: &[(&str, usize)], data: &[f32]| {
        Tensor::new(elem, axes(names), data.iter().map(|x| f64::from(*x)).collect())
    };
    let param = |name: &str| match name {
        "table" => numbers(Elem::F32, &[("n", 2), ("d", D)], &TABLE),
        "calls" => numbers(Elem::I32, &[], &[4.0]),
        _ => numbers(Elem::F32, &[("layer", 2), ("d", D)], &[0.25, -1.0, 2.0, 0.5, 0.5, 0.5]),
    };
    let params: Vec<Tensor> = module.params.iter().map(|p| param(&p.tensor.name)).collect();
    let symbols = [("t".to_string(), 2)].into();
    let mut states = interp::initial_states(&module, &symbols, &params).unwrap();
    let mut means = [[0.25, -1.0, 2.0], [0.5; D]];
    for call in 0..3 {
        let inputs = vec![numbers(Elem::F32, &[("t", 2), ("d", D)], &X), numbers(Elem::I32, &[("t", 2)], &[1.0, 0.0])];
        let values = Values { symbols: symbols.clone(), inputs, params: params.clone(), states };
        let outcome = interp::run(&module, &module.entries[0], &values).unwrap();
        let y: Vec<f32> = outcome.outputs[0].data.iter().map(|x| *x as f32).collect();
        assert!(near(&y, &follow(&mut means)), "call {call}: {y:?}");
        assert_eq!(outcome.outputs[2].data[..], [4.0 + f64::from(call)]);
        states = outcome.states;
    }
}

/// Threads take parts of a call in any order; what is told is what one thread alone would have met first.
#[test]
fn of_several_wrong_indices_the_first_is_told() {
    let text = "
axis n = 100
axis d = 64
model m(x: f32[n, d], i: i32[t]) -> f32[t, d] { tanh(x[n = 3 * i + 1]) }
";
    let artifact = artifact(&module(text));
    let rows = 4096usize;
    let x = vec![0.5f32; 100 * 64];
    let wrong = |first: usize| -> Vec<i32> {
        (0..rows)
            .map(|row| if row >= first && row % 7 == first % 7 { 40 + row as i32 } else { row as i32 % 33 })
            .collect()
    };
    on_all(&artifact, &Weights::default(), |model, at| {
        let mut session = model.session("m").unwrap();
        for first in [0, 5, 1000, 2047, 2048, 4095] {
            let index = wrong(first);
            for _ in 0..10 {
                let x = View::shaped(&x, &[100, 64]).unwrap();
                let error = session.run(&[("x", x), ("i", index[..].into())]).unwrap_err().to_string();
                let value = 3 * (40 + first) + 1;
                let told =
                    format!("`(3 * i + 1)[t = {first}]` is {value}, an index out of range: axis `n` has 100 elements");
                assert!(error.starts_with(&told), "{at}: {error}");
            }
        }
    });
}
