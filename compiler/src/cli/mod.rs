//! The `gatec` program: one subcommand is one file. Standard output is data, standard error is talk.
//!
//! Exit codes: 0 done, 1 the input has an error, 2 wrong usage, 101 a bug in gatec.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the command line is where gatec talks")]

mod bench;
mod build;
mod check;
mod explain;
mod fmt;
mod inspect;
mod run;
mod tensors;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::BuildError;

/// A compiler for gated networks.
#[derive(Parser)]
#[command(name = "gatec", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Colour of messages.
    #[arg(long, global = true, value_enum, default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// Check a model: names, axes, types, sizes
    #[command(after_help = "Example:\n  gatec check examples/silero-vad/vad.gate")]
    Check(check::Check),
    /// Format models in place
    #[command(
        after_help = "Examples:\n  gatec fmt model.gate\n  gatec fmt --check examples/*/*.gate\n  gatec fmt - < model.gate"
    )]
    Fmt(fmt::Fmt),
    /// Compile a model to an artifact
    #[command(
        after_help = "Examples:\n  gatec build model.gate -o model.so\n  gatec build model.gate --axis d=1024 --assume tokens=512\n  gatec build model.gate --emit=graph-opt"
    )]
    Build(build::Build),
    /// Run an artifact (or a model, compiled on the fly)
    #[command(
        after_help = "Examples:\n  gatec run model.so --weights w.safetensors --input x=x.npy -o out.npz\n  gatec run model.gate --random --size tokens=8"
    )]
    Run(run::Run),
    /// Show what the optimiser did to a model, or explain an error code
    #[command(after_help = "Examples:\n  gatec explain model.gate\n  gatec explain E0203")]
    Explain(explain::Explain),
    /// Show what is in an artifact
    #[command(after_help = "Example:\n  gatec inspect model.so --json")]
    Inspect(inspect::Inspect),
    /// Measure an artifact (or a model) against the roofline of this machine
    #[command(after_help = "Example:\n  gatec bench model.so --weights w.safetensors --size tokens=512 --threads 2")]
    Bench(bench::Bench),
}

/// How a model becomes a graph; shared by the subcommands that read models.
#[derive(Args, Clone, Default)]
struct ModelArgs {
    /// Give a static axis another size
    #[arg(long = "axis", value_name = "NAME=SIZE", value_parser = name_and_size)]
    axes: Vec<(String, i64)>,
    /// Size of a symbolic axis for which to optimise
    #[arg(long, value_name = "NAME=SIZE", value_parser = name_and_size, value_delimiter = ',')]
    assume: Vec<(String, i64)>,
    /// Stop after this many rewrites: finds the one that changed a result
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Verify the graph after every pass
    #[arg(long)]
    verify: bool,
}

fn name_and_size(text: &str) -> Result<(String, i64), String> {
    let (name, size) = text.split_once('=').ok_or("expected NAME=SIZE")?;
    let size = size.parse::<i64>().map_err(|e| format!("`{size}`: {e}"))?;
    if size < 0 {
        return Err(format!("`{size}`: a size is not negative"));
    }
    Ok((name.to_string(), size))
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("{0}")]
    Other(String),
}

impl Failure {
    fn file(path: impl Into<PathBuf>, why: impl ToString) -> Self {
        Self::File { path: path.into(), why: why.to_string() }
    }
}

/// What subcommands know of the terminal.
struct Talk {
    color: bool,
}

impl Talk {
    fn fail(&self, failure: &Failure) {
        match failure {
            Failure::Build(BuildError::Source(diagnostics)) => eprint!("{}", diagnostics.render(self.color)),
            other if self.color => eprintln!("\x1b[1;31merror\x1b[0m: {other}"),
            other => eprintln!("error: {other}"),
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let talk = Talk { color };
    let done = match cli.command {
        Command::Check(check) => check.run(&talk),
        Command::Fmt(fmt) => fmt.run(&talk),
        Command::Build(build) => build.run(&talk),
        Command::Run(run) => run.run(&talk),
        Command::Explain(explain) => explain.run(&talk),
        Command::Inspect(inspect) => inspect.run(&talk),
        Command::Bench(bench) => bench.run(&talk),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            talk.fail(&failure);
            ExitCode::from(1)
        }
    }
}
