//! Windows, padding, joining.

use super::brackets::with;
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{Elem, Kind, NodeId, PadMode, Span};
use crate::size::Size;
use crate::syntax::{Argument, Call, Expr, ExprKind};

impl Checker<'_> {
    /// `window(x, w -> kw: 3, pad = 1, stride = 2, dilation = 1)`
    pub fn window(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 1, &["pad", "stride", "dilation"], span)?;
        let (val, at) = self.argument(scope, call, 0, "x", span)?;
        let x = self.as_tensor(&val, Elem::F32, at)?;
        let mut axes = call.args.iter().filter_map(|a| match a {
            Argument::Window { from, to, tap, size } => Some((from, to, tap, size)),
            _ => None,
        });
        let (Some((from, to, tap, size)), None) = (axes.next(), axes.next()) else {
            let message = "a window slides along one axis: `window(x, t -> k: 3)`";
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        };
        let ty = self.ty(x).clone();
        let axis = self.axis_of(scope, from, &ty)?;
        let val = self.expr(scope, size)?;
        let taps = self.as_count(&val, "the size of a window", 1, size.span)?;
        let mut named = |this: &mut Self, name: &str, otherwise: i64, least: i64| match this.optional(
            scope,
            call,
            usize::MAX,
            name,
        )? {
            Some((val, at)) => this.as_count(&val, &format!("`{name}`"), least, at),
            None => Ok(otherwise),
        };
        let pad = named(self, "pad", 0, 0)?;
        let stride = named(self, "stride", 1, 1)?;
        let dilation = named(self, "dilation", 1, 1)?;
        // (n + 2 pad - dilation (taps - 1) - 1) / stride + 1
        let less = 2 * pad - dilation.saturating_mul(taps - 1) - 1;
        let steps = self.size(axis).checked_add(&Size::known(less)).and_then(|n| n.checked_div(stride));
        let out = self.made_size(steps.and_then(|n| n.checked_add(&Size::known(1))), span)?;
        let to = self.new_axis(scope, to.as_ref().unwrap_or(from), out);
        let tap = self.new_axis(scope, tap, Size::known(taps));
        let axes = with(self.axes_without(x, &[axis]), &[to, tap]);
        self.tensor(Kind::Window { from: axis, to, tap, stride, dilation, pad, x }, ty.elem, axes, span)
    }

    /// `pad[t: 1..1](x, reflect)`, `pad[t: 0..3](x, 1.0)`
    pub fn pad(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (val, at) = self.argument(scope, call, 0, "x", span)?;
        let mut x = self.as_tensor(&val, Elem::F32, at)?;
        self.only(call, 2, &[], span)?;
        let word = match call.args.get(1) {
            Some(Argument::Expr(Expr { kind: ExprKind::Name(name), .. })) if scope.find(&name.text).is_some() => None,
            Some(argument) => self.word(argument, &["reflect"], call)?,
            None => None,
        };
        let mode = match call.args.get(1) {
            Some(_) if word.is_some() => PadMode::Reflect,
            Some(Argument::Expr(fill)) => {
                let val = self.expr(scope, fill)?;
                PadMode::constant(self.as_fill(&val, self.ty(x).elem, "what is padded", fill.span)?)
            }
            _ => PadMode::constant(0.0),
        };
        for axis in &call.axes {
            let ty = self.ty(x).clone();
            let from = self.axis_of(scope, &axis.name, &ty)?;
            let (Some(before), Some(after)) = (&axis.from, &axis.to) else {
                let message = format!("say how much before and after: `pad[{}: 1..1](x)`", axis.name.text);
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, axis.name.span, message)));
            };
            let val = self.expr(scope, before)?;
            let before_n = self.as_count(&val, "padding", 0, before.span)?;
            let behind = self.size_expr(scope, after)?;
            let after_n = match (behind.as_known(), mode) {
                (None, PadMode::Reflect) => {
                    let message = format!("how much is mirrored is known when building: {behind} is not");
                    return Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, after.span, message)));
                }
                (n, _) => n.unwrap_or(0),
            };
            if mode == PadMode::Reflect && self.size(from).as_known().is_some_and(|n| n <= before_n.max(after_n)) {
                let message =
                    format!("an axis of {} is too short to mirror {} elements", self.size(from), before_n.max(after_n));
                return Err(self.say(Diagnostic::error(codes::SIZES, span, message)));
            }
            let longer = self.size(from).checked_add(&Size::known(before_n)).and_then(|n| n.checked_add(&behind));
            let longer = self.made_size(longer, span)?;
            let to = self.axis_id(&axis.name.text, longer, axis.name.span);
            let axes = with(self.axes_without(x, &[from]), &[to]);
            x = self.push(Kind::Pad { from, to, before: before_n, mode, x }, ty.elem, axes, span)?;
        }
        Ok(Val::Tensor(x))
    }

    /// `concat[t](a, b)`, `stack[layer](a, b)`
    pub fn join(&mut self, scope: &mut Scope, stacks: bool, call: &Call, span: Span) -> Checked<Val> {
        let [axis] = call.axes.as_slice() else {
            let message = format!("`{}` takes one axis: `{}[t](a, b)`", call.callee.text, call.callee.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, call.callee.span, message)));
        };
        let mut xs: Vec<NodeId> = Vec::new();
        for argument in &call.args {
            let Argument::Expr(expr) = argument else {
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, "only tensors are joined")));
            };
            // A record is its fields.
            let vals = match self.expr(scope, expr)? {
                Val::Record(fields) => fields.into_iter().map(|(_, val)| val).collect(),
                val => vec![val],
            };
            for val in vals {
                let elem = xs.first().map_or(Elem::F32, |x| self.ty(*x).elem);
                let x = self.as_tensor(&val, elem, expr.span)?;
                if let Some(&first) = xs.first() {
                    self.same_elem(first, x, expr.span)?;
                }
                xs.push(x);
            }
        }
        let Some(&first) = xs.first() else {
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, "there is nothing to join")));
        };
        let elem = self.ty(first).elem;
        let mut all = self.union(&xs);
        if stacks {
            let to = self.new_axis(scope, &axis.name, Size::known(xs.len() as i64));
            all.push(to);
            return self.tensor(Kind::Stack { axis: to, xs }, elem, all, span);
        }
        let mut axes = Vec::new();
        let mut total = Some(Size::default());
        for &x in &xs {
            let ty = self.ty(x).clone();
            let from = self.axis_of(scope, &axis.name, &ty)?;
            total = total.and_then(|n| n.checked_add(self.size(from)));
            axes.push(from);
        }
        let total = self.made_size(total, span)?;
        let to = self.axis_id(&axis.name.text, total, axis.name.span);
        all.retain(|a| !axes.contains(a));
        all.push(to);
        self.tensor(Kind::Concat { to, axes, xs }, elem, all, span)
    }
}
