//! What a loop carries from one step to the next.

use super::packed::Packed;
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val};
use crate::program::{AxisId, Elem, NodeId, Type};
use crate::syntax::{Carried, Expr, ExprKind, Name, Ty};

/// A carry while its loop is checked.
pub(super) struct Carry {
    pub(super) name: Name,
    /// Of a record: the carries of its fields stand one after the other.
    pub(super) field: Option<String>,
    pub(super) init: NodeId,
    pub(super) ty: Type,
    /// The first value as it was given: with sequences one after the other, one for each of them.
    pub(super) given: NodeId,
    /// The value with which the sequence of each element begins.
    pub(super) firsts: NodeId,
    /// It has no declared type, or one with `..`: expert axes of the routes around may come to it.
    is_open: bool,
}

/// `s`, or `s.cell`.
fn called(name: &Name, field: Option<&String>) -> String {
    field.map_or_else(|| name.text.clone(), |field| format!("{}.{field}", name.text))
}

impl Carry {
    /// As messages call it.
    pub(super) fn called(&self) -> String {
        called(&self.name, self.field.as_ref())
    }
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
        let mut carries = Vec::new();
        let mut failed = false;
        for carry in carried {
            match self.first_values(scope, carry, axis, packed) {
                Ok(some) => carries.extend(some),
                Err(Reported) => failed = true,
            }
        }
        if failed { Err(Reported) } else { Ok(carries) }
    }

    fn first_values(
        &mut self,
        scope: &mut Scope,
        carry: &Carried,
        axis: AxisId,
        packed: Option<Packed>,
    ) -> Checked<Vec<Carry>> {
        let name = &carry.name;
        let val = match &carry.init {
            Some(init) => self.expr(scope, init)?,
            None => self.expr(scope, &Expr { kind: ExprKind::Name(name.clone()), span: name.span })?,
        };
        let declared = carry.ty.as_ref().map(|ty| self.result_types(ty)).transpose()?;
        let fields = self.carried_fields(name, val, declared)?;
        let first = |(field, val, ty): (Option<String>, Val, Option<Ty>)| {
            self.first_value(scope, (name, field), (&val, ty.as_ref()), axis, packed)
        };
        let carries: Vec<Checked<Carry>> = fields.into_iter().map(first).collect();
        carries.into_iter().collect()
    }

    fn first_value(
        &mut self,
        scope: &Scope,
        (name, field): (&Name, Option<String>),
        (val, written): (&Val, Option<&Ty>),
        axis: AxisId,
        packed: Option<Packed>,
    ) -> Checked<Carry> {
        let declared = match written {
            Some(ty) => {
                let (elem, order) = self.written(scope, ty)?;
                let axes = order.into_iter().filter(|a| *a != axis).collect();
                Some(Type { elem, axes })
            }
            None => None,
        };
        let elem = declared.as_ref().map_or(Elem::F32, |ty| ty.elem);
        let mut init = self.as_tensor(val, elem, name.span)?;
        let own = packed.and_then(|packed| packed.axis).filter(|seq| self.has(init, *seq));
        let without =
            |of: &Type| Type { elem: of.elem, axes: of.axes.iter().copied().filter(|a| Some(*a) != own).collect() };
        let mut ty = declared.unwrap_or_else(|| without(self.ty(init)));
        let is_open = written.is_none_or(|ty| ty.rest);
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
        init = self.fit(init, &given, &format!("carry `{}`", called(name, field.as_ref())), name.span)?;
        let (given, mut firsts) = (init, init);
        if let Some(packed) = packed {
            (init, firsts) = self.first_of_each(packed, &name.text, given, &ty, name.span)?;
        }
        Ok(Carry { name: name.clone(), field, init, ty, given, firsts, is_open })
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
