//! What the runtime must know of a module beside its plans: boundaries, parameters and where their values stand.

use gatec_runtime::format::{self, Manifest, SizeExpr, VERSION, Variant};

use crate::graph::{Axis, Boundary, Graph, Init, Module, NamePiece, Param};
use crate::ops::Op;

use super::sizes::Symbols;

/// The order of a parameter's elements in memory: parts first, then as in the weight file. Declarations say nothing about it.
pub fn param_order(param: &Param) -> Vec<Axis> {
    let indexed = param.source.name.iter().filter_map(|piece| match piece {
        NamePiece::Index { axis, .. } => Some(*axis),
        NamePiece::Text(_) => None,
    });
    let mut order: Vec<Axis> = Vec::new();
    for axis in indexed.chain(param.source.order.iter().flatten().copied()) {
        if !order.contains(&axis) {
            order.push(axis);
        }
    }
    order
}

/// The manifest of a module, with its variants best first; the code's hash is the writer's to fill in.
pub fn manifest(module: &Module, doc: &str, variants: Vec<Variant>) -> Manifest {
    let symbols = Symbols::new(module.symbols.iter().map(|(name, _)| name.clone()), &[]);
    let writer = Writer { module, symbols };
    Manifest {
        version: VERSION,
        compiler: env!("CARGO_PKG_VERSION").into(),
        name: module.name.clone(),
        doc: doc.into(),
        symbols: module
            .symbols
            .iter()
            .map(|(name, bound)| format::Symbol { name: name.clone(), bound: *bound })
            .collect(),
        params: module.params.iter().map(|p| writer.param(p)).collect(),
        states: module
            .states
            .iter()
            .map(|s| format::State { tensor: writer.tensor(&s.tensor, &s.tensor.order), init: init(s.init) })
            .collect(),
        entries: module.entries.iter().map(|e| writer.entry(e)).collect(),
        variants,
        code_hash: String::new(),
    }
}

fn init(init: Init) -> format::Init {
    match init {
        Init::Each(value) => format::Init::Each(value),
        Init::Param(i) => format::Init::Param(i as u32),
    }
}

struct Writer<'a> {
    module: &'a Module,
    symbols: Symbols,
}

impl Writer<'_> {
    fn tensor(&self, tensor: &Boundary, order: &[Axis]) -> format::Tensor {
        let axes = order.iter().map(|&axis| format::Axis { name: axis.name().into(), size: self.size(axis) }).collect();
        format::Tensor { name: tensor.name.clone(), elem: tensor.elem, axes }
    }

    fn size(&self, axis: Axis) -> SizeExpr {
        self.symbols.expr(&self.module.sizes.get(axis).cloned().unwrap_or_default())
    }

    /// A size that is known: every axis of a parameter is.
    fn known(&self, axis: Axis) -> u64 {
        self.module.sizes.get(axis).and_then(gatec_lang::Size::as_known).unwrap_or(0).max(0) as u64
    }

    fn param(&self, param: &Param) -> format::Param {
        let mut parts = vec![String::new()];
        for piece in &param.source.name {
            parts = match piece {
                NamePiece::Text(text) => parts.into_iter().map(|name| name + text).collect(),
                NamePiece::Index { axis, first } => {
                    let numbers = |name| (0..self.known(*axis) as i64).map(move |i| format!("{name}{}", first + i));
                    parts.iter().flat_map(numbers).collect()
                }
            };
        }
        let part_shape =
            param.source.order.iter().map(|merged| merged.iter().map(|a| self.known(*a)).product::<u64>()).collect();
        let tensor = self.tensor(&param.tensor, &param_order(param));
        format::Param { tensor, parts, part_shape, default: param.default }
    }

    /// Inputs and states whose elements are indices of an axis.
    fn indices(&self, graph: &Graph) -> Vec<format::Indices> {
        let mut found = Vec::new();
        for (place, axis, may_be_negative) in super::indices::indices(graph) {
            let axis = format::Axis { name: axis.name().into(), size: self.size(axis) };
            let one = format::Indices { place, axis, may_be_negative };
            if !found.contains(&one) {
                found.push(one);
            }
        }
        found
    }

    fn at_most(&self, name: &str, size: i64) -> Option<format::AtMost> {
        let symbol = self.module.symbols.iter().position(|(symbol, _)| symbol == name)?;
        Some(format::AtMost { symbol: symbol as u32, size })
    }

    fn entry(&self, entry: &crate::graph::Entry) -> format::Entry {
        let tensors = |list: &[Boundary]| list.iter().map(|t| self.tensor(t, &t.order)).collect();
        let mut reads: Vec<u32> = states_read(&entry.graph);
        reads.sort_unstable();
        reads.dedup();
        format::Entry {
            name: entry.name.clone(),
            at_most: entry.at_most.iter().filter_map(|(name, size)| self.at_most(name, *size)).collect(),
            inputs: tensors(&entry.inputs),
            defaults: entry
                .defaults
                .iter()
                .map(|&(i, value)| format::InputDefault { input: i as u32, value })
                .collect(),
            outputs: tensors(&entry.outputs),
            reads,
            sets: entry.next_states.iter().map(|&i| i as u32).collect(),
            indices: self.indices(&entry.graph),
            needs: super::needs::needs(&entry.graph, &self.module.sizes)
                .into_iter()
                .map(|(what, size)| format::Need { what, size: self.symbols.expr(&size) })
                .collect(),
        }
    }
}

/// States stand in the outermost graph: bodies capture them.
fn states_read(graph: &Graph) -> Vec<u32> {
    let read = graph.ids().filter_map(|id| match &graph.node(id).op {
        Op::State(state) => Some(state.index),
        _ => None,
    });
    read.collect()
}
