//! Loops that one kernel walks by itself: where every point of some axes goes its own way through all iterations.
//!
//! Such a body is made of nests alone, and nothing in it reads what another point has left. The points are then shared out to
//! threads once, not in every iteration, and what a point carries stays in the nearest cache.

use std::collections::BTreeSet;

use gatec_lang::Size;
use gatec_runtime::format::Isa;

use crate::fuse::{Core, GroupId, Only};
use crate::graph::{Axis, AxisSet, Elem, Value};
use crate::kernel::{Body, Index, Nest};
use crate::ops::{Class, Op, Scan};

use super::builder::{KernelBuilder, Point};
use super::region::{Location, RegionId};
use super::sizes::{div_up, product, sum, times};
use super::steps::{BufferId, Spot};
use super::{Origin, PlanError, Planner};

/// How a loop is walked.
pub(super) struct Walk {
    /// Axes whose points go their own way; vectors run along the last.
    pub points: Vec<Axis>,
    /// Carries that are read for the last time right where their next value is stored: one place is enough for both.
    in_place: Vec<bool>,
}

/// What a kernel knows that walks a loop.
pub struct Walked {
    /// Loops around the one that is walked.
    pub depth: usize,
    /// The iteration, counted from the first one that runs.
    pub number: Index,
    /// Buffers that are read and written.
    pub updated: BTreeSet<BufferId>,
}

/// Points below which a kernel for each iteration has more to share out.
const FEW_POINTS: i64 = 16;
/// Elements of an iteration that one thread computes as fast as several would begin.
const SMALL: i64 = 8192;
/// Rows that are a multiple of this many bytes apart meet in few sets of a cache.
const CONFLICT_BYTES: i64 = 512;
const LINE_BYTES: i64 = 64;

impl Planner<'_> {
    /// Whether the body of a loop can be walked, and how.
    pub(super) fn walk_of(&self, region: RegionId, scan: &Scan, inits: &[Value], body: RegionId) -> Option<Walk> {
        let graph = self.graph(body);
        let fusion = &self.regions[body.0].fusion;
        if self.isa == Isa::Sm80 || scan.carries == 0 {
            return None;
        }
        let mut points: Option<AxisSet> = None;
        let mut meet = |axes: &AxisSet| {
            points = Some(points.as_ref().map_or_else(|| axes.clone(), |p| p.intersection(axes)));
        };
        let mut kept = BTreeSet::new();
        for group in &fusion.groups {
            let Core::Nest { .. } = &group.core else { return None };
            // Rows are sorted by a kernel of its own.
            if group.folds.iter().any(|v| matches!(graph.op(*v), Op::Segment(_))) {
                return None;
            }
            for value in group.roots.iter().chain(&group.folds) {
                meet(&graph.ty(*value).axes);
            }
            kept.extend(group.roots.iter().copied());
        }
        for id in graph.ids().filter(|id| matches!(graph.node(*id).op, Op::Carry(_))) {
            meet(&graph.ty(Value::of(id)).axes);
            kept.insert(Value::of(id));
        }
        let points = points.filter(|p| !p.is_empty())?;
        let folds_apart = |group: &crate::fuse::Group| match &group.core {
            Core::Nest { outer } => !group.folds.is_empty() && *outer != points,
            _ => true,
        };
        let is_stored = |v: &Value| fusion.is_root(*v) && fusion.home(*v).is_some();
        if fusion.groups.iter().any(folds_apart) || !graph.results.iter().all(is_stored) {
            return None;
        }
        // What stands on something stored here must be of the same point.
        for id in graph.ids() {
            let op = &graph.node(id).op;
            let stands = graph.operands(id).iter().any(|v| kept.contains(v));
            let moves = match op.class() {
                Class::Pointwise | Class::Reduce | Class::Contract => matches!(op, Op::Gather(_)),
                _ => !matches!(op, Op::Broadcast(_)),
            };
            if matches!(op, Op::Concat(_) | Op::Stack(_)) || stands && moves {
                return None;
            }
            if stands {
                kept.insert(Value::of(id));
            }
        }
        let count = |axes: &AxisSet| -> i64 {
            axes.iter().map(|a| self.symbols.estimate(&self.size(a)).max(1)).fold(1, i64::saturating_mul)
        };
        let largest = fusion.groups.iter().flat_map(|g| &g.roots).map(|v| count(&graph.ty(*v).axes)).max()?;
        if count(&points) < FEW_POINTS && largest > SMALL {
            return None;
        }
        let natural = self.carry_order(region, body, inits[0], graph.results[0]);
        let points: Vec<Axis> = natural.into_iter().filter(|a| points.contains(*a)).collect();
        let in_place: Vec<bool> =
            (0..scan.carries).map(|i| self.is_read_last(body, i, scan.carries as usize)).collect();
        // Two halves change places by number.
        let known = |i: usize| self.module.sizes.are_known(&self.graph(region).ty(inits[i]).axes);
        (0..in_place.len()).all(|i| in_place[i] || known(i)).then_some(Walk { points, in_place })
    }

    /// Is a carry read by nothing but the stage that stores its next value, and by groups that run before?
    fn is_read_last(&self, body: RegionId, carry: u32, carries: usize) -> bool {
        let graph = self.graph(body);
        let fusion = &self.regions[body.0].fusion;
        let next = graph.results[carry as usize];
        let reads = |group: usize, value: Value| {
            let mut seen = BTreeSet::new();
            let mut below = vec![value];
            while let Some(value) = below.pop() {
                if !seen.insert(value) {
                    continue;
                }
                if matches!(graph.op(value), Op::Carry(c) if c.index == carry) {
                    return true;
                }
                let elsewhere = fusion.home(value).is_some_and(|home| home != GroupId(group));
                if !elsewhere {
                    below.extend(graph.operands(value.node));
                }
            }
            false
        };
        let of_others = graph.results[..carries].iter().filter(|v| **v == next).count() > 1;
        let storing = fusion.order.iter().position(|group| fusion.home(next) == Some(*group));
        let not_before = &fusion.order[storing.unwrap_or(0)..];
        !of_others
            && not_before.iter().map(|group| (group.0, &fusion.groups[group.0])).all(|(number, group)| {
                let others = group.roots.iter().chain(&group.folds).filter(|v| **v != next);
                others.into_iter().all(|v| !reads(number, *v))
            })
    }

    /// The places of a carry: where it is read, where its next value is stored, and where the last one stands. What is handed over from
    /// another loop stays where it is.
    pub(super) fn walked_carry(
        &mut self,
        walk: &Walk,
        number: usize,
        name: &str,
        elem: Elem,
        (axes, order): (&AxisSet, Vec<Axis>),
        (count, handed): (&Size, Option<Location>),
    ) -> [Location; 3] {
        let innermost = walk.points.last().copied();
        let is_point = |a: &Axis| walk.points.contains(a) && Some(*a) != innermost;
        let mut rows: Vec<Axis> = walk.points.iter().copied().filter(is_point).collect();
        rows.extend(order.into_iter().filter(|a| !walk.points.contains(a)));
        rows.extend(innermost);
        debug_assert!(rows.iter().all(|a| axes.contains(*a)), "a carry has the axes of all points");
        let mut strides = Vec::new();
        let mut inner = Size::known(1);
        for (i, &axis) in rows.iter().rev().enumerate() {
            strides.push((axis, inner.clone()));
            inner = product(&inner, &self.size(axis));
            let conflicts = inner.as_known().is_some_and(|n| n * elem.bytes() as i64 % CONFLICT_BYTES == 0);
            if i == 0 && conflicts && rows.len() > 1 {
                inner = sum(&inner, &Size::known(LINE_BYTES / elem.bytes() as i64));
            }
        }
        strides.reverse();
        if let Some(handed) = handed.filter(|l| walk.in_place[number] && l.strides == strides) {
            return [handed.clone(), handed.clone(), handed];
        }
        let per_line = LINE_BYTES / elem.bytes() as i64;
        let half = times(&div_up(&inner, per_line), per_line);
        let halves = if walk.in_place[number] { 1 } else { 2 };
        let bytes = self.symbols.expr(&times(&half, halves * elem.bytes() as i64));
        let start = Spot::start_of(self.steps.scratch(&format!("carry {name}"), bytes));
        let at = |spot: Spot| Location { spot, elem, strides: strides.clone() };
        if walk.in_place[number] {
            return [at(start.clone()), at(start.clone()), at(start)];
        }
        // After `n` iterations the last value stands in half `n mod 2`.
        let parity = sum(count, &times(&count.checked_div(2).unwrap_or_default(), -2));
        [
            at(Spot { odd: half.clone(), ..start.clone() }),
            at(Spot { offset: half.clone(), odd: times(&half, -1), ..start.clone() }),
            at(Spot { offset: product(&parity, &half), ..start }),
        ]
    }

    /// The kernel that walks `count` iterations of a loop; `targets` says where its results must stand.
    pub(super) fn plan_walk(
        &mut self,
        body: RegionId,
        walk: &Walk,
        scan: &Scan,
        count: &Size,
        targets: Vec<(Value, Location)>,
    ) -> Result<(), PlanError> {
        let written: BTreeSet<BufferId> = targets.iter().map(|(_, location)| location.spot.buffer).collect();
        for (value, location) in targets {
            self.regions[body.0].locations.entry(value).or_default().push(location);
        }
        let groups: Vec<GroupId> = self.regions[body.0].fusion.order.clone();
        let members = |this: &Self, group: GroupId| this.regions[body.0].fusion.groups[group.0].clone();
        let mut updated = BTreeSet::new();
        for &group in &groups {
            for root in members(self, group).roots {
                self.allocate(body, root);
                let fusion = &self.regions[body.0].fusion;
                let uses = self.graph(body).uses(root);
                if uses.into_iter().any(|(user, _)| fusion.home(Value::of(user)) != Some(group)) {
                    updated.extend(self.location(body, root).map(|l| l.spot.buffer));
                }
            }
        }
        for id in self.graph(body).ids().filter(|id| matches!(self.graph(body).node(*id).op, Op::Carry(_))) {
            let carry = self.location(body, Value::of(id)).map(|l| l.spot.buffer);
            updated.extend(carry.filter(|buffer| written.contains(buffer)));
        }
        let depth = self.regions[body.0].depth - 1;
        let mut work = 0.0;
        let mut lines = Vec::new();

        // Points that nobody needs in any iteration are told by what does not change in the loop.
        let graph = self.graph(body);
        let stored = groups.iter().flat_map(|group| members(self, *group).roots).collect::<Vec<_>>();
        let rows = &walk.points[..walk.points.len().saturating_sub(1)];
        let only = Only::of(&self.regions[body.0].needs, stored).filter(|only| {
            let axes = &graph.ty(only.flag).axes;
            matches!(graph.op(only.flag), Op::Capture(_)) && !axes.is_empty() && axes.iter().all(|a| rows.contains(&a))
        });
        let mut builder = KernelBuilder::new(self, body, None);
        let mut point = Point::new();
        let outer = builder.loops(&walk.points, &mut point);
        let iterations = builder.new_loop(scan.axis.name(), count);
        let number = Index::Var(iterations.var);
        let item = if scan.reverse {
            let count = builder.number(count);
            let back = builder.mul(vec![Index::Known(-1), number.clone()]);
            builder.add(vec![count, Index::Known(-1), back])
        } else {
            number.clone()
        };
        builder.loop_vars.resize(depth + 1, None);
        builder.loop_vars[depth] = Some(item);
        builder.walked = Some(Walked { depth, number, updated });
        let mut stages = Vec::new();
        for group in groups {
            builder.enter(group);
            let about = members(builder.planner, group);
            let mut todo: Vec<Value> = about.folds.iter().chain(&about.roots).copied().collect();
            todo.sort();
            todo.dedup();
            for value in todo {
                work += builder.planner.work(body, value);
                builder.value_stages(&about, value, (None, &walk.points), &point, &mut stages)?;
            }
            lines.extend(builder.planner.lines(body, Some(group)));
        }
        lines.sort();
        lines.dedup();
        let work = work * builder.planner.symbols.estimate(count) as f64;
        let only = only.map(|only| builder.only(only, &point)).transpose()?;
        let body = Body::Nest(Nest { outer, only, walk: Some(iterations), stages });
        builder.finish_as("walk", body, work, Origin { lines, ..Origin::default() })
    }
}
