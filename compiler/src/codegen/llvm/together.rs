//! Stages that go through one loop together: each element is folded and written over while it is at hand.
//!
//! Before: `y = sum over k of q[k] * s[k]`, then `s[k] = a[k] * s[k] + ..` for all `k`: what stands in `s` is loaded twice. After: once. Folds keep
//! their order, so their bits stay. A stage goes along only where nothing tells the difference: of what one stores, others of them touch
//! the same element in the same iteration, and nothing else. Stages in between that run once at the point wait for the loop.

use std::collections::BTreeSet;

use super::emit::Val;
use super::expr::Frame;
use super::loops::nested;
use super::nest::{begin_fold, fold_in};
use crate::kernel::index::{mentions, renamed, values as index_values};
use crate::kernel::{BufferId, Elem, Expr, ExprId, Fold, Index, Kernel, Loop, Stage, Store, Temp};

/// Numbers of the stages that can go through the loop of the first one with it, itself included.
pub fn together(kernel: &Kernel, stages: &[&Stage]) -> Vec<usize> {
    let mut joined: Vec<usize> = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let first = joined.first().map_or(stage, |first| &stages[*first]);
        let goes = loop_of(stage).zip(loop_of(first)).is_some_and(|(a, b)| a.extent == b.extent)
            && (0..number).all(|before| match joined.contains(&before) {
                true => go_along(kernel, stages[before], stage),
                false => are_apart(kernel, stages[before], stage),
            });
        if goes {
            joined.push(number);
        } else if number == 0 {
            break;
        }
    }
    joined
}

/// The one loop of a stage that may share it.
fn loop_of(stage: &Stage) -> Option<&Loop> {
    match stage {
        Stage::Map { inner, .. } => inner.first().filter(|_| inner.len() == 1),
        Stage::Reduce { fold: Fold::ArgMax | Fold::ArgMin, .. } | Stage::Reduce { segment: Some(_), .. } => None,
        Stage::Reduce { inner, .. } => inner.first().filter(|_| inner.len() == 1),
        Stage::Running { .. } => None,
    }
}

/// The places that a stage loads, and those that it stores to.
fn places<'a>(kernel: &'a Kernel, stage: &'a Stage) -> [Vec<(BufferId, &'a Index)>; 2] {
    let stores: &[Store] = match stage {
        Stage::Map { stores, .. } => stores,
        Stage::Running { store, .. } => std::slice::from_ref(store),
        Stage::Reduce { .. } => &[],
    };
    let loads = values(stage).into_iter().flat_map(|v| kernel.loads(v)).filter_map(|e| match e {
        Expr::Load { buffer, index, .. } => Some((*buffer, index)),
        _ => None,
    });
    [loads.collect(), stores.iter().map(|s| (s.buffer, &s.index)).collect()]
}

fn values(stage: &Stage) -> Vec<ExprId> {
    match stage {
        Stage::Map { stores, .. } => stores.iter().map(|s| s.value).collect(),
        Stage::Reduce { value, .. } | Stage::Running { value, .. } => vec![*value],
    }
}

/// Does a stage need what another folds?
fn needs(kernel: &Kernel, stage: &Stage, other: &Stage) -> bool {
    let Stage::Reduce { temp, .. } = other else { return false };
    values(stage).into_iter().any(|v| kernel.all_below(v).contains(&&Expr::Temp(*temp)))
}

/// May two stages share a loop? What one of them stores, the other touches in the same iteration only.
fn go_along(kernel: &Kernel, first: &Stage, second: &Stage) -> bool {
    let (Some(a), Some(b)) = (loop_of(first), loop_of(second)) else { return false };
    let ([loads, stores], [others_loads, others_stores]) = (places(kernel, first), places(kernel, second));
    let same = |(buffer, index): &(BufferId, &Index), (other, other_index): &(BufferId, &Index)| {
        buffer != other || mentions(index, a.var) && renamed(index, a.var, b.var) == renamed(other_index, b.var, b.var)
    };
    let all_same = |x: &[(BufferId, &Index)], y: &[(BufferId, &Index)]| x.iter().all(|p| y.iter().all(|o| same(p, o)));
    !needs(kernel, second, first)
        && all_same(&stores, &others_loads)
        && all_same(&stores, &others_stores)
        && all_same(&loads, &others_stores)
}

/// May the second run before the first?
fn are_apart(kernel: &Kernel, first: &Stage, second: &Stage) -> bool {
    let ([loads, stores], [others_loads, others_stores]) = (places(kernel, first), places(kernel, second));
    let apart =
        |x: &[(BufferId, &Index)], y: &[(BufferId, &Index)]| x.iter().all(|(b, _)| y.iter().all(|(o, _)| b != o));
    !needs(kernel, second, first)
        && apart(&stores, &others_loads)
        && apart(&stores, &others_stores)
        && apart(&loads, &others_stores)
}

/// Runs stages that can go [`together`].
pub fn run_together<'ctx>(frame: &mut Frame<'_, 'ctx>, stages: &[&Stage]) {
    let Some(shared) = stages.first().and_then(|s| loop_of(s)) else { return };
    let e = frame.emit;
    let lanes = frame.lanes.map_or(1, |l| l.count);
    let begin = |frame: &Frame<'_, 'ctx>, stage: &Stage| match stage {
        Stage::Reduce { temp, elem, fold, .. } => Some((*temp, (*elem, *fold), begin_fold(frame, *elem, *fold, lanes))),
        _ => None,
    };
    let sums: Vec<Option<(Temp, (Elem, Fold), _)>> = stages.iter().map(|s| begin(frame, s)).collect();
    frame.forget();
    let still: Vec<(ExprId, Val)> = still(frame.kernel, stages).into_iter().map(|id| (id, frame.eval(id))).collect();
    nested(frame, std::slice::from_ref(shared), &mut |frame| {
        let at = frame.vars[&shared.var];
        stages.iter().filter_map(|s| loop_of(s)).for_each(|l| {
            frame.vars.insert(l.var, at);
        });
        frame.remember(&still);
        for (stage, sum) in stages.iter().zip(&sums) {
            match (stage, sum) {
                (Stage::Reduce { value, .. }, Some((_, fold, sum))) => fold_in(frame, *fold, *value, *sum, None),
                (Stage::Map { stores, .. }, _) => {
                    stores.iter().for_each(|s| frame.store(s));
                    frame.forget();
                    frame.remember(&still);
                }
                _ => {}
            }
        }
    });
    frame.forget();
    for (temp, _, (sum, ty)) in sums.into_iter().flatten() {
        let result = e.load(ty, sum);
        frame.temps.insert(temp, result);
    }
}

fn has_values(index: &Index) -> bool {
    let mut read = Vec::new();
    index_values(index, &mut read);
    !read.is_empty()
}

/// Loads that are the same in all iterations: once is enough, whatever is stored in between.
fn still(kernel: &Kernel, stages: &[&Stage]) -> Vec<ExprId> {
    let vars: Vec<_> = stages.iter().filter_map(|s| loop_of(s)).map(|l| l.var).collect();
    let stored: BTreeSet<BufferId> = stages.iter().flat_map(|s| places(kernel, s)[1].clone()).map(|(b, _)| b).collect();
    let mut below: Vec<ExprId> = stages.iter().flat_map(|s| values(s)).flat_map(|v| kernel.ids_below(v)).collect();
    below.sort();
    below.dedup();
    let is_still = |id: &ExprId| match kernel.expr(*id) {
        Expr::Load { buffer, index, bounds, .. } => {
            // What may be out of range is read where it is needed.
            let is_plain = bounds.is_empty() && !has_values(index);
            is_plain && !stored.contains(buffer) && !vars.iter().any(|v| kernel.varies(*id, *v))
        }
        _ => false,
    };
    below.into_iter().filter(is_still).collect()
}
