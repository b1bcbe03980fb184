//! What the vectors of a nest run along.

use crate::kernel::index::known_stride;
use crate::kernel::{Expr, Index, Kernel, Loop, Nest, Stage, Var};

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

/// Chooses so that the most accesses read neighbours; `lanes` is what a register holds.
pub fn along(kernel: &Kernel, nest: &Nest, lanes: u32) -> Along {
    let is_running = nest.stages.iter().any(|s| matches!(s, Stage::Running { .. }));
    let serial = nest.stages.iter().any(|s| match s {
        Stage::Reduce { fold, .. } => matches!(fold, crate::kernel::Fold::ArgMax | crate::kernel::Fold::ArgMin),
        Stage::Running { .. } | Stage::Map { .. } => false,
    });
    let inner: Vec<Var> = nest.stages.iter().filter_map(|s| innermost(s).map(|l| l.var)).collect();
    let outer = nest.outer.last().map(|l| l.var);
    let neighbours =
        |vars: &[Var]| accesses(kernel, nest).filter(|i| vars.iter().any(|v| known_stride(i, *v) == Some(1))).count();
    let by_inner = if inner.is_empty() { 0 } else { neighbours(&inner) };
    let by_outer = outer.map_or(0, |v| neighbours(&[v]));
    if serial {
        return Along::Nothing;
    }
    match (by_outer > by_inner, inner.is_empty()) {
        // Each point walks alone; two registers of them share what is the same for all.
        (true, _) if nest.walk.is_some() => Along::Points(2 * lanes),
        (true, _) => Along::Outer,
        // Each element follows the one before.
        (false, _) if is_running => Along::Nothing,
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
