//! Which experts rows went to: what routers did, counted while runs go on.
//!
//! A call that sorts rows by expert leaves how many each got. After it the caller's thread adds these numbers up: a few
//! additions for each expert, beside kernels that multiply each row with matrices.

use super::{Session, model};
use crate::format::Routing;
use crate::plan::RouterAt;

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

/// Counts of one router while runs go on.
#[derive(Debug, Default)]
pub(super) struct Counter {
    segments: usize,
    /// By layer.
    calls: Vec<u64>,
    /// By layer and segment.
    rows: Vec<u64>,
}

impl Counter {
    /// Makes room for a router; counts stay if it has the same size as before.
    pub fn fit(&mut self, router: &RouterAt) {
        if (self.segments, self.calls.len()) != (router.segments, router.layers) {
            self.segments = router.segments;
            self.calls.clear();
            self.calls.resize(router.layers, 0);
            self.rows.clear();
            self.rows.resize(router.layers * router.segments, 0);
        }
    }

    /// Adds up a call. `offsets` has a number more than there are segments.
    pub fn add(&mut self, layer: usize, offsets: &[i32]) {
        let (Some(calls), start) = (self.calls.get_mut(layer), layer * self.segments) else { return };
        *calls += 1;
        for (rows, pair) in self.rows[start..start + self.segments].iter_mut().zip(offsets.windows(2)) {
            *rows += u64::from(pair[1].wrapping_sub(pair[0]).max(0) as u32);
        }
    }

    pub fn clear(&mut self) {
        self.calls.fill(0);
        self.rows.fill(0);
    }

    fn layers(&self, routing: &Routing) -> Vec<LayerCounts> {
        let of = |(layer, calls): (usize, &u64)| {
            let mut rows = self.rows[layer * self.segments..(layer + 1) * self.segments].to_vec();
            let dropped = if routing.last_is_none { rows.pop() } else { None };
            LayerCounts { calls: *calls, rows, dropped: dropped.unwrap_or(0) }
        };
        self.calls.iter().enumerate().map(of).collect()
    }
}

impl Session {
    /// Counts from now on, from zero, where routers send rows; or no longer. It costs a few additions for each expert. What is counted
    /// are routers whose rows are sorted by expert: not those whose experts are all computed. On a GPU nothing is counted.
    pub fn set_counted(&mut self, on: bool) -> &mut Self {
        self.watch.counted = on;
        for bound in self.entries.iter_mut().flatten() {
            bound.engine.clear_counts();
        }
        self
    }

    /// The routers of the entry in the order of its plan. None before the first run.
    pub fn routers(&self) -> Vec<RouterCounts> {
        let Some(bound) = &self.entries[self.entry] else { return Vec::new() };
        let plan = &self.model.variant().entries[self.entry];
        let counted = bound.engine.program().routers.iter().zip(bound.engine.counts());
        let of = |(router, counter): (&RouterAt, &Counter)| {
            let call = model::call_number(plan, router.call)?;
            let routing = call.routing.as_ref()?;
            let (expert, lines) = (routing.expert.clone(), call.lines.clone());
            Some(RouterCounts { expert, lines, layers: counter.layers(routing) })
        };
        counted.filter_map(of).collect()
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
