//! Loops of experts: for the rows that an expert takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use egg::Id;

use super::experts::along;
use super::{Condition, Find, Infinities, Match, Phase, Rule};
use crate::egraph::scene::{Scene, Tree};
use crate::egraph::term::is_at_load;
use crate::graph::{AxisSet, Builder, Graph, Sizes, Type, Value};
use crate::ops::{Binary, Broadcast, Capture, Carry, Class, Const, Gather, Item, Op, Scan, Select};
use crate::scalar;

/// `gather[e](loop(a, b, w), i)` is `loop(gather[e](a, i), gather[e](b, i), w)`, in whose body `gather[e](w, i)` stands for weights.
///
/// Every value of the body that varies with the expert varies with the index's axes in its place: what each row has is what its own expert
/// would have made of it.
pub const GATHER_INTO_LOOP: Rule = Rule {
    name: "gather-into-loop",
    group: "experts",
    why: "a loop of which few experts are chosen runs for those alone",
    phase: Phase::Values,
    find: Find::Search { find, cases: CASES },
    when: &[ROWS_APART, SOME],
    pays: &[],
    infinities: Infinities::MayBeNan,
};

const ROWS_APART: Condition =
    Condition::Says("the index does not vary along an axis that the loop's body folds or renames");
/// Where there are none, an index is wrong as soon as anybody looks at it.
const SOME: Condition = Condition::Says("the axis of experts is known not to be empty");

const CASES: &[&str] = &[
    // A recurrence with a first value, an input and weights of each expert; what is yielded, and what is left at the end.
    "module m
axis t = 3
axis b = 4
axis e = 2
axis d = 5
axis k = 5
axis s = 6
param @w: f32[e, d, k]
param @c: f32[e, d]
graph @f(%x: f32[t, b, d], %h: f32[b, e, d], %i: i32[b, s]) -> (f32[s, b, d, t], f32[b, d, s], f32[b, d, s]) {
  %0:2 = scan[t, forward, 1, 1] %h, %x, @w, @c : f32[b, d, e], f32[b, d, e, t] {
    %h = carry[0] : f32[b, e, d]
    %x = item[0] : f32[b, d]
    %w = capture[0] : f32[e, d, k]
    %c = capture[1] : f32[e, d]
    %0 = contract[d] %h, %w : f32[b, e, k]
    %1 = rename[k, d] %0 : f32[b, d, e]
    %2 = add %1, %x, %c : f32[b, d, e]
    %3 = unary[tanh] %2 : f32[b, d, e]
    return %3, %2
  }
  %1 = gather[e] %0#1, %i : f32[b, d, s, t]
  %2 = gather[e] %0#0, %i : f32[b, d, s]
  %one = const[1.0] : i32[]
  %j = binary[sub] %i, %one : i32[b, s]
  %3 = gather[e, or_zero] %0#0, %j : f32[b, d, s]
  return %1, %2, %3
}
",
    // Weights of each layer, and a first value that is the same for all experts.
    "module m
axis l = 3
axis b = 4
axis e = 2
axis d = 5
param @w: f32[l, e, d]
graph @f(%x: f32[b, d], %i: i32[b]) -> (f32[b, d]) {
  %h = broadcast[e] %x : f32[b, d, e]
  %0 = scan[l, forward, 1, 1] %h, @w : f32[b, d, e] {
    %h = carry[0] : f32[b, d, e]
    %w = item[0] : f32[e, d]
    %0 = mul %h, %w : f32[b, d, e]
    return %0
  }
  %1 = gather[e] %0, %i : f32[b, d]
  return %1
}
",
    // What is yielded alone: nothing, where the loop is empty.
    "module m
axis t = 3
axis b = 4
axis e = 2
graph @f(%h: f32[b, e], %i: i32[b]) -> (f32[b, t]) {
  %0:2 = scan[t, forward, 1, 0] %h : f32[b, e], f32[b, e, t] {
    %h = carry[0] : f32[b, e]
    %0 = unary[tanh] %h : f32[b, e]
    return %0, %h
  }
  %1 = gather[e] %0#1, %i : f32[b, t]
  return %1
}
",
    // The index varies along what the body sums.
    "module m
axis t = 3
axis b = 4
axis e = 2
graph @f(%h: f32[b, e], %i: i32[b]) -> (f32[b]) {
  %0 = scan[t, forward, 1, 0] %h : f32[b, e] {
    %h = carry[0] : f32[b, e]
    %0 = reduce[sum, b] %h : f32[e]
    %1 = add %h, %0 : f32[b, e]
    return %1
  }
  %1 = gather[e] %0, %i : f32[b]
  return %1
}
",
    // The body mixes experts.
    "module m
axis t = 3
axis b = 4
axis e = 2
graph @f(%h: f32[b, e], %i: i32[b]) -> (f32[b]) {
  %0 = scan[t, forward, 1, 0] %h : f32[b, e] {
    %h = carry[0] : f32[b, e]
    %0 = reduce[sum, e] %h : f32[b]
    %1 = add %h, %0 : f32[b, e]
    return %1
  }
  %1 = gather[e] %0, %i : f32[b]
  return %1
}
",
];

/// The axes along which an op does not do the same for each element.
fn apart(op: &Op) -> Option<AxisSet> {
    Some(match op {
        Op::Gather(gather) => gather.axis.into(),
        Op::ArgReduce(arg) => arg.over.into(),
        Op::Running(running) => running.over.into(),
        Op::Shift(shift) => shift.axis.into(),
        op => return along(op),
    })
}

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, children) in scene.nodes("gather") {
        let Op::Gather(gather) = op else { continue };
        let (x, index) = (children[0], children[1]);
        for (number, scan, operands) in scene.loops(x) {
            let chosen = Chosen { scene, gather: &gather, index, scan: &scan, operands: &operands };
            let Some(new) = chosen.scan() else { continue };
            let trees = operands.iter().enumerate().map(|(i, operand)| chosen.operand(i, *operand));
            let tree = Tree::op(new, trees.chain([Tree::Class(index)]).collect());
            let result = match scan.body.results.len() {
                1 => tree,
                _ => Tree::Result(number, Box::new(tree)),
            };
            let (elem, index_elem) = (scene.ty(class).elem, scene.ty(index).elem);
            let tree = match gather.or_zero {
                false => result,
                true => {
                    let zero = |elem| Tree::op(Const::new(elem, 0.0), vec![]);
                    let has_one = Binary { f: scalar::Binary::Ge };
                    let has_one = Tree::op(has_one, vec![Tree::Class(index), zero(index_elem)]);
                    Tree::op(Select, vec![has_one, result, zero(elem)])
                }
            };
            found.push(Match::one(class, tree));
        }
    }
    found
}

/// A loop of which an index chooses experts.
struct Chosen<'a> {
    scene: &'a Scene,
    gather: &'a Gather,
    index: Id,
    scan: &'a Scan,
    operands: &'a [Id],
}

impl Chosen<'_> {
    /// An operand for the chosen experts. Weights are gathered in the body, by the contraction that reads them.
    fn operand(&self, number: usize, operand: Id) -> Tree {
        let is_kept = number >= self.scan.carries as usize && self.scene.at_load(operand);
        if is_kept || !self.scene.ty(operand).axes.contains(self.gather.axis) {
            return Tree::Class(operand);
        }
        // What is the same for all experts is the same for those that are chosen.
        let spread = self.scene.class(operand).into_iter().find_map(|(op, of)| match op {
            Op::Broadcast(Broadcast { over }) if over.contains(self.gather.axis) && !self.gather.or_zero => {
                let rows = self.scene.ty(self.index).axes.minus(&self.scene.ty(of[0]).axes);
                let over = over.without(self.gather.axis).union(&rows);
                Some(if over.is_empty() {
                    Tree::Class(of[0])
                } else {
                    Tree::op(Broadcast { over }, vec![Tree::Class(of[0])])
                })
            }
            _ => None,
        });
        spread.unwrap_or_else(|| Tree::op(self.gather.clone(), vec![Tree::Class(operand), Tree::Class(self.index)]))
    }

    /// A type of the body, with the index's axes in the place of the experts'.
    fn ty(&self, ty: &Type) -> Type {
        match ty.axes.contains(self.gather.axis) {
            true => ty.over(ty.axes.without(self.gather.axis).union(&self.scene.ty(self.index).axes)),
            false => ty.clone(),
        }
    }

    fn scan(&self) -> Option<Scan> {
        let (scene, axis) = (self.scene, self.gather.axis);
        let rows = &scene.ty(self.index).axes;
        let is_some = scene.known_size(axis).is_some_and(|n| n > 0);
        if !scene.holds(SOME, is_some) || rows.contains(self.scan.axis) || self.scan.axis == axis {
            return None;
        }
        let mut sizes = scene.sizes().clone();
        let body = self.body(&mut sizes)?;
        let types = body.results.iter().zip(&self.scan.body.results);
        let is_alike = types.into_iter().all(|(new, old)| *body.ty(*new) == self.ty(self.scan.body.ty(*old)));
        is_alike.then(|| Scan { body: Arc::new(body), ..self.scan.clone() })
    }

    fn body(&self, sizes: &mut Sizes) -> Option<Graph> {
        let (old, axis) = (&self.scan.body, self.gather.axis);
        let rows = self.scene.ty(self.index).axes.clone();
        let (carries, items) = (self.scan.carries as usize, self.scan.items as usize);
        let is_weight = |number: usize| self.scene.at_load(self.operands[number]);
        let known = |op: &Op| match op {
            Op::Item(item) => is_weight(carries + item.index as usize),
            Op::Capture(capture) => is_weight(carries + items + capture.index as usize),
            _ => false,
        };
        let known_sizes = sizes.clone();
        let mut build = Builder::new(sizes);
        let index = (self.operands.len() - carries - items) as u32;
        let index = build.try_add(Capture { index, ty: self.scene.ty(self.index).clone() }, &[]).ok()?;
        let mut values: BTreeMap<Value, Value> = BTreeMap::new();
        let mut at_load: BTreeMap<Value, bool> = BTreeMap::new();
        for id in old.ids() {
            let (node, value) = (old.node(id), Value::of(id));
            if node.op.class() == Class::Loop {
                return None;
            }
            let operands = old.operands(id);
            let of: Vec<bool> = operands.iter().map(|v| at_load[v]).collect();
            let is_known = is_at_load(&node.op, &node.types[0], &of, &known_sizes, &known);
            build.span = node.span;
            build.made_by = node.made_by;
            let varies = node.types[0].axes.contains(axis) || operands.iter().any(|v| old.ty(*v).axes.contains(axis));
            let op: Op = match &node.op {
                op if is_known || !varies => op.clone(),
                Op::Carry(carry) => Carry { ty: self.ty(&carry.ty), ..carry.clone() }.into(),
                Op::Item(item) => Item { ty: self.ty(&item.ty), ..item.clone() }.into(),
                Op::Capture(capture) => Capture { ty: self.ty(&capture.ty), ..capture.clone() }.into(),
                Op::Broadcast(Broadcast { over }) => {
                    let made =
                        if over.contains(axis) { rows.minus(&old.ty(operands[0]).axes) } else { AxisSet::default() };
                    Broadcast { over: over.without(axis).union(&made) }.into()
                }
                op => {
                    let along = apart(op)?;
                    let is_apart = along.is_disjoint(&rows);
                    if !self.scene.holds(ROWS_APART, is_apart) || along.contains(axis) {
                        return None;
                    }
                    op.clone()
                }
            };
            let mut own = Vec::new();
            for v in &operands {
                let chosen = !is_known && at_load[v] && old.ty(*v).axes.contains(axis);
                own.push(match chosen {
                    true => build.try_add(self.gather.clone(), &[values[v], index]).ok()?,
                    false => values[v],
                });
            }
            // Along no axis that is left there is nothing to spread.
            let is_idle = matches!(&op, Op::Broadcast(broadcast) if broadcast.over.is_empty());
            let new = if is_idle { own[0] } else { build.try_add(op, &own).ok()? };
            values.insert(value, new);
            at_load.insert(value, is_known);
        }
        let mut results = Vec::new();
        for v in &old.results {
            let chosen = at_load[v] && old.ty(*v).axes.contains(axis);
            results.push(match chosen {
                true => build.try_add(self.gather.clone(), &[values[v], index]).ok()?,
                false => values[v],
            });
        }
        Some(build.finish(results))
    }
}
