//! Parameters as values: `net(x; w = a.w * (1.0 - t) + b.w * t)` calls a block with given ones, `a.w` is that of a part.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::params::Declaration;
use super::scope::{Given, GivenParam, Scope};
use super::{Checked, Checker, Reported, Val, elem_of};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, Elem, Type};
use crate::syntax::{Call, Callable, Expr, Name, Statement, Ty, tokens};

impl Checker<'_> {
    /// Names of the parameters that a block declares itself, wherever in its body.
    pub(super) fn own_params(&self, callable: &Callable) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let (mut before, mut is_list) = ("", false);
        for token in tokens(self.text(callable.body.span)) {
            match token.text {
                "param" | "buffer" if before != "." => is_list = true,
                ":" => is_list = false,
                "," => {}
                name if is_list => drop(names.insert(name.to_string())),
                _ => {}
            }
            before = token.text;
        }
        names
    }

    /// What stands after a call's semicolon for parameters.
    pub(super) fn given_values(
        &mut self,
        scope: &mut Scope,
        own: &[(Name, Expr)],
        within: &[(Vec<Name>, Expr)],
    ) -> Checked<Given> {
        let mut given = Given::default();
        let own = own.iter().map(|(name, expr)| (std::slice::from_ref(name), expr));
        let mut failed = false;
        for (path, expr) in own.chain(within.iter().map(|(path, expr)| (path.as_slice(), expr))) {
            let Ok(val) = self.expr(scope, expr) else {
                failed = true;
                continue;
            };
            let names: Vec<&str> = path.iter().map(|name| name.text.as_str()).collect();
            let (first, last) = (path[0].span, path[path.len() - 1].span);
            let span = crate::program::Span { end: last.end, ..first };
            let depth = self.loops.len();
            let one = GivenParam { val, depth, span, taken: Rc::new(Cell::new(false)) };
            if given.0.insert(names.join("."), one).is_some() {
                let message = format!("`{}` is given twice", names.join("."));
                self.say(Diagnostic::error(codes::TWICE, span, message));
                failed = true;
            }
        }
        if failed { Err(Reported) } else { Ok(given) }
    }

    /// What was told to be no size may have been meant for a parameter.
    pub(super) fn misspelt_param(&mut self, callable: &Callable, sizes: &[(Name, Expr)]) {
        let own = self.own_params(callable);
        let Some(told) = self.out.list.last_mut().filter(|d| d.code == codes::NOT_A_NUMBER && d.fix.is_none()) else {
            return;
        };
        let meant = sizes.iter().find(|(_, expr)| expr.span == told.span).map(|(name, _)| name);
        if let Some((name, near)) = meant.and_then(|n| Some((n, near(&n.text, own.iter().map(String::as_str))?))) {
            told.fix = Some((name.span, near.to_string()));
        }
    }

    /// Only a call that makes an instance says where its parameters stand.
    pub(super) fn no_place(&mut self, call: &Call) -> Checked<()> {
        let Some(place) = &call.place else { return Ok(()) };
        let message =
            format!("`{}` is no instance of its own that could stand elsewhere in a weight file", call.callee.text);
        let help = "a part says `from` where it is declared; functions have no parameters";
        Err(self.say(Diagnostic::error(codes::PARAM, place.span, message).help(help)))
    }

    /// A function of the language has no axes and parameters of its own.
    pub(super) fn nothing_given(&mut self, call: &Call) -> Checked<()> {
        let given = call.given.iter().map(|(path, _)| &path[0]);
        let Some(name) = call.sizes.iter().map(|(name, _)| name).chain(given).next() else { return Ok(()) };
        let message = format!("`{}` has no axis and no parameter `{}` that this could be", call.callee.text, name.text);
        let help = "an argument with a name stands before the semicolon";
        Err(self.say(Diagnostic::error(codes::ARGUMENTS, name.span, message).help(help)))
    }

    /// Each given value was taken by some parameter.
    pub(super) fn only_params(&mut self, callable: &Callable, given: &Given) -> Checked<()> {
        let mut done = Ok(());
        for (path, value) in given.0.iter().filter(|(_, value)| !value.taken.get()) {
            let message = format!("`{}` has no parameter `{path}` to which this could be given", callable.name.text);
            let own = self.own_params(callable);
            let mut diagnostic = Diagnostic::error(codes::PARAM, value.span, message);
            if let Some(near) = near(path, own.iter().map(String::as_str)) {
                diagnostic = diagnostic.fix(value.span, near);
            }
            done = Err(self.say(diagnostic));
        }
        done
    }

    /// A given value where a parameter is declared: it has the parameter's type. What varies with a route or repeat around may have
    /// its axis, too; what does not is the same for all.
    pub(super) fn given_param(&mut self, scope: &mut Scope, given: &GivenParam, name: &Name, ty: &Ty) -> Checked<Val> {
        given.taken.set(true);
        // What a quantised parameter stands for is f32.
        let elem = elem_of(&ty.elem.text).unwrap_or(Elem::F32);
        let order = self.axes_written(scope, ty)?;
        let val = self.read(&given.val, given.depth, given.span)?;
        let node = self.as_tensor(&val, elem, given.span)?;
        let around: Vec<AxisId> = self.gained_beside(&order);
        let more = self.ty(node).axes.iter().copied().filter(|a| around.contains(a));
        let mut axes: Vec<AxisId> = order.iter().copied().chain(more).collect();
        axes.sort();
        let what = format!("parameter `{}`", name.text);
        self.fit(node, &Type { elem, axes }, &what, given.span).map(Val::Tensor)
    }

    /// `p.w`: a parameter of a part, which its block declares directly.
    pub(super) fn param_of(&mut self, part: &Val, name: &Name) -> Checked<Val> {
        let Val::Part { block, path, place, given, around, gained } = part.clone() else {
            return Err(Reported);
        };
        let Some(callable) = self.names[block.file].callables.get(&block.name).copied() else {
            let message = format!("no block `{}`", block.name);
            return Err(self.say(Diagnostic::error(codes::UNKNOWN_NAME, name.span, message)));
        };
        let declared = callable.body.statements.iter().find_map(|statement| match statement {
            Statement::Param { names, ty, source, buffer } => {
                let own = names.iter().find(|own| own.text == name.text)?;
                Some((own, Declaration { names, ty, source: source.as_ref(), buffer: buffer.as_ref() }))
            }
            _ => None,
        });
        let Some((own, declared)) = declared else {
            let message = format!("`{}` declares no parameter `{}` directly in its body", block.name, name.text);
            let mut diagnostic = Diagnostic::error(codes::FIELD, name.span, message);
            let known = self.own_params(callable);
            if let Some(near) = near(&name.text, known.iter().map(String::as_str)) {
                diagnostic = diagnostic.fix(name.span, near);
            }
            return Err(self.say(diagnostic));
        };
        let mut inner = self.in_file(callable.span.file, |this| this.fresh_scope());
        if callable.span.file as usize == self.here {
            inner.axes.extend(around.clone());
            inner.bound = around;
        }
        for (name, _) in &callable.sizes {
            inner.axes.remove(&name.text);
            inner.bound.remove(&name.text);
        }
        for (axis, id) in &block.sizes {
            inner.axes.insert(axis.text.clone(), *id);
        }
        for (axis, default) in &callable.sizes {
            if !inner.axes.contains_key(&axis.text)
                && let Some(default) = default
            {
                let id = self.in_file(callable.span.file, |this| this.given_axis(&mut inner, axis, default))?;
                inner.axes.insert(axis.text.clone(), id);
            }
        }
        (inner.path, inner.place, inner.given) = (path, place, given);
        let outer = std::mem::replace(&mut self.gained, gained);
        let val = self.in_file(callable.span.file, |this| this.param(&mut inner, own, declared));
        self.gained = outer;
        val
    }
}
