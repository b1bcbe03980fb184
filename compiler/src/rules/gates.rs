//! Gates: products that read the same operand become one.

use egg::Id;
use gatec_lang::Size;

use super::{Condition, Find, Infinities, Match, Phase, Rule};
use crate::egraph::scene::{Scene, Tree};
use crate::graph::{AxisSet, Type};
use crate::ops::{Contract, Dequantize, Gather, Op, Pick, Stack};

/// `x @ w_1`, ..., `x @ w_n` are `pick[gate = i](x @ stack[gate](w_1, ..., w_n))`, where the weights have one type and are known at
/// load, or are gathered from such by one index.
///
/// SwiGLU's two, an LSTM's four, GRU's three, query, key, value and gate: the operand is read once, and what follows
/// finds all of them in registers.
pub const PRODUCTS_OF_ONE_OPERAND: Rule = Rule {
    name: "products-of-one-operand",
    group: "gates",
    why: "products that share an operand are one wider product: it is read once, and the gates meet in registers",
    phase: Phase::Gates,
    find: Find::Search { find, cases: CASES },
    when: &[SAME_SUMS, SAME_TYPE, SAME_INDEX],
    pays: &[],
    infinities: Infinities::Stay,
};

const CASES: &[&str] = &[
    "module m
axis t = 3
axis d = 2
axis h = 4
param @w1: f32[d, h]
param @w2: f32[d, h]
param @w3: f32[d, h]
graph @f(%x: f32[t, d]) -> (f32[t, h], f32[t, h], f32[t, h]) {
  %0 = contract[d] %x, @w1 : f32[h, t]
  %1 = contract[d] %x, @w2 : f32[h, t]
  %2 = contract[d] @w3, %x : f32[h, t]
  return %0, %1, %2
}
",
    // Weights of the same type, other sums.
    "module m
axis d = 2
axis h = 4
axis n = 3
param @w1: f32[d, h, n]
param @w2: f32[d, h, n]
graph @f(%x: f32[d, h]) -> (f32[h, n], f32[d, n]) {
  %0 = contract[d] %x, @w1 : f32[h, n]
  %1 = contract[h] %x, @w2 : f32[d, n]
  return %0, %1
}
",
    // Weights of other types.
    "module m
axis t = 3
axis d = 2
axis h = 4
axis n = 5
param @w1: f32[d, h]
param @w2: f32[d, n]
graph @f(%x: f32[t, d]) -> (f32[t, h], f32[t, n]) {
  %0 = contract[d] %x, @w1 : f32[h, t]
  %1 = contract[d] %x, @w2 : f32[n, t]
  return %0, %1
}
",
    // Experts, by one index and by two.
    "module m
axis t = 3
axis e = 4
axis d = 2
axis h = 5
param @w1: f32[e, d, h]
param @w2: f32[e, d, h]
param @w3: f32[e, d, h]
graph @f(%x: f32[t, d], %i: i32[t], %j: i32[t]) -> (f32[t, h], f32[t, h], f32[t, h]) {
  %0 = gather[e] @w1, %i : f32[d, h, t]
  %1 = gather[e] @w2, %i : f32[d, h, t]
  %2 = gather[e] @w3, %j : f32[d, h, t]
  %3 = contract[d] %x, %0 : f32[h, t]
  %4 = contract[d] %x, %1 : f32[h, t]
  %5 = contract[d] %x, %2 : f32[h, t]
  return %3, %4, %5
}
",
];

const SAME_SUMS: Condition = Condition::Says("all products sum over the same axes");
const SAME_TYPE: Condition = Condition::Says("all weights have one type");
const SAME_INDEX: Condition = Condition::Says("all weights stand as they are, or are gathered by one index");

/// Most products that are put together: a kernel keeps one accumulator for each.
const MOST: usize = 4;

/// A product, by what it must have in common with others.
struct Key {
    over: AxisSet,
    x: Id,
    weight: Type,
    gathered: Option<(Gather, Id)>,
    /// A panel holds weights of few bits in one way; one of several would have to hold floats.
    quantized: Option<Dequantize>,
    /// Where only one side of a choice needs it.
    side: Option<(Id, bool)>,
}

impl Key {
    fn is_like(&self, other: &Self, scene: &Scene) -> bool {
        self.x == other.x
            && self.quantized == other.quantized
            && self.side == other.side
            && scene.holds(SAME_SUMS, self.over == other.over)
            && scene.holds(SAME_TYPE, self.weight == other.weight)
            && scene.holds(SAME_INDEX, self.gathered == other.gathered)
    }
}

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut groups: Vec<(Key, Vec<(Id, Id)>)> = Vec::new();
    for (class, op, children) in scene.nodes("contract") {
        let Op::Contract(Contract { over }) = op else { continue };
        for (x, w) in [(children[0], children[1]), (children[1], children[0])] {
            if scene.at_load(x) {
                continue;
            }
            let (weight, gathered) = match scene.gathered_at_load(w) {
                Some((gather, weight, index)) => (weight, Some((gather, index))),
                None if scene.at_load(w) => (w, None),
                None => continue,
            };
            let ty = scene.ty(weight).clone();
            if ty.axes.minus(&over).is_empty() {
                continue;
            }
            let quantized = scene.quantized(weight);
            let key = Key { over: over.clone(), x, weight: ty, gathered, quantized, side: scene.side(class) };
            match groups.iter_mut().find(|(k, _)| k.is_like(&key, scene)) {
                Some((_, members)) if members.iter().any(|(c, w)| *c == class || *w == weight) => {}
                Some((_, members)) => members.push((class, weight)),
                None => groups.push((key, vec![(class, weight)])),
            }
        }
    }
    let mut found = Vec::new();
    for (key, members) in groups {
        for members in members.chunks(MOST).filter(|m| m.len() > 1) {
            let classes: Vec<Id> = members.iter().map(|(class, _)| *class).collect();
            if !scene.is_news(PRODUCTS_OF_ONE_OPERAND.name, &classes) {
                continue;
            }
            let gate = scene.fresh_axis("gate", Size::known(members.len() as i64));
            let weights = members.iter().map(|(_, w)| Tree::Class(*w)).collect();
            let mut stacked = Tree::op(Stack { axis: gate }, weights);
            if let Some((gather, index)) = &key.gathered {
                let index = *index;
                stacked = Tree::op(gather.clone(), vec![stacked, Tree::Class(index)]);
            }
            let product = Tree::op(Contract { over: key.over.clone() }, vec![Tree::Class(key.x), stacked]);
            let pick = |i: usize| Tree::op(Pick { axis: gate, index: i as i64 }, vec![product.clone()]);
            found.push(Match { places: classes.into_iter().enumerate().map(|(i, c)| (c, pick(i))).collect() });
        }
    }
    found
}
