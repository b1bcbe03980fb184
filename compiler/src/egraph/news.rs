//! What is new in an e-graph since a rule looked at it: only there can the rule match anew.

use std::collections::{BTreeMap, HashMap};

use egg::{EGraph, Id};

use super::term::{Facts, Term};

/// How deep it is told: for a class, its operands, theirs, and what these stand on.
const DEPTH: usize = 4;

#[derive(Clone, Default)]
pub(super) struct News {
    /// How many times the graph was looked at.
    now: u64,
    /// Of each class: what it was at the last look, and when it, or anything so far below it, last changed.
    classes: HashMap<Id, (u64, [u64; DEPTH])>,
    /// When each rule looked at it.
    seen: BTreeMap<&'static str, u64>,
}

impl News {
    /// Looks at a graph that rules have changed.
    pub fn look(&mut self, egraph: &EGraph<Term, Facts>) {
        self.now += 1;
        let mut classes = HashMap::with_capacity(self.classes.len());
        for class in egraph.classes() {
            let ids = class.nodes.iter().flat_map(|term| term.operands.iter().map(|o| usize::from(*o) as u64));
            let is_now = ids.fold(2 * class.nodes.len() as u64 + u64::from(class.data.at_load), |hash, id| {
                (hash ^ id).wrapping_mul(0x0100_0000_01B3).rotate_left(5)
            });
            let before = self.classes.get(&class.id).filter(|(was, _)| *was == is_now);
            classes.insert(class.id, (is_now, [before.map_or(self.now, |(_, when)| when[0]); DEPTH]));
        }
        for depth in 1..DEPTH {
            let when: Vec<(Id, u64)> = egraph
                .classes()
                .map(|class| {
                    let operands = class.nodes.iter().flat_map(|term| &term.operands);
                    let of = |id: Id| classes.get(&id).map_or(self.now, |(_, when)| when[depth - 1]);
                    (class.id, operands.map(|o| of(egraph.find(*o))).fold(of(class.id), u64::max))
                })
                .collect();
            for (id, when) in when {
                if let Some((_, whens)) = classes.get_mut(&id) {
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
            |id: &Id| self.classes.get(id).is_none_or(|(_, when)| when.get(depth).is_none_or(|when| *when > seen));
        classes.retain(is_new);
        classes
    }
}
