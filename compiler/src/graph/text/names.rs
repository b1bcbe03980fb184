//! Names of nodes in a text: a node's own name, made unique, else a number.

use std::collections::HashSet;

use super::is_word_char;
use crate::graph::{Entry, Graph, Module, Value};
use crate::ops::Op;

/// What each node of a graph is called; nodes of a loop's body have names of their own.
pub struct Names {
    names: Vec<Name>,
    /// How many results each node has.
    results: Vec<usize>,
}

enum Name {
    /// A statement: `%name`.
    Statement(String),
    /// A leaf that stands where it is used: `%x`, `@w`, `$h`.
    Leaf(String),
}

impl Names {
    /// Names in a graph of a module; `entry` is absent for `load` and for loops' bodies.
    pub fn new(graph: &Graph, module: Option<&Module>, entry: Option<&Entry>) -> Self {
        let mut used: HashSet<String> = HashSet::new();
        let inputs = input_names(entry);
        used.extend(inputs.iter().cloned());
        let mut count = 0;
        let mut names = Vec::with_capacity(graph.len());
        for id in graph.ids() {
            let node = graph.node(id);
            if let Some(leaf) = leaf(&node.op, module, entry, &inputs) {
                names.push(Name::Leaf(leaf));
                continue;
            }
            let own = node.name.as_deref().map(plain).filter(|n| !n.chars().all(|c| c.is_ascii_digit()));
            let name = match own {
                Some(own) => unique(&own, &used),
                None => {
                    count += 1;
                    (count - 1).to_string()
                }
            };
            used.insert(name.clone());
            names.push(Name::Statement(name));
        }
        let results = graph.ids().map(|id| graph.node(id).types.len()).collect();
        Self { names, results }
    }

    /// A value as an operand.
    pub fn value(&self, value: Value) -> String {
        let i = value.node.index();
        match &self.names[i] {
            Name::Leaf(name) if value.result == 0 => name.clone(),
            Name::Leaf(name) => format!("{name}#{}", value.result),
            Name::Statement(name) if self.results[i] == 1 && value.result == 0 => format!("%{name}"),
            Name::Statement(name) => format!("%{name}#{}", value.result),
        }
    }

    /// What stands left of `=`; `None` for a leaf that has no statement.
    pub fn statement(&self, node: usize) -> Option<String> {
        match &self.names[node] {
            Name::Leaf(_) => None,
            Name::Statement(name) if self.results[node] == 1 => Some(format!("%{name}")),
            Name::Statement(name) => Some(format!("%{name}:{}", self.results[node])),
        }
    }
}

/// Names of an entry's inputs, as values.
pub(super) fn input_names(entry: Option<&Entry>) -> Vec<String> {
    let mut used = HashSet::new();
    let mut names = Vec::new();
    for input in entry.iter().flat_map(|e| &e.inputs) {
        let name = plain(&input.name);
        // Digits would clash with numbered nodes.
        let name = if name.chars().all(|c| c.is_ascii_digit()) { format!("_{name}") } else { name };
        let name = unique(&name, &used);
        used.insert(name.clone());
        names.push(name);
    }
    names
}

/// A leaf of the boundary that fits its declaration needs no statement.
fn leaf(op: &Op, module: Option<&Module>, entry: Option<&Entry>, inputs: &[String]) -> Option<String> {
    let fits = |ty: &crate::graph::Type, b: &crate::graph::Boundary| b.ty() == *ty;
    match op {
        Op::Input(x) => {
            let input = entry?.inputs.get(x.index as usize).filter(|b| fits(&x.ty, b));
            input.map(|_| format!("%{}", inputs[x.index as usize]))
        }
        Op::Param(x) => {
            let param = module?.params.get(x.index as usize).map(|p| &p.tensor).filter(|b| fits(&x.ty, b));
            param.map(|b| format!("@{}", super::print::word(&b.name)))
        }
        Op::State(x) => {
            entry?;
            let state = module?.states.get(x.index as usize).map(|s| &s.tensor).filter(|b| fits(&x.ty, b));
            state.map(|b| format!("${}", super::print::word(&b.name)))
        }
        _ => None,
    }
}

/// A name with the characters of names only.
fn plain(name: &str) -> String {
    let plain: String = name.chars().map(|c| if is_word_char(c) { c } else { '_' }).collect();
    if plain.is_empty() { "_".into() } else { plain }
}

fn unique(name: &str, used: &HashSet<String>) -> String {
    std::iter::once(name.to_owned())
        .chain((2u64..).map(|n| format!("{name}.{n}")))
        .find(|n| !used.contains(n))
        .unwrap_or_default()
}
