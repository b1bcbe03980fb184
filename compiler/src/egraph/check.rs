//! What came out of an e-graph, beside what went in. Whatever differs is a bug in gatec.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use super::cost::{self, Extents};
use super::extract::Chosen;
use super::scene::Scene;
use crate::graph::interp::{Env, run_graph};
use crate::graph::random::Rng;
use crate::graph::tensor::{self, Tensor};
use crate::graph::{AxisSet, Elem, Graph, Sizes, Type, Value};
use crate::ops::Op;

/// Each class is written with a term of its own, of classes before it: no circle.
pub fn in_classes(scene: &Scene, chosen: &Chosen) -> Result<(), String> {
    let mut done = Vec::new();
    for &class in &chosen.order {
        let term = &scene.egraph[class].nodes[chosen.node[&class]];
        if scene.egraph.lookup(term.clone()).map(|found| scene.egraph.find(found)) != Some(class) {
            return Err(format!("extraction wrote class {class} with a term of another"));
        }
        if term.operands.iter().any(|o| !done.contains(&scene.egraph.find(*o))) {
            return Err(format!("extraction wrote class {class} before its operands"));
        }
        done.push(class);
    }
    Ok(())
}

/// Rounding of sums of costs.
const COST_SLACK: f64 = 1e-6;

/// A graph costs what extraction thought.
pub fn cost(
    graph: &Graph,
    sizes: &Sizes,
    extents: &Extents,
    known: &dyn Fn(&Op) -> bool,
    expected: f64,
) -> Result<(), String> {
    let found = cost::of_graph(graph, sizes, extents, known);
    if (found - expected).abs() > COST_SLACK * expected.abs().max(1.0) {
        return Err(format!("extraction chose a graph of {expected} ns that costs {found} ns"));
    }
    Ok(())
}

/// Multiplications and elements that a comparison may take: larger regions are compared by the tests of random programs only.
const MOST_WORK: f64 = 3e5;
/// Elements along an axis whose size is not known when building.
const SYMBOL: i64 = 3;
/// Relative to the largest value: sums change their order.
const TOLERANCE: f64 = 1e-8;

/// Two graphs of the same leaves mean the same, on random values. Says nothing of regions that are too large, or have no value there.
pub fn meaning(old: &Graph, new: &Graph, sizes: &Sizes) -> Result<(), String> {
    let mut symbols = BTreeMap::new();
    for (_, size) in sizes.iter() {
        symbols.extend(size.symbols().into_iter().map(|s| (s.to_string(), SYMBOL)));
    }
    let Ok(extents) = tensor::Extents::bind(sizes, &symbols) else { return Ok(()) };
    if work(old, &extents) + work(new, &extents) > MOST_WORK {
        return Ok(());
    }
    let mut leaves = Leaves::default();
    for graph in [old, new] {
        for id in graph.ids() {
            leaves.add(&graph.node(id).op, &extents, indices(old, &extents));
        }
    }
    let env = leaves.env(&extents);
    let Ok(expected) = run_graph(old, &env) else { return Ok(()) };
    let found = run_graph(new, &env).map_err(|e| format!("after rewriting a region has no value: {e}"))?;
    // A mask that hides all of a row makes NaN of it, and products with zeros may keep that or not (docs/numerics.md).
    let may_be_nan = LazyCell::new(|| has_nan_inside(old, &env));
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let order: Vec<_> = expected.axes.iter().map(|a| a.0).collect();
        let found = found.ordered(&order);
        let scale = expected.data.iter().filter(|x| x.is_finite()).fold(1.0, |m: f64, x| m.max(x.abs()));
        let is_same = |(a, b): (&f64, &f64)| {
            !a.is_finite() && !b.is_finite()
                || (a - b).abs() <= TOLERANCE * scale
                || (a.is_nan() || b.is_nan()) && *may_be_nan
        };
        if let Some((a, b)) = expected.data.iter().zip(found.data.iter()).find(|(a, b)| !is_same((a, b))) {
            return Err(format!("rewriting changed result {number} of a region: {a} became {b}"));
        }
    }
    Ok(())
}

/// Is any value of a graph no number?
fn has_nan_inside(graph: &Graph, env: &Env) -> bool {
    let mut all = graph.clone();
    all.results = all.ids().map(Value::of).collect();
    run_graph(&all, env).is_ok_and(|values| values.iter().any(|v| v.data.iter().any(|x| x.is_nan())))
}

fn work(graph: &Graph, extents: &tensor::Extents) -> f64 {
    let count = |axes: &AxisSet| extents.count(axes).map_or(f64::INFINITY, |n| n as f64);
    let of = |id| {
        let node = graph.node(id);
        let own = node.types.iter().map(|t| count(&t.axes)).sum::<f64>();
        match &node.op {
            Op::Contract(c) => own * count(&c.over),
            Op::Scan(scan) => own + count(&scan.axis.into()) * work(&scan.body, extents),
            _ => own,
        }
    };
    graph.ids().map(of).sum()
}

/// Integers below this are inside of every axis that a graph gathers along.
fn indices(graph: &Graph, extents: &tensor::Extents) -> usize {
    let axes = graph.ids().filter_map(|id| extents.get(graph.node(id).op.indexed()?));
    axes.min().unwrap_or(4)
}

/// Random values for leaves: inputs, parameters, states, loaded values, carries, items, captures.
#[derive(Default)]
struct Leaves {
    values: [Vec<Tensor>; 7],
    seen: BTreeSet<(usize, u32)>,
}

impl Leaves {
    fn add(&mut self, op: &Op, extents: &tensor::Extents, indices: usize) {
        let (kind, index, ty) = match op {
            Op::Input(x) => (0, x.index, &x.ty),
            Op::Param(x) => (1, x.index, &x.ty),
            Op::State(x) => (2, x.index, &x.ty),
            Op::Loaded(x) => (3, x.index, &x.ty),
            Op::Carry(x) => (4, x.index, &x.ty),
            Op::Item(x) => (5, x.index, &x.ty),
            Op::Capture(x) => (6, x.index, &x.ty),
            _ => return,
        };
        if !self.seen.insert((kind, index)) {
            return;
        }
        let list = &mut self.values[kind];
        let length = list.len().max(index as usize + 1);
        list.resize_with(length, || Tensor::scalar(ty.elem, 0.0));
        let mut rng = Rng::new(self.seen.len() as u64);
        list[index as usize] = random(ty, extents, indices, &mut rng);
    }

    fn env<'a>(&'a self, extents: &'a tensor::Extents) -> Env<'a> {
        let [inputs, params, states, loaded, carries, items, captures] = &self.values;
        Env { inputs, params, states, loaded, carries, items, captures, ..Env::new(extents) }
    }
}

fn random(ty: &Type, extents: &tensor::Extents, indices: usize, rng: &mut Rng) -> Tensor {
    let number = |_| match ty.elem {
        Elem::Bool => rng.below(2) as f64,
        elem if elem.is_float() => rng.number(1.0),
        _ => rng.below(indices) as f64,
    };
    Tensor::from_fn(ty.elem, extents.axes(&ty.axes).unwrap_or_default(), number)
}
