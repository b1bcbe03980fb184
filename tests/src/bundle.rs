//! `gatec-bundle FOLDER`: what `gatec-check` runs on a machine without compiler and network. The examples with their golden values, and
//! products of widths that are worth timing, their golden values from the interpreter.
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gatec::BuildOptions;
use gatec::graph::{Elem, random};
use gatec_runtime::format;
use gatec_tests::example::{Example, Stored};
use gatec_tests::{dtype, interpret, weights};
use safetensors::tensor::TensorView;

type Failure = Box<dyn std::error::Error>;

/// Widths of the timed mixtures and how many rows: one, a few, many.
const WIDTHS: [(&str, i64); 2] = [("d", 512), ("h", 896)];
const ROWS: [i64; 3] = [1, 16, 256];
/// Of results relative to the largest, by the type in which rows are stored.
const TIMED: [(&str, f64); 2] = [("model", 2e-5), ("halves", 2e-2)];

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("gatec-bundle FOLDER")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut cases = String::new();
    for example in Example::of("examples") {
        examples(folder, &example, &mut cases)?;
    }
    timed(folder, &mut cases)?;
    std::fs::write(folder.join("cases"), &cases)?;
    println!("{} runs in {}", cases.lines().count(), folder.display());
    Ok(())
}

/// The runs of an example that are one call.
fn examples(folder: &Path, example: &Example, cases: &mut String) -> Result<(), Failure> {
    let name = example.name();
    let artifact = format!("{name}.so");
    let options = BuildOptions { sizes: example.sizes(), ..Default::default() };
    gatec::build(&example.model(), &options, &folder.join(&artifact))?;
    let manifest = gatec_runtime::Artifact::open(folder.join(&artifact))?.manifest().clone();
    for (number, run) in example.case.run.iter().enumerate().filter(|(_, run)| run.calls.is_none()) {
        let entry = manifest.entries.iter().find(|e| run.entry.as_ref().is_none_or(|name| e.name == *name));
        let entry = entry.ok_or("an entry of the case")?;
        let mut values = BTreeMap::new();
        for input in &entry.inputs {
            values.insert(format!("in.{}", input.name), example.input(run, &input.name, &row(input)));
        }
        for output in &entry.outputs {
            values.insert(format!("out.{}", output.name), example.output(run, &output.name));
        }
        let weights = example.weights(run);
        let weights_name = weights.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let weights_name = format!("{name}.{weights_name}");
        std::fs::copy(&weights, folder.join(&weights_name))?;
        let file = format!("{name}.{number}.safetensors");
        save(&folder.join(&file), &values)?;
        let tolerance = example.case.tolerance.values().copied().fold(0.0, f64::max);
        writeln!(cases, "{name}.{number} {artifact} {weights_name} {} {file} {tolerance:e}", entry.name)?;
    }
    Ok(())
}

/// The known shape of an input's row.
fn row(input: &format::Tensor) -> Vec<usize> {
    let known = |a: &format::Axis| a.size.eval(&[]).and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    input.axes.iter().skip(1).map(known).collect()
}

/// Mixtures of experts with weights in bf16, rows in f32 and in bf16.
fn timed(folder: &Path, cases: &mut String) -> Result<(), Failure> {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/mixtral-bf16");
    let sizes: Vec<(String, i64)> = WIDTHS.iter().map(|(axis, n)| ((*axis).to_owned(), *n)).collect();
    for (name, tolerance) in TIMED {
        let source = models.join(format!("{name}.gate"));
        let options = BuildOptions { sizes: sizes.clone(), ..Default::default() };
        let artifact = format!("timed-{name}.so");
        gatec::build(&source, &options, &folder.join(&artifact))?;
        let program = gatec_lang::load(&source, &sizes).map_err(|d| d.render(false))?;
        let module = gatec::lower::lower(&program)?;
        for rows in ROWS {
            // The same weights for all.
            let mut values = random::values(&module, 0, &[("tokens", rows)], 7);
            for param in &mut values.params {
                // Sums stay near 1; a power of two, so that weights stay what bf16 holds.
                *param = param.map(param.elem, |w| w / 16.0);
            }
            std::fs::write(folder.join("timed.safetensors"), weights(&module, &values)?)?;
            let expected = interpret(&module, 0, &values)?;
            let entry = &module.entries[0];
            let mut stored = BTreeMap::new();
            let shape = |axes: &[gatec::graph::Axis]| -> Vec<usize> {
                axes.iter().map(|a| module.sizes.known(*a).map_or(rows as usize, |n| n as usize)).collect()
            };
            for (input, tensor) in entry.inputs.iter().zip(&values.inputs) {
                let bytes = gatec_tests::bytes(input.elem, &tensor.ordered(&input.order).data);
                stored.insert(format!("in.{}", input.name), Stored::new(input.elem, shape(&input.order), &bytes));
            }
            for (output, numbers) in entry.outputs.iter().zip(&expected) {
                let bytes = gatec_tests::bytes(Elem::F32, numbers);
                stored.insert(format!("out.{}", output.name), Stored::new(Elem::F32, shape(&output.order), &bytes));
            }
            let file = format!("timed-{name}.{rows}.safetensors");
            save(&folder.join(&file), &stored)?;
            writeln!(cases, "timed-{name}.{rows} {artifact} timed.safetensors {} {file} {tolerance:e}", entry.name)?;
        }
    }
    Ok(())
}

fn save(path: &Path, values: &BTreeMap<String, Stored>) -> Result<(), Failure> {
    let views = values.iter().map(|(name, value)| {
        TensorView::new(dtype(value.elem), value.shape.clone(), value.bytes()).map(|view| (name.as_str(), view))
    });
    let bytes = safetensors::serialize(views.collect::<Result<Vec<_>, _>>()?, None)?;
    Ok(std::fs::write(path, bytes)?)
}
