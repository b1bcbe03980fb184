//! Reading an artifact: untrusted bytes end here.
//!
//! A file is first looked at as bytes: an ELF file with a manifest of our version, whose hash is that of the file, whose
//! every index is in range, and which needs nothing from outside. Only then is the very copy that was checked given to
//! the dynamic linker ([`Code`]): nothing can be swapped in between.

mod check;
mod code;
mod elf;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::codes;
use crate::format::{Isa, MAX_PTX_BYTES, Manifest, VERSION};

pub use check::{MAX_EXPR_DEPTH, MAX_LOOP_DEPTH, MAX_STEPS};
pub(crate) use code::Code;
use elf::{Elf, FileRange, Machine};

/// Why a file is not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("cannot read {}: {source} [{}]", path.display(), codes::READ)]
    Read { path: PathBuf, source: std::io::Error },
    #[error("not an artifact: {why} [{}]", codes::NOT_AN_ARTIFACT)]
    NotAnArtifact { why: String },
    #[error("damaged artifact: {why} [{}]", codes::DAMAGED)]
    Damaged { why: String },
    #[error("damaged or edited artifact: its SHA-256 is {found}, its manifest says {want} [{}]", codes::DAMAGED)]
    Hash { want: String, found: String },
    #[error(
        "artifact of format version {found}, this runtime reads version {VERSION}: build it again with a matching gatec [{}]",
        codes::VERSION
    )]
    Version { found: u64 },
    #[error("artifact with a faulty manifest: {} [{}]", faults.join("; "), codes::DAMAGED)]
    Manifest { faults: Vec<String> },
    #[error("artifact needs {} from outside, which an artifact never does [{}]", symbols.join(", "), codes::DAMAGED)]
    Undefined { symbols: Vec<String> },
    #[error("artifact for {found}, this machine is {} [{}]", crate::cpu::ARCHITECTURE, codes::MACHINE)]
    Machine { found: String },
    #[error("artifact with code for {}; this processor runs {} [{}]", list(built), list(runs), codes::MACHINE)]
    NoVariant { built: Vec<Isa>, runs: Vec<Isa> },
    #[error("{isa} was asked for, but {why} [{}]", codes::MACHINE)]
    Isa { isa: Isa, why: String },
    #[error("the dynamic linker refused the artifact: {why} [{}]", codes::DAMAGED)]
    Link { why: String },
}

fn list(isas: &[Isa]) -> String {
    let names: Vec<_> = isas.iter().map(|isa| isa.name()).collect();
    if names.is_empty() { "nothing that gatec builds for".into() } else { names.join(", ") }
}

/// A checked artifact. None of its code has run.
#[derive(Clone, Debug)]
pub struct Artifact {
    manifest: Manifest,
    ptx: Option<FileRange>,
    machine: Machine,
    bytes: Vec<u8>,
}

impl Artifact {
    /// Reads and checks the artifact at `path`.
    ///
    /// # Errors
    /// Whatever is wrong with the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let fault = |source| OpenError::Read { path: path.into(), source };
        // A device or a pipe has no end, or blocks.
        if !std::fs::metadata(path).map_err(fault)?.is_file() {
            return Err(OpenError::NotAnArtifact { why: "it is no regular file".into() });
        }
        let bytes = std::fs::read(path).map_err(fault)?;
        Self::from_bytes(bytes)
    }

    /// Checks an artifact in memory.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, OpenError> {
        let bytes = bytes.into();
        let elf = Elf::parse(&bytes)?;
        let json = elf.manifest.slice(&bytes).ok_or_else(|| damaged("the manifest leaves the file"))?;
        check_version(json)?;
        check_hash(&bytes, json, &elf)?;
        let manifest: Manifest = serde_json::from_slice(json).map_err(|e| damaged(&format!("manifest: {e}")))?;
        if !elf.needs.is_empty() {
            return Err(OpenError::Undefined { symbols: elf.needs });
        }
        let mut faults = check::check(&manifest);
        check_kernels(&manifest, &elf, &mut faults);
        if !faults.is_empty() {
            return Err(OpenError::Manifest { faults });
        }
        Ok(Self { manifest, ptx: elf.ptx, machine: elf.machine, bytes })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The text of the GPU kernels, if there are any. It is inflated here: a CPU has no use for it.
    ///
    /// # Errors
    /// The section is no compressed text of at most [`MAX_PTX_BYTES`].
    pub fn ptx(&self) -> Result<Option<String>, OpenError> {
        let Some(range) = self.ptx else { return Ok(None) };
        let packed = range.slice(&self.bytes).ok_or_else(|| damaged("the PTX leaves the file"))?;
        let text = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(packed, MAX_PTX_BYTES)
            .map_err(|e| damaged(&format!("PTX: {e}")))?;
        String::from_utf8(text).map(Some).map_err(|e| damaged(&format!("PTX: {e}")))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The variant that runs on this machine: the best, or the one for `isa`.
    ///
    /// # Errors
    /// No variant fits, or this processor cannot run `isa`, or the artifact does not hold it.
    pub fn variant(&self, isa: Option<Isa>) -> Result<usize, OpenError> {
        let variants = &self.manifest.variants;
        let Some(isa) = isa else {
            if !self.machine.is_this() {
                return Err(OpenError::Machine { found: self.machine.name() });
            }
            let found = crate::cpu::supported().find_map(|isa| variants.iter().position(|v| v.isa == isa));
            return found.ok_or_else(|| OpenError::NoVariant {
                built: variants.iter().map(|v| v.isa).collect(),
                runs: crate::cpu::supported().collect(),
            });
        };
        let found = variants.iter().position(|v| v.isa == isa).ok_or_else(|| OpenError::Isa {
            isa,
            why: format!("the artifact has {}", list(&variants.iter().map(|v| v.isa).collect::<Vec<_>>())),
        })?;
        if isa != Isa::Sm80 && !(self.machine.is_this() && crate::cpu::supports(isa)) {
            let runs: Vec<_> = crate::cpu::supported().collect();
            return Err(OpenError::Isa { isa, why: format!("this processor runs {}", list(&runs)) });
        }
        Ok(found)
    }
}

fn damaged(why: &str) -> OpenError {
    OpenError::Damaged { why: why.into() }
}

/// The version stands apart: a manifest of another version may hold anything else.
fn check_version(json: &[u8]) -> Result<(), OpenError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    let found: Versioned = serde_json::from_slice(json).map_err(|e| damaged(&format!("manifest: {e}")))?;
    if found.version == u64::from(VERSION) { Ok(()) } else { Err(OpenError::Version { found: found.version }) }
}

const HASH_DIGITS: usize = 64;
/// What stands between the hash and the end of the manifest.
const AFTER_HASH: &[u8] = br#""}"#;
const BEFORE_HASH: &[u8] = br#""code_hash":""#;

/// The manifest with a hash of zeros, as bytes of its section: [`seal`] writes the hash.
///
/// # Errors
/// Serialising failed: a number that JSON has not (`unit_ns` is NaN).
pub fn manifest_bytes(manifest: &Manifest) -> Result<Vec<u8>, serde_json::Error> {
    let zeros = "0".repeat(HASH_DIGITS);
    serde_json::to_vec(&Manifest { code_hash: zeros, ..manifest.clone() })
}

/// A tenth of the text is left, after a few milliseconds.
const PTX_LEVEL: u8 = 6;

/// PTX as bytes of its section.
pub fn ptx_bytes(text: &str) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), PTX_LEVEL)
}

/// Writes the hash of `file` into its manifest. The writer's side of the check that [`Artifact::open`] makes.
///
/// # Errors
/// `file` is not a linked artifact.
pub fn seal(file: &mut [u8]) -> Result<(), OpenError> {
    let elf = Elf::parse(file)?;
    let json = elf.manifest.slice(file).ok_or_else(|| damaged("the manifest leaves the file"))?;
    let start =
        elf.manifest.start + hash_start(json).ok_or_else(|| damaged("the manifest does not end with its hash"))?;
    let hash = file_hash(file, start);
    if let Some(digits) = file.get_mut(start..start + HASH_DIGITS) {
        digits.copy_from_slice(hash.as_bytes());
    }
    Ok(())
}

/// Where the digits start within the manifest.
fn hash_start(json: &[u8]) -> Option<usize> {
    let rest = json.strip_suffix(AFTER_HASH)?;
    let start = rest.len().checked_sub(HASH_DIGITS)?;
    rest.get(..start)?.ends_with(BEFORE_HASH).then_some(start)
}

/// SHA-256 of the file with the digits at `start` as zeros.
fn file_hash(file: &[u8], start: usize) -> String {
    let (before, rest) = file.split_at(start.min(file.len()));
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update([b'0'; HASH_DIGITS]);
    hash.update(rest.get(HASH_DIGITS..).unwrap_or_default());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_hash(file: &[u8], json: &[u8], elf: &Elf) -> Result<(), OpenError> {
    let at = hash_start(json).ok_or_else(|| damaged("the manifest does not end with its hash"))?;
    let want = json.get(at..at + HASH_DIGITS).map(|d| String::from_utf8_lossy(d).into_owned()).unwrap_or_default();
    let found = file_hash(file, elf.manifest.start + at);
    if want == found { Ok(()) } else { Err(OpenError::Hash { want, found }) }
}

/// Every kernel is there, under its name.
fn check_kernels(manifest: &Manifest, elf: &Elf, faults: &mut Vec<String>) {
    for variant in &manifest.variants {
        let isa = variant.isa;
        if isa == Isa::Sm80 {
            if elf.ptx.is_none() && !variant.kernels.is_empty() {
                faults.push(format!("variant {isa} without PTX"));
            }
        } else if !elf.machine.runs(isa) {
            faults.push(format!("variant {isa} in a file for {}", elf.machine.name()));
        } else {
            let missing = variant.kernels.iter().filter(|kernel| !elf.exports.contains(&kernel.symbol));
            faults
                .extend(missing.map(|kernel| format!("variant {isa}: kernel `{}` is not in the file", kernel.symbol)));
        }
    }
}
