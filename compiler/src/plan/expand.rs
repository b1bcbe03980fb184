//! Graph values as kernel expressions: leaves and roots are loads, pointwise ops are themselves, views change the point.

use gatec_lang::Size;

use crate::fuse::stays_inside;
use crate::graph::{Axis, Value};
use crate::kernel::{Bound, Elem, Expr, ExprId, Extent, Index};
use crate::ops::{Dequantize, Fill, Op, Start};
use crate::scalar::{Binary, Unary};

use super::PlanError;
use super::builder::{Guard, KernelBuilder, Point, Unpack};
use super::region::{RegionId, Source};
use super::sizes::{sum, times};

/// The largest constant tensor that is written into code; larger ones belong into the weights.
const MAX_TABLE: usize = 512;

impl KernelBuilder<'_, '_> {
    /// [`KernelBuilder::expand`] without the memo; `point` holds the value's own axes only.
    pub(super) fn expand_new(
        &mut self,
        region: RegionId,
        value: Value,
        point: &Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let graph = self.planner.graph(region);
        if let Some((contraction, gate)) = self.gates
            && region == self.region
            && let Op::Pick(pick) = graph.op(value)
            && pick.axis == gate
            && graph.operands(value.node)[0] == contraction
        {
            return Ok(self.push(Expr::Acc(pick.index as u32)));
        }
        let name = self.planner.name_of(region, value);
        match self.planner.source(region, value, self.group.filter(|_| region == self.region))? {
            Source::Buffer(location) => {
                let there = self.load(&name, &location, point, guard);
                return self.or_unchosen(region, value, there, point, guard);
            }
            Source::Elsewhere { region, value, item } => {
                let mut point = point.clone();
                if let Some((axis, index)) = item {
                    let at = self.loop_index(index)?;
                    point.insert(axis, at);
                }
                return self.expand(region, value, &point, guard);
            }
            Source::Here => {}
        }
        let op = graph.op(value).clone();
        let elem = graph.ty(value).elem;
        let operands = graph.operands(value.node);
        let x = operands.first().copied();
        let at = |axis: Axis| point.get(&axis).cloned().unwrap_or(Index::Known(0));
        // A view that stays inside its operand: the operand at another point.
        let mut inner = point.clone();
        match &op {
            Op::Const(constant) => return Ok(self.push(Expr::Const { elem, value: f64::from_bits(constant.bits) })),
            Op::Table(table) => return self.table(elem, &table.order, &table.values, point),
            Op::Index(index) => return Ok(self.push(Expr::Index { elem, index: at(index.axis) })),
            Op::SizeOf(size_of) => {
                let size = self.size(size_of.axis);
                let index = self.number(&size);
                return Ok(self.push(Expr::Index { elem, index }));
            }
            Op::Unary(unary) => {
                let x = self.expand(region, operands[0], point, guard)?;
                return Ok(self.push(Expr::Unary(unary.f, x)));
            }
            Op::Binary(binary) => return self.fold(region, binary.f, &operands, point, guard),
            Op::Add(_) => return self.fold(region, Binary::Add, &operands, point, guard),
            Op::Mul(_) => return self.fold(region, Binary::Mul, &operands, point, guard),
            Op::Contract(_) => return self.fold(region, Binary::Mul, &operands, point, guard),
            Op::Select(_) => {
                let [c, a, b] = [0, 1, 2].map(|i| self.expand(region, operands[i], point, guard));
                return Ok(self.push(Expr::Select(c?, a?, b?)));
            }
            Op::Cast(_) => {
                let x = self.expand(region, operands[0], point, guard)?;
                return Ok(self.push(Expr::Cast(elem, x)));
            }
            Op::Broadcast(_) => {}
            Op::Rename(rename) => {
                inner.remove(&rename.to);
                inner.insert(rename.from, at(rename.to));
            }
            Op::Split(split) => {
                split.to.iter().for_each(|a| drop(inner.remove(a)));
                let merged = self.merge(&split.to, point);
                inner.insert(split.from, merged);
            }
            Op::Merge(merge) => {
                inner.remove(&merge.to);
                self.unmerge(at(merge.to), &merge.from, &mut inner);
            }
            Op::Pick(pick) => {
                inner.insert(pick.axis, Index::Known(pick.index));
            }
            Op::Slice(slice) => {
                inner.remove(&slice.to);
                let start = match slice.start {
                    Start::At(start) => Index::Known(start),
                    Start::Last => {
                        let before = sum(&self.size(slice.from), &times(&self.size(slice.to), -1));
                        self.number(&before)
                    }
                };
                let index = self.add(vec![at(slice.to), start]);
                inner.insert(slice.from, index);
            }
            Op::Shift(shift) => {
                let index = self.add(vec![at(shift.axis), Index::Known(shift.by)]);
                return self.inside(region, operands[0], shift.axis, index, f64::from_bits(shift.fill), inner, guard);
            }
            Op::Pad(pad) => {
                inner.remove(&pad.to);
                let index = self.add(vec![at(pad.to), Index::Known(-pad.before)]);
                return match pad.fill {
                    Fill::Constant(fill) => {
                        self.inside(region, operands[0], pad.from, index, f64::from_bits(fill), inner, guard)
                    }
                    Fill::Reflect => self.reflected(region, operands[0], pad.from, index, inner, guard),
                };
            }
            Op::Window(window) => {
                inner.remove(&window.to);
                inner.remove(&window.tap);
                let to = self.mul(vec![at(window.to), Index::Known(window.stride)]);
                let tap = self.mul(vec![at(window.tap), Index::Known(window.dilation)]);
                let index = self.add(vec![to, tap, Index::Known(-window.pad)]);
                if !stays_inside(&self.planner.module.sizes, window) {
                    return self.inside(region, operands[0], window.from, index, 0.0, inner, guard);
                }
                inner.insert(window.from, index);
            }
            Op::Gather(gather) => {
                let mut index = self.expand(region, operands[1], point, guard)?;
                let elem = self.planner.graph(region).ty(operands[1]).elem;
                // Outside of what is wanted nobody says that the index is one.
                for bound in &guard.bounds {
                    let is_wanted = self.is_inside(bound);
                    let first = self.push(Expr::Const { elem, value: 0.0 });
                    index = self.push(Expr::Select(is_wanted, index, first));
                }
                // Nor where another arm was chosen.
                if let Some(only) = self.planner.regions[region.0].needs.of(value).whole(graph) {
                    let is_needed = self.expand(region, only.flag, &Point::new(), &Guard::default())?;
                    let first = self.push(Expr::Const { elem, value: 0.0 });
                    let (yes, no) = if only.when { (index, first) } else { (first, index) };
                    index = self.push(Expr::Select(is_needed, yes, no));
                }
                let size = self.size(gather.axis);
                let extent = self.extent(&size);
                let x_axes = self.planner.graph(region).ty(operands[0]).axes.clone();
                inner.retain(|axis, _| x_axes.contains(*axis));
                if gather.or_zero {
                    let index = (index, elem);
                    return self.gathered_or_zero(region, &operands, (gather.axis, extent), index, inner, guard);
                }
                self.checked.push((index, (region, operands[1]), gather.axis));
                inner.insert(gather.axis, Index::Value(index, extent));
            }
            Op::Dequantize(packed) => {
                inner.remove(&packed.axis);
                return self.dequantized(region, packed, &operands, at(packed.axis), inner, guard);
            }
            Op::Concat(concat) => return self.concat(region, &operands, concat.to, &concat.axes, inner, guard),
            Op::Stack(stack) => return self.stack(region, &operands, stack.axis, inner, guard),
            other => {
                return Err(PlanError::Internal(format!("`{}` is no expression: it needs a buffer", other.name())));
            }
        }
        match x {
            Some(x) => self.expand(region, x, &inner, guard),
            None => Err(PlanError::Internal(format!("`{}` has no operand", op.name()))),
        }
    }

    /// What stands in the buffer of a value; 0 in rows that no expert took, which nobody stored.
    fn or_unchosen(
        &mut self,
        region: RegionId,
        value: Value,
        there: ExprId,
        point: &Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let Some(&index) = self.planner.regions[region.0].fusion.unchosen.get(&value) else { return Ok(there) };
        if self.chosen == Some(index) && region == self.region {
            return Ok(there);
        }
        let graph = self.planner.graph(region);
        let (elem, index_elem) = (graph.ty(value).elem, graph.ty(index).elem);
        let index = self.expand(region, index, point, &Guard { fill: 0.0, ..guard.clone() })?;
        let [zero, first] = [elem, index_elem].map(|elem| self.push(Expr::Const { elem, value: 0.0 }));
        let is_chosen = self.push(Expr::Binary(Binary::Ge, index, first));
        Ok(self.push(Expr::Select(is_chosen, there, zero)))
    }

    /// The operand at a loaded index; where that is negative, 0 (the first element is read, and left).
    fn gathered_or_zero(
        &mut self,
        region: RegionId,
        operands: &[Value],
        (axis, extent): (Axis, Extent),
        (index, elem): (ExprId, Elem),
        mut inner: Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let zero = self.push(Expr::Const { elem, value: 0.0 });
        let has_one = self.push(Expr::Binary(Binary::Ge, index, zero));
        let inside = self.push(Expr::Select(has_one, index, zero));
        self.checked.push((inside, (region, operands[1]), axis));
        inner.insert(axis, Index::Value(inside, extent));
        let there = self.expand(region, operands[0], &inner, guard)?;
        let elem = self.planner.graph(region).ty(operands[0]).elem;
        let zero = self.push(Expr::Const { elem, value: 0.0 });
        Ok(self.push(Expr::Select(has_one, there, zero)))
    }

    /// A value of few bits times the scale of its block. Of two in a byte, the lower half comes first; arithmetic of floats takes them
    /// apart, which is exact and has vectors.
    fn dequantized(
        &mut self,
        region: RegionId,
        packed: &Dequantize,
        operands: &[Value],
        at: Index,
        mut inner: Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let number = |this: &mut Self, value| this.push(Expr::Const { elem: Elem::F32, value });
        inner.insert(packed.block, self.div(at.clone(), Index::Known(packed.size)));
        let stored = match packed.bytes {
            Some(_) => self.div(at.clone(), Index::Known(2)),
            None => at.clone(),
        };
        inner.insert(packed.bytes.unwrap_or(packed.axis), stored);
        match self.unpack {
            Some(Unpack::Values) => return self.expand(region, operands[0], &inner, guard),
            Some(Unpack::Scales) => return self.expand(region, operands[1], &inner, guard),
            None => {}
        }
        let scale = self.expand(region, operands[1], &inner, guard)?;
        let scale = self.push(Expr::Cast(Elem::F32, scale));
        let x = self.expand(region, operands[0], &inner, guard)?;
        let mut x = self.push(Expr::Cast(Elem::F32, x));
        if packed.bytes.is_some() {
            let sixteenth = number(self, 1.0 / 16.0);
            let high = self.push(Expr::Binary(Binary::Mul, x, sixteenth));
            let high = self.push(Expr::Unary(Unary::Floor, high));
            let sixteen = number(self, 16.0);
            let above = self.push(Expr::Binary(Binary::Mul, high, sixteen));
            let low = self.push(Expr::Binary(Binary::Sub, x, above));
            let half = self.rem(at, Index::Known(2));
            let half = self.push(Expr::Index { elem: Elem::I64, index: half });
            let zero = self.push(Expr::Const { elem: Elem::I64, value: 0.0 });
            let is_low = self.push(Expr::Binary(Binary::Eq, half, zero));
            let half = self.push(Expr::Select(is_low, low, high));
            let zero = number(self, Dequantize::ZERO);
            x = self.push(Expr::Binary(Binary::Sub, half, zero));
        }
        Ok(self.push(Expr::Binary(Binary::Mul, x, scale)))
    }

    /// Operands joined by a function, from the left.
    fn fold(
        &mut self,
        region: RegionId,
        f: Binary,
        operands: &[Value],
        point: &Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let mut result = None;
        for &operand in operands {
            let x = self.expand(region, operand, point, guard)?;
            result = Some(match result {
                None => x,
                Some(sofar) => self.push(Expr::Binary(f, sofar, x)),
            });
        }
        result.ok_or_else(|| PlanError::Internal(format!("`{f}` without operands")))
    }

    /// `0 <= index < extent` as an expression.
    pub(super) fn is_inside(&mut self, bound: &Bound) -> ExprId {
        let index = self.push(Expr::Index { elem: Elem::I64, index: bound.index.clone() });
        let zero = self.push(Expr::Const { elem: Elem::I64, value: 0.0 });
        let extent = match bound.extent {
            crate::kernel::Extent::Known(n) => Index::Known(n),
            crate::kernel::Extent::Dim(d) => Index::Dim(d),
        };
        let extent = self.push(Expr::Index { elem: Elem::I64, index: extent });
        let low = self.push(Expr::Binary(Binary::Ge, index, zero));
        let high = self.push(Expr::Binary(Binary::Lt, index, extent));
        self.push(Expr::Binary(Binary::And, low, high))
    }

    /// The operand where `index` lies inside `axis`, else `fill`.
    #[allow(clippy::too_many_arguments, reason = "one view, spelled out")]
    fn inside(
        &mut self,
        region: RegionId,
        x: Value,
        axis: Axis,
        index: Index,
        fill: f64,
        mut inner: Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let size = self.size(axis);
        if let (Index::Known(at), Some(n)) = (&index, size.as_known())
            && !(0..n).contains(at)
        {
            let elem = self.planner.graph(region).ty(x).elem;
            return Ok(self.push(Expr::Const { elem, value: fill }));
        }
        let extent = self.extent(&size);
        let bound = Bound { index: index.clone(), extent };
        inner.insert(axis, index);
        let mut bounds = guard.bounds.clone();
        bounds.push(bound.clone());
        let is_fill = |other: f64| other.to_bits() == fill.to_bits();
        let same_fill = guard.bounds.is_empty() || is_fill(guard.fill);
        let expr = self.expand(region, x, &inner, &Guard { bounds, fill: if same_fill { fill } else { 0.0 } })?;
        // A load within this bound gives the fill by itself.
        if matches!(self.kernel.expr(expr), Expr::Load { bounds, otherwise, .. } if bounds.contains(&bound) && is_fill(*otherwise))
        {
            return Ok(expr);
        }
        let condition = self.is_inside(&bound);
        let elem = self.planner.graph(region).ty(x).elem;
        let fill = self.push(Expr::Const { elem, value: fill });
        Ok(self.push(Expr::Select(condition, expr, fill)))
    }

    /// The operand mirrored at both ends: `x[-i]` before the start, `x[2 (n - 1) - i]` after the end.
    fn reflected(
        &mut self,
        region: RegionId,
        x: Value,
        axis: Axis,
        index: Index,
        inner: Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let size = self.size(axis);
        let last = super::sizes::sum(&size, &Size::known(-1));
        let twice = self.number(&super::sizes::times(&last, 2));
        let before = self.mul(vec![index.clone(), Index::Known(-1)]);
        let after = self.add(vec![twice, before.clone()]);
        let [before, middle, after] =
            [before, index.clone(), after].map(|index| self.inside(region, x, axis, index, 0.0, inner.clone(), guard));
        let index = self.push(Expr::Index { elem: Elem::I64, index });
        let zero = self.push(Expr::Const { elem: Elem::I64, value: 0.0 });
        let size = self.number(&size);
        let size = self.push(Expr::Index { elem: Elem::I64, index: size });
        let is_before = self.push(Expr::Binary(Binary::Lt, index, zero));
        let is_inside = self.push(Expr::Binary(Binary::Lt, index, size));
        let rest = self.push(Expr::Select(is_inside, middle?, after?));
        Ok(self.push(Expr::Select(is_before, before?, rest)))
    }

    fn concat(
        &mut self,
        region: RegionId,
        operands: &[Value],
        to: Axis,
        axes: &[Axis],
        mut inner: Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let at = inner.remove(&to).unwrap_or(Index::Known(0));
        let mut start = Size::default();
        let mut parts = Vec::new();
        for (&operand, &axis) in operands.iter().zip(axes) {
            let end = super::sizes::sum(&start, &self.size(axis));
            let offset = self.number(&super::sizes::times(&start, -1));
            let index = self.add(vec![at.clone(), offset]);
            parts.push((operand, axis, index, end.clone()));
            start = end;
        }
        let mut result = None;
        for (operand, axis, index, end) in parts.into_iter().rev() {
            let Some(rest) = result else {
                result = Some(self.inside(region, operand, axis, index, 0.0, inner.clone(), guard)?);
                continue;
            };
            let part = self.inside(region, operand, axis, index, 0.0, inner.clone(), guard)?;
            let here = self.push(Expr::Index { elem: Elem::I64, index: at.clone() });
            let end = self.number(&end);
            let end = self.push(Expr::Index { elem: Elem::I64, index: end });
            let is_here = self.push(Expr::Binary(Binary::Lt, here, end));
            result = Some(self.push(Expr::Select(is_here, part, rest)));
        }
        result.ok_or_else(|| PlanError::Internal("`concat` without operands".into()))
    }

    fn stack(
        &mut self,
        region: RegionId,
        operands: &[Value],
        axis: Axis,
        mut inner: Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        let at = inner.remove(&axis).unwrap_or(Index::Known(0));
        if let Index::Known(n) = at {
            return self.expand(region, operands[n as usize], &inner, guard);
        }
        let here = self.push(Expr::Index { elem: Elem::I64, index: at });
        let mut result = None;
        for (i, &operand) in operands.iter().enumerate().rev() {
            let x = self.expand(region, operand, &inner, guard)?;
            result = Some(match result {
                None => x,
                Some(rest) => {
                    let number = self.push(Expr::Const { elem: Elem::I64, value: i as f64 });
                    let is_here = self.push(Expr::Binary(Binary::Eq, here, number));
                    self.push(Expr::Select(is_here, x, rest))
                }
            });
        }
        result.ok_or_else(|| PlanError::Internal("`stack` without operands".into()))
    }

    /// A constant tensor, element by element.
    fn table(&mut self, elem: Elem, order: &[Axis], values: &[u64], point: &Point) -> Result<ExprId, PlanError> {
        if values.len() > MAX_TABLE {
            return Err(PlanError::Table { elements: values.len(), most: MAX_TABLE });
        }
        let index = self.merge(order, point);
        if let Index::Known(n) = index {
            return Ok(self.push(Expr::Const { elem, value: f64::from_bits(values[n as usize]) }));
        }
        let here = self.push(Expr::Index { elem: Elem::I64, index });
        let mut result = self.push(Expr::Const { elem, value: f64::from_bits(values.last().copied().unwrap_or(0)) });
        for (i, &value) in values.iter().enumerate().rev().skip(1) {
            let value = self.push(Expr::Const { elem, value: f64::from_bits(value) });
            let number = self.push(Expr::Const { elem: Elem::I64, value: i as f64 });
            let is_here = self.push(Expr::Binary(Binary::Eq, here, number));
            result = self.push(Expr::Select(is_here, value, result));
        }
        Ok(result)
    }
}
