//! A graph made from another, node by node: what a pass that changes some nodes does with all the others.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::{Builder, Graph, Sizes, Value};
use crate::ops::Op;

/// A graph that is being made from `old`, and what has become of its values.
pub struct Remake<'g, 's> {
    old: &'g Graph,
    pub build: Builder<'s>,
    values: BTreeMap<Value, Value>,
}

impl<'g, 's> Remake<'g, 's> {
    pub fn new(old: &'g Graph, sizes: &'s mut Sizes) -> Self {
        Self { old, build: Builder::new(sizes), values: BTreeMap::new() }
    }

    /// What has become of a value.
    ///
    /// # Panics
    /// If nothing has yet: nodes are copied behind their operands.
    pub fn value(&self, old: Value) -> Value {
        self.values[&old]
    }

    /// What has become of a node's operands. Nodes that are built next have its origin.
    pub fn operands(&mut self, old: NodeIndex) -> Vec<Value> {
        let node = self.old.node(old);
        (self.build.span, self.build.made_by) = (node.span, node.made_by);
        self.old.operands(old).iter().map(|v| self.values[v]).collect()
    }

    /// A value of the new graph in the place of an old one.
    pub fn replace(&mut self, old: Value, new: Value) {
        self.values.insert(old, new);
    }

    /// A node, with origin and name of an old one and in its place.
    pub fn put(&mut self, old: NodeIndex, op: impl Into<Op>, operands: &[Value]) -> Result<NodeIndex, String> {
        let node = self.old.node(old);
        (self.build.span, self.build.made_by) = (node.span, node.made_by);
        let new = self.build.try_node(op, operands).map_err(|e| e.to_string())?;
        if let Some(name) = &node.name {
            self.build.name(new, name);
        }
        for result in 0..node.types.len() as u32 {
            self.values.insert(Value { node: old, result }, Value { node: new, result });
        }
        Ok(new)
    }

    /// The new graph, with the results of the old one.
    pub fn finish(self) -> Graph {
        let results = self.old.results.iter().map(|v| self.values[v]).collect();
        self.build.finish(results)
    }
}
