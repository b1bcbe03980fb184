//! Tensor cores: `mma.sync` makes 16 rows of 8 columns at a time.
//!
//! Which thread of the warp holds what is the PTX manual's ("matrix fragments for mma.m16n8k16" and "mma.m16n8k8"): with
//! g = lane / 4 and q = lane mod 4, results are rows g and g + 8, columns 2q and 2q + 1.

use inkwell::values::PointerValue;

use super::super::llvm::emit::{Emit, Val};
use super::contract::Work;
use super::pieces::Pieces;
use crate::kernel::Elem;
use crate::schedule::{GPU_THREADS, Math};

const WARP: i64 = 32;
/// Rows and columns of one instruction.
const ROWS: i64 = 16;
const COLS: u32 = 8;

/// A warp's results and this thread's place in it.
pub struct Warp<'ctx> {
    /// By tile of rows, then tile of columns.
    accs: Vec<Vec<[PointerValue<'ctx>; 4]>>,
    /// The first column of each tile.
    cols: Vec<Val<'ctx>>,
    first_row: Val<'ctx>,
    lane: Val<'ctx>,
    group: Val<'ctx>,
    quarter: Val<'ctx>,
}

impl<'ctx> Warp<'ctx> {
    /// Many rows: the warps share the rows. Few: they share the columns.
    pub fn new(e: &Emit<'ctx>, work: &Work<'_, 'ctx>, rows: u32) -> Self {
        let warps = i64::from(GPU_THREADS) / WARP;
        let (lane, warp) = (e.urem(work.block.thread, e.index(WARP)), e.udiv(work.block.thread, e.index(WARP)));
        let tiles = i64::from(work.width / COLS);
        let col = |tile: Val<'ctx>| e.mul(tile, e.index(i64::from(COLS)));
        let shares_rows = i64::from(rows) >= ROWS * warps;
        let (row_tiles, first_row, cols) = if shares_rows {
            let each = i64::from(rows) / warps;
            (each / ROWS, e.mul(warp, e.index(each)), (0..tiles).map(|tile| col(e.index(tile))).collect())
        } else {
            debug_assert_eq!(i64::from(rows), ROWS);
            // Warps beyond the last tile do what that one's does.
            let turns = (tiles + warps - 1) / warps;
            let tile = |turn| e.min(e.add(warp, e.index(turn * warps)), e.index(tiles - 1));
            (1, e.index(0), (0..turns).map(|turn| col(tile(turn))).collect::<Vec<_>>())
        };
        let accs: Vec<Vec<[PointerValue; 4]>> = (0..row_tiles)
            .map(|_| cols.iter().map(|_| std::array::from_fn(|_| e.variable(e.function(), e.f32()))).collect())
            .collect();
        accs.iter().flatten().flatten().for_each(|a| e.store(e.zero(e.f32()), *a));
        Self { accs, cols, first_row, lane, group: e.udiv(lane, e.index(4)), quarter: e.urem(lane, e.index(4)) }
    }

    /// Adds the products of the piece that is in the stage with this number.
    pub fn multiply(&self, e: &Emit<'ctx>, math: Math, pieces: &Pieces<'ctx>, stage: Val<'ctx>) {
        let operands = pieces.operands(e, stage);
        let steps = if math == Math::Half { 16 } else { 8 };
        for k in (0..pieces.shape.depth).step_by(steps) {
            match math {
                Math::Half => self.halves(e, i64::from(k), pieces, operands),
                Math::Fma | Math::Tf32 => self.tf32(e, i64::from(k), pieces, operands),
            }
        }
    }

    /// 16 steps of halves from step `k`: `x[row][step]`, `w[step][column]`. Each register holds a pair of steps.
    fn halves(&self, e: &Emit<'ctx>, k: i64, pieces: &Pieces<'ctx>, (x, w): (PointerValue<'ctx>, PointerValue<'ctx>)) {
        let is_f16 = pieces.w_elem == Elem::F16;
        let name =
            if is_f16 { "llvm.nvvm.mma.m16n8k16.row.col.f32.f32" } else { "llvm.nvvm.mma.m16n8k16.row.col.bf16" };
        let pair = |v: Val<'ctx>| match is_f16 {
            // Two halves in place of one integer of the same size.
            true => e.builder.build_bit_cast(v, e.vector(e.context.f16_type().into(), 2), "").expect("as many bits"),
            false => v,
        };
        let i16 = e.int(16);
        // Lane l names where row l of the 8 by 8 matrices begins, eight lanes a matrix.
        let sixteenth = e.urem(self.lane, e.index(16));
        let (x_pitch, w_pitch) = (i64::from(pieces.shape.x_pitch), i64::from(pieces.shape.w_pitch));
        let cols: Vec<Vec<Val<'ctx>>> = self
            .cols
            .iter()
            .map(|col| {
                let step = e.add(sixteenth, e.index(k));
                let at = e.at(w, i16, e.add(e.mul(step, e.index(w_pitch)), *col));
                matrices(e, at, "x2.trans", 2).into_iter().map(pair).collect()
            })
            .collect();
        for (tile, accs) in self.accs.iter().enumerate() {
            let row = e.add(e.add(self.first_row, sixteenth), e.index(tile as i64 * ROWS));
            let step = e.add(e.mul(e.udiv(self.lane, e.index(16)), e.index(8)), e.index(k));
            let at = e.at(x, i16, e.add(e.mul(row, e.index(x_pitch)), step));
            let x: Vec<Val<'ctx>> = matrices(e, at, "x4", 4).into_iter().map(pair).collect();
            for (w, accs) in cols.iter().zip(accs) {
                self.accumulate(e, name, &x, w, accs);
            }
        }
    }

    /// 8 steps of f32 from step `k`, rounded: `x[step][row]`, `w[step][column]`.
    fn tf32(&self, e: &Emit<'ctx>, k: i64, pieces: &Pieces<'ctx>, (x, w): (PointerValue<'ctx>, PointerValue<'ctx>)) {
        let read = |base, elem: Elem, pitch: u32, later: i64, minor: Val<'ctx>| {
            let step = e.add(self.quarter, e.index(k + later));
            let memory = e.memory(elem);
            let v = e.load(memory, e.at(base, memory, e.add(e.mul(step, e.index(i64::from(pitch))), minor)));
            e.call_as("llvm.nvvm.f2tf32.rna", &[], &[e.widened(elem, v, e.f32())])
        };
        let cols: Vec<[Val<'ctx>; 2]> = self
            .cols
            .iter()
            .map(|col| {
                let col = e.add(self.group, *col);
                [0, 4].map(|later| read(w, pieces.w_elem, pieces.shape.w_pitch, later, col))
            })
            .collect();
        for (tile, accs) in self.accs.iter().enumerate() {
            let row = e.add(e.add(self.first_row, self.group), e.index(tile as i64 * ROWS));
            let below = e.add(row, e.index(8));
            let x = [(row, 0), (below, 0), (row, 4), (below, 4)]
                .map(|(row, later)| read(x, pieces.x_elem, pieces.shape.x_pitch, later, row));
            for (w, accs) in cols.iter().zip(accs) {
                self.accumulate(e, "llvm.nvvm.mma.m16n8k8.row.col.tf32", &x, w, accs);
            }
        }
    }

    fn accumulate(&self, e: &Emit<'ctx>, name: &str, x: &[Val<'ctx>], w: &[Val<'ctx>], accs: &[PointerValue<'ctx>; 4]) {
        let mut args = [x, w].concat();
        args.extend(accs.map(|a| e.load(e.f32(), a)));
        let results = e.call_as(name, &[], &args).into_struct_value();
        for (i, acc) in accs.iter().enumerate() {
            let v = e.builder.build_extract_value(results, i as u32, "").expect("four results");
            e.store(v, *acc);
        }
    }

    /// Leaves the results in shared memory, row by row of `width`.
    pub fn leave(&self, e: &Emit<'ctx>, width: u32, results: PointerValue<'ctx>) {
        for (tile, accs) in self.accs.iter().enumerate() {
            for (col, accs) in self.cols.iter().zip(accs) {
                for (i, acc) in accs.iter().enumerate() {
                    let below = tile as i64 * ROWS + if i < 2 { 0 } else { 8 };
                    let row = e.add(e.add(self.first_row, self.group), e.index(below));
                    let within = e.add(e.mul(self.quarter, e.index(2)), e.index(i as i64 % 2));
                    let at = e.add(e.mul(row, e.index(i64::from(width))), e.add(within, *col));
                    e.store(e.load(e.f32(), *acc), e.at(results, e.f32(), at));
                }
            }
        }
    }
}

/// 8 by 8 matrices of halves from shared memory, this thread's share of each in a register.
fn matrices<'ctx>(e: &Emit<'ctx>, at: PointerValue<'ctx>, form: &str, count: u32) -> Vec<Val<'ctx>> {
    let name = format!("llvm.nvvm.ldmatrix.sync.aligned.m8n8.{form}.b16");
    let loaded = e.call_as(&name, &[at.get_type().into()], &[at.into()]).into_struct_value();
    let part = |i| e.builder.build_extract_value(loaded, i, "").expect("as many results");
    (0..count).map(part).collect()
}
