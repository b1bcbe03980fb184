//! Map/reduce nests: vectors along the innermost loop of each stage, or along the loop around all stages.
//!
//! A fold keeps one vector of partial results and folds that by halves at the end: the order depends on the extent alone, so a
//! result does not depend on what else is computed with it.

use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;

use super::emit::Val;
use super::expr::Frame;
use super::loops::{Range, for_units, nested, vectors};
use crate::codegen::math;
use crate::kernel::{Elem, ExprId, Fold, Loop, Nest, Stage, Store, Temp};
use crate::scalar::Binary;
use crate::schedule::Along;

pub fn nest<'ctx>(frame: &mut Frame<'_, 'ctx>, nest: &Nest, along: Along, range: Range<'ctx>) {
    declare_temps(frame, nest);
    match (along, nest.outer.split_last()) {
        (Along::Outer, Some((lane_loop, shared))) => {
            for_units(frame, shared, range, |frame| {
                vectors(frame, lane_loop, |frame| nest.stages.iter().for_each(|s| stage(frame, s, Along::Nothing)));
            });
        }
        _ => for_units(frame, &nest.outer, range, |frame| nest.stages.iter().for_each(|s| stage(frame, s, along))),
    }
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
        Stage::Reduce { temp, elem, fold, inner, value } => match fold {
            Fold::ArgMax | Fold::ArgMin => arg_extreme(frame, *temp, *fold, inner, *value),
            fold => reduce(frame, *temp, *elem, *fold, inner, *value, along),
        },
        Stage::Running { fold, over, exclusive, value, store } => {
            running(frame, *fold, over, *exclusive, *value, store)
        }
    }
}

fn map<'ctx>(frame: &mut Frame<'_, 'ctx>, inner: &[Loop], stores: &[Store], along: Along) {
    match (along, inner.split_last()) {
        (Along::Inner, Some((lane_loop, outer))) => nested(frame, outer, &mut |frame| {
            vectors(frame, lane_loop, |frame| stores.iter().for_each(|s| frame.store(s)));
        }),
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

fn reduce<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    temp: Temp,
    elem: Elem,
    fold: Fold,
    inner: &[Loop],
    value: ExprId,
    along: Along,
) {
    let e = frame.emit;
    let scalar = accumulator(frame, elem);
    let along_inner = along == Along::Inner && !inner.is_empty();
    // Along the outer loop, each lane folds for itself.
    let lanes = if along_inner { e.lanes } else { frame.lanes.map_or(1, |l| l.count) };
    let ty = e.vector(scalar, lanes);
    let start = identity(frame, fold, elem, ty);
    let sum = e.variable(e.function(), ty);
    e.store(start, sum);
    let mut step = |frame: &mut Frame<'_, 'ctx>| {
        let mut v = frame.eval(value);
        v = e.splat(v, lanes);
        if along_inner && let Some((mask, _)) = frame.lanes.and_then(|l| l.tail) {
            v = e.select(mask, v, start);
        }
        e.store(join(frame, fold, elem, e.load(ty, sum), v), sum);
    };
    match inner.split_last() {
        Some((lane_loop, outer)) if along_inner => {
            nested(frame, outer, &mut |frame| vectors(frame, lane_loop, &mut step));
        }
        _ => nested(frame, inner, &mut step),
    }
    let mut result = e.load(ty, sum);
    if along_inner {
        while e.lanes_of(result) > 1 {
            result = join(frame, fold, elem, e.half(result, false), e.half(result, true));
        }
    }
    frame.forget();
    frame.temps.insert(temp, result);
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
