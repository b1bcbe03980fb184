//! Text to syntax tree.

use pest::Parser;
use pest::iterators::Pair;
use pest_derive::Parser;

use super::*;
use crate::diagnostics::{Diagnostic, codes};

#[derive(Parser)]
#[grammar = "gate.pest"]
struct Gate;

type P<'a> = Pair<'a, Rule>;

/// Parses a file; `file` is its number in spans.
pub fn parse(file: u32, text: &str) -> Result<File, Box<Diagnostic>> {
    if let Some(diagnostic) = bounds::check(file, text) {
        return Err(Box::new(diagnostic));
    }
    let mut pairs = Gate::parse(Rule::file, text).map_err(|e| Box::new(syntax_error(file, text, &e)))?;
    let tree = Tree { file, text };
    let mut parsed = File { doc: module_doc(text), items: Vec::new() };
    for pair in pairs.next().into_iter().flat_map(Pair::into_inner) {
        if pair.as_rule() == Rule::item {
            parsed.items.extend(pair.into_inner().map(|p| tree.item(p)));
        }
    }
    Ok(parsed)
}

/// What the parser met, and what could have stood there.
fn syntax_error(file: u32, text: &str, error: &pest::error::Error<Rule>) -> Diagnostic {
    let start = match error.location {
        pest::error::InputLocation::Pos(at) | pest::error::InputLocation::Span((at, _)) => at,
    };
    let rest = &text[start.min(text.len())..];
    let found: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let found = if found.is_empty() { rest.chars().take(1).collect() } else { found };
    let end = start + found.len().max(1);
    let span = Span { file, start: start as u32, end: end.min(text.len().max(start + 1)) as u32 };
    let message = match found.as_str() {
        "" => "the file ends too early".to_string(),
        "\n" => "the line ends too early".to_string(),
        found => format!("`{found}` cannot stand here"),
    };
    let diagnostic = Diagnostic::error(codes::SYNTAX, span, message);
    let pest::error::ErrorVariant::ParsingError { positives, .. } = &error.variant else { return diagnostic };
    let mut expected: Vec<&str> = positives.iter().filter_map(|rule| describe(*rule)).collect();
    expected.sort_unstable();
    expected.dedup();
    if expected.is_empty() { diagnostic } else { diagnostic.label(format!("expected {}", expected.join(", "))) }
}

/// A grammar rule in words; `None` for what would only add noise.
fn describe(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::item => "a declaration",
        Rule::ident | Rule::name => "a name",
        Rule::field => "a field's name",
        Rule::number => "a number",
        Rule::string => "a string",
        Rule::ty => "a type",
        Rule::expr | Rule::operand | Rule::primary => "an expression",
        Rule::infix => "an operator",
        Rule::body => "`{`",
        Rule::signature => "`(`",
        Rule::statement => "a statement",
        Rule::axis_is => "`=` or `<=`",
        Rule::EOI => "the end of the file",
        Rule::loop_body => "a loop's body",
        Rule::carry => "`carry`",
        Rule::next_values => "`next`",
        Rule::network_item => "a network's item",
        Rule::bracket => "an axis and what becomes of it",
        _ => return None,
    })
}

/// The `//!` lines.
fn module_doc(text: &str) -> String {
    doc_lines(text.lines().map(str::trim_start).take_while(|l| l.is_empty() || l.starts_with("//")), "//!")
}

fn doc_lines<'a>(lines: impl Iterator<Item = &'a str>, mark: &str) -> String {
    let lines: Vec<&str> = lines.filter_map(|l| l.strip_prefix(mark)).map(str::trim).collect();
    lines.join("\n")
}

struct Tree<'t> {
    file: u32,
    text: &'t str,
}

/// The parts of a pair, taken one after the other: the grammar says which come.
struct Parts<'a>(std::iter::Peekable<pest::iterators::Pairs<'a, Rule>>);

impl<'a> Parts<'a> {
    fn of(pair: P<'a>) -> Self {
        Self(pair.into_inner().peekable())
    }
    fn next(&mut self) -> P<'a> {
        match self.0.next() {
            Some(pair) => pair,
            None => unreachable!("the grammar puts a part here"),
        }
    }
    fn take(&mut self, rule: Rule) -> Option<P<'a>> {
        self.0.next_if(|p| p.as_rule() == rule)
    }
    fn all(&mut self, rule: Rule) -> Vec<P<'a>> {
        std::iter::from_fn(|| self.take(rule)).collect()
    }
}

impl Tree<'_> {
    fn span(&self, pair: &P) -> Span {
        let span = pair.as_span();
        let trimmed = span.as_str().trim_end().len();
        Span { file: self.file, start: span.start() as u32, end: (span.start() + trimmed) as u32 }
    }

    fn name(&self, pair: P) -> Name {
        Name { text: pair.as_str().to_string(), span: self.span(&pair) }
    }

    /// The `///` lines right above a declaration.
    fn doc(&self, span: Span) -> String {
        let before = &self.text[..span.start as usize];
        let mut lines: Vec<&str> = before.lines().rev().map(str::trim).skip_while(|l| l.is_empty()).collect();
        let count = lines.iter().take_while(|l| l.starts_with("///")).count();
        lines.truncate(count);
        doc_lines(lines.into_iter().rev(), "///")
    }

    fn item(&self, pair: P) -> Item {
        match pair.as_rule() {
            Rule::axis => Item::Axis(self.axis(pair)),
            Rule::constant => Item::Const(self.constant(pair)),
            Rule::network => Item::Network(self.network(pair)),
            _ => Item::Callable(self.callable(pair)),
        }
    }

    fn axis(&self, pair: P) -> Axis {
        let doc = self.doc(self.span(&pair));
        let mut parts = Parts::of(pair);
        let name = self.name(parts.next());
        let size = match parts.take(Rule::axis_is) {
            None => AxisSize::Symbolic,
            Some(is) if is.as_str() == "=" => AxisSize::Is(self.expr(parts.next())),
            Some(_) => AxisSize::AtMost(self.expr(parts.next())),
        };
        Axis { name, size, doc }
    }

    fn constant(&self, pair: P) -> Const {
        let mut parts = Parts::of(pair);
        let name = self.name(parts.next());
        let ty = parts.take(Rule::ty).map(|p| self.ty(p));
        let value = parts.next();
        let value = if value.as_rule() == Rule::table {
            let span = self.span(&value);
            let (mut values, mut extents) = (Vec::new(), Vec::new());
            self.table(value, 0, &mut values, &mut extents);
            ConstValue::Table { values, extents, span }
        } else {
            ConstValue::Expr(self.expr(value))
        };
        Const { name, ty, value }
    }

    /// Ragged tables show in the product of extents, which then is not the number of values.
    fn table(&self, pair: P, depth: usize, values: &mut Vec<f64>, extents: &mut Vec<usize>) {
        let rows: Vec<P> = pair.into_inner().collect();
        if extents.len() <= depth {
            extents.push(rows.len());
        }
        for row in rows {
            match row.as_rule() {
                Rule::table => self.table(row, depth + 1, values, extents),
                _ => values.push(signed(row.as_str())),
            }
        }
    }

    fn callable(&self, pair: P) -> Callable {
        let kind = match pair.as_rule() {
            Rule::function => CallableKind::Fn,
            Rule::block => CallableKind::Block,
            Rule::entry => CallableKind::Entry,
            _ => CallableKind::Model,
        };
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let name = self.name(parts.next());
        let mut signature = Parts::of(parts.next());
        let args = signature.all(Rule::declared).into_iter().map(|p| {
            let mut parts = Parts::of(p);
            (self.name(parts.next()), self.ty(parts.next()))
        });
        let args = args.collect();
        let result = signature.take(Rule::result).map(|p| {
            let fields = p.into_inner().map(|part| match part.as_rule() {
                Rule::declared_field => {
                    let mut parts = Parts::of(part);
                    (Some(self.name(parts.next())), self.ty(parts.next()))
                }
                _ => (None, self.ty(part)),
            });
            fields.collect()
        });
        let body = self.body(parts.next());
        Callable { kind, name, args, result, body, doc: self.doc(span), span }
    }

    fn network(&self, pair: P) -> Network {
        let doc = self.doc(self.span(&pair));
        let mut parts = Parts::of(pair);
        let name = self.name(parts.next());
        let mut network = Network { name, axes: Vec::new(), statements: Vec::new(), entries: Vec::new(), doc };
        for item in parts.all(Rule::network_item).into_iter().flat_map(P::into_inner) {
            match item.as_rule() {
                Rule::axis => network.axes.push(self.axis(item)),
                Rule::entry => network.entries.push(self.callable(item)),
                _ => network.statements.push(self.statement(item)),
            }
        }
        network
    }

    fn ty(&self, pair: P) -> Ty {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let elem = self.name(parts.next());
        let (mut axes, mut rest) = (Vec::new(), false);
        for axis in parts.all(Rule::ty_axis).into_iter().flat_map(P::into_inner) {
            match axis.as_rule() {
                Rule::rest => rest = true,
                _ => axes.push(self.name(axis)),
            }
        }
        Ty { elem, axes, rest, span }
    }

    fn body(&self, pair: P) -> Body {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let statements = self.statements(&mut parts);
        let value = parts.take(Rule::expr).map(|p| Box::new(self.expr(p)));
        Body { statements, value, span }
    }

    fn statements(&self, parts: &mut Parts) -> Vec<Statement> {
        parts.all(Rule::statement).into_iter().map(|p| self.statement(Parts::of(p).next())).collect()
    }

    fn statement(&self, pair: P) -> Statement {
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        match rule {
            Rule::param => {
                let names = parts.all(Rule::ident).into_iter().map(|p| self.name(p)).collect();
                let ty = self.ty(parts.next());
                let source = parts.take(Rule::source).map(|p| self.source(p));
                Statement::Param { names, ty, source }
            }
            Rule::part => {
                let (name, block) = (self.name(parts.next()), self.name(parts.next()));
                let sizes = parts.take(Rule::sizes).map(|p| self.sizes(&mut Parts::of(p))).unwrap_or_default();
                Statement::Part { name, block, sizes }
            }
            Rule::state => {
                let (name, ty) = (self.name(parts.next()), self.ty(parts.next()));
                Statement::State { name, ty, init: self.expr(parts.next()) }
            }
            Rule::next_state => {
                let name = self.name(parts.next());
                Statement::NextState { name, value: self.expr(parts.next()) }
            }
            _ => {
                let pattern = parts.next();
                let is_record = pattern.as_str().starts_with('(');
                let names = pattern.into_inner().map(|p| self.name(p)).collect();
                Statement::Let { names, is_record, value: self.expr(parts.next()) }
            }
        }
    }

    fn source(&self, pair: P) -> Source {
        let mut parts = Parts::of(pair);
        let string = parts.next();
        let name_span = self.span(&string);
        let name = string.into_inner().map(|p| p.as_str().to_string()).collect();
        let order = parts
            .take(Rule::file_order)
            .map(|p| p.into_inner().map(|axis| axis.into_inner().map(|p| self.name(p)).collect()).collect());
        Source { name, name_span, order }
    }

    fn sizes(&self, parts: &mut Parts) -> Vec<(Name, Expr)> {
        let sizes = parts.all(Rule::size_arg).into_iter().map(|p| {
            let mut parts = Parts::of(p);
            (self.name(parts.next()), self.expr(parts.next()))
        });
        sizes.collect()
    }

    // Expressions.

    fn expr(&self, pair: P) -> Expr {
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
                _ => ExprKind::Field(Box::new(expr), self.name(inner)),
            };
            expr = Expr { kind, span };
        }
        expr
    }

    fn bracket(&self, pair: P) -> Bracket {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let text = pair.as_str().to_string();
        let mut parts = Parts::of(pair);
        if rule == Rule::arrow {
            let product = |p: P| p.into_inner().map(|p| self.name(p)).collect::<Vec<_>>();
            return Bracket::Arrow { from: product(parts.next()), to: product(parts.next()), span };
        }
        let axis = self.name(parts.next());
        let value = Box::new(self.expr(parts.next()));
        let mut rest =
            parts.all(Rule::expr).into_iter().map(|p| Box::new(self.expr(p))).collect::<Vec<_>>().into_iter();
        let end = if text.contains("..") { rest.next() } else { None };
        Bracket::Pick { axis, value, end, fill: rest.next(), span }
    }

    fn primary(&self, pair: P) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number => ExprKind::Number(pair.as_str().parse().unwrap_or(f64::NAN)),
            Rule::constant_word => match pair.as_str().trim() {
                "inf" => ExprKind::Number(f64::INFINITY),
                "nan" => ExprKind::Number(f64::NAN),
                word => ExprKind::Bool(word == "true"),
            },
            Rule::name => ExprKind::Name(self.name(Parts::of(pair).next())),
            Rule::expr => return self.expr(pair),
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
            Rule::route => {
                let mut parts = Parts::of(pair);
                let (x, expert) = (self.expr(parts.next()), self.name(parts.next()));
                let (policy, body) = (self.expr(parts.next()), self.body(parts.next()));
                ExprKind::Route(Box::new(Route { x, expert, policy, body, mix: self.name(parts.next()) }))
            }
            Rule::exit => ExprKind::Exit(self.name(Parts::of(pair).next())),
            _ => ExprKind::Last(self.name(Parts::of(pair).next())),
        };
        Expr { kind, span }
    }

    fn call(&self, pair: P) -> Call {
        let mut parts = Parts::of(pair);
        let mut callee = Parts::of(parts.next());
        let name = self.name(callee.next());
        let axes = callee.take(Rule::call_axes).map(|p| {
            let axes = p.into_inner().map(|axis| {
                let mut parts = Parts::of(axis);
                let name = self.name(parts.next());
                let mut sizes = parts.all(Rule::expr).into_iter().map(|p| self.expr(p));
                CallAxis { name, from: sizes.next(), to: sizes.next() }
            });
            axes.collect()
        });
        let mut arguments = Parts::of(parts.next());
        let args = arguments.all(Rule::argument).into_iter().map(|p| self.argument(Parts::of(p).next())).collect();
        let sizes = self.sizes(&mut arguments);
        Call { label: None, callee: name, axes: axes.unwrap_or_default(), args, sizes }
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
            let ty = parts.take(Rule::ty).map(|p| self.ty(p));
            Carried { name, ty, init: parts.take(Rule::expr).map(|p| self.expr(p)) }
        });
        carries.collect()
    }

    fn loop_body(&self, pair: P) -> (Vec<Statement>, Vec<Expr>) {
        let mut parts = Parts::of(pair);
        let statements = self.statements(&mut parts);
        let nexts = parts.take(Rule::next_values).into_iter().flat_map(P::into_inner).map(|p| self.expr(p)).collect();
        (statements, nexts)
    }

    fn scan(&self, pair: P) -> Scan {
        let mut parts = Parts::of(pair);
        let axis = self.name(parts.next());
        let reverse = parts.take(Rule::reverse).is_some();
        let carries = parts.take(Rule::carry).map(|p| self.carries(p)).unwrap_or_default();
        let (statements, nexts) = self.loop_body(parts.next());
        Scan { axis, reverse, carries, statements, nexts, yields: self.expr(parts.next()) }
    }

    fn repeat(&self, pair: P) -> Repeat {
        let mut parts = Parts::of(pair);
        let (axis, count) = (self.name(parts.next()), self.expr(parts.next()));
        let carries = self.carries(parts.next());
        let (statements, nexts) = self.loop_body(parts.next());
        let otherwise = parts.take(Rule::expr).map(|p| self.expr(p));
        Repeat { axis, count, carries, statements, nexts, otherwise }
    }
}

fn signed(text: &str) -> f64 {
    let (sign, number) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest.trim()),
        None => (1.0, text.trim()),
    };
    sign * match number {
        "inf" => f64::INFINITY,
        number => number.parse().unwrap_or(f64::NAN),
    }
}

/// Binding strength: a larger number binds tighter. `@` and `*` are of one strength, from left to right.
fn precedence(rule: Rule) -> u8 {
    match rule {
        Rule::or => 1,
        Rule::and => 2,
        Rule::eq | Rule::ne | Rule::le | Rule::ge | Rule::lt | Rule::gt => 3,
        Rule::add | Rule::sub => 4,
        _ => 5,
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
        Rule::add => Infix::Add,
        Rule::sub => Infix::Sub,
        Rule::mul => Infix::Mul,
        Rule::div => Infix::Div,
        _ => Infix::Rem,
    }
}
