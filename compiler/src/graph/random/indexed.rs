//! Steps that look values up, or add them up, by an index that is an input.

use gatec_lang::Size;

use super::Generator;
use crate::graph::{Elem, Value};
use crate::ops;
use crate::scalar::Fold;

impl Generator<'_, '_> {
    pub(super) fn gather(&mut self) -> Option<Value> {
        let x = self.any();
        let (axis, n) = self.known_axis(x)?;
        if n == 0 {
            return None;
        }
        let order = self.some_axes(2);
        let axes = self.build.ty(x).axes.without(axis).union(&order.iter().copied().collect());
        if !self.is_small(&axes) {
            return None;
        }
        let index = self.input_over(Elem::I32, order)?;
        Some(self.build.add(ops::Gather::new(axis), &[x, index]))
    }

    /// Messages along edges, to nodes that may have none; at times two folds of the same edges, or a value looked up again.
    pub(super) fn segment(&mut self) -> Option<Value> {
        let x = self.any();
        let from = self.own_axis(x)?;
        let to = self.build.sizes.fresh("node", Size::known(1 + self.rng.below(5) as i64));
        let mut order = self.some_axes(1);
        order.retain(|a| *a != from);
        order.push(from);
        let axes = self.build.ty(x).axes.union(&order.iter().copied().collect());
        if !self.is_small(&axes.with(to)) {
            return None;
        }
        let index = self.input_over(Elem::I32, order)?;
        let folds = [Fold::Sum, Fold::Max, Fold::Min];
        let fold = folds[self.rng.below(folds.len())];
        let mut fold_by = |fold, x| self.build.add(ops::Segment { fold, from, to }, &[x, index]);
        let folded = match fold {
            // Of nothing the fold is infinite.
            Fold::Max | Fold::Min => {
                let folded = fold_by(fold, x);
                self.tame(folded)
            }
            fold => fold_by(fold, x),
        };
        Some(match self.rng.below(3) {
            0 => folded,
            1 => {
                let gate = self.tame(x);
                let other = self.build.add(ops::Segment { fold: Fold::Sum, from, to }, &[gate, index]);
                self.build.add(ops::Mul, &[folded, other])
            }
            _ => {
                let again = self.build.add(ops::Gather::new(to), &[folded, index]);
                self.build.add(ops::Add, &[x, again])
            }
        })
    }
}
