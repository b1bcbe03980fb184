//! What is recorded while a program runs, when somebody asks: the time of each call, the spans of all threads, and where routers
//! send rows.
//!
//! Memory for it is made when it is switched on: a run that is watched allocates and locks no more than another.
#![allow(unsafe_code, reason = "each thread writes records of its own")]

use std::marker::PhantomData;
use std::time::Instant;

use super::counts::Counts;
use super::trace::{Span, Trace};

/// Calls and nanoseconds of one call of a plan, as thread 0 saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallTime {
    pub calls: u64,
    pub ns: u64,
}

/// What a session asked to be recorded.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub timed: bool,
    pub trace: Option<Trace>,
    pub counted: bool,
}

impl Watch {
    pub fn is_on(&self) -> bool {
        self.reads_clock() || self.counted
    }

    fn reads_clock(&self) -> bool {
        self.timed || self.trace.is_some()
    }

    /// For one run of a program with these times and counts, of the entry of that number.
    pub fn eyes<'a>(&'a mut self, times: &'a mut [CallTime], counts: &'a mut Counts, entry: usize) -> Eyes<'a> {
        let reads_clock = self.reads_clock();
        let (lanes, lane_count, since) = match &mut self.trace {
            Some(trace) => (trace.lanes.as_mut_ptr(), trace.lanes.len(), Some(trace.since)),
            None => (std::ptr::null_mut(), 0, None),
        };
        let (times, time_count) = (times.as_mut_ptr(), if self.timed { times.len() } else { 0 });
        let counts = if self.counted { counts } else { std::ptr::null_mut() };
        let entry = entry as u32;
        Eyes { reads_clock, times, time_count, lanes, lane_count, counts, since, entry, of: PhantomData }
    }
}

/// What one run writes to, as all its threads see it.
pub(super) struct Eyes<'a> {
    reads_clock: bool,
    times: *mut CallTime,
    time_count: usize,
    lanes: *mut Lane,
    lane_count: usize,
    /// Null if nothing is counted.
    counts: *mut Counts,
    /// Of the trace, if there is one.
    since: Option<Instant>,
    entry: u32,
    of: PhantomData<&'a mut Lane>,
}

/// What a thread did: units of the call of that number in the plan.
pub(super) struct Did {
    pub thread: usize,
    pub call: u32,
    /// Of the innermost loop.
    pub iteration: i64,
    /// It began with the first of the units.
    pub first: bool,
}

// SAFETY: a thread writes only its own lane, and thread 0 the times and counts (`Eyes::saw`, `Eyes::count_rows`, `Eyes::count_exits`).
unsafe impl Sync for Eyes<'_> {}

impl Eyes<'_> {
    /// When work begins; nothing if nobody wants to know.
    pub fn start(&self) -> Option<Instant> {
        self.reads_clock.then(Instant::now)
    }

    /// Is anything counted?
    pub fn counts(&self) -> bool {
        !self.counts.is_null()
    }

    /// Adds up what a router did.
    ///
    /// # Safety
    /// Only thread 0 calls this.
    pub unsafe fn count_rows(&self, router: usize, layer: usize, offsets: &[i32]) {
        // SAFETY: it is null or the session's, and only one thread comes here (the caller's promise).
        if let Some(counts) = unsafe { self.counts.as_mut() } {
            counts.add_rows(router, layer, offsets);
        }
    }

    /// Adds up the rows that have left a loop.
    ///
    /// # Safety
    /// Only thread 0 calls this.
    pub unsafe fn count_exits(&self, exits: usize, layer: usize, left: &[u8]) {
        // SAFETY: as in `count_rows`.
        if let Some(counts) = unsafe { self.counts.as_mut() } {
            counts.add_exits(exits, layer, left);
        }
    }

    /// Records work that has just ended.
    ///
    /// # Safety
    /// No two threads that run at once have the same number.
    pub unsafe fn saw(&self, did: &Did, start: Instant) {
        let ns = start.elapsed().as_nanos() as u64;
        let call = did.call as usize;
        if did.thread == 0 && call < self.time_count {
            // SAFETY: `call` is inside, and only thread 0 comes here (the caller's promise).
            let time = unsafe { &mut *self.times.add(call) };
            time.calls += u64::from(did.first);
            time.ns += ns;
        }
        if let Some(since) = self.since
            && did.thread < self.lane_count
        {
            // SAFETY: the lane is there, and only this thread's (the caller's promise).
            let lane = unsafe { &mut *self.lanes.add(did.thread) };
            let start_ns = start.saturating_duration_since(since).as_nanos() as u64;
            let (entry, thread) = (self.entry, did.thread as u32);
            lane.add(Span { entry, call: did.call, thread, iteration: did.iteration, start_ns, ns });
        }
    }
}

/// The spans of one thread. Lanes of two threads share no cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Lane {
    pub spans: Vec<Span>,
    pub room: usize,
    pub lost: u64,
}

impl Lane {
    fn add(&mut self, span: Span) {
        if self.spans.len() < self.room {
            self.spans.push(span);
        } else {
            self.lost += 1;
        }
    }
}
