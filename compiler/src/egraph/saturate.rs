//! Runs the rules: phase after phase, each until nothing is new.
//!
//! Limits count nodes, rounds and matches, so that the same input gives the same artifact on every machine. They are looked at after
//! each rule. One that bites undoes the round, ends the phase and is a warning.

use std::collections::BTreeMap;

use super::scene::Scene;
use crate::pipeline::{OptimizeOptions, Report};
use crate::rules::{Phase, RULES, Rule};

/// Limits of one region's e-graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Terms in all.
    pub nodes: usize,
    /// Rounds of one phase.
    pub rounds: usize,
    /// Places that one rule finds in one round.
    pub matches: usize,
    /// Graph nodes of a region that is rewritten whole; a longer one goes in windows.
    pub whole: usize,
}

impl Default for Limits {
    /// A decoder's layer of attention and experts, the largest of the examples, takes 2200 terms, 9 rounds and 2900 matches. A rule that
    /// moves an op inwards takes a round for each op of a chain: experts of eight layers (`examples/zoo/27-switch-nerf`) need more than 12.
    fn default() -> Self {
        Self { nodes: 20_000, rounds: 32, matches: 10_000, whole: 160 }
    }
}

pub fn saturate(scene: &mut Scene, options: &OptimizeOptions, report: &mut Report) -> Result<(), String> {
    scene.egraph.rebuild();
    scene.news.look(&scene.egraph);
    let (begin, rewrites, rounds, told) =
        (scene.clone(), report.rewrites, report.saturated.rounds, report.warnings.len());
    let (mut most, mut warnings) = (BTreeMap::new(), Vec::new());
    while let Some((phase, Overshot { round, warning })) = run(&most, scene, options, report)? {
        // Once more, up to the round before: the same happens as the first time.
        *scene = begin.clone();
        (report.rewrites, report.saturated.rounds) = (rewrites, rounds);
        report.warnings.truncate(told);
        most.insert(phase, round - 1);
        warnings.push(warning);
    }
    report.warnings.extend(warnings);
    let nodes = scene.egraph.total_number_of_nodes();
    let saturated = &mut report.saturated;
    saturated.nodes += nodes;
    saturated.classes += scene.egraph.number_of_classes();
    saturated.largest = saturated.largest.max(nodes);
    Ok(())
}

/// All phases, each up to so many rounds at most; or the first in which a limit bit.
fn run(
    most: &BTreeMap<Phase, usize>,
    scene: &mut Scene,
    options: &OptimizeOptions,
    report: &mut Report,
) -> Result<Option<(Phase, Overshot)>, String> {
    for phase in Phase::ALL {
        let most = most.get(&phase).copied().unwrap_or(usize::MAX);
        if let Some(overshot) = run_rounds(phase, most, scene, options, report)? {
            return Ok(Some((phase, overshot)));
        }
    }
    Ok(None)
}

/// A round in which a limit bit.
struct Overshot {
    round: usize,
    warning: String,
}

fn run_rounds(
    phase: Phase,
    most: usize,
    scene: &mut Scene,
    options: &OptimizeOptions,
    report: &mut Report,
) -> Result<Option<Overshot>, String> {
    let limits = &options.limits;
    let is_on = |rule: &&Rule| rule.phase == phase && !options.without.iter().any(|name| name == rule.name);
    let rules: Vec<&Rule> = RULES.iter().filter(is_on).collect();
    for round in 1..=most {
        report.saturated.rounds += 1;
        let mut last = None;
        for rule in &rules {
            let limit = match apply(rule, scene, options, report)? {
                Applied::Nothing => continue,
                Applied::Some if scene.egraph.total_number_of_nodes() > limits.nodes => {
                    format!("{} e-nodes", limits.nodes)
                }
                Applied::Some => {
                    last = Some(rule.name);
                    continue;
                }
                Applied::TooMany => format!("{} matches", limits.matches),
            };
            let (rule, phase) = (rule.name, phase.name());
            let warning =
                format!("rule `{rule}` met the limit of {limit} in phase `{phase}`: round {round} was undone");
            return Ok(Some(Overshot { round, warning }));
        }
        let Some(last) = last else { return Ok(None) };
        if round >= limits.rounds {
            report.warnings.push(format!(
                "phase `{}` met the limit of {} rounds, and rule `{last}` was not at its end",
                phase.name(),
                limits.rounds
            ));
            return Ok(None);
        }
    }
    Ok(None)
}

enum Applied {
    Nothing,
    Some,
    TooMany,
}

fn apply(rule: &Rule, scene: &mut Scene, options: &OptimizeOptions, report: &mut Report) -> Result<Applied, String> {
    let found = scene.find_new(rule).map_err(|why| format!("rule `{}`: {why}", rule.name))?;
    if found.len() > options.limits.matches {
        return Ok(Applied::TooMany);
    }
    let mut applied = Applied::Nothing;
    for found in &found {
        if options.fuel.is_some_and(|fuel| report.rewrites >= fuel) {
            break;
        }
        if scene.apply(found, rule.name) {
            report.rewrites += 1;
            report.applied.insert(rule.name);
            applied = Applied::Some;
        }
    }
    if !found.is_empty() {
        scene.egraph.rebuild();
    }
    if matches!(applied, Applied::Some) {
        scene.news.look(&scene.egraph);
    }
    match scene.egraph.analysis.faults.first() {
        Some(fault) => Err(format!("rule `{}` equated {fault}", rule.name)),
        None => Ok(applied),
    }
}
