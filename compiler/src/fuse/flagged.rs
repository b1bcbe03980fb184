//! Kernels that look at a flag before they compute a row: where the rows that somebody needs are told by a value of the same graph,
//! an arm of a route's `index == 2` for example, its kernel runs before theirs.
//!
//! A leaf is there in any case (`needed.rs`). Any other flag has to be made first, and rows are sorted by it or asked one by one, which a row
//! of few operations does not pay.
//!
//! A flag without axes tells whether a kernel runs at all (an arm of a `choose`): it stands in a buffer, and the plan looks there.

use std::collections::BTreeSet;

use gatec_runtime::format::Isa;

use crate::graph::{AxisSet, Value};
use crate::ops::{Class, Op};

use super::{Core, Fuser, Group, GroupId, Only, is_leaf};

/// The least operations of a row that sorting rows by a flag pays for. Chosen, not measured.
const MIN_ROW_FLOPS: i64 = 1024;
/// The least points of a nest for each row that a look at the flag pays for. Likewise.
const MIN_ROW_POINTS: i64 = 32;

impl Fuser<'_> {
    /// Finds the groups that look at flags of this graph; each needs the groups that the flag is made by, but for those that would read
    /// each other in a circle.
    pub(super) fn look_at_flags(&mut self, before: &mut [BTreeSet<GroupId>]) {
        if self.isa == Isa::Sm80 {
            return;
        }
        for number in 0..self.fusion.groups.len() {
            let group = GroupId(number);
            let Some(only) = self.flag_of(group) else { continue };
            let Some(makers) = self.makers(only.flag) else { continue };
            let homes: BTreeSet<GroupId> = makers.iter().filter_map(|v| self.fusion.home(*v)).collect();
            if homes.iter().any(|home| reaches(before, *home, group)) {
                continue;
            }
            makers.into_iter().for_each(|v| self.store(v));
            before[number].extend(homes);
            self.fusion.flagged.insert(group, only);
        }
    }

    /// May a value become part of a group? What runs only under a condition is not mixed with what does not, and the select that
    /// takes one of two sides is not made where its condition is: sides may be made in between.
    pub(super) fn may_mix(&self, group: GroupId, value: Value) -> bool {
        let is_made_here =
            |condition: Value| self.graph.ty(condition).axes.is_empty() && self.latest.get(&condition) == Some(&group);
        let takes_a_side =
            || matches!(self.graph.op(value), Op::Select(_)) && is_made_here(self.graph.operands(value.node)[0]);
        match self.asked[group.0] {
            Some(only) => self.needs.of(value).whole(self.graph) == Some(only),
            None => !takes_a_side(),
        }
    }

    /// The condition under which a group runs.
    fn condition(&self, group: GroupId) -> Option<Only> {
        let roots = self.fusion.groups[group.0].roots.iter().copied();
        Only::of(self.needs, roots).filter(|only| self.graph.ty(only.flag).axes.is_empty())
    }

    /// Sees to it that conditions under which groups run stand in buffers.
    pub(super) fn store_flags(&mut self) {
        for number in 0..self.fusion.groups.len() {
            if let Some(only) = self.condition(GroupId(number)) {
                self.demand(only.flag);
            }
        }
    }

    /// Finds the groups that run only under a condition, which is made before them. Should they need each other in a circle, all run.
    pub(super) fn run_only_if(&mut self, before: &mut [BTreeSet<GroupId>]) {
        let known = before.to_vec();
        for group in (0..self.fusion.groups.len()).map(GroupId) {
            let Some(only) = self.condition(group) else { continue };
            self.fusion.only_if.insert(group, only);
            let Some(home) = self.fusion.home(only.flag) else { continue };
            if home == group || reaches(before, home, group) {
                self.fusion.only_if.clear();
                return before.clone_from_slice(&known);
            }
            before[group.0].insert(home);
        }
    }

    /// The flag that a group would look at.
    fn flag_of(&self, group: GroupId) -> Option<Only> {
        let Group { core, roots, folds } = &self.fusion.groups[group.0];
        let (values, rows) = match core {
            Core::Contract { value, roles } if roles.grouped.is_none() && roles.batch.is_empty() => {
                (vec![*value], &roles.rows)
            }
            Core::Nest { outer } => (folds.iter().chain(roots).copied().collect(), outer),
            Core::Attend(attention) => (roots.clone(), &attention.batch),
            _ => return None,
        };
        let only = Only::of(self.needs, values.iter().copied())?;
        let flag = &self.graph.ty(only.flag).axes;
        if is_leaf(self.graph, only.flag) || flag.is_empty() || !flag.is_subset(rows) {
            return None;
        }
        let pays = match core {
            Core::Contract { roles, .. } => {
                self.points(&roles.sums.union(&roles.cols)).saturating_mul(2) >= MIN_ROW_FLOPS
            }
            Core::Attend(_) => true,
            _ => {
                let all = values.iter().fold(AxisSet::default(), |all, v| all.union(&self.all_axes(*v)));
                self.points(&all.minus(flag)) >= MIN_ROW_POINTS
            }
        };
        pays.then_some(only)
    }

    /// The axes of a value and of what it folds.
    fn all_axes(&self, value: Value) -> AxisSet {
        let own = self.graph.ty(value).axes.clone();
        self.graph.operands(value.node).iter().fold(own, |all, v| all.union(&self.graph.ty(*v).axes))
    }

    /// Points along axes; those whose number is not known when building are taken for many.
    fn points(&self, axes: &AxisSet) -> i64 {
        axes.iter().map(|a| self.sizes.known(a).unwrap_or(MIN_ROW_FLOPS)).fold(1, i64::saturating_mul)
    }

    /// The values of groups that a flag is made of, by what is evaluated wherever it is read; none, if it is made of anything else.
    fn makers(&self, flag: Value) -> Option<BTreeSet<Value>> {
        let (mut makers, mut seen, mut below) = (BTreeSet::new(), BTreeSet::new(), vec![flag]);
        while let Some(value) = below.pop() {
            if !seen.insert(value) {
                continue;
            }
            match (self.fusion.home(value), self.graph.op(value).class()) {
                (Some(_), _) => {
                    makers.insert(value);
                }
                (None, Class::Leaf) => {}
                (None, Class::Pointwise | Class::View) => below.extend(self.graph.operands(value.node)),
                (None, _) => return None,
            }
        }
        Some(makers)
    }
}

/// Does `from` need `group`, itself or through others?
fn reaches(before: &[BTreeSet<GroupId>], from: GroupId, group: GroupId) -> bool {
    let (mut seen, mut below) = (BTreeSet::new(), vec![from]);
    while let Some(at) = below.pop() {
        if at == group {
            return true;
        }
        if seen.insert(at) {
            below.extend(&before[at.0]);
        }
    }
    false
}
