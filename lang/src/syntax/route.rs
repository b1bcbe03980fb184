//! Text to syntax tree: routes, and choices for a whole call.

use super::parse::{P, Parts, Tree};
use super::{Arm, Arms, Body, Choose, Expr, ExprKind, Name, Route, Rule};

impl Tree<'_> {
    pub(super) fn route(&self, pair: P) -> Route {
        let mut parts = Parts::of(pair);
        let x = self.expr(parts.next());
        let expert = parts.take(Rule::over).map(|p| self.name(Parts::of(p).next()));
        let policy = self.expr(parts.next());
        let (body, arms) = self.experts(parts.next());
        let mut mix = parts.take(Rule::mix).map(Parts::of);
        let mix_axis = |parts: &mut Parts| parts.take(Rule::mix_axis).map(|p| self.name(Parts::of(p).next()));
        let (mix, mix_axis) = match &mut mix {
            Some(parts) => (Some(self.name(parts.next())), mix_axis(parts)),
            None => (None, None),
        };
        Route { x, expert, policy, body, arms, mix, mix_axis }
    }

    /// One value for all experts, under a label or none; or arms. The grammar cannot tell a labelled call from an arm that stands alone.
    fn experts(&self, pair: P) -> (Body, Vec<Arm>) {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let statements = self.statements(&mut parts);
        let mut arms = self.arms(&mut parts);
        let mut value = parts.take(Rule::expr).map(|p| Box::new(self.expr(p)));
        if let [Arm { name, value: only }] = arms.as_mut_slice()
            && label(only, name)
        {
            value = arms.pop().map(|arm| Box::new(arm.value));
        }
        (Body { statements, value, span }, arms)
    }

    fn arms(&self, parts: &mut Parts) -> Vec<Arm> {
        let arms = parts.all(Rule::arm).into_iter().map(|p| {
            let mut parts = Parts::of(p);
            Arm { name: self.name(parts.next()), value: self.expr(parts.next()) }
        });
        arms.collect()
    }

    pub(super) fn choose(&self, pair: P) -> Choose {
        let mut parts = Parts::of(pair);
        let _ = parts.take(Rule::choose_word);
        let by = self.expr(parts.next());
        let mut parts = Parts::of(parts.next());
        let statements = self.statements(&mut parts);
        let arms = match parts.take(Rule::each_arm).map(Parts::of) {
            Some(mut each) => {
                let name = self.name(each.next());
                let [from, to, value] = [(); 3].map(|()| self.expr(each.next()));
                Arms::Each { name, from: Box::new(from), to: Box::new(to), value: Box::new(value) }
            }
            None => Arms::Named(self.arms(&mut parts)),
        };
        Choose { by, statements, arms }
    }
}

/// Gives the call that a text begins with a label, if it begins with one that has none.
fn label(expr: &mut Expr, name: &Name) -> bool {
    expr.span.start = name.span.start;
    match &mut expr.kind {
        ExprKind::Call(call) if call.label.is_none() => {
            call.label = Some(name.clone());
            true
        }
        ExprKind::Binary(_, x, _) | ExprKind::At { a: x, .. } | ExprKind::Field(x, _) | ExprKind::Brackets(x, _) => {
            label(x, name)
        }
        _ => false,
    }
}
