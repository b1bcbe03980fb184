//! Takes the cheapest graph out of an e-graph, shared terms counted once.
//!
//! Greedy from the leaves up: each class keeps the set of classes that its best term uses, and a term costs what its set costs. A
//! term whose set holds its own class would be a circle and is passed over. The sets of children can go stale, and
//! greedy choices have no bound: the caller prices the graph that comes out beside what was written, and keeps the cheaper one; the
//! verifier checks it.

use std::collections::BTreeMap;

use egg::{Id, Language};

use super::Scene;
use super::cost::{self, Extents, Operand};
use super::term::Head;
use crate::ops::Op;

/// One term for each class that is needed.
pub struct Chosen {
    pub node: BTreeMap<Id, usize>,
    /// Operands first.
    pub order: Vec<Id>,
}

/// Rounds of improvement: deeper than any graph needs once costs settle.
const MAX_ROUNDS: usize = 200;

struct Best {
    cost: f64,
    node: usize,
    own: f64,
    set: Vec<u64>,
}

pub fn extract(scene: &Scene, roots: &[Id], extents: &Extents) -> Result<Chosen, String> {
    let egraph = &scene.egraph;
    let mut classes: Vec<Id> = egraph.classes().map(|c| c.id).collect();
    classes.sort();
    let number: BTreeMap<Id, usize> = classes.iter().enumerate().map(|(i, c)| (*c, i)).collect();
    let words = classes.len().div_ceil(64);
    let mut best: Vec<Option<Best>> = (0..classes.len()).map(|_| None).collect();
    let superseded: Vec<bool> = classes.iter().map(|c| scene.is_superseded(*c)).collect();
    for _ in 0..MAX_ROUNDS {
        let mut changed = false;
        for (i, &class) in classes.iter().enumerate() {
            for (n, term) in egraph[class].nodes.iter().enumerate() {
                // A class that a rule has improved for good is written in the rule's way.
                if superseded[i] && term.discriminant() == "contract" {
                    continue;
                }
                let mut set = vec![0u64; words];
                let mut complete = true;
                for operand in &term.operands {
                    match &best[number[&egraph.find(*operand)]] {
                        Some(b) => set.iter_mut().zip(&b.set).for_each(|(s, o)| *s |= o),
                        None => complete = false,
                    }
                }
                if !complete || set[i / 64] & (1 << (i % 64)) != 0 {
                    continue;
                }
                let own = own_cost(scene, class, n, extents);
                let shared: f64 = members(&set).map(|m| best[m].as_ref().map_or(0.0, |b| b.own)).sum();
                let cost = own + shared;
                if best[i].as_ref().is_none_or(|b| cost < b.cost * (1.0 - 1e-9) || (b.node == n && cost != b.cost)) {
                    set[i / 64] |= 1 << (i % 64);
                    changed |=
                        best[i].as_ref().is_none_or(|b| b.node != n || (b.cost - cost).abs() > 1e-6 * cost.abs());
                    best[i] = Some(Best { cost, node: n, own, set });
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut chosen = Chosen { node: BTreeMap::new(), order: Vec::new() };
    let mut state: Vec<u8> = vec![0; classes.len()];
    for root in roots {
        visit(scene, &number, &best, &mut state, egraph.find(*root), &mut chosen)?;
    }
    Ok(chosen)
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(w, bits)| (0..64).filter(move |b| bits & (1 << b) != 0).map(move |b| w * 64 + b))
}

fn own_cost(scene: &Scene, class: Id, node: usize, extents: &Extents) -> f64 {
    let term = &scene.egraph[class].nodes[node];
    match &term.head {
        Head::Result(_) => 0.0,
        Head::Op(op) => {
            let operand = |o: &Id| match (op, scene.gathered_at_load(*o)) {
                (Op::Contract(_), Some((axis, weights, index))) => {
                    Operand::gathered(scene.ty(weights), axis, scene.ty(index), extents)
                }
                _ => Operand::new(scene.ty(*o), scene.at_load(*o), extents),
            };
            let operands: Vec<Operand> = term.operands.iter().map(operand).collect();
            // Ties go to fewer terms.
            cost::of(op, scene.ty(class), &operands, extents) + 1e-3
        }
    }
}

/// Depth first, without recursion over the depth of the graph.
fn visit(
    scene: &Scene,
    number: &BTreeMap<Id, usize>,
    best: &[Option<Best>],
    state: &mut [u8],
    root: Id,
    chosen: &mut Chosen,
) -> Result<(), String> {
    let mut stack = vec![(root, false)];
    while let Some((class, done)) = stack.pop() {
        let i = number[&class];
        if done {
            state[i] = 2;
            chosen.order.push(class);
            continue;
        }
        match state[i] {
            2 => continue,
            1 => return Err("extraction ran in a circle".into()),
            _ => {}
        }
        let Some(b) = &best[i] else { return Err("a class has no term".into()) };
        state[i] = 1;
        chosen.node.insert(class, b.node);
        stack.push((class, true));
        for operand in scene.egraph[class].nodes[b.node].operands.iter().rev() {
            let operand = scene.egraph.find(*operand);
            if state[number[&operand]] == 0 {
                stack.push((operand, false));
            } else if state[number[&operand]] == 1 {
                return Err("extraction ran in a circle".into());
            }
        }
    }
    Ok(())
}
