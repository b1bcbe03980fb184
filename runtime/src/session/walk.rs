//! Walks a program with all threads at once.
//!
//! Every thread goes through the same operations. A call that is worth it is shared ([`super::shares`]). Others are done by thread 0 alone. A barrier stands only between a call and one that other threads may need
//! it for. While workers wake from sleep, thread 0 goes on alone; they join where it is then. Which thread computes a unit never changes the unit's bits, so a program runs on any number of threads with
//! the same result.
#![allow(unsafe_code, reason = "calls kernels with the pointers that a program holds")]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::shares::{Share, Together};
use super::watch::{Did, Eyes};
use crate::format::abi::{self, FAULT_NUMBERS};
use crate::plan::{CallAt, MAX_LOOP_DEPTH, Op, Program};
use crate::pool::Barrier;

/// What a call has told of an index out of range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The number of the call in the program.
    pub call: u32,
    /// How many calls were met before, and the first of the units that were computed: where one thread alone would have met it first.
    pub place: (u64, i64),
    /// As the kernel wrote it ([`abi::Kernel`]).
    pub told: [i64; FAULT_NUMBERS],
    /// The iterations of the loops around the call.
    pub iterations: [i64; MAX_LOOP_DEPTH],
}

impl Fault {
    /// Behind that of any call.
    pub const NONE: Self = Self {
        call: u32::MAX,
        place: (u64::MAX, i64::MAX),
        told: [-1; FAULT_NUMBERS],
        iterations: [0; MAX_LOOP_DEPTH],
    };
}

/// One run, as all its threads see it.
pub(super) struct Walk<'a> {
    pub program: &'a Program,
    pub kernels: &'a [abi::Kernel],
    pub bases: &'a [*mut u8],
    pub moving: &'a [u32],
    pub moving_of: &'a [std::ops::Range<u32>],
    pub tables: *mut *mut u8,
    pub table_len: usize,
    pub scratch: *mut u8,
    pub scratch_stride: usize,
    pub barrier: &'a Barrier,
    pub shares: &'a [Share],
    /// What the first call that failed has told, in the order of one thread alone.
    pub fault: &'a Mutex<Fault>,
    pub eyes: Eyes<'a>,
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
pub(super) struct Cursor {
    /// The next operation.
    at: usize,
    /// Units of it that are done.
    done: i64,
    /// Shared calls that were met.
    visits: u32,
    /// All calls that were met, the same number on all threads.
    met: u64,
    depth: usize,
    frames: [Frame; MAX_LOOP_DEPTH],
    /// The iterations of the loops.
    numbers: [i64; MAX_LOOP_DEPTH],
}

impl Walk<'_> {
    /// Walks from `cursor` to the end, or until `stop` says so before shared work. `true`: to the end.
    ///
    /// # Safety
    /// As [`super::exec::Exec::run`]; every `thread` below `threads` is walking from the same place, each once. `stop` only if alone.
    pub unsafe fn go(
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
        let Cursor { at, done, visits, met, depth, frames, numbers } = cursor;
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
                    *met += 1;
                    let call = &self.program.calls[number as usize];
                    let shared = threads > 1 && call.shared;
                    if threads > 1 {
                        if unseen == Unseen::Shared || (shared && unseen == Unseen::Solo) {
                            self.barrier.wait(threads);
                        }
                        unseen = if shared { Unseen::Shared } else { Unseen::Solo };
                    }
                    if !shared && thread > 0 {
                        continue;
                    }
                    *visits = visits.wrapping_add(u32::from(shared));
                    let begin = std::mem::take(done);
                    let mut end = call.units;
                    if call.shared
                        && let Some(stop) = stop
                    {
                        if stop() {
                            (*at, *done) = (*at - 1, begin);
                            return false;
                        }
                        end = end.min(begin + call.slice);
                        if end < call.units {
                            // This operation again, for the rest.
                            (*at, *done) = (*at - 1, end);
                        }
                    }
                    let (depth, numbers) = (*depth, &*numbers);
                    let odd = depth > 0 && frames[depth - 1].odd;
                    let start = if WATCHED { self.eyes.start() } else { None };
                    let shares = &self.shares[..if shared { threads } else { 1 }];
                    let together = Together::new(shares, *visits, call, begin..end, call.turns && odd);
                    let place = |first: i64| (*met, first);
                    let run = |units: Range<i64>| {
                        let first = units.start;
                        // SAFETY: the caller's promise; `thread` walks once, so its table and scratch are its own.
                        let status = unsafe { self.call(number, call, thread, units, &numbers[..depth], odd) };
                        if status != 0 {
                            // SAFETY: the call of `thread` has ended.
                            unsafe { self.keep_fault(number, thread, place(first), &numbers[..depth]) };
                        }
                        status
                    };
                    let Some(status) = together.run(thread, run) else { continue };
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
                    // Others walk on to the next barrier and would wait there; going on is safe, for every kernel checks the indices
                    // that it reads.
                    if status != 0 && threads == 1 {
                        return true;
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

    /// Keeps what a call has told of a wrong index, of several that failed the first one. This locks: the run has failed.
    ///
    /// # Safety
    /// As [`Walk::go`], right after the call on `thread`.
    unsafe fn keep_fault(&self, call: u32, thread: usize, place: (u64, i64), numbers: &[i64]) {
        let told = self.scratch_of(thread).cast::<i64>().wrapping_sub(FAULT_NUMBERS);
        // SAFETY: so many numbers stand before the scratch of each thread (`Exec::prepare`), aligned, and a kernel has ended that wrote
        // them.
        let told = unsafe { std::mem::replace(&mut *told.cast::<[i64; FAULT_NUMBERS]>(), Fault::NONE.told) };
        let mut kept = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if place < kept.place {
            let mut iterations = [0; MAX_LOOP_DEPTH];
            iterations[..numbers.len()].copy_from_slice(numbers);
            *kept = Fault { call, place, told, iterations };
        }
    }

    /// The scratch memory of a thread.
    fn scratch_of(&self, thread: usize) -> *mut u8 {
        self.scratch.wrapping_add(thread * self.scratch_stride + size_of::<[i64; FAULT_NUMBERS]>())
    }

    /// # Safety
    /// As [`Walk::go`]; no other call uses the table of `thread`.
    #[inline(always)]
    unsafe fn call(
        &self,
        number: u32,
        call: &CallAt,
        thread: usize,
        units: Range<i64>,
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
        let scratch = self.scratch_of(thread);
        // SAFETY: `kernel` lies in code whose hash and ABI version `open` checked, which stays mapped as long as the model; the numbers
        // of arguments and sizes are the kernel's (`open`), each pointer lies in its buffer (`Program::arg`), and the buffers are
        // live (the caller).
        unsafe { kernel(args.cast_const(), dims, units.start, units.end, scratch) }
    }
}
