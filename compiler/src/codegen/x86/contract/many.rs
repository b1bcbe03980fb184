//! Many rows: packed or near one another, while each panel passes by in pieces of the sum that stay in the nearest cache.

use inkwell::IntPredicate;
use inkwell::types::BasicType;
use inkwell::values::PointerValue;

use super::super::super::llvm::emit::{Emit, Val};
use super::super::super::llvm::expr::Frame;
use super::super::micro::{Elems, Micros};
use super::super::tall::{self, Packing, Tall};
use super::{Plan, Share, Summed, div_up, epilogue, panel_at, scales_at};

/// Many rows: they are packed, or read where they stand if they are near one another and few panels pass by. Then each panel
/// passes by in pieces of the sum.
pub(super) fn rows<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
) {
    let e = frame.emit;
    let acc = e.register(plan.elems.acc);
    let (x, lanes) = (plan.elems.x, plan.tile.lanes);
    let elems =
        if plan.tile.quantized { Elems { w: plan.elems.acc, quantized: None, ..plan.elems } } else { plan.elems };
    let tall = |rows| Tall { rows, vectors: plan.tile.vectors, lanes, elems };
    let pointers = |row| e.at(plan.pointers, e.pointer(), row);
    let packed = |rows: u32, row: Val<'ctx>| {
        let packing = Packing { rows, sums: plan.steps.loops, dense: plan.steps.dense, lanes, x, acc: plan.elems.acc };
        let to = e.at(plan.packed, acc, e.mul(row, plan.sum));
        let args = [pointers(row).into(), plan.steps.counts.into(), plan.steps.strides.into(), to.into()];
        let mut pack = || e.call_function(tall::pack(micros, e, packing), &args);
        match plan.tile.near {
            true => e.when(e.not(tall::apart(e, pointers(row), tall(rows)).1), pack),
            false => pack(),
        }
    };
    tall::tiles(e, &plan.tile.tall, count, packed, |_, _| {});
    let width = plan.width();
    // What two steps share counts for the first: all that is fetched ahead is near enough.
    let step_bytes = width * plan.elems.w.bytes() as i64;
    let one = e.index(1);
    // An empty sum has one piece too, of no steps.
    let end = e.max(plan.sum, one);
    // Rows where they stand are cut between turns of the outermost loop of the sum.
    let turns = if plan.tile.near { Some(Turns::new(e, plan)) } else { None };
    let of_turn = turns.as_ref().map_or(one, |turns| turns.steps);
    // Pieces of whole blocks, as equal as they can be. While tiles pass by one, each fetches its share of the next.
    let all = e.max(one, e.udiv(end, of_turn));
    let deepest = e.max(one, e.udiv(e.index(i64::from(plan.tile.depth)), of_turn));
    let depth = div_up(e, all, div_up(e, all, deepest));
    let turns_of_block = e.max(one, e.udiv(plan.block, of_turn));
    let depth = e.mul(div_up(e, depth, turns_of_block), turns_of_block);
    let pieces = div_up(e, all, depth);
    let streams = streams(frame, plan);
    frame.streams = Some(streams);
    e.each(share.panels.0, share.panels.1, 1, |panel| {
        let panel_start = panel_at(frame, plan, share, panel);
        let panel_scales = scales_at(frame, plan, share, panel);
        e.each(e.index(0), e.index(i64::from(plan.tile.parts)), 1, |part| {
            let part_start = e.at(panel_start, e.memory(plan.elems.w), e.mul(part, plan.part_elements));
            let part_sums = e.at(plan.sums, acc, e.mul(part, e.index(plan.part_sums())));
            let scales = plan.scales_of_part(e, panel_scales, part).map(|(at, _)| at);
            let is_last_part = e.icmp(IntPredicate::EQ, part, e.index(i64::from(plan.tile.parts) - 1));
            e.each(e.index(0), pieces, 1, |number| {
                let is_last = e.and(is_last_part, e.icmp(IntPredicate::EQ, number, e.sub(pieces, one)));
                let turn = e.mul(number, depth);
                let of_piece = e.min(depth, e.sub(all, turn));
                let first = e.mul(turn, of_turn);
                let steps = e.min(e.mul(of_piece, of_turn), e.sub(plan.sum, first));
                let rows =
                    if plan.elems.quantized.is_some_and(|q| q.bits == 4) { e.udiv(first, e.index(2)) } else { first };
                let piece = e.at(part_start, e.memory(plan.elems.w), e.mul(rows, e.index(width)));
                let begin = match plan.scales.zip(scales) {
                    Some(((quantized, ..), scales)) => {
                        let widen = quantized.widen(micros, e, plan.tile.vectors, lanes);
                        e.call_function(widen, &[part_start.into(), steps, first, plan.piece.into(), scales]);
                        plan.piece
                    }
                    None => piece,
                };
                let start = turns.as_ref().map(|turns| turns.begin(e, turn, of_piece));
                let tile = |rows: u32, row: Val<'ctx>| {
                    let left = e.add(e.mul(row, plan.sum), e.mul(first, e.index(i64::from(rows))));
                    let passed = e.udiv(e.mul(e.mul(steps, row), e.index(step_bytes)), count);
                    let stride = div_up(e, e.index(step_bytes * i64::from(rows)), count);
                    let tile = e.at(part_sums, acc, e.mul(row, e.index(width)));
                    let next = e.at(piece, e.int(8), e.add(e.mul(steps, e.index(step_bytes)), passed));
                    let mut packed = || {
                        let left = e.at(plan.packed, acc, left);
                        let args =
                            [left.into(), begin.into(), steps, plan.block, first, tile.into(), next.into(), stride];
                        e.call_function(tall::micro(micros, e, tall(rows)), &args);
                    };
                    let (Some(turns), Some(start)) = (&turns, start) else { return packed() };
                    let (apart, is_near) = tall::apart(e, pointers(row), tall(rows));
                    let (direct, other, after) = (e.block("direct"), e.block("packed"), e.block("passed"));
                    e.branch(is_near, direct, other);
                    e.builder.position_at_end(other);
                    packed();
                    e.go(after);
                    e.builder.position_at_end(direct);
                    let steps = [turns.counts.into(), plan.steps.strides.into(), start];
                    let rest = [begin.into(), turns_of_block, first, tile.into(), next.into(), stride];
                    let args = [&[pointers(row).into(), apart], &steps[..], &rest].concat();
                    e.call_function(tall::direct(micros, e, tall(rows), plan.steps.loops), &args);
                    e.go(after);
                    e.builder.position_at_end(after);
                };
                // After each tile: what is stored gets to the caches while the next ones pass by.
                let after = |row, end| {
                    e.when(is_last, || {
                        let sums = e.at(plan.sums, acc, e.mul(row, e.index(width)));
                        let part_sums = e.index(plan.part_sums());
                        let summed = Summed { first: row, count: e.sub(end, row), sums, part_sums };
                        epilogue(frame, plan, share, (panel, one), summed);
                    });
                };
                tall::tiles(e, &plan.tile.tall, count, tile, after);
            });
        });
    });
    frame.streams = None;
    e.when(streams, || e.fence_streams());
    frame.forget();
}

/// The outermost loop of a sum, of which a piece has some turns.
struct Turns<'ctx> {
    /// Steps of a turn.
    steps: Val<'ctx>,
    /// Of the whole sum.
    turns: Val<'ctx>,
    /// Steps of each loop, where the outermost one has those of a piece.
    counts: PointerValue<'ctx>,
    /// Elements from turn to turn.
    stride: Val<'ctx>,
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
        let steps = e.max(steps, e.index(1));
        let turns = e.load(e.i64(), plan.steps.counts);
        Self { steps, turns, counts, stride: e.load(e.i64(), plan.steps.strides) }
    }

    /// Sets out for a piece: how many elements into a row it begins.
    fn begin(&self, e: &Emit<'ctx>, turn: Val<'ctx>, turns: Val<'ctx>) -> Val<'ctx> {
        e.store(e.min(turns, e.sub(self.turns, turn)), self.counts);
        e.mul(turn, self.stride)
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
