//! Packing of right operands: at load where it is known then, once for all entries; else in the plan, right before its use.

use gatec_lang::Size;
use gatec_runtime::format::{Place, SizeExpr};

use crate::fuse::has_buffer;
use crate::graph::{Axis, Elem, Value};
use crate::kernel::{Access, Body, Bound, Expr, Index, Nest, Stage, Store, Var};
use crate::ops::{Class, Op, Scan};

use super::builder::{Guard, KernelBuilder, Point, Unpack};
use super::contract::PackShape;
use super::region::{RegionId, capture_operand, item_operand};
use super::sizes::{div_up, times};
use super::steps::Spot;
use super::{PlanError, Planner};

/// A packed operand that the load plan makes.
pub(super) struct Pack {
    region: RegionId,
    value: Value,
    /// The same value as its innermost parameter, if it is no more than that (or than one that is quantised): what two entries have in
    /// common.
    name: Option<Vec<Op>>,
    shape: PackShape,
    /// Axes of the loops around, with the depth of each.
    loops: Vec<(Axis, usize)>,
    kept: u32,
}

impl Planner<'_> {
    /// Where the packed operand stands, for the current iteration of the loops around.
    pub(super) fn packed(&mut self, region: RegionId, value: Value, shape: &PackShape) -> Result<Spot, PlanError> {
        if !self.regions[region.0].at_load.contains(&value) {
            let name = self.label_of(region, value, shape);
            let bytes = times(&shape.elements(self), shape.elem.bytes() as i64);
            let bytes = self.symbols.expr(&bytes);
            let spot = Spot::start_of(self.steps.scratch(&name, bytes));
            self.plan_pack(region, value, shape, &[], &spot)?;
            return Ok(spot);
        }
        let loops = self.loops_of(region, value);
        let name = self.innermost_parameter(region, value);
        let same = self.packs.iter().find(|p| {
            p.shape == *shape
                && p.loops == loops
                && (p.region == region && p.value == value || name.is_some() && p.name == name)
        });
        let kept = match same {
            Some(pack) => pack.kept,
            None => {
                let mut elements = shape.elements(self);
                for (axis, _) in &loops {
                    elements = super::sizes::product(&elements, &self.size(*axis));
                }
                if !elements.is_known() {
                    return Err(PlanError::SymbolicAtLoad(self.name_of(region, value)));
                }
                let label = self.label_of(region, value, shape);
                let kept = self.add_kept(&label, &times(&elements, shape.elem.bytes() as i64));
                self.packs.push(Pack { region, value, name, shape: shape.clone(), loops: loops.clone(), kept });
                kept
            }
        };
        let mut spot = self.kept_spot(kept);
        // One matrix after the other, the outermost loop's outermost.
        let mut stride = shape.elements(self);
        for (axis, depth) in loops.iter().rev() {
            spot.loops.resize(spot.loops.len().max(depth + 1), Size::default());
            spot.loops[*depth] = stride.clone();
            stride = super::sizes::product(&stride, &self.size(*axis));
        }
        Ok(spot)
    }

    fn label_of(&self, region: RegionId, value: Value, shape: &PackShape) -> String {
        let of = if shape.unpack == Some(Unpack::Scales) { "scales of " } else { "" };
        format!("packed {of}{}", self.name_of(region, value))
    }

    fn kept_spot(&mut self, kept: u32) -> Spot {
        let name = self.kept[kept as usize].name.clone();
        let bytes = SizeExpr::Known(self.kept[kept as usize].bytes as i64);
        Spot::start_of(self.steps.at(Place::Kept(kept), &name, bytes))
    }

    /// The loops with whose iterations a value varies: outermost first.
    fn loops_of(&self, region: RegionId, value: Value) -> Vec<(Axis, usize)> {
        let mut loops = Vec::new();
        self.collect_loops(region, value, &mut loops);
        loops.sort_by_key(|(_, depth)| *depth);
        loops.dedup();
        loops
    }

    fn collect_loops(&self, region: RegionId, value: Value, loops: &mut Vec<(Axis, usize)>) {
        let graph = self.graph(region);
        if let Some((parent, node, axis)) = self.regions[region.0].parent
            && let Op::Scan(scan) = &self.graph(parent).node(node).op
        {
            let operand = match graph.op(value) {
                Op::Item(item) => {
                    loops.push((axis, self.regions[parent.0].depth));
                    Some(item_operand(scan, item.index))
                }
                Op::Capture(capture) => Some(capture_operand(scan, capture.index)),
                _ => None,
            };
            if let Some(operand) = operand {
                return self.collect_loops(parent, self.graph(parent).operands(node)[operand], loops);
            }
        }
        for operand in graph.operands(value.node) {
            self.collect_loops(region, operand, loops);
        }
    }

    /// The parameter or loaded value behind items and captures.
    fn innermost_parameter(&self, region: RegionId, value: Value) -> Option<Vec<Op>> {
        let operand = |index: &dyn Fn(&Scan) -> usize| {
            let (parent, node, _) = self.regions[region.0].parent?;
            let Op::Scan(scan) = &self.graph(parent).node(node).op else { return None };
            self.innermost_parameter(parent, self.graph(parent).operands(node)[index(scan)])
        };
        match self.graph(region).op(value) {
            op @ (Op::Param(_) | Op::Loaded(_)) => Some(vec![op.clone()]),
            op @ Op::Dequantize(_) => {
                let mut all = vec![op.clone()];
                for operand in self.graph(region).operands(value.node) {
                    all.extend(self.innermost_parameter(region, operand)?);
                }
                Some(all)
            }
            Op::Item(item) => operand(&|scan| item_operand(scan, item.index)),
            Op::Capture(capture) => operand(&|scan| capture_operand(scan, capture.index)),
            _ => None,
        }
    }

    /// The element type of the buffers that a float's values come from, by views and widening casts alone: it holds each of
    /// them exactly. Integers of a byte are among them: every float type has their values.
    pub(super) fn exact_elem(&self, region: RegionId, value: Value) -> Option<Elem> {
        let graph = self.graph(region);
        let op = graph.op(value);
        let elem = graph.ty(value).elem;
        let outside = |operand: &dyn Fn(&Scan) -> usize| {
            let (parent, node, _) = self.regions[region.0].parent?;
            let Op::Scan(scan) = &self.graph(parent).node(node).op else { return None };
            self.exact_elem(parent, self.graph(parent).operands(node)[operand(scan)])
        };
        let operands = graph.operands(value.node);
        match op {
            Op::Loaded(loaded) => self.exact_elem(self.load_region, self.module.load.results[loaded.index as usize]),
            Op::Item(item) => outside(&|scan| item_operand(scan, item.index)),
            Op::Capture(capture) => outside(&|scan| capture_operand(scan, capture.index)),
            Op::Cast(_) => {
                let from = graph.ty(operands[0]).elem;
                let is_byte = matches!(from, Elem::I8 | Elem::U8);
                let to_float = (from.is_float() || is_byte) && elem.is_float() && from.bytes() < elem.bytes();
                let widens = to_float || (is_byte && elem == Elem::I32);
                if widens || from == elem {
                    self.exact_elem(region, operands[0])
                } else {
                    elem.is_float().then_some(elem)
                }
            }
            // What is filled in where there is no element may be any number.
            Op::Shift(_) | Op::Pad(_) | Op::Dequantize(_) => None,
            Op::Gather(_) => self.exact_elem(region, operands[0]),
            op if op.class() == Class::View => {
                let mut elems = operands.iter().map(|v| self.exact_elem(region, *v));
                let first = elems.next()??;
                elems.all(|e| e == Some(first)).then_some(first)
            }
            _ => has_buffer(graph, value).then_some(elem),
        }
    }

    /// All packings that entries asked for, as calls of the load plan.
    pub(super) fn plan_packs(&mut self) -> Result<(), PlanError> {
        for pack in std::mem::take(&mut self.packs) {
            let spot = self.kept_spot(pack.kept);
            self.plan_pack(pack.region, pack.value, &pack.shape, &pack.loops, &spot)?;
        }
        Ok(())
    }

    /// The nest that packs, as [`Packed`](crate::kernel::Packed) says, zero beyond the last column; each part has as many of the gates.
    fn plan_pack(
        &mut self,
        region: RegionId,
        value: Value,
        shape: &PackShape,
        loops: &[(Axis, usize)],
        to: &Spot,
    ) -> Result<(), PlanError> {
        let lanes = i64::from(shape.lanes);
        let gates = i64::from(shape.gates(self));
        let cols = self.extent_of(&shape.cols);
        let panels = div_up(&cols, lanes);
        let (sums, steps) = (self.extent_of(&shape.sums), shape.steps(self));
        let work = self.symbols.estimate(&shape.elements(self)) as f64 * PACK_FLOPS;
        let elem = if shape.unpack.is_some() { shape.elem } else { self.graph(region).ty(value).elem };

        let mut builder = KernelBuilder::new(self, region, None);
        builder.unpack = shape.unpack;
        let mut point = Point::new();
        let mut outer = Vec::new();
        let mut matrix_axes: Vec<Axis> = Vec::new();
        for (axis, depth) in loops {
            let l = builder.loops(&[*axis], &mut Point::new()).remove(0);
            builder.loop_vars.resize(builder.loop_vars.len().max(depth + 1), None);
            builder.loop_vars[*depth] = Some(Index::Var(l.var));
            outer.push(l);
        }
        outer.extend(builder.loops(&shape.matrices, &mut point));
        matrix_axes.extend(loops.iter().map(|(axis, _)| axis));
        matrix_axes.extend(&shape.matrices);
        let panel = builder.new_loop("panel", &panels);
        outer.push(panel.clone());
        let mut bounds = Vec::new();
        let together = shape.products.together();
        let sum = if together > 1 || shape.every > 1 {
            let step = builder.new_loop("step", &steps);
            let first = builder.mul(vec![Index::Var(step.var), Index::Known(shape.every)]);
            builder.unmerge(first, &shape.sums, &mut point);
            if together > 1 && sums.as_known().is_none_or(|n| n % shape.products.steps() != 0) {
                bounds.push(Bound { index: Index::Var(step.var), extent: builder.extent(&sums) });
            }
            outer.push(step.clone());
            Index::Var(step.var)
        } else {
            let loops = builder.loops(&shape.sums, &mut point);
            outer.extend(loops);
            builder.merge(&shape.sums, &point)
        };
        let lane = builder.new_loop("lane", &Size::known(lanes));

        // Linear positions of matrix and sum, from the loops' own variables.
        let outer_point: Point = matrix_axes.iter().zip(&outer).map(|(axis, l)| (*axis, Index::Var(l.var))).collect();
        let matrix = builder.merge(&matrix_axes, &outer_point);
        let first = builder.mul(vec![Index::Var(panel.var), Index::Known(lanes)]);
        let col = builder.add(vec![first, Index::Var(lane.var)]);
        let panels_index = builder.number(&panels);
        let steps_index = builder.number(&steps);
        builder.unmerge(col.clone(), &shape.cols, &mut point);
        let cols_extent = builder.extent(&cols);
        if cols.as_known().is_none_or(|n| n % lanes != 0) {
            bounds.push(Bound { index: col, extent: cols_extent });
        }
        let guard = Guard { bounds, fill: 0.0 };
        let buffer = builder.buffer("packed", to, shape.elem, Access::Write, false);
        let panel_of = builder.mul(vec![matrix, panels_index]);
        let panel_of = builder.add(vec![panel_of, Index::Var(panel.var)]);
        let parts = i64::from(shape.parts);
        let of_part = gates / parts;
        let mut stores = Vec::new();
        for gate in 0..gates {
            if let Some(axis) = shape.gate {
                point.insert(axis, Index::Known(gate));
            }
            let mut x = builder.expand(region, value, &point, &guard)?;
            if !guard.bounds.is_empty() {
                x = builder.zero_outside(x, &guard, elem);
            }
            if elem != shape.elem {
                x = builder.push(Expr::Cast(shape.elem, x));
            }
            let part_of = builder.mul(vec![panel_of.clone(), Index::Known(parts)]);
            let part_of = builder.add(vec![part_of, Index::Known(gate / of_part)]);
            let sum_of = builder.mul(vec![part_of, steps_index.clone()]);
            // Steps side by side are one row of so many times the length.
            let row = builder.add(vec![sum_of, sum.clone()]);
            let odd = builder.rem(row.clone(), Index::Known(together));
            let row = builder.div(row, Index::Known(together));
            let at = builder.mul(vec![row, Index::Known(of_part * lanes * together)]);
            let mut terms = vec![at, odd];
            terms.extend(shape.column((gate % of_part, of_part), &mut builder, lane.var));
            let index = builder.add(terms);
            stores.push(Store { buffer, index, value: x });
        }
        let stages = vec![Stage::Map { inner: vec![lane], stores }];
        builder.finish("pack", Body::Nest(Nest { outer, only: None, walk: None, stages }), work)
    }
}

impl PackShape {
    /// [`Products::column`](crate::kernel::Products::column) of a lane, in elements, as terms of an index.
    fn column(&self, (group, groups): (i64, i64), builder: &mut KernelBuilder<'_, '_>, lane: Var) -> Vec<Index> {
        let (lanes, together) = (i64::from(self.lanes), self.products.together());
        let at = |lane| self.products.column((group, groups), lane, lanes) * together;
        // The row is one progression, or two that take turns.
        let half = lanes / 2;
        let steps = if lanes > 1 { at(1) - at(0) } else { together };
        if at(half) == at(0) + half * steps {
            return vec![Index::Known(at(0)), builder.mul(vec![Index::Var(lane), Index::Known(steps)])];
        }
        let (number, place) =
            (builder.div(Index::Var(lane), Index::Known(half)), builder.rem(Index::Var(lane), Index::Known(half)));
        vec![
            Index::Known(at(0)),
            builder.mul(vec![place, Index::Known(steps)]),
            builder.mul(vec![number, Index::Known(at(half) - at(0))]),
        ]
    }
}

/// Instructions for an element that is packed, roughly.
const PACK_FLOPS: f64 = 8.0;
