//! Tiles of many rows: both operands packed, the sum in pieces.
//!
//! A block of rows is packed as `[tile][step][row]` before any panel: a microkernel then reads it with one pointer, so that its tile
//! may be as tall as there are registers, and the more rows a tile has, the less of the panel passes by for each product. The
//! panel is taken in pieces of the sum that stay in the first-level cache while all tiles of the block pass by. Accumulators wait in
//! memory between pieces, which changes no bit: every sum is still made in its order.

use inkwell::IntPredicate;
use inkwell::values::{FunctionValue, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::micro::{Elems, Micros, begin, outer_sums};
use crate::kernel::Elem;

/// `fn(rows, panel, steps, goes_on, tile, next, stride)`: `tile` (`[row][vector]`) becomes, or where `goes_on` is not zero grows by, the
/// products of `steps` steps of the packed rows and the panel. Meanwhile a line is fetched for later every `stride` bytes from `next`.
pub fn micro<'ctx>(
    micros: &mut Micros<'ctx>,
    e: &Emit<'ctx>,
    rows: u32,
    vectors: u32,
    lanes: u32,
    elems: Elems,
) -> FunctionValue<'ctx> {
    let name = format!("tall_{rows}x{vectors}_{}", elems.name());
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let (function, params) = begin(e, name, &[pointer, pointer, i64, i64, pointer, pointer, i64]);
        let (w_memory, acc_type) = (e.memory(elems.w), e.register(elems.acc));
        let vector = e.vector(acc_type, lanes);
        let accs: Vec<_> = (0..rows * vectors).map(|_| e.variable(function, vector)).collect();
        let tile = params[4].into_pointer_value();
        let place = |i: usize| e.at(tile, acc_type, e.index(i as i64 * i64::from(lanes)));
        accs.iter().for_each(|a| e.store(e.zero(vector), *a));
        e.when(e.icmp(IntPredicate::NE, params[3], e.index(0)), || {
            accs.iter().enumerate().for_each(|(i, a)| e.store(e.load(vector, place(i)), *a));
        });
        let [left, panel, next] = [(); 3].map(|()| e.variable(function, pointer));
        e.store(params[0], left);
        e.store(params[1], panel);
        e.store(params[5], next);
        let width = i64::from(vectors * lanes);
        // One step a turn: of more steps the loads would be hoisted, and accumulators spilled.
        e.each(e.index(0), params[2], 1, |_| {
            let (x, w) = (e.load(pointer, left).into_pointer_value(), e.load(pointer, panel).into_pointer_value());
            let line = e.load(pointer, next).into_pointer_value();
            e.fetch_later(line);
            let packed = e.vector(w_memory, lanes);
            let at = |v: u32| e.at(w, w_memory, e.index(i64::from(v * lanes)));
            let step: Vec<_> = (0..vectors).map(|v| e.widened(elems.w, e.load(packed, at(v)), acc_type)).collect();
            for r in 0..rows {
                let x = e.splat(e.load(acc_type, e.at(x, acc_type, e.index(i64::from(r)))), lanes);
                for v in 0..vectors {
                    let acc = accs[(r * vectors + v) as usize];
                    e.store(elems.add_product(e, x, step[v as usize], e.load(vector, acc)), acc);
                }
            }
            e.store(e.at(x, acc_type, e.index(i64::from(rows))).into(), left);
            e.store(e.at(w, w_memory, e.index(width)).into(), panel);
            e.store(e.at(line, e.int(8), params[6]).into(), next);
        });
        accs.iter().enumerate().for_each(|(i, a)| e.store(e.load(vector, *a), place(i)));
        e.builder.build_return(None).expect("the function returns nothing");
        function
    })
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

/// A square of vectors, columns for rows: exchanges blocks of 1, 2, 4, ... Rows that are missing are anything.
fn transposed<'ctx>(e: &Emit<'ctx>, rows: &[Val<'ctx>], lanes: u32) -> Vec<Val<'ctx>> {
    let missing = rows[0];
    let mut square: Vec<Val> = (0..lanes as usize).map(|i| rows.get(i).copied().unwrap_or(missing)).collect();
    let mut block = 1;
    while block < lanes as usize {
        for i in (0..lanes as usize).filter(|i| i & block == 0) {
            let (a, b) = (square[i], square[i + block]);
            let lane = |j: usize, upper: bool| match (upper, j & block == 0) {
                (false, true) => j,
                (false, false) => lanes as usize + j - block,
                (true, true) => j + block,
                (true, false) => lanes as usize + j,
            };
            square[i] = e.shuffle(a, b, &(0..lanes as usize).map(|j| lane(j, false) as u32).collect::<Vec<_>>());
            square[i + block] = e.shuffle(a, b, &(0..lanes as usize).map(|j| lane(j, true) as u32).collect::<Vec<_>>());
        }
        block *= 2;
    }
    square
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
