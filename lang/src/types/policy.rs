//! Routing policies: from scores to a plan. `topk(score, k, normalize, bias = b, groups = g, top_groups = m)`, `top1(score)`,
//! `all(score)`.
//!
//! A policy is no operation of its own: it is written out in selections, gathers and sums, so that a plan's parts are ordinary
//! tensors. The score weighs; what is chosen follows the score plus the bias, of the best groups alone if there are groups.

use super::brackets::with;
use super::reduce::is_word;
use super::route::Plan;
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Reduce, Span};
use crate::size::Size;
use crate::syntax::{Argument, Call, Expr, ExprKind, Name};

/// What `topk` takes beside the score and the number.
const OPTIONS: &[&str] = &["normalize", "bias", "groups", "top_groups", "group_best"];

/// Options of the language that are not built yet.
const LATER: &[&str] = &["capacity", "drop", "per", "priority"];

/// Groups of experts, of which the best are looked into.
struct Groups {
    count: i64,
    /// How many groups a row may choose from.
    top: i64,
    /// A group counts as the sum of so many of its best scores.
    best: i64,
}

impl Checker<'_> {
    /// The expert axis is the `over` of the route around, or stands in brackets where a plan is made on its own:
    /// `topk[e](score, 2)`.
    pub fn policy(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let name = call.callee.text.as_str();
        let (val, at) = self.argument(scope, call, 0, "score", span)?;
        let score = self.as_tensor(&val, Elem::F32, at)?;
        self.float(score, at)?;
        let ty = self.ty(score).clone();
        let expert = match (call.axes.as_slice(), self.routed.clone()) {
            ([axis], _) => axis.name.clone(),
            (_, Some(routed)) => routed,
            _ => {
                let message = format!("which axis are the experts'? write `{name}[e](..)`");
                return Err(self.say(Diagnostic::error(codes::ROUTE, call.callee.span, message)));
            }
        };
        let expert = self.axis_of(scope, &expert, &ty)?;
        self.options(call)?;
        if name == "all" {
            self.only(call, 1, &["score"], span)?;
            return Ok(Val::Plan(Plan { expert, chosen: None, weight: score }));
        }
        let k = if name == "top1" {
            1
        } else {
            let (val, at) = self.argument(scope, call, 1, "k", span)?;
            self.as_count(&val, "the number of experts of a row", 1, at)?
        };
        let experts = self.size(expert).as_known();
        if experts.is_some_and(|n| k > n) {
            let message = format!("{k} of {} experts cannot be chosen", self.size(expert));
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, message)));
        }
        let mut chooser = score;
        if let Some((bias, at)) = self.optional(scope, call, usize::MAX, "bias")? {
            let val = self.binary(Binary::Add, (&Val::Tensor(score), span), (&bias, at), span)?;
            chooser = self.as_tensor(&val, Elem::F32, span)?;
        }
        if let Some(groups) = self.groups(scope, call, expert, k, span)? {
            chooser = self.best_groups(chooser, expert, &groups, span)?;
        }
        let slot = self.new_axis(scope, &Name { text: "slot".into(), span }, Size::known(k));
        let (index, mut weight) = self.best(score, chooser, expert, slot, span)?;
        if call.args.iter().any(|a| is_word(a, "normalize")) {
            let rest = self.axes_without(weight, &[slot]);
            let total = Kind::Reduce { with: Reduce::Sum, over: vec![slot], x: weight };
            let total = self.push(total, ty.elem, rest, span)?;
            let axes = self.ty(weight).axes.clone();
            weight = self.push(Kind::Binary(Binary::Div, weight, total), ty.elem, axes, span)?;
        }
        Ok(Val::Plan(Plan { expert, chosen: Some((slot, index)), weight }))
    }

    /// Words and named arguments that are no options of a policy.
    fn options(&mut self, call: &Call) -> Checked<()> {
        let values = match call.callee.text.as_str() {
            "topk" => 2,
            _ => 1,
        };
        let mut given = 0;
        for argument in &call.args {
            let (name, is_word): (&Name, bool) = match argument {
                Argument::Expr(Expr { kind: ExprKind::Name(name), .. }) if given >= values => (name, true),
                Argument::Expr(expr) if given >= values => {
                    let message = format!("`{}` takes {values} values and options: ", call.callee.text);
                    let message = message + &OPTIONS.join(", ");
                    return Err(self.say(Diagnostic::error(codes::ARGUMENTS, expr.span, message)));
                }
                Argument::Expr(_) => {
                    given += 1;
                    continue;
                }
                Argument::Named(name, _) => (name, false),
                Argument::Window { from, .. } => (from, false),
            };
            let known = OPTIONS.contains(&name.text.as_str()) && (name.text == "normalize") == is_word;
            if known || !is_word && ["score", "k"].contains(&name.text.as_str()) {
                continue;
            }
            if LATER.contains(&name.text.as_str()) {
                return self.not_yet(&format!("`{}` of a policy", name.text), name.span);
            }
            let options = "options are `normalize`, `bias = b`, `groups = g, top_groups = m` and `group_best = n`";
            let message = format!("`{}` has no option `{}`; {options}", call.callee.text, name.text);
            let mut diagnostic = Diagnostic::error(codes::ARGUMENTS, name.span, message);
            if let Some(near) = near(&name.text, OPTIONS.iter().copied()) {
                diagnostic = diagnostic.fix(name.span, near);
            }
            return Err(self.say(diagnostic));
        }
        Ok(())
    }

    /// The indices of the largest of `chooser` along `axis`, and what `x` has there.
    fn best(
        &mut self,
        x: NodeId,
        chooser: NodeId,
        axis: AxisId,
        slot: AxisId,
        span: Span,
    ) -> Checked<(NodeId, NodeId)> {
        let axes = with(self.axes_without(chooser, &[axis]), &[slot]);
        let index = self.push(Kind::TopK { axis, slot, x: chooser }, Elem::I32, axes, span)?;
        let axes = with(self.axes_without(x, &[axis]), &self.ty(index).axes.clone());
        let elem = self.ty(x).elem;
        let there = self.push(Kind::Gather { axis, index, x }, elem, axes, span)?;
        Ok((index, there))
    }

    /// `groups = g, top_groups = m, group_best = n`
    fn groups(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        expert: AxisId,
        k: i64,
        span: Span,
    ) -> Checked<Option<Groups>> {
        let mut count = |this: &mut Self, name: &str| match this.optional(scope, call, usize::MAX, name)? {
            Some((val, at)) => Ok(Some((this.as_count(&val, &format!("`{name}`"), 1, at)?, at))),
            None => Ok(None),
        };
        let (groups, top) = (count(self, "groups")?, count(self, "top_groups")?);
        let best = count(self, "group_best")?;
        let ((groups, at), top) = match (groups, top) {
            (Some(groups), Some((top, _))) => (groups, top),
            (None, None) => match best {
                Some((_, at)) => {
                    let message = "`group_best` without `groups` and `top_groups`";
                    return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
                }
                None => return Ok(None),
            },
            (Some((_, at)), None) | (None, Some((_, at))) => {
                let message = "`groups` and `top_groups` stand together: so many groups, so many of them chosen from";
                return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
            }
        };
        let best = best.map_or(1, |(best, _)| best);
        let Some(experts) = self.size(expert).as_known() else {
            let message = "groups need a number of experts that is known when building";
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        };
        let wrong = if experts % groups != 0 {
            format!("{experts} experts do not make {groups} groups of one size")
        } else if top > groups {
            format!("{top} of {groups} groups cannot be chosen")
        } else if best > experts / groups {
            format!("a group of {} experts has no {best} best", experts / groups)
        } else if k > top * (experts / groups) {
            format!("{top} groups of {} experts have no {k}", experts / groups)
        } else {
            return Ok(Some(Groups { count: groups, top, best }));
        };
        Err(self.say(Diagnostic::error(codes::ROUTE, span, wrong)))
    }

    /// Scores in which all but those of the best groups are `-inf`.
    fn best_groups(&mut self, score: NodeId, expert: AxisId, groups: &Groups, span: Span) -> Checked<NodeId> {
        let ty = self.ty(score).clone();
        let members = self.size(expert).as_known().unwrap_or(0) / groups.count;
        let name = self.stem(expert).to_string();
        let group = self.axis_id(&format!("{name}_group"), Size::known(groups.count), span);
        let member = self.axis_id(&format!("{name}_member"), Size::known(members), span);
        let split = with(self.axes_without(score, &[expert]), &[group, member]);
        let scores = Kind::Split { from: expert, to: vec![group, member], x: score };
        let scores = self.push(scores, ty.elem, split.clone(), span)?;
        // What a group is worth.
        let best = self.axis_id("best", Size::known(groups.best), span);
        let (_, largest) = self.best(scores, scores, member, best, span)?;
        let axes = self.axes_without(largest, &[best]);
        let worth = Kind::Reduce { with: Reduce::Sum, over: vec![best], x: largest };
        let worth = self.push(worth, ty.elem, axes, span)?;
        // The best groups, as a mask.
        let top = self.axis_id("top_group", Size::known(groups.top), span);
        let (index, _) = self.best(worth, worth, group, top, span)?;
        let numbers = self.push(Kind::Index(group), Elem::I32, vec![group], span)?;
        let axes = self.union(&[index, numbers]);
        let hit = self.push(Kind::Binary(Binary::Eq, index, numbers), Elem::Bool, axes, span)?;
        let axes = self.axes_without(hit, &[top]);
        let chosen = Kind::Reduce { with: Reduce::Any, over: vec![top], x: hit };
        let chosen = self.push(chosen, Elem::Bool, axes, span)?;
        let never = self.push(Kind::Number(f64::NEG_INFINITY), ty.elem, Vec::new(), span)?;
        let masked = self.push(Kind::Where(chosen, scores, never), ty.elem, split, span)?;
        self.push(Kind::Merge { from: vec![group, member], to: expert, x: masked }, ty.elem, ty.axes, span)
    }
}
