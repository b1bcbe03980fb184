//! Parameters of a manifest to tensors of files.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::file::Blob;
use super::{Stored, WeightError, WeightErrors, Weights, convert};
use crate::format::{Manifest, Param};
use crate::memory::Memory;

/// The bytes of a parameter, as kernels see them.
#[derive(Debug)]
pub(crate) enum BoundParam {
    /// Where they stand in the file; the start is aligned to the element.
    InFile { blob: Arc<Blob>, start: usize },
    /// Assembled from parts, widened or realigned.
    Copied(Memory),
}

impl BoundParam {
    /// Where the bytes start. As many are there as the manifest's tensor has.
    pub(crate) fn start(&self) -> *const u8 {
        match self {
            Self::InFile { blob, start } => blob.bytes().get(*start..).unwrap_or_default().as_ptr(),
            Self::Copied(memory) => memory.start(),
        }
    }

    /// As many bytes as the manifest's tensor has.
    pub(crate) fn bytes(&self, bytes: usize) -> Option<&[u8]> {
        match self {
            Self::InFile { blob, start } => blob.bytes().get(*start..)?.get(..bytes),
            Self::Copied(memory) => Some(memory.bytes(bytes)),
        }
    }
}

impl BoundParam {
    /// Lets go of it. What stood in a file may leave memory: a model that has packed its weights does not read them again.
    pub(crate) fn release(self, bytes: usize) {
        if let Self::InFile { blob, start } = self {
            blob.release(start..start.saturating_add(bytes));
        }
    }
}

/// Everything that does not fit.
pub(crate) fn check(manifest: &Manifest, weights: &Weights) -> Result<(), WeightErrors> {
    let errors = faults(manifest, weights);
    if errors.is_empty() { Ok(()) } else { Err(WeightErrors(errors)) }
}

pub(super) fn faults(manifest: &Manifest, weights: &Weights) -> Vec<WeightError> {
    // What another parameter takes is not what a missing one is called.
    let taken: BTreeSet<&str> = manifest.params.iter().flat_map(|p| &p.parts).map(String::as_str).collect();
    let parts = manifest.params.iter().flat_map(|param| param.parts.iter().map(move |part| (param, part)));
    parts.filter_map(|(param, part)| check_part(param, part, weights, &taken).err()).collect()
}

/// A value for each parameter of weights that were checked.
#[cfg(feature = "cuda")]
pub(crate) fn bind(manifest: &Manifest, weights: &Weights) -> Result<Vec<BoundParam>, WeightErrors> {
    manifest.params.iter().map(|param| Ok(assemble(param, weights)?)).collect()
}

fn check_part(param: &Param, part: &str, weights: &Weights, taken: &BTreeSet<&str>) -> Result<(), WeightError> {
    let Some(stored) = weights.tensors.get(part) else {
        if param.default.is_some() {
            return Ok(());
        }
        return Err(WeightError::Missing { name: part.into(), near_name: near_name(part, weights, taken) });
    };
    if stored.shape != param.part_shape {
        let (want, found) = (param.part_shape.clone(), stored.shape.clone());
        return Err(WeightError::Shape { name: part.into(), want, found });
    }
    let want = param.tensor.elem;
    if !stored.elem.is_some_and(|elem| convert::widens(elem, want)) {
        return Err(WeightError::Elem { name: part.into(), want, found: stored.elem_name.clone() });
    }
    Ok(())
}

/// The free tensor whose name is nearest, if one is near.
fn near_name(name: &str, weights: &Weights, taken: &BTreeSet<&str>) -> Option<String> {
    let similar = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let free = weights.tensors.keys().filter(|other| !taken.contains(other.as_str()));
    let scored = free.map(|other| (similar(other), other));
    let (score, best) = scored.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))?;
    // Half the letters: `conv.weight` for `conv1.weight`, also after a prefix; not any name of the same length.
    (score >= 0.5).then(|| best.clone())
}

/// The value of a parameter whose parts were checked.
pub(crate) fn assemble(param: &Param, weights: &Weights) -> Result<BoundParam, WeightError> {
    let want = param.tensor.elem;
    let parts: Vec<Option<&Stored>> = param.parts.iter().map(|part| weights.tensors.get(part)).collect();
    if let [Some(stored)] = parts.as_slice() {
        let address = stored.bytes().as_ptr() as usize;
        if stored.elem == Some(want) && address.is_multiple_of(want.bytes() as usize) {
            return Ok(BoundParam::InFile { blob: stored.blob.clone(), start: stored.start });
        }
    }
    let name = &param.tensor.name;
    let bytes = param.tensor.bytes(&[]).unwrap_or(u64::MAX);
    let refused = |_| WeightError::OutOfMemory { name: name.clone(), bytes };
    let mut memory = Memory::zeroed(bytes).map_err(refused)?;
    let whole = memory.bytes_mut(bytes as usize);
    // Parts are equal, and together the parameter (`open` checked it).
    let part_bytes = whole.len() / parts.len().max(1);
    if part_bytes > 0 {
        for (target, stored) in whole.chunks_exact_mut(part_bytes).zip(parts) {
            match stored {
                Some(stored) => {
                    convert::convert(stored.bytes(), stored.elem.unwrap_or(want), target, want);
                    stored.blob.release(stored.start..stored.end);
                }
                // `check` let nothing else be lacking than what has a default.
                None => convert::fill(param.default.unwrap_or_default(), target, want),
            }
        }
    }
    Ok(BoundParam::Copied(memory))
}
