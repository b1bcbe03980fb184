//! Text to syntax tree.

use pest::Parser;
use pest::iterators::Pair;
use pest_derive::Parser;

use super::*;
use crate::diagnostics::Diagnostic;

#[derive(Parser)]
#[grammar = "gate.pest"]
pub(super) struct Gate;

/// The parts of a file as the grammar has them, with every word's place; `file` is its number in spans.
pub(crate) fn pairs(file: u32, text: &str) -> Result<Pair<'_, Rule>, Box<Diagnostic>> {
    if let Some(diagnostic) = bounds::check(file, text) {
        return Err(Box::new(diagnostic));
    }
    let parsed = Gate::parse(Rule::file, text);
    let mut pairs = match parsed {
        Ok(pairs) => pairs,
        Err(error) => return Err(Box::new(wrong::explain(file, text, &error))),
    };
    match pairs.next() {
        Some(pair) => Ok(pair),
        None => unreachable!("the grammar has one file"),
    }
}

pub(super) type P<'a> = Pair<'a, Rule>;

/// Parses a file; `file` is its number in spans.
pub fn parse(file: u32, text: &str) -> Result<File, Box<Diagnostic>> {
    let pairs = pairs(file, text)?;
    let tree = Tree { file, text };
    let comment = |c: Comment| Span { file, start: c.start as u32, end: (c.start + c.text.len()) as u32 };
    let comments = tokens(text).into_iter().flat_map(|token| token.comments).map(comment).collect();
    let mut parsed = File { doc: module_doc(text), items: Vec::new(), comments };
    for pair in pairs.into_inner() {
        if pair.as_rule() == Rule::item {
            parsed.items.extend(pair.into_inner().map(|p| tree.item(p)));
        }
    }
    Ok(parsed)
}

/// The `//!` lines.
fn module_doc(text: &str) -> String {
    doc_lines(text.lines().map(str::trim_start).take_while(|l| l.is_empty() || l.starts_with("//")), "//!")
}

fn doc_lines<'a>(lines: impl Iterator<Item = &'a str>, mark: &str) -> String {
    let lines: Vec<&str> = lines.filter_map(|l| l.strip_prefix(mark)).map(str::trim).collect();
    lines.join("\n")
}

pub(super) struct Tree<'t> {
    file: u32,
    text: &'t str,
}

/// The parts of a pair, taken one after the other: the grammar says which come.
pub(super) struct Parts<'a>(std::iter::Peekable<pest::iterators::Pairs<'a, Rule>>);

impl<'a> Parts<'a> {
    pub(super) fn of(pair: P<'a>) -> Self {
        Self(pair.into_inner().peekable())
    }
    pub(super) fn next(&mut self) -> P<'a> {
        match self.0.next() {
            Some(pair) => pair,
            None => unreachable!("the grammar puts a part here"),
        }
    }
    pub(super) fn take(&mut self, rule: Rule) -> Option<P<'a>> {
        self.0.next_if(|p| p.as_rule() == rule)
    }
    pub(super) fn all(&mut self, rule: Rule) -> Vec<P<'a>> {
        std::iter::from_fn(|| self.take(rule)).collect()
    }
}

impl Tree<'_> {
    pub(super) fn span(&self, pair: &P) -> Span {
        let span = pair.as_span();
        let trimmed = span.as_str().trim_end().len();
        Span { file: self.file, start: span.start() as u32, end: (span.start() + trimmed) as u32 }
    }

    pub(super) fn name(&self, pair: P) -> Name {
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
            Rule::use_ => {
                let mut parts = Parts::of(pair);
                let used = parts.take(Rule::used);
                let names = used.map(|p| p.into_inner().map(|p| self.name(p)).collect());
                let string = parts.next();
                let path_span = self.span(&string);
                Item::Use(Use { path: string.into_inner().map(|p| p.as_str().to_string()).collect(), path_span, names })
            }
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
            let name = self.name(parts.next());
            let is = parts.next();
            let is = match is.as_rule() {
                Rule::a_block => DeclaredAs::Block,
                Rule::known => DeclaredAs::Known(self.name(is)),
                _ => DeclaredAs::Tensor(self.ty(is)),
            };
            let default = parts.take(Rule::default).map(|p| self.expr(Parts::of(p).next()));
            Declared { name, is, default }
        });
        let args = args.collect();
        let sizes = signature.all(Rule::own_size).into_iter().map(|p| {
            let mut parts = Parts::of(p);
            (self.name(parts.next()), parts.take(Rule::expr).map(|p| self.expr(p)))
        });
        let sizes = sizes.collect();
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
        Callable { kind, name, args, sizes, result, body, doc: self.doc(span), span }
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
        let (mut axes, mut blocks, mut rest) = (Vec::new(), Vec::new(), false);
        for axis in parts.all(Rule::ty_axis).into_iter().flat_map(P::into_inner) {
            match axis.as_rule() {
                Rule::rest => rest = true,
                Rule::blocks_of => blocks.push((axes.len() - 1, self.expr(Parts::of(axis).next()))),
                _ => axes.push(self.name(axis)),
            }
        }
        Ty { elem, axes, blocks, rest, span }
    }

    pub(super) fn body(&self, pair: P) -> Body {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let statements = self.statements(&mut parts);
        let value = parts.take(Rule::expr).map(|p| Box::new(self.expr(p)));
        Body { statements, value, span }
    }

    pub(super) fn statements(&self, parts: &mut Parts) -> Vec<Statement> {
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
                // The last of them is the block's.
                let mut names: Vec<Name> = parts.all(Rule::ident).into_iter().map(|p| self.name(p)).collect();
                let Some(block) = names.pop() else { unreachable!("the grammar puts a block here") };
                let sizes = parts.take(Rule::sizes).map(|p| self.sizes(&mut Parts::of(p))).unwrap_or_default();
                let place = parts.take(Rule::place).map(|p| self.place(p));
                Statement::Part { names, block, sizes, place }
            }
            Rule::state => {
                let names = parts.all(Rule::ident).into_iter().map(|p| self.name(p)).collect();
                let ty = self.ty(parts.next());
                Statement::State { names, ty, init: self.expr(parts.next()) }
            }
            Rule::exit => {
                let (axis, condition) = (self.name(parts.next()), self.expr(parts.next()));
                Statement::Exit(Exit { axis, condition, value: self.expr(parts.next()) })
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

    fn sizes(&self, parts: &mut Parts) -> Vec<(Name, Expr)> {
        let sizes = parts.all(Rule::size_arg).into_iter().map(|p| {
            let mut parts = Parts::of(p);
            (self.name(parts.next()), self.expr(parts.next()))
        });
        sizes.collect()
    }

    // Expressions.

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
            let ty = parts.take(Rule::ty).map(|p| self.ty(p));
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
