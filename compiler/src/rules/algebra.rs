//! Algebra that pays: factors that are known at load meet weights that are.

use super::{Condition, Match, Rule};
use crate::egraph::{Scene, Tree};
use crate::ops::{Contract, Mul, Op};

/// `contract[k](x * s, w)` is `contract[k](x, s * w)`, where `s` and `w` are known at load and `s` varies along `k` only.
///
/// A norm's scale goes into the next product's weights.
pub const SCALE_INTO_WEIGHTS: Rule = Rule {
    name: "scale-into-weights",
    group: "algebra",
    why: "a factor known at load is multiplied into the weights once, not into every row",
    find,
    when: &[COVERED],
    cases: &[
        "module m
axis t = 3
axis k = 2
axis n = 4
param @s: f32[k]
param @w: f32[k, n]
graph @f(%x: f32[t, k]) -> (f32[t, n]) {
  %0 = mul %x, @s : f32[k, t]
  %1 = contract[k] %0, @w : f32[n, t]
  return %1
}
",
        "module m
axis t = 3
axis k = 2
axis n = 4
param @s: f32[k]
param @w: f32[k, n]
graph @f(%x: f32[t]) -> (f32[t, n]) {
  %0 = mul %x, @s : f32[k, t]
  %1 = contract[k] %0, @w : f32[n, t]
  return %1
}
",
    ],
};

const COVERED: Condition = Condition("what is left of the product varies along every axis of the sum");

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, children) in scene.nodes("contract") {
        let Op::Contract(Contract { over }) = op else { continue };
        for (x, w) in [(children[0], children[1]), (children[1], children[0])] {
            if !scene.at_load(w) || scene.at_load(x) {
                continue;
            }
            for (inner, factors) in scene.class(x) {
                if !matches!(inner, Op::Mul(_)) {
                    continue;
                }
                let is_scale = |scene: &Scene, f| {
                    let axes = &scene.ty(f).axes;
                    scene.at_load(f) && !axes.is_empty() && axes.is_subset(&over)
                };
                let (scales, rest): (Vec<_>, Vec<_>) = factors.iter().copied().partition(|f| is_scale(scene, *f));
                // What is left must still vary as the product did along the sum.
                let covers = over.iter().all(|k| rest.iter().any(|r| scene.ty(*r).axes.contains(k)));
                if scales.is_empty() || rest.is_empty() || !scene.holds(COVERED, covers) {
                    continue;
                }
                let rest = Tree::product(rest);
                let mut weights = vec![Tree::Class(w)];
                weights.extend(scales.into_iter().map(Tree::Class));
                let tree = Tree::op(Contract { over: over.clone() }, vec![rest, Tree::op(Mul, weights)]);
                found.push(Match { class, tree, supersedes: false });
            }
        }
    }
    found
}
