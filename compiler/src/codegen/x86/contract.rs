//! Contractions: panels outermost within a block of rows, tiles of rows inside, the epilogue after each panel.
//!
//! Few rows are read where they stand, and the panels stream by. Many are packed first ([`super::tall`]). A unit of work is a panel of
//! a block of rows, or of an expert's rows. Neither the units, nor the tiles, nor how many panels a microkernel takes at once
//! changes the order in which a sum is made.

use inkwell::IntPredicate;
use inkwell::types::BasicType;
use inkwell::values::{InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::{Frame, Lanes};
use super::super::llvm::loops::{Range, smallest};
use super::micro::{Elems, Micros, Shape, Steps, micro};
use super::prologue;
use super::quantized::Quantized;
use super::tall::{self, Packing, Tall};
use crate::kernel::index::Stride;
use crate::kernel::types::accumulator;
use crate::kernel::{Contract, Elem, Expr, Extent, Grouping, Index};
use crate::schedule::{Left, STREAMED_BYTES, Tile};

/// What stays the same for all units.
struct Plan<'a, 'ctx> {
    contract: &'a Contract,
    tile: &'a Tile,
    rows: Rows<'a, 'ctx>,
    /// Steps of the sum, or pairs of them.
    sum: Val<'ctx>,
    cols: Val<'ctx>,
    elems: Elems,
    /// Elements of a part of a panel, of a panel, and of a matrix.
    part_elements: Val<'ctx>,
    panel_elements: Val<'ctx>,
    matrix_elements: Val<'ctx>,
    /// The scales of quantised weights, and how many a part has.
    scales: Option<(Quantized, PointerValue<'ctx>, Val<'ctx>)>,
    /// The loops of the sum in the left operand.
    steps: Steps<'ctx>,
    /// In scratch memory: accumulators of a block of rows, numbers of its rows, pointers to them, the rows packed.
    sums: PointerValue<'ctx>,
    numbers: PointerValue<'ctx>,
    pointers: PointerValue<'ctx>,
    packed: PointerValue<'ctx>,
}

/// Where the rows of the left operand begin.
enum Rows<'a, 'ctx> {
    /// Where they stand.
    InPlace(PointerValue<'ctx>, Elem, &'a Index),
    /// In scratch memory, one after the other, those of a block of rows at a time.
    Evaluated(PointerValue<'ctx>),
}

impl<'ctx> Plan<'_, 'ctx> {
    /// Where the scales of a panel's part begin, and how many it has.
    fn scales_of_part(
        &self,
        e: &Emit<'ctx>,
        panel: Option<PointerValue<'ctx>>,
        part: Val<'ctx>,
    ) -> Option<(Val<'ctx>, Val<'ctx>)> {
        let (quantized, _, of_part) = self.scales?;
        Some((e.at(panel?, e.memory(quantized.scale), e.mul(part, of_part)).into(), of_part))
    }

    /// Accumulators of a row of a part.
    fn width(&self) -> i64 {
        i64::from(self.tile.vectors * self.tile.lanes)
    }
    /// Accumulators from one part to the next, where a block of rows has them.
    fn part_sums(&self) -> i64 {
        i64::from(self.tile.block_rows()) * self.width()
    }
}

/// Some rows and some panels of one matrix.
#[derive(Clone, Copy)]
struct Share<'ctx> {
    batch: Val<'ctx>,
    matrix: Val<'ctx>,
    /// Rows from..to, numbers or places in the order of the grouping.
    rows: (Val<'ctx>, Val<'ctx>),
    panels: (Val<'ctx>, Val<'ctx>),
}

pub fn contract<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    contract: &Contract,
    tile: &Tile,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let kernel = frame.kernel;
    let mut sum = e.index(1);
    for l in &contract.sums {
        let extent = frame.extent(l.extent);
        sum = e.mul(sum, extent);
        frame.vars.insert(l.var, e.index(0));
    }
    if contract.pairs {
        sum = div_up(e, sum, e.index(2));
    }
    // An evaluated row is one loop over neighbours, and so is one of pairs.
    let steps = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { index, .. }) if !contract.pairs => Steps::of_load(frame, index, &contract.sums),
        _ => vec![(sum, Stride::neighbours())],
    };
    let steps = Steps::new(frame, &steps);
    let step_elements = i64::from(tile.vectors * tile.lanes);
    let cols = frame.extent(contract.cols.extent);
    let panels = div_up(e, cols, e.index(i64::from(tile.panel)));
    let scales = contract.blocks.as_ref().map(|blocks| {
        let scale = kernel.buffer(blocks.scales).elem;
        let quantized = Quantized { bits: blocks.bits, size: blocks.size, scale };
        let part = e.mul(quantized.rows(e, sum).1, e.index(step_elements));
        (quantized, frame.buffers[blocks.scales.0 as usize], part)
    });
    let quantized = scales.map(|s| s.0);
    let part_elements = e.mul(quantized.map_or(sum, |q| q.rows(e, sum).0), e.index(step_elements));
    let panel_elements = e.mul(part_elements, e.index(i64::from(tile.parts)));
    let acc = accumulator(kernel);
    let x = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { buffer, .. }) => kernel.buffer(*buffer).elem,
        _ => acc,
    };
    let elems = match contract.pairs {
        true => Elems { x: acc, w: acc, acc, pairs: true, quantized },
        false => Elems { x, w: kernel.buffer(contract.w).elem, acc, pairs: false, quantized },
    };
    let numbers = e.at(range.scratch, e.register(acc), e.index(i64::from(tile.sums())));
    let block_rows = e.index(i64::from(tile.block_rows()));
    let pointers = e.at(numbers, e.i64(), block_rows);
    let packed = e.at(pointers, e.i64(), block_rows);
    let rows = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { buffer, index, .. }) => Rows::InPlace(frame.buffers[buffer.0 as usize], x, index),
        _ => {
            let behind = e.add(e.mul(block_rows, sum), e.index(i64::from(tile.lanes)));
            Rows::Evaluated(e.at(packed, e.register(acc), behind))
        }
    };
    let plan = Plan {
        contract,
        tile,
        rows,
        sum,
        cols,
        elems,
        part_elements,
        panel_elements,
        matrix_elements: e.mul(panels, panel_elements),
        scales,
        steps,
        sums: range.scratch,
        numbers,
        pointers,
        packed,
    };
    match &contract.grouping {
        Some(grouping) => grouped(frame, micros, &plan, grouping, panels, range),
        None => plain(frame, micros, &plan, panels, range),
    }
}

fn div_up<'ctx>(e: &Emit<'ctx>, n: Val<'ctx>, by: Val<'ctx>) -> Val<'ctx> {
    e.udiv(e.add(n, e.sub(by, e.index(1))), by)
}

/// Unit = (batch, block of rows, panel), the panel fastest.
fn plain<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    panels: Val<'ctx>,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let rows = frame.extent(plan.contract.rows.extent);
    let blocks = div_up(e, rows, e.index(i64::from(plan.tile.row_block)));
    let tallest = e.index(i64::from(plan.tile.tallest()));
    let tiles = div_up(e, rows, tallest);
    let unit = e.variable(e.function(), e.i64());
    e.store(range.begin, unit);
    let (head, body, after) = (e.block("units"), e.block("unit"), e.block("done"));
    e.go(head);
    e.builder.position_at_end(head);
    let u = e.load(e.i64(), unit);
    e.branch(e.icmp(IntPredicate::SLT, u, range.end), body, after);
    e.builder.position_at_end(body);
    let (panel, outer) = (e.urem(u, panels), e.udiv(u, panels));
    let (number, batch) = (e.urem(outer, blocks), e.udiv(outer, blocks));
    // Blocks of whole tiles, as equal as that allows.
    let cut = |number| e.mul(e.udiv(e.mul(tiles, number), blocks), tallest);
    let (first, to) = (cut(number), e.min(rows, cut(e.add(number, e.index(1)))));
    // All panels of this range that are of the same block.
    let last = e.min(panels, e.add(panel, e.sub(range.end, u)));
    share(frame, micros, plan, Share { batch, matrix: batch, rows: (first, to), panels: (panel, last) });
    e.store(e.add(u, e.sub(last, panel)), unit);
    e.go(head);
    e.builder.position_at_end(after);
}

/// Unit = (few panels, slice of the rows, expert), the expert fastest: however rows are spread, threads have equal shares. Of each
/// expert a range then has neighbouring slices and panels: those of whole experts are walked together, a block of rows passing by all
/// the panels.
fn grouped<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    grouping: &Grouping,
    panels: Val<'ctx>,
    range: Range<'ctx>,
) {
    let e = frame.emit;
    let experts = frame.extent(grouping.experts);
    let offsets = frame.buffers[grouping.offsets.0 as usize];
    let offset = |at| e.cast(InstructionOpcode::SExt, e.load(e.int(32), e.at(offsets, e.int(32), at)), e.i64());
    let (span, slices) = (e.index(i64::from(plan.tile.span())), e.index(i64::from(plan.tile.slices)));
    let tallest = e.index(i64::from(plan.tile.tallest()));
    let part = e.variable(e.function(), e.i64());
    e.each(e.index(0), experts, 1, |expert| {
        // The first unit of the expert that is not below `unit` is `number * experts + expert`.
        let number = |unit| {
            let above = e.add(unit, e.sub(experts, e.index(1)));
            e.udiv(e.sub(above, expert), experts)
        };
        let (from, to) = (offset(expert), offset(e.add(expert, e.index(1))));
        let tiles = div_up(e, e.sub(to, from), tallest);
        let cut = |slice| e.min(to, e.add(from, e.mul(e.udiv(e.mul(tiles, slice), slices), tallest)));
        let end = number(range.end);
        e.store(number(range.begin), part);
        let (head, body, after) = (e.block("parts"), e.block("part"), e.block("done"));
        e.go(head);
        e.builder.position_at_end(head);
        let p = e.load(e.i64(), part);
        e.branch(e.icmp(IntPredicate::SLT, p, end), body, after);
        e.builder.position_at_end(body);
        let left = e.sub(end, p);
        let (first, slice) = (e.udiv(p, slices), e.urem(p, slices));
        // Some slices of one span of panels, or all of several.
        let is_whole = e.and(e.icmp(IntPredicate::EQ, slice, e.index(0)), e.icmp(IntPredicate::SGE, left, slices));
        let spans = e.select(is_whole, e.udiv(left, slices), e.index(1));
        let some = e.min(slices, e.add(slice, left));
        let panels = (e.mul(first, span), e.min(panels, e.mul(e.add(first, spans), span)));
        let rows = (cut(slice), cut(some));
        expert_rows(frame, micros, plan, grouping, (experts, expert), rows, panels);
        e.store(e.add(p, e.mul(spans, e.sub(some, slice))), part);
        e.go(head);
        e.builder.position_at_end(after);
        frame.forget();
    });
    frame.forget();
}

/// Some rows of an expert, block after block.
fn expert_rows<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    grouping: &Grouping,
    (experts, expert): (Val<'ctx>, Val<'ctx>),
    (from, to): (Val<'ctx>, Val<'ctx>),
    panels: (Val<'ctx>, Val<'ctx>),
) {
    let e = frame.emit;
    let mut blocks = |frame: &mut Frame<'_, 'ctx>, matrix, height: u32| {
        e.each(from, to, i64::from(height), |first| {
            let rows = (first, e.min(to, e.add(first, e.index(i64::from(height)))));
            share(frame, micros, plan, Share { batch: e.index(0), matrix, rows, panels });
        });
    };
    if !grouping.last_is_none {
        return blocks(frame, expert, plan.tile.row_block);
    }
    let (none, has_one, after) = (e.block("none"), e.block("expert"), e.block("segment"));
    e.branch(e.icmp(IntPredicate::EQ, expert, e.sub(experts, e.index(1))), none, has_one);
    e.builder.position_at_end(has_one);
    blocks(frame, expert, plan.tile.row_block);
    e.go(after);
    // Sums of no steps: nothing is read, the stores see zeros. It is the last segment, the counts are done with.
    e.builder.position_at_end(none);
    (0..i64::from(plan.steps.loops)).for_each(|i| e.store(e.index(0), e.at(plan.steps.counts, e.i64(), e.index(i))));
    blocks(frame, e.index(0), plan.tile.most_rows());
    e.go(after);
    e.builder.position_at_end(after);
    frame.forget();
}

/// All panels of a share.
fn share<'ctx>(frame: &mut Frame<'_, 'ctx>, micros: &mut Micros<'ctx>, plan: &Plan<'_, 'ctx>, share: Share<'ctx>) {
    let e = frame.emit;
    let count = e.sub(share.rows.1, share.rows.0);
    frame.vars.insert(plan.contract.batch.var, share.batch);
    if let Rows::Evaluated(block) = plan.rows {
        prologue::rows(frame, plan.contract, plan.elems, block, plan.sum, share.rows, |frame, place| {
            row_number(frame, plan, place)
        });
    }
    // Rows beyond the last, up to a whole tile, repeat it.
    let beyond = e.add(count, e.index(i64::from(plan.tile.tallest().max(plan.tile.most_rows()) - 1)));
    e.each(e.index(0), beyond, 1, |i| {
        let i_row = e.min(i, e.sub(count, e.index(1)));
        let number = row_number(frame, plan, e.add(share.rows.0, i_row));
        let row = match plan.rows {
            Rows::InPlace(x, elem, index) => {
                frame.vars.insert(plan.contract.rows.var, number);
                frame.forget();
                e.at(x, e.memory(elem), frame.index(index))
            }
            Rows::Evaluated(block) => e.at(block, e.register(plan.elems.acc), e.mul(i_row, plan.sum)),
        };
        e.store(number, e.at(plan.numbers, e.i64(), i));
        e.store(row.into(), e.at(plan.pointers, e.pointer(), i));
    });
    frame.forget();
    let (few_rows, many_rows, after) = (e.block("few"), e.block("many"), e.block("shared"));
    e.branch(e.icmp(IntPredicate::SLE, count, e.index(i64::from(plan.tile.most_rows()))), few_rows, many_rows);
    e.builder.position_at_end(few_rows);
    few(frame, micros, plan, share, count);
    e.go(after);
    e.builder.position_at_end(many_rows);
    many(frame, micros, plan, share, count);
    e.go(after);
    e.builder.position_at_end(after);
    frame.forget();
}

/// The panel that begins at `panel`.
fn panel_at<'ctx>(
    frame: &Frame<'_, 'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    panel: Val<'ctx>,
) -> PointerValue<'ctx> {
    let e = frame.emit;
    let at = e.add(e.mul(share.matrix, plan.matrix_elements), e.mul(panel, plan.panel_elements));
    e.at(frame.buffers[plan.contract.w.0 as usize], e.memory(plan.elems.w), at)
}

/// The scales of a panel's first part.
fn scales_at<'ctx>(
    frame: &Frame<'_, 'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    panel: Val<'ctx>,
) -> Option<PointerValue<'ctx>> {
    let e = frame.emit;
    let (quantized, scales, of_part) = plan.scales?;
    let panels = div_up(e, plan.cols, e.index(i64::from(plan.tile.panel)));
    let number = e.add(e.mul(share.matrix, panels), panel);
    let at = e.mul(e.mul(number, e.index(i64::from(plan.tile.parts))), of_part);
    Some(e.at(scales, e.memory(quantized.scale), at))
}

/// Few rows: one tile, which reads them where they stand; several panels at once where one would leave the adders idle.
fn few<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
) {
    let e = frame.emit;
    let panel = e.variable(e.function(), e.i64());
    e.store(share.panels.0, panel);
    let (head, body, after) = (e.block("panels"), e.block("panel"), e.block("done"));
    e.go(head);
    e.builder.position_at_end(head);
    let p = e.load(e.i64(), panel);
    e.branch(e.icmp(IntPredicate::SLT, p, share.panels.1), body, after);
    e.builder.position_at_end(body);
    let left = e.sub(share.panels.1, p);
    let at_once = plan.tile.panels_at_once.iter().enumerate().fold(e.index(1), |sofar, (i, &n)| {
        let rows = e.icmp(IntPredicate::EQ, count, e.index(i as i64 + 1));
        let enough = e.icmp(IntPredicate::SGE, left, e.index(i64::from(n)));
        e.select(e.and(rows, enough), e.index(i64::from(n)), sofar)
    });
    let panels = panel_at(frame, plan, share, p);
    let scales = scales_at(frame, plan, share, p);
    let mut call = |rows: u32, panels_at_once: u32| {
        // The shorter a tile, the more of them at once.
        let parts = plan.tile.parts;
        let (calls, parts) = if rows <= 2 { (1, parts * panels_at_once) } else { (parts, 1) };
        let shape = Shape {
            rows,
            panels: parts,
            vectors: plan.tile.vectors,
            sums: plan.steps.loops,
            dense: plan.steps.dense,
            lanes: plan.tile.lanes,
            elems: plan.elems,
        };
        let function = micro(micros, e, shape);
        for part in 0..i64::from(calls) {
            let panels = e.at(panels, e.memory(plan.elems.w), e.mul(plan.part_elements, e.index(part)));
            let sums = e.at(plan.sums, e.register(plan.elems.acc), e.index(part * plan.part_sums()));
            let mut args = vec![
                plan.pointers.into(),
                panels.into(),
                plan.part_elements,
                plan.steps.counts.into(),
                plan.steps.strides.into(),
                sums.into(),
            ];
            args.extend(plan.scales_of_part(e, scales, e.index(part)).into_iter().flat_map(|(at, each)| [at, each]));
            e.call_function(function, &args);
        }
    };
    let summed = e.block("summed");
    for (i, &several) in plan.tile.panels_at_once.iter().enumerate().filter(|(_, n)| **n > 1) {
        let rows = e.icmp(IntPredicate::EQ, count, e.index(i as i64 + 1));
        let these = e.and(rows, e.icmp(IntPredicate::EQ, at_once, e.index(i64::from(several))));
        let (here, next) = (e.block("several"), e.block("next"));
        e.branch(these, here, next);
        e.builder.position_at_end(here);
        call(i as u32 + 1, several);
        e.go(summed);
        e.builder.position_at_end(next);
    }
    smallest(e, &plan.tile.rows, count, |rows| call(rows, 1));
    e.go(summed);
    e.builder.position_at_end(summed);
    let short = e.icmp(IntPredicate::SLE, count, e.index(2));
    let part_sums = e.select(short, e.mul(count, e.index(plan.width())), e.index(plan.part_sums()));
    epilogue(frame, plan, share, p, at_once, count, part_sums);
    e.store(e.add(p, at_once), panel);
    e.go(head);
    e.builder.position_at_end(after);
    frame.forget();
}

/// Many rows: they are packed, or read where they stand if they are near one another and few panels pass by. Then each panel
/// passes by in pieces of the sum.
fn many<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
) {
    let e = frame.emit;
    let acc = e.register(plan.elems.acc);
    let (x, lanes) = (plan.elems.x, plan.tile.lanes);
    let tall = |rows| Tall { rows, vectors: plan.tile.vectors, lanes, elems: plan.elems };
    let pointers = |row| e.at(plan.pointers, e.pointer(), row);
    tall::tiles(e, &plan.tile.tall, count, |rows, row| {
        let packing = Packing { rows, sums: plan.steps.loops, dense: plan.steps.dense, lanes, x, acc: plan.elems.acc };
        let to = e.at(plan.packed, acc, e.mul(row, plan.sum));
        let args = [pointers(row).into(), plan.steps.counts.into(), plan.steps.strides.into(), to.into()];
        let mut pack = || e.call_function(tall::pack(micros, e, packing), &args);
        match plan.tile.near {
            true => e.when(e.not(tall::apart(e, pointers(row), tall(rows)).1), pack),
            false => pack(),
        }
    });
    let width = plan.width();
    // What two steps share counts for the first: all that is fetched ahead is near enough.
    let step_bytes = width * plan.elems.w.bytes() as i64;
    let one = e.index(1);
    // An empty sum has one piece too, of no steps.
    let end = e.max(plan.sum, one);
    // Rows where they stand are cut between turns of the outermost loop of the sum.
    let turns = if plan.tile.near { Some(Turns::new(e, plan)) } else { None };
    let of_turn = turns.as_ref().map_or(one, |turns| turns.steps);
    // Pieces as equal as they can be. While the tiles pass by one, each fetches its share of the next.
    let all = e.max(one, e.udiv(end, of_turn));
    let deepest = e.max(one, e.udiv(e.index(i64::from(plan.tile.depth)), of_turn));
    let depth = div_up(e, all, div_up(e, all, deepest));
    let tallest = e.index(i64::from(plan.tile.tallest()));
    let stride = div_up(e, e.index(step_bytes), div_up(e, count, tallest));
    let streams = streams(frame, plan);
    frame.streams = Some(streams);
    e.each(share.panels.0, share.panels.1, 1, |panel| {
        let panel_start = panel_at(frame, plan, share, panel);
        let panel_scales = scales_at(frame, plan, share, panel);
        e.each(e.index(0), e.index(i64::from(plan.tile.parts)), 1, |part| {
            let part_start = e.at(panel_start, e.memory(plan.elems.w), e.mul(part, plan.part_elements));
            let part_sums = e.at(plan.sums, acc, e.mul(part, e.index(plan.part_sums())));
            let scales = plan.scales_of_part(e, panel_scales, part).map(|(at, _)| at);
            e.each(e.index(0), div_up(e, all, depth), 1, |number| {
                let turn = e.mul(number, depth);
                let of_piece = e.min(depth, e.sub(all, turn));
                let first = e.mul(turn, of_turn);
                let steps = e.min(e.mul(of_piece, of_turn), e.sub(plan.sum, first));
                let rows =
                    if plan.elems.quantized.is_some_and(|q| q.bits == 4) { e.udiv(first, e.index(2)) } else { first };
                let piece = e.at(part_start, e.memory(plan.elems.w), e.mul(rows, e.index(width)));
                // Quantised weights are found by the number of a step.
                let begin = if scales.is_some() { part_start } else { piece };
                let start = turns.as_ref().map(|turns| turns.begin(e, turn, of_piece));
                tall::tiles(e, &plan.tile.tall, count, |rows, row| {
                    let left = e.add(e.mul(row, plan.sum), e.mul(first, e.index(i64::from(rows))));
                    let passed = e.add(e.index(step_bytes), e.mul(e.udiv(row, tallest), stride));
                    let tile = e.at(part_sums, acc, e.mul(row, e.index(width)));
                    let next = e.at(piece, e.int(8), e.mul(steps, passed));
                    let mut packed = || {
                        let left = e.at(plan.packed, acc, left);
                        let args = [left.into(), begin.into(), steps, first, tile.into(), next.into(), stride];
                        let args: Vec<Val> = args.into_iter().chain(scales).collect();
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
                    let args =
                        [&[pointers(row).into(), apart], &steps[..], &[begin.into(), first, tile.into()]].concat();
                    let args = [&args[..], &[next.into(), stride], scales.as_slice()].concat();
                    e.call_function(tall::direct(micros, e, tall(rows), plan.steps.loops), &args);
                    e.go(after);
                    e.builder.position_at_end(after);
                });
            });
        });
        epilogue(frame, plan, share, panel, one, count, e.index(plan.part_sums()));
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

/// Do the results of the whole call exceed the caches? Then they are gone from there before anybody reads them.
fn streams<'ctx>(frame: &Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>) -> Val<'ctx> {
    let e = frame.emit;
    let contract = plan.contract;
    let bytes: u64 = contract.stores.iter().map(|s| frame.kernel.buffer(s.buffer).elem.bytes()).sum();
    let points = e.mul(e.mul(frame.extent(contract.batch.extent), frame.extent(contract.rows.extent)), plan.cols);
    e.icmp(IntPredicate::SGT, e.mul(points, e.index(bytes as i64)), e.index(STREAMED_BYTES))
}

/// The number of a row: itself, or what the grouping put at that place.
fn row_number<'ctx>(frame: &Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>, place: Val<'ctx>) -> Val<'ctx> {
    let e = frame.emit;
    match &plan.contract.grouping {
        Some(grouping) => {
            let order = frame.buffers[grouping.order.0 as usize];
            e.cast(InstructionOpcode::SExt, e.load(e.int(32), e.at(order, e.int(32), place)), e.i64())
        }
        None => place,
    }
}

/// Stores of `n` rows and `at_once` panels, of which the parts stand `part_sums` accumulators apart.
fn epilogue<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    panel: Val<'ctx>,
    at_once: Val<'ctx>,
    n: Val<'ctx>,
    part_sums: Val<'ctx>,
) {
    let e = frame.emit;
    let count = plan.tile.lanes;
    let lanes = i64::from(count);
    let acc = e.register(plan.elems.acc);
    let parts = i64::from(plan.tile.parts);
    let of_part = i64::from(plan.contract.groups) / parts;
    let chunks = i64::from(plan.tile.panel) / lanes;
    frame.vars.insert(plan.contract.batch.var, share.batch);
    e.each(e.index(0), at_once, 1, |p| {
        let from = e.mul(e.add(panel, p), e.index(i64::from(plan.tile.panel)));
        let to = e.min(plan.cols, e.add(from, e.index(i64::from(plan.tile.panel))));
        e.each(e.index(0), n, 1, |i| {
            let number = e.load(e.i64(), e.at(plan.numbers, e.i64(), i));
            frame.vars.insert(plan.contract.rows.var, number);
            let panel_sums = e.mul(e.mul(p, e.index(parts)), part_sums);
            let row = e.add(panel_sums, e.mul(i, e.index(plan.width())));
            let store = |frame: &mut Frame<'_, 'ctx>, first: Val<'ctx>, tail| {
                let ty = e.vector(acc, count);
                let chunk = e.add(row, e.sub(first, from));
                frame.accs = (0..i64::from(plan.contract.groups))
                    .map(|g| {
                        let at = e.add(chunk, e.mul(part_sums, e.index(g / of_part)));
                        e.load(ty, e.at(plan.sums, acc, e.add(at, e.index(g % of_part * chunks * lanes))))
                    })
                    .collect();
                frame.lanes = Some(Lanes { var: plan.contract.cols.var, first, count, tail });
                frame.forget();
                plan.contract.stores.iter().for_each(|s| frame.store(s));
                frame.lanes = None;
                frame.forget();
            };
            let whole = e.sub(to, e.index(lanes - 1));
            let rest = e.each(from, whole, lanes, |first| store(frame, first, None));
            let even = matches!(plan.contract.cols.extent, Extent::Known(n) if n % lanes == 0);
            if !even {
                e.when(e.icmp(IntPredicate::SLT, rest, to), || {
                    let last = e.sub(to, e.index(1));
                    let mask = e.icmp(IntPredicate::SLE, e.add(rest, e.iota(count)), last);
                    store(frame, rest, Some((mask, last)));
                });
            }
        });
    });
    frame.accs.clear();
    frame.forget();
}
