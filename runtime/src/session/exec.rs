//! A program with its memory: made ready for sizes, run as often as one likes.
#![allow(unsafe_code, reason = "calls kernels with the pointers that a program holds")]

use std::sync::{Mutex, PoisonError};

use super::counts::Counts;
use super::shares::Share;
use super::walk::{Cursor, Fault, Walk};
use super::watch::{CallTime, Watch};
use crate::format::abi::FAULT_NUMBERS;
use crate::format::{Place, Plan, abi};
use crate::memory::{ALIGN, Memory};
use crate::plan::{PrepareError, Program};
use crate::pool::{Barrier, Pool};

/// Programs whose shared calls take less than this run on the caller's thread: starting and ending a job takes the half of
/// a microsecond when all are awake.
const POOL_NS: f64 = 6_000.0;
/// Pointers in a cache line: the tables of two threads do not share one.
const LINE: usize = ALIGN / size_of::<*mut u8>();

/// A program with its memory and the pointers that its kernels get.
pub(super) struct Exec {
    pub program: Program,
    /// The function of each call.
    kernels: Vec<abi::Kernel>,
    /// Where each buffer starts.
    bases: Vec<*mut u8>,
    /// The arguments of all calls, once for each thread: moving arguments differ while threads walk.
    tables: Vec<*mut u8>,
    table_len: usize,
    /// Arguments that differ between iterations, by call.
    moving: Vec<u32>,
    moving_of: Vec<std::ops::Range<u32>>,
    /// Arguments to write again when a buffer moves, by buffer.
    fixed: Vec<u32>,
    fixed_of: Vec<std::ops::Range<u32>>,
    arena: Memory,
    scratch: Memory,
    scratch_stride: usize,
    threads: usize,
    barrier: Barrier,
    /// One for each thread.
    shares: Vec<Share>,
    /// What the first call that met an index out of range has told.
    fault: Mutex<Fault>,
    times: Vec<CallTime>,
    counts: Counts,
}

// SAFETY: nothing is reached through `&Exec` but numbers.
unsafe impl Sync for Exec {}
// SAFETY: the pointers lead to memory that `Exec` owns, or that its owner sets before each run (`set_base`) and keeps alive;
// no thread has an affinity to them.
unsafe impl Send for Exec {}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").field("program", &self.program).field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Exec {
    pub fn new() -> Self {
        Self {
            program: Program::default(),
            kernels: Vec::new(),
            bases: Vec::new(),
            tables: Vec::new(),
            table_len: 0,
            moving: Vec::new(),
            moving_of: Vec::new(),
            fixed: Vec::new(),
            fixed_of: Vec::new(),
            arena: Memory::empty(),
            scratch: Memory::empty(),
            scratch_stride: 0,
            threads: 0,
            barrier: Barrier::default(),
            shares: Vec::new(),
            fault: Mutex::new(Fault::NONE),
            times: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Evaluates `plan` for `symbols` and makes memory for it and for `threads`; memory of an earlier time is used again. Every base
    /// but the arena's must be set before a run.
    pub fn prepare(
        &mut self,
        plan: &Plan,
        functions: &[abi::Kernel],
        symbols: &[i64],
        available: &dyn Fn(Place) -> Option<u64>,
        threads: usize,
    ) -> Result<(), PrepareError> {
        self.program.evaluate(plan, symbols, available).map_err(PrepareError::Size)?;
        let program = &self.program;
        self.threads = threads.max(1);
        let told = size_of::<[i64; FAULT_NUMBERS]>();
        self.scratch_stride = (told + program.scratch_bytes as usize).next_multiple_of(ALIGN);
        let scratch = (self.scratch_stride as u64).saturating_mul(self.threads as u64);
        self.shares.resize_with(self.threads, Share::default);
        self.scratch.reserve(scratch).map_err(PrepareError::Memory)?;
        for thread in 0..self.threads {
            let start = self.scratch.start().wrapping_add(thread * self.scratch_stride);
            // SAFETY: the memory of each thread begins with so many numbers, aligned as `Memory` is.
            unsafe { start.cast::<[i64; FAULT_NUMBERS]>().write(Fault::NONE.told) };
        }
        self.arena.reserve(program.arena_bytes).map_err(PrepareError::Memory)?;
        self.kernels.clear();
        self.kernels.extend(program.calls.iter().map(|call| functions[call.kernel as usize]));
        self.times.clear();
        self.times.resize(program.calls.iter().map(|c| c.number as usize + 1).max().unwrap_or(0), CallTime::default());

        self.bases.clear();
        self.bases.resize(program.buffers.len(), std::ptr::null_mut());
        self.table_len = program.args.len().next_multiple_of(LINE) + LINE;
        self.tables.clear();
        self.tables.resize(self.table_len * self.threads, std::ptr::null_mut());
        self.moving.clear();
        self.moving_of.clear();
        for call in &program.calls {
            let start = self.moving.len() as u32;
            self.moving.extend(call.args.clone().filter(|arg| program.args[*arg as usize].moves()));
            self.moving_of.push(start..self.moving.len() as u32);
        }
        self.fixed.clear();
        self.fixed.extend((0..program.args.len() as u32).filter(|arg| !program.args[*arg as usize].moves()));
        self.fixed.sort_unstable_by_key(|arg| (program.args[*arg as usize].buffer, *arg));
        self.fixed_of.clear();
        let mut start = 0;
        for buffer in 0..program.buffers.len() as u32 {
            let of = self.fixed[start..].iter().take_while(|arg| program.args[**arg as usize].buffer == buffer).count();
            self.fixed_of.push(start as u32..(start + of) as u32);
            start += of;
        }
        for buffer in 0..self.program.buffers.len() {
            let at = self.program.buffers[buffer];
            if let Place::Arena { .. } = at.place {
                self.set_base(buffer, self.arena.start().wrapping_add(at.offset as usize));
            }
        }
        Ok(())
    }

    /// Says where a buffer stands. It must hold the bytes that `prepare` was told to be available, as long as runs follow.
    pub fn set_base(&mut self, buffer: usize, base: *mut u8) {
        if self.bases[buffer] == base {
            return;
        }
        self.bases[buffer] = base;
        let fixed = self.fixed_of[buffer].clone();
        for arg in &self.fixed[fixed.start as usize..fixed.end as usize] {
            let start = base.wrapping_offset(self.program.args[*arg as usize].offset as isize);
            for table in self.tables.chunks_exact_mut(self.table_len) {
                table[*arg as usize] = start;
            }
        }
    }

    /// Runs the program, of the entry of that number, and records what `watch` asks for. What the first call told that met
    /// an index out of range, if one did, under its number in the plan.
    ///
    /// # Safety
    /// All bases are set, to memory that nobody else writes meanwhile, nor reads where the plan writes.
    pub unsafe fn run(&mut self, pool: &Pool, watch: &mut Watch, entry: usize) -> Result<(), Box<Fault>> {
        // Calls are numbered anew.
        self.shares.fill_with(Share::default);
        let watched = watch.is_on();
        if watch.counted {
            self.counts.fit(&self.program);
        }
        let walk = Walk {
            program: &self.program,
            kernels: &self.kernels,
            bases: &self.bases,
            moving: &self.moving,
            moving_of: &self.moving_of,
            tables: self.tables.as_mut_ptr(),
            table_len: self.table_len,
            scratch: self.scratch.start(),
            scratch_stride: self.scratch_stride,
            barrier: &self.barrier,
            shares: &self.shares,
            fault: &self.fault,
            eyes: watch.eyes(&mut self.times, &mut self.counts, entry),
        };
        let mut cursor = Cursor::default();
        let mut finished = false;
        let shares = self.threads > 1 && self.program.shared_ns >= POOL_NS;
        let caller = shares.then(|| pool.enter());
        let threads = caller.as_ref().map_or(1, |caller| self.threads.min(caller.threads));
        if threads > 1 {
            if !pool.is_awake(threads) && pool.is_worth_waking(self.program.shared_ns) {
                pool.wake(threads);
                // SAFETY: the caller's promise; no other thread walks yet.
                finished = unsafe { walk.go(&mut cursor, 0, 1, watched, Some(&|| pool.is_awake(threads))) };
            }
            finished = finished
                || pool.is_awake(threads)
                    && pool.try_run(threads, &|thread| {
                        // SAFETY: the caller's promise; each thread of the job has a number of its own below `threads`.
                        unsafe { walk.go(&mut cursor.clone(), thread, threads, watched, None) };
                    });
        }
        if !finished {
            // SAFETY: the caller's promise; this is the only thread.
            unsafe { walk.go(&mut cursor, 0, 1, watched, None) };
        }
        drop(caller);
        let fault = self.fault.get_mut().unwrap_or_else(PoisonError::into_inner);
        let fault = std::mem::replace(fault, Fault::NONE);
        match self.program.calls.get(fault.call as usize) {
            None => Ok(()),
            Some(call) => Err(Box::new(Fault { call: call.number, ..fault })),
        }
    }

    /// Times by the number of a call in the plan.
    pub fn times(&self) -> &[CallTime] {
        &self.times
    }

    pub fn clear_times(&mut self) {
        self.times.fill(CallTime::default());
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn clear_counts(&mut self) {
        self.counts.clear();
    }
}
