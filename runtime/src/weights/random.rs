//! Weights for a first look.

use std::sync::Arc;

use super::file::Blob;
use super::{Stored, WeightError, WeightErrors, Weights, convert};
use crate::format::Manifest;

pub(super) fn random(manifest: &Manifest, seed: u64) -> Result<Weights, WeightErrors> {
    let mut weights = Weights::default();
    for param in &manifest.params {
        let elem = param.tensor.elem;
        // An artifact's sizes are bounded and a part is no larger than its parameter (`open`).
        let elements = param.part_shape.iter().product::<u64>();
        for part in &param.parts {
            let mut draw = Draw::new(seed, part);
            let mut bytes = Vec::new();
            let total = elements * elem.bytes();
            let room = usize::try_from(total).ok().and_then(|n| bytes.try_reserve_exact(n).ok());
            room.ok_or_else(|| WeightError::OutOfMemory { name: part.clone(), bytes: total })?;
            for _ in 0..elements {
                let value = match param.default {
                    Some(default) => default,
                    None if elem.is_float() => draw.value(&param.part_shape),
                    None => 0.0,
                };
                let (element, size) = convert::narrow(value, elem);
                bytes.extend(&element[..size]);
            }
            let end = bytes.len();
            let stored = Stored {
                blob: Arc::new(Blob::Owned(bytes)),
                start: 0,
                end,
                elem: Some(elem),
                elem_name: elem.name().into(),
                shape: param.part_shape.clone(),
            };
            weights.tensors.insert(part.clone(), stored);
        }
    }
    Ok(weights)
}

/// SplitMix64 from the seed and the tensor's name: the same whatever else a model has.
struct Draw(u64);

impl Draw {
    fn new(seed: u64, name: &str) -> Self {
        let mut draw = Self(seed);
        for byte in name.bytes() {
            draw.0 = draw.next() ^ u64::from(byte);
        }
        draw
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn value(&mut self, shape: &[u64]) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        match shape {
            [] | [_] => 0.05 + 0.1 * unit,
            [_, rest @ ..] => {
                let fan_in = rest.iter().product::<u64>().max(1) as f64;
                (2.0 * unit - 1.0) * (3.0 / fan_in).sqrt()
            }
        }
    }
}
