//! Gates: products that read the same operand become one.

use egg::Id;
use gatec_lang::Size;

use super::{Match, Rule};
use crate::egraph::{Scene, Tree};
use crate::graph::{Axis, AxisSet, Type};
use crate::ops::{Contract, Gather, Op, Pick, Stack};

/// `x @ w_1`, ..., `x @ w_n` are `pick[gate = i](x @ stack[gate](w_1, ..., w_n))`, where the weights have one type and are known at
/// load, or are gathered from such by one index.
///
/// SwiGLU's two, an LSTM's four, GRU's three, query, key, value and gate: the operand is read once, and what follows
/// finds all of them in registers.
pub const PRODUCTS_OF_ONE_OPERAND: Rule = Rule {
    name: "products-of-one-operand",
    group: "gates",
    why: "products that share an operand are one wider product: it is read once, and the gates meet in registers",
    find,
};

/// Most products that are put together: a kernel keeps one accumulator for each.
const MOST: usize = 4;

/// A product, by what it must have in common with others.
#[derive(PartialEq, Clone)]
struct Key {
    over: AxisSet,
    x: Id,
    weight: Type,
    gathered: Option<(Axis, Id)>,
}

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut groups: Vec<(Key, Vec<(Id, Id)>)> = Vec::new();
    for (class, op, children) in scene.nodes("contract") {
        let Op::Contract(Contract { over }) = op else { continue };
        for (x, w) in [(children[0], children[1]), (children[1], children[0])] {
            if scene.at_load(x) || scene.is_superseded(class) {
                continue;
            }
            let (weight, gathered) = match scene.gathered_at_load(w) {
                Some((axis, weight, index)) => (weight, Some((axis, index))),
                None if scene.at_load(w) => (w, None),
                None => continue,
            };
            let ty = scene.ty(weight).clone();
            if ty.axes.minus(&over).is_empty() {
                continue;
            }
            let key = Key { over: over.clone(), x, weight: ty, gathered };
            match groups.iter_mut().find(|(k, _)| *k == key) {
                Some((_, members)) if members.iter().any(|(c, w)| *c == class || *w == weight) => {}
                Some((_, members)) => members.push((class, weight)),
                None => groups.push((key, vec![(class, weight)])),
            }
        }
    }
    let mut found = Vec::new();
    for (key, members) in groups {
        for members in members.chunks(MOST).filter(|m| m.len() > 1) {
            let gate = scene.fresh_axis("gate", Size::known(members.len() as i64));
            let weights = members.iter().map(|(_, w)| Tree::Class(*w)).collect();
            let mut stacked = Tree::op(Stack { axis: gate }, weights);
            if let Some((axis, index)) = key.gathered {
                stacked = Tree::op(Gather { axis }, vec![stacked, Tree::Class(index)]);
            }
            let product = Tree::op(Contract { over: key.over.clone() }, vec![Tree::Class(key.x), stacked]);
            for (i, (class, _)) in members.iter().enumerate() {
                let tree = Tree::op(Pick { axis: gate, index: i as i64 }, vec![product.clone()]);
                found.push(Match { class: *class, tree, supersedes: true });
            }
        }
    }
    found
}
