//! Folds of neighbouring points whose lanes are folded across one another: of a point alone, most of the end of a short fold is waiting.

use inkwell::IntPredicate;
use inkwell::values::PointerValue;

use super::emit::Val;
use super::expr::{Frame, Lanes};
use super::loops::{Range, for_counts};
use super::nest::{in_lanes, join, point};
use crate::kernel::{Elem, ExprId, Fold, Loop, Nest, Stage, Temp};
use crate::schedule::Along;

/// Blocks of `n` points, as many as a vector has lanes; those at the end of the loop, by themselves.
pub fn across<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    nest: &Nest,
    n: u32,
    (points, shared): (&Loop, &[Loop]),
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let block = e.index(i64::from(n));
    let extent = frame.extent(points.extent);
    let mut counts: Vec<_> = shared.iter().map(|l| (l.var, frame.extent(l.extent))).collect();
    counts.push((points.var, e.udiv(e.add(extent, e.index(i64::from(n) - 1)), block)));
    let folds: Vec<Partial> = nest.stages.iter().filter_map(|stage| Partial::of(frame, stage)).collect();
    for_counts(frame, &counts, range, |frame| {
        let from = e.mul(frame.vars[&points.var], block);
        let to = e.min(extent, e.add(from, block));
        let is_whole = e.icmp(IntPredicate::EQ, e.sub(to, from), block);
        e.when(is_whole, || {
            e.each(e.index(0), block, 1, |i| {
                frame.vars.insert(points.var, e.add(from, i));
                frame.forget();
                for Partial { elem, fold, inner, value, of_points, .. } in &folds {
                    let v = in_lanes(frame, (*elem, *fold), inner, *value, Along::Inner);
                    e.store(v, e.at(*of_points, v.get_type(), i));
                }
            });
            for Partial { temp, elem, fold, of_points, .. } in &folds {
                let ty = e.vector(frame.register(*elem), e.lanes);
                let all: Vec<Val> = (0..n).map(|i| e.load(ty, e.at(*of_points, ty, e.index(i64::from(i))))).collect();
                frame.temps.insert(*temp, folded(frame, (*elem, *fold), &all));
            }
            frame.lanes = Some(Lanes { var: points.var, first: from, count: n, tail: None });
            frame.forget();
            for stage in &nest.stages {
                if let Stage::Map { stores, .. } = stage {
                    stores.iter().for_each(|s| frame.store(s));
                }
            }
            frame.lanes = None;
            frame.forget();
        });
        e.when(e.not(is_whole), || {
            e.each(from, to, 1, |at| {
                frame.vars.insert(points.var, at);
                frame.forget();
                point(frame, nest);
            });
        });
    });
}

/// A fold of a nest, and where there is room for what its lanes hold at each point of a block.
struct Partial<'a, 'ctx> {
    temp: Temp,
    elem: Elem,
    fold: Fold,
    inner: &'a [Loop],
    value: ExprId,
    of_points: PointerValue<'ctx>,
}

impl<'a, 'ctx> Partial<'a, 'ctx> {
    fn of(frame: &Frame<'_, 'ctx>, stage: &'a Stage) -> Option<Self> {
        let Stage::Reduce { temp, elem, fold, inner, value, .. } = stage else { return None };
        let e = frame.emit;
        let of_points = e.variable(e.function(), e.vector(frame.register(*elem), e.lanes * e.lanes));
        Some(Self { temp: *temp, elem: *elem, fold: *fold, inner, value: *value, of_points })
    }
}

/// Folds the lanes of each vector by halves: as many results as vectors, which are one or as many as lanes, each as if it were alone.
pub fn folded<'ctx>(frame: &Frame<'_, 'ctx>, (elem, fold): (Elem, Fold), vectors: &[Val<'ctx>]) -> Val<'ctx> {
    let e = frame.emit;
    let join = |a, b| join(frame, fold, elem, a, b);
    if let [mut alone] = *vectors {
        while e.lanes_of(alone) > 1 {
            alone = join(e.half(alone, false), e.half(alone, true));
        }
        return alone;
    }
    let mut left: Vec<Val> = order(vectors.len()).into_iter().map(|i| vectors[i]).collect();
    let lanes = e.lanes_of(vectors[0]);
    let mut width = lanes;
    while width > 1 {
        // A half of each result in the first vector, then of the one beside it in the second.
        let halves = |upper: u32| -> Vec<u32> {
            let of = |at: u32| at / width * width + upper * width / 2;
            let results = (0..lanes).step_by(width as usize).flat_map(|at| [of(at), lanes + of(at)]);
            results.flat_map(|first| first..first + width / 2).collect()
        };
        let (lower, upper) = (halves(0), halves(1));
        let joined = |pair: &[Val<'ctx>]| {
            let half = |mask: &[u32]| e.shuffle(pair[0], pair[1], mask);
            join(half(&lower), half(&upper))
        };
        left = left.chunks_exact(2).map(joined).collect();
        width /= 2;
    }
    left[0]
}

/// The order in which vectors are folded, so that their results stand in theirs: pairs are interleaved again and again.
fn order(n: usize) -> Vec<usize> {
    let mut left: Vec<Vec<usize>> = (0..n).map(|i| vec![i]).collect();
    while left.len() > 1 {
        let interleaved = |pair: &[Vec<usize>]| pair[0].iter().zip(&pair[1]).flat_map(|(a, b)| [*a, *b]).collect();
        left = left.chunks_exact(2).map(interleaved).collect();
    }
    // The place of each is told; wanted is who stands there.
    let mut order = vec![0; n];
    left[0].iter().enumerate().for_each(|(place, i)| order[*i] = place);
    order
}
