//! Graph IR to text.

use std::fmt::Write as _;

use petgraph::graph::NodeIndex;

use super::is_word;
use super::names::{Names, input_names};
use crate::graph::{Axis, Boundary, Entry, Graph, Init, Module, NamePiece, Param, Type};
use crate::ops::{Attr, Op};

/// A place in a module that a note can be about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Module,
    Axis(Axis),
    Param(usize),
    State(usize),
    /// A graph as a whole: its head or its results. `None`: the `load` graph.
    Graph(Option<usize>),
    /// A node, by its numbers in the graph and in the bodies of loops that it stands in.
    Node(Option<usize>, Vec<usize>),
}

/// A module as text.
pub fn print(module: &Module) -> String {
    print_with_notes(module, &|_| Vec::new())
}

/// A module as text, with notes as comments at the end of lines.
pub fn print_with_notes(module: &Module, notes: &dyn Fn(&Place) -> Vec<String>) -> String {
    let mut p = Printer { out: String::new(), notes };
    p.module(module);
    p.out
}

/// One graph as text, without a module: leaves are statements.
pub fn print_graph(graph: &Graph) -> String {
    let mut p = Printer { out: String::new(), notes: &|_| Vec::new() };
    p.body(graph, &Names::new(graph, None, None), 0, &Place::Node(None, Vec::new()));
    p.out
}

struct Printer<'a> {
    out: String,
    notes: &'a dyn Fn(&Place) -> Vec<String>,
}

impl Printer<'_> {
    fn line(&mut self, indent: usize, text: &str, place: &Place) {
        self.out.extend(std::iter::repeat_n(' ', 2 * indent));
        self.out.push_str(text);
        for note in (self.notes)(place) {
            self.out.push_str("  // ");
            self.out.push_str(&note.replace('\n', " "));
        }
        self.out.push('\n');
    }

    fn module(&mut self, m: &Module) {
        self.line(0, &format!("module {}", word(&m.name)), &Place::Module);
        for (name, bound) in &m.symbols {
            let bound = bound.map_or(String::new(), |n| format!(" <= {n}"));
            self.line(0, &format!("symbol {}{bound}", word(name)), &Place::Module);
        }
        for (axis, size) in m.sizes.iter() {
            self.line(0, &format!("axis {} = {size}", word(axis.name())), &Place::Axis(axis));
        }
        for (i, param) in m.params.iter().enumerate() {
            let default = param.default.map_or(String::new(), |default| format!(" = {}", number(default)));
            let (name, tensor) = (word(&param.tensor.name), boundary(&param.tensor));
            let text = format!("param @{name}: {tensor}{default}{}", source(param));
            self.line(0, &text, &Place::Param(i));
        }
        for (i, state) in m.states.iter().enumerate() {
            let init = match state.init {
                Init::Each(value) => number(value),
                Init::Param(i) => m.params.get(i).map_or("?".into(), |p| format!("@{}", word(&p.tensor.name))),
            };
            let text = format!("state ${}: {} = {init}", word(&state.tensor.name), boundary(&state.tensor));
            self.line(0, &text, &Place::State(i));
        }
        if !m.load.is_empty() || !m.load.results.is_empty() {
            self.out.push('\n');
            self.line(0, "load {", &Place::Graph(None));
            self.body(&m.load, &Names::new(&m.load, Some(m), None), 1, &Place::Node(None, Vec::new()));
            self.out.push_str("}\n");
        }
        for (i, entry) in m.entries.iter().enumerate() {
            self.out.push('\n');
            self.line(0, &format!("{} {{", head(m, entry)), &Place::Graph(Some(i)));
            let names = Names::new(&entry.graph, Some(m), Some(entry));
            self.body(&entry.graph, &names, 1, &Place::Node(Some(i), Vec::new()));
            self.out.push_str("}\n");
        }
    }

    /// Statements and results; `around` is the place of the loop that this is the body of.
    fn body(&mut self, graph: &Graph, names: &Names, indent: usize, around: &Place) {
        let inside = |node: usize| match around {
            Place::Node(graph, path) => Place::Node(*graph, path.iter().copied().chain([node]).collect()),
            other => other.clone(),
        };
        for id in graph.ids() {
            if let Some(left) = names.statement(id.index()) {
                self.statement(graph, names, id, &left, indent, &inside(id.index()));
            }
        }
        let results: Vec<String> = graph.results.iter().map(|v| names.value(*v)).collect();
        let text = if results.is_empty() { "return".into() } else { format!("return {}", results.join(", ")) };
        self.out.extend(std::iter::repeat_n(' ', 2 * indent));
        self.out.push_str(&text);
        self.out.push('\n');
    }

    fn statement(&mut self, graph: &Graph, names: &Names, id: NodeIndex, left: &str, indent: usize, place: &Place) {
        let node = graph.node(id);
        let mut text = format!("{left} = {}", head_of(&node.op));
        let operands: Vec<String> = graph.operands(id).iter().map(|v| names.value(*v)).collect();
        if !operands.is_empty() {
            let _ = write!(text, " {}", operands.join(", "));
        }
        let types: Vec<String> = node.types.iter().map(ty).collect();
        let _ = write!(text, " : {}", if types.is_empty() { "none".into() } else { types.join(", ") });
        let Some(body) = node.op.attrs().iter().find_map(Attr::as_body) else {
            return self.line(indent, &text, place);
        };
        text.push_str(" {");
        self.line(indent, &text, place);
        self.body(&body, &Names::new(&body, None, None), indent + 1, place);
        self.out.extend(std::iter::repeat_n(' ', 2 * indent));
        self.out.push_str("}\n");
    }
}

/// An op's name and attributes, without the body of a loop.
pub(crate) fn head_of(op: &Op) -> String {
    let written: Vec<String> = op.attrs().iter().filter_map(attr).collect();
    if written.is_empty() { op.name().into() } else { format!("{}[{}]", op.name(), written.join(", ")) }
}

fn head(m: &Module, entry: &Entry) -> String {
    let default = |i: usize| {
        let known = entry.defaults.iter().find(|(input, _)| *input == i);
        known.map_or(String::new(), |(_, value)| format!(" = {}", number(*value)))
    };
    let names = input_names(Some(entry));
    let inputs = names.iter().zip(&entry.inputs).enumerate();
    let inputs: Vec<String> = inputs.map(|(i, (n, b))| format!("%{n}: {}{}", boundary(b), default(i))).collect();
    let output = |(i, b): (usize, &Boundary)| {
        if b.name == i.to_string() { boundary(b) } else { format!("{}: {}", word(&b.name), boundary(b)) }
    };
    let outputs: Vec<String> = entry.outputs.iter().enumerate().map(output).collect();
    let mut head = format!("graph @{}({}) -> ({})", word(&entry.name), inputs.join(", "), outputs.join(", "));
    if !entry.next_states.is_empty() {
        let name = |i: &usize| match m.states.get(*i) {
            Some(s) => format!("${}", word(&s.tensor.name)),
            None => i.to_string(),
        };
        let states: Vec<String> = entry.next_states.iter().map(name).collect();
        let _ = write!(head, " next ({})", states.join(", "));
    }
    if !entry.at_most.is_empty() {
        let bounds: Vec<String> = entry.at_most.iter().map(|(name, n)| format!("{} <= {n}", word(name))).collect();
        let _ = write!(head, " where ({})", bounds.join(", "));
    }
    head
}

fn boundary(b: &Boundary) -> String {
    format!("{}[{}]", b.elem, list(&b.order))
}

fn ty(ty: &Type) -> String {
    format!("{}[{}]", ty.elem, list(&ty.axes.iter().collect::<Vec<_>>()))
}

fn list(axes: &[Axis]) -> String {
    axes.iter().map(|a| word(a.name())).collect::<Vec<_>>().join(", ")
}

/// Where a parameter's values stand, unless under its own name and in its own order.
fn source(param: &Param) -> String {
    let own_order =
        param.source.order.iter().map(Vec::as_slice).eq(param.tensor.order.iter().map(std::slice::from_ref));
    let own_name = matches!(&param.source.name[..], [NamePiece::Text(name)] if *name == param.tensor.name);
    if own_name && own_order {
        return String::new();
    }
    let mut name = String::new();
    for piece in &param.source.name {
        match piece {
            NamePiece::Text(text) => name.push_str(&escape(text)),
            // A name that looks like a sum is told from one by its `+ 0`.
            NamePiece::Index { axis, first } if *first != 0 || axis.name().contains(" + ") => {
                let _ = write!(name, "{{{} + {first}}}", escape(axis.name()));
            }
            NamePiece::Index { axis, .. } => {
                let _ = write!(name, "{{{}}}", escape(axis.name()));
            }
        }
    }
    let axis = |axes: &Vec<Axis>| match &axes[..] {
        [] => "_".to_owned(),
        axes => axes.iter().map(|a| word(a.name())).collect::<Vec<_>>().join(" * "),
    };
    let order: Vec<String> = param.source.order.iter().map(axis).collect();
    format!(" from \"{name}\"[{}]", order.join(", "))
}

/// An attribute in brackets; a loop's body stands after the types instead.
fn attr(attr: &Attr) -> Option<String> {
    Some(match attr {
        Attr::Int(n) => n.to_string(),
        Attr::Num(bits) => number(f64::from_bits(*bits)),
        Attr::Word(text) => word(text),
        Attr::Axis(axis) => word(axis.name()),
        Attr::Axes(axes) if axes.len() == 1 => list(&axes.iter().collect::<Vec<_>>()),
        Attr::Axes(axes) => format!("{{{}}}", list(&axes.iter().collect::<Vec<_>>())),
        Attr::List(axes) => format!("({})", list(axes)),
        Attr::Elem(elem) => elem.name().to_owned(),
        Attr::Nums(nums) => {
            let nums: Vec<String> = nums.iter().map(|x| number(f64::from_bits(*x))).collect();
            format!("[{}]", nums.join(", "))
        }
        Attr::Body(_) => return None,
    })
}

/// A number that reads back as the same bits, and never as an integer.
fn number(x: f64) -> String {
    if x.is_nan() { "nan".into() } else { format!("{x:?}") }
}

/// A name, in quotes where it must be.
pub(super) fn word(name: &str) -> String {
    // A bare `_` is an axis of a file that a parameter lacks.
    if is_word(name) && name != "_" { name.to_owned() } else { format!("\"{}\"", escape(name)) }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' | '{' | '}' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}
