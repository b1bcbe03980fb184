//! Forms of an entry for different sizes: when there are several, and that a session goes from one to another.

use gatec::egraph::by_size::mixes;
use gatec::graph::Module;
use gatec::pipeline::{OptimizeOptions, optimize};
use gatec::{BuildOptions, lower};
use gatec_runtime::{LoadOptions, Model, Session, View, WeightSource};

/// Attention without a softmax, the rows of a sequence, and a batch of them.
const ATTENTION: &str = "axis d = 8
axis h = 8
model linear(q: f32[b, t, d], k: f32[b, t, d], v: f32[b, t, h]) -> (y: f32[b, t, h]) {
    let scores = q @[d] k[t -> s]
    (y: scores @[s] v[t -> s])
}";

/// Low-rank weights for each row: which product comes first depends on how many rows there are, and on nothing within a row.
const ROWS: &str = "axis d = 64
axis r = 8
axis h = 64
model rows(x: f32[t, d], a: f32[d, r], b: f32[r, h]) -> (y: f32[t, h]) { (y: (x @ a) @ b) }";

/// The maps of all experts are mixed for all rows alike: worth it for many rows.
const MANY: &str = "axis d = 128
axis h = 128
axis e = 8
model many(x: f32[t, d], gate: f32[e], w: f32[e, d, h]) -> (y: f32[t, h]) { (y: gate @[e] (x @[d] w)) }";

fn lowered(source: &str) -> Module {
    let program = gatec_lang::load_text("model.gate", source, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
    lower::lower(&program).expect("it lowers")
}

fn titles(source: &str, options: &OptimizeOptions) -> Vec<String> {
    let optimized =
        optimize(lowered(source), &OptimizeOptions { verify: true, ..options.clone() }).expect("it optimises");
    optimized.module.entries.iter().map(|entry| entry.title()).collect()
}

fn points(name: &str, sizes: &[i64]) -> OptimizeOptions {
    OptimizeOptions {
        assume: vec![(name.into(), sizes[0])],
        points: vec![(name.into(), sizes.to_vec())],
        ..Default::default()
    }
}

#[test]
fn a_sequence_s_length_decides_and_a_number_of_rows_does_not() {
    assert_eq!(titles(ATTENTION, &OptimizeOptions::default()), ["linear where t <= 8", "linear"]);
    assert_eq!(titles(ATTENTION, &points("t", &[2, 4])), ["linear"], "one form is best for both");
    assert_eq!(titles(ATTENTION, &points("b", &[1, 512])), ["linear"], "rows are rows, however many");
    assert_eq!(titles(ROWS, &points("t", &[1, 512])), ["rows"]);
    let fast = OptimizeOptions { fast: true, ..points("t", &[1, 4096]) };
    assert_eq!(titles(MANY, &fast).len(), 2, "where somebody asks for it, rows decide");
    assert_eq!(titles(MANY, &points("t", &[1, 4096])).len(), 1);
}

#[test]
fn a_size_is_within_a_row_if_all_results_along_it_mix_it() {
    let mixed = |source: &str, symbol: &str| {
        let module = lowered(source);
        mixes(&module.entries[0].graph, &module.sizes, symbol)
    };
    assert!(mixed(ATTENTION, "t"));
    assert!(!mixed(ATTENTION, "b"));
    assert!(!mixed(ROWS, "t"));
    let model = |body: &str| format!("axis d = 4\nmodel m(x: f32[t, d], w: f32[d]) -> {body}");
    assert!(!mixed(&model("(y: f32[t, d], sum: f32[d]) { (y: tanh(x), sum: sum[t](x)) }"), "t"), "y goes row by row");
    assert!(mixed(&model("(y: f32[t, d]) { (y: x - mean[t](x)) }"), "t"));
    assert!(mixed(&model("(sum: f32[d]) { (sum: sum[t](x)) }"), "t"));
    assert!(
        !mixed(&model("(y: f32[t, d]) { (y: where(x > 0.0, x - mean[t](x), x)) }"), "t"),
        "some elements are x alone"
    );
    let scan = "(y: f32[t, d]) { scan t carry (c = w) { next tanh(c + x) } yield (y: c) }";
    assert!(mixed(&model(scan), "t"), "a loop along it");
    let beside = "(y: f32[t, d], z: f32[t, d]) { scan t carry (c = w) { next tanh(c + x) } yield (y: c, z: tanh(x)) }";
    assert!(!mixed(&model(beside), "t"), "z reads no carry");
}

/// One session at sizes on both sides of the guard, there and back, gives the bits of a fresh one; an input that was filled in place stays.
#[test]
fn a_session_goes_from_one_form_to_another_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gate, so) = (folder.path().join("model.gate"), folder.path().join("model.so"));
    let source = ATTENTION
        .replace("v: f32[b, t, h])", "v: f32[b, t, h], bias: f32[h])")
        .replace("scores @[s]", "bias + scores @[s]");
    std::fs::write(&gate, source).expect("a file");
    gatec::build(&gate, &BuildOptions { ptx: false, ..Default::default() }, &so).expect("it builds");
    let model = Model::load(&so, WeightSource::Random(3), &LoadOptions::default().threads(2)).expect("it loads");
    assert_eq!(model.manifest().entries.len(), 2);
    assert_eq!(model.manifest().callable().count(), 1);
    let run = |session: &mut Session, t: usize| -> Vec<u32> {
        session.bind("b", 3).expect("a size").bind("t", t).expect("a size");
        let x =
            |seed: usize| -> Vec<f32> { (0..3 * t * 8).map(|i| ((i * seed) % 1009) as f32 / 504.5 - 1.0).collect() };
        let [q, k, v] = [7919, 7907, 7901].map(x);
        session.run(&[("q", View::flat(&q)), ("k", View::flat(&k)), ("v", View::flat(&v))]).expect("it runs");
        session.output::<f32>("y").expect("a result").iter().map(|y| y.to_bits()).collect()
    };
    let fresh = || {
        let mut session = model.session("linear").expect("a session");
        session.bind("b", 3).expect("a size").bind("t", 1).expect("a size");
        session.input_mut::<f32>("bias").expect("an input").fill(0.5);
        session
    };
    let mut session = fresh();
    for t in [4, 30, 8, 9, 1, 64] {
        assert_eq!(run(&mut session, t), run(&mut fresh(), t), "t = {t}");
    }
}
