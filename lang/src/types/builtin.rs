//! Functions of the language itself, and how arguments are found.

use super::pointwise::{BINARY, UNARY};
use super::policy::is_policy;
use super::random::NOISE;
use super::reduce::{REDUCTIONS, RUNNING};
use super::scope::Scope;
use super::segment::{SEGMENT_SOFTMAX, SEGMENTS};
use super::{Checked, Checker, Reported, Val, elem_of};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{Elem, Kind, Span};
use crate::syntax::{Argument, Call, Expr, ExprKind};

/// Names of functions that are neither operators nor in the tables of pointwise functions and reductions.
pub const OTHERS: &[&str] = &[
    "softmax",
    "logsumexp",
    "rmsnorm",
    "layernorm",
    "where",
    "index",
    "size",
    "concat",
    "stack",
    "pad",
    "window",
    "onehot",
    "sort",
    "argsort",
    "kth",
    "roll",
    "broadcast",
    "params",
    "dot",
    "norm",
    "stop_gradient",
    "straight_through",
    "topk",
    "top1",
    "argmin",
    "threshold",
    "expert_choice",
    "prefix",
    "hash",
    "all",
];

/// Parts of the language that are not built yet.
const LATER: &[&str] = &["grad", "dropout"];

/// Is it the name of a reduction, which has its axes in brackets?
fn is_reduction(name: &str) -> bool {
    name != "all" && REDUCTIONS.iter().any(|(n, _)| *n == name)
}

impl Checker<'_> {
    /// A call of a function of the language; `None` if there is none of that name.
    pub fn builtin(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Option<Checked<Val>> {
        let name = call.callee.text.as_str();
        if let Some((_, with)) = SEGMENTS.iter().find(|(n, _)| *n == name) {
            return Some(self.segment(scope, *with, call, span));
        }
        if name == SEGMENT_SOFTMAX {
            return Some(self.segment_softmax(scope, call, span));
        }
        if let Some((_, noise)) = NOISE.iter().find(|(n, _)| *n == name) {
            return Some(self.noise(scope, *noise, call, span));
        }
        if let Some(into) = call.axes.iter().find_map(|axis| axis.into.as_ref())
            && (OTHERS.contains(&name) || is_reduction(name) || RUNNING.iter().any(|(n, _)| *n == name))
        {
            let message = format!("`{name}` takes axes, and none into another");
            return Some(Err(self.say(Diagnostic::error(codes::ARGUMENTS, into.span, message))));
        }
        if !call.axes.is_empty() {
            if let Some((_, with)) = REDUCTIONS.iter().find(|(n, _)| *n == name) {
                return Some(self.reduction(scope, *with, call, span));
            }
            if let Some((_, with)) = RUNNING.iter().find(|(n, _)| *n == name) {
                return Some(self.running(scope, *with, call, span));
            }
        }
        if let Some((_, f)) = UNARY.iter().find(|(n, _)| *n == name) {
            return Some(self.call_unary(scope, *f, call, span));
        }
        if let Some((_, f)) = BINARY.iter().find(|(n, _)| *n == name && call.args.len() == 2) {
            return Some(self.call_binary(scope, *f, call, span));
        }
        if let Some(elem) = elem_of(name) {
            return Some(self.cast(scope, elem, call, span));
        }
        Some(match name {
            "softmax" => self.softmax(scope, call, span),
            "logsumexp" => self.logsumexp(scope, call, span),
            "rmsnorm" => self.norm(scope, false, call, span),
            "layernorm" => self.norm(scope, true, call, span),
            "where" => self.choice(scope, call, span),
            "index" => self.index(scope, call, span),
            "size" => match call.args.as_slice() {
                [Argument::Expr(Expr { kind: ExprKind::Name(axis), .. })] => self.size_of(scope, axis),
                _ => Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, "`size` takes the name of an axis"))),
            },
            "concat" => self.join(scope, false, call, span),
            "stack" => self.join(scope, true, call, span),
            "pad" => self.pad(scope, call, span),
            "window" => self.window(scope, call, span),
            "broadcast" => self.broadcast(scope, call, span),
            "params" => self.subtree(call, span),
            "dot" => self.dot(scope, call, span),
            "norm" => self.norm_of_set(scope, call, span),
            "onehot" => self.onehot(scope, call, span),
            "sort" | "argsort" => self.sort(scope, call, span),
            "top" => self.best_elements(scope, call, span),
            "kth" => self.kth(scope, call, span),
            "roll" => self.roll(scope, call, span),
            "scatter" => self.scatter(scope, call, span),
            "stop_gradient" => self.forward(scope, &["x"], call, span),
            "straight_through" => self.forward(scope, &["forward", "surrogate"], call, span),
            name if is_policy(name) && (self.routed.is_some() || !is_reduction(name)) => self.policy(scope, call, span),
            later if LATER.contains(&later) => self.not_yet(&format!("`{later}`"), call.callee.span),
            name => {
                let (_, with) = REDUCTIONS.iter().find(|(n, _)| *n == name)?;
                match self.optional(scope, call, 0, "x") {
                    Ok(Some((Val::Params(set), _))) => return Some(self.fold_of_set(*with, &set, call, span)),
                    Ok(_) => {}
                    Err(Reported) => return Some(Err(Reported)),
                }
                let message = format!("`{name}` takes axes in brackets: `{name}[d](x)`");
                Err(self.say(Diagnostic::error(codes::ARGUMENTS, call.callee.span, message)))
            }
        })
    }

    // Arguments.

    /// The positional argument `i`, or the one that is named so.
    pub fn optional(&mut self, scope: &mut Scope, call: &Call, i: usize, name: &str) -> Checked<Option<(Val, Span)>> {
        let named = call.args.iter().find_map(|a| match a {
            Argument::Named(n, expr) if n.text == name => Some(expr),
            _ => None,
        });
        let positional = call.args.iter().filter_map(|a| match a {
            Argument::Expr(expr) => Some(expr),
            _ => None,
        });
        match named.or_else(|| positional.into_iter().nth(i)) {
            Some(expr) => Ok(Some((self.expr(scope, expr)?, expr.span))),
            None => Ok(None),
        }
    }

    pub fn argument(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        i: usize,
        name: &str,
        span: Span,
    ) -> Checked<(Val, Span)> {
        match self.optional(scope, call, i, name)? {
            Some(found) => Ok(found),
            None => {
                let message = format!("`{}` lacks its argument `{name}`", call.callee.text);
                Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)))
            }
        }
    }

    /// At most so many positional arguments, and named ones of this list only.
    pub fn only(&mut self, call: &Call, most: usize, names: &[&str], span: Span) -> Checked<()> {
        let positional = call.args.iter().filter(|a| matches!(a, Argument::Expr(_))).count();
        if positional > most {
            let message = format!("`{}` takes {most} arguments, not {positional}", call.callee.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        }
        for argument in &call.args {
            if let Argument::Named(name, _) | Argument::Dropped(name, _) = argument
                && !names.contains(&name.text.as_str())
            {
                let message = format!("`{}` has no argument `{}`", call.callee.text, name.text);
                let mut diagnostic = Diagnostic::error(codes::ARGUMENTS, name.span, message);
                match near(&name.text, names.iter().copied()) {
                    Some(near) => diagnostic = diagnostic.fix(name.span, near),
                    None if !names.is_empty() => {
                        diagnostic = diagnostic.help(format!("it has {}", names.join(", ")));
                    }
                    None => {}
                }
                return Err(self.say(diagnostic));
            }
        }
        Ok(())
    }

    pub fn call_unary(&mut self, scope: &mut Scope, f: crate::program::Unary, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 1, &[], span)?;
        let (val, at) = self.argument(scope, call, 0, "x", span)?;
        self.unary(f, &val, at, span)
    }

    fn call_binary(&mut self, scope: &mut Scope, f: crate::program::Binary, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 2, &[], span)?;
        let (a, b) = (self.argument(scope, call, 0, "a", span), self.argument(scope, call, 1, "b", span));
        let (a, b) = (a?, b?);
        self.binary(f, (&a.0, a.1), (&b.0, b.1), span)
    }

    /// `f32(x)`
    fn cast(&mut self, scope: &mut Scope, elem: Elem, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 1, &[], span)?;
        let (val, at) = self.argument(scope, call, 0, "x", span)?;
        let x = self.as_tensor(&val, elem, at)?;
        let axes = self.ty(x).axes.clone();
        if self.ty(x).elem == elem {
            return Ok(Val::Tensor(x));
        }
        self.tensor(Kind::Cast(x), elem, axes, span)
    }

    /// `stop_gradient(x)`, `straight_through(forward, surrogate)`: the first argument; what is said of gradients is for learning.
    fn forward(&mut self, scope: &mut Scope, names: &[&str], call: &Call, span: Span) -> Checked<Val> {
        self.only(call, names.len(), names, span)?;
        let (val, at) = self.argument(scope, call, 0, names[0], span)?;
        let x = self.as_tensor(&val, Elem::F32, at)?;
        for (i, name) in names.iter().enumerate().skip(1) {
            let (other, other_at) = self.argument(scope, call, i, name, span)?;
            let other = self.as_tensor(&other, self.ty(x).elem, other_at)?;
            if self.ty(other) != self.ty(x) {
                let (x, other) = self.show_both(self.ty(x), self.ty(other));
                let message = format!("both have one type: `{}` is {x}, `{name}` is {other}", names[0]);
                return Err(self.say(Diagnostic::error(codes::TYPE, other_at, message)));
            }
        }
        Ok(Val::Tensor(x))
    }

    /// `where(cond, a, b)`
    fn choice(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 3, &[], span)?;
        let cond = self.argument(scope, call, 0, "cond", span);
        let (a, b) = (self.argument(scope, call, 1, "then", span), self.argument(scope, call, 2, "otherwise", span));
        let (cond, a, b) = (cond?, a?, b?);
        let at = cond.1;
        let cond = self.as_tensor(&cond.0, Elem::Bool, at)?;
        if self.ty(cond).elem != Elem::Bool {
            let message = format!("the condition is bool, this is {}", self.show(&self.ty(cond).clone()));
            let help = "compare it: `x > 0.0`";
            return Err(self.say(Diagnostic::error(codes::ELEMS, at, message).help(help)));
        }
        let (a, b) = self.pair((&a.0, a.1), (&b.0, b.1), span)?;
        let (elem, axes) = (self.ty(a).elem, self.union(&[cond, a, b]));
        self.tensor(Kind::Where(cond, a, b), elem, axes, span)
    }

    /// `broadcast[t, d](x)`: the same for each element of these axes.
    fn broadcast(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 1, &[], span)?;
        let (val, at) = self.argument(scope, call, 0, "x", span)?;
        let x = self.as_tensor(&val, Elem::F32, at)?;
        let mut axes = self.ty(x).axes.clone();
        for name in self.names_in_brackets(call)? {
            let axis = self.named_axis(scope, name)?;
            if !axes.contains(&axis) {
                axes.push(axis);
            }
        }
        let elem = self.ty(x).elem;
        self.tensor(Kind::Broadcast(x), elem, axes, span)
    }

    /// `index(t)`
    fn index(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let [Argument::Expr(Expr { kind: ExprKind::Name(name), .. })] = call.args.as_slice() else {
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, "`index` takes the name of an axis")));
        };
        let axis = self.named_axis(scope, name)?;
        if let Some(around) = self.loops.iter().find(|l| l.axis == axis) {
            return self.tensor(Kind::Step(around.axis), Elem::I32, Vec::new(), span);
        }
        self.tensor(Kind::Index(axis), Elem::I32, vec![axis], span)
    }
}
