//! `scan t lengths = n`: sequences side by side, each with a length of its own.
//!
//! Written out in ordinary nodes. A mask says which elements of the axis a sequence has; where it has none the carries stay as they are, and
//! what is yielded is 0. So a sequence stops at its own end, and one that is read backwards begins there. That nothing need be computed
//! for the rest is for the compiler to find.

use super::brackets::with;
use super::carry::Carry;
use super::scope::Scope;
use super::yields::{Yielded, Yields};
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Span, Type};
use crate::size::Size;
use crate::syntax::Expr;

/// Which elements of a loop's axis the sequences have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    /// A bool for each element of each sequence, made outside of the loop.
    all: NodeId,
    span: Span,
}

impl Checker<'_> {
    /// The mask of a loop over `axis`; `lengths` stands outside of its body.
    pub(super) fn lengths(
        &mut self,
        scope: &mut Scope,
        lengths: &Expr,
        axis: AxisId,
        carries: &[Carry],
    ) -> Checked<Mask> {
        let span = lengths.span;
        let val = self.expr(scope, lengths)?;
        let lengths = self.integers(&val, span)?;
        let ty = self.ty(lengths).clone();
        if ty.axes.contains(&axis) {
            let message = format!("there is one length for a sequence, but this is {}", self.show(&ty));
            let help = format!("lengths do not vary along `{}`, the axis of the loop", self.stem(axis));
            return Err(self.say(Diagnostic::error(codes::AXES, span, message).help(help)));
        }
        if let Some(carry) = carries.iter().find(|c| ty.axes.iter().any(|a| !c.ty.axes.contains(a))) {
            let (found, name) = (self.show(&ty), &carry.name.text);
            let message = format!("the lengths are {found}, and carry `{name}` is {}", self.show(&carry.ty));
            let help = "each sequence has a carry of its own: it has the axes of the lengths";
            return Err(self.say(Diagnostic::error(codes::AXES, span, message).help(help)));
        }
        let lengths = self.counts(axis, "lengths", lengths, span)?;
        let index = self.push(Kind::Index(axis), Elem::I32, vec![axis], span)?;
        let axes = with(ty.axes, &[axis]);
        let all = self.push(Kind::Binary(Binary::Lt, index, lengths), Elem::Bool, axes, span)?;
        Ok(Mask { all, span })
    }

    /// Numbers of elements of an axis, as i32: an error when the model runs where one is no number from 0 to the size of the axis.
    pub(super) fn counts(&mut self, axis: AxisId, what: &str, counts: NodeId, span: Span) -> Checked<NodeId> {
        // Places from 0 to the size, both included, at these numbers: they themselves.
        let more = self.size(axis).checked_add(&Size::known(1));
        let more = self.made_size(more, span)?;
        let name = format!("{}_{what}", self.stem(axis).trim_end_matches('\''));
        let ends = self.axis_id(&name, more, span);
        let places = self.push(Kind::Index(ends), Elem::I32, vec![ends], span)?;
        let axes = self.ty(counts).axes.clone();
        self.push(Kind::Gather { axis: ends, index: counts, x: places }, Elem::I32, axes, span)
    }

    /// In the body: does a sequence have the element at hand?
    fn is_inside(&mut self, mask: Mask) -> Checked<NodeId> {
        match self.read(&Val::Tensor(mask.all), self.loops.len() - 1, mask.span)? {
            Val::Tensor(node) => Ok(node),
            _ => Err(Reported),
        }
    }

    /// An integer of a sequence, 0 where the sequence has no element: whatever stands in padding is no wrong index.
    pub(super) fn harmless(&mut self, mask: Mask, axis: AxisId, item: NodeId, span: Span) -> Checked<NodeId> {
        let ty = self.ty(item).clone();
        let axes = self.axes_without(mask.all, &[axis]);
        if super::is_float(ty.elem) || ty.elem == Elem::Bool || axes.iter().any(|axis| !ty.axes.contains(axis)) {
            return Ok(item);
        }
        let is_inside = self.push(Kind::Item { axis, x: mask.all }, Elem::Bool, axes, span)?;
        let zero = self.push(Kind::Number(0.0), ty.elem, Vec::new(), span)?;
        self.push(Kind::Where(is_inside, item, zero), ty.elem, ty.axes, span)
    }

    /// Carries stay as they are where a sequence has no element.
    pub(super) fn keep_carries(
        &mut self,
        mask: Mask,
        carries: &[Carry],
        mut nexts: Vec<NodeId>,
    ) -> Checked<Vec<NodeId>> {
        let is_inside = self.is_inside(mask)?;
        for (i, (carry, next)) in carries.iter().zip(&mut nexts).enumerate() {
            let Type { elem, axes } = carry.ty.clone();
            let before = self.push(Kind::Carry(i), elem, axes.clone(), mask.span)?;
            *next = self.push(Kind::Where(is_inside, *next, before), elem, axes, mask.span)?;
        }
        Ok(nexts)
    }

    /// What is yielded is 0 where a sequence has no element.
    pub(super) fn clear_yields(&mut self, mask: Mask, mut yields: Yields, at: Span) -> Checked<Yields> {
        let is_inside = self.is_inside(mask)?;
        let axes = self.ty(is_inside).axes.clone();
        for yielded in &mut yields.list {
            let Yielded::Each(node) = yielded else { continue };
            let ty = self.ty(*node).clone();
            if axes.iter().any(|a| !ty.axes.contains(a)) {
                let lengths = self.show(&Type { elem: Elem::I32, axes });
                let message = format!("the lengths are {lengths}, and what is yielded is {}", self.show(&ty));
                let help =
                    "each sequence yields values of its own, 0 behind its end: they have the axes of the lengths";
                return Err(self.say(Diagnostic::error(codes::AXES, at, message).help(help)));
            }
            let zero = self.push(Kind::Number(0.0), ty.elem, Vec::new(), mask.span)?;
            *node = self.push(Kind::Where(is_inside, *node, zero), ty.elem, ty.axes, mask.span)?;
        }
        Ok(yields)
    }
}
