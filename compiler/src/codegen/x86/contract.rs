//! Contractions: panels outermost within a block of rows, tiles of rows inside, the epilogue right after each tile.
//!
//! A unit of work is a panel of a block of rows, or of an expert's rows. Neither the units, nor the tiles, nor how many panels a
//! microkernel takes at once changes the order in which a sum is made.

use inkwell::IntPredicate;
use inkwell::types::BasicType;
use inkwell::values::{InstructionOpcode, PointerValue};

use super::super::llvm::emit::Val;
use super::super::llvm::expr::{Frame, Lanes};
use super::micro::{Elems, Micros, Shape, smallest};
use super::{Range, prologue};
use crate::kernel::index::{Stride, stride};
use crate::kernel::types::accumulator;
use crate::kernel::{Contract, Expr, Extent, Grouping, Index};
use crate::schedule::{Left, Tile};

/// What stays the same for all units.
struct Plan<'a, 'ctx> {
    contract: &'a Contract,
    tile: &'a Tile,
    rows: Rows<'a, 'ctx>,
    /// Steps of the sum.
    sum: Val<'ctx>,
    cols: Val<'ctx>,
    elems: Elems,
    /// Elements of a panel and of a matrix.
    panel_elements: Val<'ctx>,
    matrix_elements: Val<'ctx>,
    counts: PointerValue<'ctx>,
    strides: PointerValue<'ctx>,
    /// Loops of the sum in the left operand.
    loops: u32,
    dense: bool,
    /// The tile in scratch memory, then the numbers of its rows, then pointers to them.
    sums: PointerValue<'ctx>,
    numbers: PointerValue<'ctx>,
    pointers: PointerValue<'ctx>,
}

/// Where the rows of the left operand begin.
enum Rows<'a, 'ctx> {
    /// Where they stand.
    InPlace(PointerValue<'ctx>, &'a Index),
    /// In scratch memory, one after the other, those of a block of rows at a time.
    Evaluated(PointerValue<'ctx>),
}

/// Some rows and some panels of one matrix.
#[derive(Clone, Copy)]
struct Share<'ctx> {
    batch: Val<'ctx>,
    matrix: Val<'ctx>,
    /// Rows from..to, numbers or places in the order of the grouping.
    rows: (Val<'ctx>, Val<'ctx>),
    panels: (Val<'ctx>, Val<'ctx>),
}

pub fn contract<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    contract: &Contract,
    tile: &Tile,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let kernel = frame.kernel;
    let mut sum = e.index(1);
    for l in &contract.sums {
        let extent = frame.extent(l.extent);
        sum = e.mul(sum, extent);
        frame.vars.insert(l.var, e.index(0));
    }
    // An evaluated row is one loop over neighbours.
    let steps: Vec<(Val<'ctx>, Stride)> = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { index, .. }) => {
            contract.sums.iter().map(|l| (frame.extent(l.extent), stride(index, l.var).unwrap_or_default())).collect()
        }
        _ => vec![(sum, Stride::neighbours())],
    };
    let dense = steps.last().is_some_and(|(_, step)| *step == Stride::neighbours());
    let loops = steps.len().max(1) as u32;
    let array = e.i64().array_type(loops);
    let (counts, strides) = (e.variable(e.function(), array.into()), e.variable(e.function(), array.into()));
    for (i, (extent, step)) in steps.iter().enumerate() {
        let step = step.dims.iter().fold(e.index(step.known), |s, d| e.mul(s, frame.dims[d.0 as usize]));
        e.store(*extent, e.at(counts, e.i64(), e.index(i as i64)));
        e.store(step, e.at(strides, e.i64(), e.index(i as i64)));
    }
    if steps.is_empty() {
        e.store(e.index(1), counts);
        e.store(e.index(0), strides);
    }
    let step_elements = i64::from(tile.vectors * tile.lanes);
    let cols = frame.extent(contract.cols.extent);
    let panels = div_up(frame, cols, tile.panel);
    let panel_elements = e.mul(sum, e.index(step_elements));
    let acc = accumulator(kernel);
    let x = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { buffer, .. }) => kernel.buffer(*buffer).elem,
        _ => acc,
    };
    let elems = Elems { x, w: kernel.buffer(contract.w).elem, acc };
    let numbers = e.at(range.scratch, e.register(acc), e.index(i64::from(tile.sums())));
    let pointers = e.at(numbers, e.i64(), e.index(i64::from(tile.most_rows())));
    let rows = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { buffer, index, .. }) => Rows::InPlace(frame.buffers[buffer.0 as usize], index),
        _ => Rows::Evaluated(e.at(pointers, e.i64(), e.index(i64::from(tile.most_rows())))),
    };
    let plan = Plan {
        contract,
        tile,
        rows,
        sum,
        cols,
        elems,
        panel_elements,
        matrix_elements: e.mul(panels, panel_elements),
        counts,
        strides,
        loops,
        dense,
        sums: range.scratch,
        numbers,
        pointers,
    };
    match &contract.grouping {
        Some(grouping) => grouped(frame, micros, &plan, grouping, panels, range),
        None => plain(frame, micros, &plan, panels, range),
    }
}

fn div_up<'ctx>(frame: &Frame<'_, 'ctx>, n: Val<'ctx>, by: u32) -> Val<'ctx> {
    let e = frame.emit;
    e.udiv(e.add(n, e.index(i64::from(by) - 1)), e.index(i64::from(by)))
}

/// Unit = (batch, block of rows, panel), the panel fastest.
fn plain<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    panels: Val<'ctx>,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let rows = frame.extent(plan.contract.rows.extent);
    let block = e.index(i64::from(plan.tile.row_block));
    let blocks = div_up(frame, rows, plan.tile.row_block);
    let unit = e.variable(e.function(), e.i64());
    e.store(range.begin, unit);
    let (head, body, after) = (e.block("units"), e.block("unit"), e.block("done"));
    e.go(head);
    e.builder.position_at_end(head);
    let u = e.load(e.i64(), unit);
    e.branch(e.icmp(IntPredicate::SLT, u, range.end), body, after);
    e.builder.position_at_end(body);
    let (panel, outer) = (e.urem(u, panels), e.udiv(u, panels));
    let (number, batch) = (e.urem(outer, blocks), e.udiv(outer, blocks));
    let first = e.mul(number, block);
    let to = e.min(rows, e.add(first, block));
    // All panels of this range that are of the same block.
    let last = e.min(panels, e.add(panel, e.sub(range.end, u)));
    share(frame, micros, plan, Share { batch, matrix: batch, rows: (first, to), panels: (panel, last) });
    e.store(e.add(u, e.sub(last, panel)), unit);
    e.go(head);
    e.builder.position_at_end(after);
}

/// Unit = (few panels, expert), the expert fastest: however rows are spread, threads have equal shares. Of each expert a range
/// then has neighbouring panels, which are walked together: one block of its rows passes by all of them.
fn grouped<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    grouping: &Grouping,
    panels: Val<'ctx>,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let experts = frame.extent(grouping.experts);
    let offsets = frame.buffers[grouping.offsets.0 as usize];
    let offset = |at| e.cast(InstructionOpcode::SExt, e.load(e.int(32), e.at(offsets, e.int(32), at)), e.i64());
    let span = e.index(i64::from(plan.tile.span()));
    e.each(e.index(0), experts, 1, |expert| {
        // The first unit of the expert that is not below `unit` is `number * experts + expert`.
        let number = |unit| {
            let above = e.add(unit, e.sub(experts, e.index(1)));
            e.udiv(e.sub(above, expert), experts)
        };
        let panel = e.mul(number(range.begin), span);
        let last = e.min(panels, e.mul(number(range.end), span));
        let (from, to) = (offset(expert), offset(e.add(expert, e.index(1))));
        // A range of few units has nothing of some experts.
        let to = e.select(e.icmp(IntPredicate::SLT, panel, last), to, from);
        let block = e.index(i64::from(plan.tile.row_block));
        e.each(from, to, i64::from(plan.tile.row_block), |first| {
            let rows = (first, e.min(to, e.add(first, block)));
            share(frame, micros, plan, Share { batch: e.index(0), matrix: expert, rows, panels: (panel, last) });
        });
    });
    frame.forget();
}

/// All panels of a share, several at once where few rows would leave the adders idle.
fn share<'ctx>(frame: &mut Frame<'_, 'ctx>, micros: &mut Micros<'ctx>, plan: &Plan<'_, 'ctx>, share: Share<'ctx>) {
    let e = frame.emit;
    let count = e.sub(share.rows.1, share.rows.0);
    if let Rows::Evaluated(block) = plan.rows {
        frame.vars.insert(plan.contract.batch.var, share.batch);
        prologue::rows(frame, plan.contract, plan.elems.acc, block, plan.sum, share.rows, |frame, place| {
            row_number(frame, plan, place)
        });
    }
    let panel = e.variable(e.function(), e.i64());
    e.store(share.panels.0, panel);
    let (head, body, after) = (e.block("panels"), e.block("panel"), e.block("shared"));
    e.go(head);
    e.builder.position_at_end(head);
    let p = e.load(e.i64(), panel);
    e.branch(e.icmp(IntPredicate::SLT, p, share.panels.1), body, after);
    e.builder.position_at_end(body);
    let left = e.sub(share.panels.1, p);
    let at_once = plan.tile.panels_at_once.iter().enumerate().fold(e.index(1), |sofar, (i, &n)| {
        let rows = e.icmp(IntPredicate::EQ, count, e.index(i as i64 + 1));
        let enough = e.icmp(IntPredicate::SGE, left, e.index(i64::from(n)));
        e.select(e.and(rows, enough), e.index(i64::from(n)), sofar)
    });
    // Equal tiles: 10 rows are 5 and 5, not 8 and 2.
    let tiles = div_up(frame, count, plan.tile.most_rows());
    let safe = e.select(e.icmp(IntPredicate::SGT, tiles, e.index(1)), tiles, e.index(1));
    let height = e.udiv(e.add(count, e.sub(safe, e.index(1))), safe);
    let row = e.variable(e.function(), e.i64());
    e.store(share.rows.0, row);
    let (rows_head, rows_body, rows_after) = (e.block("rows"), e.block("tile"), e.block("tiled"));
    e.go(rows_head);
    e.builder.position_at_end(rows_head);
    let first = e.load(e.i64(), row);
    e.branch(e.icmp(IntPredicate::SLT, first, share.rows.1), rows_body, rows_after);
    e.builder.position_at_end(rows_body);
    let n = e.min(height, e.sub(share.rows.1, first));
    sums(frame, micros, plan, share, p, at_once, first, n);
    epilogue(frame, plan, share, p, at_once, n);
    e.store(e.add(first, n), row);
    e.go(rows_head);
    e.builder.position_at_end(rows_after);
    e.store(e.add(p, at_once), panel);
    e.go(head);
    e.builder.position_at_end(after);
    frame.forget();
}

/// Fills the tile: the sums of `n` rows from `first` and of the panels from `panel`.
#[allow(clippy::too_many_arguments, reason = "one tile: which rows, which panels")]
fn sums<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    panel: Val<'ctx>,
    at_once: Val<'ctx>,
    first: Val<'ctx>,
    n: Val<'ctx>,
) {
    let e = frame.emit;
    let w = frame.buffers[plan.contract.w.0 as usize];
    let panels = e.add(e.mul(share.matrix, plan.matrix_elements), e.mul(panel, plan.panel_elements));
    let panels = e.at(w, e.memory(plan.elems.w), panels);
    let mut call = |frame: &mut Frame<'_, 'ctx>, rows: u32, at_once: u32| {
        for i in 0..rows {
            // Rows beyond the last repeat it.
            let place = e.add(first, e.min(e.index(i64::from(i)), e.sub(n, e.index(1))));
            let number = row_number(frame, plan, place);
            let row = match plan.rows {
                Rows::InPlace(x, index) => {
                    frame.vars.insert(plan.contract.rows.var, number);
                    frame.vars.insert(plan.contract.batch.var, share.batch);
                    frame.forget();
                    e.at(x, e.memory(plan.elems.x), frame.index(index))
                }
                Rows::Evaluated(block) => e.at(block, e.register(plan.elems.acc), e.mul(e.sub(place, share.rows.0), plan.sum)),
            };
            e.store(number, e.at(plan.numbers, e.i64(), e.index(i64::from(i))));
            e.store(row.into(), e.at(plan.pointers, e.pointer(), e.index(i64::from(i))));
        }
        frame.forget();
        let shape = Shape {
            rows,
            panels: at_once,
            vectors: plan.tile.vectors,
            sums: plan.loops,
            dense: plan.dense,
            lanes: plan.tile.lanes,
            elems: plan.elems,
        };
        let micro = micros.get(e, shape);
        let args = [
            plan.pointers.into(),
            panels.into(),
            plan.panel_elements,
            plan.counts.into(),
            plan.strides.into(),
            plan.sums.into(),
        ];
        e.call_function(micro, &args);
    };
    let after = e.block("summed");
    for (i, &several) in plan.tile.panels_at_once.iter().enumerate().filter(|(_, n)| **n > 1) {
        let rows = e.icmp(IntPredicate::EQ, n, e.index(i as i64 + 1));
        let these = e.and(rows, e.icmp(IntPredicate::EQ, at_once, e.index(i64::from(several))));
        let (here, next) = (e.block("several"), e.block("next"));
        e.branch(these, here, next);
        e.builder.position_at_end(here);
        call(frame, i as u32 + 1, several);
        e.go(after);
        e.builder.position_at_end(next);
    }
    smallest(e, &plan.tile.rows, n, |rows| call(frame, rows, 1));
    e.go(after);
    e.builder.position_at_end(after);
}

/// The number of a row: itself, or what the grouping put at that place.
fn row_number<'ctx>(frame: &Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>, place: Val<'ctx>) -> Val<'ctx> {
    let e = frame.emit;
    match &plan.contract.grouping {
        Some(grouping) => {
            let order = frame.buffers[grouping.order.0 as usize];
            e.cast(InstructionOpcode::SExt, e.load(e.int(32), e.at(order, e.int(32), place)), e.i64())
        }
        None => place,
    }
}

/// Stores of `n` rows of the tile and `at_once` panels.
fn epilogue<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    panel: Val<'ctx>,
    at_once: Val<'ctx>,
    n: Val<'ctx>,
) {
    let e = frame.emit;
    let count = plan.tile.lanes;
    let lanes = i64::from(count);
    let acc = e.register(plan.elems.acc);
    let vectors = i64::from(plan.tile.vectors);
    let chunks = i64::from(plan.tile.panel) / lanes;
    frame.vars.insert(plan.contract.batch.var, share.batch);
    e.each(e.index(0), at_once, 1, |p| {
        let from = e.mul(e.add(panel, p), e.index(i64::from(plan.tile.panel)));
        let to = e.min(plan.cols, e.add(from, e.index(i64::from(plan.tile.panel))));
        e.each(e.index(0), n, 1, |i| {
            let number = e.load(e.i64(), e.at(plan.numbers, e.i64(), i));
            frame.vars.insert(plan.contract.rows.var, number);
            let row = e.mul(e.add(e.mul(p, n), i), e.index(vectors * lanes));
            let store = |frame: &mut Frame<'_, 'ctx>, first: Val<'ctx>, tail| {
                let ty = e.vector(acc, count);
                let chunk = e.add(row, e.sub(first, from));
                frame.accs = (0..i64::from(plan.contract.groups))
                    .map(|g| e.load(ty, e.at(plan.sums, acc, e.add(chunk, e.index(g * chunks * lanes)))))
                    .collect();
                frame.lanes = Some(Lanes { var: plan.contract.cols.var, first, count, tail });
                frame.forget();
                plan.contract.stores.iter().for_each(|s| frame.store(s));
                frame.lanes = None;
                frame.forget();
            };
            let whole = e.sub(to, e.index(lanes - 1));
            let rest = e.each(from, whole, lanes, |first| store(frame, first, None));
            let even = matches!(plan.contract.cols.extent, Extent::Known(n) if n % lanes == 0);
            if !even {
                e.when(e.icmp(IntPredicate::SLT, rest, to), || {
                    let last = e.sub(to, e.index(1));
                    let mask = e.icmp(IntPredicate::SLE, e.add(rest, e.iota(count)), last);
                    store(frame, rest, Some((mask, last)));
                });
            }
        });
    });
    frame.accs.clear();
    frame.forget();
}
