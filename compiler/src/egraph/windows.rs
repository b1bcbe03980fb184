//! Long regions are rewritten in windows, so that a build takes time in proportion to its layers.
//!
//! Rules and extraction take more than linear time in the terms of an e-graph, and a network of many layers, written one by one, is
//! one region. But what a rule looks at stands close together, and between the layers of a network little passes: a region beyond
//! a limit of nodes is cut where the fewest values cross, and each window has an e-graph of its own, in which what crossed is a
//! capture. Parameters, numbers and views of them are not cut off but copied into each window that reads them. What a rule could have
//! found across a cut is lost; equal nodes of two windows become one again.
//!
//! Windows number their parameters themselves: those of equal layers are equal, and equal windows are rewritten once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use petgraph::graph::NodeIndex;

use super::is_free;
use super::term::is_at_load;
use crate::graph::{Builder, Graph, Node, Sizes, Span, Value};
use crate::ops::{self, Op};

/// A part of a region, as a region.
pub struct Window {
    pub graph: Graph,
    /// What its results are in the region.
    pub results: Vec<Value>,
    /// What it captures of windows before it, beyond the captures of the region itself, and whether that is known at load.
    pub captured: Vec<(Value, bool)>,
    /// The number of the first of these captures.
    pub first: u32,
    /// Parameters of the module, by their number in the window.
    pub params: Vec<u32>,
}

/// The windows of a region, in order; none if it has no more than `whole` nodes. `known` tells of leaves.
pub fn cut(
    region: &Graph,
    whole: usize,
    sizes: &mut Sizes,
    known: &dyn Fn(&Op) -> bool,
) -> Result<Vec<Window>, String> {
    if region.len() <= whole {
        return Ok(Vec::new());
    }
    // Of two windows, room enough to find a place where little crosses; the last has up to their sum.
    let (shortest, longest) = (whole.div_ceil(3), whole.div_ceil(3) * 2);
    let about = About::new(region, sizes, known);
    let mut windows = Vec::new();
    let mut start = 0;
    while start < region.len() {
        let end = match region.len() - start {
            rest if rest <= shortest + longest => region.len(),
            _ => (start + shortest..=start + longest)
                .min_by_key(|at| (about.crossing[*at], usize::MAX - at))
                .unwrap_or(start + longest),
        };
        windows.push(about.window(start..end, sizes)?);
        start = end;
    }
    Ok(windows)
}

/// What windows became, as one region.
pub fn join(region: &Graph, windows: &[Window], new: &[Graph], sizes: &mut Sizes) -> Result<Graph, String> {
    let mut build = Builder::new(sizes);
    let mut made: BTreeMap<Value, Value> = BTreeMap::new();
    for (window, graph) in windows.iter().zip(new) {
        let mut values: BTreeMap<Value, Value> = BTreeMap::new();
        for id in graph.ids() {
            let node = graph.node(id);
            if let Op::Capture(capture) = &node.op
                && let Some((value, _)) =
                    capture.index.checked_sub(window.first).and_then(|i| window.captured.get(i as usize))
            {
                values.insert(Value::of(id), made[value]);
                continue;
            }
            let operands: Vec<Value> = graph.operands(id).iter().map(|v| values[v]).collect();
            let named = numbered(node, |index| window.params[index as usize]);
            let copy = build.copy(&named, &operands).map_err(|e| e.to_string())?;
            values.extend(results(graph, id).map(|v| (v, Value { node: copy, result: v.result })));
        }
        made.extend(window.results.iter().zip(&graph.results).map(|(value, result)| (*value, values[result])));
    }
    let results = region.results.iter().map(|v| made[v]).collect();
    Ok(build.finish(results))
}

/// What became of a graph as what became of an equal one: source lines and names are those of the equal one's nodes.
pub fn told_of(new: &Graph, graph: &Graph, equal: &Graph) -> Graph {
    let nodes = || graph.ids().map(|id| (graph.node(id), equal.node(id)));
    let spans: BTreeMap<Span, Option<Span>> = nodes().filter_map(|(a, b)| Some((a.span?, b.span))).collect();
    let names: BTreeMap<&str, &Option<String>> =
        nodes().filter_map(|(a, b)| Some((a.name.as_deref()?, &b.name))).collect();
    let mut told = new.clone();
    for id in new.ids() {
        let node = told.node_mut(id);
        node.span = node.span.and_then(|span| spans.get(&span).copied().flatten());
        node.name = node.name.as_deref().and_then(|name| names.get(name).copied().cloned().flatten());
    }
    told
}

/// A node with another number, if it is a parameter.
fn numbered(node: &Node, mut number: impl FnMut(u32) -> u32) -> Node {
    let mut node = node.clone();
    if let Op::Param(param) = &mut node.op {
        param.index = number(param.index);
    }
    node
}

fn results(graph: &Graph, id: NodeIndex) -> impl Iterator<Item = Value> + use<> {
    (0..graph.node(id).types.len() as u32).map(move |result| Value { node: id, result })
}

/// What cuts ask of a region.
struct About<'a> {
    region: &'a Graph,
    /// For each node: is it copied to where it is read? Is it known at load?
    copied: Vec<bool>,
    at_load: Vec<bool>,
    /// For each place, how many nodes before it are read behind it.
    crossing: Vec<usize>,
    /// The first number of no capture.
    first: u32,
}

impl<'a> About<'a> {
    fn new(region: &'a Graph, sizes: &Sizes, known: &dyn Fn(&Op) -> bool) -> Self {
        let mut about = Self { region, copied: Vec::new(), at_load: Vec::new(), crossing: Vec::new(), first: 0 };
        // For each node the last that reads it; the end of the region for its results.
        let mut last_read = vec![0; region.len()];
        for id in region.ids() {
            let node = region.node(id);
            let operands = region.operands(id);
            let at_load: Vec<bool> = operands.iter().map(|v| about.at_load[v.node.index()]).collect();
            about.at_load.push(is_at_load(&node.op, &node.types[0], &at_load, sizes, known));
            let is_copied = |v: &Value| about.copied[v.node.index()];
            about.copied.push(is_free(&node.op) && (operands.is_empty() || operands.iter().all(is_copied)));
            operands.iter().for_each(|v| last_read[v.node.index()] = id.index());
            if let Op::Capture(capture) = &node.op {
                about.first = about.first.max(capture.index + 1);
            }
        }
        region.results.iter().for_each(|v| last_read[v.node.index()] = region.len());
        // Where a node begins to cross, and where it has ended.
        let (mut begins, mut ends) = (vec![0; region.len() + 1], vec![0; region.len() + 2]);
        for (node, last) in last_read.into_iter().enumerate().filter(|(node, last)| last > node && !about.copied[*node])
        {
            begins[node + 1] += 1;
            ends[last + 1] += 1;
        }
        let mut crossing = 0;
        for (begin, end) in begins.into_iter().zip(ends) {
            crossing = crossing + begin - end;
            about.crossing.push(crossing);
        }
        about
    }

    fn window(&self, range: Range<usize>, sizes: &mut Sizes) -> Result<Window, String> {
        let region = self.region;
        let is_before = |v: &Value| v.node.index() < range.start;
        // All that is needed of other windows, and what of that is copied.
        let mut needed: BTreeSet<Value> = BTreeSet::new();
        let mut stack: Vec<Value> = Vec::new();
        for id in range.clone().map(NodeIndex::new) {
            stack.extend(region.operands(id).into_iter().filter(is_before));
        }
        while let Some(value) = stack.pop() {
            if needed.insert(value) && self.copied[value.node.index()] {
                stack.extend(region.operands(value.node));
            }
        }
        let first = self.first;
        let mut captured: Vec<(Value, bool)> = Vec::new();
        let mut build = Builder::new(sizes);
        let mut params: Vec<u32> = Vec::new();
        let mut number = |index: u32| {
            let place = params.iter().position(|p| *p == index);
            place.unwrap_or_else(|| {
                params.push(index);
                params.len() - 1
            }) as u32
        };
        let mut values: BTreeMap<Value, Value> = BTreeMap::new();
        for value in needed {
            let node = region.node(value.node);
            let made = if self.copied[value.node.index()] {
                let operands: Vec<Value> = region.operands(value.node).iter().map(|v| values[v]).collect();
                build.copy(&numbered(node, &mut number), &operands).map_err(|e| e.to_string())?
            } else {
                let capture = ops::Capture { index: first + captured.len() as u32, ty: region.ty(value).clone() };
                captured.push((value, self.at_load[value.node.index()]));
                build.try_node(capture, &[]).map_err(|e| e.to_string())?
            };
            // A copied node has one result, and so has a capture.
            values.insert(value, Value::of(made));
        }
        let mut leaving = Vec::new();
        for id in range.clone().map(NodeIndex::new) {
            let operands: Vec<Value> = region.operands(id).iter().map(|v| values[v]).collect();
            let copy = build.copy(&numbered(region.node(id), &mut number), &operands).map_err(|e| e.to_string())?;
            for value in results(region, id) {
                values.insert(value, Value { node: copy, result: value.result });
                let is_read = || region.uses(value).iter().any(|(user, _)| user.index() >= range.end);
                if region.results.contains(&value) || (!self.copied[id.index()] && is_read()) {
                    leaving.push(value);
                }
            }
        }
        let graph = build.finish(leaving.iter().map(|v| values[v]).collect());
        Ok(Window { graph, results: leaving, captured, first, params })
    }
}
