//! Contractions on a GPU: a block makes a tile of rows by one panel of columns, and steps through the sum with a piece of both
//! operands in shared memory. While one piece is multiplied, the next is on its way from global memory into registers.
//!
//! Sums end in shared memory too, from where the epilogue takes them element by element, neighbours by neighbouring threads.

use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicValue, InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::Frame;
use super::block::{Block, product, unfold};
use super::mma;
use crate::kernel::types::accumulator;
use crate::kernel::{Contract, Elem, Grouping};
use crate::schedule::gpu::divides;
use crate::schedule::{GPU_THREADS, GpuTile, Math};

/// Floats from one row of a shared operand to the next beyond its width: neighbouring threads then use different banks.
const PADDING: u32 = 8;

/// What a block works on.
struct Work<'a, 'ctx> {
    contract: &'a Contract,
    tile: &'a GpuTile,
    block: &'a Block<'ctx>,
    /// Columns of a panel, over all groups.
    width: u32,
    /// Length of the sum.
    sum: Val<'ctx>,
    cols: Val<'ctx>,
    panel: Val<'ctx>,
    batch: Val<'ctx>,
    /// Where the panel begins in `w`, in elements.
    panel_start: Val<'ctx>,
    /// Rows from..to, numbers or places in the order of the grouping.
    rows: (Val<'ctx>, Val<'ctx>),
}

pub fn contract<'ctx>(frame: &mut Frame<'_, 'ctx>, contract: &Contract, tile: &GpuTile, block: &Block<'ctx>) {
    let e = frame.emit;
    let cols = frame.extent(contract.cols.extent);
    let sum = product(frame, &contract.sums);
    let panels = div_up(e, cols, tile.panel);
    let (panel, outer) = (e.urem(block.unit, panels), e.udiv(block.unit, panels));
    let width = tile.panel * contract.groups;
    let panel_size = e.mul(sum, e.index(i64::from(width)));
    let height = e.index(i64::from(tile.rows));
    let work = |batch, matrix, rows| Work {
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
            let tiles = div_up(e, rows, tile.rows);
            let (number, batch) = (e.urem(outer, tiles), e.udiv(outer, tiles));
            let first = e.mul(number, height);
            make(frame, &work(batch, batch, (first, rows)));
        }
        Some(grouping) => {
            let (expert, number) = find_expert(frame, grouping, tile, outer);
            let found = e.icmp(IntPredicate::SLT, expert, frame.extent(grouping.experts));
            e.when(found, || {
                let (from, to) = segment(frame, grouping, expert);
                let first = e.add(from, e.mul(number, height));
                make(frame, &work(e.index(0), expert, (first, to)));
            });
        }
    }
}

fn div_up<'ctx>(e: &Emit<'ctx>, n: Val<'ctx>, by: u32) -> Val<'ctx> {
    e.udiv(e.add(n, e.index(i64::from(by) - 1)), e.index(i64::from(by)))
}

fn segment<'ctx>(frame: &Frame<'_, 'ctx>, grouping: &Grouping, expert: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
    let e = frame.emit;
    let offsets = frame.buffers[grouping.offsets.0 as usize];
    let offset = |at| e.cast(InstructionOpcode::SExt, e.load(e.int(32), e.at(offsets, e.int(32), at)), e.i64());
    (offset(expert), offset(e.add(expert, e.index(1))))
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
    let (from, to) = segment(frame, grouping, expert);
    let tiles = div_up(e, e.sub(to, from), tile.rows);
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
fn row_number<'ctx>(frame: &Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, place: Val<'ctx>) -> Val<'ctx> {
    let e = frame.emit;
    match &work.contract.grouping {
        Some(grouping) => {
            let order = frame.buffers[grouping.order.0 as usize];
            e.cast(InstructionOpcode::SExt, e.load(e.int(32), e.at(order, e.int(32), place)), e.i64())
        }
        None => place,
    }
}

/// A block's pieces of both operands in shared memory.
struct Pieces<'ctx> {
    x: PointerValue<'ctx>,
    w: PointerValue<'ctx>,
    /// What is between the registers of a thread and its place in shared memory.
    x_registers: Vec<PointerValue<'ctx>>,
    x_rows: Vec<PointerValue<'ctx>>,
    w_registers: Vec<PointerValue<'ctx>>,
    /// Elements of `w` that move at once.
    vector: u32,
    /// Elements as they are multiplied.
    elem: BasicTypeEnum<'ctx>,
}

impl<'ctx> Work<'_, 'ctx> {
    /// The type of the sums.
    fn acc(&self, frame: &Frame<'_, 'ctx>) -> BasicTypeEnum<'ctx> {
        frame.register(accumulator(frame.kernel))
    }
    fn is_half(&self) -> bool {
        self.tile.math == Math::Half
    }
    /// Elements from step to step of the sum, or from row to row (and column to column) for halves.
    fn x_stride(&self) -> u32 {
        (if self.is_half() { self.tile.depth } else { self.tile.rows }) + PADDING
    }
    fn w_stride(&self) -> u32 {
        (if self.is_half() { self.tile.depth } else { self.width }) + PADDING
    }
}

fn make<'ctx>(frame: &mut Frame<'_, 'ctx>, work: &Work<'_, 'ctx>) {
    let e = frame.emit;
    let tile = work.tile;
    frame.vars.insert(work.contract.batch.var, work.batch);
    let acc = work.acc(frame);
    let elem = if work.is_half() { e.int(16) } else { acc };
    let (x_count, w_count) = if work.is_half() {
        (tile.rows * work.x_stride(), work.width * work.w_stride())
    } else {
        (tile.depth * work.x_stride(), tile.depth * work.w_stride())
    };
    let vector = if work.width.is_multiple_of(4) { 4 } else { 1 };
    let variables = |n: u32, ty| (0..n).map(|_| e.variable(e.function(), ty)).collect::<Vec<_>>();
    let x_each = tile.rows * tile.depth / GPU_THREADS;
    let w_each = (work.width * tile.depth / vector).div_ceil(GPU_THREADS);
    // The sums take the place of the operands when those are done with.
    let results = (tile.rows * work.width * size_of(acc)).div_ceil(size_of(elem));
    let shared = work.block.shared(e, elem, results.max(x_count + w_count));
    let pieces = Pieces {
        x: shared,
        w: e.at(shared, elem, e.index(i64::from(x_count))),
        x_registers: variables(x_each, elem),
        x_rows: variables(x_each, e.i64()),
        w_registers: variables(w_each, e.vector(elem, vector)),
        vector,
        elem,
    };
    for (i, row) in pieces.x_rows.iter().enumerate() {
        // Rows beyond the last repeat it.
        let place = e.add(work.rows.0, x_row(e, work, i as u32));
        let place = e.min(place, e.sub(work.rows.1, e.index(1)));
        e.store(row_number(frame, work, place), *row);
    }
    let sums = match tile.math {
        Math::Fma => Sums::Fma(Fma::new(e, work, acc)),
        Math::Half | Math::Tf32 => Sums::Mma(mma::Warp::new(e, work.block, tile, work.width)),
    };
    let depth = i64::from(tile.depth);
    // Nothing may be read where the sum is empty.
    e.when(e.icmp(IntPredicate::SGT, work.sum, e.index(0)), || fetch(frame, work, &pieces, e.index(0)));
    e.each(e.index(0), work.sum, depth, |k| {
        work.block.wait(e);
        put(frame, work, &pieces);
        work.block.wait(e);
        fetch(frame, work, &pieces, e.add(k, e.index(depth)));
        match &sums {
            Sums::Fma(fma) => fma.multiply(e, work, &pieces),
            Sums::Mma(warp) => {
                let elem = frame.kernel.buffer(work.contract.w).elem;
                let at =
                    mma::Operands { x: pieces.x, w: pieces.w, x_stride: work.x_stride(), w_stride: work.w_stride() };
                warp.multiply(e, tile, elem, &at);
            }
        }
    });
    work.block.wait(e);
    match &sums {
        Sums::Fma(fma) => fma.leave(e, work, shared),
        Sums::Mma(warp) => warp.leave(e, work.width, shared),
    }
    work.block.wait(e);
    epilogue(frame, work, shared);
}

/// Where `count` neighbours begin is a multiple of so many bytes, if `count` divides what comes before them.
fn alignment(count: u32, ty: BasicTypeEnum<'_>) -> u32 {
    ((1 << count.trailing_zeros()) * size_of(ty)).min(16)
}

/// Bytes of a scalar.
fn size_of(ty: BasicTypeEnum<'_>) -> u32 {
    match ty {
        BasicTypeEnum::FloatType(t) => t.get_bit_width() / 8,
        BasicTypeEnum::IntType(t) => t.get_bit_width().div_ceil(8),
        other => unreachable!("no scalar: {other}"),
    }
}

enum Sums<'ctx> {
    Fma(Fma<'ctx>),
    Mma(mma::Warp<'ctx>),
}

/// The row of the tile that a thread fetches as its `i`th.
fn x_row<'ctx>(e: &Emit<'ctx>, work: &Work<'_, 'ctx>, i: u32) -> Val<'ctx> {
    let depth = work.tile.depth;
    e.add(e.udiv(work.block.thread, e.index(i64::from(depth))), e.index(i64::from(i * GPU_THREADS / depth)))
}

/// Global memory to registers: steps from `k` on, zeros beyond the sum's end (where the last step is read again).
fn fetch<'ctx>(frame: &mut Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, pieces: &Pieces<'ctx>, k: Val<'ctx>) {
    let e = frame.emit;
    let depth = e.index(i64::from(work.tile.depth));
    let step = e.add(k, e.urem(work.block.thread, depth));
    let inside = e.icmp(IntPredicate::SLT, step, work.sum);
    let last = e.sub(work.sum, e.index(1));
    unfold(frame, &work.contract.sums, e.min(step, last));
    let w = work.contract.w;
    let w_elem = frame.kernel.buffer(w).elem;
    for (register, row) in pieces.x_registers.iter().zip(&pieces.x_rows) {
        frame.vars.insert(work.contract.rows.var, e.load(e.i64(), *row));
        frame.forget();
        let mut v = frame.eval(work.contract.x);
        if work.is_half() {
            v = bits(frame, w_elem, v);
        }
        e.store(e.select(inside, v, e.zero(pieces.elem)), *register);
    }
    frame.forget();
    let memory = e.vector(e.memory(w_elem), pieces.vector);
    let width = i64::from(work.width);
    let size = e.mul(work.sum, e.index(width));
    let start = e.mul(k, e.index(width));
    for (i, register) in pieces.w_registers.iter().enumerate() {
        let at = e.add(start, e.mul(w_piece(e, work, i as u32), e.index(i64::from(pieces.vector))));
        let inside = e.icmp(IntPredicate::SLT, at, size);
        let at = e.min(at, e.sub(size, e.index(i64::from(pieces.vector))));
        let pointer = e.at(frame.buffers[w.0 as usize], e.memory(w_elem), e.add(work.panel_start, at));
        // A panel is a whole number of vectors, and buffers start at multiples of more.
        let v = load_vector(e, memory, pointer, pieces.vector * w_elem.bytes() as u32);
        let v = if work.is_half() { e.bitcast(v, e.int(16)) } else { e.widened(w_elem, v, pieces.elem) };
        let v = e.select(inside, v, e.zero(v.get_type()));
        e.store(v, *register);
    }
}

/// A half's bits, from the f32 that it was widened to.
fn bits<'ctx>(frame: &Frame<'_, 'ctx>, elem: Elem, v: Val<'ctx>) -> Val<'ctx> {
    let v = frame.emit.to_memory(elem, v);
    frame.emit.bitcast(v, frame.emit.int(16))
}

/// The number of the piece of `w` that a thread fetches as its `i`th.
fn w_piece<'ctx>(e: &Emit<'ctx>, work: &Work<'_, 'ctx>, i: u32) -> Val<'ctx> {
    e.add(work.block.thread, e.index(i64::from(i * GPU_THREADS)))
}

/// Registers to shared memory.
fn put<'ctx>(frame: &Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, pieces: &Pieces<'ctx>) {
    let e = frame.emit;
    let depth = i64::from(work.tile.depth);
    let k = e.urem(work.block.thread, e.index(depth));
    let x_stride = e.index(i64::from(work.x_stride()));
    for (i, register) in pieces.x_registers.iter().enumerate() {
        let row = x_row(e, work, i as u32);
        let (major, minor) = if work.is_half() { (row, k) } else { (k, row) };
        e.store(e.load(pieces.elem, *register), e.at(pieces.x, pieces.elem, e.add(e.mul(major, x_stride), minor)));
    }
    let vector = pieces.vector;
    let count = work.width * work.tile.depth / vector;
    let w_stride = e.index(i64::from(work.w_stride()));
    for (i, register) in pieces.w_registers.iter().enumerate() {
        let piece = w_piece(e, work, i as u32);
        let place = e.mul(piece, e.index(i64::from(vector)));
        let width = e.index(i64::from(work.width));
        let (step, col) = (e.udiv(place, width), e.urem(place, width));
        let write = || {
            let v = e.load(e.vector(pieces.elem, vector), *register);
            if work.is_half() {
                // Columns apart, steps together: tensor cores take pairs of steps.
                for lane in 0..vector {
                    let col = e.add(col, e.index(i64::from(lane)));
                    let at = e.at(pieces.w, pieces.elem, e.add(e.mul(col, w_stride), step));
                    e.store(e.lane(v, lane), at);
                }
            } else {
                let at = e.at(pieces.w, pieces.elem, e.add(e.mul(step, w_stride), col));
                store_vector(e, v, at, alignment(vector, pieces.elem));
            }
        };
        if (i as u32 + 1) * GPU_THREADS <= count {
            write();
        } else {
            e.when(e.icmp(IntPredicate::SLT, piece, e.index(i64::from(count))), write);
        }
    }
}

pub(super) fn load_vector<'ctx>(
    e: &Emit<'ctx>,
    ty: BasicTypeEnum<'ctx>,
    at: PointerValue<'ctx>,
    alignment: u32,
) -> Val<'ctx> {
    let v = e.load(ty, at);
    if let Some(load) = v.as_instruction_value() {
        load.set_alignment(alignment).expect("a power of two");
    }
    v
}

fn store_vector<'ctx>(e: &Emit<'ctx>, v: Val<'ctx>, at: PointerValue<'ctx>, alignment: u32) {
    let store = e.builder.build_store(at, v).expect("a pointer and a value");
    store.set_alignment(alignment).expect("a power of two");
}

/// A thread's part of the tile: some neighbouring rows, some neighbouring columns, of each group.
struct Fma<'ctx> {
    acc: BasicTypeEnum<'ctx>,
    accs: Vec<PointerValue<'ctx>>,
    rows: u32,
    cols: u32,
    groups: u32,
    panel: u32,
    first_row: Val<'ctx>,
    first_col: Val<'ctx>,
}

/// Threads side by side along the columns of a tile.
const THREADS_ALONG: u32 = 16;
/// Steps of the sum in one turn of the loop: the assembler unrolls further, and the text stays short.
const UNROLL: u32 = 2;

impl<'ctx> Fma<'ctx> {
    fn new(e: &Emit<'ctx>, work: &Work<'_, 'ctx>, acc: BasicTypeEnum<'ctx>) -> Self {
        let along = work.tile.panel.min(THREADS_ALONG);
        let cols = work.tile.panel / along;
        let down = (GPU_THREADS / along).min(work.tile.rows);
        let rows = work.tile.rows / down;
        let groups = work.contract.groups;
        let accs: Vec<_> = (0..groups * rows * cols).map(|_| e.variable(e.function(), acc)).collect();
        accs.iter().for_each(|a| e.store(e.zero(acc), *a));
        let at = e.udiv(work.block.thread, e.index(i64::from(along)));
        // Threads beyond the last row do what that one's do.
        let at = e.min(at, e.index(i64::from(down) - 1));
        let first_row = e.mul(at, e.index(i64::from(rows)));
        let first_col = e.mul(e.urem(work.block.thread, e.index(i64::from(along))), e.index(i64::from(cols)));
        Self { acc, accs, rows, cols, groups, panel: work.tile.panel, first_row, first_col }
    }

    fn acc(&self, group: u32, row: u32, col: u32) -> PointerValue<'ctx> {
        self.accs[((group * self.rows + row) * self.cols + col) as usize]
    }

    fn multiply(&self, e: &Emit<'ctx>, work: &Work<'_, 'ctx>, pieces: &Pieces<'ctx>) {
        e.each(e.index(0), e.index(i64::from(work.tile.depth)), i64::from(UNROLL), |turn| {
            for step in 0..UNROLL {
                let k = e.add(turn, e.index(i64::from(step)));
                let x_at = e.add(e.mul(k, e.index(i64::from(work.x_stride()))), self.first_row);
                let x = e.at(pieces.x, self.acc, x_at);
                let x = load_vector(e, e.vector(self.acc, self.rows), x, alignment(self.rows, self.acc));
                for group in 0..self.groups {
                    let w_at = e.add(e.mul(k, e.index(i64::from(work.w_stride()))), self.first_col);
                    let w = e.at(pieces.w, self.acc, e.add(w_at, e.index(i64::from(group * self.panel))));
                    // Where a group begins is a multiple of what a thread takes of it.
                    let w = load_vector(e, e.vector(self.acc, self.cols), w, alignment(self.cols, self.acc));
                    for row in 0..self.rows {
                        for col in 0..self.cols {
                            let acc = self.acc(group, row, col);
                            e.store(e.fma(e.lane(x, row), e.lane(w, col), e.load(self.acc, acc)), acc);
                        }
                    }
                }
            }
        });
    }

    fn leave(&self, e: &Emit<'ctx>, work: &Work<'_, 'ctx>, results: PointerValue<'ctx>) {
        for group in 0..self.groups {
            for row in 0..self.rows {
                for col in 0..self.cols {
                    let row_at = e.add(self.first_row, e.index(i64::from(row)));
                    let col_at = e.add(self.first_col, e.index(i64::from(group * self.panel + col)));
                    let at = e.add(e.mul(row_at, e.index(i64::from(work.width))), col_at);
                    e.store(e.load(self.acc, self.acc(group, row, col)), e.at(results, self.acc, at));
                }
            }
        }
    }
}

/// The stores of all elements of the tile that there are.
fn epilogue<'ctx>(frame: &mut Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, results: PointerValue<'ctx>) {
    let e = frame.emit;
    let acc = work.acc(frame);
    let (panel, width) = (e.index(i64::from(work.tile.panel)), e.index(i64::from(work.width)));
    let count = e.index(i64::from(work.tile.rows * work.tile.panel));
    e.each(work.block.thread, count, i64::from(GPU_THREADS), |at| {
        let (row, lane) = (e.udiv(at, panel), e.urem(at, panel));
        let place = e.add(work.rows.0, row);
        let col = e.add(e.mul(work.panel, panel), lane);
        let mut inside = e.icmp(IntPredicate::SLT, place, work.rows.1);
        if !divides(work.tile.panel, work.contract.cols.extent) {
            inside = e.and(inside, e.icmp(IntPredicate::SLT, col, work.cols));
        }
        e.when(inside, || {
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
        });
    });
    frame.accs.clear();
    frame.forget();
}
