//! The compiler: a `.gate` file to one artifact.

pub mod artifact;
pub mod codegen;
pub mod fuse;
pub mod graph;
pub mod kernel;
pub mod lower;
pub mod ops;
pub mod plan;
pub mod scalar;
pub mod schedule;

use gatec_runtime::format::Isa;
use thiserror::Error;

use graph::Module;
use plan::Planned;

/// Why a model could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    #[error(transparent)]
    Codegen(#[from] codegen::CodegenError),
    #[error(transparent)]
    Artifact(#[from] artifact::ArtifactError),
}

/// Generates code for planned variants; the bytes of the artifact.
pub fn generate(module: &Module, doc: &str, planned: Vec<Planned>) -> Result<Vec<u8>, BuildError> {
    let (gpu, cpu): (Vec<Planned>, Vec<Planned>) = planned.into_iter().partition(|p| p.variant.isa == Isa::Sm80);
    let kernels: Vec<_> = cpu.iter().flat_map(|p| p.kernels.iter().cloned()).collect();
    let object = codegen::compile(&kernels)?;
    let variants = cpu.into_iter().chain(gpu).map(|p| p.variant).collect();
    let manifest = plan::manifest(module, doc, variants);
    Ok(artifact::assemble(&manifest, &object, None)?)
}
