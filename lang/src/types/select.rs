//! Selection outside of routes: `onehot`, `sort`, `argsort`, `top`, `kth`, `roll`, `scatter`.
//!
//! None is an operation of its own. They are written out in selections, gathers, comparisons and folds over segments, and whatever the compiler
//! knows about these holds for them.

use super::brackets::with;
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Reduce, Span, Unary};
use crate::size::Size;
use crate::syntax::{Call, CallAxis};

impl Checker<'_> {
    /// `onehot[e](ids)`: 1.0 where the axis has the number, 0.0 elsewhere, along all of it where there is no such place.
    pub fn onehot(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let axis = self.the_axis(call, "[e](ids)")?;
        self.only(call, 1, &[], span)?;
        let (val, at) = self.argument(scope, call, 0, "ids", span)?;
        let ids = self.integers(&val, at)?;
        let axis = self.named_axis(scope, &axis.name)?;
        if self.has(ids, axis) {
            let message =
                format!("the numbers have the axis themselves: they are {}", self.show(&self.ty(ids).clone()));
            return Err(self.say(Diagnostic::error(codes::AXES, at, message)));
        }
        let elem = self.ty(ids).elem;
        let mut places = self.push(Kind::Index(axis), Elem::I32, vec![axis], span)?;
        if elem != Elem::I32 {
            places = self.push(Kind::Cast(places), elem, vec![axis], span)?;
        }
        let axes = self.union(&[ids, places]);
        let is_there = self.push(Kind::Binary(Binary::Eq, ids, places), Elem::Bool, axes.clone(), span)?;
        self.tensor(Kind::Cast(is_there), Elem::F32, axes, span)
    }

    /// `sort[t](x)`, `sort[t](x, descending)`; `argsort` gives the places. Equals stay in their order, NaN comes last.
    pub fn sort(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, axis) = self.along(scope, call, span)?;
        self.only(call, 2, &[], span)?;
        let descends = match call.args.get(1) {
            Some(argument) if self.word(argument, &["descending"], call)?.is_none() => {
                let message = format!("`{}` takes a tensor and the option `descending`", call.callee.text);
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
            }
            given => given.is_some(),
        };
        let size = self.size(axis).clone();
        let chooser = self.ordered(x, span)?;
        let chooser = if descends { chooser } else { self.reversed(chooser, span)? };
        let sorted = self.axis_id("sorted", size, span);
        let (index, value) = self.best(x, chooser, axis, sorted, span)?;
        let node = if call.callee.text == "argsort" { index } else { value };
        let (elem, axes) = (self.ty(node).elem, with(self.axes_without(node, &[sorted]), &[axis]));
        self.tensor(Kind::Rename { from: sorted, to: axis, x: node }, elem, axes, span)
    }

    /// `top[t -> k: 8](x)`: the largest, largest first, and where they are.
    pub fn best_elements(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, axis) = self.along(scope, call, span)?;
        self.only(call, 1, &[], span)?;
        let (into, count) = match call.axes.first() {
            Some(CallAxis { into: Some(into), from: count, .. }) => (into, count),
            _ => {
                let message = "say the axis of the largest, and how many: `top[t -> k: 8](x)`";
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, call.callee.span, message)));
            }
        };
        let slot = match count {
            Some(count) => {
                let val = self.expr(scope, count)?;
                let count = self.as_count(&val, "how many", 1, count.span)?;
                self.new_axis(scope, into, Size::known(count))
            }
            None => self.named_axis(scope, into)?,
        };
        let (index, value) = self.largest(x, axis, slot, into.span)?;
        Ok(Val::Record(vec![("value".into(), Val::Tensor(value)), ("index".into(), Val::Tensor(index))]))
    }

    /// `kth[t](x, k)`: the `k`th largest, from 1 on.
    pub fn kth(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, axis) = self.along(scope, call, span)?;
        self.only(call, 2, &[], span)?;
        let (k, at) = self.argument(scope, call, 1, "k", span)?;
        let k = self.as_count(&k, "which one", 1, at)?;
        let slot = self.axis_id("kth", Size::known(k), span);
        let (_, value) = self.largest(x, axis, slot, at)?;
        let (elem, axes) = (self.ty(value).elem, self.axes_without(value, &[slot]));
        self.tensor(Kind::Pick { axis: slot, index: k - 1, x: value }, elem, axes, span)
    }

    /// `roll[t](x, by)`: every element `by` places on, those beyond the end at the beginning.
    pub fn roll(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, axis) = self.along(scope, call, span)?;
        self.only(call, 2, &[], span)?;
        let (by, at) = self.argument(scope, call, 1, "by", span)?;
        let by = match by {
            Val::Number(n) if n.fract() == 0.0 => self.as_tensor(&by, Elem::I32, at)?,
            Val::Number(n) => {
                let message = format!("elements roll by a whole number of places, not by {n}");
                return Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, at, message)));
            }
            by => self.integers(&by, at)?,
        };
        let elem = self.ty(by).elem;
        if elem != Elem::I32 || self.has(by, axis) {
            let message =
                format!("how far is i32 and the same along the axis, this is {}", self.show(&self.ty(by).clone()));
            return Err(self.say(Diagnostic::error(codes::TYPE, at, message)));
        }
        let rolled = self.axis_id("rolled", self.size(axis).clone(), span);
        let place = self.push(Kind::Index(rolled), elem, vec![rolled], span)?;
        let size = self.push(Kind::SizeOf(axis), elem, Vec::new(), span)?;
        let axes = self.union(&[place, by]);
        let from = self.push(Kind::Binary(Binary::Sub, place, by), elem, axes.clone(), span)?;
        // The remainder of a division that rounds down: never negative.
        let from = self.push(Kind::Binary(Binary::Rem, from, size), elem, axes.clone(), span)?;
        let (elem, rest) = (self.ty(x).elem, self.axes_without(x, &[axis]));
        let axes = with(rest, &axes);
        let found = self.push(Kind::Gather { axis, index: from, x }, elem, axes, span)?;
        let axes = with(self.axes_without(found, &[rolled]), &[axis]);
        self.tensor(Kind::Rename { from: rolled, to: axis, x: found }, elem, axes, span)
    }

    /// `scatter[from -> to](x, index)`: each element at the place that its index names, 0 where none goes; of several the last one.
    pub fn scatter(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, index, from, to) = self.segments(scope, call, span)?;
        let elem = self.ty(x).elem;
        if elem == Elem::Bool {
            let message = "`scatter` takes numbers, not bool";
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message).help("cast it: `i32(..)`")));
        }
        self.at_one_index(x, index, (from, to), Reduce::Max, span).map(Val::Tensor)
    }

    /// Of the elements along `from` that have one index, the one that stands last (`Max`) or first (`Min`); 0 where none has it.
    pub(super) fn at_one_index(
        &mut self,
        x: NodeId,
        index: NodeId,
        (from, to): (AxisId, AxisId),
        which: Reduce,
        span: Span,
    ) -> Checked<NodeId> {
        let elem = self.ty(x).elem;
        let segmented =
            |this: &Self, x| with(this.union(&[x, index]).into_iter().filter(|a| *a != from).collect(), &[to]);
        let number = self.push(Kind::Index(from), Elem::I32, vec![from], span)?;
        let axes = segmented(self, number);
        let chosen = self.push(Kind::Segment { with: which, from, to, index, x: number }, Elem::I32, axes, span)?;
        let axes = with(self.axes_without(chosen, &[to]), &self.ty(index).axes.clone());
        let chosen = self.push(Kind::Gather { axis: to, index, x: chosen }, Elem::I32, axes, span)?;
        let axes = self.union(&[chosen, number]);
        let is_chosen = self.push(Kind::Binary(Binary::Eq, chosen, number), Elem::Bool, axes, span)?;
        let zero = self.push(Kind::Number(0.0), elem, Vec::new(), span)?;
        let sum = if elem == Elem::Bool { Reduce::Any } else { Reduce::Sum };
        let axes = self.union(&[is_chosen, x]);
        let kept = self.push(Kind::Where(is_chosen, x, zero), elem, axes, span)?;
        let axes = segmented(self, kept);
        self.push(Kind::Segment { with: sum, from, to, index, x: kept }, elem, axes, span)
    }

    /// The one axis in the brackets of a call.
    fn the_axis<'c>(&mut self, call: &'c Call, form: &str) -> Checked<&'c CallAxis> {
        match call.axes.as_slice() {
            [axis] if axis.into.is_none() && axis.from.is_none() => Ok(axis),
            _ => {
                let name = &call.callee.text;
                let message = format!("`{name}` takes one axis in brackets: `{name}{form}`");
                Err(self.say(Diagnostic::error(codes::ARGUMENTS, call.callee.span, message)))
            }
        }
    }

    /// The tensor of a call, of numbers, and the one axis in the brackets.
    fn along(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<(NodeId, AxisId)> {
        let axis = match call.axes.as_slice() {
            [axis] if call.callee.text == "top" => axis,
            _ => self.the_axis(call, "[t](x)")?,
        };
        let (val, at) = self.argument(scope, call, 0, "x", span)?;
        let x = self.as_tensor(&val, Elem::F32, at)?;
        let ty = self.ty(x).clone();
        let axis = self.axis_of(scope, &axis.name, &ty)?;
        Ok((x, axis))
    }

    /// Where the largest along an axis are, and they themselves.
    fn largest(&mut self, x: NodeId, axis: AxisId, slot: AxisId, span: Span) -> Checked<(NodeId, NodeId)> {
        let (n, k) = (self.size(axis).as_known(), self.size(slot).as_known());
        if k.is_none_or(|k| n.is_some_and(|n| k > n)) {
            let message = format!("{} of {} elements cannot be chosen", self.size(slot), self.size(axis));
            return Err(self.say(Diagnostic::error(codes::SIZES, span, message)));
        }
        let chooser = self.ordered(x, span)?;
        self.best(x, chooser, axis, slot, span)
    }

    /// Numbers in the reverse order, equal where they were equal.
    fn reversed(&mut self, x: NodeId, span: Span) -> Checked<NodeId> {
        let ty = self.ty(x).clone();
        if super::is_float(ty.elem) {
            return self.push(Kind::Unary(Unary::Neg, x), ty.elem, ty.axes, span);
        }
        // -1 - x: unlike -x it has all numbers of a type.
        let last = self.push(Kind::Number(-1.0), ty.elem, Vec::new(), span)?;
        self.push(Kind::Binary(Binary::Sub, last, x), ty.elem, ty.axes, span)
    }

    /// Numbers that selections put in order as they do `x`: integers of 8 bits are compared as i32.
    fn ordered(&mut self, x: NodeId, span: Span) -> Checked<NodeId> {
        let ty = self.ty(x).clone();
        match ty.elem {
            Elem::I8 | Elem::U8 => self.push(Kind::Cast(x), Elem::I32, ty.axes, span),
            Elem::Bool => {
                let message = format!("what is put in order is numbers, this is {}", self.show(&ty));
                Err(self.say(Diagnostic::error(codes::ELEMS, span, message).help("cast it: `i32(..)`")))
            }
            _ => Ok(x),
        }
    }

    pub(super) fn integers(&mut self, val: &Val, at: Span) -> Checked<NodeId> {
        let x = self.as_tensor(val, Elem::I32, at)?;
        if matches!(self.ty(x).elem, Elem::I32 | Elem::I64) {
            return Ok(x);
        }
        let message = format!("i32 or i64 is expected, this is {}", self.show(&self.ty(x).clone()));
        let fix = self.cast_text(Elem::I32, at);
        Err(self.say(Diagnostic::error(codes::ELEMS, at, message).help("cast it").fix(at, fix)))
    }
}
