//! What must hold of sizes that are bound when the model runs: no axis is shorter than nothing, and what is taken from an axis is there.
//! Kernels rely on it, they read at such places without looking.

use gatec_lang::Size;

use crate::graph::{Axis, Graph, Sizes};
use crate::ops::{Op, Start};

/// Sizes that must not be negative, and what they are of, each once, in the order of the graph.
pub(super) fn needs(graph: &Graph, sizes: &Sizes) -> Vec<(String, Size)> {
    let mut found = Vec::new();
    collect(graph, sizes, &mut found);
    found
}

fn collect(graph: &Graph, sizes: &Sizes, found: &mut Vec<(String, Size)>) {
    let of = |axis: Axis| sizes.get(axis).cloned().unwrap_or_default();
    let rest = |of_all: Axis, taken: &Size| of(of_all).checked_sub(taken).unwrap_or_default();
    let add = |what: String, size: Size, found: &mut Vec<(String, Size)>| {
        let need = (what, size);
        if need.1.may_be_negative() && !found.contains(&need) {
            found.push(need);
        }
    };
    for id in graph.ids() {
        let node = graph.node(id);
        for axis in node.types.iter().flat_map(|ty| ty.axes.iter()) {
            add(format!("the size of axis `{}`", axis.name()), of(axis), found);
        }
        match &node.op {
            Op::Pick(pick) => {
                let what = format!("element {} of axis `{}`", pick.index, pick.axis.name());
                add(what, rest(pick.axis, &Size::known(pick.index + 1)), found);
            }
            Op::Slice(slice) => {
                let start = if let Start::At(start) = slice.start { start } else { 0 };
                let (name, to) = (slice.from.name(), of(slice.to));
                let (what, taken) = match to.checked_add(&Size::known(start)) {
                    Some(end) if slice.start == Start::Last => {
                        (format!("the last {to} elements of axis `{name}`"), end)
                    }
                    Some(end) => (format!("the slice {start}..{end} of axis `{name}`"), end),
                    None => continue,
                };
                add(what, rest(slice.from, &taken), found);
            }
            Op::TopK(top_k) => {
                let k = of(top_k.slot);
                add(format!("a choice of {k} elements of axis `{}`", top_k.axis.name()), rest(top_k.axis, &k), found);
            }
            Op::Scan(scan) => collect(&scan.body, sizes, found),
            _ => {}
        }
    }
}
