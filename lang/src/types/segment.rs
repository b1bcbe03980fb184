//! Folds over the elements that share an index: messages to nodes, nodes to graphs.

use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Elem, Kind, NodeId, Reduce, Span};
use crate::syntax::Call;

/// Folds over segments and their names.
pub const SEGMENTS: &[(&str, Reduce)] = &[
    ("segment_sum", Reduce::Sum),
    ("segment_mean", Reduce::Mean),
    ("segment_max", Reduce::Max),
    ("segment_min", Reduce::Min),
    ("segment_prod", Reduce::Prod),
    ("segment_any", Reduce::Any),
    ("segment_all", Reduce::All),
];

pub const SEGMENT_SOFTMAX: &str = "segment_softmax";

impl Checker<'_> {
    /// `segment_sum[edge -> node](x, index)`
    pub fn segment(&mut self, scope: &mut Scope, with: Reduce, call: &Call, span: Span) -> Checked<Val> {
        let (x, index, from, to) = self.segments(scope, call, span)?;
        let elem = self.ty(x).elem;
        if matches!(with, Reduce::Any | Reduce::All) != (elem == Elem::Bool) {
            let message = format!("`{}` does not take {}", call.callee.text, self.show(&self.ty(x).clone()));
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message)));
        }
        if with == Reduce::Mean {
            self.float(x, span)?;
        }
        let mut axes = self.union(&[x, index]);
        axes.retain(|a| *a != from);
        axes.push(to);
        self.tensor(Kind::Segment { with, from, to, index, x }, elem, axes, span)
    }

    /// `segment_softmax[edge -> node](x, index)`
    pub fn segment_softmax(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, index, from, to) = self.segments(scope, call, span)?;
        self.float(x, span)?;
        let (elem, axes) = (self.ty(x).elem, self.union(&[x, index]));
        self.tensor(Kind::SegmentSoftmax { from, to, index, x }, elem, axes, span)
    }

    /// What is folded, the segment of each element, the axis of the elements and that of the segments.
    pub(super) fn segments(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        span: Span,
    ) -> Checked<(NodeId, NodeId, AxisId, AxisId)> {
        let name = &call.callee.text;
        let [axis] = call.axes.as_slice() else { return Err(self.say(arrow_missing(call))) };
        let (Some(into), None) = (&axis.into, &axis.from) else { return Err(self.say(arrow_missing(call))) };
        self.only(call, 2, &[], span)?;
        let (x, at) = self.argument(scope, call, 0, "x", span)?;
        let (index, index_at) = self.argument(scope, call, 1, "index", span)?;
        let mut x = self.as_tensor(&x, Elem::F32, at)?;
        let index = self.as_tensor(&index, Elem::I32, index_at)?;
        let index_ty = self.ty(index).clone();
        if !matches!(index_ty.elem, Elem::I32 | Elem::I64) {
            let message = format!("the index of `{name}` is i32 or i64, this is {}", self.show(&index_ty));
            let fix = self.cast_text(Elem::I32, index_at);
            let diagnostic = Diagnostic::error(codes::ELEMS, index_at, message).help("cast it");
            return Err(self.say(diagnostic.fix(index_at, fix)));
        }
        let from = self.axis_of(scope, &axis.name, &index_ty)?;
        let to = self.named_axis(scope, into)?;
        for (node, at) in [(x, at), (index, index_at)] {
            if self.has(node, to) {
                let ty = self.ty(node).clone();
                let message =
                    format!("this has axis `{}` of the segments already: it is {}", into.text, self.show(&ty));
                return Err(self.say(Diagnostic::error(codes::AXES, at, message)));
            }
        }
        // One value for all elements: `segment_sum[edge -> node](1.0, index)` counts.
        if !self.has(x, from) {
            let ty = self.ty(x).clone();
            let axes = super::brackets::with(ty.axes, &[from]);
            x = self.push(Kind::Broadcast(x), ty.elem, axes, at)?;
        }
        Ok((x, index, from, to))
    }
}

fn arrow_missing(call: &Call) -> Diagnostic {
    let name = &call.callee.text;
    let message = format!("`{name}` takes the axis of elements and that of segments: `{name}[edge -> node](x, index)`");
    Diagnostic::error(codes::ARGUMENTS, call.callee.span, message)
}
