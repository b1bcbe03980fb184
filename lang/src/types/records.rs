//! Records as arguments, results, inputs and carries: tensors under one name. A block takes the fields that it names; what else a record
//! has stays behind.

use std::collections::BTreeMap;

use super::carry::Carry;
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val, elem_of};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, NodeId, Span};
use crate::syntax::{Call, Callable, Declared, DeclaredAs, Fields, Name, ResultTy, Ty};

/// What a carry, or a field of it, begins with: the field, the value, the type that is declared.
type First = (Option<String>, Val, Option<Ty>);

impl Checker<'_> {
    /// The fields of a type by its name in the file that says it.
    fn record_type(&self, name: &Name) -> Option<Fields> {
        let types = &self.names[name.span.file as usize].types;
        types.get(&name.text).map(|ty| ty.fields.clone())
    }

    /// The fields of an argument that is a record.
    pub(super) fn record_declared(&self, is: &DeclaredAs) -> Option<Fields> {
        match is {
            DeclaredAs::Record(fields) => Some(fields.clone()),
            DeclaredAs::Known(name) => self.record_type(name),
            DeclaredAs::Tensor(_) | DeclaredAs::Block => None,
        }
    }

    /// What a signature or a carry says: a type without a name, or one for each field.
    pub(super) fn result_types(&mut self, ty: &ResultTy) -> Checked<Vec<(Option<Name>, Ty)>> {
        let named = |fields: Fields| fields.into_iter().map(|(name, ty)| (Some(name), ty)).collect();
        match ty {
            ResultTy::One(ty) => Ok(vec![(None, ty.clone())]),
            ResultTy::Record(fields) => Ok(named(fields.clone())),
            ResultTy::Named(name) => match self.record_type(name) {
                Some(fields) => Ok(named(fields)),
                None => Err(self.no_type(name)),
            },
        }
    }

    /// The type of a record whose name is near.
    pub(super) fn type_near(&self, name: &Name) -> Option<String> {
        let known = self.names[name.span.file as usize].types.keys().map(String::as_str);
        near(&name.text, known).map(str::to_string)
    }

    fn no_type(&mut self, name: &Name) -> Reported {
        let diagnostic =
            Diagnostic::error(codes::UNKNOWN_ELEM, name.span, format!("no type of a record `{}`", name.text));
        self.say(match self.type_near(name) {
            Some(near) => diagnostic.fix(name.span, near),
            None if elem_of(&name.text).is_some() => {
                diagnostic.help("a tensor lists its axes").fix(name.span, format!("{}[]", name.text))
            }
            None => diagnostic.help(format!("declare it: `type {} = (a: f32[..], b: f32[..])`", name.text)),
        })
    }

    /// The results that a signature declares; none where it says nothing, or what there is not.
    pub(super) fn results_of(&mut self, callable: &Callable) -> Vec<(Option<Name>, Ty)> {
        let declared = callable.result.as_ref().map(|result| self.result_types(result));
        declared.and_then(Result::ok).unwrap_or_default()
    }

    /// An argument that is a record: each field is bound as a tensor is.
    pub(super) fn record_argument(
        &mut self,
        scope: &mut Scope,
        (inner, own): (&mut Scope, &mut BTreeMap<String, AxisId>),
        (callable, declared, fields): (&Callable, &Declared, &Fields),
        (call, i): (&Call, usize),
        span: Span,
    ) -> Checked<Val> {
        let name = &declared.name;
        let (val, at) = self.argument(scope, call, i, &name.text, span)?;
        let found = match val {
            Val::Record(found) => found,
            Val::Error => return Err(Reported),
            _ => {
                let names: Vec<&str> = fields.iter().map(|(field, _)| field.text.as_str()).collect();
                let message = format!("argument `{}` is a record of {}", name.text, names.join(", "));
                let diagnostic = Diagnostic::error(codes::TYPE, at, message).also(name.span, "declared here");
                return Err(self.say(diagnostic.help(format!("name the fields: `({}: .., ..)`", names[0]))));
            }
        };
        let mut taken = Vec::new();
        let mut failed = false;
        for (field, ty) in fields {
            let dotted = Name { text: format!("{}.{}", name.text, field.text), span: field.span };
            let node = self.field_of(&found, field, &format!("argument `{}`", name.text), at).and_then(|val| {
                let elem = self.elem(ty)?;
                let node = self.as_tensor(&val, elem, at)?;
                if self.ty(node).elem != elem {
                    let found = self.ty(node).elem;
                    return Err(self.wrong_elem(&format!("argument `{}`", dotted.text), elem, found, at));
                }
                let axes = self.ty(node).axes.clone();
                self.bind_axes(scope, (&mut *inner, &mut *own), (callable, &dotted, ty), &axes, at)?;
                Ok(node)
            });
            match node {
                Ok(node) => taken.push((field.text.clone(), Val::Tensor(node))),
                Err(Reported) => failed = true,
            }
        }
        if failed { Err(Reported) } else { Ok(Val::Record(taken)) }
    }

    /// A field of a record that must have it.
    fn field_of(&mut self, found: &[(String, Val)], field: &Name, what: &str, at: Span) -> Checked<Val> {
        match found.iter().find(|(name, _)| *name == field.text) {
            Some((_, Val::Error)) => Err(Reported),
            Some((_, val)) => Ok(val.clone()),
            None => {
                let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
                let message = format!("{what} lacks the field `{}`; it has {}", field.text, names.join(", "));
                Err(self.say(Diagnostic::error(codes::FIELD, at, message).also(field.span, "declared here")))
            }
        }
    }

    /// The first values of what a carry is made of: of a record each field, with the type that is declared for it.
    pub(super) fn carried_fields(
        &mut self,
        name: &Name,
        val: Val,
        declared: Option<Vec<(Option<Name>, Ty)>>,
    ) -> Checked<Vec<First>> {
        match (val, declared) {
            (val, Some(declared)) if declared.len() == 1 && declared[0].0.is_none() => {
                Ok(declared.into_iter().map(|(_, ty)| (None, val.clone(), Some(ty))).collect())
            }
            (val, Some(declared)) => {
                let field = |(field, ty): (Option<Name>, Ty)| {
                    let field = field.ok_or(Reported)?;
                    let val = match &val {
                        Val::Record(found) => {
                            self.field_of(found, &field, &format!("carry `{}`", name.text), name.span)?
                        }
                        // One number for all.
                        val => val.clone(),
                    };
                    Ok((Some(field.text), val, Some(ty)))
                };
                declared.into_iter().map(field).collect()
            }
            (Val::Record(fields), None) => {
                Ok(fields.into_iter().map(|(field, val)| (Some(field), val, None)).collect())
            }
            (val, None) => Ok(vec![(None, val, None)]),
        }
    }

    /// What `next` says of a carry, or of each field of one.
    pub(super) fn next_fields(&mut self, val: &Val, carries: &[Carry], span: Span) -> Checked<Vec<Val>> {
        let field = |carry: &Carry| match (&carry.field, val) {
            (Some(field), Val::Record(found)) => {
                let (what, field) = (format!("what `{}` becomes", carry.name.text), field.clone());
                self.field_of(found, &Name { text: field, span: carry.name.span }, &what, span)
            }
            (Some(_), Val::Error) => Err(Reported),
            (Some(_), _) => {
                let names: Vec<&str> = carries.iter().filter_map(|c| c.field.as_deref()).collect();
                let message = format!("carry `{}` is a record of {}", carry.name.text, names.join(", "));
                Err(self.say(Diagnostic::error(codes::TYPE, span, message)))
            }
            (None, val) => Ok(val.clone()),
        };
        carries.iter().map(field).collect()
    }
}

/// Values of carries by their names: those of one record are a record.
pub(super) fn by_name(carries: &[Carry], vals: impl IntoIterator<Item = Val>) -> Vec<(Name, Val)> {
    let mut all: Vec<(Name, Val)> = Vec::new();
    for (carry, val) in carries.iter().zip(vals) {
        match (&carry.field, all.last_mut()) {
            (None, _) => all.push((carry.name.clone(), val)),
            (Some(field), Some((name, Val::Record(fields)))) if *name == carry.name => {
                fields.push((field.clone(), val))
            }
            (Some(field), _) => all.push((carry.name.clone(), Val::Record(vec![(field.clone(), val)]))),
        }
    }
    all
}

/// As [`by_name`], of nodes.
pub(super) fn nodes_by_name(carries: &[Carry], nodes: &[NodeId]) -> Vec<(Name, Val)> {
    by_name(carries, nodes.iter().map(|node| Val::Tensor(*node)))
}

/// The carries of each name, one after the other.
pub(super) fn groups(carries: &[Carry]) -> Vec<&[Carry]> {
    carries.chunk_by(|a, b| a.field.is_some() && a.name == b.name).collect()
}
