//! The kernel ABI.

/// A CPU kernel. Computes units `begin..end` of its work.
///
/// - `args`: one pointer for each buffer, in the order of the call;
/// - `dims`: run-time sizes, in the order of the call;
/// - `scratch`: the thread's own, of the call's `scratch_bytes`, 64-byte aligned.
///
/// Returns 0, or 1 if an index that came at run time was out of range (nothing outside the buffers was touched).
/// It neither allocates nor locks, and calls nothing outside the artifact. Two calls with disjoint ranges may run at once.
pub type Kernel =
    unsafe extern "C" fn(args: *const *mut u8, dims: *const i64, begin: i64, end: i64, scratch: *mut u8) -> i32;
