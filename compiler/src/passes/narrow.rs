//! Weights in a narrower type, where the user allows it.
//!
//! Before: a contraction of an f32 parameter. After: of the parameter rounded to the narrower type, `cast[f32] cast[bf16] w`: packed
//! panels then hold two bytes a weight, and products and sums are made in f32 as before. Precision is lost, so it is never done unasked.
//! Does nothing to parameters that no contraction reads through views alone
//! (scales, biases, tables of embeddings), and nothing where no type is given.

use crate::graph::{Elem, Graph, Module, Remake, Sizes, Value};
use crate::ops::{Cast, Class, Op};
use crate::pipeline::{Fired, OptimizeOptions, Report};

pub fn narrow(mut module: Module, options: &OptimizeOptions, report: &mut Report) -> Result<Module, String> {
    let Some(to) = options.weights else { return Ok(module) };
    for number in 0..module.entries.len() {
        let (graph, count) = narrowed(&module.entries[number].graph, to, &mut module.sizes)?;
        module.entries[number].graph = graph;
        if count > 0 {
            let (rule, why) = ("narrow-weights", "weights of contractions are stored in fewer bytes, as was asked for");
            let entry = module.entries[number].name.clone();
            report.fired.push(Fired { rule, why, entry, count, lines: Vec::new(), without_ns: None });
        }
    }
    Ok(module)
}

fn narrowed(old: &Graph, to: Elem, sizes: &mut Sizes) -> Result<(Graph, usize), String> {
    let mut remake = Remake::new(old, sizes);
    let mut count = 0;
    for id in old.ids() {
        let node = old.node(id);
        let operands = remake.operands(id);
        let mut new = Value::of(remake.put(id, node.op.clone(), &operands)?);
        if matches!(node.op, Op::Param(_)) && node.types[0].elem == Elem::F32 && is_weight(old, Value::of(id)) {
            count += 1;
            for to in [to, Elem::F32] {
                new = remake.build.try_add(Cast { to }, &[new]).map_err(|e| e.to_string())?;
            }
            remake.replace(Value::of(id), new);
        }
    }
    Ok((remake.finish(), count))
}

/// Does a contraction read it, through views alone?
fn is_weight(graph: &Graph, value: Value) -> bool {
    graph.uses(value).into_iter().any(|(user, operand)| match &graph.node(user).op {
        Op::Contract(_) => true,
        Op::Scan(scan) => {
            let body = &scan.body;
            let of_operand = |op: &Op| match op {
                Op::Item(item) => Some(scan.carries + item.index),
                Op::Capture(capture) => Some(scan.carries + scan.items + capture.index),
                _ => None,
            };
            let leaves = body.ids().filter(|id| of_operand(&body.node(*id).op) == Some(operand));
            leaves.map(Value::of).any(|leaf| is_weight(body, leaf))
        }
        // Rows of a table are no weights.
        Op::Gather(_) => false,
        op => op.class() == Class::View && is_weight(graph, Value::of(user)),
    })
}
