//! Expressions: names, fields, records; the rest is dispatched.

use super::route::{Dispatch, Plan};
use super::scope::Scope;
use super::values::has_number;
use super::{Checked, Checker, MAX_CALLS, Reported, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{Elem, Kind, NodeId, Span};
use crate::syntax::{ConstValue, Expr, ExprKind, Name};

impl Checker<'_> {
    pub fn expr(&mut self, scope: &mut Scope, expr: &Expr) -> Checked<Val> {
        match &expr.kind {
            ExprKind::Number(n) => self.written_number(*n, expr.span),
            ExprKind::Bool(b) => Ok(Val::Bool(*b)),
            ExprKind::Text(name) => Ok(Val::Text(name.clone())),
            ExprKind::Name(name) => self.name(scope, name),
            ExprKind::Unary(f, x) => self.prefix(scope, *f, x, expr.span),
            ExprKind::Binary(f, a, b) => self.infix(scope, *f, a, b, expr.span),
            ExprKind::At { axes, a, b } => self.contract(scope, axes.as_deref(), a, b, expr.span),
            ExprKind::Field(x, name) => self.field(scope, x, name),
            ExprKind::FieldOf(x, name) => {
                let field = self.known_name(scope, name)?;
                self.field(scope, x, &Name { text: field, span: name.span })
            }
            ExprKind::Brackets(x, all) => self.brackets(scope, x, all),
            ExprKind::Record(fields) => {
                let mut record: Vec<(String, Val)> = Vec::new();
                for (name, value) in fields {
                    let val = self.expr(scope, value).unwrap_or(Val::Error);
                    record.push((name.text.clone(), val));
                }
                Ok(Val::Record(record))
            }
            ExprKind::Tuple(_) => {
                let message = "several values in parentheses stand after a loop's `next` only";
                let help = "a record names its values: `(a: .., b: ..)`";
                Err(self.say(Diagnostic::error(codes::TYPE, expr.span, message).help(help)))
            }
            ExprKind::Call(call) => self.call(scope, call, expr.span),
            ExprKind::Scan(scan) => self.scan(scope, scan, expr.span),
            ExprKind::Repeat(repeat) => self.repeat(scope, repeat, expr.span),
            ExprKind::Route(route) => self.route(scope, route, expr.span),
            ExprKind::Choose(choose) => self.choose(scope, choose, expr.span),
            ExprKind::If(choice) => self.chosen_side(scope, choice, expr.span),
            ExprKind::Match(choice) => self.chosen_arm(scope, choice, expr.span),
            ExprKind::For(each) => self.copies(scope, each),
            ExprKind::Last(name) => {
                let message = format!("`last {}` stands in the `yield` of a loop only", name.text);
                Err(self.say(Diagnostic::error(codes::LOOP, expr.span, message)))
            }
        }
    }

    /// A number as it stands in the text. Whole ones are kept exactly, or not at all.
    fn written_number(&mut self, n: f64, span: Span) -> Checked<Val> {
        let text = self.text(span).trim().to_owned();
        self.kept_exactly(&text, span)?;
        Ok(Val::Number(n))
    }

    fn kept_exactly(&mut self, text: &str, span: Span) -> Checked<()> {
        let is_whole = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let near: f64 = text.parse().unwrap_or(f64::NAN);
        if is_whole && text.parse::<u128>().ok() != Some(near as u128) {
            let message = format!("a whole number beyond 2^53 may be off here: {text} would be {near}");
            let help = "a float is written with its point; larger integers come as inputs or parameters";
            return Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, span, message).help(help)));
        }
        Ok(())
    }

    /// The numbers of a table, each one that its type has.
    fn table_of(&mut self, elem: Elem, values: &[f64], span: Span) -> Checked<()> {
        let text = self.text(span).to_owned();
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or(line));
        for number in lines.flat_map(|line| line.split([',', '[', ']', ' ', '-', '\t'])) {
            self.kept_exactly(number, span)?;
        }
        match values.iter().find(|n| !has_number(elem, **n)) {
            Some(n) => {
                let message = format!("the table is of {}, which has no {n}", elem.name());
                Err(self.say(Diagnostic::error(codes::ELEMS, span, message)))
            }
            None => Ok(()),
        }
    }

    fn name(&mut self, scope: &mut Scope, name: &Name) -> Checked<Val> {
        if let Some(binding) = scope.find(&name.text) {
            binding.used = true;
            let (val, depth) = (binding.val.clone(), binding.depth);
            return self.read(&val, depth, name.span);
        }
        if let Some(constant) = self.known().consts.get(&name.text).copied() {
            if self.calling.contains(&constant.name.span) || self.calling.len() >= MAX_CALLS {
                let message = format!("the constant `{}` is made of itself", name.text);
                return Err(self.say(Diagnostic::error(codes::RECURSION, name.span, message)));
            }
            self.calling.push(constant.name.span);
            let val = self.in_file(constant.name.span.file, |this| this.constant(constant));
            self.calling.pop();
            return val;
        }
        let known: Vec<String> = scope.names().map(str::to_string).chain(self.known().consts.keys().cloned()).collect();
        let message = format!("no value `{}` here", name.text);
        let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, name.span, message);
        let diagnostic = match near(&name.text, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.fix(name.span, near),
            None if scope.axes.contains_key(&name.text) => {
                let size = format!("size({})", name.text);
                diagnostic.help(format!("`{}` is an axis; for its size", name.text)).fix(name.span, size)
            }
            None => diagnostic,
        };
        Err(self.say(diagnostic))
    }

    /// A value that was made with `depth` loops around, as it is here: in a loop, its element at the current index.
    pub fn read(&mut self, val: &Val, depth: usize, span: Span) -> Checked<Val> {
        match val {
            Val::Tensor(node) => {
                let mut node = *node;
                for i in depth..self.loops.len() {
                    let axis = self.loops[i].axis;
                    self.not_shadowed(axis, &self.ty(node).axes.clone(), span)?;
                    if self.has(node, axis) {
                        let elem = self.ty(node).elem;
                        let axes = self.axes_without(node, &[axis]);
                        node = self.push(Kind::Item { axis, x: node }, elem, axes, span)?;
                        if let Some(mask) = self.loops[i].mask {
                            node = self.harmless(mask, axis, node, span)?;
                        }
                    }
                }
                Ok(Val::Tensor(node))
            }
            Val::Record(fields) => {
                let mut read = Vec::new();
                for (name, val) in fields {
                    read.push((name.clone(), self.read(val, depth, span)?));
                }
                Ok(Val::Record(read))
            }
            Val::Plan(plan) => {
                let mut node = |id: NodeId| match self.read(&Val::Tensor(id), depth, span)? {
                    Val::Tensor(node) => Ok(node),
                    _ => Err(Reported),
                };
                let weight = node(plan.weight)?;
                let chosen = match plan.chosen {
                    Some((slot, index)) => Some((slot, node(index)?)),
                    None => None,
                };
                let fallback = match plan.fallback {
                    Some((value, at)) => Some((node(value)?, at)),
                    None => None,
                };
                let dispatch = match &plan.dispatch {
                    Some(dispatch) => Some(Dispatch { weight: node(dispatch.weight)?, ..dispatch.clone() }),
                    None => None,
                };
                Ok(Val::Plan(Plan { chosen, weight, fallback, dispatch, ..plan.clone() }))
            }
            Val::Error => Err(Reported),
            other => Ok(other.clone()),
        }
    }

    fn constant(&mut self, constant: &crate::syntax::Const) -> Checked<Val> {
        let mut scope = self.fresh_scope();
        match &constant.value {
            ConstValue::Expr(expr) => self.expr(&mut scope, expr),
            ConstValue::Table { values, extents, span } => {
                let Some(ty) = &constant.ty else {
                    let message = "a table of numbers needs a type: `const taps: f32[k] = [..]`";
                    return Err(self.say(Diagnostic::error(codes::TYPE, *span, message)));
                };
                let (elem, order) = self.written(&scope, ty)?;
                let wanted: Vec<Option<i64>> = order.iter().map(|a| self.size(*a).as_known()).collect();
                let found: Vec<Option<i64>> = extents.iter().map(|n| Some(*n as i64)).collect();
                if wanted != found || values.len() != extents.iter().product::<usize>() {
                    let message = format!("the table does not have the shape of {}", constant.name.text);
                    return Err(self.say(Diagnostic::error(codes::SIZES, *span, message)));
                }
                self.table_of(elem, values, *span)?;
                let kind = Kind::Table { order: order.clone(), values: values.as_slice().into() };
                self.tensor(kind, elem, order, *span)
            }
        }
    }

    fn field(&mut self, scope: &mut Scope, x: &Expr, name: &Name) -> Checked<Val> {
        let val = self.expr(scope, x)?;
        match &val {
            Val::Record(fields) => {
                if let Some((_, val)) = fields.iter().find(|(n, _)| *n == name.text) {
                    return if matches!(val, Val::Error) { Err(Reported) } else { Ok(val.clone()) };
                }
                let names: Vec<&str> = fields.iter().map(|(n, _)| n.as_str()).collect();
                let message = format!("no field `{}`; there are {}", name.text, names.join(", "));
                let mut diagnostic = Diagnostic::error(codes::FIELD, name.span, message);
                if let Some(near) = near(&name.text, names) {
                    diagnostic = diagnostic.fix(name.span, near);
                }
                Err(self.say(diagnostic))
            }
            Val::Plan(plan) => self.plan_field(&plan.clone(), name),
            Val::Part { .. } => self.param_of(&val, name),
            _ => {
                let message = format!("this has no fields, so no `{}`", name.text);
                Err(self.say(Diagnostic::error(codes::FIELD, name.span, message)))
            }
        }
    }
}
