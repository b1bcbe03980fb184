//! The list of passes, and what runs them: verification, dumps, timings, fuel.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;

use crate::egraph;
use crate::graph::{Elem, Module, text, verify};
use crate::machine::Machine;
use crate::passes;

/// What the passes may know and must do.
#[derive(Clone, Debug, Default)]
pub struct OptimizeOptions {
    /// Sizes of symbols for which costs are weighed.
    pub assume: Vec<(String, i64)>,
    /// Further sizes of symbols, for each of which the best form is looked for; where it differs, the size decides at run time.
    pub points: Vec<(String, Vec<i64>)>,
    /// May the number of rows decide, too? Then a row may have other last bits among many than alone.
    pub fast: bool,
    /// What costs are of.
    pub machine: Machine,
    /// Stop after this many rewrites.
    pub fuel: Option<u64>,
    /// Verify after every pass; debug builds always do.
    pub verify: bool,
    /// Passes after which the module is printed.
    pub print_after: Vec<String>,
    /// Are e-graphs printed?
    pub print_egraphs: bool,
    /// Rules that stay away.
    pub without: Vec<String>,
    /// What an e-graph may grow to.
    pub limits: egraph::Limits,
    /// The type in which f32 weights of contractions are stored, if not as they are.
    pub weights: Option<Elem>,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub fired: Vec<Fired>,
    pub costs: Vec<Cost>,
    pub warnings: Vec<String>,
    pub timings: Vec<(String, Duration)>,
    /// (pass, module after it)
    pub dumps: Vec<(String, String)>,
    /// E-graphs as text, one for each region and pass, in the order of saturation.
    pub egraphs: Vec<String>,
    /// Rewrites that were made, for fuel.
    pub rewrites: u64,
    /// Rules that found a place, whether what they made was chosen or not.
    pub applied: BTreeSet<&'static str>,
    /// Regions whose e-graphs were saturated.
    pub regions: usize,
    /// The size of these e-graphs.
    pub saturated: Saturated,
}

impl Report {
    /// Adds what happened elsewhere meanwhile.
    pub fn extend(&mut self, other: Self) {
        let Self { fired, costs, warnings, timings, dumps, egraphs, rewrites, applied, regions, saturated } = other;
        self.fired.extend(fired);
        self.costs.extend(costs);
        self.warnings.extend(warnings);
        self.timings.extend(timings);
        self.dumps.extend(dumps);
        self.egraphs.extend(egraphs);
        self.rewrites += rewrites;
        self.applied.extend(applied);
        self.regions += regions;
        self.saturated.nodes += saturated.nodes;
        self.saturated.classes += saturated.classes;
        self.saturated.rounds += saturated.rounds;
        self.saturated.largest = self.saturated.largest.max(saturated.largest);
    }
}

/// How large e-graphs became, over all regions and passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Saturated {
    pub nodes: usize,
    pub classes: usize,
    pub rounds: usize,
    /// Nodes of the largest.
    pub largest: usize,
}

/// A rule that made nodes of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    pub rule: &'static str,
    pub why: &'static str,
    pub entry: String,
    /// Nodes that it made.
    pub count: usize,
    /// The source lines for which these stand.
    pub lines: Vec<egraph::Line>,
    /// Roofline time of the entry without this rule, where somebody asked.
    pub without_ns: Option<f64>,
}

/// Roofline time of an entry before and after.
#[derive(Clone, Debug)]
pub struct Cost {
    pub entry: String,
    pub before_ns: f64,
    pub after_ns: f64,
    /// The sizes that this is for, where an entry has several forms.
    pub sizes: Vec<(String, i64)>,
}

/// An optimised module and how it came about.
#[derive(Clone, Debug)]
pub struct Optimized {
    pub module: Module,
    pub report: Report,
}

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    #[error("no pass `{name}`; there are {}", names().join(", "))]
    NoPass { name: String },
    #[error("pass `{pass}` made a graph that does not verify; this is a bug in gatec:\n{problems}")]
    Invalid { pass: &'static str, problems: String },
    #[error("pass `{pass}` failed; this is a bug in gatec: {why}")]
    Pass { pass: &'static str, why: String },
}

/// A pass: a name, one line, a function.
pub struct Pass {
    pub name: &'static str,
    pub about: &'static str,
    run: fn(Module, &OptimizeOptions, &mut Report) -> Result<Module, String>,
}

/// THE list.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "narrow",
        about: "weights of contractions in a narrower type, where that is asked for",
        run: passes::narrow,
    },
    Pass {
        name: "canonicalize",
        about: "one form for equal values: flat sums, folded numbers, no idle views",
        run: passes::canonicalize,
    },
    Pass { name: "dead-code", about: "what nothing reads goes", run: passes::dead_code },
    Pass {
        name: "rewrite",
        about: "rules to a fixed point in an e-graph, the cheapest form taken out",
        run: egraph::rewrite,
    },
    Pass {
        name: "hoist",
        about: "what varies with a loop's items alone is computed for all iterations at once",
        run: egraph::place::hoist,
    },
    Pass { name: "rewrite-hoisted", about: "rules once more, across what was hoisted", run: egraph::rewrite },
    Pass {
        name: "at-load",
        about: "what depends on parameters alone is computed once, at load",
        run: egraph::place::at_load,
    },
    Pass { name: "clean", about: "what the other passes left behind goes", run: passes::clean },
    Pass { name: "tell", about: "loops are told which rows of their results anybody needs", run: passes::tell },
];

fn names() -> Vec<&'static str> {
    PASSES.iter().map(|p| p.name).collect()
}

/// Runs all passes.
pub fn optimize(module: Module, options: &OptimizeOptions) -> Result<Optimized, PipelineError> {
    if let Some(unknown) = options.print_after.iter().find(|n| !names().contains(&n.as_str())) {
        return Err(PipelineError::NoPass { name: unknown.clone() });
    }
    let mut report = Report::default();
    let symbols: Vec<&str> = module.symbols.iter().map(|(name, _)| name.as_str()).collect();
    for (name, _) in options.assume.iter().filter(|(name, _)| !symbols.contains(&name.as_str())) {
        let there_is = if symbols.is_empty() { "none".into() } else { symbols.join(", ") };
        report.warnings.push(format!("no symbolic axis `{name}`; there is {there_is}"));
    }
    let written = module.clone();
    let mut module = module;
    for pass in PASSES {
        module = run(pass, module, options, &mut report)?;
    }
    for entry in &module.entries {
        let cost = |graph, sizes| egraph::cost::of_entry(entry, graph, sizes, options);
        let before = written.entries.iter().find(|e| e.name == entry.name);
        let before_ns = before.map_or(0.0, |before| cost(&before.graph, &written.sizes));
        let has_forms = module.entries.iter().filter(|e| e.name == entry.name).count() > 1;
        let sizes = entry.assumed.clone().filter(|_| has_forms).unwrap_or_default();
        report.costs.push(Cost { entry: entry.title(), before_ns, after_ns: cost(&entry.graph, &module.sizes), sizes });
    }
    Ok(Optimized { module, report })
}

/// Runs the pass of that name alone.
pub fn run_pass(name: &str, module: Module, options: &OptimizeOptions) -> Result<Optimized, PipelineError> {
    let pass =
        PASSES.iter().find(|p| p.name == name).ok_or_else(|| PipelineError::NoPass { name: name.to_string() })?;
    let mut report = Report::default();
    let module = run(pass, module, options, &mut report)?;
    Ok(Optimized { module, report })
}

fn run(pass: &Pass, module: Module, options: &OptimizeOptions, report: &mut Report) -> Result<Module, PipelineError> {
    let start = Instant::now();
    let module = (pass.run)(module, options, report).map_err(|why| PipelineError::Pass { pass: pass.name, why })?;
    report.timings.push((pass.name.to_string(), start.elapsed()));
    if (options.verify || cfg!(debug_assertions))
        && let Err(faults) = verify::verify(&module)
    {
        let problems = format!("{faults:#?}\n{}", text::print(&module));
        return Err(PipelineError::Invalid { pass: pass.name, problems });
    }
    if options.print_after.iter().any(|n| n == pass.name) {
        report.dumps.push((pass.name.to_string(), text::print(&module)));
    }
    Ok(module)
}
