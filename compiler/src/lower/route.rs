//! `route`, as its dense meaning: every expert's value, of which a gather keeps the chosen ones.
//!
//! `mix sum` is `contract[slot](weight, gather[expert](value, index))`, and over all experts `contract[expert](weight, value)`.
//! Rules push the gather down to the parameters, so that what no slot asks for is never computed. A slot that a plan dropped has
//! index -1, for which the gather gives 0: there, too, nothing is computed.

use gatec_lang::program::{Kind, Mix};

use super::Problem;
use super::frame::Frame;
use crate::graph::{Axis, AxisSet, Type, Value};
use crate::ops;
use crate::scalar::Fold;

impl Frame<'_, '_> {
    pub(super) fn route(&mut self, kind: &Kind, ty: &Type) -> Result<Value, Problem> {
        let Kind::Route { expert, slot, index, weight, drops, mix, value } = kind else {
            return Err(Problem::new("not a route"));
        };
        let expert = self.scene.names.axis(*expert);
        let value = self.value(*value)?;
        let weight = weight.map(|w| self.value(w)).transpose()?;
        let (chosen, slot) = match index {
            // Every expert counts: the slots are the experts.
            None => (value, expert),
            Some(index) => {
                let index = self.value(*index)?;
                let slot = slot.map_or(expert, |s| self.scene.names.axis(s));
                // A value that does not vary with the expert is the same for each.
                let varies = self.build.ty(value).axes.contains(expert);
                let op = ops::Gather { axis: expert, or_zero: *drops };
                let chosen = match (varies, drops) {
                    (false, false) => value,
                    // Not where there is no expert.
                    (false, true) => {
                        let value = self.with_axis(value, expert)?;
                        self.build.try_add(op, &[value, index])?
                    }
                    (true, _) => self.build.try_add(op, &[value, index])?,
                };
                (chosen, slot)
            }
        };
        let mixed = self.mix(*mix, slot, chosen, weight)?;
        // `mix none` is for plans that choose one: their slot axis has one element.
        if self.build.ty(mixed).axes.contains(slot) && !ty.axes.contains(slot) {
            return Ok(self.build.try_add(ops::Pick { axis: slot, index: 0 }, &[mixed])?);
        }
        Ok(mixed)
    }

    fn mix(&mut self, mix: Mix, slot: Axis, value: Value, weight: Option<Value>) -> Result<Value, Problem> {
        let has_slot = |f: &Self, x: Value| f.build.ty(x).axes.contains(slot);
        let over = AxisSet::from(slot);
        match (mix, weight) {
            (Mix::None, _) => Ok(value),
            (Mix::Concat { from, to }, _) => {
                let (from, to) = (self.scene.names.axis(from), self.scene.names.axis(to));
                let value = self.with_axis(value, slot)?;
                Ok(self.build.try_add(ops::Merge { from: vec![slot, from], to }, &[value])?)
            }
            (Mix::LogSumExp, _) => {
                let value = self.with_axis(value, slot)?;
                self.logsumexp(over, value)
            }
            (Mix::Sum, Some(weight)) => {
                let elem = self.build.ty(value).elem;
                let weight = self.cast(weight, elem)?;
                match (has_slot(self, weight), has_slot(self, value)) {
                    (true, true) => Ok(self.build.try_add(ops::Contract { over }, &[weight, value])?),
                    (true, false) => {
                        let total = self.fold(Fold::Sum, over, weight)?;
                        self.mul(&[total, value])
                    }
                    (false, true) => {
                        let total = self.fold(Fold::Sum, over, value)?;
                        self.mul(&[weight, total])
                    }
                    (false, false) => self.mul(&[weight, value]),
                }
            }
            _ if !has_slot(self, value) && mix != Mix::Sum => Ok(value),
            (Mix::Sum, None) => {
                let value = self.with_axis(value, slot)?;
                self.fold(Fold::Sum, over, value)
            }
            (Mix::Mean, _) => self.mean(over, value),
            (Mix::Max, _) => self.fold(Fold::Max, over, value),
        }
    }

    fn with_axis(&mut self, x: Value, axis: Axis) -> Result<Value, Problem> {
        let ty = self.build.ty(x);
        let ty = ty.over(ty.axes.with(axis));
        self.fit(x, &ty)
    }
}
