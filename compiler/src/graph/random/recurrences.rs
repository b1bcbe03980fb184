//! A step of linear recurrences: a state that fades, takes up products, and is read by sums.

use std::sync::Arc;

use gatec_lang::Size;

use super::Generator;
use crate::graph::{AxisSet, Builder, Elem, Type, Value};
use crate::ops;
use crate::scalar::{Fold, Unary};

impl Generator<'_, '_> {
    pub(super) fn linear(&mut self) -> Option<Value> {
        let x = self.any();
        let axis = self.own_axis(x)?;
        let item = self.build.ty(x).axes.without(axis);
        let key = item.iter().find(|a| self.build.sizes.known(*a).is_some_and(|n| n > 0))?;
        let value = self.build.sizes.fresh("value", Size::known(2 + self.rng.below(3) as i64));
        let state = item.with(value);
        if !self.is_small(&state.with(axis)) {
            return None;
        }
        let w = self.param(vec![value])?;
        let row = self.build.reduce(Fold::Sum, key.into(), x);
        let taken = self.build.add(ops::Mul, &[row, w]);
        let taken = self.tame(taken);
        let init = if self.rng.chance(50) { self.build.number(Elem::F32, 0.0) } else { self.any() };
        let init = self.conform(init, &state);
        let operands = [init, x, taken];

        let mut build = Builder::new(self.build.sizes);
        let ty = |axes: &AxisSet| Type::new(Elem::F32, axes.clone());
        let s = build.add(ops::Carry { index: 0, ty: ty(&state) }, &[]);
        let k = build.add(ops::Item { index: 0, ty: ty(&item) }, &[]);
        let v = build.add(ops::Item { index: 1, ty: ty(&state.without(key)) }, &[]);
        let gate = build.unary(Unary::Sigmoid, k);
        let faded = if self.rng.chance(80) { build.add(ops::Mul, &[gate, s]) } else { s };
        let bent = build.unary(Unary::Sin, k);
        let write = build.add(ops::Mul, &[bent, v]);
        let next = build.add(ops::Add, &[faded, write]);
        let read = if self.rng.chance(80) { next } else { s };
        let y = build.contract(key.into(), k, read);
        let body = Arc::new(build.finish(vec![next, y]));
        let scan = ops::Scan { axis, reverse: self.rng.chance(20), carries: 1, items: 2, body };
        let node = self.build.try_node(scan, &operands).ok()?;
        let y = self.build.results(node)[1];
        Some(self.tame(y))
    }
}
