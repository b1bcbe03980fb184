//! Machines that are known by name. Figures of one core, as `gatec calibrate` found them where a comment says so.

use super::{Level, Machine};

const fn levels(figures: [(u64, f64); super::LEVELS]) -> [Level; super::LEVELS] {
    let [a, b, c, d] = figures;
    [level(a), level(b), level(c), level(d)]
}

const fn level((kib, bytes_per_ns): (u64, f64)) -> Level {
    Level { bytes: kib << 10, bytes_per_ns }
}

/// Beyond all caches.
const MEMORY: u64 = 1 << 40;

/// The machine that builds are for where nobody says which: so that the same input gives the same artifact everywhere. A core with AVX2 or
/// AVX-512 as servers have them.
pub const TYPICAL: Machine = Machine {
    flops_per_ns: 100.0,
    levels: levels([(32, 150.0), (1024, 60.0), (32 << 10, 40.0), (MEMORY, 12.0)]),
    kernel_ns: 50.0,
    function_ns: 0.4,
    division_ns: 0.3,
    scalar_ns: 0.25,
    wait_ns: 1.2,
};

/// By name, with one line about each.
pub const KNOWN: &[(&str, &str, Machine)] = &[("typical", "a server's core, the default", TYPICAL)];
