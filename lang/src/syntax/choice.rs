//! `if`, `match` and `for`: what is decided when building.

use super::parse::{P, Parts, Rule, Tree};
use super::{Body, Copies, Expr, ExprKind, For, If, Match};

impl Tree<'_> {
    pub(super) fn choice(&self, pair: P) -> ExprKind {
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        match rule {
            Rule::if_ => {
                let mut sides = vec![(self.expr(parts.next()), self.body(parts.next()))];
                for side in parts.all(Rule::else_if) {
                    let mut parts = Parts::of(side);
                    sides.push((self.expr(parts.next()), self.body(parts.next())));
                }
                ExprKind::If(Box::new(If { sides, otherwise: parts.take(Rule::body).map(|p| self.body(p)) }))
            }
            Rule::match_ => {
                let value = self.expr(parts.next());
                let arms = parts.all(Rule::case).into_iter().map(|p| self.case(p)).collect();
                ExprKind::Match(Box::new(Match { value, arms }))
            }
            _ => {
                let name = self.name(parts.next());
                let over = parts.next();
                let over = match over.as_rule() {
                    Rule::names => Copies::Names(over.into_inner().map(|p| self.name(p)).collect()),
                    _ => Copies::Count(Box::new(self.expr(over))),
                };
                ExprKind::For(Box::new(For { name, over, body: self.body(parts.next()) }))
            }
        }
    }

    fn case(&self, pair: P) -> (Vec<Expr>, Body) {
        let mut parts = Parts::of(pair);
        let _ = parts.take(Rule::other);
        let patterns = parts.all(Rule::pattern_of).into_iter().map(|p| self.primary(Parts::of(p).next())).collect();
        let value = parts.next();
        let body = match value.as_rule() {
            Rule::body => self.body(value),
            _ => Body::of(self.expr(value)),
        };
        (patterns, body)
    }
}
