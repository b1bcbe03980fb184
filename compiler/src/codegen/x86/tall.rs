//! Tiles of many rows: both operands packed, the sum in pieces.
//!
//! A block of rows is packed as `[tile][step][row]` before any panel: a microkernel then reads it with one pointer, so that its tile
//! may be as tall as there are registers, and the more rows a tile has, the less of the panel passes by for each product. The
//! panel is taken in pieces of the sum that stay in the first-level cache while all tiles of the block pass by. Pieces have whole blocks
//! of steps, whose sums join those in memory anyway: how deep pieces are changes no bit.
//!
//! Quantised weights are widened a piece at a time, for all tiles of the block.
//!
//! Where few panels pass by, packing costs more than it saves: rows that stand near one another, as those of a convolution do, are
//! read where they stand.

use inkwell::IntPredicate;
use inkwell::values::{FunctionValue, InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::turned::transposed;
use super::micro::{Elems, Excess, InBlocks, Micros, begin, outer_sums};
use crate::kernel::Elem;

/// The tile of a microkernel and what passes by it.
#[derive(Clone, Copy)]
pub struct Tall {
    pub rows: u32,
    pub vectors: u32,
    pub lanes: u32,
    pub elems: Elems,
}

/// `fn(rows, panel, steps, block, goes_on, tile, next, stride)`: `tile` (`[row][vector]`) becomes, or where `goes_on` is not zero grows by, the
/// products of `steps` steps of the packed rows and the panel, in blocks of so many. Meanwhile a line is fetched for later every `stride`
/// bytes from `next`.
pub fn micro<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, tall: Tall) -> FunctionValue<'ctx> {
    let name = format!("tall_{}x{}_{}", tall.rows, tall.vectors, tall.elems.name());
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let (function, params) = begin(e, name, &[pointer, pointer, i64, i64, i64, pointer, pointer, i64]);
        let passing = Passing { panel: params[1], next: params[6], stride: params[7] };
        let sums = Sums::new(e, function, tall, params[5].into_pointer_value(), passing);
        sums.blocks.begin(e, params[3], params[4]);
        let acc = e.register(tall.elems.acc);
        let left = e.variable(function, pointer);
        e.store(params[0], left);
        sums.blocks.each(e, params[2], |from, to| {
            // One step a turn: of more steps the loads would be hoisted, and accumulators spilled.
            e.each(from, to, 1, |_| {
                let x = e.load(pointer, left).into_pointer_value();
                sums.step(e, |r| e.load(acc, e.at(x, acc, e.index(i64::from(r)))));
                e.store(e.at(x, acc, e.index(i64::from(tall.rows))).into(), left);
            });
        });
        sums.finish(e);
        function
    })
}

/// `fn(rows: *const *const x, apart, counts, strides, start, panel, block, goes_on, tile, next, stride)`: the same of rows where they
/// stand, by pairs: the second row of each is `apart` elements from the first. `start` elements into each row the loops of the sum
/// begin. A block has so many turns of the outermost one.
pub fn direct<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, tall: Tall, loops: u32) -> FunctionValue<'ctx> {
    let name = format!("direct_{}x{}_{loops}_{}", tall.rows, tall.vectors, tall.elems.name());
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let types = [pointer, i64, pointer, pointer, i64, pointer, i64, i64, pointer, pointer, i64];
        let (function, params) = begin(e, name, &types);
        let passing = Passing { panel: params[5], next: params[9], stride: params[10] };
        let sums = Sums::new(e, function, tall, params[8].into_pointer_value(), passing);
        sums.blocks.begin(e, params[6], params[7]);
        let acc = e.register(tall.elems.acc);
        let row = |r: u32| e.at(params[0].into_pointer_value(), pointer, e.index(i64::from(r)));
        let pairs: Vec<_> =
            (0..tall.rows / 2).map(|pair| e.load(pointer, row(2 * pair)).into_pointer_value()).collect();
        let (apart, counts, strides) = (params[1], params[2].into_pointer_value(), params[3].into_pointer_value());
        let number = |at, i: u32| e.load(i64, e.at(at, i64, e.index(i64::from(i))));
        let step = |first: Val<'ctx>| {
            let second = e.add(first, apart);
            sums.step(e, |r| {
                let offset = if r % 2 == 0 { first } else { second };
                e.load(acc, e.at(pairs[r as usize / 2], acc, offset))
            });
        };
        sums.blocks.each(e, number(counts, 0), |from, to| {
            e.each(from, to, 1, |turn| {
                let start = e.add(params[4], e.mul(turn, number(strides, 0)));
                if loops == 1 {
                    return step(start);
                }
                outer_sums(e, loops, &number, counts, strides, 1, start, &|start| {
                    let (count, stride) = (number(counts, loops - 1), number(strides, loops - 1));
                    e.each(e.index(0), count, 1, |k| step(e.add(start, e.mul(k, stride))));
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
    blocks: InBlocks<'ctx>,
    tile: PointerValue<'ctx>,
    excess: Excess<'ctx>,
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
        passing: Passing<'ctx>,
    ) -> Self {
        let blocks = InBlocks::new(e, function, tall.rows * tall.vectors, (tall.elems.acc, tall.lanes), tile);
        let [panel, next] = [(); 2].map(|()| e.variable(function, e.pointer()));
        e.store(passing.panel, panel);
        e.store(passing.next, next);
        let excess = Excess::new(e, function, tall.elems, (tall.vectors, tall.lanes));
        Self { tall, blocks, tile, excess, panel, next, stride: passing.stride }
    }

    /// Adds the products of a step of the panel and an element of each row.
    fn step(&self, e: &Emit<'ctx>, x: impl Fn(u32) -> Val<'ctx>) {
        let Tall { rows, vectors, lanes, elems } = self.tall;
        let (w_memory, acc_type) = (e.memory(elems.w), e.register(elems.acc));
        let vector = e.vector(acc_type, lanes);
        let w = e.load(e.pointer(), self.panel).into_pointer_value();
        let line = e.load(e.pointer(), self.next).into_pointer_value();
        e.fetch_later(line, 64);
        let at = |v: u32| e.at(w, w_memory, e.index(i64::from(v * lanes)));
        let step = elems.weights(e, w, (vectors, lanes));
        step.iter().zip(0..).for_each(|(w, v)| self.excess.add(e, v, *w));
        for r in 0..rows {
            let x = e.splat(x(r), lanes);
            for v in 0..vectors {
                let acc = self.blocks.accs[(r * vectors + v) as usize];
                e.store(elems.add_product(e, x, step[v as usize], e.load(vector, acc)), acc);
            }
        }
        e.store(at(vectors).into(), self.panel);
        e.store(e.at(line, e.int(8), self.stride).into(), self.next);
    }

    fn finish(&self, e: &Emit<'ctx>) {
        self.blocks.finish(e);
        self.excess.take(e, self.tile, self.tall.rows * self.tall.vectors, |n| n % self.tall.vectors);
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

/// `count` rows as tiles, of which it tells number and height, with the least work: few tiles, and few rows that are none.
pub fn tiles<'ctx>(e: &Emit<'ctx>, heights: &[u32], count: Val<'ctx>, mut tile: impl FnMut(usize, u32, Val<'ctx>)) {
    let first = first_tiles(heights);
    e.advance(e.index(0), count, |row| {
        let left = e.min(e.sub(count, row), e.index(i64::from(MANY)));
        let next = e.variable(e.function(), e.i64());
        let after = e.block("tiled");
        for (number, (&height, &first)) in heights.iter().zip(&first).enumerate().rev() {
            let is_first = e.and(e.op(InstructionOpcode::LShr, e.bits(e.i64(), first), left), e.index(1));
            let (here, other) = (e.block("tall"), e.block("lower"));
            e.branch(e.icmp(IntPredicate::NE, is_first, e.index(0)), here, other);
            e.builder.position_at_end(here);
            tile(number, height, row);
            e.store(e.add(row, e.index(i64::from(height))), next);
            e.go(after);
            e.builder.position_at_end(other);
        }
        // Not reached: every number of rows has a first tile.
        e.store(count, next);
        e.go(after);
        e.builder.position_at_end(after);
        e.load(e.i64(), next)
    });
}

/// So many rows, and more, begin with the tallest tile.
const MANY: u32 = u64::BITS - 1;

/// For each height the numbers of rows, a bit each, of which it is the first tile.
fn first_tiles(heights: &[u32]) -> Vec<u64> {
    // What a tile costs beside its rows.
    const TILE: u32 = 1;
    let mut first = vec![0; heights.len()];
    let mut least = vec![0u32];
    for rows in 1..MANY {
        let cost = |height: u32| height + TILE + least[rows.saturating_sub(height) as usize];
        let best = (0..heights.len()).rev().min_by_key(|i| cost(heights[*i])).unwrap_or(0);
        first[best] |= 1 << rows;
        least.push(cost(heights[best]));
    }
    first.last_mut().into_iter().for_each(|bits| *bits |= 1 << MANY);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_tiles_of_least_work() {
        let heights = [4, 8, 14];
        let first = first_tiles(&heights);
        let cut = |mut rows: u32| {
            let mut tiles = Vec::new();
            while rows > 0 {
                let height = heights[first.iter().position(|bits| bits >> rows & 1 == 1).unwrap()];
                tiles.push(height);
                rows = rows.saturating_sub(height);
            }
            tiles
        };
        assert_eq!(cut(9), [8, 4]);
        assert_eq!(cut(13), [14]);
        assert_eq!(cut(16), [8, 8], "14 and 4 are more");
        assert_eq!(cut(24), [8, 8, 8]);
        assert_eq!(cut(32), [14, 14, 4]);
        assert_eq!(first.iter().fold(0, |all, bits| all | bits), u64::MAX - 1, "all have one");
    }
}
