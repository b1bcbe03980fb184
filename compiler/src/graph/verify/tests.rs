//! Rules that no text can break: the reader of text would not make such graphs.

use std::sync::Arc;

use super::*;
use crate::graph::{Axis, Entry, Node, Value};
use crate::ops::{Carry, Input, Scan, Unary};
use crate::scalar;

/// A module with one entry, whose graph goes from an input `x: f32[d]` to an output of that type.
fn module(fill: impl FnOnce(&mut Graph, Axis, Value) -> Value) -> Module {
    let mut module = text::parse("module m\naxis d = 4\ngraph @f(%x: f32[d]) -> (f32[d]) {\n  return %x\n}\n").unwrap();
    let Entry { graph, inputs, .. } = &mut module.entries[0];
    let axis = inputs[0].order[0];
    *graph = Graph::default();
    let x = push(graph, Input { index: 0, ty: inputs[0].ty() }, &[]);
    let y = fill(graph, axis, x);
    graph.results = vec![y];
    module
}

/// A node that gives what an input of the module is.
fn push(graph: &mut Graph, op: impl Into<Op>, operands: &[Value]) -> Value {
    let op = op.into();
    let ty = match &op {
        Op::Input(x) => x.ty.clone(),
        Op::Carry(x) => x.ty.clone(),
        _ => graph.ty(operands[0]).clone(),
    };
    Value::of(graph.push(Node { op, types: vec![ty], span: None, made_by: "", name: None }, operands))
}

fn faults(module: &Module) -> Vec<String> {
    verify(module).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn v01_an_operand_stands_before_its_user() {
    let module = module(|graph, _, x| {
        let y = push(graph, Unary { f: scalar::Unary::Exp }, &[x]);
        graph.push(graph.node(y.node).clone(), &[Value::of(NodeIndex::new(graph.len()))]);
        y
    });
    assert_eq!(faults(&module), ["error[V01]: graph @f, %1 = unary: operand 0 stands after it"]);
}

#[test]
fn v09_loops_nest_at_most_as_deep_as_the_text_form_allows() {
    let nested = |depth: usize| {
        module(|graph, axis, x| {
            let ty = graph.ty(x).clone();
            let body = (0..depth).fold(None, |body: Option<Graph>, _| {
                let mut outer = Graph::default();
                let carry = push(&mut outer, Carry { index: 0, ty: ty.clone() }, &[]);
                outer.results = vec![match body {
                    Some(body) => push(&mut outer, scan(axis, body), &[carry]),
                    None => carry,
                }];
                Some(outer)
            });
            body.map_or(x, |body| push(graph, scan(axis, body), &[x]))
        })
    };
    let deepest = nested(MAX_DEPTH);
    assert_eq!(faults(&deepest), [""; 0]);
    let printed = text::print(&deepest);
    assert_eq!(text::parse(&printed).map(|m| text::print(&m)).as_deref().ok(), Some(printed.as_str()));
    let found = faults(&nested(MAX_DEPTH + 1));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("= scan: nests deeper than 64") && found[0].starts_with("error[V09]: "), "{found:?}");
}

/// A loop with one carry.
fn scan(axis: Axis, body: Graph) -> Scan {
    Scan { axis, reverse: false, carries: 1, items: 0, body: Arc::new(body) }
}
