//! Defaults of arguments and inputs: `tau: f32[] = 1.0`, `cell: name = "lstm"`.

use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{Elem, Span};
use crate::syntax::{Argument, Call, Declared, Expr, Name, Ty};

impl Checker<'_> {
    /// An argument that is known when building, or its default.
    pub(super) fn known_declared(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        (i, declared, kind): (usize, &Declared, &Name),
        span: Span,
    ) -> Checked<Val> {
        let name = &declared.name;
        match (given(call, i, name), &declared.default) {
            (Some(expr), _) => self.known_argument(scope, expr, name, kind),
            (None, Some(expr)) => self.of_declaration(expr, |this, scope| this.known_argument(scope, expr, name, kind)),
            (None, None) => self.argument(scope, call, i, &name.text, span).map(|(val, _)| val),
        }
    }

    /// An argument that is a tensor, or its default; and where it stands.
    pub(super) fn argument_or_default(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        (i, declared, ty): (usize, &Declared, &Ty),
        span: Span,
    ) -> Checked<(Val, Span)> {
        let name = &declared.name;
        match (given(call, i, name), &declared.default) {
            (None, Some(expr)) => self.scalar(name, ty, expr).map(|n| (Val::Number(n), expr.span)),
            _ => self.argument(scope, call, i, &name.text, span),
        }
    }

    /// Reads a default where it is declared: it knows the constants of its file.
    pub(super) fn of_declaration<T>(
        &mut self,
        expr: &Expr,
        f: impl FnOnce(&mut Self, &mut Scope) -> Checked<T>,
    ) -> Checked<T> {
        self.in_file(expr.span.file, |this| {
            let mut scope = this.fresh_scope();
            f(this, &mut scope)
        })
    }

    /// The default of a tensor: a number, for only scalars have one.
    pub(super) fn scalar(&mut self, name: &Name, ty: &Ty, default: &Expr) -> Checked<f64> {
        if ty.rest || !ty.axes.is_empty() {
            let message = format!("only a scalar has a default: `{}` has axes", name.text);
            let help = format!("`{}: {}[] = ..`", name.text, ty.elem.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, default.span, message).help(help)));
        }
        let elem = self.elem(ty)?;
        self.default_number(name, elem, default)
    }

    /// A default as a number that the element type has.
    pub(super) fn default_number(&mut self, name: &Name, elem: Elem, default: &Expr) -> Checked<f64> {
        let val = self.of_declaration(default, |this, scope| this.expr(scope, default))?;
        let val = match (val, elem) {
            (Val::Bool(b), Elem::Bool) => Val::Number(f64::from(u8::from(b))),
            (Val::Number(_), Elem::Bool) => {
                let message = format!("`{}` is bool, but this is a number", name.text);
                return Err(self.say(Diagnostic::error(codes::ELEMS, default.span, message)));
            }
            (val, _) => val,
        };
        let n = self.as_number(&val, &format!("the default of `{}`", name.text), default.span)?;
        if !super::values::has_number(elem, n) {
            let message = format!("`{}` is {}, which has no {n}", name.text, elem.name());
            return Err(self.say(Diagnostic::error(codes::ELEMS, default.span, message)));
        }
        Ok(n)
    }
}

/// The argument of a call that is named so, or the positional one `i`.
pub(super) fn given<'c>(call: &'c Call, i: usize, declared: &Name) -> Option<&'c Expr> {
    let named = call.args.iter().find_map(|a| match a {
        Argument::Named(n, expr) if n.text == declared.text => Some(expr),
        _ => None,
    });
    let mut positional = call.args.iter().filter_map(|a| if let Argument::Expr(e) = a { Some(e) } else { None });
    named.or_else(|| positional.nth(i))
}
