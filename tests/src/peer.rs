//! gatec as a peer of the suite that measures it beside other programs.
//!
//! A peer reads a case folder (`case.json`, weights, inputs, expected outputs), compiles its model, checks one run, times more of
//! them, and writes a JSON result beside the outputs. The models are `tests/bench/cases/FAMILY.gate`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use gatec::BuildOptions;
use gatec::graph::Elem;
use gatec_runtime::{LoadOptions, Model, Session, View};
use gatec_tests::example::{Stored, read};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde_json::{Value, json};

/// The least number of timed runs.
const RUNS: usize = 3;

/// Runs a case of the peer suite with gatec.
#[derive(Parser)]
struct Args {
    case: PathBuf,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How long to run, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Where the result goes
    #[arg(long)]
    out: PathBuf,
}

/// What is used of `case.json`.
#[derive(Deserialize)]
struct Case {
    family: String,
    params: BTreeMap<String, Value>,
    tolerance: f64,
    inputs: BTreeMap<String, Value>,
    outputs: BTreeMap<String, Value>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = run(&args).unwrap_or_else(|why| json!({ "ok": false, "tried": { "": why } }));
    match std::fs::write(&args.out, result.to_string()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn run(args: &Args) -> Result<Value, String> {
    let case: Case =
        serde_json::from_slice(&std::fs::read(args.case.join("case.json")).map_err(text)?).map_err(text)?;
    let gate = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/cases").join(format!("{}.gate", case.family));
    let source = std::fs::read_to_string(&gate).map_err(|_| format!("no model for the family {}", case.family))?;
    let elem = case.params.get("dtype").and_then(Value::as_str).unwrap_or("f32");
    // A family has one model; its cases differ in the element type.
    let source = source.replace("f32[", &format!("{elem}["));
    let numbers = || case.params.iter().filter_map(|(name, value)| Some((name.clone(), value.as_i64()?)));
    let declared = |name: &str| source.lines().any(|l| l.split_whitespace().take(2).eq(["axis", name]));
    let sizes = numbers().filter(|(name, _)| declared(name)).collect();
    let mut options = BuildOptions { sizes, ..Default::default() };
    // The model serves every size of the other axes; these are the ones to be fast at.
    options.optimize.assume = numbers().filter(|(name, _)| !declared(name) && symbol(&source, name)).collect();

    let folder = tempfile::tempdir().map_err(text)?;
    let artifact = folder.path().join("case.so");
    let gate = folder.path().join("case.gate");
    std::fs::write(&gate, &source).map_err(text)?;
    gatec::build(&gate, &options, &artifact).map_err(text)?;
    let load = LoadOptions::default().threads(args.threads);
    let model = Model::load(&artifact, args.case.join("weights.safetensors"), &load).map_err(text)?;
    let inputs = read(&args.case.join("inputs.safetensors"));
    let expected = read(&args.case.join("expected.safetensors"));
    let views: Result<Vec<(&str, View)>, String> = case
        .inputs
        .keys()
        .map(|name| {
            let x = inputs.get(name).ok_or_else(|| format!("no input `{name}`"))?;
            Ok((name.as_str(), View::bytes(x.elem, x.bytes(), Some(&x.shape)).map_err(text)?))
        })
        .collect();
    let views = views?;
    let entry = model.manifest().entries[0].name.clone();
    let mut session = model.session(&entry).map_err(text)?;

    let outputs = outputs(&mut session, &views)?;
    let mut error: f64 = 0.0;
    for name in case.outputs.keys() {
        let want = expected.get(name).ok_or_else(|| format!("no expected `{name}`"))?;
        let found = outputs.get(name).ok_or_else(|| format!("the model has no output `{name}`"))?;
        error = error.max(difference(found, want));
    }
    let ok = error <= case.tolerance;
    let file = format!("{}.safetensors", args.out.file_stem().unwrap_or_default().to_string_lossy());
    write(&args.out.with_file_name(&file), &outputs)?;
    let times = if ok { times(&mut session, &views, Duration::from_secs_f64(args.seconds))? } else { Vec::new() };
    Ok(json!({
        "ok": ok,
        "max_rel_err": if error.is_finite() { error } else { f64::MAX },
        "times_us": times,
        "outputs": file,
        "form": model.isa().name(),
    }))
}

/// Does `name` stand as an axis in a type of the model?
fn symbol(source: &str, name: &str) -> bool {
    source.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name)
}

fn outputs(session: &mut Session, views: &[(&str, View)]) -> Result<BTreeMap<String, Stored>, String> {
    let outputs = session.run(views).map_err(text)?;
    Ok(outputs
        .iter()
        .map(|(name, elem, shape, bytes)| (name.to_owned(), Stored::new(elem, shape.to_vec(), bytes)))
        .collect())
}

/// Microseconds of runs for about `time`.
fn times(session: &mut Session, views: &[(&str, View)], time: Duration) -> Result<Vec<f64>, String> {
    let mut times = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    while times.len() < RUNS || (start.elapsed() < time && times.len() < times.capacity()) {
        let began = Instant::now();
        session.run(views).map_err(text)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// As the suite defines it: for floats relative to the largest expected magnitude; integers must be equal.
fn difference(found: &Stored, want: &Stored) -> f64 {
    let (a, b) = (found.numbers(), want.numbers());
    if found.shape != want.shape || a.len() != b.len() {
        return f64::INFINITY;
    }
    let exact = !want.elem.is_float();
    let scale = if exact { 0.0 } else { b.iter().fold(0.0, |m: f64, x| m.max(x.abs())) };
    let worst =
        a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, |m: f64, d| if d >= m || d.is_nan() { d } else { m });
    match worst {
        0.0 => 0.0,
        d if d.is_nan() => f64::INFINITY,
        d => d / scale,
    }
}

fn widened(x: &Stored) -> Stored {
    match x.elem {
        Elem::Bf16 | Elem::F16 => {
            let bytes: Vec<u8> = x.numbers().iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
            Stored::new(Elem::F32, x.shape.clone(), &bytes)
        }
        _ => x.clone(),
    }
}

fn write(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<(), String> {
    // The suite compares f32.
    let widened: BTreeMap<&String, Stored> = tensors.iter().map(|(name, x)| (name, widened(x))).collect();
    let views: Result<Vec<(&str, TensorView)>, String> = widened
        .iter()
        .map(|(name, x)| {
            let dtype = match x.elem {
                Elem::F32 => Dtype::F32,
                Elem::I64 => Dtype::I64,
                Elem::I32 => Dtype::I32,
                other => return Err(format!("output `{name}` is {other}")),
            };
            Ok((name.as_str(), TensorView::new(dtype, x.shape.clone(), x.bytes()).map_err(text)?))
        })
        .collect();
    let bytes = safetensors::serialize(views?, None).map_err(text)?;
    std::fs::write(path, bytes).map_err(text)
}
