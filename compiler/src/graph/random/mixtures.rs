//! Steps of mixtures: several maps of one value, written out one by one or with an axis, weighed and added up.

use gatec_lang::Size;

use super::Generator;
use crate::graph::{Axis, AxisSet, Elem, Value};
use crate::ops;
use crate::scalar::{Fold, Unary};

impl Generator<'_, '_> {
    /// A value with an axis of known size to sum over, and that axis.
    fn mixable(&mut self) -> Option<(Value, Axis)> {
        let x = self.any();
        let (over, n) = self.known_axis(x)?;
        (n > 0 && self.build.ty(x).axes.len() <= 3).then_some((x, over))
    }

    /// Experts written out one by one: a weighted sum of them, a plain one, or a stack of which an index asks for one.
    pub(super) fn blocks(&mut self) -> Option<Value> {
        let (x, over) = self.mixable()?;
        let experts = 2 + self.rng.below(2);
        let expert = self.build.sizes.fresh("expert", Size::known(experts as i64));
        let out = self.build.sizes.fresh("out", Size::known(3));
        let rows: Vec<Axis> = self.build.ty(x).axes.without(over).iter().collect();
        let kind = self.rng.below(3);
        let gate = self.input_over(Elem::F32, rows.iter().copied().chain([expert]).collect())?;
        let mut blocks = Vec::new();
        for index in 0..experts as i64 {
            let w = self.param(vec![over, out])?;
            let y = self.build.contract(over.into(), x, w);
            let y = self.tame(y);
            let v = self.param(vec![out, over])?;
            let y = self.build.contract(out.into(), y, v);
            let weight = self.build.add(ops::Pick { axis: expert, index }, &[gate]);
            blocks.push(if kind == 0 { self.build.add(ops::Mul, &[weight, y]) } else { y });
        }
        let y = match kind {
            0 | 1 => self.build.add(ops::Add, &blocks),
            _ => {
                let all = self.build.add(ops::Stack { axis: expert }, &blocks);
                let chosen = self.input_over(Elem::I32, rows)?;
                self.build.add(ops::Gather::new(expert), &[all, chosen])
            }
        };
        Some(self.tame(y))
    }

    /// Maps with an axis of their own: their results weighed, with a gate for each row or one for all, and summed.
    pub(super) fn mixture(&mut self) -> Option<Value> {
        let (mut x, mut over) = self.mixable()?;
        if self.rng.chance(50) {
            // Wider than what follows: the gate pays after the maps.
            let wide = self.build.sizes.fresh("wide", Size::known(40));
            let up = self.param(vec![over, wide])?;
            let y = self.build.contract(over.into(), x, up);
            (x, over) = (self.tame(y), wide);
        }
        let map = self.build.sizes.fresh("map", Size::known(1 + self.rng.below(3) as i64));
        let mid = self.build.sizes.fresh("mid", Size::known(*self.rng.pick(&[3, 16])));
        let out = self.build.sizes.fresh("out", Size::known(2));
        let rows = self.build.ty(x).axes.without(over);
        if !self.is_small(&rows.with(map).with(mid)) {
            return None;
        }
        let per_row = self.rng.chance(50);
        let weights = rows.iter().filter(|_| per_row).chain([map]).collect();
        let gate = self.input_over(Elem::F32, weights)?;
        let w = self.param(vec![map, over, mid])?;
        let mut each = self.build.contract(over.into(), x, w);
        if self.rng.chance(50) {
            let v = self.param(vec![map, mid, out])?;
            each = if self.rng.chance(50) { self.tame(each) } else { each };
            each = self.build.contract(mid.into(), each, v);
        }
        let over = AxisSet::from(map);
        let mut y = match self.rng.below(3) {
            0 => self.build.contract(over, gate, each),
            1 => {
                let weighed = self.build.add(ops::Mul, &[gate, each]);
                self.build.reduce(Fold::Sum, over, weighed)
            }
            _ => self.build.reduce(Fold::Sum, over, each),
        };
        if self.build.ty(y).axes.contains(mid) {
            let v = self.param(vec![mid, out])?;
            y = self.build.contract(mid.into(), y, v);
        }
        let gate = self.build.unary(Unary::Sigmoid, gate);
        let gate = self.conform(gate, &rows);
        let y = self.build.add(ops::Mul, &[gate, y]);
        Some(self.tame(y))
    }
}
