//! What a block gives, held against what its signature declares.

use super::records::{field_at, flat, nested};
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Kind, Node};
use crate::syntax::{Callable, ExprKind, Name, Ty};

impl Checker<'_> {
    /// Holds a block's value against what its signature declares.
    ///
    /// An axis there is the block's own, of its size, with one exception: a strided window and its kin keep an axis' name but not its
    /// size, so what the body (the nodes from `start` on) made so may stand there, unless the call gave a size by name.
    pub(super) fn check_result(
        &mut self,
        inner: &Scope,
        callable: &Callable,
        val: &Val,
        (given, start): (&[Name], usize),
    ) -> Checked<()> {
        let result = match &callable.result {
            Some(result) => self.result_types(result)?,
            None => return Ok(()),
        };
        let span = callable.body.value.as_ref().map_or(callable.body.span, |v| v.span);
        let fields: Vec<(&Ty, Val)> = match (result.as_slice(), val) {
            ([(None, ty)], val) => vec![(ty, val.clone())],
            (declared, Val::Record(fields)) => {
                let mut matched = Vec::new();
                for (name, ty) in declared {
                    let name = name.as_ref().map_or("", |n| n.text.as_str());
                    match field_at(fields, name) {
                        Some(val) => matched.push((ty, val.clone())),
                        None => {
                            let message = format!("the result lacks `{name}`");
                            return Err(self.say(Diagnostic::error(codes::RESULT, span, message)));
                        }
                    }
                }
                self.only_fields(callable, fields)?;
                matched
            }
            (declared, _) => {
                let names: Vec<&str> =
                    declared.iter().filter_map(|(n, _)| n.as_ref()).map(|n| n.text.as_str()).collect();
                let message = format!("the result is a record of {}", names.join(", "));
                return Err(self.say(Diagnostic::error(codes::RESULT, span, message)));
            }
        };
        for (ty, val) in fields {
            let elem = self.elem(ty)?;
            let node = self.as_tensor(&val, elem, span)?;
            if self.ty(node).elem != elem {
                let found = self.ty(node).elem;
                return Err(self.wrong_elem("the result", elem, found, span));
            }
            let axes = self.ty(node).axes.clone();
            let mut left = axes.clone();
            let mut missing = Vec::new();
            for name in &ty.axes {
                let found = self.axis_in(inner, &name.text, &left);
                let Some(found) = found else {
                    missing.push(name.clone());
                    continue;
                };
                let own = self.own_axis(inner, name).unwrap_or(found);
                let is_made = || !given.iter().any(|n| n.text == name.text) && self.is_made(found, start);
                if self.size(own) != self.size(found) && !is_made() {
                    let (name, is, want) = (&name.text, self.show_size(found), self.show_size(own));
                    let message =
                        format!("`{name}` of the result has size {is}, but `{name}` of this block has size {want}");
                    let diagnostic = Diagnostic::error(codes::RESULT, span, message).also(ty.span, "declared here");
                    return Err(self.say(diagnostic));
                }
                left.retain(|a| *a != found);
            }
            left.retain(|a| !(self.experts.contains(a) || ty.rest && inner.rest.contains(a)));
            if !missing.is_empty() || !left.is_empty() {
                let found = self.show(self.ty(node));
                let more: Vec<&str> = left.iter().map(|a| self.stem(*a)).collect();
                let mut message = format!("the result is {found}");
                if !missing.is_empty() {
                    let names: Vec<&str> = missing.iter().map(|n: &Name| n.text.as_str()).collect();
                    message += &format!(", which lacks {}", names.join(", "));
                }
                if !more.is_empty() {
                    message += &format!(", which has {} too many", more.join(", "));
                }
                let diagnostic = Diagnostic::error(codes::RESULT, span, message).also(ty.span, "declared here");
                let asked =
                    |names: &[Name]| -> Vec<AxisId> { names.iter().filter_map(|n| inner.axis(&n.text)).collect() };
                let (missing, wanted) = (asked(&missing), asked(&ty.axes));
                return Err(self.say_misfit(diagnostic, (&left, &missing, &wanted), span));
            }
        }
        Ok(())
    }

    /// A record in the order that is declared: a caller may take it apart by place.
    pub(super) fn in_order(&mut self, val: Val, callable: &Callable) -> Val {
        let Val::Record(fields) = val else { return val };
        let mut fields = flat(fields);
        let declared = self.results_of(callable);
        let place =
            |field: &str| declared.iter().position(|(name, _)| name.as_ref().is_some_and(|name| name.text == field));
        fields.sort_by_key(|(name, _)| place(name));
        Val::Record(nested(fields))
    }

    /// What a record has beside the fields that are declared would be lost.
    pub fn only_fields(&mut self, callable: &Callable, fields: &[(String, Val)]) -> Checked<()> {
        let declared: Vec<Name> = self.results_of(callable).into_iter().filter_map(|(name, _)| name).collect();
        let fields = flat(fields.to_vec());
        let Some((more, _)) = fields.iter().find(|(name, _)| declared.iter().all(|d| d.text != *name)) else {
            return Ok(());
        };
        let first = more.split('.').next().unwrap_or(more);
        let value = callable.body.value.as_deref();
        let written = value.and_then(|v| match &v.kind {
            ExprKind::Record(fields) => fields.iter().map(|(name, _)| name).find(|name| name.text == first),
            _ => None,
        });
        let span = written.map_or_else(|| value.map_or(callable.body.span, |v| v.span), |name| name.span);
        let message = format!("`{}` does not declare the field `{more}` of its result", callable.name.text);
        let names: Vec<&str> = declared.iter().map(|name| name.text.as_str()).collect();
        let help = format!("it declares {}: add `{more}`, or leave it out", names.join(", "));
        Err(self.say(Diagnostic::error(codes::RESULT, span, message).help(help)))
    }

    /// Is it the axis of a window, slice, padding or concatenation among the nodes from `start` on?
    fn is_made(&self, axis: AxisId, start: usize) -> bool {
        let makes = |node: &Node| match &node.kind {
            Kind::Window { to, tap, .. } => [*to, *tap].contains(&axis),
            Kind::Slice { to, .. } | Kind::Pad { to, .. } | Kind::Concat { to, .. } => *to == axis,
            _ => false,
        };
        self.nodes[start..].iter().any(makes)
    }
}
