//! What a term costs, by the roofline, at assumed sizes. Shared terms are counted once, by whoever adds up.

use std::collections::BTreeMap;

use crate::graph::{Axis, AxisSet, Graph, Module, Type, Value};
use crate::machine::TYPICAL;
use crate::ops::{Class, Op};

/// Size of a symbolic axis without an assumption.
const TYPICAL_SIZE: f64 = 64.0;

/// Sizes of axes for estimates.
pub struct Extents {
    axes: BTreeMap<Axis, f64>,
}

impl Extents {
    pub fn new(module: &Module, assume: &[(String, i64)]) -> Self {
        let bind = |name: &str| {
            let given = assume.iter().find(|(n, _)| n == name).map(|(_, size)| *size);
            Some(given.unwrap_or(TYPICAL_SIZE as i64))
        };
        let axes = module.sizes.iter().map(|(axis, size)| (axis, size.eval(&bind).unwrap_or(0) as f64)).collect();
        Self { axes }
    }

    /// Elements along axes. Axes that rules made are gates: few.
    pub fn count(&self, axes: &AxisSet) -> f64 {
        axes.iter().map(|a| self.axes.get(&a).copied().unwrap_or(GATES)).product()
    }
}

/// The size of an axis that a rule made, in estimates.
const GATES: f64 = 2.0;

/// An operand, as far as costs go.
pub struct Operand {
    pub at_load: bool,
    /// Bytes that are read of it.
    pub bytes: f64,
}

impl Operand {
    pub fn new(ty: &Type, at_load: bool, extents: &Extents) -> Self {
        Self { at_load, bytes: bytes(ty, extents) }
    }

    /// `gather(weights, index)` that a contraction reads: each matrix that some row asks for, once.
    pub fn gathered(weights: &Type, axis: Axis, index: &Type, extents: &Extents) -> Self {
        let experts = extents.count(&axis.into()).max(1.0);
        let share = (extents.count(&index.axes) / experts).min(1.0);
        Self { at_load: false, bytes: bytes(weights, extents) * share }
    }
}

fn bytes(ty: &Type, extents: &Extents) -> f64 {
    extents.count(&ty.axes) * ty.elem.bytes() as f64
}

/// Nanoseconds of an op.
pub fn of(op: &Op, ty: &Type, operands: &[Operand], extents: &Extents) -> f64 {
    if !operands.is_empty() && operands.iter().all(|o| o.at_load) {
        return 0.0;
    }
    let bytes = |ty: &Type| bytes(ty, extents);
    let moved = |operands: &[Operand]| bytes(ty) + operands.iter().map(|o| o.bytes).sum::<f64>();
    match op.class() {
        Class::Leaf => 0.0,
        // Weights are gathered by the contraction that reads them.
        Class::View => match op {
            Op::Gather(_) if !operands[0].at_load => TYPICAL.time(0.0, 2.0 * bytes(ty)),
            _ => 0.0,
        },
        // Part of a neighbour, as a rule: a fraction of its traffic.
        Class::Pointwise => TYPICAL.time(extents.count(&ty.axes) * 8.0, 0.0),
        Class::Reduce | Class::Select => TYPICAL.kernel_ns + TYPICAL.time(moved(operands) / 2.0, moved(operands)),
        Class::Contract => {
            let Op::Contract(contract) = op else { return 0.0 };
            let sums = extents.count(&contract.over);
            let flops = 2.0 * extents.count(&ty.axes) * sums;
            TYPICAL.kernel_ns + TYPICAL.time(flops, moved(operands))
        }
        Class::Loop => TYPICAL.kernel_ns,
    }
}

/// Nanoseconds of a graph at these sizes; a loop's body counts for each iteration.
pub fn of_graph(graph: &Graph, extents: &Extents, known: &dyn Fn(&Op) -> bool) -> f64 {
    let mut at_load: Vec<bool> = Vec::new();
    let mut total = 0.0;
    for id in graph.ids() {
        let node = graph.node(id);
        let operands = graph.operands(id);
        let known_operands: Vec<bool> = operands.iter().map(|v| at_load[v.node.index()]).collect();
        let costs: Vec<Operand> = operands
            .iter()
            .map(|v| match (&node.op, graph.op(*v)) {
                (Op::Contract(_), Op::Gather(gather)) if at_load[graph.operands(v.node)[0].node.index()] => {
                    let inner = graph.operands(v.node);
                    Operand::gathered(graph.ty(inner[0]), gather.axis, graph.ty(inner[1]), extents)
                }
                _ => Operand::new(graph.ty(*v), at_load[v.node.index()], extents),
            })
            .collect();
        total += of(&node.op, graph.ty(Value::of(id)), &costs, extents);
        if let Op::Scan(scan) = &node.op {
            let inside = |op: &Op| match op {
                Op::Item(item) => known_operands.get((scan.carries + item.index) as usize) == Some(&true),
                Op::Capture(c) => known_operands.get((scan.carries + scan.items + c.index) as usize) == Some(&true),
                _ => false,
            };
            total += extents.count(&scan.axis.into()) * of_graph(&scan.body, extents, &inside);
        }
        let is_known = matches!(node.op, Op::Param(_) | Op::Loaded(_) | Op::Const(_) | Op::Table(_))
            || known(&node.op)
            || (!known_operands.is_empty()
                && known_operands.iter().all(|k| *k)
                && !matches!(node.op.class(), Class::Loop));
        at_load.push(is_known);
    }
    total
}

/// Nanoseconds of each entry.
pub fn of_entries(module: &Module, assume: &[(String, i64)]) -> Vec<f64> {
    let extents = Extents::new(module, assume);
    module.entries.iter().map(|e| of_graph(&e.graph, &extents, &|_| false)).collect()
}
