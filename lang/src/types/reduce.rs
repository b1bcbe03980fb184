//! Functions with axes in brackets: reductions, norms, running folds.

use super::scope::Scope;
use super::{Checked, Checker, Val, is_float};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, Elem, Kind, NodeId, Reduce, Running, Span};
use crate::syntax::{Argument, Call, Name};

/// Reductions and their names.
pub const REDUCTIONS: &[(&str, Reduce)] = &[
    ("sum", Reduce::Sum),
    ("mean", Reduce::Mean),
    ("max", Reduce::Max),
    ("min", Reduce::Min),
    ("prod", Reduce::Prod),
    ("any", Reduce::Any),
    ("all", Reduce::All),
    ("argmax", Reduce::Argmax),
    ("argmin", Reduce::Argmin),
];

/// Running folds and their names.
pub const RUNNING: &[(&str, Running)] =
    &[("cumsum", Running::Sum), ("cumprod", Running::Prod), ("cummax", Running::Max)];

/// Added to a variance before its root is taken, unless `eps = ` says otherwise.
const RMS_EPS: f64 = 1e-6;
const LAYER_EPS: f64 = 1e-5;

impl Checker<'_> {
    /// The one tensor of a call and the axes in its brackets.
    fn over(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<(NodeId, Vec<AxisId>)> {
        let x = self.argument(scope, call, 0, "x", span)?;
        let node = self.as_tensor(&x.0, Elem::F32, x.1)?;
        let ty = self.ty(node).clone();
        let names = self.names_in_brackets(call)?;
        let over = names.into_iter().map(|name| self.axis_of(scope, name, &ty)).collect::<Checked<_>>()?;
        Ok((node, over))
    }

    /// The axes in a call's brackets: one at least, and no sizes of them.
    pub fn names_in_brackets<'c>(&mut self, call: &'c Call) -> Checked<Vec<&'c Name>> {
        let callee = &call.callee;
        if let Some(size) = call.axes.iter().find_map(|axis| axis.from.as_ref()) {
            let message = format!("`{}` takes an axis, and no size of it", callee.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, size.span, message)));
        }
        if call.axes.is_empty() {
            let message = format!("`{0}` takes axes in brackets: `{0}[d](x)`", callee.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, callee.span, message)));
        }
        Ok(call.axes.iter().map(|axis| &axis.name).collect())
    }

    pub fn reduction(&mut self, scope: &mut Scope, with: Reduce, call: &Call, span: Span) -> Checked<Val> {
        let (x, over) = self.over(scope, call, span)?;
        self.only(call, 1, &[], span)?;
        let elem = self.ty(x).elem;
        // `all` of bools is a reduction, of scores a plan in which each row goes to each expert.
        if let (Reduce::All, true, [expert]) = (with, is_float(elem), over.as_slice()) {
            return Ok(Val::Plan(self.to_all(*expert, x)));
        }
        let of_bool = matches!(with, Reduce::Any | Reduce::All);
        if of_bool != (elem == Elem::Bool) {
            let message = if of_bool { "`any` and `all` take bool" } else { "this reduction takes numbers, not bool" };
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message)));
        }
        if with == Reduce::Mean {
            self.float(x, span)?;
        }
        let extreme = matches!(with, Reduce::Argmax | Reduce::Argmin);
        if extreme && over.len() != 1 {
            let message = "`argmax` and `argmin` run over one axis";
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        }
        let axes = self.axes_without(x, &over);
        let elem = if extreme { Elem::I32 } else { elem };
        self.tensor(Kind::Reduce { with, over, x }, elem, axes, span)
    }

    pub fn running(&mut self, scope: &mut Scope, with: Running, call: &Call, span: Span) -> Checked<Val> {
        let (x, over) = self.over(scope, call, span)?;
        self.only(call, 2, &[], span)?;
        let mut exclusive = false;
        if let Some(argument) = call.args.get(1) {
            exclusive = self.word(argument, &["exclusive"], call)?.is_some();
            if !exclusive {
                let message = format!("`{}` takes a tensor and the option `exclusive`", call.callee.text);
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
            }
        }
        let [over] = over.as_slice() else {
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, "a running fold runs over one axis")));
        };
        let ty = self.ty(x).clone();
        self.tensor(Kind::Running { with, over: *over, exclusive, x }, ty.elem, ty.axes, span)
    }

    pub fn softmax(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, over) = self.over(scope, call, span)?;
        self.only(call, 1, &[], span)?;
        self.float(x, span)?;
        let ty = self.ty(x).clone();
        self.tensor(Kind::Softmax { over, x }, ty.elem, ty.axes, span)
    }

    pub fn logsumexp(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let (x, over) = self.over(scope, call, span)?;
        self.only(call, 1, &[], span)?;
        self.float(x, span)?;
        let axes = self.axes_without(x, &over);
        let elem = self.ty(x).elem;
        self.tensor(Kind::LogSumExp { over, x }, elem, axes, span)
    }

    pub fn norm(&mut self, scope: &mut Scope, layer: bool, call: &Call, span: Span) -> Checked<Val> {
        let (x, over) = self.over(scope, call, span)?;
        self.float(x, span)?;
        let elem = self.ty(x).elem;
        let mut extra = Vec::new();
        let names: &[&str] = if layer { &["scale", "shift"] } else { &["scale"] };
        self.only(call, 1 + names.len(), &["scale", "shift", "eps"], span)?;
        for (i, name) in names.iter().enumerate() {
            extra.push(match self.optional(scope, call, i + 1, name)? {
                Some((val, at)) => {
                    let node = self.as_tensor(&val, elem, at)?;
                    self.same_elem(x, node, at)?;
                    Some(node)
                }
                None => None,
            });
        }
        let eps = match self.optional(scope, call, usize::MAX, "eps")? {
            Some((val, at)) => self.as_number(&val, "`eps`", at)?,
            None if layer => LAYER_EPS,
            None => RMS_EPS,
        };
        let mut nodes = vec![x];
        nodes.extend(extra.iter().flatten());
        let axes = self.union(&nodes);
        let scale = extra.first().copied().flatten();
        let kind = if layer {
            Kind::LayerNorm { over, x, scale, shift: extra.get(1).copied().flatten(), eps }
        } else {
            Kind::RmsNorm { over, x, scale, eps }
        };
        self.tensor(kind, elem, axes, span)
    }

    pub fn float(&mut self, x: NodeId, span: Span) -> Checked<()> {
        if is_float(self.ty(x).elem) {
            return Ok(());
        }
        let message = format!("this takes floats, not {}", self.show(&self.ty(x).clone()));
        Err(self.say(Diagnostic::error(codes::ELEMS, span, message).help("cast it: `f32(..)`")))
    }
}

impl Checker<'_> {
    /// An argument as one of these words; a value is none. A name that is no value should have been a word.
    pub fn word(&mut self, argument: &Argument, words: &[&'static str], call: &Call) -> Checked<Option<&'static str>> {
        let Some(word) = words.iter().find(|word| is_word(argument, word)) else {
            let Argument::Expr(expr) = argument else { return Ok(None) };
            let crate::syntax::ExprKind::Name(name) = &expr.kind else { return Ok(None) };
            let Some(near) = near(&name.text, words.iter().copied()) else { return Ok(None) };
            let message = format!("`{}` has no option `{}`", call.callee.text, name.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, name.span, message).fix(name.span, near)));
        };
        Ok(Some(word))
    }
}

/// Is an argument this word?
pub fn is_word(argument: &Argument, word: &str) -> bool {
    use crate::syntax::{Expr, ExprKind};
    matches!(argument, Argument::Expr(Expr { kind: ExprKind::Name(Name { text, .. }), .. }) if text == word)
}
