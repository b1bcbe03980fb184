//! Tiles of many rows: both operands packed, the sum in pieces.
//!
//! A block of rows is packed as `[tile][step][row]` before any panel: a microkernel then reads it with one pointer, so that its tile
//! may be as tall as there are registers, and the more rows a tile has, the less of the panel passes by for each product. The
//! panel is taken in pieces of the sum that stay in the first-level cache while all tiles of the block pass by. Accumulators wait in
//! memory between pieces, which changes no bit: every sum is still made in its order.
//!
//! Quantised weights are widened a piece at a time, for all tiles of the block.
//!
//! Where few panels pass by, packing costs more than it saves: rows that stand near one another, as those of a convolution do, are
//! read where they stand.

use inkwell::IntPredicate;
use inkwell::values::{FunctionValue, InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::turned::transposed;
use super::micro::{Elems, Micros, begin, outer_sums};
use crate::kernel::Elem;

/// The tile of a microkernel and what passes by it.
#[derive(Clone, Copy)]
pub struct Tall {
    pub rows: u32,
    pub vectors: u32,
    pub lanes: u32,
    pub elems: Elems,
}

/// `fn(rows, panel, steps, goes_on, tile, next, stride)`: `tile` (`[row][vector]`) becomes, or where `goes_on` is not zero grows by, the
/// products of `steps` steps of the packed rows and the panel. Meanwhile a line is fetched for later every `stride` bytes from `next`.
pub fn micro<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, tall: Tall) -> FunctionValue<'ctx> {
    let name = format!("tall_{}x{}_{}", tall.rows, tall.vectors, tall.elems.name());
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let (function, params) = begin(e, name, &[pointer, pointer, i64, i64, pointer, pointer, i64]);
        let passing = Passing { panel: params[1], next: params[5], stride: params[6] };
        let sums = Sums::new(e, function, tall, params[4].into_pointer_value(), params[3], passing);
        let acc = e.register(tall.elems.acc);
        let left = e.variable(function, pointer);
        e.store(params[0], left);
        // One step a turn: of more steps the loads would be hoisted, and accumulators spilled.
        e.each(e.index(0), params[2], 1, |_| {
            let x = e.load(pointer, left).into_pointer_value();
            sums.step(e, |r| e.load(acc, e.at(x, acc, e.index(i64::from(r)))));
            e.store(e.at(x, acc, e.index(i64::from(tall.rows))).into(), left);
        });
        sums.finish(e);
        function
    })
}

/// `fn(rows: *const *const x, apart, counts, strides, start, panel, goes_on, tile, next, stride)`: the same of rows where they stand, by
/// pairs: the second row of each is `apart` elements from the first. `start` elements into each row the loops of the sum begin.
pub fn direct<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, tall: Tall, loops: u32) -> FunctionValue<'ctx> {
    let name = format!("direct_{}x{}_{loops}_{}", tall.rows, tall.vectors, tall.elems.name());
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let types = [pointer, i64, pointer, pointer, i64, pointer, i64, pointer, pointer, i64];
        let (function, params) = begin(e, name, &types);
        let passing = Passing { panel: params[5], next: params[8], stride: params[9] };
        let sums = Sums::new(e, function, tall, params[7].into_pointer_value(), params[6], passing);
        let acc = e.register(tall.elems.acc);
        let row = |r: u32| e.at(params[0].into_pointer_value(), pointer, e.index(i64::from(r)));
        let pairs: Vec<_> =
            (0..tall.rows / 2).map(|pair| e.load(pointer, row(2 * pair)).into_pointer_value()).collect();
        let (apart, counts, strides) = (params[1], params[2].into_pointer_value(), params[3].into_pointer_value());
        let number = |at, i: u32| e.load(i64, e.at(at, i64, e.index(i64::from(i))));
        outer_sums(e, loops, &number, counts, strides, 0, params[4], &|start| {
            let (count, stride) = (number(counts, loops - 1), number(strides, loops - 1));
            e.each(e.index(0), count, 1, |k| {
                let first = e.add(start, e.mul(k, stride));
                let second = e.add(first, apart);
                sums.step(e, |r| {
                    let offset = if r % 2 == 0 { first } else { second };
                    e.load(acc, e.at(pairs[r as usize / 2], acc, offset))
                });
            });
        });
        sums.finish(e);
        function
    })
}

/// How far apart the rows of each pair of a tile are, in elements, and whether [`direct`] can read them: all pairs alike, and so near
/// that rows share lines, or pages.
pub fn apart<'ctx>(e: &Emit<'ctx>, rows: PointerValue<'ctx>, tall: Tall) -> (Val<'ctx>, Val<'ctx>) {
    let row = |r: u32| {
        let row = e.load(e.pointer(), e.at(rows, e.pointer(), e.index(i64::from(r))));
        e.cast(InstructionOpcode::PtrToInt, row, e.i64())
    };
    let bytes = tall.elems.x.bytes() as i64;
    let distances: Vec<Val> = (0..tall.rows / 2).map(|pair| e.sub(row(2 * pair + 1), row(2 * pair))).collect();
    let near = e.icmp(IntPredicate::ULE, distances[0], e.index(NEAR_BYTES));
    let alike = distances[1..].iter().map(|d| e.icmp(IntPredicate::EQ, *d, distances[0]));
    (e.udiv(distances[0], e.index(bytes)), alike.fold(near, |all, this| e.and(all, this)))
}

/// Rows that [`direct`] reads are no farther from one another.
const NEAR_BYTES: i64 = 512;

/// What passes by a tile: a panel, and what is fetched meanwhile, a line every `stride` bytes.
struct Passing<'ctx> {
    panel: Val<'ctx>,
    next: Val<'ctx>,
    stride: Val<'ctx>,
}

/// A tile of sums in registers.
struct Sums<'ctx> {
    tall: Tall,
    tile: PointerValue<'ctx>,
    accs: Vec<PointerValue<'ctx>>,
    panel: PointerValue<'ctx>,
    next: PointerValue<'ctx>,
    stride: Val<'ctx>,
}

impl<'ctx> Sums<'ctx> {
    fn new(
        e: &Emit<'ctx>,
        function: FunctionValue<'ctx>,
        tall: Tall,
        tile: PointerValue<'ctx>,
        goes_on: Val<'ctx>,
        passing: Passing<'ctx>,
    ) -> Self {
        let vector = e.vector(e.register(tall.elems.acc), tall.lanes);
        let accs: Vec<_> = (0..tall.rows * tall.vectors).map(|_| e.variable(function, vector)).collect();
        let [panel, next] = [(); 2].map(|()| e.variable(function, e.pointer()));
        e.store(passing.panel, panel);
        e.store(passing.next, next);
        let sums = Self { tall, tile, accs, panel, next, stride: passing.stride };
        sums.accs.iter().for_each(|a| e.store(e.zero(vector), *a));
        e.when(e.icmp(IntPredicate::NE, goes_on, e.index(0)), || {
            sums.accs.iter().enumerate().for_each(|(i, a)| e.store(e.load(vector, sums.place(e, i)), *a));
        });
        sums
    }

    fn place(&self, e: &Emit<'ctx>, acc: usize) -> PointerValue<'ctx> {
        let Tall { lanes, elems, .. } = self.tall;
        e.at(self.tile, e.register(elems.acc), e.index(acc as i64 * i64::from(lanes)))
    }

    /// Adds the products of a step of the panel and an element of each row.
    fn step(&self, e: &Emit<'ctx>, x: impl Fn(u32) -> Val<'ctx>) {
        let Tall { rows, vectors, lanes, elems } = self.tall;
        let (w_memory, acc_type) = (e.memory(elems.w), e.register(elems.acc));
        let (vector, packed) = (e.vector(acc_type, lanes), e.vector(w_memory, lanes));
        let w = e.load(e.pointer(), self.panel).into_pointer_value();
        let line = e.load(e.pointer(), self.next).into_pointer_value();
        e.fetch_later(line);
        let at = |v: u32| e.at(w, w_memory, e.index(i64::from(v * lanes)));
        let step: Vec<_> = (0..vectors).map(|v| e.widened(elems.w, e.load(packed, at(v)), acc_type)).collect();
        for r in 0..rows {
            let x = e.splat(x(r), lanes);
            for v in 0..vectors {
                let acc = self.accs[(r * vectors + v) as usize];
                e.store(elems.add_product(e, x, step[v as usize], e.load(vector, acc)), acc);
            }
        }
        e.store(at(vectors).into(), self.panel);
        e.store(e.at(line, e.int(8), self.stride).into(), self.next);
    }

    fn finish(&self, e: &Emit<'ctx>) {
        let vector = e.vector(e.register(self.tall.elems.acc), self.tall.lanes);
        self.accs.iter().enumerate().for_each(|(i, a)| e.store(e.load(vector, *a), self.place(e, i)));
        e.builder.build_return(None).expect("the function returns nothing");
    }
}

/// What tells one packing from another.
#[derive(Clone, Copy)]
pub struct Packing {
    /// Rows of a tile.
    pub rows: u32,
    /// Loops that make up the sum; whether the innermost one steps over neighbours.
    pub sums: u32,
    pub dense: bool,
    pub lanes: u32,
    pub x: Elem,
    pub acc: Elem,
}

/// `fn(rows: *const *const x, counts, strides, to: *mut acc)` packs one tile as `[step][row]`. It may write up to `lanes`
/// elements past its end.
pub fn pack<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, packing: Packing) -> FunctionValue<'ctx> {
    let Packing { rows, sums, dense, lanes, x, acc } = packing;
    let name = format!("pack_{rows}_{sums}{}_{x}_{acc}", if dense { "d" } else { "s" });
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let (function, params) = begin(e, name, &[pointer, pointer, pointer, pointer]);
        let pointers: Vec<PointerValue> = (0..rows)
            .map(|r| e.at(params[0].into_pointer_value(), pointer, e.index(i64::from(r))))
            .map(|at| e.load(pointer, at).into_pointer_value())
            .collect();
        let (counts, strides) = (params[1].into_pointer_value(), params[2].into_pointer_value());
        let number = |at, i: u32| e.load(i64, e.at(at, i64, e.index(i64::from(i))));
        let to = e.variable(function, pointer);
        e.store(params[3], to);
        let (memory, acc_type) = (e.memory(x), e.register(acc));
        let past = |steps: i64| {
            let at = e.load(pointer, to).into_pointer_value();
            e.store(e.at(at, acc_type, e.index(steps * i64::from(rows))).into(), to);
        };
        let innermost = |start: Val<'ctx>| {
            let count = number(counts, sums - 1);
            let stride = if dense { e.index(1) } else { number(strides, sums - 1) };
            let mut first = e.index(0);
            if dense {
                first = e.each(first, e.sub(count, e.index(i64::from(lanes) - 1)), i64::from(lanes), |k| {
                    let read = e.vector(memory, lanes);
                    let rows: Vec<Val> = pointers
                        .iter()
                        .map(|row| e.widened(x, e.load(read, e.at(*row, memory, e.add(start, k))), acc_type))
                        .collect();
                    let at = e.load(pointer, to).into_pointer_value();
                    store_transposed(e, &rows, lanes, acc, at);
                    past(i64::from(lanes));
                });
            }
            e.each(first, count, 1, |k| {
                let offset = e.add(start, e.mul(k, stride));
                let at = e.load(pointer, to).into_pointer_value();
                for (r, row) in pointers.iter().enumerate() {
                    let v = e.widened(x, e.load(memory, e.at(*row, memory, offset)), acc_type);
                    e.store(v, e.at(at, acc_type, e.index(r as i64)));
                }
                past(1);
            });
        };
        outer_sums(e, sums, &number, counts, strides, 0, e.index(0), &innermost);
        e.builder.build_return(None).expect("the function returns nothing");
        function
    })
}

/// Stores the transpose of `rows`, vectors of `lanes` steps: step after step, each as many elements as there are rows. A vector that
/// is longer than that is cut by the next one.
fn store_transposed<'ctx>(e: &Emit<'ctx>, rows: &[Val<'ctx>], lanes: u32, acc: Elem, to: PointerValue<'ctx>) {
    let squares: Vec<Vec<Val>> = rows.chunks(lanes as usize).map(|square| transposed(e, square, lanes)).collect();
    for step in 0..lanes as usize {
        for (i, square) in squares.iter().enumerate() {
            let at = step * rows.len() + i * lanes as usize;
            e.store(square[step], e.at(to, e.register(acc), e.index(at as i64)));
        }
    }
}

/// `count` rows as tiles: as many of the tallest as there are, then what is least work.
pub fn tiles<'ctx>(e: &Emit<'ctx>, heights: &[u32], count: Val<'ctx>, mut tile: impl FnMut(u32, Val<'ctx>)) {
    let row = e.variable(e.function(), e.i64());
    e.store(e.index(0), row);
    let (head, body, after) = (e.block("rows"), e.block("tile"), e.block("tiled"));
    e.go(head);
    e.builder.position_at_end(head);
    let first = e.load(e.i64(), row);
    e.branch(e.icmp(IntPredicate::SLT, first, count), body, after);
    e.builder.position_at_end(body);
    let left = e.sub(count, first);
    let smallest = heights.first().copied().unwrap_or(1);
    for (i, &height) in heights.iter().enumerate().rev() {
        // Two smaller tiles take no more than that.
        let below = if i > 0 { heights[i - 1] + if i > 1 { smallest } else { 0 } } else { 0 };
        let (here, next) = (e.block("tall"), e.block("lower"));
        e.branch(e.icmp(IntPredicate::SGT, left, e.index(i64::from(below))), here, next);
        e.builder.position_at_end(here);
        tile(height, first);
        e.store(e.add(first, e.index(i64::from(height))), row);
        e.go(head);
        e.builder.position_at_end(next);
    }
    e.go(after);
    e.builder.position_at_end(after);
}
