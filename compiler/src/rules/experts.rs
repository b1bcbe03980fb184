//! Experts: what no row asks for is not computed.

use super::{Match, Rule};
use crate::egraph::{Scene, Tree};
use crate::graph::AxisSet;
use crate::ops::{Gather, Op};

/// `gather[e](f(a, b), i)` is `f(gather[e](a, i), gather[e](b, i))`, where operands without `e` stay as they are.
///
/// For pointwise `f`; for contractions and folds over axes that neither are `e` nor those of `i`. At the parameters it leaves
/// `contract(x, gather[e](w, i))`: a grouped contraction.
pub const GATHER_INWARDS: Rule = Rule {
    name: "gather-inwards",
    group: "experts",
    why: "a value of which few experts are chosen is computed for those alone",
    find,
};

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, children) in scene.nodes("gather") {
        let Op::Gather(Gather { axis }) = op else { continue };
        let (x, index) = (children[0], children[1]);
        // Parameters are gathered by the contraction that reads them.
        if scene.at_load(x) {
            continue;
        }
        let index_axes = scene.ty(index).axes.clone();
        for (inner, operands) in scene.class(x) {
            if !commutes(&inner, axis.into(), &index_axes) {
                continue;
            }
            let operands = operands.iter().map(|&operand| {
                if scene.ty(operand).axes.contains(axis) {
                    Tree::op(Gather { axis }, vec![Tree::Class(operand), Tree::Class(index)])
                } else {
                    Tree::Class(operand)
                }
            });
            let tree = Tree::Op(inner.clone(), operands.collect());
            found.push(Match { class, tree, supersedes: false });
        }
    }
    found
}

/// May an op be done after its operands were gathered along `axis` by an index with these axes?
fn commutes(op: &Op, axis: AxisSet, index: &AxisSet) -> bool {
    let apart = |over: &AxisSet| over.is_disjoint(&axis) && over.is_disjoint(index);
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Add(_) | Op::Mul(_) | Op::Select(_) | Op::Cast(_) => true,
        Op::Contract(contract) => apart(&contract.over),
        Op::Reduce(reduce) => apart(&reduce.over),
        Op::Pick(pick) => apart(&AxisSet::from(pick.axis)),
        _ => false,
    }
}
