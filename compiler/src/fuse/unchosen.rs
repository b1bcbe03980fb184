//! Rows that no expert takes: what a grouped contraction and its epilogue would make of them is 0, and nobody stores that.
//!
//! A plan that drops choices, or has a slot for every expert of which a threshold leaves few, has many such rows. The next grouped
//! contraction of the same index does not look at them either; any other reader asks the index before it reads (`plan/expand.rs`).
//! Results, operands of loops and parts of joined tensors are read elsewhere, without an index at hand: these are stored in full.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Elem, Value};
use crate::ops::{Class, Gather, Op};
use crate::scalar::Binary;

use super::{Core, Fuser, GroupId};

impl Fuser<'_> {
    /// Finds the groups that store rows of experts alone: their roots, and the index that tells which rows these are.
    pub(super) fn leave_out_unchosen(&mut self) {
        for number in 0..self.fusion.groups.len() {
            let group = &self.fusion.groups[number];
            let Core::Contract { value, roles } = &group.core else { continue };
            let Some(grouped) = roles.grouped.as_ref().filter(|grouped| grouped.or_zero) else { continue };
            let (core, index, mut known) = (*value, grouped.index, BTreeMap::new());
            let may_be_left = |root: &Value| {
                !self.wanted.contains(root)
                    && self.is_read_by_kernels(*root)
                    && self.there(*root, (core, GroupId(number), index), &mut known) == Some(0.0)
            };
            let roots = group.roots.clone();
            if roots.iter().all(may_be_left) {
                self.fusion.unchosen.extend(roots.into_iter().map(|root| (root, index)));
            }
        }
    }

    /// What a value of the group around `core` is where the index is negative, if that is one number.
    fn there(
        &self,
        value: Value,
        (core, group, index): (Value, GroupId, Value),
        known: &mut BTreeMap<Value, Option<f64>>,
    ) -> Option<f64> {
        if let Some(known) = known.get(&value) {
            return *known;
        }
        let operands = self.graph.operands(value.node);
        let mut of = |number: usize| self.there(*operands.get(number)?, (core, group, index), known);
        let op = self.graph.op(value);
        let there = match op {
            _ if value == core => Some(0.0),
            Op::Gather(Gather { or_zero: true, .. }) => (operands[1] == index).then_some(0.0),
            Op::Const(constant) => Some(constant.value()),
            // What others store is what it is.
            _ if self.fusion.home(value).is_some_and(|home| home != group) => None,
            Op::Unary(unary) => of(0).map(|x| unary.f.eval(x)),
            Op::Binary(binary) => of(0).zip(of(1)).map(|(a, b)| binary.f.eval(Elem::F64, a, b)),
            Op::Cast(_) | Op::Rename(_) | Op::Pick(_) => of(0),
            Op::Add(_) => (0..operands.len()).try_fold(0.0, |sum, i| Some(sum + of(i)?)),
            Op::Mul(_) => (0..operands.len()).try_fold(1.0, |product, i| Some(product * of(i)?)),
            Op::Select(_) if self.tells(operands[0], index) => of(2),
            Op::Select(_) => of(0).and_then(|flag| of(if flag != 0.0 { 1 } else { 2 })),
            _ => None,
        };
        // Integers wrap around, and halves round: that much is left alone.
        let there = there.filter(|n| *n == 0.0 || self.graph.ty(value).elem.is_float());
        known.insert(value, there);
        there
    }

    /// Is it `index >= 0`?
    fn tells(&self, flag: Value, index: Value) -> bool {
        let operands = self.graph.operands(flag.node);
        matches!(self.graph.op(flag), Op::Binary(b) if b.f == Binary::Ge)
            && operands[0] == index
            && matches!(self.graph.op(operands[1]), Op::Const(c) if c.value() == 0.0)
    }

    /// Do kernels of this graph alone read it, element by element?
    fn is_read_by_kernels(&self, root: Value) -> bool {
        let (mut seen, mut below) = (BTreeSet::new(), vec![root]);
        while let Some(value) = below.pop() {
            for (user, _) in self.graph.uses(value) {
                let op = &self.graph.node(user).op;
                let attends = self
                    .fusion
                    .home(Value::of(user))
                    .is_some_and(|home| matches!(self.fusion.groups[home.0].core, Core::Attend(_)));
                if attends || matches!(op, Op::Scan(_) | Op::Concat(_) | Op::Stack(_) | Op::Merge(_)) {
                    return false;
                }
                if op.class() == Class::View && seen.insert(user) {
                    below.push(Value::of(user));
                }
            }
        }
        true
    }
}
