//! Loops: carries in buffers of two halves, the body's plan between them, results read where they are left.

use gatec_lang::Size;
use gatec_runtime::format::{Exits, SizeExpr};
use petgraph::graph::NodeIndex;

use crate::fuse;
use crate::graph::{Axis, AxisSet, Elem, Value};
use crate::kernel::{Body, Expr, Nest, Stage};
use crate::ops::{Class, Op};

use super::builder::{KernelBuilder, Point};
use super::region::{Location, RegionId, Source};
use super::sizes::{div_up, product, sum, times};
use super::steps::Spot;
use super::{PlanError, Planner};

/// Halves of a carry start at multiples of this many bytes: a cache line, so that threads do not share one.
const HALF_ALIGN_BYTES: i64 = 64;

impl<'g> Planner<'g> {
    /// Does a loop's body read an item otherwise than by packing it?
    fn is_read_as_it_stands(&self, body: RegionId, item: u32) -> bool {
        let graph = self.graph(body);
        let about = &self.regions[body.0];
        let is_item = |id: &NodeIndex| matches!(graph.op(Value::of(*id)), Op::Item(i) if i.index == item);
        let mut values: Vec<Value> = graph.ids().filter(is_item).map(Value::of).collect();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(value) = values.pop() {
            if graph.results.contains(&value) {
                return true;
            }
            for (user, _) in graph.uses(value) {
                let result = Value::of(user);
                let home = about.fusion.home(result);
                match home.is_some_and(|home| about.fusion.groups[home.0].core.packs(result, value)) {
                    true => {}
                    // Views and pointwise functions of it may be packed themselves.
                    false if about.at_load.contains(&result) => {
                        if seen.insert(result) {
                            values.push(result);
                        }
                    }
                    false => return true,
                }
            }
        }
        false
    }

    pub(super) fn plan_scan(&mut self, region: RegionId, node: NodeIndex) -> Result<(), PlanError> {
        let graph = self.graph(region);
        let Op::Scan(scan) = &graph.node(node).op else {
            return Err(PlanError::Internal("a loop was expected".into()));
        };
        let operands = graph.operands(node);
        let depth = self.regions[region.0].depth;
        let carries = scan.carries as usize;
        self.still_carries(region, &operands[carries..])?;
        let body = self.add_region(&scan.body, Some((region, node, scan.axis)), depth + 1, &scan.body.results);
        let mut targets: Vec<(Value, Location)> = Vec::new();
        let walk = self.walk_of(region, scan, &operands[..carries], body);

        for (i, &value) in operands.iter().enumerate().skip(carries).take(scan.items as usize) {
            // What is known at load stands in no buffer. As an item it is read by number, so it has to, unless it is packed.
            let item = (i - carries) as u32;
            // So has a view, unless the loop is walked.
            let is_known = self.regions[region.0].at_load.contains(&value);
            let is_view = graph.op(value).class() == Class::View && walk.is_none();
            if (is_known && self.is_read_as_it_stands(body, item) || !is_known && is_view)
                && !matches!(self.source(region, value, None)?, Source::Buffer(_))
            {
                let order = self.order_of(region, value);
                let location = self.scratch(&self.name_of(region, value), graph.ty(value).elem, &order);
                self.copy(region, value, &location)?;
                self.regions[region.0].locations.insert(value, vec![location]);
            }
        }
        // A flag for each row that has left, once and for all.
        let is_leaving = |i: &usize| {
            fuse::lasting(&scan.body, *i).is_some_and(|(flag, stays)| stays && !scan.body.ty(flag).axes.is_empty())
        };
        let leaving = (0..carries).find(|i| !scan.reverse && is_leaving(i));
        let mut left: Option<(Value, Location)> = None;
        let once = if walk.is_some() { self.once(region, node, scan)? } else { None };
        if once.is_some() {
            self.steps.begin();
        }
        // A carry is read in one half and written in the other; they change places with every iteration.
        for (i, &init) in operands.iter().enumerate().take(carries) {
            let ty = graph.ty(init);
            let order = self.carry_order(region, body, init, scan.body.results[i]);
            let (name, count) = (self.name_of(region, init), self.size(scan.axis));
            let handed = self.handed_over(region, node, init);
            let [read, write, last] = match &walk {
                Some(walk) => self.walked_carry(walk, i, &name, ty.elem, (&ty.axes, order), (&count, handed.clone())),
                None => self.carry_places(&name, ty.elem, &order, depth, &count),
            };
            let first = Location { spot: Spot::start_of(read.spot.buffer), ..read.clone() };
            if handed.as_ref() != Some(&first) {
                self.copy(region, init, &first)?;
            }
            for id in scan.body.ids() {
                if matches!(&scan.body.node(id).op, Op::Carry(carry) if carry.index as usize == i) {
                    self.regions[body.0].locations.insert(Value::of(id), vec![read.clone()]);
                }
            }
            if Some(i) == leaving {
                left = Some((scan.body.results[i], write.clone()));
            }
            targets.push((scan.body.results[i], write));
            self.result_at(region, Value { node, result: i as u32 }, last);
        }
        for (i, &value) in scan.body.results.iter().enumerate().skip(carries) {
            let result = Value { node, result: i as u32 };
            let stacked = self.stacked(region, body, result, value, scan.axis);
            targets.push((value, stacked.item(scan.axis, depth)));
        }

        for step in scan.body.ids().filter(|id| matches!(scan.body.node(*id).op, Op::Step(_))) {
            let numbers = self.step_numbers(region, scan.axis)?.item(scan.axis, depth);
            self.regions[body.0].locations.insert(Value::of(step), vec![numbers]);
        }
        match &walk {
            Some(walk) => {
                let stacked = targets[carries..].to_vec();
                self.plan_walk(body, walk, scan, &self.size(scan.axis), targets)?;
                if let Some(from) = once {
                    self.plan_once((region, node), scan, walk, &from, stacked)?;
                }
            }
            None => {
                self.steps.begin();
                let planned = self.plan_region(body, targets);
                let count = self.symbols.expr(&self.size(scan.axis));
                let exits = left.and_then(|(value, location)| self.exits(body, value, &location));
                self.steps.end_loop(count, scan.reverse, exits.map(Box::new));
                planned?;
            }
        }

        // Results that must stand somewhere else, too.
        for i in 0..graph.node(node).types.len() {
            let result = Value { node, result: i as u32 };
            let locations = self.regions[region.0].locations.get(&result).cloned().unwrap_or_default();
            for location in locations.iter().skip(1) {
                self.copy(region, result, location)?;
            }
        }
        Ok(())
    }

    /// Where another loop has left a carry that this one alone reads.
    pub(super) fn handed_over(&self, region: RegionId, node: NodeIndex, init: Value) -> Option<Location> {
        let graph = self.graph(region);
        let Op::Scan(before) = graph.op(init) else { return None };
        let is_alone = graph.uses(init).iter().all(|(user, _)| *user == node) && graph.uses(init).len() == 1;
        let locations = self.regions[region.0].locations.get(&init)?;
        let is_carry = init.result < before.carries && is_alone && !graph.results.contains(&init);
        let [location] = locations.as_slice() else { return None };
        (is_carry && location.spot == Spot::start_of(location.spot.buffer)).then(|| location.clone())
    }

    /// What can be counted of rows that leave a loop; `left` is where their flags are stored.
    fn exits(&self, body: RegionId, value: Value, left: &Location) -> Option<Exits> {
        let order = left.order();
        let rows = self.symbols.expr(&self.extent_of(&order));
        let axis = order.iter().map(|axis| axis.name()).collect::<Vec<_>>().join("*");
        // Flags of loops in loops move with none of them: a carry begins anew in the same place.
        let left = left.spot.arg(left.elem.bytes(), SizeExpr::Known(0), &self.symbols);
        (left.strides.iter().all(|s| *s == SizeExpr::Known(0))).then(|| Exits {
            axis,
            rows,
            left,
            lines: self.lines_of(body, &[value]),
        })
    }

    /// Which half a carry stands in is known to the calls of its own loop alone: what a loop inside of that reads of it is copied
    /// to a place of its own first.
    fn still_carries(&mut self, region: RegionId, read: &[Value]) -> Result<(), PlanError> {
        let graph = self.graph(region);
        let mut seen = std::collections::BTreeSet::new();
        let mut values = read.to_vec();
        while let Some(value) = values.pop() {
            if !seen.insert(value.node) {
                continue;
            }
            values.extend(graph.operands(value.node));
            let moves = |l: &Location| l.spot.odd != Size::default();
            if matches!(graph.op(value), Op::Carry(_)) && self.location(region, value).is_some_and(|l| moves(&l)) {
                let order = self.order_of(region, value);
                let location = self.scratch(&self.name_of(region, value), graph.ty(value).elem, &order);
                self.copy(region, value, &location)?;
                self.result_at(region, value, location);
            }
        }
        Ok(())
    }

    /// Says where a loop's result stands; places that were asked for become copies.
    fn result_at(&mut self, region: RegionId, result: Value, location: Location) {
        self.regions[region.0].locations.entry(result).or_default().insert(0, location);
    }

    /// The buffer of a stacked result: the first place that was asked for, else a new one with the loop's axis outermost.
    fn stacked(&mut self, region: RegionId, body: RegionId, result: Value, value: Value, axis: Axis) -> Location {
        // A half of the carry of the loop around is written by that loop's calls alone: there the result is copied.
        if let Some(location) = self.location(region, result).filter(|l| l.spot.odd == Size::default()) {
            return location;
        }
        let mut order = vec![axis];
        order.extend(self.order_of(body, value));
        let elem = self.graph(region).ty(result).elem;
        let location = self.scratch(&self.name_of(region, result), elem, &order);
        self.result_at(region, result, location.clone());
        location
    }

    /// Rows first, as the body writes it.
    pub(super) fn carry_order(&self, region: RegionId, body: RegionId, init: Value, next: Value) -> Vec<Axis> {
        let axes: AxisSet = self.graph(region).ty(init).axes.clone();
        let outside = self.order_of(region, init);
        // A body's order may lead back to the carry itself; where it says nothing, the initial value's order holds.
        let inside = self.order_of(body, next);
        let natural = if inside.len() >= outside.len() { inside } else { outside };
        self.complete(natural, &axes)
    }

    /// The places of a carry: where it is read, where its next value is stored, and where the last one stands.
    fn carry_places(&mut self, name: &str, elem: Elem, order: &[Axis], depth: usize, count: &Size) -> [Location; 3] {
        let per_line = HALF_ALIGN_BYTES / elem.bytes() as i64;
        let half = times(&div_up(&self.extent_of(order), per_line), per_line);
        let bytes = self.symbols.expr(&times(&half, 2 * elem.bytes() as i64));
        let start = Spot::start_of(self.steps.scratch(&format!("carry {name}"), bytes));
        let at = |spot: Spot| Location::dense(spot, elem, order, &|a| self.size(a));
        let loops = vec![Size::default(); depth + 1];
        // After `n` iterations the last value stands in half `n mod 2`.
        let parity = sum(count, &times(&count.checked_div(2).unwrap_or_default(), -2));
        [
            at(Spot { odd: half.clone(), loops: loops.clone(), ..start.clone() }),
            at(Spot { offset: half.clone(), odd: times(&half, -1), loops, ..start.clone() }),
            at(Spot { offset: product(&parity, &half), ..start }),
        ]
    }

    /// The numbers of a loop's iterations, 0, 1, 2 ..., in a buffer that the body reads along with the loop.
    fn step_numbers(&mut self, region: RegionId, axis: Axis) -> Result<Location, PlanError> {
        let location = self.scratch("steps", Elem::I32, &[axis]);
        let work = self.symbols.estimate(&self.size(axis)) as f64;
        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let inner = builder.loops(&[axis], &mut point);
        let number = builder.push(Expr::Index { elem: Elem::I32, index: point[&axis].clone() });
        let store = builder.store("steps", &location, &point, number);
        let stages = vec![Stage::Map { inner, stores: vec![store] }];
        builder.finish("steps", Body::Nest(Nest { outer: Vec::new(), only: None, walk: None, stages }), work)?;
        Ok(location)
    }
}
