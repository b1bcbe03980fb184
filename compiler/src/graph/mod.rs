//! The Graph IR: a pure dataflow graph over named axes. No mutation, no aliasing, no order of axes.
//!
//! A [`Module`] holds what the entries of a network share (sizes, parameters, states) and one [`Graph`] per entry. A graph is
//! a petgraph digraph whose nodes are ops and whose edges carry operands. Loops hold their body as a graph of its own
//! with explicit captures: a closed region.

mod axis;
pub mod interp;
pub mod tensor;
pub mod text;
pub mod verify;

use std::fmt;

pub use axis::{Axis, AxisSet, Sizes};
pub use gatec_lang::program::Span;
pub use gatec_runtime::format::Elem;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use petgraph::Direction;

use crate::ops::Op;

/// The type of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Type {
    pub elem: Elem,
    pub axes: AxisSet,
}

impl Type {
    pub fn new(elem: Elem, axes: AxisSet) -> Self {
        Self { elem, axes }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.elem, self.axes)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A result of a node. All ops but loops have one result, number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    pub node: NodeIndex,
    pub result: u32,
}

/// A node: an op, the types of its results, where it comes from.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub types: Vec<Type>,
    /// The source text that it stands for.
    pub span: Option<Span>,
    /// The rule or pass that made it; empty for what lowering made.
    pub made_by: &'static str,
    /// A name to print, if one is known.
    pub name: Option<String>,
}

/// An edge from the node that makes a value to the node that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub operand: u32,
    pub result: u32,
}

/// A dataflow graph. Nodes are only ever added, each after its operands: index order is a topological order. Passes build
/// a new graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: DiGraph<Node, Use>,
    pub results: Vec<Value>,
}

impl Graph {
    /// Adds a node without looking at types; [`Builder`] infers them.
    pub fn push(&mut self, node: Node, operands: &[Value]) -> NodeIndex {
        let id = self.nodes.add_node(node);
        for (i, operand) in operands.iter().enumerate() {
            self.nodes.add_edge(operand.node, id, Use { operand: i as u32, result: operand.result });
        }
        id
    }
    pub fn node(&self, id: NodeIndex) -> &Node {
        &self.nodes[id]
    }
    pub fn op(&self, value: Value) -> &Op {
        &self.nodes[value.node].op
    }
    pub fn ty(&self, value: Value) -> &Type {
        &self.nodes[value.node].types[value.result as usize]
    }
    pub fn operands(&self, id: NodeIndex) -> Vec<Value> {
        let mut operands: Vec<(u32, Value)> = self
            .nodes
            .edges_directed(id, Direction::Incoming)
            .map(|e| (e.weight().operand, Value { node: e.source(), result: e.weight().result }))
            .collect();
        operands.sort();
        operands.into_iter().map(|(_, v)| v).collect()
    }
    /// The (node, operand number) pairs that use a value, in order.
    pub fn uses(&self, value: Value) -> Vec<(NodeIndex, u32)> {
        let mut uses: Vec<_> = self
            .nodes
            .edges_directed(value.node, Direction::Outgoing)
            .filter(|e| e.weight().result == value.result)
            .map(|e| (e.target(), e.weight().operand))
            .collect();
        uses.sort();
        uses
    }
    /// Nodes in order: operands before their users.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeIndex> + use<> {
        (0..self.nodes.node_count()).map(NodeIndex::new)
    }
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The petgraph underneath, for its algorithms.
    pub fn petgraph(&self) -> &DiGraph<Node, Use> {
        &self.nodes
    }
}

impl Value {
    /// The first (usually the only) result of a node.
    pub fn of(node: NodeIndex) -> Self {
        Self { node, result: 0 }
    }
}

/// A tensor at the boundary: `order` is the order of its bytes, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    pub name: String,
    pub elem: Elem,
    pub order: Vec<Axis>,
}

/// A parameter and where its values stand in a weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub tensor: Boundary,
    pub source: Source,
}

/// See [`gatec_lang::program::Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: Vec<NamePiece>,
    /// Axes of each file tensor, outermost first; an entry of several axes is one axis in the file; an empty one is `_`.
    pub order: Vec<Vec<Axis>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePiece {
    Text(String),
    Index(Axis),
}

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub tensor: Boundary,
    pub init: f64,
}

/// An entry: graph leaves `input[i]`, `param[i]`, `state[i]` refer to the lists here and in the module. The graph's results
/// are the outputs, then the next values of `next_states`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub inputs: Vec<Boundary>,
    pub outputs: Vec<Boundary>,
    pub next_states: Vec<usize>,
    pub graph: Graph,
}

/// What one program becomes.
#[derive(Clone, Debug, Default)]
pub struct Module {
    pub name: String,
    pub sizes: Sizes,
    /// Symbols and their bounds.
    pub symbols: Vec<(String, Option<i64>)>,
    pub params: Vec<Param>,
    pub states: Vec<State>,
    pub entries: Vec<Entry>,
}
