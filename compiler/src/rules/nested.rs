//! Experts of experts: what rows of rows ask for.

use egg::Id;
use gatec_lang::Size;

use super::{Condition, Find, Infinities, Match, Phase, Rule};
use crate::egraph::scene::{Scene, Tree};
use crate::graph::{Axis, Elem};
use crate::ops::{Add, Binary, Const, Gather, Merge, Mul, Op, Select};
use crate::scalar;

/// `gather[e](gather[f](x, j), i)` is `gather[f](gather[e](x, i), gather[e](j, i))`, where what lacks `e` stays as it is.
///
/// An expert that has experts of its own chooses among them for the rows that it takes alone. Where the outer choice may be none, so may
/// the inner one be.
pub const GATHER_OF_GATHER: Rule = Rule {
    name: "gather-of-gather",
    group: "experts",
    why: "what an expert chooses is chosen for its own rows alone",
    phase: Phase::Values,
    find: Find::Search { find: of_gather, cases: OF_GATHER },
    when: &[APART, SOME],
    pays: &[],
    infinities: Infinities::Stay,
};

/// `gather[f](gather[e](w, i), j)` is `gather[e*f](w, i * size(f) + j)`, for weights known at load: a grouped contraction has one
/// axis of experts. An index that is wrong stays wrong.
pub const EXPERTS_OF_EXPERTS: Rule = Rule {
    name: "experts-of-experts",
    group: "experts",
    why: "experts of experts are experts: rows are sorted once, by both choices",
    phase: Phase::Values,
    find: Find::Search { find: of_experts, cases: OF_EXPERTS },
    when: &[APART],
    pays: &[],
    infinities: Infinities::Stay,
};

const APART: Condition = Condition::Says("the outer index does not vary along the inner axis of experts");

/// Where there are none, an index is wrong as soon as anybody looks at it.
const SOME: Condition = Condition::Says("the outer axis of experts is known not to be empty");

fn number(value: f64) -> Tree {
    Tree::op(Const::new(Elem::I32, value), vec![])
}

fn compare(f: scalar::Binary, a: &Tree, b: f64) -> Tree {
    Tree::op(Binary { f }, vec![a.clone(), number(b)])
}

fn select(condition: Tree, a: Tree, b: Tree) -> Tree {
    Tree::op(Select, vec![condition, a, b])
}

/// An index that no axis has.
const OUTSIDE: f64 = i32::MAX as f64;

fn of_gather(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, children) in scene.nodes("gather") {
        let Op::Gather(outer) = op else { continue };
        let (x, i) = (children[0], children[1]);
        let is_some = scene.known_size(outer.axis).is_some_and(|n| n > 0);
        if scene.at_load(x) || scene.ty(i).elem != Elem::I32 || !scene.holds(SOME, is_some) {
            continue;
        }
        for (op, operands) in scene.class(x) {
            let Op::Gather(inner) = op else { continue };
            let (of, j) = (operands[0], operands[1]);
            let is_apart = inner.axis == outer.axis || !scene.ty(i).axes.contains(inner.axis);
            if scene.ty(j).elem != Elem::I32 || !scene.holds(APART, is_apart) {
                continue;
            }
            let taken = |scene: &Scene, value: Id| match scene.ty(value).axes.contains(outer.axis) {
                true => Tree::op(outer.clone(), vec![Tree::Class(value), Tree::Class(i)]),
                false => Tree::Class(value),
            };
            // Weights are gathered one way or the other.
            let varies = scene.ty(j).axes.contains(outer.axis);
            if !varies && scene.at_load(of) {
                continue;
            }
            // The inner axis may be the outer one: a list of places in a list.
            let of = if inner.axis == outer.axis { Tree::Class(of) } else { taken(scene, of) };
            let mut index = taken(scene, j);
            // An inner index that does not vary with the outer expert is one for rows without any, too: what it finds there is 0.
            if outer.or_zero && varies {
                if !inner.or_zero {
                    let is_some = compare(scalar::Binary::Ge, &index, 0.0);
                    index = select(is_some, index, number(OUTSIDE));
                }
                let has_outer = compare(scalar::Binary::Ge, &Tree::Class(i), 0.0);
                index = select(has_outer, index, number(-1.0));
            }
            let inner = Gather { or_zero: inner.or_zero || outer.or_zero && varies, ..inner };
            found.push(Match::one(class, Tree::op(inner, vec![of, index])));
        }
    }
    found
}

fn of_experts(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    let mut joined = joined(scene);
    for (class, op, children) in scene.nodes("gather") {
        let Op::Gather(inner) = op else { continue };
        let (x, j) = (children[0], children[1]);
        for (op, operands) in scene.class(x) {
            let Op::Gather(outer) = op else { continue };
            let (w, i) = (operands[0], operands[1]);
            let sizes = scene.known_size(outer.axis).zip(scene.known_size(inner.axis));
            let all = sizes.and_then(|(e, f)| Some((e, f, e.checked_mul(f).filter(|n| *n < i64::from(i32::MAX))?)));
            let Some((e, f, all)) = all else { continue };
            let is_weight = scene.at_load(w) && !scene.at_load(i) && !scene.at_load(j);
            let has_both = scene.ty(w).axes.contains(outer.axis) && scene.ty(w).axes.contains(inner.axis);
            let fits = [i, j].iter().all(|index| scene.ty(*index).elem == Elem::I32);
            let is_apart = !scene.ty(i).axes.contains(inner.axis);
            if !is_weight || !has_both || !fits || !scene.holds(APART, is_apart) {
                continue;
            }
            let of = [outer.axis, inner.axis];
            let known = joined.iter().find(|(from, to)| *from == of && !scene.ty(w).axes.contains(*to));
            let to = known.map(|(_, to)| *to).unwrap_or_else(|| {
                let to = scene.fresh_axis("experts", Size::known(all));
                joined.push((of, to));
                to
            });
            let weights = Tree::op(Merge { from: of.to_vec(), to }, vec![Tree::Class(w)]);
            let (i, j) = (Tree::Class(i), Tree::Class(j));
            let first = Tree::op(Mul, vec![i.clone(), number(f as f64)]);
            let place = Tree::op(Add, vec![first, j.clone()]);
            // Within an axis of that size; below 0 it may be that there is none.
            let within = |index: &Tree, size: i64, place: Tree, may_be_none: bool| {
                let is_below = compare(scalar::Binary::Lt, index, size as f64);
                let is_some = compare(scalar::Binary::Ge, index, 0.0);
                let none = number(if may_be_none { -1.0 } else { OUTSIDE });
                select(is_some, select(is_below, place, number(OUTSIDE)), none)
            };
            let place = within(&j, f, place, inner.or_zero);
            let place = within(&i, e, place, outer.or_zero);
            let gather = Gather { axis: to, or_zero: outer.or_zero || inner.or_zero };
            found.push(Match::one(class, Tree::op(gather, vec![weights, place])));
        }
    }
    found
}

/// Axes of experts that have been made one: other weights of these experts have the same.
fn joined(scene: &Scene) -> Vec<([Axis; 2], Axis)> {
    let of = |(class, op, _): (Id, Op, Vec<Id>)| match op {
        Op::Merge(Merge { from, to }) if scene.at_load(class) => {
            Some(([*from.first()?, *from.get(1)?], to, from.len()))
        }
        _ => None,
    };
    scene.nodes("merge").into_iter().filter_map(of).filter(|m| m.2 == 2).map(|(from, to, _)| (from, to)).collect()
}

const OF_GATHER: &[&str] = &[
    // Both vary with the outer expert, the index alone, the value alone.
    "module m
axis t = 3
axis e = 2
axis f = 4
axis s = 2
axis r = 5
graph @f(%x: f32[t, e, f], %y: f32[t, f], %j: i32[t, e, s], %k: i32[t, s], %i: i32[t, r]) -> (f32[r, s, t], f32[r, s, t], f32[r, s, t]) {
  %0 = gather[f] %x, %j : f32[e, s, t]
  %1 = gather[e] %0, %i : f32[r, s, t]
  %2 = gather[f] %y, %j : f32[e, s, t]
  %3 = gather[e] %2, %i : f32[r, s, t]
  %4 = gather[f] %x, %k : f32[e, s, t]
  %5 = gather[e] %4, %i : f32[r, s, t]
  return %1, %3, %5
}
",
    // Either may be none.
    "module m
axis t = 3
axis e = 2
axis f = 4
axis s = 2
axis r = 5
graph @f(%x: f32[t, e, f], %j: i32[t, e, s], %k: i32[t, s], %i: i32[t, r]) -> (f32[r, s, t], f32[r, s, t], f32[r, s, t], f32[r, s, t]) {
  %one = const[1.0] : i32[]
  %a = binary[sub] %i, %one : i32[r, t]
  %b = binary[sub] %j, %one : i32[e, s, t]
  %0 = gather[f] %x, %j : f32[e, s, t]
  %1 = gather[e, or_zero] %0, %a : f32[r, s, t]
  %2 = gather[f, or_zero] %x, %b : f32[e, s, t]
  %3 = gather[e] %2, %i : f32[r, s, t]
  %4 = gather[e, or_zero] %2, %a : f32[r, s, t]
  %5 = gather[f] %x, %k : f32[e, s, t]
  %6 = gather[e, or_zero] %5, %a : f32[r, s, t]
  return %1, %3, %4, %6
}
",
    // A list of places in a list.
    "module m
axis e = 4
axis d = 2
axis r = 5
graph @f(%x: f32[e, d], %j: i32[e], %i: i32[r]) -> (f32[d, r]) {
  %0 = gather[e] %x, %j : f32[d, e]
  %1 = gather[e] %0, %i : f32[d, r]
  return %1
}
",
    // The outer index varies along the inner axis.
    "module m
axis e = 2
axis f = 4
axis s = 3
graph @f(%x: f32[e, f], %j: i32[e, s], %i: i32[f]) -> (f32[f, s]) {
  %0 = gather[f] %x, %j : f32[e, s]
  %1 = gather[e] %0, %i : f32[f, s]
  return %1
}
",
];

const OF_EXPERTS: &[&str] = &[
    "module m
axis t = 3
axis e = 2
axis f = 4
axis d = 2
axis s = 5
axis r = 6
param @w: f32[e, f, d]
param @b: f32[f, e]
graph @f(%i: i32[t, s], %j: i32[t, s, r]) -> (f32[d, r, s, t], f32[r, s, t]) {
  %0 = gather[e] @w, %i : f32[d, f, s, t]
  %1 = gather[f] %0, %j : f32[d, r, s, t]
  %2 = gather[e] @b, %i : f32[f, s, t]
  %3 = gather[f] %2, %j : f32[r, s, t]
  return %1, %3
}
",
    // Either may be none.
    "module m
axis t = 3
axis e = 2
axis f = 4
axis d = 2
param @w: f32[e, f, d]
graph @f(%i: i32[t], %j: i32[t]) -> (f32[d, t], f32[d, t], f32[d, t]) {
  %one = const[1.0] : i32[]
  %a = binary[sub] %i, %one : i32[t]
  %b = binary[sub] %j, %one : i32[t]
  %0 = gather[e, or_zero] @w, %a : f32[d, f, t]
  %1 = gather[f] %0, %j : f32[d, t]
  %2 = gather[e] @w, %i : f32[d, f, t]
  %3 = gather[f, or_zero] %2, %b : f32[d, t]
  %4 = gather[f, or_zero] %0, %b : f32[d, t]
  return %1, %3, %4
}
",
    // The outer index varies along the inner axis.
    "module m
axis e = 2
axis f = 4
axis d = 3
param @w: f32[e, f, d]
graph @f(%i: i32[f], %j: i32[]) -> (f32[d]) {
  %0 = gather[e] @w, %i : f32[d, f]
  %1 = gather[f] %0, %j : f32[d]
  return %1
}
",
];
