//! What a loop carries from one step to the next.

use super::packed::Packed;
use super::scope::Scope;
use super::{Checked, Checker};
use crate::program::{AxisId, Elem, NodeId, Type};
use crate::syntax::{Carried, Expr, ExprKind, Name};

/// A carry while its loop is checked.
pub(super) struct Carry {
    pub(super) name: Name,
    pub(super) init: NodeId,
    pub(super) ty: Type,
    /// The first value as it was given: with sequences one after the other, one for each of them.
    pub(super) given: NodeId,
    /// The value with which the sequence of each element begins.
    pub(super) firsts: NodeId,
    /// It has no declared type, or one with `..`: expert axes of the routes around may come to it.
    is_open: bool,
}

impl Checker<'_> {
    /// Initial values of carries, of their declared types.
    pub(super) fn carries(
        &mut self,
        scope: &mut Scope,
        carried: &[Carried],
        axis: AxisId,
        packed: Option<Packed>,
    ) -> Checked<Vec<Carry>> {
        let carries: Vec<Checked<Carry>> = carried.iter().map(|c| self.first_value(scope, c, axis, packed)).collect();
        carries.into_iter().collect()
    }

    fn first_value(
        &mut self,
        scope: &mut Scope,
        carry: &Carried,
        axis: AxisId,
        packed: Option<Packed>,
    ) -> Checked<Carry> {
        let name = &carry.name;
        let val = match &carry.init {
            Some(init) => self.expr(scope, init)?,
            None => self.expr(scope, &Expr { kind: ExprKind::Name(name.clone()), span: name.span })?,
        };
        let declared = match &carry.ty {
            Some(ty) => {
                let (elem, order) = self.written(scope, ty)?;
                let axes = order.into_iter().filter(|a| *a != axis).collect();
                Some(Type { elem, axes })
            }
            None => None,
        };
        let elem = declared.as_ref().map_or(Elem::F32, |ty| ty.elem);
        let mut init = self.as_tensor(&val, elem, name.span)?;
        let own = packed.and_then(|packed| packed.axis).filter(|seq| self.has(init, *seq));
        let without =
            |of: &Type| Type { elem: of.elem, axes: of.axes.iter().copied().filter(|a| Some(*a) != own).collect() };
        let mut ty = declared.unwrap_or_else(|| without(self.ty(init)));
        let is_open = carry.ty.as_ref().is_none_or(|ty| ty.rest);
        for axis in &self.experts {
            if is_open && self.widened.contains(&(name.span, *axis)) && !ty.axes.contains(axis) {
                ty.axes.push(*axis);
            }
        }
        ty.axes.sort();
        self.not_shadowed(axis, &ty.axes, name.span)?;
        let mut given = ty.clone();
        given.axes.extend(own.filter(|seq| !ty.axes.contains(seq)));
        given.axes.sort();
        init = self.fit(init, &given, &format!("carry `{}`", name.text), name.span)?;
        let (given, mut firsts) = (init, init);
        if let Some(packed) = packed {
            (init, firsts) = self.first_of_each(packed, &name.text, given, &ty, name.span)?;
        }
        Ok(Carry { name: name.clone(), init, ty, given, firsts, is_open })
    }

    /// Does a carry lack expert axes of the routes around, and nothing else, that its next value has? It gets them.
    pub(super) fn widen(&mut self, next: NodeId, carry: &Carry) -> bool {
        let found = self.ty(next);
        let more: Vec<AxisId> = found.axes.iter().copied().filter(|a| !carry.ty.axes.contains(a)).collect();
        let widens = carry.is_open
            && found.elem == carry.ty.elem
            && !more.is_empty()
            && more.iter().all(|axis| self.experts.contains(axis));
        if widens {
            self.widened.extend(more.into_iter().map(|axis| (carry.name.span, axis)));
        }
        widens
    }
}
