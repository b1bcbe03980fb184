//! What a schedule chooses by figures that no description of a processor tells: how many rows, panels and steps go together.
//!
//! [`CHOICES`] is the list: tuning measures the others of each, a file of choices names them, `explain` shows them. None changes a
//! result: whatever is chosen, every sum is made in the same order.

use std::ops::RangeInclusive;

/// The choices of one kernel. The default was measured on Xeons with AVX-512, on Zen 3 and on Zen 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Rows of the largest microkernel that reads rows where they stand; more rows are packed.
    pub few_rows: u32,
    /// Rows of the tallest tile of packed ones.
    pub tall_rows: u32,
    /// Panels that are too few for packed rows to pay: rows that stand near one another are then read where they stand.
    pub narrow_panels: u32,
    /// Sums under way in one or two rows, so that an addition need not wait for the one before: that many panels at once.
    pub sums_at_once: u32,
    /// KiB of the left operand that stay in the second-level cache while the panels pass by.
    pub row_block_kib: u32,
    /// Rows of such a block at most: their accumulators stay in the first-level cache, or near it.
    pub row_block: u32,
    /// KiB of a panel that stay in the first-level cache while tiles pass by, beside what passes.
    pub piece_kib: u32,
    /// KiB of results beyond which a contraction of many rows stores them past the caches: they are gone from there before anybody reads
    /// them. Several results with AVX-512 only.
    pub streamed_kib: u32,
    /// Units of an expert that threads can share.
    pub expert_units: u32,
    /// Tiles of a block of rows in attention: the more, the fewer times keys and values come from a distant cache; the fewer, the
    /// more units.
    pub attend_tiles: u32,
    /// Vectors of points that a nest folds at once.
    pub nest_vectors: u32,
    /// Operations of a thread in a nanosecond, for what is worth sharing between threads: the more, the less is shared.
    pub flops_per_ns: u32,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            few_rows: 8,
            tall_rows: 14,
            // Packing a step costs about as much as a tenth of a panel's products.
            narrow_panels: 4,
            // Hide the latency of an addition on every machine in the table.
            sums_at_once: 8,
            // Half of the smallest second-level cache in use.
            row_block_kib: 512,
            row_block: 128,
            // Measured on Zen 5: 16 rows take 6 % more with 24, many rows the same.
            piece_kib: 16,
            // More than the share of a core in the last cache.
            streamed_kib: 16 << 10,
            expert_units: 8,
            attend_tiles: 8,
            nest_vectors: 4,
            flops_per_ns: 40,
        }
    }
}

/// A figure of [`Choices`], as files and messages know it.
#[derive(Debug)]
pub struct Choice {
    pub name: &'static str,
    /// What a file may say.
    pub range: RangeInclusive<u32>,
    /// What tuning tries, beside the default.
    pub others: &'static [u32],
    of: fn(&mut Choices) -> &mut u32,
}

macro_rules! choice {
    ($name:ident, $range:expr, $others:expr) => {
        Choice { name: stringify!($name), range: $range, others: &$others, of: |choices| &mut choices.$name }
    };
}

/// All figures, in the order in which tuning tries them: each with what was found for those before.
pub static CHOICES: &[Choice] = &[
    choice!(narrow_panels, 0..=1024, [0, 2, 8, 16]),
    choice!(few_rows, 1..=8, [4]),
    choice!(tall_rows, 2..=14, [8, 12]),
    choice!(sums_at_once, 1..=16, [4, 16]),
    choice!(row_block_kib, 16..=65_536, [256, 1024]),
    choice!(row_block, 1..=1024, [56, 256]),
    choice!(piece_kib, 1..=1024, [32, 48]),
    choice!(streamed_kib, 1..=1 << 20, [2 << 10, 128 << 10]),
    choice!(expert_units, 1..=64, [2, 4, 16]),
    choice!(attend_tiles, 1..=64, [4, 16]),
    choice!(nest_vectors, 1..=8, [2, 8]),
    choice!(flops_per_ns, 1..=1000, [10, 160]),
];

impl Choice {
    pub fn find(name: &str) -> Option<&'static Self> {
        CHOICES.iter().find(|choice| choice.name == name)
    }

    pub fn get(&self, choices: &Choices) -> u32 {
        *(self.of)(&mut choices.clone())
    }

    pub fn set(&self, choices: &mut Choices, to: u32) {
        *(self.of)(choices) = to;
    }
}

impl Choices {
    /// What differs from the default.
    pub fn changes(&self) -> impl Iterator<Item = (&'static Choice, u32)> {
        let default = Self::default();
        CHOICES.iter().filter(move |c| c.get(self) != c.get(&default)).map(|c| (c, c.get(self)))
    }
}
