//! Streaming attention on CPUs: a block of rows stays while all keys and values pass by.

use gatec_runtime::format::Isa;

use super::{Choices, UnitsExpr, div_up, lanes_of, packed_lanes, tile_shape};
use crate::kernel::types::accumulator;
use crate::kernel::{Attend, Elem, Kernel, Loop};

/// How attention is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttendTile {
    /// Accumulators of a vector: half as many in f64.
    pub lanes: u32,
    /// Vectors of a panel.
    pub vectors: u32,
    /// Rows of tiles, ascending.
    pub tall: Vec<u32>,
    /// Rows of a unit: whole tiles of the tallest.
    pub row_block: u32,
}

impl AttendTile {
    pub(super) fn of(kernel: &Kernel, attend: &Attend, isa: Isa, choices: &Choices) -> Self {
        let acc = accumulator(kernel);
        let (vectors, _, tall) = tile_shape(1, isa);
        let tile = Self {
            lanes: lanes_of(acc, isa),
            vectors,
            tall: tall.to_vec(),
            row_block: choices.attend_tiles * tall.last().copied().unwrap_or(1),
        };
        debug_assert_eq!(tile.panel(), packed_lanes(1, acc, isa));
        debug_assert_eq!(attend.block % tile.panel(), 0, "blocks are whole panels");
        tile
    }

    /// Columns of a panel.
    pub fn panel(&self) -> u32 {
        self.vectors * self.lanes
    }

    /// Rows of the tallest tile.
    pub fn tallest(&self) -> u32 {
        self.tall.last().copied().unwrap_or(1)
    }

    /// Rows of a block, the last tile full.
    pub fn block_rows(&self) -> u32 {
        self.row_block + self.tallest()
    }

    /// Accumulators of a tile's scores.
    pub fn scores(&self, attend: &Attend) -> u32 {
        self.tallest() * attend.block
    }

    /// Unit = (batch, block of rows).
    pub(super) fn units(&self, attend: &Attend) -> UnitsExpr {
        let rows = div_up(UnitsExpr::Extent(attend.rows.extent), self.row_block);
        UnitsExpr::Mul(vec![UnitsExpr::Extent(attend.batch.extent), rows])
    }

    /// Bytes of scratch: for the rows of a block pointers, their packed operand, sums so far, the largest score and the sum of weights; for a
    /// tile scores as products, as rows, and packed.
    pub(super) fn scratch(&self, attend: &Attend, acc: Elem) -> UnitsExpr {
        let (each, rows) = (acc.bytes() as i64, i64::from(self.block_rows()));
        let extent = |l: &Loop| UnitsExpr::Extent(l.extent);
        let sum = UnitsExpr::Mul(attend.sums.iter().map(extent).collect());
        let panels = div_up(extent(&attend.cols), self.panel());
        let fixed = rows * (1 + i64::from(self.lanes)) + 3 * i64::from(self.scores(attend)) + 2 * i64::from(self.lanes);
        let pointers = 8 * (rows + i64::from(self.tallest()));
        UnitsExpr::Add(vec![
            UnitsExpr::Known(each * fixed + pointers),
            UnitsExpr::Mul(vec![UnitsExpr::Known(each * rows), sum]),
            UnitsExpr::Mul(vec![UnitsExpr::Known(each * rows * i64::from(self.panel())), panels]),
        ])
    }
}
