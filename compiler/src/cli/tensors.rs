//! Tensors in files: `.npy`, `.npz`, `.safetensors`.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use gatec_runtime::View;
use gatec_runtime::format::Elem;

use super::Failure;
use crate::artifact;

/// A tensor in memory: little-endian elements, outermost axis first.
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
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0u8; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(eight);
        }
        Self { elem, shape, words, bytes: bytes.len() }
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }

    pub fn view(&self) -> Result<View<'_>, gatec_runtime::RunError> {
        View::bytes(self.elem, self.bytes(), Some(&self.shape))
    }
}

/// Reads a file of one tensor (`.npy`) or the tensors of a file (`.npz`, `.safetensors`); one tensor has the name `""`.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Failure> {
    let bytes = std::fs::read(path).map_err(|e| Failure::file(path, e))?;
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => Ok(BTreeMap::from([(String::new(), npy(path, &bytes)?)])),
        Some("npz") => npz(path, bytes),
        Some("safetensors") => safetensors(path, &bytes),
        _ => Err(Failure::file(path, "expected a .npy, .npz or .safetensors file")),
    }
}

fn safetensors(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Failure> {
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|e| Failure::file(path, e))?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let dtype = format!("{:?}", view.dtype()).to_lowercase();
        let elem =
            Elem::parse(&dtype).ok_or_else(|| Failure::file(path, format!("`{name}`: elements of type {dtype}")))?;
        Ok((name, Tensor::new(elem, view.shape().to_vec(), view.data())))
    });
    tensors.collect()
}

fn npz(path: &Path, bytes: Vec<u8>) -> Result<BTreeMap<String, Tensor>, Failure> {
    let mut archive = npyz::npz::NpzArchive::new(Cursor::new(bytes)).map_err(|e| Failure::file(path, e))?;
    let names: Vec<String> = archive.array_names().map(str::to_string).collect();
    let mut tensors = BTreeMap::new();
    for name in names {
        let Some(entry) = archive.by_name(&name).map_err(|e| Failure::file(path, e))? else { continue };
        tensors.insert(name, from_npy(path, entry)?);
    }
    Ok(tensors)
}

fn npy(path: &Path, bytes: &[u8]) -> Result<Tensor, Failure> {
    from_npy(path, npyz::NpyFile::new(bytes).map_err(|e| Failure::file(path, e))?)
}

fn from_npy<R: std::io::Read>(path: &Path, file: npyz::NpyFile<R>) -> Result<Tensor, Failure> {
    if file.order() != npyz::Order::C {
        return Err(Failure::file(path, "Fortran order; save it with `numpy.ascontiguousarray`"));
    }
    let dtype = file.dtype().descr();
    let elem = match dtype.trim_matches(['\'', '"']) {
        "<f4" => Elem::F32,
        "<f8" => Elem::F64,
        "<f2" => Elem::F16,
        "<i4" => Elem::I32,
        "<i8" => Elem::I64,
        "|i1" => Elem::I8,
        "|u1" => Elem::U8,
        "|b1" => Elem::Bool,
        other => return Err(Failure::file(path, format!("elements of type {other}"))),
    };
    let shape: Vec<usize> = file.shape().iter().map(|n| *n as usize).collect();
    macro_rules! data {
        ($t:ty) => {
            file.into_vec::<$t>().map(|v| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        };
    }
    let bytes = match elem {
        Elem::F32 => data!(f32),
        Elem::F64 => data!(f64),
        Elem::I32 => data!(i32),
        Elem::I64 => data!(i64),
        Elem::I8 => data!(i8),
        Elem::U8 => data!(u8),
        Elem::Bool => file.into_vec::<bool>().map(|v| v.iter().map(|b| u8::from(*b)).collect()),
        Elem::F16 | Elem::Bf16 => return Err(Failure::file(path, "half floats: save as f32, or as .safetensors")),
    };
    Ok(Tensor::new(elem, shape, &bytes.map_err(|e| Failure::file(path, e))?))
}

/// Writes tensors by the file's ending; a `.npy` holds one.
pub fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => match tensors {
            [(_, tensor)] => to_npy(path, tensor)?,
            _ => {
                return Err(Failure::file(path, format!("{} outputs: a .npy file holds one; use .npz", tensors.len())));
            }
        },
        Some("npz") => to_npz(path, tensors)?,
        Some("safetensors") => to_safetensors(path, tensors)?,
        _ => return Err(Failure::file(path, "expected a .npy, .npz or .safetensors file")),
    };
    artifact::replace(path, &bytes).map_err(|e| Failure::file(path, e))
}

fn to_safetensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<Vec<u8>, Failure> {
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let dtype =
            serde_json::from_value(tensor.elem.name().to_uppercase().into()).map_err(|e| Failure::file(path, e))?;
        let view = safetensors::tensor::TensorView::new(dtype, tensor.shape.clone(), tensor.bytes());
        views.push((name.clone(), view.map_err(|e| Failure::file(path, e))?));
    }
    safetensors::serialize(views, None).map_err(|e| Failure::file(path, e))
}

fn to_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<Vec<u8>, Failure> {
    let mut bytes = Cursor::new(Vec::new());
    let mut zip = npyz::zip::ZipWriter::new(&mut bytes);
    for (name, tensor) in tensors {
        let file = to_npy(path, tensor)?;
        let started = zip.start_file(npyz::npz::file_name_from_array_name(name), Default::default());
        started.map_err(|e| Failure::file(path, e))?;
        zip.write_all(&file).map_err(|e| Failure::file(path, e))?;
    }
    zip.finish().map_err(|e| Failure::file(path, e))?;
    drop(zip);
    Ok(bytes.into_inner())
}

fn to_npy(path: &Path, tensor: &Tensor) -> Result<Vec<u8>, Failure> {
    let descr = match tensor.elem {
        Elem::F32 => "<f4",
        Elem::F64 => "<f8",
        Elem::F16 => "<f2",
        Elem::I32 => "<i4",
        Elem::I64 => "<i8",
        Elem::I8 => "|i1",
        Elem::U8 => "|u1",
        Elem::Bool => "|b1",
        Elem::Bf16 => return Err(Failure::file(path, "NumPy has no bf16; write .safetensors")),
    };
    let shape: String = tensor.shape.iter().map(|n| format!("{n},")).collect();
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version 1.0 and length take 10 bytes; the header ends with a newline at a multiple of 64.
    let length = (dict.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = length - 1).bytes());
    bytes.extend(tensor.bytes());
    Ok(bytes)
}
