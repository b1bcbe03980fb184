//! Builds graphs: adds a node, infers its types, remembers its origin.

use std::collections::HashMap;

use petgraph::graph::NodeIndex;

use super::{AxisSet, Elem, Graph, Node, Sizes, Span, Type, Value};
use crate::ops::{self, Op};
use crate::scalar;

/// An op does not take these operands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {message}")]
pub struct TypeError {
    pub op: &'static str,
    pub message: String,
}

/// Adds nodes to a graph. Equal ops of equal operands become one node.
pub struct Builder<'a> {
    pub sizes: &'a mut Sizes,
    graph: Graph,
    /// Only looked up, never iterated.
    seen: HashMap<(Op, Vec<Value>), NodeIndex>,
    shares: bool,
    /// The origin of the nodes that come next.
    pub span: Option<Span>,
    pub made_by: &'static str,
}

impl<'a> Builder<'a> {
    pub fn new(sizes: &'a mut Sizes) -> Self {
        Self { sizes, graph: Graph::default(), seen: HashMap::new(), shares: true, span: None, made_by: "" }
    }

    /// A builder that makes a new node for each call, for readers of text.
    pub fn verbatim(sizes: &'a mut Sizes) -> Self {
        Self { shares: false, ..Self::new(sizes) }
    }

    /// Adds a node and returns its index.
    pub fn try_node(&mut self, op: impl Into<Op>, operands: &[Value]) -> Result<NodeIndex, TypeError> {
        let op = op.into();
        let error = |message| TypeError { op: op.name(), message };
        match op.arity() {
            Some(n) if n != operands.len() => {
                return Err(error(format!("takes {n} operands, not {}", operands.len())));
            }
            None if operands.is_empty() => return Err(error("takes at least one operand".into())),
            _ => {}
        }
        let types: Vec<&Type> = operands.iter().map(|v| self.graph.ty(*v)).collect();
        let types = op.infer(self.sizes, &types).map_err(error)?;
        if !self.shares {
            return Ok(self.push(op, types, operands));
        }
        let key = (op, operands.to_vec());
        if let Some(&id) = self.seen.get(&key) {
            return Ok(id);
        }
        let id = self.push(key.0.clone(), types, operands);
        self.seen.insert(key, id);
        Ok(id)
    }

    /// Adds a copy of another graph's node, with its origin and name, over operands of this graph. Types are inferred anew.
    pub fn copy(&mut self, node: &Node, operands: &[Value]) -> Result<NodeIndex, TypeError> {
        let (span, made_by) = (self.span, self.made_by);
        (self.span, self.made_by) = (node.span, node.made_by);
        let id = self.try_node(node.op.clone(), operands);
        (self.span, self.made_by) = (span, made_by);
        let id = id?;
        if let Some(name) = &node.name {
            self.name(id, name);
        }
        Ok(id)
    }

    fn push(&mut self, op: Op, types: Vec<Type>, operands: &[Value]) -> NodeIndex {
        self.graph.push(Node { op, types, span: self.span, made_by: self.made_by, name: None }, operands)
    }

    /// Adds an op of one result.
    pub fn try_add(&mut self, op: impl Into<Op>, operands: &[Value]) -> Result<Value, TypeError> {
        self.try_node(op, operands).map(Value::of)
    }

    /// Adds an op of which the caller knows that it fits.
    ///
    /// # Panics
    /// If the op does not take these operands: a bug in gatec, where operands come from a graph that verifies.
    pub fn add(&mut self, op: impl Into<Op>, operands: &[Value]) -> Value {
        match self.try_add(op, operands) {
            Ok(value) => value,
            Err(e) => panic!("bug in gatec: {e}"),
        }
    }

    /// A scalar.
    pub fn number(&mut self, elem: Elem, x: f64) -> Value {
        self.add(ops::Const::new(elem, x), &[])
    }
    pub fn unary(&mut self, f: scalar::Unary, x: Value) -> Value {
        self.add(ops::Unary { f }, &[x])
    }
    /// Of `add` and `mul` too, which are ops of their own.
    pub fn binary(&mut self, f: scalar::Binary, a: Value, b: Value) -> Value {
        match f {
            scalar::Binary::Add => self.add(ops::Add, &[a, b]),
            scalar::Binary::Mul => self.add(ops::Mul, &[a, b]),
            _ => self.add(ops::Binary { f }, &[a, b]),
        }
    }
    pub fn reduce(&mut self, fold: scalar::Fold, over: AxisSet, x: Value) -> Value {
        self.add(ops::Reduce { fold, over }, &[x])
    }
    pub fn contract(&mut self, over: AxisSet, a: Value, b: Value) -> Value {
        self.add(ops::Contract { over }, &[a, b])
    }

    /// Results of a node, if it has several.
    pub fn results(&self, id: NodeIndex) -> Vec<Value> {
        (0..self.graph.node(id).types.len() as u32).map(|result| Value { node: id, result }).collect()
    }
    /// Names a node for printing, if it has no name yet.
    pub fn name(&mut self, id: NodeIndex, name: &str) {
        self.graph.node_mut(id).name.get_or_insert_with(|| name.to_owned());
    }
    pub fn ty(&self, value: Value) -> &Type {
        self.graph.ty(value)
    }
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn finish(mut self, results: Vec<Value>) -> Graph {
        self.graph.results = results;
        self.graph
    }
}
