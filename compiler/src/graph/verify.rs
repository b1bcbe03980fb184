//! Checks modules: everything that the rest of the compiler relies on, as numbered rules.
//!
//! Runs after each pass in debug builds. All broken rules are reported, each with the node that breaks it.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use petgraph::graph::NodeIndex;

use super::text::{self, MAX_DEPTH, Names, Place};
use super::{AxisSet, Boundary, Entry, Graph, Init, Module, NamePiece, Type};
use crate::ops::{Attr, Op};

macro_rules! rules {
    ($($rule:ident: $text:literal),* $(,)?) => {
        /// A rule. A number never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $text] $rule),* }

        /// All rules with what they ask.
        pub const RULES: &[(Rule, &str)] = &[$((Rule::$rule, $text)),*];

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$rule => stringify!($rule)),* })
            }
        }
    };
}

rules! {
    V01: "an operand stands before its user",
    V02: "operands are numbered from 0 without gaps, as many as the op takes",
    V03: "a value is a result that its node has",
    V04: "operands have the types that the op takes",
    V05: "a node's types are those that the op infers",
    V06: "a leaf of the boundary agrees with its declaration",
    V07: "leaves of the boundary stand in entries, leaves of loops in bodies",
    V08: "results agree with the outputs and next states of an entry",
    V09: "loops nest at most as deep as the text form allows",
    V10: "every axis of a declaration has a size, and occurs once in it",
    V11: "sizes name declared symbols, and are not negative",
    V12: "names of symbols, params, states, entries, inputs and outputs are unique",
    V13: "the size of a param is known",
    V14: "a param's source holds each of its axes once",
    V15: "an entry sets a state at most once",
    V16: "what is computed at load depends on params alone, and its sizes are known",
    V17: "a state that begins with a param has its type",
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub place: Place,
    pub rule: Rule,
    pub message: String,
    /// The node or declaration, as text.
    pub subject: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}: {}", self.rule, self.subject, self.message)
    }
}

impl std::error::Error for Fault {}

/// All broken rules of a module, in the order of its text.
pub fn verify(module: &Module) -> Result<(), Vec<Fault>> {
    let mut v = Verifier { module, faults: Vec::new() };
    v.declarations();
    let load = Around { graph: None, path: Vec::new(), subject: "load".into() };
    v.graph(&module.load, &load);
    v.load_is_constant();
    for (i, entry) in module.entries.iter().enumerate() {
        let around = Around { graph: Some(i), path: Vec::new(), subject: format!("graph @{}", entry.name) };
        v.graph(&entry.graph, &around);
        v.results(i);
    }
    v.faults.sort();
    v.faults.dedup();
    if v.faults.is_empty() { Ok(()) } else { Err(v.faults) }
}

/// A module's text with its faults beside the lines that break rules.
pub fn annotate(module: &Module, faults: &[Fault]) -> String {
    text::print_with_notes(module, &|place| {
        let here = faults.iter().filter(|f| f.place == *place);
        here.map(|f| format!("error[{}]: {}", f.rule, f.message)).collect()
    })
}

/// Where a graph stands.
struct Around {
    graph: Option<usize>,
    path: Vec<usize>,
    subject: String,
}

struct Verifier<'a> {
    module: &'a Module,
    faults: Vec<Fault>,
}

impl Verifier<'_> {
    fn fault(&mut self, rule: Rule, place: Place, subject: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault { place, rule, message: message.into(), subject: subject.into() });
    }

    fn declarations(&mut self) {
        let m = self.module;
        let symbols: HashSet<&str> = m.symbols.iter().map(|s| s.0.as_str()).collect();
        for (axis, size) in m.sizes.iter() {
            let place = || Place::Axis(axis);
            for symbol in size.symbols() {
                if !symbols.contains(&*symbol) {
                    self.fault(Rule::V11, place(), format!("axis {axis}"), format!("no symbol {symbol}"));
                }
            }
            if size.as_known().is_some_and(|n| n < 0) {
                self.fault(Rule::V11, place(), format!("axis {axis}"), format!("the size {size} is negative"));
            }
        }
        self.unique("symbol", m.symbols.iter().map(|s| s.0.as_str()), |_| Place::Module);
        self.unique("param", m.params.iter().map(|p| p.tensor.name.as_str()), Place::Param);
        self.unique("state", m.states.iter().map(|s| s.tensor.name.as_str()), Place::State);
        self.unique("graph", m.entries.iter().map(Entry::title).collect::<Vec<_>>().iter().map(String::as_str), |i| {
            Place::Graph(Some(i))
        });
        for (i, param) in m.params.iter().enumerate() {
            self.boundary("param", &param.tensor, Place::Param(i));
            let known = param.tensor.order.iter().all(|a| m.sizes.get(*a).is_none_or(|s| s.is_known()));
            if !known {
                self.fault(Rule::V13, Place::Param(i), format!("param @{}", param.tensor.name), "a size is not known");
            }
            let indexed = param.source.name.iter().filter_map(|p| match p {
                NamePiece::Index { axis, .. } => Some(*axis),
                NamePiece::Text(_) => None,
            });
            let mut found: Vec<_> = indexed.chain(param.source.order.iter().flatten().copied()).collect();
            let mut want = param.tensor.order.clone();
            found.sort();
            want.sort();
            if found != want {
                let message = format!("the source holds {found:?}, the param {want:?}");
                self.fault(Rule::V14, Place::Param(i), format!("param @{}", param.tensor.name), message);
            }
        }
        for (i, state) in m.states.iter().enumerate() {
            self.boundary("state", &state.tensor, Place::State(i));
            if let Init::Param(p) = state.init {
                let param = m.params.get(p).map(|p| p.tensor.ty());
                if param.as_ref() != Some(&state.tensor.ty()) {
                    let found = param.map_or("no param".into(), |ty| ty.to_string());
                    self.fault(
                        Rule::V17,
                        Place::State(i),
                        format!("state ${}", state.tensor.name),
                        format!("it begins with {found}"),
                    );
                }
            }
        }
        for (i, entry) in m.entries.iter().enumerate() {
            let place = Place::Graph(Some(i));
            for (kind, list) in [("input", &entry.inputs), ("output", &entry.outputs)] {
                self.unique(kind, list.iter().map(|b| b.name.as_str()), |_| place.clone());
                list.iter().for_each(|b| self.boundary(kind, b, place.clone()));
            }
        }
    }

    fn boundary(&mut self, kind: &str, b: &Boundary, place: Place) {
        let subject = format!("{kind} {}", b.name);
        for axis in &b.order {
            if self.module.sizes.get(*axis).is_none() {
                self.fault(Rule::V10, place.clone(), &subject, format!("axis {axis} has no size"));
            }
        }
        if b.order.iter().copied().collect::<AxisSet>().len() != b.order.len() {
            self.fault(Rule::V10, place, &subject, "an axis occurs twice");
        }
    }

    fn unique<'n>(&mut self, kind: &str, names: impl Iterator<Item = &'n str>, place: impl Fn(usize) -> Place) {
        let mut seen = HashSet::new();
        for (i, name) in names.enumerate() {
            if !seen.insert(name) {
                self.fault(Rule::V12, place(i), format!("{kind} {name}"), format!("{kind} {name} stands twice"));
            }
        }
    }

    fn graph(&mut self, graph: &Graph, around: &Around) {
        let entry = around.graph.and_then(|i| self.module.entries.get(i));
        let names = match around.path.is_empty() {
            true => Names::new(graph, Some(self.module), entry),
            false => Names::new(graph, None, None),
        };
        for id in graph.ids() {
            let place = Place::Node(around.graph, around.path.iter().copied().chain([id.index()]).collect());
            let name = names.statement(id.index()).unwrap_or_else(|| names.value(super::Value::of(id)));
            let subject = format!("{}, {name} = {}", around.subject, graph.node(id).op.name());
            let mut faults = Vec::new();
            self.node(graph, id, around, &mut faults);
            for (rule, message) in faults {
                self.fault(rule, place.clone(), &subject, message);
            }
            for body in graph.node(id).op.attrs().iter().filter_map(Attr::as_body) {
                if around.path.len() >= MAX_DEPTH {
                    self.fault(Rule::V09, place.clone(), &subject, format!("nests deeper than {MAX_DEPTH}"));
                    continue;
                }
                let path = around.path.iter().copied().chain([id.index()]).collect();
                self.graph(&body, &Around { graph: around.graph, path, subject: subject.clone() });
            }
        }
        for (i, result) in graph.results.iter().enumerate() {
            let exists =
                |v: &super::Value| v.node.index() < graph.len() && (v.result as usize) < graph.node(v.node).types.len();
            if !exists(result) {
                let place = match around.path.is_empty() {
                    true => Place::Graph(around.graph),
                    false => Place::Node(around.graph, around.path.clone()),
                };
                self.fault(Rule::V03, place, &around.subject, format!("result {i} does not exist"));
            }
        }
    }

    fn node(&self, graph: &Graph, id: NodeIndex, around: &Around, faults: &mut Vec<(Rule, String)>) {
        let node = graph.node(id);
        self.leaf(&node.op, around, faults);
        let mut numbers: Vec<u32> =
            graph.petgraph().edges_directed(id, petgraph::Direction::Incoming).map(|e| e.weight().operand).collect();
        numbers.sort_unstable();
        if numbers.iter().enumerate().any(|(i, n)| i as u32 != *n) {
            faults.push((Rule::V02, "operands are not numbered from 0".into()));
        }
        let operands = graph.operands(id);
        match node.op.arity() {
            Some(n) if n != operands.len() => {
                return faults.push((Rule::V02, format!("{n} operands expected, found {}", operands.len())));
            }
            None if operands.is_empty() => return faults.push((Rule::V02, "an operand expected".into())),
            _ => {}
        }
        let mut types: Vec<&Type> = Vec::with_capacity(operands.len());
        for (i, operand) in operands.iter().enumerate() {
            if operand.node >= id {
                faults.push((Rule::V01, format!("operand {i} stands after it")));
            }
            match graph.node(operand.node).types.get(operand.result as usize) {
                Some(ty) => types.push(ty),
                None => faults.push((Rule::V03, format!("operand {i} is result {} of a node", operand.result))),
            }
        }
        if types.len() != operands.len() {
            return;
        }
        match node.op.infer(&self.module.sizes, &types) {
            Err(message) => faults.push((Rule::V04, message)),
            Ok(inferred) if inferred != node.types => {
                let show = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
                faults.push((Rule::V05, format!("is {}, not {}", show(&inferred), show(&node.types))));
            }
            Ok(_) => {}
        }
    }

    fn leaf(&self, op: &Op, around: &Around, faults: &mut Vec<(Rule, String)>) {
        let m = self.module;
        let entry = around.graph.and_then(|i| m.entries.get(i));
        let in_body = !around.path.is_empty();
        let (kind, declared, ty) = match op {
            Op::Input(x) => {
                let inputs = entry.map_or(&[][..], |e| &e.inputs);
                ("input", inputs.get(x.index as usize).map(Boundary::ty), &x.ty)
            }
            Op::Param(x) => ("param", m.params.get(x.index as usize).map(|p| p.tensor.ty()), &x.ty),
            Op::State(x) => ("state", m.states.get(x.index as usize).map(|s| s.tensor.ty()), &x.ty),
            Op::Loaded(x) => {
                let value = m.load.results.get(x.index as usize);
                let ty = value.and_then(|v| m.load.petgraph().node_weight(v.node)?.types.get(v.result as usize));
                ("loaded", ty.cloned(), &x.ty)
            }
            Op::Carry(_) | Op::Item(_) | Op::Capture(_) | Op::Step(_) if !in_body => {
                return faults.push((Rule::V07, "stands outside a loop's body".into()));
            }
            _ => return,
        };
        if in_body {
            return faults
                .push((Rule::V07, "stands in a loop's body, which can only read operands of the loop".into()));
        }
        match declared {
            None => faults.push((Rule::V06, format!("there is no such {kind}"))),
            Some(declared) if declared != *ty => faults.push((Rule::V06, format!("the {kind} is {declared}"))),
            Some(_) => {}
        }
    }

    /// The results of an entry against its boundary.
    fn results(&mut self, index: usize) {
        let m = self.module;
        let entry = &m.entries[index];
        let place = Place::Graph(Some(index));
        let subject = format!("graph @{}", entry.name);
        let mut want: Vec<(String, Type)> =
            entry.outputs.iter().map(|b| (format!("output {}", b.name), b.ty())).collect();
        let mut seen = HashSet::new();
        for state in &entry.next_states {
            match m.states.get(*state) {
                None => self.fault(Rule::V08, place.clone(), &subject, format!("there is no state {state}")),
                Some(s) => want.push((format!("state {}", s.tensor.name), s.tensor.ty())),
            }
            if !seen.insert(*state) {
                self.fault(Rule::V15, place.clone(), &subject, format!("state {state} is set twice"));
            }
        }
        if want.len() != entry.graph.results.len() {
            let message = format!("{} results expected, found {}", want.len(), entry.graph.results.len());
            return self.fault(Rule::V08, place, &subject, message);
        }
        for ((what, want), value) in want.iter().zip(&entry.graph.results) {
            let node = entry.graph.petgraph().node_weight(value.node);
            if let Some(ty) = node.and_then(|n| n.types.get(value.result as usize))
                && ty != want
            {
                self.fault(Rule::V08, place.clone(), &subject, format!("{what} is {want}, its value {ty}"));
            }
        }
    }

    fn load_is_constant(&mut self) {
        let graph = &self.module.load;
        for id in graph.ids() {
            let node = graph.node(id);
            let message = match &node.op {
                Op::Input(_) | Op::State(_) | Op::Loaded(_) => "is not known at load".to_owned(),
                _ => match node.types.iter().find(|t| t.axes.iter().any(|a| self.module.sizes.known(a).is_none())) {
                    Some(ty) => format!("a size of {ty} is not known"),
                    None => continue,
                },
            };
            let place = Place::Node(None, vec![id.index()]);
            self.fault(Rule::V16, place, format!("load, {}", node.op.name()), message);
        }
    }
}
