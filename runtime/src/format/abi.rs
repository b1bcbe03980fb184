//! The kernel ABI: for CPUs a function type, for GPUs the parameters of a PTX entry.

/// A CPU kernel. Computes units `begin..end` of its work.
///
/// - `args`: one pointer for each buffer, in the order of the call;
/// - `dims`: run-time sizes, in the order of the call;
/// - `scratch`: the thread's own, of the call's `scratch_bytes`, 64-byte aligned; before it stand [`FAULT_NUMBERS`] more numbers, an `i64` each.
///
/// Returns 0, or 1 if an index that came at run time was out of range (nothing outside the buffers was touched). Of the first such
/// index it then writes before `scratch` the number of its [`Check`](super::Check) and what it is, and behind these the
/// loop variables that the check names, each at its number; -1 for one that has no value there.
/// It neither allocates nor locks, and calls nothing outside the artifact. Two calls with disjoint ranges may run at once.
pub type Kernel =
    unsafe extern "C" fn(args: *const *mut u8, dims: *const i64, begin: i64, end: i64, scratch: *mut u8) -> i32;

/// The parameters of a GPU kernel, a `.visible .entry` of PTX, each 8 bytes wide, in this order:
///
/// - one global address for each buffer, in the order of the call;
/// - run-time sizes, in the order of the call;
/// - `begin`: the unit of the first block; block `b` (`%ctaid.x`) computes unit `begin + b`;
/// - `scratch`: a global address; block `b` has the call's `scratch_bytes` from `scratch + b * scratch_bytes` on, 64-byte aligned
///   if that number is a multiple of 64;
/// - `failed`: the global address of an `i32`; a kernel that meets an index out of range stores 1 there, and touches
///   nothing outside the buffers.
///
/// The grid is one-dimensional, a block has [`Launch::threads`](super::Launch::threads) threads in one dimension and
/// [`Launch::shared_bytes`](super::Launch::shared_bytes) of dynamic shared memory. This many parameters follow the sizes.
pub const GPU_EXTRA_PARAMETERS: usize = 3;

/// What a CPU kernel tells of an index out of range: a check, a value, and loop variables.
pub const FAULT_NUMBERS: usize = 16;
/// Of these, the ones before the loop variables.
pub const FAULT_VARS: usize = 2;
