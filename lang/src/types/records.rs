//! Records as arguments, results, inputs and carries: tensors under one name. A block takes the fields that it names; what else a record
//! has stays behind.

use std::collections::BTreeMap;

use super::carry::Carry;
use super::scope::Scope;
use super::{Checked, Checker, MAX_CALLS, Reported, Val, elem_of};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{AxisId, NodeId, Span};
use crate::syntax::{Call, Callable, Declared, DeclaredAs, Fields, Name, ResultTy, Ty};

/// The tensors of a record, those of records in it with a dot between the names.
pub(super) type Tensors = Vec<(Name, Ty)>;

/// Types of records in types of records could be any number.
const MOST_TENSORS: usize = 1000;

/// What a carry, or a field of it, begins with: the field, the value, the type that is declared.
type First = (Option<String>, Val, Option<Ty>);

impl Checker<'_> {
    /// The fields of a type by its name in the file that says it.
    fn record_type(&self, name: &Name) -> Option<Fields> {
        let types = &self.names[name.span.file as usize].types;
        types.get(&name.text).map(|ty| ty.fields.clone())
    }

    /// The tensors of an argument that is a record.
    pub(super) fn record_declared(&mut self, is: &DeclaredAs) -> Option<Checked<Tensors>> {
        let fields = match is {
            DeclaredAs::Record(fields) => fields.clone(),
            DeclaredAs::Known(name) => self.record_type(name)?,
            DeclaredAs::Tensor(_) | DeclaredAs::Block => return None,
        };
        Some(self.tensors_of(&fields))
    }

    /// The tensors of a record's type.
    fn tensors_of(&mut self, fields: &Fields) -> Checked<Tensors> {
        let mut tensors = Tensors::new();
        self.add_tensors(fields, None, &mut tensors)?;
        Ok(tensors)
    }

    fn add_tensors(&mut self, fields: &Fields, within: Option<&str>, tensors: &mut Tensors) -> Checked<()> {
        for (name, ty) in fields {
            let text = within.map_or_else(|| name.text.clone(), |within| format!("{within}.{}", name.text));
            let field = Name { text, span: name.span };
            match ty {
                ResultTy::One(_) if tensors.len() >= MOST_TENSORS => {
                    let message = format!("a record has at most {MOST_TENSORS} tensors");
                    return Err(self.say(Diagnostic::error(codes::TYPE, name.span, message)));
                }
                ResultTy::One(ty) => tensors.push((field, ty.clone())),
                ResultTy::Record(fields) => self.add_tensors(fields, Some(&field.text), tensors)?,
                ResultTy::Named(of) => {
                    let Some(fields) = self.record_type(of) else { return Err(self.no_type(of)) };
                    if self.calling.contains(&of.span) || self.calling.len() >= MAX_CALLS {
                        let message = format!("the type `{}` is made of itself", of.text);
                        return Err(self.say(Diagnostic::error(codes::RECURSION, of.span, message)));
                    }
                    self.calling.push(of.span);
                    let added = self.add_tensors(&fields, Some(&field.text), tensors);
                    self.calling.pop();
                    added?;
                }
            }
        }
        Ok(())
    }

    /// What a signature or a carry says: a type without a name, or one for each field.
    pub(super) fn result_types(&mut self, ty: &ResultTy) -> Checked<Vec<(Option<Name>, Ty)>> {
        let fields = match ty {
            ResultTy::One(ty) => return Ok(vec![(None, ty.clone())]),
            ResultTy::Record(fields) => fields.clone(),
            ResultTy::Named(name) => match self.record_type(name) {
                Some(fields) => fields,
                None => return Err(self.no_type(name)),
            },
        };
        Ok(self.tensors_of(&fields)?.into_iter().map(|(name, ty)| (Some(name), ty)).collect())
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
        (callable, declared, fields): (&Callable, &Declared, &Tensors),
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
        if failed { Err(Reported) } else { Ok(Val::Record(nested(taken))) }
    }

    /// What `f` makes of arms' values: of records, of each field. A number stands for all fields.
    pub(super) fn by_field(
        &mut self,
        vals: &[Val],
        span: Span,
        f: &mut dyn FnMut(&mut Self, &[Val]) -> Checked<Val>,
    ) -> Checked<Val> {
        let first = vals.iter().find_map(|val| if let Val::Record(fields) = val { Some(fields) } else { None });
        let Some(first) = first else { return f(self, vals) };
        let field = |val: &Val, name: &str| match val {
            Val::Record(fields) if fields.len() == first.len() => {
                fields.iter().find(|(n, _)| n == name).map(|(_, val)| val.clone())
            }
            Val::Number(_) => Some(val.clone()),
            _ => None,
        };
        let mut fields = Vec::new();
        for (name, _) in first {
            let Some(all) = vals.iter().map(|val| field(val, name)).collect::<Option<Vec<Val>>>() else {
                let message = "arms give one type: these are not records of the same fields";
                return Err(self.say(Diagnostic::error(codes::TYPE, span, message)));
            };
            fields.push((name.clone(), self.by_field(&all, span, f)?));
        }
        Ok(Val::Record(fields))
    }

    /// A field of a record that must have it.
    fn field_of(&mut self, found: &[(String, Val)], field: &Name, what: &str, at: Span) -> Checked<Val> {
        match field_at(found, &field.text) {
            Some(Val::Error) => Err(Reported),
            Some(val) => Ok(val.clone()),
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
                Ok(flat(fields).into_iter().map(|(field, val)| (Some(field), val, None)).collect())
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
    let nest = |val| if let Val::Record(fields) = val { Val::Record(nested(fields)) } else { val };
    all.into_iter().map(|(name, val)| (name, nest(val))).collect()
}

/// The fields of a record, those of records in it with a dot between the names.
pub(super) fn flat(fields: Vec<(String, Val)>) -> Vec<(String, Val)> {
    let each = |(name, val)| match val {
        Val::Record(fields) => flat(fields).into_iter().map(|(field, val)| (format!("{name}.{field}"), val)).collect(),
        val => vec![(name, val)],
    };
    fields.into_iter().flat_map(each).collect()
}

/// Fields with dots in their names as records in the record; neighbours are of one.
pub(super) fn nested(fields: Vec<(String, Val)>) -> Vec<(String, Val)> {
    let mut all: Vec<(String, Val)> = Vec::new();
    for (name, val) in fields {
        let Some((first, rest)) = name.split_once('.') else {
            all.push((name, val));
            continue;
        };
        let rest = (rest.to_string(), val);
        match all.last_mut() {
            Some((before, Val::Record(fields))) if before == first => fields.push(rest),
            _ => all.push((first.to_string(), Val::Record(vec![rest]))),
        }
    }
    let nest = |val| if let Val::Record(fields) = val { Val::Record(nested(fields)) } else { val };
    all.into_iter().map(|(name, val)| (name, nest(val))).collect()
}

/// The field of that name, in a record of the record where it has dots.
pub(super) fn field_at<'v>(fields: &'v [(String, Val)], name: &str) -> Option<&'v Val> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let (_, val) = fields.iter().find(|(field, _)| field == first)?;
    match (rest, val) {
        (None, val) => Some(val),
        (Some(rest), Val::Record(fields)) => field_at(fields, rest),
        (Some(_), _) => None,
    }
}

/// As [`by_name`], of nodes.
pub(super) fn nodes_by_name(carries: &[Carry], nodes: &[NodeId]) -> Vec<(Name, Val)> {
    by_name(carries, nodes.iter().map(|node| Val::Tensor(*node)))
}

/// The carries of each name, one after the other.
pub(super) fn groups(carries: &[Carry]) -> Vec<&[Carry]> {
    carries.chunk_by(|a, b| a.field.is_some() && a.name == b.name).collect()
}
