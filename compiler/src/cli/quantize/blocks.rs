//! Floats to values of few bits and scales, a block at a time.

use gatec_runtime::format::Elem;
use gatec_runtime::weights::{narrow, widen};

/// A tensor and its blocks.
pub struct Blocks {
    /// The axes of the tensor, each of one axis of the parameter or of several, with their extents; and whether it is the one in blocks.
    pub shape: Vec<Vec<(u64, bool)>>,
    pub bits: u32,
    /// Elements of a block.
    pub size: u64,
}

/// What quantising costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// The largest magnitude of a weight.
    pub largest: f64,
    pub largest_error: f64,
    errors: f64,
    error_squares: f64,
    squares: f64,
    count: u64,
}

impl Loss {
    fn add(&mut self, weight: f64, error: f64) {
        self.largest = self.largest.max(weight.abs());
        self.largest_error = self.largest_error.max(error.abs());
        self.errors += error.abs();
        self.error_squares += error * error;
        self.squares += weight * weight;
        self.count += 1;
    }

    pub fn mean_error(&self) -> f64 {
        self.errors / self.count.max(1) as f64
    }

    /// The root of the errors' mean square over that of the weights.
    pub fn relative_error(&self) -> f64 {
        if self.squares > 0.0 { (self.error_squares / self.squares).sqrt() } else { 0.0 }
    }
}

impl Blocks {
    /// The shape of the tensor of floats.
    pub fn shape(&self) -> Vec<u64> {
        self.shape.iter().map(|axes| axes.iter().map(|a| a.0).product()).collect()
    }

    /// Values and scales as the weight file holds them, and what is lost. `bytes` are elements of [`Self::shape`].
    ///
    /// # Errors
    /// A weight is not finite, or too large for any scale.
    pub fn quantize(&self, bytes: &[u8], elem: Elem) -> Result<(Vec<u8>, Vec<u8>, Loss), String> {
        let flat: Vec<(u64, bool)> = self.shape.iter().flatten().copied().collect();
        let Some(at) = flat.iter().position(|a| a.1) else { return Err("no axis of it is in blocks".into()) };
        let count = |axes: &[(u64, bool)]| axes.iter().map(|a| a.0 as usize).product::<usize>();
        let (outer, n, inner) = (count(&flat[..at]), flat[at].0 as usize, count(&flat[at + 1..]));
        let size = self.size as usize;
        let (blocks, stored) = (n.div_ceil(size), if self.bits == 4 { n.div_ceil(2) } else { n });
        let mut values = vec![0u8; outer * stored * inner];
        let mut scales = vec![0u8; outer * blocks * inner * 2];
        let mut loss = Loss::default();
        let width = elem.bytes() as usize;
        let mut weights = Vec::new();
        for (o, block, i) in each(outer, blocks, inner) {
            let range = block * size..n.min((block + 1) * size);
            weights.clear();
            weights.extend(range.clone().map(|k| {
                let at = ((o * n + k) * inner + i) * width;
                widen(&bytes[at..at + width], elem)
            }));
            if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
                return Err(format!("it holds {weight}, which no scale makes"));
            }
            let scale = self.scale(&weights);
            if !scale.is_finite() {
                let largest = weights.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
                return Err(format!("it holds {largest:e}: its scale is beyond what an f16 holds"));
            }
            let place = ((o * blocks + block) * inner + i) * 2;
            scales[place..place + 2].copy_from_slice(&narrow(scale, Elem::F16).0[..2]);
            for (k, weight) in range.zip(&weights) {
                let value = self.nearest(*weight, scale);
                loss.add(*weight, value * scale - weight);
                if self.bits == 8 {
                    values[(o * n + k) * inner + i] = value as i8 as u8;
                } else {
                    values[(o * stored + k / 2) * inner + i] |= ((value + 8.0) as u8) << (4 * (k % 2));
                }
            }
        }
        Ok((values, scales, loss))
    }

    /// The largest value and the least.
    fn range(&self) -> (f64, f64) {
        let most = f64::from(1u32 << (self.bits - 1));
        (-most, most - 1.0)
    }

    /// The value whose product with the scale is nearest to a weight.
    fn nearest(&self, weight: f64, scale: f64) -> f64 {
        let (least, most) = self.range();
        if scale == 0.0 { 0.0 } else { (weight / scale).round_ties_even().clamp(least, most) }
    }

    /// A scale as an f16. The largest weight becomes the largest value, or (with a scale of the other sign, perhaps) the least, of which
    /// there is one more: whichever loses less of the block.
    fn scale(&self, weights: &[f64]) -> f64 {
        let extreme = weights.iter().fold(0.0, |most: f64, w| if w.abs() > most.abs() { *w } else { most });
        let (least, most) = self.range();
        let half = |scale: f64| widen(&narrow(scale, Elem::F16).0[..2], Elem::F16);
        let lost = |scale: f64| -> f64 { weights.iter().map(|w| (self.nearest(*w, scale) * scale - w).powi(2)).sum() };
        let (a, b) = (half(extreme / most), half(extreme / least));
        if lost(b) < lost(a) { b } else { a }
    }
}

/// Every triple below three counts, the last fastest.
fn each(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |x| (0..b).flat_map(move |y| (0..c).map(move |z| (x, y, z))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(weights: &[f32]) -> Vec<u8> {
        weights.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn blocks(shape: &[(u64, bool)], bits: u32, size: u64) -> Blocks {
        Blocks { shape: shape.iter().map(|a| vec![*a]).collect(), bits, size }
    }

    #[test]
    fn values_on_the_grid_lose_nothing() {
        let weights: Vec<f32> = (-8i8..8).map(|v| f32::from(v) * 0.25).collect();
        let (q, s, loss) = blocks(&[(16, true)], 4, 16).quantize(&bytes(&weights), Elem::F32).unwrap();
        assert_eq!((loss.largest, loss.largest_error), (2.0, 0.0));
        assert_eq!(s, narrow(0.25, Elem::F16).0[..2]);
        assert_eq!(q, [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    }

    #[test]
    fn no_error_is_above_half_a_step() {
        for bits in [4, 8] {
            let weights: Vec<f32> = (0..105).map(|i| ((i * i * 7 + 3) as f32 * 0.37).sin()).collect();
            let tensor = blocks(&[(3, false), (7, true), (5, false)], bits, 4);
            let (q, s, loss) = tensor.quantize(&bytes(&weights), Elem::F32).unwrap();
            assert_eq!((q.len(), s.len()), (3 * 5 * if bits == 4 { 4 } else { 7 }, 2 * 3 * 2 * 5));
            // Half a step of a block whose largest weight is 1; at the far end of the range up to one.
            let step = 1.0 / f64::from(1u32 << (bits - 1));
            assert!(loss.largest_error <= 1.1 * step && loss.mean_error() < 0.4 * step, "{loss:?}");
            assert!(loss.relative_error() < 0.5 * step, "{loss:?}");
        }
    }

    #[test]
    fn zeros_stay_and_what_no_scale_makes_is_refused() {
        let tensor = blocks(&[(2, true)], 8, 32);
        let (q, s, loss) = tensor.quantize(&bytes(&[0.0, -0.0]), Elem::F32).unwrap();
        assert_eq!((q, s, loss.relative_error()), (vec![0, 0], vec![0, 0], 0.0));
        let why = |w: f32| tensor.quantize(&bytes(&[1.0, w]), Elem::F32).unwrap_err();
        assert_eq!(why(f32::NAN), "it holds NaN, which no scale makes");
        assert_eq!(why(1e30), "it holds 1.0000000150474662e30: its scale is beyond what an f16 holds");
    }
}
