//! Proof of rules by evaluation, both ways.
//!
//! A rule's programs (its own; those of a pattern are made from it, with random types) are instantiated with random small sizes (0
//! and 1 among them) and random values (ties, infinities, NaN), and
//! everything that the rule finds in them is evaluated by the reference interpreter beside what it stands for: they must agree.
//! Then each condition is switched off: somewhere the rule must now be wrong (other values, an evaluation that fails, or a
//! replacement that does not even have the right type), or the condition is idle and should not be there.
//!
//! Values agree if they differ by rounding only, or both are NaN; where the rule says so, an infinity may have become NaN. A sample on which the program itself has no value (an index into
//! an axis without elements) says nothing.

use std::collections::BTreeMap;

use egg::Id;
use gatec_lang::Size;
use thiserror::Error;

use super::pattern::Pattern;
use super::scene::{Scene, Tree};
use super::term::is_flat;
use super::term::{Facts, Head, Term};
use crate::graph::interp::{Env, run_graph};
use crate::graph::random::Rng;
use crate::graph::tensor::{Extents, Tensor};
use crate::graph::{Axis, AxisSet, Builder, Elem, Graph, Module, Sizes, Type, TypeError, Value, text, verify};
use crate::ops::{Attr, Const, Input, Op, Param};
use crate::rules::{Condition, Find, Infinities, Match, Rule};

/// Instances of each program.
const SAMPLES: u64 = 120;
/// Random types for a pattern's variables; most do not fit.
const TYPINGS: u64 = 100_000;
/// Typings that fit and are looked at.
const FITTING: usize = 5_000;
/// Sizes of axes: most programs need two elements to tell right from wrong.
const SIZES: [i64; 8] = [2, 3, 2, 3, 1, 4, 2, 0];
/// An axis that is written this long is drawn up to its length: a loop of several turns.
const LONG: i64 = 8;
/// Relative to the largest value: sums change their order.
const TOLERANCE: f64 = 1e-9;

/// A rule that is right wherever its conditions hold, whether it pays or not, and needs each of them.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// How many replacements were evaluated.
    pub replacements: usize,
}

/// Why a rule does not exist.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Disproof {
    #[error("program {case} of the rule: {why}")]
    Program { case: usize, why: String },
    #[error("never fires in its programs")]
    NeverFires,
    #[error("program {case}, sample {sample}: {why}")]
    Wrong { case: usize, sample: u64, why: String },
    #[error("is right without the condition that {condition}")]
    Idle { condition: Condition },
}

/// Proves a rule, or tells why it is wrong.
pub fn prove(rule: &Rule) -> Result<Proof, Disproof> {
    let mut tally = Tally { replacements: 0, needed: vec![false; rule.when.len()] };
    match rule.find {
        Find::Pattern { from, .. } => {
            let pattern = Pattern::parse(from).map_err(|why| Disproof::Program { case: 0, why })?;
            let instances = (0..TYPINGS).filter_map(|seed| Some((seed, Instance::of_pattern(&pattern, seed)?)));
            for (sample, instance) in instances.take(FITTING) {
                tally.add(rule, &instance).map_err(|why| Disproof::Wrong { case: 0, sample, why })?;
            }
        }
        Find::Search { cases, .. } => {
            for (case, program) in cases.iter().enumerate() {
                let module = text::parse(program).map_err(|e| Disproof::Program { case, why: e.to_string() })?;
                if let Err(faults) = verify::verify(&module) {
                    return Err(Disproof::Program { case, why: faults[0].to_string() });
                }
                for sample in 0..SAMPLES {
                    let mut rng = Rng::new(sample * 31 + case as u64);
                    let Some(instance) = Instance::of_program(&module, &mut rng) else { continue };
                    tally.add(rule, &instance).map_err(|why| Disproof::Wrong { case, sample, why })?;
                }
            }
        }
    }
    if tally.replacements == 0 {
        return Err(Disproof::NeverFires);
    }
    match rule.when.iter().zip(&tally.needed).find(|(_, needed)| !**needed) {
        Some((condition, _)) => Err(Disproof::Idle { condition: *condition }),
        None => Ok(Proof { replacements: tally.replacements }),
    }
}

struct Tally {
    replacements: usize,
    /// For each condition: was the rule wrong somewhere without it?
    needed: Vec<bool>,
}

impl Tally {
    fn add(&mut self, rule: &Rule, instance: &Instance) -> Result<(), String> {
        self.replacements += instance.check(rule, None)?;
        for (condition, needed) in rule.when.iter().zip(&mut self.needed) {
            *needed = *needed || instance.check(rule, Some(*condition)).is_err();
        }
        Ok(())
    }
}

/// A program with sizes and values.
struct Instance {
    sizes: Sizes,
    graph: Graph,
    inputs: Vec<Tensor>,
    params: Vec<Tensor>,
}

impl Instance {
    /// The left side of a rule with random types for its variables; `None` if they do not fit.
    fn of_pattern(pattern: &Pattern, seed: u64) -> Option<Self> {
        let mut rng = Rng::new(seed);
        let mut sizes = Sizes::default();
        for name in AXES {
            sizes.declare(Axis::new(name), Size::known(*rng.pick(&SIZES)));
        }
        let mut typing =
            Typing { rng: &mut rng, build: Builder::new(&mut sizes), leaves: Vec::new(), attrs: BTreeMap::new() };
        let root = typing.value(pattern)?;
        let leaves: Vec<Op> = typing.leaves.into_iter().map(|(_, leaf)| leaf).collect();
        let graph = typing.build.finish(vec![root]);
        let extents = Extents::bind(&sizes, &BTreeMap::new()).ok()?;
        let style = rng.below(3);
        let mut tensor = |leaf: &Op| {
            let (Op::Input(Input { ty, .. }) | Op::Param(Param { ty, .. })) = leaf else { return None };
            Some(Tensor::from_fn(ty.elem, extents.axes(&ty.axes)?, |_| number(&mut rng, ty.elem, style, 1)))
        };
        // Each leaf has a number of its own, whether it is an input or a parameter.
        let inputs: Vec<Tensor> = leaves.iter().map(&mut tensor).collect::<Option<_>>()?;
        Some(Self { sizes, graph, params: inputs.clone(), inputs })
    }

    /// `None` if the program has no meaning at these sizes.
    fn of_program(module: &Module, rng: &mut Rng) -> Option<Self> {
        let entry = module.entries.first()?;
        let mut sizes = Sizes::default();
        // Axes of one size in the text keep one size.
        let mut drawn: BTreeMap<i64, i64> = BTreeMap::new();
        for (axis, size) in module.sizes.iter() {
            let written = size.as_known()?;
            let draw = || if written < LONG { *rng.pick(&SIZES) } else { rng.below(written as usize + 1) as i64 };
            let n = *drawn.entry(written).or_insert_with(draw);
            sizes.declare(axis, Size::known(n));
        }
        let module = Module { sizes: sizes.clone(), ..module.clone() };
        verify::verify(&module).ok()?;
        let extents = Extents::bind(&sizes, &BTreeMap::new()).ok()?;
        let style = rng.below(3);
        let experts = entry.graph.ids().filter_map(|id| extents.get(entry.graph.node(id).op.indexed()?));
        let experts = experts.min().unwrap_or(1);
        let mut tensor = |ty: &Type| {
            let axes = extents.axes(&ty.axes)?;
            Some(Tensor::from_fn(ty.elem, axes, |_| number(rng, ty.elem, style, experts)))
        };
        let inputs = entry.inputs.iter().map(|b| tensor(&b.ty())).collect::<Option<_>>()?;
        let params = module.params.iter().map(|p| tensor(&p.tensor.ty())).collect::<Option<_>>()?;
        let instance = Self { sizes, graph: entry.graph.clone(), inputs, params };
        instance.run(&instance.graph, &instance.sizes).ok()?;
        Some(instance)
    }

    fn run(&self, graph: &Graph, sizes: &Sizes) -> Result<Vec<Tensor>, String> {
        let extents = Extents::bind(sizes, &BTreeMap::new()).map_err(|e| e.to_string())?;
        let env = Env { inputs: &self.inputs, params: &self.params, ..Env::new(&extents) };
        run_graph(graph, &env).map_err(|e| e.to_string())
    }

    /// Evaluates all that a rule finds beside what it stands for; how many there were.
    fn check(&self, rule: &Rule, off: Option<Condition>) -> Result<usize, String> {
        let (mut scene, classes) = self.scene();
        scene.off = off;
        let mut found = scene.find(rule, true)?;
        if !rule.pays.is_empty() {
            found.extend(scene.find(rule, false)?);
        }
        let places: Vec<&(Id, Tree)> = found.iter().flat_map(|m: &Match| &m.places).collect();
        for (class, tree) in &places {
            self.compare(&scene, &classes, *class, tree, rule.infinities)?;
        }
        Ok(places.len())
    }

    /// The e-graph of the program as it stands, and a value for each class.
    fn scene(&self) -> (Scene, BTreeMap<Id, Value>) {
        let facts = Facts { sizes: self.sizes.clone(), known: BTreeMap::new(), faults: Vec::new() };
        let mut scene = Scene::new(facts);
        let mut ids: BTreeMap<Value, Id> = BTreeMap::new();
        let mut classes = BTreeMap::new();
        for id in self.graph.ids() {
            let operands = self.graph.operands(id).iter().map(|v| ids[v]).collect();
            let term = Term { head: Head::Op(self.graph.node(id).op.clone()), operands };
            let whole = scene.egraph.add(term);
            let results = self.graph.node(id).types.len() as u32;
            for value in (0..results).map(|result| Value { node: id, result }) {
                let class = match results {
                    1 => whole,
                    _ => scene.egraph.add(Term { head: Head::Result(value.result), operands: vec![whole] }),
                };
                ids.insert(value, class);
                classes.entry(class).or_insert(value);
            }
        }
        scene.egraph.rebuild();
        (scene, classes)
    }

    fn compare(
        &self,
        scene: &Scene,
        classes: &BTreeMap<Id, Value>,
        class: Id,
        tree: &Tree,
        infinities: Infinities,
    ) -> Result<(), String> {
        let mut sizes = scene.egraph.analysis.sizes.clone();
        let mut b = Builder::new(&mut sizes);
        let mut values: Vec<Value> = Vec::new();
        let ill = |e: TypeError| format!("ill-typed: {e}");
        for id in self.graph.ids() {
            let operands = self.graph.operands(id).into_iter();
            let operands: Vec<Value> = operands.map(|v| Value { node: values[v.node.index()].node, ..v }).collect();
            values.push(Value::of(b.copy(self.graph.node(id), &operands).map_err(ill)?));
        }
        let at = |class: Id| {
            let value = classes[&scene.egraph.find(class)];
            Value { node: values[value.node.index()].node, ..value }
        };
        let old = at(class);
        let new = grow(&mut b, tree, &at).map_err(ill)?;
        if b.ty(old) != b.ty(new) {
            return Err(format!("{} became {}", b.ty(old), b.ty(new)));
        }
        let axes: Vec<_> = b.ty(old).axes.iter().collect();
        let graph = b.finish(vec![old, new]);
        let results = self.run(&graph, &sizes)?;
        let [old, new] = results.as_slice() else { return Err("two results were expected".into()) };
        agree(&old.ordered(&axes), &new.ordered(&axes), infinities)
    }
}

/// Axes of the programs that are made from patterns.
const AXES: [&str; 4] = ["a", "b", "c", "d"];

/// Random types for the variables of a pattern.
struct Typing<'a, 'b> {
    rng: &'a mut Rng,
    build: Builder<'b>,
    leaves: Vec<(&'static str, Op)>,
    attrs: BTreeMap<&'static str, Attr>,
}

impl Typing<'_, '_> {
    fn value(&mut self, pattern: &Pattern) -> Option<Value> {
        match pattern {
            Pattern::Op(name, items) => {
                // Attributes stand first, and are as many as the op takes.
                for attrs in 0..=items.len() {
                    let (heads, operands) = items.split_at(attrs);
                    let Some(heads) = heads.iter().map(|h| self.attr(h)).collect::<Option<Vec<_>>>() else { break };
                    if let Some(op) = Op::parse(name, &heads, &[])
                        && (is_flat(name) || op.arity() == Some(operands.len()))
                    {
                        let mut values = Vec::new();
                        for operand in operands {
                            let times = if matches!(operand, Pattern::Rest(_)) { 1 + self.rng.below(2) } else { 1 };
                            for _ in 0..times {
                                values.push(self.value(operand)?);
                            }
                        }
                        return self.build.try_add(op, &values).ok();
                    }
                }
                None
            }
            Pattern::Variable(name) | Pattern::Rest(name) => {
                let known = self.leaves.iter().find(|(n, _)| n == name && matches!(pattern, Pattern::Variable(_)));
                let leaf = match known {
                    Some((_, leaf)) => leaf.clone(),
                    None => {
                        let (index, ty) = (self.leaves.len() as u32, Type::new(Elem::F32, self.axes(50)));
                        let leaf = match self.rng.chance(50) {
                            true => Input { index, ty }.into(),
                            false => Op::from(Param { index, ty }),
                        };
                        self.leaves.push((name, leaf.clone()));
                        leaf
                    }
                };
                self.build.try_add(leaf, &[]).ok()
            }
            Pattern::Number(bits) => self.build.try_add(Const { elem: Elem::F32, bits: *bits }, &[]).ok(),
            Pattern::Union(..) | Pattern::Word(_) => None,
        }
    }

    fn attr(&mut self, pattern: &Pattern) -> Option<Attr> {
        match pattern {
            Pattern::Word(word) => Some(Attr::word(*word)),
            Pattern::Variable(name) => {
                let axes = self.axes(30);
                Some(self.attrs.entry(name).or_insert(Attr::Axes(axes)).clone())
            }
            _ => None,
        }
    }

    fn axes(&mut self, percent: usize) -> AxisSet {
        AXES.into_iter().filter(|_| self.rng.chance(percent)).map(Axis::new).collect()
    }
}

fn grow(b: &mut Builder, tree: &Tree, at: &impl Fn(Id) -> Value) -> Result<Value, TypeError> {
    match tree {
        Tree::Class(class) => Ok(at(*class)),
        Tree::Op(op, operands) => {
            let operands = operands.iter().map(|t| grow(b, t, at)).collect::<Result<Vec<_>, _>>()?;
            b.try_add(op.clone(), &operands)
        }
        Tree::Result(number, of) => Ok(Value { result: *number, ..grow(b, of, at)? }),
    }
}

/// Style 0: small numbers; 1: few different ones; 2: infinities and NaN among them.
fn number(rng: &mut Rng, elem: Elem, style: usize, experts: usize) -> f64 {
    match (elem, style) {
        (Elem::Bool, _) => rng.below(2) as f64,
        (elem, _) if !elem.is_float() => rng.below(experts) as f64,
        (_, 0) => rng.number(2.0),
        (_, 1) => *rng.pick(&[-1.0, 0.0, 1.0]),
        (_, _) => *rng.pick(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0, 1.0, 0.5, -2.0, 1.5, -1.0]),
    }
}

fn agree(old: &Tensor, new: &Tensor, infinities: Infinities) -> Result<(), String> {
    let scale = old.data.iter().filter(|x| x.is_finite()).fold(1.0, |m: f64, x| m.max(x.abs()));
    let is_no_number = |x: f64| x.is_nan() || infinities == Infinities::MayBeNan && x.is_infinite();
    let is_same = |a: f64, b: f64| a == b || is_no_number(a) && is_no_number(b) || (a - b).abs() <= TOLERANCE * scale;
    match old.data.iter().zip(new.data.iter()).find(|(a, b)| !is_same(**a, **b)) {
        Some((a, b)) => Err(format!("{a} became {b}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Gather, Reduce};
    use crate::rules::{Phase, RULES};

    #[test]
    fn every_rule_is_proved() {
        let mut names = std::collections::BTreeSet::new();
        for rule in RULES {
            assert!(names.insert(rule.name), "two rules are named {}", rule.name);
            assert!(!rule.why.is_empty() && !rule.group.is_empty(), "{} gives no reason", rule.name);
            let proof = prove(rule).unwrap_or_else(|e| panic!("rule {}: {e}", rule.name));
            assert!(proof.replacements > 50, "rule {}: {} replacements only", rule.name, proof.replacements);
        }
    }

    /// A gather past any fold, also along the axes of its index.
    fn gather_past_every_fold(scene: &mut Scene) -> Vec<Match> {
        let mut found = Vec::new();
        for (class, op, children) in scene.nodes("gather") {
            let Op::Gather(Gather { axis, .. }) = op else { continue };
            for (inner, operands) in scene.class(children[0]) {
                if let Op::Reduce(Reduce { fold, over }) = inner {
                    let gathered =
                        Tree::op(Gather::new(axis), vec![Tree::Class(operands[0]), Tree::Class(children[1])]);
                    let tree = Tree::op(Reduce { fold, over }, vec![gathered]);
                    found.push(Match::one(class, tree));
                }
            }
        }
        found
    }

    const FOLD_APART: &str = "module m
axis t = 3
axis e = 2
axis d = 5
graph @f(%x: f32[t, e, d], %i: i32[t]) -> (f32[t]) {
  %0 = reduce[max, d] %x : f32[e, t]
  %1 = gather[e] %0, %i : f32[t]
  return %1
}
";
    const FOLD_OF_INDEX: &str = "module m
axis t = 3
axis e = 2
axis d = 5
graph @f(%x: f32[e, d], %i: i32[d]) -> (f32[d]) {
  %0 = reduce[sum, d] %x : f32[e]
  %1 = gather[e] %0, %i : f32[d]
  return %1
}
";

    fn wrong_on_purpose(cases: &'static [&'static str], when: &'static [Condition]) -> Rule {
        let find = Find::Search { find: gather_past_every_fold, cases };
        rule(find, when)
    }

    fn rule(find: Find, when: &'static [Condition]) -> Rule {
        let infinities = Infinities::MayBeNan;
        Rule { name: "wrong", group: "test", why: "a test", phase: Phase::Values, find, when, pays: &[], infinities }
    }

    #[test]
    fn a_wrong_pattern_is_caught_and_so_is_one_that_forgets_or_adds_a_condition() {
        use Condition::{Disjoint, Has, NotEmpty};
        let prove = |to, when| prove(&rule(Find::Pattern { from: "(mul ?g.. (contract ?k ?x ?w))", to }, when));
        const ENOUGH: &[Condition] = &[Disjoint("?g", "?k"), NotEmpty("?k")];
        const IDLE: &[Condition] = &[Disjoint("?g", "?k"), NotEmpty("?k"), Has("?x", "?k")];
        let into = "(contract ?k (mul ?g.. ?x) ?w)";
        assert!(prove(into, ENOUGH).is_ok());
        assert!(matches!(prove(into, &[NotEmpty("?k")]), Err(Disproof::Wrong { .. })));
        assert!(matches!(prove(into, &[Disjoint("?g", "?k")]), Err(Disproof::Wrong { .. })));
        assert_eq!(prove(into, IDLE).err(), Some(Disproof::Idle { condition: Has("?x", "?k") }));
        assert!(matches!(prove("(contract ?k ?x ?w)", ENOUGH), Err(Disproof::Wrong { .. })));
        let twice = "(contract ?k (mul ?g.. ?x) (mul ?g.. ?w))";
        assert!(matches!(prove(twice, ENOUGH), Err(Disproof::Wrong { .. })));
    }

    #[test]
    fn a_rule_that_is_wrong_somewhere_is_caught() {
        let found = prove(&wrong_on_purpose(&[FOLD_APART, FOLD_OF_INDEX], &[]));
        assert!(matches!(found, Err(Disproof::Wrong { case: 1, .. })), "{found:?}");
    }

    #[test]
    fn a_condition_that_nothing_needs_is_caught() {
        let idle = Condition::Says("it is a fine day");
        const WHEN: &[Condition] = &[Condition::Says("it is a fine day")];
        let found = prove(&wrong_on_purpose(&[FOLD_APART], WHEN));
        assert_eq!(found.err(), Some(Disproof::Idle { condition: idle }));
    }

    #[test]
    fn a_rule_that_never_fires_is_caught() {
        const NO_GATHER: &[&str] = &["module m
axis t = 3
graph @f(%x: f32[t]) -> (f32[t]) {
  %0 = unary[neg] %x : f32[t]
  return %0
}
"];
        assert_eq!(prove(&wrong_on_purpose(NO_GATHER, &[])).err(), Some(Disproof::NeverFires));
    }
}
