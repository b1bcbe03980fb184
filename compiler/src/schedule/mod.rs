//! Schedules: how a kernel runs on a kind of machine. Lanes, register tiles, packing, shares of work for threads.
//!
//! A schedule never changes a result: every element's sum is made in the same order whatever the tile.

mod attend;
mod choices;
mod demand;
pub mod gpu;
pub mod interp;
mod nest;
pub mod tuning;
mod work;

use gatec_runtime::format::{Isa, Launch};

use crate::kernel::index::Stride;
use crate::kernel::types::{accumulator, types};
use crate::kernel::{Body, Contract, Elem, Expr, Extent, GroupRows, Kernel, Loop, Nest, Products, TopK, index};

pub use attend::AttendTile;
pub use choices::{CHOICES, Choice, Choices};
pub use demand::demand;
pub use gpu::{Gpu, GpuTile, Math, PieceShape};
pub use nest::{Along, SharedLoad, along, shared_loads, turned_loads, walked_at_once};
pub use tuning::{Tuned, Tuning};
pub use work::{Work, work};

/// How a kernel runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub isa: Isa,
    /// Elements of a vector: as many f32 as a register holds.
    pub lanes: u32,
    pub body: BodySchedule,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BodySchedule {
    /// What vectors run along, for nests.
    Nest(Along),
    Contract(Tile),
    Attend(AttendTile),
    /// A block of threads for each unit.
    Gpu(Gpu),
    /// Top-k over candidates as integers in scratch memory, each of which says value and place; `sorted`, or searched for each slot.
    Ranked {
        sorted: bool,
    },
    /// Element by element.
    Scalar,
}

/// How a contraction gets its left operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Each row has a pointer; elements are read where they stand, at equal distances along each loop of the sum.
    InPlace,
    /// By a prologue: the rows of a block are evaluated into scratch memory before any panel.
    Evaluated,
}

/// The tile of a contraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub left: Left,
    /// Accumulators of a vector: half as many in f64.
    pub lanes: u32,
    /// Numbers of rows for which there is a microkernel that reads them where they stand, ascending.
    pub rows: Vec<u32>,
    /// Numbers of rows for which there is one that reads packed rows, ascending: where there are more rows.
    pub tall: Vec<u32>,
    /// Steps of the sum in a piece of a panel that stays in the first-level cache while tall tiles pass by: whole blocks.
    pub depth: u32,
    /// Parts of a panel, one after the other, each with a share of the groups: so that a tile of it may be tall.
    pub parts: u32,
    /// Vectors of a part.
    pub vectors: u32,
    /// Columns of a panel, for each group.
    pub panel: u32,
    /// Rows whose left operand stays in the second-level cache while the panels pass by.
    pub row_block: u32,
    /// Many rows that stand near one another are read there, too: packing them is dear where few panels pass by.
    pub near: bool,
    /// Results of more KiB than this are stored past the caches: they are gone from there before anybody reads them.
    pub streamed_kib: u32,
    /// Are weights quantised? Then many rows have a piece at a time widened: in a microkernel that costs more.
    pub quantized: bool,
    /// Products are made of tiles.
    pub tiles: Option<Tiles>,
    /// Slices of an expert's rows: threads share them where there are too few panels to share.
    pub slices: u32,
    /// Panels that a microkernel of one and of two rows works on at once: one alone has too few sums under way.
    pub panels_at_once: [u32; 2],
}

/// The tile registers of AMX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiles {
    Registers,
    /// Stand-ins in memory, which do the same by other instructions: for tests on processors that have no tiles.
    Memory,
}

impl Tiles {
    /// Rows of a tile at most, and columns of f32.
    pub const ROWS: u32 = 16;
    /// Pairs of a row of a tile.
    pub const PAIRS: u32 = 16;
    /// Sums that a pass over many rows makes at once: the registers that two for operands leave.
    pub const AT_ONCE: u32 = 6;
    /// A block of rows is this much larger: products take so little time that weights must be fetched less often. Every processor
    /// with tiles has 2 MiB of second-level cache. Measured on a Xeon of model 207.
    const ROW_BLOCK: u32 = 4;
    const ROW_BLOCK_KIB: (u32, u32) = (9, 4);
}

/// A count over a kernel's extents, for the caller to evaluate.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitsExpr {
    Known(i64),
    Extent(Extent),
    Add(Vec<UnitsExpr>),
    Mul(Vec<UnitsExpr>),
    Min(Vec<UnitsExpr>),
    DivUp(Box<UnitsExpr>, i64),
}

/// Vector lanes of f32.
pub fn lanes(isa: Isa) -> u32 {
    match isa {
        Isa::X86V4 | Isa::X86V4Bf16 | Isa::X86V4Amx => 16,
        Isa::X86V3 => 8,
        Isa::X86 | Isa::Aarch64 => 4,
        Isa::Sm80 => 1,
    }
}

/// Has a processor of this kind tile registers?
pub fn has_tiles(isa: Isa) -> bool {
    isa == Isa::X86V4Amx
}

/// How a left operand and weights of these element types are multiplied, of which the sums are accumulated in `acc`.
pub fn products(isa: Isa, operands: [Elem; 2], acc: Elem) -> Products {
    if isa == Isa::Sm80 {
        return Products::One;
    }
    match (isa, operands[0], acc) {
        _ if operands[0] != operands[1] && (operands[1], acc) == (Elem::Bf16, Elem::F32) => Products::Interleaved,
        _ if operands[0] != operands[1] => Products::One,
        (Isa::X86V4Amx, Elem::Bf16, Elem::F32) => Products::Tiles,
        (Isa::X86V4Bf16, Elem::Bf16, Elem::F32) => Products::Pairs,
        (Isa::X86V4Amx, Elem::I8, Elem::I32) => Products::ByteTiles,
        (Isa::X86V4Bf16, Elem::I8, Elem::I32) => Products::Bytes,
        (_, Elem::Bf16, Elem::F32) => Products::Interleaved,
        _ => Products::One,
    }
}

/// Vectors of a part of a panel, rows of the largest microkernel that reads rows where they stand (no pointer of theirs is spilled),
/// and rows of the tiles of packed ones (as many accumulators as fit beside a step of the part and a broadcast), by groups
/// of accumulators. Measured on Xeons with AVX-512 and on Zen 3.
fn tile_shape(groups: u32, isa: Isa) -> (u32, u32, &'static [u32]) {
    match (isa, groups) {
        (Isa::X86V4 | Isa::X86V4Bf16 | Isa::X86V4Amx, 3) => (3, 8, &[3, 6, 9]),
        (Isa::X86V4 | Isa::X86V4Bf16 | Isa::X86V4Amx, _) => (2, 8, &[4, 8, 14]),
        (_, 3) => (3, 4, &[2, 4]),
        (_, _) => (2, 6, &[2, 4, 6]),
    }
}

/// Parts of a packed panel.
pub fn packed_parts(groups: u32, isa: Isa) -> u32 {
    match isa {
        Isa::Sm80 => 1,
        _ => (groups / tile_shape(groups, isa).0).max(1),
    }
}

/// Accumulators of a vector, in f32 or f64.
fn lanes_of(acc: Elem, isa: Isa) -> u32 {
    if acc == Elem::F64 { (lanes(isa) / 2).max(1) } else { lanes(isa) }
}

/// Columns of a packed panel, for each group, of a contraction that accumulates in `acc`.
pub fn packed_lanes(groups: u32, acc: Elem, isa: Isa) -> u32 {
    if isa == Isa::Sm80 {
        return (GPU_PANEL / groups.max(1).next_power_of_two()).max(1);
    }
    let (vectors, ..) = tile_shape(groups, isa);
    (vectors / groups).max(1) * lanes_of(acc, isa)
}

/// Columns of a panel on a GPU, all groups together. Narrow: a few rows alone must give every multiprocessor some.
const GPU_PANEL: u32 = 32;

/// A length of sums for row blocks when it is not known before the run.
const TYPICAL_SUM: i64 = 1024;

/// The schedule by default.
pub fn schedule(kernel: &Kernel, isa: Isa) -> Schedule {
    schedule_as(kernel, isa, &Choices::default())
}

/// The schedule with these choices; a GPU has others.
pub fn schedule_as(kernel: &Kernel, isa: Isa, choices: &Choices) -> Schedule {
    let body = match &kernel.body {
        _ if isa == Isa::Sm80 => gpu::body(kernel),
        Body::Nest(nest) => BodySchedule::Nest(along(kernel, nest, lanes(isa), choices)),
        Body::Contract(contract) => BodySchedule::Contract(tile(kernel, contract, isa, choices)),
        Body::Attend(attend) => BodySchedule::Attend(AttendTile::of(kernel, attend, isa, choices)),
        Body::TopK(top_k) if value_bytes(kernel, top_k) <= 4 => BodySchedule::Ranked { sorted: is_sorted(top_k) },
        Body::TopK(_) | Body::GroupRows(_) => BodySchedule::Scalar,
    };
    Schedule { isa, lanes: lanes(isa), body }
}

/// Is it faster to put candidates in order than to search them once for each slot? Picoseconds of a row on an EPYC of family 25, with AVX-512:
/// of `n` candidates 1,900 n in order, at least 18,000, and 200 n + (k - 1) (13,000 + 37 n) searched; measured from 4 candidates to 4,096 and
/// from 1 slot to 40, within a third. Fewer than a vector are never put in order.
fn is_sorted(top_k: &TopK) -> bool {
    let Some(k) = known(top_k.k) else { return true };
    let (in_order, first, each) = (1_900, 200, 37);
    // Of a number that is not known when building, many.
    match known(top_k.over.extent) {
        Some(n) => n >= 8 && (in_order * n).max(18_000) < first * n + (k - 1).saturating_mul(13_000 + each * n),
        None => in_order - first < (k - 1).saturating_mul(each),
    }
}

/// Bytes of a candidate.
fn value_bytes(kernel: &Kernel, top_k: &TopK) -> u64 {
    let elem = types(kernel).get(top_k.value.0 as usize).copied().flatten();
    elem.map_or(8, Elem::bytes)
}

/// Only a plain load can be left where it is: unguarded, with strides that the whole call keeps.
fn left(kernel: &Kernel, contract: &Contract) -> Left {
    // Whole pairs side by side.
    let is_paired = || match (kernel.expr(contract.x), &contract.sums[..], types(kernel).get(contract.x.0 as usize)) {
        (Expr::Load { index, .. }, [l], Some(Some(Elem::Bf16))) => {
            index::stride(index, l.var) == Some(Stride::neighbours()) && known(l.extent).is_some_and(|n| n % 2 == 0)
        }
        _ => false,
    };
    let in_place = kernel.is_even(contract.x, &contract.sums) && (contract.products.are_single() || is_paired());
    // A tile is loaded from rows at equal distances, which end with zeros.
    if in_place && !contract.products.are_tiles() { Left::InPlace } else { Left::Evaluated }
}

fn tile(kernel: &Kernel, contract: &Contract, isa: Isa, choices: &Choices) -> Tile {
    let acc = accumulator(kernel);
    let (vectors, most, tall) = tile_shape(contract.groups, isa);
    let tiles = contract.products.are_tiles().then_some(Tiles::Registers);
    let (most, tall) = match tiles {
        Some(_) => (Tiles::ROWS, vec![Tiles::AT_ONCE / vectors * Tiles::ROWS]),
        // Beside the sums of a tile there are those of the panel's columns.
        None if contract.products == Products::Bytes => {
            (most.min(choices.few_rows), heights(tall, choices.tall_rows.min(VECTORS / vectors - 4)))
        }
        None => (most.min(choices.few_rows), heights(tall, choices.tall_rows)),
    };
    let groups = contract.groups.max(1);
    let (lanes, panel) = (lanes_of(acc, isa), packed_lanes(groups, acc, isa));
    let few: &[u32] = if tiles.is_some() { &[] } else { &[1, 2, 4] };
    let rows: Vec<u32> = few.iter().copied().filter(|r| *r < most).chain([most]).collect();
    let sum: i64 = contract.sums.iter().map(|l| known(l.extent).unwrap_or(TYPICAL_SUM)).product();
    let together = contract.products.together();
    let sum = (sum + together - 1) / together;
    let tallest = tall.iter().copied().max().unwrap_or(1);
    let (block_kib, block_rows) = match tiles {
        Some(_) => {
            let (times, by) = Tiles::ROW_BLOCK_KIB;
            (times * choices.row_block_kib / by, (Tiles::ROW_BLOCK * choices.row_block).next_multiple_of(tallest))
        }
        None => (choices.row_block_kib, choices.row_block),
    };
    let in_cache = 1024 * i64::from(block_kib) / acc.bytes() as i64 / sum.max(1);
    let most_of_block = i64::from(block_rows.max(tallest));
    let block = in_cache.clamp(i64::from(tallest), most_of_block) as u32 / tallest * tallest;
    let rows_known = known(contract.rows.extent).filter(|_| contract.grouping.is_none()).unwrap_or(i64::MAX);
    let block = block.min(u32::try_from(rows_known).unwrap_or(u32::MAX).max(1));
    let parts = packed_parts(groups, isa);
    debug_assert_eq!(parts * vectors, groups * panel / lanes, "the parts are the panel");
    // Of 16 registers, scales take as many as sums.
    let sums_at_once =
        if contract.blocks.is_some() && lanes < 16 { choices.sums_at_once / 2 } else { choices.sums_at_once };
    let at_once = |rows: u32| (sums_at_once / (rows * vectors * parts)).clamp(1, 4);
    let left = left(kernel, contract);
    let of_sums = matches!(kernel.expr(contract.x), Expr::Load { buffer, .. } if kernel.buffer(*buffer).elem == acc);
    let quantized = contract.blocks.is_some();
    let is_thin = known(contract.cols.extent).is_some_and(|n| n <= i64::from(choices.narrow_panels * panel));
    let by_pairs = tall.iter().all(|rows| rows % 2 == 0);
    let at_once = match tiles {
        // Four accumulators are under way.
        Some(_) if vectors * parts == 2 => [2, 2],
        Some(_) => [1, 1],
        None => [at_once(1), at_once(2)],
    };
    let units = choices.expert_units;
    let spans = known(contract.cols.extent)
        .map_or(units, |n| (n / i64::from(panel * span(at_once))).clamp(1, i64::from(units)) as u32);
    let in_halves = u64::from(lanes) * acc.bytes() < LINE;
    Tile {
        left,
        lanes,
        rows,
        tall,
        depth: (1024 * choices.piece_kib / (vectors * lanes * acc.bytes() as u32)).max(1).next_multiple_of(SUM_BLOCK),
        parts,
        vectors,
        panel,
        streamed_kib: if in_halves && contract.stores.len() > 1 { u32::MAX } else { choices.streamed_kib },
        row_block: block.next_multiple_of(tallest),
        near: left == Left::InPlace && of_sums && contract.products.are_single() && !quantized && is_thin && by_pairs,
        quantized,
        tiles,
        slices: (units / spans).max(1),
        panels_at_once: at_once,
    }
}

/// Rows of tiles, ascending, of which the tallest has no more than `most` where there is one.
fn heights(of: &[u32], most: u32) -> Vec<u32> {
    let tallest = of.last().copied().unwrap_or(1).min(most);
    of.iter().copied().filter(|rows| *rows < tallest).chain([tallest]).collect()
}

/// Bytes of a line of the caches. Several results in narrower vectors, halves of lines in turn, are not stored past these: on Zen 3 that took
/// as long again as all the rest of a contraction.
const LINE: u64 = 64;

/// Registers of vectors with AVX-512.
const VECTORS: u32 = 32;

/// Steps of a sum of products that are added up by themselves before they join the others: rounding errors of long sums then add up
/// less far. They are counted from the first step on, whatever the tile. Of several loops over rows that are read in place a block has
/// whole turns of the outermost, unless weights are quantised.
pub const SUM_BLOCK: u32 = 128;

fn known(extent: Extent) -> Option<i64> {
    match extent {
        Extent::Known(n) => Some(n),
        Extent::Dim(_) => None,
    }
}

/// The independent units of a kernel's work; threads take contiguous ranges of them.
pub fn units(kernel: &Kernel, schedule: &Schedule) -> UnitsExpr {
    match (&kernel.body, &schedule.body) {
        (_, BodySchedule::Gpu(gpu)) => gpu::units(kernel, gpu),
        (Body::Nest(Nest { outer, walk, .. }), BodySchedule::Nest(along)) => {
            let all = |loops: &[Loop]| loops.iter().map(|l| UnitsExpr::Extent(l.extent)).collect::<Vec<_>>();
            let mut units = match (along, outer.split_last()) {
                (Along::Outer, Some((_, shared))) => all(shared),
                (Along::Points(n) | Along::Across(n), Some((last, shared))) => {
                    let mut units = all(shared);
                    units.push(div_up(UnitsExpr::Extent(last.extent), *n));
                    units
                }
                (Along::Turned(with), _) => {
                    let mut units = all(outer);
                    units[*with as usize] = div_up(units[*with as usize].clone(), schedule.lanes);
                    units
                }
                _ => all(outer),
            };
            // Without iterations there is nothing to do, and what is stored in them has no place.
            units.extend(
                walk.iter()
                    .filter(|l| known(l.extent).is_none())
                    .map(|l| UnitsExpr::Min(vec![UnitsExpr::Known(1), UnitsExpr::Extent(l.extent)])),
            );
            UnitsExpr::Mul(units)
        }
        (Body::Contract(contract), BodySchedule::Contract(tile)) => {
            let panels = div_up(UnitsExpr::Extent(contract.cols.extent), tile.panel);
            match &contract.grouping {
                // Panel after panel, slice after slice, all experts for each: threads share evenly, however rows are spread.
                Some(grouping) => {
                    let spans = div_up(UnitsExpr::Extent(contract.cols.extent), tile.panel * tile.span());
                    let slices = UnitsExpr::Known(i64::from(tile.slices));
                    UnitsExpr::Mul(vec![spans, slices, UnitsExpr::Extent(grouping.experts)])
                }
                None => UnitsExpr::Mul(vec![
                    UnitsExpr::Extent(contract.batch.extent),
                    div_up(UnitsExpr::Extent(contract.rows.extent), tile.row_block),
                    panels,
                ]),
            }
        }
        (Body::Attend(attend), BodySchedule::Attend(tile)) => tile.units(attend),
        (Body::TopK(TopK { rows, .. }), _) => {
            UnitsExpr::Mul(rows.iter().map(|l| UnitsExpr::Extent(l.extent)).collect())
        }
        (Body::GroupRows(GroupRows { .. }), _) | (Body::Nest(_) | Body::Contract(_) | Body::Attend(_), _) => {
            UnitsExpr::Known(1)
        }
    }
}

fn div_up(n: UnitsExpr, by: u32) -> UnitsExpr {
    UnitsExpr::DivUp(Box::new(n), i64::from(by))
}

/// Bytes of scratch that each thread needs.
pub fn scratch(kernel: &Kernel, schedule: &Schedule) -> UnitsExpr {
    match (&kernel.body, &schedule.body) {
        (Body::Contract(contract), BodySchedule::Contract(tile)) => {
            // Packed rows, evaluated ones beside them, and what does not depend on the sum.
            let each = accumulator(kernel).bytes() as i64;
            let rows = match tile.left {
                // Tiles are loaded from evaluated rows.
                _ if tile.tiles.is_some() => tile.block_rows(),
                Left::InPlace => tile.block_rows(),
                Left::Evaluated => tile.block_rows() + tile.row_block,
            };
            let sum = UnitsExpr::Mul(contract.sums.iter().map(|l| UnitsExpr::Extent(l.extent)).collect());
            // What stands side by side has the bytes of an accumulator.
            let sum = match contract.products {
                Products::One | Products::Interleaved => sum,
                Products::Pairs | Products::Bytes => UnitsExpr::DivUp(Box::new(sum), contract.products.together()),
                // Whole tiles, and up to one beyond, so that rows do not meet in the nearest cache.
                Products::Tiles | Products::ByteTiles => {
                    let steps = UnitsExpr::DivUp(Box::new(sum), contract.products.steps());
                    let pairs = UnitsExpr::Known(i64::from(Tiles::PAIRS));
                    UnitsExpr::Mul(vec![pairs, UnitsExpr::Add(vec![steps, UnitsExpr::Known(1)])])
                }
            };
            let rows = UnitsExpr::Mul(vec![UnitsExpr::Known(each * i64::from(rows)), sum]);
            UnitsExpr::Add(vec![UnitsExpr::Known(tile.fixed_bytes(each)), rows])
        }
        (Body::Attend(attend), BodySchedule::Attend(tile)) => tile.scratch(attend, accumulator(kernel)),
        // Whole vectors of ranks.
        (Body::TopK(top_k), BodySchedule::Ranked { sorted }) => {
            let lanes = i64::from(schedule.lanes);
            let vectors = UnitsExpr::DivUp(Box::new(UnitsExpr::Extent(top_k.over.extent)), lanes);
            // What is sorted is filled up to a power of two, and to a vector at least.
            let vectors = match sorted {
                true => UnitsExpr::Mul(vec![UnitsExpr::Known(2), UnitsExpr::Add(vec![vectors, UnitsExpr::Known(1)])]),
                false => vectors,
            };
            UnitsExpr::Mul(vec![UnitsExpr::Known(8 * lanes), vectors])
        }
        _ => UnitsExpr::Known(0),
    }
}

fn span(panels_at_once: [u32; 2]) -> u32 {
    panels_at_once[0].max(2)
}

impl Schedule {
    /// The same with tiles in memory: for any processor with AVX2.
    pub fn without_tile_registers(mut self) -> Self {
        self.isa = Isa::X86V3;
        if let BodySchedule::Contract(Tile { tiles: Some(tiles), .. }) = &mut self.body {
            *tiles = Tiles::Memory;
        }
        self
    }
}

impl Tile {
    /// Rows of the largest microkernel.
    pub fn most_rows(&self) -> u32 {
        self.rows.last().copied().unwrap_or(1)
    }

    /// Rows of the largest tile of packed rows.
    pub fn tallest(&self) -> u32 {
        self.tall.last().copied().unwrap_or(1)
    }

    /// Rows of a block, the last tile full.
    pub fn block_rows(&self) -> u32 {
        self.row_block.max(self.most_rows()) + self.tallest()
    }

    /// Accumulators in scratch memory: of a block's rows, or of panels at once; of all groups. Of tiles, those that are made at once.
    pub fn sums(&self) -> u32 {
        let [of_one, of_two] = self.panels_at_once;
        let rows = match self.tiles {
            Some(_) => self.tallest().max(Tiles::ROWS * of_one),
            None => self.block_rows().max(of_one).max(2 * of_two),
        };
        self.parts * self.vectors * self.lanes * rows
    }

    /// Panels of a unit of a grouped contraction.
    pub fn span(&self) -> u32 {
        span(self.panels_at_once)
    }

    /// Weights of a piece that is widened.
    pub fn piece(&self) -> u32 {
        if self.quantized { self.depth * self.vectors * self.lanes } else { 0 }
    }

    /// Bytes beside packed and evaluated rows: accumulators of `each` bytes, numbers of rows, pointers to them, a piece of widened
    /// weights, what packing writes past its end.
    fn fixed_bytes(&self, each: i64) -> i64 {
        each * i64::from(self.sums() + self.piece() + self.lanes) + 16 * i64::from(self.block_rows())
    }
}

/// How a GPU launches a kernel; `None` for CPUs.
pub fn launch(schedule: &Schedule) -> Option<Launch> {
    (schedule.isa == Isa::Sm80).then_some(Launch { threads: GPU_THREADS, shared_bytes: 0 })
}

/// Threads of a block.
pub const GPU_THREADS: u32 = 128;
