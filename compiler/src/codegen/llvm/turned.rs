//! Maps that read across their vectors: squares of elements are read along the other loop and turned in registers.
//!
//! A unit is a block of as many points of that loop as a vector has lanes. Squares at the end of either loop are too small: there each
//! element is read by itself.

use inkwell::IntPredicate;
use inkwell::values::PointerValue;

use super::emit::{Emit, Val};
use super::expr::{Frame, Lanes};
use super::loops::{Range, for_counts, nested, vectors_of};
use crate::kernel::{ExprId, Loop, Nest, Stage};
use crate::schedule::turned_loads;

/// What a row of a square evaluates, at most, where rows are written out and not looped over.
const SMALL: usize = 8;

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
    // Straight code lets the processor go ahead to the next square while it waits for this one.
    let of_row = (0..frame.kernel.exprs.len() as u32).filter(|i| frame.kernel.varies(ExprId(*i), across.var)).count();
    let is_small = of_row <= SMALL;
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
                let mut row = |i| {
                    frame.vars.insert(across.var, e.add(from, i));
                    frame.lanes = Some(Lanes { var: lane_loop.var, first, count: e.lanes, tail: None });
                    frame.forget_varying(across.var);
                    for (id, tile) in &tiles {
                        let elem = frame.register(frame.elem(*id));
                        let row = e.load(e.vector(elem, e.lanes), e.at(*tile, elem, e.mul(i, e.index(lanes))));
                        frame.remember(&[(*id, row)]);
                    }
                    stores.iter().for_each(|s| frame.store(s));
                    frame.lanes = None;
                };
                if is_small {
                    (0..lanes).for_each(|i| row(e.index(i)));
                } else {
                    e.each(e.index(0), e.index(lanes), 1, row);
                }
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
    let mut row = |lane: u32| {
        frame.vars.insert(lane_loop.var, e.add(first, e.index(i64::from(lane))));
        frame.forget_varying(lane_loop.var);
        e.splat(frame.eval(id), e.lanes)
    };
    let rows: Vec<Val> = (0..e.lanes).map(&mut row).collect();
    frame.lanes = None;
    frame.forget();
    for (i, column) in (0..).zip(transposed(e, &rows, e.lanes)) {
        e.store(column, e.at(tile, frame.register(elem), e.index(i * i64::from(e.lanes))));
    }
}

/// A square of vectors, columns for rows. Rows that are missing are anything.
///
/// Small squares are turned within the quarters of 128 bits, then quarters go to their vectors: each of these shuffles is one cheap
/// instruction. A free permutation of two registers is not: on Zen 4 a square of 16 by those takes seven times as long.
pub fn transposed<'ctx>(e: &Emit<'ctx>, rows: &[Val<'ctx>], lanes: u32) -> Vec<Val<'ctx>> {
    let missing = rows[0];
    let square: Vec<Val> = (0..lanes as usize).map(|i| rows.get(i).copied().unwrap_or(missing)).collect();
    let quarter = lanes.min(16 / e.align_of(missing.get_type()));
    let small: Vec<Val> = square.chunks_exact(quarter as usize).flat_map(|rows| within(e, rows, quarter, 1)).collect();
    let of_column = |i| small.iter().skip(i).step_by(quarter as usize).copied().collect::<Vec<_>>();
    let columns: Vec<Vec<Val>> = (0..quarter as usize).map(|i| among(e, &of_column(i), quarter)).collect();
    (0..lanes as usize).map(|i| columns[i % quarter as usize][i / quarter as usize]).collect()
}

/// Turns squares within quarters; `run` elements of each row stand together by now.
fn within<'ctx>(e: &Emit<'ctx>, rows: &[Val<'ctx>], quarter: u32, run: u32) -> Vec<Val<'ctx>> {
    let [first, _, ..] = rows else { return rows.to_vec() };
    let lanes = e.lanes_of(*first);
    let half = |upper: u32| {
        let lane = |i: u32| {
            let place = i % quarter;
            (i / run % 2) * lanes + i - place + upper * quarter / 2 + place / (2 * run) * run + place % run
        };
        let mask: Vec<u32> = (0..lanes).map(lane).collect();
        let joined: Vec<Val> = rows.chunks_exact(2).map(|pair| e.shuffle(pair[0], pair[1], &mask)).collect();
        within(e, &joined, quarter, 2 * run)
    };
    [half(0), half(1)].concat()
}

/// As many vectors as there are rows: the first gets the first quarter of each, and so on.
fn among<'ctx>(e: &Emit<'ctx>, rows: &[Val<'ctx>], quarter: u32) -> Vec<Val<'ctx>> {
    let [first, _, ..] = rows else { return rows.to_vec() };
    let every_other = |odd: u32| {
        let lane = |i: u32| (i / quarter * 2 + odd) * quarter + i % quarter;
        let mask: Vec<u32> = (0..e.lanes_of(*first)).map(lane).collect();
        among(e, &rows.chunks_exact(2).map(|pair| e.shuffle(pair[0], pair[1], &mask)).collect::<Vec<_>>(), quarter)
    };
    every_other(0).into_iter().zip(every_other(1)).flat_map(|(even, odd)| [even, odd]).collect()
}
