//! Which parts of a graph are attention: values weighed by the softmax of scores, each score a function of a product.
//!
//! `sum over s of softmax[s](f(x . key)) * value`, with any pointwise `f` (a scale, a bias, a mask, a soft cap): one kernel then
//! computes scores a block at a time and keeps none of them. What else reads a score or a weight wants it in memory: then this is no such
//! part.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::Fuser;
use super::roles::is_many;
use crate::graph::{Axis, AxisSet, Graph, Sizes, Value};
use crate::ops::{Class, Op};
use crate::scalar::{Binary, Fold, Unary};

/// Operands and axes; all axis sets are disjoint.
#[derive(Clone, Debug)]
pub struct Attention {
    /// The left operand of the product, and the right ones.
    pub x: Value,
    pub keys: Value,
    pub values: Value,
    pub product: Value,
    /// A pointwise function of the product.
    pub score: Value,
    /// The weighed values.
    pub mixed: Value,
    pub batch: AxisSet,
    pub rows: AxisSet,
    pub over: Axis,
    pub cols: AxisSet,
    pub sums: AxisSet,
    /// All that the kernel computes, the product first and `mixed` last.
    pub members: BTreeSet<Value>,
}

impl Attention {
    /// The axes of the result.
    pub fn point(&self) -> AxisSet {
        self.batch.union(&self.rows).union(&self.cols)
    }
}

/// All attention among live nodes, by the node of [`Attention::mixed`].
pub(super) fn find(
    graph: &Graph,
    sizes: &Sizes,
    live: &BTreeSet<NodeIndex>,
    wanted: &[Value],
) -> BTreeMap<NodeIndex, Attention> {
    let search = Search { graph, sizes, live, wanted };
    let found = live.iter().filter_map(|&id| Some((id, search.attention(Value::of(id))?)));
    let mut taken = BTreeSet::new();
    // Two that share a product want it in memory, as the check of users told.
    found.filter(|(_, a)| a.members.iter().all(|m| taken.insert(*m))).collect()
}

struct Search<'a> {
    graph: &'a Graph,
    sizes: &'a Sizes,
    live: &'a BTreeSet<NodeIndex>,
    wanted: &'a [Value],
}

impl Search<'_> {
    fn attention(&self, mixed: Value) -> Option<Attention> {
        let Op::Contract(contract) = self.graph.op(mixed) else { return None };
        let mut over = contract.over.iter();
        let (Some(over), None) = (over.next(), over.next()) else { return None };
        let operands = self.graph.operands(mixed.node);
        [(operands[0], operands[1]), (operands[1], operands[0])]
            .into_iter()
            .find_map(|(weights, values)| self.weighed(mixed, weights, values, over))
    }

    fn weighed(&self, mixed: Value, weights: Value, values: Value, over: Axis) -> Option<Attention> {
        let graph = self.graph;
        let axes = |v: Value| &graph.ty(v).axes;
        let mut members = BTreeSet::from([weights, mixed]);
        let score = self.softmax(weights, over, &mut members)?;
        let product = self.product(score, over, &mut members)?;
        let Op::Contract(contract) = graph.op(product) else { return None };
        let operands = graph.operands(product.node);
        let (x, keys) = match axes(operands[1]).contains(over) {
            true => (operands[0], operands[1]),
            false => (operands[1], operands[0]),
        };
        let sums = contract.over.clone();
        let (x_free, keys_free) = (axes(x).minus(&sums), axes(keys).minus(&sums));
        let batch = x_free.intersection(&keys_free);
        let rows = x_free.minus(&batch);
        let values_free = axes(values).without(over);
        let cols = values_free.minus(&batch);
        let fits = keys_free.minus(&batch) == AxisSet::default().with(over)
            && axes(weights).without(over) == x_free
            && batch.is_subset(&values_free)
            && cols.is_disjoint(&rows)
            && [x, values, mixed].iter().all(|v| graph.ty(*v).elem == graph.ty(product).elem)
            && graph.ty(product).elem.is_float()
            && is_many(self.sizes, &rows)
            && self.are_inner(&members, mixed);
        fits.then_some(Attention { x, keys, values, product, score, mixed, batch, rows, over, cols, sums, members })
    }

    /// What `weights` is the softmax of: `exp(s - max s) / sum`.
    fn softmax(&self, weights: Value, over: Axis, members: &mut BTreeSet<Value>) -> Option<Value> {
        let graph = self.graph;
        let operands = graph.operands(weights.node);
        let pair = |v: Value| -> Option<(Value, Value)> {
            let operands = graph.operands(v.node);
            (operands.len() == 2).then(|| (operands[0], operands[1]))
        };
        let is = |v: Value, f: Unary| matches!(graph.op(v), Op::Unary(unary) if unary.f == f);
        let folds = |v: Value, f: Fold, of: Value| {
            matches!(graph.op(v), Op::Reduce(r) if r.fold == f && r.over == AxisSet::default().with(over))
                && graph.operands(v.node)[0] == of
        };
        let (exp, total) = match graph.op(weights) {
            Op::Binary(binary) if binary.f == Binary::Div => pair(weights)?,
            Op::Mul(_) if operands.len() == 2 => {
                let recip = *operands.iter().find(|v| is(**v, Unary::Recip))?;
                members.insert(recip);
                (*operands.iter().find(|v| **v != recip)?, graph.operands(recip.node)[0])
            }
            _ => return None,
        };
        if !is(exp, Unary::Exp) || !folds(total, Fold::Sum, exp) {
            return None;
        }
        let shifted = graph.operands(exp.node)[0];
        let (score, largest) = match graph.op(shifted) {
            Op::Binary(binary) if binary.f == Binary::Sub => pair(shifted)?,
            _ => return None,
        };
        members.extend([exp, total, shifted, largest]);
        folds(largest, Fold::Max, score).then_some(score)
    }

    /// The product that a score is a pointwise function of. What lies between become members.
    fn product(&self, score: Value, over: Axis, members: &mut BTreeSet<Value>) -> Option<Value> {
        let graph = self.graph;
        match graph.op(score) {
            Op::Contract(contract) => {
                let has_over = |v: &&Value| graph.ty(**v).axes.contains(over);
                let one = graph.operands(score.node).iter().filter(has_over).count() == 1;
                let found = one && !contract.over.contains(over);
                found.then(|| {
                    members.insert(score);
                    score
                })
            }
            op if op.class() == Class::Pointwise => {
                let product = graph.operands(score.node).iter().find_map(|v| self.product(*v, over, members))?;
                members.insert(score);
                Some(product)
            }
            _ => None,
        }
    }

    /// Does nothing else read what would not be in memory?
    fn are_inner(&self, members: &BTreeSet<Value>, mixed: Value) -> bool {
        members.iter().filter(|m| **m != mixed).all(|m| {
            let users = self.graph.uses(*m);
            let mut users = users.iter().filter(|(user, _)| self.live.contains(user));
            !self.wanted.contains(m) && users.all(|(user, _)| members.contains(&Value::of(*user)))
        })
    }
}

impl Fuser<'_> {
    pub(super) fn visit_attention(&mut self, attention: Attention) {
        self.read_in_place(attention.x, &attention.sums);
        for &member in &attention.members {
            for operand in self.graph.operands(member.node) {
                let is_member = attention.members.contains(&operand);
                if !is_member && self.fusion.home(operand).is_some() {
                    self.store(operand);
                }
            }
        }
        let members: Vec<Value> = attention.members.iter().copied().collect();
        self.open(super::Core::Attend(Box::new(attention)), &members);
    }
}
