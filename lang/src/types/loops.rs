//! `scan` and `repeat`.

use super::carry::Carry;
use super::exit::Exits;
use super::lengths::Mask;
use super::packed::Packed;
use super::params::NextState;
use super::records::{by_name, groups, nodes_by_name};
use super::scope::Scope;
use super::yields::Yields;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, Loop, NodeId, Span, Type};
use crate::syntax::{Carried, Expr, Repeat, Scan, Statement};

/// A loop around the place that is being checked.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub axis: AxisId,
    /// Parameters inside belong to one iteration.
    pub repeats: bool,
    /// Which elements sequences have.
    pub mask: Option<Mask>,
}

impl Checker<'_> {
    pub fn scan(&mut self, scope: &mut Scope, scan: &Scan, span: Span) -> Checked<Val> {
        self.widening(scope, |this, scope| this.scan_once(scope, scan, span))
    }

    pub fn repeat(&mut self, scope: &mut Scope, repeat: &Repeat, span: Span) -> Checked<Val> {
        self.widening(scope, |this, scope| this.repeat_once(scope, repeat, span))
    }

    /// Checks a loop, and once more for each expert axis of a route around that a carry has only from what it becomes: its first value
    /// is then the same for all experts. An axis comes to a carry once, wherever its loop is instantiated, so that loops in loops are
    /// not checked without end.
    fn widening(&mut self, scope: &mut Scope, check: impl Fn(&mut Self, &mut Scope) -> Checked<Val>) -> Checked<Val> {
        if self.experts.is_empty() {
            return check(self, scope);
        }
        let (before, nodes, next_states) = (scope.clone(), self.nodes.len(), self.next_states.len());
        loop {
            let done = check(self, scope);
            if !std::mem::take(&mut self.widens) {
                return done;
            }
            *scope = before.clone();
            self.nodes.truncate(nodes);
            self.next_states.truncate(next_states);
        }
    }

    fn scan_once(&mut self, scope: &mut Scope, scan: &Scan, span: Span) -> Checked<Val> {
        let Some(times) = &scan.times else { return self.scanned(scope, scan, span) };
        let size = self.size_expr(scope, times)?;
        let axis = self.axis_of_size(scope, &scan.axis, size);
        let before = scope.axes.insert(scan.axis.text.clone(), axis);
        let done = self.scanned(scope, scan, span);
        // A result may have the axis: its name stands for it from here on, as that of brackets does.
        if let Some(id) = before {
            scope.axes.insert(scan.axis.text.clone(), id);
        }
        done
    }

    fn scanned(&mut self, scope: &mut Scope, scan: &Scan, span: Span) -> Checked<Val> {
        let axis = self.named_axis(scope, &scan.axis);
        let carries = axis.and_then(|axis| {
            let along = (axis, scan.reverse);
            let packed = scan.segments.as_ref().map(|segments| self.packed(scope, segments, along)).transpose()?;
            let carries = self.carries(scope, &scan.carries, axis, packed)?;
            let mask = scan.lengths.as_ref().map(|lengths| self.lengths(scope, lengths, axis, &carries)).transpose()?;
            Ok((axis, packed, carries, mask))
        });
        let (axis, packed, carries, mask) = match carries {
            Ok(known) => known,
            Err(Reported) => return Err(self.look_into(scope, &scan.carries, &scan.statements, &scan.nexts)),
        };
        if let (Some(_), Some(until)) = (packed, &scan.until) {
            let message = "a loop has an `until` or `segments`, not both";
            return Err(self.say(Diagnostic::error(codes::LOOP, until.span, message)));
        }
        let start = self.enter(scope, &carries, Around { axis, repeats: false, mask }, packed, span)?;
        let nexts = self.loop_body(scope, &scan.statements, &scan.nexts, &carries, span);
        let mut nexts = match (mask, nexts) {
            (Some(mask), Ok((nexts, exits))) => self.keep_carries(mask, &carries, nexts).map(|nexts| (nexts, exits)),
            (_, nexts) => nexts,
        };
        let until = self.until(scope, scan.until.as_ref(), &carries, &mut nexts);
        let yielded = self.loop_yields(scope, Some(&scan.yields), &carries, &nexts);
        let yielded = match (mask, packed, yielded) {
            (Some(mask), _, Ok(yields)) => self.clear_yields(mask, yields, scan.yields.span),
            (_, Some(packed), Ok(yields)) => Ok(packed.all_of_carries(yields, &nexts)),
            (_, _, yielded) => yielded,
        };
        self.leave(scope);
        let ((mut nexts, _), until, yielded) = (nexts?, until?, yielded?);
        let mut inits: Vec<NodeId> = carries.iter().map(|c| c.init).collect();
        if let Some((init, next)) = until {
            inits.push(init);
            nexts.push(next);
        }
        let of = self.finish_loop((axis, scan.reverse), start, (inits, nexts), yielded.each(), span)?;
        self.results(of, axis, &carries, (yielded, packed), span)
    }

    fn repeat_once(&mut self, scope: &mut Scope, repeat: &Repeat, span: Span) -> Checked<Val> {
        let size = self.size_expr(scope, &repeat.count)?;
        if !size.is_known() {
            let message = "how often a `repeat` runs must be known when building";
            return Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, repeat.count.span, message)));
        }
        let axis = self.axis_of_size(scope, &repeat.axis, size);
        let before = scope.axes.insert(repeat.axis.text.clone(), axis);
        let done = self.repeated(scope, repeat, axis, span);
        match before {
            Some(id) => scope.axes.insert(repeat.axis.text.clone(), id),
            None => scope.axes.remove(&repeat.axis.text),
        };
        let (of, carries, yielded, exits) = done?;
        let mut lasts = Vec::new();
        for (index, carry) in carries.iter().enumerate() {
            let last = self.tensor(Kind::Last { of, index }, carry.ty.elem, carry.ty.axes.clone(), span)?;
            lasts.push(last);
        }
        let lasts = by_name(&carries, lasts).into_iter().map(|(name, val)| (name.text, val));
        let mut lasts: Vec<(String, Val)> = lasts.collect();
        if repeat.otherwise.is_some() || exits.is_some() {
            scope.values.push(Default::default());
            for (name, val) in &lasts {
                scope.bind(name, val.clone(), self.loops.len(), span);
            }
            let val = match (&exits, &repeat.otherwise) {
                (Some(exits), otherwise) => self.left_with(scope, exits, (of, carries.len()), otherwise.as_ref(), span),
                (None, Some(otherwise)) => self.expr(scope, otherwise),
                (None, None) => Ok(Val::Error),
            };
            scope.values.pop();
            return val;
        }
        if repeat.yields.is_some() {
            return self.results(of, axis, &carries, (yielded, None), span);
        }
        Ok(if lasts.len() == 1 { lasts.remove(0).1 } else { Val::Record(lasts) })
    }

    /// The loop of a `repeat`: its node, its carries and what it yields.
    fn repeated(
        &mut self,
        scope: &mut Scope,
        repeat: &Repeat,
        axis: AxisId,
        span: Span,
    ) -> Checked<(NodeId, Vec<Carry>, Yields, Option<Exits>)> {
        if let (Some(_), Some(otherwise)) = (&repeat.yields, &repeat.otherwise) {
            let message = "a `repeat` has a `yield` or an `else`, not both";
            return Err(self.say(Diagnostic::error(codes::LOOP, otherwise.span, message)));
        }
        let Ok(carries) = self.carries(scope, &repeat.carries, axis, None) else {
            return Err(self.look_into(scope, &repeat.carries, &repeat.statements, &repeat.nexts));
        };
        let start = self.enter(scope, &carries, Around { axis, repeats: true, mask: None }, None, span)?;
        self.gained.push(axis);
        let mut nexts = self.loop_body(scope, &repeat.statements, &repeat.nexts, &carries, span);
        let until = self.until(scope, repeat.until.as_ref(), &carries, &mut nexts);
        let yielded = self.loop_yields(scope, repeat.yields.as_ref(), &carries, &nexts);
        self.gained.pop();
        self.leave(scope);
        let ((mut nexts, exits), until, yielded) = (nexts?, until?, yielded?);
        let mut inits: Vec<NodeId> = carries.iter().map(|c| c.init).collect();
        if let Some((init, next)) = until {
            inits.push(init);
            nexts.push(next);
        }
        if let Some(exits) = &exits {
            if let Some(until) = &repeat.until {
                let message = "a `repeat` has an `until` or exits, not both";
                return Err(self.say(Diagnostic::error(codes::LOOP, until.span, message)));
            }
            if let Some(yields) = &repeat.yields {
                let message = "a `repeat` that rows leave gives what they leave with: it has no `yield` of its own";
                return Err(self.say(Diagnostic::error(codes::LOOP, yields.span, message)));
            }
            inits.extend(&exits.inits);
            nexts.extend(&exits.nexts);
        }
        // What states become in each iteration is stacked as what is yielded is.
        let mut each = yielded.each();
        let inside = self.loops.len() + 1;
        let states: Vec<usize> = (0..self.next_states.len()).filter(|i| self.next_states[*i].depth == inside).collect();
        let first = each.len();
        each.extend(states.iter().map(|i| self.next_states[*i].node));
        let of = self.finish_loop((axis, false), start, (inits, nexts), each, span)?;
        for (number, i) in states.into_iter().enumerate() {
            let ty = self.ty(self.next_states[i].node).clone();
            let all = Kind::Yielded { of, index: first + number };
            let node = self.push(all, ty.elem, super::brackets::with(ty.axes, &[axis]), span)?;
            self.next_states[i] = NextState { node, depth: self.loops.len(), ..self.next_states[i] };
        }
        Ok((of, carries, yielded, exits))
    }

    /// `until CONDITION`: from the iteration on after which it holds, the carries stay as they are; the first value and the next one of a carry
    /// that says whether it did. The condition reads carries as `next` set them. That nothing need be computed from there on is for the
    /// compiler to find.
    fn until(
        &mut self,
        scope: &mut Scope,
        until: Option<&Expr>,
        carries: &[Carry],
        nexts: &mut Checked<(Vec<NodeId>, Option<Exits>)>,
    ) -> Checked<Option<(NodeId, NodeId)>> {
        let (Some(until), Ok((nexts, _))) = (until, nexts) else { return Ok(None) };
        self.bind_nexts(scope, carries, nexts, until.span);
        let condition = self.expr(scope, until).and_then(|c| self.as_tensor(&c, Elem::Bool, until.span));
        scope.values.pop();
        let condition = condition?;
        let ty = self.ty(condition).clone();
        if ty.elem != Elem::Bool {
            let message = format!("the condition of a loop is bool, this is {}", self.show(&ty));
            return Err(self.say(Diagnostic::error(codes::ELEMS, until.span, message).help("compare it: `gap < 0.01`")));
        }
        if let Some(carry) = carries.iter().find(|c| ty.axes.iter().any(|a| !c.ty.axes.contains(a))) {
            let (found, name) = (self.show(&ty), &carry.name.text);
            let message = format!("the condition is {found}, and carry `{name}` is {}", self.show(&carry.ty));
            let help =
                "a carry stays where the condition holds: it has the condition's axes; or reduce that: `all[b](..)`";
            return Err(self.say(Diagnostic::error(codes::AXES, until.span, message).help(help)));
        }
        let init = self.push(Kind::Number(0.0), Elem::Bool, Vec::new(), until.span)?;
        let done = self.push(Kind::Carry(carries.len()), Elem::Bool, ty.axes.clone(), until.span)?;
        for (i, (carry, next)) in carries.iter().zip(nexts.iter_mut()).enumerate() {
            let Type { elem, axes } = carry.ty.clone();
            let before = self.push(Kind::Carry(i), elem, axes.clone(), until.span)?;
            *next = self.push(Kind::Where(done, before, *next), elem, axes, until.span)?;
        }
        let next = self.push(Kind::Binary(Binary::Or, done, condition), Elem::Bool, ty.axes, until.span)?;
        Ok(Some((init, next)))
    }

    /// Finds what is wrong in the body of a loop whose carries are wrong themselves.
    fn look_into(
        &mut self,
        scope: &mut Scope,
        carried: &[Carried],
        statements: &[Statement],
        nexts: &[Expr],
    ) -> Reported {
        scope.values.push(Default::default());
        for carry in carried {
            scope.bind(&carry.name.text, Val::Error, self.loops.len(), carry.name.span);
        }
        for statement in statements {
            match statement {
                Statement::Exit(exit) => {
                    [&exit.condition, &exit.value].map(|x| drop(self.expr(scope, x))).into_iter().collect()
                }
                statement => drop(self.statement(scope, statement)),
            }
        }
        for next in nexts {
            let _ = self.expr(scope, next);
        }
        scope.values.pop();
        Reported
    }

    /// A value of a wider type: axes that it lacks are added.
    pub fn fit(&mut self, node: NodeId, ty: &Type, what: &str, span: Span) -> Checked<NodeId> {
        let found = self.ty(node).clone();
        if found == *ty {
            return Ok(node);
        }
        if found.elem == ty.elem && found.axes.iter().all(|a| ty.axes.contains(a)) {
            return self.push(Kind::Broadcast(node), ty.elem, ty.axes.clone(), span);
        }
        let (want, is) = self.show_both(ty, &found);
        let message = format!("{what} is {want}, but this is {is}");
        let mut diagnostic = Diagnostic::error(codes::TYPE, span, message);
        let extra = found.axes.iter().filter(|a| !ty.axes.contains(a) && self.namesake(**a, &ty.axes).is_none());
        let extra: Vec<AxisId> = extra.copied().collect();
        if !extra.is_empty() {
            let names: Vec<&str> = extra.iter().map(|a| self.stem(*a)).collect();
            diagnostic = diagnostic.label(format!("has {} too many", names.join(", ")));
        }
        let missing: Vec<AxisId> = ty.axes.iter().copied().filter(|a| !found.axes.contains(a)).collect();
        Err(self.say_misfit(diagnostic, (&extra, &missing, &ty.axes), span))
    }

    /// Opens a loop's body: the number of its first node.
    fn enter(
        &mut self,
        scope: &mut Scope,
        carries: &[Carry],
        around: Around,
        packed: Option<Packed>,
        span: Span,
    ) -> Checked<u32> {
        let start = self.nodes.len() as u32;
        self.loops.push(around);
        scope.values.push(Default::default());
        let mut nodes = Vec::new();
        for (i, carry) in carries.iter().enumerate() {
            let mut node = self.push(Kind::Carry(i), carry.ty.elem, carry.ty.axes.clone(), span)?;
            if let Some(packed) = packed {
                node = self.resumed(packed, node, carry.firsts)?;
            }
            nodes.push(node);
        }
        for (name, val) in nodes_by_name(carries, &nodes) {
            scope.bind(&name.text, val, self.loops.len(), span);
            if let Some(binding) = scope.find(&name.text) {
                binding.used = true;
            }
        }
        Ok(start)
    }

    fn leave(&mut self, scope: &mut Scope) {
        scope.values.pop();
        self.loops.pop();
    }

    /// Statements and `next`: one value for each carry, and what rows leave with.
    fn loop_body(
        &mut self,
        scope: &mut Scope,
        statements: &[Statement],
        nexts: &[Expr],
        carries: &[Carry],
        span: Span,
    ) -> Checked<(Vec<NodeId>, Option<Exits>)> {
        let mut failed = false;
        let mut exits = None;
        for statement in statements {
            let done = match statement {
                Statement::Exit(exit) => self.exit(scope, exit, carries.len(), &mut exits),
                statement => self.statement(scope, statement),
            };
            failed |= done.is_err();
        }
        let groups = groups(carries);
        if nexts.len() != groups.len() {
            let message = format!("`next` gives {} values for {} carries", nexts.len(), groups.len());
            return Err(self.say(Diagnostic::error(codes::LOOP, span, message)));
        }
        let mut given: Vec<(Checked<Val>, &Expr)> = Vec::new();
        for (next, group) in nexts.iter().zip(groups) {
            let vals = self.expr(scope, next).and_then(|val| self.next_fields(&val, group, next.span));
            match vals {
                Ok(vals) => given.extend(vals.into_iter().map(|val| (Ok(val), next))),
                Err(Reported) => given.extend(group.iter().map(|_| (Err(Reported), next))),
            }
        }
        let (mut nodes, mut widens) = (Vec::new(), false);
        for ((val, next), carry) in given.into_iter().zip(carries) {
            let node = val.and_then(|val| self.as_tensor(&val, carry.ty.elem, next.span));
            if let Ok(node) = node
                && self.widen(node, carry)
            {
                widens = true;
                continue;
            }
            let node = node.and_then(|n| self.fit(n, &carry.ty, &format!("carry `{}`", carry.called()), next.span));
            match node {
                Ok(node) => nodes.push(node),
                Err(Reported) => failed = true,
            }
        }
        self.widens = widens && !failed;
        if failed || widens { Err(Reported) } else { Ok((nodes, exits)) }
    }

    /// The loop of a body that began with node `start`.
    fn finish_loop(
        &mut self,
        (axis, reverse): (AxisId, bool),
        start: u32,
        (inits, nexts): (Vec<NodeId>, Vec<NodeId>),
        yields: Vec<NodeId>,
        span: Span,
    ) -> Checked<NodeId> {
        let body = start..self.nodes.len() as u32;
        let kind = Kind::Loop(Box::new(Loop { axis, reverse, body, inits, nexts, yields }));
        self.push(kind, Elem::F32, Vec::new(), span)
    }
}
