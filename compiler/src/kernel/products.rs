//! Products of a contraction.

/// How many steps of the sum of a contraction are multiplied at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    One,
    /// Both operands are bf16 and multiplied in pairs of steps: products are exact, sums in f32.
    Pairs,
    /// Likewise 16 pairs at a time. They are summed on their own, first and second ones apart, and then added.
    Tiles,
}

impl Products {
    /// Steps that go together.
    pub fn steps(self) -> i64 {
        match self {
            Self::One => 1,
            Self::Pairs => 2,
            Self::Tiles => 32,
        }
    }

    pub fn are_paired(self) -> bool {
        self != Self::One
    }
}
