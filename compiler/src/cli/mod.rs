//! The `gatec` program: one subcommand is one file. Standard output is data, standard error is talk.
//!
//! Exit codes: 0 done, 1 the input has an error, 2 wrong usage, 101 a bug in gatec.

mod bench;
mod build;
mod calibrate;
mod check;
mod doc;
mod explain;
mod explain_error;
mod fmt;
mod html;
mod inspect;
mod npy;
mod profile;
mod quantize;
mod roofline;
mod run;
mod slower;
mod stats;
mod table;
mod talk;
mod tensors;
mod trace;
mod tune;
mod tuned;
mod weights;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::egraph::by_size::MOST_POINTS;
use crate::graph::Elem;
use crate::machine::Machine;
use crate::{BuildError, pipeline};
use talk::{Color, ErrorFormat, Talk};

/// A compiler for gated networks.
#[derive(Parser)]
#[command(name = "gatec", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Colour of messages; in `auto`, NO_COLOR switches it off
    #[arg(long, global = true, value_enum, default_value = "auto")]
    color: Color,
    /// How messages about models are written: for people, or one JSON object a line
    #[arg(long, global = true, value_enum, default_value = "text")]
    error_format: ErrorFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Check models: names, axes, types, sizes
    #[command(
        after_help = "Examples:\n  gatec check examples/silero-vad/vad.gate\n  gatec check --error-format=json *.gate\n  gatec check - < model.gate"
    )]
    Check(check::Check),
    /// Format models in place
    #[command(
        after_help = "Examples:\n  gatec fmt model.gate\n  gatec fmt --check examples/*/*.gate\n  gatec fmt - < model.gate"
    )]
    Fmt(fmt::Fmt),
    /// Compile a model to an artifact
    #[command(
        after_help = "Examples:\n  gatec build model.gate -o model.so\n  gatec build model.gate --axis d=1024 --assume tokens=512\n  gatec build model.gate --emit=graph-opt,asm=model.s\n  gatec build model.gate --target-cpu=native --timings\n  gatec build model.gate --tune --assume tokens=512"
    )]
    Build(build::Build),
    /// Run an artifact (or a model, compiled on the fly)
    #[command(
        after_help = "Examples:\n  gatec run model.so --weights w.safetensors --input x=x.npy -o out.npz\n  gatec run model.gate --random --size tokens=8\n  gatec run model.so -w w.safetensors -i x=- -o - < x.npy > y.npy\n  gatec run model.gate --random --size tokens=64 --trace trace.json    (for ui.perfetto.dev)"
    )]
    Run(run::Run),
    /// Show what the optimiser did to a model
    #[command(
        after_help = "Examples:\n  gatec explain model.gate\n  gatec explain model.gate --assume tokens=512 --profile --threads 2\n  gatec explain model.gate --profile --html model.html"
    )]
    Explain(explain::Explain),
    /// Explain an error code: what it means, the mistake, the fix
    #[command(after_help = "Examples:\n  gatec explain-error E0203\n  gatec explain-error")]
    ExplainError(explain_error::ExplainError),
    /// Show what is in an artifact: entries, states, parameters, kernels, and the memory that it needs
    #[command(
        after_help = "Examples:\n  gatec inspect model.so\n  gatec inspect model.so --size tokens=512\n  gatec inspect model.so --json"
    )]
    Inspect(inspect::Inspect),
    /// Render a model's interface as a page
    #[command(
        after_help = "Examples:\n  gatec doc model.gate > model.md\n  gatec doc model.gate --html -o model.html\n  gatec doc std/recurrent.gate"
    )]
    Doc(doc::Doc),
    /// List the tensors that a model wants of a weight file, and hold a file against them
    #[command(
        after_help = "Examples:\n  gatec weights model.gate\n  gatec weights model.gate --check model.safetensors.index.json\n  gatec weights model.gate --random w.safetensors"
    )]
    Weights(weights::Weights),
    /// Quantise weights for a model with parameters of `q8` or `q4`, and say what is lost
    #[command(
        after_help = "Examples:\n  gatec quantize model.gate --weights w.safetensors -o w.q.safetensors\n  gatec quantize model.gate -w model.safetensors.index.json -o w.q.safetensors --json"
    )]
    Quantize(quantize::Quantize),
    /// Measure an artifact (or a model) against the roofline of this machine
    #[command(
        after_help = "Examples:\n  gatec bench model.so --weights w.safetensors --size tokens=512 --threads 2\n  gatec bench model.gate --seconds 5 --json"
    )]
    Bench(bench::Bench),
    /// Measure this machine for `--machine`, or list the machines that are known
    #[command(
        after_help = "Examples:\n  gatec calibrate -o this.machine\n  gatec build model.gate --machine this.machine\n  gatec calibrate --list"
    )]
    Calibrate(calibrate::Calibrate),
}

/// How a model is read; shared by the subcommands that read models.
#[derive(Args, Clone, Default)]
struct SourceArgs {
    /// Give a static axis another size
    #[arg(long = "axis", value_name = "NAME=SIZE", value_parser = name_and_size, value_delimiter = ',')]
    axes: Vec<(String, i64)>,
}

impl SourceArgs {
    /// The sizes; two of one axis are wrong usage.
    fn sizes(&self) -> Result<Vec<(String, i64)>, Failure> {
        once("--axis", &self.axes)?;
        Ok(self.axes.clone())
    }
}

/// How a model becomes an optimised graph; shared by the subcommands that compile models.
#[derive(Args, Clone, Default)]
struct ModelArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Sizes of a symbolic axis for which to optimise. Estimates are for the first; where another form is best for others, it is built
    /// as well, and chosen when the model runs
    #[arg(long, value_name = "NAME=SIZE,..", value_parser = name_and_sizes)]
    assume: Vec<Assumed>,
    /// Let the number of rows, too, decide between forms: a row may then have other last bits among many rows than alone
    #[arg(long)]
    fast: bool,
    /// The machine that costs are of: a file of `gatec calibrate`, or a name that it lists [default: typical]
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// Stop after this many rewrites: finds the one that changed a result
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Verify the graph after every pass
    #[arg(long)]
    verify: bool,
    /// Store the f32 weights of products in this type: half the bytes to read, rounded; products and sums stay f32
    #[arg(long, value_name = "TYPE")]
    narrow_weights: Option<Narrow>,
}

/// A type for weights.
#[derive(Clone, Copy, ValueEnum)]
enum Narrow {
    /// 7 bits of fraction, the range of f32
    Bf16,
    /// 10 bits of fraction, up to 65504
    F16,
}

impl ModelArgs {
    /// Options that contradict each other are wrong usage.
    fn options(&self) -> Result<crate::BuildOptions, Failure> {
        let assumed: Assumed = self.assume.concat();
        let shown = |sizes: &[i64]| sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        once("--assume", &assumed.iter().map(|(name, sizes)| (name.clone(), shown(sizes))).collect::<Vec<_>>())?;
        let optimize = pipeline::OptimizeOptions {
            assume: assumed.iter().map(|(name, sizes)| (name.clone(), sizes[0])).collect(),
            points: assumed.into_iter().filter(|(_, sizes)| sizes.len() > 1).collect(),
            fast: self.fast,
            machine: self.machine.as_deref().map_or(Ok(Machine::default()), calibrate::machine)?,
            fuel: self.fuel,
            verify: self.verify,
            weights: self.narrow_weights.map(|to| match to {
                Narrow::Bf16 => Elem::Bf16,
                Narrow::F16 => Elem::F16,
            }),
            ..Default::default()
        };
        Ok(crate::BuildOptions { sizes: self.source.sizes()?, optimize, ..Default::default() })
    }

    /// What is compiled already takes none of these options: to drop one silently would mislead.
    fn none_given(&self, artifact: &Path, more: &[(&str, bool)]) -> Result<(), Failure> {
        let given = [
            ("--axis", !self.source.axes.is_empty()),
            ("--assume", !self.assume.is_empty()),
            ("--fast", self.fast),
            ("--machine", self.machine.is_some()),
            ("--fuel", self.fuel.is_some()),
            ("--verify", self.verify),
            ("--narrow-weights", self.narrow_weights.is_some()),
        ];
        match given.iter().chain(more).find(|(_, is_given)| *is_given) {
            Some((option, _)) => {
                Err(Failure::Usage(format!("{option} is for models: {} is compiled already", artifact.display())))
            }
            None => Ok(()),
        }
    }
}

fn name_and_size(text: &str) -> Result<(String, i64), String> {
    let (name, size) = text.split_once('=').ok_or("expected NAME=SIZE")?;
    let size = size.parse::<i64>().map_err(|e| format!("`{size}`: {e}"))?;
    if size < 0 {
        return Err(format!("`{size}`: a size is not negative"));
    }
    Ok((name.to_string(), size))
}

/// Names, and sizes of each.
type Assumed = Vec<(String, Vec<i64>)>;

/// `t=1,64,b=8`: a number alone is another size of the name before it.
fn name_and_sizes(text: &str) -> Result<Assumed, String> {
    let mut all = Assumed::new();
    for part in text.split(',') {
        match (part.contains('='), all.last_mut()) {
            (false, Some((name, sizes))) => {
                let (_, size) = name_and_size(&format!("{name}={part}"))?;
                if sizes.contains(&size) {
                    return Err(format!("`{name}` is {size} twice"));
                }
                sizes.push(size);
                if sizes.len() > MOST_POINTS {
                    return Err(format!("`{name}` has more than {MOST_POINTS} sizes"));
                }
            }
            _ => {
                let (name, size) = name_and_size(part)?;
                all.push((name, vec![size]));
            }
        }
    }
    if all.iter().map(|(_, sizes)| sizes.len()).product::<usize>() > MOST_POINTS {
        return Err(format!("more than {MOST_POINTS} combinations of sizes"));
    }
    Ok(all)
}

/// No name is given two sizes.
fn once(option: &str, sizes: &[(String, impl PartialEq + std::fmt::Display)]) -> Result<(), Failure> {
    for (i, (name, size)) in sizes.iter().enumerate() {
        if let Some((_, other)) = sizes[..i].iter().find(|(n, s)| n == name && s != size) {
            return Err(Failure::Usage(format!("{option} says that `{name}` is {other}, and that it is {size}")));
        }
    }
    Ok(())
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Other(String),
    /// Who reads the data has read enough.
    #[error("nobody reads on")]
    Closed,
}

impl Failure {
    fn file(path: impl Into<PathBuf>, why: impl ToString) -> Self {
        Self::File { path: path.into(), why: why.to_string() }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let talk = Talk::new(cli.color, cli.error_format);
    let done = match cli.command {
        Command::Check(check) => check.run(&talk),
        Command::Fmt(fmt) => fmt.run(&talk),
        Command::Build(build) => build.run(&talk),
        Command::Run(run) => run.run(&talk),
        Command::Explain(explain) => explain.run(&talk),
        Command::ExplainError(explain) => explain.run(&talk),
        Command::Inspect(inspect) => inspect.run(&talk),
        Command::Doc(doc) => doc.run(&talk),
        Command::Weights(weights) => weights.run(&talk),
        Command::Quantize(quantize) => quantize.run(&talk),
        Command::Bench(bench) => bench.run(&talk),
        Command::Calibrate(calibrate) => calibrate.run(&talk),
    };
    match done {
        Ok(code) => code,
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            talk.fail(&failure);
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}
