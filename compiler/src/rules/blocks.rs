//! Blocks: what was written once for each set of weights is written once for all.
//!
//! Blocks are *alike* if the same ops make them of the same values, but for two kinds of leaves: weights of one type, which stack along
//! an axis, and elements that are picked along one axis, which are that axis. With it the ops make all blocks at once: N experts,
//! heads or branches that were written out one by one become one batched product, and gathered ones one grouped product.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use egg::Id;
use gatec_lang::Size;

use super::experts::along;
use super::{Condition, Find, Infinities, Match, Phase, Rule};
use crate::egraph::scene::{Scene, Tree};
use crate::graph::Axis;
use crate::ops::{Add, Op, Reduce, Rename, Stack};
use crate::scalar::Fold;

/// `f(w_1) + ... + f(w_n)` is `reduce[sum, block] f(stack[block](w_1, ..., w_n))`.
pub const BLOCKS_IN_A_SUM: Rule = Rule {
    name: "blocks-in-a-sum",
    group: "blocks",
    why: "experts that were written out one by one are one batched product over their stacked weights",
    phase: Phase::Blocks,
    find: Find::Search { find: in_sums, cases: SUMS },
    when: &[EACH_ONCE],
    pays: &[],
    infinities: Infinities::Stay,
};

/// `stack[e](f(w_1), ..., f(w_n))` is `f(stack[e](w_1, ..., w_n))`.
pub const BLOCKS_IN_A_STACK: Rule = Rule {
    name: "blocks-in-a-stack",
    group: "blocks",
    why: "a stack of blocks is one block of stacked weights, of which a router may then ask for a few",
    phase: Phase::Blocks,
    find: Find::Search { find: in_stacks, cases: STACKS },
    when: &[EACH_ONCE, APART],
    pays: &[],
    infinities: Infinities::Stay,
};

const EACH_ONCE: Condition =
    Condition::Says("what blocks pick along an axis is, in the order of the blocks, each of its elements once");
const APART: Condition = Condition::Says("nothing in the blocks varies along the stack's axis");

/// Ops of a block, counted once for each path to them: blocks that are larger stay.
const MOST_OPS: usize = 400;

/// What corresponding values of blocks are.
enum Alike {
    Same(Id),
    /// Weights of one type.
    Weights(Vec<Id>),
    /// Elements of one value along an axis.
    Elements {
        of: Id,
        axis: Axis,
        indices: Vec<i64>,
    },
    Op(Op, Vec<Alike>),
}

fn in_sums(scene: &mut Scene) -> Vec<Match> {
    let looks = Looks::of(scene);
    let mut found = Vec::new();
    for (class, _, terms) in scene.nodes("add") {
        let mut groups: BTreeMap<u64, Vec<Id>> = BTreeMap::new();
        for term in &terms {
            groups.entry(looks.made[term]).or_default().push(*term);
        }
        // Terms in order: a map of hashes has none that means something.
        let mut groups: Vec<Vec<Id>> = groups.into_values().filter(|g| g.len() > 1).collect();
        groups.sort();
        for blocks in groups {
            let Some(alike) = looks.join(scene, &blocks, &mut MOST_OPS.clone()) else { continue };
            if !has_product(&alike) || !scene.is_news(BLOCKS_IN_A_SUM.name, &blocks) {
                continue;
            }
            let Some(order) = order(scene, &alike, blocks.len()) else { continue };
            let axis = own_axis(scene, &alike).unwrap_or_else(|| fresh(scene, blocks.len()));
            let all = alike.stacked(axis, &order);
            let sum = Tree::op(Reduce { fold: Fold::Sum, over: axis.into() }, vec![all]);
            let mut sums: Vec<Tree> = terms.iter().filter(|t| !blocks.contains(t)).map(|t| Tree::Class(*t)).collect();
            sums.push(sum);
            let tree = if sums.len() == 1 { sums.remove(0) } else { Tree::op(Add, sums) };
            found.push(Match::one(class, tree));
        }
    }
    found
}

fn in_stacks(scene: &mut Scene) -> Vec<Match> {
    let looks = Looks::of(scene);
    let mut found = Vec::new();
    for (class, op, blocks) in scene.nodes("stack") {
        let Op::Stack(Stack { axis }) = op else { continue };
        let are_like = blocks.iter().all(|b| looks.made[b] == looks.made[&blocks[0]]);
        if scene.at_load(class) || !are_like {
            continue;
        }
        let Some(alike) = looks.join(scene, &blocks, &mut MOST_OPS.clone()) else { continue };
        if !has_product(&alike) || !scene.holds(APART, alike.is_apart(scene, axis)) {
            continue;
        }
        // The stack says which block is which: elements must stand in its order.
        let in_order: Vec<usize> = (0..blocks.len()).collect();
        if order(scene, &alike, blocks.len()).is_some_and(|o| o == in_order || scene.holds(EACH_ONCE, false))
            && scene.is_news(BLOCKS_IN_A_STACK.name, &[class])
        {
            found.push(Match::one(class, alike.stacked(axis, &in_order)));
        }
    }
    found
}

fn fresh(scene: &mut Scene, blocks: usize) -> Axis {
    scene.fresh_axis("block", Size::known(blocks as i64))
}

/// Is there a contraction that differs from block to block? Nothing else is worth the change.
fn has_product(alike: &Alike) -> bool {
    match alike {
        Alike::Op(Op::Contract(_), _) => true,
        Alike::Op(_, operands) => operands.iter().any(has_product),
        _ => false,
    }
}

/// The block for each element that is picked; the order as it is, where none is.
fn order(scene: &Scene, alike: &Alike, blocks: usize) -> Option<Vec<usize>> {
    let mut lists = Vec::new();
    alike.visit(&mut |part| {
        if let Alike::Elements { axis, indices, .. } = part {
            lists.push((*axis, indices.clone()));
        }
    });
    let mut order: Vec<usize> = (0..blocks).collect();
    let Some((_, first)) = lists.first() else { return Some(order) };
    order.sort_by_key(|block| first[*block]);
    let is_whole = |(axis, indices): &(Axis, Vec<i64>)| {
        scene.known_size(*axis) == Some(blocks as i64) && order.iter().map(|b| indices[*b]).eq(0..blocks as i64)
    };
    scene.holds(EACH_ONCE, lists.iter().all(is_whole)).then_some(order)
}

/// The axis along which all blocks pick, if it can be that of the stacked weights.
fn own_axis(scene: &Scene, alike: &Alike) -> Option<Axis> {
    let mut axes = Vec::new();
    alike.visit(&mut |part| {
        if let Alike::Elements { axis, .. } = part {
            axes.push(*axis);
        }
    });
    let axis = *axes.first()?;
    (axes.iter().all(|a| *a == axis) && alike.is_apart(scene, axis)).then_some(axis)
}

impl Alike {
    fn visit(&self, f: &mut impl FnMut(&Self)) {
        f(self);
        if let Self::Op(_, operands) = self {
            operands.iter().for_each(|o| o.visit(f));
        }
    }

    /// Does no value in the blocks vary along an axis, and no op speak of it?
    fn is_apart(&self, scene: &Scene, axis: Axis) -> bool {
        let mut is_apart = true;
        self.visit(&mut |part| {
            is_apart &= match part {
                Self::Same(class) => !scene.ty(*class).axes.contains(axis),
                Self::Weights(classes) => !scene.ty(classes[0]).axes.contains(axis),
                Self::Elements { of, axis: own, .. } => *own == axis || !scene.ty(*of).axes.contains(axis),
                Self::Op(op, _) => along(op).is_some_and(|axes| !axes.contains(axis)),
            }
        });
        is_apart
    }

    /// All blocks at once, along an axis.
    fn stacked(&self, axis: Axis, order: &[usize]) -> Tree {
        match self {
            Self::Same(class) => Tree::Class(*class),
            Self::Weights(classes) => {
                Tree::op(Stack { axis }, order.iter().map(|block| Tree::Class(classes[*block])).collect())
            }
            Self::Elements { of, axis: own, .. } if *own == axis => Tree::Class(*of),
            Self::Elements { of, axis: own, .. } => Tree::op(Rename { from: *own, to: axis }, vec![Tree::Class(*of)]),
            Self::Op(op, operands) => Tree::Op(op.clone(), operands.iter().map(|o| o.stacked(axis, order)).collect()),
        }
    }
}

/// Hashes of classes.
struct Looks {
    /// How it is made: equal ones may be alike.
    made: BTreeMap<Id, u64>,
    /// What it is used for: of two operands that are made alike (both halves of a gate), which is which.
    used: BTreeMap<Id, u64>,
}

impl Looks {
    fn of(scene: &Scene) -> Self {
        let mut looks = Self { made: BTreeMap::new(), used: BTreeMap::new() };
        for class in scene.all() {
            let mut stack = vec![class];
            while let Some(&class) = stack.last() {
                if looks.made.contains_key(&class) {
                    stack.pop();
                    continue;
                }
                let below = written(scene, class).map(|(_, operands)| operands).unwrap_or_default();
                // A class on the way to itself is like no other.
                let missing: Vec<Id> = below.into_iter().filter(|o| !looks.made.contains_key(o)).collect();
                if missing.is_empty() || missing.iter().any(|m| stack.contains(m)) {
                    looks.made.insert(class, looks.hash(scene, class));
                    stack.pop();
                } else {
                    stack.extend(missing);
                }
            }
        }
        let mut users: BTreeMap<Id, Vec<u64>> = BTreeMap::new();
        for class in scene.all() {
            for operand in written(scene, class).map(|(_, operands)| operands).unwrap_or_default() {
                users.entry(operand).or_default().push(looks.made[&class]);
            }
        }
        for (class, mut users) in users {
            users.sort();
            let mut hasher = DefaultHasher::new();
            users.hash(&mut hasher);
            looks.used.insert(class, hasher.finish());
        }
        looks
    }

    fn hash(&self, scene: &Scene, class: Id) -> u64 {
        let mut hasher = DefaultHasher::new();
        match written(scene, class) {
            _ if scene.at_load(class) => (0, scene.ty(class)).hash(&mut hasher),
            Some((Op::Pick(pick), operands)) => (1, pick.axis, operands).hash(&mut hasher),
            Some((op, operands)) if operands.iter().all(|o| self.made.contains_key(o)) => {
                let mut below: Vec<u64> = operands.iter().map(|o| self.made[o]).collect();
                if commutes(&op) {
                    below.sort();
                }
                (2, op, below).hash(&mut hasher);
            }
            _ => (3, class).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// What values that look the same have in common. `left`: ops that may still be looked at.
    fn join(&self, scene: &Scene, classes: &[Id], left: &mut usize) -> Option<Alike> {
        let first = *classes.first()?;
        if classes.iter().all(|c| *c == first) {
            return Some(Alike::Same(first));
        }
        if classes.iter().any(|c| self.made[c] != self.made[&first]) {
            return None;
        }
        if scene.at_load(first) {
            let is_weight = |c: &Id| scene.at_load(*c) && scene.ty(*c) == scene.ty(first);
            return classes.iter().all(is_weight).then(|| Alike::Weights(classes.to_vec()));
        }
        *left = left.checked_sub(1)?;
        let written: Vec<(Op, Vec<Id>)> = classes.iter().map(|c| written(scene, *c)).collect::<Option<_>>()?;
        let (op, operands) = &written[0];
        if let Op::Pick(pick) = op {
            let index = |(op, from): &(Op, Vec<Id>)| match op {
                Op::Pick(p) if p.axis == pick.axis && from == operands => Some(p.index),
                _ => None,
            };
            let indices = written.iter().map(index).collect::<Option<_>>()?;
            return Some(Alike::Elements { of: operands[0], axis: pick.axis, indices });
        }
        if written.iter().any(|(o, below)| o != op || below.len() != operands.len()) {
            return None;
        }
        let sorted = |operands: &[Id]| {
            let mut operands = operands.to_vec();
            if commutes(op) {
                operands.sort_by_key(|o| (self.made[o], self.used.get(o)));
            }
            operands
        };
        let below: Vec<Vec<Id>> = written.iter().map(|(_, operands)| sorted(operands)).collect();
        let joined = (0..operands.len())
            .map(|i| self.join(scene, &below.iter().map(|o| o[i]).collect::<Vec<_>>(), left))
            .collect::<Option<Vec<_>>>()?;
        Some(Alike::Op(op.clone(), joined))
    }
}

/// A class by one of its ops that does the same for each element of a further axis.
fn written(scene: &Scene, class: Id) -> Option<(Op, Vec<Id>)> {
    scene.class(class).into_iter().find(|(op, _)| along(op).is_some())
}

fn commutes(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Mul(_) | Op::Contract(_))
}

const SUMS: &[&str] = &[
    // Two blocks, each weighed by its own gate, and a third term.
    "module m
axis t = 3
axis d = 4
axis h = 2
axis e = 2
param @a0: f32[d, h]
param @a1: f32[d, h]
param @b0: f32[h, d]
param @b1: f32[h, d]
graph @f(%x: f32[t, d], %g: f32[t, e]) -> (f32[t, d]) {
  %0 = contract[d] %x, @a0 : f32[h, t]
  %1 = unary[tanh] %0 : f32[h, t]
  %2 = contract[h] %1, @b0 : f32[d, t]
  %3 = pick[e, 0] %g : f32[t]
  %4 = mul %2, %3 : f32[d, t]
  %5 = contract[d] @a1, %x : f32[h, t]
  %6 = unary[tanh] %5 : f32[h, t]
  %7 = contract[h] %6, @b1 : f32[d, t]
  %8 = pick[e, 1] %g : f32[t]
  %9 = mul %8, %7 : f32[d, t]
  %10 = add %9, %x, %4 : f32[d, t]
  return %10
}
",
    // Gates in another order than the blocks; the shared operand varies along the gates' axis.
    "module m
axis t = 3
axis d = 4
axis e = 2
param @a0: f32[d]
param @a1: f32[d]
graph @f(%x: f32[t, d, e], %g: f32[t, e]) -> (f32[t, e]) {
  %0 = contract[d] %x, @a0 : f32[e, t]
  %1 = pick[e, 1] %g : f32[t]
  %2 = mul %0, %1 : f32[e, t]
  %3 = contract[d] %x, @a1 : f32[e, t]
  %4 = pick[e, 0] %g : f32[t]
  %5 = mul %3, %4 : f32[e, t]
  %6 = add %2, %5 : f32[e, t]
  return %6
}
",
    // Two gates that disagree about which block is which.
    "module m
axis t = 3
axis d = 4
axis e = 2
param @a0: f32[d]
param @a1: f32[d]
graph @f(%x: f32[t, d], %g: f32[t, e], %s: f32[t, e]) -> (f32[t]) {
  %0 = contract[d] %x, @a0 : f32[t]
  %1 = pick[e, 0] %g : f32[t]
  %2 = pick[e, 1] %s : f32[t]
  %3 = mul %0, %1, %2 : f32[t]
  %4 = contract[d] %x, @a1 : f32[t]
  %5 = pick[e, 1] %g : f32[t]
  %6 = pick[e, 0] %s : f32[t]
  %7 = mul %4, %5, %6 : f32[t]
  %8 = add %3, %7 : f32[t]
  return %8
}
",
];

const STACKS: &[&str] = &[
    "module m
axis t = 3
axis d = 4
axis h = 5
axis e = 2
axis k = 2
param @a0: f32[d, h]
param @a1: f32[d, h]
graph @f(%x: f32[t, d], %g: f32[t, k]) -> (f32[t, h, e]) {
  %0 = contract[d] %x, @a0 : f32[h, t]
  %1 = pick[k, 0] %g : f32[t]
  %2 = mul %0, %1 : f32[h, t]
  %3 = contract[d] %x, @a1 : f32[h, t]
  %4 = pick[k, 1] %g : f32[t]
  %5 = mul %3, %4 : f32[h, t]
  %6 = stack[e] %2, %5 : f32[e, h, t]
  return %6
}
",
    // Elements in another order than the stack.
    "module m
axis t = 3
axis d = 4
axis e = 2
axis k = 2
param @a0: f32[d]
param @a1: f32[d]
graph @f(%x: f32[t, d], %g: f32[t, k]) -> (f32[t, e]) {
  %0 = contract[d] %x, @a0 : f32[t]
  %1 = pick[k, 1] %g : f32[t]
  %2 = mul %0, %1 : f32[t]
  %3 = contract[d] %x, @a1 : f32[t]
  %4 = pick[k, 0] %g : f32[t]
  %5 = mul %3, %4 : f32[t]
  %6 = stack[e] %2, %5 : f32[e, t]
  return %6
}
",
    // The blocks sum along an axis of the name of the stack's.
    "module m
axis t = 3
axis d = 4
axis e = 2
param @a0: f32[e, d]
param @a1: f32[e, d]
graph @f(%x: f32[t, e]) -> (f32[t, d, e]) {
  %0 = contract[e] %x, @a0 : f32[d, t]
  %1 = contract[e] %x, @a1 : f32[d, t]
  %2 = stack[e] %0, %1 : f32[d, e, t]
  return %2
}
",
];
