//! What a term costs, by the roofline, at assumed sizes. Shared terms are counted once, by whoever adds up.

use std::collections::{BTreeMap, BTreeSet};

use super::term::is_at_load;
use crate::graph::{Axis, AxisSet, Entry, Graph, Sizes, TYPICAL_SIZE, Type, Value};
use crate::machine::Machine;
use crate::ops::{Class, Gather, Op, Scan};
use crate::pipeline::OptimizeOptions;

/// Sizes of axes for estimates, and the machine that they are for.
pub struct Extents {
    axes: BTreeMap<Axis, f64>,
    pub machine: Machine,
}

impl Extents {
    /// At these sizes of symbols; others are typical.
    pub fn at(sizes: &Sizes, options: &OptimizeOptions, point: &[(String, i64)]) -> Self {
        let bind = |name: &str| {
            let given = point.iter().find(|(n, _)| n == name).map(|(_, size)| *size);
            Some(given.unwrap_or(TYPICAL_SIZE))
        };
        let axes = sizes.iter().map(|(axis, size)| (axis, size.eval(&bind).unwrap_or(0) as f64)).collect();
        Self { axes, machine: options.machine }
    }

    /// Elements along axes.
    pub fn count(&self, axes: &AxisSet) -> f64 {
        axes.iter().map(|a| self.axes.get(&a).copied().unwrap_or(1.0)).product()
    }
}

/// Of choices that may be none, such as those of a threshold, the share that is one. Nothing is known of it before a run.
const CHOSEN: f64 = 0.5;

/// Flops of a function of one element, in estimates.
const FUNCTION: f64 = 16.0;

/// An operand, as far as costs go.
pub struct Operand {
    pub at_load: bool,
    /// Bytes that are read of it.
    pub bytes: f64,
    /// The share of the rows for which it is there: others have no expert.
    pub rows: f64,
}

impl Operand {
    pub fn new(ty: &Type, at_load: bool, extents: &Extents) -> Self {
        Self { at_load, bytes: bytes(ty, extents), rows: 1.0 }
    }

    /// `gather(weights, index)` that a contraction reads: each matrix that some row asks for, once.
    pub fn gathered(weights: &Type, gather: &Gather, index: &Type, extents: &Extents) -> Self {
        let experts = extents.count(&gather.axis.into()).max(1.0);
        let share = (extents.count(&index.axes) / experts).min(1.0);
        Self { at_load: false, bytes: bytes(weights, extents) * share, rows: if gather.or_zero { CHOSEN } else { 1.0 } }
    }
}

pub fn bytes(ty: &Type, extents: &Extents) -> f64 {
    extents.count(&ty.axes) * ty.elem.bytes() as f64
}

/// Where a value is when fusion is done, as far as costs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In a buffer, or with whoever reads it: leaves and views of what is stored.
    Stored,
    /// In a kernel that folds: it may be read there.
    Nest,
    /// In the epilogue of a contraction, whose result is paid for.
    Epilogue,
    /// In no kernel yet: pointwise work on what is stored.
    Nowhere,
}

impl Home {
    /// The home of an op's result, from those of its operands; of these, too, whether they vary as the result does.
    pub fn of(op: &Op, operands: &[(Self, bool)]) -> Self {
        match op.class() {
            Class::Leaf | Class::Select | Class::Loop => Self::Stored,
            Class::Contract => Self::Epilogue,
            Class::Reduce => Self::Nest,
            Class::View => operands.first().map_or(Self::Stored, |(home, _)| *home),
            Class::Pointwise if operands.contains(&(Self::Epilogue, true)) => Self::Epilogue,
            Class::Pointwise if operands.iter().any(|(home, _)| *home == Self::Nest) => Self::Nest,
            Class::Pointwise => Self::Nowhere,
        }
    }

    /// Nanoseconds until a contraction can read a value of so many bytes: its left operand must be in a buffer.
    pub fn store(self, bytes: f64, machine: &Machine) -> f64 {
        match self {
            Self::Stored | Self::Epilogue => 0.0,
            Self::Nest => machine.time(0.0, bytes),
            Self::Nowhere => machine.kernel_ns + machine.time(0.0, 2.0 * bytes),
        }
    }
}

/// Nanoseconds of an op.
pub fn of(op: &Op, ty: &Type, operands: &[Operand], extents: &Extents) -> f64 {
    if !operands.is_empty() && operands.iter().all(|o| o.at_load) {
        return 0.0;
    }
    let machine = &extents.machine;
    let bytes = |ty: &Type| bytes(ty, extents);
    let moved = |operands: &[Operand]| bytes(ty) + operands.iter().map(|o| o.bytes).sum::<f64>();
    match op.class() {
        Class::Leaf => 0.0,
        // Weights are gathered by the contraction that reads them.
        Class::View => match op {
            Op::Gather(_) if !operands[0].at_load => machine.time(0.0, 2.0 * bytes(ty)),
            _ => 0.0,
        },
        // Part of a neighbour, as a rule: no traffic of its own.
        Class::Pointwise => {
            let flops =
                if matches!(op, Op::Unary(_)) { FUNCTION } else { operands.len().saturating_sub(1).max(1) as f64 };
            machine.time(extents.count(&ty.axes) * flops, 0.0)
        }
        Class::Reduce | Class::Select => machine.kernel_ns + machine.time(moved(operands) / 2.0, moved(operands)),
        Class::Contract => {
            let Op::Contract(contract) = op else { return 0.0 };
            let sums = extents.count(&contract.over);
            let rows = operands.iter().map(|o| o.rows).fold(1.0, f64::min);
            let flops = 2.0 * extents.count(&ty.axes) * sums * rows;
            machine.kernel_ns + machine.time(flops, moved(operands))
        }
        Class::Loop => machine.kernel_ns,
    }
}

/// Nanoseconds of a graph at these sizes; a loop's body counts for each iteration.
pub fn of_graph(graph: &Graph, sizes: &Sizes, extents: &Extents, known: &dyn Fn(&Op) -> bool) -> f64 {
    let mut at_load: Vec<bool> = Vec::new();
    let mut homes: Vec<Home> = Vec::new();
    let mut stored: BTreeSet<Value> = BTreeSet::new();
    let mut total = 0.0;
    for id in graph.ids() {
        let node = graph.node(id);
        let operands = graph.operands(id);
        let known_operands: Vec<bool> = operands.iter().map(|v| at_load[v.node.index()]).collect();
        let costs: Vec<Operand> = operands
            .iter()
            .map(|v| {
                let inner = graph.operands(v.node);
                match (&node.op, graph.op(*v)) {
                    (Op::Contract(_), Op::Gather(gather))
                        if at_load[inner[0].node.index()] && !at_load[inner[1].node.index()] =>
                    {
                        Operand::gathered(graph.ty(inner[0]), gather, graph.ty(inner[1]), extents)
                    }
                    _ => Operand::new(graph.ty(*v), at_load[v.node.index()], extents),
                }
            })
            .collect();
        total += of(&node.op, graph.ty(Value::of(id)), &costs, extents);
        if let Op::Scan(scan) = &node.op {
            total += of_body(scan, &known_operands, sizes, extents);
        }
        let axes = &node.types[0].axes;
        let homes_below: Vec<(Home, bool)> =
            operands.iter().map(|v| (homes[v.node.index()], graph.ty(*v).axes == *axes)).collect();
        if node.op.class() == Class::Contract {
            for (value, (home, _)) in operands.iter().zip(&homes_below) {
                if !at_load[value.node.index()] && stored.insert(*value) {
                    total += home.store(bytes(graph.ty(*value), extents), &extents.machine);
                }
            }
        }
        homes.push(Home::of(&node.op, &homes_below));
        at_load.push(is_at_load(&node.op, &node.types[0], &known_operands, sizes, known));
    }
    total
}

/// Nanoseconds of all iterations of a loop, of whose operands some are known at load.
pub fn of_body(scan: &Scan, known_operands: &[bool], sizes: &Sizes, extents: &Extents) -> f64 {
    let inside = |op: &Op| match op {
        Op::Item(item) => known_operands.get((scan.carries + item.index) as usize) == Some(&true),
        Op::Capture(c) => known_operands.get((scan.carries + scan.items + c.index) as usize) == Some(&true),
        _ => false,
    };
    extents.count(&scan.axis.into()) * of_graph(&scan.body, sizes, extents, &inside)
}

/// Nanoseconds of an entry's graph, at the sizes for which the entry was made.
pub fn of_entry(entry: &Entry, graph: &Graph, sizes: &Sizes, options: &OptimizeOptions) -> f64 {
    let point = entry.assumed.as_ref().unwrap_or(&options.assume);
    of_graph(graph, sizes, &Extents::at(sizes, options, point), &|_| false)
}
