//! Queues before experts: in which order rows are served, and which rows count.
//!
//! First choices stand before second ones; among these, rows of a higher `priority` before others, else rows in their order. Axes that
//! `per` names, and those of experts of routes around, have a queue for each of their elements. A row that a route around sends elsewhere
//! stands in no queue here.

use super::brackets::with;
use super::route::{Plan, Sent};
use super::scope::Scope;
use super::{Checked, Checker, Val, is_float};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Reduce, Running, Span};
use crate::size::Size;
use crate::syntax::{Argument, Call, Expr, ExprKind};

impl Checker<'_> {
    /// `per = batch`: axes of `x`, which varies with the rows, along which queues stand apart.
    pub(super) fn apart(&mut self, scope: &Scope, call: &Call, x: NodeId, not: &[AxisId]) -> Checked<Vec<AxisId>> {
        let mut apart: Vec<AxisId> =
            self.experts.iter().copied().filter(|a| self.has(x, *a) && !not.contains(a)).collect();
        let given = call.args.iter().find_map(|a| match a {
            Argument::Named(name, expr) if name.text == "per" => Some(expr),
            _ => None,
        });
        let Some(expr) = given else { return Ok(apart) };
        let Expr { kind: ExprKind::Name(name), .. } = expr else {
            let message = "`per` names an axis of the rows: `per = batch`";
            return Err(self.say(Diagnostic::error(codes::ROUTE, expr.span, message)));
        };
        let ty = self.ty(x).clone();
        let axis = self.axis_of(scope, name, &ty)?;
        if not.contains(&axis) {
            let message = format!("`{}` is no axis of rows", name.text);
            return Err(self.say(Diagnostic::error(codes::ROUTE, name.span, message)));
        }
        apart.push(axis);
        Ok(apart)
    }

    /// `priority = p`: a number for each row.
    pub(super) fn priority(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        index: NodeId,
        (slot, apart): (AxisId, &[AxisId]),
    ) -> Checked<Option<NodeId>> {
        let Some((val, at)) = self.optional(scope, call, usize::MAX, "priority")? else { return Ok(None) };
        let p = self.as_tensor(&val, Elem::F32, at)?;
        let ty = self.ty(p).clone();
        let rows = self.axes_without(index, &[slot]);
        let is_number = is_float(ty.elem) || matches!(ty.elem, Elem::I32 | Elem::I64);
        if !is_number || !ty.axes.iter().all(|a| rows.contains(a)) || ty.axes.iter().all(|a| apart.contains(a)) {
            let names: Vec<&str> = rows.iter().map(|a| self.stem(*a)).collect();
            let message =
                format!("a priority is a number for each row, along {}; this is {}", names.join(", "), self.show(&ty));
            return Err(self.say(Diagnostic::error(codes::ROUTE, at, message)));
        }
        Ok(Some(p))
    }

    /// Which rows the routes around send here, along axes of `rows` and of their experts; none: all.
    pub(super) fn sent_to(&mut self, within: &[Sent], rows: &[AxisId], span: Span) -> Checked<Option<NodeId>> {
        let mut here = None;
        for sent in within {
            let (hit, depth) = match sent {
                Sent::Rows { hit, depth } => (*hit, *depth),
                Sent::Chosen { expert, slot, index, depth } => {
                    let index = self.tensor_at(*index, *depth, span)?;
                    let numbers = self.push(Kind::Index(*expert), Elem::I32, vec![*expert], span)?;
                    let axes = self.union(&[index, numbers]);
                    let hit = self.push(Kind::Binary(Binary::Eq, index, numbers), Elem::Bool, axes, span)?;
                    let axes = self.axes_without(hit, &[*slot]);
                    let hit = Kind::Reduce { with: Reduce::Any, over: vec![*slot], x: hit };
                    (self.push(hit, Elem::Bool, axes, span)?, self.loops.len())
                }
            };
            let hit = self.tensor_at(hit, depth, span)?;
            // What these rows are made of may be other rows: windows, for example.
            if !self.ty(hit).axes.iter().all(|a| rows.contains(a) || self.experts.contains(a)) {
                continue;
            }
            here = Some(match here {
                Some(before) => {
                    let axes = self.union(&[before, hit]);
                    self.push(Kind::Binary(Binary::And, before, hit), Elem::Bool, axes, span)?
                }
                None => hit,
            });
        }
        Ok(here)
    }

    fn tensor_at(&mut self, node: NodeId, depth: usize, span: Span) -> Checked<NodeId> {
        let val = self.read(&Val::Tensor(node), depth, span)?;
        self.as_tensor(&val, Elem::F32, span)
    }

    /// A plan's choices, of rows that routes around send to what is being read.
    pub(super) fn sent_here(&mut self, slot: AxisId, index: NodeId, span: Span) -> Checked<NodeId> {
        let rows = self.axes_without(index, &[slot]);
        let arms: Vec<Sent> = self.sent.iter().filter(|s| matches!(s, Sent::Rows { .. })).cloned().collect();
        match self.sent_to(&arms, &rows, span)? {
            Some(sent) => self.where_sent(sent, index, span),
            None => Ok(index),
        }
    }

    /// A plan's choices, of rows that the routes around it send here.
    pub(super) fn sent_only(&mut self, plan: &Plan, slot: AxisId, index: NodeId, span: Span) -> Checked<NodeId> {
        let rows = self.axes_without(index, &[slot]);
        match self.sent_to(&plan.within, &rows, span)? {
            Some(sent) => self.where_sent(sent, index, span),
            None => Ok(index),
        }
    }

    fn where_sent(&mut self, sent: NodeId, index: NodeId, span: Span) -> Checked<NodeId> {
        let none = self.push(Kind::Number(-1.0), Elem::I32, Vec::new(), span)?;
        let axes = self.union(&[sent, index]);
        self.push(Kind::Where(sent, index, none), Elem::I32, axes, span)
    }

    /// For each choice of a plan, how many stand before it in its expert's queue.
    pub(super) fn place(
        &mut self,
        plan: &Plan,
        (rows, priority): (&[AxisId], Option<NodeId>),
        sent: Option<NodeId>,
        span: Span,
    ) -> Checked<NodeId> {
        let Some((slot, index)) = plan.chosen else { return Ok(plan.weight) };
        let expert = plan.expert;
        let counted = match sent {
            Some(sent) => self.where_sent(sent, index, span)?,
            None => index,
        };
        let numbers = self.push(Kind::Index(expert), Elem::I32, vec![expert], span)?;
        let axes = self.union(&[numbers, counted]);
        let hit = self.push(Kind::Binary(Binary::Eq, counted, numbers), Elem::Bool, axes.clone(), span)?;
        let hit = self.push(Kind::Cast(hit), Elem::I32, axes, span)?;
        let before = match priority {
            None => {
                let order: Vec<AxisId> = [slot].iter().chain(rows).copied().collect();
                self.before(expert, &order, hit, span)?
            }
            Some(priority) => {
                let (elem, axes) = (self.ty(priority).elem, with(self.ty(priority).axes.clone(), rows));
                let priority = self.push(Kind::Broadcast(priority), elem, axes, span)?;
                let (queue, rank) = self.ahead(expert, priority, rows, None, span)?;
                // Rows at the place of their rank, counted there, and taken back.
                let ranked = self.axis_id(&format!("{}_ranked", self.stem(expert)), self.size(queue).clone(), span);
                let hit = self.merged(rows, queue, hit, span)?;
                let axes = with(self.axes_without(hit, &[queue]), &[ranked]);
                let axes = with(axes, &self.axes_without(rank, &[queue]));
                let sorted = Kind::Segment { with: Reduce::Sum, from: queue, to: ranked, index: rank, x: hit };
                let sorted = self.push(sorted, Elem::I32, axes, span)?;
                let before = self.before(expert, &[slot, ranked], sorted, span)?;
                let axes = with(self.axes_without(before, &[ranked]), &self.ty(rank).axes.clone());
                let before = self.push(Kind::Gather { axis: ranked, index: rank, x: before }, Elem::I32, axes, span)?;
                self.split(queue, rows, before, span)?
            }
        };
        let axes = with(self.axes_without(before, &[expert]), &self.ty(index).axes.clone());
        self.push(Kind::Gather { axis: expert, index, x: before }, Elem::I32, axes, span)
    }

    /// How many of `hit` stand before each element along axes, the outermost first.
    fn before(&mut self, expert: AxisId, order: &[AxisId], hit: NodeId, span: Span) -> Checked<NodeId> {
        let axes = self.ty(hit).axes.clone();
        let running = |over, x| Kind::Running { with: Running::Sum, over, exclusive: true, x };
        if let [over] = order[..] {
            return self.push(running(over, hit), Elem::I32, axes, span);
        }
        let queue = self.joint(order, &format!("{}_queue", self.stem(expert)), span)?;
        let merged = self.merged(order, queue, hit, span)?;
        let axes = self.ty(merged).axes.clone();
        let before = self.push(running(queue, merged), Elem::I32, axes, span)?;
        self.split(queue, order, before, span)
    }

    /// For each row the number of rows that are ahead of it: those of a higher score, and equals that come before it. All pairs are
    /// compared. With it the axis that rows have here. `counts`: which rows are ahead of any.
    pub(super) fn ahead(
        &mut self,
        expert: AxisId,
        score: NodeId,
        rows: &[AxisId],
        counts: Option<NodeId>,
        span: Span,
    ) -> Checked<(AxisId, NodeId)> {
        let ty = self.ty(score).clone();
        let mut score = score;
        if is_float(ty.elem) {
            // A score that is no number is the least.
            let never = self.push(Kind::Number(f64::NEG_INFINITY), ty.elem, Vec::new(), span)?;
            let is_one = self.push(Kind::Binary(Binary::Eq, score, score), Elem::Bool, ty.axes.clone(), span)?;
            score = self.push(Kind::Where(is_one, score, never), ty.elem, ty.axes, span)?;
        }
        let [queue, rival] = ["row", "rival"].map(|n| format!("{}_{n}", self.stem(expert)));
        let (queue, rival) = (self.joint(rows, &queue, span)?, self.joint(rows, &rival, span)?);
        let (row, other) = (self.merged(rows, queue, score, span)?, self.merged(rows, rival, score, span)?);
        let [place, other_place] = [queue, rival].map(|axis| self.push(Kind::Index(axis), Elem::I32, vec![axis], span));
        let all = self.union(&[row, other]);
        let better = self.push(Kind::Binary(Binary::Gt, other, row), Elem::Bool, all.clone(), span)?;
        let equal = self.push(Kind::Binary(Binary::Eq, other, row), Elem::Bool, all.clone(), span)?;
        let earlier = Kind::Binary(Binary::Lt, other_place?, place?);
        let earlier = self.push(earlier, Elem::Bool, vec![queue, rival], span)?;
        let equal = self.push(Kind::Binary(Binary::And, equal, earlier), Elem::Bool, all.clone(), span)?;
        let mut ahead = self.push(Kind::Binary(Binary::Or, better, equal), Elem::Bool, all, span)?;
        if let Some(counts) = counts {
            let axes = with(self.ty(counts).axes.clone(), rows);
            let counts = self.push(Kind::Broadcast(counts), Elem::Bool, axes, span)?;
            let counts = self.merged(rows, rival, counts, span)?;
            let axes = self.union(&[ahead, counts]);
            ahead = self.push(Kind::Binary(Binary::And, ahead, counts), Elem::Bool, axes, span)?;
        }
        let all = self.ty(ahead).axes.clone();
        let ahead = self.push(Kind::Cast(ahead), Elem::I32, all, span)?;
        let rest = self.axes_without(ahead, &[rival]);
        let ahead = Kind::Reduce { with: Reduce::Sum, over: vec![rival], x: ahead };
        Ok((queue, self.push(ahead, Elem::I32, rest, span)?))
    }

    /// `expert_choice(score, rows = n)`, `expert_choice(score, capacity = 2.0)`: each expert takes its best rows, equals in their order.
    pub(super) fn chosen_by_experts(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        expert: AxisId,
        score: NodeId,
        span: Span,
    ) -> Checked<Plan> {
        let Some((capacity, _)) = self.capacity(scope, call)? else {
            let message = "how many rows does an expert choose?";
            let help = "say `rows = 64`, or `capacity = 2.0`: so many experts for a row on the average";
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, message).help(help)));
        };
        let apart = self.apart(scope, call, score, &[expert])?;
        let rows: Vec<AxisId> =
            self.axes_without(score, &[expert]).into_iter().filter(|a| !apart.contains(a)).collect();
        if rows.is_empty() {
            let message = "the score has no rows to choose from";
            return Err(self.say(Diagnostic::error(codes::ROUTE, span, message)));
        }
        let mask = self.mask(scope, call, self.axes_without(score, &[expert]))?;
        let sent = self.sent_to(&self.sent.clone(), &self.axes_without(score, &[expert]), span)?;
        let sent = self.both(sent, mask, span)?;
        self.of_queues(&capacity, &apart, span)?;
        let most = self.most_rows(&capacity, expert, (&rows, None), sent, span)?;
        let (queue, ahead) = self.ahead(expert, score, &rows, sent, span)?;
        let axes = self.union(&[ahead, most]);
        let kept = self.push(Kind::Binary(Binary::Lt, ahead, most), Elem::Bool, axes, span)?;
        let mut kept = self.split(queue, &rows, kept, span)?;
        if let Some(sent) = sent {
            let axes = self.union(&[kept, sent]);
            kept = self.push(Kind::Binary(Binary::And, kept, sent), Elem::Bool, axes, span)?;
        }
        // A slot for each expert, empty where it did not choose.
        let slot = self.slot_axis(scope, self.size(expert).clone(), span);
        let slots = |this: &mut Self, x: NodeId| {
            let (elem, axes) = (this.ty(x).elem, with(this.axes_without(x, &[expert]), &[slot]));
            this.push(Kind::Rename { from: expert, to: slot, x }, elem, axes, span)
        };
        let (kept, weight) = (slots(self, kept)?, slots(self, score)?);
        let index = self.push(Kind::Index(slot), Elem::I32, vec![slot], span)?;
        self.kept_only(self.chosen(expert, (slot, index), weight), kept, span)
    }

    /// An axis for all points of others.
    fn joint(&mut self, axes: &[AxisId], name: &str, span: Span) -> Checked<AxisId> {
        let size = axes.iter().try_fold(Size::known(1), |n, a| n.checked_mul(self.size(*a)));
        let size = self.made_size(size, span)?;
        Ok(self.axis_id(name, size, span))
    }

    /// One or several axes as one.
    fn merged(&mut self, from: &[AxisId], to: AxisId, x: NodeId, span: Span) -> Checked<NodeId> {
        let (elem, axes) = (self.ty(x).elem, with(self.axes_without(x, from), &[to]));
        let kind = match from {
            [from] => Kind::Rename { from: *from, to, x },
            _ => Kind::Merge { from: from.to_vec(), to, x },
        };
        self.push(kind, elem, axes, span)
    }

    /// One axis as one or several.
    fn split(&mut self, from: AxisId, to: &[AxisId], x: NodeId, span: Span) -> Checked<NodeId> {
        let (elem, axes) = (self.ty(x).elem, with(self.axes_without(x, &[from]), to));
        let kind = match to {
            [to] => Kind::Rename { from, to: *to, x },
            _ => Kind::Split { from, to: to.to_vec(), x },
        };
        self.push(kind, elem, axes, span)
    }
}
