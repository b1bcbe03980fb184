//! Many rows: packed or near one another, while each panel passes by in pieces of the sum that stay in the nearest cache.

use inkwell::IntPredicate;
use inkwell::types::BasicType;
use inkwell::values::{FunctionValue, PointerValue};

use super::super::super::llvm::emit::{Emit, Val};
use super::super::super::llvm::expr::Frame;
use super::super::micro::{Elems, Micros, begin};
use super::super::tall::{self, Packing, Tall};
use super::{Plan, Share, div_up, listed};

/// Packs a share's rows, unless they are read where they stand.
pub(super) fn pack<'ctx>(e: &Emit<'ctx>, micros: &mut Micros<'ctx>, plan: &Plan<'_, 'ctx>, count: Val<'ctx>) {
    let (steps, lanes, elems) = (plan.steps, plan.tile.lanes, plan.elems);
    let packing = |rows| Packing { rows, sums: steps.loops, dense: steps.dense, lanes, x: elems.x, acc: elems.acc };
    let packs: Vec<_> = plan.tile.tall.iter().map(|rows| tall::pack(micros, e, packing(*rows))).collect();
    let name = format!(
        "packed{}_{}_{}{}_{}_{}",
        if plan.tile.near { "_unless_near" } else { "" },
        listed(&plan.tile.tall),
        steps.loops,
        if steps.dense { "d" } else { "s" },
        elems.x,
        elems.acc,
    );
    let function = micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let (function, params) = begin(e, name, &[i64, pointer, pointer, pointer, pointer, i64]);
        tall::tiles(e, &plan.tile.tall, params[0], |number, rows, row| {
            let pointers = e.at(params[1].into_pointer_value(), pointer, row);
            let to = e.at(params[4].into_pointer_value(), e.register(elems.acc), e.mul(row, params[5]));
            let pack = || e.call_function(packs[number], &[pointers.into(), params[2], params[3], to.into()]);
            match plan.tile.near {
                true => e.when(e.not(tall::apart(e, pointers, tile(plan, rows)).1), pack),
                false => pack(),
            }
        });
        e.builder.build_return(None).expect("the function returns nothing");
        function
    });
    let [counts, strides, packed] = [steps.counts, steps.strides, plan.packed].map(Val::from);
    e.call_function(function, &[count, plan.pointers.into(), counts, strides, packed, plan.sum]);
}

/// How the sum is cut into pieces.
pub(super) struct Pieces<'ctx> {
    /// Turns of the outermost loop, or steps where rows are packed: in all, of a piece, of a block; and the steps of one.
    all: Val<'ctx>,
    of_piece: Val<'ctx>,
    of_block: Val<'ctx>,
    steps: Val<'ctx>,
    /// Where rows are read where they stand.
    turns: Option<Turns<'ctx>>,
}

impl<'ctx> Pieces<'ctx> {
    pub fn new(e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>) -> Self {
        let one = e.index(1);
        // An empty sum has one piece too, of no steps.
        let end = e.max(plan.sum, one);
        // Rows where they stand are cut between turns of the outermost loop of the sum.
        let turns = if plan.tile.near { Some(Turns::new(e, plan)) } else { None };
        let steps = turns.as_ref().map_or(one, |turns| turns.steps);
        // Pieces of whole blocks, as equal as they can be. While tiles pass by one, each fetches its share of the next.
        let all = e.max(one, e.udiv(end, steps));
        let deepest = e.max(one, e.udiv(e.index(i64::from(plan.tile.depth)), steps));
        let depth = div_up(e, all, div_up(e, all, deepest));
        let of_block = e.max(one, e.udiv(plan.block, steps));
        let of_piece = e.mul(div_up(e, depth, of_block), of_block);
        Self { all, of_piece, of_block, steps, turns }
    }
}

/// Sums of a share's rows for a panel.
pub(super) fn sums<'ctx>(
    frame: &Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    pieces: &Pieces<'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
    panel: Val<'ctx>,
) {
    let e = frame.emit;
    let function = passes(micros, e, plan);
    let start = super::panel_at(frame, plan, share, panel);
    let scales = super::scales_at(frame, plan, share, panel);
    e.each(e.index(0), e.index(i64::from(plan.tile.parts)), 1, |part| {
        let start = e.at(start, e.memory(plan.elems.w), e.mul(part, plan.part_elements));
        let sums = e.at(plan.sums, e.register(plan.elems.acc), e.mul(part, e.index(plan.part_sums())));
        let (packed, Pieces { all, of_piece, of_block, steps, turns }) = (plan.packed.into(), pieces);
        let mut args = vec![count, packed, plan.sum, plan.block, start.into(), sums.into()];
        args.extend([*all, *of_piece, *of_block, *steps]);
        if let Some(turns) = turns {
            args.extend([plan.pointers.into(), turns.counts.into(), plan.steps.strides.into(), turns.all]);
        }
        if let Some((at, _)) = plan.scales_of_part(e, scales, part) {
            args.extend([plan.piece.into(), at]);
        }
        e.call_function(function, &args);
    });
}

/// `fn(count, packed, sum, block, panel, sums, all, of_piece, of_block, steps)`: the sums of all rows and a part of a panel, which passes by
/// piece after piece ([`Pieces`]). With `rows, counts, strides, turns` of rows where they stand; with `piece, scales` of quantised weights, which
/// are widened. All kernels with such tiles share it.
fn passes<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>) -> FunctionValue<'ctx> {
    let (heights, vectors, lanes, elems) = (&plan.tile.tall, plan.tile.vectors, plan.tile.lanes, plan.elems);
    let packed: Vec<_> = heights.iter().map(|rows| tall::micro(micros, e, tile(plan, *rows))).collect();
    let loops = plan.steps.loops;
    let direct: Vec<_> = match plan.tile.near {
        true => heights.iter().map(|rows| tall::direct(micros, e, tile(plan, *rows), loops)).collect(),
        false => Vec::new(),
    };
    let widen = plan.scales.map(|(quantized, ..)| quantized.widen(micros, e, vectors, lanes));
    let near = if plan.tile.near { format!("_near{loops}") } else { String::new() };
    let name = format!("passes_{}x{vectors}{near}_{}", listed(heights), elems.name());
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let mut types = vec![i64, pointer, i64, i64, pointer, pointer, i64, i64, i64, i64];
        if !direct.is_empty() {
            types.extend([pointer, pointer, pointer, i64]);
        }
        if widen.is_some() {
            types.extend([pointer, pointer]);
        }
        let (function, params) = begin(e, name, &types);
        let [count, _, sum, block, _, _, all, of_piece, of_block, steps_of_turn] = params[..10] else {
            unreachable!("so many were declared")
        };
        let [rows_packed, panel, tile_sums] = [1, 4, 5].map(|i: usize| params[i].into_pointer_value());
        let (in_place, widened) = params[10..].split_at(if direct.is_empty() { 0 } else { 4 });
        let acc = e.register(elems.acc);
        let width = i64::from(vectors * lanes);
        // What two steps share counts for the first: all that is fetched ahead is near enough.
        let step_bytes = width * elems.w.bytes() as i64;
        e.each(e.index(0), div_up(e, all, of_piece), 1, |number| {
            let turn = e.mul(number, of_piece);
            let turns = e.min(of_piece, e.sub(all, turn));
            let first = e.mul(turn, steps_of_turn);
            let steps = e.min(e.mul(turns, steps_of_turn), e.sub(sum, first));
            let stored = if elems.quantized.is_some_and(|q| q.bits == 4) { e.udiv(first, e.index(2)) } else { first };
            let piece = e.at(panel, e.memory(elems.w), e.mul(stored, e.index(width)));
            let begin = match (widen, widened) {
                (Some(widen), [to, scales]) => {
                    e.call_function(widen, &[panel.into(), steps, first, *to, *scales]);
                    *to
                }
                _ => piece.into(),
            };
            // Where the piece begins in each row that is read where it stands.
            let start = match in_place {
                [_, counts, strides, all] => {
                    e.store(e.min(turns, e.sub(*all, turn)), counts.into_pointer_value());
                    Some(e.mul(turn, e.load(i64, strides.into_pointer_value())))
                }
                _ => None,
            };
            let share = e.mul(steps, e.index(step_bytes));
            tall::tiles(e, heights, count, |number, rows, row| {
                let left = e.add(e.mul(row, sum), e.mul(first, e.index(i64::from(rows))));
                let passed = e.udiv(e.mul(share, row), count);
                let stride = div_up(e, e.index(step_bytes * i64::from(rows)), count);
                let to = e.at(tile_sums, acc, e.mul(row, e.index(width)));
                let next = e.at(piece, e.int(8), e.add(share, passed));
                let rest = [to.into(), next.into(), stride];
                let from_packed = || {
                    let left = e.at(rows_packed, acc, left).into();
                    e.call_function(packed[number], &[&[left, begin, steps, block, first], &rest[..]].concat());
                };
                let (Some(start), [rows_at, counts, strides, _]) = (start, in_place) else { return from_packed() };
                let pointers = e.at(rows_at.into_pointer_value(), pointer, row);
                let (apart, is_near) = tall::apart(e, pointers, tile(plan, rows));
                let (near, other, after) = (e.block("near"), e.block("packed"), e.block("passed"));
                e.branch(is_near, near, other);
                e.builder.position_at_end(other);
                from_packed();
                e.go(after);
                e.builder.position_at_end(near);
                let args = [pointers.into(), apart, *counts, *strides, start, begin, of_block, first];
                e.call_function(direct[number], &[&args[..], &rest].concat());
                e.go(after);
                e.builder.position_at_end(after);
            });
        });
        e.builder.build_return(None).expect("the function returns nothing");
        function
    })
}

/// A tile of so many rows.
fn tile(plan: &Plan<'_, '_>, rows: u32) -> Tall {
    let (acc, quantized) = (plan.elems.acc, plan.tile.quantized);
    let elems = if quantized { Elems { w: acc, quantized: None, ..plan.elems } } else { plan.elems };
    Tall { rows, vectors: plan.tile.vectors, lanes: plan.tile.lanes, elems }
}

/// The outermost loop of a sum, of which a piece has some turns.
struct Turns<'ctx> {
    /// Steps of a turn.
    steps: Val<'ctx>,
    /// Of the whole sum.
    all: Val<'ctx>,
    /// Steps of each loop, where the outermost one has those of a piece.
    counts: PointerValue<'ctx>,
}

impl<'ctx> Turns<'ctx> {
    fn new(e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>) -> Self {
        let loops = plan.steps.loops;
        let counts = e.variable(e.function(), e.i64().array_type(loops).into());
        let mut steps = e.index(1);
        for i in 1..i64::from(loops) {
            let count = e.load(e.i64(), e.at(plan.steps.counts, e.i64(), e.index(i)));
            e.store(count, e.at(counts, e.i64(), e.index(i)));
            steps = e.mul(steps, count);
        }
        Self { steps: e.max(steps, e.index(1)), all: e.load(e.i64(), plan.steps.counts), counts }
    }
}

/// Are results of the whole call stored past the caches?
pub(super) fn streams<'ctx>(frame: &Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>) -> Val<'ctx> {
    let e = frame.emit;
    let contract = plan.contract;
    let bytes: u64 = contract.stores.iter().map(|s| frame.kernel.buffer(s.buffer).elem.bytes()).sum();
    let points = e.mul(e.mul(frame.extent(contract.batch.extent), frame.extent(contract.rows.extent)), plan.cols);
    e.icmp(IntPredicate::SGT, e.mul(points, e.index(bytes as i64)), e.index(1024 * i64::from(plan.tile.streamed_kib)))
}
