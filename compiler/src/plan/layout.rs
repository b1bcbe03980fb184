//! The order of axes in buffers that the plan makes: rows first, columns of contractions last, so that kernels read and write
//! along the innermost axis.

use crate::fuse::{Core, order_above};
use petgraph::graph::NodeIndex;

use crate::graph::{Axis, AxisSet, Value};
use crate::ops::{Op, Scan};
use crate::schedule;

use super::Planner;
use super::manifest::param_order;
use super::region::{RegionId, capture_operand, item_operand};

/// How far an order is looked for through operands, before any order will do.
const MAX_DEPTH: usize = 24;

impl Planner<'_> {
    /// The order in which a value's elements would naturally stand.
    pub fn order_of(&self, region: RegionId, value: Value) -> Vec<Axis> {
        let order = self.complete(self.order_within(region, value, MAX_DEPTH), &self.graph(region).ty(value).axes);
        self.matrices_first(region, value, order)
    }

    /// Where whoever reads a contraction's columns takes some of their axes as matrices (an expert's hidden units), these come before
    /// the rows: each matrix then finds its rows next to each other, not a whole row of all matrices apart.
    fn matrices_first(&self, region: RegionId, value: Value, order: Vec<Axis>) -> Vec<Axis> {
        let (graph, fusion) = (self.graph(region), &self.regions[region.0].fusion);
        let core = |value: Value| fusion.home(value).map(|home| &fusion.groups[home.0].core);
        let Some(Core::Contract { roles: made, .. }) = core(value) else { return order };
        let matrices = |(user, operand): (NodeIndex, u32)| match core(Value::of(user)) {
            Some(Core::Contract { value: user_value, roles }) if user_value.node == user && roles.grouped.is_none() => {
                let is_left = graph.operands(user).get(operand as usize) == Some(&roles.x);
                is_left.then(|| roles.batch.intersection(&made.cols))
            }
            _ => None,
        };
        let mut readers = graph.uses(value).into_iter().map(matrices);
        let Some(Some(first)) = readers.next() else { return order };
        if first.is_empty() || graph.results.contains(&value) || readers.any(|r| r.as_ref() != Some(&first)) {
            return order;
        }
        // A vector of columns stays one.
        let (front, rest): (Vec<Axis>, Vec<Axis>) = order.iter().partition(|axis| first.contains(**axis));
        let vector = i64::from(schedule::lanes(self.isa));
        let is_whole = rest.last().is_some_and(|axis| {
            made.cols.contains(*axis) && self.size(*axis).as_known().is_some_and(|n| n % vector == 0)
        });
        if is_whole { [front, rest].concat() } else { order }
    }

    /// As far as something says an order: axes that nothing is said of are left out.
    fn order_within(&self, region: RegionId, value: Value, depth: usize) -> Vec<Axis> {
        let graph = self.graph(region);
        let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
        if let Some(location) = self.regions[region.0].locations.get(&value).and_then(|l| l.first()) {
            return location.order();
        }
        let operands = graph.operands(value.node);
        let order = match graph.op(value) {
            Op::Input(input) => self.module.entries[self.entry].inputs[input.index as usize].order.clone(),
            Op::Param(param) => param_order(&self.module.params[param.index as usize]),
            Op::State(state) => self.module.states[state.index as usize].tensor.order.clone(),
            Op::Loaded(loaded) => {
                self.order_within(self.load_region, self.module.load.results[loaded.index as usize], depth)
            }
            Op::Carry(carry) => self.outer_order(region, |_| carry.index as usize, depth),
            Op::Item(item) => self.outer_order(region, |scan| item_operand(scan, item.index), depth),
            Op::Capture(capture) => self.outer_order(region, |scan| capture_operand(scan, capture.index), depth),
            Op::Contract(_) => self.order_of_contraction(region, value, depth),
            op @ (Op::Segment(_)
            | Op::Rename(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Dequantize(_)
            | Op::Split(_)
            | Op::Merge(_)
            | Op::Window(_)) => order_above(op, self.order_within(region, operands[0], depth)),
            Op::Gather(gather) => {
                // The axes of the index in the place of the one that is gathered along: rows of an expert's bias are rows.
                let index = self.order_within(region, operands[1], depth);
                let order = self.order_within(region, operands[0], depth);
                let in_place = |axis: Axis| if axis == gather.axis { index.clone() } else { vec![axis] };
                order.into_iter().flat_map(in_place).chain(index.clone()).collect()
            }
            Op::Concat(concat) => {
                // The largest part leads.
                let parts = operands.iter().zip(&concat.axes);
                let size = |axis: Axis| self.symbols.estimate(&self.size(axis));
                let largest = parts.max_by_key(|(_, axis)| size(**axis));
                largest.map_or_else(Vec::new, |(part, axis)| {
                    let order = self.order_within(region, *part, depth);
                    order.into_iter().map(|a| if a == *axis { concat.to } else { a }).collect()
                })
            }
            Op::Scan(scan) => {
                let carries = scan.carries as usize;
                let index = value.result as usize;
                match operands.get(index).filter(|_| index < carries) {
                    Some(&init) => self.order_within(region, init, depth),
                    None => vec![scan.axis],
                }
            }
            _ => {
                // The operand with the most axes leads; others add theirs.
                let mut orders: Vec<Vec<Axis>> =
                    operands.iter().map(|v| self.order_within(region, *v, depth)).collect();
                orders.sort_by_key(|order| std::cmp::Reverse(order.len()));
                orders.concat()
            }
        };
        let axes = &graph.ty(value).axes;
        let mut known: Vec<Axis> = Vec::new();
        for axis in order {
            if axes.contains(axis) && !known.contains(&axis) {
                known.push(axis);
            }
        }
        known
    }

    /// The axis along which neighbours of a value would stand, as far as something says so.
    pub fn innermost(&self, region: RegionId, value: Value) -> Option<Axis> {
        self.order_within(region, value, MAX_DEPTH).last().copied()
    }

    fn outer_order(&self, region: RegionId, operand: impl Fn(&Scan) -> usize, depth: usize) -> Vec<Axis> {
        let Some((parent, node, _)) = self.regions[region.0].parent else { return Vec::new() };
        match &self.graph(parent).node(node).op {
            Op::Scan(scan) => self.order_within(parent, self.graph(parent).operands(node)[operand(scan)], depth),
            _ => Vec::new(),
        }
    }

    fn order_of_contraction(&self, region: RegionId, value: Value, depth: usize) -> Vec<Axis> {
        let fusion = &self.regions[region.0].fusion;
        let roles = match fusion.home(value).map(|home| &fusion.groups[home.0].core) {
            Some(Core::Contract { roles, .. }) => Some(roles),
            Some(Core::Attend(a)) if a.mixed == value => {
                let mut order = self.order_within(region, a.x, depth);
                order.extend(self.order_within(region, a.values, depth));
                return order;
            }
            _ => None,
        };
        let Some(roles) = roles else {
            let operands = self.graph(region).operands(value.node);
            let mut order = self.order_within(region, operands[0], depth);
            order.extend(self.order_within(region, operands[1], depth));
            return order;
        };
        let mut order = self.order_within(region, roles.x, depth);
        if let Some(grouped) = &roles.grouped {
            order.extend(self.order_within(region, grouped.index, depth));
        }
        let w = roles.grouped.as_ref().map_or(roles.w, |g| g.weights);
        let cols: Vec<Axis> =
            self.order_within(region, w, depth).into_iter().filter(|a| roles.cols.contains(*a)).collect();
        order.retain(|a| !roles.cols.contains(*a));
        order.extend(cols);
        order
    }

    /// Exactly `axes`, in the given order as far as it goes; axes that it lacks come first if their size is symbolic, else last.
    pub fn complete(&self, order: Vec<Axis>, axes: &AxisSet) -> Vec<Axis> {
        let mut complete: Vec<Axis> = Vec::new();
        for axis in order {
            if axes.contains(axis) && !complete.contains(&axis) {
                complete.push(axis);
            }
        }
        let mut front = 0;
        for axis in axes.iter() {
            if complete.contains(&axis) {
                continue;
            }
            if self.size(axis).is_known() {
                complete.push(axis);
            } else {
                complete.insert(front, axis);
                front += 1;
            }
        }
        complete
    }
}
