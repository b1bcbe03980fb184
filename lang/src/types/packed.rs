//! `scan t segments[seq] = of`: sequences one after the other along one axis; `of` says which one an element belongs to.
//!
//! Written out in ordinary nodes. A sequence begins where the number is not that of the element before (of the one behind, backwards): there
//! the body reads a carry's first value in the carry's place. With an axis of the sequences each has a first value and a last one of its own:
//! the first is gathered by `of`, the last is what the carry was at the sequence's end, or the first where it has no element.

use super::brackets::with;
use super::carry::Carry;
use super::exit::Exits;
use super::scope::Scope;
use super::yields::{Yielded, Yields};
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Reduce, Span, Type};
use crate::syntax::Segments;

/// The sequences along a loop's axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// The axis of the loop.
    along: AxisId,
    /// That of the sequences.
    pub(super) axis: Option<AxisId>,
    reverse: bool,
    /// The number of each element's sequence.
    of: NodeId,
    /// Is an element the first that the loop meets of its sequence?
    begins: NodeId,
    span: Span,
}

impl Packed {
    /// What a loop yields: the last value of a carry in each sequence is found among all its values.
    pub(super) fn all_of_carries(self, mut yields: Yields, nexts: &Checked<(Vec<NodeId>, Option<Exits>)>) -> Yields {
        if let (Some(_), Ok((nexts, _))) = (self.axis, nexts) {
            for yielded in &mut yields.list {
                if let Yielded::Last(index) = *yielded {
                    *yielded = Yielded::LastOfEach(index, nexts[index]);
                }
            }
        }
        yields
    }
}

impl Checker<'_> {
    /// The sequences of a loop over `along`; `segments` stands outside of its body.
    pub(super) fn packed(
        &mut self,
        scope: &mut Scope,
        segments: &Segments,
        (along, reverse): (AxisId, bool),
    ) -> Checked<Packed> {
        let span = segments.of.span;
        let val = self.expr(scope, &segments.of)?;
        let of = self.integers(&val, span)?;
        let axis = segments.axis.as_ref().map(|name| self.named_axis(scope, name)).transpose()?;
        let Type { elem, axes } = self.ty(of).clone();
        if !axes.contains(&along) || axis.is_some_and(|seq| axes.contains(&seq)) {
            let (found, name) = (self.show(&Type { elem, axes }), self.stem(along));
            let message = format!("each element of `{name}` has the number of its sequence, but this is {found}");
            let help = format!(
                "from where sequences start, `start: i32[seq]`, these are `sum[seq](i32(index({name}) >= start)) - 1`"
            );
            return Err(self.say(Diagnostic::error(codes::AXES, span, message).help(help)));
        }
        let of = match axis {
            // The numbers of sequences at the numbers: they themselves, and an error if there is none of a number.
            Some(seq) => {
                let numbers = self.push(Kind::Index(seq), Elem::I32, vec![seq], span)?;
                self.push(Kind::Gather { axis: seq, index: of, x: numbers }, Elem::I32, axes.clone(), span)?
            }
            None => of,
        };
        let elem = self.ty(of).elem;
        let by = if reverse { 1 } else { -1 };
        let before = self.push(Kind::Shift { axis: along, by, fill: 0.0, x: of }, elem, axes.clone(), span)?;
        let changes = self.push(Kind::Binary(Binary::Ne, of, before), Elem::Bool, axes.clone(), span)?;
        let index = self.push(Kind::Index(along), Elem::I32, vec![along], span)?;
        let first = match reverse {
            false => self.push(Kind::Number(0.0), Elem::I32, Vec::new(), span)?,
            true => {
                let size = self.push(Kind::SizeOf(along), Elem::I32, Vec::new(), span)?;
                let one = self.push(Kind::Number(1.0), Elem::I32, Vec::new(), span)?;
                self.push(Kind::Binary(Binary::Sub, size, one), Elem::I32, Vec::new(), span)?
            }
        };
        let is_first = self.push(Kind::Binary(Binary::Eq, index, first), Elem::Bool, vec![along], span)?;
        let begins = self.push(Kind::Binary(Binary::Or, is_first, changes), Elem::Bool, axes, span)?;
        Ok(Packed { along, axis, reverse, of, begins, span })
    }

    /// The first value of a carry of type `ty`: what the loop begins with, and what a sequence does, for each element of the axis.
    pub(super) fn first_of_each(
        &mut self,
        packed: Packed,
        name: &str,
        init: NodeId,
        ty: &Type,
        span: Span,
    ) -> Checked<(NodeId, NodeId)> {
        let own = self.axes_without(packed.of, &[packed.along]);
        if own.iter().any(|a| !ty.axes.contains(a)) || packed.axis.is_some_and(|seq| ty.axes.contains(&seq)) {
            let (found, is) = (self.show(&self.ty(packed.of).clone()), self.show(ty));
            let message = format!("the sequences' numbers are {found}, and carry `{name}` is {is}");
            let help = "the carry is that of the sequence at hand: it has the numbers' other axes, and not that of the sequences";
            return Err(self.say(Diagnostic::error(codes::AXES, packed.span, message).help(help)));
        }
        let Some(seq) = packed.axis.filter(|seq| self.has(init, *seq)) else { return Ok((init, init)) };
        let axes = with(self.axes_without(init, &[seq]), &self.ty(packed.of).axes.clone());
        let firsts = self.push(Kind::Gather { axis: seq, index: packed.of, x: init }, ty.elem, axes, span)?;
        let nothing = self.push(Kind::Number(0.0), ty.elem, Vec::new(), span)?;
        Ok((self.fit(nothing, ty, name, span)?, firsts))
    }

    /// In the body: a carry, or its first value where a sequence begins.
    pub(super) fn resumed(&mut self, packed: Packed, node: NodeId, firsts: NodeId) -> Checked<NodeId> {
        let here = |this: &mut Self, node| match this.read(&Val::Tensor(node), this.loops.len() - 1, packed.span)? {
            Val::Tensor(node) => Ok(node),
            _ => Err(Reported),
        };
        let (begins, first) = (here(self, packed.begins)?, here(self, firsts)?);
        let Type { elem, axes } = self.ty(node).clone();
        self.push(Kind::Where(begins, first, node), elem, axes, packed.span)
    }

    /// The last value of a carry in each sequence, of all of them along the axis.
    pub(super) fn last_of_each(&mut self, packed: Packed, all: NodeId, carry: &Carry, span: Span) -> Checked<Val> {
        let Some(seq) = packed.axis else { return Err(Reported) };
        let Packed { along, of, .. } = packed;
        let furthest = if packed.reverse { Reduce::Min } else { Reduce::Max };
        let last = self.at_one_index(all, of, (along, seq), furthest, span)?;
        let one = self.push(Kind::Number(1.0), Elem::Bool, Vec::new(), span)?;
        let ones = self.push(Kind::Broadcast(one), Elem::Bool, self.ty(of).axes.clone(), span)?;
        let has_any = Kind::Segment { with: Reduce::Any, from: along, to: seq, index: of, x: ones };
        let axes = with(self.axes_without(of, &[along]), &[seq]);
        let has_any = self.push(has_any, Elem::Bool, axes, span)?;
        let Type { elem, axes } = self.ty(last).clone();
        self.tensor(Kind::Where(has_any, last, carry.given), elem, axes, span)
    }
}
