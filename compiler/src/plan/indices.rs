//! Which inputs and states hold indices of which axis: what a message about a wrong index looks at.

use gatec_runtime::format::Place;

use crate::graph::{Axis, Graph, Value};
use crate::ops::{Class, Op, Scan};
use crate::scalar::Binary;

/// A graph, and the loop whose body it is.
#[derive(Clone, Copy)]
struct Scope<'a> {
    graph: &'a Graph,
    outside: Option<(&'a Scope<'a>, &'a Scan, Value)>,
}

/// Places, the axis that their elements index, and whether a negative one is no mistake, in the order of the graph.
pub(super) fn indices(graph: &Graph) -> Vec<(Place, Axis, bool)> {
    let mut found = Vec::new();
    collect(&Scope { graph, outside: None }, &mut found);
    found
}

fn collect(scope: &Scope, found: &mut Vec<(Place, Axis, bool)>) {
    for id in scope.graph.ids() {
        let op = &scope.graph.node(id).op;
        if let Some(axis) = op.indexed() {
            let may_be_negative = matches!(op, Op::Gather(gather) if gather.or_zero);
            let index = scope.graph.operands(id)[1];
            sources(scope, index, &mut |place| found.push((place, axis, may_be_negative)));
        }
        if let Op::Scan(scan) = op {
            collect(&Scope { graph: &scan.body, outside: Some((scope, scan, Value::of(id))) }, found);
        }
    }
}

fn is_end_of_i32(op: &Op) -> bool {
    matches!(op, Op::Const(end) if [i32::MIN, i32::MAX].map(f64::from).contains(&end.value()))
}

/// Where the elements of a value stand, as far as they are taken as they are.
fn sources(scope: &Scope, value: Value, found: &mut dyn FnMut(Place)) {
    let op = scope.graph.op(value);
    let from_outside = |index: u32, found: &mut dyn FnMut(Place)| {
        if let Some((outer, _, node)) = scope.outside {
            sources(outer, outer.graph.operands(node.node)[index as usize], found);
        }
    };
    match (op, scope.outside) {
        (Op::Input(input), _) => found(Place::Input(input.index)),
        (Op::State(state), _) => found(Place::State(state.index)),
        (Op::Item(item), Some((_, scan, _))) => from_outside(scan.carries + item.index, found),
        (Op::Capture(capture), Some((_, scan, _))) => from_outside(scan.carries + scan.items + capture.index, found),
        _ => {
            let operands = scope.graph.operands(value.node);
            let taken = match op {
                Op::Gather(_) | Op::Cast(_) => &operands[..1],
                // An i64 that is made an i32: what the ends stand for is no index of any axis.
                Op::Binary(binary)
                    if matches!(binary.f, Binary::Min | Binary::Max) && is_end_of_i32(scope.graph.op(operands[1])) =>
                {
                    &operands[..1]
                }
                _ if op.class() == Class::View => &operands[..],
                _ => &[],
            };
            for operand in taken.iter().filter(|x| !scope.graph.ty(**x).elem.is_float()) {
                sources(scope, *operand, found);
            }
        }
    }
}
