//! Random values for the boundary of any module.

use std::collections::BTreeMap;

use super::Rng;
use crate::graph::interp::{Values, initial_states};
use crate::graph::tensor::{Extents, Tensor};
use crate::graph::{Axis, Boundary, Elem, Entry, Module, Value};
use crate::ops::Op;

/// Inputs, parameters and states for entry `entry` of a module. Integers that index an axis stay inside it.
///
/// # Panics
/// If the symbols leave an axis without a size.
pub fn values(module: &Module, entry: usize, symbols: &[(&str, i64)], seed: u64) -> Values {
    let symbols: BTreeMap<String, i64> = symbols.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let extents = Extents::bind(&module.sizes, &symbols).unwrap_or_else(|e| panic!("{e}"));
    let mut rng = Rng::new(seed);
    let entry = &module.entries[entry];
    let inputs = entry.inputs.iter().enumerate();
    let inputs = inputs.map(|(i, b)| tensor(&mut rng, b, &extents, 1.5, indexed(entry, i, &extents))).collect();
    let params: Vec<Tensor> = module.params.iter().map(|p| tensor(&mut rng, &p.tensor, &extents, 1.0, None)).collect();
    let mut states = initial_states(module, &symbols, &params).unwrap_or_else(|e| panic!("{e}"));
    for state in &mut states {
        if state.elem.is_float() {
            *state = Tensor::from_fn(state.elem, state.axes.clone(), |_| rng.number(1.0));
        }
    }
    Values { symbols, inputs, params, states }
}

fn tensor(rng: &mut Rng, b: &Boundary, extents: &Extents, range: f64, limit: Option<usize>) -> Tensor {
    let axes: Vec<(Axis, usize)> = b.order.iter().map(|a| (*a, extents.get(*a).unwrap_or(0))).collect();
    Tensor::from_fn(b.elem, axes, |_| match b.elem {
        Elem::Bool => rng.below(2) as f64,
        e if e.is_float() => rng.number(range),
        Elem::I8 if limit.is_none() => rng.below(17) as f64 - 8.0,
        // Every lower half of a byte.
        Elem::U8 if limit.is_none() => rng.below(64) as f64,
        _ => rng.below(limit.unwrap_or(4)) as f64,
    })
}

/// The extent of the shortest axis that an input's values index, directly.
fn indexed(entry: &Entry, input: usize, extents: &Extents) -> Option<usize> {
    let graph = &entry.graph;
    let leaves = graph.ids().filter(|id| matches!(&graph.node(*id).op, Op::Input(x) if x.index as usize == input));
    let uses = leaves.flat_map(|id| graph.uses(Value::of(id)));
    let indices = uses.filter(|(_, operand)| *operand == 1);
    let axes = indices.filter_map(|(user, _)| extents.get(graph.node(user).op.indexed()?));
    axes.min()
}
