//! Plans of every machine, the GPU and those that this processor is not, run by the interpreter of kernels: random programs
//! against the interpreter of graphs.

use gatec::BuildOptions;
use gatec::graph::random::{self, Options};
use gatec::kernel::Body;
use gatec::plan;
use gatec_runtime::format::Isa;
use gatec_tests::example::Example;
use gatec_tests::machine::run;
use gatec_tests::{difference, elements, interpret};

/// Sums are exact here, stored values rounded to f32; on programs whose magnitudes stay near 1.
const TOLERANCE: f64 = 2e-5;

#[test]
fn plans_of_every_machine_agree_with_the_interpreter() {
    let count: u64 = std::env::var("GATEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let first: u64 = std::env::var("GATEC_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let failures: Vec<String> = (first..first + count).filter_map(|seed| checked(seed).err()).collect();
    assert!(failures.is_empty(), "{} of {count} programs:\n{}", failures.len(), failures.join("\n"));
}

/// Each entry of each example, optimised and planned for the GPU, against the interpreter on the program as it was written.
#[test]
fn the_gpu_plans_of_the_examples_agree_with_the_interpreter() {
    let mut failures = Vec::new();
    for example in Example::of("examples") {
        let options = BuildOptions { sizes: example.sizes(), targets: Vec::new(), ptx: true, ..Default::default() };
        let compiled = gatec::compile(&example.model(), &options).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        let written = gatec::lower::lower(&compiled.program).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        let module = &compiled.optimized.module;
        for (entry, about) in module.entries.iter().enumerate() {
            for size in [1, 5] {
                let symbols: Vec<(&str, i64)> = module.symbols.iter().map(|(name, _)| (name.as_str(), size)).collect();
                let values = random::values(&written, entry, &symbols, 3);
                let expected =
                    interpret(&written, entry, &values).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
                let at = format!("{}, {}, sizes {size}", example.name(), about.name);
                match run(module, &compiled.planned[0], entry, &values) {
                    Err(e) => failures.push(format!("{at}: {e}")),
                    Ok(found) => {
                        for ((found, expected), output) in found.iter().zip(&expected).zip(&about.outputs) {
                            let error = difference(found, expected);
                            if error > TOLERANCE {
                                failures.push(format!("{at}: {} is off by {error:e}", output.name));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Quantised weights stay so on the panels of every CPU; a GPU multiplies floats.
#[test]
fn plans_of_quantised_weights_agree_with_the_interpreter() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests/run");
    let mut failures = Vec::new();
    for (name, contractions) in [("quantized", 5), ("quantized-tiles", 6)] {
        let program = gatec_lang::load(&folder.join(name).with_extension("gate"), &[]).expect("a program");
        let written = gatec::lower::lower(&program).expect("it lowers");
        let module = gatec::pipeline::optimize(written.clone(), &Default::default()).expect("it optimises").module;
        for isa in Isa::ALL {
            let planned =
                plan::plan(&module, isa, &[], &Default::default()).unwrap_or_else(|e| panic!("{name}, {isa}: {e}"));
            let bits: Vec<Option<u32>> = planned
                .kernels
                .iter()
                .filter_map(|(_, kernel, _)| match &kernel.body {
                    Body::Contract(contract) => Some(contract.blocks.as_ref().map(|b| b.bits)),
                    _ => None,
                })
                .collect();
            let quantised = bits.iter().flatten().count();
            assert_eq!(quantised, if isa == Isa::Sm80 { 0 } else { contractions }, "{name}, {isa}: {bits:?}");
            for t in [0, 1, 9] {
                let values = random::values(&written, 0, &[("t", t)], 5);
                let expected = interpret(&written, 0, &values).expect("it has a meaning");
                let at = format!("{name}, t = {t}, {isa}");
                match run(&module, &planned, 0, &values) {
                    Err(e) => failures.push(format!("{at}: {e}")),
                    Ok(found) => failures.extend(found.iter().zip(&expected).enumerate().filter_map(|(i, (f, e))| {
                        let error = difference(f, e);
                        (error > TOLERANCE).then(|| format!("{at}: output {i} is off by {error:e}"))
                    })),
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// An arm's contractions run for the rows that it was chosen for, also in an arm of an arm; where a row is little work, for all rows.
/// A number that no arm has is an error.
#[test]
fn arms_are_computed_for_their_rows() {
    let planned = |d: u32, isa: Isa| {
        let text = format!(
            "axis d = {d}
            axis e = 3
            block ffn(x: f32[.., d]) -> f32[.., d] {{
                param up: f32[d, d']
                param down: f32[d', d]
                relu(x @ up) @ down
            }}
            model m(x: f32[t, d], kind: i32[t]) -> f32[t, d] {{
                param router: f32[d, e]
                route x by top1(softmax[e](x @ router)) {{
                    one: ffn(x)
                    copy: x
                    inner: route x by hash(kind) {{ one: ffn(x) other: tanh(third: ffn(x)) }}
                }} mix sum
            }}"
        );
        let program = gatec_lang::load_text("model.gate", &text, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
        let written = gatec::lower::lower(&program).expect("it lowers");
        let module = gatec::pipeline::optimize(written.clone(), &Default::default()).expect("it optimises").module;
        let planned = plan::plan(&module, isa, &[], &Default::default()).expect("it is planned");
        (written, module, planned)
    };
    let sparse = |planned: &plan::Planned| {
        let contracts = planned
            .kernels
            .iter()
            .filter(|(_, kernel, _)| matches!(&kernel.body, Body::Contract(contract) if contract.grouping.is_some()));
        contracts.count()
    };
    for isa in Isa::ALL {
        assert_eq!(sparse(&planned(8, isa).2), 0, "{isa}");
        let (written, module, planned) = planned(32, isa);
        // Equal kernels are one: those of each first and each second product.
        let expected = if isa == Isa::Sm80 { 0..=0 } else { 2..=6 };
        assert!(expected.contains(&sparse(&planned)), "{isa}: {}", sparse(&planned));
        let with = |seed: u64, last: f64| {
            let mut values = random::values(&written, 0, &[("t", 3)], seed);
            values.inputs[1].data = vec![0.0, 1.0, last].into();
            values
        };
        // The last row comes to the inner route: elsewhere nobody needs its number.
        let comes = |seed: &u64| interpret(&written, 0, &with(*seed, 2.0)).is_err();
        let seed = (0..64).find(comes).expect("of some seed the last row comes to it");
        for (last, is_one) in [(1.0, true), (2.0, false), (-1.0, false)] {
            let values = with(seed, last);
            let (expected, found) = (interpret(&written, 0, &values), run(&module, &planned, 0, &values));
            assert_eq!((expected.is_ok(), found.is_ok()), (is_one, is_one), "{isa}: {last}");
            if let (Ok(expected), Ok(found)) = (expected, found) {
                assert!(difference(&found[0], &expected[0]) < TOLERANCE, "{isa}");
            }
        }
    }
}

/// A panic is a failure of its seed.
fn checked(seed: u64) -> Result<(), String> {
    std::panic::catch_unwind(|| check(seed)).unwrap_or_else(|_| Err(format!("seed {seed}: panicked")))
}

fn check(seed: u64) -> Result<(), String> {
    let module = random::module(seed, &Options::default());
    for isa in Isa::ALL {
        let planned =
            plan::plan(&module, isa, &[], &Default::default()).map_err(|e| format!("seed {seed}, {isa}: {e}"))?;
        for t in [1, 0, 7] {
            let values = random::values(&module, 0, &[("t", t)], seed + 1);
            let Ok(expected) = interpret(&module, 0, &values) else { continue };
            let at = format!("seed {seed}, t = {t}, {isa}");
            let found = run(&module, &planned, 0, &values).map_err(|e| format!("{at}: {e}"))?;
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = difference(found, expected);
                if error > TOLERANCE {
                    return Err(format!("{at}: output {i} is off by {error:e}"));
                }
            }
        }
    }
    Ok(())
}

/// Contractions of every pair of element types, on every machine: with tensor cores where a GPU's schedule takes them.
#[test]
fn plans_of_every_element_type_agree_with_the_interpreter() {
    let mut failures = Vec::new();
    for (case, isa) in elements::all().into_iter().flat_map(|case| Isa::ALL.map(|isa| (case.clone(), isa))) {
        let module = case.optimized();
        let planned =
            plan::plan(&module, isa, &[], &Default::default()).unwrap_or_else(|e| panic!("{}, {isa}: {e}", case.name));
        failures.extend(case.misplanned(&planned).map(|e| format!("{}, {isa}: {e}", case.name)));
        for t in [0, 1, 17, 70] {
            let values = case.values(t);
            let found = run(&module, &planned, 0, &values);
            let at = format!("{}, {isa}, t = {t}", case.name);
            match found {
                Err(e) => failures.push(format!("{at}: {e}")),
                Ok(found) => failures.extend(case.wrong(&found, &values).map(|e| format!("{at}: {e}"))),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
