//! The compiler: a `.gate` file to one artifact. [`build`] is the whole flow.

pub mod artifact;
pub mod cli;
pub mod codegen;
pub mod egraph;
pub mod fuse;
pub mod graph;
pub mod kernel;
pub mod lower;
pub mod machine;
pub mod ops;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod rules;
pub mod scalar;
pub mod schedule;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gatec_lang::Program;
use gatec_lang::diagnostics::Diagnostics;
use gatec_runtime::format::Isa;
use rayon::prelude::*;
use thiserror::Error;

use graph::{Elem, Module};
use kernel::{Body, Kernel};
use pipeline::{OptimizeOptions, Optimized};
use plan::Planned;

/// Why a model could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The program is wrong: show the diagnostics.
    #[error("{}", .0.render(false))]
    Source(Diagnostics),
    #[error(transparent)]
    Lower(#[from] lower::LowerError),
    #[error(transparent)]
    Optimize(#[from] pipeline::PipelineError),
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    #[error(transparent)]
    Codegen(#[from] codegen::CodegenError),
    #[error(transparent)]
    Artifact(#[from] artifact::ArtifactError),
    #[error("{path}: {why}", path = path.display())]
    File { path: PathBuf, why: std::io::Error },
}

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Static axes that get another size.
    pub sizes: Vec<(String, i64)>,
    pub optimize: OptimizeOptions,
    /// Processors to build for, best first.
    pub targets: Vec<Isa>,
    /// Build for GPUs as well.
    pub ptx: bool,
    /// On GPUs, contractions of f32 on tensor cores: their operands keep 10 bits of fraction of 23. Asked for, never chosen.
    pub tf32: bool,
    /// For tests on processors without AMX: its tiles stand in memory, and the variant is one for `x86-64-v3`.
    #[doc(hidden)]
    pub tiles_in_memory: bool,
    /// Choices of schedules that were measured to be faster than the default.
    pub tuning: schedule::Tuning,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            sizes: Vec::new(),
            optimize: OptimizeOptions::default(),
            targets: vec![Isa::X86V4Amx, Isa::X86V4Bf16, Isa::X86V4, Isa::X86V3, Isa::X86],
            ptx: true,
            tf32: false,
            tiles_in_memory: false,
            tuning: schedule::Tuning::default(),
        }
    }
}

/// A model between its stages, for those who look in; [`build`] goes straight through.
#[derive(Debug)]
pub struct Compiled {
    pub program: Program,
    pub optimized: Optimized,
    /// One for each target, in their order.
    pub planned: Vec<Planned>,
    /// How long each stage took.
    pub timings: Vec<(&'static str, Duration)>,
}

/// Reads and checks a model, lowers and optimises it.
pub fn optimize(source: &Path, options: &BuildOptions) -> Result<(Program, Optimized), BuildError> {
    let program = gatec_lang::load(source, &options.sizes).map_err(BuildError::Source)?;
    let module = lower::lower(&program)?;
    Ok((program, pipeline::optimize(module, &options.optimize)?))
}

/// Reads a model and plans its kernels.
pub fn compile(source: &Path, options: &BuildOptions) -> Result<Compiled, BuildError> {
    let mut timings = Vec::new();
    let program =
        timed(&mut timings, "front end", || gatec_lang::load(source, &options.sizes)).map_err(BuildError::Source)?;
    let module = timed(&mut timings, "lower", || lower::lower(&program))?;
    let mut optimized = timed(&mut timings, "optimize", || pipeline::optimize(module, &options.optimize))?;
    let planned = timed(&mut timings, "plan", || plan_all(&optimized.module, options))?;
    optimized.report.warnings.extend(stale(&planned, &options.tuning));
    Ok(Compiled { program, optimized, planned, timings })
}

/// Plans a module for each target; without products of bf16 there is no variant for processors that have instructions for them.
pub fn plan_all(module: &Module, options: &BuildOptions) -> Result<Vec<Planned>, BuildError> {
    let targets: Vec<Isa> = options.targets.iter().copied().chain(options.ptx.then_some(Isa::Sm80)).collect();
    let lacks_pairs = |planned: &Planned| {
        let is_paired = |kernel: &Kernel| matches!(&kernel.body, Body::Contract(c) if !c.products.are_single());
        let takes_pairs = |isa: Isa| !schedule::products(isa, [Elem::Bf16; 2], Elem::F32).are_single();
        let others = options.targets.iter().any(|isa| !takes_pairs(*isa));
        takes_pairs(planned.variant.isa) && others && !planned.kernels.iter().any(|(_, k, _)| is_paired(k))
    };
    let planned = targets.par_iter().map(|isa| {
        let mut planned = plan::plan(module, *isa, &options.optimize.assume, &options.tuning)?;
        if options.tf32 {
            for (_, kernel, schedule) in &mut planned.kernels {
                *schedule = schedule.clone().fast(kernel);
            }
        }
        Ok(planned)
    });
    planned
        .filter(|planned| !planned.as_ref().is_ok_and(lacks_pairs))
        .map(|planned| if options.tiles_in_memory { planned.map(without_tile_registers) } else { planned })
        .collect()
}

/// A variant with tiles becomes one for other processors.
fn without_tile_registers(mut planned: Planned) -> Planned {
    if planned.variant.isa == Isa::X86V4Amx {
        planned.variant.isa = Isa::X86V3;
        for (.., schedule) in &mut planned.kernels {
            *schedule = schedule.clone().without_tile_registers();
        }
    }
    planned
}

/// What a tuning says of kernels that are not there.
pub fn stale(planned: &[Planned], tuning: &schedule::Tuning) -> Option<String> {
    let stale = |p: &Planned| tuning.stale(p.variant.isa, &p.kernels).into_iter().map(|k| format!("`{k}`")).collect();
    let stale: Vec<String> = planned.iter().flat_map(|p| -> Vec<String> { stale(p) }).collect();
    let names = stale.join(", ");
    let are = "was tuned and is not in this model (any more), or not at these sizes: what was found is not used";
    (!stale.is_empty()).then(|| format!("{names} {are}; `gatec build --tune` measures again"))
}

/// Compiles the model at `source` and writes the artifact to `out`.
pub fn build(source: &Path, options: &BuildOptions, out: &Path) -> Result<Built, BuildError> {
    let Compiled { program, optimized, planned, mut timings } = compile(source, options)?;
    let bytes = timed(&mut timings, "code", || generate(&optimized.module, &program.doc, planned))?;
    artifact::replace(out, &bytes).map_err(|why| BuildError::File { path: out.into(), why })?;
    Ok(Built { optimized, timings })
}

/// Generates code for planned variants; the bytes of the artifact.
pub fn generate(module: &Module, doc: &str, planned: Vec<Planned>) -> Result<Vec<u8>, BuildError> {
    let (gpu, cpu): (Vec<Planned>, Vec<Planned>) = planned.into_iter().partition(|p| p.variant.isa == Isa::Sm80);
    // Each processor has its own module, and LLVM a context for each thread.
    let (objects, ptx) = rayon::join(
        || cpu.par_iter().map(|p| codegen::compile(&p.kernels)).collect::<Result<Vec<_>, _>>(),
        || gpu.first().map(|p| codegen::ptx::compile(&p.kernels)),
    );
    let (objects, ptx) = (objects?, ptx.transpose()?);
    let variants = cpu.into_iter().chain(gpu).map(|p| p.variant).collect();
    let manifest = plan::manifest(module, doc, variants);
    Ok(artifact::assemble(&manifest, &objects, ptx.as_deref())?)
}

/// What [`build`] made.
#[derive(Debug)]
pub struct Built {
    pub optimized: Optimized,
    pub timings: Vec<(&'static str, Duration)>,
}

fn timed<T>(timings: &mut Vec<(&'static str, Duration)>, stage: &'static str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    timings.push((stage, start.elapsed()));
    result
}
