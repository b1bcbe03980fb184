//! The e-graph: how rules run. Terms are Graph IR ops; the analysis knows types and what is known at load, never sizes or
//! costs. Each distinct region (an entry, a loop's body) has its own e-graph and is saturated once.
//!
//! [`saturate`] runs the rules, [`extract`] takes the cheapest graph out, [`rebuild`] makes it a graph again and remembers which rule
//! made what, [`check`] compares it with what was written.

pub mod by_size;
mod check;
pub mod cost;
mod extract;
mod news;
pub mod pattern;
pub mod place;
mod print;
pub mod prove;
mod rebuild;
mod saturate;
pub mod scene;
mod sides;
pub mod term;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egg::Id;
use gatec_lang::Size;
use rayon::prelude::*;

use crate::graph::{Axis, Entry, Graph, Module, Sizes, Value};
use crate::ops::{Class, Op};
use crate::pipeline::{Fired, OptimizeOptions, Report};
use crate::rules::RULES;

use by_size::{Grid, Point};
use cost::Extents;
pub use saturate::Limits;
use scene::Scene;
use term::{Facts, Head, Term};

/// The pass: every region of every entry. Entries are rewritten side by side, each as if it were the only one.
pub fn rewrite(mut module: Module, options: &OptimizeOptions, report: &mut Report) -> Result<Module, String> {
    let declared: BTreeSet<Axis> = module.sizes.iter().map(|(axis, _)| axis).collect();
    let entries = std::mem::take(&mut module.entries);
    let mut done: BTreeMap<usize, Forms> = BTreeMap::new();
    let mut left: Vec<usize> = (0..entries.len()).collect();
    while !left.is_empty() {
        // With fuel, an entry has what those before it left.
        let fuel = options.fuel.map(|fuel| fuel.saturating_sub(report.rewrites));
        let (now, later) = left.split_at(if fuel.is_some() { 1 } else { left.len() });
        let options = OptimizeOptions { fuel, ..options.clone() };
        let made = now.par_iter().map(|i| Forms::new(&entries[*i], &module, &options));
        let made: Vec<Forms> = made.collect::<Result<_, String>>()?;
        let mut again = Vec::new();
        for (i, mut forms) in now.iter().zip(made) {
            let mut joined = module.sizes.clone();
            if forms.sizes.iter().all(|(axis, size)| joined.declare(axis, size.clone())) {
                module.sizes = joined;
                report.extend(std::mem::take(&mut forms.report));
                done.insert(*i, forms);
            } else {
                // Another entry gave an axis of that name another size: once more, where the name is taken.
                again.push(*i);
            }
        }
        again.extend(later);
        left = again;
    }
    for (i, Forms { grid, graphs, .. }) in done {
        for new in grid.entries(&entries[i], &graphs, &module.sizes, options) {
            for new in count(&module, &new.title(), &new.graph) {
                report.fired.retain(|f| (f.rule, &f.entry) != (new.rule, &new.entry));
                report.fired.push(new);
            }
            module.entries.push(new);
        }
    }
    forget_axes(&mut module, &declared);
    Ok(module)
}

/// What became of an entry: its form at the main point first, then others, as far as they differ.
struct Forms {
    grid: Grid,
    graphs: Vec<Graph>,
    /// With the axes that rules made.
    sizes: Sizes,
    report: Report,
}

impl Forms {
    fn new(entry: &Entry, module: &Module, options: &OptimizeOptions) -> Result<Self, String> {
        let grid = Grid::new(module, entry, options);
        let points = grid.points();
        let mut done = Done::new();
        let mut forms = Self { grid, graphs: Vec::new(), sizes: module.sizes.clone(), report: Report::default() };
        for at in 0..points.len() {
            // Only the first is told of, as a build at one point would be.
            let (mut aside, is_first) = (Report::default(), forms.graphs.is_empty());
            let report = if is_first { &mut forms.report } else { &mut aside };
            let form = |sizes: &mut Sizes, report: &mut Report, done: &mut Done| {
                Run { sizes, options, points: &points, at, report, done }.region(&entry.graph, &|_| false)
            };
            // From the same axes on, the same form has the same new ones.
            let mut sizes = module.sizes.clone();
            let mut graph = form(&mut sizes, report, &mut done)?;
            if forms.graphs.contains(&graph) {
                continue;
            }
            let mut joined = forms.sizes.clone();
            if !sizes.iter().all(|(axis, size)| joined.declare(axis, size.clone())) {
                joined = forms.sizes.clone();
                graph = form(&mut joined, &mut Report::default(), &mut Done::new())?;
            }
            forms.sizes = joined;
            forms.graphs.push(graph);
        }
        Ok(forms)
    }
}

/// A file and a line of it.
pub type Line = (String, u32);

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
    let mut found: BTreeMap<&'static str, (usize, BTreeSet<Line>)> = BTreeMap::new();
    let mut stack = vec![graph];
    while let Some(graph) = stack.pop() {
        for id in graph.ids() {
            let node = graph.node(id);
            if let Op::Scan(scan) = &node.op {
                stack.push(&scan.body);
            }
            if RULES.iter().any(|r| r.name == node.made_by) {
                let (count, lines) = found.entry(node.made_by).or_default();
                *count += 1;
                lines.extend(node.span.and_then(|span| module.line_of(span)));
            }
        }
    }
    let why = |rule: &str| RULES.iter().find(|r| r.name == rule).map_or("", |r| r.why);
    let fired = |(rule, (count, lines)): (&'static str, (usize, BTreeSet<Line>))| Fired {
        rule,
        why: why(rule),
        entry: entry.to_string(),
        count,
        lines: lines.into_iter().collect(),
        without_ns: None,
    };
    found.into_iter().map(fired).collect()
}

/// What became of a region or window, with the leaves that were known at load: a form for each point, as far as they were looked for.
type Done = BTreeMap<(Graph, Leaves), Vec<Option<Form>>>;

/// A region after rewriting, and the axes that rules made for it.
#[derive(Clone)]
struct Form {
    graph: Graph,
    axes: Vec<(Axis, Size)>,
}

/// Items (true) and captures (false) of a region, and whether they are known at load.
type Leaves = BTreeMap<(bool, u32), bool>;

struct Run<'a> {
    sizes: &'a mut Sizes,
    options: &'a OptimizeOptions,
    /// Sizes of symbols for which costs are weighed, and which of them are meant.
    points: &'a [Point],
    at: usize,
    report: &'a mut Report,
    /// Equal ones are done once.
    done: &'a mut Done,
}

impl Run<'_> {
    /// A region after rewriting. `outside` tells which items (true) and captures (false) are known at load.
    fn region(&mut self, graph: &Graph, outside: &dyn Fn((bool, u32)) -> bool) -> Result<Graph, String> {
        let windows = windows::cut(graph, self.options.limits.whole, self.sizes, &|op| is_known(op, outside))?;
        if windows.is_empty() {
            return self.window(graph, outside);
        }
        let mut new = Vec::new();
        for window in &windows {
            let inside = |(is_item, index): (bool, u32)| match index.checked_sub(window.first) {
                Some(i) if !is_item => window.captured.get(i as usize).is_some_and(|(_, at_load)| *at_load),
                _ => outside((is_item, index)),
            };
            new.push(self.window(&window.graph, &inside)?);
        }
        windows::join(graph, &windows, &new, self.sizes)
    }

    /// A region, or a window of one, in an e-graph of its own.
    fn window(&mut self, graph: &Graph, outside: &dyn Fn((bool, u32)) -> bool) -> Result<Graph, String> {
        let mut known = Leaves::new();
        for id in graph.ids() {
            match &graph.node(id).op {
                Op::Item(item) => known.insert((true, item.index), outside((true, item.index))),
                Op::Capture(capture) => known.insert((false, capture.index), outside((false, capture.index))),
                _ => None,
            };
        }
        let key = (graph.clone(), known.clone());
        if let Some(((first, _), forms)) = self.done.get_key_value(&key)
            && let Some(form) = &forms[self.at]
        {
            // Made from these sizes on before: the same names are free.
            for (axis, size) in &form.axes {
                self.sizes.declare(*axis, size.clone());
            }
            return Ok(windows::told_of(&form.graph, first, graph));
        }
        self.report.regions += 1;
        let mut scene = Scene::new(Facts { sizes: self.sizes.clone(), known, faults: Vec::new() });
        let mut written = Written::default();
        for id in graph.ids() {
            let node = graph.node(id);
            let operands: Vec<Id> = graph.operands(id).iter().map(|v| written.class[v]).collect();
            let mut op = node.op.clone();
            if let Op::Scan(scan) = &mut op {
                let is_known: Vec<bool> = operands.iter().map(|o| scene.at_load(*o)).collect();
                scan.body = self.body(&scan.body, scan.carries, scan.items, is_known)?;
                scene.egraph.analysis.sizes = self.sizes.clone();
            }
            let term = Term { head: Head::Op(op), operands };
            let whole = scene.egraph.add(term.clone());
            written.terms.push((whole, term, Value::of(id)));
            for result in 0..node.types.len() as u32 {
                let value = Value { node: id, result };
                let class = if node.types.len() == 1 {
                    whole
                } else {
                    let term = Term { head: Head::Result(result), operands: vec![whole] };
                    let class = scene.egraph.add(term.clone());
                    written.terms.push((class, term, value));
                    class
                };
                written.class.insert(value, class);
            }
        }
        for (value, (condition, side)) in sides::sides(graph) {
            scene.set_side(written.class[&value], (written.class[&condition], side));
        }
        saturate::saturate(&mut scene, self.options, self.report)?;
        let before = std::mem::replace(self.sizes, scene.egraph.analysis.sizes.clone());
        let roots: Vec<Id> = graph.results.iter().map(|v| written.class[v]).collect();
        // Without loops, whose bodies differ from point to point, one e-graph serves all points.
        let has_loops = graph.ids().any(|id| matches!(graph.node(id).op, Op::Scan(_)));
        let mut forms: Vec<Option<Graph>> = vec![None; self.points.len()];
        for (at, point) in self.points.iter().enumerate().filter(|(at, _)| *at == self.at || !has_loops) {
            let extents = Extents::at(self.sizes, self.options, point);
            let mut aside = Report::default();
            let report = if at == self.at { &mut *self.report } else { &mut aside };
            let chosen = extract::extract(&scene, &written, &roots, &extents, report)?;
            if self.options.print_egraphs {
                report.egraphs.push(print::print(&scene, &chosen));
            }
            let new = rebuild::rebuild(graph, &scene, &written, &chosen, &roots, self.sizes)?;
            if self.options.verify || cfg!(debug_assertions) {
                check::in_classes(&scene, &chosen)?;
                check::cost(&new, self.sizes, &extents, &|op| is_known(op, outside), chosen.cost)?;
                check::meaning(graph, &new, self.sizes)?;
            }
            forms[at] = Some(new);
        }
        let axes: Vec<(Axis, Size)> =
            self.sizes.iter().filter(|(axis, _)| before.get(*axis).is_none()).map(|(a, s)| (a, s.clone())).collect();
        let new = forms[self.at].clone().ok_or("a region has no form")?;
        let slots = self.done.entry(key).or_insert_with(|| vec![None; self.points.len()]);
        for (slot, graph) in slots.iter_mut().zip(forms) {
            *slot = slot.take().or(graph.map(|graph| Form { graph, axes: axes.clone() }));
        }
        Ok(new)
    }

    fn body(&mut self, body: &Arc<Graph>, carries: u32, items: u32, known: Vec<bool>) -> Result<Arc<Graph>, String> {
        let outside = |(is_item, index): (bool, u32)| {
            let operand = if is_item { carries + index } else { carries + items + index };
            known.get(operand as usize).copied().unwrap_or(false)
        };
        Ok(Arc::new(self.region(body, &outside)?))
    }
}

/// Is a leaf known at load?
fn is_known(leaf: &Op, outside: &dyn Fn((bool, u32)) -> bool) -> bool {
    match leaf {
        Op::Item(item) => outside((true, item.index)),
        Op::Capture(capture) => outside((false, capture.index)),
        _ => false,
    }
}

/// A region as it was written.
#[derive(Default)]
struct Written {
    class: BTreeMap<Value, Id>,
    /// Class, term and value, operands first.
    terms: Vec<(Id, Term, Value)>,
}

/// Is an op free of work: a leaf or a view?
pub(crate) fn is_free(op: &Op) -> bool {
    matches!(op.class(), Class::Leaf | Class::View)
}
