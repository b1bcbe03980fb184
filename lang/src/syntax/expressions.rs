//! Text to syntax tree: expressions and loops.

use super::parse::{P, Parts, Rule, Tree};
use super::*;

impl Tree<'_> {
    pub(super) fn expr(&self, pair: P) -> Expr {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let mut operands = vec![self.prefixed(&mut parts)];
        let mut operators: Vec<P> = Vec::new();
        while let Some(infix) = parts.take(Rule::infix) {
            let operator = Parts::of(infix).next();
            while operators.last().is_some_and(|last| precedence(last.as_rule()) >= precedence(operator.as_rule())) {
                self.reduce(&mut operands, &mut operators);
            }
            operators.push(operator);
            operands.push(self.prefixed(&mut parts));
        }
        while !operators.is_empty() {
            self.reduce(&mut operands, &mut operators);
        }
        match operands.pop() {
            Some(expr) => expr,
            None => Expr { kind: ExprKind::Record(Vec::new()), span },
        }
    }

    fn reduce(&self, operands: &mut Vec<Expr>, operators: &mut Vec<P>) {
        let (Some(operator), Some(b), Some(a)) = (operators.pop(), operands.pop(), operands.pop()) else { return };
        let span = Span { end: b.span.end, ..a.span };
        let (a, b) = (Box::new(a), Box::new(b));
        let kind = match operator.as_rule() {
            Rule::at => {
                let axes = Parts::of(operator).take(Rule::at_axes);
                let axes = axes.map(|p| p.into_inner().map(|p| self.name(p)).collect());
                ExprKind::At { axes, a, b }
            }
            rule => ExprKind::Binary(operator_of(rule), a, b),
        };
        operands.push(Expr { kind, span });
    }

    fn prefixed(&self, parts: &mut Parts) -> Expr {
        let prefixes = parts.all(Rule::prefix);
        let mut expr = self.operand(parts.next());
        for prefix in prefixes.into_iter().rev() {
            let span = Span { end: expr.span.end, ..self.span(&prefix) };
            let f = if Parts::of(prefix).next().as_rule() == Rule::neg { Prefix::Neg } else { Prefix::Not };
            expr = Expr { kind: ExprKind::Unary(f, Box::new(expr)), span };
        }
        expr
    }

    fn operand(&self, pair: P) -> Expr {
        let mut parts = Parts::of(pair);
        let mut expr = self.primary(Parts::of(parts.next()).next());
        for postfix in parts.all(Rule::postfix) {
            let span = Span { end: self.span(&postfix).end, ..expr.span };
            let inner = Parts::of(postfix).next();
            let kind = match inner.as_rule() {
                Rule::brackets => {
                    let brackets = inner.into_inner().map(|p| self.bracket(Parts::of(p).next())).collect();
                    ExprKind::Brackets(Box::new(expr), brackets)
                }
                Rule::chosen => ExprKind::FieldOf(Box::new(expr), self.name(Parts::of(inner).next())),
                _ => ExprKind::Field(Box::new(expr), self.name(inner)),
            };
            expr = Expr { kind, span };
        }
        expr
    }

    fn bracket(&self, pair: P) -> Bracket {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        if rule == Rule::arrow {
            let product = |p: P| p.into_inner().map(|p| self.name(p)).collect::<Vec<_>>();
            return Bracket::Arrow { from: product(parts.next()), to: product(parts.next()), span };
        }
        let axis = self.name(parts.next());
        let value = self.boxed(&mut parts, Rule::expr);
        if let Some(end) = parts.take(Rule::slice_end) {
            return Bracket::Slice { axis, from: value, to: self.boxed(&mut Parts::of(end), Rule::expr), span };
        }
        let fill = parts.take(Rule::otherwise).map(|p| Box::new(self.expr(Parts::of(p).next())));
        match value {
            Some(value) => Bracket::Pick { axis, value, fill, span },
            None => Bracket::Slice { axis, from: None, to: None, span },
        }
    }

    fn boxed(&self, parts: &mut Parts, rule: Rule) -> Option<Box<Expr>> {
        parts.take(rule).map(|p| Box::new(self.expr(p)))
    }

    pub(super) fn primary(&self, pair: P) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number => ExprKind::Number(pair.as_str().parse().unwrap_or(f64::NAN)),
            Rule::constant_word => match pair.as_str().trim() {
                "inf" => ExprKind::Number(f64::INFINITY),
                "nan" => ExprKind::Number(f64::NAN),
                word => ExprKind::Bool(word == "true"),
            },
            Rule::name => ExprKind::Name(self.name(Parts::of(pair).next())),
            Rule::string => ExprKind::Text(pair.into_inner().map(|p| p.as_str()).collect()),
            Rule::if_ | Rule::match_ | Rule::for_ => self.choice(pair),
            Rule::tuple => {
                let mut all: Vec<Expr> = pair.into_inner().map(|p| self.expr(p)).collect();
                match all.len() {
                    1 => return all.remove(0),
                    _ => ExprKind::Tuple(all),
                }
            }
            Rule::record => {
                let fields = pair.into_inner().map(|p| {
                    let mut parts = Parts::of(p);
                    (self.name(parts.next()), self.expr(parts.next()))
                });
                ExprKind::Record(fields.collect())
            }
            Rule::labelled => {
                let mut parts = Parts::of(pair);
                let label = self.name(parts.next());
                ExprKind::Call(Call { label: Some(label), ..self.call(parts.next()) })
            }
            Rule::call => ExprKind::Call(self.call(pair)),
            Rule::scan => ExprKind::Scan(Box::new(self.scan(pair))),
            Rule::repeat => ExprKind::Repeat(Box::new(self.repeat(pair))),
            Rule::route => ExprKind::Route(Box::new(self.route(pair))),
            Rule::choose => ExprKind::Choose(Box::new(self.choose(pair))),
            _ => ExprKind::Last(self.name(Parts::of(pair).next())),
        };
        Expr { kind, span }
    }

    fn call(&self, pair: P) -> Call {
        let mut parts = Parts::of(pair);
        let called = parts.next();
        let place = parts.take(Rule::place).map(|p| self.place(p));
        let mut parts = Parts::of(called);
        let mut callee = Parts::of(parts.next());
        let name = self.name(callee.next());
        let axes = callee.take(Rule::call_axes).map(|p| {
            let axes = p.into_inner().map(|axis| {
                let mut parts = Parts::of(axis);
                let name = self.name(parts.next());
                let into = parts.take(Rule::ident).map(|p| self.name(p));
                let mut sizes = parts.all(Rule::expr).into_iter().map(|p| self.expr(p));
                CallAxis { name, into, from: sizes.next(), to: sizes.next() }
            });
            axes.collect()
        });
        let mut arguments = Parts::of(parts.next());
        let args = arguments.all(Rule::argument).into_iter().map(|p| self.argument(Parts::of(p).next())).collect();
        let (mut sizes, mut given) = (Vec::new(), Vec::new());
        for p in arguments.all(Rule::given) {
            let mut parts = Parts::of(p);
            let mut path = vec![self.name(parts.next())];
            path.extend(parts.all(Rule::field).into_iter().map(|p| self.name(p)));
            let value = self.expr(parts.next());
            match path.len() {
                1 => sizes.push((path.remove(0), value)),
                _ => given.push((path, value)),
            }
        }
        let axes = axes.unwrap_or_default();
        Call { label: None, callee: name, axes, args, sizes, given, place }
    }

    fn argument(&self, pair: P) -> Argument {
        match pair.as_rule() {
            Rule::window_axis => {
                let mut parts = Parts::of(pair);
                let mut names: Vec<Name> = parts.all(Rule::ident).into_iter().map(|p| self.name(p)).collect();
                let size = self.expr(parts.next());
                let tap = names.pop();
                let mut names = names.into_iter();
                match (names.next(), names.next(), tap) {
                    (Some(from), to, Some(tap)) => Argument::Window { from, to, tap, size },
                    _ => Argument::Expr(size),
                }
            }
            Rule::dropped => {
                let mut parts = Parts::of(pair);
                Argument::Dropped(self.name(parts.next()), self.expr(parts.next()))
            }
            Rule::named => {
                let mut parts = Parts::of(pair);
                Argument::Named(self.name(parts.next()), self.expr(parts.next()))
            }
            _ => Argument::Expr(self.expr(pair)),
        }
    }

    fn carries(&self, pair: P) -> Vec<Carried> {
        let carries = pair.into_inner().map(|p| {
            let is_name = p.as_rule() == Rule::carried_name;
            let mut parts = Parts::of(p);
            let name = self.name(parts.next());
            if is_name {
                return Carried { name, ty: None, init: None };
            }
            let is_ty = |p: &P| matches!(p.as_rule(), Rule::record_ty | Rule::ty | Rule::known);
            let ty = parts.take_if(is_ty).map(|p| self.result(p));
            Carried { name, ty, init: parts.take(Rule::expr).map(|p| self.expr(p)) }
        });
        carries.collect()
    }

    fn loop_body(&self, pair: P) -> (Vec<Statement>, Vec<Expr>) {
        let mut parts = Parts::of(pair);
        let statements = self.statements(&mut parts);
        let next = parts.take(Rule::next_values).map(|p| self.expr(Parts::of(p).next()));
        let nexts = match next {
            Some(Expr { kind: ExprKind::Tuple(all), .. }) => all,
            next => next.into_iter().collect(),
        };
        (statements, nexts)
    }

    fn scan(&self, pair: P) -> Scan {
        let mut parts = Parts::of(pair);
        let axis = self.name(parts.next());
        let times = parts.take(Rule::times).map(|p| self.expr(Parts::of(p).next()));
        let reverse = parts.take(Rule::reverse).is_some();
        let lengths = parts.take(Rule::lengths).map(|p| self.expr(Parts::of(p).next()));
        let segments = parts.take(Rule::segments).map(|p| {
            let mut parts = Parts::of(p);
            let axis = parts.take(Rule::segments_axis).map(|p| self.name(Parts::of(p).next()));
            Segments { axis, of: self.expr(parts.next()) }
        });
        let carries = parts.take(Rule::carry).map(|p| self.carries(p)).unwrap_or_default();
        let (statements, nexts) = self.loop_body(parts.next());
        let until = parts.take(Rule::until).map(|p| self.expr(Parts::of(p).next()));
        let yields = self.expr(Parts::of(parts.next()).next());
        Scan { axis, times, reverse, lengths, segments, carries, statements, nexts, until, yields }
    }

    fn repeat(&self, pair: P) -> Repeat {
        let mut parts = Parts::of(pair);
        let (axis, count) = (self.name(parts.next()), self.expr(parts.next()));
        let carries = self.carries(parts.next());
        let (statements, nexts) = self.loop_body(parts.next());
        let until = parts.take(Rule::until).map(|p| self.expr(Parts::of(p).next()));
        let yields = parts.take(Rule::yields).map(|p| self.expr(Parts::of(p).next()));
        let otherwise = parts.take(Rule::otherwise).map(|p| self.expr(Parts::of(p).next()));
        Repeat { axis, count, carries, statements, nexts, until, yields, otherwise }
    }
}

/// Binding strength: a larger number binds tighter. `@` and `*` are of one strength, from left to right; operators of bits bind tighter
/// than comparisons.
pub(crate) fn precedence(rule: Rule) -> u8 {
    match rule {
        Rule::or => 1,
        Rule::and => 2,
        Rule::eq | Rule::ne | Rule::le | Rule::ge | Rule::lt | Rule::gt => 3,
        Rule::bit_or => 4,
        Rule::bit_xor => 5,
        Rule::bit_and => 6,
        Rule::shl | Rule::shr => 7,
        Rule::add | Rule::sub => 8,
        _ => 9,
    }
}

fn operator_of(rule: Rule) -> Infix {
    match rule {
        Rule::or => Infix::Or,
        Rule::and => Infix::And,
        Rule::eq => Infix::Eq,
        Rule::ne => Infix::Ne,
        Rule::le => Infix::Le,
        Rule::ge => Infix::Ge,
        Rule::lt => Infix::Lt,
        Rule::gt => Infix::Gt,
        Rule::bit_or => Infix::BitOr,
        Rule::bit_xor => Infix::BitXor,
        Rule::bit_and => Infix::BitAnd,
        Rule::shl => Infix::Shl,
        Rule::shr => Infix::Shr,
        Rule::add => Infix::Add,
        Rule::sub => Infix::Sub,
        Rule::mul => Infix::Mul,
        Rule::div => Infix::Div,
        _ => Infix::Rem,
    }
}
