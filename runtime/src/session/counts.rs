//! Where rows went: to which experts, and out of which loops, counted while runs go on.
//!
//! A call that sorts rows by expert leaves how many each got. After it the caller's thread adds these numbers up: a few
//! additions for each expert, beside kernels that multiply each row with matrices. A loop that rows may leave keeps a flag for
//! each row; after each iteration those that are set are counted.

use super::{Session, model};
use crate::format::{Exits, Routing, Step};
use crate::plan::{ExitsAt, Program, RouterAt};

/// A router over all runs since counting was switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterCounts {
    /// The axis of its experts.
    pub expert: String,
    /// The lines of the source where it stands.
    pub lines: Vec<(String, u32)>,
    /// One for each iteration of the loops around it (layers, as a rule), or one for all where they are more than 256.
    pub layers: Vec<LayerCounts>,
}

/// What a router did in one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerCounts {
    /// How often it ran.
    pub calls: u64,
    /// Rows of each expert; a row that goes to two experts counts for both.
    pub rows: Vec<u64>,
    /// Choices that no expert took: beyond its capacity, or below a threshold.
    pub dropped: u64,
}

impl LayerCounts {
    /// All rows of all experts.
    pub fn taken(&self) -> u64 {
        self.rows.iter().sum()
    }

    /// Entropy of an expert's share of the rows, in nats: `ln(experts)` where all have the same, 0 where one has all.
    pub fn entropy(&self) -> f64 {
        let all = self.taken() as f64;
        let parts = self.rows.iter().filter(|rows| **rows > 0).map(|rows| *rows as f64 / all);
        // Not -0.
        parts.map(|p| -p * p.ln()).sum::<f64>().max(0.0)
    }
}

/// Rows that leave a loop on the way, over all runs since counting was switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCounts {
    /// The axes of the rows.
    pub axis: String,
    /// The lines of the source where they leave.
    pub lines: Vec<(String, u32)>,
    /// Rows that left in each iteration; of a loop in others, in each of theirs.
    pub layers: Vec<u64>,
    /// Rows that stayed to the end.
    pub stayed: u64,
}

/// What a program counts while runs go on.
#[derive(Debug, Default)]
pub(super) struct Counts {
    routers: Vec<RouterCount>,
    exits: Vec<ExitCount>,
}

#[derive(Debug, Default)]
struct RouterCount {
    segments: usize,
    /// By layer.
    calls: Vec<u64>,
    /// By layer and segment.
    rows: Vec<u64>,
}

#[derive(Debug, Default)]
struct ExitCount {
    /// Iterations of the loop.
    count: usize,
    /// All rows, by layer.
    rows: Vec<u64>,
    /// Those that have left, by layer.
    left: Vec<u64>,
}

impl Counts {
    /// Makes room for a program; counts of what has the same size as before stay.
    pub fn fit(&mut self, program: &Program) {
        self.routers.resize_with(program.routers.len(), RouterCount::default);
        for (count, router) in self.routers.iter_mut().zip(&program.routers) {
            if (count.segments, count.calls.len()) != (router.segments, router.layers) {
                let (segments, layers) = (router.segments, router.layers);
                *count = RouterCount { segments, calls: vec![0; layers], rows: vec![0; layers * segments] };
            }
        }
        self.exits.resize_with(program.exits.len(), ExitCount::default);
        for (count, exits) in self.exits.iter_mut().zip(&program.exits) {
            if (count.count, count.rows.len()) != (exits.count, exits.layers) {
                *count = ExitCount { count: exits.count, rows: vec![0; exits.layers], left: vec![0; exits.layers] };
            }
        }
    }

    /// Adds up a call of a router. `offsets` has a number more than there are segments.
    pub fn add_rows(&mut self, router: usize, layer: usize, offsets: &[i32]) {
        let Some(count) = self.routers.get_mut(router) else { return };
        let (Some(calls), start) = (count.calls.get_mut(layer), layer * count.segments) else { return };
        *calls += 1;
        for (rows, pair) in count.rows[start..start + count.segments].iter_mut().zip(offsets.windows(2)) {
            *rows += u64::from(pair[1].wrapping_sub(pair[0]).max(0) as u32);
        }
    }

    /// Adds up an iteration of a loop. `left` has 1 for a row that has left.
    pub fn add_exits(&mut self, exits: usize, layer: usize, left: &[u8]) {
        let Some(count) = self.exits.get_mut(exits).filter(|count| layer < count.rows.len()) else { return };
        count.rows[layer] += left.len() as u64;
        // In pieces whose sum fits a byte: that is done with vectors.
        let sum = |piece: &[u8]| u64::from(piece.iter().fold(0u8, |n, flag| n + (flag & 1)));
        count.left[layer] += left.chunks(128).map(sum).sum::<u64>();
    }

    pub fn clear(&mut self) {
        for count in &mut self.routers {
            count.calls.fill(0);
            count.rows.fill(0);
        }
        for count in &mut self.exits {
            count.rows.fill(0);
            count.left.fill(0);
        }
    }
}

impl RouterCount {
    fn layers(&self, routing: &Routing) -> Vec<LayerCounts> {
        let of = |(layer, calls): (usize, &u64)| {
            let mut rows = self.rows[layer * self.segments..(layer + 1) * self.segments].to_vec();
            let dropped = if routing.last_is_none { rows.pop() } else { None };
            LayerCounts { calls: *calls, rows, dropped: dropped.unwrap_or(0) }
        };
        self.calls.iter().enumerate().map(of).collect()
    }
}

impl ExitCount {
    /// Rows that left in each layer, and those that stayed. What has left in one iteration has left in the next.
    fn layers(&self) -> (Vec<u64>, u64) {
        let (mut layers, mut stayed) = (Vec::new(), 0);
        for (rows, left) in self.rows.chunks(self.count.max(1)).zip(self.left.chunks(self.count.max(1))) {
            let before = [0].iter().chain(left);
            layers.extend(left.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)));
            let (rows, left) = (rows.last().copied().unwrap_or(0), left.last().copied().unwrap_or(0));
            stayed += rows.saturating_sub(left);
        }
        (layers, stayed)
    }
}

impl Session {
    /// Counts from now on, from zero, where routers send rows and where rows leave loops; or no longer. It costs a few additions
    /// for each expert, and for each layer that rows may leave one for each row and a barrier between threads. What is counted
    /// are routers whose rows are sorted by expert: not those whose experts are all computed. On a GPU nothing is counted.
    pub fn set_counted(&mut self, on: bool) -> &mut Self {
        self.watch.counted = on;
        for bound in self.entries.iter_mut().flatten() {
            bound.engine.clear_counts();
        }
        self
    }

    /// The routers of the entry in the order of its plan. None before the first run that was counted.
    pub fn routers(&self) -> Vec<RouterCounts> {
        let Some((program, counts)) = self.counts() else { return Vec::new() };
        let plan = &self.model.variant().entries[self.entry];
        let of = |(router, count): (&RouterAt, &RouterCount)| {
            let call = model::call_number(plan, router.call)?;
            let routing = call.routing.as_ref()?;
            let (expert, lines) = (routing.expert.clone(), call.lines.clone());
            Some(RouterCounts { expert, lines, layers: count.layers(routing) })
        };
        program.routers.iter().zip(&counts.routers).filter_map(of).collect()
    }

    /// The loops of the entry that rows may leave, in the order of its plan; not those of more than 256 iterations, nor
    /// those that are one kernel. None before the
    /// first run that was counted.
    pub fn exits(&self) -> Vec<ExitCounts> {
        let Some((program, counts)) = self.counts() else { return Vec::new() };
        let mut loops = Vec::new();
        exits_of(&self.model.variant().entries[self.entry].steps, &mut loops);
        let of = |(at, count): (&ExitsAt, &ExitCount)| {
            let exits = loops.get(at.number as usize)?;
            let (layers, stayed) = count.layers();
            Some(ExitCounts { axis: exits.axis.clone(), lines: exits.lines.clone(), layers, stayed })
        };
        let mut all: Vec<(&ExitsAt, &ExitCount)> = program.exits.iter().zip(&counts.exits).collect();
        all.sort_by_key(|(at, _)| at.number);
        all.into_iter().filter_map(of).collect()
    }

    fn counts(&self) -> Option<(&Program, &Counts)> {
        let engine = &self.entries[self.entry].as_ref()?.engine;
        Some((engine.program(), engine.counts()?))
    }
}

/// The exits of all loops, each before those within.
fn exits_of<'p>(steps: &'p [Step], all: &mut Vec<&'p Exits>) {
    for step in steps {
        match step {
            Step::Call(_) => {}
            Step::Loop { body, exits, .. } => {
                all.extend(exits.as_deref());
                exits_of(body, all);
            }
            Step::When { body, .. } => exits_of(body, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LayerCounts;

    #[test]
    fn entropy_is_largest_where_all_experts_have_the_same() {
        let of = |rows: &[u64]| LayerCounts { rows: rows.to_vec(), ..Default::default() }.entropy();
        assert_eq!(of(&[]), 0.0);
        assert_eq!(of(&[0, 0]), 0.0);
        assert_eq!(of(&[0, 7, 0]), 0.0);
        assert!((of(&[3, 3, 3, 3]) - 4f64.ln()).abs() < 1e-12);
        assert!(of(&[4, 2, 3, 3]) < 4f64.ln());
    }
}
