//! Leaves: inputs, parameters, states, numbers, tables, indices, sizes.

use gatec_lang::program::Kind;

use super::Problem;
use super::frame::Frame;
use crate::graph::{Axis, Elem, Type, Value};
use crate::ops::{self, Op};

impl Frame<'_, '_> {
    pub(super) fn leaf(&mut self, kind: &Kind, ty: &Type) -> Result<Value, Problem> {
        let names = self.scene.names;
        let index = |i: usize| u32::try_from(i).map_err(|_| Problem::new("too many leaves"));
        let op: Op = match kind {
            Kind::Input(i) => ops::Input { index: index(*i)?, ty: ty.clone() }.into(),
            Kind::Param(i) => ops::Param { index: index(*i)?, ty: ty.clone() }.into(),
            Kind::State(i) => ops::State { index: index(*i)?, ty: ty.clone() }.into(),
            Kind::Number(x) => ops::Const::new(ty.elem, *x).into(),
            Kind::Table { order, values } => {
                let values = values.iter().map(|x| ops::bits(*x)).collect();
                ops::Table { elem: ty.elem, order: names.list(order), values }.into()
            }
            Kind::Index(axis) => ops::Index { axis: names.axis(*axis) }.into(),
            Kind::SizeOf(axis) => return self.size_of(names.axis(*axis), ty.elem),
            _ => return Err(Problem::new("not a leaf")),
        };
        Ok(self.build.try_add(op, &[])?)
    }

    /// The size of an axis: a number where it is known when building.
    pub(super) fn size_of(&mut self, axis: Axis, elem: Elem) -> Result<Value, Problem> {
        Ok(match self.build.sizes.known(axis) {
            Some(n) => self.build.try_add(ops::Const::new(elem, n as f64), &[])?,
            None => self.build.try_add(ops::SizeOf { axis, elem }, &[])?,
        })
    }
}

/// Is a node a leaf that every loop's body can have for itself?
pub(super) fn is_free(kind: &Kind) -> bool {
    matches!(kind, Kind::Number(_) | Kind::Table { .. } | Kind::Index(_) | Kind::SizeOf(_))
}
