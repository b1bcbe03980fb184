//! Arguments that are blocks: by their names, or with what they are given before they are called.

use super::defaults::given;
use super::scope::Scope;
use super::{Checked, Checker, Reported, Template, Val};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::Span;
use crate::syntax::{Argument, Call, Declared, DeclaredAs, Expr, ExprKind, Name};

impl Checker<'_> {
    /// An argument that is a block: by its name, or one that came in as an argument itself, or a part.
    pub fn block_argument(
        &mut self,
        scope: &mut Scope,
        call: &Call,
        i: usize,
        declared: &Name,
        span: Span,
    ) -> Checked<Val> {
        let Some(expr) = given(call, i, declared) else {
            let message = format!("`{}` lacks its argument `{}`, a block", call.callee.text, declared.text);
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        };
        if let Some(block) = self.block_written(scope, expr) {
            return block;
        }
        let message = format!("argument `{}` of `{}` is a block", declared.text, call.callee.text);
        let mut diagnostic = Diagnostic::error(codes::ARGUMENTS, expr.span, message).help("give the name of one");
        let functions = super::pointwise::UNARY.iter().map(|(name, _)| *name);
        let names: Vec<&str> = self.known().callables.keys().map(String::as_str).chain(functions).collect();
        if let ExprKind::Name(name) = &expr.kind
            && let Some(near) = near(&name.text, names)
        {
            diagnostic = diagnostic.fix(name.span, near);
        }
        Err(self.say(diagnostic))
    }

    /// The block that an expression is: by its name, or `mlp(gelu; h = 64)`, which waits for its other arguments. What it is given here
    /// are blocks and axes.
    fn block_written(&mut self, scope: &mut Scope, expr: &Expr) -> Option<Checked<Val>> {
        let with = match &expr.kind {
            ExprKind::Name(name) => return self.block_named(scope, name).map(Ok),
            ExprKind::Call(with) if with.label.is_none() && with.axes.is_empty() && is_plain(with) => with,
            _ => return None,
        };
        let Val::Block(mut block) = self.block_named(scope, &with.callee)? else { return None };
        for argument in &with.args {
            let Argument::Expr(argument) = argument else { return None };
            if let Err(Reported) = self.takes_block(&block, argument.span) {
                return Some(Err(Reported));
            }
            match self.block_written(scope, argument)? {
                Ok(val) => block.first.push(val),
                Err(Reported) => return Some(Err(Reported)),
            }
        }
        match self.given_sizes(scope, &with.sizes) {
            Ok(sizes) => block.sizes.extend(sizes),
            Err(Reported) => return Some(Err(Reported)),
        }
        Some(Ok(Val::Block(block)))
    }

    /// Is the next argument of a block one that it may be given before it is called?
    fn takes_block(&mut self, block: &Template, at: Span) -> Checked<()> {
        let Some(callable) = self.names[block.file].callables.get(&block.name).copied() else { return Ok(()) };
        match callable.args.get(block.first.len()) {
            Some(Declared { is: DeclaredAs::Block, .. }) => Ok(()),
            Some(Declared { name, .. }) => {
                let message = format!("`{}` gets `{}` when it is called, not here", block.name, name.text);
                let help = "in the place of a block stands its name, with blocks and sizes: `mlp(gelu; h = 16)`";
                Err(self.say(Diagnostic::error(codes::ARGUMENTS, at, message).help(help)))
            }
            None => {
                let message = format!("`{}` takes {} arguments", block.name, callable.args.len());
                Err(self.say(Diagnostic::error(codes::ARGUMENTS, at, message)))
            }
        }
    }

    /// The block, part or function that a name stands for.
    pub fn block_named(&mut self, scope: &mut Scope, name: &Name) -> Option<Val> {
        if let Some(binding) = scope.find(&name.text)
            && let Val::Part { .. } | Val::Block(_) | Val::Function(..) = &binding.val
        {
            binding.used = true;
            return Some(binding.val.clone());
        }
        if self.known().callables.contains_key(&name.text) {
            return Some(Val::Block(Template {
                name: name.text.clone(),
                file: self.here,
                sizes: Vec::new(),
                first: Vec::new(),
            }));
        }
        let (_, f) = super::pointwise::UNARY.iter().find(|(n, _)| *n == name.text)?;
        Some(Val::Function(*f, name.text.clone()))
    }
}

/// Only a call says where parameters stand, and what they are.
fn is_plain(with: &Call) -> bool {
    with.given.is_empty() && with.place.is_none()
}
