//! Places buffers that live for a while in one block: two that live at once never overlap.

use crate::memory::ALIGN;

/// A buffer to place: it lives over the steps `from..=to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub buffer: u32,
    pub from: u32,
    pub to: u32,
    pub bytes: u64,
    pub offset: u64,
}

/// Sets the offsets and returns the size of the block; `None` if it leaves `u64`.
///
/// The largest first, each at the lowest place that is free during its life: within a few percent of the best on the
/// plans of networks, where few large buffers decide.
pub(super) fn place(intervals: &mut [Interval]) -> Option<u64> {
    intervals.sort_unstable_by_key(|i| (std::cmp::Reverse(i.bytes), i.buffer));
    let mut total = 0;
    for n in 0..intervals.len() {
        let (placed, rest) = intervals.split_at_mut(n);
        let Some(this) = rest.first_mut() else { break };
        let size = this.bytes.checked_next_multiple_of(ALIGN as u64)?;
        let alive = |other: &&Interval| other.from <= this.to && this.from <= other.to && other.bytes > 0;
        let mut offset = 0;
        // Each round moves past one buffer that is in the way; offsets only grow, so every buffer is passed once at most.
        loop {
            let end = offset + size;
            let blocks = |o: &Interval| o.offset < end && offset < o.offset + o.bytes.next_multiple_of(ALIGN as u64);
            match placed.iter().filter(alive).filter(|o| blocks(o)).map(|o| o.offset + o.bytes).max() {
                Some(past) if size > 0 => offset = past.next_multiple_of(ALIGN as u64),
                _ => break,
            }
        }
        this.offset = offset;
        total = total.max(offset.checked_add(size)?);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(buffer: usize, (from, len, bytes): (u32, u32, u64)) -> Interval {
        Interval { buffer: buffer as u32, from, to: from + len, bytes, offset: u64::MAX }
    }

    #[test]
    fn a_chain_of_buffers_takes_two_places() {
        let mut chain: Vec<_> = (0..10).map(|i| interval(i, (i as u32, 1, 1000))).collect();
        assert_eq!(place(&mut chain), Some(2 * 1024));
    }

    proptest! {
        #[test]
        fn buffers_alive_together_never_overlap(lives in prop::collection::vec((0u32..20, 0u32..8, 0u64..500), 0..40)) {
            let mut intervals: Vec<_> = lives.iter().copied().enumerate().map(|(i, life)| interval(i, life)).collect();
            let total = place(&mut intervals).unwrap();
            for a in &intervals {
                prop_assert!(a.offset % 64 == 0 && a.offset + a.bytes <= total);
                for b in intervals.iter().filter(|b| b.buffer != a.buffer && a.from <= b.to && b.from <= a.to) {
                    prop_assert!(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset || a.bytes * b.bytes == 0);
                }
            }
            let all: u64 = intervals.iter().map(|i| i.bytes.next_multiple_of(64)).sum();
            prop_assert!(total <= all);
        }
    }
}
