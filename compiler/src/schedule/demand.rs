//! What a call of a kernel asks of a core: the counts of which `machine` says how long they take.
//!
//! [`work`](super::work) counts what results need; this counts what the schedule does for them: whole tiles, packed rows, folds that wait
//! for themselves, elements that come one at a time.
//!
//! Known weakness: which experts are hit and which points nobody needs is not known before a run. All rows are taken to have one, spread
//! evenly, and all points to be needed.

use super::work::{Count, Vars};
use super::{Along, AttendTile, BodySchedule, Left, Schedule, Tile, Tiles};
use crate::kernel::{
    Access, Attend, Body, Contract, Expr, ExprId, Extent, Fold, Index, Kernel, Loop, Nest, Products, Stage, Store,
    TopK, Var, index,
};
use crate::machine::Demand;
use crate::scalar::{Binary, Unary};

/// Of a call with these run-time sizes; what it moves is not counted here.
pub fn demand(kernel: &Kernel, schedule: &Schedule, dims: &[i64]) -> Demand {
    let count = Count::of(kernel);
    let turns = matches!(schedule.body, BodySchedule::Nest(Along::Turned(_)));
    let mut asked = Asked { kernel, count, dims, lanes: f64::from(schedule.lanes), turns, demand: Demand::default() };
    match (&kernel.body, &schedule.body) {
        (Body::Nest(nest), BodySchedule::Nest(along)) => asked.nest(nest, *along),
        (Body::Contract(contract), BodySchedule::Contract(tile)) => asked.contract(contract, tile),
        (Body::Attend(attend), BodySchedule::Attend(tile)) => asked.attend(attend, tile),
        (Body::TopK(top_k), body) => asked.top_k(top_k, body),
        (Body::GroupRows(group), _) => {
            asked.expressions(&Vars::new());
            let rows: f64 = group.rows.iter().map(|l| asked.extent(l.extent)).product();
            // Rows are walked twice, what is counted goes through memory.
            asked.demand.waits += 2.0 * rows * COUNTED_WAITS;
            asked.demand.scalars += rows * 2.0 + asked.extent(group.experts) * 4.0;
        }
        _ => {}
    }
    asked.demand
}

/// Additions in whose time a count in memory is read again.
const COUNTED_WAITS: f64 = 1.5;
/// Operations of the loop around a point, and of a tile's begin and end.
const POINT: f64 = 6.0;
const TILE: f64 = 40.0;
/// A load or a store beside an operation: there are units of their own for them.
const ACCESS: f64 = 0.5;
/// Additions in whose time memory is loaded that was stored in pieces of another size.
const STALL: f64 = 15.0;
/// Operations for an element of a square that is turned in registers.
const TURNED: f64 = 5.0;
/// Vectors of partial results of a long fold, and from how many vectors on it is long.
const SUMS: f64 = 4.0;
const LONG_FOLD: f64 = 8.0;
/// A multiply-add waits longer than an addition.
const PRODUCT_WAITS: f64 = 2.0;
/// Rows of a tile that take no longer than the weights' tile takes to load. A product waits for no other, not even of one sum: measured on
/// a Xeon of model 207.
const LEAST_ROWS: f64 = 8.0;
/// Operations for a score of attention: the largest so far, the difference, the sum of weights, to and from memory twice.
const SCORE: f64 = 20.0;
/// Operations around a block of attention.
const ATTEND: f64 = 300.0;
/// Operations in vectors that pack an element of the left operand.
const PACK: f64 = 3.2;
/// Operations in vectors that make a weight of one that is stored in fewer bits.
const WIDEN: f64 = 2.0;
/// And one that is half of a word.
const WIDEN_HALF: f64 = 1.0;
/// Operations that a function of one element takes where no vector has it.
const SCALAR_FUNCTION: f64 = 30.0;
const SCALAR_DIVISION: f64 = 8.0;
/// A power beside an exponential.
const POWER: f64 = 3.0;

struct Asked<'k> {
    kernel: &'k Kernel,
    count: Count<'k>,
    dims: &'k [i64],
    lanes: f64,
    /// Are elements that no vector loads turned in registers?
    turns: bool,
    demand: Demand,
}

impl Asked<'_> {
    fn extent(&self, extent: Extent) -> f64 {
        match extent {
            Extent::Known(n) => n as f64,
            Extent::Dim(dim) => self.dims.get(dim.0 as usize).map_or(0.0, |n| *n as f64),
        }
    }

    fn product(&self, loops: &[Loop]) -> f64 {
        loops.iter().map(|l| self.extent(l.extent)).product()
    }

    /// Points of the loops of these variables.
    fn times(&self, vars: &Vars) -> f64 {
        vars.iter().filter_map(|v| self.count.extents.get(v)).map(|extent| self.extent(*extent)).product()
    }

    /// Likewise, of whole vectors along `lanes`.
    fn times_in(&self, vars: &Vars, lanes: &Vars) -> f64 {
        let of = |var: &Var| {
            let extent = self.count.extents.get(var).map_or(1.0, |extent| self.extent(*extent));
            if lanes.contains(var) { (extent / self.lanes).ceil() * self.lanes } else { extent }
        };
        vars.iter().map(of).product()
    }

    /// All expressions of the kernel; vectors run along `lanes`.
    fn expressions(&mut self, lanes: &Vars) {
        for id in self.count.counted.clone() {
            let vars = &self.count.vars[id.0 as usize];
            self.expression(id, self.times_in(vars, lanes), !vars.is_disjoint(lanes), lanes);
        }
    }

    /// An expression that is evaluated so often.
    fn expression(&mut self, id: ExprId, times: f64, in_vectors: bool, lanes: &Vars) {
        match self.kernel.expr(id) {
            Expr::Load { index, bounds, .. } => {
                self.plain(times * 2.0 * bounds.len() as f64, in_vectors);
                self.access(index, times, in_vectors, lanes);
            }
            Expr::Unary(Unary::Recip | Unary::Sqrt | Unary::Rsqrt, _) | Expr::Binary(Binary::Div | Binary::Rem, ..) => {
                match in_vectors {
                    true => self.demand.divisions += times,
                    false => self.demand.scalars += times * SCALAR_DIVISION,
                }
            }
            Expr::Unary(f, _) => self.function(function(*f), times, in_vectors),
            Expr::Binary(Binary::Pow, ..) => self.function(Some(POWER), times, in_vectors),
            Expr::Binary(Binary::Min | Binary::Max, ..) => self.plain(3.0 * times, in_vectors),
            Expr::Binary(..) | Expr::Select(..) | Expr::Cast(..) => self.plain(times, in_vectors),
            Expr::Const { .. } | Expr::Index { .. } | Expr::Temp(_) | Expr::Acc(_) => {}
        }
    }

    fn plain(&mut self, operations: f64, in_vectors: bool) {
        match in_vectors {
            true => self.demand.vectors += operations,
            false => self.demand.scalars += operations,
        }
    }

    fn function(&mut self, dear: Option<f64>, times: f64, in_vectors: bool) {
        match (dear, in_vectors) {
            (None, _) => self.plain(times, in_vectors),
            (Some(dear), true) => self.demand.functions += dear * times,
            (Some(dear), false) => self.demand.scalars += dear * SCALAR_FUNCTION * times,
        }
    }

    /// A load or a store.
    fn access(&mut self, index: &Index, times: f64, in_vectors: bool, lanes: &Vars) {
        let mut values = Vec::new();
        index::values(index, &mut values);
        let is_near = |v: &Var| !index::mentions(index, *v) || index::known_stride(index, *v) == Some(1);
        let varies = |value: &ExprId| !self.count.vars[value.0 as usize].is_disjoint(lanes);
        let apart = !lanes.iter().all(is_near) || values.iter().any(varies);
        match in_vectors && apart {
            true if self.turns => self.demand.vectors += TURNED * times,
            true => self.demand.scalars += 2.0 * times,
            // Beside the arithmetic.
            false => self.plain(ACCESS * times, in_vectors),
        }
    }

    fn store(&mut self, store: &Store, lanes: &Vars) {
        let vars = &self.count.index_vars(&store.index) | &self.count.vars[store.value.0 as usize];
        self.access(&store.index, self.times_in(&vars, lanes), !vars.is_disjoint(lanes), lanes);
    }

    fn nest(&mut self, nest: &Nest, along: Along) {
        let innermost = |s: &Stage| super::nest::innermost(s).map(|l| l.var);
        let lanes: Vars = match along {
            Along::Inner | Along::Across(_) | Along::Turned(_) => nest.stages.iter().filter_map(innermost).collect(),
            Along::Outer | Along::Points(_) => nest.outer.last().map(|l| l.var).into_iter().collect(),
            Along::Nothing => Vars::new(),
        };
        self.expressions(&lanes);
        // Points that are one step, each in a lane.
        let together = match along {
            Along::Outer => self.lanes,
            Along::Points(n) => f64::from(n),
            Along::Inner | Along::Across(_) | Along::Turned(_) | Along::Nothing => 1.0,
        };
        let points = match nest.outer.split_last() {
            Some((last, shared)) => self.product(shared) * (self.extent(last.extent) / together).ceil(),
            None => 1.0,
        };
        let walk = nest.walk.as_ref().map_or(1.0, |l| self.extent(l.extent));
        let steps = walk * points;
        self.demand.scalars += steps * POINT;
        if let Some(l) = &nest.walk {
            self.demand.waits += steps * self.chain(l.var);
            let (last, shared) =
                nest.outer.split_last().map_or((0.0, 1.0), |(l, shared)| (self.extent(l.extent), self.product(shared)));
            if together > 1.0 && last % self.lanes > 0.0 {
                // What a vector that is not full has stored cannot be loaded at once.
                self.demand.waits += walk * shared * self.carried(nest) * STALL;
            }
        }
        for stage in &nest.stages {
            match stage {
                Stage::Reduce { fold, inner, segment, value, .. } => {
                    // All segments together have the elements of the loop.
                    let segments = segment.as_ref().map_or(1.0, |s| self.times(&self.count.index_vars(&s.at)));
                    let elements = self.product(inner) / segments.max(1.0);
                    let operations = match fold {
                        // One instruction.
                        Fold::Sum if matches!(self.kernel.expr(*value), Expr::Binary(Binary::Mul, ..)) => 0.0,
                        Fold::Max | Fold::Min => 2.0,
                        Fold::ArgMax | Fold::ArgMin => 6.0,
                        Fold::Sum | Fold::Prod | Fold::Any | Fold::All => 1.0,
                    };
                    let in_vectors = along != Along::Nothing;
                    let by_inner = matches!(along, Along::Inner | Along::Across(_));
                    let one_by_one = if by_inner { (elements / self.lanes).ceil() } else { elements };
                    let lanes = if by_inner { self.lanes } else { together };
                    self.plain(steps * lanes * one_by_one * operations, in_vectors);
                    let sums = if by_inner && elements >= LONG_FOLD * self.lanes { SUMS } else { 1.0 };
                    self.demand.waits += steps * one_by_one / sums * operations.max(1.0);
                    if let Along::Across(_) = along {
                        // Two shuffles and an operation for each point but one.
                        self.demand.vectors += steps * self.lanes * (2.0 + operations.max(1.0));
                    }
                    if along == Along::Inner {
                        // The lanes of a sum are added by halves.
                        self.demand.scalars +=
                            steps * operations.max(1.0) * 1.5 * self.lanes.min(elements).max(1.0).log2();
                    }
                }
                Stage::Running { over, store, .. } => {
                    self.demand.waits += steps * self.extent(over.extent);
                    self.store(store, &lanes);
                }
                Stage::Map { stores, .. } => stores.iter().for_each(|s| self.store(s, &lanes)),
            }
        }
    }

    /// Elements that a point carries from an iteration of a walk to the next.
    fn carried(&self, nest: &Nest) -> f64 {
        let is_carried = |s: &Store| self.kernel.buffer(s.buffer).access == Access::Update;
        let elements = |stage: &Stage| match stage {
            Stage::Map { inner, stores } => {
                self.product(inner) * stores.iter().filter(|s| is_carried(s)).count() as f64
            }
            Stage::Reduce { .. } | Stage::Running { .. } => 0.0,
        };
        nest.stages.iter().map(elements).sum()
    }

    /// How many additions long the way is from what an iteration of a walk loads to what the next one needs: about half of its
    /// operations, and through memory.
    fn chain(&self, walk: Var) -> f64 {
        let operations = self.count.counted.iter().filter(|id| self.count.vars[id.0 as usize].contains(&walk));
        let longest: f64 = operations
            .map(|id| match self.kernel.expr(*id) {
                Expr::Unary(f, _) => function(*f).map_or(1.0, |dear| 5.0 * dear),
                Expr::Binary(Binary::Div | Binary::Rem, ..) => 3.0,
                Expr::Binary(..) | Expr::Select(..) => 1.0,
                _ => 0.0,
            })
            .sum();
        2.0 + longest / 2.0
    }

    fn contract(&mut self, contract: &Contract, tile: &Tile) {
        let [batch, rows, cols] = [&contract.batch, &contract.rows, &contract.cols].map(|l| self.extent(l.extent));
        let (sum, groups) = (self.product(&contract.sums), f64::from(contract.groups));
        // Matrices, and rows that each meets.
        let (matrices, rows) = match &contract.grouping {
            Some(grouping) => {
                let matrices = self.extent(grouping.experts).min(rows).max(1.0);
                (matrices, rows / matrices)
            }
            None => (batch, rows),
        };
        let panels = (cols / f64::from(tile.panel)).ceil();
        if tile.tiles.is_some() {
            self.tiles(contract, tile, matrices, rows, panels);
            return self.around_products(contract, tile);
        }
        let columns = panels * f64::from(tile.panel) * groups;
        let is_tall = rows > f64::from(tile.most_rows());
        let height = f64::from(if is_tall { tile.tallest() } else { tile.most_rows() }).min(rows.max(1.0));
        let tiles = matrices * panels * (rows / height).ceil();
        // A step of a tile loads weights and an element of each row; with few rows loads are more than products.
        let vectors = f64::from(tile.vectors);
        let loads = (height + vectors) / (height * vectors);
        let products = 2.0 * matrices * rows * columns * sum;
        self.demand.products += products * loads.max(1.0) / contract.products.together() as f64;
        self.demand.scalars += tiles * TILE * f64::from(tile.parts);
        let at_once = f64::from(tile.panels_at_once[usize::from(height > 1.0)]).min(panels.max(1.0));
        let at_once = if height > 2.0 { 1.0 } else { at_once };
        self.demand.waits += PRODUCT_WAITS * tiles / at_once * sum;
        let is_narrow = || contract.products.are_single() && self.kernel.buffer(contract.w).elem.bytes() < 4;
        if contract.blocks.is_some() || is_narrow() {
            let widen = if contract.products == Products::Interleaved { WIDEN_HALF } else { WIDEN };
            self.demand.vectors += widen * tiles * f64::from(tile.panel) * groups * sum;
        }
        if is_tall && !tile.near {
            self.demand.vectors += PACK * matrices * rows * sum;
        }
        self.around_products(contract, tile);
    }

    /// Products of tiles, for so many matrices of so many panels and `rows` rows each.
    fn tiles(&mut self, contract: &Contract, tile: &Tile, matrices: f64, rows: f64, panels: f64) {
        let of_rows = (rows / f64::from(Tiles::ROWS)).ceil().max(1.0);
        let steps = (self.product(&contract.sums) / contract.products.steps() as f64).ceil();
        let height = (rows / of_rows).max(LEAST_ROWS);
        let vectors = panels * f64::from(tile.vectors * tile.parts);
        let products = matrices * of_rows * vectors * steps;
        // Bytes are multiplied in the time of half as many bf16.
        let of_product = height * f64::from(Tiles::ROWS) * Products::Tiles.steps() as f64;
        self.demand.tiles += 2.0 * products * of_product;
        self.demand.scalars += TILE * matrices * of_rows * panels * f64::from(tile.parts);
    }

    /// What comes before and after the products of a contraction.
    fn around_products(&mut self, contract: &Contract, tile: &Tile) {
        // The prologue runs along the innermost sum, the epilogue along the columns.
        let lanes = contract.sums.last().map(|l| l.var).into_iter().chain([contract.cols.var]).collect();
        self.expressions_of(contract.x, tile.left == Left::Evaluated, &lanes);
        contract.stores.iter().for_each(|s| self.store(s, &lanes));
    }

    /// All expressions of a kernel; those of its left operand only where they are evaluated before the products.
    fn expressions_of(&mut self, left: ExprId, is_evaluated: bool, lanes: &Vars) {
        if !is_evaluated {
            self.count.counted.remove(&left);
        }
        self.expressions(lanes);
    }

    fn attend(&mut self, attend: &Attend, tile: &AttendTile) {
        let [batch, rows, over, cols] =
            [&attend.batch, &attend.rows, &attend.over, &attend.cols].map(|l| self.extent(l.extent));
        let panel = f64::from(tile.panel());
        let least = f64::from(tile.tall.first().copied().unwrap_or(1));
        let scores = batch * rows.max(least) * (over / panel).ceil() * panel;
        let scores = if self.is_masked(attend) && rows > 1.0 { scores / 2.0 } else { scores };
        let columns = (cols / panel).ceil() * panel;
        self.demand.products += 2.0 * scores * (columns + self.product(&attend.sums));
        self.demand.functions += scores;
        self.demand.vectors += scores * (SCORE + PACK);
        let lanes = [attend.over.var, attend.cols.var].into_iter().collect();
        self.expressions_of(attend.x, false, &lanes);
        attend.stores.iter().for_each(|s| self.store(s, &lanes));
        let tiles = batch * (rows / f64::from(tile.tallest())).ceil();
        self.demand.scalars += ATTEND * tiles * (1.0 + over / f64::from(attend.block)).ceil();
    }

    /// Does a condition on places alone leave scores out: about half of them, as in causal attention?
    fn is_masked(&self, attend: &Attend) -> bool {
        let of_places = |id: ExprId| {
            let below = self.kernel.all_below(id);
            let has =
                |var: Var| below.iter().any(|e| matches!(e, Expr::Index { index, .. } if index::mentions(index, var)));
            has(attend.over.var) && has(attend.rows.var) && !below.iter().any(|e| matches!(e, Expr::Load { .. }))
        };
        let score = self.kernel.all_below(attend.score);
        score.iter().any(|e| matches!(e, Expr::Select(condition, ..) if of_places(*condition)))
    }

    fn top_k(&mut self, top_k: &TopK, body: &BodySchedule) {
        let [rows, over, slots] = [self.product(&top_k.rows), self.extent(top_k.over.extent), self.extent(top_k.k)];
        let sorted = if let BodySchedule::Ranked { sorted } = body { Some(*sorted) } else { None };
        let lanes: Vars = if sorted.is_some() { [top_k.over.var].into_iter().collect() } else { Vars::new() };
        self.expressions(&lanes);
        let steps = (over / self.lanes).ceil();
        if sorted == Some(true) {
            // Each exchange of two vectors of 64 bits is loaded, told apart and stored; a block of the wanted size is sorted and merged again.
            let doublings = slots.clamp(1.0, over.max(1.0)).log2().ceil().max(1.0);
            let exchanges = doublings * (doublings + 1.0) / 2.0 + doublings + 1.0;
            self.demand.vectors += rows * steps * self.lanes * (8.0 + 4.0 * exchanges);
        } else if sorted.is_some() {
            // Ranks are integers of 64 bits. A slot looks through all of them, and folds a vector by halves.
            self.demand.vectors += rows * steps * self.lanes * (8.0 + 2.0 * slots);
            self.demand.waits += rows * slots * (steps + 2.0 * self.lanes.log2() + STALL / 2.0);
        } else {
            self.demand.scalars += rows * slots * over * 10.0;
        }
    }
}

/// How dear a function is, the exponential being 1; `None`: one operation, or a few.
fn function(f: Unary) -> Option<f64> {
    match f {
        Unary::Neg | Unary::Not | Unary::Abs | Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round => None,
        Unary::Sqrt | Unary::Rsqrt | Unary::Recip => None,
        Unary::Exp => Some(1.0),
        Unary::Log | Unary::Expm1 | Unary::Log1p | Unary::Sigmoid | Unary::Tanh => Some(1.5),
        Unary::Sin | Unary::Cos | Unary::Erf => Some(2.0),
    }
}

#[cfg(test)]
mod tests {
    use gatec_runtime::format::Isa;

    use super::*;
    use crate::kernel::text;
    use crate::schedule::schedule;

    fn asked(kernel: &str, rows: i64) -> Demand {
        let kernel = text::parse(kernel).unwrap();
        demand(&kernel, &schedule(&kernel, Isa::X86V4), &[rows])
    }

    /// exp(x) + 1 for so many columns.
    fn map(columns: u32) -> String {
        format!(
            r#"kernel "k" dims 1 vars 2 {{
  b0 = read f32 "x"
  b1 = write f32 "y"
  %0 = load b0[{columns}*i0 + i1]
  %1 = exp %0
  %2 = const f32 1.0
  %3 = add %1, %2
  nest i0 "row" in n0 {{
    map i1 "d" in {columns} {{
      b1[{columns}*i0 + i1] = %3
    }}
  }}
}}
"#
        )
    }

    #[test]
    fn a_vector_that_is_not_full_is_a_vector() {
        let (whole, short) = (asked(&map(16), 10), asked(&map(5), 10));
        assert_eq!(whole.functions, 160.0);
        assert_eq!(whole.vectors, 160.0 * (1.0 + 2.0 * ACCESS));
        assert_eq!((whole.functions, whole.vectors), (short.functions, short.vectors));
        assert_eq!(asked(&map(5), 0), Demand::default());
    }
}
