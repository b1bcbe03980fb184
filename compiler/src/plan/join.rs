//! `concat` and `stack` that stand in a buffer: whoever computes a part writes it where it belongs, and only what nobody computes
//! here (an input, a state) is copied.

use gatec_lang::Size;

use crate::fuse::{Core, GroupId, Way};
use crate::graph::Value;
use crate::ops::Op;

use super::region::{Location, RegionId};
use super::sizes::{product, sum, times};
use super::{PlanError, Planner};

impl Planner<'_> {
    /// Gives the parts of joined values their places, outer ones first: a part may be joined itself.
    pub(super) fn place_parts(&mut self, region: RegionId) {
        for group in self.regions[region.0].fusion.order.clone().into_iter().rev() {
            let Some(joined) = self.joined(region, group) else { continue };
            let operands = self.graph(region).operands(joined.node);
            let can: Vec<bool> = operands.iter().map(|part| self.is_written_anywhere(region, *part)).collect();
            let places = self.regions[region.0].locations.get(&joined).map_or(0, Vec::len);
            if places > 1 || !can.contains(&true) {
                continue;
            }
            self.allocate(region, joined);
            let Some(whole) = self.location(region, joined) else { continue };
            for (number, part) in operands.iter().enumerate().filter(|(number, _)| can[*number]) {
                let place = self.part(region, joined, &whole, number);
                self.place_part(region, *part, place);
            }
            let written = can;
            self.regions[region.0].placed.insert(joined, written);
        }
    }

    /// Copies the parts that nobody writes. Whether the group is one whose parts were placed.
    pub(super) fn plan_joined(&mut self, region: RegionId, group: GroupId) -> Result<bool, PlanError> {
        let Some(joined) = self.joined(region, group) else { return Ok(false) };
        let name = self.name_of(region, joined);
        let Some(written) = self.regions[region.0].placed.get(&joined).cloned() else {
            if matches!(self.graph(region).op(joined), Op::Merge(_)) {
                return Ok(false);
            }
            self.note(region, joined, Way::Copied, format!("no part of `{name}` is computed right before"));
            return Ok(false);
        };
        let Some(whole) = self.location(region, joined) else { return Ok(false) };
        let operands = self.graph(region).operands(joined.node);
        for (number, part) in operands.into_iter().enumerate().filter(|(number, _)| !written[*number]) {
            let place = self.part(region, joined, &whole, number);
            let part_name = self.name_of(region, part);
            self.note(region, part, Way::Copied, format!("`{part_name}` of `{name}` is not computed right before"));
            self.copy(region, part, &place)?;
        }
        Ok(true)
    }

    /// The value that a group joins, if it does nothing else.
    fn joined(&self, region: RegionId, group: GroupId) -> Option<Value> {
        let group = &self.regions[region.0].fusion.groups[group.0];
        match (&group.core, group.roots.as_slice()) {
            (Core::Nest { .. }, [root])
                if group.folds.is_empty()
                    && matches!(self.graph(region).op(*root), Op::Concat(_) | Op::Stack(_) | Op::Merge(_)) =>
            {
                Some(*root)
            }
            _ => None,
        }
    }

    /// Is it stored by a kernel that can store to any place? A view that joins such values is, too.
    fn is_written_anywhere(&self, region: RegionId, value: Value) -> bool {
        let (graph, fusion) = (self.graph(region), &self.regions[region.0].fusion);
        let Some(home) = fusion.home(value) else {
            let joins = matches!(graph.op(value), Op::Concat(_) | Op::Stack(_) | Op::Merge(_));
            let mut parts = graph.operands(value.node).into_iter();
            let is_read_once = |part: Value| graph.uses(part).len() == 1 && !graph.results.contains(&part);
            return joins && parts.all(|part| is_read_once(part) && self.is_written_anywhere(region, part));
        };
        match (&fusion.groups[home.0].core, graph.op(value)) {
            // What a loop yields is stored once, where it is asked for first.
            (Core::Scan { .. }, Op::Scan(scan)) => {
                value.result >= scan.carries && self.location(region, value).is_none()
            }
            (core, _) => fusion.is_root(value) && core.stores_anywhere(),
        }
    }

    fn place_part(&mut self, region: RegionId, part: Value, place: Location) {
        if self.regions[region.0].fusion.home(part).is_some() {
            return self.regions[region.0].locations.entry(part).or_default().push(place);
        }
        for (number, inner) in self.graph(region).operands(part.node).into_iter().enumerate() {
            let place = self.part(region, part, &place, number);
            self.place_part(region, inner, place);
        }
    }

    /// Where a part stands in the whole.
    fn part(&self, region: RegionId, joined: Value, whole: &Location, number: usize) -> Location {
        let mut place = whole.clone();
        match self.graph(region).op(joined) {
            Op::Concat(concat) => {
                let start = concat.axes[..number].iter().fold(Size::default(), |n, a| sum(&n, &self.size(*a)));
                if let Some((axis, stride)) = place.strides.iter_mut().find(|(a, _)| *a == concat.to) {
                    *axis = concat.axes[number];
                    place.spot.offset = sum(&place.spot.offset, &product(&start, stride));
                }
            }
            Op::Stack(stack) => {
                if let Some(at) = place.strides.iter().position(|(a, _)| *a == stack.axis) {
                    let (_, stride) = place.strides.remove(at);
                    place.spot.offset = sum(&place.spot.offset, &times(&stride, number as i64));
                }
            }
            Op::Merge(merge) => {
                if let Some(at) = place.strides.iter().position(|(a, _)| *a == merge.to) {
                    let (_, mut stride) = place.strides.remove(at);
                    for axis in merge.from.iter().rev() {
                        let outer = product(&stride, &self.size(*axis));
                        place.strides.insert(at, (*axis, std::mem::replace(&mut stride, outer)));
                    }
                }
            }
            _ => {}
        }
        place
    }
}
