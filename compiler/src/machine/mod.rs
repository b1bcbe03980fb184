//! Descriptions of machines and the roofline: the one cost model that rewriting and explanations ask.

/// What one core of a machine can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Multiply-adds count as two.
    pub flops_per_ns: f64,
    /// Bytes that arrive from the cache that holds a model's weights.
    pub bytes_per_ns: f64,
    /// What a kernel costs before it does anything.
    pub kernel_ns: f64,
}

/// A core with AVX2 or AVX-512 as servers have them: 100 GFLOP/s, 40 GB/s from the last-level cache.
pub const TYPICAL: Machine = Machine { flops_per_ns: 100.0, bytes_per_ns: 40.0, kernel_ns: 50.0 };

impl Machine {
    /// The least time for work that overlaps with its memory traffic.
    pub fn time(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops_per_ns).max(bytes / self.bytes_per_ns)
    }
}
