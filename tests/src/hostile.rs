//! Input that models do not expect: what compiled code does with it, on every variant and with several threads. Either it is
//! what the interpreter says, or an error with names and numbers, and the session can be used again.

use std::path::Path;

use gatec::BuildOptions;
use gatec::graph::interp::Values;
use gatec::graph::{Axis, Module, random};
use gatec::{lower, pipeline};
use gatec_runtime::{Artifact, LoadOptions, Model, RunError, Session, View, WeightSource};
use gatec_tests::{Built, difference, interpret, runnable};

/// As other comparisons of f32 with the interpreter; magnitudes are near 1.
const TOLERANCE: f64 = 1e-5;

/// A small mixture: scores come straight from outside.
const MIXTURE: &str = "
axis d = 5
axis h = 6
axis e = 4

block expert(x: f32[.., d]) -> f32[.., d] {
    param up: f32[d, h]
    param down: f32[h, d]
    silu(x @ up) @ down
}

model mixture(x: f32[t, d], score: f32[t, e]) -> f32[t, d] {
    route x over e by topk(score, 2) {
        experts: expert(x)
    } mix sum
}
";

fn module(text: &str) -> Module {
    let program = gatec_lang::load_text("test.gate", text, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
    pipeline::optimize(lower::lower(&program).unwrap(), &Default::default()).unwrap().module
}

/// Values for `rows` rows; `score` gives the score of a row and an expert.
fn routed(module: &Module, rows: usize, score: impl Fn(usize, usize) -> f64) -> Values {
    let mut values = random::values(module, 0, &[("t", rows as i64)], 7);
    let scores = values.inputs[1].ordered(&[Axis::new("t"), Axis::new("e")]);
    let experts = 4;
    let data = (0..rows * experts).map(|i| score(i / experts, i % experts)).collect();
    values.inputs[1] = gatec::graph::tensor::Tensor::new(scores.elem, scores.axes.clone(), data);
    values
}

/// Compiled code against the interpreter, on every variant, with 1, 2 and 7 threads.
fn agrees(what: &str, module: &Module, built: &Built, values: &Values) {
    let expected = interpret(module, 0, values).unwrap();
    for &isa in &built.isas {
        for threads in [1, 2, 7] {
            let found = built.run(0, values, isa, threads).unwrap_or_else(|e| panic!("{what}, {isa}: {e}"));
            for (found, expected) in found.iter().zip(&expected) {
                let error = difference(found, expected);
                assert!(error <= TOLERANCE, "{what}, {isa}, {threads} threads: off by {error:e}");
            }
        }
    }
}

#[test]
fn rows_go_wherever_their_scores_send_them() {
    let module = module(MIXTURE);
    let built = Built::new(&module).unwrap();
    for rows in [0, 1, 2, 7, 65] {
        let spread = |row: usize, e: usize| ((row * 7 + e * 5) % 11) as f64 / 11.0;
        let cases: [(&str, Values); 7] = [
            ("spread", routed(&module, rows, spread)),
            ("all rows in the same two experts", routed(&module, rows, |_, e| [0.1, 3.0, 0.2, 2.0][e])),
            (
                "two experts without rows",
                routed(&module, rows, |row, e| if e < 2 { 1.0 + (row + e) as f64 } else { -9.0 }),
            ),
            ("all scores equal", routed(&module, rows, |_, _| 0.5)),
            (
                "NaN in some scores",
                routed(&module, rows, |row, e| if (row + e) % 3 == 0 { f64::NAN } else { spread(row, e) }),
            ),
            ("NaN in all scores", routed(&module, rows, |_, _| f64::NAN)),
            (
                "infinite scores",
                routed(&module, rows, |row, e| if e == row % 4 { f64::NEG_INFINITY } else { spread(row, e) }),
            ),
        ];
        for (what, values) in &cases {
            agrees(&format!("{what}, {rows} rows"), &module, &built, values);
        }
    }
}

#[test]
fn nan_in_one_row_stays_in_it() {
    let module = module(MIXTURE);
    let built = Built::new(&module).unwrap();
    let clean = routed(&module, 9, |row, e| ((row * 3 + e * 5) % 7) as f64);
    let mut spoilt = clean.clone();
    let order = spoilt.inputs[0].ordered(&[Axis::new("t"), Axis::new("d")]);
    let mut data = order.data.to_vec();
    data[4 * 5] = f64::NAN;
    spoilt.inputs[0] = gatec::graph::tensor::Tensor::new(order.elem, order.axes.clone(), data);
    for &isa in &built.isas {
        let (clean, spoilt) = (built.run(0, &clean, isa, 2).unwrap(), built.run(0, &spoilt, isa, 2).unwrap());
        for (i, (a, b)) in clean[0].iter().zip(&spoilt[0]).enumerate() {
            let row = i / 5;
            assert_eq!(row == 4, b.is_nan(), "{isa}, row {row}");
            assert!(row == 4 || a.to_bits() == b.to_bits(), "{isa}, row {row}");
        }
    }
}

/// Two inputs over the same axis, a state, an index.
const INPUTS: &str = "
axis d = 3

network inputs {
    param table: f32[n, d]
    state sum: f32[d] = 0.0

    entry both(x: f32[t, d], y: f32[t]) -> f32[t, d] {
        x * y
    }
    entry look(index: i32[t]) -> f32[t, d] {
        table[n = index]
    }
    entry add(x: f32[d]) -> f32[d] {
        next sum = sum + x
        sum + x
    }
}

axis n = 4
";

fn built(text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("test.gate"), dir.path().join("test.so"));
    std::fs::write(&source, text).unwrap();
    gatec::build(&source, &BuildOptions::default(), &out).unwrap_or_else(|e| panic!("{e}"));
    std::fs::read(&out).unwrap()
}

fn told(session: &mut Session, inputs: &[(&str, View)]) -> String {
    session.run(inputs).expect_err("a wrong call").to_string()
}

#[test]
fn wrong_calls_are_told_with_names_and_numbers_and_leave_the_session_usable() {
    let bytes = built(INPUTS);
    for isa in runnable(&Artifact::from_bytes(bytes.as_slice()).unwrap()) {
        let options = LoadOptions::default().isa(isa).threads(2);
        let model = Model::from_bytes(bytes.as_slice(), WeightSource::Random(1), &options).unwrap();
        let mut session = model.session("both").unwrap();
        let (x, y) = ([1.0f32; 6], [2.0f32; 3]);
        let good = |session: &mut Session| {
            let outputs =
                session.run(&[("x", View::shaped(&x, &[2, 3]).unwrap()), ("y", View::flat(&y[..2]))]).unwrap();
            assert_eq!(outputs.slice::<f32>("y").unwrap().len(), 6);
        };
        good(&mut session);
        // An axis that two inputs bind to different sizes.
        let x_view = || View::shaped(&x, &[2, 3]).unwrap();
        let error = told(&mut session, &[("x", x_view()), ("y", View::shaped(&y, &[3]).unwrap())]);
        assert_eq!(error, "`t` is 2 by axis 0 of input `x`, but 3 by axis 0 of input `y` [R0305]");
        // Wrong shape, type, number, name.
        let error = told(&mut session, &[("x", View::shaped(&x, &[3, 2]).unwrap()), ("y", View::flat(&y))]);
        assert!(error.starts_with("input `x` is f32[t = 3, d = 3]"), "{error}");
        let error = told(&mut session, &[("x", View::shaped(&x, &[6]).unwrap()), ("y", View::flat(&y))]);
        assert!(error.starts_with("input `x` is f32[t, d = 3]"), "{error}");
        let error = told(&mut session, &[("x", x_view()), ("y", View::flat(&[1.0f64, 2.0]))]);
        assert_eq!(error, "input `y` holds f32, the given one f64 [R0303]");
        let error = told(&mut session, &[("x", x_view()), ("z", View::flat(&y[..2]))]);
        assert_eq!(error, "no input `z`; there is `x`, `y` [R0301]");
        good(&mut session);
        // No rows.
        let none: [f32; 0] = [];
        session
            .run(&[("x", View::shaped(&none, &[0, 3]).unwrap()), ("y", View::shaped(&none, &[0]).unwrap())])
            .unwrap();
        good(&mut session);
        // An index that the table has not: an error, and no other row is read.
        session.enter("look").unwrap();
        for index in [4, -1, i32::MAX, i32::MIN] {
            let error = session.run(&[("index", View::flat(&[0, index]))]).unwrap_err();
            assert!(matches!(error, RunError::IndexOutOfRange { .. }), "{error}");
            let start = format!("`index[t = 1]` is {index}, an index out of range: axis `n` has 4 elements, in kernel");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
        assert!(session.run(&[("index", View::flat(&[0, 3]))]).is_ok());
        // A failed call changes no state.
        session.enter("add").unwrap();
        session.run(&[("x", View::flat(&[1.0f32, 2.0, 3.0]))]).unwrap();
        assert!(session.run(&[("x", View::flat(&[1.0f32, 2.0]))]).is_err());
        assert_eq!(session.state::<f32>("sum").unwrap(), [1.0, 2.0, 3.0]);
    }
}

const INDICES: &str = "
axis d = 3
axis h = 40
axis n = 4

network indices {
    param table: f32[n, d]
    state at: i32[] = 4.0

    /// Sequences of different length.
    entry walk(x: f32[b, t, d], lengths: i32[b]) -> f32[b, d] {
        scan t lengths = lengths carry (sum: f32[b, d] = 0.0) { next sum + x } yield last sum
    }
    /// Read in a loop, an iteration at a time.
    entry deep(index: i64[t, b]) -> f32[t, b, d] {
        scan t { let row = table[n = index] } yield row * 2.0
    }
    entry nodes(x: f32[edge, d], node: i32[edge]) -> f32[n, d] { segment_sum[edge -> n](x, node) }
    entry kept(gain: f32[]) -> f32[d] { gain * table[n = at] }
    /// Computed: no element of an input is wrong.
    entry made(index: i32[t]) -> f32[t, d] { table[n = index + 1] }
    entry made_in_loop(index: i32[t, b]) -> f32[t, b, d] {
        scan t reverse carry (sum: i32[b] = 0) { next sum + index } yield table[n = sum]
    }
    entry made_for_edges(x: f32[b, edge], node: i64[edge]) -> f32[b, n] { segment_sum[edge -> n](x, node * 2) }
    entry made_for_product(index: i32[b, t]) -> f32[b, t, h] {
        param w: f32[d, h]
        table[n = index * index] @ w
    }
    entry made_start(x: f32[t], start: f32[]) -> f32[] { x[t = i32(round(start))] }
}
";

#[test]
fn a_wrong_index_is_told_with_its_tensor_place_and_value() {
    let bytes = built(INDICES);
    let float = |n: usize| vec![1.0f32; n];
    for isa in runnable(&Artifact::from_bytes(bytes.as_slice()).unwrap()) {
        let options = LoadOptions::default().isa(isa).threads(2);
        let model = Model::from_bytes(bytes.as_slice(), WeightSource::Random(1), &options).unwrap();
        let mut session = model.session("walk").unwrap();
        let x = float(30);
        let x = || View::shaped(&x, &[2, 5, 3]).unwrap();
        for bad in [6, -1, i32::MIN] {
            let error = told(&mut session, &[("x", x()), ("lengths", View::flat(&[5, bad]))]);
            let start =
                format!("`lengths[b = 1]` is {bad}, an index out of range: axis `t_lengths` has 6 elements, in kernel");
            assert!(error.starts_with(&start), "{error}");
        }
        assert!(session.run(&[("x", x()), ("lengths", View::flat(&[5, 0]))]).is_ok());
        session.enter("deep").unwrap();
        let index = [0i64, 1, 2, 3, -7, 4];
        let error = told(&mut session, &[("index", View::shaped(&index, &[3, 2]).unwrap())]);
        assert!(error.starts_with("`index[t = 2, b = 0]` is -7, an index out of range: axis `n` has 4"), "{error}");
        session.enter("nodes").unwrap();
        let x = float(6);
        let x = View::shaped(&x, &[2, 3]).unwrap();
        let error = told(&mut session, &[("x", x), ("node", View::flat(&[9, 1]))]);
        assert!(error.starts_with("`node[edge = 0]` is 9, an index out of range: axis `n` has 4"), "{error}");
        session.enter("kept").unwrap();
        let error = told(&mut session, &[("gain", View::flat(&[1.0f32]))]);
        assert!(error.starts_with("`at` is 4, an index out of range: axis `n` has 4"), "{error}");
        session.enter("made").unwrap();
        let error = told(&mut session, &[("index", View::flat(&[0, 3]))]);
        assert!(error.starts_with("`(index + 1)[t = 1]` is 4, an index out of range: axis `n` has 4"), "{error}");
        assert!(session.run(&[("index", View::flat(&[0, 2]))]).is_ok());
        // In the last of many vectors, and the first of several.
        let mut index = vec![1; 1001];
        (index[990], index[997]) = (i32::MAX - 1, 17);
        let error = told(&mut session, &[("index", View::flat(&index))]);
        assert!(error.starts_with("`(index + 1)[t = 990]` is 2147483647, an index out of range"), "{error}");
        session.enter("made_in_loop").unwrap();
        let index = [0, 1, 0, 1, 3, 2];
        let error = told(&mut session, &[("index", View::shaped(&index, &[3, 2]).unwrap())]);
        assert!(error.contains("t = 0") && error.contains("b = 1"), "{error}");
        assert!(error.contains("` is 4, an index out of range: axis `n` has 4"), "{error}");
        session.enter("made_for_edges").unwrap();
        let x = float(6);
        let error = told(
            &mut session,
            &[("x", View::shaped(&x, &[2, 3]).unwrap()), ("node", View::flat(&[0i64, -1 << 40, 1]))],
        );
        assert!(error.starts_with("`(node * 2)[edge = 1]` is -2199023255552, an index out of range"), "{error}");
        session.enter("made_for_product").unwrap();
        let index = [0, 1, 1, 0, 1, -9];
        let error = told(&mut session, &[("index", View::shaped(&index, &[2, 3]).unwrap())]);
        assert!(error.starts_with("`(index * index)["), "{error}");
        assert!(error.contains("is 81, an index out of range: axis `n` has 4"), "{error}");
        session.enter("made_start").unwrap();
        let error = told(&mut session, &[("x", View::flat(&x)), ("start", View::flat(&[6.4f32]))]);
        assert!(error.starts_with("`(i32(round(start)))` is 6, an index out of range: axis `t` has 6"), "{error}");
    }
}

/// Numbers that f64 lacks: what is known when building is folded exactly, or not at all.
#[test]
fn integers_of_64_bits_are_exact() {
    let bytes = built(
        "model wide(x: i64[t]) -> (a: i64[t], b: i64[t], c: i64[t], d: i64[t]) {
            let far = i64(2097152) << 32
            (
                a: x + (far * 2 + 1),
                b: x % 1152921504606846976 + x / 4611686018427387904,
                c: i64(94906267) * 94906267 - x,
                d: (far + 3) / 2 - (far + 1) % 1000003 + x * 0,
            )
        }",
    );
    let x = [0i64, 5, -7, (1 << 61) + 3, i64::MIN + 1];
    let expected: [fn(i64) -> i64; 4] = [
        |x| x.wrapping_add((1i64 << 54) + 1),
        |x| x.rem_euclid(1 << 60) + x.div_euclid(1 << 62),
        |x| (94906267i64 * 94906267).wrapping_sub(x),
        |_| ((1i64 << 53) + 3) / 2 - ((1i64 << 53) + 1) % 1000003,
    ];
    for isa in runnable(&Artifact::from_bytes(bytes.as_slice()).unwrap()) {
        let options = LoadOptions::default().isa(isa).threads(1);
        let model = Model::from_bytes(bytes.as_slice(), WeightSource::Random(1), &options).unwrap();
        let mut session = model.session("wide").unwrap();
        let outputs = session.run(&[("x", View::flat(&x))]).unwrap();
        for (name, expected) in ["a", "b", "c", "d"].into_iter().zip(expected) {
            assert_eq!(outputs.slice::<i64>(name).unwrap(), x.map(expected), "{name}, {isa}");
        }
    }
}

const CHOSEN: &str = "
axis d = 3
axis e = 4

network chosen {
    /// Sequences one after the other.
    entry packed(x: f32[t, d], of: i32[t], start: f32[seq, d]) -> f32[t, d] {
        scan t segments[seq] = of carry (sum: f32[d] = start) { next sum + x } yield sum
    }
    entry lengths(x: f32[b, t, d], n: i32[b]) -> f32[b, d] {
        scan t lengths = n carry (sum: f32[b, d] = 7.0) { next sum + x } yield last sum
    }
    entry experts(x: f32[t, d], ids: i32[t]) -> f32[t, d] {
        route x over e by hash(ids) {
            param w: f32[d, d']
            (x @ w)[d' -> d]
        }
    }
    entry wide(x: f32[t, d], ids: i64[t]) -> f32[t, d] {
        route x over e by hash(ids) {
            param u: f32[d, d']
            (x @ u)[d' -> d]
        }
    }
    entry limited(x: f32[t, d], ids: i32[t]) -> f32[t, d] {
        route x over e by hash(ids, rows = 2, drop) {
            param v: f32[d, d']
            (x @ v)[d' -> d]
        } mix sum
    }
    entry arms(x: f32[t, d], ids: i32[t]) -> f32[t, d] {
        route x over e by hash(ids) { a: x b: 2.0 * x c: 0.0 d: -1.0 * x }
    }
    entry spread(x: f32[t, d], to: i32[t]) -> f32[e, d] { scatter[t -> e](x, to) }
    entry apart(x: f32[t], to: i64[t]) -> f32[t] { segment_softmax[t -> e](x, to) }
    entry looked_up(x: f32[b, t], at: i32[b, e]) -> f32[b, e] { x[t = at] }
}
";

#[test]
fn every_construct_that_takes_indices_looks_at_them() {
    let bytes = built(CHOSEN);
    let x = [1.0f32; 24];
    let (x, flat) = (View::shaped(&x[..6], &[2, 3]).unwrap(), View::flat(&x[..2]));
    let rows = View::shaped(&[1.0f32; 24], &[2, 4, 3]).unwrap();
    for isa in runnable(&Artifact::from_bytes(bytes.as_slice()).unwrap()) {
        let options = LoadOptions::default().isa(isa).threads(2);
        let model = Model::from_bytes(bytes.as_slice(), WeightSource::Random(1), &options).unwrap();
        let mut session = model.session("packed").unwrap();
        let mut wrong = |entry: &str, name: &str, axis: &str, size: i32, more: &[(&str, View)]| {
            session.enter(entry).unwrap();
            for bad in [size, -1, i32::MIN] {
                let numbers = [0, bad];
                let wide = numbers.map(i64::from);
                let index = if ["apart", "wide"].contains(&entry) { View::flat(&wide) } else { View::flat(&numbers) };
                let error = told(&mut session, &[more, &[(name, index)]].concat());
                let start = format!("is {bad}, an index out of range: axis `{axis}` has {size} elements, in kernel");
                assert!(error.starts_with(&format!("`{name}[")) && error.contains(&start), "{entry}: {error}");
            }
        };
        wrong("packed", "of", "seq", 2, &[("x", x), ("start", x)]);
        wrong("lengths", "n", "t_lengths", 5, &[("x", rows)]);
        wrong("experts", "ids", "e", 4, &[("x", x)]);
        wrong("wide", "ids", "e", 4, &[("x", x)]);
        wrong("limited", "ids", "e", 4, &[("x", x)]);
        wrong("arms", "ids", "e", 4, &[("x", x)]);
        wrong("spread", "to", "e", 4, &[("x", x)]);
        wrong("apart", "to", "e", 4, &[("x", flat)]);
        session.enter("looked_up").unwrap();
        let at = View::shaped(&[0, 1, 2, 0, 0, 0, 3, 0], &[2, 4]).unwrap();
        let error = told(&mut session, &[("x", x), ("at", at)]);
        assert!(
            error.starts_with("`at[b = 1, e = 2]` is 3, an index out of range: axis `t` has 3 elements"),
            "{error}"
        );
        // Of an axis without elements nothing is read: no length is wrong.
        session.enter("lengths").unwrap();
        let none: [f32; 0] = [];
        let outputs = session.run(&[("x", View::shaped(&none, &[2, 0, 3]).unwrap()), ("n", View::flat(&[0, 5]))]);
        assert_eq!(outputs.unwrap().slice::<f32>("y").unwrap(), [7.0; 6]);
    }
}

const PLACES: &str = "
axis four = 4

network places {
    entry fifth(x: f32[t]) -> f32[] { x[t = 5] }
    entry middle(x: f32[t]) -> f32[] { sum[four](x[t = 1..5][t -> four]) }
    entry best(x: f32[t]) -> i32[k] { top[t -> k: 8](x).index }
    entry most(x: f64[t]) -> i32[k] { top[t -> k: 40](x).index }
    entry end(x: f32[t]) -> f32[] { x[t = -2] }
    entry all_but(x: f32[t]) -> f32[] { sum[t](x[t = 2..]) }
    entry each(x: f32[t, b]) -> f32[t] { scan t { let y = x[b = 3] } yield y }
}
";

#[test]
fn what_an_axis_lacks_is_told_before_anything_is_read() {
    let bytes = built(PLACES);
    let (x, wide) = ([1.0f32; 64], [1.0f64; 64]);
    for isa in runnable(&Artifact::from_bytes(bytes.as_slice()).unwrap()) {
        let options = LoadOptions::default().isa(isa).threads(1);
        let model = Model::from_bytes(bytes.as_slice(), WeightSource::Random(1), &options).unwrap();
        let mut session = model.session("fifth").unwrap();
        let cases = [
            ("fifth", 6, "element 5 of axis `t` is out of range for t = 5"),
            ("middle", 5, "the slice 1..5 of axis `t` is out of range for t = 4"),
            ("best", 8, "a choice of 8 elements of axis `t` is out of range for t = 7"),
            ("end", 2, "`(t = -2)` is -1, an index out of range: axis `t` has 1 element, in kernel"),
            ("all_but", 2, "the size of axis `t"),
        ];
        for (entry, least, start) in cases {
            session.enter(entry).unwrap();
            session.run(&[("x", View::flat(&x[..least]))]).unwrap();
            let error = told(&mut session, &[("x", View::flat(&x[..least - 1]))]);
            assert!(error.starts_with(start), "{entry}: {error}");
        }
        session.enter("most").unwrap();
        session.run(&[("x", View::flat(&wide[..40]))]).unwrap();
        let error = told(&mut session, &[("x", View::flat(&wide[..39]))]);
        assert!(error.starts_with("a choice of 40 elements of axis `t` is out of range"), "{error}");
        session.enter("each").unwrap();
        let error = told(&mut session, &[("x", View::shaped(&x[..6], &[2, 3]).unwrap())]);
        assert!(error.starts_with("element 3 of axis `b` is out of range for"), "{error}");
    }
}

#[test]
fn sizes_that_no_memory_holds_are_refused() {
    let bytes = built(INPUTS);
    let model = Model::from_bytes(bytes, WeightSource::Random(1), &LoadOptions::default().threads(1)).unwrap();
    let mut session = model.session("both").unwrap();
    for t in [1usize << 48, usize::MAX / 12, usize::MAX] {
        session.bind("t", t).unwrap();
        let error = session.run(&[]).unwrap_err();
        assert!(matches!(error, RunError::Size { .. } | RunError::MissingInput { .. }), "{error}");
        let error = session.input_mut::<f32>("x").unwrap_err();
        assert!(matches!(error, RunError::Size { .. } | RunError::OutOfMemory { .. }), "{error}");
    }
}

#[test]
fn an_artifact_of_the_compiler_that_was_cut_or_edited_is_refused() {
    let whole = built(MIXTURE);
    assert!(Artifact::from_bytes(whole.as_slice()).is_ok());
    for length in (0..whole.len()).step_by(whole.len() / 97) {
        assert!(Artifact::from_bytes(&whole[..length]).is_err(), "{length} bytes");
    }
    for at in (0..whole.len()).step_by(whole.len() / 211) {
        let mut edited = whole.clone();
        edited[at] ^= 0x10;
        assert!(Artifact::from_bytes(edited).is_err(), "byte {at}");
    }
    // Of another version, with a right hash.
    let text = b"{\"version\":7,";
    let start = whole.windows(text.len()).position(|w| w == text).expect("the manifest begins with its version");
    let mut other = whole.clone();
    other[start + text.len() - 2] = b'8';
    gatec_runtime::open::seal(&mut other).unwrap();
    let error = Artifact::from_bytes(other).unwrap_err().to_string();
    assert!(error.starts_with("artifact of format version 8, this runtime reads version 7"), "{error}");
    // For another machine, with a right hash: RISC-V.
    let mut foreign = whole;
    foreign[18..20].copy_from_slice(&243u16.to_le_bytes());
    gatec_runtime::open::seal(&mut foreign).unwrap();
    let error = Artifact::from_bytes(foreign).unwrap_err().to_string();
    assert!(error.contains("in a file for machine number 243"), "{error}");
}

#[test]
fn the_artifact_of_the_vad_model_stays_small() {
    // Without weights; with code for three kinds of processor and a GPU. 308 kB when this was written.
    const MOST: usize = 500_000;
    let vad = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/silero-vad/vad.gate");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("vad.so");
    gatec::build(&vad, &BuildOptions::default(), &out).unwrap_or_else(|e| panic!("{e}"));
    let artifact = Artifact::open(&out).unwrap();
    assert_eq!(artifact.manifest().variants.len(), 4, "no variant was left out");
    assert!(artifact.ptx().unwrap().is_some_and(|ptx| ptx.contains(".entry")));
    assert!(artifact.bytes().len() < MOST, "{} bytes", artifact.bytes().len());
}
