//! Kernels that do nothing but what the roofline is made of: multiply-adds, of vectors and of tiles, and reading.
//!
//! They are made as other kernels are, for the same variants, and run by the same threads: what they reach is what a kernel could.
//!
//! `peak(x, out)`, sizes `(rounds)`: each unit runs `rounds` times (a multiple of [`UNROLLED`]) [`CHAINS`] independent
//! `sum = sum * x[0] + x[0]` of a vector, and stores the sum of all at `out[unit]`. `tiles(x, out)`, sizes `(rounds)`, adds so many products
//! of tiles whose every pair has the bits of `x[0]` to each of four sums, and stores one number of the last. `read(x, out)`, sizes `(rounds, steps, step, apart, share, ahead)`, in elements: each unit reads `rounds` times
//! the `share` elements that begin at `x[unit * share]`, in `steps` steps of `step`, each of [`STREAMS`] runs of [`VECTORS`] vectors
//! that begin `apart` elements from each other, asks for what stands `ahead` of them, and stores the sum.

use inkwell::types::BasicType;
use inkwell::values::{BasicValueEnum, FunctionValue, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::tile::{LEFT, RIGHT, Registers, SUM_REGISTERS, SUMS};
use crate::schedule::Tiles;

/// Sums under way: more than the latency of a multiply-add times the units that compute them, on every processor so far, and
/// they fit 16 registers beside what they are multiplied with.
pub const CHAINS: u32 = 12;
/// Places at which a unit reads at once.
pub const STREAMS: u32 = 4;
/// Vectors at each, one after the other.
pub const VECTORS: u32 = 2;
/// Multiply-adds of a chain in one turn of the loop: counting turns must not cost.
pub const UNROLLED: u32 = 8;
/// Sums of tiles that are under way.
pub const TILE_SUMS: u32 = SUM_REGISTERS;

struct Unit<'e, 'ctx> {
    emit: &'e Emit<'ctx>,
    buffers: Vec<PointerValue<'ctx>>,
    dims: Vec<Val<'ctx>>,
    unit: Val<'ctx>,
}

/// Emits a kernel whose units each do `body`.
fn kernel<'ctx>(emit: &Emit<'ctx>, symbol: &str, buffers: i64, dims: i64, body: impl FnOnce(&Unit<'_, 'ctx>)) {
    let (pointer, i64) = (emit.pointer(), emit.i64());
    let ty = emit.int(32).fn_type(&[pointer.into(), pointer.into(), i64.into(), i64.into(), pointer.into()], false);
    let function: FunctionValue = emit.module.add_function(symbol, ty, None);
    emit.mark(function);
    let params: Vec<BasicValueEnum> = function.get_param_iter().collect();
    emit.builder.position_at_end(emit.context.append_basic_block(function, "entry"));
    let (args, sizes) = (params[0].into_pointer_value(), params[1].into_pointer_value());
    let load = |i: i64| emit.load(pointer, emit.at(args, pointer, emit.index(i))).into_pointer_value();
    let buffers = (0..buffers).map(load).collect();
    let dims = (0..dims).map(|i| emit.load(i64, emit.at(sizes, i64, emit.index(i)))).collect();
    let mut unit = Unit { emit, buffers, dims, unit: params[2] };
    emit.each(params[2], params[3], 1, |number| {
        unit.unit = number;
        body(&unit);
    });
    emit.builder.build_return(Some(&emit.bits(emit.int(32), 0))).expect("the function returns i32");
}

impl<'ctx> Unit<'_, 'ctx> {
    fn vector(&self) -> inkwell::types::BasicTypeEnum<'ctx> {
        self.emit.vector(self.emit.f32(), self.emit.lanes)
    }

    /// Sums in registers, 0 at first.
    fn sums(&self, count: u32) -> Vec<PointerValue<'ctx>> {
        let e = self.emit;
        let zero = e.zero(self.vector());
        (0..count)
            .map(|_| {
                let sum = e.variable(e.function(), self.vector());
                e.store(zero, sum);
                sum
            })
            .collect()
    }

    /// Stores the sum of all lanes of all sums at `out[unit]`.
    fn store(&self, sums: &[PointerValue<'ctx>], out: PointerValue<'ctx>) {
        let e = self.emit;
        let mut total = e.zero(self.vector());
        for sum in sums {
            total = e.add(total, e.load(self.vector(), *sum));
        }
        let lanes = (1..e.lanes).fold(e.lane(total, 0), |sum, lane| e.add(sum, e.lane(total, lane)));
        e.store(lanes, e.at(out, e.f32(), self.unit));
    }
}

/// Emits `peak`.
pub fn peak(emit: &Emit<'_>, symbol: &str) {
    kernel(emit, symbol, 2, 1, |unit| {
        let e = unit.emit;
        let sums = unit.sums(CHAINS);
        let factor = e.splat(e.load(e.f32(), unit.buffers[0]), e.lanes);
        e.each(e.index(0), unit.dims[0], i64::from(UNROLLED), |_| {
            for _ in 0..UNROLLED {
                for sum in &sums {
                    e.store(e.fma(e.load(unit.vector(), *sum), factor, factor), *sum);
                }
            }
        });
        unit.store(&sums, unit.buffers[1]);
    });
}

/// Emits `tiles`.
pub fn tiles(emit: &Emit<'_>, symbol: &str) {
    kernel(emit, symbol, 2, 1, |unit| {
        let e = unit.emit;
        let registers = Registers::new(e, Tiles::Registers, false);
        registers.configure(e, e.index(i64::from(Tiles::ROWS)));
        let row = e.variable(e.function(), unit.vector());
        e.store(e.splat(e.load(e.f32(), unit.buffers[0]), e.lanes), row);
        // All rows are one.
        [LEFT, RIGHT].into_iter().for_each(|register| registers.load(e, register, row, e.index(0)));
        (SUMS..TILE_SUMS).for_each(|register| registers.zero(e, register));
        e.each(e.index(0), unit.dims[0], i64::from(UNROLLED), |_| {
            for _ in 0..UNROLLED {
                for sum in SUMS..TILE_SUMS {
                    registers.add_products(e, sum, LEFT, RIGHT);
                }
            }
        });
        registers.store(e, SUMS, row, e.index(0));
        registers.release(e);
        e.store(e.load(e.f32(), row), e.at(unit.buffers[1], e.f32(), unit.unit));
    });
}

/// Emits `read`.
pub fn read(emit: &Emit<'_>, symbol: &str) {
    kernel(emit, symbol, 2, 6, |unit| {
        let e = unit.emit;
        let [rounds, steps, step, apart, share, ahead] = unit.dims[..] else { unreachable!("six sizes") };
        let sums = unit.sums(STREAMS * VECTORS);
        let start = e.at(unit.buffers[0], e.f32(), e.mul(unit.unit, share));
        e.each(e.index(0), rounds, 1, |_| {
            e.each(e.index(0), steps, 1, |number| {
                let here = e.at(start, e.f32(), e.mul(number, step));
                for stream in 0..STREAMS {
                    let run = e.at(here, e.f32(), e.mul(apart, e.index(i64::from(stream))));
                    e.prefetch(e.at(run, e.f32(), ahead), i64::from(VECTORS * e.lanes) * 4);
                    for vector in 0..VECTORS {
                        let at = e.at(run, e.f32(), e.index(i64::from(vector * e.lanes)));
                        let sum = sums[(stream * VECTORS + vector) as usize];
                        e.store(e.add(e.load(unit.vector(), sum), e.load(unit.vector(), at)), sum);
                    }
                }
            });
        });
        unit.store(&sums, unit.buffers[1]);
    });
}
