//! Tensors of a weight file that hold several parameters: `from "c_attn.weight"[d, wq + wk + wv]`, `from "up.weight"[d, h * (gate, up)]`.
//!
//! The tensor of the file is one parameter of the program, and what the model names is a view of it: which kernels read which
//! bytes, and whether parts are multiplied by at once, is for the compiler to find.

use super::scope::Scope;
use super::source::is_index;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Buffer, Elem, FileAxis, Kind, NamePiece, NodeId, Source, Span};
use crate::size::Size;
use crate::syntax::{self, FileFactor, Name};

/// A parameter that stands in a tensor with others.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub name: &'a Name,
    /// Those of its statement: they have one type.
    pub names: &'a [Name],
    pub elem: Elem,
    pub gained: &'a [AxisId],
    pub order: &'a [AxisId],
    pub buffer: Option<Buffer>,
}

/// The first axis of an order that holds several parameters.
pub(super) fn fused_axis(source: &syntax::Source) -> Option<&syntax::FileAxis> {
    source.order.iter().flatten().find(|axis| is_fused(axis))
}

fn is_fused(axis: &syntax::FileAxis) -> bool {
    axis.terms.len() > 1 || axis.terms.iter().flatten().any(|factor| matches!(factor, FileFactor::OneOf(_)))
}

/// How a parameter lies along the axis.
enum Part {
    /// Element `index` of an axis of the parameters.
    One { parts: AxisId, index: i64 },
    /// So many elements of the whole from `start` on, its own axes as one.
    Run { whole: AxisId, start: Size, own: Vec<AxisId> },
}

impl Checker<'_> {
    pub(super) fn held_param(
        &mut self,
        scope: &mut Scope,
        held: Held,
        source: &syntax::Source,
        fused: &syntax::FileAxis,
    ) -> Checked<Val> {
        let span = held.name.span;
        if held.buffer.is_some_and(|buffer| buffer.default.is_some()) {
            let message = format!("`{}` stands in one tensor with others, so it has no default", held.name.text);
            let help = "a weight file has the whole tensor, or lacks it";
            return Err(self.say(Diagnostic::error(codes::PARAM, fused.span, message).help(help)));
        }
        let all: Vec<AxisId> = held.gained.iter().chain(held.order).copied().collect();
        let file = self.file_name(scope, (&source.name, source.name_span), &all)?;
        let written = source.order.as_deref().unwrap_or_default();
        if let Some(second) = written.iter().filter(|axis| is_fused(axis)).nth(1) {
            let message = "a second axis that holds several parameters: there is one";
            return Err(self.say(Diagnostic::error(codes::PARAM, second.span, message)));
        }
        let stored: Vec<AxisId> = all.iter().copied().filter(|a| !is_index(&file, *a)).collect();
        let path = self.file_name_of(&Source { name: file.clone(), order: Vec::new() });
        // The other axes of the file, by their names.
        let named = |axis: &syntax::FileAxis| -> Vec<Name> {
            if is_fused(axis) { Vec::new() } else { axis.terms.iter().flatten().filter_map(name_of).cloned().collect() }
        };
        let others: Vec<Name> = written.iter().flat_map(named).collect();
        let (part, merged) = match fused.terms.as_slice() {
            [factors] => self.one_of(held, factors, fused.span, (&path, &stored))?,
            terms => {
                let own: Vec<AxisId> = held.order.iter().copied().filter(|a| stored.contains(a)).collect();
                let own = own.into_iter().filter(|a| others.iter().all(|name| name.text != self.stem(*a))).collect();
                self.run_of(scope, held, terms, fused.span, (&path, own))?
            }
        };
        // The other axes as ever, with those of this one left out.
        let left: Vec<AxisId> = stored.iter().copied().filter(|a| !taken(&part, &merged).contains(a)).collect();
        let front: Vec<AxisId> = held.gained.iter().copied().filter(|a| left.contains(a)).collect();
        let plain: Vec<Vec<Name>> = written.iter().filter(|axis| !is_fused(axis)).map(named).collect();
        let mut order = self.file_order(&front, &left, &plain, source.name_span)?;
        let before = written.iter().take_while(|axis| !is_fused(axis)).count();
        let behind = plain.len() - before;
        let at = order.len() - behind;
        order.insert(at, if let [one] = merged.as_slice() { FileAxis::Axis(*one) } else { FileAxis::Merged(merged) });
        let whole = self.whole(path, held, (file, order), span)?;
        self.part_of(whole, part, held)
    }

    /// The tensor of the file as a parameter.
    fn whole(
        &mut self,
        path: String,
        held: Held,
        (name, order): (Vec<NamePiece>, Vec<FileAxis>),
        span: Span,
    ) -> Checked<NodeId> {
        let flat = order.iter().flat_map(|axis| match axis {
            FileAxis::Axis(axis) => vec![*axis],
            FileAxis::Merged(axes) => axes.clone(),
            FileAxis::Unit => Vec::new(),
        });
        let indexed: Vec<AxisId> = held.order.iter().copied().filter(|a| is_index(&name, *a)).collect();
        let mut axes: Vec<AxisId> = held.gained.iter().copied().chain(indexed).collect();
        for axis in flat {
            if !axes.contains(&axis) {
                axes.push(axis);
            }
        }
        self.declared_param(path, held.elem, axes, span, (Source { name, order }, held.buffer))
    }

    /// The view that the parameter is.
    fn part_of(&mut self, whole: NodeId, part: Part, held: Held) -> Checked<Val> {
        let (elem, span) = (held.elem, held.name.span);
        match part {
            Part::One { parts, index } => {
                let axes = self.axes_without(whole, &[parts]);
                self.tensor(Kind::Pick { axis: parts, index, x: whole }, elem, axes, span)
            }
            Part::Run { whole: from, start, own } => {
                let start = start.as_known().ok_or(Reported)?;
                let rest = self.axes_without(whole, &[from]);
                let with = |more: &[AxisId]| rest.iter().chain(more).copied().collect::<Vec<_>>();
                if let [to] = own.as_slice() {
                    let kind = Kind::Slice { from, to: *to, start, x: whole };
                    return self.tensor(kind, elem, with(&own), span);
                }
                let size = self.product(&own, span)?;
                let to = self.axis_id(&format!("{}.run", held.name.text), size, span);
                let x = self.push(Kind::Slice { from, to, start, x: whole }, elem, with(&[to]), span)?;
                let axes = with(&own);
                self.tensor(Kind::Split { from: to, to: own, x }, elem, axes, span)
            }
        }
    }

    /// `h * (gate, up)`: the part, and the axes that the file's axis is made of.
    fn one_of(
        &mut self,
        held: Held,
        factors: &[FileFactor],
        span: Span,
        (path, stored): (&str, &[AxisId]),
    ) -> Checked<(Part, Vec<AxisId>)> {
        let lists: Vec<&Vec<Name>> =
            factors.iter().filter_map(|f| if let FileFactor::OneOf(list) = f { Some(list) } else { None }).collect();
        let [list] = lists.as_slice() else {
            let message = "the parameters stand in one pair of parentheses";
            return Err(self.say(Diagnostic::error(codes::PARAM, span, message)));
        };
        let Some(index) = list.iter().position(|name| name.text == held.name.text) else {
            let names: Vec<&str> = list.iter().map(|name| name.text.as_str()).collect();
            let message = format!("`{}` is none of {}", held.name.text, names.join(", "));
            let diagnostic = Diagnostic::error(codes::PARAM, span, message).also(held.name.span, "this parameter");
            return Err(self.say(diagnostic.help("the parentheses list the parameters that the tensor holds")));
        };
        if let Some((i, name)) = list.iter().enumerate().find(|(i, n)| list[..*i].iter().any(|m| m.text == n.text)) {
            let first = list[..i].iter().find(|m| m.text == name.text).map_or(name.span, |m| m.span);
            return Err(self.twice(name, first));
        }
        let parts = self.axis_id(&format!("{path}.parts"), Size::known(list.len() as i64), span);
        let mut merged = Vec::new();
        for factor in factors {
            let FileFactor::Name(name) = factor else {
                merged.push(parts);
                continue;
            };
            let found = stored.iter().copied().find(|a| self.stem(*a) == name.text);
            match found {
                Some(axis) if !merged.contains(&axis) => merged.push(axis),
                _ => {
                    let why = if found.is_some() { "stands twice" } else { "is no axis of the parameter" };
                    let message = format!("`{}` {why}", name.text);
                    return Err(self.say(Diagnostic::error(codes::PARAM, name.span, message)));
                }
            }
        }
        Ok((Part::One { parts, index: index as i64 }, merged))
    }

    /// `wq + wk + kv * k`: terms are parameters of the statement, or sizes of what stands there.
    fn run_of(
        &mut self,
        scope: &Scope,
        held: Held,
        terms: &[Vec<FileFactor>],
        span: Span,
        (path, own): (&str, Vec<AxisId>),
    ) -> Checked<(Part, Vec<AxisId>)> {
        if own.is_empty() {
            let message = format!("no axis of `{}` is left for its part of this one", held.name.text);
            return Err(self.say(Diagnostic::error(codes::PARAM, span, message)));
        }
        let each = self.product(&own, span)?;
        let (mut total, mut start) = (Size::default(), None);
        for term in terms {
            let is_one = |names: &[Name]| match term.as_slice() {
                [FileFactor::Name(name)] => names.iter().any(|n| n.text == name.text),
                _ => false,
            };
            let size = if is_one(std::slice::from_ref(held.name)) {
                if start.replace(total.clone()).is_some() {
                    let message = format!("`{}` stands twice in this axis", held.name.text);
                    return Err(self.say(Diagnostic::error(codes::PARAM, span, message)));
                }
                each.clone()
            } else if is_one(held.names) {
                each.clone()
            } else {
                let mut axes = Vec::new();
                for factor in term {
                    let FileFactor::Name(name) = factor else {
                        let message = "an axis is a sum of parts, or has names in parentheses, not both";
                        return Err(self.say(Diagnostic::error(codes::PARAM, span, message)));
                    };
                    let Some(axis) = self.own_axis(scope, name) else {
                        let message = format!("`{}` is no parameter of this statement and no axis", name.text);
                        let help = "what another statement declares stands as its size: `head * k`";
                        return Err(self.say(Diagnostic::error(codes::PARAM, name.span, message).help(help)));
                    };
                    axes.push(axis);
                }
                self.product(&axes, span)?
            };
            total = self.made_size(total.checked_add(&size), span)?;
        }
        let Some(start) = start else {
            let message = format!("`{}` stands nowhere in this axis", held.name.text);
            let help = format!("its own part is its name: `[.. + {} + ..]`", held.name.text);
            return Err(self.say(Diagnostic::error(codes::PARAM, span, message).help(help)));
        };
        let whole = self.axis_id(&format!("{path}.parts"), total, span);
        Ok((Part::Run { whole, start, own }, vec![whole]))
    }

    /// How many elements these axes have, a number.
    fn product(&mut self, axes: &[AxisId], span: Span) -> Checked<Size> {
        self.known_sizes(axes, span)?;
        let product = axes.iter().try_fold(Size::known(1), |n, axis| n.checked_mul(self.size(*axis)));
        self.made_size(product, span)
    }
}

/// Axes of the parameter that its part of the file's axis has.
fn taken(part: &Part, merged: &[AxisId]) -> Vec<AxisId> {
    match part {
        Part::One { .. } => merged.to_vec(),
        Part::Run { own, .. } => own.clone(),
    }
}

fn name_of(factor: &FileFactor) -> Option<&Name> {
    if let FileFactor::Name(name) = factor { Some(name) } else { None }
}
