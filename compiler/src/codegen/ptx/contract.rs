//! Contractions on a GPU: a block makes a tile of rows by one panel of columns. There is code for a few rows and for many, so that a
//! single row does not pay for a whole tile; each adds in the order of the sum, so a row has the same bits in both.
//!
//! Sums end in shared memory, from where the epilogue takes them element by element, neighbours by neighbouring threads.

use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicValue, InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::Frame;
use super::super::llvm::loops::smallest;
use super::block::{Block, product};
use super::fma::Fma;
use super::mma::Warp;
use super::pieces::Pieces;
use crate::kernel::types::accumulator;
use crate::kernel::{Contract, Grouping};
use crate::schedule::gpu::divides;
use crate::schedule::{GPU_THREADS, GpuTile, Math};

/// What a block works on.
pub struct Work<'a, 'ctx> {
    pub contract: &'a Contract,
    pub tile: &'a GpuTile,
    pub block: &'a Block<'ctx>,
    /// Columns of a panel, over all groups.
    pub width: u32,
    /// Length of the sum.
    pub sum: Val<'ctx>,
    cols: Val<'ctx>,
    panel: Val<'ctx>,
    batch: Val<'ctx>,
    /// Where the panel begins in `w`, in elements.
    pub panel_start: Val<'ctx>,
    /// Rows from..to of the tile, numbers or places in the order of the grouping.
    pub rows: (Val<'ctx>, Val<'ctx>),
}

impl Work<'_, '_> {
    pub fn is_half(&self) -> bool {
        self.tile.math == Math::Half
    }
}

pub fn contract<'ctx>(frame: &mut Frame<'_, 'ctx>, contract: &Contract, tile: &GpuTile, block: &Block<'ctx>) {
    let e = frame.emit;
    let cols = frame.extent(contract.cols.extent);
    let sum = product(frame, &contract.sums);
    let panels = div_up(e, cols, tile.panel);
    let (panel, outer) = (e.urem(block.unit, panels), e.udiv(block.unit, panels));
    let width = tile.panel * contract.groups;
    let panel_size = e.mul(sum, e.index(i64::from(width)));
    let height = e.index(i64::from(tile.most_rows()));
    let work = |batch, matrix, sum, rows| Work {
        contract,
        tile,
        block,
        width,
        sum,
        cols,
        panel,
        batch,
        panel_start: e.mul(e.add(e.mul(matrix, panels), panel), panel_size),
        rows,
    };
    match &contract.grouping {
        None => {
            let rows = frame.extent(contract.rows.extent);
            let tiles = div_up(e, rows, tile.most_rows());
            let (number, batch) = (e.urem(outer, tiles), e.udiv(outer, tiles));
            let first = e.mul(number, height);
            make(frame, &work(batch, batch, sum, (first, e.min(rows, e.add(first, height)))));
        }
        Some(grouping) => {
            let (expert, number) = find_expert(frame, grouping, tile, outer);
            let found = e.icmp(IntPredicate::SLT, expert, frame.extent(grouping.experts));
            e.when(found, || {
                let (from, to) = frame.segment(grouping.offsets, expert);
                let first = e.add(from, e.mul(number, height));
                let rows = (first, e.min(to, e.add(first, height)));
                if !grouping.last_is_none {
                    return make(frame, &work(e.index(0), expert, sum, rows));
                }
                // Rows without an expert: sums of no steps.
                let is_none = e.icmp(IntPredicate::EQ, expert, e.sub(frame.extent(grouping.experts), e.index(1)));
                let [expert, sum] = [expert, sum].map(|v| e.select(is_none, e.index(0), v));
                make(frame, &work(e.index(0), expert, sum, rows));
            });
        }
    }
}

fn div_up<'ctx>(e: &Emit<'ctx>, n: Val<'ctx>, by: u32) -> Val<'ctx> {
    e.udiv(e.add(n, e.index(i64::from(by) - 1)), e.index(i64::from(by)))
}

/// The expert whose rows the tile `number` over all experts has, and its number among that expert's; the number of experts if
/// there are not so many tiles.
fn find_expert<'ctx>(
    frame: &Frame<'_, 'ctx>,
    grouping: &Grouping,
    tile: &GpuTile,
    number: Val<'ctx>,
) -> (Val<'ctx>, Val<'ctx>) {
    let e = frame.emit;
    let experts = frame.extent(grouping.experts);
    let (at, left) = (e.variable(e.function(), e.i64()), e.variable(e.function(), e.i64()));
    e.store(e.index(0), at);
    e.store(number, left);
    let (head, look, next, after) = (e.block("experts"), e.block("look"), e.block("next"), e.block("found"));
    e.go(head);
    e.builder.position_at_end(head);
    let expert = e.load(e.i64(), at);
    e.branch(e.icmp(IntPredicate::SLT, expert, experts), look, after);
    e.builder.position_at_end(look);
    let (from, to) = frame.segment(grouping.offsets, expert);
    let tiles = div_up(e, e.sub(to, from), tile.most_rows());
    let here = e.load(e.i64(), left);
    e.branch(e.icmp(IntPredicate::SLT, here, tiles), after, next);
    e.builder.position_at_end(next);
    e.store(e.sub(here, tiles), left);
    e.store(e.add(expert, e.index(1)), at);
    e.go(head);
    e.builder.position_at_end(after);
    (e.load(e.i64(), at), e.load(e.i64(), left))
}

/// The number of a row: itself, or what the grouping put at that place.
pub fn row_number<'ctx>(frame: &Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, place: Val<'ctx>) -> Val<'ctx> {
    work.contract.grouping.as_ref().map_or(place, |grouping| frame.entry(grouping.order, place))
}

fn make<'ctx>(frame: &mut Frame<'_, 'ctx>, work: &Work<'_, 'ctx>) {
    let e = frame.emit;
    let tile = work.tile;
    frame.vars.insert(work.contract.batch.var, work.batch);
    let acc = accumulator(frame.kernel);
    // The sums take the place of the operands when those are done with.
    let shared = work.block.shared(e, e.int(8), tile.shared_bytes(frame.kernel, work.contract));
    let count = e.sub(work.rows.1, work.rows.0);
    smallest(e, &tile.rows, count, |rows| sums(frame, work, rows, e.register(acc), shared));
    work.block.wait(e);
    epilogue(frame, work, e.register(acc), shared);
}

/// The sums of up to `rows` rows, left in shared memory.
fn sums<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    work: &Work<'_, 'ctx>,
    rows: u32,
    acc: BasicTypeEnum<'ctx>,
    shared: PointerValue<'ctx>,
) {
    let e = frame.emit;
    let tile = work.tile;
    let pieces = Pieces::new(frame, work, rows, shared);
    pieces.begin(frame, work);
    let sums = match tile.math {
        Math::Fma => Sums::Fma(Fma::new(e, work, rows, acc)),
        Math::Half | Math::Tf32 => Sums::Mma(Warp::new(e, work, rows)),
    };
    let depth = i64::from(pieces.shape.depth);
    let ahead = i64::from(tile.stages) - 1;
    let steps = div_up(e, work.sum, pieces.shape.depth);
    // No unit is negative, which NVIDIA's assembler does not know: so a short sum stays a loop. Rolled out, its copies would take all registers.
    let steps = e.or(steps, e.op(InstructionOpcode::AShr, work.block.unit, e.index(63)));
    // In each turn a later piece begins to come and one that has come is multiplied.
    e.each(e.index(0), e.add(steps, e.index(ahead)), 1, |turn| {
        let (comes, skips, next) = (e.block("comes"), e.block("skips"), e.block("next"));
        e.branch(e.icmp(IntPredicate::SLT, turn, steps), comes, skips);
        e.builder.position_at_end(comes);
        pieces.copy(frame, work, turn, e.mul(turn, e.index(depth)));
        e.go(next);
        e.builder.position_at_end(skips);
        pieces.skip(e);
        e.go(next);
        e.builder.position_at_end(next);
        e.when(e.icmp(IntPredicate::SGE, turn, e.index(ahead)), || {
            pieces.wait(e);
            work.block.wait(e);
            let stage = e.sub(turn, e.index(ahead));
            match &sums {
                Sums::Fma(fma) => fma.multiply(e, &pieces, stage),
                Sums::Mma(warp) => warp.multiply(e, tile.math, &pieces, stage),
            }
            // The stage may be filled again.
            work.block.wait(e);
        });
    });
    match &sums {
        Sums::Fma(fma) => fma.leave(e, work.width, shared),
        Sums::Mma(warp) => warp.leave(e, work.width, shared),
    }
    frame.forget();
}

enum Sums<'ctx> {
    Fma(Fma<'ctx>),
    Mma(Warp<'ctx>),
}

/// Bytes of a scalar.
pub fn size_of(ty: BasicTypeEnum<'_>) -> u32 {
    match ty {
        BasicTypeEnum::FloatType(t) => t.get_bit_width() / 8,
        BasicTypeEnum::IntType(t) => t.get_bit_width().div_ceil(8),
        other => unreachable!("no scalar: {other}"),
    }
}

pub fn load_vector<'ctx>(e: &Emit<'ctx>, ty: BasicTypeEnum<'ctx>, at: PointerValue<'ctx>, alignment: u32) -> Val<'ctx> {
    let v = e.load(ty, at);
    if let Some(load) = v.as_instruction_value() {
        load.set_alignment(alignment).expect("a power of two");
    }
    v
}

/// The stores of all elements of the tile that there are.
fn epilogue<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    work: &Work<'_, 'ctx>,
    acc: BasicTypeEnum<'ctx>,
    results: PointerValue<'ctx>,
) {
    let e = frame.emit;
    let (panel, width) = (e.index(i64::from(work.tile.panel)), e.index(i64::from(work.width)));
    let count = e.mul(e.sub(work.rows.1, work.rows.0), panel);
    e.each(work.block.thread, count, i64::from(GPU_THREADS), |at| {
        let (row, lane) = (e.udiv(at, panel), e.urem(at, panel));
        let place = e.add(work.rows.0, row);
        let col = e.add(e.mul(work.panel, panel), lane);
        let mut store = || {
            let number = row_number(frame, work, place);
            frame.vars.insert(work.contract.rows.var, number);
            frame.vars.insert(work.contract.cols.var, col);
            let at = e.add(e.mul(row, width), lane);
            frame.accs = (0..work.contract.groups)
                .map(|g| {
                    let at = e.add(at, e.index(i64::from(g * work.tile.panel)));
                    e.load(acc, e.at(results, acc, at))
                })
                .collect();
            frame.forget();
            work.contract.stores.iter().for_each(|s| frame.store(s));
        };
        if divides(work.tile.panel, work.contract.cols.extent) {
            store();
        } else {
            e.when(e.icmp(IntPredicate::SLT, col, work.cols), store);
        }
    });
    frame.accs.clear();
    frame.forget();
}
