//! What fusion finds: groups, the values that they store, and where a slower way was taken.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::{Attention, Only, Roles};
use crate::graph::{AxisSet, Value};

/// A group: number in [`Fusion::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// What a kernel is built around.
#[derive(Clone, Debug)]
pub enum Core {
    /// A contraction that runs on packed panels.
    Contract {
        value: Value,
        roles: Roles,
    },
    /// Values weighed by a softmax of products, streaming.
    Attend(Box<Attention>),
    /// A map/reduce nest: everything in it varies with `outer` at least.
    Nest {
        outer: AxisSet,
    },
    /// A running fold.
    Running {
        value: Value,
    },
    TopK {
        value: Value,
    },
    Scan {
        node: NodeIndex,
    },
}

impl Core {
    /// Does its kernel store a value wherever it is wanted? Others store it once.
    pub fn stores_anywhere(&self) -> bool {
        matches!(self, Self::Nest { .. } | Self::Contract { .. } | Self::Attend(_))
    }

    /// Does it read `operand`, as an operand of `user`, packed and not otherwise?
    pub fn packs(&self, user: Value, operand: Value) -> bool {
        match self {
            Self::Contract { value, roles } => {
                let weights = roles.grouped.as_ref().map_or(roles.w, |g| g.weights);
                *value == user && weights == operand && roles.x != operand
            }
            Self::Attend(a) => {
                let packed = if user == a.product { a.keys } else { a.values };
                [a.product, a.mixed].contains(&user) && packed == operand && a.x != operand
            }
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    pub core: Core,
    /// Values that it stores, in topological order.
    pub roots: Vec<Value>,
    /// Reductions in a nest, in order: its stages.
    pub folds: Vec<Value>,
}

/// The result of fusion for one graph.
#[derive(Clone, Debug, Default)]
pub struct Fusion {
    pub groups: Vec<Group>,
    /// Groups in an order in which they can run.
    pub order: Vec<GroupId>,
    /// Where a slower way was taken, in the order of the program.
    pub notes: Vec<Note>,
    /// Groups that compute rows only where a value of other groups says so.
    pub flagged: BTreeMap<GroupId, Only>,
    /// Groups that run only if a value without axes, which stands in a buffer, says so.
    pub only_if: BTreeMap<GroupId, Only>,
    /// Roots that are stored only in the rows that have an expert, and the index that is negative in the others: they are 0 there.
    pub unchosen: BTreeMap<Value, Value>,
    pub(super) home: BTreeMap<Value, GroupId>,
    pub(super) roots: BTreeSet<Value>,
}

/// A slower way that was taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub value: Value,
    pub way: Way,
    pub why: String,
}

/// Slower ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A contraction as a fold of products, without panels.
    Nest,
    /// The left operand of a contraction is written out before it.
    WrittenOut,
    /// Parts are copied into one tensor.
    Copied,
    /// Quantised weights are packed as the floats that they stand for.
    Floats,
}

impl Way {
    pub fn words(self) -> &'static str {
        match self {
            Self::Nest => "a fold of products instead of panels",
            Self::WrittenOut => "a left operand is written out first",
            Self::Copied => "a copy into the joined tensor",
            Self::Floats => "quantised weights are packed as floats",
        }
    }
}

impl Fusion {
    /// The group whose accumulators or stages a value's expression may use.
    pub fn home(&self, value: Value) -> Option<GroupId> {
        self.home.get(&value).copied()
    }
    /// Is it stored in a buffer?
    pub fn is_root(&self, value: Value) -> bool {
        self.roots.contains(&value)
    }
}
