//! Map/reduce nests: vectors along the innermost loop of each stage, or along the loop around all stages.
//!
//! A fold keeps a vector of partial results, or several where it is long, and folds these by halves at the end: the order depends on the
//! extent alone, so a result does not depend on what else is computed with it.

use std::collections::BTreeSet;

use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use inkwell::values::PointerValue;

use super::across::{across, folded};
use super::ahead::Ahead;
use super::emit::Val;
use super::expr::{Frame, Lanes};
use super::loops::{Range, WRITTEN_OUT, for_counts, for_units, lanes_for, nested, vectors, vectors_of};
use super::together::{run_together, together};
use super::turned::turned;
use crate::codegen::math;
use crate::kernel::{Elem, Expr, ExprId, Extent, Fold, Kernel, Loop, Nest, Stage, Store, Temp};
use crate::scalar::Binary;
use crate::schedule::{Along, walked_at_once};

pub fn nest<'ctx>(frame: &mut Frame<'_, 'ctx>, nest: &Nest, along: Along, range: Range<'ctx>) {
    declare_temps(frame, nest);
    // What a point takes up in many iterations is a sum of products, as in a contraction.
    frame.fuses = nest.walk.is_some();
    match (along, nest.outer.split_last()) {
        (Along::Outer, Some((lane_loop, shared))) => {
            for_units(frame, shared, range, |frame| {
                when_needed(frame, nest, |frame| {
                    vectors(frame, lane_loop, |frame| walk(frame, nest, None, Along::Nothing));
                });
            });
        }
        (Along::Points(n), Some((lane_loop, shared))) => points(frame, nest, n, (lane_loop, shared), range),
        (Along::Across(n), Some((lane_loop, shared))) => across(frame, nest, n, (lane_loop, shared), range),
        (Along::Turned(with), _) => turned(frame, nest, with as usize, range),
        _ => for_units(frame, &nest.outer, range, |frame| {
            when_needed(frame, nest, |frame| walk(frame, nest, None, along));
        }),
    }
}

/// Iterations of a walk, and whether no points before these walked them.
#[derive(Clone, Copy)]
struct Part<'ctx> {
    from: Val<'ctx>,
    to: Val<'ctx>,
    is_first: Val<'ctx>,
}

/// Blocks of `n` points. Where they share what they read on their walks, all of a unit of the loops around walk a part before any goes on.
fn points<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    nest: &Nest,
    n: u32,
    (lane_loop, shared): (&Loop, &[Loop]),
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let block = e.index(i64::from(n));
    let extent = frame.extent(lane_loop.extent);
    let blocks = e.udiv(e.add(extent, e.index(i64::from(n) - 1)), block);
    let run = |frame: &mut Frame<'_, 'ctx>, number: Val<'ctx>, part: Option<Part<'ctx>>| {
        let from = e.mul(number, block);
        let to = e.min(extent, e.add(from, block));
        when_needed(frame, nest, |frame| {
            vectors_of(frame, n, lane_loop, (from, to), |frame| walk(frame, nest, part, Along::Nothing));
        });
    };
    let Some((walked, at_once)) = nest.walk.as_ref().zip(walked_at_once(frame.kernel, nest)) else {
        let mut counts: Vec<_> = shared.iter().map(|l| (l.var, frame.extent(l.extent))).collect();
        counts.push((lane_loop.var, blocks));
        return for_counts(frame, &counts, range, |frame| run(frame, frame.vars[&lane_loop.var], None));
    };
    // Nothing is walked where there are no points.
    let some = e.select(e.icmp(IntPredicate::EQ, blocks, e.index(0)), e.index(1), blocks);
    let all = frame.extent(walked.extent);
    let end = e.udiv(e.add(range.end, e.sub(some, e.index(1))), some);
    e.each(e.udiv(range.begin, some), end, 1, |unit| {
        let first = e.mul(unit, some);
        let begin = e.sub(e.max(range.begin, first), first);
        let end = e.min(e.sub(range.end, first), some);
        let of_unit = Range { begin: unit, end: e.add(unit, e.index(1)), ..range };
        for_units(frame, shared, of_unit, |frame| {
            e.each(e.index(0), all, at_once, |from| {
                let to = e.min(all, e.add(from, e.index(at_once)));
                e.each(begin, end, 1, |number| {
                    let is_first = e.icmp(IntPredicate::EQ, number, begin);
                    run(frame, number, Some(Part { from, to, is_first }));
                });
            });
        });
    });
}

/// Runs `body` unless nobody needs the point.
fn when_needed<'a, 'ctx>(frame: &mut Frame<'a, 'ctx>, nest: &Nest, body: impl FnOnce(&mut Frame<'a, 'ctx>)) {
    let Some(only) = nest.only else { return body(frame) };
    let e = frame.emit;
    let is_needed = frame.eval(only);
    e.when(is_needed, || body(frame));
    frame.forget();
}

/// A point without a walk, vectors along the innermost loop of each stage.
pub(super) fn point(frame: &mut Frame<'_, '_>, nest: &Nest) {
    walk(frame, nest, None, Along::Inner);
}

/// The stages at a point, in all iterations or in a part of them.
fn walk<'ctx>(frame: &mut Frame<'_, 'ctx>, nest: &Nest, part: Option<Part<'ctx>>, along: Along) {
    let stages = |frame: &mut Frame<'_, 'ctx>| {
        let mut left: Vec<&Stage> = nest.stages.iter().collect();
        while let Some(first) = left.first() {
            let of_segment = folded_together(frame.kernel, &left);
            if of_segment > 0 {
                fold_segment(frame, &left[..of_segment]);
                left.drain(..of_segment);
                continue;
            }
            // Where a point comes by many times, everything that can shares a loop; else a fold goes with the map before it.
            let is_map = matches!(first, Stage::Map { .. });
            let most = if nest.walk.is_some() { left.len() } else { 1 + usize::from(is_map) };
            let joined = together(frame.kernel, &left[..most.min(left.len())]);
            if along == Along::Nothing && joined.len() > 1 {
                let stages: Vec<&Stage> = joined.iter().map(|i| left[*i]).collect();
                run_together(frame, &stages);
                let mut number = 0..;
                left.retain(|_| number.next().is_some_and(|n| !joined.contains(&n)));
            } else {
                stage(frame, first, along);
                left.remove(0);
            }
        }
    };
    let Some(walk) = &nest.walk else { return stages(frame) };
    let (e, all) = (frame.emit, frame.extent(walk.extent));
    let (from, to) = part.map_or((e.index(0), all), |part| (part.from, part.to));
    let ahead = Ahead::new(frame, nest, walk);
    e.each(from, to, 1, |i| {
        frame.vars.insert(walk.var, i);
        frame.forget();
        ahead.fetch(frame);
        if let Some(part) = part {
            // Beyond the last there may be no memory, and a processor that looks for it is slow.
            let comes_another = e.icmp(IntPredicate::SLT, e.add(i, e.index(1)), all);
            e.when(e.and(part.is_first, comes_another), || ahead.fetch_rows(frame));
        }
        stages(frame);
    });
    frame.forget();
}

/// How many stages at the front fold over the same segment, none needing the result of another.
fn folded_together(kernel: &Kernel, stages: &[&Stage]) -> usize {
    let mut temps = BTreeSet::new();
    let first = stages.first().and_then(|s| s.segment());
    let goes_along = |stage: &&&Stage| {
        let Stage::Reduce { temp, value, .. } = stage else { return false };
        let needs = |t: &Temp| kernel.all_below(*value).contains(&&Expr::Temp(*t));
        let goes = first.is_some() && stage.segment() == first && !temps.iter().any(needs);
        temps.insert(*temp);
        goes
    };
    stages.iter().take_while(goes_along).count()
}

/// Folds of one segment, side by side.
fn fold_segment<'ctx>(frame: &mut Frame<'_, 'ctx>, stages: &[&Stage]) {
    let Some((segment, l)) = stages.first().and_then(|s| s.segment()) else { return };
    let e = frame.emit;
    let lanes = frame.lanes.map_or(1, |l| l.count);
    let mut sums = Vec::new();
    for stage in stages {
        if let Stage::Reduce { temp, elem, fold, value, .. } = stage {
            sums.push((*temp, (*elem, *fold), *value, begin_fold(frame, *elem, *fold, lanes)));
        }
    }
    let at = frame.index(&segment.at);
    let (from, to) = frame.segment(segment.offsets, at);
    e.each(from, to, 1, |place| {
        let iteration = frame.entry(segment.order, place);
        frame.vars.insert(l.var, iteration);
        frame.forget();
        for (_, fold, value, sum) in &sums {
            fold_in(frame, *fold, *value, *sum, None);
        }
    });
    frame.forget();
    for (temp, .., (sum, ty)) in sums {
        let result = e.load(ty, sum);
        frame.temps.insert(temp, result);
    }
}

/// A variable for a fold in so many lanes, at the fold's identity.
pub(super) fn begin_fold<'ctx>(
    frame: &Frame<'_, 'ctx>,
    elem: Elem,
    fold: Fold,
    lanes: u32,
) -> (PointerValue<'ctx>, BasicTypeEnum<'ctx>) {
    let e = frame.emit;
    let ty = e.vector(accumulator(frame, elem), lanes);
    let sum = e.variable(e.function(), ty);
    e.store(identity(frame, fold, elem, ty), sum);
    (sum, ty)
}

/// One more value; of a sum of products the product is not rounded. `inside`: the lanes that take part, and what the others add.
pub(super) fn fold_in<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    (elem, fold): (Elem, Fold),
    value: ExprId,
    (sum, ty): (PointerValue<'ctx>, BasicTypeEnum<'ctx>),
    inside: Option<(Val<'ctx>, Val<'ctx>)>,
) {
    let e = frame.emit;
    let before = e.load(ty, sum);
    let lanes = e.lanes_of(before);
    let after = match (frame.kernel.expr(value).clone(), inside) {
        (Expr::Binary(Binary::Mul, a, b), None) if fold == Fold::Sum && elem.is_float() => {
            let (a, b) = (frame.eval(a), frame.eval(b));
            e.fma(e.splat(a, lanes), e.splat(b, lanes), before)
        }
        (_, inside) => {
            let v = e.splat(frame.eval(value), lanes);
            let v = inside.map_or(v, |(mask, start)| e.select(mask, v, start));
            join(frame, fold, elem, before, v)
        }
    };
    e.store(after, sum);
}

/// The types of what the nest's folds leave.
pub(in crate::codegen) fn declare_temps(frame: &mut Frame<'_, '_>, nest: &Nest) {
    for stage in &nest.stages {
        if let Stage::Reduce { temp, elem, fold, .. } = stage {
            let elem = if matches!(fold, Fold::ArgMax | Fold::ArgMin) { Elem::I32 } else { *elem };
            frame.temp_elems.insert(*temp, elem);
        }
    }
}

fn stage<'ctx>(frame: &mut Frame<'_, 'ctx>, stage: &Stage, along: Along) {
    match stage {
        Stage::Map { inner, stores } => map(frame, inner, stores, along),
        Stage::Reduce { temp, elem, fold, inner, value, .. } => match fold {
            Fold::ArgMax | Fold::ArgMin => arg_extreme(frame, *temp, *fold, inner, *value),
            fold => reduce(frame, *temp, (*elem, *fold), inner, *value, along),
        },
        Stage::Running { fold, over, exclusive, value, store } => {
            running(frame, *fold, over, *exclusive, *value, store)
        }
    }
}

fn map<'ctx>(frame: &mut Frame<'_, 'ctx>, inner: &[Loop], stores: &[Store], along: Along) {
    match (along, inner.split_last()) {
        (Along::Inner, Some((lane_loop, outer))) => {
            let lanes = lanes_for(frame, stores, frame.emit.lanes, lane_loop.extent);
            nested(frame, outer, &mut |frame| {
                let all = (frame.emit.index(0), frame.extent(lane_loop.extent));
                vectors_of(frame, lanes, lane_loop, all, |frame| stores.iter().for_each(|s| frame.store(s)));
            });
        }
        _ => nested(frame, inner, &mut |frame| stores.iter().for_each(|s| frame.store(s))),
    }
}

/// The element type in which a fold accumulates.
fn accumulator<'ctx>(frame: &Frame<'_, 'ctx>, elem: Elem) -> BasicTypeEnum<'ctx> {
    frame.register(elem)
}

pub(in crate::codegen) fn identity<'ctx>(
    frame: &Frame<'_, 'ctx>,
    fold: Fold,
    elem: Elem,
    ty: BasicTypeEnum<'ctx>,
) -> Val<'ctx> {
    let e = frame.emit;
    let bits = e.element_of(ty);
    let least = |width: u32| if elem == Elem::U8 { 0 } else { 1u64 << (width - 1) };
    match fold {
        Fold::Sum | Fold::Any => e.number(ty, 0.0),
        Fold::Prod => e.number(ty, 1.0),
        Fold::All => e.bits(ty, 1),
        Fold::Max | Fold::ArgMax if elem.is_float() => e.number(ty, f64::NEG_INFINITY),
        Fold::Min | Fold::ArgMin if elem.is_float() => e.number(ty, f64::INFINITY),
        Fold::Max | Fold::ArgMax => e.bits(ty, least(bits.into_int_type().get_bit_width())),
        Fold::Min | Fold::ArgMin => {
            let width = bits.into_int_type().get_bit_width();
            e.bits(ty, !least(width) & (u64::MAX >> (64 - width)))
        }
    }
}

pub(in crate::codegen) fn join<'ctx>(
    frame: &Frame<'_, 'ctx>,
    fold: Fold,
    elem: Elem,
    a: Val<'ctx>,
    b: Val<'ctx>,
) -> Val<'ctx> {
    let f = match fold {
        Fold::Sum => Binary::Add,
        Fold::Prod => Binary::Mul,
        Fold::Max | Fold::ArgMax => Binary::Max,
        Fold::Min | Fold::ArgMin => Binary::Min,
        Fold::Any => Binary::Or,
        Fold::All => Binary::And,
    };
    if elem.is_float() {
        math::binary(frame.emit, f, a, b)
    } else {
        math::integer(frame.emit, f, !matches!(elem, Elem::U8 | Elem::Bool), a, b)
    }
}

/// Vectors of partial results of a long fold: they hide the latency of an addition.
const SUMS: i64 = 4;

fn reduce<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    temp: Temp,
    (elem, fold): (Elem, Fold),
    inner: &[Loop],
    value: ExprId,
    along: Along,
) {
    let mut result = in_lanes(frame, (elem, fold), inner, value, along);
    if along == Along::Inner && !inner.is_empty() {
        result = folded(frame, (elem, fold), &[result]);
    }
    frame.temps.insert(temp, result);
}

/// What each lane has folded.
pub(super) fn in_lanes<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    (elem, fold): (Elem, Fold),
    inner: &[Loop],
    value: ExprId,
    along: Along,
) -> Val<'ctx> {
    let e = frame.emit;
    let along_inner = along == Along::Inner && !inner.is_empty();
    // Along the outer loop, each lane folds for itself.
    let lanes = if along_inner { e.lanes } else { frame.lanes.map_or(1, |l| l.count) };
    let (first, ty) = begin_fold(frame, elem, fold, lanes);
    let start = identity(frame, fold, elem, ty);
    let step = |frame: &mut Frame<'_, 'ctx>, sum| {
        let tail = frame.lanes.and_then(|l| l.tail).filter(|_| along_inner);
        fold_in(frame, (elem, fold), value, (sum, ty), tail.map(|tail| (tail.mask, start)));
    };
    let mut sums = vec![first];
    match inner.split_last() {
        Some((lane_loop, outer)) if along_inner => {
            let together = SUMS * i64::from(lanes);
            let known = if let Extent::Known(n) = lane_loop.extent { Some(n) } else { None };
            if known.is_none_or(|n| n >= 2 * together) {
                sums.extend((1..SUMS).map(|_| begin_fold(frame, elem, fold, lanes).0));
            }
            if outer.is_empty() {
                frame.find_rows(value, lane_loop);
            }
            nested(frame, outer, &mut |frame| {
                let extent = frame.extent(lane_loop.extent);
                let mut rest = e.index(0);
                if sums.len() > 1 {
                    let mut several = |at| {
                        for (i, sum) in (0..).zip(&sums) {
                            let first = e.add(at, e.index(i * i64::from(lanes)));
                            frame.lanes = Some(Lanes { var: lane_loop.var, first, count: lanes, tail: None });
                            frame.forget();
                            step(frame, *sum);
                        }
                    };
                    rest = match known {
                        Some(n) if n / together <= WRITTEN_OUT => {
                            (0..n / together).for_each(|i| several(e.index(i * together)));
                            e.index(n / together * together)
                        }
                        _ => e.each(rest, e.sub(extent, e.index(together - 1)), together, several),
                    };
                }
                vectors_of(frame, lanes, lane_loop, (rest, extent), |frame| step(frame, sums[0]));
            });
        }
        _ => nested(frame, inner, &mut |frame| step(frame, first)),
    }
    let mut partial: Vec<Val> = sums.iter().map(|sum| e.load(ty, *sum)).collect();
    while partial.len() > 1 {
        let upper = partial.split_off(partial.len() / 2);
        partial.iter_mut().zip(upper).for_each(|(low, high)| *low = join(frame, fold, elem, *low, high));
    }
    frame.rows.clear();
    frame.forget();
    partial[0]
}

/// Index of the first extreme element; NaN never wins; 0 over nothing.
fn arg_extreme<'ctx>(frame: &mut Frame<'_, 'ctx>, temp: Temp, fold: Fold, inner: &[Loop], value: ExprId) {
    let e = frame.emit;
    let elem = frame.elem(value);
    let ty = frame.register(elem);
    let (best, place, number, found) = {
        let function = e.function();
        let i32 = e.int(32);
        (e.variable(function, ty), e.variable(function, i32), e.variable(function, i32), e.variable(function, e.int(8)))
    };
    let i32 = e.int(32);
    e.store(identity(frame, fold, elem, ty), best);
    for (v, at) in [(e.bits(i32, 0), place), (e.bits(i32, 0), number), (e.bits(e.int(8), 0), found)] {
        e.store(v, at);
    }
    nested(frame, inner, &mut |frame| {
        let v = frame.eval(value);
        let so_far = e.load(ty, best);
        let wins = match (elem.is_float(), fold) {
            (true, Fold::ArgMax) => e.fcmp(inkwell::FloatPredicate::OGT, v, so_far),
            (true, _) => e.fcmp(inkwell::FloatPredicate::OLT, v, so_far),
            (false, Fold::ArgMax) => math::integer(e, Binary::Gt, elem != Elem::U8, v, so_far),
            (false, _) => math::integer(e, Binary::Lt, elem != Elem::U8, v, so_far),
        };
        // The first number wins even where it equals the identity.
        let none = e.icmp(IntPredicate::EQ, e.load(e.int(8), found), e.bits(e.int(8), 0));
        let is_number = if elem.is_float() { e.fcmp(inkwell::FloatPredicate::ORD, v, v) } else { e.bits(e.int(1), 1) };
        let wins = e.or(wins, e.and(none, is_number));
        let at = e.load(i32, number);
        e.when(wins, || {
            e.store(v, best);
            e.store(at, place);
            e.store(e.bits(e.int(8), 1), found);
        });
        e.store(e.add(at, e.bits(i32, 1)), number);
    });
    let result = e.load(i32, place);
    frame.forget();
    frame.temps.insert(temp, result);
}

fn running<'ctx>(frame: &mut Frame<'_, 'ctx>, fold: Fold, over: &Loop, exclusive: bool, value: ExprId, store: &Store) {
    let e = frame.emit;
    let elem = frame.elem(value);
    // Along the outer loop, each lane folds for itself.
    let lanes = frame.lanes.map_or(1, |l| l.count);
    let ty = e.vector(frame.register(elem), lanes);
    let sum = e.variable(e.function(), ty);
    e.store(identity(frame, fold, elem, ty), sum);
    nested(frame, std::slice::from_ref(over), &mut |frame| {
        let v = frame.eval(value);
        let v = e.splat(v, lanes);
        let before = e.load(ty, sum);
        let after = join(frame, fold, elem, before, v);
        frame.store_value(store, if exclusive { before } else { after });
        e.store(after, sum);
    });
}
