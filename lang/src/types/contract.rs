//! `a @ b`: sums of products over axes that both have.

use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Elem, Kind, Span};
use crate::syntax::{Expr, Name};

impl Checker<'_> {
    pub fn contract(
        &mut self,
        scope: &mut Scope,
        axes: Option<&[Name]>,
        a: &Expr,
        b: &Expr,
        span: Span,
    ) -> Checked<Val> {
        let (left, right) = (self.expr(scope, a), self.expr(scope, b));
        let (left, right) = (self.as_tensor(&left?, Elem::F32, a.span), self.as_tensor(&right?, Elem::F32, b.span));
        let (left, right) = (left?, right?);
        self.same_elem(left, right, span)?;
        let shared: Vec<AxisId> =
            self.ty(left).axes.iter().copied().filter(|x| self.has(right, *x) && !self.experts.contains(x)).collect();
        let over = match axes {
            None => match shared.as_slice() {
                [one] => vec![*one],
                _ => return Err(self.not_one(&shared, left, right, (a, b), span)),
            },
            Some(names) => {
                let mut over = Vec::new();
                for name in names {
                    for node in [left, right] {
                        let ty = self.ty(node).clone();
                        let axis = self.axis_of(scope, name, &ty)?;
                        if !over.contains(&axis) {
                            over.push(axis);
                        }
                    }
                }
                if let Some(axis) = over.iter().find(|x| !self.has(left, **x) || !self.has(right, **x)) {
                    let (left, right) = self.show_both(self.ty(left), self.ty(right));
                    let name = self.stem(*axis);
                    let message = format!("`{name}` of the two operands are two axes: {left} and {right}");
                    return Err(self.say(Diagnostic::error(codes::SIZES, span, message)));
                }
                over
            }
        };
        let elem = self.ty(left).elem;
        let mut result = self.axes_without(left, &over);
        result.extend(self.axes_without(right, &over));
        self.tensor(Kind::Contract { over, a: left, b: right }, elem, result, span)
    }

    fn not_one(
        &mut self,
        shared: &[AxisId],
        left: crate::program::NodeId,
        right: crate::program::NodeId,
        (a, b): (&Expr, &Expr),
        span: Span,
    ) -> super::Reported {
        let names: Vec<String> = shared.iter().map(|x| self.stem(*x).to_string()).collect();
        let proposal = self.renamed(&self.ty(left).axes, &self.ty(right).axes, a.span);
        let proposal = proposal.unwrap_or_else(|| "`x[a -> b]`".into());
        let (left, right) = self.show_both(self.ty(left), self.ty(right));
        let diagnostic = if names.is_empty() {
            Diagnostic::error(codes::CONTRACT, span, "`@` contracts one axis, but these share none")
                .help(format!("rename an axis so that both have it: {proposal}"))
        } else {
            let list = names.join(", ");
            let ticked: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
            Diagnostic::error(codes::CONTRACT, span, "`@` contracts one axis, but these share several")
                .label(format!("both have {}", ticked.join(" and ")))
                .help(format!("name what is contracted: `a @[{list}] b`"))
        };
        self.say(diagnostic.also(a.span, left).also(b.span, right))
    }
}
