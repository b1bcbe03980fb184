//! Selection: top-k, and the sorting of rows by the expert they chose.

use gatec_lang::Size;
use gatec_runtime::format::Routing;

use crate::fuse::{GroupId, Only};
use crate::graph::{Axis, Value};
use crate::kernel::{Access, Body, Elem, Expr, ExprId, GroupRows, TopK};
use crate::ops::Op;
use crate::scalar::Binary;

use super::builder::{Guard, KernelBuilder, Point};
use super::region::{By, RegionId, SortedRows, Sorting};
use super::sizes::{product, sum, times};
use super::steps::Spot;
use super::{Origin, PlanError, Planner};

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
        let origin = Origin { lines: self.lines_of(region, &[value]), ..Origin::default() };
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
        builder.finish_as("top_k", body, work, origin)?;
        for location in &locations[1..] {
            self.copy(region, value, location)?;
        }
        Ok(())
    }

    /// How many segments rows are sorted into.
    pub(super) fn segments(&self, by: &By) -> Size {
        match by {
            By::Expert { or_zero, expert, .. } => sum(&self.size(*expert), &Size::known(i64::from(*or_zero))),
            By::Element { apart, into, .. } => product(&self.extent_of(apart), &self.size(*into)),
            By::Flag(_) => Size::known(2),
        }
    }

    /// Rows sorted into segments, once for each sorting: the spots of their order and of the segments' offsets.
    pub(super) fn sorted_rows(&mut self, region: RegionId, sorting: &Sorting) -> Result<(Spot, Spot), PlanError> {
        let known = self.regions[region.0].sorted_rows.iter().find(|s| s.sorting == *sorting);
        if let Some(known) = known {
            return Ok((known.order.clone(), known.offsets.clone()));
        }
        let (order, offsets) = self.plan_group_rows(region, sorting)?;
        let sorted = SortedRows { sorting: sorting.clone(), order: order.clone(), offsets: offsets.clone() };
        self.regions[region.0].sorted_rows.push(sorted);
        Ok((order, offsets))
    }

    fn plan_group_rows(&mut self, region: RegionId, sorting: &Sorting) -> Result<(Spot, Spot), PlanError> {
        // Sorted twice, for rows in two orders, it is still one router.
        let of = |by: &By| if let By::Expert { index, .. } = by { Some(*index) } else { None };
        let known = self.regions[region.0].sorted_rows.iter().any(|s| of(&s.sorting.by) == of(&sorting.by));
        let int = Elem::I32.bytes() as i64;
        let count = self.extent_of(&sorting.rows);
        let order_bytes = self.symbols.expr(&times(&count, int));
        let order = Spot::start_of(self.steps.scratch("order", order_bytes));
        let segments = self.segments(&sorting.by);
        let offset_bytes = self.symbols.expr(&times(&sum(&segments, &Size::known(1)), int));
        let offsets = Spot::start_of(self.steps.scratch("offsets", offset_bytes));
        let work = self.symbols.estimate(&count) as f64 * GROUP_FLOPS;

        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let rows = builder.loops(&sorting.rows, &mut point);
        let expert = builder.segment_of(&sorting.by, &segments, &point)?;
        if let By::Expert { index, expert: axis, .. } | By::Element { index, into: axis, .. } = &sorting.by {
            builder.checked.push((expert, (region, *index), *axis));
        }
        let experts = builder.extent(&segments);
        let order_id = builder.buffer("order", &order, Elem::I32, Access::Write, false);
        let offsets_id = builder.buffer("offsets", &offsets, Elem::I32, Access::Write, false);
        let body = Body::GroupRows(GroupRows { rows, experts, expert, order: order_id, offsets: offsets_id });
        let routing = match &sorting.by {
            By::Expert { or_zero, expert, .. } if !known => Some(Routing {
                expert: expert.name().into(),
                experts: builder.planner.symbols.expr(&builder.size(*expert)),
                offsets: offsets_id.0,
                last_is_none: *or_zero,
            }),
            _ => None,
        };
        let (By::Expert { index, .. } | By::Element { index, .. } | By::Flag(Only { flag: index, .. })) = sorting.by;
        let lines = builder.planner.lines_of(region, &[index]);
        builder.finish_as("group_rows", body, work, Origin { lines, routing, ..Origin::default() })?;
        Ok((order, offsets))
    }
}

impl KernelBuilder<'_, '_> {
    /// The number of the segment of the row at a point.
    fn segment_of(&mut self, by: &By, segments: &Size, point: &Point) -> Result<ExprId, PlanError> {
        let value = match by {
            By::Expert { index, .. } | By::Element { index, .. } => *index,
            By::Flag(only) => only.flag,
        };
        let found = self.expand(self.region, value, point, &Guard::default())?;
        let elem = self.planner.graph(self.region).ty(value).elem;
        Ok(match by {
            By::Flag(only) => {
                let [first, last] = [!only.when, only.when].map(|b| f64::from(u8::from(b)));
                let [first, last] = [first, last].map(|value| self.push(Expr::Const { elem: Elem::I32, value }));
                self.push(Expr::Select(found, first, last))
            }
            By::Expert { or_zero: true, .. } => self.segment_or_last(found, elem, segments),
            By::Element { apart, into, .. } if !apart.is_empty() => {
                let found = if elem == Elem::I64 { found } else { self.push(Expr::Cast(Elem::I64, found)) };
                self.segment_apart(found, (apart, *into), point)
            }
            By::Expert { .. } | By::Element { .. } => match elem {
                Elem::I32 | Elem::I64 => found,
                _ => self.push(Expr::Cast(Elem::I32, found)),
            },
        })
    }

    /// The number among the segments of all points, in i64. What is outside of its point's stays outside of all.
    fn segment_apart(&mut self, segment: ExprId, (apart, into): (&[Axis], Axis), point: &Point) -> ExprId {
        let size = self.size(into);
        let (first, size) = (self.merge(apart, point), self.number(&size));
        let first = self.mul(vec![first, size.clone()]);
        let [first, size] = [first, size].map(|index| self.push(Expr::Index { elem: Elem::I64, index }));
        let [zero, outside] = [0.0, -1.0].map(|value| self.push(Expr::Const { elem: Elem::I64, value }));
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
