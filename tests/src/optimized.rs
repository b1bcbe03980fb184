//! Random programs before and after every pass, through the interpreter: a pass keeps what a program means.

use gatec::graph::random::{self, Options};
use gatec::pipeline::{OptimizeOptions, PASSES, run_pass};
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
        for pass in PASSES {
            let after =
                match run_pass(pass.name, module.clone(), &OptimizeOptions { verify: true, ..Default::default() }) {
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
