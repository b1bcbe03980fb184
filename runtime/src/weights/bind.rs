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
}

/// A value for each parameter, or everything that does not fit.
pub(crate) fn bind(manifest: &Manifest, weights: &Weights) -> Result<Vec<BoundParam>, WeightErrors> {
    let mut errors = Vec::new();
    // What another parameter takes is not what a missing one is called.
    let taken: BTreeSet<&str> = manifest.params.iter().flat_map(|p| &p.parts).map(String::as_str).collect();
    for param in &manifest.params {
        for part in &param.parts {
            if let Err(error) = check(param, part, weights, &taken) {
                errors.push(error);
            }
        }
    }
    if !errors.is_empty() {
        return Err(WeightErrors(errors));
    }
    let mut bound = Vec::new();
    for param in &manifest.params {
        match assemble(param, weights) {
            Ok(one) => bound.push(one),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(WeightErrors(errors)) }
}

fn check(param: &Param, part: &str, weights: &Weights, taken: &BTreeSet<&str>) -> Result<(), WeightError> {
    let Some(stored) = weights.tensors.get(part) else {
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

fn assemble(param: &Param, weights: &Weights) -> Result<BoundParam, WeightError> {
    let want = param.tensor.elem;
    let parts: Vec<&Stored> = param.parts.iter().filter_map(|part| weights.tensors.get(part)).collect();
    if let [stored] = parts.as_slice() {
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
            convert::convert(stored.bytes(), stored.elem.unwrap_or(want), target, want);
        }
    }
    Ok(BoundParam::Copied(memory))
}
