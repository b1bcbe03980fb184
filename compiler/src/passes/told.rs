//! Loops are told which rows of their results anybody needs.
//!
//! Before: `select(%hit, loop(..), %other)`, whose loop knows nothing of `%hit`. After: the loop captures `%hit`; nothing in its body reads
//! it, but what is needed of the results is then a condition that the body has (`fuse/needed.rs`), and rows that nobody will look at cost
//! nothing in any iteration: an arm of a route runs for the rows that chose it. Does nothing where a condition is made of the loop's own
//! results, varies along its axis, or tells of all rows at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::fuse::{Need, Needs};
use crate::graph::{Graph, Module, Remake, Sizes, Value};
use crate::ops::{Capture, Op, Scan};
use crate::pipeline::{OptimizeOptions, Report};

pub fn tell(mut module: Module, _: &OptimizeOptions, _: &mut Report) -> Result<Module, String> {
    for entry in &mut module.entries {
        let needs = Needs::of_graph(&entry.graph);
        entry.graph = graph(&entry.graph, &needs, &mut module.sizes)?;
    }
    Ok(module)
}

fn graph(old: &Graph, needs: &Needs, sizes: &mut Sizes) -> Result<Graph, String> {
    let mut told: BTreeMap<NodeIndex, Value> = BTreeMap::new();
    for id in old.ids() {
        if let Op::Scan(scan) = &old.node(id).op
            && let Some(flag) = flag(old, needs, id, scan)
            && !is_below(old, &told, flag.node, id)
        {
            told.insert(id, flag);
        }
    }
    if told.is_empty() && !old.ids().any(|id| matches!(old.node(id).op, Op::Scan(_))) {
        return Ok(old.clone());
    }
    let mut loops: BTreeMap<NodeIndex, Scan> = BTreeMap::new();
    for id in old.ids() {
        let Op::Scan(scan) = &old.node(id).op else { continue };
        let mut operands = old.operands(id);
        let mut scan = scan.clone();
        if let Some(flag) = told.get(&id) {
            let index = operands.len() as u32 - scan.carries - scan.items;
            scan.body = Arc::new(with_capture(&scan.body, Capture { index, ty: old.ty(*flag).clone() }, sizes)?);
            operands.push(*flag);
        }
        let inside = needs.within(&scan, &operands, id);
        scan.body = Arc::new(graph(&scan.body, &inside, sizes)?);
        loops.insert(id, scan);
    }
    let mut remake = Remake::new(old, sizes);
    for id in order(old, &told) {
        let mut operands = remake.operands(id);
        operands.extend(told.get(&id).map(|flag| remake.value(*flag)));
        let op = loops.get(&id).map_or_else(|| old.node(id).op.clone(), |scan| scan.clone().into());
        remake.put(id, op, &operands)?;
    }
    Ok(remake.finish())
}

/// The condition that a loop is to be told: that of all its results, if it does not know it.
fn flag(graph: &Graph, needs: &Needs, id: NodeIndex, scan: &Scan) -> Option<Value> {
    let results = (0..graph.node(id).types.len() as u32).map(|result| needs.of(Value { node: id, result }));
    let Need::Where(flag, _) = results.reduce(Need::join)? else { return None };
    let axes = &graph.ty(flag).axes;
    let is_new = !axes.is_empty() && !axes.contains(scan.axis) && flag.node != id;
    let captured = &graph.operands(id)[(scan.carries + scan.items) as usize..];
    (is_new && !captured.contains(&flag)).then_some(flag)
}

/// Does `from` depend on a node, by operands or by what loops are told?
fn is_below(graph: &Graph, told: &BTreeMap<NodeIndex, Value>, from: NodeIndex, node: NodeIndex) -> bool {
    let (mut seen, mut below) = (BTreeSet::new(), vec![from]);
    while let Some(id) = below.pop() {
        if id == node {
            return true;
        }
        if seen.insert(id) {
            below.extend(graph.operands(id).iter().chain(told.get(&id)).map(|v| v.node));
        }
    }
    false
}

/// All nodes, each behind what it depends on.
fn order(graph: &Graph, told: &BTreeMap<NodeIndex, Value>) -> Vec<NodeIndex> {
    let (mut order, mut done) = (Vec::new(), BTreeSet::new());
    for id in graph.ids() {
        // Without recursion over the depth of the graph.
        let mut stack = vec![(id, false)];
        while let Some((id, is_ready)) = stack.pop() {
            if done.contains(&id) {
                continue;
            }
            if is_ready {
                done.insert(id);
                order.push(id);
                continue;
            }
            stack.push((id, true));
            stack.extend(graph.operands(id).iter().chain(told.get(&id)).map(|v| (v.node, false)));
        }
    }
    order
}

/// A loop's body with one more capture.
fn with_capture(old: &Graph, capture: Capture, sizes: &mut Sizes) -> Result<Graph, String> {
    let mut remake = Remake::new(old, sizes);
    remake.build.try_add(capture, &[]).map_err(|e| e.to_string())?;
    for id in old.ids() {
        let operands = remake.operands(id);
        remake.put(id, old.node(id).op.clone(), &operands)?;
    }
    Ok(remake.finish())
}
