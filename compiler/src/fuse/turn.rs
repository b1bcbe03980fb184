//! Contractions that mix rows: which operand is packed.
//!
//! As a rule weights are packed, once at load, and the other operand is read where it stands. A contraction along what are rows of an input or of an
//! earlier contraction (a mixer's product over tokens, a spatial gate) is better turned round: its late operand stands with columns side by side, so that it is
//! packed by copying vectors, and the result, and what its epilogue reads, has columns side by side, too. Unturned, rows would be read
//! across, and the epilogue would gather.

use std::collections::BTreeSet;

use super::roles::{extent, order_above};
use super::{Core, Fuser, Roles};
use crate::graph::{Axis, AxisSet, Value};
use crate::ops::{Class, Op};

/// The least columns and rows for which packing with every call pays.
const MIN_COLUMNS: i64 = 64;
const MIN_ROWS: i64 = 16;

impl Fuser<'_> {
    /// The roles the other way round, where that is better.
    pub(super) fn turned(&self, roles: Roles) -> Roles {
        let inner = self.innermost(roles.x, &mut BTreeSet::new());
        let Some(inner) = inner.filter(|a| roles.rows.contains(*a)) else { return roles };
        let is_weights = roles.grouped.is_none() && roles.gate.is_none() && (self.at_load)(roles.w);
        let at_least = |axes: &AxisSet, n| extent(self.sizes, axes).is_some_and(|size| size >= n);
        if !is_weights || !at_least(&inner.into(), MIN_COLUMNS) || !at_least(&roles.cols, MIN_ROWS) {
            return roles;
        }
        let batch = roles.batch.union(&roles.rows.without(inner));
        Roles { x: roles.w, w: roles.x, batch, rows: roles.cols, cols: inner.into(), ..roles }
    }

    /// The axis along which elements of a value would stand side by side, where a leaf or an earlier contraction says so.
    fn innermost(&self, value: Value, seen: &mut BTreeSet<Value>) -> Option<Axis> {
        if !seen.insert(value) {
            return None;
        }
        let operands = self.graph.operands(value.node);
        let mut below = |of: Value| self.innermost(of, seen);
        let inner = match self.graph.op(value) {
            Op::Contract(_) => {
                let home = self.fusion.home(value)?;
                let Core::Contract { roles, .. } = &self.fusion.groups[home.0].core else { return None };
                let mut cols = roles.cols.iter();
                cols.next().filter(|_| cols.next().is_none())
            }
            op @ (Op::Rename(_) | Op::Slice(_) | Op::Split(_) | Op::Merge(_)) => {
                below(operands[0]).and_then(|axis| order_above(op, vec![axis]).last().copied())
            }
            Op::Pick(_) | Op::Reduce(_) => below(operands[0]),
            op if op.class() == Class::Pointwise => {
                let axes = &self.graph.ty(value).axes;
                operands.iter().filter(|v| self.graph.ty(**v).axes == *axes).find_map(|v| below(*v))
            }
            op if op.class() == Class::Leaf => (self.innermost_of)(value),
            _ => None,
        };
        inner.filter(|a| self.graph.ty(value).axes.contains(*a))
    }
}
