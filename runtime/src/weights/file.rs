//! Reading `.safetensors` files and indexes of several of them.
#![allow(unsafe_code, reason = "maps weight files, and lets go of them")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};

use super::{Stored, WeightError, WeightErrors, Weights};
use crate::format::Elem;

/// Bytes of a weight file.
#[derive(Debug)]
pub(crate) enum Blob {
    Mapped(memmap2::Mmap, PathBuf),
    Owned(Vec<u8>),
}

impl Blob {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Owned(bytes) => bytes,
        }
    }

    /// These bytes are not needed for now: pages of a file leave this process' memory, and come back when they are read.
    pub(super) fn release(&self, range: std::ops::Range<usize>) {
        let Self::Mapped(map, _) = self else { return };
        // Whole pages only: their neighbours' may be in use.
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end.min(map.len()) / PAGE * PAGE);
        if start < end {
            // SAFETY: a shared mapping of a file, for reading: what is dropped is read from the file again. A refusal costs
            // memory only, so the answer is not looked at.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Mapped(_, path) => path,
            Self::Owned(_) => Path::new("memory"),
        }
    }
}

/// No smaller than a page of any system that gatec runs on.
const PAGE: usize = 64 << 10;

/// Of an index: which file holds which tensor.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn open(path: &Path) -> Result<Weights, WeightErrors> {
    if path.extension().is_some_and(|e| e == "json") {
        return open_index(path);
    }
    let mut weights = Weights::default();
    weights.add(map(path)?, path)?;
    Ok(weights)
}

fn open_index(path: &Path) -> Result<Weights, WeightErrors> {
    let fault = |why: String| WeightError::Index { path: path.into(), why };
    regular(path)?;
    let text = std::fs::read(path).map_err(|source| WeightError::Read { path: path.into(), source })?;
    let index: Index =
        serde_json::from_slice(&text).map_err(|e| fault(format!("not an index of safetensors files: {e}")))?;
    let mut files: Vec<&String> = index.weight_map.values().collect();
    files.sort();
    files.dedup();
    let mut weights = Weights::default();
    let mut errors = Vec::new();
    for file in files {
        // An index names files beside it; anything else would read where nobody expects it.
        if Path::new(file).file_name().is_none_or(|name| name != file.as_str()) {
            errors.push(fault(format!("`{file}` is not the name of a file beside the index")));
            continue;
        }
        let shard = path.with_file_name(file);
        match map(&shard).and_then(|blob| weights.add(blob, &shard)) {
            Ok(()) => {}
            Err(WeightErrors(more)) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(weights) } else { Err(WeightErrors(errors)) }
}

/// A device or a pipe has no end, or blocks when it is opened.
fn regular(path: &Path) -> Result<(), WeightError> {
    let read = |source| WeightError::Read { path: path.into(), source };
    if std::fs::metadata(path).map_err(read)?.is_file() {
        return Ok(());
    }
    Err(WeightError::Format { path: path.into(), why: "it is no regular file".into() })
}

fn map(path: &Path) -> Result<Arc<Blob>, WeightErrors> {
    let fault = |source| WeightError::Read { path: path.into(), source };
    regular(path)?;
    let file = File::open(path).map_err(fault)?;
    // SAFETY: mapped for reading; that nobody cuts or edits the file meanwhile is a documented duty of the caller
    // (`Weights::open`).
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fault)?;
    Ok(Arc::new(Blob::Mapped(map, path.into())))
}

impl Weights {
    /// Adds the tensors of one file.
    pub(super) fn add(&mut self, blob: Arc<Blob>, path: &Path) -> Result<(), WeightErrors> {
        let bytes = blob.bytes();
        let fault = |why: String| WeightError::Format { path: path.into(), why };
        let parsed = SafeTensors::deserialize(bytes).map_err(|e| fault(e.to_string()))?;
        let mut errors = Vec::new();
        for (name, view) in parsed.iter() {
            // The view borrows from the file: where it starts follows from the addresses.
            let start = (view.data().as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
            let range = start.checked_add(view.data().len()).filter(|end| *end <= bytes.len());
            let Some(end) = range else {
                errors.push(fault(format!("tensor `{name}` leaves the file")));
                continue;
            };
            let stored = Stored {
                blob: blob.clone(),
                start,
                end,
                elem: elem(view.dtype()),
                elem_name: elem(view.dtype())
                    .map_or_else(|| format!("{:?}", view.dtype()).to_lowercase(), |e| e.name().to_owned()),
                shape: view.shape().iter().map(|n| *n as u64).collect(),
            };
            if let Some(other) = self.tensors.insert(name.to_owned(), stored) {
                let (first, second) = (other.blob.path().into(), path.into());
                errors.push(WeightError::Twice { name: name.to_owned(), first, second });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(WeightErrors(errors)) }
    }
}

fn elem(dtype: Dtype) -> Option<Elem> {
    Some(match dtype {
        Dtype::F32 => Elem::F32,
        Dtype::F16 => Elem::F16,
        Dtype::BF16 => Elem::Bf16,
        Dtype::F64 => Elem::F64,
        Dtype::I32 => Elem::I32,
        Dtype::I64 => Elem::I64,
        Dtype::I8 => Elem::I8,
        Dtype::U8 => Elem::U8,
        Dtype::BOOL => Elem::Bool,
        _ => return None,
    })
}
