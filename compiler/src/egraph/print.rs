//! A saturated e-graph as text: a line for each class with its type, below it the ways to write it.
//!
//! `*` marks the one that extraction took; a comment names the rule that made a term.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::extract::Chosen;
use super::scene::Scene;
use super::term::{Head, Term};
use crate::graph::text;

pub fn print(scene: &Scene, chosen: &Chosen) -> String {
    let classes = scene.all();
    let made_by: BTreeMap<Term, &str> = scene.made.iter().rev().map(|m| (scene.canonical(&m.term), m.rule)).collect();
    let terms = scene.egraph.total_number_of_nodes();
    let mut out = format!("egraph of {} classes, {terms} terms\n", classes.len());
    for class in classes {
        let data = &scene.egraph[class].data;
        let types: Vec<String> = data.types.iter().map(ToString::to_string).collect();
        let at_load = if data.at_load { ", known at load" } else { "" };
        let _ = writeln!(out, "%{class} : {}{at_load}", types.join(", "));
        for (number, term) in scene.egraph[class].nodes.iter().enumerate() {
            let mark = if chosen.node.get(&class) == Some(&number) { '*' } else { ' ' };
            let _ = write!(out, "  {mark} {}", head(&term.head));
            for (i, operand) in term.operands.iter().enumerate() {
                let _ = write!(out, "{}%{}", if i == 0 { " " } else { ", " }, scene.egraph.find(*operand));
            }
            match made_by.get(&scene.canonical(term)) {
                Some(rule) => out += &format!("  // {rule}\n"),
                None => out.push('\n'),
            }
        }
    }
    out
}

/// An op with its attributes; a loop's body is another e-graph.
fn head(head: &Head) -> String {
    match head {
        Head::Op(op) => text::head_of(op),
        Head::Result(number) => format!("result[{number}]"),
    }
}
