//! Maps that read across their vectors: squares of elements are read along the other loop and turned in registers.
//!
//! A unit is a block of as many points of that loop as a vector has lanes. Squares at the end of either loop are too small: there each
//! element is read by itself.

use inkwell::IntPredicate;
use inkwell::module::Linkage;
use inkwell::values::{BasicValueEnum, FunctionValue, PointerValue};

use super::emit::{Emit, Val};
use super::expr::{Frame, Lanes};
use super::loops::{Range, for_counts, nested, vectors_of};
use crate::kernel::{Elem, ExprId, Loop, Nest, Stage};
use crate::schedule::turned_loads;

/// A nest of one map whose vectors run along its innermost loop, while the loads that are turned have neighbours along loop `with` around it.
pub fn turned<'ctx>(frame: &mut Frame<'_, 'ctx>, nest: &Nest, with: usize, range: Range<'ctx>) {
    let e = frame.emit;
    let [Stage::Map { inner, stores }] = nest.stages.as_slice() else { unreachable!("one map is turned") };
    let Some((lane_loop, between)) = inner.split_last() else { unreachable!("a map that is turned has a loop") };
    let across = &nest.outer[with];
    let lanes = i64::from(e.lanes);
    let tiles: Vec<(ExprId, PointerValue)> = turned_loads(frame.kernel, nest, across.var)
        .map(|id| (id, e.variable(e.function(), e.vector(frame.register(frame.elem(id)), e.lanes * e.lanes))))
        .collect();
    let extent = frame.extent(across.extent);
    let blocks = e.udiv(e.add(extent, e.index(lanes - 1)), e.index(lanes));
    let count = |(i, l): (usize, &Loop)| (l.var, if i == with { blocks } else { frame.extent(l.extent) });
    let counts: Vec<_> = nest.outer.iter().enumerate().map(count).collect();
    for_counts(frame, &counts, range, |frame| {
        let from = e.mul(frame.vars[&across.var], e.index(lanes));
        let to = e.min(extent, e.add(from, e.index(lanes)));
        nested(frame, between, &mut |frame| {
            let all = frame.extent(lane_loop.extent);
            let is_whole = e.icmp(IntPredicate::EQ, e.sub(to, from), e.index(lanes));
            let squares = e.select(is_whole, e.sub(all, e.index(lanes - 1)), e.index(0));
            let rest = e.each(e.index(0), squares, lanes, |first| {
                for (id, tile) in &tiles {
                    square(frame, *id, (lane_loop, first), (across, from), *tile);
                }
                e.each(e.index(0), e.index(lanes), 1, |i| {
                    frame.vars.insert(across.var, e.add(from, i));
                    frame.lanes = Some(Lanes { var: lane_loop.var, first, count: e.lanes, tail: None });
                    frame.forget();
                    for (id, tile) in &tiles {
                        let elem = frame.register(frame.elem(*id));
                        let row = e.load(e.vector(elem, e.lanes), e.at(*tile, elem, e.mul(i, e.index(lanes))));
                        frame.remember(&[(*id, row)]);
                    }
                    stores.iter().for_each(|s| frame.store(s));
                    frame.lanes = None;
                });
            });
            frame.forget();
            e.each(from, to, 1, |at| {
                frame.vars.insert(across.var, at);
                vectors_of(frame, e.lanes, lane_loop, (rest, all), |frame| stores.iter().for_each(|s| frame.store(s)));
            });
            frame.vars.insert(across.var, from);
        });
    });
}

/// Reads a square of a load, rows along loop `across`, and leaves its columns in `tile`.
fn square<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    id: ExprId,
    (lane_loop, first): (&Loop, Val<'ctx>),
    (across, from): (&Loop, Val<'ctx>),
    tile: PointerValue<'ctx>,
) {
    let e = frame.emit;
    let elem = frame.elem(id);
    frame.lanes = Some(Lanes { var: across.var, first: from, count: e.lanes, tail: None });
    e.each(e.index(0), e.index(i64::from(e.lanes)), 1, |lane| {
        frame.vars.insert(lane_loop.var, e.add(first, lane));
        frame.forget();
        let row = e.splat(frame.eval(id), e.lanes);
        e.store(row, e.at(tile, frame.register(elem), e.mul(lane, e.index(i64::from(e.lanes)))));
    });
    frame.lanes = None;
    frame.forget();
    e.call_function(turn(e, elem), &[tile.into()]);
}

/// `fn(tile)`: columns for rows, in memory. The kernels of a module share it.
fn turn<'ctx>(e: &Emit<'ctx>, elem: Elem) -> FunctionValue<'ctx> {
    let name = format!("turn_{elem}_{}", e.isa);
    if let Some(function) = e.module.get_function(&name) {
        return function;
    }
    let here = e.builder.get_insert_block();
    let ty = e.context.void_type().fn_type(&[e.pointer().into()], false);
    let function = e.module.add_function(&name, ty, Some(Linkage::Internal));
    e.mark(function);
    e.builder.position_at_end(e.context.append_basic_block(function, "entry"));
    if let Some(BasicValueEnum::PointerValue(tile)) = function.get_first_param() {
        let row = |i: u32| e.at(tile, e.register(elem), e.index(i64::from(i * e.lanes)));
        let rows: Vec<Val> = (0..e.lanes).map(|i| e.load(e.vector(e.register(elem), e.lanes), row(i))).collect();
        (0..).zip(transposed(e, &rows, e.lanes)).for_each(|(i, column)| e.store(column, row(i)));
    }
    e.builder.build_return(None).expect("the function returns nothing");
    if let Some(here) = here {
        e.builder.position_at_end(here);
    }
    function
}

/// A square of vectors, columns for rows: exchanges blocks of 1, 2, 4, ... Rows that are missing are anything.
pub fn transposed<'ctx>(e: &Emit<'ctx>, rows: &[Val<'ctx>], lanes: u32) -> Vec<Val<'ctx>> {
    let missing = rows[0];
    let mut square: Vec<Val> = (0..lanes as usize).map(|i| rows.get(i).copied().unwrap_or(missing)).collect();
    let mut block = 1;
    while block < lanes as usize {
        for i in (0..lanes as usize).filter(|i| i & block == 0) {
            let (a, b) = (square[i], square[i + block]);
            let lane = |j: usize, upper: bool| match (upper, j & block == 0) {
                (false, true) => j,
                (false, false) => lanes as usize + j - block,
                (true, true) => j + block,
                (true, false) => lanes as usize + j,
            };
            square[i] = e.shuffle(a, b, &(0..lanes as usize).map(|j| lane(j, false) as u32).collect::<Vec<_>>());
            square[i + block] = e.shuffle(a, b, &(0..lanes as usize).map(|j| lane(j, true) as u32).collect::<Vec<_>>());
        }
        block *= 2;
    }
    square
}
