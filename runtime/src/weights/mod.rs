//! Weights: tensors of `.safetensors` files, mapped, bound to a model's parameters by name, shape and element type.
//!
//! A file is untrusted. What this module hands on has been checked against the file's size and the manifest; every mismatch is
//! told at once. A parameter that is one tensor of the right type is used where it stands in the file; one that is made of
//! parts, or is stored in a narrower type, is copied.

mod bind;
mod convert;
mod file;
mod random;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codes;
use crate::format::{Elem, Manifest};

#[cfg(feature = "cuda")]
pub(crate) use bind::bind;
pub(crate) use bind::{BoundParam, assemble, check};
pub(crate) use convert::fill;
pub use convert::{narrow, widen};
use file::Blob;

/// What is wrong with weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    #[error("cannot read {}: {source} [{}]", path.display(), codes::READ)]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: not a safetensors file: {why} [{}]", path.display(), codes::WEIGHT_FILE)]
    Format { path: PathBuf, why: String },
    #[error("{}: {why} [{}]", path.display(), codes::WEIGHT_FILE)]
    Index { path: PathBuf, why: String },
    #[error("tensor `{name}` stands in {} and in {} [{}]", first.display(), second.display(), codes::WEIGHT_FILE)]
    Twice { name: String, first: PathBuf, second: PathBuf },
    #[error("no tensor `{name}`{} [{}]", near(near_name), codes::NO_TENSOR)]
    Missing { name: String, near_name: Option<String> },
    #[error("tensor `{name}`: expected shape {want:?}, found {found:?} [{}]", codes::TENSOR_SHAPE)]
    Shape { name: String, want: Vec<u64>, found: Vec<u64> },
    #[error(
        "tensor `{name}`: expected {want}, found {found}; gatec widens weights, but does not round them [{}]",
        codes::TENSOR_ELEM
    )]
    Elem { name: String, want: Elem, found: String },
    #[error("no memory for {bytes} bytes of `{name}` [{}]", codes::OUT_OF_MEMORY)]
    OutOfMemory { name: String, bytes: u64 },
}

fn near(name: &Option<String>) -> String {
    name.as_ref().map(|n| format!("; is it `{n}`?")).unwrap_or_default()
}

/// Everything that is wrong with weights.
#[derive(Debug)]
pub struct WeightErrors(pub Vec<WeightError>);

impl std::error::Error for WeightErrors {}

impl fmt::Display for WeightErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "the weights do not fit: {one}"),
            all => {
                write!(f, "the weights do not fit, {} faults:", all.len())?;
                all.iter().try_for_each(|e| write!(f, "\n  {e}"))
            }
        }
    }
}

impl From<WeightError> for WeightErrors {
    fn from(error: WeightError) -> Self {
        Self(vec![error])
    }
}

/// Named tensors: those of files, or random ones. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Stored>,
}

/// A tensor in a file: its bytes lie inside the blob.
#[derive(Clone, Debug)]
struct Stored {
    blob: Arc<Blob>,
    start: usize,
    end: usize,
    /// `None`: a type that gatec has not; its name is kept for messages.
    elem: Option<Elem>,
    elem_name: String,
    shape: Vec<u64>,
}

impl Stored {
    fn bytes(&self) -> &[u8] {
        self.blob.bytes().get(self.start..self.end).unwrap_or_default()
    }
}

impl Weights {
    /// Maps a `.safetensors` file, or the files that a `.safetensors.index.json` names.
    ///
    /// The files must not be cut while they are mapped: reading a page that is gone stops the process. A model that packs
    /// its weights (nearly all do) lets go of them when it is loaded.
    ///
    /// # Errors
    /// A file cannot be read, or is not what its ending says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightErrors> {
        file::open(path.as_ref())
    }

    /// Reads a `.safetensors` file that is in memory.
    ///
    /// # Errors
    /// The bytes are not such a file.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, WeightErrors> {
        let mut weights = Self::default();
        weights.add(Arc::new(Blob::Owned(bytes.into())), Path::new("weights in memory"))?;
        Ok(weights)
    }

    /// Random weights of the shapes that a model wants, the same for the same seed: for a first look, without a file.
    ///
    /// A matrix is scaled by its fan-in (all sizes of the stored tensor but the first), so that values keep their
    /// magnitude from layer to layer; vectors are small and positive, so that a variance stays one; integers are 0, which every
    /// table has as an index. What has a default is that.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn random(manifest: &Manifest, seed: u64) -> Result<Self, WeightErrors> {
        random::random(manifest, seed)
    }

    /// Everything in which they do not fit a model: tensors that are missing and have no default, of another shape, or of a type that would be rounded.
    #[must_use]
    pub fn faults(&self, manifest: &Manifest) -> Vec<WeightError> {
        bind::faults(manifest, self)
    }

    /// Names, element types and shapes of the tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str, &[u64])> {
        self.tensors.iter().map(|(name, t)| (name.as_str(), t.elem_name.as_str(), t.shape.as_slice()))
    }

    /// Element type (`None`: one that gatec has not), shape and bytes of a tensor.
    pub fn tensor(&self, name: &str) -> Option<(Option<Elem>, &[u64], &[u8])> {
        self.tensors.get(name).map(|t| (t.elem, t.shape.as_slice(), t.bytes()))
    }
}

/// Where a model's weights come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WeightSource {
    File(PathBuf),
    Weights(Weights),
    /// [`Weights::random`] with this seed.
    Random(u64),
}

impl WeightSource {
    pub(crate) fn open(self, manifest: &Manifest) -> Result<Weights, WeightErrors> {
        match self {
            Self::File(path) => Weights::open(path),
            Self::Weights(weights) => Ok(weights),
            Self::Random(seed) => Weights::random(manifest, seed),
        }
    }
}

impl From<&str> for WeightSource {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}

impl From<&Path> for WeightSource {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

impl From<PathBuf> for WeightSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&PathBuf> for WeightSource {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<Weights> for WeightSource {
    fn from(weights: Weights) -> Self {
        Self::Weights(weights)
    }
}
