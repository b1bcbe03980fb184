//! Steps of products: plain ones, those of gates, and gates that were written out.

use gatec_lang::Size;

use super::Generator;
use crate::graph::{Axis, AxisSet, Elem, Value};
use crate::ops;
use crate::scalar::{Binary, Unary};

/// Contractions of more axes take long in plain loops.
const MAX_CONTRACT_AXES: usize = 5;

impl Generator<'_, '_> {
    /// With a parameter or another value; sometimes several of one operand, as gates are.
    pub(super) fn contract(&mut self) -> Option<Value> {
        let x = self.any();
        let over = self.own_axes(x)?;
        let w = if self.rng.chance(70) && self.declared.is_some() {
            let mut order: Vec<Axis> = over.iter().collect();
            let axes = self.axes.clone();
            let extra = *self.rng.pick(&axes);
            let may = !self.build.ty(x).axes.contains(extra) && self.build.sizes.known(extra).is_some();
            if may {
                order.push(extra);
            }
            self.param(order)?
        } else {
            let w = self.any();
            if !over.is_subset(&self.build.ty(w).axes) {
                return None;
            }
            w
        };
        let axes = self.build.ty(x).axes.union(&self.build.ty(w).axes);
        if axes.len() > MAX_CONTRACT_AXES || !self.is_small(&axes.minus(&over)) {
            return None;
        }
        let scale = 1.0 / (self.elements(&over) as f64).sqrt();
        let y = self.build.contract(over, x, w);
        let y = self.scaled(y, scale);
        Some(self.tame(y))
    }

    /// Two products of one operand, which may be scaled by a parameter; one gates the other.
    pub(super) fn gated(&mut self) -> Option<Value> {
        let mut x = self.any();
        let over = self.own_axes(x)?;
        if over.is_empty() {
            return None;
        }
        let mut order: Vec<Axis> = over.iter().collect();
        if self.rng.chance(50) {
            let scale = self.param(order.clone())?;
            x = self.build.add(ops::Mul, &[x, scale]);
        }
        self.widened(x, &over, &mut order)?;
        let scale = 1.0 / (self.elements(&over) as f64).sqrt();
        let mut products = Vec::new();
        for _ in 0..2 + self.rng.below(2) {
            let w = self.param(order.clone())?;
            let y = self.build.contract(over.clone(), x, w);
            products.push(self.scaled(y, scale));
        }
        let gates: Vec<Value> = products.into_iter().map(|y| self.build.unary(Unary::Sigmoid, y)).collect();
        Some(self.build.add(ops::Mul, &gates))
    }

    /// A product whose operand is made for it: normalised, gated, shifted or joined. What it is made of may have other readers.
    pub(super) fn prepared(&mut self) -> Option<Value> {
        let x = self.any();
        let over = self.own_axes(x)?;
        let x = match self.rng.below(4) {
            0 => {
                let square = self.build.add(ops::Mul, &[x, x]);
                let mean = self.mean(square, over.clone());
                let one = self.build.number(Elem::F32, 1.0);
                let sum = self.build.add(ops::Add, &[mean, one]);
                let scale = self.build.unary(Unary::Rsqrt, sum);
                self.build.add(ops::Mul, &[x, scale])
            }
            1 => {
                let gate = self.build.unary(Unary::Sigmoid, x);
                self.build.add(ops::Mul, &[x, gate])
            }
            2 => {
                let axis = self.own_axis(x)?;
                let fill = ops::bits(self.rng.number(1.0));
                self.build.add(ops::Shift { axis, by: self.rng.below(3) as i64 - 1, fill }, &[x])
            }
            _ => {
                let axis = self.build.sizes.fresh("two", Size::known(2));
                let other = self.build.unary(Unary::Tanh, x);
                let both = self.build.add(ops::Stack { axis }, &[other, x]);
                return self.multiplied(both, over.with(axis));
            }
        };
        if self.rng.chance(20) {
            self.pool.push(x);
        }
        self.multiplied(x, over)
    }

    /// Perhaps another axis for a parameter; `None` if its product with `x` would be too large.
    fn widened(&mut self, x: Value, over: &AxisSet, order: &mut Vec<Axis>) -> Option<()> {
        let axes = self.axes.clone();
        let extra = *self.rng.pick(&axes);
        if !self.build.ty(x).axes.contains(extra) && self.build.sizes.known(extra).is_some() {
            order.push(extra);
        }
        let axes: AxisSet = self.build.ty(x).axes.union(&order.iter().copied().collect());
        (axes.len() <= MAX_CONTRACT_AXES && self.is_small(&axes.minus(over))).then_some(())
    }

    /// The product with a parameter, summed over `over`.
    fn multiplied(&mut self, x: Value, over: AxisSet) -> Option<Value> {
        let mut order: Vec<Axis> = over.iter().collect();
        self.widened(x, &over, &mut order)?;
        let w = self.param(order)?;
        let scale = 1.0 / (self.elements(&over) as f64).sqrt();
        let y = self.build.contract(over, x, w);
        let y = self.scaled(y, scale);
        Some(self.tame(y))
    }

    /// A sigmoid written out, or one stretched to -1..1.
    pub(super) fn written_out(&mut self) -> Option<Value> {
        let (x, y) = (self.any(), self.any());
        let y = self.tame(y);
        let one = self.build.number(Elem::F32, 1.0);
        if self.rng.chance(50) {
            let two = self.build.number(Elem::F32, 2.0);
            let twice = self.build.add(ops::Mul, &[y, two]);
            let gate = self.build.unary(Unary::Sigmoid, twice);
            let gate = self.build.add(ops::Mul, &[two, gate]);
            return Some(self.build.binary(Binary::Sub, gate, one));
        }
        let minus = self.build.unary(Unary::Neg, y);
        let power = self.build.unary(Unary::Exp, minus);
        let sum = self.build.add(ops::Add, &[one, power]);
        let above = if self.rng.chance(50) { x } else { one };
        Some(self.build.binary(Binary::Div, above, sum))
    }
}
