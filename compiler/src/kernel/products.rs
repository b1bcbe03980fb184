//! Products of a contraction.

use crate::graph::Elem;

/// How many steps of the sum of a contraction are multiplied at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    One,
    /// One, too, of weights of bf16 by any in f32: two vectors of columns share words, whose halves are widened without a shuffle.
    Interleaved,
    /// Both operands are bf16 and multiplied in pairs of steps: products are exact, sums in f32.
    Pairs,
    /// Likewise 16 pairs at a time. They are summed on their own, first and second ones apart, and then added.
    Tiles,
    /// Both operands are i8 and multiplied in fours of steps: sums in i32, which wrap around.
    Bytes,
    /// Both operands are i8, and 16 times four of them are multiplied at a time: sums in i32, which wrap around.
    ByteTiles,
}

impl Products {
    /// Steps that go together.
    pub fn steps(self) -> i64 {
        match self {
            Self::One | Self::Interleaved => 1,
            Self::Pairs => 2,
            Self::Bytes => 4,
            Self::Tiles => 32,
            Self::ByteTiles => 64,
        }
    }

    /// Steps that stand side by side, in as many bytes as an accumulator has.
    pub fn together(self) -> i64 {
        match self {
            Self::One | Self::Interleaved => 1,
            Self::Pairs | Self::Tiles => 2,
            Self::Bytes | Self::ByteTiles => 4,
        }
    }

    /// The element type of both operands, where they stand side by side.
    pub fn operand(self) -> Option<Elem> {
        match self {
            Self::One | Self::Interleaved => None,
            Self::Pairs | Self::Tiles => Some(Elem::Bf16),
            Self::Bytes | Self::ByteTiles => Some(Elem::I8),
        }
    }

    /// Before the label of a kernel: whoever measures it knows by it what it is to be held against.
    pub fn label(self) -> &'static str {
        match self {
            Self::One | Self::Interleaved | Self::Pairs => "",
            Self::Bytes => "byte ",
            Self::Tiles => "tile ",
            Self::ByteTiles => "byte tile ",
        }
    }

    /// The element type that weights must have.
    pub fn weight(self) -> Option<Elem> {
        match self {
            Self::Interleaved => Some(Elem::Bf16),
            other => other.operand(),
        }
    }

    /// Where column `lane` of a group's `lanes` stands in the row of a step of a part, which has so many groups: group after group, but of
    /// halves that share words two groups, or the two halves of a group that is alone, take turns.
    pub fn column(self, (group, groups): (i64, i64), lane: i64, lanes: i64) -> i64 {
        match self {
            Self::Interleaved if groups == 1 => lane % (lanes / 2) * 2 + lane / (lanes / 2),
            Self::Interleaved if group < groups / 2 * 2 => group / 2 * 2 * lanes + 2 * lane + group % 2,
            _ => group * lanes + lane,
        }
    }

    /// Is one step multiplied after the other?
    pub fn are_single(self) -> bool {
        self.steps() == 1
    }

    pub fn are_tiles(self) -> bool {
        matches!(self, Self::Tiles | Self::ByteTiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_of_a_row_has_a_place_of_its_own() {
        for (products, groups, lanes) in [
            (Products::One, 3, 8),
            (Products::Interleaved, 1, 16),
            (Products::Interleaved, 2, 8),
            (Products::Interleaved, 3, 4),
        ] {
            let columns = (0..groups).flat_map(|group| (0..lanes).map(move |lane| (group, lane)));
            let mut places: Vec<i64> =
                columns.map(|(group, lane)| products.column((group, groups), lane, lanes)).collect();
            places.sort_unstable();
            assert_eq!(places, (0..groups * lanes).collect::<Vec<_>>(), "{products:?}, {groups} groups of {lanes}");
        }
        // Lane 1 of the first vector stands in the lower half of word 1, that of the second in the upper one.
        assert_eq!([1, 9].map(|lane| Products::Interleaved.column((0, 1), lane, 16)), [2, 3]);
        assert_eq!([0, 1].map(|group| Products::Interleaved.column((group, 2), 1, 8)), [2, 3]);
    }
}
