//! How much a call of a kernel needs to compute and to move, whatever its schedule: what measurements are held against.
//!
//! An operation counts once for each combination of the loop variables that it depends on: one that a row shares is not paid
//! for each of its columns. A multiply-add is two operations, a function of the kernel's expressions one, however many
//! instructions it takes. Bytes are those of distinct elements: what a call reads again stands in a cache.
//!
//! Known weakness: an index that visits elements twice (a window) is counted as if it did not, so a caller compares with the size
//! of the buffer; which experts are hit is not known before a run, so as many as there are rows to hit them are counted.

use std::collections::{BTreeMap, BTreeSet};

use super::UnitsExpr;
use crate::kernel::{
    Attend, Body, BufferId, Contract, Expr, ExprId, Extent, Index, Kernel, Loop, Segment, Stage, Store, Var, index,
};
use crate::scalar::{Binary, Unary};

/// The work of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub flops: UnitsExpr,
    /// By buffer.
    pub bytes: Vec<UnitsExpr>,
}

/// Counts the work of a kernel.
pub fn work(kernel: &Kernel) -> Work {
    Count::of(kernel).finish()
}

pub(super) type Vars = BTreeSet<Var>;

/// What is counted of a kernel.
pub(super) struct Count<'k> {
    kernel: &'k Kernel,
    pub extents: BTreeMap<Var, Extent>,
    /// The variables with which accumulators and results of folds vary.
    around: Vars,
    /// What each expression varies with.
    pub vars: Vec<Vars>,
    flops: Vec<UnitsExpr>,
    /// The expressions that are evaluated.
    pub counted: BTreeSet<ExprId>,
    /// Elements of a buffer by the index that leads to them: the same index is the same elements.
    touched: BTreeSet<(BufferId, Index)>,
}

impl<'k> Count<'k> {
    pub fn of(kernel: &'k Kernel) -> Self {
        let mut count = Self {
            kernel,
            extents: BTreeMap::new(),
            around: BTreeSet::new(),
            vars: Vec::new(),
            flops: Vec::new(),
            counted: BTreeSet::new(),
            touched: BTreeSet::new(),
        };
        count.body();
        count
    }

    fn body(&mut self) {
        let kernel = self.kernel;
        match &kernel.body {
            Body::Nest(nest) => {
                self.around = self.declare(&nest.outer);
                let walk = self.declare(nest.walk.as_slice());
                self.around.extend(walk);
                for stage in &nest.stages {
                    match stage {
                        Stage::Reduce { inner, .. } | Stage::Map { inner, .. } => self.declare(inner),
                        Stage::Running { over, .. } => self.declare(std::slice::from_ref(over)),
                    };
                }
                self.expressions();
                for stage in &nest.stages {
                    match stage {
                        Stage::Reduce { inner, segment: Some(segment), value, .. } => {
                            self.segment(segment, *value, inner);
                        }
                        Stage::Reduce { inner, value, .. } => self.fold(*value, inner),
                        Stage::Running { over, value, store, .. } => {
                            self.fold(*value, std::slice::from_ref(over));
                            self.store(store);
                        }
                        Stage::Map { stores, .. } => stores.iter().for_each(|store| self.store(store)),
                    }
                }
            }
            Body::Contract(contract) => self.contract(contract),
            Body::Attend(attend) => self.attend(attend),
            Body::TopK(top_k) => {
                self.around = self.declare(&top_k.rows);
                self.declare(std::slice::from_ref(&top_k.over));
                self.extents.insert(top_k.slot, top_k.k);
                self.expressions();
                // A comparison for each element.
                self.fold(top_k.value, std::slice::from_ref(&top_k.over));
                self.touched.insert((top_k.buffer, top_k.index.clone()));
            }
            Body::GroupRows(group) => {
                self.around = self.declare(&group.rows);
                self.expressions();
                self.expr(group.expert);
            }
        }
    }

    fn contract(&mut self, contract: &Contract) {
        let around = [&contract.batch, &contract.rows, &contract.cols].map(Clone::clone);
        self.around = self.declare(&around);
        self.declare(&contract.sums);
        self.expressions();
        self.expr(contract.x);
        let all = around.iter().chain(&contract.sums).map(|l| UnitsExpr::Extent(l.extent));
        let products = all.chain([UnitsExpr::Known(2 * i64::from(contract.groups))]);
        self.flops.push(UnitsExpr::Mul(products.collect()));
        contract.stores.iter().for_each(|store| self.store(store));
    }

    /// Masks are not looked at: what they pass over is counted.
    fn attend(&mut self, attend: &Attend) {
        let [batch, rows, over, cols] = [&attend.batch, &attend.rows, &attend.over, &attend.cols].map(Clone::clone);
        let points = self.declare(&[batch, rows]);
        self.declare(&attend.sums);
        self.declare(std::slice::from_ref(&cols));
        let scores = &points | &self.declare(std::slice::from_ref(&over));
        self.around = scores.clone();
        self.expressions();
        attend.only.into_iter().for_each(|only| self.expr(only));
        self.expr(attend.x);
        self.expr(attend.score);
        // Two products, and an exponential and its addition for each score.
        let inner = UnitsExpr::Add(vec![UnitsExpr::Extent(cols.extent), product(&attend.sums), UnitsExpr::Known(1)]);
        let all = self.points(&scores).into_iter().chain([UnitsExpr::Known(2), inner]);
        self.flops.push(UnitsExpr::Mul(all.collect()));
        attend.stores.iter().for_each(|store| self.store(store));
    }

    fn declare(&mut self, loops: &[Loop]) -> Vars {
        self.extents.extend(loops.iter().map(|l| (l.var, l.extent)));
        loops.iter().map(|l| l.var).collect()
    }

    /// Finds what each expression varies with; operands stand before users.
    fn expressions(&mut self) {
        for expr in &self.kernel.exprs {
            let vars = match expr {
                Expr::Const { .. } => Vars::new(),
                Expr::Index { index, .. } | Expr::Load { index, .. } => self.index_vars(index),
                Expr::Unary(_, x) | Expr::Cast(_, x) => self.vars[x.0 as usize].clone(),
                Expr::Binary(_, a, b) => &self.vars[a.0 as usize] | &self.vars[b.0 as usize],
                Expr::Select(c, a, b) => {
                    [a, b].iter().fold(self.vars[c.0 as usize].clone(), |vars, x| &vars | &self.vars[x.0 as usize])
                }
                Expr::Temp(_) => self.around.clone(),
                Expr::Acc(number) => match &self.kernel.body {
                    Body::Attend(a) if *number != Attend::PRODUCT => {
                        [&a.batch, &a.rows, &a.cols].iter().map(|l| l.var).collect()
                    }
                    _ => self.around.clone(),
                },
            };
            self.vars.push(vars);
        }
    }

    pub fn index_vars(&self, index: &Index) -> Vars {
        let mut vars: Vars = self.extents.keys().filter(|var| index::mentions(index, **var)).copied().collect();
        let mut values = Vec::new();
        index::values(index, &mut values);
        vars.extend(values.iter().filter_map(|value| self.vars.get(value.0 as usize)).flatten());
        vars
    }

    /// Points of the loops of these variables.
    fn points(&self, vars: &Vars) -> Vec<UnitsExpr> {
        vars.iter().filter_map(|var| self.extents.get(var)).map(|extent| UnitsExpr::Extent(*extent)).collect()
    }

    /// The operations and loads below an expression, each once in a kernel.
    fn expr(&mut self, id: ExprId) {
        if !self.counted.insert(id) {
            return;
        }
        let operation = match self.kernel.expr(id) {
            Expr::Const { .. } | Expr::Temp(_) | Expr::Acc(_) => false,
            Expr::Index { index, .. } => {
                self.values(index);
                false
            }
            Expr::Load { buffer, index, bounds, .. } => {
                self.values(index);
                bounds.iter().for_each(|bound| self.values(&bound.index));
                self.touched.insert((*buffer, index.clone()));
                false
            }
            Expr::Unary(f, x) => {
                self.expr(*x);
                *f != Unary::Not
            }
            Expr::Binary(f, a, b) => {
                self.expr(*a);
                self.expr(*b);
                !matches!(f, Binary::And | Binary::Or)
            }
            Expr::Select(c, a, b) => {
                [c, a, b].into_iter().for_each(|x| self.expr(*x));
                false
            }
            Expr::Cast(_, x) => {
                self.expr(*x);
                false
            }
        };
        if operation {
            let points = self.points(&self.vars[id.0 as usize]);
            self.flops.push(UnitsExpr::Mul(points));
        }
    }

    /// What an index loads.
    fn values(&mut self, index: &Index) {
        let mut values = Vec::new();
        index::values(index, &mut values);
        values.into_iter().for_each(|value| self.expr(value));
    }

    /// A fold of `value` over `inner`, at each point around: one operation for an element.
    fn fold(&mut self, value: ExprId, inner: &[Loop]) {
        self.expr(value);
        let vars = &self.around | &inner.iter().map(|l| l.var).collect();
        self.flops.push(UnitsExpr::Mul(self.points(&vars)));
    }

    /// A fold over each segment: an operation for an element of all of them.
    fn segment(&mut self, segment: &Segment, value: ExprId, inner: &[Loop]) {
        self.expr(value);
        let segments = self.index_vars(&segment.at);
        let points = &(&self.around - &segments) | &inner.iter().map(|l| l.var).collect();
        self.flops.push(UnitsExpr::Mul(self.points(&points)));
    }

    fn store(&mut self, store: &Store) {
        self.expr(store.value);
        self.values(&store.index);
        self.touched.insert((store.buffer, store.index.clone()));
    }

    fn finish(self) -> Work {
        let bytes = (0..self.kernel.buffers.len()).map(|number| {
            let (id, elem) = (BufferId(number as u32), self.kernel.buffers[number].elem);
            let mut elements: Vec<UnitsExpr> = self
                .touched
                .iter()
                .filter(|(buffer, _)| *buffer == id)
                .map(|(_, index)| UnitsExpr::Mul(self.points(&self.index_vars(index))))
                .collect();
            match &self.kernel.body {
                Body::Contract(contract) => elements.extend(operands(contract, id)),
                Body::Attend(attend) => elements.extend(packed(attend, id)),
                Body::Nest(nest) => elements.extend(nest.stages.iter().find_map(|s| self.listed(s, id))),
                Body::GroupRows(group) if id == group.order => elements.push(product(&group.rows)),
                Body::GroupRows(group) if id == group.offsets => elements.push(UnitsExpr::Extent(group.experts)),
                _ => {}
            }
            UnitsExpr::Mul(vec![UnitsExpr::Known(elem.bytes() as i64), UnitsExpr::Add(elements)])
        });
        Work { bytes: bytes.collect(), flops: UnitsExpr::Add(self.flops) }
    }
}

impl Count<'_> {
    /// What a fold over segments reads beside its expressions: the order, and where segments begin.
    fn listed(&self, stage: &Stage, id: BufferId) -> Option<UnitsExpr> {
        let (segment, l) = stage.segment()?;
        match id {
            id if id == segment.order => Some(UnitsExpr::Extent(l.extent)),
            id if id == segment.offsets => Some(UnitsExpr::Mul(self.points(&self.index_vars(&segment.at)))),
            _ => None,
        }
    }
}

/// What a contraction reads beside its expressions: weights, and the order of rows.
fn operands(contract: &Contract, id: BufferId) -> Option<UnitsExpr> {
    let extent = |l: &Loop| UnitsExpr::Extent(l.extent);
    let matrices = match &contract.grouping {
        Some(grouping) => UnitsExpr::Min(vec![UnitsExpr::Extent(grouping.experts), extent(&contract.rows)]),
        None => extent(&contract.batch),
    };
    let blocks = contract.blocks.as_ref();
    let rows_of = match blocks {
        _ if id == contract.w => Some(blocks.map_or(1, |b| b.steps_of_row())),
        Some(blocks) if id == blocks.scales => Some(i64::from(blocks.size)),
        _ => None,
    };
    if let Some(steps) = rows_of {
        let sum = product(&contract.sums);
        let sum = if steps == 1 { sum } else { UnitsExpr::DivUp(Box::new(sum), steps) };
        let matrix = [UnitsExpr::Known(i64::from(contract.groups)), extent(&contract.cols), sum];
        return Some(UnitsExpr::Mul([matrices].into_iter().chain(matrix).collect()));
    }
    let grouping = contract.grouping.as_ref()?;
    match id {
        id if id == grouping.order => Some(extent(&contract.rows)),
        id if id == grouping.offsets => Some(UnitsExpr::Extent(grouping.experts)),
        _ => None,
    }
}

/// The packed operands of attention.
fn packed(attend: &Attend, id: BufferId) -> Option<UnitsExpr> {
    let extent = |l: &Loop| UnitsExpr::Extent(l.extent);
    let matrix = match id {
        id if id == attend.keys => product(&attend.sums),
        id if id == attend.values => extent(&attend.cols),
        _ => return None,
    };
    Some(UnitsExpr::Mul(vec![extent(&attend.batch), extent(&attend.over), matrix]))
}

fn product(loops: &[Loop]) -> UnitsExpr {
    UnitsExpr::Mul(loops.iter().map(|l| UnitsExpr::Extent(l.extent)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::text;

    /// Flops, and bytes of each buffer, with every run-time size at `n`.
    fn counted(kernel: &str, n: i64) -> (i64, Vec<i64>) {
        let kernel = text::parse(kernel).unwrap();
        let work = work(&kernel);
        (eval(&work.flops, n), work.bytes.iter().map(|b| eval(b, n)).collect())
    }

    fn eval(units: &UnitsExpr, n: i64) -> i64 {
        match units {
            UnitsExpr::Known(k) | UnitsExpr::Extent(Extent::Known(k)) => *k,
            UnitsExpr::Extent(Extent::Dim(_)) => n,
            UnitsExpr::Add(all) => all.iter().map(|u| eval(u, n)).sum(),
            UnitsExpr::Mul(all) => all.iter().map(|u| eval(u, n)).product(),
            UnitsExpr::Min(all) => all.iter().map(|u| eval(u, n)).min().unwrap_or(0),
            UnitsExpr::DivUp(u, by) => (eval(u, n) + by - 1) / by,
        }
    }

    #[test]
    fn what_a_row_shares_counts_once_for_the_row() {
        // exp(x - m) for 64 columns, m = |s| + 1 of the row.
        let kernel = r#"kernel "k" dims 1 vars 2 {
  b0 = read f32 "x"
  b1 = read f32 "s"
  b2 = write f32 "y"
  %0 = load b0[64*i0 + i1]
  %1 = load b1[i0]
  %2 = abs %1
  %3 = const f32 1.0
  %4 = add %2, %3
  %5 = sub %0, %4
  %6 = exp %5
  nest i0 "row" in n0 {
    map i1 "d" in 64 {
      b2[64*i0 + i1] = %6
    }
  }
}
"#;
        assert_eq!(counted(kernel, 10), (10 * 2 + 640 * 2, vec![4 * 640, 4 * 10, 4 * 640]));
        assert_eq!(counted(kernel, 0), (0, vec![0, 0, 0]));
    }

    #[test]
    fn a_grouped_contraction_reads_no_more_experts_than_it_has_rows() {
        let kernel = r#"kernel "k" dims 1 vars 4 {
  b0 = read f32 "x"
  b1 = read packed f32 "w"
  b2 = read i32 "order"
  b3 = read i32 "offsets"
  b4 = write f32 "h"
  %0 = load b0[256*i1 + i3]
  %1 = acc 0
  %2 = acc 1
  %3 = mul %1, %2
  contract batch i0 "" in 1 rows i1 "row" in n0 cols i2 "hidden" in 512 sums i3 "d" in 256 groups 2 x %0 w b1 experts 8 order b2 offsets b3 {
    b4[512*i1 + i2] = %3
  }
}
"#;
        let matrix = 4 * 2 * 512 * 256;
        let flops = |rows: i64| rows * (2 * 2 * 512 * 256 + 512);
        assert_eq!(counted(kernel, 3), (flops(3), vec![4 * 3 * 256, 3 * matrix, 12, 32, 4 * 3 * 512]));
        assert_eq!(counted(kernel, 100).1[1], 8 * matrix);
    }
}
