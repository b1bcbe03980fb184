//! Selection: top-k, and the sorting of rows by the expert they chose.

use gatec_lang::Size;

use crate::fuse::GroupId;
use crate::graph::{Axis, Value};
use crate::kernel::{Access, Body, Elem, Expr, ExprId, GroupRows, TopK};
use crate::ops::Op;
use crate::scalar::Binary;

use super::builder::{Guard, KernelBuilder, Point};
use super::region::{RegionId, SortedRows, Sorting};
use super::sizes::{sum, times};
use super::steps::Spot;
use super::{PlanError, Planner};

impl Planner<'_> {
    pub(super) fn plan_top_k(&mut self, region: RegionId, _group: GroupId, value: Value) -> Result<(), PlanError> {
        let graph = self.graph(region);
        let Op::TopK(top_k) = graph.op(value).clone() else {
            return Err(PlanError::Internal("top_k was expected".into()));
        };
        let operand = graph.operands(value.node)[0];
        let locations = self.regions[region.0].locations[&value].clone();
        let rows: Vec<Axis> = locations[0].order().into_iter().filter(|a| *a != top_k.slot).collect();
        let work = self.work(region, operand);
        let k = self.size(top_k.slot);
        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let rows = builder.loops(&rows, &mut point);
        let over = builder.loops(&[top_k.axis], &mut point).remove(0);
        let x = builder.expand(region, operand, &point, &Guard::default())?;
        let k = builder.extent(&k);
        let slot = builder.loops(&[top_k.slot], &mut point).remove(0).var;
        let name = builder.planner.name_of(region, value);
        let buffer = builder.buffer(&name, &locations[0].spot, Elem::I32, Access::Write, false);
        let index = builder.index_in(&locations[0], &point);
        let body = Body::TopK(TopK { rows, over, k, value: x, slot, buffer, index });
        builder.finish("top_k", body, work)?;
        for location in &locations[1..] {
            self.copy(region, value, location)?;
        }
        Ok(())
    }

    /// How many segments rows are sorted into.
    pub(super) fn segments(&self, by: &Sorting) -> Size {
        let axes: Vec<Axis> = by.apart.iter().copied().chain([by.into]).collect();
        sum(&self.extent_of(&axes), &Size::known(i64::from(by.or_zero)))
    }

    /// Rows sorted into segments, once for each choice and order of rows: the spots of their order and of the segments' offsets.
    pub(super) fn sorted_rows(&mut self, region: RegionId, by: &Sorting) -> Result<(Spot, Spot), PlanError> {
        let known = self.regions[region.0].sorted_rows.iter().find(|s| s.by == *by);
        if let Some(known) = known {
            return Ok((known.order.clone(), known.offsets.clone()));
        }
        let (order, offsets) = self.plan_group_rows(region, by)?;
        let sorted = SortedRows { by: by.clone(), order: order.clone(), offsets: offsets.clone() };
        self.regions[region.0].sorted_rows.push(sorted);
        Ok((order, offsets))
    }

    fn plan_group_rows(&mut self, region: RegionId, by: &Sorting) -> Result<(Spot, Spot), PlanError> {
        let int = Elem::I32.bytes() as i64;
        let count = self.extent_of(&by.rows);
        let order_bytes = self.symbols.expr(&times(&count, int));
        let order = Spot::start_of(self.steps.scratch("order", order_bytes));
        let segments = self.segments(by);
        let offset_bytes = self.symbols.expr(&times(&sum(&segments, &Size::known(1)), int));
        let offsets = Spot::start_of(self.steps.scratch("offsets", offset_bytes));
        let work = self.symbols.estimate(&count) as f64 * GROUP_FLOPS;

        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let rows = builder.loops(&by.rows, &mut point);
        let mut segment = builder.expand(region, by.index, &point, &Guard::default())?;
        let mut elem = builder.planner.graph(region).ty(by.index).elem;
        if elem != Elem::I64 && (elem != Elem::I32 || !by.apart.is_empty()) {
            elem = if by.apart.is_empty() { Elem::I32 } else { Elem::I64 };
            segment = builder.push(Expr::Cast(elem, segment));
        }
        if !by.apart.is_empty() {
            segment = builder.segment_apart(segment, elem, by, &point);
        }
        if by.or_zero {
            segment = builder.segment_or_last(segment, elem, &segments);
        }
        let experts = builder.extent(&segments);
        let order_id = builder.buffer("order", &order, Elem::I32, Access::Write, false);
        let offsets_id = builder.buffer("offsets", &offsets, Elem::I32, Access::Write, false);
        let body = Body::GroupRows(GroupRows { rows, experts, expert: segment, order: order_id, offsets: offsets_id });
        builder.finish("group_rows", body, work)?;
        Ok((order, offsets))
    }
}

impl KernelBuilder<'_, '_> {
    /// The number among the segments of all points. What is outside of its point's stays outside of all.
    fn segment_apart(&mut self, segment: ExprId, elem: Elem, by: &Sorting, point: &Point) -> ExprId {
        let size = self.size(by.into);
        let (first, size) = (self.merge(&by.apart, point), self.number(&size));
        let first = self.mul(vec![first, size.clone()]);
        let [first, size] = [first, size].map(|index| self.push(Expr::Index { elem, index }));
        let [zero, outside] = [0.0, -1.0].map(|value| self.push(Expr::Const { elem, value }));
        let [low, high] = [(Binary::Ge, zero), (Binary::Lt, size)].map(|(f, b)| self.push(Expr::Binary(f, segment, b)));
        let inside = self.push(Expr::Binary(Binary::And, low, high));
        let segment = self.push(Expr::Binary(Binary::Add, first, segment));
        self.push(Expr::Select(inside, segment, outside))
    }

    /// The segment of a row: its expert's, or the last of all where the expert is negative. What is beyond the experts stays
    /// outside.
    fn segment_or_last(&mut self, expert: ExprId, elem: Elem, segments: &Size) -> ExprId {
        let zero = self.push(Expr::Const { elem, value: 0.0 });
        let [last, beyond] = [-1, 0].map(|by| {
            let index = self.number(&sum(segments, &Size::known(by)));
            self.push(Expr::Index { elem, index })
        });
        let is_none = self.push(Expr::Binary(Binary::Lt, expert, zero));
        let is_beyond = self.push(Expr::Binary(Binary::Ge, expert, last));
        let of_expert = self.push(Expr::Select(is_beyond, beyond, expert));
        self.push(Expr::Select(is_none, last, of_expert))
    }
}

/// Instructions for a row that is sorted, roughly.
const GROUP_FLOPS: f64 = 40.0;
