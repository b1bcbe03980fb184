//! The chosen terms as a graph, with names, source lines and the rules that made them.
//!
//! A value keeps its name and its place in the source however it is written now. Terms in between, which stand for no value that was
//! written, stand at the place of the value that they help to write.

use std::collections::BTreeMap;

use egg::Id;

use super::Written;
use super::extract::Chosen;
use super::scene::{Made, Scene};
use super::term::{Head, Term};
use crate::graph::{Builder, Graph, Node, Sizes, Value};

pub fn rebuild(
    graph: &Graph,
    scene: &Scene,
    written: &Written,
    chosen: &Chosen,
    roots: &[Id],
    sizes: &mut Sizes,
) -> Result<Graph, String> {
    let origins = Origins::new(graph, scene, written);
    let mut build = Builder::new(sizes);
    let mut values: BTreeMap<Id, Vec<Value>> = BTreeMap::new();
    for &class in &chosen.order {
        let term = scene.canonical(&scene.egraph[class].nodes[chosen.node[&class]]);
        // Where order is free, that in which somebody wrote them.
        let order = origins.order.get(&term).unwrap_or(&&term).operands.iter().map(|c| scene.egraph.find(*c));
        let operands: Vec<&Vec<Value>> = order.map(|c| &values[&c]).collect();
        let made = match &term.head {
            Head::Result(result) => vec![operands[0][*result as usize]],
            Head::Op(op) => {
                let operands: Vec<Value> = operands.iter().map(|o| o[0]).collect();
                (build.span, build.made_by) = match (origins.term.get(&term), origins.made.get(&term)) {
                    (Some(node), _) => (node.span, node.made_by),
                    (None, Some(made)) => (origins.span(scene, class, made), made.rule),
                    (None, None) => (None, ""),
                };
                let id = build.try_node(op.clone(), &operands).map_err(|e| e.to_string())?;
                if let Some(name) =
                    origins.class.get(&class).and_then(|nodes| nodes.iter().find_map(|n| n.name.as_deref()))
                {
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

/// Where terms and values come from.
struct Origins<'a> {
    term: BTreeMap<Term, &'a Node>,
    class: BTreeMap<Id, Vec<&'a Node>>,
    made: BTreeMap<Term, &'a Made>,
    /// Each term as the program has it, or else a rule.
    order: BTreeMap<Term, &'a Term>,
}

impl<'a> Origins<'a> {
    fn new(graph: &'a Graph, scene: &'a Scene, written: &'a Written) -> Self {
        let mut origins =
            Self { term: BTreeMap::new(), class: BTreeMap::new(), made: BTreeMap::new(), order: BTreeMap::new() };
        for (class, term, value) in &written.terms {
            let node = graph.node(value.node);
            origins.term.entry(scene.canonical(term)).or_insert(node);
            origins.order.entry(scene.canonical(term)).or_insert(term);
            origins.class.entry(scene.egraph.find(*class)).or_default().push(node);
        }
        for made in &scene.made {
            origins.made.entry(scene.canonical(&made.term)).or_insert(made);
            origins.order.entry(scene.canonical(&made.term)).or_insert(&made.term);
        }
        origins
    }

    /// The place of a value, else that of the value for which a rule made it, and so on up.
    fn span(&self, scene: &Scene, class: Id, made: &Made) -> Option<crate::graph::Span> {
        let of = |class: Id| self.class.get(&scene.egraph.find(class))?.iter().find_map(|n| n.span);
        if let Some(span) = of(class) {
            return Some(span);
        }
        let mut next = made.instead_of;
        // A chain of rules is no longer than the list of what they made.
        for _ in 0..=scene.made.len() {
            if let Some(span) = of(next) {
                return Some(span);
            }
            let next_class = scene.egraph.find(next);
            next = scene.made.iter().find(|m| scene.egraph.find(m.class) == next_class)?.instead_of;
        }
        None
    }
}
