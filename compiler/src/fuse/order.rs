//! The end of fusion: what several groups would evaluate is stored, and groups come into an order in which they can run.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::{Fuser, Group, GroupId, is_dear};
use crate::graph::Value;
use crate::ops::Class;

impl Fuser<'_> {
    /// Stores floating values that are dear to evaluate and read by more than one group.
    pub(super) fn store_what_is_dear(&mut self, live: &BTreeSet<NodeIndex>) {
        for &id in live {
            let value = Value::of(id);
            if self.fusion.home(value).is_some() || (self.at_load)(value) || !is_dear(&self.graph.node(id).op) {
                continue;
            }
            let readers = self.readers(value, live);
            if readers.len() > 1 {
                self.demand(value);
            }
        }
    }

    /// The groups that read a value, itself or through what floats on it.
    fn readers(&self, value: Value, live: &BTreeSet<NodeIndex>) -> BTreeSet<Option<GroupId>> {
        let mut readers = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut above = vec![value];
        while let Some(value) = above.pop() {
            for (user, _) in self.graph.uses(value).into_iter().filter(|(user, _)| live.contains(user)) {
                let result = Value::of(user);
                let home = self.fusion.home(result);
                let floats = home.is_none() && matches!(self.graph.op(result).class(), Class::Pointwise | Class::View);
                if !floats {
                    readers.insert(home);
                } else if seen.insert(user) {
                    above.push(result);
                }
            }
        }
        readers
    }

    /// Orders groups so that each runs after those whose roots it reads.
    pub(super) fn order(&mut self, live: &BTreeSet<NodeIndex>) {
        let count = self.fusion.groups.len();
        let mut needs: Vec<BTreeSet<GroupId>> = vec![BTreeSet::new(); count];
        // The groups that a floating value reads, through other floating values.
        let mut reads: BTreeMap<NodeIndex, BTreeSet<GroupId>> = BTreeMap::new();
        for &id in live {
            let mut groups = BTreeSet::new();
            for operand in self.graph.operands(id) {
                match self.fusion.home(operand) {
                    Some(home) => {
                        groups.insert(home);
                    }
                    None => groups.extend(reads.get(&operand.node).into_iter().flatten().copied()),
                }
            }
            if let Some(home) = self.fusion.home(Value::of(id)) {
                needs[home.0].extend(groups.iter().copied().filter(|g| *g != home));
            }
            reads.insert(id, groups);
        }
        self.look_at_flags(&mut needs);
        self.run_only_if(&mut needs);
        let mut placed = vec![false; count];
        while placed.contains(&false) {
            let ready = (0..count).find(|&g| !placed[g] && needs[g].iter().all(|n| placed[n.0]));
            // A value joins a group only if all it depends on comes no later than that group: no circle can arise.
            let Some(group) = ready else { unreachable!("groups read each other in a circle: {needs:?}") };
            placed[group] = true;
            self.fusion.order.push(GroupId(group));
        }
        // Some gave all that they had to others.
        let is_there = |group: &Group| !group.roots.is_empty() || !group.folds.is_empty();
        self.fusion.order.retain(|group| is_there(&self.fusion.groups[group.0]));
        for group in &mut self.fusion.groups {
            group.roots.sort();
        }
    }
}
