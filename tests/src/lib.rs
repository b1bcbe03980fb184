//! What several runners share: running a module's compiled code beside the interpreter.

pub mod elements;
pub mod example;
pub mod machine;
pub mod readers;
pub mod shrink;

use std::collections::BTreeMap;

use example::Stored;
use gatec::graph::interp::{self, Values};
use gatec::graph::tensor::Tensor;
use gatec::graph::{Boundary, Elem, Entry, Module};
use gatec::schedule::Tuning;
use gatec::{BuildOptions, plan};
use gatec_runtime::format::Isa;
use gatec_runtime::{Artifact, LoadOptions, Model, View, Weights, cpu};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// CPU variants, best first.
pub const ISAS: [Isa; 5] = [Isa::X86V4Amx, Isa::X86V4Bf16, Isa::X86V4, Isa::X86V3, Isa::X86];

/// Those of an artifact that this machine can run.
pub fn runnable(artifact: &Artifact) -> Vec<Isa> {
    let built = artifact.manifest().variants.iter().map(|v| v.isa);
    built.filter(|isa| cpu::supports(*isa)).collect()
}

/// A module compiled for all CPU variants that it has code of its own for.
pub struct Built {
    module: Module,
    bytes: Vec<u8>,
    /// On machines without tiles a variant in whose place they stand in memory.
    tiles: Option<Vec<u8>>,
    /// Those that this machine can run, best first, and the one with tiles wherever there is one.
    pub isas: Vec<Isa>,
}

/// What a call left: outputs, then states, as f64.
pub type Results = Vec<Vec<f64>>;

impl Built {
    pub fn new(module: &Module) -> Result<Self, String> {
        Self::tuned(module, Tuning::default())
    }

    /// With the choices of a tuning.
    pub fn tuned(module: &Module, tuning: Tuning) -> Result<Self, String> {
        let mut options = BuildOptions { targets: ISAS.into(), ptx: false, tuning, ..Default::default() };
        let mut planned = gatec::plan_all(module, &options).map_err(|e| e.to_string())?;
        let built = planned.iter().map(|p| p.variant.isa);
        let isas: Vec<Isa> = built.filter(|isa| cpu::supports(*isa) || *isa == Isa::X86V4Amx).collect();
        // Code that cannot run here need not be made: most of the time goes there.
        planned.retain(|p| cpu::supports(p.variant.isa));
        let bytes = gatec::generate(module, "", planned).map_err(|e| e.to_string())?;
        let tiles = if isas.contains(&Isa::X86V4Amx) && !cpu::supports(Isa::X86V4Amx) {
            options = BuildOptions { targets: vec![Isa::X86V4Amx], tiles_in_memory: true, ..options };
            let planned = gatec::plan_all(module, &options).map_err(|e| e.to_string())?;
            Some(gatec::generate(module, "", planned).map_err(|e| e.to_string())?)
        } else {
            None
        };
        Ok(Self { module: module.clone(), bytes, tiles, isas })
    }

    /// Runs an entry once with these values.
    pub fn run(&self, entry: usize, values: &Values, isa: Isa, threads: usize) -> Result<Results, String> {
        self.run_without(entry, values, isa, threads, &[])
    }

    /// The same, but inputs of these numbers are not set: they have defaults.
    pub fn run_without(
        &self,
        entry: usize,
        values: &Values,
        isa: Isa,
        threads: usize,
        left_out: &[usize],
    ) -> Result<Results, String> {
        let about = &self.module.entries[entry];
        let weights = Weights::from_bytes(weights(&self.module, values)?).map_err(|e| e.to_string())?;
        let (bytes, isa) = match &self.tiles {
            Some(bytes) if isa == Isa::X86V4Amx => (bytes, Isa::X86V3),
            _ => (&self.bytes, isa),
        };
        let options = LoadOptions::default().isa(isa).threads(threads);
        let model = Model::from_bytes(bytes.as_slice(), weights, &options).map_err(|e| e.to_string())?;
        let mut session = model.session(&about.name).map_err(|e| e.to_string())?;
        session.set_threads(threads);
        for (name, size) in &values.symbols {
            // A symbol that this entry does not use is unknown to it.
            let _ = session.bind(name, *size as usize);
        }
        let inputs: Vec<Bytes> = values
            .inputs
            .iter()
            .zip(&about.inputs)
            .map(|(tensor, boundary)| Bytes::of(&tensor.ordered(&boundary.order)))
            .collect();
        let mut views = Vec::new();
        let given = inputs.iter().zip(&about.inputs).enumerate().filter(|(i, _)| !left_out.contains(i));
        for (_, (input, boundary)) in given {
            let view = View::bytes(input.elem, input.bytes(), Some(&input.shape)).map_err(|e| e.to_string())?;
            views.push((boundary.name.as_str(), view));
        }
        let states: Vec<Bytes> = values
            .states
            .iter()
            .zip(&self.module.states)
            .map(|(tensor, state)| Bytes::of(&tensor.ordered(&state.tensor.order)))
            .collect();
        if !states.is_empty() {
            // The first run gives states their sizes; the second is the one that counts.
            session.run(&views).map_err(|e| e.to_string())?;
            for (state, about) in states.iter().zip(&self.module.states) {
                let view = View::bytes(state.elem, state.bytes(), None).map_err(|e| e.to_string())?;
                session.set_state(&about.tensor.name, view).map_err(|e| e.to_string())?;
            }
        }
        let outputs = session.run(&views).map_err(|e| e.to_string())?;
        let results: Results = outputs.iter().map(|(_, elem, _, bytes)| numbers(elem, bytes)).collect();
        Ok(results)
    }
}

/// The parameters of a module as a `.safetensors` file under the names that it binds.
pub fn weights(module: &Module, values: &Values) -> Result<Vec<u8>, String> {
    let mut parts: BTreeMap<String, (Bytes, Vec<usize>)> = BTreeMap::new();
    let manifest = plan::manifest(module, "", Vec::new());
    for ((tensor, param), about) in values.params.iter().zip(&module.params).zip(&manifest.params) {
        let order = plan::param_order(param);
        let whole = Bytes::of(&tensor.ordered(&order));
        let shape: Vec<usize> = about.part_shape.iter().map(|n| *n as usize).collect();
        let size = whole.bytes().len() / about.parts.len().max(1);
        for (i, name) in about.parts.iter().enumerate() {
            let part = Bytes::new(whole.elem, shape.clone(), &whole.bytes()[i * size..(i + 1) * size]);
            parts.insert(name.clone(), (part, shape.clone()));
        }
    }
    let views: Result<Vec<_>, String> = parts
        .iter()
        .map(|(name, (part, shape))| {
            let view = TensorView::new(dtype(part.elem), shape.clone(), part.bytes()).map_err(|e| e.to_string())?;
            Ok((name.as_str(), view))
        })
        .collect();
    safetensors::serialize(views?, None).map_err(|e| e.to_string())
}

/// What the interpreter says.
pub fn interpret(module: &Module, entry: usize, values: &Values) -> Result<Results, String> {
    let outcome = interp::run(module, &module.entries[entry], values).map_err(|e| e.to_string())?;
    Ok(outcome.outputs.into_iter().map(|t| t.data.to_vec()).collect())
}

/// The largest difference, relative to the largest expected magnitude (at least 1); infinite where one is no number and the
/// other is.
pub fn difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let scale = expected.iter().filter(|x| x.is_finite()).fold(1.0, |m: f64, x| m.max(x.abs()));
    let differ = |(a, b): (&f64, &f64)| match (a.is_nan(), b.is_nan()) {
        (true, true) => 0.0,
        _ if a == b => 0.0,
        (false, false) => (a - b).abs() / scale,
        _ => f64::INFINITY,
    };
    found.iter().zip(expected).map(differ).fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
}

/// Elements as bytes, aligned for every type.
struct Bytes {
    elem: Elem,
    shape: Vec<usize>,
    words: Vec<u64>,
    length: usize,
}

impl Bytes {
    fn new(elem: Elem, shape: Vec<usize>, bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(eight)
        };
        Self { elem, shape, words: bytes.chunks(8).map(word).collect(), length: bytes.len() }
    }

    fn of(tensor: &Tensor) -> Self {
        let bytes = bytes(tensor.elem, &tensor.data);
        Self::new(tensor.elem, tensor.axes.iter().map(|(_, n)| *n).collect(), &bytes)
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}

/// Numbers as elements, rounded to nearest.
pub fn bytes(elem: Elem, numbers: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for x in numbers {
        match elem {
            Elem::F32 => bytes.extend((*x as f32).to_le_bytes()),
            Elem::F64 => bytes.extend(x.to_le_bytes()),
            Elem::I32 => bytes.extend((*x as i32).to_le_bytes()),
            Elem::I64 => bytes.extend((*x as i64).to_le_bytes()),
            Elem::I8 => bytes.extend((*x as i8).to_le_bytes()),
            Elem::U8 | Elem::Bool => bytes.push(*x as u8),
            Elem::F16 => bytes.extend(to_half(*x, 5, 10).to_le_bytes()),
            Elem::Bf16 => bytes.extend(to_half(*x, 8, 7).to_le_bytes()),
        }
    }
    bytes
}

/// The bits of a float of 16 bits, to nearest, ties to even.
fn to_half(x: f64, exponent_bits: i32, fraction_bits: i32) -> u16 {
    let (bias, top) = ((1 << (exponent_bits - 1)) - 1, ((1 << exponent_bits) - 1) << fraction_bits);
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    if x.is_nan() {
        return top | 1 << (fraction_bits - 1);
    }
    let least = 1 - bias;
    let exponent = if x == 0.0 { least } else { (x.abs().log2().floor() as i32).clamp(least, bias + 1) };
    // Units in the last place; the leading bit of a normal number raises the exponent's field from its own, less 1.
    let units = (x.abs() / 2f64.powi(exponent - fraction_bits)).round_ties_even().min(f64::from(u16::MAX));
    let bits = ((exponent - least) << fraction_bits) + units as i32;
    sign | bits.min(i32::from(top)) as u16
}

fn from_half(bits: u16, exponent_bits: i32, fraction_bits: i32) -> f64 {
    let bias = (1 << (exponent_bits - 1)) - 1;
    let exponent = i32::from(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(1 - bias),
        e if e == (1 << exponent_bits) - 1 => {
            if fraction == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => (1.0 + fraction) * 2f64.powi(e - bias),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// Elements as numbers.
pub fn numbers(elem: Elem, bytes: &[u8]) -> Vec<f64> {
    macro_rules! read {
        ($t:ty) => {
            bytes
                .chunks_exact(size_of::<$t>())
                .map(|c| <$t>::from_le_bytes(c.try_into().unwrap_or_default()) as f64)
                .collect()
        };
    }
    let halves = |exponent, fraction| {
        bytes.chunks_exact(2).map(|c| from_half(u16::from_le_bytes([c[0], c[1]]), exponent, fraction)).collect()
    };
    match elem {
        Elem::F32 => read!(f32),
        Elem::F64 => read!(f64),
        Elem::I32 => read!(i32),
        Elem::I64 => read!(i64),
        Elem::I8 => read!(i8),
        Elem::U8 | Elem::Bool => read!(u8),
        Elem::F16 => halves(5, 10),
        Elem::Bf16 => halves(8, 7),
    }
}

/// The element type's name in `.safetensors` files.
pub fn dtype(elem: Elem) -> Dtype {
    match elem {
        Elem::F32 => Dtype::F32,
        Elem::F64 => Dtype::F64,
        Elem::F16 => Dtype::F16,
        Elem::Bf16 => Dtype::BF16,
        Elem::I32 => Dtype::I32,
        Elem::I64 => Dtype::I64,
        Elem::I8 => Dtype::I8,
        Elem::U8 => Dtype::U8,
        Elem::Bool => Dtype::BOOL,
    }
}

/// A stored tensor at a boundary.
pub fn tensor(boundary: &Boundary, stored: &Stored) -> Tensor {
    let axes = boundary.order.iter().copied().zip(stored.shape.iter().copied()).collect();
    Tensor::new(boundary.elem, axes, stored.numbers())
}

/// Sizes of the symbols that stand alone as the size of an input's axis.
pub fn symbols(module: &Module, entry: &Entry, inputs: &[(String, Stored)]) -> BTreeMap<String, i64> {
    let mut bound = BTreeMap::new();
    for (boundary, (_, stored)) in entry.inputs.iter().zip(inputs) {
        for (axis, extent) in boundary.order.iter().zip(&stored.shape) {
            for (symbol, _) in &module.symbols {
                if module.sizes.get(*axis) == Some(&gatec_lang::Size::symbol(symbol)) {
                    bound.insert(symbol.clone(), *extent as i64);
                }
            }
        }
    }
    // Those of other entries: large enough for what their axes are made of.
    for (symbol, _) in &module.symbols {
        bound.entry(symbol.clone()).or_insert(8);
    }
    bound
}

/// The parameters of a module from the tensors of a weight file.
pub fn params(module: &Module, file: &BTreeMap<String, Stored>) -> Vec<Tensor> {
    let manifest = plan::manifest(module, "", Vec::new());
    let one = |(param, about): (&gatec::graph::Param, &gatec_runtime::format::Param)| {
        let order = plan::param_order(param);
        let sizes = order.iter().map(|a| module.sizes.known(*a).expect("a known size") as usize);
        let mut numbers = Vec::new();
        for part in &about.parts {
            let Some(stored) = file.get(part) else {
                let default = param.default.unwrap_or_else(|| panic!("no tensor `{part}`"));
                let elements = about.part_shape.iter().product::<u64>() as usize;
                numbers.extend(std::iter::repeat_n(default, elements));
                continue;
            };
            let shape: Vec<u64> = stored.shape.iter().map(|n| *n as u64).collect();
            assert_eq!(shape, about.part_shape, "the shape of `{part}`");
            numbers.extend(stored.numbers());
        }
        Tensor::new(param.tensor.elem, order.iter().copied().zip(sizes).collect(), numbers)
    };
    module.params.iter().zip(&manifest.params).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_the_standard_says() {
        for (elem, number, bits) in [
            (Elem::F16, 1.0, 0x3c00u16),
            (Elem::F16, -2.0, 0xc000),
            (Elem::F16, 65504.0, 0x7bff),
            (Elem::F16, 65520.0, 0x7c00),
            (Elem::F16, 2f64.powi(-24), 0x0001),
            (Elem::F16, 1.0 + 3.0 / 2048.0, 0x3c02),
            (Elem::Bf16, 1.0, 0x3f80),
            (Elem::Bf16, 1.0 + 1.0 / 256.0, 0x3f80),
            (Elem::Bf16, -0.0, 0x8000),
            (Elem::Bf16, f64::INFINITY, 0x7f80),
        ] {
            assert_eq!(bytes(elem, &[number]), bits.to_le_bytes(), "{elem} {number}");
        }
        for elem in [Elem::F16, Elem::Bf16] {
            let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            for (number, bits) in numbers(elem, &all).iter().zip(all.chunks_exact(2)) {
                assert!(number.is_nan() || bytes(elem, &[*number]) == bits, "{elem} {number}");
            }
        }
    }
}
