//! What the vectors of a nest run along.

use super::{Choices, known};
use crate::kernel::index::{self, Stride, known_stride};
use crate::kernel::{BufferId, Expr, ExprId, Extent, Index, Kernel, Loop, Nest, Segment, Stage, Var};

/// The loop that vectors run along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The innermost loop of each stage.
    Inner,
    /// The innermost loop around the stages: each lane is a point of its own, with its own folds.
    Outer,
    /// The same, so many neighbouring points at once: they are a unit.
    Points(u32),
    /// The innermost loop of each fold, for so many points of the innermost loop around the stages at once, which are a unit: what their lanes
    /// hold is folded across together, and what comes of it is stored as a vector of points.
    Across(u32),
    /// The innermost loop around the stages, of a map with loads whose neighbours stand along this loop of the nest: a block of its points is a unit, and squares are turned.
    Turned(u32),
    /// None: element by element.
    Nothing,
}

/// Chooses so that the most accesses read neighbours; `lanes` is what a register holds.
pub fn along(kernel: &Kernel, nest: &Nest, lanes: u32, choices: &Choices) -> Along {
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
    // One that varies along a vector, but not from neighbour to neighbour, is read lane by lane.
    let strays = |vars: &[Var]| {
        let varies = |i: &Index, v: Var| {
            let mut read = Vec::new();
            index::values(i, &mut read);
            index::mentions(i, v) || read.into_iter().any(|expr| kernel.varies(expr, v))
        };
        let stray = |i: &&Index| vars.iter().any(|v| varies(i, *v) && known_stride(i, *v) != Some(1));
        accesses(kernel, nest).filter(stray).count()
    };
    let is_even = nest.outer.last().is_some_and(|l| is_long(l, lanes) && strays(&[l.var]) == 0) && strays(&inner) > 0;
    let is_told = outer.is_some_and(|v| nest.only.is_some_and(|only| kernel.varies(only, v)));
    let inner_is_long = nest.stages.iter().filter_map(innermost).all(|l| is_long(l, lanes));
    match ((by_outer > by_inner || is_even) && !is_told, inner.is_empty()) {
        // Each point walks alone; two registers of them share what is the same for all.
        (true, _) if nest.walk.is_some() => Along::Points(2 * lanes),
        (true, _) => match nest.outer.last().map(|l| l.extent) {
            // One sum at a time waits for itself: several registers of them do not.
            Some(Extent::Known(n)) if has_folds && n >= 2 * i64::from(lanes) => {
                Along::Points(lanes * (n as u32 / lanes).min(choices.nest_vectors))
            }
            _ => Along::Outer,
        },
        // Each element follows the one before.
        (false, _) if is_running || !segments.is_empty() => Along::Nothing,
        (false, false) => {
            match (0..).zip(&nest.outer).find(|(_, l)| turned_loads(kernel, nest, l.var).next().is_some()) {
                Some((with, l)) if nest.walk.is_none() && nest.only.is_none() && is_long(l, lanes) && inner_is_long => {
                    Along::Turned(with)
                }
                _ if folds_across(kernel, nest, lanes) => Along::Across(lanes),
                _ => Along::Inner,
            }
        }
        (false, true) => Along::Nothing,
    }
}

/// Elements of a fold from which on its end does not matter.
const LONG_FOLD: i64 = 1024;

/// Are there short folds, many of them, of which each ends with a number that stands beside its neighbour's?
fn folds_across(kernel: &Kernel, nest: &Nest, lanes: u32) -> bool {
    let Some(points) = nest.outer.last() else { return false };
    let folds = nest.stages.iter().take_while(|s| matches!(s, Stage::Reduce { .. })).count();
    let is_short = |s: &Stage| match s {
        Stage::Reduce { inner, segment: None, value, .. } => {
            let elements = inner.iter().map(|l| known(l.extent).unwrap_or(LONG_FOLD)).fold(1, i64::saturating_mul);
            let needs_another = kernel.all_below(*value).iter().any(|e| matches!(e, Expr::Temp(_)));
            inner.last().is_some_and(|l| is_long(l, lanes)) && elements < LONG_FOLD && !needs_another
        }
        _ => false,
    };
    // Neighbours of each other, or the same for all.
    let is_near = |index: &Index| !index::mentions(index, points.var) || known_stride(index, points.var) == Some(1);
    let is_stored_at_once = |s: &Stage| match s {
        Stage::Map { inner, stores } => {
            inner.is_empty()
                && stores.iter().all(|s| {
                    let loads = kernel.loads(s.value);
                    let of_load = |e: &&Expr| matches!(e, Expr::Load { index, .. } if is_near(index));
                    known_stride(&s.index, points.var) == Some(1) && loads.iter().all(of_load)
                })
        }
        _ => false,
    };
    nest.walk.is_none()
        && nest.only.is_none()
        && folds > 0
        && folds < nest.stages.len()
        && is_long(points, lanes)
        && nest.stages[..folds].iter().all(is_short)
        && nest.stages[folds..].iter().all(is_stored_at_once)
        // Of several wrong indices the first is told: as the points come, one after the other.
        && !accesses(kernel, nest).any(reads)
}

/// Iterations that a block of points walks before the next block walks the same: what all points read of them is still in the second-level
/// cache then. None where they share hardly anything, or it is all.
pub fn walked_at_once(kernel: &Kernel, nest: &Nest) -> Option<i64> {
    let all = known(nest.walk.as_ref()?.extent).unwrap_or(i64::MAX);
    let bytes = shared_loads(kernel, nest).iter().fold(0_i64, |all, load| all.saturating_add(load.bytes));
    let at_once = (bytes >= SHARED_BYTES).then(|| (CACHED_BYTES / bytes).max(LEAST_WALKED));
    // Of several wrong indices the first is told: as the points come, one after the other.
    at_once.filter(|n| *n < all && !accesses(kernel, nest).any(reads))
}

/// What all points of the innermost loop around the stages read in an iteration of a walk.
pub struct SharedLoad<'a> {
    pub buffer: BufferId,
    pub index: &'a Index,
    /// The loops inside that it varies along.
    pub along: Vec<&'a Loop>,
    pub bytes: i64,
}

pub fn shared_loads<'a>(kernel: &'a Kernel, nest: &'a Nest) -> Vec<SharedLoad<'a>> {
    let (Some(walk), Some(points)) = (&nest.walk, nest.outer.last()) else { return Vec::new() };
    let mut shared: Vec<SharedLoad> = Vec::new();
    for expr in &kernel.exprs {
        let Expr::Load { buffer, index, .. } = expr else { continue };
        let is_shared = index::mentions(index, walk.var) && !index::mentions(index, points.var) && !reads(index);
        let along = || nest.stages.iter().flat_map(Stage::loops).filter(|l| index::mentions(index, l.var));
        if is_shared && shared.iter().all(|load| load.buffer != *buffer || load.index != index) {
            let of_one = kernel.buffer(*buffer).elem.bytes() as i64;
            let bytes = along().fold(of_one, |all, l| all.saturating_mul(known(l.extent).unwrap_or(1)));
            shared.push(SharedLoad { buffer: *buffer, index, along: along().collect(), bytes });
        }
    }
    shared
}

/// Bytes of an iteration, read by all points, below which they are not worth to be kept.
const SHARED_BYTES: i64 = 256;
/// Bytes that stay in the second-level cache of every processor, beside what the points carry.
const CACHED_BYTES: i64 = 128 * 1024;
/// Iterations for which it is worth to fetch what a block of points carries.
const LEAST_WALKED: i64 = 8;

/// May it have as many points as a vector?
fn is_long(l: &Loop, lanes: u32) -> bool {
    !matches!(l.extent, Extent::Known(n) if n < i64::from(lanes))
}

/// Loads of a map that step over elements along its innermost loop, while neighbours stand along loop `across` around it.
pub fn turned_loads<'a>(kernel: &'a Kernel, nest: &'a Nest, across: Var) -> impl Iterator<Item = ExprId> + 'a {
    let along = match nest.stages.as_slice() {
        [Stage::Map { inner, .. }] => inner.last().map(|l| l.var),
        _ => None,
    };
    let is_turned = move |expr: &Expr| {
        let (Expr::Load { buffer, index, bounds, .. }, Some(along)) = (expr, along) else { return false };
        let steps = |var| index::stride(index, var).filter(|s| *s != Stride::default());
        let stays = |index: &Index| !index::mentions(index, across) && !reads(index);
        kernel.buffer(*buffer).elem.is_float()
            && !reads(index)
            && steps(across) == Some(Stride::neighbours())
            && steps(along).is_some_and(|s| s != Stride::neighbours())
            && bounds.iter().all(|b| stays(&b.index))
    };
    (0..).zip(&kernel.exprs).filter(move |(_, e)| is_turned(e)).map(|(i, _)| ExprId(i))
}

/// Does an index depend on what is loaded?
fn reads(index: &Index) -> bool {
    let mut values = Vec::new();
    index::values(index, &mut values);
    !values.is_empty()
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
