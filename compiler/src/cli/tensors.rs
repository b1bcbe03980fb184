//! Tensors in files: `.npy`, `.npz`, `.safetensors`. Files come from anywhere: what they say of themselves is held against what
//! they have before memory is asked for.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use gatec_runtime::View;
use gatec_runtime::format::Elem;

use super::{Failure, npy};
use crate::artifact;

/// A tensor in memory: little-endian elements, outermost axis first.
#[derive(Clone)]
pub struct Tensor {
    pub elem: Elem,
    pub shape: Vec<usize>,
    /// In words, so that elements of every type are aligned.
    words: Vec<u64>,
    bytes: usize,
}

impl Tensor {
    pub fn new(elem: Elem, shape: Vec<usize>, bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { elem, shape, words, bytes: bytes.len() }
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }

    /// The elements as numbers.
    pub fn numbers(&self) -> Vec<f64> {
        let bytes = self.bytes().chunks_exact(self.elem.bytes() as usize);
        bytes.map(|element| gatec_runtime::weights::widen(element, self.elem)).collect()
    }

    pub fn view(&self) -> Result<View<'_>, gatec_runtime::RunError> {
        View::bytes(self.elem, self.bytes(), Some(&self.shape))
    }
}

/// The name of a tensor in a file that has none for it.
pub const UNNAMED: &str = "";

/// Reads a file of one tensor (`.npy`) or the tensors of a file (`.npz`, `.safetensors`); `-` is standard input. What a file is
/// follows from its first bytes.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Failure> {
    let fault = |e| Failure::file(path, e);
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(fault)?;
        bytes
    } else if std::fs::metadata(path).map_err(fault)?.is_file() {
        std::fs::read(path).map_err(fault)?
    } else {
        return Err(Failure::file(path, "it is no regular file"));
    };
    tensors(&bytes, path.extension().is_some_and(|e| e == "npy" || e == "npz")).map_err(|e| Failure::file(path, e))
}

/// The tensors of a file; `numpy` by its name.
fn tensors(bytes: &[u8], numpy: bool) -> Result<BTreeMap<String, Tensor>, String> {
    match bytes {
        _ if bytes.starts_with(npy::MAGIC) => Ok(BTreeMap::from([(UNNAMED.into(), npy::read(bytes)?)])),
        [b'P', b'K', ..] => npz(bytes),
        _ if numpy => Err("it does not begin as a NumPy file does".into()),
        _ => safetensors(bytes),
    }
}

fn safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file =
        safetensors::SafeTensors::deserialize(bytes).map_err(|e| format!("not .npy, .npz or .safetensors: {e}"))?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let dtype = format!("{:?}", view.dtype()).to_lowercase();
        let elem = Elem::parse(&dtype).ok_or_else(|| format!("`{name}`: elements of type {dtype}"))?;
        Ok((name, Tensor::new(elem, view.shape().to_vec(), view.data())))
    });
    tensors.collect()
}

/// Deflate makes at most so many bytes of one.
const MOST_INFLATED: u64 = 1032;

fn npz(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut tensors = BTreeMap::new();
    for number in 0..archive.len() {
        let entry = archive.by_index(number).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?;
        let Some(name) = name.strip_suffix(".npy").map(str::to_string) else { continue };
        let mut file = Vec::new();
        let most = entry.size().min(bytes.len() as u64 * MOST_INFLATED);
        entry.take(most).read_to_end(&mut file).map_err(|e| format!("`{name}`: {e}"))?;
        let tensor = npy::read(&file).map_err(|e| format!("`{name}`: {e}"))?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(format!("two of `{name}`"));
        }
    }
    Ok(tensors)
}

/// Tensors for a pipe: one as `.npy`, several as `.npz`.
pub fn to_standard_output(tensors: &[(String, Tensor)]) -> Result<Vec<u8>, Failure> {
    let bytes = match tensors {
        [(_, tensor)] => npy::write(tensor),
        several => to_npz(several),
    };
    bytes.map_err(|e| Failure::file("standard output", e))
}

/// What a file's name says that it is.
#[derive(Clone, Copy)]
pub enum Format {
    Npy,
    Npz,
    Safetensors,
}

/// The format of a file that is to be written.
pub fn format(path: &Path) -> Result<Format, Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => Ok(Format::Npy),
        Some("npz") => Ok(Format::Npz),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => Err(Failure::Usage(format!("{}: expected a .npy, .npz or .safetensors file", path.display()))),
    }
}

/// Writes tensors by the file's ending; a `.npy` holds one.
pub fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let bytes = match format(path)? {
        Format::Npy => match tensors {
            [(_, tensor)] => npy::write(tensor),
            _ => Err(format!("{} outputs: a .npy file holds one; use .npz", tensors.len())),
        },
        Format::Npz => to_npz(tensors),
        Format::Safetensors => to_safetensors(tensors),
    };
    let bytes = bytes.map_err(|e| Failure::file(path, e))?;
    artifact::replace(path, &bytes).map_err(|e| Failure::file(path, e))
}

fn to_safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>, String> {
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let dtype = serde_json::from_value(tensor.elem.name().to_uppercase().into()).map_err(|e| e.to_string())?;
        let view = safetensors::tensor::TensorView::new(dtype, tensor.shape.clone(), tensor.bytes());
        views.push((name.as_str(), view.map_err(|e| e.to_string())?));
    }
    safetensors::serialize(views, None).map_err(|e| e.to_string())
}

fn to_npz(tensors: &[(String, Tensor)]) -> Result<Vec<u8>, String> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, tensor) in tensors {
        let file = npy::write(tensor)?;
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("{name}.npy"), options).map_err(|e| e.to_string())?;
        zip.write_all(&file).map_err(|e| e.to_string())?;
    }
    zip.finish().map(Cursor::into_inner).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn two() -> Vec<(String, Tensor)> {
        vec![
            ("a".into(), Tensor::new(Elem::F32, vec![2], &[0, 0, 128, 63, 0, 0, 0, 64])),
            ("b".into(), Tensor::new(Elem::Bf16, vec![1, 2], &[128, 63, 0, 64])),
        ]
    }

    #[test]
    fn files_of_several_tensors_read_back() {
        let tensors_of = |bytes: &[u8]| super::tensors(bytes, false).unwrap();
        let back = tensors_of(&to_safetensors(&two()).unwrap());
        assert_eq!(back["b"].shape, [1, 2]);
        assert_eq!(back["b"].numbers(), [1.0, 2.0]);
        assert!(to_npz(&two()).unwrap_err().contains("NumPy has no bf16"));
        let back = tensors_of(&to_npz(&two()[..1]).unwrap());
        assert_eq!(back["a"].numbers(), [1.0, 2.0]);
    }

    proptest! {
        #[test]
        fn random_edits_of_an_archive_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut file = to_npz(&two()[..1]).unwrap();
            for (at, value) in edits {
                let at = at.index(file.len());
                file[at] = value;
            }
            let _ = super::tensors(&file, false);
        }
    }
}
