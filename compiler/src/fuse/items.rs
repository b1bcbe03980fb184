//! What a loop reads along its axis.
//!
//! Items that are made element by element, and those that folds make of the same rows, come from one kernel: before, one for each. Items
//! that are views of what stands in a buffer stay views: a kernel that walks the loop reads them where they stand.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::{Core, Fuser, GroupId, divides, has_buffer, is_dear};
use crate::graph::{AxisSet, Value};
use crate::ops::{Class, Op, Scan};

impl Fuser<'_> {
    /// Sees to it that the operands of a loop are there when it runs.
    pub(super) fn visit_operands(&mut self, id: NodeIndex, scan: &Scan) {
        let operands = self.graph.operands(id);
        let items = scan.carries as usize..(scan.carries + scan.items) as usize;
        // Weights that are packed at load are not read as they stand.
        let mut made: Vec<Value> = operands[items.clone()].iter().copied().filter(|v| !(self.at_load)(*v)).collect();
        made.sort();
        made.dedup();
        for (i, &value) in operands.iter().enumerate() {
            if !(self.at_load)(value) && !items.contains(&i) {
                self.demand(value);
            }
        }
        let hosts = self.fold_together(id, &made);
        if !hosts.is_empty() {
            self.store_what_several_need(&made);
        }
        for value in made {
            if self.fusion.home(value).is_none() && self.views_a_buffer(value) {
                continue;
            }
            let axes = &self.graph.ty(value).axes;
            let host = hosts.iter().find(|(outer, _)| outer.is_subset(axes)).map(|(_, host)| *host);
            match host.filter(|host| self.fusion.home(value).is_none() && self.may_join(id, value, *host)) {
                Some(host) => {
                    self.read_from_group(value.node, host);
                    self.join(value, host);
                    self.store(value);
                }
                None => self.demand(value),
            }
        }
    }

    /// Folds of the same rows that nobody but the loop reads become one group; the groups, by what they vary with.
    fn fold_together(&mut self, id: NodeIndex, items: &[Value]) -> BTreeMap<AxisSet, GroupId> {
        let mut alike: BTreeMap<AxisSet, Vec<GroupId>> = BTreeMap::new();
        for value in items {
            let Some(home) = self.fusion.home(*value) else { continue };
            let group = &self.fusion.groups[home.0];
            if let Core::Nest { outer } = &group.core
                && group.roots.is_empty()
                && !group.folds.is_empty()
                && self.is_for_loop(id, *value)
                && !group.folds.iter().any(|v| matches!(self.graph.op(*v), Op::Segment(_)))
            {
                alike.entry(outer.clone()).or_default().push(home);
            }
        }
        alike.retain(|_, groups| {
            groups.sort();
            groups.dedup();
            groups.len() > 1
        });
        let mut hosts = BTreeMap::new();
        for (outer, mut groups) in alike {
            // The last comes after all that any of them depends on.
            let Some(host) = groups.pop() else { continue };
            for group in groups {
                let folds = std::mem::take(&mut self.fusion.groups[group.0].folds);
                self.fusion.groups[host.0].folds.extend(folds);
                self.fusion
                    .home
                    .values_mut()
                    .chain(self.latest.values_mut())
                    .filter(|g| **g == group)
                    .for_each(|g| *g = host);
            }
            hosts.insert(outer, host);
        }
        hosts
    }

    /// Stages of a kernel evaluate what they read each for itself: what is dear and in several of these values is stored. Of dear functions
    /// of dear functions each is, in a kernel of its own: a processor has more of a short chain under way than of a long one.
    fn store_what_several_need(&mut self, values: &[Value]) {
        let mut count: BTreeMap<Value, usize> = BTreeMap::new();
        for &value in values {
            let mut seen = BTreeSet::new();
            let mut below = vec![(value, false)];
            while let Some((value, is_inner)) = below.pop() {
                let op = self.graph.op(value);
                if !seen.insert(value) || (self.at_load)(value) || self.fusion.is_root(value) {
                    continue;
                }
                let floats = self.fusion.home(value).is_none();
                if floats && (is_dear(op) || divides(op) && !is_inner) {
                    *count.entry(value).or_default() += 1;
                }
                let is_inner = is_inner || is_dear(op);
                below.extend(self.graph.operands(value.node).into_iter().map(|v| (v, is_inner)));
            }
        }
        for (value, _) in count.into_iter().filter(|(_, count)| *count > 1) {
            self.demand(value);
        }
    }

    /// May a floating value that the loop and a group before it read be stored by the group?
    fn may_join(&self, id: NodeIndex, value: Value, host: GroupId) -> bool {
        let op = self.graph.op(value);
        let is_reader = |user: NodeIndex| user == id || self.fusion.home(Value::of(user)) == Some(host);
        let is_theirs =
            !self.wanted.contains(&value) && self.graph.uses(value).iter().all(|(user, _)| is_reader(*user));
        op.class() == Class::Pointwise && self.may_mix(host, value) && is_theirs && self.is_before(value, host)
    }

    /// Is a value read by nothing but the loop?
    fn is_for_loop(&self, id: NodeIndex, value: Value) -> bool {
        !self.wanted.contains(&value) && self.graph.uses(value).iter().all(|(user, _)| *user == id)
    }

    /// Is it an index function of what stands in a buffer?
    fn views_a_buffer(&self, value: Value) -> bool {
        let mut below = value;
        while matches!(self.graph.op(below), Op::Pick(_) | Op::Slice(_) | Op::Split(_) | Op::Rename(_)) {
            below = self.graph.operands(below.node)[0];
        }
        below != value && (self.fusion.home(below).is_some() || has_buffer(self.graph, below))
    }
}
