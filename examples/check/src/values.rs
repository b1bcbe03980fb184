//! Inputs and golden outputs of a run, from a `.safetensors` file.

use std::collections::BTreeMap;
use std::path::Path;

use gatec_runtime::format::Elem;
use safetensors::{Dtype, SafeTensors};

/// A tensor in memory that is aligned for each element type.
pub struct Tensor {
    pub elem: Elem,
    pub shape: Vec<usize>,
    words: Vec<u64>,
    length: usize,
}

impl Tensor {
    fn new(elem: Elem, shape: Vec<usize>, bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { elem, shape, words, length: bytes.len() }
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    pub fn numbers(&self) -> Vec<f64> {
        numbers(self.elem, self.bytes())
    }
}

/// The tensors of a run, by `in.NAME` and `out.NAME`.
pub struct Values(BTreeMap<String, Tensor>);

impl Values {
    pub fn read(path: &Path) -> Result<Self, String> {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let bytes = std::fs::read(path).map_err(|e| at(&e))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| at(&e))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let elem = match view.dtype() {
                Dtype::F32 => Elem::F32,
                Dtype::F64 => Elem::F64,
                Dtype::F16 => Elem::F16,
                Dtype::BF16 => Elem::Bf16,
                Dtype::I32 => Elem::I32,
                Dtype::I64 => Elem::I64,
                other => return Err(at(&format!("`{name}` is {other:?}"))),
            };
            tensors.insert(name, Tensor::new(elem, view.shape().to_vec(), view.data()));
        }
        Ok(Self(tensors))
    }

    pub fn inputs(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("in.")?, tensor)))
    }

    pub fn output(&self, name: &str) -> Option<&Tensor> {
        self.0.get(&format!("out.{name}"))
    }
}

/// Elements as numbers.
pub fn numbers(elem: Elem, bytes: &[u8]) -> Vec<f64> {
    macro_rules! read {
        ($t:ty, $f:expr) => {
            bytes
                .chunks_exact(size_of::<$t>())
                .map(|c| $f(<$t>::from_le_bytes(c.try_into().unwrap_or_default())))
                .collect()
        };
    }
    match elem {
        Elem::F32 => read!(f32, f64::from),
        Elem::F64 => read!(f64, |x| x),
        Elem::F16 => read!(u16, half),
        Elem::Bf16 => read!(u16, |bits| f64::from(f32::from_bits(u32::from(bits) << 16))),
        Elem::I32 => read!(i32, f64::from),
        Elem::I64 => read!(i64, |x| x as f64),
        Elem::I8 => read!(i8, f64::from),
        Elem::U8 | Elem::Bool => read!(u8, f64::from),
    }
}

/// IEEE half: 1 bit of sign, 5 of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10) & 31, f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// The largest difference, relative to the largest expected magnitude (at least 1); infinite where one is no number and the other
/// is, or where there are more of one.
pub fn difference(found: &[f64], golden: &[f64]) -> f64 {
    if found.len() != golden.len() {
        return f64::INFINITY;
    }
    let scale = golden.iter().filter(|x| x.is_finite()).fold(1.0, |m: f64, x| m.max(x.abs()));
    let differ = |(a, b): (&f64, &f64)| match (a.is_nan(), b.is_nan()) {
        (true, true) => 0.0,
        _ if a == b => 0.0,
        (false, false) => (a - b).abs() / scale,
        _ => f64::INFINITY,
    };
    found.iter().zip(golden).map(differ).fold(0.0, f64::max)
}
