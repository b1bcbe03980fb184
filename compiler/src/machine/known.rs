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
    tile_flops_per_ns: None,
    levels: levels([(32, 150.0), (1024, 60.0), (32 << 10, 40.0), (MEMORY, 12.0)]),
    kernel_ns: 50.0,
    function_ns: 0.4,
    division_ns: 0.3,
    scalar_ns: 0.25,
    wait_ns: 1.2,
};

/// By name, with one line about each. What was not measured is an estimate from widths of vectors and latencies of instructions, at the clock of a server under load.
pub const KNOWN: &[(&str, &str, Machine)] = &[
    ("typical", "a server's core, the default", TYPICAL),
    ("zen5", "AMD Zen 5, measured", ZEN5),
    ("zen4", "AMD Zen 4, an estimate", ZEN4),
    ("zen3", "AMD Zen 3, measured", ZEN3),
    ("intel-avx512", "Intel with AVX-512 and AMX: a Xeon of family 6 model 207, measured", INTEL_AVX512),
    ("avx2", "a core with AVX2 and no more, an estimate", AVX2),
];

/// An EPYC of family 26.
const ZEN5: Machine = Machine {
    flops_per_ns: 273.0,
    tile_flops_per_ns: None,
    levels: levels([(64, 337.0), (512, 262.0), (16 << 10, 124.0), (MEMORY, 43.0)]),
    kernel_ns: 20.0,
    function_ns: 0.16,
    division_ns: 0.022,
    scalar_ns: 0.14,
    wait_ns: 0.5,
};

/// Two passes of 256 bits for a vector of 512.
const ZEN4: Machine = Machine {
    flops_per_ns: 118.0,
    tile_flops_per_ns: None,
    levels: levels([(32, 220.0), (1024, 110.0), (32 << 10, 60.0), (MEMORY, 25.0)]),
    kernel_ns: 25.0,
    function_ns: 0.3,
    division_ns: 0.05,
    scalar_ns: 0.15,
    wait_ns: 0.8,
};

/// An EPYC of family 25 model 1. Its second cache is hardly faster than the third: both are the second level here.
const ZEN3: Machine = Machine {
    flops_per_ns: 104.0,
    tile_flops_per_ns: None,
    levels: levels([(32, 184.0), (16 << 10, 68.0), (32 << 10, 42.0), (MEMORY, 20.0)]),
    kernel_ns: 29.0,
    function_ns: 0.54,
    division_ns: 0.078,
    scalar_ns: 0.21,
    wait_ns: 0.92,
};

/// A Xeon of family 6 model 207, a virtual machine that shares it with others.
const INTEL_AVX512: Machine = Machine {
    flops_per_ns: 171.0,
    tile_flops_per_ns: Some(1190.0),
    levels: levels([(32, 203.0), (1024, 125.0), (2048, 55.0), (MEMORY, 17.6)]),
    kernel_ns: 38.0,
    function_ns: 0.2,
    division_ns: 0.22,
    scalar_ns: 0.37,
    wait_ns: 0.78,
};

const AVX2: Machine = Machine {
    flops_per_ns: 100.0,
    tile_flops_per_ns: None,
    levels: levels([(32, 180.0), (512, 80.0), (16 << 10, 30.0), (MEMORY, 10.0)]),
    kernel_ns: 25.0,
    function_ns: 0.6,
    division_ns: 0.2,
    scalar_ns: 0.17,
    wait_ns: 1.2,
};
