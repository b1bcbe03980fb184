//! What the vectors of a nest run along.

use crate::kernel::index::{self, known_stride};
use crate::kernel::{Expr, Extent, Index, Kernel, Loop, Nest, Segment, Stage, Var};

/// The loop that vectors run along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The innermost loop of each stage.
    Inner,
    /// The innermost loop around the stages: each lane is a point of its own, with its own folds.
    Outer,
    /// The same, so many neighbouring points at once: they are a unit.
    Points(u32),
    /// None: element by element.
    Nothing,
}

/// Registers of sums that hide the latency of an addition.
const MOST_SUMS: u32 = 4;

/// Chooses so that the most accesses read neighbours; `lanes` is what a register holds.
pub fn along(kernel: &Kernel, nest: &Nest, lanes: u32) -> Along {
    let is_running = nest.stages.iter().any(|s| matches!(s, Stage::Running { .. }));
    let serial = nest.stages.iter().any(|s| match s {
        Stage::Reduce { fold, .. } => matches!(fold, crate::kernel::Fold::ArgMax | crate::kernel::Fold::ArgMin),
        Stage::Running { .. } | Stage::Map { .. } => false,
    });
    let has_folds = nest.stages.iter().any(|s| matches!(s, Stage::Reduce { .. }));
    let inner: Vec<Var> = nest.stages.iter().filter_map(|s| innermost(s).map(|l| l.var)).collect();
    let outer = nest.outer.last().map(|l| l.var);
    let neighbours =
        |vars: &[Var]| accesses(kernel, nest).filter(|i| vars.iter().any(|v| known_stride(i, *v) == Some(1))).count();
    let segments: Vec<&Segment> = nest.stages.iter().filter_map(|s| Some(s.segment()?.0)).collect();
    // Iterations of a segment are not neighbours.
    let by_inner = if inner.is_empty() || !segments.is_empty() { 0 } else { neighbours(&inner) };
    let by_outer = outer.map_or(0, |v| neighbours(&[v]));
    let is_apart = |v: Var| segments.iter().any(|s| index::mentions(&s.at, v));
    if serial || outer.is_some_and(is_apart) {
        return Along::Nothing;
    }
    let is_told = outer.is_some_and(|v| nest.only.is_some_and(|only| kernel.varies(only, v)));
    match (by_outer > by_inner && !is_told, inner.is_empty()) {
        // Each point walks alone; two registers of them share what is the same for all.
        (true, _) if nest.walk.is_some() => Along::Points(2 * lanes),
        (true, _) => match nest.outer.last().map(|l| l.extent) {
            // One sum at a time waits for itself: several registers of them do not.
            Some(Extent::Known(n)) if has_folds && n >= 2 * i64::from(lanes) => {
                Along::Points(lanes * (n as u32 / lanes).min(MOST_SUMS))
            }
            _ => Along::Outer,
        },
        // Each element follows the one before.
        (false, _) if is_running || !segments.is_empty() => Along::Nothing,
        (false, false) => Along::Inner,
        (false, true) => Along::Nothing,
    }
}

/// The innermost loop of a stage.
pub fn innermost(stage: &Stage) -> Option<&Loop> {
    match stage {
        Stage::Reduce { inner, .. } | Stage::Map { inner, .. } => inner.last(),
        Stage::Running { over, .. } => Some(over),
    }
}

fn accesses<'a>(kernel: &'a Kernel, nest: &'a Nest) -> impl Iterator<Item = &'a Index> {
    let loads = kernel.exprs.iter().filter_map(|e| match e {
        Expr::Load { index, .. } => Some(index),
        _ => None,
    });
    let stores = nest.stages.iter().flat_map(|s| match s {
        Stage::Map { stores, .. } => stores.as_slice(),
        Stage::Running { store, .. } => std::slice::from_ref(store),
        Stage::Reduce { .. } => &[],
    });
    loads.chain(stores.map(|s| &s.index))
}
