//! Pieces of both operands in shared memory: a few steps of the sum each, in a ring, so that while one is multiplied the next ones
//! are on their way from global memory (`cp.async`).
//!
//! What the copy engine cannot move (elements that are widened, guarded, or not where multiples of 4 bytes begin) goes through
//! registers instead.

use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use inkwell::values::{InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::Frame;
use super::block::unfold;
use super::contract::{Work, row_number};
use crate::kernel::index::{Stride, stride};
use crate::kernel::types::accumulator;
use crate::kernel::{BufferId, Elem, Expr, Index, Var};
use crate::schedule::{GPU_THREADS, Math, PieceShape};

/// The ring as one number of rows uses it.
pub struct Pieces<'ctx> {
    pub shape: PieceShape,
    base: PointerValue<'ctx>,
    /// Elements as they lie in shared memory.
    pub x_elem: Elem,
    pub w_elem: Elem,
    stages: i64,
    /// The numbers of the rows that this thread copies.
    rows: Vec<PointerValue<'ctx>>,
    /// Threads side by side along a row.
    along: i64,
    copy: XCopy,
}

/// How the left operand comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum XCopy {
    /// Element by element, by the copy engine.
    Elements,
    /// Eight neighbouring halves at once where the buffer begins at a multiple of 16 bytes.
    Vectors,
    /// Through registers.
    Registers,
}

/// Halves that move at once.
const HALVES: i64 = 8;
/// Threads side by side along a row's single elements: 32 bytes, what memory gives at least.
const ALONG: u32 = 8;

impl<'ctx> Pieces<'ctx> {
    pub fn new(frame: &Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, rows: u32, base: PointerValue<'ctx>) -> Self {
        let (e, kernel) = (frame.emit, frame.kernel);
        let acc = accumulator(kernel);
        let w_elem = kernel.buffer(work.contract.w).elem;
        let x_elem = if work.tile.math == Math::Half { w_elem } else { acc };
        let shape = work.tile.piece(work.contract.groups, rows, x_elem, w_elem);
        let copy = match (kernel.expr(work.contract.x), work.contract.sums.as_slice()) {
            (Expr::Load { buffer, index, bounds, .. }, sums) if bounds.is_empty() => {
                let elem = kernel.buffer(*buffer).elem;
                let dense = |var: Var| stride(index, var) == Some(Stride { known: 1, dims: Vec::new() });
                match (elem.bytes(), sums) {
                    (4 | 8, _) if elem == x_elem => XCopy::Elements,
                    (2, [l]) if elem == x_elem && dense(l.var) && is_multiple(index, HALVES, l.var) => XCopy::Vectors,
                    _ => XCopy::Registers,
                }
            }
            _ => XCopy::Registers,
        };
        let along = if copy == XCopy::Vectors { shape.depth / HALVES as u32 } else { shape.depth.min(ALONG) };
        let count = (rows * along).div_ceil(GPU_THREADS);
        let rows = (0..count).map(|_| e.variable(e.function(), e.i64())).collect();
        Self { shape, base, x_elem, w_elem, stages: i64::from(work.tile.stages), rows, along: i64::from(along), copy }
    }

    /// Looks up which rows this thread copies. Rows beyond the last repeat it.
    pub fn begin(&self, frame: &Frame<'_, 'ctx>, work: &Work<'_, 'ctx>) {
        let e = frame.emit;
        for (i, row) in self.rows.iter().enumerate() {
            let place = e.add(work.rows.0, self.row(e, work, i));
            let place = e.min(place, e.sub(work.rows.1, e.index(1)));
            e.store(row_number(frame, work, place), *row);
        }
    }

    /// The `i`th row of the tile that this thread copies.
    fn row(&self, e: &Emit<'ctx>, work: &Work<'_, 'ctx>, i: usize) -> Val<'ctx> {
        let down = i64::from(GPU_THREADS) / self.along;
        e.add(e.udiv(work.block.thread, e.index(self.along)), e.index(i as i64 * down))
    }

    /// Copies the `i`th row, if the tile has so many.
    fn if_there(&self, e: &Emit<'ctx>, row: Val<'ctx>, i: usize, copy: impl FnOnce()) {
        let rows = i64::from(self.shape.rows);
        if (i as i64 + 1) * i64::from(GPU_THREADS) <= rows * self.along {
            copy();
        } else {
            e.when(e.icmp(IntPredicate::SLT, row, e.index(rows)), copy);
        }
    }

    /// Where the stage with this number begins.
    fn stage(&self, e: &Emit<'ctx>, number: Val<'ctx>) -> PointerValue<'ctx> {
        let slot = e.urem(number, e.index(self.stages));
        e.at(self.base, e.int(8), e.mul(slot, e.index(i64::from(self.shape.bytes))))
    }

    /// Both operands of the stage with this number.
    pub fn operands(&self, e: &Emit<'ctx>, number: Val<'ctx>) -> (PointerValue<'ctx>, PointerValue<'ctx>) {
        let x = self.stage(e, number);
        (x, e.at(x, e.int(8), e.index(i64::from(self.shape.w_start))))
    }

    /// Begins to copy the steps from `k` on to the stage with this number; zeros beyond the end of the sum.
    pub fn copy(&self, frame: &mut Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, number: Val<'ctx>, k: Val<'ctx>) {
        let e = frame.emit;
        let (x, w) = self.operands(e, number);
        match self.copy {
            XCopy::Vectors => self.copy_vectors(frame, work, x, k),
            XCopy::Elements => self.copy_elements(frame, work, x, k, true),
            XCopy::Registers => self.copy_elements(frame, work, x, k, false),
        }
        self.copy_w(frame, work, w, k);
        e.call_any("llvm.nvvm.cp.async.commit.group", &[], &[]);
    }

    /// A stage without a piece: so that each stage is one group of copies.
    pub fn skip(&self, e: &Emit<'ctx>) {
        e.call_any("llvm.nvvm.cp.async.commit.group", &[], &[]);
    }

    /// Waits until this thread's copies are done, but for the newest stages.
    pub fn wait(&self, e: &Emit<'ctx>) {
        let newest = e.bits(e.int(32), self.stages as u64 - 1);
        e.call_any("llvm.nvvm.cp.async.wait.group", &[], &[newest]);
    }

    fn copy_elements(
        &self,
        frame: &mut Frame<'_, 'ctx>,
        work: &Work<'_, 'ctx>,
        to: PointerValue<'ctx>,
        k: Val<'ctx>,
        is_async: bool,
    ) {
        let e = frame.emit;
        let memory = e.memory(self.x_elem);
        let first = e.urem(work.block.thread, e.index(self.along));
        for later in (0..i64::from(self.shape.depth)).step_by(self.along as usize) {
            let step = e.add(first, e.index(later));
            let at = e.add(k, step);
            let inside = e.icmp(IntPredicate::SLT, at, work.sum);
            unfold(frame, &work.contract.sums, e.min(at, e.sub(work.sum, e.index(1))));
            for (i, row) in self.rows.iter().enumerate() {
                frame.vars.insert(work.contract.rows.var, e.load(e.i64(), *row));
                frame.forget();
                let row = self.row(e, work, i);
                let (major, minor) = if work.is_half() { (row, step) } else { (step, row) };
                let to = e.at(to, memory, e.add(e.mul(major, e.index(i64::from(self.shape.x_pitch))), minor));
                self.if_there(e, row, i, || self.copy_element(frame, work, to, inside, is_async));
            }
        }
        frame.forget();
    }

    /// The left operand at the point of the loops' variables; zero beyond the end of the sum.
    fn copy_element(
        &self,
        frame: &mut Frame<'_, 'ctx>,
        work: &Work<'_, 'ctx>,
        to: PointerValue<'ctx>,
        inside: Val<'ctx>,
        is_async: bool,
    ) {
        let e = frame.emit;
        let kernel = frame.kernel;
        if let Expr::Load { buffer, index, .. } = kernel.expr(work.contract.x)
            && is_async
        {
            let from = frame.index(index);
            let from = e.at(from_base(frame, *buffer), e.memory(self.x_elem), from);
            let bytes = self.x_elem.bytes() as i64;
            return copy_async(e, to, from, bytes as u32, e.select(inside, e.index(bytes), e.index(0)));
        }
        let v = frame.eval(work.contract.x);
        let v = if work.is_half() { v } else { extended(e, v, e.register(self.x_elem)) };
        e.store(e.to_memory(self.x_elem, e.select(inside, v, e.zero(v.get_type()))), to);
    }

    fn copy_vectors(&self, frame: &mut Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, to: PointerValue<'ctx>, k: Val<'ctx>) {
        let e = frame.emit;
        let kernel = frame.kernel;
        let Expr::Load { buffer, index, .. } = kernel.expr(work.contract.x) else { unreachable!("vectors are loaded") };
        let from = frame.buffers[buffer.0 as usize];
        let memory = e.memory(self.x_elem);
        let vector = e.mul(e.urem(work.block.thread, e.index(self.along)), e.index(HALVES));
        let at = e.add(k, vector);
        // Halves of this vector that there are.
        let left = e.min(e.sub(work.sum, at), e.index(HALVES));
        let left = e.select(e.icmp(IntPredicate::SLT, left, e.index(0)), e.index(0), left);
        frame.vars.insert(work.contract.sums[0].var, e.min(at, e.sub(work.sum, e.index(1))));
        let address = e.builder.build_ptr_to_int(from, e.context.i64_type(), "").expect("a pointer");
        let is_aligned = e.icmp(IntPredicate::EQ, e.and(address.into(), e.index(15)), e.index(0));
        for (i, row) in self.rows.iter().enumerate() {
            frame.vars.insert(work.contract.rows.var, e.load(e.i64(), *row));
            frame.forget();
            let row = self.row(e, work, i);
            let pitch = e.index(i64::from(self.shape.x_pitch));
            let to = e.at(to, memory, e.add(e.mul(row, pitch), vector));
            let from = frame.index(index);
            let from = e.at(from_base(frame, *buffer), memory, from);
            let write = || {
                let bytes = e.mul(left, e.index(2));
                let (fast, slow, after) = (e.block("fast"), e.block("slow"), e.block("copied"));
                e.branch(is_aligned, fast, slow);
                e.builder.position_at_end(fast);
                copy_async(e, to, from, 16, bytes);
                e.go(after);
                e.builder.position_at_end(slow);
                e.each(e.index(0), e.index(HALVES), 1, |i| {
                    let is_there = e.icmp(IntPredicate::SLT, i, left);
                    let v = e.choose(is_there, || e.load(memory, e.at(from, memory, i)), e.zero(memory));
                    e.store(v, e.at(to, memory, i));
                });
                e.go(after);
                e.builder.position_at_end(after);
            };
            self.if_there(e, row, i, write);
        }
        frame.forget();
    }

    fn copy_w(&self, frame: &Frame<'_, 'ctx>, work: &Work<'_, 'ctx>, to: PointerValue<'ctx>, k: Val<'ctx>) {
        let e = frame.emit;
        let memory = e.memory(self.w_elem);
        let (width, elem_bytes) = (i64::from(work.width), self.w_elem.bytes() as i64);
        // What the copy engine moves at once divides a row of the panel; a panel begins where a row does.
        let bytes = 16.min(1 << (width * elem_bytes).trailing_zeros());
        let at_once = bytes / elem_bytes;
        let size = e.mul(work.sum, e.index(width));
        let count = width * i64::from(self.shape.depth) / at_once;
        for i in 0..(count as u32).div_ceil(GPU_THREADS) {
            let place = e.add(work.block.thread, e.index(i64::from(i * GPU_THREADS)));
            let first = e.mul(place, e.index(at_once));
            let (step, col) = (e.udiv(first, e.index(width)), e.urem(first, e.index(width)));
            let to = e.at(to, memory, e.add(e.mul(step, e.index(i64::from(self.shape.w_pitch))), col));
            let at = e.add(e.mul(k, e.index(width)), first);
            let inside = e.icmp(IntPredicate::SLT, at, size);
            let at = e.min(at, e.sub(size, e.index(at_once)));
            let from = e.at(from_base(frame, work.contract.w), memory, e.add(work.panel_start, at));
            let write = || {
                if bytes >= 4 {
                    copy_async(e, to, from, bytes as u32, e.select(inside, e.index(bytes), e.index(0)));
                } else {
                    e.store(e.select(inside, e.load(memory, from), e.zero(memory)), to);
                }
            };
            if i64::from((i + 1) * GPU_THREADS) <= count {
                write();
            } else {
                e.when(e.icmp(IntPredicate::SLT, place, e.index(count)), write);
            }
        }
    }
}

fn from_base<'ctx>(frame: &Frame<'_, 'ctx>, buffer: BufferId) -> PointerValue<'ctx> {
    frame.buffers[buffer.0 as usize]
}

/// Copies 4, 8 or 16 bytes to shared memory, of which `bytes` are read; the rest becomes zero.
fn copy_async<'ctx>(e: &Emit<'ctx>, to: PointerValue<'ctx>, from: PointerValue<'ctx>, at_once: u32, bytes: Val<'ctx>) {
    // Only vectors may pass by the first-level cache.
    let cache = if at_once == 16 { "cg" } else { "ca" };
    let bytes = e.cast(InstructionOpcode::Trunc, bytes, e.int(32));
    let name = format!("llvm.nvvm.cp.async.{cache}.shared.global.{at_once}.s");
    e.call_any(&name, &[], &[to.into(), from.into(), bytes]);
}

/// A float in a type that holds all its values.
fn extended<'ctx>(e: &Emit<'ctx>, v: Val<'ctx>, to: BasicTypeEnum<'ctx>) -> Val<'ctx> {
    if v.get_type() == to { v } else { e.cast(InstructionOpcode::FPExt, v, to) }
}

/// Is an index a multiple of `by` wherever a multiple of it is added along `but`, of which it has the stride 1?
fn is_multiple(index: &Index, by: i64, but: Var) -> bool {
    match index {
        Index::Known(n) => n % by == 0,
        Index::Var(var) => *var == but,
        Index::Add(terms) => terms.iter().all(|term| is_multiple(term, by, but)),
        Index::Mul(factors) => factors.iter().any(|f| matches!(f, Index::Known(n) if n % by == 0)),
        Index::Dim(_) | Index::Div(..) | Index::Mod(..) | Index::Value(..) => false,
    }
}
