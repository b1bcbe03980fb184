//! Calls of blocks and functions: a new instance, with axes bound from the arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::scope::{Binding, Given, Scope};
use super::{Checked, Checker, MAX_CALLS, Reported, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, NamePiece, Span};
use crate::syntax::{Argument, Call, Callable, CallableKind, DeclaredAs, Name, Ty};

/// What is called, where it is more than a name of the file.
#[derive(Default)]
struct Instance {
    /// Of a part, which has its place from its declaration.
    path: Option<Vec<String>>,
    /// Of a part, from its declaration, if not its path.
    place: Option<Vec<NamePiece>>,
    /// Of a part, what the block in which it is declared was given.
    given: Given,
    /// Axes that it was given where it was named: of a part, or of an argument.
    axes: Vec<(Name, AxisId)>,
    /// Its first arguments, likewise.
    first: Vec<Val>,
    /// Axes of the block around a part's declaration; else the caller's count.
    around: Option<BTreeMap<String, AxisId>>,
    /// Axes that parameters of a part gain; else those of the routes and repeats around the call.
    gained: Option<Vec<AxisId>>,
}

impl<'s> Checker<'s> {
    pub fn call(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        let name = &call.callee.text;
        if scope.find(name).is_some_and(|binding| matches!(binding.val, Val::Error)) {
            return Err(Reported);
        }
        let instance = scope.find(name).and_then(|binding| {
            let found = match binding.val.clone() {
                Val::Part { block, path, place, given, around, gained } => {
                    let (axes, first) = (block.sizes.clone(), block.first.clone());
                    let (path, around, gained) = (Some(path), Some(around), Some(gained));
                    (block, Instance { path, place, given, axes, first, around, gained })
                }
                Val::Block(block) => {
                    let (axes, first) = (block.sizes.clone(), block.first.clone());
                    (block, Instance { axes, first, ..Instance::default() })
                }
                _ => return None,
            };
            binding.used = true;
            Some(found)
        });
        if let Some((block, instance)) = instance {
            let Some(callable) = self.names[block.file].callables.get(&block.name).copied() else {
                return Err(self.unknown(scope, &Name { text: block.name, span: call.callee.span }));
            };
            return self.instantiate(scope, callable, call, instance, span);
        }
        if let Some(binding) = scope.find(name)
            && let Val::Function(f, function) = &binding.val
        {
            let (f, function) = (*f, function.clone());
            binding.used = true;
            self.no_place(call)?;
            let sizes: Vec<Name> = call.sizes.iter().map(|(name, _)| name.clone()).collect();
            self.only_axes(&function, &sizes, &BTreeSet::new())?;
            return self.call_unary(scope, f, call, span);
        }
        if let Some(callable) = self.known().callables.get(name).copied() {
            return self.instantiate(scope, callable, call, Instance::default(), span);
        }
        match self.builtin(scope, call, span) {
            Some(val) => self.no_place(call).and(self.nothing_given(call)).and(val),
            None => Err(self.unknown(scope, &call.callee)),
        }
    }

    fn unknown(&mut self, scope: &Scope, name: &Name) -> Reported {
        let tables = super::pointwise::UNARY.iter().map(|(n, _)| *n);
        let reductions = super::reduce::REDUCTIONS.iter().map(|(n, _)| *n);
        let segments = super::segment::SEGMENTS.iter().map(|(n, _)| *n).chain([super::segment::SEGMENT_SOFTMAX]);
        let others = segments.chain(["top", "scatter"]).chain(super::builtin::OTHERS.iter().copied());
        let mut names: Vec<String> = tables.chain(reductions).chain(others).map(str::to_string).collect();
        names.extend(self.known().callables.keys().cloned());
        let message = format!("no block or function `{}`", name.text);
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, name.span, message);
        if let Some(near) = near(&name.text, names.iter().map(String::as_str)) {
            diagnostic = diagnostic.fix(name.span, near);
        } else if scope.names().any(|n| n == name.text) {
            diagnostic = diagnostic.help(format!("`{}` is a value", name.text));
        }
        self.say(diagnostic)
    }

    fn instantiate(
        &mut self,
        scope: &mut Scope,
        callable: &'s Callable,
        call: &Call,
        instance: Instance,
        span: Span,
    ) -> Checked<Val> {
        if matches!(callable.kind, CallableKind::Model | CallableKind::Entry) {
            let message = format!("`{}` is a model: only blocks and functions are called", callable.name.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, call.callee.span, message)));
        }
        // The model is full, of which has been told: looking into more blocks would go on without end.
        if self.is_full() {
            return Err(Reported);
        }
        if self.calling.contains(&callable.span) || self.calling.len() >= MAX_CALLS {
            let message = format!("`{}` calls itself", callable.name.text);
            return Err(self.say(Diagnostic::error(codes::RECURSION, call.callee.span, message)));
        }
        let file = callable.span.file;
        let mut inner = self.in_file(file, |this| this.fresh_scope());
        // Names of axes are a file's: what a block of one binds says nothing to those of another.
        if file as usize == self.here {
            inner.bound = instance.around.unwrap_or_else(|| scope.bound.clone());
            inner.axes.extend(inner.bound.clone());
        }
        inner.place.clone_from(if instance.path.is_some() { &instance.place } else { &scope.place });
        inner.path = match (&instance.path, callable.kind) {
            (Some(path), _) => {
                inner.shared = true;
                self.no_place(call)?;
                path.clone()
            }
            (None, CallableKind::Fn) => {
                inner.is_pure = true;
                self.no_place(call)?;
                scope.path.clone()
            }
            (None, _) if scope.is_pure => {
                let message = format!("a `fn` calls functions only; `{}` is a block", callable.name.text);
                let help = "a block is an instance with parameters: write `block` instead of `fn` around it";
                return Err(self.say(Diagnostic::error(codes::PARAM, call.callee.span, message).help(help)));
            }
            (None, _) => {
                let label = call.label.as_ref().unwrap_or(&call.callee);
                if !scope.labels.insert(label.text.clone()) && !scope.shared {
                    let message = format!("a second instance named `{}` in one place", label.text);
                    let fix = format!("second: {}", call.callee.text);
                    let diagnostic = Diagnostic::error(codes::LABEL, span, message).help("give it a label");
                    return Err(self.say(match call.label {
                        None => diagnostic.fix(call.callee.span, fix),
                        Some(_) => diagnostic,
                    }));
                }
                inner.path.clone_from(&scope.path);
                inner.given.clone_from(&scope.given);
                inner.descend(&label.text);
                if let Some(place) = &call.place {
                    let gained = self.gained.clone();
                    inner.place = Some(self.file_name(scope, (&place.name, place.span), &gained)?);
                }
                inner.path
            }
        };
        // Axes that a signature declares are neither the caller's nor the file's.
        for (name, _) in &callable.sizes {
            inner.axes.remove(&name.text);
            inner.bound.remove(&name.text);
            inner.ask(&name.text);
        }
        if instance.path.is_some() {
            inner.given = instance.given;
        }
        let own = if call.sizes.is_empty() { BTreeSet::new() } else { self.own_params(callable) };
        let (params, sizes): (Vec<_>, Vec<_>) =
            call.sizes.iter().cloned().partition(|(name, _)| own.contains(&name.text));
        let values = self.given_values(scope, &params, &call.given)?;
        inner.given.0.extend(values.0.clone());
        let sized = self.given_sizes(scope, &sizes).inspect_err(|Reported| self.misspelt_param(callable, &sizes));
        let mut given = instance.axes;
        given.extend(sized?);
        let named: Vec<Name> = given.iter().map(|(name, _)| name.clone()).collect();
        let mut own = BTreeMap::new();
        for (name, id) in given {
            inner.axes.insert(name.text.clone(), id);
            own.insert(name.text, id);
        }
        self.bind_arguments(scope, (&mut inner, &mut own), (callable, &instance.first), call, span)?;
        self.default_sizes((&mut inner, &mut own), callable, call, span)?;
        inner.bound.extend(own);
        let start = self.nodes.len();
        self.calling.push(callable.span);
        let body = &callable.body;
        let gained = instance.gained.unwrap_or_else(|| self.gained.clone());
        let outer = std::mem::replace(&mut self.gained, gained);
        let val = self.in_file(file, |this| this.body(&mut inner, &body.statements, body.value.as_deref(), body.span));
        self.gained = outer;
        self.calling.pop();
        let val = val?;
        self.warn_of_unused(&inner);
        self.check_result(&inner, callable, &val, (&named, start))?;
        let asked = inner.asked.into_inner();
        self.only_axes(&callable.name.text, &named, &asked)?;
        self.only_params(callable, &values)?;
        // What the block takes from the one around, that one has been asked for.
        asked.iter().filter(|name| scope.bound.contains_key(*name)).for_each(|name| scope.ask(name));
        Ok(self.in_order(val, callable))
    }

    /// Axes that the signature declares and that neither the call nor its arguments say.
    fn default_sizes(
        &mut self,
        (inner, own): (&mut Scope, &mut BTreeMap<String, AxisId>),
        callable: &Callable,
        call: &Call,
        span: Span,
    ) -> Checked<()> {
        for (name, default) in &callable.sizes {
            if own.contains_key(&name.text) {
                continue;
            }
            let Some(default) = default else {
                let message = format!("`{}` lacks the size of its axis `{}`", callable.name.text, name.text);
                let help = format!("say it after a semicolon: `{}(..; {} = 64)`", call.callee.text, name.text);
                return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message).help(help)));
            };
            let id = self.in_file(callable.span.file, |this| this.given_axis(inner, name, default))?;
            inner.axes.insert(name.text.clone(), id);
            own.insert(name.text.clone(), id);
        }
        Ok(())
    }

    /// Sizes are given for axes that the block, or one that it calls, has.
    fn only_axes(&mut self, block: &str, given: &[Name], asked: &BTreeSet<String>) -> Checked<()> {
        let mut done = Ok(());
        for name in given.iter().filter(|name| !asked.contains(&name.text)) {
            let message = format!("`{block}` has no axis `{}` that this could be the size of", name.text);
            let mut diagnostic = Diagnostic::error(codes::UNKNOWN_AXIS, name.span, message);
            if let Some(near) = near(&name.text, asked.iter().map(String::as_str)) {
                diagnostic = diagnostic.fix(name.span, near);
            }
            done = Err(self.say(diagnostic));
        }
        done
    }

    fn bind_arguments(
        &mut self,
        scope: &mut Scope,
        (inner, own): (&mut Scope, &mut BTreeMap<String, AxisId>),
        (callable, first): (&Callable, &[Val]),
        call: &Call,
        span: Span,
    ) -> Checked<()> {
        let most = callable.args.len().saturating_sub(first.len());
        let positional: Vec<_> =
            call.args.iter().filter_map(|a| if let Argument::Expr(e) = a { Some(e) } else { None }).collect();
        if call.args.iter().any(|a| matches!(a, Argument::Window { .. } | Argument::Dropped(..)))
            || positional.len() > most
        {
            let found = first.len() + call.args.len();
            let message = format!("`{}` takes {} arguments, not {found}", callable.name.text, callable.args.len());
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        }
        let names: Vec<&str> = callable.args.iter().skip(first.len()).map(|arg| arg.name.text.as_str()).collect();
        self.only(call, most, &names, span)?;
        let mut failed = false;
        let mut vals = Vec::new();
        for (i, declared) in callable.args.iter().enumerate() {
            let name = &declared.name;
            if let Some(given) = first.get(i) {
                vals.push((name, given.clone()));
                continue;
            }
            let i = i - first.len();
            if let Some(fields) = self.record_declared(&declared.is) {
                let val = fields.and_then(|fields| {
                    let block = (callable, declared, &fields);
                    self.record_argument(scope, (&mut *inner, &mut *own), block, (call, i), span)
                });
                failed |= val.is_err();
                vals.push((name, val.unwrap_or(Val::Error)));
                continue;
            }
            let DeclaredAs::Tensor(ty) = &declared.is else {
                let val = match &declared.is {
                    DeclaredAs::Known(kind) => self.known_declared(scope, call, (i, declared, kind), span),
                    _ => self.block_argument(scope, call, i, name, span),
                };
                failed |= val.is_err();
                vals.push((name, val.unwrap_or(Val::Error)));
                continue;
            };
            let found = self.argument_or_default(scope, call, (i, declared, ty), span);
            let node = found.and_then(|(val, at)| {
                let elem = self.elem(ty)?;
                let node = self.as_tensor(&val, elem, at)?;
                if self.ty(node).elem != elem {
                    let found = self.ty(node).elem;
                    return Err(self.wrong_elem(&format!("argument `{}`", name.text), elem, found, at));
                }
                Ok((node, at))
            });
            match node {
                Ok((node, at)) => {
                    let axes = self.ty(node).axes.clone();
                    failed |= self.bind_axes(scope, (inner, own), (callable, name, ty), &axes, at).is_err();
                    vals.push((name, Val::Tensor(node)));
                }
                Err(Reported) => {
                    failed = true;
                    vals.push((name, Val::Error));
                }
            }
        }
        if failed {
            return Err(Reported);
        }
        let depth = self.loops.len();
        for (name, val) in vals {
            inner.bind(&name.text, val, depth, name.span);
        }
        Ok(())
    }

    /// Binds the axes of a declared argument: by name where the value has it, else, if one is left on both sides, to that. `own` are
    /// those that this call has bound so far.
    pub(super) fn bind_axes(
        &mut self,
        scope: &Scope,
        (inner, own): (&mut Scope, &mut BTreeMap<String, AxisId>),
        (callable, name, ty): (&Callable, &Name, &Ty),
        found: &[AxisId],
        at: Span,
    ) -> Checked<()> {
        let mut left: Vec<AxisId> = found.to_vec();
        let mut open: Vec<&Name> = Vec::new();
        let mut pairs: Vec<(&Name, AxisId)> = Vec::new();
        for axis in &ty.axes {
            let known = inner.axis(&axis.text).filter(|id| left.contains(id));
            match known.or_else(|| self.axis_in(scope, &axis.text, &left)) {
                Some(id) => {
                    pairs.push((axis, id));
                    left.retain(|a| *a != id);
                }
                None => open.push(axis),
            }
        }
        // Expert axes of routes around are carried through by every block.
        let mut free: Vec<AxisId> = left.iter().copied().filter(|a| !self.experts.contains(a)).collect();
        if let ([axis], [id]) = (open.as_slice(), free.as_slice()) {
            pairs.push((axis, *id));
            open.clear();
            free.clear();
        }
        for (axis, id) in pairs {
            let before = own.get(&axis.text).copied();
            if let Some(before) = before.filter(|before| self.size(*before) != self.size(id)) {
                let (first, second) = (self.show_size(before), self.show_size(id));
                let message =
                    format!("`{}` of `{}` has two sizes here: {first} and {second}", axis.text, callable.name.text);
                return Err(self.say(Diagnostic::error(codes::SIZES, at, message).also(axis.span, "the same axis")));
            }
            inner.axes.insert(axis.text.clone(), id);
            own.insert(axis.text.clone(), id);
        }
        if open.is_empty() && (ty.rest || free.is_empty()) {
            for axis in free {
                if !inner.rest.contains(&axis) {
                    inner.rest.push(axis);
                }
            }
            return Ok(());
        }
        let written: Vec<&str> =
            ty.rest.then_some("..").into_iter().chain(ty.axes.iter().map(|n| n.text.as_str())).collect();
        let has: Vec<&str> = found.iter().map(|a| self.stem(*a)).collect();
        let message =
            format!("argument `{}` has axes [{}], but this has [{}]", name.text, written.join(", "), has.join(", "));
        let mut diagnostic = Diagnostic::error(codes::AXES, at, message);
        for axis in &open {
            if let Some(near) = near(&axis.text, free.iter().map(|id| self.stem(*id))) {
                diagnostic = diagnostic.help(format!("rename an axis: `x[{near} -> {}]`", axis.text));
            }
        }
        if let (None, [axis, ..], [id, ..]) = (&diagnostic.help, open.as_slice(), free.as_slice()) {
            // Blocks name axes of weights: an axis of a known size is more likely meant.
            let id = free.iter().find(|id| self.size(**id).is_known()).unwrap_or(id);
            let say = format!("`{}(..; {} = {})`", callable.name.text, axis.text, self.stem(*id));
            diagnostic = diagnostic.help(format!("say which axis is `{}`: {say}", axis.text));
        }
        Err(self.say(diagnostic))
    }

    pub fn warn_of_unused(&mut self, scope: &Scope) {
        scope.values.iter().for_each(|names| self.warn_of_unused_among(names));
    }

    pub fn warn_of_unused_among(&mut self, names: &BTreeMap<String, Binding>) {
        let unused: Vec<(String, Span)> = names
            .iter()
            .filter(|(name, b)| !b.used && !name.starts_with('_') && !matches!(b.val, Val::Error))
            .map(|(name, b)| (name.clone(), b.span))
            .collect();
        for (name, span) in unused {
            self.say(Diagnostic::warning(codes::UNUSED, span, format!("`{name}` is never used")));
        }
    }
}
