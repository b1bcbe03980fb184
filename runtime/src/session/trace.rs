//! What each thread did when: spans of a timeline.

use std::time::Instant;

use super::Session;
use super::watch::Lane;

/// Units of one call of a kernel that one thread computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The entry's number in the manifest.
    pub entry: u32,
    /// The call's number in [`Session::profile`] of that entry.
    pub call: u32,
    /// 0 is the thread that calls [`Session::run`].
    pub thread: u32,
    /// Of the innermost loop around the call, counted down if it runs in reverse; 0 outside of loops.
    pub iteration: i64,
    /// Nanoseconds since [`Trace::since`].
    pub start_ns: u64,
    pub ns: u64,
}

/// The spans of all runs since the trace was switched on.
#[derive(Debug)]
pub struct Trace {
    pub(super) since: Instant,
    pub(super) lanes: Vec<Lane>,
}

impl Trace {
    fn new(threads: usize, room: usize) -> Self {
        let lane = |_| Lane { spans: Vec::with_capacity(room), room, lost: 0 };
        Self { since: Instant::now(), lanes: (0..threads).map(lane).collect() }
    }

    /// The moment from which times are counted.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Thread by thread, each in the order of time.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.lanes.iter().flat_map(|lane| &lane.spans)
    }

    /// Spans for which there was no room.
    pub fn lost(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.lost).sum()
    }
}

impl Session {
    /// Records what each thread does from now on, with room for so many spans of each thread; 0 switches it off. Each call costs two
    /// readings of the clock on each of its threads. On a GPU nothing is recorded: the host does not see its calls.
    pub fn set_traced(&mut self, spans: usize) -> &mut Self {
        self.watch.trace = (spans > 0).then(|| Trace::new(self.model.threads(), spans));
        self
    }

    /// What was recorded; none if it is switched off.
    pub fn trace(&self) -> Option<&Trace> {
        self.watch.trace.as_ref()
    }
}
