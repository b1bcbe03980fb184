//! What a walk reads and writes anew in every iteration, so far apart that no prefetcher of a processor sees the next one come: each would be
//! waited for, and what is written after it, too.

use super::expr::Frame;
use crate::kernel::index::{known_stride, mentions, values};
use crate::kernel::{BufferId, Expr, Index, Loop, Nest, Stage, Var};
use crate::schedule::{SharedLoad, shared_loads};

/// Bytes between two places that no processor takes for neighbours.
const FAR: i64 = 1024;
/// Iterations of no loop that pass while a line comes.
const SHORT_AHEAD: i64 = 8;

/// Vectors of a walk to fetch before their time.
pub struct Ahead<'a> {
    vectors: Vec<(BufferId, &'a Index)>,
    /// Rows that all points read: the loop along each, and its bytes.
    rows: Vec<(BufferId, &'a Index, Var, i64)>,
    walk: Var,
    iterations: i64,
}

impl<'a> Ahead<'a> {
    pub fn new(frame: &Frame<'a, '_>, nest: &'a Nest, walk: &Loop) -> Self {
        let kernel = frame.kernel;
        let loaded = kernel.exprs.iter().filter_map(|expr| match expr {
            Expr::Load { buffer, index, bounds, .. } if bounds.is_empty() => Some((*buffer, index)),
            _ => None,
        });
        let stored = nest.stages.iter().flat_map(|stage| match stage {
            Stage::Map { stores, .. } => stores.as_slice(),
            _ => &[],
        });
        let inner = || nest.stages.iter().flat_map(Stage::loops);
        let is_far = |(buffer, index): &(BufferId, &Index)| {
            let mut read = Vec::new();
            values(index, &mut read);
            let apart = known_stride(index, walk.var).unwrap_or(0);
            read.is_empty()
                && apart.saturating_mul(kernel.buffer(*buffer).elem.bytes() as i64).abs() >= FAR
                && frame.lanes.is_some_and(|lanes| known_stride(index, lanes.var) == Some(1))
                && !inner().any(|l| mentions(index, l.var))
        };
        let vectors = loaded.chain(stored.map(|s| (s.buffer, &s.index))).filter(is_far).collect();
        let row = |load: SharedLoad<'a>| match load.along[..] {
            // Of longer ones a processor sees the rest come.
            [along] if known_stride(load.index, along.var) == Some(1) && load.bytes <= FAR => {
                Some((load.buffer, load.index, along.var, load.bytes))
            }
            _ => None,
        };
        let rows = shared_loads(kernel, nest).into_iter().filter_map(row).collect();
        Self { vectors, rows, walk: walk.var, iterations: if inner().next().is_some() { 1 } else { SHORT_AHEAD } }
    }

    /// Asks for the rows of the next iteration: for the first points that walk there.
    pub fn fetch_rows(&self, frame: &mut Frame<'_, '_>) {
        let (e, at) = (frame.emit, frame.vars[&self.walk]);
        frame.vars.insert(self.walk, e.add(at, e.index(1)));
        for &(buffer, index, along, bytes) in &self.rows {
            frame.vars.insert(along, e.index(0));
            let first = frame.first_index(index);
            let first = e.at(frame.buffers[buffer.0 as usize], e.memory(frame.kernel.buffer(buffer).elem), first);
            e.prefetch(first, bytes);
        }
        frame.vars.insert(self.walk, at);
        frame.forget();
    }

    /// Asks for those of an iteration to come.
    pub fn fetch(&self, frame: &mut Frame<'_, '_>) {
        let (e, at) = (frame.emit, frame.vars[&self.walk]);
        let Some(lanes) = frame.lanes else { return };
        frame.vars.insert(self.walk, e.add(at, e.index(self.iterations)));
        for (buffer, index) in &self.vectors {
            let elem = frame.kernel.buffer(*buffer).elem;
            let first = frame.first_index(index);
            let first = e.at(frame.buffers[buffer.0 as usize], e.memory(elem), first);
            e.prefetch(first, i64::from(lanes.count) * elem.bytes() as i64);
        }
        frame.vars.insert(self.walk, at);
        frame.forget();
    }
}
