//! `soft(dispatch, combine)`: each slot of an expert gets a mixture of all rows, each row a mixture of what all slots make of theirs.

use super::brackets::with;
use super::route::{Dispatch, Plan};
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Elem, Kind, NodeId, Span};
use crate::syntax::Call;

impl Checker<'_> {
    /// The plan: `dispatch` has the axes of rows and of experts, and those of an expert's slots, if it has several.
    pub(super) fn soft(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        (expert, dispatch): (AxisId, NodeId),
        span: Span,
    ) -> Checked<Plan> {
        let (combine, at) = self.argument(scope, call, 1, "combine", span)?;
        let combine = self.as_tensor(&combine, self.ty(dispatch).elem, at)?;
        self.same_elem(dispatch, combine, at)?;
        if !self.has(combine, expert) {
            let message = format!(
                "`combine` has no axis `{}` of experts: it is {}",
                self.stem(expert),
                self.show(&self.ty(combine).clone())
            );
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        let apart = self.apart(scope, call, dispatch, &[expert])?;
        let dispatch = Dispatch { weight: dispatch, apart, slots: Vec::new() };
        Ok(Plan { dispatch: Some(dispatch), ..self.to_all(expert, combine) })
    }

    /// What the slots of experts get.
    pub(super) fn mixtures(&mut self, expert: AxisId, dispatch: &mut Dispatch, x: &Val, at: Span) -> Checked<NodeId> {
        let x = self.as_tensor(x, Elem::F32, at)?;
        let weight = dispatch.weight;
        self.same_elem(x, weight, at)?;
        let is_apart = |a: &AxisId| dispatch.apart.contains(a) || self.experts.contains(a);
        let (shared, own): (Vec<AxisId>, Vec<AxisId>) =
            self.axes_without(weight, &[expert]).into_iter().partition(|a| self.has(x, *a));
        let rows: Vec<AxisId> = shared.into_iter().filter(|a| !is_apart(a)).collect();
        dispatch.slots = own.into_iter().filter(|a| !is_apart(a)).collect();
        if rows.is_empty() || self.has(x, expert) {
            let (x, weight) = (self.show(&self.ty(x).clone()), self.show(&self.ty(weight).clone()));
            let message = format!("no rows to mix: what is routed is {x}, `dispatch` is {weight}");
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        let axes = with(self.axes_without(x, &rows), &self.axes_without(weight, &rows));
        let elem = self.ty(x).elem;
        self.push(Kind::Contract { over: rows, a: x, b: weight }, elem, axes, at)
    }

    /// What rows get of what the slots made.
    pub(super) fn combined(&mut self, plan: &Plan, dispatch: &Dispatch, value: NodeId, span: Span) -> Checked<NodeId> {
        let combine = plan.weight;
        self.same_elem(combine, value, span)?;
        let over: Vec<AxisId> = dispatch.slots.iter().copied().chain([plan.expert]).collect();
        if let Some(missing) = over.iter().find(|a| !self.has(combine, **a)) {
            let (name, ty) = (self.stem(*missing).to_string(), self.show(&self.ty(combine).clone()));
            let message = format!("`combine` has no axis `{name}` of slots: it is {ty}");
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, message)));
        }
        // What does not vary with the slot is the same for each.
        let elem = self.ty(value).elem;
        let all = with(self.ty(value).axes.clone(), &over);
        let value = self.push(Kind::Broadcast(value), elem, all, span)?;
        let axes = with(self.axes_without(combine, &over), &self.axes_without(value, &over));
        self.push(Kind::Contract { over, a: combine, b: value }, elem, axes, span)
    }
}
