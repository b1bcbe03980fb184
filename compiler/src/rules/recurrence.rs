//! Recurrences: linear ones take several steps at a time.

use std::sync::Arc;

use egg::Id;
use gatec_lang::Size;

use super::{Condition, Find, Infinities, Match, Phase, Rule};
use crate::egraph::scene::{Scene, Tree};
use crate::graph::{Axis, AxisSet, Builder, Elem, Graph, Sizes, Type, Value};
use crate::ops::{
    Add, Capture, Carry, Class, Concat, Contract, Item, Merge, Mul, Op, Pick, Scan, Slice, Split, Stack, Start,
};

/// A state that fades and takes up products, `s = a * s + k * v`, and is read by sums, `y = q @ s`: [`CHUNK`] steps at a time.
///
/// With `a(i, j)` for the product of the `a` of the steps after `i`, up to `j`, a chunk that begins with `s` has
///
/// ```text
/// y_j = (q_j * a(-1, j)) @ s + sum over i <= j of (q_j @ (k_i * a(i, j))) * v_i
/// s'  = a(-1, last) * s      + sum over i of (k_i * a(i, last)) * v_i
/// ```
///
/// All factors are made outside of the loop. The state, which is large, is read and written once in a chunk: `2 * CHUNK + 1`
/// operations an element instead of `3 * CHUNK`. Gates are only ever multiplied, those of one chunk: nothing is divided, so nothing overflows
/// that did not before, however long the sequence. Steps that fill no chunk run one by one at the end.
pub const STEPS_IN_CHUNKS: Rule = Rule {
    name: "steps-in-chunks",
    group: "recurrence",
    why: "a linear recurrence takes several steps at a time: its state is read and written once for all of them",
    phase: Phase::Gates,
    find: Find::Search { find, cases: CASES },
    when: &[FORWARD, AFTER_WRITING, NOT_EMPTY],
    pays: &[],
    infinities: Infinities::MayBeNan,
};

const FORWARD: Condition = Condition::Says("the loop runs forward");
const AFTER_WRITING: Condition = Condition::Says("a step reads the state that it leaves, not the one that it finds");
const NOT_EMPTY: Condition = Condition::Says("the sums that read the state are known not to be empty");

/// Steps of a chunk. Twice as many would save a tenth more, and would not fit the registers beside what they read.
const CHUNK: usize = 4;

const CASES: &[&str] = &[
    // Gates along the summed axis, and a scale.
    "module m
axis t = 11
axis k = 2
axis v = 3
graph @f(%s: f32[k, v], %a: f32[t, k], %k: f32[t, k], %v: f32[t, v], %q: f32[t, k], %c: f32[k]) -> (f32[k, v], f32[t, v]) {
  %0:2 = scan[t, forward, 1, 4] %s, %a, %k, %v, %q, %c : f32[k, v], f32[v, t] {
    %s = carry[0] : f32[k, v]
    %a = item[0] : f32[k]
    %k = item[1] : f32[k]
    %v = item[2] : f32[v]
    %q = item[3] : f32[k]
    %c = capture[0] : f32[k]
    %0 = mul %a, %s : f32[k, v]
    %1 = mul %k, %v : f32[k, v]
    %2 = add %0, %1 : f32[k, v]
    %3 = mul %q, %c : f32[k]
    %4 = contract[k] %3, %2 : f32[v]
    return %2, %4
  }
  return %0#0, %0#1
}
",
    // No gate; a state that is read twice, and before the step writes it.
    "module m
axis t = 11
axis k = 2
axis v = 3
graph @f(%s: f32[k, v], %k: f32[t, k], %v: f32[t, v], %q: f32[t, k], %p: f32[k]) -> (f32[k, v], f32[t, v], f32[t, v]) {
  %0:3 = scan[t, forward, 1, 3] %s, %k, %v, %q, %p : f32[k, v], f32[v, t], f32[v, t] {
    %s = carry[0] : f32[k, v]
    %k = item[0] : f32[k]
    %v = item[1] : f32[v]
    %q = item[2] : f32[k]
    %p = capture[0] : f32[k]
    %0 = mul %k, %v : f32[k, v]
    %1 = add %s, %0 : f32[k, v]
    %2 = contract[k] %q, %1 : f32[v]
    %3 = contract[k] %p, %1 : f32[v]
    return %1, %2, %3
  }
  return %0#0, %0#1, %0#2
}
",
    "module m
axis t = 11
axis k = 2
axis v = 3
graph @f(%s: f32[k, v], %a: f32[t, k], %k: f32[t, k], %v: f32[t, v], %q: f32[t, k]) -> (f32[k, v], f32[t, v]) {
  %0:2 = scan[t, forward, 1, 4] %s, %a, %k, %v, %q : f32[k, v], f32[v, t] {
    %s = carry[0] : f32[k, v]
    %a = item[0] : f32[k]
    %k = item[1] : f32[k]
    %v = item[2] : f32[v]
    %q = item[3] : f32[k]
    %0 = mul %a, %s : f32[k, v]
    %1 = mul %k, %v : f32[k, v]
    %2 = add %0, %1 : f32[k, v]
    %3 = contract[k] %q, %s : f32[v]
    return %2, %3
  }
  return %0#0, %0#1
}
",
    // Backward.
    "module m
axis t = 11
axis k = 2
axis v = 3
graph @f(%s: f32[k, v], %a: f32[t], %k: f32[t, k], %v: f32[t, v], %q: f32[t, k]) -> (f32[k, v], f32[t, v]) {
  %0:2 = scan[t, reverse, 1, 4] %s, %a, %k, %v, %q : f32[k, v], f32[v, t] {
    %s = carry[0] : f32[k, v]
    %a = item[0] : f32[]
    %k = item[1] : f32[k]
    %v = item[2] : f32[v]
    %q = item[3] : f32[k]
    %0 = mul %a, %s : f32[k, v]
    %1 = mul %k, %v : f32[k, v]
    %2 = add %0, %1 : f32[k, v]
    %3 = contract[k] %q, %2 : f32[v]
    return %2, %3
  }
  return %0#0, %0#1
}
",
];

fn find(scene: &mut Scene) -> Vec<Match> {
    let mut found = Vec::new();
    for (class, op, operands) in scene.nodes("scan") {
        let Op::Scan(scan) = op else { continue };
        let results = scan.body.results.len() as u32;
        let places: Option<Vec<Id>> = (0..results).map(|number| scene.result(class, number)).collect();
        let Some((places, recurrence)) = places.zip(Recurrence::of(&scan, scene)) else { continue };
        if !is_longer(scene, scan.axis) || !scene.is_news(STEPS_IN_CHUNKS.name, &places) {
            continue;
        }
        let outside = Outside { scene, scan: &scan, operands: &operands };
        let Some(steps) = outside.steps(&recurrence) else { continue };
        if let Some(values) = Chunks::new(scene, &scan, &operands, steps).values() {
            found.push(Match { places: places.into_iter().zip(values).collect() });
        }
    }
    found
}

/// May a loop be longer than what a chunk leaves over?
fn is_longer(scene: &Scene, axis: Axis) -> bool {
    let lengths = [0, 1, 2, 3].map(|n| 64 + n);
    scene
        .size(axis)
        .is_some_and(|size| lengths.iter().any(|n| size.eval(&|_| Some(*n)).is_none_or(|n| n >= CHUNK as i64)))
}

/// The parts of a linear recurrence, values of the loop's body that do not vary with its state.
struct Recurrence {
    /// What the state is multiplied by.
    fades: Vec<Value>,
    /// Factors of what it takes up.
    writes: Vec<Value>,
    /// For each yield, what the state is multiplied by, and the axes of the sum.
    reads: Vec<(Value, AxisSet)>,
}

impl Recurrence {
    fn of(scan: &Scan, scene: &Scene) -> Option<Self> {
        let body = &scan.body;
        let (&next, yields) = body.results.split_first()?;
        if scan.carries != 1 || yields.is_empty() || !scene.holds(FORWARD, !scan.reverse) {
            return None;
        }
        let is_state = |v: Value| matches!(body.op(v), Op::Carry(_));
        let Op::Add(_) = body.op(next) else { return None };
        let terms = body.operands(next.node);
        let &[first, second] = terms.as_slice() else { return None };
        let factors = |v: Value| if matches!(body.op(v), Op::Mul(_)) { body.operands(v.node) } else { vec![v] };
        let (mut fades, writes) = match (factors(first).contains(&state(body)?), factors(second)) {
            (true, writes) => (factors(first), writes),
            (false, fades) => (fades, factors(first)),
        };
        let at = fades.iter().position(|v| is_state(*v))?;
        fades.remove(at);
        let read = |y: &Value| {
            let Op::Contract(Contract { over }) = body.op(*y) else { return None };
            let operands = body.operands(y.node);
            let of = |v: Value| v == next || is_state(v) && scene.holds(AFTER_WRITING, false);
            let at = operands.iter().position(|v| of(*v))?;
            let is_some = over.iter().all(|a| scene.known_size(a).is_some_and(|n| n > 0));
            scene.holds(NOT_EMPTY, is_some).then(|| (operands[1 - at], over.clone()))
        };
        let reads: Vec<(Value, AxisSet)> = yields.iter().map(read).collect::<Option<_>>()?;
        // It pays where the state is larger than what goes into it. Halves would be rounded on their way into the loop.
        let elem = body.ty(next).elem;
        if !elem.is_float() || elem.bytes() < 4 {
            return None;
        }
        let small = |v: &Value| body.ty(*v).axes.len() < body.ty(next).axes.len();
        let all = || fades.iter().chain(&writes).chain(reads.iter().map(|(q, _)| q));
        all().all(small).then(|| Self { fades: fades.clone(), writes: writes.clone(), reads: reads.clone() })
    }
}

/// The state in a loop's body.
fn state(body: &Graph) -> Option<Value> {
    body.ids().map(Value::of).find(|v| matches!(body.op(*v), Op::Carry(_)))
}

/// A value outside of the loop, and its axes.
#[derive(Clone)]
struct Outer {
    tree: Tree,
    axes: AxisSet,
}

impl Outer {
    fn product(factors: Vec<Self>) -> Self {
        let axes = factors.iter().fold(AxisSet::default(), |all, f| all.union(&f.axes));
        Self { tree: Tree::product(factors.into_iter().map(|f| f.tree).collect()), axes }
    }
}

/// The parts of a linear recurrence for all steps: those that vary with them have the loop's axis.
struct Steps {
    fades: Vec<Outer>,
    /// Factors with an axis of some sum, and those without any.
    writes: [Vec<Outer>; 2],
    reads: Vec<(Outer, AxisSet)>,
}

struct Outside<'a> {
    scene: &'a Scene,
    scan: &'a Scan,
    operands: &'a [Id],
}

impl Outside<'_> {
    fn steps(&self, of: &Recurrence) -> Option<Steps> {
        let all = |values: &[Value]| values.iter().map(|v| self.value(*v)).collect::<Option<Vec<_>>>();
        let reads = |(q, over): &(Value, AxisSet)| Some((self.value(*q)?, over.clone()));
        let reads: Vec<(Outer, AxisSet)> = of.reads.iter().map(reads).collect::<Option<_>>()?;
        let (summed, other) =
            all(&of.writes)?.into_iter().partition(|w| reads.iter().any(|(_, over)| !w.axes.is_disjoint(over)));
        Some(Steps { fades: all(&of.fades)?, writes: [summed, other], reads })
    }

    /// A value of the body that is made of items, captures and numbers, element by element, for all steps.
    fn value(&self, value: Value) -> Option<Outer> {
        let body = &self.scan.body;
        let operand = |index: u32| {
            let class = *self.operands.get(index as usize)?;
            Some(Outer { tree: Tree::Class(class), axes: self.scene.ty(class).axes.clone() })
        };
        if body.ty(value).axes.contains(self.scan.axis) {
            return None;
        }
        match body.op(value) {
            Op::Item(item) => operand(self.scan.carries + item.index),
            Op::Capture(capture) => operand(self.scan.carries + self.scan.items + capture.index),
            op if op.class() == Class::Pointwise || matches!(op, Op::Const(_) | Op::SizeOf(_)) => {
                let operands =
                    body.operands(value.node).into_iter().map(|v| self.value(v)).collect::<Option<Vec<_>>>()?;
                let axes = operands.iter().fold(body.ty(value).axes.clone(), |all, o| all.union(&o.axes));
                Some(Outer { tree: Tree::op(op.clone(), operands.into_iter().map(|o| o.tree).collect()), axes })
            }
            _ => None,
        }
    }
}

/// A loop over chunks while it is made.
struct Chunks<'a> {
    scan: &'a Scan,
    operands: &'a [Id],
    steps: Steps,
    /// The types of the state and of the yields in the body.
    types: Vec<Type>,
    sizes: Sizes,
    axes: Axes,
    /// Operands of the new loop: what varies with the chunk, what does not.
    items: Vec<Outer>,
    captures: Vec<Outer>,
}

/// Axes of a loop in chunks.
struct Axes {
    /// Of all steps in chunks; of the chunks; of the steps of one.
    whole: Axis,
    chunks: Axis,
    step: Axis,
    /// Of the steps that fill none, where there may be any.
    rest: Option<Axis>,
}

impl<'a> Chunks<'a> {
    fn new(scene: &mut Scene, scan: &'a Scan, operands: &'a [Id], steps: Steps) -> Self {
        let size = scene.size(scan.axis).cloned().unwrap_or_default();
        let name = scan.axis.name();
        let count = size.checked_div(CHUNK as i64).unwrap_or_default();
        let in_chunks = count.checked_mul(&Size::known(CHUNK as i64)).unwrap_or_default();
        let left = size.checked_sub(&in_chunks).unwrap_or_default();
        let has_rest = left != Size::default();
        let axes = Axes {
            whole: if has_rest { scene.fresh_axis(name, in_chunks) } else { scan.axis },
            chunks: scene.fresh_axis("chunk", count),
            step: scene.fresh_axis("step", Size::known(CHUNK as i64)),
            rest: has_rest.then(|| scene.fresh_axis(name, left)),
        };
        let types = scan.body.results.iter().map(|v| scan.body.ty(*v).clone()).collect();
        let sizes = scene.sizes().clone();
        Self { scan, operands, steps, types, sizes, axes, items: Vec::new(), captures: Vec::new() }
    }

    /// What the loop's results become.
    fn values(mut self) -> Option<Vec<Tree>> {
        let body = self.body()?;
        let items = self.items.len() as u32;
        let scan = Scan { axis: self.axes.chunks, reverse: false, carries: 1, items, body: Arc::new(body) };
        let mut operands = vec![Tree::Class(self.operands[0])];
        operands.extend(self.items.iter().chain(&self.captures).map(|o| o.tree.clone()));
        let chunks = Box::new(Tree::op(scan, operands));
        let of_chunks = |y: usize| {
            let steps = (0..CHUNK).map(|j| Tree::Result((1 + y * CHUNK + j) as u32, chunks.clone())).collect();
            let stacked = Tree::op(Stack { axis: self.axes.step }, steps);
            Tree::op(Merge { from: vec![self.axes.chunks, self.axes.step], to: self.axes.whole }, vec![stacked])
        };
        let state = Tree::Result(0, chunks.clone());
        let yields = (0..self.steps.reads.len()).map(of_chunks);
        let Some(rest) = self.axes.rest else { return Some([state].into_iter().chain(yields).collect()) };
        let of_rest = |(i, class): (usize, &Id)| match (1..=self.scan.items as usize).contains(&i) {
            true => Tree::op(Slice { from: self.scan.axis, to: rest, start: Start::Last }, vec![Tree::Class(*class)]),
            false => Tree::Class(*class),
        };
        let mut operands: Vec<Tree> = self.operands.iter().enumerate().map(of_rest).collect();
        operands[0] = state;
        let one_by_one = Box::new(Tree::op(Scan { axis: rest, ..self.scan.clone() }, operands));
        let joined = |(y, chunks): (usize, Tree)| {
            let rest_of_it = Tree::Result(1 + y as u32, one_by_one.clone());
            Tree::op(Concat { to: self.scan.axis, axes: vec![self.axes.whole, rest] }, vec![chunks, rest_of_it])
        };
        let state = Tree::Result(0, one_by_one.clone());
        Some([state].into_iter().chain(yields.enumerate().map(joined)).collect())
    }

    /// One chunk.
    fn body(&mut self) -> Option<Graph> {
        let product = |factors: Vec<Outer>| (!factors.is_empty()).then(|| Outer::product(factors));
        let all = |this: &Self, of: &[Outer], j: usize| of.iter().map(|o| this.at(o, j)).collect::<Vec<_>>();
        // What each step takes up, in its two factors.
        let [summed, other] = self.steps.writes.clone();
        let summed: Vec<Vec<Outer>> = (0..CHUNK).map(|i| all(self, &summed, i)).collect();
        let other: Vec<Option<Outer>> = (0..CHUNK).map(|i| product(all(self, &other, i))).collect();
        let other: Vec<Option<Leaf>> = other.into_iter().map(|o| o.map(|o| self.leaf(o))).collect();
        let fading = |this: &Self, of: &[Outer], from: usize, to: usize| {
            let fades = (from..=to).flat_map(|j| all(this, &this.steps.fades, j));
            of.iter().cloned().chain(fades).collect::<Vec<_>>()
        };
        let mut yields = Vec::new();
        for (q, over) in self.steps.reads.clone() {
            for j in 0..CHUNK {
                let q = self.at(&q, j);
                let of_state = product(fading(self, std::slice::from_ref(&q), 0, j)).map(|o| self.leaf(o));
                let mut of_steps = Vec::new();
                for (i, summed) in summed.iter().enumerate().take(j + 1) {
                    // Without a factor along the sum, the sum is over what reads alone.
                    let taken = product(fading(self, summed, i + 1, j)).filter(|t| over.is_subset(&t.axes))?;
                    let axes = q.axes.union(&taken.axes).minus(&over);
                    let tree = Tree::op(Contract { over: over.clone() }, vec![q.tree.clone(), taken.tree]);
                    of_steps.push((self.leaf(Outer { tree, axes }), other[i].clone()));
                }
                yields.push((of_state, over.clone(), of_steps));
            }
        }
        let mut writer = Vec::new();
        for (i, summed) in summed.iter().enumerate() {
            let taken = product(fading(self, summed, i + 1, CHUNK - 1));
            writer.push((taken.map(|t| self.leaf(t)), other[i].clone()));
        }
        let fading = product(fading(self, &[], 0, CHUNK - 1)).map(|f| self.leaf(f));

        let mut build = Body { build: Builder::new(&mut self.sizes), elem: self.types[0].elem };
        let state = build.add(Carry { index: 0, ty: self.types[0].clone() }, &[])?;
        // The state is read before it is written: it may stand in one place.
        let mut results = vec![state];
        for (of_state, over, of_steps) in &yields {
            let q = build.product([of_state, &None], None)?;
            let mut sum = vec![build.add(Contract { over: over.clone() }, &[q, state])?];
            for (weight, taken) in of_steps {
                sum.push(build.product([&Some(weight.clone()), taken], None)?);
            }
            results.push(build.add(Add, &sum)?);
        }
        let mut sum = vec![build.product([&fading, &None], Some(state))?];
        for (summed, taken) in &writer {
            sum.push(build.product([summed, taken], None)?);
        }
        results[0] = build.add(Add, &sum)?;
        Some(build.build.finish(results))
    }

    /// Step `j` of every chunk.
    fn at(&self, of: &Outer, j: usize) -> Outer {
        let Axes { whole, chunks, step, .. } = self.axes;
        if !of.axes.contains(self.scan.axis) {
            return of.clone();
        }
        let mut tree = of.tree.clone();
        if whole != self.scan.axis {
            tree = Tree::op(Slice { from: self.scan.axis, to: whole, start: Start::At(0) }, vec![tree]);
        }
        let tree = Tree::op(Split { from: whole, to: vec![chunks, step] }, vec![tree]);
        let tree = Tree::op(Pick { axis: step, index: j as i64 }, vec![tree]);
        Outer { tree, axes: of.axes.without(self.scan.axis).with(chunks) }
    }

    /// A value of the loop's body that is made outside.
    fn leaf(&mut self, of: Outer) -> Leaf {
        let is_item = of.axes.contains(self.axes.chunks);
        let axes = of.axes.without(self.axes.chunks);
        let list = if is_item { &mut self.items } else { &mut self.captures };
        list.push(of);
        Leaf { is_item, index: list.len() as u32 - 1, axes }
    }
}

/// The body of the new loop while it is made.
struct Body<'a> {
    build: Builder<'a>,
    elem: Elem,
}

impl Body<'_> {
    fn add(&mut self, op: impl Into<Op>, operands: &[Value]) -> Option<Value> {
        self.build.try_add(op, operands).ok()
    }

    fn product(&mut self, leaves: [&Option<Leaf>; 2], state: Option<Value>) -> Option<Value> {
        let elem = self.elem;
        let leaves = leaves.into_iter().flatten().map(|leaf| self.add(leaf.op(elem), &[]));
        let factors: Vec<Value> = leaves.chain(state.map(Some)).collect::<Option<_>>()?;
        if factors.len() == 1 { Some(factors[0]) } else { self.add(Mul, &factors) }
    }
}

/// An item or a capture.
#[derive(Clone, Debug)]
struct Leaf {
    is_item: bool,
    index: u32,
    axes: AxisSet,
}

impl Leaf {
    fn op(&self, elem: Elem) -> Op {
        let ty = Type::new(elem, self.axes.clone());
        match self.is_item {
            true => Item { index: self.index, ty }.into(),
            false => Capture { index: self.index, ty }.into(),
        }
    }
}
