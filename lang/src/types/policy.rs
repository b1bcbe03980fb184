//! Routing policies: from scores to a plan. `topk(score, k, normalize, bias = b, groups = g, top_groups = m)`, `top1(score)`,
//! `argmax(score)`, `argmin(dist)`, `threshold(score, tau)`, `expert_choice(score, rows = n)`, `prefix(n)`, `hash(ids)`, `all(score)`,
//! `soft(dispatch, combine)`.
//!
//! A policy is no operation of its own: it is written out in selections, gathers and sums, so that a plan's parts are ordinary
//! tensors. The score weighs; what is chosen follows the score plus the bias, of the best groups alone if there are groups.

use super::brackets::with;
use super::reduce::is_word;
use super::route::{Plan, Routed};
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Reduce, Span, Unary};
use crate::size::Size;
use crate::syntax::{Argument, Call, Expr, ExprKind, Name};

/// Options of a policy: words, and names with values.
const BEST: &[&str] = &[
    "normalize",
    "softmax",
    "bias",
    "weight",
    "groups",
    "top_groups",
    "group_best",
    "mask",
    "capacity",
    "rows",
    "drop",
    "per",
    "priority",
];
const LIMITS: &[&str] = &["mask", "capacity", "rows", "drop", "per", "priority"];

/// Options that stand as words.
const WORDS: &[&str] = &["normalize", "softmax", "drop"];

/// Policies: name, arguments by position, options.
const POLICIES: &[(&str, &[&str], &[&str])] = &[
    ("topk", &["score", "k"], BEST),
    ("top1", &["score"], BEST),
    ("argmax", &["score"], LIMITS),
    ("argmin", &["dist"], LIMITS),
    ("threshold", &["score", "tau"], &[]),
    ("expert_choice", &["score"], &["mask", "capacity", "rows", "per"]),
    ("prefix", &["n"], &[]),
    ("hash", &["ids"], LIMITS),
    ("all", &["score"], &[]),
    ("soft", &["dispatch", "combine"], &["per"]),
];

/// Is it a call of a policy? `argmax[e](x)` is a reduction where no route asks for a plan.
pub(super) fn is_policy(name: &str) -> bool {
    POLICIES.iter().any(|(n, ..)| *n == name)
}

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
    /// `topk[e](score, 2)`. Arms without either have the one axis of the score that what is routed lacks.
    pub fn policy(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let name = call.callee.text.as_str();
        let Some((_, values, options)) = POLICIES.iter().find(|(n, ..)| *n == name) else {
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, "no policy")));
        };
        let (val, at) = self.argument(scope, call, 0, values[0], span)?;
        let expert = match (call.axes.as_slice(), self.routed.clone()) {
            ([axis], _) => Routed::Named(axis.name.clone()),
            (_, Some(routed)) => routed,
            _ => {
                let message = format!("which axis are the experts'? write `{name}[e](..)`");
                return Err(self.say(Diagnostic::error(codes::ROUTE, call.callee.span, message)));
            }
        };
        self.options(call, values, options)?;
        if name == "hash" {
            let plan = self.given(scope, &expert, &val, at, span)?;
            return self.limited(scope, call, plan, span).map(Val::Plan);
        }
        if name == "prefix" {
            let expert = self.expert_axis(scope, &expert, None, at)?;
            return self.first_ones(scope, expert, (&val, at), span).map(Val::Plan);
        }
        let score = self.as_tensor(&val, Elem::F32, at)?;
        self.float(score, at)?;
        let ty = self.ty(score).clone();
        let expert = self.expert_axis(scope, &expert, Some(score), at)?;
        let plan = match name {
            "soft" => return self.soft(scope, call, (expert, score), span).map(Val::Plan),
            "all" => self.to_all(expert, score),
            "threshold" => self.above(scope, call, expert, score, span)?,
            "expert_choice" => return self.chosen_by_experts(scope, call, expert, score, span).map(Val::Plan),
            "argmax" => self.only_best(scope, expert, score, span)?,
            "argmin" => {
                let far = self.push(Kind::Unary(Unary::Neg, score), ty.elem, ty.axes, span)?;
                self.only_best(scope, expert, far, span)?
            }
            _ => self.best_of(scope, call, expert, score, span)?,
        };
        self.limited(scope, call, plan, span).map(Val::Plan)
    }

    /// The axis of the experts that a row has chosen.
    pub(super) fn slot_axis(&mut self, scope: &mut Scope, size: Size, span: Span) -> AxisId {
        self.new_axis(scope, &Name { text: "slot".into(), span }, size)
    }

    /// The axis of the experts, of a score that has it or of none.
    fn expert_axis(&mut self, scope: &Scope, routed: &Routed, score: Option<NodeId>, at: Span) -> Checked<AxisId> {
        match (routed, score) {
            (Routed::Named(name), Some(score)) => {
                let ty = self.ty(score).clone();
                self.axis_of(scope, name, &ty)
            }
            (Routed::Named(name), None) => self.named_axis(scope, name),
            (Routed::Arms { count, .. }, None) => Ok(self.axis_id("arm", Size::known(*count as i64), at)),
            (Routed::Arms { axes: None, .. }, Some(_)) => Err(Reported),
            (Routed::Arms { axes: Some(axes), .. }, Some(score)) => {
                let own = self.axes_without(score, axes);
                if let [only] = own[..] {
                    return Ok(only);
                }
                let score = self.show(&self.ty(score).clone());
                let message = match own.as_slice() {
                    [] => format!("which axis is the arms'? the score is {score}, what is routed has all of that"),
                    _ => {
                        let names: Vec<String> = own.iter().map(|a| format!("`{}`", self.stem(*a))).collect();
                        format!("which axis is the arms'? what is routed lacks {} of the score", names.join(", "))
                    }
                };
                let help = "name it: `route x over e by ..`";
                Err(self.say(Diagnostic::error(codes::ROUTE, at, message).help(help)))
            }
        }
    }

    /// `topk`, `top1`: the best, weighed by their scores.
    fn best_of(&mut self, scope: &mut Scope, call: &Call, expert: AxisId, score: NodeId, span: Span) -> Checked<Plan> {
        let k = if call.callee.text == "top1" {
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
        let weigher = self.weigher(scope, call, expert, score)?;
        let elem = self.ty(weigher).elem;
        let slot = self.slot_axis(scope, Size::known(k), span);
        let (index, mut weight) = self.best(weigher, chooser, expert, slot, span)?;
        let [divides, softens] = ["normalize", "softmax"].map(|word| call.args.iter().any(|a| is_word(a, word)));
        if divides && softens {
            let message = "weights are divided by their sum, or made by a softmax: `normalize` or `softmax`";
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, message)));
        }
        if softens {
            let axes = self.ty(weight).axes.clone();
            weight = self.push(Kind::Softmax { over: vec![slot], x: weight }, elem, axes, span)?;
        }
        if divides {
            let rest = self.axes_without(weight, &[slot]);
            let total = Kind::Reduce { with: Reduce::Sum, over: vec![slot], x: weight };
            let total = self.push(total, elem, rest, span)?;
            let axes = self.ty(weight).axes.clone();
            weight = self.push(Kind::Binary(Binary::Div, weight, total), elem, axes, span)?;
        }
        Ok(self.chosen(expert, (slot, index), weight))
    }

    /// `weight = w`: what a row's experts weigh in the place of their scores.
    fn weigher(&mut self, scope: &mut Scope, call: &Call, expert: AxisId, score: NodeId) -> Checked<NodeId> {
        let Some((val, at)) = self.optional(scope, call, usize::MAX, "weight")? else { return Ok(score) };
        let weigher = self.as_tensor(&val, self.ty(score).elem, at)?;
        self.float(weigher, at)?;
        if !self.has(weigher, expert) {
            let (name, ty) = (self.stem(expert).to_string(), self.show(&self.ty(weigher).clone()));
            let message = format!("a weight is for each expert, along `{name}`; this is {ty}");
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        Ok(weigher)
    }

    /// `argmax`: the best alone, which counts as 1.
    fn only_best(&mut self, scope: &mut Scope, expert: AxisId, score: NodeId, span: Span) -> Checked<Plan> {
        let slot = self.slot_axis(scope, Size::known(1), span);
        let axes = with(self.axes_without(score, &[expert]), &[slot]);
        let elem = self.ty(score).elem;
        let index = self.push(Kind::TopK { axis: expert, slot, x: score }, Elem::I32, axes, span)?;
        self.counts_one(expert, slot, index, elem, span)
    }

    /// `hash(ids)`: the experts are given.
    fn given(&mut self, scope: &mut Scope, expert: &Routed, val: &Val, at: Span, span: Span) -> Checked<Plan> {
        let ids = self.as_tensor(val, Elem::I32, at)?;
        let expert = self.expert_axis(scope, expert, None, at)?;
        let ty = self.ty(ids).clone();
        if !matches!(ty.elem, Elem::I32 | Elem::I64) || ty.axes.contains(&expert) {
            let message = format!(
                "the numbers of experts are i32 or i64 and have no axis of experts, this is {}",
                self.show(&ty)
            );
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        let ids = self.narrowed(ids, span)?;
        let slot = self.slot_axis(scope, Size::known(1), span);
        let index = self.push(Kind::Broadcast(ids), Elem::I32, with(ty.axes, &[slot]), span)?;
        let plan = self.counts_one(expert, slot, index, Elem::F32, span)?;
        Ok(Plan { is_given: true, ..plan })
    }

    /// Numbers as i32; those of an i64 that it lacks become its ends, so that none of them is an expert's by chance.
    pub(super) fn narrowed(&mut self, x: NodeId, span: Span) -> Checked<NodeId> {
        let ty = self.ty(x).clone();
        if ty.elem != Elem::I64 {
            return Ok(x);
        }
        let mut inside = x;
        for (f, end) in [(Binary::Max, i32::MIN), (Binary::Min, i32::MAX)] {
            let end = self.push(Kind::Number(f64::from(end)), Elem::I64, Vec::new(), span)?;
            inside = self.push(Kind::Binary(f, inside, end), Elem::I64, ty.axes.clone(), span)?;
        }
        self.push(Kind::Cast(inside), Elem::I32, ty.axes, span)
    }

    fn counts_one(&mut self, expert: AxisId, slot: AxisId, index: NodeId, elem: Elem, span: Span) -> Checked<Plan> {
        let one = self.push(Kind::Number(1.0), elem, Vec::new(), span)?;
        let axes = self.ty(index).axes.clone();
        let weight = self.push(Kind::Broadcast(one), elem, axes, span)?;
        Ok(self.chosen(expert, (slot, index), weight))
    }

    /// `threshold(score, tau)`: all experts in the order of their scores, of which those above stand.
    fn above(&mut self, scope: &mut Scope, call: &Call, expert: AxisId, score: NodeId, span: Span) -> Checked<Plan> {
        let (tau, at) = self.argument(scope, call, 1, "tau", span)?;
        let experts = self.size(expert).clone();
        let slot = self.slot_axis(scope, experts, span);
        let (index, weight) = self.best(score, score, expert, slot, span)?;
        let kept = self.binary(Binary::Gt, (&Val::Tensor(weight), span), (&tau, at), span)?;
        let kept = self.as_tensor(&kept, Elem::Bool, at)?;
        if self.has(kept, expert) {
            let message = "the threshold has the axis of the experts: subtract it from the score, and compare with 0.0";
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        let plan = self.chosen(expert, (slot, index), weight);
        self.kept_only(plan, kept, span)
    }

    /// `prefix(n)`: the first `n` experts, which count as 1; `n` is known when building, or an i32 of the rows.
    fn first_ones(&mut self, scope: &mut Scope, expert: AxisId, (n, at): (&Val, Span), span: Span) -> Checked<Plan> {
        let slots = |this: &mut Self, scope: &mut Scope, size: Size| {
            let slot = this.slot_axis(scope, size, span);
            let index = this.push(Kind::Index(slot), Elem::I32, vec![slot], span)?;
            this.counts_one(expert, slot, index, Elem::F32, span)
        };
        if let Val::Number(_) = n {
            let n = self.as_count(n, "the number of experts", 1, at)?;
            if self.size(expert).as_known().is_some_and(|all| n > all) {
                let message = format!("there are no {n} experts, but {}", self.size(expert));
                return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
            }
            return slots(self, scope, Size::known(n));
        }
        let n = self.integers(n, at)?;
        let n = &Val::Tensor(self.counts(expert, "prefix", n, at)?);
        let all = self.size(expert).clone();
        let plan = slots(self, scope, all)?;
        let index = plan.chosen.map_or(plan.weight, |(_, index)| index);
        let kept = self.binary(Binary::Lt, (&Val::Tensor(index), span), (n, at), span)?;
        let kept = self.as_tensor(&kept, Elem::Bool, at)?;
        if self.has(kept, expert) {
            let message = "the number has the axis of the experts";
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        self.kept_only(plan, kept, span)
    }

    /// Words and named arguments that are no options of a policy.
    fn options(&mut self, call: &Call, values: &[&str], options: &[&str]) -> Checked<()> {
        let mut given = 0;
        for argument in &call.args {
            let (name, is_word): (&Name, bool) = match argument {
                Argument::Expr(Expr { kind: ExprKind::Name(name), .. }) if given >= values.len() => (name, true),
                Argument::Expr(expr) if given >= values.len() => {
                    let takes = match values.len() {
                        1 => "1 value".into(),
                        n => format!("{n} values"),
                    };
                    let message = format!("`{}` takes {takes} and options: {}", call.callee.text, options.join(", "));
                    return Err(self.say(Diagnostic::error(codes::ARGUMENTS, expr.span, message)));
                }
                Argument::Expr(_) => {
                    given += 1;
                    continue;
                }
                Argument::Named(name, _) => (name, false),
                Argument::Dropped(name, _) => (name, true),
                Argument::Window { from, .. } => (from, false),
            };
            let known = options.contains(&name.text.as_str()) && WORDS.contains(&name.text.as_str()) == is_word;
            if known || !is_word && values.contains(&name.text.as_str()) {
                continue;
            }
            let message = format!("`{}` has no option `{}`", call.callee.text, name.text);
            let mut diagnostic = Diagnostic::error(codes::ARGUMENTS, name.span, message);
            if !options.is_empty() {
                diagnostic = diagnostic.help(format!("it has {}", written(options)));
            }
            if let Some(near) = near(&name.text, options.iter().copied()) {
                diagnostic = diagnostic.fix(name.span, near);
            }
            return Err(self.say(diagnostic));
        }
        Ok(())
    }

    /// The indices of the largest of `chooser` along `axis`, and what `x` has there.
    pub(super) fn best(
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

/// Options as they are written.
fn written(options: &[&str]) -> String {
    let one = |option: &&str| if WORDS.contains(option) { format!("`{option}`") } else { format!("`{option} = ..`") };
    options.iter().map(one).collect::<Vec<_>>().join(", ")
}
