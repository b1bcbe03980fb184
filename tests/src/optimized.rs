//! Random programs before and after every pass, through the interpreter: a pass keeps what a program means.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gatec::egraph::Limits;
use gatec::graph::Module;
use gatec::graph::random::{self, Options};
use gatec::pipeline::{OptimizeOptions, Optimized, PASSES, optimize, run_pass};
use gatec::rules::RULES;
use gatec_tests::shrink::shrunk;
use gatec_tests::{difference, interpret};

/// Sums change their order.
const TOLERANCE: f64 = 1e-9;

/// How many programs, and the first of them.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("GATEC_SEED").unwrap_or(0);
    first..first + number("GATEC_SEEDS").unwrap_or(500)
}

/// How a program is optimised: one in three in windows of a few nodes, each time with all rules and with half of them, others for each
/// seed.
fn ways(seed: u64) -> [OptimizeOptions; 2] {
    let whole = if seed.is_multiple_of(3) { 6 } else { Limits::default().whole };
    let limits = Limits { whole, ..Limits::default() };
    let all = OptimizeOptions { verify: true, limits, ..Default::default() };
    let bits = (seed ^ (seed >> 7)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let stays_away = |number: usize| (bits >> (number % 64)) & 1 == 1;
    let without = RULES.iter().enumerate().filter(|(number, _)| stays_away(*number)).map(|(_, rule)| rule.name.into());
    [all.clone(), OptimizeOptions { without: without.collect(), ..all }]
}

/// Passes one after the other, each held against the program before it; the rules that were applied, or what went wrong.
fn checked(module: &Module, seed: u64, options: &OptimizeOptions) -> Result<BTreeSet<&'static str>, String> {
    let check = std::panic::AssertUnwindSafe(|| check(module, seed, options));
    std::panic::catch_unwind(check).unwrap_or_else(|_| Err("panicked".into()))
}

fn check(module: &Module, seed: u64, options: &OptimizeOptions) -> Result<BTreeSet<&'static str>, String> {
    let (mut module, mut applied) = (module.clone(), BTreeSet::new());
    for pass in PASSES {
        let optimized = run_pass(pass.name, module.clone(), options).map_err(|e| format!("{}: {e}", pass.name))?;
        applied.extend(optimized.report.applied);
        for t in [0, 1, 7] {
            let values = random::values(&module, 0, &[("t", t)], seed + 1);
            let Ok(expected) = interpret(&module, 0, &values) else { continue };
            let at = format!("t = {t}, {}", pass.name);
            // Forms for other sizes mean the same.
            for (entry, form) in optimized.module.entries.iter().enumerate() {
                let found = interpret(&optimized.module, entry, &values).map_err(|e| format!("{at}: {e}"))?;
                let worst = found.iter().zip(&expected).map(|(f, e)| difference(f, e)).fold(0.0, f64::max);
                if worst > TOLERANCE {
                    return Err(format!("{at}, {}: off by {worst:e}", form.title()));
                }
            }
        }
        module = optimized.module;
    }
    Ok(applied)
}

/// `GATEC_SEEDS=10000` takes as many programs, `GATEC_SEED` says where they begin (`make nightly`). A program that fails is shown
/// as small as it still does.
#[test]
fn every_pass_keeps_the_meaning_of_random_programs() {
    let next = AtomicU64::new(seeds().start);
    let (failures, applied) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds().end {
                break;
            }
            let module = random::module(seed, &Options::default());
            for options in ways(seed) {
                match checked(&module, seed, &options) {
                    Ok(rules) => applied.lock().unwrap().extend(rules),
                    Err(why) => {
                        let small = shrunk(&module, &|m| checked(m, seed, &options).is_err());
                        let without = &options.without;
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("seed {seed}, without {without:?}, {why}; in small:\n{small}"));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(work)));
    });
    let (failures, applied) = (failures.into_inner().unwrap(), applied.into_inner().unwrap());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let idle: Vec<&str> = RULES.iter().map(|r| r.name).filter(|r| !applied.contains(r)).collect();
    assert!(idle.is_empty() || seeds().count() < 100, "no program had a place for these rules: {idle:?}");
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
