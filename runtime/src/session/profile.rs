//! Where the time of runs goes, by call of a kernel, and how much work that was.

use std::fmt;

use super::{Session, model};
use crate::format::{Arg, Call, Place, SizeExpr, Step};

/// A call of a kernel, over all runs since the profile was switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallProfile {
    /// What the kernel computes.
    pub label: String,
    /// The lines of the source that it stands for.
    pub lines: Vec<(String, u32)>,
    pub calls: u64,
    /// As the calling thread saw it: its own share of work that several threads did.
    pub ns: u64,
    /// Arithmetic operations of each call at the sizes of the last run: what the artifact says of them.
    pub flops: u64,
    /// What each call needs to read and write.
    pub touched: Vec<Touched>,
    /// The innermost loop around it; loops are numbered in the order of the plan.
    pub around: Option<u32>,
}

/// Bytes of a buffer that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its number in the plan.
    pub buffer: u32,
    pub place: Place,
    pub bytes: u64,
}

impl CallProfile {
    /// All bytes of one call.
    pub fn bytes(&self) -> u64 {
        self.touched.iter().map(|t| t.bytes).sum()
    }
}

impl fmt::Display for CallProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.ns as f64 / self.calls.max(1) as f64;
        write!(f, "{:>10.1} us  {:>8} x {:>9.2} us  {}", self.ns as f64 / 1e3, self.calls, each / 1e3, self.label)?;
        for (i, (file, line)) in self.lines.iter().enumerate() {
            write!(f, "{}{file}:{line}", if i == 0 { "  " } else { ", " })?;
        }
        Ok(())
    }
}

impl Session {
    /// Switches the profile on or off, from zero. While it is on, each call costs two readings of the clock; off, nothing.
    pub fn set_profiled(&mut self, on: bool) -> &mut Self {
        self.watch.timed = on;
        for bound in self.entries.iter_mut().flatten() {
            bound.engine.clear_times();
        }
        self
    }

    /// The calls of the entry's plan in their order, with their times. None before the first run.
    pub fn profile(&self) -> Vec<CallProfile> {
        let Some(bound) = &self.entries[self.entry] else { return Vec::new() };
        let variant = self.model.variant();
        let (times, symbols) = (bound.engine.times(), &bound.sizes.values);
        let buffers = &bound.engine.program().buffers;
        let touched = |arg: &Arg| {
            let buffer = buffers.get(arg.buffer as usize)?;
            let bytes = number(&arg.bytes, symbols).min(buffer.bytes);
            Some(Touched { buffer: arg.buffer, place: buffer.place, bytes })
        };
        let calls = numbered(&variant.entries[self.entry].steps).into_iter().enumerate();
        calls
            .map(|(at, (call, around))| {
                // Calls without work have no time.
                let time = times.get(at).copied().unwrap_or_default();
                CallProfile {
                    label: model::label(variant, call),
                    lines: call.lines.clone(),
                    calls: time.calls,
                    ns: time.ns,
                    flops: number(&call.flops, symbols),
                    touched: call.args.iter().filter_map(touched).collect(),
                    around,
                }
            })
            .collect()
    }
}

/// A size that nothing relies on: 0 where it is none.
fn number(size: &SizeExpr, symbols: &[i64]) -> u64 {
    size.eval(symbols).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// All calls, loops unfolded once, each with the innermost loop around it.
fn numbered(steps: &[Step]) -> Vec<(&Call, Option<u32>)> {
    fn walk<'p>(steps: &'p [Step], around: Option<u32>, loops: &mut u32, calls: &mut Vec<(&'p Call, Option<u32>)>) {
        for step in steps {
            match step {
                Step::Call(call) => calls.push((call, around)),
                Step::When { body, .. } => walk(body, around, loops, calls),
                Step::Loop { body, .. } => {
                    *loops += 1;
                    walk(body, Some(*loops - 1), loops, calls);
                }
            }
        }
    }
    let mut calls = Vec::new();
    walk(steps, None, &mut 0, &mut calls);
    calls
}
