//! Arms: experts of different kinds. `route x by argmax(score) { global: lenet(x)  local: tiny(x) }`
//!
//! An arm is no operation of its own. Its value is taken in the rows that its number was chosen for, by a select; what else of it
//! nobody needs is not computed, as that of any select is not.

use super::brackets::with;
use super::route::{Plan, Sent};
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, Mix, NodeId, Reduce, Span, Type};
use crate::syntax::{Arm, Call, Expr, ExprKind, Name, Route};

/// Where an arm was chosen.
#[derive(Clone, Copy)]
struct Hit {
    /// For each slot.
    slots: NodeId,
    /// In any slot of a row.
    row: NodeId,
}

impl Checker<'_> {
    pub(super) fn arms(
        &mut self,
        scope: &mut Scope,
        (route, name): (&Route, &Name),
        plan: &Plan,
        x: &Val,
        span: Span,
    ) -> Checked<Val> {
        let experts = self.size(plan.expert).clone();
        if experts.as_known() != Some(route.arms.len() as i64) {
            let (count, axis) = (route.arms.len(), self.stem(plan.expert));
            let (s, at) = (if count == 1 { "" } else { "s" }, route.arms[0].name.span);
            let message = format!("{count} arm{s} for {experts} experts: `{axis}` has that many elements");
            let also = "the plan is over the experts of this";
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message).also(route.policy.span, also)));
        }
        let index = match plan.chosen {
            Some((slot, index)) => {
                let index = self.in_range(plan, index, span)?;
                // What a route around sends elsewhere no arm here needs to look at.
                Some((slot, self.sent_here(slot, index, span)?))
            }
            None => None,
        };
        scope.values.push(Default::default());
        if plan.dispatch.is_none() {
            self.bind_routed(scope, name, x.clone());
        }
        let mut failed = self.statements(scope, &route.body.statements).is_err();
        let (mut hits, mut vals) = (Vec::new(), Vec::new());
        for (number, arm) in route.arms.iter().enumerate() {
            let sent = self.sent.len();
            if let Some((slot, index)) = index {
                let hit = self.hit(slot, index, number, arm.name.span)?;
                self.sent.push(Sent::Rows { hit: hit.row, depth: self.loops.len() });
                hits.push(hit);
            }
            scope.values.push(Default::default());
            if let (Some(_), Val::Tensor(x)) = (&plan.dispatch, x) {
                let (elem, axes) = (self.ty(*x).elem, self.axes_without(*x, &[plan.expert]));
                let own = Kind::Pick { axis: plan.expert, index: number as i64, x: *x };
                let own = self.tensor(own, elem, axes, name.span)?;
                self.bind_routed(scope, name, own);
            }
            let val = self.arm(scope, arm);
            scope.values.pop();
            self.sent.truncate(sent);
            failed |= val.is_err();
            vals.push(val.unwrap_or(Val::Error));
        }
        scope.values.pop();
        if failed {
            return Err(Reported);
        }
        self.by_field(&vals, span, &mut |this, vals| this.joined_arms(scope, route, (plan, index), (&hits, vals), span))
    }

    /// What rows get of the arms' values. `index`: the arm that each slot of a row has chosen, and `hits` where each was; none: all.
    fn joined_arms(
        &mut self,
        scope: &Scope,
        route: &Route,
        (plan, index): (&Plan, Option<(AxisId, NodeId)>),
        (hits, vals): (&[Hit], &[Val]),
        span: Span,
    ) -> Checked<Val> {
        let (values, ty) = self.alike(&route.arms, vals)?;
        let Some((slot, index)) = index else {
            let mut all = Vec::new();
            for value in values {
                all.push(self.push(Kind::Broadcast(value), ty.elem, ty.axes.clone(), span)?);
            }
            let axes = with(ty.axes, &[plan.expert]);
            let value = self.push(Kind::Stack { axis: plan.expert, xs: all }, ty.elem, axes, span)?;
            let mix = self.mix(scope, route, plan, value)?;
            return self.mixed(plan, mix, value, span);
        };
        let widest = values.iter().copied().max_by_key(|v| self.ty(*v).axes.len()).unwrap_or(index);
        let mix = self.mix(scope, route, plan, widest)?;
        let zero = self.push(Kind::Number(0.0), ty.elem, Vec::new(), span)?;
        let y = match mix {
            Mix::Sum => {
                let mut sum = None;
                for (hit, value) in hits.iter().zip(values) {
                    let term = self.weighed(plan, *hit, value, span)?;
                    let term = self.chosen_or(hit.row, term, zero, span)?;
                    sum = Some(match sum {
                        Some(before) => {
                            let axes = self.union(&[before, term]);
                            self.push(Kind::Binary(Binary::Add, before, term), ty.elem, axes, span)?
                        }
                        None => term,
                    });
                }
                sum.unwrap_or(zero)
            }
            Mix::None => {
                let mut y = zero;
                for (hit, value) in hits.iter().zip(values).rev() {
                    y = self.chosen_or(hit.row, value, y, span)?;
                }
                y
            }
            Mix::Mean | Mix::Max | Mix::LogSumExp | Mix::Concat { .. } => {
                let mut y = zero;
                for (hit, value) in hits.iter().zip(values).rev() {
                    let value = self.chosen_or(hit.row, value, zero, span)?;
                    y = self.chosen_or(hit.slots, value, y, span)?;
                }
                let axes = with(with(ty.axes.clone(), &[slot]), &self.ty(index).axes.clone());
                let y = self.push(Kind::Broadcast(y), ty.elem, axes.clone(), span)?;
                if plan.drops && !matches!(mix, Mix::Concat { .. }) {
                    let y = self.fold_slots(mix, (slot, index), y, span)?;
                    return self.or_fallback(plan, y, span).map(Val::Tensor);
                }
                let mut axes: Vec<_> = axes.into_iter().filter(|a| *a != slot).collect();
                let kind = match mix {
                    Mix::Concat { from, to } => {
                        axes.retain(|a| *a != from);
                        axes.push(to);
                        Kind::Merge { from: vec![slot, from], to, x: y }
                    }
                    Mix::LogSumExp => Kind::LogSumExp { over: vec![slot], x: y },
                    Mix::Mean => Kind::Reduce { with: Reduce::Mean, over: vec![slot], x: y },
                    _ => Kind::Reduce { with: Reduce::Max, over: vec![slot], x: y },
                };
                self.push(kind, ty.elem, axes, span)?
            }
        };
        self.or_fallback(plan, y, span).map(Val::Tensor)
    }

    /// The value of an arm. Its name is the label of a call, and stands before the labels of what is in any other expression.
    pub(super) fn arm(&mut self, scope: &mut Scope, arm: &Arm) -> Checked<Val> {
        if let ExprKind::Call(call @ Call { label: None, .. }) = &arm.value.kind
            && (self.known().callables.contains_key(&call.callee.text) || scope.find(&call.callee.text).is_some())
        {
            let call = Call { label: Some(arm.name.clone()), ..call.clone() };
            return self.expr(scope, &Expr { kind: ExprKind::Call(call), span: arm.value.span });
        }
        let labels = std::mem::take(&mut scope.labels);
        scope.path.push(arm.name.text.clone());
        let val = self.expr(scope, &arm.value);
        scope.path.pop();
        for label in std::mem::replace(&mut scope.labels, labels) {
            let label = format!("{}.{label}", arm.name.text);
            if !scope.labels.insert(label.clone()) && !scope.shared {
                let message = format!("a second instance named `{label}` in one place");
                let diagnostic = Diagnostic::error(codes::LABEL, arm.name.span, message);
                return Err(self.say(diagnostic.help("give the arm another name")));
            }
        }
        val
    }

    /// The arms' values as tensors, and the type of what rows get: of one element type, each with axes that the widest has.
    pub(super) fn alike(&mut self, arms: &[Arm], vals: &[Val]) -> Checked<(Vec<NodeId>, Type)> {
        let known = vals.iter().find_map(|val| if let Val::Tensor(x) = val { Some(self.ty(*x).elem) } else { None });
        let elem = known.unwrap_or(Elem::F32);
        let mut values = Vec::new();
        for (arm, val) in arms.iter().zip(vals) {
            values.push(self.as_tensor(val, elem, arm.value.span)?);
        }
        let widest = (0..values.len()).rev().max_by_key(|i| self.ty(values[*i]).axes.len()).unwrap_or(0);
        let ty = Type { elem, ..self.ty(values[widest]).clone() };
        for (arm, value) in arms.iter().zip(&values) {
            let found = self.ty(*value).clone();
            if found.elem != ty.elem || found.axes.iter().any(|a| !ty.axes.contains(a)) {
                let (found, wanted) = self.show_both(&found, self.ty(values[widest]));
                let (name, first) = (&arm.name.text, &arms[widest]);
                let message = format!("arms give one type: `{name}` is {found}, `{}` is {wanted}", first.name.text);
                return Err(self.say(Diagnostic::error(codes::TYPE, arm.value.span, message)));
            }
        }
        Ok((values, ty))
    }

    /// Choices that came in as they are, in a place where each is looked up: an error when the model runs if it is out of range.
    fn in_range(&mut self, plan: &Plan, index: NodeId, span: Span) -> Checked<NodeId> {
        // Where rows are counted, they have been looked up.
        if !plan.is_given || plan.drops {
            return Ok(index);
        }
        let numbers = self.push(Kind::Index(plan.expert), Elem::I32, vec![plan.expert], span)?;
        let axes = self.ty(index).axes.clone();
        self.push(Kind::Gather { axis: plan.expert, index, x: numbers }, Elem::I32, axes, span)
    }

    fn hit(&mut self, slot: AxisId, index: NodeId, number: usize, span: Span) -> Checked<Hit> {
        let number = self.push(Kind::Number(number as f64), Elem::I32, Vec::new(), span)?;
        let axes = self.ty(index).axes.clone();
        let slots = self.push(Kind::Binary(Binary::Eq, index, number), Elem::Bool, axes, span)?;
        let rows = self.axes_without(slots, &[slot]);
        let kind = match self.size(slot).as_known() {
            Some(1) => Kind::Pick { axis: slot, index: 0, x: slots },
            _ => Kind::Reduce { with: Reduce::Any, over: vec![slot], x: slots },
        };
        Ok(Hit { slots, row: self.push(kind, Elem::Bool, rows, span)? })
    }

    /// An arm's value times what it counts in a row.
    fn weighed(&mut self, plan: &Plan, hit: Hit, value: NodeId, span: Span) -> Checked<NodeId> {
        let Some((slot, _)) = plan.chosen else { return Ok(value) };
        let (elem, weight) = (self.ty(plan.weight).elem, plan.weight);
        let rows = self.axes_without(weight, &[slot]);
        let mut weight = match self.size(slot).as_known() {
            Some(1) => self.push(Kind::Pick { axis: slot, index: 0, x: weight }, elem, rows, span)?,
            _ => {
                let zero = self.push(Kind::Number(0.0), elem, Vec::new(), span)?;
                let own = self.chosen_or(hit.slots, weight, zero, span)?;
                let rows = self.axes_without(own, &[slot]);
                self.push(Kind::Reduce { with: Reduce::Sum, over: vec![slot], x: own }, elem, rows, span)?
            }
        };
        let of = self.ty(value).elem;
        if of != elem {
            let axes = self.ty(weight).axes.clone();
            weight = self.push(Kind::Cast(weight), of, axes, span)?;
        }
        let axes = self.union(&[weight, value]);
        self.push(Kind::Binary(Binary::Mul, weight, value), of, axes, span)
    }

    fn chosen_or(&mut self, hit: NodeId, value: NodeId, otherwise: NodeId, span: Span) -> Checked<NodeId> {
        let (elem, axes) = (self.ty(value).elem, self.union(&[hit, value, otherwise]));
        self.push(Kind::Where(hit, value, otherwise), elem, axes, span)
    }
}
