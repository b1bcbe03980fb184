//! Makes a program that fails smaller, as long as it fails: fewer outputs, results moved to what they are made of, nodes replaced by
//! an operand or by a new input, also in the bodies of loops. What is left is short enough to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatec::graph::{Boundary, Builder, Graph, Module, Sizes, Value, text, verify};
use gatec::ops::{self, Op};
use gatec::passes::dead_code;

/// Tries of a smaller program, at most.
const TRIES: usize = 20_000;

/// A step towards a smaller program; nodes and results by number.
#[derive(Clone, Debug)]
enum Edit {
    /// Without this result.
    Drop(usize),
    /// An operand of the node that makes the result takes its place.
    Lower { result: usize, operand: usize },
    /// Who reads the node reads its operand.
    Bypass { node: usize, operand: usize },
    /// The node is an input.
    Input(usize),
    /// A bypass in the body of a loop.
    Inside { node: usize, inner: usize, operand: usize },
}

/// A small program of which `fails` still holds, as text; `module` is one.
pub fn shrunk(module: &Module, fails: &dyn Fn(&Module) -> bool) -> String {
    let mut best = module.clone();
    let mut tries = 0;
    'smaller: loop {
        for edit in edits(&best) {
            tries += 1;
            if tries > TRIES {
                break 'smaller;
            }
            let smaller = edited(&best, &edit).filter(|m| size(m) < size(&best) && verify::verify(m).is_ok());
            if let Some(smaller) = smaller.filter(fails) {
                best = smaller;
                continue 'smaller;
            }
        }
        break;
    }
    text::print(&without_unused(best))
}

/// What must fall with every edit, so that they end: nodes that are no leaves, then results.
fn size(module: &Module) -> (usize, usize) {
    fn nodes(graph: &Graph) -> usize {
        graph
            .ids()
            .map(|id| match &graph.node(id).op {
                Op::Scan(scan) => 1 + nodes(&scan.body),
                _ if graph.operands(id).is_empty() => 0,
                _ => 1,
            })
            .sum()
    }
    let graph = &module.entries[0].graph;
    (nodes(graph), graph.results.len())
}

/// The great steps first.
fn edits(module: &Module) -> Vec<Edit> {
    let graph = &module.entries[0].graph;
    let mut all: Vec<Edit> = (0..graph.results.len()).rev().map(Edit::Drop).collect();
    for (result, value) in graph.results.iter().enumerate() {
        all.extend((0..graph.operands(value.node).len()).map(|operand| Edit::Lower { result, operand }));
    }
    let ids: Vec<_> = graph.ids().collect();
    all.extend(ids.iter().rev().map(|id| Edit::Input(id.index())));
    for id in ids.into_iter().rev() {
        let node = id.index();
        all.extend((0..graph.operands(id).len()).map(|operand| Edit::Bypass { node, operand }));
        if let Op::Scan(scan) = &graph.node(id).op {
            for inner in scan.body.ids().rev() {
                let operands = 0..scan.body.operands(inner).len();
                all.extend(operands.map(|operand| Edit::Inside { node, inner: inner.index(), operand }));
            }
        }
    }
    all
}

/// The program after a step; `None` where it does not fit.
fn edited(module: &Module, edit: &Edit) -> Option<Module> {
    let mut module = module.clone();
    let entry = &mut module.entries[0];
    let old = entry.graph.clone();
    match *edit {
        Edit::Drop(result) => {
            if old.results.len() < 2 {
                return None;
            }
            entry.graph.results.remove(result);
            if let Some(state) = result.checked_sub(entry.outputs.len()) {
                entry.next_states.remove(state);
            } else {
                entry.outputs.remove(result);
            }
            if entry.outputs.is_empty() {
                return None;
            }
        }
        Edit::Lower { result, operand } => {
            let output = entry.outputs.get_mut(result)?;
            let value = old.operands(old.results[result].node)[operand];
            let ty = old.ty(value);
            *output = Boundary { elem: ty.elem, order: ty.axes.iter().collect(), ..output.clone() };
            entry.graph.results[result] = value;
        }
        Edit::Bypass { node, operand } => {
            entry.graph = bypassed(&old, node, operand, &mut module.sizes)?;
        }
        Edit::Inside { node, inner, operand } => {
            entry.graph = rebuilt(&old, &mut module.sizes, |build, at, operands| match old.op(at) {
                Op::Scan(scan) if at.node.index() == node => {
                    let body = Arc::new(bypassed(&scan.body, inner, operand, build.sizes)?);
                    let id = build.try_node(ops::Scan { body, ..scan.clone() }, operands).ok()?;
                    Some(build.results(id))
                }
                _ => copied(build, &old, at, operands),
            })?;
        }
        Edit::Input(node) => {
            let index = entry.inputs.len() as u32;
            let id = old.ids().nth(node)?;
            let [ty] = old.node(id).types.as_slice() else { return None };
            if old.operands(id).is_empty() {
                return None;
            }
            let (name, order) = (format!("cut{index}"), ty.axes.iter().collect());
            entry.inputs.push(Boundary { name, elem: ty.elem, order });
            entry.graph = rebuilt(&old, &mut module.sizes, |build, at, operands| match at.node == id {
                true => Some(vec![build.try_add(ops::Input { index, ty: ty.clone() }, &[]).ok()?]),
                false => copied(build, &old, at, operands),
            })?;
        }
    }
    dead_code(module, &Default::default(), &mut Default::default()).ok()
}

/// The graph in which an operand of the same type stands for a node.
fn bypassed(old: &Graph, node: usize, operand: usize, sizes: &mut Sizes) -> Option<Graph> {
    let id = old.ids().nth(node)?;
    let value = *old.operands(id).get(operand)?;
    if old.node(id).types != [old.ty(value).clone()] {
        return None;
    }
    rebuilt(old, sizes, |build, at, operands| match at.node == id {
        true => Some(vec![operands[operand]]),
        false => copied(build, old, at, operands),
    })
}

fn copied(build: &mut Builder, old: &Graph, at: Value, operands: &[Value]) -> Option<Vec<Value>> {
    let id = build.copy(old.node(at.node), operands).ok()?;
    Some(build.results(id))
}

/// A graph node by node; `make` gives what stands for the results of each.
fn rebuilt(
    old: &Graph,
    sizes: &mut Sizes,
    mut make: impl FnMut(&mut Builder, Value, &[Value]) -> Option<Vec<Value>>,
) -> Option<Graph> {
    let mut build = Builder::new(sizes);
    let mut values: BTreeMap<Value, Value> = BTreeMap::new();
    for id in old.ids() {
        let operands: Vec<Value> = old.operands(id).iter().map(|v| values[v]).collect();
        for (result, value) in make(&mut build, Value::of(id), &operands)?.into_iter().enumerate() {
            values.insert(Value { node: id, result: result as u32 }, value);
        }
    }
    let results = old.results.iter().map(|v| values.get(v).copied()).collect::<Option<Vec<_>>>()?;
    Some(build.finish(results))
}

/// Without inputs and parameters that nothing reads.
fn without_unused(module: Module) -> Module {
    let mut new = module.clone();
    let (mut inputs, mut params) = (BTreeMap::<u32, u32>::new(), BTreeMap::<u32, u32>::new());
    let graph = &module.entries[0].graph;
    for id in graph.ids() {
        match &graph.node(id).op {
            Op::Input(input) => inputs.insert(input.index, 0),
            Op::Param(param) => params.insert(param.index, 0),
            _ => None,
        };
    }
    inputs.values_mut().enumerate().for_each(|(i, to)| *to = i as u32);
    params.values_mut().enumerate().for_each(|(i, to)| *to = i as u32);
    let kept = |index: usize, of: &BTreeMap<u32, u32>| of.contains_key(&(index as u32));
    let entry = &mut new.entries[0];
    entry.inputs = (0..entry.inputs.len()).filter(|i| kept(*i, &inputs)).map(|i| entry.inputs[i].clone()).collect();
    new.params = (0..new.params.len()).filter(|i| kept(*i, &params)).map(|i| new.params[i].clone()).collect();
    let graph = rebuilt(graph, &mut new.sizes, |build, at, operands| {
        let mut node = graph.node(at.node).clone();
        match &mut node.op {
            Op::Input(input) => input.index = inputs[&input.index],
            Op::Param(param) => param.index = params[&param.index],
            _ => {}
        }
        let id = build.copy(&node, operands).ok()?;
        Some(build.results(id))
    });
    match graph {
        Some(graph) => new.entries[0].graph = graph,
        None => return module,
    }
    if verify::verify(&new).is_ok() { new } else { module }
}

#[cfg(test)]
mod tests {
    use gatec::graph::random::{self, Options};
    use gatec::scalar::Unary;

    use super::*;

    /// Is there a tanh, in a loop or outside?
    fn has_tanh(graph: &Graph) -> bool {
        graph.ids().any(|id| match &graph.node(id).op {
            Op::Unary(unary) => unary.f == Unary::Tanh,
            Op::Scan(scan) => has_tanh(&scan.body),
            _ => false,
        })
    }

    #[test]
    fn of_a_program_that_fails_by_one_node_little_more_than_that_node_is_left() {
        let fails = |module: &Module| has_tanh(&module.entries[0].graph);
        let mut found = 0;
        // What nothing reads goes with the first edit.
        let live = |module| dead_code(module, &Default::default(), &mut Default::default()).expect("it is well typed");
        for module in (0..60).map(|seed| live(random::module(seed, &Options::default()))).filter(fails) {
            let text = shrunk(&module, &fails);
            let small = text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert!(fails(&small), "{text}");
            // The node, with what makes the type of a state of it; in a loop, the loop.
            let most = if text.contains("scan[") { 8 } else { 3 };
            assert!(size(&small).0 <= most, "of {:?}:\n{text}", size(&module));
            found += 1;
        }
        assert!(found > 10, "{found} programs have one");
    }
}
