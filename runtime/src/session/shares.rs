//! Who computes which units of a call. Each thread begins with a share of its own, the same at each call, so that it meets what it
//! left in its cache; who is done takes of what others have not begun. For cores are not equally fast: some machines have small ones,
//! two threads may be those of one core, and other programs run.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::CallAt;

/// Parts of a share, at most.
const PARTS: i64 = 16;
/// Parts of a share that is gone through backwards.
const TURNED: i64 = 8;
/// Bits of the number of a part.
const BITS: u32 = 16;
const _: () = assert!(PARTS < 1 << BITS && TURNED < 1 << BITS);

/// What nobody has begun of a thread's share: the visit of a call for which that holds, the first part, the end. Those of two threads
/// share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Share(AtomicU64);

/// A call that threads compute together.
pub(super) struct Together<'a> {
    /// One for each thread.
    shares: &'a [Share],
    /// The number of the call in this run, the same on all threads. All have left the one before.
    visit: u32,
    units: Range<i64>,
    backwards: bool,
    /// Of each share.
    parts: i64,
    /// Are shares long enough to be taken from?
    is_long: bool,
}

impl<'a> Together<'a> {
    pub fn new(shares: &'a [Share], visit: u32, call: &CallAt, units: Range<i64>, backwards: bool) -> Self {
        let (count, threads) = (units.end - units.start, shares.len() as i64);
        // Without divisions: most calls are short.
        let is_long = threads > 1 && count >= call.slice.saturating_mul(2 * threads);
        let parts = match (backwards, is_long) {
            (true, _) => TURNED,
            (false, true) => (count / threads / call.slice).min(PARTS),
            (false, false) => 1,
        };
        Self { shares, visit, units, backwards, parts, is_long }
    }

    /// Runs units as one thread of all, until none is left that nobody has begun; the greatest result, if there were any.
    pub fn run(&self, thread: usize, mut run: impl FnMut(Range<i64>) -> i32) -> Option<i32> {
        if self.parts == 1 {
            let units = part(&self.units, thread, self.shares.len());
            return (!units.is_empty()).then(|| run(units));
        }
        let mut worst = None;
        let mut parts = |of: usize, parts: Range<i64>| {
            let share = part(&self.units, of, self.shares.len());
            let start = part(&share, parts.start as usize, self.parts as usize).start;
            let units = start..part(&share, parts.end as usize - 1, self.parts as usize).end;
            if !units.is_empty() {
                worst = worst.max(Some(run(units)));
            }
        };
        if !self.is_long {
            (0..self.parts).rev().for_each(|i| parts(thread, i..i + 1));
            return worst;
        }
        for of in (thread..self.shares.len()).chain(0..thread) {
            while let Some(taken) = self.take(of, of == thread) {
                parts(of, taken);
            }
        }
        worst
    }

    /// Takes parts of a thread's share: its owner from where it goes on, others from the far end.
    fn take(&self, of: usize, is_own: bool) -> Option<Range<i64>> {
        let share = &self.shares[of].0;
        let number = |bits: u64| (bits & ((1 << BITS) - 1)) as i64;
        let mut seen = share.load(Ordering::Relaxed);
        loop {
            let left = match (seen >> (2 * BITS)) as u32 == self.visit {
                true => number(seen >> BITS)..number(seen),
                false => 0..self.parts,
            };
            if left.is_empty() {
                return None;
            }
            // Half: few calls of the kernel, and small ones at last. One where it matters that the last comes first.
            let count = if self.backwards { 1 } else { (left.end - left.start + 1) / 2 };
            let (taken, left) = match is_own != self.backwards {
                true => (left.start..left.start + count, left.start + count..left.end),
                false => (left.end - count..left.end, left.start..left.end - count),
            };
            let now = u64::from(self.visit) << (2 * BITS) | (left.start as u64) << BITS | left.end as u64;
            // What is computed is seen by others behind the next barrier, not by this.
            match share.compare_exchange_weak(seen, now, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(taken),
                Err(other) => seen = other,
            }
        }
    }
}

/// One of so many contiguous parts.
fn part(units: &Range<i64>, number: usize, parts: usize) -> Range<i64> {
    if parts == 1 {
        return units.clone();
    }
    let count = units.end - units.start;
    let (each, rest) = (count / parts as i64, count % parts as i64);
    let cut = |i: i64| units.start + each * i + i.min(rest);
    cut(number as i64)..cut(number as i64 + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn call(slice: i64) -> CallAt {
        CallAt {
            kernel: 0,
            number: 0,
            args: 0..0,
            dims: 0..0,
            units: 0,
            shared: true,
            turns: false,
            slice,
            router: None,
        }
    }

    #[test]
    fn parts_cover_all_units_once() {
        for (units, parts) in [(0..0, 2), (0..1, 2), (2..7, 2), (0..7, 7), (0..3, 7), (5..i64::MAX, 5)] {
            let mut next = units.start;
            for number in 0..parts {
                let part = part(&units, number, parts);
                assert!(part.start == next && part.end >= next);
                next = part.end;
            }
            assert_eq!(next, units.end);
        }
    }

    #[test]
    fn threads_compute_every_unit_once() {
        for (threads, units, slice) in
            [(1, 0..100, 1), (2, 0..1, 1), (2, 3..1000, 7), (3, 0..64, 1), (7, 0..90, 100), (7, 5..5000, 9)]
        {
            let shares: Vec<Share> = (0..threads).map(|_| Share::default()).collect();
            for (visit, backwards) in (1..100).map(|visit| (visit, visit % 2 == 0)) {
                let together = Together::new(&shares, visit, &call(slice), units.clone(), backwards);
                let seen = Mutex::new(Vec::new());
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (together, seen) = (&together, &seen);
                        scope.spawn(move || {
                            together.run(thread, |units| {
                                seen.lock().unwrap().extend(units);
                                0
                            })
                        });
                    }
                });
                let mut seen = seen.into_inner().unwrap();
                seen.sort_unstable();
                assert_eq!(seen, units.clone().collect::<Vec<_>>(), "{threads} threads, slices of {slice}");
            }
        }
    }

    #[test]
    fn who_is_done_takes_what_others_have_not_begun() {
        let shares = [Share::default(), Share::default()];
        let together = Together::new(&shares, 1, &call(1), 0..64, false);
        let mut ran = Vec::new();
        // The other thread has begun half of its share, and is slow.
        assert_eq!(together.take(1, true), Some(0..8));
        assert_eq!(
            together.run(0, |units| {
                ran.push(units);
                0
            }),
            Some(0)
        );
        assert_eq!(ran, [0..16, 16..24, 24..28, 28..30, 30..32, 56..64, 52..56, 50..52, 48..50]);
        assert_eq!(together.run(1, |_| unreachable!("all is done")), None);
        // Short calls are not worth it.
        let together = Together::new(&shares, 2, &call(64), 0..64, false);
        assert_eq!(together.run(0, |units| units.end as i32), Some(32));
    }

    #[test]
    fn backwards_the_last_part_comes_first() {
        let shares = [Share::default()];
        let together = Together::new(&shares, 1, &call(1), 0..16, true);
        let mut ran = Vec::new();
        together.run(0, |units| {
            ran.push(units.start);
            0
        });
        assert_eq!(ran, [14, 12, 10, 8, 6, 4, 2, 0]);
    }
}
