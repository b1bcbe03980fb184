//! Writes artifacts: kernels, manifest and PTX, linked into one shared object that the runtime accepts.
//!
//! Manifest and PTX become sections of a small object of their own (`sections`), which a linker joins with the kernels
//! (`link`). The hash is written into the linked file, the runtime's own reader checks it, and only then it takes the target's
//! name: a file of that name is always a whole artifact. The same input gives the same bytes.

mod link;
mod sections;

use std::io::Write;
use std::path::{Path, PathBuf};

use gatec_runtime::format::Manifest;
use gatec_runtime::open::{Artifact, OpenError, manifest_bytes, seal};

/// Why an artifact was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    #[error("the manifest does not become JSON: {0}")]
    Manifest(#[from] serde_json::Error),
    #[error("manifest and PTX do not become an ELF object: {0}")]
    Object(#[from] object::write::Error),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("no linker found; looked for {}: install lld", tried.join(", "))]
    NoLinker { tried: Vec<&'static str> },
    #[error("{linker} failed: {message}")]
    Link { linker: &'static str, message: String },
    /// A bug in gatec: it made what its own runtime refuses.
    #[error("internal error, the linked file is not an artifact: {0}")]
    Refused(#[from] OpenError),
}

/// The bytes of the artifact of `manifest` (its hash is not looked at), `objects` (relocatable ELF files with the CPU kernels) and
/// the GPU kernels' PTX.
///
/// # Errors
/// No linker is there, or it refuses the kernels or cannot write its files; what came out is not an artifact.
pub fn assemble(manifest: &Manifest, objects: &[Vec<u8>], ptx: Option<&str>) -> Result<Vec<u8>, ArtifactError> {
    let first = objects.first().map_or(&[][..], Vec::as_slice);
    let sections = sections::object(first, &manifest_bytes(manifest)?, ptx)?;
    let names: Vec<String> = (0..objects.len()).map(|i| format!("kernels{i}.o")).collect();
    let mut inputs: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(objects.iter().map(Vec::as_slice)).collect();
    inputs.push(("sections.o", &sections));
    let mut bytes = link::shared(&inputs)?;
    seal(&mut bytes)?;
    Artifact::from_bytes(bytes.as_slice())?;
    Ok(bytes)
}

/// Writes beside the target and renames: nobody sees half a file.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of a folder that is not there this says no more than that.
    std::fs::metadata(dir)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".gatec-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
