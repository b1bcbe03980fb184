//! Whatever tuning chooses, results are the same, bit for bit: all examples and random programs, with every choice at its ends.

use std::path::Path;

use gatec::BuildOptions;
use gatec::graph::Module;
use gatec::graph::random::{self, Options};
use gatec::schedule::{CHOICES, Choice, Choices, Tuning};
use gatec_tests::Built;
use gatec_tests::example::Example;

/// Every choice at the value that `of` says.
fn all(of: impl Fn(&Choice) -> u32) -> Choices {
    let mut choices = Choices::default();
    CHOICES.iter().for_each(|choice| choice.set(&mut choices, of(choice)));
    choices
}

/// Choices that differ from the default in everything.
fn sets() -> [Choices; 4] {
    [
        all(|c| *c.range.start()),
        all(|c| *c.range.end()),
        all(|c| c.others[0]),
        all(|c| c.others.last().copied().unwrap_or_default()),
    ]
}

fn check(name: &str, module: &Module, sizes: &[i64]) -> Result<(), String> {
    let default = Built::new(module)?;
    for (set, choices) in sets().into_iter().enumerate() {
        let built = Built::tuned(module, Tuning::everywhere(choices))?;
        for (entry, size) in (0..module.entries.len()).flat_map(|entry| sizes.iter().map(move |size| (entry, *size))) {
            let symbols: Vec<(&str, i64)> = module.symbols.iter().map(|(name, _)| (name.as_str(), size)).collect();
            let values = random::values(module, entry, &symbols, 3);
            for &isa in &built.isas {
                // A program that refuses its input (an index out of range) does so however it is scheduled.
                let bits = |built: &Built, threads| {
                    let results = built.run(entry, &values, isa, threads).map_err(|_| "refused");
                    results.map(|all| all.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>())
                };
                let expected = bits(&default, 1);
                for threads in [1, 3] {
                    if bits(&built, threads) != expected {
                        return Err(format!(
                            "{name}, entry {entry}, sizes {size}, {isa}, {threads} threads, set {set}"
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn choices_change_no_bit_of_the_examples() {
    let mut failures = Vec::new();
    // Weights of 8 and 4 bits, tiles of every height, experts, drops.
    let more = ["quantized-tiles", "quantized", "networks", "route-drops", "attention"];
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests/run");
    let more = more.map(|name| (run.join(name).with_extension("gate"), Vec::new()));
    for (path, sizes) in Example::of("examples").into_iter().map(|e| (e.model(), e.sizes())).chain(more) {
        let options = BuildOptions { sizes, ..Default::default() };
        let (program, optimized) = gatec::optimize(&path, &options).unwrap_or_else(|e| panic!("{e}"));
        failures.extend(check(&program.name, &optimized.module, &[1, 40]).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn choices_change_no_bit_of_random_programs() {
    let failures: Vec<String> = (0..10)
        .filter_map(|seed| {
            let module = random::module(seed, &Options::default());
            check(&format!("seed {seed}"), &module, &[1, 17]).err()
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
