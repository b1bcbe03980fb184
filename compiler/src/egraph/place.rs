//! Placement: where a value is computed follows from what it varies with. Rules say nothing of it.
//!
//! - [`hoist`]: a contraction in a loop's body that varies with the loop's items alone is computed outside, for all iterations at once:
//!   the input half of a recurrence becomes one product over the whole sequence. Sums are split into the part that varies with the
//!   carries and the rest, so that biases go along. What is made of parameters alone goes, too, and functions of items whose results are
//!   spread over further axes in every iteration. Other pointwise work stays: outside it would be written and read again.
//! - [`at_load`]: what is made of parameters and numbers by more than views is computed when the model is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gatec_lang::program::Span;
use petgraph::graph::NodeIndex;

use super::{Line, is_free};
use crate::fuse::{divides, is_dear};
use crate::graph::{Builder, Graph, Module, Remake, Sizes, Type, Value};
use crate::ops::{self, Class, Op, Scan};
use crate::pipeline::{Fired, OptimizeOptions, Report};

/// The pass: loops of all entries, inner ones first.
pub fn hoist(mut module: Module, _: &OptimizeOptions, report: &mut Report) -> Result<Module, String> {
    let mut moved = vec![Vec::new(); module.entries.len()];
    for (entry, moved) in module.entries.iter_mut().zip(&mut moved) {
        entry.graph = hoist_graph(&entry.graph, &mut module.sizes, moved)?;
    }
    let why = "what varies with a loop's items alone is computed for all iterations at once";
    tell(&module, report, "out-of-the-loop", why, &moved);
    Ok(module)
}

/// Reports what was placed elsewhere, by entry; the line is that of the first.
fn tell(module: &Module, report: &mut Report, rule: &'static str, why: &'static str, placed: &[Vec<Option<Span>>]) {
    for (entry, spans) in module.entries.iter().zip(placed).filter(|(_, spans)| !spans.is_empty()) {
        let lines: BTreeSet<Line> = spans.iter().flatten().filter_map(|span| module.line_of(*span)).collect();
        let lines = lines.into_iter().collect();
        report.fired.push(Fired { rule, why, entry: entry.title(), count: spans.len(), lines, without_ns: None });
    }
}

fn hoist_graph(old: &Graph, sizes: &mut Sizes, moved: &mut Vec<Option<Span>>) -> Result<Graph, String> {
    let mut bodies: BTreeMap<usize, Split> = BTreeMap::new();
    for id in old.ids() {
        if let Op::Scan(scan) = &old.node(id).op {
            let body = hoist_graph(&scan.body, sizes, moved)?;
            bodies.insert(id.index(), split(&body, sizes)?);
        }
    }
    let mut remake = Remake::new(old, sizes);
    for id in old.ids() {
        let operands = remake.operands(id);
        match (old.op(Value::of(id)), bodies.get(&id.index())) {
            (Op::Scan(scan), Some(split)) => {
                let (scan, operands) = move_out(scan, split, &operands, &mut remake.build, moved)?;
                remake.put(id, scan, &operands)?;
            }
            (op, _) => drop(remake.put(id, op.clone(), &operands)?),
        }
    }
    Ok(remake.finish())
}

/// A body whose sums are split, and which of its values are to be computed outside.
struct Split {
    body: Graph,
    moved: Vec<Value>,
}

fn split(old: &Graph, sizes: &mut Sizes) -> Result<Split, String> {
    let mut remake = Remake::new(old, sizes);
    // Does a new value vary with carries or the iteration's number? Is a contraction in what it is made of?
    let mut varies: BTreeMap<Value, bool> = BTreeMap::new();
    let mut heavy: BTreeMap<Value, bool> = BTreeMap::new();
    for id in old.ids() {
        let node = old.node(id);
        let mut operands = remake.operands(id);
        if matches!(node.op, Op::Add(_)) {
            let (fixed, moving): (Vec<Value>, Vec<Value>) = operands.iter().copied().partition(|v| !varies[v]);
            if fixed.len() > 1 && !moving.is_empty() && fixed.iter().any(|v| heavy[v]) {
                let sum = remake.build.try_add(ops::Add, &fixed).map_err(|e| e.to_string())?;
                varies.insert(sum, false);
                heavy.insert(sum, true);
                operands = moving;
                operands.push(sum);
            }
        }
        let new = remake.put(id, node.op.clone(), &operands)?;
        let moves = matches!(node.op, Op::Carry(_) | Op::Step(_) | Op::Scan(_)) || operands.iter().any(|v| varies[v]);
        let is_heavy = matches!(node.op.class(), Class::Contract) || operands.iter().any(|v| heavy[v]);
        for result in 0..node.types.len() as u32 {
            let value = Value { node: new, result };
            varies.insert(value, moves);
            heavy.insert(value, is_heavy);
        }
    }
    let body = remake.finish();
    // The last values that do not vary: what varying ones read.
    let mut moved = BTreeSet::new();
    for id in body.ids() {
        for result in 0..body.node(id).types.len() as u32 {
            let value = Value { node: id, result };
            if varies[&value] || is_leaf(&body, value) {
                continue;
            }
            let frontier =
                body.results.contains(&value) || body.uses(value).iter().any(|(user, _)| varies[&Value::of(*user)]);
            if frontier && (heavy[&value] || of_parameters(&body, value)) {
                moved.insert(value);
            } else if frontier && let Some(value) = dear_once(&body, value, &varies, sizes) {
                moved.insert(value);
            }
        }
    }
    Ok(Split { body, moved: moved.into_iter().collect() })
}

fn is_leaf(graph: &Graph, value: Value) -> bool {
    graph.op(value).class() == Class::Leaf
}

/// A dear function, or a division, that is spread over further axes in every iteration: inside it would be evaluated for one row at a time.
fn dear_once(body: &Graph, value: Value, varies: &BTreeMap<Value, bool>, sizes: &Sizes) -> Option<Value> {
    let spread = match body.op(value) {
        Op::Broadcast(_) => body.operands(value.node)[0],
        _ => value,
    };
    let is_dear = |op: &Op| is_dear(op) || divides(op);
    if is_leaf(body, spread) || !cone(body, spread).into_iter().any(|id| is_dear(&body.node(id).op)) {
        return None;
    }
    let axes = &body.ty(spread).axes;
    let is_wider = |of: Value| body.ty(of).axes.iter().any(|a| !axes.contains(a) && sizes.known(a) != Some(1));
    let users = body.uses(value).into_iter().map(|(user, _)| Value::of(user)).filter(|user| varies[user]);
    users.into_iter().any(is_wider).then_some(spread)
}

/// Is it made of captures alone, by more than views of one? Such a value is the same in every iteration.
fn of_parameters(body: &Graph, value: Value) -> bool {
    let (mut work, mut captured) = (false, false);
    for id in cone(body, value) {
        match &body.node(id).op {
            Op::Item(_) => return false,
            Op::Capture(_) => captured = true,
            Op::Stack(_) | Op::Concat(_) => work = true,
            op => work |= !is_free(op),
        }
    }
    work && captured
}

/// The nodes that a value is made of, itself included, in order.
fn cone(graph: &Graph, value: Value) -> BTreeSet<NodeIndex> {
    let mut cone = BTreeSet::new();
    let mut stack = vec![value.node];
    while let Some(id) = stack.pop() {
        if cone.insert(id) {
            stack.extend(graph.operands(id).iter().map(|v| v.node));
        }
    }
    cone
}

/// The loop without the values that moved, which become items and captures, and its operands.
fn move_out(
    scan: &Scan,
    split: &Split,
    operands: &[Value],
    build: &mut Builder,
    moved: &mut Vec<Option<Span>>,
) -> Result<(Scan, Vec<Value>), String> {
    let (carries, items) = (scan.carries as usize, scan.items as usize);
    let mut new_items: Vec<(Value, Value, Type)> = Vec::new();
    let mut new_captures: Vec<(Value, Value, Type)> = Vec::new();
    for &value in &split.moved {
        // The same ops outside: items keep the loop's axis, and what is made of them has it, too.
        let mut outside: BTreeMap<Value, Value> = BTreeMap::new();
        let mut movable = true;
        for id in cone(&split.body, value) {
            let node = split.body.node(id);
            // Outside, elements along the loop's axis go with the iterations: what has that axis within stays within.
            if node.types.iter().any(|t| t.axes.contains(scan.axis)) {
                movable = false;
                break;
            }
            let inner: Vec<Value> = split.body.operands(id).iter().map(|v| outside[v]).collect();
            build.span = node.span;
            build.made_by = node.made_by;
            let made = match &node.op {
                Op::Item(item) => operands[carries + item.index as usize],
                Op::Capture(capture) => operands[carries + items + capture.index as usize],
                op => match build.try_node(op.clone(), &inner) {
                    Ok(id) => Value::of(id),
                    // The loop's axis is in the way: the value stays where it is.
                    Err(_) => {
                        movable = false;
                        break;
                    }
                },
            };
            outside.insert(Value::of(id), made);
        }
        if !movable {
            continue;
        }
        moved.push(split.body.node(value.node).span);
        let made = outside[&value];
        let ty = split.body.ty(value).clone();
        let has_axis = build.ty(made).axes.contains(scan.axis);
        if has_axis { new_items.push((value, made, ty)) } else { new_captures.push((value, made, ty)) }
    }
    let mut replaced: BTreeMap<Value, Op> = BTreeMap::new();
    for (i, (value, _, ty)) in new_items.iter().enumerate() {
        replaced.insert(*value, ops::Item { index: (items + i) as u32, ty: ty.clone() }.into());
    }
    let captures = operands.len() - carries - items;
    for (i, (value, _, ty)) in new_captures.iter().enumerate() {
        replaced.insert(*value, ops::Capture { index: (captures + i) as u32, ty: ty.clone() }.into());
    }
    let body = replace(&split.body, build.sizes, &replaced)?;
    let mut all: Vec<Value> = operands[..carries + items].to_vec();
    all.extend(new_items.iter().map(|(_, made, _)| *made));
    all.extend(&operands[carries + items..]);
    all.extend(new_captures.iter().map(|(_, made, _)| *made));
    let scan = Scan { items: (items + new_items.len()) as u32, body: Arc::new(body), ..scan.clone() };
    Ok((scan, all))
}

/// A graph in which some values are leaves.
fn replace(old: &Graph, sizes: &mut Sizes, with: &BTreeMap<Value, Op>) -> Result<Graph, String> {
    let mut remake = Remake::new(old, sizes);
    for id in old.ids() {
        let operands = remake.operands(id);
        match with.get(&Value::of(id)) {
            Some(leaf) => remake.put(id, leaf.clone(), &[])?,
            None => remake.put(id, old.node(id).op.clone(), &operands)?,
        };
    }
    Ok(remake.finish())
}

/// The pass: a load graph, and entries that read its results.
pub fn at_load(mut module: Module, _: &OptimizeOptions, report: &mut Report) -> Result<Module, String> {
    for entry in &mut module.entries {
        entry.graph = join_known(&entry.graph, &mut module.sizes)?;
    }
    let mut found: Vec<(usize, Value)> = Vec::new();
    for (number, entry) in module.entries.iter().enumerate() {
        found.extend(loadable(&entry.graph, &module.sizes).into_iter().map(|v| (number, v)));
    }
    let mut placed = vec![Vec::new(); module.entries.len()];
    for (number, value) in &found {
        placed[*number].push(module.entries[*number].graph.node(value.node).span);
    }
    let why = "what is made of parameters alone is computed when the model is loaded";
    tell(&module, report, "once-at-load", why, &placed);
    // The load graph: values of several entries that are equal become one, for the builder shares.
    let mut load = Builder::new(&mut module.sizes);
    let mut results: Vec<Value> = Vec::new();
    let mut leaves: Vec<BTreeMap<Value, Op>> = vec![BTreeMap::new(); module.entries.len()];
    for (number, value) in found {
        let graph = &module.entries[number].graph;
        let mut values: BTreeMap<Value, Value> = BTreeMap::new();
        for id in cone(graph, value) {
            let node = graph.node(id);
            load.span = node.span;
            load.made_by = node.made_by;
            let operands: Vec<Value> = graph.operands(id).iter().map(|v| values[v]).collect();
            let made = load.try_node(node.op.clone(), &operands).map_err(|e| e.to_string())?;
            values.insert(Value::of(id), Value::of(made));
        }
        let made = values[&value];
        let index = results.iter().position(|r| *r == made).unwrap_or_else(|| {
            results.push(made);
            results.len() - 1
        });
        let leaf = ops::Loaded { index: index as u32, ty: graph.ty(value).clone() };
        leaves[number].insert(value, leaf.into());
    }
    module.load = load.finish(results);
    for (entry, leaves) in module.entries.iter_mut().zip(&leaves) {
        entry.graph = replace(&entry.graph, &mut module.sizes, leaves)?;
    }
    Ok(module)
}

/// Sums and products in which what is known at load is one operand: `b1 + b2 + x` as `(b1 + b2) + x`.
fn join_known(old: &Graph, sizes: &mut Sizes) -> Result<Graph, String> {
    let mut remake = Remake::new(old, sizes);
    let mut known: BTreeSet<Value> = BTreeSet::new();
    for id in old.ids() {
        let node = old.node(id);
        let mut operands = remake.operands(id);
        if matches!(node.op, Op::Add(_) | Op::Mul(_)) {
            let (fixed, moving): (Vec<Value>, Vec<Value>) = operands.iter().copied().partition(|v| known.contains(v));
            if fixed.len() > 1 && !moving.is_empty() {
                let joined = remake.build.try_add(node.op.clone(), &fixed).map_err(|e| e.to_string())?;
                known.insert(joined);
                operands = moving;
                operands.push(joined);
            }
        }
        let new = remake.put(id, node.op.clone(), &operands)?;
        let is_known = match &node.op {
            Op::Param(_) | Op::Const(_) | Op::Table(_) => true,
            op => {
                !matches!(op.class(), Class::Leaf | Class::Loop | Class::Select)
                    && !operands.is_empty()
                    && operands.iter().all(|v| known.contains(v))
            }
        };
        if is_known {
            known.extend((0..node.types.len() as u32).map(|result| Value { node: new, result }));
        }
    }
    Ok(remake.finish())
}

/// The last values that are made of parameters, by more than views.
fn loadable(graph: &Graph, sizes: &Sizes) -> Vec<Value> {
    // (made of parameters and numbers alone, a parameter is in it, more than views are)
    let mut known: BTreeMap<Value, (bool, bool, bool)> = BTreeMap::new();
    for id in graph.ids() {
        let op = &graph.node(id).op;
        let operands: Vec<(bool, bool, bool)> = graph.operands(id).iter().map(|v| known[v]).collect();
        let all = operands.iter().all(|o| o.0);
        let fact = match op {
            Op::Param(_) => (true, true, false),
            Op::Const(_) | Op::Table(_) => (true, false, false),
            op if matches!(op.class(), Class::Leaf | Class::Loop | Class::Select) => (false, false, false),
            // What varies along an axis that is bound at run time waits for it.
            _ if !sizes.are_known(&graph.node(id).types[0].axes) => (false, false, false),
            op => (all, operands.iter().any(|o| o.1), !is_free(op) || operands.iter().any(|o| o.2)),
        };
        for result in 0..graph.node(id).types.len() as u32 {
            known.insert(Value { node: id, result }, fact);
        }
    }
    let wanted = |fact: (bool, bool, bool)| fact == (true, true, true);
    let is_last = |value: &Value| {
        graph.results.contains(value) || graph.uses(*value).iter().any(|(user, _)| !wanted(known[&Value::of(*user)]))
    };
    known.iter().filter(|(v, fact)| wanted(**fact) && is_last(v)).map(|(v, _)| *v).collect()
}
