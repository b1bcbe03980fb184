//! `gatec build`: a model to an artifact, or to any stage on the way.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gatec_runtime::format::Isa;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, ModelArgs, Talk};
use crate::{BuildError, BuildOptions, artifact, codegen, graph, kernel, lower, pipeline};

#[derive(Args)]
pub struct Build {
    /// The model
    model: PathBuf,
    /// Where the artifact goes [default: the model's name with `.so`]
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
    /// Print these stages instead of writing an artifact; `KIND=PATH` writes one to a file
    #[arg(long, value_delimiter = ',', value_name = "STAGE")]
    emit: Vec<String>,
    /// Print the graph after this pass
    #[arg(long, value_name = "PASS")]
    print_after: Vec<String>,
    /// Processors to build for, best first
    #[arg(long, value_delimiter = ',', value_name = "CPU", default_value = "x86-64-v4,x86-64-v3,x86-64")]
    target_cpu: Vec<Cpu>,
    /// Leave out the code for GPUs
    #[arg(long)]
    no_ptx: bool,
    /// Say how long each stage and each pass took
    #[arg(long)]
    timings: bool,
}

/// A processor to build for.
#[derive(Clone, Copy, ValueEnum)]
pub enum Cpu {
    #[value(name = "x86-64-v4")]
    V4,
    #[value(name = "x86-64-v3")]
    V3,
    #[value(name = "x86-64")]
    V1,
    /// The best that this machine can run
    Native,
}

impl Cpu {
    fn isa(self) -> Isa {
        match self {
            Self::V4 => Isa::X86V4,
            Self::V3 => Isa::X86V3,
            Self::V1 => Isa::X86,
            Self::Native => gatec_runtime::cpu::supported().next().unwrap_or(Isa::X86),
        }
    }
}

/// The stages that `--emit` prints.
const STAGES: &[&str] = &["graph", "graph-opt", "kernel", "llvm", "asm", "ptx"];

impl ModelArgs {
    pub fn options(&self) -> BuildOptions {
        let optimize = pipeline::OptimizeOptions {
            assume: self.assume.clone(),
            fuel: self.fuel,
            verify: self.verify,
            ..Default::default()
        };
        BuildOptions { sizes: self.axes.clone(), optimize, ..Default::default() }
    }
}

impl Build {
    pub fn run(self, _: &Talk) -> Result<ExitCode, Failure> {
        let mut options = self.model_args.options();
        options.optimize.print_after = self.print_after.clone();
        options.targets = self.target_cpu.iter().map(|cpu| cpu.isa()).collect();
        options.targets.dedup();
        options.ptx = !self.no_ptx;
        if !self.emit.is_empty() {
            return self.emit_stages(&options);
        }
        let out = self.output.clone().unwrap_or_else(|| self.model.with_extension("so"));
        let progress = progress(&format!("building {}", self.model.display()));
        let built = crate::build(&self.model, &options, &out);
        progress.finish_and_clear();
        let built = built?;
        for (pass, text) in &built.optimized.report.dumps {
            println!("// after {pass}\n{text}");
        }
        for warning in &built.optimized.report.warnings {
            eprintln!("warning: {warning}");
        }
        if self.timings {
            show_timings(&built.timings, &built.optimized.report.timings);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn emit_stages(&self, options: &BuildOptions) -> Result<ExitCode, Failure> {
        for wanted in &self.emit {
            let (stage, path) = match wanted.split_once('=') {
                Some((stage, path)) => (stage, Some(Path::new(path))),
                None => (wanted.as_str(), None),
            };
            let text = self.stage(stage, options)?;
            match path {
                Some(path) => {
                    artifact::replace(path, text.as_bytes()).map_err(|e| Failure::file(path, e))?;
                }
                None => print!("{text}"),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn stage(&self, stage: &str, options: &BuildOptions) -> Result<String, Failure> {
        if !STAGES.contains(&stage) {
            return Err(Failure::Other(format!("no stage `{stage}`; there are {}", STAGES.join(", "))));
        }
        if stage == "graph" {
            let program = gatec_lang::load(&self.model, &options.sizes).map_err(BuildError::Source)?;
            let module = lower::lower(&program).map_err(BuildError::from)?;
            return Ok(graph::text::print(&module));
        }
        let compiled = crate::compile(&self.model, options)?;
        Ok(match stage {
            "graph-opt" => graph::text::print(&compiled.optimized.module),
            "ptx" => match compiled.planned.iter().find(|p| p.variant.isa == Isa::Sm80) {
                Some(planned) => codegen::ptx::compile(&planned.kernels).map_err(BuildError::from)?,
                None => String::new(),
            },
            "kernel" => {
                let kernels = compiled.planned.iter().flat_map(|p| &p.kernels);
                kernels.map(|(_, k, _)| kernel::text::print(k)).collect::<Vec<_>>().join("\n")
            }
            stage => {
                let kernels: Vec<_> = compiled
                    .planned
                    .iter()
                    .filter(|p| p.variant.isa != Isa::Sm80)
                    .flat_map(|p| p.kernels.iter().cloned())
                    .collect();
                let text = if stage == "asm" { codegen::Text::Assembly } else { codegen::Text::Llvm };
                codegen::text(&kernels, text).map_err(BuildError::from)?
            }
        })
    }
}

/// A spinner that appears when something takes longer than a second, on a terminal.
pub fn progress(what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(what.to_string());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

fn show_timings(stages: &[(&'static str, Duration)], passes: &[(String, Duration)]) {
    let ms = |d: &Duration| d.as_secs_f64() * 1e3;
    for (stage, took) in stages {
        eprintln!("{stage:<24} {:>9.2} ms", ms(took));
        if *stage == "optimize" {
            for (pass, took) in passes {
                eprintln!("  {pass:<22} {:>9.2} ms", ms(took));
            }
        }
    }
}
