//! Axes: declarations, names in types, sizes.

use std::collections::BTreeMap;

use super::scope::Scope;
use super::{Checked, Checker, Reported, elem_of};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{Axis, AxisId, Elem, Span, Symbol, Type};
use crate::size::Size;
use crate::syntax::{self, AxisSize, Name, Ty};

/// Words that begin a statement or a declaration.
const STATEMENTS: &[&str] =
    &["let", "param", "buffer", "part", "state", "next", "exit", "entry", "fn", "block", "model", "network"];
/// Bytes behind a name in which the end of its statement is looked for.
const MOST_BYTES: usize = 4096;

impl Checker<'_> {
    /// The axis of a name and a size: there is one.
    pub fn axis_id(&mut self, name: &str, size: Size, span: Span) -> AxisId {
        if let Some(&id) = self.axis_ids.get(&(name.to_string(), size.clone())) {
            return id;
        }
        let id = AxisId(self.stems.len() as u32);
        let same = self.stems.iter().filter(|s| *s == name).count();
        let unique = if same == 0 { name.to_string() } else { format!("{name}.{}", same + 1) };
        self.stems.push(name.to_string());
        self.program.axes.push(Axis { name: unique.into(), size: size.clone(), span });
        self.axis_ids.insert((name.to_string(), size), id);
        id
    }

    /// The axis of that size that a name stands for (a call may have bound it to one of another name), or else a new one.
    pub fn axis_of_size(&mut self, scope: &Scope, name: &Name, size: Size) -> AxisId {
        match scope.axes.get(&name.text) {
            Some(id) if *self.size(*id) == size => *id,
            _ => self.axis_id(&name.text, size, name.span),
        }
    }

    /// In a loop over an axis, a value that has another one of its name: which one a name in the loop means would be open.
    pub fn not_shadowed(&mut self, axis: AxisId, axes: &[AxisId], span: Span) -> Checked<()> {
        let Some(other) = self.namesake(axis, axes) else { return Ok(()) };
        let name = self.stem(axis).to_string();
        let (is, runs) = (self.show_size(other), self.show_size(axis));
        let message = format!("this has an axis `{name}` of {is}, in a loop over another `{name}`, of {runs}");
        let help = format!("rename one of them: the loop, or `x[{name} -> other]`");
        Err(self.say(Diagnostic::error(codes::SHADOWED, span, message).help(help)))
    }

    pub fn declare_axes<'a>(&mut self, axes: impl Iterator<Item = &'a syntax::Axis>, sizes: &[(String, i64)]) {
        let mut unknown: Vec<&(String, i64)> = sizes.iter().collect();
        let mut seen: Vec<(&Name, AxisId)> = Vec::new();
        for (axis, of_itself) in self.by_need(&axes.collect::<Vec<_>>()) {
            if let Some((first, _)) = seen.iter().find(|(n, _)| n.text == axis.name.text) {
                let first = first.span;
                self.twice(&axis.name, first);
                continue;
            }
            // A network's axes stand beside the file's.
            if let Some(first) = self.known().axes.get(&axis.name.text).copied() {
                let first = self.program.axes[first.0 as usize].span;
                self.twice(&axis.name, first);
                continue;
            }
            let given = sizes.iter().find(|(name, _)| *name == axis.name.text);
            unknown.retain(|(name, _)| *name != axis.name.text);
            let name = &axis.name;
            let size = match (&axis.size, given) {
                // An axis of any size in its place: what else is wrong is told, too.
                (_, None) if of_itself => {
                    let message = format!("the size of axis `{}` is made of itself", name.text);
                    self.say(Diagnostic::error(codes::RECURSION, name.span, message));
                    Ok(self.symbol(&name.text, None))
                }
                (AxisSize::Is(_), Some((_, n))) => self.checked_size(*n, name.span),
                (AxisSize::Is(expr), None) => self.declared_size(expr),
                (AxisSize::Symbolic, _) => Ok(self.symbol(&name.text, None)),
                (AxisSize::AtMost(expr), _) => {
                    self.const_size(expr).map(|bound| self.symbol(&name.text, bound.as_known()))
                }
            };
            let Ok(size) = size else { continue };
            let id = self.axis_id(&name.text, size, name.span);
            self.names[self.here].axes.insert(name.text.clone(), id);
            seen.push((name, id));
        }
        for (name, _) in unknown {
            let known: Vec<&str> = self.known().axes.keys().map(String::as_str).collect();
            let help = near(name, known).map(|n| format!("did you mean `{n}`?"));
            let message = format!("the file declares no axis `{name}`, which was given a size");
            let mut diagnostic = Diagnostic::error(codes::UNKNOWN_AXIS, Span::default(), message);
            diagnostic.help = help;
            self.say(diagnostic);
        }
    }

    /// Axes in their order, but behind those of which their sizes are made; and whether a size is made of itself.
    fn by_need<'a>(&self, axes: &[&'a syntax::Axis]) -> Vec<(&'a syntax::Axis, bool)> {
        let number: BTreeMap<&str, usize> =
            axes.iter().enumerate().rev().map(|(i, a)| (a.name.text.as_str(), i)).collect();
        let needs = |axis: &syntax::Axis| -> Vec<usize> {
            let (AxisSize::Is(expr) | AxisSize::AtMost(expr)) = &axis.size else { return Vec::new() };
            syntax::tokens(self.text(expr.span)).iter().filter_map(|token| number.get(token.text).copied()).collect()
        };
        let mut needs: Vec<Vec<usize>> = axes.iter().map(|axis| needs(axis)).collect();
        let (mut open, mut of_itself) = (vec![false; axes.len()], vec![false; axes.len()]);
        let (mut met, mut ordered) = (vec![false; axes.len()], Vec::new());
        for first in 0..axes.len() {
            let mut path = if std::mem::replace(&mut met[first], true) { Vec::new() } else { vec![first] };
            while let Some(&axis) = path.last() {
                open[axis] = true;
                match needs[axis].pop() {
                    Some(need) if open[need] => of_itself[need] = true,
                    Some(need) if !std::mem::replace(&mut met[need], true) => path.push(need),
                    Some(_) => {}
                    None => {
                        open[axis] = false;
                        ordered.push(axis);
                        path.pop();
                    }
                }
            }
        }
        ordered.sort_by_key(|axis| !of_itself[*axis]);
        ordered.into_iter().map(|axis| (axes[axis], of_itself[axis])).collect()
    }

    pub fn symbol(&mut self, name: &str, bound: Option<i64>) -> Size {
        if !self.program.symbols.iter().any(|s| *s.name == *name) {
            self.program.symbols.push(Symbol { name: name.into(), bound });
        }
        Size::symbol(name)
    }

    /// The size of an axis that a name stands for: `h'` has that of `h`.
    fn size_of_name(&self, scope: &Scope, name: &str) -> Option<Size> {
        if let Some(id) = scope.axis(name) {
            return Some(self.size(id).clone());
        }
        name.strip_suffix('\'').and_then(|base| self.size_of_name(scope, base))
    }

    /// The axis that a name stands for in a scope, if it stands for one.
    pub fn own_axis(&mut self, scope: &Scope, name: &Name) -> Option<AxisId> {
        let known = scope.axis(&name.text);
        known.or_else(|| self.size_of_name(scope, &name.text).map(|size| self.axis_id(&name.text, size, name.span)))
    }

    /// The axis that a name in a type stands for.
    pub fn named_axis(&mut self, scope: &Scope, name: &Name) -> Checked<AxisId> {
        if let Some(id) = self.own_axis(scope, name) {
            return Ok(id);
        }
        let known: Vec<String> = scope.axes.keys().cloned().collect();
        let message = format!("no axis `{}` is declared", name.text);
        let diagnostic = Diagnostic::error(codes::UNKNOWN_AXIS, name.span, message);
        if let Some(later) = self.named_later(name) {
            let help = format!("name it before: brackets to the left, or a `let`, or declare `axis {}`", name.text);
            return Err(self.say(diagnostic.also(later, format!("`{}` is first named here", name.text)).help(help)));
        }
        let diagnostic = match near(&name.text, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.fix(name.span, near),
            None => diagnostic.help(format!(
                "declare it: `axis {0} = 64`, or `axis {0}` for a size bound at run time; or rename another axis to it: `x[other -> {0}]`",
                name.text
            )),
        };
        Err(self.say(diagnostic))
    }

    /// Where brackets further right in the same statement name an axis: names are known from there on.
    fn named_later(&self, name: &Name) -> Option<Span> {
        let text = self.out.files.get(name.span.file as usize).map_or("", |(_, text)| text);
        let rest = text.get(name.span.end as usize..)?;
        let most = (0..=rest.len().min(MOST_BYTES)).rev().find(|end| rest.is_char_boundary(*end))?;
        let (mut depth, mut behind_arrow) = (0i32, false);
        for token in syntax::tokens(&rest[..most]) {
            match token.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                "->" => behind_arrow = true,
                "[" | "]" | "," => behind_arrow = false,
                word if depth < 0 || depth == 0 && STATEMENTS.contains(&word) => return None,
                word if behind_arrow && word == name.text => {
                    let start = name.span.end + token.start as u32;
                    return Some(Span { start, end: start + word.len() as u32, ..name.span });
                }
                _ => {}
            }
        }
        None
    }

    /// The axis of a value that a name means: the scope's, or the value's of that name.
    pub fn axis_in(&self, scope: &Scope, name: &str, axes: &[AxisId]) -> Option<AxisId> {
        let declared = scope.axis(name).filter(|id| axes.contains(id));
        declared.or_else(|| axes.iter().copied().find(|a| self.stem(*a) == name))
    }

    /// As [`Self::axis_in`], or an error that lists the axes that there are.
    pub fn axis_of(&mut self, scope: &Scope, name: &Name, ty: &Type) -> Checked<AxisId> {
        if let Some(id) = self.axis_in(scope, &name.text, &ty.axes) {
            return Ok(id);
        }
        let names: Vec<String> = ty.axes.iter().map(|a| self.stem(*a).to_string()).collect();
        let message = format!("the value has no axis `{}`: it is {}", name.text, self.show(ty));
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_AXIS, name.span, message);
        if let Some(near) = near(&name.text, names.iter().map(String::as_str)) {
            diagnostic = diagnostic.fix(name.span, near);
        } else if let Some((from, to)) = scope.axis(&name.text).and_then(|to| self.only_pair(&ty.axes, &[to])) {
            let (from, to) = (self.stem(from), self.stem(to));
            diagnostic =
                diagnostic.help(format!("`{to}` has the size of `{from}`: rename that before: `x[{from} -> {to}]`"));
        }
        Err(self.say(diagnostic))
    }

    /// The element type of anything but a quantised parameter.
    pub fn elem(&mut self, ty: &Ty) -> Checked<Elem> {
        self.not_quantized(ty)?;
        let name = &ty.elem;
        if let Some(elem) = elem_of(&name.text) {
            return Ok(elem);
        }
        let names = ["f32", "f16", "bf16", "f64", "i32", "i64", "i8", "u8", "bool"];
        let message =
            format!("no element type `{}`; there are {}, and q8 q4 of parameters", name.text, names.join(" "));
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_ELEM, name.span, message);
        if let Some(near) = near(&name.text, names) {
            diagnostic = diagnostic.fix(name.span, near);
        }
        Err(self.say(diagnostic))
    }

    /// A type as written, with its order; `..` are the axes that the scope has for it.
    pub fn written(&mut self, scope: &Scope, ty: &Ty) -> Checked<(Elem, Vec<AxisId>)> {
        let elem = self.elem(ty);
        let order = self.axes_written(scope, ty)?;
        Ok((elem?, order))
    }

    /// The axes of a type as written, in its order.
    pub fn axes_written(&mut self, scope: &Scope, ty: &Ty) -> Checked<Vec<AxisId>> {
        let mut order = if ty.rest { scope.rest.clone() } else { Vec::new() };
        let mut failed = false;
        for name in &ty.axes {
            match self.named_axis(scope, name) {
                Ok(axis) if order.contains(&axis) => {
                    let message = format!("axis `{}` stands twice", name.text);
                    let help = format!("another axis of the same size is written `{}'`", name.text);
                    self.say(Diagnostic::error(codes::AXES, name.span, message).help(help));
                    failed = true;
                }
                Ok(axis) => order.push(axis),
                Err(Reported) => failed = true,
            }
        }
        if failed { Err(Reported) } else { Ok(order) }
    }
}
