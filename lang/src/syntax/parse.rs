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
            parsed.items.extend(pair.into_inner().flat_map(|p| tree.items(p)));
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
    pub(super) fn take_if(&mut self, is: impl FnOnce(&P<'a>) -> bool) -> Option<P<'a>> {
        self.0.next_if(is)
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

    fn items(&self, pair: P) -> Vec<Item> {
        match pair.as_rule() {
            Rule::axis => self.axes(pair).into_iter().map(Item::Axis).collect(),
            _ => vec![self.item(pair)],
        }
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
            Rule::type_ => {
                let span = self.span(&pair);
                let mut parts = Parts::of(pair);
                parts.take(Rule::type_word);
                let name = self.name(parts.next());
                Item::Type(RecordType { name, fields: self.fields(parts.next()), doc: self.doc(span), span })
            }
            Rule::constant => Item::Const(self.constant(pair)),
            Rule::network => Item::Network(self.network(pair)),
            _ => Item::Callable(self.callable(pair)),
        }
    }

    fn axes(&self, pair: P) -> Vec<Axis> {
        let doc = self.doc(self.span(&pair));
        let axis = |pair: P| {
            let mut parts = Parts::of(pair);
            let name = self.name(parts.next());
            let size = match parts.take(Rule::axis_is) {
                None => AxisSize::Symbolic,
                Some(is) if is.as_str() == "=" => AxisSize::Is(self.expr(parts.next())),
                Some(_) => AxisSize::AtMost(self.expr(parts.next())),
            };
            Axis { name, size, doc: doc.clone() }
        };
        pair.into_inner().map(axis).collect()
    }

    fn fields(&self, pair: P) -> Fields {
        let field = |p: P| {
            let mut parts = Parts::of(p);
            (self.name(parts.next()), self.result(parts.next()))
        };
        pair.into_inner().map(field).collect()
    }

    pub(super) fn result(&self, pair: P) -> ResultTy {
        match pair.as_rule() {
            Rule::record_ty => ResultTy::Record(self.fields(pair)),
            Rule::known => ResultTy::Named(self.name(pair)),
            _ => ResultTy::One(self.ty(pair)),
        }
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
        let (args, sizes, result) = self.signature(parts.next());
        let body = self.body(parts.next());
        Callable { kind, name, args, sizes, result, body, doc: self.doc(span), span }
    }

    /// Arguments, sizes of its own, results.
    fn signature(&self, pair: P) -> (Vec<Declared>, Vec<OwnSize>, Option<ResultTy>) {
        let mut signature = Parts::of(pair);
        let args = signature.all(Rule::declared).into_iter().map(|p| {
            let mut parts = Parts::of(p);
            let name = self.name(parts.next());
            let is = parts.next();
            let is = match is.as_rule() {
                Rule::a_block => DeclaredAs::Block,
                Rule::record_ty => DeclaredAs::Record(self.fields(is)),
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
        let result = signature.take(Rule::result).map(|p| self.result(Parts::of(p).next()));
        (args, sizes, result)
    }

    /// Entries of one signature: what differs is the value.
    fn entries(&self, pair: P) -> Vec<Callable> {
        let mut parts = Parts::of(pair);
        let (args, sizes, result) = self.signature(parts.next());
        let entry = |name: Name, body: Body, span: Span| {
            let (args, sizes, result, doc) = (args.clone(), sizes.clone(), result.clone(), self.doc(span));
            Callable { kind: CallableKind::Entry, name, args, sizes, result, body, doc, span }
        };
        let entries = |p: P| {
            let (rule, span) = (p.as_rule(), self.span(&p));
            let mut parts = Parts::of(p);
            let (name, value) = (self.name(parts.next()), parts.next());
            match (rule, value.as_rule()) {
                (Rule::entry_copies, _) => {
                    let names: Vec<Name> = value.into_inner().map(|p| self.name(p)).collect();
                    let body = self.body(parts.next());
                    names.into_iter().map(|own| entry(own.clone(), copy(&name, own, &body), span)).collect()
                }
                (_, Rule::body) => vec![entry(name, self.body(value), span)],
                _ => vec![entry(name, Body::of(self.expr(value)), span)],
            }
        };
        parts.next().into_inner().flat_map(entries).collect()
    }

    fn network(&self, pair: P) -> Network {
        let doc = self.doc(self.span(&pair));
        let mut parts = Parts::of(pair);
        let name = self.name(parts.next());
        let mut network = Network { name, axes: Vec::new(), statements: Vec::new(), entries: Vec::new(), doc };
        for item in parts.all(Rule::network_item).into_iter().flat_map(P::into_inner) {
            match item.as_rule() {
                Rule::axis => network.axes.extend(self.axes(item)),
                Rule::entries => network.entries.extend(self.entries(item)),
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
            Rule::param | Rule::buffer => {
                let names = parts.all(Rule::ident).into_iter().map(|p| self.name(p)).collect();
                let ty = self.ty(parts.next());
                let default = parts.take(Rule::default).map(|p| self.expr(Parts::of(p).next()));
                let buffer = (rule == Rule::buffer).then_some(Buffer { default });
                let source = parts.take(Rule::source).map(|p| self.source(p));
                Statement::Param { names, ty, source, buffer }
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
                let axes = parts.all(Rule::ident).into_iter().map(|p| self.name(p)).collect();
                let condition = self.expr(parts.next());
                Statement::Exit(Exit { axes, condition, value: self.expr(parts.next()) })
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

/// The body of the entry of a name: `(for name in [own] { .. }).own`.
fn copy(name: &Name, own: Name, body: &Body) -> Body {
    let each = For { name: name.clone(), over: Copies::Names(vec![own.clone()]), body: body.clone() };
    let all = Expr { kind: ExprKind::For(Box::new(each)), span: body.span };
    Body::of(Expr { span: body.span, kind: ExprKind::Field(Box::new(all), own) })
}
