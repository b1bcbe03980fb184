//! The table of `make zoo`: every system of `examples/zoo`, its largest error, the time to build it, lines of its model and of the network
//! in its fixture (0 where another folder's writes the golden values); for those that have one a medium size (`examples/zoo/medium.py`): how
//! far it is from the fixture there, and how long both take on one thread.
//!
//! Arguments are beginnings of names: only systems that have one are in it.
//!
//! `PYTHON` is the interpreter that has NumPy, safetensors and, where the fixture is in it, PyTorch; the table says what it lacks.

#![allow(clippy::print_stdout, reason = "the table is what it gives")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use gatec::BuildOptions;
use gatec_runtime::{Artifact, LoadOptions, Model, View};
use gatec_tests::example::{Example, Stored, read};
use gatec_tests::{difference, numbers, runnable};
use serde::Deserialize;

/// How long a system is run at its medium size.
const MEASURED: Duration = Duration::from_secs(1);
/// In a fixture: what stands before it is the network.
const END_OF_NETWORK: &str = "\n# Weights and golden values.\n";
/// At a medium size sums are longer than in the golden files: the largest difference, relative to the largest magnitude.
const MEDIUM_TOLERANCE: f64 = 1e-4;

fn main() -> ExitCode {
    println!(
        "| system | largest error | may be | build, s | lines of Gate | of the fixture's network | medium: error | ms | PyTorch, ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut all_agree = true;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|begin| name.starts_with(begin.as_str()));
    for example in Example::of("examples/zoo").into_iter().filter(|example| is_wanted(&example.name())) {
        let medium = match medium(&example) {
            Ok((cells, agrees)) => {
                all_agree &= agrees;
                cells
            }
            Err(why) => format!("{why} | | |"),
        };
        match row(&example) {
            Ok((row, agrees)) => {
                all_agree &= agrees;
                println!("{row} {medium}");
            }
            Err(why) => {
                all_agree = false;
                println!("| {} | {why} | | | | | {medium}", example.name());
            }
        }
    }
    if all_agree { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line of the table, and whether the system agrees with its golden file.
fn row(example: &Example) -> Result<(String, bool), String> {
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let artifact = out.path().join("model.so");
    let options = BuildOptions { sizes: example.sizes(), ..Default::default() };
    let begun = Instant::now();
    gatec::build(&example.model(), &options, &artifact).map_err(|e| e.to_string())?;
    let seconds = begun.elapsed().as_secs_f64();
    let opened = Artifact::open(&artifact).map_err(|e| e.to_string())?;
    let mut largest = 0f64;
    for isa in runnable(&opened) {
        for run in &example.case.run {
            let results = example.compiled(run, &artifact, isa, 1);
            let errors = results.iter().map(|(name, found)| example.error(run, name, found));
            largest = errors.fold(largest, f64::max);
        }
    }
    let may = example.case.tolerance["f32"];
    let text = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    let fixture = text(&example.folder.join("fixture.py"));
    let network = lines(fixture.split(END_OF_NETWORK).next().unwrap_or_default(), "#");
    let model = lines(&text(&example.model()), "//");
    let row = format!("| {} | {largest:.1e} | {may:.0e} | {seconds:.2} | {model} | {network} |", example.name());
    Ok((row, largest <= may))
}

/// Lines that are neither blank nor a comment.
fn lines(text: &str, comment: &str) -> usize {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(comment)).count()
}

/// What `medium.py` says of a system.
#[derive(Deserialize)]
struct Medium {
    entry: String,
    axes: BTreeMap<String, i64>,
    torch_ms: Option<f64>,
    /// Why there is no such time.
    why: Option<String>,
}

/// The last cells of a line: a system at its medium size; and whether it agrees with its fixture there.
fn medium(example: &Example) -> Result<(String, bool), String> {
    let fixture = std::fs::read_to_string(example.folder.join("fixture.py")).unwrap_or_default();
    if !fixture.contains("\ndef medium():") {
        return Ok(("| | |".into(), true));
    }
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let about = made(example, out.path())?;
    let artifact = out.path().join("model.so");
    let sizes = about.axes.iter().map(|(name, size)| (name.clone(), *size)).collect();
    let options = BuildOptions { sizes, ptx: false, ..Default::default() };
    gatec::build(&example.model(), &options, &artifact).map_err(|e| e.to_string())?;
    let options = LoadOptions::default().threads(1);
    let weights = out.path().join("weights.safetensors");
    let model = Model::load(&artifact, weights, &options).map_err(|e| e.to_string())?;
    let mut session = model.session(&about.entry).map_err(|e| e.to_string())?;
    let golden = read(&out.path().join("golden.safetensors"));
    let inputs: Vec<(&str, &Stored)> =
        golden.iter().filter_map(|(name, x)| Some((name.strip_prefix("in.")?, x))).collect();
    let mut views = Vec::new();
    for (name, x) in inputs {
        views.push((name, View::bytes(x.elem, x.bytes(), Some(&x.shape)).map_err(|e| e.to_string())?));
    }
    let mut error = 0f64;
    for (name, elem, _, bytes) in session.run(&views).map_err(|e| e.to_string())?.iter() {
        if let Some(expected) = golden.get(&format!("out.{name}")) {
            error = error.max(difference(&numbers(elem, bytes), &expected.numbers()));
        }
    }
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < 3 || begun.elapsed() < MEASURED {
        let begun = Instant::now();
        session.run(&views).map_err(|e| e.to_string())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    // The fastest, as of PyTorch: whatever else the machine does.
    let ms = times.into_iter().fold(f64::INFINITY, f64::min);
    let torch = about.torch_ms.map_or_else(|| about.why.unwrap_or_default(), |ms| format!("{ms:.2}"));
    Ok((format!("{error:.1e} | {ms:.2} | {torch} |"), error <= MEDIUM_TOLERANCE))
}

/// Weights, inputs and outputs of a system's medium size, written by `medium.py`.
fn made(example: &Example, out: &Path) -> Result<Medium, String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let script = example.folder.parent().map_or_else(PathBuf::new, |zoo| zoo.join("medium.py"));
    let ran = Command::new(&python).arg(script).arg(&example.folder).arg(out).output();
    let ran = ran.map_err(|e| format!("no {python}: {e}"))?;
    if !ran.status.success() {
        // `ModuleNotFoundError: No module named 'torch'`
        let errors = String::from_utf8_lossy(&ran.stderr);
        let last = errors.lines().last().unwrap_or("it failed");
        return Err(format!("{python}: {}", last.split_once(": ").map_or(last, |(_, what)| what)));
    }
    let text = std::fs::read_to_string(out.join("medium.json")).map_err(|e| e.to_string())?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}
