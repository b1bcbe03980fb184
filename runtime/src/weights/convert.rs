//! Widening of stored elements: every value stays what it was.

use crate::format::Elem;

/// Does every value of `from` exist in `to`?
pub(super) fn widens(from: Elem, to: Elem) -> bool {
    use Elem::{Bf16, F16, F32, F64, I8, I32, I64, U8};
    from == to
        || matches!(
            (from, to),
            (F16 | Bf16, F32 | F64)
                | (F32, F64)
                | (I8 | U8, I32 | I64)
                | (I32, I64)
                | (I8 | U8, F32 | F64)
                | (I32, F64)
        )
}

/// Writes the elements of `source` to `target`. Lengths fit each other, and [`widens`] holds.
pub(super) fn convert(source: &[u8], from: Elem, target: &mut [u8], to: Elem) {
    if from == to {
        target.copy_from_slice(source);
        return;
    }
    let stored = source.chunks_exact(from.bytes() as usize);
    let wide = target.chunks_exact_mut(to.bytes() as usize);
    for (source, target) in stored.zip(wide) {
        match to {
            Elem::I32 => target.copy_from_slice(&(integer(source, from) as i32).to_le_bytes()),
            Elem::I64 => target.copy_from_slice(&integer(source, from).to_le_bytes()),
            Elem::F32 => target.copy_from_slice(&(widen(source, from) as f32).to_le_bytes()),
            _ => target.copy_from_slice(&widen(source, from).to_le_bytes()),
        }
    }
}

fn integer(bytes: &[u8], elem: Elem) -> i64 {
    match (elem, bytes) {
        (Elem::I8, [b]) => i64::from(*b as i8),
        (Elem::U8 | Elem::Bool, [b]) => i64::from(*b),
        (Elem::I32, [a, b, c, d]) => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
        (Elem::I64, bytes) => bytes.try_into().map_or(0, i64::from_le_bytes),
        _ => 0,
    }
}

/// The element with these bytes as a number; of an `i64` the nearest.
pub fn widen(bytes: &[u8], elem: Elem) -> f64 {
    match (elem, bytes) {
        (Elem::F16, [a, b]) => f64::from(f16_to_f32(u16::from_le_bytes([*a, *b]))),
        (Elem::Bf16, [a, b]) => f64::from(f32::from_bits(u32::from(u16::from_le_bytes([*a, *b])) << 16)),
        (Elem::F32, [a, b, c, d]) => f64::from(f32::from_le_bytes([*a, *b, *c, *d])),
        (Elem::F64, bytes) => bytes.try_into().map_or(f64::NAN, f64::from_le_bytes),
        _ => integer(bytes, elem) as f64,
    }
}

/// The bytes of `value` as an element (the first so many), rounded to nearest.
pub fn narrow(value: f64, elem: Elem) -> ([u8; 8], usize) {
    let bits = match elem {
        Elem::F64 => value.to_bits(),
        Elem::F32 => u64::from((value as f32).to_bits()),
        Elem::Bf16 => u64::from(f32_to_bf16(value as f32)),
        Elem::F16 => u64::from(f32_to_f16(value as f32)),
        Elem::I64 => (value as i64) as u64,
        Elem::I32 => (value as i32) as u32 as u64,
        Elem::I8 => (value as i8) as u8 as u64,
        Elem::U8 => u64::from(value as u8),
        Elem::Bool => u64::from(value != 0.0),
    };
    (bits.to_le_bytes(), elem.bytes() as usize)
}

/// Makes every element of `target` that value.
pub(crate) fn fill(value: f64, target: &mut [u8], elem: Elem) {
    let (element, size) = narrow(value, elem);
    target.chunks_exact_mut(size).for_each(|target| target.copy_from_slice(&element[..size]));
}

/// To nearest, ties to even.
fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7fc0;
    }
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// To nearest, ties to even.
fn f32_to_f16(value: f32) -> u16 {
    let sign = ((value.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = value.abs();
    let bits = match magnitude {
        m if m.is_nan() => 0x7e00,
        // Halfway to what would be 2^16.
        m if m >= 65520.0 => 0x7c00,
        // Subnormal: steps of 2^-24. A sum with 2^-1, whose last bit is 2^-24, rounds as wanted.
        m if m < 6.103_515_6e-5 => (m + 0.5).to_bits() - 0.5f32.to_bits(),
        m => {
            let bits = m.to_bits();
            ((bits + 0xfff + ((bits >> 13) & 1)) >> 13) - (112 << 10)
        }
    };
    sign | bits as u16
}

/// IEEE half to single; exact.
fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half) & 0x3ff;
    match (exponent, fraction) {
        // Zero and subnormals: the fraction counts steps of 2^-24.
        (0, n) => f32::from_bits(sign | (n as f32 * (-24f32).exp2()).to_bits()),
        (0x1f, 0) => f32::from_bits(sign | 0x7f80_0000),
        (0x1f, n) => f32::from_bits(sign | 0x7f80_0000 | (n << 13)),
        (e, n) => f32::from_bits(sign | ((e + 112) << 23) | (n << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_widens_exactly() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x8000, -0.0)]
        {
            assert_eq!(f16_to_f32(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
        assert_eq!(f16_to_f32(0xfc00), f32::NEG_INFINITY);
        let mut out = [0u8; 8];
        convert(&[0x80, 0x3f, 0x00, 0xc0], Elem::Bf16, &mut out, Elem::F32);
        assert_eq!(out, [1.0f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat()[..]);
        convert(&[0xff], Elem::I8, &mut out, Elem::I64);
        assert_eq!(i64::from_le_bytes(out), -1);
    }

    #[test]
    fn narrowing_undoes_widening() {
        for bits in (0..=u16::MAX).filter(|b| !f16_to_f32(*b).is_nan()) {
            assert_eq!(f32_to_f16(f16_to_f32(bits)), bits);
        }
        assert_eq!(f32_to_f16(1.0 + 1.0 / 2048.0), 0x3c00, "a tie goes to even");
        assert_eq!(f32_to_f16(1.0 + 3.0 / 2048.0), 0x3c02, "a tie goes to even");
        assert_eq!(f32_to_bf16(1.0 + 1.0 / 256.0), 0x3f80, "a tie goes to even");
        assert_eq!(narrow(-1.0, Elem::I8).0[0], 0xff);
    }

    #[test]
    fn only_lossless_conversions_widen() {
        assert!(widens(Elem::F16, Elem::F32) && widens(Elem::Bf16, Elem::F64));
        assert!(!widens(Elem::F32, Elem::F16) && !widens(Elem::I64, Elem::F64) && !widens(Elem::F16, Elem::Bf16));
    }
}
