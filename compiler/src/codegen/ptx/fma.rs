//! Fused multiplications and additions, one after the other in the order of the sum.

use inkwell::types::BasicTypeEnum;
use inkwell::values::PointerValue;

use super::super::llvm::emit::{Emit, Val};
use super::contract::{Work, load_vector, size_of};
use super::pieces::Pieces;
use crate::schedule::GPU_THREADS;

/// A thread's part of the tile: some neighbouring rows, some neighbouring columns, of each group.
pub struct Fma<'ctx> {
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
const THREADS_ALONG: u32 = 8;
/// Steps of the sum in one turn of the loop: the assembler unrolls further, and the text stays short.
const UNROLL: u32 = 2;

impl<'ctx> Fma<'ctx> {
    pub fn new(e: &Emit<'ctx>, work: &Work<'_, 'ctx>, tile_rows: u32, acc: BasicTypeEnum<'ctx>) -> Self {
        let along = work.tile.panel.min(THREADS_ALONG);
        let cols = work.tile.panel / along;
        let down = (GPU_THREADS / along).min(tile_rows);
        let rows = tile_rows / down;
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

    /// Adds the products of the piece that is in the stage with this number.
    pub fn multiply(&self, e: &Emit<'ctx>, pieces: &Pieces<'ctx>, stage: Val<'ctx>) {
        let (x_base, w_base) = pieces.operands(e, stage);
        let shape = &pieces.shape;
        let (x_memory, w_memory) = (e.memory(pieces.x_elem), e.memory(pieces.w_elem));
        e.each(e.index(0), e.index(i64::from(shape.depth)), i64::from(UNROLL), |turn| {
            for step in 0..UNROLL {
                let k = e.add(turn, e.index(i64::from(step)));
                let x = e.add(e.mul(k, e.index(i64::from(shape.x_pitch))), self.first_row);
                let x = e.at(x_base, x_memory, x);
                let x = load_vector(e, e.vector(x_memory, self.rows), x, alignment(self.rows, x_memory));
                let w = e.add(e.mul(k, e.index(i64::from(shape.w_pitch))), self.first_col);
                for group in 0..self.groups {
                    let w = e.at(w_base, w_memory, e.add(w, e.index(i64::from(group * self.panel))));
                    // Where a group begins is a multiple of what a thread takes of it.
                    let w = load_vector(e, e.vector(w_memory, self.cols), w, alignment(self.cols, w_memory));
                    let w = e.widened(pieces.w_elem, w, self.acc);
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

    /// Leaves the sums in shared memory, row by row of `width`.
    pub fn leave(&self, e: &Emit<'ctx>, width: u32, results: PointerValue<'ctx>) {
        for group in 0..self.groups {
            for row in 0..self.rows {
                for col in 0..self.cols {
                    let row_at = e.add(self.first_row, e.index(i64::from(row)));
                    let col_at = e.add(self.first_col, e.index(i64::from(group * self.panel + col)));
                    let at = e.add(e.mul(row_at, e.index(i64::from(width))), col_at);
                    e.store(e.load(self.acc, self.acc(group, row, col)), e.at(results, self.acc, at));
                }
            }
        }
    }
}

/// Where `count` neighbours begin is a multiple of so many bytes, if `count` divides what comes before them.
fn alignment(count: u32, ty: BasicTypeEnum<'_>) -> u32 {
    ((1 << count.trailing_zeros()) * size_of(ty)).min(16)
}
