//! Which side of a select needs a value: of one by a scalar, or by a flag for each row. What only one side needs is not computed where the
//! other is taken, so what is made for several values at once is made for those of one side. Arms of a route that read the same rows are
//! chosen for different ones.

use std::collections::BTreeMap;

use crate::graph::{Graph, Value};
use crate::ops::Op;

/// The condition, and what it is where the value is needed.
pub type Side = (Value, bool);

/// The values of a graph that one side alone needs.
pub fn sides(graph: &Graph) -> BTreeMap<Value, Side> {
    // `None`: wherever.
    let mut needs: BTreeMap<Value, Option<Side>> = graph.results.iter().map(|v| (*v, None)).collect();
    let mut ids: Vec<_> = graph.ids().collect();
    ids.reverse();
    for id in ids {
        let results =
            (0..graph.node(id).types.len() as u32).filter_map(|result| needs.get(&Value { node: id, result }));
        let Some(own) = results.copied().reduce(|a, b| if a == b { a } else { None }) else { continue };
        let operands = graph.operands(id);
        // A flag for each element tells of no whole row.
        let of_rows = |flag: Value| {
            let (flag, all) = (&graph.ty(flag).axes, &graph.node(id).types[0].axes);
            flag.is_empty() || flag.is_subset(all) && flag != all
        };
        let has_sides = matches!(graph.node(id).op, Op::Select(_)) && of_rows(operands[0]);
        for (number, operand) in operands.iter().enumerate() {
            let need = if has_sides && number > 0 { Some((operands[0], number == 1)) } else { own };
            needs.entry(*operand).and_modify(|known| *known = if *known == need { need } else { None }).or_insert(need);
        }
    }
    needs.into_iter().filter_map(|(value, side)| Some((value, side?))).collect()
}
