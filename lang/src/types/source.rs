//! `from "layers.{layer + 1}.w"[h, d]`: where a parameter stands in a weight file.

use super::scope::{Binding, Scope};
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, FileAxis, NamePiece, Source, Span};
use crate::size::Size;
use crate::syntax::{self, FileFactor, Name};

impl Checker<'_> {
    /// Where a parameter of the name `own` stands. `gained` are the axes of the routes and repeats around, `order` those that are written. Without a `from` the file has
    /// the parameter's own name and order.
    pub fn source(
        &mut self,
        scope: &mut Scope,
        own: &str,
        gained: &[AxisId],
        order: &[AxisId],
        source: Option<&syntax::Source>,
    ) -> Checked<Source> {
        let all: Vec<AxisId> = gained.iter().chain(order).copied().collect();
        let name = match source {
            Some(source) => self.file_name(scope, (&source.name, source.name_span), &all)?,
            None => match scope.instance() {
                Some(instance) => joined(instance.into_iter().chain([NamePiece::Text(format!(".{own}"))])),
                None => vec![NamePiece::Text(own.into())],
            },
        };
        let stored: Vec<AxisId> = all.iter().copied().filter(|a| !is_index(&name, *a)).collect();
        let Some((source, written)) = source.and_then(|s| Some((s, s.order.as_ref()?))) else {
            return Ok(Source { name, order: stored.into_iter().map(FileAxis::Axis).collect() });
        };
        let front: Vec<AxisId> = gained.iter().copied().filter(|a| stored.contains(a)).collect();
        let order = self.file_order(&front, &stored, &plain(written), source.name_span)?;
        Ok(Source { name, order })
    }

    /// A tensor of the file has one shape, however many parameters are read from it. This one is new.
    pub(super) fn one_shape(&mut self, path: &str, source: &Source, span: Span) -> Checked<()> {
        let (name, shape) = (self.file_name_of(source), self.file_shape(source));
        let known = self.stored_shapes.get(&name).cloned();
        let (id, before) = known.unwrap_or((self.program.params.len(), shape.clone()));
        if before != shape {
            let first = &self.program.params[id].tensor.name;
            let message = format!(
                "`{first}` and `{path}` are one tensor of the file, `{name}`, but of sizes {before} and {shape}"
            );
            let mut diagnostic = Diagnostic::error(codes::PARAM, span, message);
            if self.param_spans[id] != span {
                diagnostic = diagnostic.also(self.param_spans[id], "first here");
            }
            return Err(self.say(diagnostic.help("without a `from`, each instance has a tensor under its own path")));
        }
        self.stored_shapes.insert(name, (id, shape));
        Ok(())
    }

    /// The name of a tensor of the file, as it is written: `layers.{layer}.w`.
    pub(super) fn file_name_of(&self, source: &Source) -> String {
        let pieces = source.name.iter().map(|piece| match piece {
            NamePiece::Text(text) => text.clone(),
            NamePiece::Index { axis, first: 0 } => format!("{{{}}}", self.stem(*axis)),
            NamePiece::Index { axis, first } => format!("{{{} + {first}}}", self.stem(*axis)),
        });
        pieces.collect()
    }

    /// The sizes of a tensor of the file, outermost first: `[4, 8]`.
    fn file_shape(&self, source: &Source) -> String {
        let size = |axis: &AxisId| self.size(*axis).clone();
        let sizes = source.order.iter().map(|axis| match axis {
            FileAxis::Axis(axis) => size(axis),
            FileAxis::Merged(axes) => {
                let product = axes.iter().try_fold(Size::known(1), |n, axis| n.checked_mul(&size(axis)));
                product.unwrap_or_default()
            }
            FileAxis::Unit => Size::known(1),
        });
        let sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
        format!("[{}]", sizes.join(", "))
    }

    /// Text, and in braces the axes whose index stands in the name, a name or number known when building, or `{self}`, the instance around.
    pub(super) fn file_name(
        &mut self,
        scope: &mut Scope,
        (text, at): (&str, Span),
        axes: &[AxisId],
    ) -> Checked<Vec<NamePiece>> {
        let mut name = Vec::new();
        let mut rest = text;
        let wrong = |piece: &str, message: String| {
            // The name stands one quote after the start of the string.
            let start = at.start + 1 + (piece.as_ptr() as usize - text.as_ptr() as usize) as u32;
            let span = Span { start, end: start + piece.len() as u32, ..at };
            Diagnostic::error(codes::PARAM, span, message)
        };
        while let Some(open) = rest.find(['{', '}']) {
            let close = rest[open..].find('}').map(|c| open + c).filter(|c| *c > open);
            let Some(close) = close else {
                let message = "a brace without its other one: an axis stands in `{..}`".to_string();
                return Err(self.say(wrong(&rest[open..=open], message)));
            };
            let within = &rest[open + 1..close];
            if within == "self" {
                let Some(instance) = scope.instance() else {
                    let message = "`{self}` is the instance of a block, and here is none".to_string();
                    return Err(self.say(wrong(within, message)));
                };
                name.push(NamePiece::Text(rest[..open].into()));
                name.extend(instance);
                rest = &rest[close + 1..];
                continue;
            }
            let Some((axis, first)) = placeholder(within) else {
                let message = "an axis, or one counted from another number, is expected: `{layer}`, `{layer + 1}`";
                return Err(self.say(wrong(within, message.to_string())));
            };
            let id = axes.iter().copied().find(|a| self.stem(*a) == axis);
            if let (None, Some(known)) = (id, scope.find(axis).and_then(|binding| written_out(binding, first))) {
                name.push(NamePiece::Text(format!("{}{known}", &rest[..open])));
                rest = &rest[close + 1..];
                continue;
            }
            let Some(id) = id else {
                let names: Vec<String> = axes.iter().map(|a| self.stem(*a).to_string()).collect();
                let message = match names.as_slice() {
                    [] => format!("there is no axis `{axis}` here, and no name known when building"),
                    names => format!("the parameter has no axis `{axis}`; it has {}", names.join(", ")),
                };
                let mut diagnostic = wrong(axis, message);
                if let Some(near) = near(axis, names.iter().map(String::as_str)) {
                    diagnostic.fix = Some((diagnostic.span, near.to_string()));
                }
                return Err(self.say(diagnostic));
            };
            if first < 0 {
                let message = format!("the first `{axis}` would have the number {first}");
                return Err(self.say(wrong(within, message)));
            }
            name.push(NamePiece::Text(rest[..open].into()));
            name.push(NamePiece::Index { axis: id, first });
            rest = &rest[close + 1..];
        }
        name.push(NamePiece::Text(rest.into()));
        Ok(joined(name.into_iter()))
    }

    /// The axes of a tensor of the file. Gained axes stand in `front`, unless the order says where.
    pub(super) fn file_order(
        &mut self,
        front: &[AxisId],
        stored: &[AxisId],
        written: &[Vec<Name>],
        at: Span,
    ) -> Checked<Vec<FileAxis>> {
        let mut file = Vec::new();
        let mut seen = Vec::new();
        for axis in front {
            if !written.iter().flatten().any(|n| n.text == self.stem(*axis)) {
                file.push(FileAxis::Axis(*axis));
                seen.push(*axis);
            }
        }
        let mut failed = false;
        for names in written {
            let mut ids = Vec::new();
            for name in names.iter().filter(|name| name.text != "_") {
                match stored.iter().copied().find(|a| self.stem(*a) == name.text) {
                    Some(id) if !seen.contains(&id) => {
                        seen.push(id);
                        ids.push(id);
                    }
                    found => {
                        failed = true;
                        let why = if found.is_some() { "stands twice" } else { "is no axis of the parameter" };
                        let mut diagnostic =
                            Diagnostic::error(codes::PARAM, name.span, format!("`{}` {why}", name.text));
                        let names: Vec<&str> = stored.iter().map(|a| self.stem(*a)).collect();
                        if let (None, Some(near)) = (found, near(&name.text, names)) {
                            diagnostic = diagnostic.fix(name.span, near);
                        }
                        self.say(diagnostic);
                    }
                }
            }
            file.push(match ids.as_slice() {
                [] => FileAxis::Unit,
                [one] => FileAxis::Axis(*one),
                _ => FileAxis::Merged(ids),
            });
        }
        if let (Some(axis), false) = (stored.iter().find(|a| !seen.contains(a)), failed) {
            let message = format!("the order of the file lacks axis `{}`", self.stem(*axis));
            return Err(self.say(Diagnostic::error(codes::PARAM, at, message)));
        }
        if failed { Err(Reported) } else { Ok(file) }
    }
}

/// Texts that follow each other are one, so that equal names compare equal.
pub(super) fn joined(pieces: impl Iterator<Item = NamePiece>) -> Vec<NamePiece> {
    let mut name: Vec<NamePiece> = Vec::new();
    for piece in pieces {
        match (name.last_mut(), piece) {
            (_, NamePiece::Text(text)) if text.is_empty() => {}
            (Some(NamePiece::Text(before)), NamePiece::Text(text)) => before.push_str(&text),
            (_, piece) => name.push(piece),
        }
    }
    name
}

/// Does the index of an axis stand in the name?
pub(super) fn is_index(name: &[NamePiece], axis: AxisId) -> bool {
    name.iter().any(|piece| matches!(piece, NamePiece::Index { axis: a, .. } if *a == axis))
}

/// A name or whole number known when building, plus a number, as it stands in the name of a tensor.
fn written_out(binding: &mut Binding, plus: i64) -> Option<String> {
    let text = match (&binding.val, plus) {
        (Val::Text(name), 0) => name.clone(),
        (Val::Number(n), plus) if n.fract() == 0.0 && n.abs() < 1e9 => (*n as i64 + plus).to_string(),
        _ => return None,
    };
    binding.used = true;
    Some(text)
}

/// The names of an order in which no axis holds several parameters.
fn plain(written: &[syntax::FileAxis]) -> Vec<Vec<Name>> {
    let name = |factor: &FileFactor| if let FileFactor::Name(name) = factor { Some(name.clone()) } else { None };
    written.iter().map(|axis| axis.terms.iter().flatten().filter_map(name).collect()).collect()
}

/// `layer`, `layer + 1`: the axis, and the number of its first index.
fn placeholder(text: &str) -> Option<(&str, i64)> {
    let end = text.find(['+', '-']).unwrap_or(text.len());
    let (axis, rest) = (text[..end].trim(), text[end..].trim());
    let is_name = axis.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '\'');
    if axis.is_empty() || !is_name {
        return None;
    }
    let (sign, number) = match rest.chars().next() {
        None => return Some((axis, 0)),
        Some(sign) => (if sign == '-' { -1 } else { 1 }, rest[1..].trim()),
    };
    // Plain digits that are far from the largest number: names of files have few.
    let plain = !number.is_empty() && number.len() < 10 && number.bytes().all(|b| b.is_ascii_digit());
    if plain { number.parse::<i64>().ok().map(|n| (axis, sign * n)) } else { None }
}
