//! Capacity: an expert takes so many rows and no more; the rest are dropped. `top1(score, capacity = 1.25, drop)`.
//!
//! Written out like the policy itself. Rows stand in a queue before each expert (`queue.rs`); a place in it beyond the capacity
//! makes of a choice's index -1, for which a route computes nothing, and of its weight 0.

use super::brackets::with;
use super::route::Plan;
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Reduce, Span, Unary};
use crate::syntax::{Argument, Call, Expr, ExprKind, Name};

/// Decimals of a capacity factor that count: with them, sizes up to 2^39 leave no i64.
const MOST_DECIMALS: i64 = 10_000;
/// The largest capacity factor.
const MOST: f64 = 1000.0;

/// How many rows an expert takes.
pub(super) enum Capacity {
    /// `num / den` times the rows that it would have if all had the same number.
    Factor {
        num: i64,
        den: i64,
    },
    Rows(i64),
    /// The same, known when the model runs.
    FactorAtRun(NodeId),
    RowsAtRun(NodeId),
}

impl Checker<'_> {
    /// A plan under the options `mask`, `capacity`, `rows` and `drop` of its policy.
    pub(super) fn limited(&mut self, scope: &mut Scope, call: &Call, plan: Plan, span: Span) -> Checked<Plan> {
        let mask = match plan.chosen {
            Some((slot, index)) => self.mask(scope, call, self.axes_without(index, &[slot]))?,
            None => None,
        };
        let capacity = self.capacity(scope, call)?;
        if capacity.is_none()
            && let Some(at) = ["per", "priority"].iter().find_map(|name| named(call, name))
        {
            let message = format!("`{}` without a capacity: nobody waits", at.text);
            let help = "add `capacity = 1.25` (times the mean number of rows) or `rows = 64`, and `drop`";
            return Err(self.say(Diagnostic::error(codes::ROUTE, at.span, message).help(help)));
        }
        let (capacity, (fallback, drop_span)) = match (capacity, dropped(call)) {
            (None, None) => return mask.map_or(Ok(plan.clone()), |mask| self.kept_only(plan, mask, span)),
            (Some((capacity, _)), Some(dropped)) => (capacity, dropped),
            (Some((_, at)), None) => {
                let message = "what becomes of rows beyond the capacity?";
                let help = "add `drop` (they get 0) or `drop(else x)`";
                return Err(self.say(Diagnostic::error(codes::ROUTE, at, message).help(help)));
            }
            (None, Some((_, at))) => {
                let message = "`drop` without a capacity: nothing is dropped";
                let help = "add `capacity = 1.25` (times the mean number of rows) or `rows = 64`";
                return Err(self.say(Diagnostic::error(codes::ROUTE, at, message).help(help)));
            }
        };
        let Some((slot, index)) = plan.chosen else { return Ok(plan) };
        let fallback = match fallback {
            Some(expr) => {
                let val = self.expr(scope, expr)?;
                Some((self.as_tensor(&val, self.ty(plan.weight).elem, expr.span)?, drop_span))
            }
            None => None,
        };
        let apart = self.apart(scope, call, index, &[slot, plan.expert])?;
        let rows: Vec<AxisId> = self.axes_without(index, &[slot]).into_iter().filter(|a| !apart.contains(a)).collect();
        let priority = self.priority(scope, call, index, (slot, &apart))?;
        let sent = self.sent_to(&plan.within, &self.axes_without(index, &[slot]), span)?;
        let sent = self.both(sent, mask, span)?;
        self.of_queues(&capacity, &apart, span)?;
        let place = self.place(&plan, (&rows, priority), sent, span)?;
        let most = self.most_rows(&capacity, plan.expert, (&rows, Some(slot)), sent, span)?;
        let axes = self.union(&[place, most]);
        let kept = self.push(Kind::Binary(Binary::Lt, place, most), Elem::Bool, axes, span)?;
        let kept = self.both(mask, Some(kept), span)?.unwrap_or(kept);
        let plan = self.kept_only(plan, kept, span)?;
        Ok(Plan { fallback, ..plan })
    }

    /// `mask = m`: rows for which `m` does not hold choose nobody, and stand in no queue.
    pub(super) fn mask(&mut self, scope: &mut Scope, call: &Call, rows: Vec<AxisId>) -> Checked<Option<NodeId>> {
        let Some((val, at)) = self.optional(scope, call, usize::MAX, "mask")? else { return Ok(None) };
        let mask = self.as_tensor(&val, Elem::Bool, at)?;
        let ty = self.ty(mask).clone();
        if ty.elem != Elem::Bool || !ty.axes.iter().all(|a| rows.contains(a)) {
            let names: Vec<&str> = rows.iter().map(|a| self.stem(*a)).collect();
            let message =
                format!("a mask is a bool for each row, along {}; this is {}", names.join(", "), self.show(&ty));
            let help = "experts that may not be chosen have a bias: `bias = where(allowed, 0.0, -inf)`";
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message).help(help)));
        }
        Ok(Some(mask))
    }

    /// What both say, where both say something.
    pub(super) fn both(&mut self, a: Option<NodeId>, b: Option<NodeId>, span: Span) -> Checked<Option<NodeId>> {
        let (Some(a), Some(b)) = (a, b) else { return Ok(a.or(b)) };
        let axes = self.union(&[a, b]);
        self.push(Kind::Binary(Binary::And, a, b), Elem::Bool, axes, span).map(Some)
    }

    /// A capacity that is known when the model runs is one number, or one for each queue that stands apart.
    pub(super) fn of_queues(&mut self, capacity: &Capacity, apart: &[AxisId], span: Span) -> Checked<()> {
        let (Capacity::FactorAtRun(node) | Capacity::RowsAtRun(node)) = *capacity else { return Ok(()) };
        let ty = self.ty(node).clone();
        if ty.axes.iter().all(|a| apart.contains(a)) {
            return Ok(());
        }
        let message = format!("all experts have one capacity, but for axes named by `per`; this is {}", self.show(&ty));
        Err(self.say(Diagnostic::error(codes::ROUTE, span, message)))
    }

    /// A plan of which only some choices stand.
    pub(super) fn kept_only(&mut self, plan: Plan, kept: NodeId, span: Span) -> Checked<Plan> {
        let Some((slot, index)) = plan.chosen else { return Ok(plan) };
        let none = self.push(Kind::Number(-1.0), Elem::I32, Vec::new(), span)?;
        let axes = self.union(&[kept, index]);
        let index = self.push(Kind::Where(kept, index, none), Elem::I32, axes, span)?;
        let elem = self.ty(plan.weight).elem;
        let zero = self.push(Kind::Number(0.0), elem, Vec::new(), span)?;
        let axes = self.union(&[kept, plan.weight]);
        let weight = self.push(Kind::Where(kept, plan.weight, zero), elem, axes, span)?;
        Ok(Plan { chosen: Some((slot, index)), weight, drops: true, ..plan })
    }

    pub(super) fn capacity(&mut self, scope: &mut Scope, call: &Call) -> Checked<Option<(Capacity, Span)>> {
        let factor = self.optional(scope, call, usize::MAX, "capacity")?;
        let rows = self.optional(scope, call, usize::MAX, "rows")?;
        match (factor, rows) {
            (None, None) => Ok(None),
            (Some(_), Some((_, at))) => {
                let message = "`capacity` is a factor, `rows` a number of rows: one of them";
                Err(self.say(Diagnostic::error(codes::ROUTE, at, message)))
            }
            (None, Some((val @ (Val::Tensor(_) | Val::Size(..)), at))) => {
                Ok(Some((Capacity::RowsAtRun(self.integers(&val, at)?), at)))
            }
            (Some((val @ Val::Tensor(_), at)), None) => {
                let factor = self.as_tensor(&val, Elem::F32, at)?;
                self.float(factor, at)?;
                Ok(Some((Capacity::FactorAtRun(factor), at)))
            }
            (None, Some((val, at))) => {
                let rows = self.as_count(&val, "the rows of an expert", 1, at)?;
                Ok(Some((Capacity::Rows(rows), at)))
            }
            (Some((val, at)), None) => {
                let factor = self.as_number(&val, "the capacity", at)?;
                let num = (factor * MOST_DECIMALS as f64).round();
                let is_exact = num / MOST_DECIMALS as f64 == factor;
                if !(factor > 0.0 && factor <= MOST && is_exact) {
                    let message = format!(
                        "a capacity is a factor above 0 and at most {MOST}, with four decimals at most; this is {factor}"
                    );
                    return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
                }
                let divisor = gcd(num as i64, MOST_DECIMALS);
                Ok(Some((Capacity::Factor { num: num as i64 / divisor, den: MOST_DECIMALS / divisor }, at)))
            }
        }
    }

    /// The rows that an expert takes: `ceil(factor * choices / experts)`, where so many rows have so many slots. Of rows that routes around
    /// send elsewhere there are none.
    pub(super) fn most_rows(
        &mut self,
        capacity: &Capacity,
        expert: AxisId,
        (rows, slot): (&[AxisId], Option<AxisId>),
        sent: Option<NodeId>,
        span: Span,
    ) -> Checked<NodeId> {
        let (num, den) = match capacity {
            Capacity::Rows(rows) => return self.push(Kind::Number(*rows as f64), Elem::I32, Vec::new(), span),
            Capacity::RowsAtRun(rows) => return self.narrowed(*rows, span),
            Capacity::Factor { num, den } => (*num as f64, *den as f64),
            Capacity::FactorAtRun(_) => (1.0, 1.0),
        };
        let number = |this: &mut Self, n| this.push(Kind::Number(n), Elem::I64, Vec::new(), span);
        let size = |this: &mut Self, axis| this.push(Kind::SizeOf(axis), Elem::I64, Vec::new(), span);
        let join = |this: &mut Self, f, a, b| {
            let axes = this.union(&[a, b]);
            this.push(Kind::Binary(f, a, b), Elem::I64, axes, span)
        };
        let mut choices = number(self, num)?;
        let counted: Vec<AxisId> = if sent.is_some() { Vec::new() } else { rows.to_vec() };
        for axis in counted.into_iter().chain(slot) {
            let n = size(self, axis)?;
            choices = join(self, Binary::Mul, choices, n)?;
        }
        if let Some(sent) = sent {
            let all = with(self.ty(sent).axes.clone(), rows);
            let sent = self.push(Kind::Cast(sent), Elem::I64, self.ty(sent).axes.clone(), span)?;
            let sent = self.push(Kind::Broadcast(sent), Elem::I64, all, span)?;
            let apart = self.axes_without(sent, rows);
            let count = Kind::Reduce { with: Reduce::Sum, over: rows.to_vec(), x: sent };
            let count = self.push(count, Elem::I64, apart, span)?;
            choices = join(self, Binary::Mul, choices, count)?;
        }
        if let Capacity::FactorAtRun(factor) = capacity {
            let experts = size(self, expert)?;
            let [factor, choices, experts] = [*factor, choices, experts].map(|x| self.as_elem(x, Elem::F64, span));
            let mut most = factor?;
            for (f, x) in [(Binary::Mul, choices?), (Binary::Div, experts?)] {
                let axes = self.union(&[most, x]);
                most = self.push(Kind::Binary(f, most, x), Elem::F64, axes, span)?;
            }
            let axes = self.ty(most).axes.clone();
            let most = self.push(Kind::Unary(Unary::Ceil, most), Elem::F64, axes, span)?;
            return self.as_elem(most, Elem::I32, span);
        }
        let (experts, den) = (size(self, expert)?, number(self, den)?);
        let divisor = join(self, Binary::Mul, experts, den)?;
        // Division rounds down.
        let above = join(self, Binary::Add, choices, divisor)?;
        let one = number(self, 1.0)?;
        let above = join(self, Binary::Sub, above, one)?;
        let most = join(self, Binary::Div, above, divisor)?;
        self.as_elem(most, Elem::I32, span)
    }

    fn as_elem(&mut self, x: NodeId, elem: Elem, span: Span) -> Checked<NodeId> {
        let axes = self.ty(x).axes.clone();
        if self.ty(x).elem == elem { Ok(x) } else { self.push(Kind::Cast(x), elem, axes, span) }
    }

    /// A route's value, with what its plan gives to rows that no expert took.
    pub(super) fn or_fallback(&mut self, plan: &Plan, y: NodeId, span: Span) -> Checked<NodeId> {
        let (Some((fallback, at)), Some((slot, index))) = (plan.fallback, plan.chosen) else { return Ok(y) };
        let (ty, given) = (self.ty(y).clone(), self.ty(fallback).clone());
        if given.elem != ty.elem || given.axes.iter().any(|a| !ty.axes.contains(a)) {
            let (given, ty) = (self.show(&given), self.show(&ty));
            let message = format!("a dropped row gets {given}, the experts' answers are {ty}");
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        let zero = self.push(Kind::Number(0.0), Elem::I32, Vec::new(), span)?;
        let axes = self.ty(index).axes.clone();
        let taken = self.push(Kind::Binary(Binary::Ge, index, zero), Elem::Bool, axes, span)?;
        let rows = self.axes_without(index, &[slot]);
        let taken = Kind::Reduce { with: Reduce::Any, over: vec![slot], x: taken };
        let taken = self.push(taken, Elem::Bool, rows, span)?;
        self.push(Kind::Where(taken, y, fallback), ty.elem, ty.axes, span)
    }
}

/// `drop` or `drop(else x)`
fn dropped(call: &Call) -> Option<(Option<&Expr>, Span)> {
    call.args.iter().find_map(|argument| match argument {
        Argument::Expr(Expr { kind: ExprKind::Name(name), .. }) if name.text == "drop" => Some((None, name.span)),
        Argument::Dropped(name, value) => Some((Some(value), name.span)),
        _ => None,
    })
}

/// The name of a named argument.
fn named<'c>(call: &'c Call, name: &str) -> Option<&'c Name> {
    call.args.iter().find_map(|a| if let Argument::Named(n, _) = a { Some(n).filter(|n| n.text == name) } else { None })
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
