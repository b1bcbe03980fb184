//! Aligned memory whose end may be read past: what every buffer of a plan lives in.
#![allow(unsafe_code, reason = "allocates by hand: vectors need 64-byte alignment and a readable tail")]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of every buffer: a cache line, and the widest vector.
pub(crate) const ALIGN: usize = 64;
/// Bytes that may be read past a buffer's end: one vector.
pub(crate) const TAIL: usize = 64;
/// From this size on, memory is aligned to huge pages and the kernel is asked for them: packed weights that are streamed
/// would otherwise miss the TLB on every 4 KiB.
const HUGE: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;

/// A block of bytes, zero at first. It only grows.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    /// The usable size; the layout holds [`TAIL`] more.
    bytes: usize,
    layout: Option<Layout>,
}

/// The system had no memory of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    pub bytes: u64,
}

// SAFETY: `Memory` owns its block as `Vec<u8>` would; access through `&self` and `&mut self` follows the usual rules, and
// `start` hands out a pointer whose use is the caller's to justify.
unsafe impl Send for Memory {}
// SAFETY: as above: `&Memory` gives shared bytes or a pointer only.
unsafe impl Sync for Memory {}

impl Memory {
    /// No bytes; its pointer is aligned and must not be read.
    pub(crate) const fn empty() -> Self {
        // 64 is not zero.
        Self { start: NonNull::without_provenance(std::num::NonZero::new(ALIGN).unwrap()), bytes: 0, layout: None }
    }

    pub(crate) fn zeroed(bytes: u64) -> Result<Self, OutOfMemory> {
        let refused = OutOfMemory { bytes };
        let usable = usize::try_from(bytes).map_err(|_| refused)?;
        let huge = usable >= HUGE;
        let align = if huge { HUGE_PAGE } else { ALIGN };
        let size = usable.checked_add(TAIL).ok_or(refused)?;
        let layout = Layout::from_size_align(size, align).map_err(|_| refused)?;
        // SAFETY: the layout's size is at least `TAIL`, so not zero.
        let start = NonNull::new(unsafe { if huge { alloc(layout) } else { alloc_zeroed(layout) } }).ok_or(refused)?;
        if huge {
            // Before anything is written: what a page is, is decided when it is first touched.
            advise_huge_pages(start, size);
            // SAFETY: the allocation has `size` bytes.
            unsafe { start.write_bytes(0, size) };
        }
        Ok(Self { start, bytes: usable, layout: Some(layout) })
    }

    /// Makes sure of `bytes` usable bytes. What was there is lost if that needs new memory.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        if bytes > self.bytes as u64 || self.layout.is_none() {
            // The old block goes first: two of them at once may not fit.
            *self = Self::empty();
            *self = Self::zeroed(bytes)?;
        }
        Ok(())
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The first `bytes` bytes; fewer if there are fewer.
    pub(crate) fn bytes(&self, bytes: usize) -> &[u8] {
        // SAFETY: the block holds `self.bytes` initialised bytes (zeroed when made), or the length is 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), bytes.min(self.bytes)) }
    }

    /// The first `bytes` bytes; fewer if there are fewer.
    pub(crate) fn bytes_mut(&mut self, bytes: usize) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), bytes.min(self.bytes)) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(layout) = self.layout {
            // SAFETY: `start` came from the allocator with this layout, and is freed once.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

#[cfg(target_os = "linux")]
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is one live allocation that starts at a page; the advice changes no contents. A refusal costs speed
    // only, so the answer is not looked at.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_: NonNull<u8>, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_grows() {
        let mut memory = Memory::zeroed(100).unwrap();
        assert_eq!(memory.start() as usize % ALIGN, 0);
        assert!(memory.bytes(100).iter().all(|b| *b == 0));
        memory.bytes_mut(100)[0] = 7;
        memory.reserve(50).unwrap();
        assert_eq!(memory.bytes(1), [7]);
        memory.reserve(HUGE as u64).unwrap();
        assert_eq!(memory.bytes(1), [0]);
        assert_eq!(memory.start() as usize % HUGE_PAGE, 0);
    }

    #[test]
    fn a_size_beyond_all_memory_is_refused() {
        assert_eq!(Memory::zeroed(u64::MAX).unwrap_err(), OutOfMemory { bytes: u64::MAX });
        assert!(Memory::zeroed(1 << 62).is_err());
        assert_eq!(Memory::empty().bytes(10), [0u8; 0]);
    }
}
