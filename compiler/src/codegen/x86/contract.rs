//! Contractions: panels outermost within a block of rows, tiles of rows inside, the epilogue after each panel.
//!
//! Few rows are read where they stand, and the panels stream by ([`few`]). Many are packed first, or near one another ([`many`]). A
//! unit of work is a panel of a block of rows, or some panels of a slice of an expert's rows. Neither the units, nor the tiles, nor how many panels a microkernel takes at once
//! changes the order in which a sum is made.

mod ahead;
mod few;
mod many;
mod tiles;

use inkwell::IntPredicate;
use inkwell::values::PointerValue;

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::{Frame, Lanes, Tail};
use super::super::llvm::loops::{Range, lanes_for, tail_of};
use super::micro::{Elems, Micros, Steps};
use super::prologue;
use super::quantized::Quantized;
use super::tile::Registers;
use crate::kernel::index::Stride;
use crate::kernel::types::accumulator;
use crate::kernel::{Contract, Elem, Expr, Extent, Grouping, Index, Products};
use crate::schedule::{Left, SUM_BLOCK, Tile, Tiles};

/// What stays the same for all units.
struct Plan<'a, 'ctx> {
    contract: &'a Contract,
    tile: &'a Tile,
    rows: Rows<'a, 'ctx>,
    /// Steps of the sum, or words of them that stand side by side: whole tiles where there are.
    sum: Val<'ctx>,
    /// Elements or words from an evaluated row to the next.
    apart: Val<'ctx>,
    cols: Val<'ctx>,
    elems: Elems,
    /// Elements of a part of a panel, of a panel, and of a matrix.
    part_elements: Val<'ctx>,
    panel_elements: Val<'ctx>,
    matrix_elements: Val<'ctx>,
    /// The scales of quantised weights, and how many a part has.
    scales: Option<(Quantized, PointerValue<'ctx>, Val<'ctx>)>,
    /// Steps of a block of the sum.
    block: Val<'ctx>,
    /// The loops of the sum in the left operand.
    steps: Steps<'ctx>,
    /// In scratch memory: accumulators of a block of rows, numbers of its rows, pointers to them, a piece of narrow weights widened, the
    /// rows packed.
    sums: PointerValue<'ctx>,
    numbers: PointerValue<'ctx>,
    pointers: PointerValue<'ctx>,
    piece: PointerValue<'ctx>,
    packed: PointerValue<'ctx>,
    /// Those that products are made of.
    registers: Option<Registers<'ctx>>,
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
    let products = contract.products;
    if !products.are_single() {
        let whole = div_up(e, sum, e.index(products.steps()));
        sum = e.mul(whole, e.index(products.steps() / products.together()));
    }
    // An evaluated row is one loop over neighbours, and so is one of pairs.
    let steps = match (tile.left, kernel.expr(contract.x)) {
        (Left::InPlace, Expr::Load { index, .. }) if products.are_single() => {
            Steps::of_load(frame, index, &contract.sums)
        }
        _ => vec![(sum, Stride::neighbours())],
    };
    let steps = Steps::new(frame, &steps);
    // Where rows are read in place, a block has whole turns of the outermost loop: tiles may read them so, too.
    let has_turns = tile.left == Left::InPlace && !tile.quantized;
    let inner = if has_turns { contract.sums.get(1..).unwrap_or_default() } else { &[] };
    let turn = inner.iter().fold(e.index(1), |n, l| e.max(e.index(1), e.mul(n, frame.extent(l.extent))));
    let block = e.index(i64::from(SUM_BLOCK));
    let block = e.mul(turn, e.max(e.index(1), e.udiv(block, turn)));
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
    let elems = match products {
        Products::One | Products::Interleaved => {
            Elems { x, w: kernel.buffer(contract.w).elem, acc, products, quantized }
        }
        Products::Pairs | Products::Bytes | Products::Tiles | Products::ByteTiles => {
            Elems { x: acc, w: acc, acc, products, quantized }
        }
    };
    let numbers = e.at(range.scratch, e.register(acc), e.index(i64::from(tile.sums())));
    let block_rows = e.index(i64::from(tile.block_rows()));
    let pointers = e.at(numbers, e.i64(), block_rows);
    let piece = e.at(pointers, e.i64(), block_rows);
    let packed = e.at(piece, e.register(acc), e.index(i64::from(tile.piece())));
    let rows = match (tile.left, kernel.expr(contract.x)) {
        // They are what others pack.
        _ if tile.tiles.is_some() => Rows::Evaluated(packed),
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
        apart: match tile.tiles {
            // An odd number of cache lines: neighbouring rows do not meet in the nearest cache.
            Some(_) => e.or(sum, e.index(i64::from(Tiles::PAIRS))),
            None => sum,
        },
        cols,
        elems,
        part_elements,
        panel_elements,
        matrix_elements: e.mul(panels, panel_elements),
        scales,
        block,
        steps,
        sums: range.scratch,
        numbers,
        pointers,
        piece,
        packed,
        registers: tile.tiles.map(|how| Registers::new(e, how, products == Products::ByteTiles)),
    };
    match &contract.grouping {
        Some(grouping) => grouped(frame, micros, &plan, grouping, panels, range),
        None => plain(frame, micros, &plan, panels, range),
    }
    if let Some(registers) = plan.registers {
        registers.release(e);
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
    e.advance(range.begin, range.end, |unit| {
        let (panel, outer) = (e.urem(unit, panels), e.udiv(unit, panels));
        let (number, batch) = (e.urem(outer, blocks), e.udiv(outer, blocks));
        // Blocks of whole tiles, as equal as that allows.
        let cut = |number| e.mul(e.udiv(e.mul(tiles, number), blocks), tallest);
        let (first, to) = (cut(number), e.min(rows, cut(e.add(number, e.index(1)))));
        // All panels of this range that are of the same block.
        let last = e.min(panels, e.add(panel, e.sub(range.end, unit)));
        share(frame, micros, plan, Share { batch, matrix: batch, rows: (first, to), panels: (panel, last) });
        e.add(unit, e.sub(last, panel))
    });
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
    let (span, slices) = (e.index(i64::from(plan.tile.span())), e.index(i64::from(plan.tile.slices)));
    let tallest = e.index(i64::from(plan.tile.tallest()));
    e.each(e.index(0), experts, 1, |expert| {
        // The first unit of the expert that is not below `unit` is `number * experts + expert`.
        let number = |unit| {
            let above = e.add(unit, e.sub(experts, e.index(1)));
            e.udiv(e.sub(above, expert), experts)
        };
        let (from, to) = frame.segment(grouping.offsets, expert);
        let tiles = div_up(e, e.sub(to, from), tallest);
        let cut = |slice| e.min(to, e.add(from, e.mul(e.udiv(e.mul(tiles, slice), slices), tallest)));
        let end = number(range.end);
        e.advance(number(range.begin), end, |unit| {
            let left = e.sub(end, unit);
            let (first, slice) = (e.udiv(unit, slices), e.urem(unit, slices));
            // Some slices of one span of panels, or all of several.
            let is_whole = e.and(e.icmp(IntPredicate::EQ, slice, e.index(0)), e.icmp(IntPredicate::SGE, left, slices));
            let spans = e.select(is_whole, e.udiv(left, slices), e.index(1));
            let some = e.min(slices, e.add(slice, left));
            let panels = (e.mul(first, span), e.min(panels, e.mul(e.add(first, spans), span)));
            let rows = (cut(slice), cut(some));
            expert_rows(frame, micros, plan, grouping, (experts, expert), rows, panels);
            e.add(unit, e.mul(spans, e.sub(some, slice)))
        });
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
        let (sum, apart) = (plan.sum, plan.apart);
        prologue::rows(frame, plan.contract, plan.elems, (block, sum, apart), share.rows, |frame, place| {
            row_number(frame, plan, place)
        });
    }
    // Rows beyond the last, up to a whole tile, repeat it; where tiles are loaded by themselves nobody asks where rows stand.
    let beyond = match plan.registers {
        Some(_) => count,
        None => e.add(count, e.index(i64::from(plan.tile.tallest().max(plan.tile.most_rows()) - 1))),
    };
    e.each(e.index(0), beyond, 1, |i| {
        let i_row = e.min(i, e.sub(count, e.index(1)));
        let number = row_number(frame, plan, e.add(share.rows.0, i_row));
        let row = match plan.rows {
            Rows::InPlace(x, elem, index) => {
                frame.vars.insert(plan.contract.rows.var, number);
                frame.forget();
                e.at(x, e.memory(elem), frame.index(index))
            }
            Rows::Evaluated(block) => e.at(block, e.register(plan.elems.acc), e.mul(i_row, plan.apart)),
        };
        e.store(number, e.at(plan.numbers, e.i64(), i));
        e.store(row.into(), e.at(plan.pointers, e.pointer(), i));
    });
    frame.forget();
    if let Some(registers) = plan.registers {
        return tiles::rows(frame, micros, plan, registers, share, count);
    }
    let is_few = e.icmp(IntPredicate::SLE, count, e.index(i64::from(plan.tile.most_rows())));
    e.when(e.not(is_few), || many::pack(e, micros, plan, count));
    let pieces = many::Pieces::new(e, plan);
    let streams = e.and(e.not(is_few), many::streams(frame, plan));
    frame.streams = Some(streams);
    let [at_once, part_sums] = [(); 2].map(|()| e.variable(e.function(), e.i64()));
    e.advance(share.panels.0, share.panels.1, |panel| {
        let (few_rows, many_rows, summed) = (e.block("few"), e.block("many"), e.block("summed"));
        e.branch(is_few, few_rows, many_rows);
        e.builder.position_at_end(few_rows);
        let several = few::at_once(e, plan, count, e.sub(share.panels.1, panel));
        e.store(several, at_once);
        e.store(few::sums(frame, micros, plan, share, count, (panel, several)), part_sums);
        e.go(summed);
        e.builder.position_at_end(many_rows);
        ahead::fetch(frame, plan, share, count, panel);
        many::sums(frame, micros, plan, &pieces, share, count, panel);
        e.store(e.index(1), at_once);
        e.store(e.index(plan.part_sums()), part_sums);
        e.go(summed);
        e.builder.position_at_end(summed);
        let [at_once, part_sums] = [at_once, part_sums].map(|at| e.load(e.i64(), at));
        let summed = Summed { first: e.index(0), count, part_sums };
        epilogue(frame, plan, share, (panel, at_once), summed);
        e.add(panel, at_once)
    });
    frame.streams = None;
    e.when(streams, || e.fence_streams());
    frame.forget();
}

/// Numbers as a part of a function's name.
fn listed(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
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

/// The number of a row: itself, or what the grouping put at that place.
fn row_number<'ctx>(frame: &Frame<'_, 'ctx>, plan: &Plan<'_, 'ctx>, place: Val<'ctx>) -> Val<'ctx> {
    plan.contract.grouping.as_ref().map_or(place, |grouping| frame.entry(grouping.order, place))
}

/// Rows of a share whose sums are made.
struct Summed<'ctx> {
    /// The first, and how many.
    first: Val<'ctx>,
    count: Val<'ctx>,
    /// Accumulators of each part.
    part_sums: Val<'ctx>,
}

/// Stores of some rows and of `at_once` panels.
fn epilogue<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    (panel, at_once): (Val<'ctx>, Val<'ctx>),
    Summed { first, count: n, part_sums }: Summed<'ctx>,
) {
    let e = frame.emit;
    let panel_extent = Extent::Known(i64::from(plan.tile.panel));
    let count = lanes_for(frame, &plan.contract.stores, plan.tile.lanes, panel_extent);
    let lanes = i64::from(count);
    let acc = e.register(plan.elems.acc);
    let parts = i64::from(plan.tile.parts);
    let of_part = i64::from(plan.contract.groups) / parts;
    let panel_lanes = i64::from(plan.tile.panel);
    frame.vars.insert(plan.contract.batch.var, share.batch);
    e.each(e.index(0), at_once, 1, |p| {
        let from = e.mul(e.add(panel, p), e.index(i64::from(plan.tile.panel)));
        let to = e.min(plan.cols, e.add(from, e.index(i64::from(plan.tile.panel))));
        e.each(e.index(0), n, 1, |i| {
            let number = e.load(e.i64(), e.at(plan.numbers, e.i64(), e.add(first, i)));
            frame.vars.insert(plan.contract.rows.var, number);
            let panel_sums = e.mul(e.mul(p, e.index(parts)), part_sums);
            let row = e.add(panel_sums, e.mul(i, e.index(plan.width())));
            let store = |frame: &mut Frame<'_, 'ctx>, first: Val<'ctx>, tail| {
                let ty = e.vector(acc, count);
                let chunk = e.add(row, e.sub(first, from));
                frame.accs = (0..i64::from(plan.contract.groups))
                    .map(|g| {
                        let at = e.add(chunk, e.mul(part_sums, e.index(g / of_part)));
                        e.load(ty, e.at(plan.sums, acc, e.add(at, e.index(g % of_part * panel_lanes))))
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
                    store(frame, rest, Some(Tail { mask, last, count: tail_of(plan.contract.cols.extent, lanes) }));
                });
            }
        });
    });
    frame.accs.clear();
    frame.forget();
}
