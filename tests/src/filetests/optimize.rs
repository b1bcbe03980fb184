//! `//! optimize: PASS PASS ...`, or `//! optimize: all`: the module after these passes, and which rules fired.
//!
//! `//! expect @f: contract 1, inside stack 2` counts ops of entry `@f` afterwards: its own, and those inside of its loops;
//! `expect load: ...` those of the load graph; `expect @f: unchanged` that no op was made or removed.

use std::collections::BTreeMap;
use std::path::Path;

use gatec::graph::{Graph, Module, text, verify};
use gatec::ops::Op;
use gatec::pipeline::{OptimizeOptions, Optimized, optimize, run_pass};
use gatec::rules::RULES;

use crate::{Case, Output};

pub fn run(case: &Case) -> Result<Output, String> {
    let before = parse(&case.text)?;
    let optimized = passes(before.clone(), &case.argument)?;
    verify::verify(&optimized.module).map_err(|faults| format!("{faults:#?}"))?;
    for line in &case.header {
        let Some(expectation) = line.strip_prefix("expect ") else { return Err(format!("`{line}` is no expectation")) };
        let (graph, wanted) = expectation.split_once(':').ok_or_else(|| format!("`{line}` has no colon"))?;
        expect(graph.trim(), wanted.trim(), &before, &optimized.module)?;
    }
    let mut text = text::print(&optimized.module);
    for fired in &optimized.report.fired {
        text += &format!("// {} made {} in @{}\n", fired.rule, fired.count, fired.entry);
    }
    for warning in &optimized.report.warnings {
        text += &format!("// warning: {warning}\n");
    }
    Ok(Output::Snapshot(text))
}

fn parse(text: &str) -> Result<Module, String> {
    let module = text::parse(text).map_err(|e| e.to_string())?;
    verify::verify(&module).map_err(|faults| format!("{faults:#?}"))?;
    Ok(module)
}

fn passes(module: Module, names: &str) -> Result<Optimized, String> {
    let options = OptimizeOptions { verify: true, ..OptimizeOptions::default() };
    if names == "all" {
        return optimize(module, &options).map_err(|e| e.to_string());
    }
    let mut all = Optimized { module, report: Default::default() };
    for name in names.split_whitespace() {
        let next = run_pass(name, all.module, &options).map_err(|e| e.to_string())?;
        all.module = next.module;
        all.report.fired.extend(next.report.fired);
        all.report.warnings.extend(next.report.warnings);
    }
    Ok(all)
}

fn expect(name: &str, wanted: &str, before: &Module, after: &Module) -> Result<(), String> {
    let graph = |module: &Module| -> Result<Counts, String> {
        if name == "load" {
            return Ok(Counts::of(&module.load));
        }
        // Of several forms that which serves the larger sizes.
        let entry = module.entries.iter().rev().find(|e| name.strip_prefix('@') == Some(&e.name));
        entry.map(|e| Counts::of(&e.graph)).ok_or_else(|| format!("no graph {name}"))
    };
    let counts = graph(after)?;
    if wanted == "unchanged" {
        return if counts == graph(before)? { Ok(()) } else { Err(format!("{name} changed: {counts:?}")) };
    }
    for part in wanted.split(',') {
        let words: Vec<&str> = part.split_whitespace().collect();
        let (list, op, count) = match words.as_slice() {
            ["inside", op, count] => (&counts.inside, *op, *count),
            [op, count] => (&counts.own, *op, *count),
            _ => return Err(format!("`{part}` counts nothing")),
        };
        let found = list.get(op).copied().unwrap_or(0);
        if count.parse() != Ok(found) {
            return Err(format!("{name}: expected{part}, found {found}"));
        }
    }
    Ok(())
}

/// How often each op occurs.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    own: BTreeMap<&'static str, usize>,
    inside: BTreeMap<&'static str, usize>,
}

impl Counts {
    fn of(graph: &Graph) -> Self {
        let mut counts = Self::default();
        let mut stack = vec![(graph, false)];
        while let Some((graph, inside)) = stack.pop() {
            for id in graph.ids() {
                let op = &graph.node(id).op;
                let list = if inside { &mut counts.inside } else { &mut counts.own };
                *list.entry(op.name()).or_default() += 1;
                if let Op::Scan(scan) = op {
                    stack.push((&scan.body, true));
                }
            }
        }
        counts
    }
}

/// Each rule has a folder and a file: it fires there, and stays away in a graph of which the file says so.
#[test]
fn every_rule_fires_in_a_filetest_and_stays_away_in_a_near_miss() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests/rules");
    for rule in RULES {
        let path = root.join(rule.group).join(format!("{}.gir", rule.name));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let fired = passes(parse(&text).unwrap(), "rewrite").unwrap().report.fired;
        assert!(fired.iter().any(|f| f.rule == rule.name), "{} does not fire in {}", rule.name, path.display());
        assert!(text.contains(": unchanged"), "{} has no near miss", path.display());
    }
}
