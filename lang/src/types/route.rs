//! `route`, and the parts of a plan.

use super::brackets::with;
use super::scope::Scope;
use super::values::least;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, Binary, Elem, Kind, Mix, NodeId, Reduce, Span, Type};
use crate::syntax::{Expr, ExprKind, Name, Route, Statement, tokens};

/// Which row goes to which expert, and how much it counts.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub expert: AxisId,
    /// Chosen experts; none: all of them.
    pub chosen: Option<(AxisId, NodeId)>,
    pub weight: NodeId,
    /// A choice may be none: its index is -1, its weight 0.
    pub drops: bool,
    /// The choices came in as they are, and may be out of range.
    pub is_given: bool,
    /// What a row gets that no expert took, where that is not 0; and where it is said.
    pub fallback: Option<(NodeId, Span)>,
    /// What experts get are mixtures of rows.
    pub dispatch: Option<Dispatch>,
    /// The routes in which it was made: rows that these send elsewhere do not count.
    pub within: Vec<Sent>,
}

/// The mixtures that experts get.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub weight: NodeId,
    /// Axes of rows that are not mixed.
    pub apart: Vec<AxisId>,
    /// Axes of an expert's slots; known where something is routed.
    pub slots: Vec<AxisId>,
}

/// The experts of a route while its policy is read.
#[derive(Clone, Debug)]
pub(crate) enum Routed {
    /// `over e`
    Named(Name),
    /// So many arms, and the axes of what is routed, if it has any value.
    Arms { count: usize, axes: Option<Vec<AxisId>> },
}

/// What a route around sends to the experts that are being read; made with so many loops around.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// To each expert of an axis the rows of which a slot has its number.
    Chosen { expert: AxisId, slot: AxisId, index: NodeId, depth: usize },
    /// To an arm these rows.
    Rows { hit: NodeId, depth: usize },
}

/// Mixes that take no axis.
const MIXES: &[(&str, Mix)] =
    &[("sum", Mix::Sum), ("mean", Mix::Mean), ("max", Mix::Max), ("logsumexp", Mix::LogSumExp), ("none", Mix::None)];

impl Checker<'_> {
    /// A plan that sends each row to each expert.
    pub(super) fn to_all(&self, expert: AxisId, weight: NodeId) -> Plan {
        Plan {
            expert,
            chosen: None,
            weight,
            drops: false,
            is_given: false,
            fallback: None,
            dispatch: None,
            within: self.sent.clone(),
        }
    }

    /// A plan that sends each row to the experts of its slots.
    pub(super) fn chosen(&self, expert: AxisId, chosen: (AxisId, NodeId), weight: NodeId) -> Plan {
        Plan { chosen: Some(chosen), ..self.to_all(expert, weight) }
    }

    /// `route x over e by POLICY { experts: f(x) } mix sum`, `route x by POLICY { one: f(x)  other: g(x) }`
    pub fn route(&mut self, scope: &mut Scope, route: &Route, span: Span) -> Checked<Val> {
        let x = self.expr(scope, &route.x);
        let routed = match (&route.expert, route.arms.len()) {
            (Some(name), _) => Routed::Named(name.clone()),
            (None, 0) => {
                let message = "experts that are alike have an axis";
                let help = "name it: `route x over e by ..`; experts of different kinds are arms: `{ one: f(x)  other: g(x) }`";
                return Err(self.say(Diagnostic::error(codes::ROUTE, route.body.span, message).help(help)));
            }
            (None, count) => {
                let axes = if let Ok(Val::Tensor(x)) = &x { Some(self.ty(*x).axes.clone()) } else { None };
                Routed::Arms { count, axes }
            }
        };
        let outer = self.routed.replace(routed);
        let policy = self.expr(scope, &route.policy);
        self.routed = outer;
        let mut plan = match policy {
            Ok(Val::Plan(plan)) => plan,
            // What is wrong within the experts is told all the same.
            Err(Reported) => {
                let gained = route.expert.as_ref().filter(|_| route.arms.is_empty()).and_then(|e| scope.axis(&e.text));
                let (outer, around) = (self.gained.len(), self.experts.len());
                self.gained.extend(gained);
                self.experts.extend(gained);
                scope.values.push(Default::default());
                let _ = self.statements(scope, &route.body.statements);
                if let Some(value) = &route.body.value {
                    let _ = self.expr(scope, value);
                }
                for arm in &route.arms {
                    let _ = self.arm(scope, arm);
                }
                scope.values.pop();
                self.gained.truncate(outer);
                self.experts.truncate(around);
                return Err(Reported);
            }
            Ok(_) => {
                let message = "a policy such as `topk(score, 2)` or a plan is expected";
                return Err(self.say(Diagnostic::error(codes::ROUTE, route.policy.span, message)));
            }
        };
        let x = x?;
        if let Some(name) = &route.expert {
            let named = self.named_axis(scope, name).unwrap_or(plan.expert);
            if named != plan.expert {
                let message = format!("the route is over `{}`, its plan over `{}`", name.text, self.stem(plan.expert));
                return Err(self.say(Diagnostic::error(codes::ROUTE, name.span, message)));
            }
        }
        let ExprKind::Name(name) = &route.x.kind else {
            let message = "what is routed has a name, by which the experts know it";
            let help = "name it first: `let x = ..`";
            return Err(self.say(Diagnostic::error(codes::ROUTE, route.x.span, message).help(help)));
        };
        let x = match &mut plan.dispatch {
            Some(dispatch) => Val::Tensor(self.mixtures(plan.expert, dispatch, &x, route.x.span)?),
            None => x,
        };
        if !route.arms.is_empty() {
            return self.arms(scope, (route, name), &plan, &x, span);
        }
        self.gained.push(plan.expert);
        self.experts.push(plan.expert);
        let sent = self.sent.len();
        if let Some((slot, index)) = plan.chosen {
            self.sent.push(Sent::Chosen { expert: plan.expert, slot, index, depth: self.loops.len() });
        }
        scope.values.push(Default::default());
        self.bind_routed(scope, name, x);
        let value = self.body(scope, &route.body.statements, route.body.value.as_deref(), route.body.span);
        scope.values.pop();
        self.sent.truncate(sent);
        self.experts.pop();
        self.gained.pop();
        self.by_field(&[value?], span, &mut |this, value| {
            let value = this.as_tensor(&value[0], Elem::F32, route.body.span)?;
            let mix = this.mix(scope, route, &plan, value)?;
            this.mixed(&plan, mix, value, span)
        })
    }

    /// The routed value keeps its name inside.
    pub(super) fn bind_routed(&mut self, scope: &mut Scope, name: &Name, x: Val) {
        let depth = self.loops.len();
        scope.bind(&name.text, x, depth, name.span);
        if let Some(binding) = scope.find(&name.text) {
            binding.used = true;
        }
    }

    /// What rows get of `value`, which has a value for each expert.
    pub(super) fn mixed(&mut self, plan: &Plan, mix: Mix, value: NodeId, span: Span) -> Checked<Val> {
        if let Some(dispatch) = &plan.dispatch {
            return self.combined(plan, dispatch, value, span).map(Val::Tensor);
        }
        let mut plan = plan.clone();
        // What a route around sends to other arms is not computed here.
        if let Some((slot, index)) = plan.chosen {
            let here = self.sent_here(slot, index, span)?;
            plan.drops |= here != index;
            plan.chosen = Some((slot, here));
        }
        let elem = self.ty(value).elem;
        let mut axes = self.axes_without(value, &[plan.expert]);
        if let Mix::Concat { from, to } = mix {
            axes.retain(|a| *a != from);
            axes.push(to);
        }
        match plan.chosen {
            Some((slot, index)) => axes.extend(self.axes_without(index, &[slot])),
            None => axes.extend(self.axes_without(plan.weight, &[plan.expert])),
        }
        // Folds know nothing of choices that there are not: they get each slot's answer.
        let folded = plan.chosen.filter(|_| plan.drops && matches!(mix, Mix::Mean | Mix::Max | Mix::LogSumExp));
        axes.extend(folded.map(|(slot, _)| slot));
        let kind = Kind::Route {
            expert: plan.expert,
            slot: plan.chosen.map(|(slot, _)| slot),
            index: plan.chosen.map(|(_, index)| index),
            weight: (mix == Mix::Sum).then_some(plan.weight),
            drops: plan.drops,
            mix: if folded.is_some() { Mix::None } else { mix },
            value,
        };
        let mut y = self.push(kind, elem, axes, span)?;
        if let Some((slot, index)) = folded {
            y = self.fold_slots(mix, (slot, index), y, span)?;
        }
        self.or_fallback(&plan, y, span).map(Val::Tensor)
    }

    /// The mean, the largest or the logsumexp of a row's answers, one for each slot, without those of slots that chose nobody: 0 where
    /// that leaves none.
    pub(super) fn fold_slots(
        &mut self,
        mix: Mix,
        (slot, index): (AxisId, NodeId),
        y: NodeId,
        span: Span,
    ) -> Checked<NodeId> {
        let Type { elem, axes: all } = self.ty(y).clone();
        let rest = self.axes_without(y, &[slot]);
        let zero = self.push(Kind::Number(0.0), Elem::I32, Vec::new(), span)?;
        let (of_index, rows) = (self.ty(index).axes.clone(), self.axes_without(index, &[slot]));
        let took = self.push(Kind::Binary(Binary::Ge, index, zero), Elem::Bool, of_index.clone(), span)?;
        let any = Kind::Reduce { with: Reduce::Any, over: vec![slot], x: took };
        let any = self.push(any, Elem::Bool, rows.clone(), span)?;
        let none = self.push(Kind::Number(0.0), elem, Vec::new(), span)?;
        let folded = match mix {
            Mix::Mean => {
                let kept = self.push(Kind::Where(took, y, none), elem, all, span)?;
                let sum = Kind::Reduce { with: Reduce::Sum, over: vec![slot], x: kept };
                let sum = self.push(sum, elem, rest.clone(), span)?;
                let count = self.push(Kind::Cast(took), elem, of_index, span)?;
                let count = Kind::Reduce { with: Reduce::Sum, over: vec![slot], x: count };
                let count = self.push(count, elem, rows, span)?;
                self.push(Kind::Binary(Binary::Div, sum, count), elem, rest.clone(), span)?
            }
            _ => {
                let least = self.push(Kind::Number(least(elem)), elem, Vec::new(), span)?;
                let kept = self.push(Kind::Where(took, y, least), elem, all, span)?;
                let kind = match mix {
                    Mix::LogSumExp => Kind::LogSumExp { over: vec![slot], x: kept },
                    _ => Kind::Reduce { with: Reduce::Max, over: vec![slot], x: kept },
                };
                self.push(kind, elem, rest.clone(), span)?
            }
        };
        self.push(Kind::Where(any, folded, none), elem, rest, span)
    }

    /// `mix sum`, `mix concat[d]`
    pub(super) fn mix(&mut self, scope: &Scope, route: &Route, plan: &Plan, value: NodeId) -> Checked<Mix> {
        let none = Name { text: "none".into(), span: route.policy.span };
        let how = route.mix.as_ref().unwrap_or(&none);
        if plan.dispatch.is_some() && how.text != "sum" {
            let message = "what experts make of mixtures meets by `mix sum`, with the weights of `combine`";
            return Err(self.say(Diagnostic::error(codes::ROUTE, how.span, message)));
        }
        let slots = self.size(plan.chosen.map_or(plan.expert, |(slot, _)| slot)).clone();
        let simple = MIXES.iter().find(|(name, _)| *name == how.text).map(|(_, mix)| *mix);
        if let (Some(_), Some(axis)) = (simple, &route.mix_axis) {
            let message = format!("`mix {}` takes no axis", how.text);
            return Err(self.say(Diagnostic::error(codes::ROUTE, axis.span, message)));
        }
        match (simple, &route.mix_axis) {
            (Some(Mix::None), _) if slots.as_known() != Some(1) => {
                let message = match route.mix {
                    Some(_) => format!("`mix none` is for plans that choose one expert; this one chooses {slots}"),
                    None => format!("a plan that chooses {slots} experts needs a `mix`: how do their answers meet?"),
                };
                Err(self.say(Diagnostic::error(codes::ROUTE, how.span, message)))
            }
            (Some(mix), _) => {
                let elem = self.ty(value).elem;
                if !super::is_float(elem) && matches!(mix, Mix::Sum | Mix::Mean | Mix::LogSumExp) {
                    self.float(value, route.body.span)?;
                }
                Ok(mix)
            }
            (None, Some(name)) if how.text == "concat" => {
                let ty = self.ty(value).clone();
                let from = self.axis_of(scope, name, &ty)?;
                let size = self.size(from).checked_mul(&slots);
                let size = self.made_size(size, name.span)?;
                Ok(Mix::Concat { from, to: self.axis_id(&name.text, size, name.span) })
            }
            (None, None) if how.text == "concat" => {
                let message = "along which axis do the experts' answers join? write `mix concat[d]`";
                Err(self.say(Diagnostic::error(codes::ROUTE, how.span, message)))
            }
            _ => {
                let message = format!("`mix {}`: there are sum, mean, max, logsumexp, none and concat[axis]", how.text);
                let mut diagnostic = Diagnostic::error(codes::ROUTE, how.span, message);
                if let Some(near) = near(&how.text, MIXES.iter().map(|(name, _)| *name)) {
                    diagnostic = diagnostic.fix(how.span, near);
                }
                Err(self.say(diagnostic))
            }
        }
    }

    /// `plan.weight`, `plan.index`, `plan.load`, `plan.importance`
    pub fn plan_field(&mut self, plan: &Plan, name: &Name) -> Checked<Val> {
        match (name.text.as_str(), plan.chosen) {
            ("weight", _) => Ok(Val::Tensor(plan.weight)),
            (_, None) if plan.dispatch.is_some() => {
                let message = format!("a plan by `soft` chooses nobody, so it has no `{}`; it has weight", name.text);
                Err(self.say(Diagnostic::error(codes::FIELD, name.span, message)))
            }
            ("index", Some((_, index))) => Ok(Val::Tensor(index)),
            ("index", None) => {
                let message = "a plan of all experts has no `index`: each row goes to each expert";
                Err(self.say(Diagnostic::error(codes::FIELD, name.span, message)))
            }
            ("load", _) => self.load(plan, false, name.span),
            ("importance", _) => self.load(plan, true, name.span),
            _ => {
                let message = format!("a plan has no `{}`; it has weight, index, load and importance", name.text);
                let mut diagnostic = Diagnostic::error(codes::FIELD, name.span, message);
                if let Some(near) = near(&name.text, ["weight", "index", "load", "importance"]) {
                    diagnostic = diagnostic.fix(name.span, near);
                }
                Err(self.say(diagnostic))
            }
        }
    }

    /// For each expert, how many rows go to it, or how much they weigh in all.
    fn load(&mut self, plan: &Plan, weighs: bool, span: Span) -> Checked<Val> {
        let expert = plan.expert;
        let elem = if weighs { self.ty(plan.weight).elem } else { Elem::F32 };
        let counted = match plan.chosen {
            Some((slot, index)) => {
                let index = self.sent_only(plan, slot, index, span)?;
                let numbers = self.push(Kind::Index(expert), Elem::I32, vec![expert], span)?;
                let axes = self.union(&[numbers, index]);
                let hit = self.push(Kind::Binary(Binary::Eq, index, numbers), Elem::Bool, axes.clone(), span)?;
                let counted = self.push(Kind::Cast(hit), elem, axes.clone(), span)?;
                match weighs {
                    true => {
                        let axes = with(axes, &self.ty(plan.weight).axes.clone());
                        self.push(Kind::Binary(Binary::Mul, counted, plan.weight), elem, axes, span)?
                    }
                    false => counted,
                }
            }
            None if weighs => plan.weight,
            None => {
                let one = self.push(Kind::Number(1.0), elem, Vec::new(), span)?;
                let axes = self.ty(plan.weight).axes.clone();
                self.push(Kind::Broadcast(one), elem, axes, span)?
            }
        };
        // Each expert of a route around has its own.
        let mut kept = vec![expert];
        kept.extend(self.experts.iter().copied().filter(|a| self.has(counted, *a)));
        let over = self.axes_without(counted, &kept);
        self.tensor(Kind::Reduce { with: Reduce::Sum, over, x: counted }, elem, kept, span)
    }

    /// The lines at the end of the last statement, if they begin with `-`: were they meant for the value?
    fn continued(&self, statements: &[Statement]) -> Option<Span> {
        let Some(Statement::Let { value, .. } | Statement::NextState { value, .. }) = statements.last() else {
            return None;
        };
        // Behind what stands in parentheses itself there is one more.
        let behind = self.text(Span { start: value.span.end, end: value.span.end + 1, ..value.span });
        let text = self.text(value.span);
        if behind == ")" {
            return None;
        }
        let (mut depth, mut end, mut last) = (0, 0, None);
        for token in tokens(text) {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                "-" if depth == 0 && text[end..token.start].contains('\n') => last = Some(token.start),
                _ => {}
            }
            end = token.start + token.text.len();
        }
        last.map(|at| Span { start: value.span.start + at as u32, ..value.span })
    }

    /// All statements, even those behind a wrong one.
    pub(super) fn statements(&mut self, scope: &mut Scope, statements: &[Statement]) -> Checked<()> {
        let mut done = Ok(());
        for statement in statements {
            done = self.statement(scope, statement).and(done);
        }
        done
    }

    /// The statements and the value of a body.
    pub fn body(
        &mut self,
        scope: &mut Scope,
        statements: &[Statement],
        value: Option<&Expr>,
        span: Span,
    ) -> Checked<Val> {
        let slip = if value.is_none() { self.continued(statements) } else { None };
        // A statement that took the value as its own has been misread.
        let failed = self.statements(scope, &statements[..statements.len() - usize::from(slip.is_some())]).is_err();
        if let Some(taken) = slip {
            let fix = format!("({})", self.text(taken));
            let diagnostic = Diagnostic::error(codes::RESULT, taken, "a body ends with its value")
                .label("this goes on with the line above, as any line that begins with an operator does")
                .help("a value that begins with `-` stands in parentheses");
            return Err(self.say(diagnostic.fix(taken, fix)));
        }
        match value {
            Some(value) => {
                let val = self.expr(scope, value);
                if failed { Err(Reported) } else { val }
            }
            None => {
                let message = "a body ends with its value";
                Err(self.say(Diagnostic::error(codes::RESULT, span, message)))
            }
        }
    }
}
