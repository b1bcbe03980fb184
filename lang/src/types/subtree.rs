//! Parameters of a subtree as one value: `params("enc.*")`, which `dot`, `norm` and reductions fold.

use super::scope::Scope;
use super::{Checked, Checker, Reported, Val, is_float};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::{Binary, Elem, Kind, NodeId, Reduce, Span, Unary};
use crate::syntax::{Argument, Call, Expr, ExprKind};

/// A parameter of a set: what stands for the `*` in its name, and its number.
pub(crate) type Member = (String, usize);

impl Checker<'_> {
    /// `params("enc.*")`: those that are declared before this place.
    pub(super) fn subtree(&mut self, call: &Call, span: Span) -> Checked<Val> {
        let [Argument::Expr(Expr { kind: ExprKind::Text(pattern), span: at })] = call.args.as_slice() else {
            let message = "`params` takes a pattern of names in quotes: `params(\"encoder.*\")`";
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        };
        let (first, last) = pattern.split_once('*').unwrap_or((pattern, ""));
        if last.contains('*') {
            let message = "a pattern has one `*`, which stands for any piece of a name";
            return Err(self.say(Diagnostic::error(codes::PARAM_SET, *at, message)));
        }
        let exact = !pattern.contains('*');
        let piece = |path: &String| match exact {
            true => (path == pattern).then(String::new),
            false => Some(path.strip_prefix(first)?.strip_suffix(last)?.to_string()),
        };
        let mut members: Vec<Member> = self.trained().filter_map(|(path, id)| Some((piece(path)?, id))).collect();
        members.sort();
        if members.is_empty() {
            let message = format!("no parameter `{pattern}` is declared before this place");
            let parts = |path: &String| path.rsplit_once('.').map(|(instance, _)| format!("{instance}.*"));
            let known: Vec<String> = match exact {
                true => self.trained().map(|(path, _)| path.clone()).collect(),
                false => self.trained().filter_map(|(path, _)| parts(path)).collect(),
            };
            let mut diagnostic = Diagnostic::error(codes::PARAM_SET, *at, message);
            if let Some(near) = near(pattern, known.iter().map(String::as_str)) {
                diagnostic = diagnostic.help(format!("did you mean \"{near}\"?"));
            }
            return Err(self.say(diagnostic));
        }
        for (_, id) in &members {
            let tensor = &self.program.params[*id].tensor;
            if !is_float(tensor.elem) {
                let message = format!("`{}` is {}: sets are of floats", tensor.name, tensor.elem.name());
                return Err(self.say(Diagnostic::error(codes::PARAM_SET, *at, message)));
            }
        }
        Ok(Val::Params(members))
    }

    /// Names and numbers of the parameters that are no buffers.
    fn trained(&self) -> impl Iterator<Item = (&String, usize)> {
        let is_buffer = |id: usize| self.program.params[id].buffer.is_some();
        self.param_ids.iter().map(|(path, id)| (path, *id)).filter(move |(_, id)| !is_buffer(*id))
    }

    /// `dot(a, b)`: the sum of all products of parameters that correspond.
    pub(super) fn dot(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 2, &["a", "b"], span)?;
        let (a, b) = (self.set(scope, call, 0, "a", span), self.set(scope, call, 1, "b", span));
        let (a, b) = (a?, b?);
        self.dot_of(&a, &b, span).map(Val::Tensor)
    }

    /// `norm(p)`: the root of the sum of all squares. `norm(p, 1)`: the sum of all absolute values, `norm(p, inf)`: the largest of them.
    pub(super) fn norm_of_set(&mut self, scope: &mut Scope, call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 2, &["p", "order"], span)?;
        let set = self.set(scope, call, 0, "p", span)?;
        let order = match self.optional(scope, call, 1, "order")? {
            Some((order, at)) => (self.as_number(&order, "the order of a norm", at)?, at),
            None => (2.0, span),
        };
        let norm = match order.0 {
            1.0 => self.folded(Reduce::Sum, &set, Some(Unary::Abs), span)?,
            f64::INFINITY => self.folded(Reduce::Max, &set, Some(Unary::Abs), span)?,
            2.0 => {
                let square = self.dot_of(&set, &set, span)?;
                self.push(Kind::Unary(Unary::Sqrt, square), Elem::F32, Vec::new(), span)?
            }
            other => {
                let message = format!("norms of a set are of order 1, 2 and inf, not {other}");
                return Err(self.say(Diagnostic::error(codes::PARAM_SET, order.1, message)));
            }
        };
        Ok(Val::Tensor(norm))
    }

    /// `sum(p)`, `max(p)`: the elements of a set, folded as those of one tensor.
    pub(super) fn fold_of_set(&mut self, with: Reduce, set: &[Member], call: &Call, span: Span) -> Checked<Val> {
        self.only(call, 1, &["x"], span)?;
        if !matches!(with, Reduce::Sum | Reduce::Mean | Reduce::Max | Reduce::Min | Reduce::Prod) {
            let message = format!("`{}` folds no set of parameters", call.callee.text);
            let help = "there are sum, mean, max, min, prod, norm and dot";
            return Err(self.say(Diagnostic::error(codes::PARAM_SET, span, message).help(help)));
        }
        if with != Reduce::Mean {
            return self.folded(with, set, None, span).map(Val::Tensor);
        }
        let sum = self.folded(Reduce::Sum, set, None, span)?;
        let count = |this: &Self, id: usize| -> i64 {
            let order = &this.program.params[id].tensor.order;
            order.iter().map(|axis| this.size(*axis).as_known().unwrap_or(1)).product()
        };
        let count: i64 = set.iter().map(|(_, id)| count(self, *id)).sum();
        let count = self.push(Kind::Number(count as f64), Elem::F32, Vec::new(), span)?;
        self.tensor(Kind::Binary(Binary::Div, sum, count), Elem::F32, Vec::new(), span)
    }

    /// All elements of a set, or what a function makes of each, folded.
    fn folded(&mut self, with: Reduce, set: &[Member], each: Option<Unary>, span: Span) -> Checked<NodeId> {
        let join = match with {
            Reduce::Max => Binary::Max,
            Reduce::Min => Binary::Min,
            Reduce::Prod => Binary::Mul,
            _ => Binary::Add,
        };
        let mut all: Option<NodeId> = None;
        for (_, id) in set {
            let mut x = self.whole_param(*id, span)?;
            let over = self.ty(x).axes.clone();
            if let Some(f) = each {
                x = self.push(Kind::Unary(f, x), Elem::F32, over.clone(), span)?;
            }
            if !over.is_empty() {
                x = self.push(Kind::Reduce { with, over, x }, Elem::F32, Vec::new(), span)?;
            }
            all = Some(match all {
                Some(all) => self.push(Kind::Binary(join, all, x), Elem::F32, Vec::new(), span)?,
                None => x,
            });
        }
        all.ok_or(Reported)
    }

    fn set(&mut self, scope: &mut Scope, call: &Call, i: usize, name: &str, span: Span) -> Checked<Vec<Member>> {
        match self.argument(scope, call, i, name, span)? {
            (Val::Params(members), _) => Ok(members),
            (Val::Error, _) => Err(Reported),
            (_, at) => {
                let message = format!("`{}` folds a set of parameters: `params(\"encoder.*\")`", call.callee.text);
                let help = "a sum of products of tensors is `@`";
                Err(self.say(Diagnostic::error(codes::PARAM_SET, at, message).help(help)))
            }
        }
    }

    fn dot_of(&mut self, a: &[Member], b: &[Member], span: Span) -> Checked<NodeId> {
        let mut sum: Option<NodeId> = None;
        let unlike = a.iter().map(|m| &m.0).zip(b.iter().map(|m| &m.0)).find(|(a, b)| a != b);
        if let Some((name, other)) = unlike.map(|(a, b)| (a.clone(), b.clone())) {
            let message = format!("the sets differ: `{name}` in one, `{other}` in the other");
            return Err(self.say(Diagnostic::error(codes::PARAM_SET, span, message)));
        }
        if a.len() != b.len() {
            let message = format!("the sets differ: {} parameters in one, {} in the other", a.len(), b.len());
            return Err(self.say(Diagnostic::error(codes::PARAM_SET, span, message)));
        }
        for ((name, a), (_, b)) in a.iter().zip(b) {
            let (a, b) = (self.whole_param(*a, span)?, self.whole_param(*b, span)?);
            if self.ty(a) != self.ty(b) {
                let (a, b) = self.show_both(self.ty(a), self.ty(b));
                let message = format!("the sets differ: `{name}` is {a} in one, {b} in the other");
                return Err(self.say(Diagnostic::error(codes::PARAM_SET, span, message)));
            }
            let over = self.ty(a).axes.clone();
            let kind = if over.is_empty() { Kind::Binary(Binary::Mul, a, b) } else { Kind::Contract { over, a, b } };
            let product = self.push(kind, Elem::F32, Vec::new(), span)?;
            sum = Some(match sum {
                Some(sum) => self.push(Kind::Binary(Binary::Add, sum, product), Elem::F32, Vec::new(), span)?,
                None => product,
            });
        }
        sum.ok_or(Reported)
    }

    /// A parameter with all its axes, those of layers and experts, too, as f32.
    fn whole_param(&mut self, id: usize, span: Span) -> Checked<NodeId> {
        let (elem, axes) = (self.program.params[id].tensor.elem, self.program.params[id].tensor.order.clone());
        let param = self.push(Kind::Param(id), elem, axes.clone(), span)?;
        if elem == Elem::F32 { Ok(param) } else { self.push(Kind::Cast(param), Elem::F32, axes, span) }
    }
}
