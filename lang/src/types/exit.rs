//! `exit`: rows that leave a `repeat` with a value of their own.
//!
//! What it means is written out in ordinary nodes: a carry says which rows have left, one for each part of the value keeps what
//! they left with. That the rest of the body need not be computed for them is for the compiler to find.

use super::brackets::with;
use super::records::{flat, nested};
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Span, Type};
use crate::syntax;

/// The exits of a loop's body, as far as they are checked. Their carries come after the loop's own: who has left, and with what.
pub(crate) struct Exits {
    /// Those of the rows, sorted.
    axes: Vec<AxisId>,
    /// Names of a record, or nothing.
    names: Option<Vec<String>>,
    pub inits: Vec<NodeId>,
    /// The values of the carries after the exits so far.
    pub nexts: Vec<NodeId>,
}

/// A value as its names, if it is a record, and its tensors.
type Parts = (Option<Vec<String>>, Vec<(NodeId, Span)>);

impl Checker<'_> {
    /// `exit AXES when CONDITION yield VALUE`; `carries` are the loop's own.
    pub fn exit(
        &mut self,
        scope: &mut Scope,
        exit: &syntax::Exit,
        carries: usize,
        exits: &mut Option<Exits>,
    ) -> Checked<()> {
        let span = place(exit);
        if !self.loops.last().is_some_and(|l| l.repeats) {
            return Err(self.say(outside(span)));
        }
        let condition =
            self.expr(scope, &exit.condition).and_then(|c| self.as_tensor(&c, Elem::Bool, exit.condition.span));
        let value = self.expr(scope, &exit.value).and_then(|v| self.parts(v, &[], exit.value.span));
        let (condition, (names, values)) = (condition?, value?);
        let ty = self.ty(condition).clone();
        if ty.elem != Elem::Bool {
            let message = format!("the condition of an exit is bool, this is {}", self.show(&ty));
            let help = "compare it: `max[class](p) > 0.9`";
            return Err(self.say(Diagnostic::error(codes::ELEMS, exit.condition.span, message).help(help)));
        }
        let axes = self.exit_axes(scope, exit, &ty)?;
        let mut tensors = Vec::new();
        for (value, at) in values {
            let Type { elem, axes: of } = self.ty(value).clone();
            let missing: Vec<AxisId> = axes.iter().copied().filter(|axis| !of.contains(axis)).collect();
            let ty = Type { elem, axes: sorted(with(of, &missing)) };
            tensors.push((self.fit(value, &ty, "what an exit yields", at)?, at));
        }
        let before = match exits.take() {
            Some(before) => self.same_exit(before, &axes, &names, &tensors, exit)?,
            None => self.first_exit(axes, names, &tensors, carries, span)?,
        };
        let Exits { axes: rows, names, inits, nexts } = before;
        let left = nexts[0];
        let mut after = vec![self.push(Kind::Binary(Binary::Or, left, condition), Elem::Bool, rows.clone(), span)?];
        for (&kept, (value, _)) in nexts[1..].iter().zip(&tensors) {
            let Type { elem, axes } = self.ty(kept).clone();
            after.push(self.push(Kind::Where(left, kept, *value), elem, axes, span)?);
        }
        *exits = Some(Exits { axes: rows, names, inits, nexts: after });
        Ok(())
    }

    /// The axes of the rows that leave: those that are named, which are all that the condition has.
    fn exit_axes(&mut self, scope: &Scope, exit: &syntax::Exit, condition: &Type) -> Checked<Vec<AxisId>> {
        let mut axes: Vec<AxisId> = Vec::new();
        for (i, name) in exit.axes.iter().enumerate() {
            if let Some(first) = exit.axes[..i].iter().find(|n| n.text == name.text) {
                return Err(self.twice(name, first.span));
            }
            axes.push(self.axis_of(scope, name, condition)?);
        }
        let others: Vec<&str> = condition.axes.iter().filter(|a| !axes.contains(a)).map(|a| self.stem(*a)).collect();
        if !others.is_empty() {
            let named = exit.axes.iter().map(|name| name.text.as_str()).collect::<Vec<_>>();
            let rows = named.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let message = format!("rows of {rows} leave as a whole, but the condition is {}", self.show(condition));
            let (named, others) = (named.join(", "), others.join(", "));
            let help = format!(
                "reduce it: `all[{others}](..)`, `any[{others}](..)`; or let each leave by itself: `exit {named}, {others} when ..`"
            );
            return Err(self.say(Diagnostic::error(codes::AXES, exit.condition.span, message).help(help)));
        }
        Ok(sorted(axes))
    }

    /// The carries of the first exit of a body: nobody has left.
    fn first_exit(
        &mut self,
        rows: Vec<AxisId>,
        names: Option<Vec<String>>,
        values: &[(NodeId, Span)],
        carries: usize,
        span: Span,
    ) -> Checked<Exits> {
        let left = Type { elem: Elem::Bool, axes: rows.clone() };
        let mut exits = Exits { axes: rows, names, inits: Vec::new(), nexts: Vec::new() };
        let types: Vec<Type> = values.iter().map(|(value, _)| self.ty(*value).clone()).collect();
        for (i, Type { elem, axes }) in [left].into_iter().chain(types).enumerate() {
            exits.inits.push(self.push(Kind::Number(0.0), elem, Vec::new(), span)?);
            exits.nexts.push(self.push(Kind::Carry(carries + i), elem, axes, span)?);
        }
        Ok(exits)
    }

    /// Later exits of a body are of the same rows, with values of the same types.
    fn same_exit(
        &mut self,
        before: Exits,
        rows: &[AxisId],
        names: &Option<Vec<String>>,
        values: &[(NodeId, Span)],
        exit: &syntax::Exit,
    ) -> Checked<Exits> {
        let types = |this: &Self, nodes: &[NodeId]| nodes.iter().map(|n| this.ty(*n).clone()).collect::<Vec<_>>();
        let nodes: Vec<NodeId> = values.iter().map(|v| v.0).collect();
        let (found, want) = (types(self, &nodes), types(self, &before.nexts[1..]));
        if (before.axes.as_slice(), &before.names, &want) == (rows, names, &found) {
            return Ok(before);
        }
        let message = "the exits of one loop are of the same axes and yield values of the same types";
        Err(self.say(Diagnostic::error(codes::LOOP, exit.value.span, message)))
    }

    /// What the loop gives: what rows left with; without an `else`, those that stayed leave at last with what they would have then.
    pub fn left_with(
        &mut self,
        scope: &mut Scope,
        exits: &Exits,
        (of, carries): (NodeId, usize),
        otherwise: Option<&syntax::Expr>,
        span: Span,
    ) -> Checked<Val> {
        let mut lasts = Vec::new();
        for (i, next) in exits.nexts.iter().enumerate() {
            let Type { elem, axes } = self.ty(*next).clone();
            lasts.push(self.push(Kind::Last { of, index: carries + i }, elem, axes, span)?);
        }
        let (left, mut values) = (lasts[0], lasts.split_off(1));
        if let Some(otherwise) = otherwise {
            let val = self.expr(scope, otherwise)?;
            let elems: Vec<Elem> = values.iter().map(|v| self.ty(*v).elem).collect();
            let (names, others) = self.parts(val, &elems, otherwise.span)?;
            if names != exits.names {
                let message = "the `else` of a loop with exits gives what they yield";
                return Err(self.say(Diagnostic::error(codes::LOOP, otherwise.span, message)));
            }
            for (value, (other, at)) in values.iter_mut().zip(others) {
                let ty = self.ty(*value).clone();
                let other = self.fit(other, &ty, "what the exits yield", at)?;
                *value = self.push(Kind::Where(left, *value, other), ty.elem, ty.axes, span)?;
            }
        }
        Ok(match &exits.names {
            Some(names) => {
                Val::Record(nested(names.iter().cloned().zip(values.into_iter().map(Val::Tensor)).collect()))
            }
            None => values.pop().map_or(Val::Error, Val::Tensor),
        })
    }

    /// Numbers are of these types, or f32.
    fn parts(&mut self, val: Val, elems: &[Elem], span: Span) -> Checked<Parts> {
        let (names, vals) = match val {
            Val::Record(fields) => {
                let (names, vals) = flat(fields).into_iter().unzip();
                (Some(names), vals)
            }
            val => (None, vec![val]),
        };
        let mut nodes = Vec::new();
        for (i, val) in vals.iter().enumerate() {
            let elem = elems.get(i).copied().unwrap_or(Elem::F32);
            nodes.push((self.as_tensor(val, elem, span)?, span));
        }
        Ok((names, nodes))
    }
}

/// Where the axes of an exit stand.
pub fn place(exit: &syntax::Exit) -> Span {
    let (first, last) = (exit.axes[0].span, exit.axes[exit.axes.len() - 1].span);
    Span { end: last.end, ..first }
}

pub fn outside(span: Span) -> Diagnostic {
    Diagnostic::error(codes::LOOP, span, "an `exit` stands directly in the body of a `repeat`")
}

fn sorted(mut axes: Vec<AxisId>) -> Vec<AxisId> {
    axes.sort();
    axes
}
