//! A plan with all its sizes known: what the walker walks.
//!
//! Binding evaluates every size once. It also proves what the walker relies on: each pointer that a kernel gets lies in its
//! buffer, in every iteration of the loops around it.

mod arena;
mod need;

use std::ops::Range;

use crate::format::{Arg, Call, Exits, MAX_BYTES, Place, Plan, Routing, SizeExpr, Step};
use crate::memory::OutOfMemory;
use arena::{Interval, place};
pub use need::{Need, need};

/// Work of this many nanoseconds is shared out between threads; less is done by one. Half of it must outweigh two barriers
/// (0.1 microseconds each on a warm pool) and the cache lines that move to another core. Measured on two cores, awake: calls
/// of 0.65 microseconds took 0.6 of one thread's time, of 1.5 microseconds 0.55; less is left on a busy machine.
const SHARE_NS: f64 = 2_000.0;
/// A caller that waits for workers to wake looks for them after this much work.
const SLICE_NS: f64 = 50_000.0;
/// A call that reads more than this anew in every iteration of a loop finds little of it in the nearest cache again: half of
/// the smallest second-level cache in use.
const NEAR_BYTES: u64 = 256 * 1024;
/// Nesting that `open` accepts.
pub(crate) use crate::open::MAX_LOOP_DEPTH;

#[derive(Debug, Default)]
pub(crate) struct Program {
    pub ops: Vec<Op>,
    pub calls: Vec<CallAt>,
    pub args: Vec<ArgAt>,
    strides: Vec<i64>,
    pub dims: Vec<i64>,
    pub buffers: Vec<BufferAt>,
    pub routers: Vec<RouterAt>,
    pub exits: Vec<ExitsAt>,
    pub arena_bytes: u64,
    /// Of one thread, for the call that needs most.
    pub scratch_bytes: u64,
    /// Estimated time of all calls that are shared out, on one thread.
    pub shared_ns: f64,
    intervals: Vec<Interval>,
    /// Loops with exits that were met.
    loops: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Call(u32),
    /// Its body are the operations up to its [`Op::End`]. `count` is positive.
    Loop {
        count: i64,
        reverse: bool,
    },
    /// With the number of the loop's [`Program::exits`].
    End(Option<u32>),
    /// The operations before `end` run if the byte at an argument says so.
    When {
        arg: u32,
        is: bool,
        end: u32,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct CallAt {
    pub kernel: u32,
    /// Its place in the plan, loops unfolded once: for profiles.
    pub number: u32,
    pub args: Range<u32>,
    pub dims: Range<u32>,
    /// Positive.
    pub units: i64,
    pub shared: bool,
    /// In a loop: every second iteration goes through the units backwards, and so meets first what the one before left in the
    /// cache.
    pub turns: bool,
    /// Units that take about [`SLICE_NS`].
    pub slice: i64,
    /// Its number in [`Program::routers`], if it says something about one.
    pub router: Option<u32>,
}

/// Where a call leaves how many rows each expert got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouterAt {
    /// The number of the call in the plan.
    pub call: u32,
    /// Of [`Program::args`]: `segments + 1` numbers stand there, in every iteration.
    pub arg: u32,
    /// The experts, and the rows of none.
    pub segments: usize,
    /// Iterations of the loops around that are counted apart: all, or one that stands for all.
    pub layers: usize,
    /// From the numbers of the loops around to a layer.
    pub strides: [i64; MAX_LOOP_DEPTH],
}

/// Where the flags of rows that have left a loop stand after each of its iterations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExitsAt {
    /// Its number among the loops of the plan that have exits, each before those within.
    pub number: u32,
    /// Of [`Program::args`].
    pub arg: u32,
    pub rows: usize,
    /// Iterations of all loops around, and of the loop itself.
    pub layers: usize,
    pub count: usize,
    /// From the numbers of the loops around to a layer.
    pub strides: [i64; MAX_LOOP_DEPTH],
}

/// Iterations that are counted apart: layers of a network are, not the steps of a sequence.
const MOST_LAYERS: i64 = 256;

#[derive(Clone, Debug)]
pub(crate) struct ArgAt {
    pub buffer: u32,
    pub offset: i64,
    pub odd: i64,
    strides: Range<u32>,
}

impl ArgAt {
    /// Does it differ between iterations?
    pub fn moves(&self) -> bool {
        self.odd != 0 || !self.strides.is_empty()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferAt {
    pub place: Place,
    /// Within the arena; 0 for others.
    pub offset: u64,
    pub bytes: u64,
}

/// Why a plan cannot be made ready.
#[derive(Debug)]
pub(crate) enum PrepareError {
    Size(SizeFault),
    Memory(OutOfMemory),
    #[cfg(feature = "cuda")]
    Device(crate::cuda::CudaError),
}

/// Why sizes do not work out. A right artifact has the first only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SizeFault {
    pub what: String,
}

fn fault(what: impl Into<String>) -> SizeFault {
    SizeFault { what: what.into() }
}

/// A loop around the step at hand.
#[derive(Clone, Copy)]
struct Around<'a> {
    counts: &'a [i64],
    /// How often the step runs, for the estimate of time.
    times: f64,
}

impl Program {
    /// Evaluates `plan`. `available` tells how many bytes stand behind a place that is not the arena's. Memory of an earlier
    /// evaluation is used again.
    pub fn evaluate(
        &mut self,
        plan: &Plan,
        symbols: &[i64],
        available: &dyn Fn(Place) -> Option<u64>,
    ) -> Result<(), SizeFault> {
        self.ops.clear();
        self.calls.clear();
        self.args.clear();
        self.strides.clear();
        self.dims.clear();
        self.buffers.clear();
        self.intervals.clear();
        self.routers.clear();
        self.exits.clear();
        (self.scratch_bytes, self.shared_ns, self.loops) = (0, 0.0, 0);
        for (i, buffer) in plan.buffers.iter().enumerate() {
            let name = || format!("buffer `{}`", buffer.name);
            let bytes = bytes(&buffer.bytes, symbols).ok_or_else(|| fault(name()))?;
            if let Place::Arena { from, to } = buffer.place {
                self.intervals.push(Interval { buffer: i as u32, from, to, bytes, offset: 0 });
            } else if available(buffer.place).is_none_or(|have| bytes > have) {
                return Err(fault(format!("{} of {bytes} bytes, more than {:?} has", name(), buffer.place)));
            }
            self.buffers.push(BufferAt { place: buffer.place, offset: 0, bytes });
        }
        self.arena_bytes = place(&mut self.intervals).filter(|n| *n <= MAX_BYTES).ok_or_else(|| fault("the arena"))?;
        for interval in &self.intervals {
            self.buffers[interval.buffer as usize].offset = interval.offset;
        }
        let mut number = 0;
        self.steps(&plan.steps, symbols, Around { counts: &[], times: 1.0 }, &mut number)
    }

    /// Nesting is bounded (`open`), so is this recursion.
    fn steps(&mut self, steps: &[Step], symbols: &[i64], around: Around, number: &mut u32) -> Result<(), SizeFault> {
        // The operation of the step before, if that looked at a flag: one look serves all that follow by the same.
        let mut looked: Option<(&Arg, bool, usize)> = None;
        for step in steps {
            let before = looked.take();
            match step {
                Step::When { flag, is, body } => {
                    let known = before.filter(|(before, was, _)| *before == flag && was == is).map(|(.., op)| op);
                    // Nothing runs in a loop without iterations.
                    let op = match known {
                        Some(op) => op,
                        None if around.counts.contains(&0) => self.ops.len(),
                        None => {
                            self.arg(flag, symbols, around.counts, 1).ok_or_else(|| fault("a flag"))?;
                            let arg = self.args.len() as u32 - 1;
                            self.ops.push(Op::When { arg, is: *is, end: 0 });
                            self.ops.len() - 1
                        }
                    };
                    self.steps(body, symbols, around, number)?;
                    let after = self.ops.len() as u32;
                    if let Some(Op::When { end, .. }) = self.ops.get_mut(op) {
                        *end = after;
                        looked = Some((flag, *is, op));
                    }
                }
                Step::Call(call) => {
                    self.call(call, symbols, around, *number)?;
                    *number += 1;
                }
                Step::Loop { count, reverse, body, exits } => {
                    let count = count.eval(symbols).filter(|n| *n >= 0).ok_or_else(|| fault("the count of a loop"))?;
                    let depth = around.counts.len();
                    let mut counts = [0; MAX_LOOP_DEPTH];
                    let inner = counts.get_mut(..=depth).ok_or_else(|| fault("the nesting of loops"))?;
                    inner[..depth].copy_from_slice(around.counts);
                    inner[depth] = count;
                    let loop_number = self.loops;
                    self.loops += u32::from(exits.is_some());
                    let start = self.ops.len();
                    self.ops.push(Op::Loop { count, reverse: *reverse });
                    let around = Around { counts: inner, times: around.times * count as f64 };
                    self.steps(body, symbols, around, number)?;
                    if self.ops.len() == start + 1 || count == 0 {
                        self.ops.truncate(start);
                    } else {
                        let exits = match exits {
                            Some(exits) => self.exits(exits, loop_number, symbols, around.counts)?,
                            None => None,
                        };
                        self.ops.push(Op::End(exits));
                    }
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &Call, symbols: &[i64], around: Around, number: u32) -> Result<(), SizeFault> {
        let name = |what: &str| fault(format!("{what} of a call of kernel {}", call.kernel));
        let units = call.units.eval(symbols).filter(|n| *n >= 0).ok_or_else(|| name("the units"))?;
        let scratch = bytes(&call.scratch_bytes, symbols).ok_or_else(|| name("the scratch"))?;
        if units == 0 || around.counts.contains(&0) {
            return Ok(());
        }
        let (args, dims) = (self.args.len() as u32, self.dims.len() as u32);
        for dim in &call.dims {
            self.dims.push(dim.eval(symbols).ok_or_else(|| name("a size"))?);
        }
        for arg in &call.args {
            self.arg(arg, symbols, around.counts, 0).ok_or_else(|| name("a buffer"))?;
        }
        self.scratch_bytes = self.scratch_bytes.max(scratch);
        let ns = units as f64 * f64::from(call.unit_ns);
        let shared = units > 1 && ns >= SHARE_NS;
        if shared {
            self.shared_ns += ns * around.times;
        }
        self.ops.push(Op::Call(self.calls.len() as u32));
        let (args, dims) = (args..self.args.len() as u32, dims..self.dims.len() as u32);
        let slice = (SLICE_NS / f64::from(call.unit_ns)).clamp(1.0, units as f64) as i64;
        let same = self.args[args.start as usize..args.end as usize].iter().filter(|arg| !arg.moves());
        let turns = !around.counts.is_empty()
            && units > 1
            && same.map(|arg| self.buffers[arg.buffer as usize].bytes).sum::<u64>() > NEAR_BYTES;
        let router = match &call.routing {
            Some(routing) if units == 1 => {
                let router = self.router(routing, symbols, around.counts, args.clone());
                self.routers.push(RouterAt { call: number, ..router.ok_or_else(|| name("what is counted"))? });
                Some(self.routers.len() as u32 - 1)
            }
            Some(_) => return Err(name("what is counted")),
            None => None,
        };
        self.calls.push(CallAt { kernel: call.kernel, number, args, dims, units, shared, turns, slice, router });
        Ok(())
    }

    /// Where a call leaves its counts; `None` if they would not stand in its buffer.
    fn router(&self, routing: &Routing, symbols: &[i64], counts: &[i64], args: Range<u32>) -> Option<RouterAt> {
        let arg = args.start.checked_add(routing.offsets).filter(|arg| *arg < args.end)?;
        let at = &self.args[arg as usize];
        let experts = routing.experts.eval(symbols).filter(|n| *n >= 0)?;
        let segments = experts.checked_add(i64::from(routing.last_is_none))?;
        let end = segments.checked_add(1)?.checked_mul(4)?.checked_add(at.offset)?;
        let buffer = &self.buffers[at.buffer as usize];
        if at.moves() || at.offset % 4 != 0 || !is_own(buffer.place) || end as u64 > buffer.bytes {
            return None;
        }
        let (strides, layers) = layers(counts).unwrap_or(([0; MAX_LOOP_DEPTH], 1));
        Some(RouterAt { call: 0, arg, segments: segments as usize, layers, strides })
    }

    /// Adds what is counted after each iteration of a loop, the innermost of `counts`; nothing for too many iterations.
    fn exits(&mut self, exits: &Exits, number: u32, symbols: &[i64], counts: &[i64]) -> Result<Option<u32>, SizeFault> {
        let wrong = || fault("what is counted of a loop");
        let (Some((strides, layers)), Some(count)) = (layers(counts), counts.last()) else { return Ok(None) };
        let arg = self.args.len() as u32;
        self.arg(&exits.left, symbols, counts, 0).ok_or_else(wrong)?;
        let (at, rows) = (&self.args[arg as usize], exits.rows.eval(symbols).filter(|n| *n >= 0).ok_or_else(wrong)?);
        let buffer = &self.buffers[at.buffer as usize];
        let end = at.offset.checked_add(at.odd.max(0)).and_then(|end| end.checked_add(rows));
        if !at.strides.is_empty() || !is_own(buffer.place) || end.is_none_or(|end| end as u64 > buffer.bytes) {
            return Err(wrong());
        }
        self.exits.push(ExitsAt { number, arg, rows: rows as usize, layers, count: *count as usize, strides });
        Ok(Some(self.exits.len() as u32 - 1))
    }

    /// Adds an argument; `None` if it would leave its buffer in some iteration, or so many bytes behind it would.
    fn arg(&mut self, arg: &Arg, symbols: &[i64], counts: &[i64], least: u64) -> Option<()> {
        if self.buffers.get(arg.buffer as usize)?.bytes == 0 && least == 0 {
            // Nothing is read or written there, wherever an empty axis' neighbours would lead.
            let start = self.strides.len() as u32;
            self.args.push(ArgAt { buffer: arg.buffer, offset: 0, odd: 0, strides: start..start });
            return Some(());
        }
        let offset = arg.offset.eval(symbols)?;
        let odd = arg.odd.eval(symbols)?;
        let odd = if counts.last().is_some_and(|count| *count > 1) { odd } else { 0 };
        let start = self.strides.len();
        let (mut low, mut high) = (offset.checked_add(odd.min(0))?, offset.checked_add(odd.max(0))?);
        for (stride, count) in arg.strides.iter().zip(counts) {
            let stride = stride.eval(symbols)?;
            let last = stride.checked_mul(count - 1)?;
            (low, high) = (low.checked_add(last.min(0))?, high.checked_add(last.max(0))?);
            self.strides.push(stride);
        }
        // Trailing zeros move nothing.
        while self.strides.len() > start && self.strides.last() == Some(&0) {
            self.strides.pop();
        }
        let bytes = self.buffers.get(arg.buffer as usize)?.bytes;
        if low < 0 || (high as u64).checked_add(least)? > bytes {
            return None;
        }
        self.args.push(ArgAt { buffer: arg.buffer, offset, odd, strides: start as u32..self.strides.len() as u32 });
        Some(())
    }

    /// Where `arg` starts in the iteration with these `numbers` of the enclosing loops, from its buffer's start. `odd`: the
    /// innermost loop has run an odd number of iterations.
    pub fn displacement(&self, arg: &ArgAt, numbers: &[i64], odd: bool) -> i64 {
        let strides = &self.strides[arg.strides.start as usize..arg.strides.end as usize];
        let moved: i64 = strides.iter().zip(numbers).map(|(stride, number)| stride * number).sum();
        arg.offset + moved + if odd { arg.odd } else { 0 }
    }
}

/// From the numbers of the loops with these counts to one number, and how many there are; nothing if they are too many.
fn layers(counts: &[i64]) -> Option<([i64; MAX_LOOP_DEPTH], usize)> {
    let mut strides = [0; MAX_LOOP_DEPTH];
    let mut layers = 1i64;
    for (depth, count) in counts.iter().enumerate().rev() {
        strides[depth] = layers;
        layers = layers.saturating_mul(*count);
    }
    (layers <= MOST_LAYERS).then_some((strides, layers as usize))
}

/// Is memory of that place the program's own, and aligned for whatever it holds?
fn is_own(place: Place) -> bool {
    matches!(place, Place::Arena { .. })
}

fn bytes(size: &SizeExpr, symbols: &[i64]) -> Option<u64> {
    size.eval(symbols).and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= MAX_BYTES)
}
