//! The roles of axes and operands in a contraction that runs on packed panels.

use gatec_lang::Size;
use gatec_runtime::format::Isa;

use crate::graph::{Axis, AxisSet, Elem, Graph, Sizes, Value};
use crate::ops::{Class, Op, Window};

use super::MAX_GATES;

/// The least rows and columns for which packing a right operand anew with every call pays.
const MIN_PACKED_EACH_CALL: i64 = 4;

/// How a contraction `x @ w` is laid out. All axis sets are disjoint.
#[derive(Clone, Debug)]
pub struct Roles {
    /// The operand that is read where it stands.
    pub x: Value,
    /// The operand that is packed.
    pub w: Value,
    pub batch: AxisSet,
    pub rows: AxisSet,
    pub cols: AxisSet,
    pub sums: AxisSet,
    /// An axis of `w` that every reader of the result picks from: its elements are accumulators side by side.
    pub gate: Option<Axis>,
    /// Rows choose their matrix: `w` is `gather[expert](weights, index)`.
    pub grouped: Option<Grouped>,
}

#[derive(Clone, Debug)]
pub struct Grouped {
    pub expert: Axis,
    pub weights: Value,
    pub index: Value,
    /// A row of a negative index has no expert: its sums are 0.
    pub or_zero: bool,
}

impl Roles {
    /// The axes of the result, as its epilogue sees them.
    pub fn point(&self) -> AxisSet {
        self.batch.union(&self.rows).union(&self.cols)
    }

    /// The roles, or why a plain nest serves better.
    pub fn of(
        graph: &Graph,
        sizes: &Sizes,
        value: Value,
        at_load: &dyn Fn(Value) -> bool,
        isa: Isa,
    ) -> Result<Self, &'static str> {
        let Op::Contract(op) = graph.op(value) else { return Err("it is no contraction") };
        match graph.ty(value).elem {
            elem if elem.is_float() => {}
            Elem::I32 if isa != Isa::Sm80 => {}
            _ => return Err("panels hold floats and, on CPUs, i32 only"),
        }
        let operands = graph.operands(value.node);
        let known = operands.iter().rev().copied().find(|v| at_load(*v) || grouped(graph, *v, at_load).is_some());
        let w = known.unwrap_or(operands[1]);
        let x = if w == operands[1] { operands[0] } else { operands[1] };
        let sums = op.over.clone();
        let grouped = grouped(graph, w, at_load);
        let x_free = graph.ty(x).axes.minus(&sums);
        let (batch, rows, cols) = match &grouped {
            Some(grouped) => {
                let index = &graph.ty(grouped.index).axes;
                let weights = graph.ty(grouped.weights).axes.without(grouped.expert);
                let rows = x_free.union(index);
                // An index along a contracted or a weight axis chooses no rows.
                if !rows.is_disjoint(&weights) || !index.is_disjoint(&sums) || !sums.is_subset(&weights) {
                    return Err("the index of the experts varies along their own axes");
                }
                (AxisSet::default(), rows, weights.minus(&sums))
            }
            None => {
                let w_free = graph.ty(w).axes.minus(&sums);
                let batch = x_free.intersection(&w_free);
                (batch.clone(), x_free.minus(&batch), w_free.minus(&batch))
            }
        };
        let pays = match known {
            Some(_) => !cols.is_empty() && extent(sizes, &cols) != Some(1),
            None => is_many(sizes, &rows) && is_many(sizes, &cols),
        };
        if !pays {
            return Err(match known {
                Some(_) => "no columns to share the left operand",
                None => "nothing is known at load, and too few rows or columns would share the packing",
            });
        }
        let gate = gate_axis(graph, sizes, value, &cols);
        let cols = gate.map_or(cols.clone(), |gate| cols.without(gate));
        Ok(Self { x, w, batch, rows, cols, sums, gate, grouped })
    }
}

pub(super) fn extent(sizes: &Sizes, axes: &AxisSet) -> Option<i64> {
    axes.iter().try_fold(1i64, |n, a| Some(n.saturating_mul(sizes.get(a)?.as_known()?)))
}

/// Are there enough rows, or columns, that packing a right operand anew with every call pays?
pub(super) fn is_many(sizes: &Sizes, axes: &AxisSet) -> bool {
    !axes.is_empty() && extent(sizes, axes).is_none_or(|n| n >= MIN_PACKED_EACH_CALL)
}

fn grouped(graph: &Graph, w: Value, at_load: &dyn Fn(Value) -> bool) -> Option<Grouped> {
    let Op::Gather(gather) = graph.op(w) else { return None };
    let operands = graph.operands(w.node);
    let (weights, index) = (operands[0], operands[1]);
    (at_load(weights) && !at_load(index)).then_some(Grouped {
        expert: gather.axis,
        weights,
        index,
        or_zero: gather.or_zero,
    })
}

/// A view whose elements are elements of its operand, at an index that never leaves it.
pub fn is_plain_view(graph: &Graph, sizes: &Sizes, value: Value) -> bool {
    match graph.op(value) {
        Op::Window(window) => stays_inside(sizes, window),
        Op::Shift(_) | Op::Pad(_) | Op::Concat(_) | Op::Stack(_) | Op::Dequantize(_) => false,
        op => op.class() == Class::View,
    }
}

/// The axes of a view's operand along which an element moves when it moves along `axes` of the view.
pub fn axes_below(op: &Op, axes: &AxisSet) -> AxisSet {
    let renamed = |to: &[Axis], from: &[Axis]| -> AxisSet {
        let moved = to.iter().any(|a| axes.contains(*a));
        let rest = axes.iter().filter(|a| !to.contains(a));
        rest.chain(from.iter().copied().filter(|_| moved)).collect()
    };
    match op {
        Op::Rename(rename) => renamed(&[rename.to], &[rename.from]),
        Op::Split(split) => renamed(&split.to, &[split.from]),
        Op::Merge(merge) => renamed(&[merge.to], &merge.from),
        Op::Slice(slice) => renamed(&[slice.to], &[slice.from]),
        Op::Window(window) => renamed(&[window.to, window.tap], &[window.from]),
        _ => axes.clone(),
    }
}

/// The order of the axes of what an op makes of its first operand, whose axes stand in `order`.
pub fn order_above(op: &Op, order: Vec<Axis>) -> Vec<Axis> {
    let above = |axis: Axis| match op {
        Op::Segment(segment) if axis == segment.from => vec![segment.to],
        Op::Rename(rename) if axis == rename.from => vec![rename.to],
        Op::Slice(slice) if axis == slice.from => vec![slice.to],
        Op::Pad(pad) if axis == pad.from => vec![pad.to],
        Op::Dequantize(packed) if Some(axis) == packed.bytes => vec![packed.axis],
        Op::Split(split) if axis == split.from => split.to.clone(),
        Op::Merge(merge) if merge.from.last() == Some(&axis) => vec![merge.to],
        Op::Window(window) if axis == window.from => vec![window.to, window.tap],
        _ => vec![axis],
    };
    order.into_iter().flat_map(above).collect()
}

/// Does no element of a window lie outside of the axis it slides along, whatever the sizes?
pub fn stays_inside(sizes: &Sizes, window: &Window) -> bool {
    let left = || -> Option<Size> {
        let minus_one = |axis| sizes.get(axis)?.checked_sub(&Size::known(1));
        let last = minus_one(window.to)?.checked_mul(&Size::known(window.stride))?;
        let tap = minus_one(window.tap)?.checked_mul(&Size::known(window.dilation))?;
        let reach = last.upper_bound().checked_add(&tap)?.checked_sub(&Size::known(window.pad))?;
        minus_one(window.from)?.checked_sub(&reach)
    };
    window.pad == 0 && left().and_then(|size| size.as_known()).is_some_and(|n| n >= 0)
}

/// The axis among `w`'s columns from which every user of the contraction picks a known element, if there is one.
fn gate_axis(graph: &Graph, sizes: &Sizes, value: Value, cols: &AxisSet) -> Option<Axis> {
    if graph.results.contains(&value) || cols.len() < 2 {
        return None;
    }
    let mut picked = graph.uses(value).into_iter().map(|(user, _)| match &graph.node(user).op {
        Op::Pick(pick) => Some(pick.axis),
        _ => None,
    });
    let gate = picked.next()??;
    let few = sizes.get(gate)?.as_known()? <= MAX_GATES;
    (few && cols.contains(gate) && picked.all(|g| g == Some(gate))).then_some(gate)
}
