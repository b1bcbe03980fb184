//! `//! run: b = 2; t = 0, 1, 17`: a program of the language at these sizes, each of the first symbol with each of the second.
//! What was written, interpreted, is compared with the optimised program's compiled code: every CPU variant of this machine, 1, 2
//! and 7 threads, which must agree with each other to the bit.
//!
//! Where `NAME.safetensors` lies beside `NAME.gate`, the interpreter is held against an independent implementation first: weights
//! under the names that `from` gives them, inputs as `in.NAME`, outputs as `out.NAME` (`golden.py` makes them).

use std::collections::BTreeMap;

use gatec::graph::interp::{Values, initial_states};
use gatec::graph::{Boundary, Module, random};
use gatec::pipeline::{OptimizeOptions, optimize};
use gatec::{lower, plan};
use gatec_tests::example::{Stored, read};
use gatec_tests::{Built, difference, interpret, params, symbols, tensor};

use crate::{Case, Output};

/// Of f32 code against f64 on values near 1.
const TOLERANCE: f64 = 1e-4;
/// Of the interpreter against golden files in float64.
const GOLDEN_TOLERANCE: f64 = 1e-12;

pub fn run(case: &Case) -> Result<Output, String> {
    let program = gatec_lang::load(&case.path, &[]).map_err(|d| d.render(false))?;
    let module = lower::lower(&program).map_err(|e| e.to_string())?;
    gatec::graph::verify::verify(&module).map_err(|faults| format!("{faults:#?}"))?;
    let golden = case.path.with_extension("safetensors");
    if golden.exists() {
        compare_with_golden(&module, &read(&golden))?;
    }
    let options = OptimizeOptions { verify: true, ..OptimizeOptions::default() };
    let optimized = optimize(module.clone(), &options).map_err(|e| e.to_string())?.module;
    let built = Built::new(&optimized)?;
    for symbols in bindings(&case.argument)? {
        for entry in 0..module.entries.len() {
            compare(&module, &built, entry, &symbols)?;
        }
    }
    Ok(Output::Nothing)
}

/// Every combination of the sizes in a header.
fn bindings(argument: &str) -> Result<Vec<Vec<(&str, i64)>>, String> {
    let mut all = vec![Vec::new()];
    for part in argument.split(';').filter(|p| !p.trim().is_empty()) {
        let (name, sizes) = part.split_once('=').ok_or_else(|| format!("`{part}` is no `t = 0, 1`"))?;
        let mut longer = Vec::new();
        for size in sizes.split(',') {
            let size: i64 = size.trim().parse().map_err(|e| format!("`{size}`: {e}"))?;
            longer.extend(all.iter().map(|b: &Vec<(&str, i64)>| [b.as_slice(), &[(name.trim(), size)]].concat()));
        }
        all = longer;
    }
    Ok(all)
}

fn compare(module: &Module, built: &Built, entry: usize, symbols: &[(&str, i64)]) -> Result<(), String> {
    let values = random::values(module, entry, symbols, 11);
    compare_on(module, built, entry, symbols, &values, &[])?;
    let about = &module.entries[entry];
    if about.defaults.is_empty() {
        return Ok(());
    }
    // What is left out is as if it had been given.
    let mut as_given = values;
    for &(input, value) in &about.defaults {
        let boundary = &about.inputs[input];
        as_given.inputs[input] = tensor(boundary, &Stored::scalar(boundary.elem, value));
    }
    let left_out: Vec<usize> = about.defaults.iter().map(|(input, _)| *input).collect();
    compare_on(module, built, entry, symbols, &as_given, &left_out)
}

/// `left_out`: inputs that the compiled code does not get.
fn compare_on(
    module: &Module,
    built: &Built,
    entry: usize,
    symbols: &[(&str, i64)],
    values: &Values,
    left_out: &[usize],
) -> Result<(), String> {
    let about = &module.entries[entry];
    let without = if left_out.is_empty() { "" } else { ", by defaults" };
    let at = format!("@{}, {symbols:?}{without}", about.name);
    let expected = interpret(module, entry, values).map_err(|e| format!("{at}: {e}"))?;
    for &isa in &built.isas {
        let mut first = None;
        for threads in [1, 2, 7] {
            let at = format!("{at}, {isa:?}, {threads} threads");
            let found = built.run_without(entry, values, isa, threads, left_out).map_err(|e| format!("{at}: {e}"))?;
            for ((found, expected), output) in found.iter().zip(&expected).zip(&about.outputs) {
                let error = difference(found, expected);
                if error > TOLERANCE {
                    return Err(format!("{at}: {} is off by {error:e}\n  {found:?}\n  {expected:?}", output.name));
                }
            }
            let bits: Vec<u64> = found.iter().flatten().map(|x| x.to_bits()).collect();
            match &first {
                None => first = Some(bits),
                Some(first) if *first != bits => return Err(format!("{at}: other bits than with 1 thread")),
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Every entry whose inputs are in the file.
fn compare_with_golden(module: &Module, file: &BTreeMap<String, Stored>) -> Result<(), String> {
    let mut compared = 0;
    for entry in &module.entries {
        // What has a default may be left out.
        let default = |i: usize| entry.defaults.iter().find(|(input, _)| *input == i).map(|(_, value)| *value);
        let input = |(i, b): (usize, &Boundary)| {
            let given = file.get(&format!("in.{}", b.name)).cloned();
            Some((b.name.clone(), given.or_else(|| Some(Stored::scalar(b.elem, default(i)?)))?))
        };
        let inputs: Option<Vec<(String, Stored)>> = entry.inputs.iter().enumerate().map(input).collect();
        let Some(inputs) = inputs else { continue };
        let symbols = symbols(module, entry, &inputs);
        let params = params(module, file);
        let states = initial_states(module, &symbols, &params).map_err(|e| e.to_string())?;
        let tensors = entry.inputs.iter().zip(&inputs).map(|(b, (_, x))| tensor(b, x)).collect();
        let values = Values { symbols, inputs: tensors, params, states };
        let outcome = gatec::graph::interp::run(module, entry, &values).map_err(|e| e.to_string())?;
        for (boundary, found) in entry.outputs.iter().zip(&outcome.outputs) {
            let Some(expected) = file.get(&format!("out.{}", boundary.name)) else { continue };
            let found = found.ordered(&boundary.order);
            let shape: Vec<usize> = found.axes.iter().map(|a| a.1).collect();
            if shape != expected.shape {
                return Err(format!("golden {}: {shape:?} is not {:?}", boundary.name, expected.shape));
            }
            let error = difference(&found.data, &expected.numbers());
            if error > GOLDEN_TOLERANCE {
                let at = format!("golden @{}, {}", entry.name, boundary.name);
                return Err(format!("{at}: off by {error:e}\n  {:?}\n  {:?}", found.data, expected.numbers()));
            }
            compared += 1;
        }
    }
    let known: Vec<String> = plan::manifest(module, "", Vec::new()).params.into_iter().flat_map(|p| p.parts).collect();
    let unread = file.keys().find(|k| !k.starts_with("in.") && !k.starts_with("out.") && !known.contains(k));
    match (compared, unread) {
        (0, _) => Err("the golden file has no output of this program".into()),
        (_, Some(name)) => Err(format!("no parameter reads `{name}` of the golden file")),
        _ => Ok(()),
    }
}
