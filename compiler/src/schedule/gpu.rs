//! How kernels run on a GPU: what a unit, hence a block, is, and how its threads share it.

use super::{BodySchedule, GPU_THREADS, Schedule, UnitsExpr, div_up, known, packed_lanes};
use crate::kernel::types::accumulator;
use crate::kernel::{Body, Contract, Elem, Expr, Extent, Fold, Kernel, Loop, Nest, Stage};
use gatec_runtime::format::Isa;

/// What a block does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// A thread for each element of the nest's only map; a block has [`ELEMENTS`] neighbours, each thread every
    /// [`GPU_THREADS`]th of them.
    Elements,
    /// A thread for each point of the outer loops, which does all by itself.
    Points,
    /// A block for each point of the outer loops; its threads share the inner loops and fold through shared memory.
    Row,
    Contract(GpuTile),
    /// One block for everything.
    Block,
}

/// A block's tile of a contraction: rows by the columns of one panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuTile {
    /// Numbers of rows for which there is code, ascending; the last is that of a tile.
    pub rows: Vec<u32>,
    /// Columns of a panel, for each group.
    pub panel: u32,
    /// Steps of the sum of a piece.
    pub depth: u32,
    /// Pieces that are in shared memory at once: one is multiplied, the others are on their way.
    pub stages: u32,
    pub math: Math,
}

/// How a piece of both operands lies in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceShape {
    pub rows: u32,
    pub depth: u32,
    /// Elements from row to row of the left operand for halves (`x[row][step]`), else from step to step (`x[step][row]`).
    pub x_pitch: u32,
    /// Elements from step to step of the right operand.
    pub w_pitch: u32,
    /// Bytes from the left operand to the right one, and of both.
    pub w_start: u32,
    pub bytes: u32,
}

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Math {
    /// One fused multiplication and addition after the other, in f32, in the order of the sum: the same bits as on a CPU
    /// with FMA.
    Fma,
    /// Tensor cores on halves, accumulating in f32: exact products, sums of 16 at a time.
    Half,
    /// Tensor cores on f32 rounded to 10 bits of fraction. Only where the user gave up f32's accuracy.
    Tf32,
}

/// Elements of a block of a map.
pub const ELEMENTS: u32 = 4 * GPU_THREADS;
/// Rows of a block's tile: few and many. 16 are the fewest of a tensor core's instruction.
const TILE_ROWS: [u32; 2] = [16, 128];
/// Shared memory that every device gives a block without being asked.
const SHARED_BYTES: u32 = 48 * 1024;
/// More pieces at once hide no more of the way from memory.
const MAX_STAGES: u32 = 4;
/// Below it a fold is left to one thread: to share it out costs more.
const SHARED_FOLD: i64 = 32;

pub(super) fn body(kernel: &Kernel) -> BodySchedule {
    BodySchedule::Gpu(match &kernel.body {
        Body::Nest(nest) => of_nest(nest),
        Body::Contract(contract) => Gpu::Contract(tile(kernel, contract)),
        // Fusion makes none for GPUs.
        Body::Attend(_) => return BodySchedule::Scalar,
        Body::TopK(_) => Gpu::Points,
        Body::GroupRows(_) => Gpu::Block,
    })
}

fn of_nest(nest: &Nest) -> Gpu {
    if let [Stage::Map { .. }] = nest.stages.as_slice() {
        return Gpu::Elements;
    }
    let shares = |stage: &Stage| match stage {
        // One element after the other.
        Stage::Running { .. }
        | Stage::Reduce { fold: Fold::ArgMax | Fold::ArgMin, .. }
        | Stage::Reduce { segment: Some(_), .. } => None,
        Stage::Reduce { inner, .. } | Stage::Map { inner, .. } => {
            Some(inner.iter().map(|l| known(l.extent).unwrap_or(SHARED_FOLD)).product::<i64>())
        }
    };
    match nest.stages.iter().map(shares).collect::<Option<Vec<i64>>>() {
        Some(extents) if extents.iter().any(|n| *n >= SHARED_FOLD) => Gpu::Row,
        _ => Gpu::Points,
    }
}

fn tile(kernel: &Kernel, contract: &Contract) -> GpuTile {
    let w = kernel.buffer(contract.w).elem;
    let x = match kernel.expr(contract.x) {
        Expr::Load { buffer, .. } => Some(kernel.buffer(*buffer).elem),
        _ => None,
    };
    let panel = packed_lanes(contract.groups, accumulator(kernel), Isa::Sm80);
    let is_half = matches!(w, Elem::F16 | Elem::Bf16) && x == Some(w);
    let math = if is_half && fits_tensor_cores(contract, panel) { Math::Half } else { Math::Fma };
    // Two of the tensor cores' steps for halves and for tf32.
    let depth = if math == Math::Half { 32 } else { 16 };
    let mut tile = GpuTile { rows: TILE_ROWS.to_vec(), panel, depth, stages: 1, math };
    tile.stages = (SHARED_BYTES / tile.widest_piece(kernel, contract).bytes).clamp(1, MAX_STAGES);
    tile
}

impl GpuTile {
    /// Rows of a whole tile.
    pub fn most_rows(&self) -> u32 {
        self.rows.last().copied().unwrap_or(1)
    }

    /// The shape of a piece with so many rows, its elements as they lie in shared memory.
    pub fn piece(&self, groups: u32, rows: u32, x: Elem, w: Elem) -> PieceShape {
        let (depth, width) = (self.depth, self.panel * groups);
        // Neighbouring threads use different banks, and vectors begin at multiples of 16 bytes.
        let (x_pitch, x_count, w_pad) = match self.math {
            Math::Half => (depth + 8, rows * (depth + 8), 8),
            Math::Tf32 => (rows + 8, depth * (rows + 8), 8),
            Math::Fma => (rows + 4, depth * (rows + 4), 0),
        };
        let w_pitch = width + w_pad;
        let w_start = (x_count * x.bytes() as u32).next_multiple_of(16);
        let bytes = (w_start + depth * w_pitch * w.bytes() as u32).next_multiple_of(16);
        PieceShape { rows, depth, x_pitch, w_pitch, w_start, bytes }
    }

    fn widest_piece(&self, kernel: &Kernel, contract: &Contract) -> PieceShape {
        let w = kernel.buffer(contract.w).elem;
        let x = if self.math == Math::Half { w } else { accumulator(kernel) };
        self.piece(contract.groups, self.most_rows(), x, w)
    }

    /// Shared memory of a block: all pieces, then in their place the sums.
    pub fn shared_bytes(&self, kernel: &Kernel, contract: &Contract) -> u32 {
        let sums = self.most_rows() * self.panel * contract.groups * accumulator(kernel).bytes() as u32;
        sums.max(self.stages * self.widest_piece(kernel, contract).bytes)
    }
}

/// Tensor cores make 8 columns at a time.
fn fits_tensor_cores(contract: &Contract, panel: u32) -> bool {
    (contract.groups * panel).is_multiple_of(8)
}

impl Schedule {
    /// The schedule with contractions of f32 on tensor cores, for those who want speed more than f32's accuracy.
    #[must_use]
    pub fn fast(mut self, kernel: &Kernel) -> Self {
        if let (BodySchedule::Gpu(Gpu::Contract(tile)), Body::Contract(contract)) = (&mut self.body, &kernel.body)
            && tile.math == Math::Fma
            && accumulator(kernel) == Elem::F32
            && fits_tensor_cores(contract, tile.panel)
        {
            tile.math = Math::Tf32;
            tile.stages = (SHARED_BYTES / tile.widest_piece(kernel, contract).bytes).clamp(1, MAX_STAGES);
        }
        self
    }
}

/// Units of a kernel: the blocks of its launch.
pub(super) fn units(kernel: &Kernel, gpu: &Gpu) -> UnitsExpr {
    let all =
        |loops: &mut dyn Iterator<Item = &Loop>| UnitsExpr::Mul(loops.map(|l| UnitsExpr::Extent(l.extent)).collect());
    match (&kernel.body, gpu) {
        (Body::Nest(nest), Gpu::Elements) => match nest.stages.as_slice() {
            [Stage::Map { inner, .. }] => div_up(all(&mut nest.outer.iter().chain(inner)), ELEMENTS),
            _ => UnitsExpr::Known(0),
        },
        (Body::Nest(nest), Gpu::Points) => div_up(all(&mut nest.outer.iter()), GPU_THREADS),
        (Body::TopK(top_k), Gpu::Points) => div_up(all(&mut top_k.rows.iter()), GPU_THREADS),
        (Body::Nest(nest), Gpu::Row) => all(&mut nest.outer.iter()),
        (Body::Contract(c), Gpu::Contract(tile)) => {
            let panels = div_up(UnitsExpr::Extent(c.cols.extent), tile.panel);
            let tiles = div_up(UnitsExpr::Extent(c.rows.extent), tile.most_rows());
            match &c.grouping {
                // Each expert's last tile may be partly empty.
                Some(g) => UnitsExpr::Mul(vec![UnitsExpr::Add(vec![tiles, UnitsExpr::Extent(g.experts)]), panels]),
                None => UnitsExpr::Mul(vec![UnitsExpr::Extent(c.batch.extent), tiles, panels]),
            }
        }
        _ => UnitsExpr::Known(1),
    }
}

/// Is it a number that the division by `by` leaves nothing of?
pub fn divides(by: u32, extent: Extent) -> bool {
    matches!(extent, Extent::Known(n) if n % i64::from(by) == 0)
}
