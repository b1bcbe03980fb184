//! The e-graph: how rules run. Terms are Graph IR ops; the analysis knows types and what is known at load, never sizes or
//! costs. Each distinct region (an entry, a loop's body) has its own e-graph and is saturated once.

pub mod cost;
mod extract;
pub mod place;
pub mod prove;
mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egg::{EGraph, Id};
use gatec_lang::Size;

use crate::graph::{Axis, Builder, Graph, Module, Sizes, Type, Value};
use crate::ops::{Class, Mul, Op};
use crate::pipeline::{Fired, OptimizeOptions, Report};
use crate::rules::{Condition, RULES, Rule};

use cost::Extents;
use term::{Facts, Head, Term};

/// Limits, in nodes and rounds: the same input gives the same artifact on every machine.
const MAX_NODES: usize = 20_000;
const MAX_ROUNDS: usize = 12;

/// Rounding of sums of costs.
const COST_SLACK: f64 = 1.0 + 1e-6;

/// A replacement: ops over classes that are there.
#[derive(Clone, Debug)]
pub enum Tree {
    Class(Id),
    Op(Op, Vec<Tree>),
}

impl Tree {
    pub fn op(op: impl Into<Op>, operands: Vec<Self>) -> Self {
        Self::Op(op.into(), operands)
    }
    /// The product of classes; of one, itself.
    pub fn product(factors: Vec<Id>) -> Self {
        match factors.as_slice() {
            [one] => Self::Class(*one),
            _ => Self::op(Mul, factors.into_iter().map(Self::Class).collect()),
        }
    }
}

/// A region's e-graph, as rules see it.
pub struct Scene {
    egraph: EGraph<Term, Facts>,
    superseded: Vec<Id>,
    /// (class, op, rule) of every term that a rule made.
    made: Vec<(Id, Op, &'static str)>,
    /// A condition that a proof has switched off.
    off: Option<Condition>,
}

impl Scene {
    /// All terms with an op of that name: class, op, operands. By class, in a fixed order.
    pub fn nodes(&self, name: &'static str) -> Vec<(Id, Op, Vec<Id>)> {
        let mut classes: Vec<Id> = self.egraph.classes_for_op(&name).into_iter().flatten().collect();
        classes.sort();
        let of = |class: Id| {
            self.class(class).into_iter().filter(|(op, _)| op.name() == name).map(move |(op, c)| (class, op, c))
        };
        classes.into_iter().flat_map(of).collect()
    }

    /// The ways to write a value.
    pub fn class(&self, class: Id) -> Vec<(Op, Vec<Id>)> {
        let nodes = self.egraph[class].nodes.iter().filter_map(|term| match &term.head {
            Head::Op(op) => Some((op.clone(), term.operands.iter().map(|c| self.egraph.find(*c)).collect())),
            Head::Result(_) => None,
        });
        nodes.collect()
    }

    pub fn ty(&self, class: Id) -> &Type {
        &self.egraph[class].data.types[0]
    }

    /// Is it made of parameters and numbers alone?
    pub fn at_load(&self, class: Id) -> bool {
        self.egraph[class].data.at_load
    }

    /// `gather[axis](weights, index)` with weights known at load.
    pub fn gathered_at_load(&self, class: Id) -> Option<(Axis, Id, Id)> {
        self.class(class).into_iter().find_map(|(op, operands)| match op {
            Op::Gather(gather) if self.at_load(operands[0]) && !self.at_load(operands[1]) => {
                Some((gather.axis, operands[0], operands[1]))
            }
            _ => None,
        })
    }

    /// Has a rule found a better way to write it already?
    pub fn is_superseded(&self, class: Id) -> bool {
        self.superseded.iter().any(|s| self.egraph.find(*s) == self.egraph.find(class))
    }

    /// Does a rule's condition hold, or is it switched off?
    pub fn holds(&self, condition: Condition, holds: bool) -> bool {
        holds || self.off == Some(condition)
    }

    /// A new axis, named after `like`.
    pub fn fresh_axis(&mut self, like: &str, size: Size) -> Axis {
        self.egraph.analysis.sizes.fresh(like, size)
    }

    fn add(&mut self, tree: &Tree, rule: &'static str) -> Id {
        match tree {
            Tree::Class(id) => *id,
            Tree::Op(op, operands) => {
                let operands = operands.iter().map(|t| self.add(t, rule)).collect();
                let id = self.egraph.add(Term { head: Head::Op(op.clone()), operands });
                self.made.push((id, op.clone(), rule));
                id
            }
        }
    }
}

/// The pass: every region of every entry.
pub fn rewrite(mut module: Module, options: &OptimizeOptions, report: &mut Report) -> Result<Module, String> {
    let extents = Extents::new(&module, &options.assume);
    let declared: BTreeSet<Axis> = module.sizes.iter().map(|(axis, _)| axis).collect();
    let mut bodies: Vec<DoneBody> = Vec::new();
    for number in 0..module.entries.len() {
        let mut run = Run { sizes: &mut module.sizes, extents: &extents, options, report, bodies: &mut bodies };
        let graph = run.region(&module.entries[number].graph, &|_| false)?;
        let fired = count(&module, &module.entries[number].name, &graph);
        for new in fired {
            if !report.fired.contains(&new) {
                report.fired.retain(|f| (f.rule, &f.entry) != (new.rule, &new.entry));
                report.fired.push(new);
            }
        }
        module.entries[number].graph = graph;
    }
    forget_axes(&mut module, &declared);
    Ok(module)
}

/// A file and a line of it.
type Line = (String, u32);

/// Forgets axes of rules whose terms were not chosen.
fn forget_axes(module: &mut Module, declared: &BTreeSet<Axis>) {
    let mut used = declared.clone();
    let mut stack: Vec<&Graph> = module.entries.iter().map(|e| &e.graph).collect();
    while let Some(graph) = stack.pop() {
        for id in graph.ids() {
            let node = graph.node(id);
            used.extend(node.types.iter().flat_map(|t| t.axes.iter()));
            if let Op::Scan(scan) = &node.op {
                stack.push(&scan.body);
            }
        }
    }
    module.sizes.retain(|axis| used.contains(&axis));
}

/// What rules made of a graph, bodies included.
fn count(module: &Module, entry: &str, graph: &Graph) -> Vec<Fired> {
    let mut found: BTreeMap<&'static str, (usize, Option<Line>)> = BTreeMap::new();
    let mut stack = vec![graph];
    while let Some(graph) = stack.pop() {
        for id in graph.ids() {
            let node = graph.node(id);
            if let Op::Scan(scan) = &node.op {
                stack.push(&scan.body);
            }
            if RULES.iter().any(|r| r.name == node.made_by) {
                let line = node.span.and_then(|span| module.line_of(span));
                let entry = found.entry(node.made_by).or_insert((0, line));
                entry.0 += 1;
            }
        }
    }
    let why = |rule: &str| RULES.iter().find(|r| r.name == rule).map_or("", |r| r.why);
    found
        .into_iter()
        .map(|(rule, (count, line))| Fired { rule, why: why(rule), entry: entry.to_string(), count, line })
        .collect()
}

/// A body, what was known at load of its operands, and the body after rewriting.
type DoneBody = (Arc<Graph>, Vec<bool>, Arc<Graph>);

struct Run<'a> {
    sizes: &'a mut Sizes,
    extents: &'a Extents,
    options: &'a OptimizeOptions,
    report: &'a mut Report,
    /// Bodies that were done, with what was known of them: equal ones are done once.
    bodies: &'a mut Vec<DoneBody>,
}

impl Run<'_> {
    /// A region after rewriting. `outside` tells which items (true) and captures (false) are known at load.
    fn region(&mut self, graph: &Graph, outside: &dyn Fn((bool, u32)) -> bool) -> Result<Graph, String> {
        let mut known = BTreeMap::new();
        for id in graph.ids() {
            match &graph.node(id).op {
                Op::Item(item) => known.insert((true, item.index), outside((true, item.index))),
                Op::Capture(capture) => known.insert((false, capture.index), outside((false, capture.index))),
                _ => None,
            };
        }
        let facts = Facts { sizes: self.sizes.clone(), known, faults: Vec::new() };
        let mut scene = Scene { egraph: EGraph::new(facts), superseded: Vec::new(), made: Vec::new(), off: None };
        let mut ids: BTreeMap<Value, Id> = BTreeMap::new();
        for id in graph.ids() {
            let node = graph.node(id);
            let operands: Vec<Id> = graph.operands(id).iter().map(|v| ids[v]).collect();
            let mut op = node.op.clone();
            if let Op::Scan(scan) = &mut op {
                let is_known: Vec<bool> = operands.iter().map(|o| scene.at_load(*o)).collect();
                scan.body = self.body(&scan.body, scan.carries, scan.items, is_known)?;
                scene.egraph.analysis.sizes = self.sizes.clone();
            }
            let term = scene.egraph.add(Term { head: Head::Op(op), operands });
            for result in 0..node.types.len() as u32 {
                let class = if node.types.len() == 1 {
                    term
                } else {
                    scene.egraph.add(Term { head: Head::Result(result), operands: vec![term] })
                };
                ids.insert(Value { node: id, result }, class);
            }
        }
        self.saturate(&mut scene)?;
        *self.sizes = scene.egraph.analysis.sizes.clone();
        let roots: Vec<Id> = graph.results.iter().map(|v| ids[v]).collect();
        let chosen = match extract::extract(&scene, &roots, self.extents) {
            Ok(chosen) => chosen,
            Err(why) => {
                self.report.warnings.push(format!("{why}: a region of {} nodes stays as it was written", graph.len()));
                return Ok(graph.clone());
            }
        };
        let new = self.rebuild(graph, &scene, &ids, &chosen, &roots)?;
        // Greedy extraction has no bound: what it chose must not cost more than what was written.
        let is_known = |op: &Op| match op {
            Op::Item(item) => outside((true, item.index)),
            Op::Capture(capture) => outside((false, capture.index)),
            _ => false,
        };
        let cost = |graph: &Graph| cost::of_graph(graph, self.extents, &is_known);
        if cost(&new) > cost(graph) * COST_SLACK {
            self.report
                .warnings
                .push(format!("rewriting made nothing cheaper: a region of {} nodes stays", graph.len()));
            return Ok(graph.clone());
        }
        Ok(new)
    }

    fn body(&mut self, body: &Arc<Graph>, carries: u32, items: u32, known: Vec<bool>) -> Result<Arc<Graph>, String> {
        if let Some((.., done)) = self.bodies.iter().find(|(b, k, _)| *b == *body && *k == known) {
            return Ok(done.clone());
        }
        let outside = |(is_item, index): (bool, u32)| {
            let operand = if is_item { carries + index } else { carries + items + index };
            known.get(operand as usize).copied().unwrap_or(false)
        };
        let done = Arc::new(self.region(body, &outside)?);
        self.bodies.push((body.clone(), known.clone(), done.clone()));
        Ok(done)
    }

    fn saturate(&mut self, scene: &mut Scene) -> Result<(), String> {
        scene.egraph.rebuild();
        for round in 1.. {
            let before = scene.egraph.total_number_of_nodes();
            let mut changed = false;
            for rule in RULES {
                changed |= self.apply(scene, rule);
                if let Some(fault) = scene.egraph.analysis.faults.first() {
                    return Err(format!("rule `{}` equated {fault}", rule.name));
                }
                let nodes = scene.egraph.total_number_of_nodes();
                if nodes > MAX_NODES {
                    let warning = format!("rule `{}` met the limit of {MAX_NODES} e-nodes", rule.name);
                    self.report.warnings.push(warning);
                    return Ok(());
                }
            }
            if !changed && scene.egraph.total_number_of_nodes() == before {
                return Ok(());
            }
            if round >= MAX_ROUNDS {
                self.report.warnings.push(format!("rewriting met the limit of {MAX_ROUNDS} rounds"));
                return Ok(());
            }
        }
        Ok(())
    }

    fn apply(&mut self, scene: &mut Scene, rule: &Rule) -> bool {
        let mut changed = false;
        for found in (rule.find)(scene) {
            if self.options.fuel.is_some_and(|fuel| self.report.rewrites >= fuel) {
                return changed;
            }
            let id = scene.add(&found.tree, rule.name);
            if scene.egraph.union(found.class, id) {
                self.report.rewrites += 1;
                changed = true;
            }
            if found.supersedes {
                scene.superseded.push(found.class);
            }
        }
        scene.egraph.rebuild();
        changed
    }

    /// The chosen terms as a graph.
    fn rebuild(
        &mut self,
        graph: &Graph,
        scene: &Scene,
        ids: &BTreeMap<Value, Id>,
        chosen: &extract::Chosen,
        roots: &[Id],
    ) -> Result<Graph, String> {
        // The source of a class is that of the first node that stood for it.
        let mut origin: BTreeMap<Id, Value> = BTreeMap::new();
        for (value, id) in ids {
            origin.entry(scene.egraph.find(*id)).or_insert(*value);
        }
        let mut build = Builder::new(self.sizes);
        let mut values: BTreeMap<Id, Vec<Value>> = BTreeMap::new();
        for &class in &chosen.order {
            let term = &scene.egraph[class].nodes[chosen.node[&class]];
            let operands: Vec<Vec<Value>> =
                term.operands.iter().map(|c| values[&scene.egraph.find(*c)].clone()).collect();
            let made = match &term.head {
                Head::Result(result) => vec![operands[0][*result as usize]],
                Head::Op(op) => {
                    let node = origin.get(&class).map(|v| graph.node(v.node));
                    build.span = node.and_then(|n| n.span);
                    let rule = scene
                        .made
                        .iter()
                        .find(|(id, made, _)| made == op && scene.egraph.find(*id) == class)
                        .map(|(_, _, rule)| *rule);
                    let same = node.filter(|n| n.op.name() == op.name());
                    build.made_by = match (same, rule) {
                        (Some(n), _) => n.made_by,
                        (None, Some(rule)) => rule,
                        (None, None) => "",
                    };
                    let operands: Vec<Value> = operands.iter().map(|o| o[0]).collect();
                    let id = build.try_node(op.clone(), &operands).map_err(|e| e.to_string())?;
                    if let Some(name) = same.and_then(|n| n.name.as_deref()) {
                        build.name(id, name);
                    }
                    build.results(id)
                }
            };
            values.insert(class, made);
        }
        let results = roots.iter().map(|r| values[&scene.egraph.find(*r)][0]).collect();
        Ok(build.finish(results))
    }
}

/// Is an op free of work: a leaf or a view?
pub(crate) fn is_free(op: &Op) -> bool {
    matches!(op.class(), Class::Leaf | Class::View)
}
