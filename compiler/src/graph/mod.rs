//! The Graph IR: a pure dataflow graph over named axes. No mutation, no aliasing, no order of axes.
//!
//! A [`Module`] holds what the entries of a network share (sizes, parameters, states) and one [`Graph`] per entry. A graph is
//! a petgraph digraph whose nodes are ops and whose edges carry operands. Loops hold their body as a graph of its own
//! with explicit captures: a closed region.

mod axis;
mod builder;
pub mod interp;
pub mod random;
mod remake;
pub mod tensor;
pub mod text;
mod ty;
pub mod verify;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use axis::{Axis, AxisSet, Sizes, TYPICAL_SIZE};
pub use builder::{Builder, TypeError};
pub use gatec_lang::program::Span;
pub use gatec_runtime::format::Elem;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

pub use remake::Remake;
pub use ty::Type;

use crate::ops::Op;

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
    /// Of a node's origin and name; ops and types stay.
    pub fn node_mut(&mut self, id: NodeIndex) -> &mut Node {
        &mut self.nodes[id]
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

/// Graphs compare by what they compute: ops, types, operands and results in order, not by names, spans or origin.
impl Graph {
    fn key(&self) -> impl Iterator<Item = (&Op, &[Type], Vec<Value>)> {
        self.ids().map(|id| (&self.nodes[id].op, self.nodes[id].types.as_slice(), self.operands(id)))
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.results == other.results && self.key().eq(other.key())
    }
}

impl Eq for Graph {}

impl PartialOrd for Graph {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Graph {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key()).then_with(|| self.results.cmp(&other.results))
    }
}

impl Hash for Graph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.key().for_each(|node| node.hash(state));
        self.results.hash(state);
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

impl Boundary {
    pub fn ty(&self) -> Type {
        Type::new(self.elem, self.order.iter().copied().collect())
    }
}

/// A parameter and where its values stand in a weight file.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub tensor: Boundary,
    pub source: Source,
    /// Every element's value where a weight file lacks it.
    pub default: Option<f64>,
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
    /// The index of `axis`, counted from `first`.
    Index {
        axis: Axis,
        first: i64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub tensor: Boundary,
    pub init: Init,
}

/// What a state is in a new session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element's value.
    Each(f64),
    /// That of a parameter, which has its bytes in the same order.
    Param(usize),
}

/// An entry: graph leaves `input[i]`, `param[i]`, `state[i]` refer to the lists here and in the module. The graph's results
/// are the outputs, then the next values of `next_states`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    /// Symbols, and up to which size of each this entry serves. Several entries of one name are forms of the same computation: they
    /// follow each other, the first serves whose bounds hold, and the last has none.
    pub at_most: Vec<(String, i64)>,
    /// Sizes of symbols for which this form was chosen.
    pub assumed: Option<Vec<(String, i64)>>,
    pub inputs: Vec<Boundary>,
    /// Inputs that a caller may leave out, scalars, by number, and what they are then.
    pub defaults: Vec<(usize, f64)>,
    pub outputs: Vec<Boundary>,
    pub next_states: Vec<usize>,
    pub graph: Graph,
}

impl Entry {
    /// Its name, and for which sizes it is.
    pub fn title(&self) -> String {
        gatec_runtime::format::title(&self.name, self.at_most.iter().map(|(symbol, size)| (symbol.as_str(), *size)))
    }

    /// Is it meant for these sizes? Of several of its name the first that is runs.
    pub fn serves(&self, sizes: &[(String, i64)]) -> bool {
        let size = |symbol: &String| sizes.iter().find(|(name, _)| name == symbol).map(|(_, size)| *size);
        self.at_most.iter().all(|(symbol, most)| size(symbol).is_some_and(|size| size <= *most))
    }
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
    /// What is computed once, when a model is loaded: a graph over params whose results the entries read as `loaded[i]`.
    pub load: Graph,
    /// Source files as (path, text); spans point here. Empty for a module that was read from its text form.
    pub files: Vec<(String, Arc<str>)>,
}

impl Module {
    /// The text of a span.
    pub fn text_of(&self, span: Span) -> Option<&str> {
        self.files.get(span.file as usize)?.1.get(span.start as usize..span.end as usize)
    }

    /// The file and line (from 1) of a span.
    pub fn line_of(&self, span: Span) -> Option<(String, u32)> {
        let (path, text) = self.files.get(span.file as usize)?;
        let before = text.as_bytes().get(..span.start as usize)?;
        Some((path.clone(), before.iter().filter(|b| **b == b'\n').count() as u32 + 1))
    }
}
