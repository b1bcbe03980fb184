//! Models, networks and their entries.

use super::choice::KINDS;
use super::records::{Tensors, field_at, nested};
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{Entry, Kind, NodeId, Tensor, Type};
use crate::size::Size;
use crate::syntax::{Callable, Declared, DeclaredAs, Expr, Name, Network, Ty};

/// What a file builds.
pub(crate) enum Top<'s> {
    Model(&'s Callable),
    Network(&'s Network),
}

impl Top<'_> {
    pub fn name(&self) -> &Name {
        match self {
            Self::Model(callable) => &callable.name,
            Self::Network(network) => &network.name,
        }
    }
}

impl<'s> Checker<'s> {
    pub fn top(&mut self, top: &Top<'s>) {
        self.program.name = top.name().text.clone();
        match top {
            Top::Model(model) => {
                self.add_doc(&model.doc);
                let mut scope = self.fresh_scope();
                let _ = self.entry(&mut scope, model);
            }
            Top::Network(network) => {
                self.add_doc(&network.doc);
                self.declare_axes(network.axes.iter(), &[]);
                for (i, entry) in network.entries.iter().enumerate() {
                    if let Some(first) = network.entries[..i].iter().find(|e| e.name.text == entry.name.text) {
                        self.twice(&entry.name, first.name.span);
                    }
                    let mut scope = self.fresh_scope();
                    self.start();
                    for statement in &network.statements {
                        let _ = self.statement(&mut scope, statement);
                    }
                    // What the network declares is for its entries to use or not.
                    scope.values.iter_mut().flat_map(|v| v.values_mut()).for_each(|b| b.used = true);
                    scope.values.push(Default::default());
                    let _ = self.continue_entry(&mut scope, entry);
                }
                if network.entries.is_empty() {
                    let message = "a network has at least one `entry`";
                    self.say(Diagnostic::error(codes::NO_MODEL, network.name.span, message));
                }
            }
        }
    }

    fn add_doc(&mut self, doc: &str) {
        if self.program.doc.is_empty() {
            self.program.doc = doc.to_string();
        }
    }

    fn start(&mut self) {
        self.nodes.clear();
        self.next_states.clear();
        self.copies = 0;
        self.loops.clear();
        self.gained.clear();
        self.experts.clear();
        self.sent.clear();
        self.chosen.clear();
        self.widened.clear();
    }

    fn entry(&mut self, scope: &mut Scope, callable: &'s Callable) -> Checked<()> {
        self.start();
        self.continue_entry(scope, callable)
    }

    fn continue_entry(&mut self, scope: &mut Scope, callable: &'s Callable) -> Checked<()> {
        let mut inputs = Vec::new();
        let mut failed = false;
        if let Some((name, _)) = callable.sizes.first() {
            let message = format!("nobody calls `{}` with the size of an axis", callable.name.text);
            let help = format!("declare it in the file: `axis {} = 64`", name.text);
            self.say(Diagnostic::error(codes::ARGUMENTS, name.span, message).help(help));
            failed = true;
        }
        for Declared { name, is, default } in &callable.args {
            if let Some(fields) = self.record_declared(is) {
                match fields.and_then(|fields| self.record_input(scope, (name, default.as_ref()), fields, &mut inputs))
                {
                    Ok(val) => drop(scope.bind(&name.text, val, 0, name.span)),
                    Err(Reported) => {
                        scope.bind(&name.text, Val::Error, 0, name.span);
                        failed = true;
                    }
                }
                continue;
            }
            let tensor = match is {
                DeclaredAs::Tensor(ty) => self.boundary(scope, &name.text, ty).and_then(|tensor| {
                    let default = default.as_ref().map(|expr| self.scalar(name, ty, expr)).transpose()?;
                    Ok(Tensor { default, ..tensor })
                }),
                DeclaredAs::Known(kind) if !KINDS.contains(&kind.text.as_str()) => Err(self.wrong_kind(name, kind)),
                DeclaredAs::Record(_) | DeclaredAs::Block | DeclaredAs::Known(_) => {
                    let (is, help) = match is {
                        DeclaredAs::Block => ("a block", "call the block by its name"),
                        _ => ("known when building", "declare it in the file: `const .. = ..`"),
                    };
                    let message = format!("`{}` takes tensors only: `{}` is {is}", callable.name.text, name.text);
                    Err(self.say(Diagnostic::error(codes::ARGUMENTS, name.span, message).help(help)))
                }
            };
            let Ok(tensor) = tensor else {
                scope.bind(&name.text, Val::Error, 0, name.span);
                failed = true;
                continue;
            };
            match self.input(name, tensor, &mut inputs) {
                Ok(node) => drop(scope.bind(&name.text, Val::Tensor(node), 0, name.span)),
                Err(Reported) => {
                    scope.bind(&name.text, Val::Error, 0, name.span);
                    failed = true;
                }
            }
        }
        let val = self.body(scope, &callable.body.statements, callable.body.value.as_deref(), callable.body.span);
        if failed {
            return Err(Reported);
        }
        let val = val?;
        self.warn_of_unused(scope);
        let (outputs, results) = self.outputs(scope, callable, &val)?;
        let used: Vec<usize> =
            self.nodes.iter().filter_map(|n| if let Kind::Param(id) = n.kind { Some(id) } else { None }).collect();
        self.mark_used(used.into_iter());
        let entry = Entry {
            name: callable.name.text.clone(),
            inputs,
            outputs,
            nodes: std::mem::take(&mut self.nodes),
            results,
            next_states: std::mem::take(&mut self.next_states)
                .into_iter()
                .map(|next| (next.state, next.node))
                .collect(),
            span: callable.span,
        };
        self.program.entries.push(entry);
        Ok(())
    }

    fn input(&mut self, name: &Name, tensor: Tensor, inputs: &mut Vec<Tensor>) -> Checked<NodeId> {
        if let Some(first) = inputs.iter().find(|input| input.name == tensor.name) {
            let first = first.span;
            return Err(self.twice(name, first));
        }
        inputs.push(tensor);
        let (number, tensor) = (inputs.len() - 1, &inputs[inputs.len() - 1]);
        self.push(Kind::Input(number), tensor.elem, tensor.order.clone(), name.span)
    }

    /// An input that is a record: its fields are inputs under their own names.
    fn record_input(
        &mut self,
        scope: &mut Scope,
        (name, default): (&Name, Option<&Expr>),
        fields: Tensors,
        inputs: &mut Vec<Tensor>,
    ) -> Checked<Val> {
        if let Some(default) = default {
            let message = format!("only a scalar has a default: `{}` is a record", name.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, default.span, message)));
        }
        let mut field = |(field, ty): (Name, Ty)| {
            let tensor = self.boundary(scope, &field.text, &ty)?;
            Ok((field.text.clone(), Val::Tensor(self.input(&field, tensor, inputs)?)))
        };
        let fields: Vec<Checked<(String, Val)>> = fields.into_iter().map(&mut field).collect();
        fields.into_iter().collect::<Checked<_>>().map(|fields| Val::Record(nested(fields)))
    }

    /// An input or output: axes that nobody declared have a size that is bound when the model runs.
    fn boundary(&mut self, scope: &mut Scope, name: &str, ty: &Ty) -> Checked<Tensor> {
        for axis in &ty.axes {
            if !scope.axes.contains_key(&axis.text) && !axis.text.ends_with('\'') {
                let size: Size = self.symbol(&axis.text, None);
                let id = self.axis_id(&axis.text, size, axis.span);
                scope.axes.insert(axis.text.clone(), id);
                self.names[self.here].axes.entry(axis.text.clone()).or_insert(id);
            }
        }
        if ty.rest {
            let message = "an input or output names all its axes";
            return Err(self.say(Diagnostic::error(codes::AXES, ty.span, message)));
        }
        let (elem, order) = self.written(scope, ty)?;
        Ok(Tensor { name: name.to_string(), elem, order, default: None, doc: String::new(), span: ty.span })
    }

    fn outputs(&mut self, scope: &mut Scope, callable: &Callable, val: &Val) -> Checked<(Vec<Tensor>, Vec<NodeId>)> {
        let span = callable.body.value.as_ref().map_or(callable.body.span, |v| v.span);
        let result = callable.result.as_ref().map(|result| self.result_types(result)).transpose()?;
        let Some(result) = result else {
            let message = format!("`{}` does not say what it gives: `-> f32[..]`", callable.name.text);
            return Err(self.say(Diagnostic::error(codes::RESULT, callable.name.span, message)));
        };
        let mut tensors = Vec::new();
        let mut results = Vec::new();
        for (name, ty) in &result {
            let label = name.as_ref().map_or("y", |n| n.text.as_str());
            let value = match (name, val) {
                (Some(name), Val::Record(fields)) => match field_at(fields, &name.text) {
                    Some(val) => val.clone(),
                    None => {
                        let message = format!("the result lacks `{}`", name.text);
                        return Err(self.say(Diagnostic::error(codes::RESULT, span, message)));
                    }
                },
                (Some(_), val) if result.len() == 1 => val.clone(),
                (Some(_), _) => {
                    let message = "several outputs are a record: `(a: .., b: ..)`";
                    return Err(self.say(Diagnostic::error(codes::RESULT, span, message)));
                }
                (None, val) => val.clone(),
            };
            let tensor = self.boundary(scope, label, ty)?;
            let mut axes = tensor.order.clone();
            axes.sort();
            let want = Type { elem: tensor.elem, axes };
            let node = self.as_tensor(&value, tensor.elem, span)?;
            let node = self.fit(node, &want, &format!("output `{label}`"), span)?;
            tensors.push(tensor);
            results.push(node);
        }
        if let Val::Record(fields) = val {
            self.only_fields(callable, fields)?;
        }
        Ok((tensors, results))
    }
}
