//! Loops of one iteration: a recurrence that is called step by step.
//!
//! The kernel that walks a loop keeps what it carries in a buffer of its own, where rows stand apart. For one step, to fill that and to
//! write it out again would take longer than the step. So a second kernel, the same but for its places, goes from where the carries come to where
//! the last ones are to stand, and runs instead where there is one iteration.

use gatec_lang::Size;
use gatec_runtime::format::SizeExpr;
use petgraph::graph::NodeIndex;

use crate::graph::Value;
use crate::ops::{Op, Scan};

use super::region::{Location, RegionId, Source};
use super::sizes::{add, mul};
use super::walk::Walk;
use super::{PlanError, Planner};

/// Carries of fewer elements are copied in no time.
const SMALL: i64 = 8192;

impl<'g> Planner<'g> {
    /// Where the carries of a loop come from, if one iteration of it is worth a plan of its own.
    pub(super) fn once(
        &mut self,
        region: RegionId,
        node: NodeIndex,
        scan: &Scan,
    ) -> Result<Option<Vec<Location>>, PlanError> {
        let operands = self.graph(region).operands(node);
        let (inits, others) = operands.split_at(scan.carries as usize);
        let size = |axis| self.symbols.estimate(&self.size(axis)).max(1);
        let elements = |v: &Value| self.graph(region).ty(*v).axes.iter().map(size).fold(1, i64::saturating_mul);
        let is_small = inits.iter().map(elements).fold(0, i64::saturating_add) < SMALL;
        let counts = scan.body.ids().any(|id| matches!(scan.body.node(id).op, Op::Step(_)));
        if self.loading || counts || is_small || self.size(scan.axis).as_known().is_some() {
            return Ok(None);
        }
        // A view has to be read at the iteration's number.
        for &item in &others[..scan.items as usize] {
            if !matches!(self.source(region, item, None)?, Source::Buffer(_)) {
                return Ok(None);
            }
        }
        let stays = |l: &Location| l.spot.odd == Size::default();
        let mut from = Vec::new();
        for &init in inits {
            match self.source(region, init, None)? {
                Source::Buffer(location) if stays(&location) => from.push(location),
                _ => return Ok(None),
            }
        }
        for (i, &init) in (0..).zip(inits) {
            // What is read must not be written over.
            let is_fit = match self.location(region, Value { node, result: i }) {
                Some(to) => stays(&to) && from.iter().all(|from| from.spot.buffer != to.spot.buffer),
                None => self.handed_over(region, node, init).is_none(),
            };
            if !is_fit {
                return Ok(None);
            }
        }
        Ok(Some(from))
    }

    /// Ends the steps of a loop that is walked, which began with [`super::steps::Steps::begin`], and plans one iteration. `stacked` says where
    /// results other than carries stand.
    pub(super) fn plan_once(
        &mut self,
        (region, node): (RegionId, NodeIndex),
        scan: &'g Scan,
        walk: &Walk,
        from: &[Location],
        stacked: Vec<(Value, Location)>,
    ) -> Result<(), PlanError> {
        let depth = self.regions[region.0].depth;
        let mut targets = Vec::new();
        for (i, &value) in (0..scan.carries).zip(&scan.body.results) {
            let result = Value { node, result: i };
            // Where the walk leaves it, unless it was to stand elsewhere.
            if let Some(asked) = self.regions[region.0].locations.get(&result).and_then(|l| l.get(1)).cloned() {
                self.copy(region, result, &asked)?;
                self.regions[region.0].locations.entry(result).and_modify(|l| drop(l.remove(0)));
            }
            targets.extend(self.location(region, result).map(|to| (value, to)));
        }
        let count = self.symbols.expr(&self.size(scan.axis));
        let at_most_two = SizeExpr::Min(vec![count, SizeExpr::Known(2)]);
        let minus = |size: &SizeExpr| mul([SizeExpr::Known(-1), size.clone()].into_iter());
        // 1 for one iteration, 0 for none and for more.
        let is_one = mul([at_most_two.clone(), add([minus(&at_most_two), SizeExpr::Known(2)].into_iter())].into_iter());
        self.steps.end_loop(add([minus(&is_one), SizeExpr::Known(1)].into_iter()), false, None);

        let body = self.add_region(&scan.body, Some((region, node, scan.axis)), depth + 1, &scan.body.results);
        for id in scan.body.ids() {
            if let Op::Carry(carry) = &scan.body.node(id).op {
                let location = from[carry.index as usize].clone();
                self.regions[body.0].locations.insert(Value::of(id), vec![location]);
            }
        }
        targets.extend(stacked);
        self.steps.begin();
        let planned = self.plan_walk(body, walk, scan, &Size::known(1), targets);
        self.steps.end_loop(is_one, false, None);
        planned
    }
}
