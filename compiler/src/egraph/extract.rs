//! Takes the cheapest graph out of an e-graph, shared terms counted once.
//!
//! Greedy from the leaves up: each class keeps the set of classes that its best term uses, and a term costs what its set costs. A
//! term whose set holds its own class would be a circle and is passed over. That is blind to what pays only together (of the gates
//! of one product each alone is dearer than its own product), to what others have paid for already, and to where values are stored. So both the greedy choice and what
//! was written are then improved: all places of one application of a rule at once, and each class alone, are
//! tried the other way, priced as a whole, and kept if that is cheaper. The result never costs more than what was written.

use std::collections::BTreeMap;

use egg::Id;

use super::Written;
use super::cost::{self, Extents, Home, Operand};
use super::scene::Scene;
use super::term::Head;
use crate::machine::Machine;
use crate::ops::{Class, Op};
use crate::pipeline::Report;

/// One term for each class that is needed.
pub struct Chosen {
    pub node: BTreeMap<Id, usize>,
    /// Operands first.
    pub order: Vec<Id>,
    /// Nanoseconds.
    pub cost: f64,
}

/// Rounds of the greedy choice: deeper than any graph needs once costs settle.
const MAX_ROUNDS: usize = 200;

/// Choices that are tried in a region.
const MAX_TRIALS: usize = 20_000;

/// Less than rounding may differ is no improvement. Ties go to fewer terms, which are cheaper by this each, in nanoseconds.
const STEP: f64 = 1e-3;

pub fn extract(
    scene: &Scene,
    written: &Written,
    roots: &[Id],
    extents: &Extents,
    report: &mut Report,
) -> Result<Chosen, String> {
    let prices = Prices::new(scene, extents);
    let roots: Vec<usize> = roots.iter().map(|r| prices.number[&scene.egraph.find(*r)]).collect();
    let greedy = prices.greedy();
    let mut as_written = greedy.clone();
    for (class, term, _) in written.terms.iter().rev() {
        let class = prices.number[&scene.egraph.find(*class)];
        as_written[class] = prices.place(class, &scene.canonical(term));
    }
    let mut best = as_written;
    let mut cost = prices.total(&best, &roots, f64::INFINITY).ok_or("what was written is no longer in the e-graph")?;
    prices.improve(&mut best, &mut cost, &roots, report);
    let mut other = greedy;
    if let Some(mut total) = prices.total(&other, &roots, f64::INFINITY) {
        prices.improve(&mut other, &mut total, &roots, report);
        if total.cost < cost.cost {
            (best, cost) = (other, total);
        }
    }
    let order: Vec<Id> = cost.order.iter().map(|c| prices.classes[*c]).collect();
    let node = cost.order.iter().filter_map(|c| Some((prices.classes[*c], best[*c]?))).collect();
    Ok(Chosen { node, cost: cost.cost - STEP * order.len() as f64, order })
}

/// A term for each class, by number; none where there is no way to write it.
type Choice = Vec<Option<usize>>;

/// A whole graph.
struct Total {
    cost: f64,
    /// Operands first.
    order: Vec<usize>,
}

/// A term: its own cost, its operands and whether their axes are its own, its op if it is no result of a loop.
struct Priced<'a> {
    price: f64,
    operands: Vec<usize>,
    same_axes: Vec<bool>,
    op: Option<&'a Op>,
}

impl Priced<'_> {
    /// Where its operands are, and whether their axes are its own.
    fn below<'b>(&'b self, home: impl Fn(usize) -> Home + 'b) -> impl Iterator<Item = (Home, bool)> + 'b {
        self.operands.iter().map(move |o| home(*o)).zip(self.same_axes.iter().copied())
    }
}

struct Prices<'a> {
    scene: &'a Scene,
    classes: Vec<Id>,
    number: BTreeMap<Id, usize>,
    /// For each class its terms.
    terms: Vec<Vec<Priced<'a>>>,
    /// The bytes that a class takes if it is not known at load.
    bytes: Vec<Option<f64>>,
    machine: Machine,
}

impl<'a> Prices<'a> {
    fn new(scene: &'a Scene, extents: &Extents) -> Self {
        let classes = scene.all();
        let number: BTreeMap<Id, usize> = classes.iter().enumerate().map(|(i, c)| (*c, i)).collect();
        let term = |class: Id, n: usize| {
            let node = &scene.egraph[class].nodes[n];
            let op = if let Head::Op(op) = &node.head { Some(op) } else { None };
            let operands = node.operands.iter().map(|o| number[&scene.egraph.find(*o)]).collect();
            let same_axes = node.operands.iter().map(|o| scene.ty(*o).axes == scene.ty(class).axes).collect();
            Priced { price: own_cost(scene, class, n, extents) + STEP, operands, same_axes, op }
        };
        let bytes = classes.iter().map(|c| (!scene.at_load(*c)).then(|| cost::bytes(scene.ty(*c), extents))).collect();
        let terms = classes.iter().map(|c| (0..scene.egraph[*c].nodes.len()).map(|n| term(*c, n)).collect()).collect();
        Self { scene, number, terms, bytes, classes, machine: extents.machine }
    }

    fn place(&self, class: usize, term: &super::term::Term) -> Option<usize> {
        let nodes = &self.scene.egraph[self.classes[class]].nodes;
        nodes.iter().position(|n| n.head == term.head && self.scene.canonical(n) == *term)
    }

    fn greedy(&self) -> Choice {
        struct Best {
            cost: f64,
            node: usize,
            home: Home,
            set: Vec<u64>,
        }
        let words = self.classes.len().div_ceil(64);
        let mut best: Vec<Option<Best>> = (0..self.classes.len()).map(|_| None).collect();
        let own = |best: &[Option<Best>], m: usize| best[m].as_ref().map_or(0.0, |b| self.terms[m][b.node].price);
        // When a class changed, and when its terms were looked at, on one clock: what stands on nothing new need not be priced again.
        let (mut clock, mut changed_at, mut seen_at) =
            (1u64, vec![1u64; self.classes.len()], vec![0u64; self.classes.len()]);
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            for (i, terms) in self.terms.iter().enumerate() {
                let is_new = |term: &Priced| term.operands.iter().any(|o| changed_at[*o] > seen_at[i]);
                if seen_at[i] > 0 && !terms.iter().any(is_new) {
                    continue;
                }
                clock += 1;
                seen_at[i] = clock;
                for (n, term) in terms.iter().enumerate() {
                    let Priced { price, operands, op, .. } = term;
                    let mut set = vec![0u64; words];
                    let mut complete = true;
                    for operand in operands {
                        match &best[*operand] {
                            Some(b) => set.iter_mut().zip(&b.set).for_each(|(s, o)| *s |= o),
                            None => complete = false,
                        }
                    }
                    if !complete || set[i / 64] & (1 << (i % 64)) != 0 {
                        continue;
                    }
                    let home = |o: usize| best[o].as_ref().map_or(Home::Stored, |b| b.home);
                    let below: Vec<(Home, bool)> = term.below(home).collect();
                    let home = op.map_or(Home::Stored, |op| Home::of(op, &below));
                    // Counted for each reader: what is stored once for several looks dearer here than it is.
                    let store = |(o, (home, _)): (&usize, &(Home, bool))| {
                        self.bytes[*o].map_or(0.0, |b| home.store(b, &self.machine))
                    };
                    let stores: f64 = match op {
                        Some(op) if op.class() == Class::Contract => operands.iter().zip(&below).map(store).sum(),
                        _ => 0.0,
                    };
                    let cost = price + stores + members(&set).map(|m| own(&best, m)).sum::<f64>();
                    let is_better = best[i]
                        .as_ref()
                        .is_none_or(|b| cost < b.cost * (1.0 - 1e-9) || (b.node == n && cost != b.cost));
                    if is_better {
                        set[i / 64] |= 1 << (i % 64);
                        let settled =
                            best[i].as_ref().is_some_and(|b| b.node == n && (b.cost - cost).abs() <= 1e-6 * cost);
                        if !settled {
                            changed = true;
                            clock += 1;
                            changed_at[i] = clock;
                        }
                        best[i] = Some(Best { cost, node: n, home, set });
                    }
                }
            }
            if !changed {
                break;
            }
        }
        best.into_iter().map(|b| b.map(|b| b.node)).collect()
    }

    /// What a choice costs; `None` if it is no graph (a circle, or a class that cannot be written), or costs more than `most`.
    fn total(&self, choice: &Choice, roots: &[usize], most: f64) -> Option<Total> {
        let mut state = vec![0u8; self.classes.len()];
        let mut homes = vec![Home::Stored; self.classes.len()];
        let mut stored = vec![false; self.classes.len()];
        let mut total = Total { cost: 0.0, order: Vec::with_capacity(self.classes.len()) };
        let mut below: Vec<(Home, bool)> = Vec::new();
        // Depth first, without recursion over the depth of the graph.
        let mut stack: Vec<(usize, bool)> = roots.iter().rev().map(|r| (*r, false)).collect();
        while let Some((class, done)) = stack.pop() {
            let term = &self.terms[class][choice[class]?];
            let Priced { price, operands, op, .. } = term;
            if done {
                state[class] = 2;
                total.cost += price;
                if total.cost > most {
                    return None;
                }
                total.order.push(class);
                if let Some(op) = op {
                    below.clear();
                    below.extend(term.below(|o| homes[o]));
                    if op.class() == Class::Contract {
                        for (operand, (home, _)) in operands.iter().zip(&below) {
                            if let Some(bytes) = self.bytes[*operand]
                                && !std::mem::replace(&mut stored[*operand], true)
                            {
                                total.cost += home.store(bytes, &self.machine);
                            }
                        }
                    }
                    homes[class] = Home::of(op, &below);
                }
                continue;
            }
            match state[class] {
                0 => {}
                1 => return None,
                _ => continue,
            }
            state[class] = 1;
            stack.push((class, true));
            for operand in operands.iter().rev() {
                match state[*operand] {
                    0 => stack.push((*operand, false)),
                    1 => return None,
                    _ => {}
                }
            }
        }
        Some(total)
    }

    fn improve(&self, best: &mut Choice, cost: &mut Total, roots: &[usize], report: &mut Report) {
        let together = self.scene.applied.iter().filter(|places| places.len() > 1).filter_map(|places| {
            let place = |(class, term): &(Id, super::term::Term)| {
                let class = self.number[&self.scene.egraph.find(*class)];
                Some((class, self.place(class, &self.scene.canonical(term))?))
            };
            places.iter().map(place).collect::<Option<Vec<_>>>()
        });
        let alone = (0..self.classes.len()).flat_map(|c| (0..self.terms[c].len()).map(move |n| vec![(c, n)]));
        let moves: Vec<Vec<(usize, usize)>> = together.chain(alone.filter(|m| self.terms[m[0].0].len() > 1)).collect();
        let mut trials = 0;
        let used_by = |total: &Total| {
            let mut used = vec![false; self.classes.len()];
            total.order.iter().for_each(|c| used[*c] = true);
            used
        };
        let mut used = used_by(cost);
        loop {
            let mut improved = false;
            for places in &moves {
                if places.iter().all(|(c, n)| best[*c] == Some(*n)) || !places.iter().any(|(c, _)| used[*c]) {
                    continue;
                }
                trials += 1;
                if trials > MAX_TRIALS {
                    report.warnings.push(format!("extraction met the limit of {MAX_TRIALS} trials"));
                    return;
                }
                let before: Vec<Option<usize>> = places.iter().map(|(c, _)| best[*c]).collect();
                places.iter().for_each(|(c, n)| best[*c] = Some(*n));
                match self.total(best, roots, cost.cost) {
                    Some(other) if other.cost < cost.cost - STEP / 2.0 => {
                        *cost = other;
                        used = used_by(cost);
                        improved = true;
                    }
                    _ => places.iter().zip(before).for_each(|((c, _), n)| best[*c] = n),
                }
            }
            if !improved {
                return;
            }
        }
    }
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(w, bits)| (0..64).filter(move |b| bits & (1 << b) != 0).map(move |b| w * 64 + b))
}

fn own_cost(scene: &Scene, class: Id, node: usize, extents: &Extents) -> f64 {
    let term = &scene.egraph[class].nodes[node];
    let Head::Op(op) = &term.head else { return 0.0 };
    let operand = |o: &Id| match (op, scene.gathered_at_load(*o)) {
        (Op::Contract(_), Some((gather, weights, index))) => {
            Operand::gathered(scene.ty(weights), &gather, scene.ty(index), extents)
        }
        _ => Operand::new(scene.ty(*o), scene.at_load(*o), extents),
    };
    let operands: Vec<Operand> = term.operands.iter().map(operand).collect();
    let body = match op {
        Op::Scan(scan) => {
            let known: Vec<bool> = term.operands.iter().map(|o| scene.at_load(*o)).collect();
            cost::of_body(scan, &known, &scene.egraph.analysis.sizes, extents)
        }
        _ => 0.0,
    };
    cost::of(op, scene.ty(class), &operands, extents) + body
}
