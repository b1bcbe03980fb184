//! Descriptions of machines, and how long work takes on one: the one cost model that rewriting, explanations and measurements ask.
//!
//! Rewriting knows no kernels: [`Machine::time`] is the roofline of an op. Of a kernel more is known ([`Demand`]), and
//! [`Machine::kernel_time`] is what `gatec explain` calls predicted. Everything is of one core.

mod known;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use known::{KNOWN, TYPICAL};
pub use text::{FileError, VERSION};

/// What one core of a machine can do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Operations of f32 in its widest vectors; multiply-adds count as two.
    pub flops_per_ns: f64,
    /// Operations of tiles of bf16, where it has them. `None`: [`TILES`] times as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile_flops_per_ns: Option<f64>,
    /// A cache or the memory each, the nearest first.
    pub levels: [Level; LEVELS],
    /// What a kernel costs before it does anything.
    pub kernel_ns: f64,
    /// An exponential, for each element of a vector.
    pub function_ns: f64,
    /// A division or a square root, likewise.
    pub division_ns: f64,
    /// An operation that no vector has, or one of a loop.
    pub scalar_ns: f64,
    /// Until the result of an addition can be added to.
    pub wait_ns: f64,
}

impl Default for Machine {
    fn default() -> Self {
        TYPICAL
    }
}

/// Caches, and the memory.
pub const LEVELS: usize = 4;
/// The level that holds a model's weights, for those who know no working set.
const OF_WEIGHTS: usize = 2;

/// The share of computing and moving that does not overlap.
const APART: f64 = 0.2;

/// So many bytes of a stream from beyond the nearest cache take three times as long: nothing was fetched ahead.
const BEGIN: u64 = 4096;

/// An assumption, from what Intel says of its processors: a product of tiles makes 8,192 multiply-adds in 16 cycles, two units for vectors
/// of 512 bits 32 in each. On a Xeon of model 207 registers alone reach 15, and a kernel with all that is around its products 7 (`gatec calibrate`).
const TILES: f64 = 16.0;

/// Where a working set stands between its uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Sets of up to so many bytes.
    pub bytes: u64,
    /// Bytes that arrive from it.
    pub bytes_per_ns: f64,
}

/// What a call of a kernel asks of a core.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Demand {
    /// Operations of products, of whole tiles; a multiply-add is two.
    pub products: f64,
    /// Likewise, of tiles of bf16.
    pub tiles: f64,
    /// Other operations, in vectors, counted by element.
    pub vectors: f64,
    /// Functions of elements in vectors, in exponentials.
    pub functions: f64,
    /// Divisions and roots of elements in vectors.
    pub divisions: f64,
    /// Operations one at a time.
    pub scalars: f64,
    /// Additions one after the other.
    pub waits: f64,
    /// Bytes that are read or written, and the bytes among which they are met again.
    pub moved: Vec<(u64, u64)>,
}

impl Machine {
    /// Bytes that arrive in a nanosecond where the caller knows no working set.
    pub fn bytes_per_ns(&self) -> f64 {
        self.levels[OF_WEIGHTS].bytes_per_ns
    }

    /// The least time for work that overlaps with its memory traffic.
    pub fn time(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops_per_ns).max(bytes / self.bytes_per_ns())
    }

    /// How long a call of a kernel takes.
    pub fn kernel_time(&self, demand: &Demand) -> f64 {
        // As many operations as multiply-adds.
        let vectors = 2.0 * demand.vectors / self.flops_per_ns;
        let dear = demand.functions * self.function_ns + demand.divisions * self.division_ns;
        let tiles = demand.tiles / self.tile_flops_per_ns.unwrap_or(TILES * self.flops_per_ns);
        let computing = demand.products / self.flops_per_ns + tiles + vectors + dear + demand.scalars * self.scalar_ns;
        let computing = computing.max(demand.waits * self.wait_ns);
        let moving: f64 = demand.moved.iter().map(|(bytes, set)| self.moving(*bytes, *set)).sum();
        self.kernel_ns + computing.max(moving) + APART * computing.min(moving)
    }

    /// How long bytes take that are met again among `set` bytes.
    fn moving(&self, bytes: u64, set: u64) -> f64 {
        let begins = if set > self.levels[0].bytes { 2 * bytes.min(BEGIN) } else { 0 };
        (bytes + begins) as f64 / self.read(set)
    }

    /// Bytes that arrive in a nanosecond from a working set of so many: what the nearer level holds of it comes from there.
    pub fn read(&self, set: u64) -> f64 {
        let at = self.levels.iter().position(|level| set <= level.bytes).unwrap_or(LEVELS - 1);
        let far = self.levels[at].bytes_per_ns;
        match at.checked_sub(1).map(|nearer| self.levels[nearer]) {
            Some(near) => {
                let part = near.bytes as f64 / set.max(1) as f64;
                1.0 / (part / near.bytes_per_ns + (1.0 - part) / far)
            }
            None => far,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.levels.map(|level| format!("{:.0}", level.bytes_per_ns)).join(", ");
        write!(f, "{:.0} GFLOP/s; {read} GB/s from three caches and the memory", self.flops_per_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rewriting chooses by: builds for nobody's machine in particular rest on these figures.
    #[test]
    fn the_default_machine_stays_what_it_is() {
        assert_eq!(Machine::default(), TYPICAL);
        assert_eq!((TYPICAL.flops_per_ns, TYPICAL.bytes_per_ns(), TYPICAL.kernel_ns), (100.0, 40.0, 50.0));
    }

    #[test]
    fn a_kernel_takes_the_longer_of_computing_and_moving() {
        let time = |products, moved: &[(u64, u64)]| {
            TYPICAL.kernel_time(&Demand { products, moved: moved.to_vec(), ..Demand::default() }) - TYPICAL.kernel_ns
        };
        assert_eq!(time(1e6, &[]), 1e4);
        assert_eq!(time(0.0, &[(1500, 1 << 10)]), 10.0);
        assert_eq!(time(1e6, &[(1500, 1 << 10)]), 1e4 + APART * 10.0);
        assert!(time(0.0, &[(1500, 1 << 24)]) > time(0.0, &[(1500, 1 << 16)]), "near is fast");
        assert_eq!(TYPICAL.read(u64::MAX).round(), TYPICAL.levels[LEVELS - 1].bytes_per_ns);
    }
}
