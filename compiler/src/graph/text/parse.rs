//! Text to Graph IR. What is read need not verify: types stand as written, so that a text can hold what the verifier refuses.

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::MAX_DEPTH;
use super::lex::{Piece, Spot, Token, lex};
use super::parts::{ParseError, Parser, Result};
use crate::graph::{
    Axis, AxisSet, Boundary, Entry, Graph, Init, Module, NamePiece, Node, Param, Source, State, Type, Value,
};
use crate::ops::{self, Attr, Op};

/// Reads a module.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser { spots: lex(text)?, at: 0 };
    parser.module()
}

/// What names mean in a graph.
struct Scope<'a> {
    module: Option<&'a Module>,
    inputs: Vec<(String, Boundary)>,
    /// Statements and inputs by name.
    values: HashMap<String, NodeIndex>,
    /// Leaves of the boundary, made at their first use.
    leaves: HashMap<Op, NodeIndex>,
    is_entry: bool,
}

impl Parser {
    fn module(&mut self) -> Result<Module> {
        let mut m = Module::default();
        if self.take_keyword("module") {
            m.name = self.name()?;
        }
        loop {
            let start = self.at;
            if self.take_keyword("symbol") {
                let name = self.name()?;
                let bound = if self.take("<=") { Some(self.int()?) } else { None };
                m.symbols.push((name, bound));
            } else if self.take_keyword("axis") {
                let axis = self.axis()?;
                self.expect("=")?;
                let size = self.size(0)?;
                if !m.sizes.declare(axis, size) {
                    self.at = start;
                    return Err(self.error(format!("axis {axis} has another size before")));
                }
            } else if self.take_keyword("param") {
                let param = self.param()?;
                m.params.push(param);
            } else if self.take_keyword("state") {
                let name = self.sigil('$')?;
                self.expect(":")?;
                let tensor = self.tensor(name)?;
                self.expect("=")?;
                let init = match self.peek() {
                    Token::Sigil('@', _) => {
                        let name = self.sigil('@')?;
                        let found = m.params.iter().position(|p| p.tensor.name == name);
                        Init::Param(found.ok_or_else(|| self.error(format!("no param @{name} before")))?)
                    }
                    _ => Init::Each(self.float()?),
                };
                m.states.push(State { tensor, init });
            } else if self.take_keyword("load") {
                let scope = Scope::new(Some(&m), false);
                m.load = self.graph(scope, 0)?;
            } else if self.take_keyword("graph") {
                let entry = self.entry(&m)?;
                m.entries.push(entry);
            } else if matches!(self.peek(), Token::End) {
                return Ok(m);
            } else {
                return Err(self.expected("`symbol`, `axis`, `param`, `state`, `load` or `graph`"));
            }
        }
    }

    fn param(&mut self) -> Result<Param> {
        let name = self.sigil('@')?;
        self.expect(":")?;
        let tensor = self.tensor(name)?;
        let default = if self.take("=") { Some(self.float()?) } else { None };
        if !self.take_keyword("from") {
            let name = vec![NamePiece::Text(tensor.name.clone())];
            let order = tensor.order.iter().map(|a| vec![*a]).collect();
            return Ok(Param { tensor, source: Source { name, order }, default });
        }
        let Token::Quoted(pieces) = self.peek().clone() else {
            return Err(self.expected("a name in quotes"));
        };
        self.next();
        let piece = |piece| match piece {
            Piece::Text(text) => NamePiece::Text(text),
            Piece::Braced(index) => {
                let counted = index.rsplit_once(" + ").and_then(|(axis, first)| Some((axis, first.parse().ok()?)));
                let (axis, first) = counted.unwrap_or((&index, 0));
                NamePiece::Index { axis: Axis::new(axis), first }
            }
        };
        let name = pieces.into_iter().map(piece).collect();
        self.expect("[")?;
        let order = self.list("]", |p| {
            if p.take_keyword("_") {
                return Ok(Vec::new());
            }
            let mut axes = vec![p.axis()?];
            while p.take("*") {
                axes.push(p.axis()?);
            }
            Ok(axes)
        })?;
        Ok(Param { tensor, source: Source { name, order }, default })
    }

    fn entry(&mut self, m: &Module) -> Result<Entry> {
        let name = self.sigil('@')?;
        self.expect("(")?;
        let mut defaults = Vec::new();
        let mut number = 0;
        let inputs = self.list(")", |p| {
            let name = p.sigil('%')?;
            p.expect(":")?;
            let input = p.tensor(name)?;
            if p.take("=") {
                defaults.push((number, p.float()?));
            }
            number += 1;
            Ok(input)
        })?;
        self.expect("->")?;
        self.expect("(")?;
        let mut count = 0;
        let outputs = self.list(")", |p| {
            // `y: f32[t]`, or `f32[t]` for a result that is called by its number.
            let named = matches!(p.spots.get(p.at + 1), Some(Spot { token: Token::Mark(":"), .. }));
            let mut name = count.to_string();
            if named {
                name = p.name()?;
                p.expect(":")?;
            }
            count += 1;
            p.tensor(name)
        })?;
        let mut next_states = Vec::new();
        if self.take_keyword("next") {
            self.expect("(")?;
            next_states = self.list(")", |p| {
                let start = p.at;
                if let Token::Int(_) = p.peek() {
                    return usize::try_from(p.int()?).map_err(|_| p.error("no such state"));
                }
                let name = p.sigil('$')?;
                m.states.iter().position(|s| s.tensor.name == name).ok_or_else(|| {
                    p.at = start;
                    p.error(format!("no state ${name}"))
                })
            })?;
        }
        let mut at_most = Vec::new();
        if self.take_keyword("where") {
            self.expect("(")?;
            at_most = self.list(")", |p| {
                let name = p.name()?;
                p.expect("<=")?;
                Ok((name, p.int()?))
            })?;
        }
        let mut scope = Scope::new(Some(m), true);
        scope.inputs = inputs.iter().map(|b| (b.name.clone(), b.clone())).collect();
        let graph = self.graph(scope, 0)?;
        Ok(Entry { name, at_most, assumed: None, inputs, defaults, outputs, next_states, graph })
    }

    /// `{ statements return values }`
    fn graph(&mut self, mut scope: Scope, depth: usize) -> Result<Graph> {
        if depth > MAX_DEPTH {
            return Err(self.error("loops nest too deep"));
        }
        self.expect("{")?;
        let mut graph = Graph::default();
        while !self.take_keyword("return") {
            self.statement(&mut graph, &mut scope, depth)?;
        }
        if !self.take("}") {
            graph.results = self.list("}", |p| p.value(&mut graph, &mut scope))?;
        }
        Ok(graph)
    }

    /// `%y = op[attrs] operands : types { body }`
    fn statement(&mut self, graph: &mut Graph, scope: &mut Scope, depth: usize) -> Result<()> {
        let start = self.at;
        let name = match self.peek() {
            Token::Sigil('%', _) => self.sigil('%')?,
            _ => return Err(self.expected("a statement `%name = ...` or `return`")),
        };
        if scope.values.contains_key(&name) || scope.inputs.iter().any(|i| i.0 == name) {
            self.at = start;
            return Err(self.error(format!("%{name} stands twice")));
        }
        let count = if self.take(":") { self.int()? } else { 1 };
        self.expect("=")?;
        let op_at = self.at;
        let op = self.name()?;
        let mut attrs = if self.take("[") { self.list("]", Self::attr)? } else { Vec::new() };
        let mut operands = Vec::new();
        while !self.take(":") {
            if !operands.is_empty() {
                self.expect(",")?;
            }
            operands.push(self.value(graph, scope)?);
        }
        let mut types = Vec::new();
        if !self.take_keyword("none") {
            types.push(self.ty()?);
            while self.take(",") {
                types.push(self.ty()?);
            }
        }
        if i64::try_from(types.len()) != Ok(count) {
            return Err(self.error(format!("%{name} has {count} results, but {} types", types.len())));
        }
        if self.is("{") {
            let body = self.graph(Scope::new(None, false), depth + 1)?;
            attrs.push(Attr::Body(Arc::new(body)));
        }
        let Some(parsed) = Op::parse(&op, &attrs, &types) else {
            self.at = op_at;
            let known = ops::REFERENCE.iter().any(|r| r.0 == op);
            let what = if known { "cannot have these attributes" } else { "is no op" };
            return Err(self.error(format!("`{op}` {what}")));
        };
        let own_name = Some(name.clone()).filter(|n| !n.chars().all(|c| c.is_ascii_digit()));
        let node = Node { op: parsed, types, span: None, made_by: "", name: own_name };
        let id = graph.push(node, &operands);
        scope.values.insert(name, id);
        Ok(())
    }

    fn attr(&mut self) -> Result<Attr> {
        match self.peek() {
            Token::Mark("(") => {
                self.next();
                Ok(Attr::List(self.list(")", Self::axis)?))
            }
            Token::Mark("{") => {
                self.next();
                Ok(Attr::Axes(self.list("}", Self::axis)?.into_iter().collect::<AxisSet>()))
            }
            Token::Mark("[") => {
                self.next();
                let bits = |p: &mut Self| p.float().map(ops::bits);
                Ok(Attr::Nums(self.list("]", bits)?))
            }
            Token::Word(w) if w != "inf" && w != "nan" => Ok(Attr::word(self.name()?)),
            Token::Quoted(_) => Ok(Attr::word(self.name()?)),
            _ => self.number(),
        }
    }

    fn value(&mut self, graph: &mut Graph, scope: &mut Scope) -> Result<Value> {
        let start = self.at;
        let Token::Sigil(sigil, _) = *self.peek() else {
            return Err(self.expected("a value"));
        };
        let name = self.sigil(sigil)?;
        let node = match sigil {
            '%' => scope.values.get(&name).copied(),
            _ => None,
        };
        let node = node.or_else(|| scope.leaf(sigil, &name, graph));
        let Some(node) = node else {
            self.at = start;
            return Err(self.error(format!("no value {sigil}{name} here")));
        };
        let mut result = 0;
        if self.take("#") {
            result = u32::try_from(self.int()?).map_err(|_| self.error("no such result"))?;
        }
        Ok(Value { node, result })
    }
}

impl<'a> Scope<'a> {
    fn new(module: Option<&'a Module>, is_entry: bool) -> Self {
        Self { module, inputs: Vec::new(), values: HashMap::new(), leaves: HashMap::new(), is_entry }
    }

    /// The leaf that a name stands for, made at its first use.
    fn leaf(&mut self, sigil: char, name: &str, graph: &mut Graph) -> Option<NodeIndex> {
        let index = |at: Option<usize>| at.and_then(|i| u32::try_from(i).ok());
        let (op, ty): (Op, Type) = match sigil {
            '%' => {
                let i = index(self.inputs.iter().position(|b| b.0 == name))?;
                let ty = self.inputs[i as usize].1.ty();
                (ops::Input { index: i, ty: ty.clone() }.into(), ty)
            }
            '@' => {
                let i = index(self.module?.params.iter().position(|p| p.tensor.name == name))?;
                let ty = self.module?.params[i as usize].tensor.ty();
                (ops::Param { index: i, ty: ty.clone() }.into(), ty)
            }
            '$' if self.is_entry => {
                let i = index(self.module?.states.iter().position(|s| s.tensor.name == name))?;
                let ty = self.module?.states[i as usize].tensor.ty();
                (ops::State { index: i, ty: ty.clone() }.into(), ty)
            }
            _ => return None,
        };
        if let Some(&id) = self.leaves.get(&op) {
            return Some(id);
        }
        let node = Node { op: op.clone(), types: vec![ty], span: None, made_by: "", name: None };
        let id = graph.push(node, &[]);
        self.leaves.insert(op, id);
        Some(id)
    }
}
