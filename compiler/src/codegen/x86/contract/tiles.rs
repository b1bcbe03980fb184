//! Rows in tiles (AMX): one path for any number of them.
//!
//! Rows were evaluated one after the other, each up to a whole tile of the sum. They are shared out evenly among as few tiles as can
//! hold them, so that sizes are set once. Up to 16 rows are one tile, past which four vectors of panels stream at a time; of more, two tiles
//! pass by a part of a panel, in pieces of the sum that stay in the nearest cache. A sum is made tile step after tile step whatever the
//! rows.

use inkwell::IntPredicate;
use inkwell::values::{FunctionValue, PointerValue};

use super::super::super::llvm::emit::{Emit, Val};
use super::super::super::llvm::expr::Frame;
use super::super::micro::{Micros, begin};
use super::super::tile::{LEFT, RIGHT, Registers, SUMS};
use super::{Plan, Share, div_up, epilogue, many, panel_at};
use crate::schedule::Tiles;

/// Bytes of a pair of steps of a vector of columns, and of a row of a tile.
const ROW: i64 = 4 * Tiles::PAIRS as i64;

/// Bytes that come together.
const LINE: i64 = 64;

/// What tells one microkernel from another.
#[derive(Clone, Copy)]
struct Shape {
    /// Tiles of rows.
    tiles: u32,
    /// Parts of panels at once, and the vectors of each. All three together: no more than four sums.
    parts: u32,
    vectors: u32,
}

pub(super) fn rows<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    registers: Registers<'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
) {
    let e = frame.emit;
    let one = e.index(1);
    let tiles = e.max(one, div_up(e, count, e.index(i64::from(Tiles::ROWS))));
    let height = div_up(e, count, tiles);
    registers.configure(e, height);
    let work = Work { registers, tiles, height, count };
    let (few, many, after) = (e.block("few"), e.block("many"), e.block("shared"));
    e.branch(e.icmp(IntPredicate::EQ, tiles, one), few, many);
    e.builder.position_at_end(few);
    e.advance(share.panels.0, share.panels.1, |panel| one_tile(frame, micros, plan, work, share, panel));
    frame.forget();
    e.go(after);
    e.builder.position_at_end(many);
    some_tiles(frame, micros, plan, work, share);
    e.go(after);
    e.builder.position_at_end(after);
    frame.forget();
}

/// The tiles of a share.
#[derive(Clone, Copy)]
struct Work<'ctx> {
    registers: Registers<'ctx>,
    tiles: Val<'ctx>,
    /// Rows of each.
    height: Val<'ctx>,
    count: Val<'ctx>,
}

/// One tile of rows, and one panel or two; the number of the next.
fn one_tile<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    work: Work<'ctx>,
    share: Share<'ctx>,
    panel: Val<'ctx>,
) -> Val<'ctx> {
    let e = frame.emit;
    let start = panel_at(frame, plan, share, panel);
    let part_sums = e.index(i64::from(Tiles::ROWS) * plan.width());
    // Where there is no matrix a sum has no steps.
    let steps = e.udiv(e.load(e.i64(), plan.steps.counts), e.index(i64::from(Tiles::PAIRS)));
    let (parts, vectors) = (plan.tile.parts, plan.tile.vectors);
    let mut products = |part: u32, at_once: u32| {
        let part = e.index(i64::from(part));
        let right = e.at(start, e.memory(plan.elems.w), e.mul(part, plan.part_elements));
        let sums = e.at(plan.sums, e.register(plan.elems.acc), e.mul(part, part_sums));
        let micro = micro(micros, e, work.registers, Shape { tiles: 1, parts: at_once, vectors });
        let (packed, apart) = left(e, plan);
        let bytes = |elements| e.mul(elements, e.index(4));
        let of_part = [bytes(plan.part_elements), bytes(part_sums)];
        let begin = [packed.into(), apart, work.height, right.into(), of_part[0], steps];
        let memory = work.registers.memory.into();
        let once = [right.into(), e.index(0), e.index(1)];
        e.call_function(micro, &[&begin[..], &[sums.into(), of_part[1], e.index(0), memory], &once].concat());
    };
    let at_once = match plan.tile.panels_at_once[0] {
        2 => {
            let has_two = e.icmp(IntPredicate::SGT, e.sub(share.panels.1, panel), e.index(1));
            let (two, one, after) = (e.block("two"), e.block("one"), e.block("summed"));
            e.branch(has_two, two, one);
            e.builder.position_at_end(two);
            products(0, 2);
            e.go(after);
            e.builder.position_at_end(one);
            products(0, 1);
            e.go(after);
            e.builder.position_at_end(after);
            e.select(has_two, e.index(2), e.index(1))
        }
        _ => {
            let most = if vectors <= 2 { 2 } else { 1 };
            (0..parts).step_by(most as usize).for_each(|part| products(part, most.min(parts - part)));
            e.index(1)
        }
    };
    epilogue(frame, plan, share, panel, at_once, work.count, part_sums);
    e.add(panel, at_once)
}

/// Several tiles of rows, part after part of panel after panel.
fn some_tiles<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    work: Work<'ctx>,
    share: Share<'ctx>,
) {
    let e = frame.emit;
    let (one, width) = (e.index(1), plan.width());
    let (acc, w) = (e.register(plan.elems.acc), e.memory(plan.elems.w));
    let steps = e.udiv(plan.sum, e.index(i64::from(Tiles::PAIRS)));
    let step_elements = i64::from(Tiles::PAIRS) * width;
    // Pieces as equal as they can be; an empty sum has one, too.
    let deepest = e.index(i64::from(plan.tile.depth / Tiles::PAIRS).max(1));
    let depth = e.max(one, div_up(e, steps, e.max(one, div_up(e, steps, deepest))));
    let streams = many::streams(frame, plan);
    frame.streams = Some(streams);
    e.each(share.panels.0, share.panels.1, 1, |panel| {
        let panel_start = panel_at(frame, plan, share, panel);
        e.each(e.index(0), e.index(i64::from(plan.tile.parts)), 1, |part| {
            let part_start = e.at(panel_start, w, e.mul(part, plan.part_elements));
            let part_sums = e.at(plan.sums, acc, e.mul(part, e.index(plan.part_sums())));
            e.advance(e.index(0), e.max(steps, one), |first| {
                let of_piece = e.min(depth, e.sub(steps, first));
                let right = e.at(part_start, w, e.mul(first, e.index(step_elements)));
                // While tiles pass by a piece, each fetches its share of the next.
                let lines = div_up(e, e.index(step_elements * 4 / LINE), work.tiles);
                let next = e.at(right, w, e.mul(of_piece, e.index(step_elements)));
                let mut pass = |tiles: u32, number: Val<'ctx>, passes: Val<'ctx>| {
                    let row = e.mul(number, work.height);
                    let (packed, apart) = left(e, plan);
                    let here = e.add(e.mul(row, apart), e.mul(first, e.index(ROW)));
                    let sums = e.at(part_sums, acc, e.mul(row, e.index(width)));
                    let shape = Shape { tiles, parts: 1, vectors: plan.tile.vectors };
                    let micro = micro(micros, e, work.registers, shape);
                    let begin = [e.at(packed, e.int(8), here).into(), apart, work.height, right.into()];
                    let rest = [e.index(0), of_piece, sums.into(), e.index(0), first, work.registers.memory.into()];
                    let passed = e.mul(e.mul(lines, e.index(LINE)), e.mul(of_piece, number));
                    let fetch = [e.at(next, e.int(8), passed).into(), e.mul(lines, e.index(i64::from(tiles))), passes];
                    e.call_function(micro, &[&begin[..], &rest, &fetch].concat());
                };
                // Two tiles and two vectors are four sums.
                let by_two = plan.tile.vectors <= 2;
                let rest = if by_two {
                    let pairs = e.udiv(work.tiles, e.index(2));
                    pass(2, e.index(0), pairs);
                    e.mul(pairs, e.index(2))
                } else {
                    e.index(0)
                };
                let left_over = e.sub(work.tiles, rest);
                e.when(e.icmp(IntPredicate::NE, left_over, e.index(0)), || pass(1, rest, left_over));
                e.add(first, depth)
            });
        });
        epilogue(frame, plan, share, panel, one, work.count, e.index(plan.part_sums()));
    });
    frame.streams = None;
    e.when(streams, || e.fence_streams());
    frame.forget();
}

/// The evaluated rows, and how many bytes they are apart.
fn left<'ctx>(e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>) -> (PointerValue<'ctx>, Val<'ctx>) {
    (plan.packed, e.mul(plan.apart, e.index(4)))
}

/// `fn(left, left_apart, height, right, part_apart, steps, sums, sums_apart, first, registers, next, lines, passes)`: adds to tiles of
/// sums, `height` rows each, the products of so many tile steps; where `first` is 0 they begin at zero. Then the same for the rows that
/// follow, as many times as there are passes. Distances are in bytes: of rows, of parts, of their sums. Sums are `[part][row][vector]`.
/// Each step fetches so many lines of what comes next.
fn micro<'ctx>(
    micros: &mut Micros<'ctx>,
    e: &Emit<'ctx>,
    registers: Registers<'ctx>,
    shape: Shape,
) -> FunctionValue<'ctx> {
    let Shape { tiles, parts, vectors } = shape;
    debug_assert!(tiles * parts * vectors <= LEFT, "there are four registers for sums");
    let Registers { how, bytes, .. } = registers;
    let of = if bytes { "byte_tiles" } else { "tiles" };
    micros.get(e, &format!("{of}_{tiles}x{parts}x{vectors}"), |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let params = [pointer, i64, i64, pointer, i64, i64, pointer, i64, i64, pointer, pointer, i64, i64];
        let (function, params) = begin(e, name, &params);
        let [left, right, sums, memory, next] = [0, 3, 6, 9, 10].map(|i: usize| params[i].into_pointer_value());
        let [left_apart, height, part_apart, steps, sums_apart, first, lines, passes] =
            [1, 2, 4, 5, 7, 8, 11, 12].map(|i: usize| params[i]);
        let registers = Registers { how, bytes, memory };
        let byte = e.int(8);
        let row = e.index(i64::from(vectors) * ROW);
        let rights: Vec<(u32, u32)> = (0..parts).flat_map(|p| (0..vectors).map(move |v| (p, v))).collect();
        let sum = |tile: u32, i: usize| SUMS + tile * parts * vectors + i as u32;
        // In the order in which their last products are under way.
        let each_sum = |pass: Val<'ctx>, f: &dyn Fn(u32, PointerValue<'ctx>)| {
            for (i, (part, vector)) in rights.iter().enumerate() {
                for tile in 0..tiles {
                    let number = e.add(e.mul(pass, e.index(i64::from(tiles))), e.index(i64::from(tile)));
                    let rows = e.mul(e.mul(height, row), number);
                    let before = e.add(rows, e.mul(sums_apart, e.index(i64::from(*part))));
                    f(sum(tile, i), e.at(sums, byte, e.add(before, e.index(i64::from(*vector) * ROW))));
                }
            }
        };
        let is_first = e.icmp(IntPredicate::EQ, first, e.index(0));
        let zero = e.index(0);
        e.when(is_first, || each_sum(zero, &|register, _| registers.zero(e, register)));
        e.when(e.not(is_first), || each_sum(zero, &|register, at| registers.load(e, register, at, row)));
        let last = e.sub(passes, e.index(1));
        e.each(zero, passes, 1, |pass| {
            let of_pass = e.mul(e.mul(pass, e.index(i64::from(tiles))), e.mul(height, left_apart));
            e.each(zero, steps, 1, |step| {
                let fetched = e.mul(e.add(e.mul(pass, steps), step), lines);
                e.each(zero, lines, 1, |line| {
                    e.fetch_later(e.at(next, byte, e.mul(e.add(fetched, line), e.index(LINE))));
                });
                let of_step = e.mul(step, e.mul(row, e.index(i64::from(Tiles::PAIRS))));
                for (i, (part, vector)) in rights.iter().enumerate() {
                    let before = e.add(of_step, e.mul(part_apart, e.index(i64::from(*part))));
                    let at = e.add(before, e.index(i64::from(*vector) * ROW));
                    let register = RIGHT + i as u32 % 2;
                    registers.load(e, register, e.at(right, byte, at), row);
                    for tile in 0..tiles {
                        if i == 0 {
                            let rows = e.mul(e.mul(height, left_apart), e.index(i64::from(tile)));
                            let at = e.add(e.add(of_pass, rows), e.mul(step, e.index(ROW)));
                            registers.load(e, LEFT + tile, e.at(left, byte, at), left_apart);
                        }
                        registers.add_products(e, sum(tile, i), LEFT + tile, register);
                    }
                }
            });
            // A register is loaded again as soon as it is stored, while the others still wait for their products.
            let store = |register, pointer| registers.store(e, register, pointer, row);
            let following = e.min(e.add(pass, e.index(1)), last);
            let (begin, go_on, after) = (e.block("begin"), e.block("go_on"), e.block("stored"));
            e.branch(is_first, begin, go_on);
            e.builder.position_at_end(begin);
            each_sum(pass, &|register, at| {
                store(register, at);
                registers.zero(e, register);
            });
            e.go(after);
            e.builder.position_at_end(go_on);
            let passed = e.mul(e.mul(e.sub(following, pass), e.index(i64::from(tiles))), e.mul(height, row));
            each_sum(pass, &|register, at| {
                store(register, at);
                registers.load(e, register, e.at(at, byte, passed), row);
            });
            e.go(after);
            e.builder.position_at_end(after);
        });
        e.builder.build_return(None).expect("the function returns nothing");
        function
    })
}
