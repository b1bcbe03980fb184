//! Kernel IR: what a kernel computes, over loops, buffers and expressions, before a target schedules it.
//!
//! A kernel has one of a few classes ([`Body`]). All sizes that are not known when building are [`Dim`]s: numbers that
//! the caller computes and passes. Buffers are flat; an access is a buffer and an [`Index`] in elements. There are no axes any
//! more: order was chosen when the kernel was made. A [`schedule`](crate::schedule) adds tiles, lanes and packing; the pair is what code
//! generation and the Kernel IR interpreter run.

pub mod index;
mod products;
pub mod text;
pub mod types;
pub mod verify;

pub use gatec_runtime::format::Elem;
pub use products::Products;

use crate::scalar::{self, Binary, Unary};

/// A kernel before scheduling.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// For people and symbols: `contract_silu_3`.
    pub name: String,
    /// How many run-time sizes it takes.
    pub dims: u32,
    /// Arguments, in ABI order.
    pub buffers: Vec<Buffer>,
    /// How many loop variables it has.
    pub vars: u32,
    /// Expressions, operands before users.
    pub exprs: Vec<Expr>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    pub name: String,
    pub elem: Elem,
    pub access: Access,
    /// The layout is a packed matrix of [`Contract::w`] or [`Attend`] (its shape is the schedule's).
    pub packed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
    /// What is read may have been stored at the same point before: by an earlier stage, or in an earlier iteration of [`Nest::walk`].
    Update,
}

impl Access {
    pub fn reads(self) -> bool {
        self != Self::Write
    }
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub u32);
/// A run-time size: argument number of `dims`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExprId(pub u32);
/// The scalar that a reduction stage leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Temp(pub u32);

/// A number known when building or a run-time size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    Known(i64),
    Dim(Dim),
}

/// A loop: `for var in 0..extent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loop {
    pub var: Var,
    /// The axes it runs over, for people: `t`, `head*k`.
    pub name: String,
    pub extent: Extent,
}

/// An integer over loop variables, sizes and loaded indices. Sums and products are flat and sorted by the constructors in
/// [`index`], which also keep affine expressions affine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    Known(i64),
    Var(Var),
    Dim(Dim),
    Add(Vec<Index>),
    Mul(Vec<Index>),
    /// Floor division; the divisor is positive.
    Div(Box<Index>, Box<Index>),
    /// Remainder, not negative; the divisor is positive.
    Mod(Box<Index>, Box<Index>),
    /// An integer expression, in range `0..extent` (checked where it is loaded; out of range makes the kernel return 1 and reads 0).
    Value(ExprId, Extent),
}

/// `0 <= index < extent`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bound {
    pub index: Index,
    pub extent: Extent,
}

/// A scalar expression at a point of the loops around it.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Of the element type that its user needs: `elem`.
    Const {
        elem: Elem,
        value: f64,
    },
    /// A loop variable or a size as a number.
    Index {
        elem: Elem,
        index: Index,
    },
    /// `buffer[index]`. Not read where a bound fails: the value is `otherwise` there.
    Load {
        buffer: BufferId,
        index: Index,
        bounds: Vec<Bound>,
        otherwise: f64,
    },
    Unary(Unary, ExprId),
    /// Comparisons give `bool`; `and`, `or` take it.
    Binary(Binary, ExprId, ExprId),
    Select(ExprId, ExprId, ExprId),
    /// Float to integer truncates toward zero and saturates; NaN is 0.
    Cast(Elem, ExprId),
    Temp(Temp),
    /// Accumulator `i` of a contraction, in its stores; of [`Attend`], what is numbered there.
    Acc(u32),
}

/// The class of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Nest(Nest),
    Contract(Contract),
    Attend(Attend),
    TopK(TopK),
    GroupRows(GroupRows),
}

/// Map/reduce: for every point of `outer` (independent, any order), the stages in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    pub outer: Vec<Loop>,
    /// Points where this is false are passed over: nobody reads what would be stored there. It does not vary along the loop that
    /// vectors run along.
    pub only: Option<ExprId>,
    /// At each point the stages run once for every iteration of this loop, in its order: a recurrence that no point shares with another.
    pub walk: Option<Loop>,
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Folds `value` over `inner` into `temp`, accumulating in f32 (f64 for f64, exact for integers). Of a segment, `inner` is one
    /// loop, of which it takes the iterations that the segment lists.
    Reduce { temp: Temp, elem: Elem, fold: Fold, inner: Vec<Loop>, segment: Option<Segment>, value: ExprId },
    /// Running fold along the one loop `over`, storing at every step (`exclusive`: before the element).
    Running { fold: Fold, over: Loop, exclusive: bool, value: ExprId, store: Store },
    /// Stores at every point of `inner`.
    Map { inner: Vec<Loop>, stores: Vec<Store> },
}

impl Stage {
    /// The segment that a fold is over, and the loop of which it takes iterations.
    pub fn segment(&self) -> Option<(&Segment, &Loop)> {
        match self {
            Self::Reduce { inner, segment: Some(segment), .. } => Some((segment, inner.first()?)),
            _ => None,
        }
    }

    pub fn loops(&self) -> &[Loop] {
        match self {
            Self::Reduce { inner, .. } | Self::Map { inner, .. } => inner,
            Self::Running { over, .. } => std::slice::from_ref(over),
        }
    }
}

/// Iterations that an index tells: `order[offsets[at] .. offsets[at + 1]]`, as [`GroupRows`] makes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    pub order: BufferId,
    pub offsets: BufferId,
    /// Does not vary along the loop that vectors run along.
    pub at: Index,
}

/// How a reduction folds. `ArgMax`/`ArgMin` leave the linear index over `inner` of the first extreme element, NaN never wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    Sum,
    Prod,
    Max,
    Min,
    Any,
    All,
    ArgMax,
    ArgMin,
}

impl From<scalar::Fold> for Fold {
    fn from(fold: scalar::Fold) -> Self {
        match fold {
            scalar::Fold::Sum => Self::Sum,
            scalar::Fold::Prod => Self::Prod,
            scalar::Fold::Max => Self::Max,
            scalar::Fold::Min => Self::Min,
            scalar::Fold::Any => Self::Any,
            scalar::Fold::All => Self::All,
        }
    }
}

impl From<scalar::Extreme> for Fold {
    fn from(extreme: scalar::Extreme) -> Self {
        match extreme {
            scalar::Extreme::Max => Self::ArgMax,
            scalar::Extreme::Min => Self::ArgMin,
        }
    }
}

/// `buffer[index] = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub buffer: BufferId,
    pub index: Index,
    pub value: ExprId,
}

/// For every point of `batch`, `rows`, `cols`: `acc[g] = sum over sums of x * w[g]` for g in 0..groups, then the stores.
///
/// `w` is packed: see [`Packed`]. Sums add in the order of `sums` (the last fastest), one element after the other, whatever the tile: same
/// row, same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Axes of a role are one loop, outermost first: an index divides and takes remainders where that does not fall away.
    pub batch: Loop,
    pub rows: Loop,
    pub cols: Loop,
    /// As few loops as the left operand's strides allow.
    pub sums: Vec<Loop>,
    pub groups: u32,
    pub products: Products,
    /// The left operand, an expression over `batch`, `rows`, `sums`: a plain load as a rule; anything more is a prologue.
    pub x: ExprId,
    /// The packed right operand.
    pub w: BufferId,
    /// What stands in `w` are values of few bits: weights are they times their scales.
    pub blocks: Option<Blocks>,
    /// Rows choose their matrix: grouped contraction.
    pub grouping: Option<Grouping>,
    /// The epilogue: expressions over `batch`, `rows`, `cols` and [`Expr::Acc`].
    pub stores: Vec<Store>,
}

/// Quantised weights: `w = value * scale` in f32, in registers. `size` steps of the sum share a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocks {
    /// 8: `w` is of i8. 4: of u8, two steps of the sum in a byte, the first in its lower half, 8 added to each.
    pub bits: u32,
    pub size: u32,
    /// Packed as [`Packed`] says, with a row for each block in the place of the sum.
    pub scales: BufferId,
}

impl Blocks {
    /// What is added to values of 4 bits.
    pub const ZERO: f64 = 8.0;

    /// Steps of the sum that a row of the packed values has.
    pub fn steps_of_row(&self) -> i64 {
        if self.bits == 4 { 2 } else { 1 }
    }
}

/// Grouped contraction: linear row `r` uses matrix `e` of `w`, where the row is in the segment of `e`:
/// `order[offsets[e] .. offsets[e + 1]]` lists its rows. Both are made by [`GroupRows`]. `batch` has one iteration then.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// Segments: the experts, and one more where rows may have none.
    pub experts: Extent,
    /// The last segment has no matrix: the accumulators of its rows are 0.
    pub last_is_none: bool,
    pub order: BufferId,
    pub offsets: BufferId,
}

/// Streaming attention: for every point of `batch` and `rows`, sums over `over` of what a softmax weighs, without the scores ever
/// standing in memory.
///
/// The score of an element of `over` is an expression ([`Self::score`]) of its product, `sum over sums of x * keys`. Scores come a block
/// at a time; sums so far are scaled where a larger one turns up, so that every weight is `exp(score - largest)` and none
/// overflows (Milakov and Gimelshein 2018; Dao et al. 2022). Blocks are counted from the beginning of `over`, whatever the rows:
/// same row, same bits. A block in which no row of a tile has a score above `-inf`, as its conditions on loop variables tell, is
/// passed over: what stands there is not read.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    pub batch: Loop,
    /// Whether a point of `batch` is computed at all.
    pub only: Option<ExprId>,
    pub rows: Loop,
    pub over: Loop,
    /// Of the values.
    pub cols: Loop,
    pub sums: Vec<Loop>,
    /// Elements of `over` in a block: a multiple of any panel.
    pub block: u32,
    /// A plain load over `batch`, `rows`, `sums`.
    pub x: ExprId,
    /// Packed: a matrix for each point of `batch`, `over` as its columns, `sums` as its steps.
    pub keys: BufferId,
    /// Over `batch`, `rows`, `over`, and the product as accumulator [`Self::PRODUCT`].
    pub score: ExprId,
    /// Packed: a matrix for each point of `batch`, `cols` as its columns, `over` as its steps.
    pub values: BufferId,
    /// Over `batch`, `rows`, `cols`, and accumulators [`Self::WEIGHED`] and [`Self::TOTAL`].
    pub stores: Vec<Store>,
}

impl Attend {
    /// Panels of no machine are wider.
    pub const WIDEST_PANEL: u32 = 32;
    pub const PRODUCT: u32 = 0;
    /// The sum of values times weights.
    pub const WEIGHED: u32 = 1;
    /// The sum of weights.
    pub const TOTAL: u32 = 2;
}

/// Layout of a packed right operand: `[matrix][panel][part][sum][group][lane]`, or of pairs `[matrix][panel][part][pair of the
/// sum][group][lane][2]`; `lane` of the schedule's width, columns beyond the end are zero, as is what a sum lacks of its last pair, or
/// of its last tile of 16 pairs. Where halves share words, groups and lanes take turns: [`Products::column`]. Linear column = panel * lanes + lane.
/// `matrix` is the linear batch index or the expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packed {
    /// Columns of one panel, for each group.
    pub lanes: u32,
}

/// Indices of the `k` largest of each row, largest first, ties to the lower index, NaN last: `i32`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    pub rows: Vec<Loop>,
    /// The axis that is searched; its variable appears in `value`.
    pub over: Loop,
    pub k: Extent,
    pub value: ExprId,
    /// The variable of the slot, for `store_index`.
    pub slot: Var,
    pub buffer: BufferId,
    pub index: Index,
}

/// Sorts linear rows by expert, stably: histogram, prefix sum, permutation. One unit of work.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRows {
    /// The rows; their variables appear in `expert`.
    pub rows: Vec<Loop>,
    pub experts: Extent,
    /// `i32` expert of a row; out of range: the kernel returns 1 and the row is in no segment.
    pub expert: ExprId,
    /// `i32[rows]`
    pub order: BufferId,
    /// `i32[experts + 1]`
    pub offsets: BufferId,
}

impl Kernel {
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.0 as usize]
    }
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Does an expression vary with a loop variable? What folds and accumulators leave counts as varying.
    pub fn varies(&self, id: ExprId, var: Var) -> bool {
        let mut seen = vec![false; id.0 as usize + 1];
        let mut below = vec![id];
        while let Some(id) = below.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let mut mentioned = false;
            let mut index = |index: &Index, below: &mut Vec<ExprId>| {
                mentioned |= index::mentions(index, var);
                index::values(index, below);
            };
            match self.expr(id) {
                Expr::Const { .. } => {}
                Expr::Index { index: i, .. } => index(i, &mut below),
                Expr::Load { index: i, bounds, .. } => {
                    index(i, &mut below);
                    bounds.iter().for_each(|b| index(&b.index, &mut below));
                }
                Expr::Unary(_, x) | Expr::Cast(_, x) => below.push(*x),
                Expr::Binary(_, a, b) => below.extend([*a, *b]),
                Expr::Select(c, a, b) => below.extend([*c, *a, *b]),
                Expr::Temp(_) | Expr::Acc(_) => return true,
            }
            if mentioned {
                return true;
            }
        }
        false
    }

    /// Does an expression name a loop variable, in itself or in what it stands on?
    pub fn mentions(&self, id: ExprId, var: Var) -> bool {
        self.all_below(id).into_iter().any(|expr| match expr {
            Expr::Index { index, .. } => index::mentions(index, var),
            Expr::Load { index, bounds, .. } => {
                index::mentions(index, var) || bounds.iter().any(|b| index::mentions(&b.index, var))
            }
            _ => false,
        })
    }

    /// Is it a load that is never guarded, of elements at equal distances along each of the loops?
    pub fn is_even(&self, id: ExprId, loops: &[Loop]) -> bool {
        let Expr::Load { index, bounds, .. } = self.expr(id) else { return false };
        let mut read = Vec::new();
        index::values(index, &mut read);
        let along = |l: &Loop| index::stride(index, l.var).is_some() && !read.iter().any(|v| self.varies(*v, l.var));
        bounds.is_empty() && loops.iter().all(along)
    }

    /// All its loops, those that stages share once for each.
    pub fn loops(&self) -> Vec<&Loop> {
        match &self.body {
            Body::Nest(nest) => {
                let inner = nest.stages.iter().flat_map(Stage::loops);
                nest.outer.iter().chain(&nest.walk).chain(inner).collect()
            }
            Body::Contract(c) => [&c.batch, &c.rows, &c.cols].into_iter().chain(&c.sums).collect(),
            Body::Attend(a) => [&a.batch, &a.rows, &a.over, &a.cols].into_iter().chain(&a.sums).collect(),
            Body::TopK(t) => t.rows.iter().chain([&t.over]).collect(),
            Body::GroupRows(g) => g.rows.iter().collect(),
        }
    }

    /// All loads that an expression stands on.
    pub fn loads(&self, id: ExprId) -> Vec<&Expr> {
        self.all_below(id).into_iter().filter(|e| matches!(e, Expr::Load { .. })).collect()
    }

    /// An expression and all that it stands on.
    pub fn all_below(&self, id: ExprId) -> Vec<&Expr> {
        self.ids_below(id).into_iter().map(|id| self.expr(id)).collect()
    }

    pub fn ids_below(&self, id: ExprId) -> Vec<ExprId> {
        let mut seen = vec![false; id.0 as usize + 1];
        let mut below = vec![id];
        let mut all = Vec::new();
        while let Some(id) = below.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            all.push(id);
            match self.expr(id) {
                Expr::Const { .. } | Expr::Temp(_) | Expr::Acc(_) => {}
                Expr::Index { index, .. } => index::values(index, &mut below),
                Expr::Load { index, bounds, .. } => {
                    index::values(index, &mut below);
                    bounds.iter().for_each(|b| index::values(&b.index, &mut below));
                }
                Expr::Unary(_, x) | Expr::Cast(_, x) => below.push(*x),
                Expr::Binary(_, a, b) => below.extend([*a, *b]),
                Expr::Select(c, a, b) => below.extend([*c, *a, *b]),
            }
        }
        all
    }

    /// The kernel without the names of buffers and loops: two that are equal then have the same code.
    #[must_use]
    pub fn without_names(&self) -> Self {
        let mut kernel = self.clone();
        kernel.buffers.iter_mut().for_each(|b| b.name.clear());
        match &mut kernel.body {
            Body::Nest(nest) => {
                clear(&mut nest.outer);
                nest.walk.iter_mut().for_each(|l| l.name.clear());
                for stage in &mut nest.stages {
                    match stage {
                        Stage::Reduce { inner, .. } | Stage::Map { inner, .. } => clear(inner),
                        Stage::Running { over, .. } => over.name.clear(),
                    }
                }
            }
            Body::Contract(c) => {
                clear(&mut c.sums);
                [&mut c.batch, &mut c.rows, &mut c.cols].into_iter().for_each(|l| l.name.clear());
            }
            Body::Attend(a) => {
                clear(&mut a.sums);
                [&mut a.batch, &mut a.rows, &mut a.over, &mut a.cols].into_iter().for_each(|l| l.name.clear());
            }
            Body::TopK(t) => {
                clear(&mut t.rows);
                t.over.name.clear();
            }
            Body::GroupRows(g) => clear(&mut g.rows),
        }
        kernel
    }
}

fn clear(loops: &mut [Loop]) {
    loops.iter_mut().for_each(|l| l.name.clear());
}
