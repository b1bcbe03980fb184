//! `gatec build`: a model to an artifact, or to any stage on the way.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gatec_lang::diagnostics::Diagnostics;
use gatec_runtime::format::Isa;
use indicatif::{ProgressBar, ProgressStyle};

use super::tune::{self, TunedArgs};
use super::{Failure, ModelArgs, Talk};
use crate::pipeline::Report;
use crate::schedule::Tuning;
use crate::{BuildError, BuildOptions, Compiled, artifact, codegen, graph, kernel, lower, pipeline};

#[derive(Args)]
pub struct Build {
    /// The model
    model: PathBuf,
    /// Where the artifact goes [default: the model's name with `.so`]
    #[arg(short, long, conflicts_with = "emit")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
    #[command(flatten)]
    tuned: TunedArgs,
    /// First measure on this machine which schedules are fastest, with random weights, and keep that in the file of --tuned; results stay the
    /// same, bit for bit
    #[arg(long, conflicts_with_all = ["emit", "print_after"])]
    tune: bool,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = super::bench::seconds, allow_negative_numbers = true, requires = "tune")]
    tune_seconds: f64,
    /// Print these stages instead of writing an artifact; `STAGE=FILE` writes one to a file. Stages: ast, graph, graph-opt,
    /// egraph, kernel, llvm, asm, ptx
    #[arg(long, value_delimiter = ',', value_name = "STAGE", value_parser = emitted)]
    emit: Vec<Emitted>,
    /// Print the graph after this pass
    #[arg(long, value_name = "PASS", value_parser = pass)]
    print_after: Vec<String>,
    /// Processors to build for, best first
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "CPU",
        default_value = "x86-64-v4-amx,x86-64-v4-bf16,x86-64-v4,x86-64-v3,x86-64"
    )]
    target_cpu: Vec<Cpu>,
    /// Leave out the code for GPUs
    #[arg(long)]
    no_ptx: bool,
    /// On GPUs, multiply f32 on tensor cores, which keep 10 bits of fraction of 23
    #[arg(long)]
    tf32: bool,
    /// Say how long each stage and each pass took
    #[arg(long)]
    timings: bool,
    /// What was built, as JSON on standard output: file, size, times, warnings
    #[arg(long, conflicts_with_all = ["emit", "print_after"])]
    json: bool,
}

/// A processor to build for.
#[derive(Clone, Copy, ValueEnum)]
pub enum Cpu {
    /// With AMX: tiles of bf16
    #[value(name = "x86-64-v4-amx")]
    V4Amx,
    /// With AVX-512 BF16
    #[value(name = "x86-64-v4-bf16")]
    V4Bf16,
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
            Self::V4Amx => Isa::X86V4Amx,
            Self::V4Bf16 => Isa::X86V4Bf16,
            Self::V4 => Isa::X86V4,
            Self::V3 => Isa::X86V3,
            Self::V1 => Isa::X86,
            Self::Native => gatec_runtime::cpu::supported().next().unwrap_or(Isa::X86),
        }
    }
}

/// A stage to print, and where to.
#[derive(Clone)]
struct Emitted {
    stage: Stage,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Stage {
    Ast,
    Graph,
    GraphOpt,
    Egraph,
    Kernel,
    Llvm,
    Asm,
    Ptx,
}

fn emitted(text: &str) -> Result<Emitted, String> {
    let (stage, file) = match text.split_once('=') {
        Some((stage, file)) => (stage, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let stage = Stage::from_str(stage, false).map_err(|_| format!("no stage `{stage}`; there are {}", stages()))?;
    Ok(Emitted { stage, file })
}

fn stages() -> String {
    let names: Vec<_> = Stage::value_variants().iter().filter_map(|s| s.to_possible_value()).collect();
    names.iter().map(|name| name.get_name()).collect::<Vec<_>>().join(", ")
}

fn pass(name: &str) -> Result<String, String> {
    let names: Vec<&str> = pipeline::PASSES.iter().map(|pass| pass.name).collect();
    if names.contains(&name) {
        Ok(name.into())
    } else {
        Err(format!("no pass `{name}`; there are {}", names.join(", ")))
    }
}

impl Build {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let mut options = self.model_args.options()?;
        options.tuning = self.tuned.read(&self.model)?;
        options.optimize.print_after = self.print_after.clone();
        options.targets = self.target_cpu.iter().map(|cpu| cpu.isa()).collect();
        options.targets.sort();
        options.targets.dedup();
        options.ptx = !self.no_ptx;
        options.tf32 = self.tf32;
        if !self.emit.is_empty() {
            return self.emit_stages(options, talk);
        }
        let out = self.output.clone().unwrap_or_else(|| self.model.with_extension("so"));
        if self.tune {
            options.tuning = self.tune(&options, talk)?;
        }
        let progress = progress(talk, &format!("building {}", self.model.display()));
        let built = crate::build(&self.model, &options, &out);
        progress.finish_and_clear();
        let built = built?;
        self.tell(&built.optimized.report, talk)?;
        if self.timings {
            talk.say(&timings(&built.timings, &built.optimized.report));
        }
        if self.json {
            let bytes = std::fs::metadata(&out).map_err(|e| Failure::file(&out, e))?.len();
            let ms = |took: &Duration| took.as_secs_f64() * 1e3;
            let stages: Vec<_> =
                built.timings.iter().map(|(name, took)| serde_json::json!({ "stage": name, "ms": ms(took) })).collect();
            let report = &built.optimized.report;
            let value = serde_json::json!({
                "artifact": out, "bytes": bytes, "stages": stages, "regions": report.regions,
                "egraphs": report.saturated, "warnings": report.warnings,
            });
            talk.data(format!("{value:#}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn tune(&self, options: &BuildOptions, talk: &Talk) -> Result<Tuning, Failure> {
        let path = self.tuned.path(&self.model);
        let (_, optimized) = crate::optimize(&self.model, options)?;
        let limit = Duration::from_secs_f64(self.tune_seconds);
        let (tuning, said) = tune::tune(&optimized.module, options, limit, talk)?;
        artifact::replace(&path, tuning.print().as_bytes()).map_err(|e| Failure::file(&path, e))?;
        talk.say(&said);
        Ok(tuning)
    }

    fn emit_stages(&self, mut options: BuildOptions, talk: &Talk) -> Result<ExitCode, Failure> {
        options.optimize.print_egraphs = self.emit.iter().any(|e| e.stage == Stage::Egraph);
        let needs_more = self.emit.iter().any(|e| matches!(e.stage.printer(), Printer::Compiled(_)));
        let progress = progress(talk, &format!("building {}", self.model.display()));
        let compiled = needs_more.then(|| crate::compile(&self.model, &options)).transpose();
        progress.finish_and_clear();
        let compiled = compiled?;
        if let Some(compiled) = &compiled {
            self.tell(&compiled.optimized.report, talk)?;
        }
        for Emitted { stage, file } in &self.emit {
            let text = match (stage.printer(), &compiled) {
                (Printer::Source(print), _) => print(&self.model, &options)?,
                (Printer::Compiled(print), Some(compiled)) => print(compiled)?,
                (Printer::Compiled(_), None) => continue,
            };
            match file {
                Some(path) => artifact::replace(path, text.as_bytes()).map_err(|e| Failure::file(path, e))?,
                None => talk.data(text)?,
            }
        }
        if let (true, Some(compiled)) = (self.timings, &compiled) {
            talk.say(&timings(&compiled.timings, &compiled.optimized.report));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Graphs between passes, and warnings.
    fn tell(&self, report: &Report, talk: &Talk) -> Result<(), Failure> {
        for (pass, text) in &report.dumps {
            talk.data(format!("// after {pass}\n{text}\n"))?;
        }
        report.warnings.iter().for_each(|warning| talk.warn(warning));
        Ok(())
    }
}

/// What a stage is printed from.
enum Printer {
    /// The model alone: it may be one that later stages refuse.
    Source(fn(&Path, &BuildOptions) -> Result<String, Failure>),
    Compiled(fn(&Compiled) -> Result<String, BuildError>),
}

impl Stage {
    fn printer(self) -> Printer {
        match self {
            Self::Ast => Printer::Source(tree),
            Self::Graph => Printer::Source(|model, options| {
                let program = gatec_lang::load(model, &options.sizes).map_err(BuildError::Source)?;
                Ok(graph::text::print(&lower::lower(&program).map_err(BuildError::from)?))
            }),
            Self::GraphOpt => Printer::Compiled(|c| Ok(graph::text::print(&c.optimized.module))),
            Self::Egraph => Printer::Compiled(|c| Ok(c.optimized.report.egraphs.join("\n"))),
            Self::Kernel => Printer::Compiled(|c| {
                let kernels = c.planned.iter().flat_map(|p| &p.kernels);
                Ok(kernels.map(|(_, k, _)| kernel::text::print(k)).collect::<Vec<_>>().join("\n"))
            }),
            Self::Llvm => Printer::Compiled(|c| code(c, codegen::Text::Llvm)),
            Self::Asm => Printer::Compiled(|c| code(c, codegen::Text::Assembly)),
            Self::Ptx => Printer::Compiled(|c| match c.planned.iter().find(|p| p.variant.isa == Isa::Sm80) {
                Some(planned) => Ok(codegen::ptx::compile(&planned.kernels)?),
                None => Ok(String::new()),
            }),
        }
    }
}

fn tree(model: &Path, _: &BuildOptions) -> Result<String, Failure> {
    let text = gatec_lang::read(model).map_err(|e| Failure::file(model, e))?;
    let tree = gatec_lang::syntax::parse(0, &text).map_err(|wrong| {
        let files = vec![(model.display().to_string(), text.into())];
        BuildError::Source(Diagnostics { files, list: vec![*wrong] })
    })?;
    Ok(format!("{tree:#?}\n"))
}

/// The code of all processors.
fn code(compiled: &Compiled, text: codegen::Text) -> Result<String, BuildError> {
    let on_cpu = compiled.planned.iter().filter(|p| p.variant.isa != Isa::Sm80);
    let kernels: Vec<_> = on_cpu.flat_map(|p| &p.kernels).cloned().collect();
    Ok(codegen::text(&kernels, text)?)
}

/// A spinner, on a terminal.
pub fn progress(talk: &Talk, what: &str) -> ProgressBar {
    if !talk.terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(what.to_string());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn timings(stages: &[(&'static str, Duration)], report: &Report) -> String {
    let ms = |d: &Duration| d.as_secs_f64() * 1e3;
    let mut text = String::new();
    for (stage, took) in stages {
        let _ = writeln!(text, "{stage:<24} {:>9.2} ms", ms(took));
        if *stage == "optimize" {
            for (pass, took) in &report.timings {
                let _ = writeln!(text, "  {pass:<22} {:>9.2} ms", ms(took));
            }
        }
    }
    text
}
