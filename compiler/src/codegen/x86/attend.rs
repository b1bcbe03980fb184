//! Streaming attention: a block of rows stays while the keys and values of its batch pass by, a block of scores at a time.
//!
//! For each tile of rows and each block of scores: the products of a tile and the block's panels of keys, by the microkernel of
//! contractions; each row's scores, its largest so far, and weights relative to that; the products of the weights and the
//! panels of values, added to what earlier blocks left. Where a row's largest score has grown, its sums are scaled down first.
//! Nothing of this depends on how many rows a tile or a block has.

use std::collections::BTreeMap;

use inkwell::types::BasicTypeEnum;
use inkwell::values::PointerValue;
use inkwell::{FloatPredicate, IntPredicate};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::{Frame, Lanes, Tail};
use super::super::llvm::loops::{Range, vectors_of};
use super::mask::Masks;
use super::micro::{Elems, Micros, Steps};
use super::tall::{self, Packing, Tall};
use crate::codegen::math;
use crate::kernel::index::Stride;
use crate::kernel::types::accumulator;
use crate::kernel::{Attend, Elem, Expr, Products};
use crate::scalar::Unary;
use crate::schedule::{AttendTile, SUM_BLOCK};

struct Plan<'a, 'ctx> {
    attend: &'a Attend,
    tile: &'a AttendTile,
    acc: Elem,
    /// An accumulator, a vector of them.
    number: BasicTypeEnum<'ctx>,
    vector: BasicTypeEnum<'ctx>,
    /// Steps of a product, elements that are weighed, columns of values.
    sum: Val<'ctx>,
    over: Val<'ctx>,
    cols: Val<'ctx>,
    steps: Steps<'ctx>,
    /// Steps of a block of weights.
    weights: Steps<'ctx>,
    scratch: Scratch<'ctx>,
}

/// Places in scratch memory.
struct Scratch<'ctx> {
    /// Sums of weighed values: `[panel][row][column]`.
    sums: PointerValue<'ctx>,
    /// Of each row: sums of weights in each lane, and the largest score.
    totals: PointerValue<'ctx>,
    largest: PointerValue<'ctx>,
    /// Of a tile: products as `[panel][row][column]`, scores and then weights as rows, weights packed.
    products: PointerValue<'ctx>,
    scores: PointerValue<'ctx>,
    packed_weights: PointerValue<'ctx>,
    /// Left operands of a block of rows, packed.
    packed: PointerValue<'ctx>,
    /// Pointers to the rows of a block, and of a tile's weights.
    pointers: PointerValue<'ctx>,
    weight_pointers: PointerValue<'ctx>,
}

impl Plan<'_, '_> {
    /// Columns of a panel.
    fn panel(&self) -> i64 {
        i64::from(self.tile.panel())
    }
    fn block(&self) -> i64 {
        i64::from(self.attend.block)
    }
    /// Sums of a panel of values.
    fn panel_sums(&self) -> i64 {
        i64::from(self.tile.block_rows()) * self.panel()
    }
}

/// Unit = (batch, block of rows).
pub fn attend<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    attend: &Attend,
    tile: &AttendTile,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let plan = plan(frame, attend, tile, range.scratch);
    // The rows of a tile's weights are where they are.
    for row in 0..i64::from(tile.tallest()) {
        let at = e.at(plan.scratch.scores, plan.number, e.index(row * plan.block()));
        e.store(at.into(), e.at(plan.scratch.weight_pointers, e.pointer(), e.index(row)));
    }
    let rows = frame.extent(attend.rows.extent);
    let blocks = panels(e, rows, i64::from(tile.row_block));
    e.each(range.begin, range.end, 1, |unit| {
        let (number, batch) = (e.urem(unit, blocks), e.udiv(unit, blocks));
        let first = e.mul(number, e.index(i64::from(tile.row_block)));
        let to = e.min(rows, e.add(first, e.index(i64::from(tile.row_block))));
        frame.vars.insert(attend.batch.var, batch);
        let mut block = |frame: &mut Frame<'_, 'ctx>| {
            begin(frame, micros, &plan, (first, to));
            e.each(e.index(0), plan.over, plan.block(), |at| {
                let count = e.min(e.index(plan.block()), e.sub(plan.over, at));
                tall::tiles(e, &tile.tall, e.sub(to, first), |_, height, row| {
                    let from = e.add(first, row);
                    let rows = (from, e.min(to, e.add(from, e.index(i64::from(height)))));
                    tiled(frame, micros, &plan, Tiled { batch, height, row, rows, at, count });
                });
            });
            store(frame, &plan, (first, to));
        };
        match attend.only {
            Some(only) => {
                let is_needed = frame.eval(only);
                e.when(is_needed, || block(frame));
                frame.forget();
            }
            None => block(frame),
        }
    });
    frame.forget();
}

fn panels<'ctx>(e: &Emit<'ctx>, n: Val<'ctx>, by: i64) -> Val<'ctx> {
    e.udiv(e.add(n, e.index(by - 1)), e.index(by))
}

fn plan<'a, 'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    attend: &'a Attend,
    tile: &'a AttendTile,
    scratch: PointerValue<'ctx>,
) -> Plan<'a, 'ctx> {
    let e = frame.emit;
    let acc = accumulator(frame.kernel);
    let number = e.register(acc);
    let mut sum = e.index(1);
    for l in &attend.sums {
        let extent = frame.extent(l.extent);
        sum = e.mul(sum, extent);
        frame.vars.insert(l.var, e.index(0));
    }
    let (over, cols) = (frame.extent(attend.over.extent), frame.extent(attend.cols.extent));
    let steps = match frame.kernel.expr(attend.x) {
        Expr::Load { index, .. } => Steps::of_load(frame, index, &attend.sums),
        other => unreachable!("attention reads its left operand where it stands, not {other:?}"),
    };
    let steps = Steps::new(frame, &steps);
    let weights = Steps::new(frame, &[(e.index(0), Stride::neighbours())]);
    let rows = i64::from(tile.block_rows());
    let (lanes, scores) = (i64::from(tile.lanes), i64::from(tile.scores(attend)));
    let mut free = scratch;
    let mut take = |elements: Val<'ctx>| {
        let place = free;
        free = e.at(place, number, elements);
        place
    };
    let scratch = Scratch {
        sums: take(e.mul(panels(e, cols, i64::from(tile.panel())), e.index(rows * i64::from(tile.panel())))),
        totals: take(e.index(rows * lanes)),
        products: take(e.index(scores)),
        scores: take(e.index(scores)),
        // Packing writes past its end.
        packed_weights: take(e.index(scores + lanes)),
        packed: take(e.add(e.mul(sum, e.index(rows)), e.index(lanes))),
        largest: take(e.index(rows)),
        pointers: free,
        weight_pointers: free,
    };
    // Rows are whole tiles, an even number: pointers are aligned.
    let scratch =
        Scratch { weight_pointers: e.at(scratch.pointers, e.pointer(), e.index(rows)), pointers: free, ..scratch };
    Plan { attend, tile, acc, number, vector: e.vector(number, tile.lanes), sum, over, cols, steps, weights, scratch }
}

/// A block of rows: its left operands packed, no sums yet.
fn begin<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    (first, to): (Val<'ctx>, Val<'ctx>),
) {
    let e = frame.emit;
    let (attend, tile, scratch) = (plan.attend, plan.tile, &plan.scratch);
    let Expr::Load { buffer, index, .. } = frame.kernel.expr(attend.x).clone() else { return };
    let elem = frame.kernel.buffer(buffer).elem;
    let count = e.sub(to, first);
    let lanes = i64::from(tile.lanes);
    // Rows beyond the last, up to a whole tile, repeat it.
    e.each(e.index(0), e.add(count, e.index(i64::from(tile.tallest()) - 1)), 1, |i| {
        let row = e.min(e.add(first, i), e.sub(to, e.index(1)));
        frame.vars.insert(attend.rows.var, row);
        frame.forget();
        let at = e.at(frame.buffers[buffer.0 as usize], e.memory(elem), frame.index(&index));
        e.store(at.into(), e.at(scratch.pointers, e.pointer(), i));
        e.store(e.number(plan.number, f64::NEG_INFINITY), e.at(scratch.largest, plan.number, i));
        e.store(e.zero(plan.vector), e.at(scratch.totals, plan.number, e.mul(i, e.index(lanes))));
        e.each(e.index(0), panels(e, plan.cols, plan.panel()), 1, |panel| {
            let row = e.add(e.mul(panel, e.index(plan.panel_sums())), e.mul(i, e.index(plan.panel())));
            for v in 0..i64::from(tile.vectors) {
                let at = e.add(row, e.index(v * lanes));
                e.store(e.zero(plan.vector), e.at(scratch.sums, plan.number, at));
            }
        });
    });
    frame.forget();
    tall::tiles(e, &tile.tall, count, |_, rows, row| {
        let Steps { counts, strides, loops, dense } = plan.steps;
        let packing = Packing { rows, sums: loops, dense, lanes: tile.lanes, x: elem, acc: plan.acc };
        let from = e.at(scratch.pointers, e.pointer(), row);
        let to = e.at(scratch.packed, plan.number, e.mul(row, plan.sum));
        e.call_function(tall::pack(micros, e, packing), &[from.into(), counts.into(), strides.into(), to.into()]);
    });
}

/// A tile of rows and a block of what it weighs.
#[derive(Clone, Copy)]
struct Tiled<'ctx> {
    batch: Val<'ctx>,
    /// Rows of the tile, the number of its first one in the block of rows, and those that are there.
    height: u32,
    row: Val<'ctx>,
    rows: (Val<'ctx>, Val<'ctx>),
    /// The first element of the block, and how many there are.
    at: Val<'ctx>,
    count: Val<'ctx>,
}

fn tiled<'ctx>(frame: &mut Frame<'_, 'ctx>, micros: &mut Micros<'ctx>, plan: &Plan<'_, 'ctx>, tiled: Tiled<'ctx>) {
    let e = frame.emit;
    let last = |to| e.sub(to, e.index(1));
    let ranges = BTreeMap::from([
        (plan.attend.rows.var, (tiled.rows.0, last(tiled.rows.1))),
        (plan.attend.over.var, (tiled.at, last(e.add(tiled.at, tiled.count)))),
    ]);
    let after = e.block("weighed");
    if let Some(counts) = (Masks { frame, ranges }).may_count(plan.attend.score) {
        let inside = e.block("counts");
        e.branch(counts, inside, after);
        e.builder.position_at_end(inside);
    }
    products(frame, micros, plan, tiled);
    e.each(e.index(0), e.sub(tiled.rows.1, tiled.rows.0), 1, |i| weigh(frame, plan, tiled, i));
    frame.forget();
    e.store(tiled.count, plan.weights.counts);
    let packing =
        Packing { rows: tiled.height, sums: 1, dense: true, lanes: plan.tile.lanes, x: plan.acc, acc: plan.acc };
    let (pointers, to) = (plan.scratch.weight_pointers, plan.scratch.packed_weights);
    let args = [pointers.into(), plan.weights.counts.into(), plan.weights.strides.into(), to.into()];
    e.call_function(tall::pack(micros, e, packing), &args);
    sums(frame, micros, plan, tiled);
    e.go(after);
    e.builder.position_at_end(after);
}

/// Calls the microkernel for a panel of one of the right operands.
#[allow(clippy::too_many_arguments, reason = "what the microkernel takes")]
fn multiply<'ctx>(
    frame: &Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    tiled: Tiled<'ctx>,
    w: Elem,
    (left, panel): (PointerValue<'ctx>, PointerValue<'ctx>),
    (steps, goes_on): (Val<'ctx>, i64),
    (to, next): (PointerValue<'ctx>, Val<'ctx>),
) {
    let e = frame.emit;
    let elems = Elems { x: plan.acc, w, acc: plan.acc, products: Products::One, quantized: None };
    let (vectors, lanes) = (plan.tile.vectors, plan.tile.lanes);
    let function = tall::micro(micros, e, Tall { rows: tiled.height, vectors, lanes, elems });
    // Each tile fetches its share of the panel that takes this one's place: `next` elements on.
    let line = plan.panel() * w.bytes() as i64;
    let (rows, height) = (i64::from(plan.tile.row_block), i64::from(tiled.height));
    let share = (line * height + rows - 1) / rows;
    let fetched = e.at(panel, e.memory(w), next);
    let passed = e.udiv(e.mul(e.mul(steps, tiled.row), e.index(line)), e.index(rows));
    let fetched = e.at(fetched, e.int(8), passed);
    let block = e.index(i64::from(SUM_BLOCK));
    let args = [left.into(), panel.into(), steps, block, e.index(goes_on), to.into(), fetched.into(), e.index(share)];
    e.call_function(function, &args);
}

/// The products of the tile's left operands and the block's keys.
fn products<'ctx>(frame: &Frame<'_, 'ctx>, micros: &mut Micros<'ctx>, plan: &Plan<'_, 'ctx>, tiled: Tiled<'ctx>) {
    let e = frame.emit;
    let (panel, keys) = (plan.panel(), plan.attend.keys);
    let elem = frame.kernel.buffer(keys).elem;
    let panel_elements = e.mul(plan.sum, e.index(panel));
    let of_batch = e.mul(tiled.batch, panels(e, plan.over, panel));
    let first = e.add(of_batch, e.udiv(tiled.at, e.index(panel)));
    let left = e.at(plan.scratch.packed, plan.number, e.mul(tiled.row, plan.sum));
    e.each(e.index(0), panels(e, tiled.count, panel), 1, |number| {
        let at = e.mul(e.add(first, number), panel_elements);
        let start = e.at(frame.buffers[keys.0 as usize], e.memory(elem), at);
        let to = e.mul(number, e.index(i64::from(plan.tile.tallest()) * panel));
        let to = e.at(plan.scratch.products, plan.number, to);
        let next = e.mul(panel_elements, e.index(plan.block() / panel));
        multiply(frame, micros, plan, tiled, elem, (left, start), (plan.sum, 0), (to, next));
    });
}

/// Adds the block's values, weighed, to the tile's sums.
fn sums<'ctx>(frame: &Frame<'_, 'ctx>, micros: &mut Micros<'ctx>, plan: &Plan<'_, 'ctx>, tiled: Tiled<'ctx>) {
    let e = frame.emit;
    let (panel, values) = (plan.panel(), plan.attend.values);
    let elem = frame.kernel.buffer(values).elem;
    let count = panels(e, plan.cols, panel);
    e.each(e.index(0), count, 1, |number| {
        let matrix = e.mul(e.add(e.mul(tiled.batch, count), number), plan.over);
        let at = e.mul(e.add(matrix, tiled.at), e.index(panel));
        let start = e.at(frame.buffers[values.0 as usize], e.memory(elem), at);
        let to = e.add(e.mul(number, e.index(plan.panel_sums())), e.mul(tiled.row, e.index(panel)));
        let to = e.at(plan.scratch.sums, plan.number, to);
        let next = e.mul(tiled.count, e.index(panel));
        let operands = (plan.scratch.packed_weights, start);
        multiply(frame, micros, plan, tiled, elem, operands, (tiled.count, 1), (to, next));
    });
}

/// Row `i` of a tile: products become scores and then weights; what earlier blocks left is scaled to the largest score.
fn weigh<'ctx>(frame: &mut Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>, tiled: Tiled<'ctx>, i: Val<'ctx>) {
    let e = frame.emit;
    let (tile, scratch) = (plan.tile, &plan.scratch);
    let lanes = i64::from(tile.lanes);
    frame.vars.insert(plan.attend.rows.var, e.add(tiled.rows.0, i));
    frame.forget();
    let row = e.add(tiled.row, i);
    let of_row = |place, width: i64| e.at(place, plan.number, e.mul(row, e.index(width)));
    let scores = e.at(scratch.scores, plan.number, e.mul(i, e.index(plan.block())));
    let score_at = |c: Val<'ctx>| e.at(scores, plan.number, c);

    let most = e.variable(e.function(), plan.vector);
    let nothing = e.number(plan.vector, f64::NEG_INFINITY);
    e.store(nothing, most);
    let scored = |frame: &mut Frame<'_, 'ctx>, is_whole: bool| {
        e.each(e.index(0), e.index(plan.block()), lanes, |c| {
            let (panel, column) = (e.udiv(c, e.index(plan.panel())), e.urem(c, e.index(plan.panel())));
            let place = e.add(e.mul(panel, e.index(i64::from(tile.tallest()))), i);
            let place = e.add(e.mul(place, e.index(plan.panel())), column);
            let first = e.add(tiled.at, c);
            let last = e.sub(plan.over, e.index(1));
            let inside = e.icmp(IntPredicate::SLE, e.add(first, e.iota(tile.lanes)), last);
            let tail = (!is_whole).then_some(Tail { mask: inside, last, count: None });
            frame.accs = vec![e.load(plan.vector, e.at(scratch.products, plan.number, place))];
            frame.lanes = Some(Lanes { var: plan.attend.over.var, first, count: tile.lanes, tail });
            frame.forget();
            let score = frame.eval(plan.attend.score);
            let score = e.splat(score, tile.lanes);
            let score = if is_whole { score } else { e.select(inside, score, nothing) };
            frame.lanes = None;
            frame.forget();
            e.store(score, score_at(c));
            // No number: it makes its weight, and the row, none.
            let so_far = e.load(plan.vector, most);
            e.store(e.select(e.fcmp(FloatPredicate::OGT, score, so_far), score, so_far), most);
        });
    };
    let (whole, tail, after) = (e.block("whole"), e.block("tail"), e.block("scored"));
    e.branch(e.icmp(IntPredicate::EQ, tiled.count, e.index(plan.block())), whole, tail);
    for (block, is_whole) in [(whole, true), (tail, false)] {
        e.builder.position_at_end(block);
        scored(frame, is_whole);
        e.go(after);
    }
    e.builder.position_at_end(after);

    let before = e.load(plan.number, of_row(scratch.largest, 1));
    let here = folded(e, e.load(plan.vector, most), |a, b| e.select(e.fcmp(FloatPredicate::OGT, a, b), a, b));
    let has_grown = e.fcmp(FloatPredicate::OGT, here, before);
    let largest = e.select(has_grown, here, before);
    // Where all is masked, weights are 0, not exp(-inf - -inf).
    let is_none = e.fcmp(FloatPredicate::OEQ, largest, e.number(plan.number, f64::NEG_INFINITY));
    let base = e.select(is_none, e.number(plan.number, 0.0), largest);
    let total = e.variable(e.function(), plan.vector);
    e.store(e.load(plan.vector, of_row(scratch.totals, lanes)), total);
    e.when(has_grown, || {
        e.store(largest, of_row(scratch.largest, 1));
        let scale = e.splat(math::unary(e, Unary::Exp, e.sub(before, base)), tile.lanes);
        e.store(e.mul(e.load(plan.vector, total), scale), total);
        e.each(e.index(0), panels(e, plan.cols, plan.panel()), 1, |panel| {
            let start = e.add(e.mul(panel, e.index(plan.panel_sums())), e.mul(row, e.index(plan.panel())));
            for v in 0..i64::from(tile.vectors) {
                let at = e.at(scratch.sums, plan.number, e.add(start, e.index(v * lanes)));
                e.store(e.mul(e.load(plan.vector, at), scale), at);
            }
        });
    });
    // A block is whole panels.
    let wide = if plan.panel() % (lanes * i64::from(e.side_by_side())) == 0 { e.side_by_side() } else { 1 };
    let scores = e.vector(plan.number, wide * tile.lanes);
    let base = e.splat(base, wide * tile.lanes);
    e.each(e.index(0), e.index(plan.block()), i64::from(wide) * lanes, |c| {
        let weight = math::unary(e, Unary::Exp, e.sub(e.load(scores, score_at(c)), base));
        e.store(weight, score_at(c));
        let parts = if wide == 1 { vec![weight] } else { vec![e.half(weight, false), e.half(weight, true)] };
        for part in parts {
            e.store(e.add(e.load(plan.vector, total), part), total);
        }
    });
    e.store(e.load(plan.vector, total), of_row(scratch.totals, lanes));
}

/// A vector to a number, halves together.
fn folded<'ctx>(e: &Emit<'ctx>, v: Val<'ctx>, join: impl Fn(Val<'ctx>, Val<'ctx>) -> Val<'ctx>) -> Val<'ctx> {
    let mut v = v;
    while e.lanes_of(v) > 1 {
        v = join(e.half(v, false), e.half(v, true));
    }
    v
}

/// The results of a block of rows.
fn store<'ctx>(frame: &mut Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>, (first, to): (Val<'ctx>, Val<'ctx>)) {
    let e = frame.emit;
    let (attend, tile, scratch) = (plan.attend, plan.tile, &plan.scratch);
    let panel = e.index(plan.panel());
    e.each(e.index(0), e.sub(to, first), 1, |i| {
        let totals = e.load(plan.vector, e.at(scratch.totals, plan.number, e.mul(i, e.index(i64::from(tile.lanes)))));
        let total = folded(e, totals, |a, b| e.add(a, b));
        frame.vars.insert(attend.rows.var, e.add(first, i));
        vectors_of(frame, tile.lanes, &attend.cols, (e.index(0), plan.cols), |frame| {
            let Some(Lanes { first, .. }) = frame.lanes else { return };
            let at = e.mul(e.udiv(first, panel), e.index(plan.panel_sums()));
            let at = e.add(e.add(at, e.mul(i, panel)), e.urem(first, panel));
            let weighed = e.load(plan.vector, e.at(scratch.sums, plan.number, at));
            frame.accs = vec![e.zero(plan.vector), weighed, e.splat(total, tile.lanes)];
            attend.stores.iter().for_each(|s| frame.store(s));
        });
    });
    frame.accs.clear();
    frame.forget();
}
