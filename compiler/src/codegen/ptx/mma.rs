//! Tensor cores: `mma.sync`. A warp makes 16 rows of the tile, 8 columns at a time.
//!
//! Which thread of the warp holds what is the PTX manual's ("matrix fragments for mma.m16n8k16" and "mma.m16n8k8"): with
//! g = lane / 4 and q = lane mod 4, results are rows g and g + 8, columns 2q and 2q + 1.

use inkwell::values::PointerValue;

use super::super::llvm::emit::{Emit, Val};
use super::block::Block;
use super::contract::load_vector;
use crate::kernel::Elem;
use crate::schedule::{GpuTile, Math};

const WARP: i64 = 32;
/// Rows of a warp's tile, columns of one instruction.
const ROWS: i64 = 16;
const COLS: u32 = 8;

/// The operands in shared memory. Halves: `x[row][step]`, `w[column][step]`; f32: `x[step][row]`, `w[step][column]`.
pub struct Operands<'ctx> {
    pub x: PointerValue<'ctx>,
    pub w: PointerValue<'ctx>,
    pub x_stride: u32,
    pub w_stride: u32,
}

/// A warp's results and this thread's place in it.
pub struct Warp<'ctx> {
    accs: Vec<[PointerValue<'ctx>; 4]>,
    first_row: Val<'ctx>,
    group: Val<'ctx>,
    quarter: Val<'ctx>,
}

impl<'ctx> Warp<'ctx> {
    pub fn new(e: &Emit<'ctx>, block: &Block<'ctx>, tile: &GpuTile, width: u32) -> Self {
        debug_assert_eq!(i64::from(tile.rows), ROWS * i64::from(crate::schedule::GPU_THREADS) / WARP);
        let lane = e.urem(block.thread, e.index(WARP));
        let accs: Vec<[PointerValue; 4]> =
            (0..width / COLS).map(|_| std::array::from_fn(|_| e.variable(e.function(), e.f32()))).collect();
        accs.iter().flatten().for_each(|a| e.store(e.zero(e.f32()), *a));
        let first_row = e.mul(e.udiv(block.thread, e.index(WARP)), e.index(ROWS));
        Self { accs, first_row, group: e.udiv(lane, e.index(4)), quarter: e.urem(lane, e.index(4)) }
    }

    /// Adds the products of the steps that are in shared memory.
    pub fn multiply(&self, e: &Emit<'ctx>, tile: &GpuTile, elem: Elem, at: &Operands<'ctx>) {
        let steps = if tile.math == Math::Half { 16 } else { 8 };
        for k in (0..tile.depth).step_by(steps) {
            match tile.math {
                Math::Half => self.halves(e, k, elem, at),
                Math::Fma | Math::Tf32 => self.tf32(e, k, at),
            }
        }
    }

    /// 16 steps of halves from step `k`: pairs of steps in one register.
    fn halves(&self, e: &Emit<'ctx>, k: u32, elem: Elem, at: &Operands<'ctx>) {
        let (name, pair) = match elem {
            Elem::F16 => ("llvm.nvvm.mma.m16n8k16.row.col.f32.f32", e.vector(e.context.f16_type().into(), 2)),
            _ => ("llvm.nvvm.mma.m16n8k16.row.col.bf16", e.int(32)),
        };
        let i16 = e.int(16);
        let step = e.add(e.mul(self.quarter, e.index(2)), e.index(i64::from(k)));
        let read = |base, stride: u32, major: Val<'ctx>, later: i64| {
            let place = e.add(e.mul(major, e.index(i64::from(stride))), e.add(step, e.index(later)));
            // Pairs begin at even steps of rows of even length.
            load_vector(e, pair, e.at(base, i16, place), 4)
        };
        let row = e.add(self.first_row, self.group);
        let below = e.add(row, e.index(8));
        let x = [(row, 0), (below, 0), (row, 8), (below, 8)].map(|(row, later)| read(at.x, at.x_stride, row, later));
        for (number, accs) in self.accs.iter().enumerate() {
            let col = e.add(self.group, e.index(number as i64 * i64::from(COLS)));
            let w = [0, 8].map(|later| read(at.w, at.w_stride, col, later));
            self.accumulate(e, name, &x, &w, accs);
        }
    }

    /// 8 steps of f32 from step `k`, rounded.
    fn tf32(&self, e: &Emit<'ctx>, k: u32, at: &Operands<'ctx>) {
        let read = |base, stride: u32, later: i64, minor: Val<'ctx>| {
            let step = e.add(self.quarter, e.index(i64::from(k) + later));
            let v = e.load(e.f32(), e.at(base, e.f32(), e.add(e.mul(step, e.index(i64::from(stride))), minor)));
            e.call_as("llvm.nvvm.f2tf32.rna", &[], &[v])
        };
        let row = e.add(self.first_row, self.group);
        let below = e.add(row, e.index(8));
        let x = [(row, 0), (below, 0), (row, 4), (below, 4)].map(|(row, later)| read(at.x, at.x_stride, later, row));
        for (number, accs) in self.accs.iter().enumerate() {
            let col = e.add(self.group, e.index(number as i64 * i64::from(COLS)));
            let w = [0, 4].map(|later| read(at.w, at.w_stride, later, col));
            self.accumulate(e, "llvm.nvvm.mma.m16n8k8.row.col.tf32", &x, &w, accs);
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
        for (number, accs) in self.accs.iter().enumerate() {
            for (i, acc) in accs.iter().enumerate() {
                let row = e.add(e.add(self.first_row, self.group), e.index(if i < 2 { 0 } else { 8 }));
                let within = e.add(e.mul(self.quarter, e.index(2)), e.index(i as i64 % 2));
                let col = e.add(within, e.index(number as i64 * i64::from(COLS)));
                let at = e.add(e.mul(row, e.index(i64::from(width))), col);
                e.store(e.load(e.f32(), *acc), e.at(results, e.f32(), at));
            }
        }
    }
}
