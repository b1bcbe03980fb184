//! Random programs before and after every pass, through the interpreter: a pass keeps what a program means.

use gatec::egraph::Limits;
use gatec::graph::Module;
use gatec::graph::random::{self, Options};
use gatec::pipeline::{OptimizeOptions, Optimized, PASSES, optimize, run_pass};
use gatec::rules::RULES;
use gatec_tests::{difference, interpret};

/// Sums change their order.
const TOLERANCE: f64 = 1e-9;

#[test]
fn every_pass_keeps_the_meaning_of_random_programs() {
    let count: u64 = std::env::var("GATEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let first: u64 = std::env::var("GATEC_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut failures = Vec::new();
    let mut applied = std::collections::BTreeSet::new();
    for seed in first..first + count {
        let mut module = random::module(seed, &Options::default());
        // Every third program in windows of a few nodes.
        let whole = if seed % 3 == 0 { 6 } else { Limits::default().whole };
        let options =
            OptimizeOptions { verify: true, limits: Limits { whole, ..Limits::default() }, ..Default::default() };
        for pass in PASSES {
            let after = match run_pass(pass.name, module.clone(), &options) {
                Ok(optimized) => {
                    applied.extend(optimized.report.applied);
                    optimized.module
                }
                Err(why) => {
                    failures.push(format!("seed {seed}, {}: {why}", pass.name));
                    break;
                }
            };
            for t in [0, 1, 7] {
                let values = random::values(&module, 0, &[("t", t)], seed + 1);
                let Ok(expected) = interpret(&module, 0, &values) else { continue };
                match interpret(&after, 0, &values) {
                    Ok(found) => {
                        let worst = found.iter().zip(&expected).map(|(f, e)| difference(f, e)).fold(0.0, f64::max);
                        if worst > TOLERANCE {
                            failures.push(format!("seed {seed}, t = {t}, {}: off by {worst:e}", pass.name));
                        }
                    }
                    Err(why) => failures.push(format!("seed {seed}, t = {t}, {}: {why}", pass.name)),
                }
            }
            module = after;
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let idle: Vec<&str> = RULES.iter().map(|r| r.name).filter(|r| !applied.contains(r)).collect();
    assert!(idle.is_empty() || count < 100, "no program had a place for these rules: {idle:?}");
}

/// Two loops with the same body are two regions with the entry, not three.
#[test]
fn equal_regions_are_saturated_once() {
    let model = "axis d = 4
    model twice(x: f32[t, d]) -> (a: f32[d], b: f32[d]) {
        let first = scan t carry (c = x[t = 0]) { next tanh(c + x) } yield last c
        let second = scan t carry (c = 2.0 * x[t = 0]) { next tanh(c + x) } yield last c
        (a: first, b: second)
    }";
    let optimized = run_pass("rewrite", lowered(model), &OptimizeOptions::default()).expect("it rewrites");
    assert_eq!(optimized.report.regions, 2, "the entry, and one body");
}

/// Layers written one by one are rewritten in windows: few e-graphs, however many layers, and each layer keeps its parameters and names.
#[test]
fn equal_layers_are_saturated_once() {
    let regions = |layers: usize| {
        let layer = |i: usize| {
            format!(
                "param s{i}: f32[d]
                let n = rmsnorm[d](x, s{i})
                param up{i}, gate{i}: f32[d, h]
                param down{i}: f32[h, d]
                let hidden{i} = silu(n @ gate{i}) * (n @ up{i})
                let x = x + hidden{i} @ down{i}\n"
            )
        };
        let layers: String = (0..layers).map(layer).collect();
        let model = format!("axis d = 4\naxis h = 3\nmodel deep(x: f32[t, d]) -> f32[t, d] {{\n{layers}x\n}}");
        let module = lowered(&model);
        let optimized = optimize(module.clone(), &OptimizeOptions { verify: true, ..Default::default() });
        let Optimized { module: after, report } = optimized.expect("it optimises");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let values = random::values(&module, 0, &[("t", 3)], 1);
        let [expected, found] = [&module, &after].map(|module| interpret(module, 0, &values).expect("it runs"));
        assert!(difference(&found[0], &expected[0]) <= TOLERANCE);
        let graph = &after.entries[0].graph;
        let mut lines: Vec<u32> = graph.ids().filter_map(|id| Some(module.line_of(graph.node(id).span?)?.1)).collect();
        lines.sort();
        lines.dedup();
        (report.regions, lines.len())
    };
    let (count, lines) = regions(48);
    assert!(count <= 12, "48 layers are {count} regions");
    assert!(lines >= 48 * 3, "48 layers stand at {lines} lines");
}

fn lowered(model: &str) -> Module {
    let program = gatec_lang::load_text("model.gate", model, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
    gatec::lower::lower(&program).expect("it lowers")
}

const GLU: &str = "axis d = 4
axis h = 8
model glu(x: f32[t, d]) -> f32[t, d] {
    param gate, up: f32[d, h]
    param down: f32[h, d]
    (silu(x @ gate) * (x @ up)) @ down
}";

#[test]
fn a_limit_that_bites_is_a_warning_and_changes_no_meaning() {
    let module = lowered(GLU);
    let values = random::values(&module, 0, &[("t", 3)], 1);
    let expected = interpret(&module, 0, &values).expect("it runs");
    let all = Limits::default();
    let limits = [
        ("e-nodes", Limits { nodes: 5, ..all }),
        ("rounds", Limits { rounds: 1, ..all }),
        ("matches", Limits { matches: 0, ..all }),
    ];
    for (what, limits) in limits {
        let options = OptimizeOptions { limits, verify: true, ..Default::default() };
        let optimized = optimize(module.clone(), &options).expect("a limit is no error");
        let warnings = &optimized.report.warnings;
        assert!(warnings.iter().any(|w| w.contains("phase") && w.contains(what)), "{what}: {warnings:?}");
        let found = interpret(&optimized.module, 0, &values).expect("it runs");
        let worst = found.iter().zip(&expected).map(|(f, e)| difference(f, e)).fold(0.0, f64::max);
        assert!(worst <= TOLERANCE, "{what}: off by {worst:e}");
    }
}

#[test]
fn fuel_counts_rewrites() {
    let module = lowered(GLU);
    let rewrites = |fuel| {
        let options = OptimizeOptions { fuel, ..Default::default() };
        optimize(module.clone(), &options).expect("it optimises").report.rewrites
    };
    let all = rewrites(None);
    assert!(all > 1);
    assert_eq!([rewrites(Some(0)), rewrites(Some(1)), rewrites(Some(all))], [0, 1, all]);
}
