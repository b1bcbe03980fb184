//! What nothing reads goes: nodes, and the carries, yields and operands of loops.
//!
//! Before: a loop that yields what no one asks for, from items that only that yield reads. After: neither. Carries stay if their
//! result or their own next value of a live one is read: a carry that only feeds itself goes. Does nothing where all is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::graph::{Graph, Module, Remake, Sizes, Value};
use crate::ops::{self, Op, Scan};
use crate::pipeline::{OptimizeOptions, Report};

pub fn dead_code(mut module: Module, _: &OptimizeOptions, _: &mut Report) -> Result<Module, String> {
    for entry in &mut module.entries {
        entry.graph = graph(&entry.graph, &mut module.sizes)?;
    }
    module.load = graph(&module.load, &mut module.sizes)?;
    Ok(module)
}

fn graph(old: &Graph, sizes: &mut Sizes) -> Result<Graph, String> {
    let mut live: BTreeSet<Value> = old.results.iter().copied().collect();
    let mut loops: BTreeMap<NodeIndex, Slim> = BTreeMap::new();
    for id in old.ids().collect::<Vec<_>>().into_iter().rev() {
        let node = old.node(id);
        let read: Vec<usize> =
            (0..node.types.len()).filter(|r| live.contains(&Value { node: id, result: *r as u32 })).collect();
        if read.is_empty() {
            continue;
        }
        let operands = old.operands(id);
        match &node.op {
            Op::Scan(scan) => {
                let slim = Slim::of(scan, &read, sizes)?.or_whole(scan, operands.len());
                live.extend(slim.operands.iter().map(|i| operands[*i]));
                loops.insert(id, slim);
            }
            _ => live.extend(operands),
        }
    }
    let mut remake = Remake::new(old, sizes);
    for id in old.ids() {
        let node = old.node(id);
        if let Some(slim) = loops.get(&id) {
            let operands = old.operands(id);
            let operands: Vec<Value> = slim.operands.iter().map(|i| remake.value(operands[*i])).collect();
            let new = remake.put(id, slim.scan.clone(), &operands)?;
            for (result, was) in slim.results.iter().enumerate() {
                remake.replace(Value { node: id, result: *was as u32 }, Value { node: new, result: result as u32 });
            }
        } else if live.contains(&Value::of(id)) && !matches!(node.op, Op::Scan(_)) {
            let operands = remake.operands(id);
            remake.put(id, node.op.clone(), &operands)?;
        }
    }
    Ok(remake.finish())
}

/// A loop without what is not read of it.
struct Slim {
    scan: Scan,
    /// Operands that stay.
    operands: Vec<usize>,
    /// Results that stay.
    results: Vec<usize>,
}

impl Slim {
    fn of(scan: &Scan, read: &[usize], sizes: &mut Sizes) -> Result<Self, String> {
        let carries = scan.carries as usize;
        let mut keep: BTreeSet<usize> = read.iter().copied().collect();
        let mut used;
        // A carry that a kept result reads is kept, and so on.
        loop {
            let mut body = (*scan.body).clone();
            body.results = keep.iter().map(|r| scan.body.results[*r]).collect();
            used = leaves(&body);
            let more: Vec<usize> = used.carries.iter().map(|c| *c as usize).filter(|c| !keep.contains(c)).collect();
            if more.is_empty() {
                break;
            }
            keep.extend(more);
        }
        // A result of a carry needs the carry.
        let kept_carries: Vec<usize> = keep.iter().copied().filter(|r| *r < carries).collect();
        let results: Vec<usize> = keep.iter().copied().collect();
        let mut body = (*scan.body).clone();
        body.results = results.iter().map(|r| scan.body.results[*r]).collect();
        let items: Vec<u32> = used.items.iter().copied().collect();
        let captures: Vec<u32> = used.captures.iter().copied().collect();
        let place = |list: &[u32], index: u32| list.iter().position(|i| *i == index).unwrap_or(0) as u32;
        let carry_list: Vec<u32> = kept_carries.iter().map(|c| *c as u32).collect();
        let renumbered = renumber(&body, sizes, &|op| match op {
            Op::Carry(c) => ops::Carry { index: place(&carry_list, c.index), ty: c.ty.clone() }.into(),
            Op::Item(i) => ops::Item { index: place(&items, i.index), ty: i.ty.clone() }.into(),
            Op::Capture(c) => ops::Capture { index: place(&captures, c.index), ty: c.ty.clone() }.into(),
            other => other.clone(),
        })?;
        let operands = kept_carries
            .iter()
            .copied()
            .chain(items.iter().map(|i| carries + *i as usize))
            .chain(captures.iter().map(|c| carries + scan.items as usize + *c as usize))
            .collect();
        let body = Arc::new(graph(&renumbered, sizes)?);
        let scan = Scan { carries: carry_list.len() as u32, items: items.len() as u32, body, ..scan.clone() };
        Ok(Self { scan, operands, results })
    }
}

impl Slim {
    /// A loop reads something: one that would read nothing stays as it is.
    fn or_whole(self, scan: &Scan, operands: usize) -> Self {
        if !self.operands.is_empty() {
            return self;
        }
        Self { scan: scan.clone(), operands: (0..operands).collect(), results: (0..scan.body.results.len()).collect() }
    }
}

#[derive(Default)]
struct Leaves {
    carries: BTreeSet<u32>,
    items: BTreeSet<u32>,
    captures: BTreeSet<u32>,
}

/// The leaves that a body's results need.
fn leaves(body: &Graph) -> Leaves {
    let mut found = Leaves::default();
    let mut seen = BTreeSet::new();
    let mut stack: Vec<NodeIndex> = body.results.iter().map(|v| v.node).collect();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        match &body.node(id).op {
            Op::Carry(c) => drop(found.carries.insert(c.index)),
            Op::Item(i) => drop(found.items.insert(i.index)),
            Op::Capture(c) => drop(found.captures.insert(c.index)),
            _ => stack.extend(body.operands(id).iter().map(|v| v.node)),
        }
    }
    found
}

/// A graph with other leaves.
fn renumber(old: &Graph, sizes: &mut Sizes, f: &dyn Fn(&Op) -> Op) -> Result<Graph, String> {
    let mut live = BTreeSet::new();
    let mut stack: Vec<NodeIndex> = old.results.iter().map(|v| v.node).collect();
    while let Some(id) = stack.pop() {
        if live.insert(id) {
            stack.extend(old.operands(id).iter().map(|v| v.node));
        }
    }
    let mut remake = Remake::new(old, sizes);
    for id in live {
        let operands = remake.operands(id);
        remake.put(id, f(&old.node(id).op), &operands)?;
    }
    Ok(remake.finish())
}
