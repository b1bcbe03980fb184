//! `gatec quantize`: weights of floats to those of a model with quantised parameters, and what is lost on the way.

mod blocks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gatec_lang::Program;
use gatec_lang::diagnostics::near;
use gatec_lang::program::{FileAxis, Quantized};
use gatec_runtime::Weights;
use gatec_runtime::format::{self, Elem};

use super::table::Table;
use super::tensors::{self, Tensor};
use super::{Failure, SourceArgs, Talk};
use crate::{BuildError, lower, plan};
use blocks::{Blocks, Loss};

#[derive(Args)]
pub struct Quantize {
    /// The model, with parameters of `q8` or `q4`
    model: PathBuf,
    /// The weights, in floats: a .safetensors file, or the index of several
    #[arg(short, long)]
    weights: PathBuf,
    /// Where the quantised weights go (.safetensors), the other tensors as they are
    #[arg(short, long)]
    output: PathBuf,
    /// The report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// What became of a tensor of the weight file.
struct Report {
    name: String,
    bits: u32,
    shape: Vec<u64>,
    loss: Loss,
}

impl Quantize {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        if !matches!(tensors::format(&self.output), Ok(tensors::Format::Safetensors)) {
            return Err(Failure::Usage(format!("{}: expected a .safetensors file", self.output.display())));
        }
        let program = gatec_lang::load(&self.model, &self.source.sizes()?).map_err(BuildError::Source)?;
        if program.quantized.is_empty() {
            let why = "no parameter is quantised: declare one as `q8[d: 32, ..]`, with `d` the contracted axis";
            return Err(Failure::file(&self.model, why));
        }
        let module = lower::lower(&program).map_err(BuildError::from)?;
        let params = plan::manifest(&module, "", Vec::new()).params;
        let weights = Weights::open(&self.weights).map_err(|e| Failure::Other(e.to_string()))?;
        let (written, reports) = quantized(&program, &params, &weights)
            .map_err(|faults| Failure::file(&self.weights, faults.join("\n  ")))?;
        tensors::write(&self.output, &written)?;
        match self.json {
            true => talk.data(format!("{:#}\n", json(&reports)))?,
            false => talk.data(table(&reports))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

type Written = (Vec<(String, Tensor)>, Vec<Report>);

/// The tensors of the new file and what is lost in them, or everything that is wrong with the old one.
fn quantized(program: &Program, params: &[format::Param], weights: &Weights) -> Result<Written, Vec<String>> {
    let (mut written, mut reports, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let made: Vec<usize> = program.quantized.iter().flat_map(|q| [q.values, q.scales]).collect();
    for q in &program.quantized {
        let (values, scales) = (&params[q.values], &params[q.scales]);
        let blocks = blocks(program, q);
        for (part, scale) in values.parts.iter().zip(&scales.parts) {
            match quantized_part(part, &blocks, weights) {
                Ok((x, s, loss)) => {
                    let shape = blocks.shape();
                    let of = |elem, shape: &[u64], bytes: &[u8]| {
                        Tensor::new(elem, shape.iter().map(|n| *n as usize).collect(), bytes)
                    };
                    written.push((part.clone(), of(values.tensor.elem, &values.part_shape, &x)));
                    written.push((scale.clone(), of(scales.tensor.elem, &scales.part_shape, &s)));
                    reports.push(Report { name: part.clone(), bits: q.bits, shape, loss });
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    let copied = params.iter().enumerate().filter(|(number, _)| !made.contains(number));
    for (_, param) in copied.filter(|(_, param)| param.default.is_none()) {
        let parts = param.parts.iter().filter(|part| weights.tensor(part).is_none());
        faults.extend(parts.map(|part| missing(part, weights)));
    }
    // What the model does not know stays, too: other models may.
    for (name, elem, shape) in weights.tensors() {
        if written.iter().any(|(n, _)| n == name) {
            continue;
        }
        match (Elem::parse(&elem.to_lowercase()), weights.tensor(name)) {
            (Some(elem), Some((_, _, bytes))) => {
                let shape = shape.iter().map(|n| *n as usize).collect();
                written.push((name.to_owned(), Tensor::new(elem, shape, bytes)));
            }
            _ => faults.push(format!("tensor `{name}` is of {elem}, which cannot be copied")),
        }
    }
    if faults.is_empty() { Ok((written, reports)) } else { Err(faults) }
}

/// Values, scales and what is lost of one tensor.
fn quantized_part(part: &str, blocks: &Blocks, weights: &Weights) -> Result<(Vec<u8>, Vec<u8>, Loss), String> {
    let Some((elem, shape, bytes)) = weights.tensor(part) else { return Err(missing(part, weights)) };
    let Some(elem) = elem.filter(|elem| elem.is_float()) else {
        return Err(format!("tensor `{part}`: floats are quantised, this is not of floats"));
    };
    if shape != blocks.shape() {
        return Err(format!("tensor `{part}`: expected shape {:?}, found {shape:?}", blocks.shape()));
    }
    blocks.quantize(bytes, elem).map_err(|why| format!("tensor `{part}`: {why}"))
}

fn missing(part: &str, weights: &Weights) -> String {
    let near = near(part, weights.tensors().map(|t| t.0)).map(|n| format!("; is it `{n}`?")).unwrap_or_default();
    format!("no tensor `{part}`{near}")
}

/// The shape of each tensor that a quantised parameter comes from.
fn blocks(program: &Program, q: &Quantized) -> Blocks {
    let known = |axis| program.axis(axis).size.as_known().unwrap_or(0).max(0) as u64;
    let mut shape = Vec::new();
    for axis in &program.params[q.values].source.order {
        let axes = match axis {
            FileAxis::Axis(axis) => std::slice::from_ref(axis),
            FileAxis::Merged(axes) => axes.as_slice(),
            FileAxis::Unit => &[],
        };
        shape.push(axes.iter().map(|a| (known(if *a == q.stored { q.axis } else { *a }), *a == q.stored)).collect());
    }
    Blocks { shape, bits: q.bits, size: q.size as u64 }
}

fn json(reports: &[Report]) -> serde_json::Value {
    let one = |r: &Report| {
        serde_json::json!({
            "tensor": r.name, "bits": r.bits, "shape": r.shape, "largest": r.loss.largest, "largest_error": r.loss.largest_error,
            "mean_error": r.loss.mean_error(), "relative_error": r.loss.relative_error(),
        })
    };
    reports.iter().map(one).collect()
}

fn table(reports: &[Report]) -> String {
    let mut table = Table::new(&[
        "tensor",
        "bits",
        "largest weight",
        "largest error",
        "mean error",
        "relative (root of mean squares)",
    ]);
    for r in reports {
        let number = |x: f64| format!("{x:.3e}");
        let relative = format!("{:.3} %", 100.0 * r.loss.relative_error());
        let [largest, error, mean] = [r.loss.largest, r.loss.largest_error, r.loss.mean_error()].map(number);
        table.row([r.name.clone(), r.bits.to_string(), largest, error, mean, relative]);
    }
    table.to_string()
}
