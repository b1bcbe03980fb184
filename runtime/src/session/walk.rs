//! Walks a program with all threads at once.
//!
//! Every thread goes through the same operations. A call that is worth it is shared: each thread computes its contiguous part
//! of the units. Others are done by thread 0 alone. A barrier stands only between a call and one that other threads may need
//! it for. While workers wake from sleep, thread 0 goes on alone; they join where it is then. Which thread computes a unit never changes the unit's bits, so a program runs on any number of threads with
//! the same result.
#![allow(unsafe_code, reason = "calls kernels with the pointers that a program holds")]

use std::sync::atomic::{AtomicU32, Ordering};

use super::counts::Counts;
use super::watch::{CallTime, Did, Eyes, Watch};
use crate::format::{Place, Plan, abi};
use crate::memory::{ALIGN, Memory};
use crate::plan::{CallAt, MAX_LOOP_DEPTH, Op, PrepareError, Program};
use crate::pool::{Barrier, Pool};

/// Programs whose shared calls take less than this run on the caller's thread: starting and ending a job takes the half of
/// a microsecond when all are awake.
const POOL_NS: f64 = 6_000.0;
/// Pieces of a share that is gone through backwards.
const PIECES: usize = 8;
/// Pointers in a cache line: the tables of two threads do not share one.
const LINE: usize = ALIGN / size_of::<*mut u8>();
/// No call failed.
const NONE: u32 = u32::MAX;

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
    /// The first call that met an index out of range.
    failed: AtomicU32,
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
            failed: AtomicU32::new(NONE),
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
        self.scratch_stride = (program.scratch_bytes as usize).next_multiple_of(ALIGN);
        let scratch = (self.scratch_stride as u64).saturating_mul(self.threads as u64);
        self.scratch.reserve(scratch).map_err(PrepareError::Memory)?;
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

    /// Runs the program, of the entry of that number, and records what `watch` asks for. The number of the call (in the plan) that
    /// met an index out of range, if one did.
    ///
    /// # Safety
    /// All bases are set, to memory that nobody else writes meanwhile, nor reads where the plan writes.
    pub unsafe fn run(&mut self, pool: &Pool, watch: &mut Watch, entry: usize) -> Result<(), u32> {
        *self.failed.get_mut() = NONE;
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
            failed: &self.failed,
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
        match *self.failed.get_mut() {
            NONE => Ok(()),
            call => Err(self.program.calls[call as usize].number),
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

/// One run, as all its threads see it.
struct Walk<'a> {
    program: &'a Program,
    kernels: &'a [abi::Kernel],
    bases: &'a [*mut u8],
    moving: &'a [u32],
    moving_of: &'a [std::ops::Range<u32>],
    tables: *mut *mut u8,
    table_len: usize,
    scratch: *mut u8,
    scratch_stride: usize,
    barrier: &'a Barrier,
    failed: &'a AtomicU32,
    eyes: Eyes<'a>,
}

// SAFETY: a thread writes only its own table and scratch; what kernels write is disjoint by their
// units, and a barrier stands before another thread reads it.
unsafe impl Sync for Walk<'_> {}

/// What threads may not have seen yet.
#[derive(Clone, Copy, PartialEq)]
enum Unseen {
    Nothing,
    /// Work of thread 0.
    Solo,
    /// Work of all.
    Shared,
}

#[derive(Clone, Copy, Default)]
struct Frame {
    /// The first operation of the body.
    start: usize,
    left: i64,
    step: i64,
    odd: bool,
}

/// Where a walk stands.
#[derive(Clone, Default)]
struct Cursor {
    /// The next operation.
    at: usize,
    /// Units of it that are done.
    done: i64,
    depth: usize,
    frames: [Frame; MAX_LOOP_DEPTH],
    /// The iterations of the loops.
    numbers: [i64; MAX_LOOP_DEPTH],
}

impl Walk<'_> {
    /// Walks from `cursor` to the end, or until `stop` says so before shared work. `true`: to the end.
    ///
    /// # Safety
    /// As [`Exec::run`]; every `thread` below `threads` is walking from the same place, each once. `stop` only if alone.
    unsafe fn go(
        &self,
        cursor: &mut Cursor,
        thread: usize,
        threads: usize,
        watched: bool,
        stop: Option<&dyn Fn() -> bool>,
    ) -> bool {
        if watched {
            // SAFETY: the caller's promise.
            unsafe { self.walk::<true>(cursor, thread, threads, stop) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.walk::<false>(cursor, thread, threads, stop) }
        }
    }

    /// # Safety
    /// As [`Walk::go`].
    unsafe fn walk<const WATCHED: bool>(
        &self,
        cursor: &mut Cursor,
        thread: usize,
        threads: usize,
        stop: Option<&dyn Fn() -> bool>,
    ) -> bool {
        let Cursor { at, done, depth, frames, numbers } = cursor;
        let mut unseen = Unseen::Nothing;
        while let Some(op) = self.program.ops.get(*at) {
            *at += 1;
            match *op {
                Op::Loop { count, reverse } => {
                    let (first, step) = if reverse { (count - 1, -1) } else { (0, 1) };
                    frames[*depth] = Frame { start: *at, left: count - 1, step, odd: false };
                    numbers[*depth] = first;
                    *depth += 1;
                }
                Op::End(exits) => {
                    if WATCHED
                        && let Some(exits) = exits
                        && self.eyes.counts()
                    {
                        // Every thread comes here, with the same in mind.
                        if threads > 1 && unseen == Unseen::Shared {
                            self.barrier.wait(threads);
                            unseen = Unseen::Nothing;
                        }
                        if thread == 0 {
                            // SAFETY: the iteration has ended on all threads; `depth` loops are open.
                            unsafe { self.count_exits(exits, &numbers[..*depth], frames[*depth - 1].odd) };
                        }
                    }
                    let frame = &mut frames[*depth - 1];
                    if frame.left > 0 {
                        frame.left -= 1;
                        frame.odd = !frame.odd;
                        numbers[*depth - 1] += frame.step;
                        *at = frame.start;
                    } else {
                        *depth -= 1;
                    }
                }
                Op::When { arg, is, end } => {
                    // Each thread looks: after the kernel that leaves the flag, and before one that writes it again.
                    if threads > 1 && unseen != Unseen::Nothing {
                        self.barrier.wait(threads);
                    }
                    unseen = Unseen::Shared;
                    let odd = *depth > 0 && frames[*depth - 1].odd;
                    // SAFETY: all threads have passed the barrier; `depth` loops are open.
                    if unsafe { self.flag(arg, &numbers[..*depth], odd) } != is {
                        *at = end as usize;
                    }
                }
                Op::Call(number) => {
                    let call = &self.program.calls[number as usize];
                    let shared = threads > 1 && call.shared;
                    if threads > 1 {
                        if unseen == Unseen::Shared || (shared && unseen == Unseen::Solo) {
                            self.barrier.wait(threads);
                        }
                        unseen = if shared { Unseen::Shared } else { Unseen::Solo };
                    }
                    let begin = std::mem::take(done);
                    let mut part = match (shared, thread) {
                        (true, _) => part(begin, call.units, thread, threads),
                        (false, 0) => (begin, call.units),
                        (false, _) => continue,
                    };
                    if call.shared
                        && let Some(stop) = stop
                    {
                        if stop() {
                            (*at, *done) = (*at - 1, begin);
                            return false;
                        }
                        part.1 = part.1.min(begin + call.slice);
                        if part.1 < call.units {
                            // This operation again, for the rest.
                            (*at, *done) = (*at - 1, part.1);
                        }
                    }
                    if part.0 == part.1 {
                        continue;
                    }
                    let (depth, numbers) = (*depth, &*numbers);
                    let odd = depth > 0 && frames[depth - 1].odd;
                    let start = if WATCHED { self.eyes.start() } else { None };
                    // SAFETY: the caller's promise; `thread` walks once, so its table and scratch are its own.
                    let status = unsafe { self.call(number, call, thread, part, &numbers[..depth], odd) };
                    if let Some(start) = start {
                        let iteration = if depth > 0 { numbers[depth - 1] } else { 0 };
                        // SAFETY: `thread` walks once.
                        unsafe {
                            self.eyes.saw(&Did { thread, call: call.number, iteration, first: begin == 0 }, start)
                        };
                    }
                    if WATCHED
                        && thread == 0
                        && status == 0
                        && let Some(router) = call.router
                    {
                        // SAFETY: as above; the call has ended, and one unit is no other thread's.
                        unsafe { self.count(router, &numbers[..depth]) };
                    }
                    if status != 0 {
                        self.failed.fetch_min(number, Ordering::Relaxed);
                        // Others walk on to the next barrier and would wait there; going on is safe, for every kernel checks
                        // the indices that it reads.
                        if threads == 1 {
                            return true;
                        }
                    }
                }
            }
        }
        true
    }

    /// The byte at an argument.
    ///
    /// # Safety
    /// As [`Walk::go`]; nobody writes it meanwhile.
    unsafe fn flag(&self, arg: u32, numbers: &[i64], odd: bool) -> bool {
        let at = &self.program.args[arg as usize];
        let by = self.program.displacement(at, numbers, odd);
        // SAFETY: a byte stands there in every iteration (`Program::arg`), in memory that kernels have written, that the caller gave,
        // or that was zero from the start.
        unsafe { *self.bases[at.buffer as usize].wrapping_offset(by as isize) != 0 }
    }

    /// Adds up what a call left about a router.
    ///
    /// # Safety
    /// As [`Walk::go`], on thread 0, right after the call.
    unsafe fn count(&self, router: u32, numbers: &[i64]) {
        let at = &self.program.routers[router as usize];
        let layer: i64 = at.strides.iter().zip(numbers).map(|(stride, number)| stride * number).sum();
        // SAFETY: the table has a place for each argument.
        let start = unsafe { *self.tables.add(at.arg as usize) };
        // SAFETY: so many numbers stand there, aligned, in memory that the program owns (`Program::router`) and that kernels have
        // written, or that was zero from the start; nobody writes until this thread goes on.
        let offsets = unsafe { std::slice::from_raw_parts(start.cast::<i32>(), at.segments + 1) };
        // SAFETY: the caller's promise.
        unsafe { self.eyes.count_rows(router as usize, layer as usize, offsets) };
    }

    /// Adds up the rows that have left a loop.
    ///
    /// # Safety
    /// As [`Walk::go`], on thread 0, after an iteration of the loop with these `numbers`.
    unsafe fn count_exits(&self, exits: u32, numbers: &[i64], odd: bool) {
        let about = &self.program.exits[exits as usize];
        let at = &self.program.args[about.arg as usize];
        let start =
            self.bases[at.buffer as usize].wrapping_offset(self.program.displacement(at, numbers, odd) as isize);
        // SAFETY: so many bytes stand there in either half, in memory that the program owns (`Program::exits`) and that kernels have
        // written, or that was zero from the start; nobody writes this half until this thread passes the next barrier.
        let left = unsafe { std::slice::from_raw_parts(start, about.rows) };
        let layer: i64 = about.strides.iter().zip(numbers).map(|(stride, number)| stride * number).sum();
        // SAFETY: the caller's promise.
        unsafe { self.eyes.count_exits(exits as usize, layer as usize, left) };
    }

    /// # Safety
    /// As [`Walk::go`]; no other call uses the table of `thread`.
    #[inline(always)]
    unsafe fn call(
        &self,
        number: u32,
        call: &CallAt,
        thread: usize,
        part: (i64, i64),
        numbers: &[i64],
        odd: bool,
    ) -> i32 {
        // SAFETY: there is a table for each thread.
        let table = unsafe { self.tables.add(thread * self.table_len) };
        let moving = &self.moving_of[number as usize];
        for arg in &self.moving[moving.start as usize..moving.end as usize] {
            let at = &self.program.args[*arg as usize];
            let by = self.program.displacement(at, numbers, odd);
            // SAFETY: the table has a place for each argument.
            unsafe { *table.add(*arg as usize) = self.bases[at.buffer as usize].wrapping_offset(by as isize) };
        }
        let kernel = self.kernels[number as usize];
        // SAFETY: as above, for the first argument of the call.
        let args = unsafe { table.add(call.args.start as usize) };
        // SAFETY: `dims` of the call are a range of the program's.
        let dims = unsafe { self.program.dims.as_ptr().add(call.dims.start as usize) };
        // SAFETY: there is scratch of `scratch_stride` bytes for each thread.
        let scratch = unsafe { self.scratch.add(thread * self.scratch_stride) };
        let run = |(begin, end): (i64, i64)| {
            // SAFETY: `kernel` lies in code whose hash and ABI version `open` checked, which stays mapped as long as the model;
            // the numbers of arguments and sizes are the kernel's (`open`), each pointer lies in its buffer (`Program::arg`),
            // and the buffers are live (the caller).
            unsafe { kernel(args.cast_const(), dims, begin, end, scratch) }
        };
        if call.turns && odd {
            // Backwards, piece by piece.
            return (0..PIECES).rev().map(|piece| run(self::part(part.0, part.1, piece, PIECES))).fold(0, i32::max);
        }
        run(part)
    }
}

/// The units of one thread: contiguous, and the same at each call, so that a thread meets what it left in its cache.
fn part(begin: i64, end: i64, thread: usize, threads: usize) -> (i64, i64) {
    let units = end - begin;
    let (each, rest) = (units / threads as i64, units % threads as i64);
    let cut = |t: i64| begin + each * t + t.min(rest);
    (cut(thread as i64), cut(thread as i64 + 1))
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn parts_cover_all_units_once() {
        for (begin, end, threads) in [(0, 0, 2), (0, 1, 2), (2, 7, 2), (0, 7, 7), (0, 3, 7), (5, i64::MAX, 5)] {
            let mut next = begin;
            for thread in 0..threads {
                let (from, to) = part(begin, end, thread, threads);
                assert!(from == next && to >= from);
                next = to;
            }
            assert_eq!(next, end);
        }
    }
}
