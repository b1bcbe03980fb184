//! What sessions count while they run: rows of each expert, as the model itself says in `plan.load`.

use gatec::BuildOptions;
use gatec_runtime::{LoadOptions, Model, RouterCounts, Session, View, WeightSource};

const BLOCKS: &str = r#"
axis d = 32
axis h = 32
axis e = 8

block expert(x: f32[.., d]) -> f32[.., d] {
    param up: f32[d, h]
    param down: f32[h, d]
    relu(x @ up) @ down
}
"#;

fn model(text: &str, threads: usize) -> Model {
    let folder = tempfile::tempdir().expect("a folder");
    let (gate, so) = (folder.path().join("model.gate"), folder.path().join("model.so"));
    std::fs::write(&gate, BLOCKS.to_owned() + text).expect("a file");
    let options = BuildOptions { ptx: false, ..Default::default() };
    gatec::build(&gate, &options, &so).expect("it builds");
    Model::load(&so, WeightSource::Random(3), &LoadOptions::default().threads(threads)).expect("it loads")
}

/// Rows of noise.
fn noise(rows: usize) -> Vec<f32> {
    (0..rows * 32).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn run(session: &mut Session, rows: usize) {
    session.run(&[("x", View::flat(&noise(rows)))]).expect("it runs");
}

fn loads(session: &Session) -> Vec<f32> {
    session.output::<f32>("load").expect("a load").to_vec()
}

/// Rows of all experts of all layers, one after the other.
fn rows(router: &RouterCounts) -> Vec<f32> {
    router.layers.iter().flat_map(|layer| &layer.rows).map(|rows| *rows as f32).collect()
}

const LAYERS: &str = r#"
axis layer = 3

model deep(x: f32[tokens, d]) -> (y: f32[tokens, d], load: f32[layer, e]) {
    repeat layer in 3 carry x {
        param router: f32[d, e]
        let plan = topk[e](softmax[e](x @ router), 2, normalize)
        let y = route x over e by plan { experts: expert(x) } mix sum
        next x + y
    } yield (y: last x, load: f32(plan.load))
}
"#;

#[test]
fn each_layer_of_a_router_has_counts_of_its_own() {
    for threads in [1, 2] {
        let model = model(LAYERS, threads);
        let mut session = model.session("deep").expect("a session");
        session.set_counted(true);
        run(&mut session, 100);
        let first = loads(&session);
        let [router] = &session.routers()[..] else { panic!("one router") };
        assert_eq!((router.expert.as_str(), router.layers.len()), ("e", 3));
        assert!(router.lines[0].0.ends_with("model.gate"), "{:?}", router.lines);
        assert_eq!(rows(router), first);
        for layer in &router.layers {
            assert_eq!((layer.calls, layer.taken(), layer.dropped), (1, 200, 0));
            assert!(layer.entropy() > 0.0 && layer.entropy() < 8f64.ln());
        }

        // Runs add up, whatever their sizes.
        run(&mut session, 3);
        let sums: Vec<f32> = first.iter().zip(loads(&session)).map(|(a, b)| a + b).collect();
        assert_eq!(rows(&session.routers()[0]), sums);

        // Switched off nothing moves, switched on all is counted anew.
        session.set_counted(false);
        run(&mut session, 3);
        assert_eq!(rows(&session.routers()[0]), vec![0.0; 24]);
        session.set_counted(true);
        run(&mut session, 0);
        assert_eq!(session.routers()[0].layers[2].calls, 1);
        assert_eq!(rows(&session.routers()[0]), vec![0.0; 24]);
    }
}

#[test]
fn what_no_expert_took_is_counted_as_dropped() {
    let text = r#"
model switch(x: f32[tokens, d]) -> (y: f32[tokens, d], load: f32[e]) {
    param router: f32[d, e]
    let plan = top1[e](softmax[e](x @ router), capacity = 0.5, drop)
    let y = route x over e by plan { experts: expert(x) } mix sum
    (y: y, load: f32(plan.load))
}
"#;
    let model = model(text, 2);
    let mut session = model.session("switch").expect("a session");
    session.set_counted(true);
    run(&mut session, 160);
    let [router] = &session.routers()[..] else { panic!("one router") };
    let [layer] = &router.layers[..] else { panic!("one layer") };
    assert_eq!(rows(router), loads(&session));
    assert!(layer.rows.iter().all(|rows| *rows <= 10), "the capacity: {:?}", layer.rows);
    assert_eq!(layer.dropped, 160 - layer.taken());
    assert!(layer.dropped >= 80);
}

#[test]
fn steps_of_a_sequence_are_counted_together() {
    let text = r#"
model steps(x: f32[t, d]) -> f32[t, d] {
    param router: f32[d, e]
    scan t carry (c: f32[d] = 0.0) {
        next tanh(x + (route c over e by topk((x + c) @ router, 2) { experts: expert(c) } mix sum))
    } yield c
}
"#;
    let model = model(text, 1);
    let mut session = model.session("steps").expect("a session");
    session.set_counted(true);
    for (steps, layers) in [(20, 20), (300, 1)] {
        run(&mut session, steps);
        let [router] = &session.routers()[..] else { panic!("one router") };
        assert_eq!(router.layers.len(), layers);
        assert_eq!(router.layers.iter().map(|l| l.calls).sum::<u64>(), steps as u64);
        assert_eq!(router.layers.iter().map(|l| l.taken()).sum::<u64>(), 2 * steps as u64);
    }
}

const EXITS: &str = r#"
axis c = 4

model exits(x: f32[t, d]) -> (p: f32[t, c], at: i32[t]) {
    param head: f32[d, c]
    repeat layer in 5 carry x {
        param w: f32[d, d'] from "w"[layer, d, d']
        let x = x + tanh(x @ w)[d' -> d]
        let p = softmax[c](x @ head)
        exit t when max[c](p) > 0.6 yield (p: p, at: index(layer))
        next x
    } else (p: x @ head, at: -1)
}
"#;

#[test]
fn rows_that_leave_are_counted_in_the_layer_where_they_do() {
    for threads in [1, 2] {
        let model = model(EXITS, threads);
        let mut session = model.session("exits").expect("a session");
        session.set_counted(true);
        let mut expected = [0u64; 6];
        // The last is large enough that threads share its work.
        for rows in [40, 0, 3, 40, 20_000] {
            run(&mut session, rows);
            for at in session.output::<i32>("at").expect("numbers") {
                expected[if *at < 0 { 5 } else { *at as usize }] += 1;
            }
            let [exits] = &session.exits()[..] else { panic!("one loop") };
            assert_eq!((&exits.layers[..], exits.stayed), (&expected[..5], expected[5]), "{rows} rows");
            assert_eq!(exits.axis, "t");
        }
        assert!(expected[0] > 0 && expected[5] > 0, "{expected:?}");
        assert!(session.routers().is_empty());
        session.set_counted(false);
        run(&mut session, 40);
        assert_eq!(session.exits()[0].layers, [0; 5]);
    }
}

const CHOICE: &str = r#"
block attention(x: f32[t, d]) -> f32[t, d] {
    param w: f32[d, d']
    let key = (x @ w)[d' -> d, t -> src]
    softmax[src](x @ key) @ x[t -> src]
}

block recurrent(x: f32[t, d]) -> f32[t, d] {
    param u: f32[d, d']
    scan t carry (s: f32[d] = 0.0) { next tanh(x + (s @ u)[d' -> d]) } yield s
}

network arms {
    entry by_number(x: f32[t, d], g: i32[]) -> f32[t, d] {
        choose g {
            wide: expert(x)
            far: attention(x)
            loop: recurrent(x)
            inner: choose g - 1 {
                wide: expert(x)
                far: attention(x)
                loop: recurrent(2.0 * x)
            }
        }
    }

    entry by_weights(x: f32[t, d], g: f32[e]) -> f32[t, d] {
        choose g { n in 0..8: expert(x * n) }
    }
}
"#;

/// How often contractions of a session were called since the last look.
fn contractions(session: &mut Session) -> u64 {
    let profile = session.profile();
    session.set_profiled(false).set_profiled(true);
    profile.iter().filter(|call| call.label.contains("contract")).map(|call| call.calls).sum()
}

#[test]
fn of_the_arms_of_a_choice_only_that_is_computed_which_was_chosen() {
    for threads in [1, 2] {
        let model = model(CHOICE, threads);
        let mut session = model.session("by_number").expect("a session");
        session.set_profiled(true);
        // The last takes long enough that threads share it.
        for rows in [5, 700] {
            for (number, calls) in [(0i32, 2), (2, rows as u64), (3, rows as u64), (0, 2)] {
                session.run(&[("x", View::flat(&noise(rows))), ("g", (&[number]).into())]).expect("it runs");
                assert_eq!(contractions(&mut session), calls, "arm {number}, {rows} rows");
            }
        }
        let error = session.run(&[("x", View::flat(&noise(5))), ("g", (&[4i32]).into())]).unwrap_err().to_string();
        assert!(error.contains("`g`") && error.contains('4'), "{error}");

        let mut session = model.session("by_weights").expect("a session");
        session.set_profiled(true);
        for weights in [[0.0f32; 8], [0.0, 0.5, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0], [1.0; 8]] {
            session.run(&[("x", View::flat(&noise(5))), ("g", (&weights).into())]).expect("it runs");
            let used = weights.iter().filter(|w| **w != 0.0).count() as u64;
            assert_eq!(contractions(&mut session), 2 * used, "{weights:?}");
        }
    }
}

#[test]
fn a_route_to_all_experts_has_nothing_to_count() {
    let text = r#"
model dense(x: f32[tokens, d]) -> f32[tokens, d] {
    param router: f32[d, e]
    route x over e by all(softmax[e](x @ router)) { experts: expert(x) } mix sum
}
"#;
    let model = model(text, 1);
    let mut session = model.session("dense").expect("a session");
    session.set_counted(true);
    assert!(session.routers().is_empty());
    run(&mut session, 5);
    assert!(session.routers().is_empty());
}
