//! Routing: policies, plans, and `route`.

use super::brackets::with;
use super::reduce::is_word;
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, Mix, NodeId, Reduce, Span};
use crate::size::Size;
use crate::syntax::{Argument, Call, Name, Route};

/// Which row goes to which expert, and how much it counts.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub expert: AxisId,
    /// Chosen experts; none: all of them.
    pub chosen: Option<(AxisId, NodeId)>,
    pub weight: NodeId,
}

impl Checker<'_> {
    /// `topk(score, k, normalize, bias = b)`, `top1(score)`, `all(score)`. The expert axis is the `over` of the route around, or
    /// the score's innermost declared axis where a plan is made for several.
    pub fn policy(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let expert = match self.routed.clone() {
            Some(name) => name,
            None => {
                let message = format!("which axis are the experts'? write `{}[e](score, ..)`", call.callee.text);
                match call.axes.as_slice() {
                    [axis] => axis.name.clone(),
                    _ => return Err(self.say(Diagnostic::error(codes::ROUTE, span, message))),
                }
            }
        };
        let (val, at) = self.argument(scope, call, 0, "score", span)?;
        let score = self.as_tensor(&val, Elem::F32, at)?;
        self.float(score, at)?;
        let ty = self.ty(score).clone();
        let expert = self.axis_of(scope, &expert, &ty)?;
        for argument in &call.args {
            if let Argument::Named(name, _) = argument
                && name.text != "bias"
            {
                return self.not_yet(&format!("`{}` of a policy", name.text), name.span);
            }
        }
        let name = call.callee.text.as_str();
        if name == "all" {
            return Ok(Val::Plan(Plan { expert, chosen: None, weight: score }));
        }
        let k = if name == "top1" {
            1
        } else {
            let (val, at) = self.argument(scope, call, 1, "k", span)?;
            self.as_count(&val, "the number of experts of a row", 1, at)?
        };
        if self.size(expert).as_known().is_some_and(|n| k > n) {
            let message = format!("{k} of {} experts cannot be chosen", self.size(expert));
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, message)));
        }
        let words = call.args.iter().skip(if name == "top1" { 1 } else { 2 });
        let mut normalize = false;
        for argument in words.filter(|a| matches!(a, Argument::Expr(_))) {
            if is_word(argument, "normalize") {
                normalize = true;
            } else if is_word(argument, "drop") {
                return self.not_yet("`drop`", span);
            } else {
                let message = "a policy's options are `normalize` and `bias = b`";
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
            }
        }
        // The bias chooses, the score weighs.
        let chooser = match self.optional(scope, call, usize::MAX, "bias")? {
            Some((bias, at)) => {
                let val = self.binary(Binary::Add, (&Val::Tensor(score), span), (&bias, at), span)?;
                self.as_tensor(&val, Elem::F32, span)?
            }
            None => score,
        };
        let slot = self.axis_id("slot", Size::known(k), span);
        let axes = with(self.axes_without(chooser, &[expert]), &[slot]);
        let index = self.push(Kind::TopK { axis: expert, slot, x: chooser }, Elem::I32, axes.clone(), span)?;
        let axes = with(self.axes_without(score, &[expert]), &self.ty(index).axes.clone());
        let mut weight = self.push(Kind::Gather { axis: expert, index, x: score }, ty.elem, axes, span)?;
        if normalize {
            let rest = self.axes_without(weight, &[slot]);
            let total = Kind::Reduce { with: Reduce::Sum, over: vec![slot], x: weight };
            let total = self.push(total, ty.elem, rest, span)?;
            let axes = self.ty(weight).axes.clone();
            weight = self.push(Kind::Binary(Binary::Div, weight, total), ty.elem, axes, span)?;
        }
        Ok(Val::Plan(Plan { expert, chosen: Some((slot, index)), weight }))
    }

    /// `route x over e by POLICY { experts: f(x) } mix sum`
    pub fn route(&mut self, scope: &mut Scope, route: &Route, span: Span) -> Checked<Val> {
        let x = self.expr(scope, &route.x);
        let outer = self.routed.replace(route.expert.clone());
        let policy = self.expr(scope, &route.policy);
        self.routed = outer;
        let plan = match policy? {
            Val::Plan(plan) => plan,
            _ => {
                let message = "a policy such as `topk(score, 2)` or a plan is expected";
                return Err(self.say(Diagnostic::error(codes::ROUTE, route.policy.span, message)));
            }
        };
        let x = x?;
        let named = self.named_axis(scope, &route.expert).unwrap_or(plan.expert);
        if named != plan.expert {
            let message =
                format!("the route is over `{}`, its plan over `{}`", route.expert.text, self.stem(plan.expert));
            return Err(self.say(Diagnostic::error(codes::ROUTE, route.expert.span, message)));
        }
        let mix = match route.mix.text.as_str() {
            "sum" => Mix::Sum,
            "mean" => Mix::Mean,
            "max" => Mix::Max,
            "none" => Mix::None,
            other => {
                let message = format!("`mix {other}`: there are sum, mean, max and none");
                return Err(self.say(Diagnostic::error(codes::ROUTE, route.mix.span, message)));
            }
        };
        self.gained.push(plan.expert);
        self.experts.push(plan.expert);
        scope.values.push(Default::default());
        // The routed value keeps its name inside.
        if let crate::syntax::ExprKind::Name(name) = &route.x.kind {
            let depth = self.loops.len();
            scope.bind(&name.text, x.clone(), depth, name.span);
            if let Some(binding) = scope.find(&name.text) {
                binding.used = true;
            }
        }
        let value = self.body(scope, &route.body.statements, route.body.value.as_deref(), route.body.span);
        scope.values.pop();
        self.experts.pop();
        self.gained.pop();
        let value = value?;
        let value = self.as_tensor(&value, Elem::F32, route.body.span)?;
        let elem = self.ty(value).elem;
        let mut axes = self.axes_without(value, &[plan.expert]);
        match plan.chosen {
            Some((slot, index)) => axes.extend(self.axes_without(index, &[slot])),
            None => axes.extend(self.axes_without(plan.weight, &[plan.expert])),
        }
        let kind = Kind::Route {
            expert: plan.expert,
            slot: plan.chosen.map(|(slot, _)| slot),
            index: plan.chosen.map(|(_, index)| index),
            weight: (mix == Mix::Sum).then_some(plan.weight),
            mix,
            value,
        };
        self.tensor(kind, elem, axes, span)
    }

    /// `plan.weight`, `plan.index`, `plan.load`, `plan.importance`
    pub fn plan_field(&mut self, plan: &Plan, name: &Name) -> Checked<Val> {
        match (name.text.as_str(), plan.chosen) {
            ("weight", _) => Ok(Val::Tensor(plan.weight)),
            ("index", Some((_, index))) => Ok(Val::Tensor(index)),
            ("load", Some((_, index))) => self.load(plan, index, None, name.span),
            ("importance", Some((_, index))) => self.load(plan, index, Some(plan.weight), name.span),
            _ => {
                let message = format!("a plan has no `{}`; it has weight, index, load and importance", name.text);
                Err(self.say(Diagnostic::error(codes::FIELD, name.span, message)))
            }
        }
    }

    /// For each expert, how many rows chose it, or how much they weigh in all.
    fn load(&mut self, plan: &Plan, index: NodeId, weight: Option<NodeId>, span: Span) -> Checked<Val> {
        let expert = plan.expert;
        let numbers = self.push(Kind::Index(expert), Elem::I32, vec![expert], span)?;
        let axes = self.union(&[numbers, index]);
        let hit = self.push(Kind::Binary(Binary::Eq, index, numbers), Elem::Bool, axes.clone(), span)?;
        let elem = weight.map_or(Elem::F32, |w| self.ty(w).elem);
        let mut counted = self.push(Kind::Cast(hit), elem, axes.clone(), span)?;
        if let Some(weight) = weight {
            counted = self.push(Kind::Binary(Binary::Mul, counted, weight), elem, axes, span)?;
        }
        let over = self.axes_without(counted, &[expert]);
        self.tensor(Kind::Reduce { with: Reduce::Sum, over, x: counted }, elem, vec![expert], span)
    }

    /// The statements and the value of a body.
    pub fn body(
        &mut self,
        scope: &mut Scope,
        statements: &[crate::syntax::Statement],
        value: Option<&crate::syntax::Expr>,
        span: Span,
    ) -> Checked<Val> {
        let mut failed = false;
        for statement in statements {
            failed |= self.statement(scope, statement).is_err();
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
