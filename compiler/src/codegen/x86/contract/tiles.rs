//! Rows in tiles (AMX): one path for any number of them.
//!
//! Rows were evaluated one after the other, each up to a whole tile of the sum. They are shared out evenly among as few tiles as can
//! hold them, so that sizes are set once. Up to 16 rows are one tile, past which four vectors of panels stream at a time; of more, three tiles
//! at once pass by a part of a panel, over the whole sum: rows and panel come from the second-level cache, five tiles for six products, and to
//! store sums and load them again for another piece of the sum would take longer. A sum is made tile step after tile step whatever the rows.

use inkwell::IntPredicate;
use inkwell::values::{FunctionValue, PointerValue};

use super::super::super::llvm::emit::{Emit, Val};
use super::super::super::llvm::expr::Frame;
use super::super::micro::{Micros, begin};
use super::super::tile::{LEFT, RIGHT, Registers, SUM_REGISTERS, SUMS};
use super::{Plan, Share, Summed, div_up, epilogue, many, panel_at};
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
    /// Parts of panels at once, and the vectors of each. All three together: no more sums than registers for them.
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
        let rest = [sums.into(), of_part[1], work.registers.memory.into(), right.into(), e.index(0)];
        e.call_function(micro, &[&begin[..], &rest].concat());
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
    let summed = Summed { first: e.index(0), count: work.count, part_sums };
    epilogue(frame, plan, share, (panel, at_once), summed);
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
    let most = SUM_REGISTERS / plan.tile.vectors;
    // As equal as can be.
    let passes = div_up(e, work.tiles, e.index(i64::from(most)));
    let part_sums = e.index(i64::from(most * Tiles::ROWS) * width);
    let (packed, apart) = left(e, plan);
    // While tiles pass by a panel, each fetches its share of the next.
    let lines = div_up(e, e.index(i64::from(Tiles::PAIRS) * width * 4 / LINE), work.tiles);
    let streams = many::streams(frame, plan);
    frame.streams = Some(streams);
    e.each(share.panels.0, share.panels.1, 1, |panel| {
        let panel_start = panel_at(frame, plan, share, panel);
        e.each(e.index(0), passes, 1, |pass| {
            let first = |pass| e.udiv(e.mul(work.tiles, pass), passes);
            let number = first(pass);
            let at_once = e.sub(first(e.add(pass, one)), number);
            let row = e.mul(number, work.height);
            let left = e.at(packed, e.int(8), e.mul(row, apart));
            e.each(e.index(0), e.index(i64::from(plan.tile.parts)), 1, |part| {
                let right = e.at(panel_start, w, e.mul(part, plan.part_elements));
                let sums = e.at(plan.sums, acc, e.mul(part, part_sums));
                let passed = e.mul(e.mul(lines, e.index(LINE)), e.mul(steps, number));
                let next = e.at(e.at(right, w, plan.panel_elements), e.int(8), passed);
                let begin = [left.into(), apart, work.height, right.into(), e.index(0), steps, sums.into(), e.index(0)];
                for tiles in 1..=most {
                    e.when(e.icmp(IntPredicate::EQ, at_once, e.index(i64::from(tiles))), || {
                        let micro =
                            micro(micros, e, work.registers, Shape { tiles, parts: 1, vectors: plan.tile.vectors });
                        let fetch = [next.into(), e.mul(lines, e.index(i64::from(tiles)))];
                        e.call_function(micro, &[&begin[..], &[work.registers.memory.into()], &fetch].concat());
                    });
                }
            });
            // Before the next tiles: the sums are in the nearest cache, and what is stored gets there while they pass by.
            let count = e.min(e.mul(at_once, work.height), e.sub(work.count, row));
            epilogue(frame, plan, share, (panel, one), Summed { first: row, count, part_sums });
        });
    });
    frame.streams = None;
    e.when(streams, || e.fence_streams());
    frame.forget();
}

/// The evaluated rows, and how many bytes they are apart.
fn left<'ctx>(e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>) -> (PointerValue<'ctx>, Val<'ctx>) {
    (plan.packed, e.mul(plan.apart, e.index(4)))
}

/// `fn(left, left_apart, height, right, part_apart, steps, sums, sums_apart, registers, next, lines)`: makes tiles of sums, `height` rows
/// each, of the products of so many tile steps. Distances are in bytes: of rows, of parts, of their sums. Sums are `[part][row][vector]`.
/// Each step fetches so many lines of what comes next.
fn micro<'ctx>(
    micros: &mut Micros<'ctx>,
    e: &Emit<'ctx>,
    registers: Registers<'ctx>,
    shape: Shape,
) -> FunctionValue<'ctx> {
    let Shape { tiles, parts, vectors } = shape;
    debug_assert!(tiles * parts * vectors <= SUM_REGISTERS, "every sum has a register");
    let Registers { how, bytes, .. } = registers;
    let of = if bytes { "byte_tiles" } else { "tiles" };
    micros.get(e, &format!("{of}_{tiles}x{parts}x{vectors}"), |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let params = [pointer, i64, i64, pointer, i64, i64, pointer, i64, pointer, pointer, i64];
        let (function, params) = begin(e, name, &params);
        let [left, right, sums, memory, next] = [0, 3, 6, 8, 9].map(|i: usize| params[i].into_pointer_value());
        let [left_apart, height, part_apart, steps, sums_apart, lines] = [1, 2, 4, 5, 7, 10].map(|i: usize| params[i]);
        let registers = Registers { how, bytes, memory };
        let byte = e.int(8);
        let row = e.index(i64::from(vectors) * ROW);
        let rights: Vec<(u32, u32)> = (0..parts).flat_map(|p| (0..vectors).map(move |v| (p, v))).collect();
        // Back and forth, so that a left operand serves two right ones.
        let order: Vec<(usize, u32)> = (0..rights.len())
            .flat_map(|i| (0..tiles).map(move |tile| (i, if i % 2 == 0 { tile } else { tiles - 1 - tile })))
            .collect();
        let sum = |(i, tile): (usize, u32)| SUMS + tile * parts * vectors + i as u32;
        let zero = e.index(0);
        order.iter().for_each(|at| registers.zero(e, sum(*at)));
        e.each(zero, steps, 1, |step| {
            let fetched = e.mul(step, lines);
            e.each(zero, lines, 1, |line| {
                e.fetch_later(e.at(next, byte, e.mul(e.add(fetched, line), e.index(LINE))), LINE);
            });
            let of_step = e.mul(step, e.mul(row, e.index(i64::from(Tiles::PAIRS))));
            let (mut of_left, mut of_right) = (None, None);
            for &(i, tile) in &order {
                if of_right.replace(i) != Some(i) {
                    let (part, vector) = rights[i];
                    let before = e.add(of_step, e.mul(part_apart, e.index(i64::from(part))));
                    let at = e.add(before, e.index(i64::from(vector) * ROW));
                    registers.load(e, RIGHT, e.at(right, byte, at), row);
                }
                if of_left.replace(tile) != Some(tile) {
                    let rows = e.mul(e.mul(height, left_apart), e.index(i64::from(tile)));
                    let at = e.add(rows, e.mul(step, e.index(ROW)));
                    registers.load(e, LEFT, e.at(left, byte, at), left_apart);
                }
                registers.add_products(e, sum((i, tile)), LEFT, RIGHT);
            }
        });
        for &(i, tile) in &order {
            let (part, vector) = rights[i];
            let rows = e.mul(e.mul(height, row), e.index(i64::from(tile)));
            let before = e.add(rows, e.mul(sums_apart, e.index(i64::from(part))));
            let at = e.add(before, e.index(i64::from(vector) * ROW));
            registers.store(e, sum((i, tile)), e.at(sums, byte, at), row);
        }
        e.builder.build_return(None).expect("the function returns nothing");
        function
    })
}
