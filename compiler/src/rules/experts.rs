//! Experts: what no row asks for is not computed.

use super::{Condition, Find, Infinities, Match, Phase, Rule};
use crate::egraph::scene::{Scene, Tree};
use crate::graph::{AxisSet, Elem};
use crate::ops::{Binary, Class, Const, Fill, Gather, Op, Select};
use crate::scalar::{self, Fold};

/// `gather[e](f(a, b), i)` is `f(gather[e](a, i), gather[e](b, i))`, where operands without `e` stay as they are.
///
/// For pointwise `f`; for contractions, folds and views along axes that `i` does not have. At the parameters it leaves
/// `contract(x, gather[e](w, i))`: a grouped contraction.
pub const GATHER_INWARDS: Rule = Rule {
    name: "gather-inwards",
    group: "experts",
    why: "a value of which few experts are chosen is computed for those alone",
    phase: Phase::Values,
    find: Find::Search { find, cases: CASES },
    when: &[INDEX_APART, EXPERTS_APART],
    pays: &[],
    infinities: Infinities::Stay,
};

const INDEX_APART: Condition = Condition::Says("the index does not vary along an axis that the op folds or renames");
const EXPERTS_APART: Condition = Condition::Says("the op does not make the axis of experts");

const CASES: &[&str] = &[
    "module m
axis t = 3
axis e = 2
axis s = 4
axis d = 5
axis h = 6
param @w: f32[e, d, h]
param @b: f32[e, h]
graph @f(%x: f32[t, d], %i: i32[t, s]) -> (f32[t, s, h]) {
  %0 = contract[d] %x, @w : f32[e, h, t]
  %1 = add %0, @b : f32[e, h, t]
  %2 = unary[tanh] %1 : f32[e, h, t]
  %3 = mul %1, %2 : f32[e, h, t]
  %4 = gather[e] %3, %i : f32[h, s, t]
  return %4
}
",
    // The index varies along what is summed.
    "module m
axis e = 2
axis d = 5
axis h = 6
param @w: f32[e, d, h]
graph @f(%x: f32[e, d], %i: i32[d]) -> (f32[h, d], f32[d]) {
  %0 = contract[d] %x, @w : f32[e, h]
  %1 = gather[e] %0, %i : f32[d, h]
  %2 = reduce[sum, d] %x : f32[e]
  %3 = gather[e] %2, %i : f32[d]
  return %1, %3
}
",
    // Folds, choices, selections and views apart from the index.
    "module m
axis t = 3
axis e = 2
axis d = 5
axis k = 5
axis s = 2
graph @f(%x: f32[t, e, d], %i: i32[t], %c: bool[e]) -> (f32[t], f32[t], f32[t, k], f32[t, d], i32[t, s]) {
  %0 = reduce[max, d] %x : f32[e, t]
  %1 = gather[e] %0, %i : f32[t]
  %2 = pick[d, 1] %x : f32[e, t]
  %3 = gather[e] %2, %i : f32[t]
  %4 = rename[d, k] %x : f32[e, k, t]
  %5 = gather[e] %4, %i : f32[k, t]
  %6 = unary[neg] %x : f32[d, e, t]
  %7 = select %c, %x, %6 : f32[d, e, t]
  %8 = gather[e] %7, %i : f32[d, t]
  %9 = top_k[d, s] %x : i32[e, s, t]
  %10 = gather[e] %9, %i : i32[s, t]
  return %1, %3, %5, %8, %10
}
",
    // A window, and a pad: what is around is the same for every expert.
    "module m
axis t = 3
axis e = 2
axis d = 5
axis d' = 5
axis k = 3
axis long = 7
graph @f(%x: f32[t, e, d], %i: i32[t]) -> (f32[t, d', k], f32[t, long]) {
  %0 = window[d, d', k, 1, 1, 1] %x : f32[d', e, k, t]
  %1 = gather[e] %0, %i : f32[d', k, t]
  %2 = pad[d, long, 1, 2.0] %x : f32[e, long, t]
  %3 = gather[e] %2, %i : f32[long, t]
  return %1, %3
}
",
    // Renamed to the axis of experts.
    "module m
axis t = 3
axis a = 2
axis e = 2
graph @f(%x: f32[a, t], %i: i32[t]) -> (f32[t]) {
  %0 = rename[a, e] %x : f32[e, t]
  %1 = gather[e] %0, %i : f32[t]
  return %1
}
",
];

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, children) in scene.nodes("gather") {
        let Op::Gather(Gather { axis, or_zero: false }) = op else { continue };
        let (x, index) = (children[0], children[1]);
        // Parameters are gathered by the contraction that reads them.
        if scene.at_load(x) {
            continue;
        }
        let index_axes = scene.ty(index).axes.clone();
        for (inner, operands) in scene.class(x) {
            let Some(along) = along(&inner) else { continue };
            if !scene.holds(INDEX_APART, along.is_disjoint(&index_axes))
                || !scene.holds(EXPERTS_APART, !along.contains(axis))
            {
                continue;
            }
            let operands = operands.iter().map(|&operand| {
                if scene.ty(operand).axes.contains(axis) {
                    Tree::op(Gather::new(axis), vec![Tree::Class(operand), Tree::Class(index)])
                } else {
                    Tree::Class(operand)
                }
            });
            let tree = Tree::Op(inner.clone(), operands.collect());
            found.push(Match::one(class, tree));
        }
    }
    found
}

/// The same where a negative index is no expert, and 0: `f` of zeros must be 0, else what it makes of them is left out.
///
/// `relu`, products and sums of gathered operands keep a 0; `sigmoid(gather)` and `x + gather` do not.
pub const GATHER_OR_ZERO_INWARDS: Rule = Rule {
    name: "gather-or-zero-inwards",
    group: "experts",
    why: "rows that no expert takes are not computed",
    phase: Phase::Values,
    find: Find::Search { find: find_or_zero, cases: CASES_OR_ZERO },
    when: &[INDEX_APART, EXPERTS_APART],
    pays: &[],
    infinities: Infinities::MayBeNan,
};

const CASES_OR_ZERO: &[&str] = &[
    "module m
axis t = 3
axis e = 2
axis s = 4
axis d = 5
axis h = 6
param @w: f32[e, d, h]
param @b: f32[e, h]
graph @f(%x: f32[t, d], %i: i32[t, s]) -> (f32[t, s, h], f32[t, s, h]) {
  %one = const[1.0] : i32[]
  %j = binary[sub] %i, %one : i32[s, t]
  %0 = contract[d] %x, @w : f32[e, h, t]
  %1 = add %0, @b : f32[e, h, t]
  %2 = unary[sigmoid] %1 : f32[e, h, t]
  %3 = mul %1, %2 : f32[e, h, t]
  %4 = gather[e, or_zero] %3, %j : f32[h, s, t]
  %5 = unary[exp] %1 : f32[e, h, t]
  %6 = gather[e, or_zero] %5, %j : f32[h, s, t]
  return %4, %6
}
",
    // The index varies along what is summed.
    "module m
axis e = 2
axis d = 5
axis h = 6
param @w: f32[e, d, h]
graph @f(%x: f32[e, d], %i: i32[d]) -> (f32[h, d], f32[d]) {
  %one = const[1.0] : i32[]
  %j = binary[sub] %i, %one : i32[d]
  %0 = contract[d] %x, @w : f32[e, h]
  %1 = gather[e, or_zero] %0, %j : f32[d, h]
  %2 = reduce[sum, d] %x : f32[e]
  %3 = gather[e, or_zero] %2, %j : f32[d]
  return %1, %3
}
",
    // Folds whose unit is not 0, choices, views, an operand that all experts share.
    "module m
axis t = 3
axis e = 2
axis d = 5
axis k = 5
graph @f(%x: f32[t, e, d], %i: i32[t], %c: bool[e], %y: f32[t, d]) -> (f32[t], f32[t], f32[t, k], f32[t, d], f32[t, d]) {
  %one = const[1.0] : i32[]
  %j = binary[sub] %i, %one : i32[t]
  %0 = reduce[prod, d] %x : f32[e, t]
  %1 = gather[e, or_zero] %0, %j : f32[t]
  %2 = pick[d, 1] %x : f32[e, t]
  %3 = gather[e, or_zero] %2, %j : f32[t]
  %4 = rename[d, k] %x : f32[e, k, t]
  %5 = gather[e, or_zero] %4, %j : f32[k, t]
  %6 = unary[neg] %x : f32[d, e, t]
  %7 = select %c, %x, %6 : f32[d, e, t]
  %8 = gather[e, or_zero] %7, %j : f32[d, t]
  %9 = add %x, %y : f32[d, e, t]
  %10 = gather[e, or_zero] %9, %j : f32[d, t]
  return %1, %3, %5, %8, %10
}
",
    // Renamed to the axis of experts.
    "module m
axis t = 3
axis a = 2
axis e = 2
graph @f(%x: f32[a, t], %i: i32[t]) -> (f32[t]) {
  %one = const[1.0] : i32[]
  %j = binary[sub] %i, %one : i32[t]
  %0 = rename[a, e] %x : f32[e, t]
  %1 = gather[e, or_zero] %0, %j : f32[t]
  return %1
}
",
];

fn find_or_zero(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, children) in scene.nodes("gather") {
        let Op::Gather(gather @ Gather { axis, or_zero: true }) = op else { continue };
        let (x, index) = (children[0], children[1]);
        if scene.at_load(x) {
            continue;
        }
        let (ty, index_ty) = (scene.ty(class).clone(), scene.ty(index).clone());
        for (inner, operands) in scene.class(x) {
            let Some(along) = along(&inner) else { continue };
            if !scene.holds(INDEX_APART, along.is_disjoint(&index_ty.axes))
                || !scene.holds(EXPERTS_APART, !along.contains(axis))
            {
                continue;
            }
            let varies: Vec<bool> = operands.iter().map(|o| scene.ty(*o).axes.contains(axis)).collect();
            let trees = operands.iter().zip(&varies).map(|(&operand, &varies)| match varies {
                true => Tree::op(gather.clone(), vec![Tree::Class(operand), Tree::Class(index)]),
                false => Tree::Class(operand),
            });
            let mut tree = Tree::Op(inner.clone(), trees.collect());
            let at_zero: Vec<Option<f64>> = operands
                .iter()
                .zip(&varies)
                .map(|(operand, varies)| if *varies { Some(0.0) } else { scene.constant(*operand) })
                .collect();
            if !keeps_zero(&inner, &at_zero, &varies) {
                let zero = |elem| Tree::op(Const::new(elem, 0.0), vec![]);
                let has_one = Tree::op(Binary { f: scalar::Binary::Ge }, vec![Tree::Class(index), zero(index_ty.elem)]);
                tree = Tree::op(Select, vec![has_one, tree, zero(ty.elem)]);
            }
            found.push(Match::one(class, tree));
        }
    }
    found
}

/// Is the op 0 where all operands that vary with the expert are? `at_zero`: what operands are there, where that is known.
fn keeps_zero(op: &Op, at_zero: &[Option<f64>], varies: &[bool]) -> bool {
    match (op, at_zero) {
        (Op::Unary(unary), _) => unary.f.eval(0.0) == 0.0,
        (Op::Binary(binary), [Some(a), Some(b)]) => binary.f.eval(Elem::F64, *a, *b) == 0.0,
        (Op::Binary(_), _) => false,
        (Op::Add(_) | Op::Select(_), _) => rest_of(op, varies).iter().all(|v| *v),
        (Op::Reduce(reduce), _) => reduce.fold == Fold::Sum,
        (Op::Mul(_) | Op::Contract(_) | Op::Cast(_), _) => true,
        (Op::Pad(pad), _) => !matches!(pad.fill, Fill::Constant(fill) if f64::from_bits(fill) != 0.0),
        (op, _) => op.class() == Class::View,
    }
}

/// Operands of which the result may be one: a condition is none of them.
fn rest_of<'a>(op: &Op, operands: &'a [bool]) -> &'a [bool] {
    if matches!(op, Op::Select(_)) { &operands[1..] } else { operands }
}

/// The axes along which an op that may be done after a gather reads more than one element, or renames them.
pub(super) fn along(op: &Op) -> Option<AxisSet> {
    Some(match op {
        Op::Unary(_) | Op::Binary(_) | Op::Add(_) | Op::Mul(_) | Op::Select(_) | Op::Cast(_) => AxisSet::default(),
        Op::Contract(contract) => contract.over.clone(),
        Op::Reduce(reduce) => reduce.over.clone(),
        Op::Pick(pick) => pick.axis.into(),
        Op::Rename(rename) => [rename.from, rename.to].into_iter().collect(),
        Op::Slice(slice) => [slice.from, slice.to].into_iter().collect(),
        Op::Split(split) => split.to.iter().copied().chain([split.from]).collect(),
        Op::Merge(merge) => merge.from.iter().copied().chain([merge.to]).collect(),
        Op::Pad(pad) => [pad.from, pad.to].into_iter().collect(),
        Op::Window(window) => [window.from, window.to, window.tap].into_iter().collect(),
        Op::TopK(top_k) => [top_k.axis, top_k.slot].into_iter().collect(),
        Op::Concat(concat) => concat.axes.iter().copied().chain([concat.to]).collect(),
        _ => return None,
    })
}
