//! Compiled code against the interpreter, on random programs: every CPU variant of this machine, 1, 2 and 7 threads, which must
//! agree with each other to the bit.
#![allow(clippy::print_stdout, reason = "says which variants this machine lacks")]

use gatec::graph::random::{self, Options};
use gatec::pipeline::{OptimizeOptions, optimize};
use gatec_tests::{Built, ISAS, difference, elements, interpret, runnable};

/// On programs whose magnitudes stay near 1; the largest seen is 4e-6.
const TOLERANCE: f64 = 1e-4;

fn check(seed: u64, options: &Options, passes: bool) -> Result<(), String> {
    let module = random::module(seed, options);
    let compiled = match passes {
        true => optimize(module.clone(), &OptimizeOptions::default()).map_err(|e| format!("seed {seed}: {e}"))?.module,
        false => module.clone(),
    };
    let built = Built::new(&compiled).map_err(|e| format!("seed {seed}: {e}"))?;
    for t in [1, 0, 7] {
        let values = random::values(&module, 0, &[("t", t)], seed + 1);
        let Ok(expected) = interpret(&module, 0, &values) else { continue };
        for isa in runnable() {
            let mut first = None;
            for threads in [1, 2, 7] {
                let at = format!("seed {seed}, t = {t}, {isa:?}, {threads} threads");
                let found = built.run(0, &values, isa, threads).map_err(|e| format!("{at}: {e}"))?;
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let error = difference(found, expected);
                    if error > TOLERANCE {
                        return Err(format!("{at}: output {i} is off by {error:e}"));
                    }
                }
                let bits: Vec<Vec<u64>> = found.iter().map(|o| o.iter().map(|x| x.to_bits()).collect()).collect();
                match &first {
                    None => first = Some(bits),
                    Some(first) if *first != bits => return Err(format!("{at}: other bits than with 1 thread")),
                    Some(_) => {}
                }
            }
        }
    }
    Ok(())
}

fn check_all(passes: bool) {
    for isa in ISAS.iter().filter(|isa| !runnable().contains(isa)) {
        println!("this machine lacks {isa:?}: not run");
    }
    let count: u64 = std::env::var("GATEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let first: u64 = std::env::var("GATEC_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let failures: Vec<String> =
        (first..first + count).filter_map(|seed| check(seed, &Options::default(), passes).err()).collect();
    assert!(failures.is_empty(), "{} of {count} programs:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn random_programs_agree_with_the_interpreter() {
    check_all(false);
}

#[test]
fn optimised_random_programs_agree_with_the_interpreter_on_what_was_written() {
    check_all(true);
}

#[test]
fn contractions_of_every_element_type_agree_with_the_interpreter() {
    let mut failures = Vec::new();
    for case in elements::all() {
        let built = Built::new(&case.optimized()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for (t, isa) in [0, 1, 2, 17].into_iter().flat_map(|t| runnable().into_iter().map(move |isa| (t, isa))) {
            let values = case.values(t);
            let results = [1, 2, 7].map(|threads| built.run(0, &values, isa, threads));
            let [one, two, seven] = results.map(|r| r.unwrap_or_else(|e| panic!("{}: {e}", case.name)));
            let at = format!("{}, {isa:?}, t = {t}", case.name);
            if one != two || one != seven {
                failures.push(format!("{at}: other bits with other numbers of threads"));
            }
            failures.extend(case.wrong(&one, &values).map(|e| format!("{at}: {e}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
