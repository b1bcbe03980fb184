//! What is new in an e-graph since a rule looked at it: only there can the rule match anew.

use std::collections::BTreeMap;

use egg::{EGraph, Id};

use super::term::{Facts, Term};

/// How deep it is told: for a class, its operands, theirs, and what these stand on.
const DEPTH: usize = 4;

#[derive(Clone, Default)]
pub(super) struct News {
    /// How many times the graph was looked at.
    now: u64,
    /// Of each class, by number: what it was at the last look, and when it, or anything so far below it, last changed.
    classes: Vec<Option<(u64, [u64; DEPTH])>>,
    /// When each rule looked at it.
    seen: BTreeMap<&'static str, u64>,
}

impl News {
    /// Looks at a graph that rules have changed.
    pub fn look(&mut self, egraph: &EGraph<Term, Facts>) {
        self.now += 1;
        let most = egraph.classes().map(|class| usize::from(class.id)).max();
        let mut classes = vec![None; most.map_or(0, |most| most + 1)];
        for class in egraph.classes() {
            let ids = class.nodes.iter().flat_map(|term| term.operands.iter().map(|o| usize::from(*o) as u64));
            let is_now = ids.fold(2 * class.nodes.len() as u64 + u64::from(class.data.at_load), |hash, id| {
                (hash ^ id).wrapping_mul(0x0100_0000_01B3).rotate_left(5)
            });
            let before = of(&self.classes, class.id).filter(|(was, _)| *was == is_now);
            classes[usize::from(class.id)] = Some((is_now, [before.map_or(self.now, |(_, when)| when[0]); DEPTH]));
        }
        for depth in 1..DEPTH {
            let when: Vec<(Id, u64)> = egraph
                .classes()
                .map(|class| {
                    let operands = class.nodes.iter().flat_map(|term| &term.operands);
                    let when = |id: Id| of(&classes, id).map_or(self.now, |(_, when)| when[depth - 1]);
                    (class.id, operands.map(|o| when(egraph.find(*o))).fold(when(class.id), u64::max))
                })
                .collect();
            for (id, when) in when {
                if let Some((_, whens)) = &mut classes[usize::from(id)] {
                    whens[depth..].fill(when);
                }
            }
        }
        self.classes = classes;
    }

    /// The classes, of these, in which a rule may match anew whose pattern is so many ops deep: facts about what stands below count, too. It
    /// has seen them now.
    pub fn of(&mut self, rule: &'static str, depth: usize, mut classes: Vec<Id>) -> Vec<Id> {
        let seen = self.seen.insert(rule, self.now).unwrap_or(0);
        let is_new =
            |id: &Id| of(&self.classes, *id).is_none_or(|(_, when)| when.get(depth).is_none_or(|when| *when > seen));
        classes.retain(is_new);
        classes
    }
}

fn of(classes: &[Option<(u64, [u64; DEPTH])>], id: Id) -> Option<&(u64, [u64; DEPTH])> {
    classes.get(usize::from(id))?.as_ref()
}
