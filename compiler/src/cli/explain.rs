//! `gatec explain`: what the optimiser did to a model.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gatec_lang::Program;

use super::html::Page;
use super::profile::{self, Profile};
use super::tune::TunedArgs;
use super::{Failure, ModelArgs, Talk, slower, tuned};
use crate::egraph::by_size;
use crate::pipeline::{self, OptimizeOptions, Report};
use crate::rules::RULES;
use crate::{BuildError, artifact, lower};

#[derive(Args)]
pub struct Explain {
    /// The model
    #[arg(value_name = "MODEL")]
    subject: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    tuned: TunedArgs,
    /// Say what each rule is worth, the dearest to miss first: the cost of the whole without it
    #[arg(long)]
    worth: bool,
    /// Run it with random weights, and show the time of each kernel beside what was expected; at the assumed sizes
    #[arg(long)]
    profile: bool,
    /// Threads of that run [default: 1, as expected times are of one core]
    #[arg(long, requires = "profile", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write one page with all of it and the source instead, each line with its share of the time
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let mut options = self.model.options()?;
        options.tuning = self.tuned.read(&self.subject)?;
        let (program, mut optimized) = crate::optimize(&self.subject, &options)?;
        let all = crate::plan_all(&optimized.module, &options)?;
        optimized.report.warnings.extend(crate::stale(&all, &options.tuning));
        // For the best processor that the model has code for.
        let planned = all.first().ok_or_else(|| Failure::Other("no processor to build for".into()))?;
        if self.worth {
            let progress = super::build::progress(talk, "building without each rule");
            worth(&program, &options.optimize, &mut optimized.report)?;
            // What no rule did (a value placed elsewhere) has no such cost, and comes last.
            optimized.report.fired.sort_by(|a, b| b.without_ns.unwrap_or(0.0).total_cmp(&a.without_ns.unwrap_or(0.0)));
            progress.finish_and_clear();
        }
        let (module, report) = (&optimized.module, &optimized.report);
        let sizes = by_size::point(module, &options.optimize.assume);
        let machine = &options.optimize.machine;
        let mut profiles = Vec::new();
        if self.profile {
            let progress = super::build::progress(talk, "measuring");
            let (measured, faults) =
                profile::measured(module, &all, &sizes, machine, self.threads.unwrap_or(1).into())?;
            progress.finish_and_clear();
            faults.iter().for_each(|fault| talk.warn(fault));
            profiles = measured;
        }
        if let Some(path) = &self.html {
            if !self.profile {
                profiles = profile::predicted(module, planned, &sizes, machine);
            }
            let (model, doc) = (&program.name, &program.doc);
            let page = Page { model, doc, module, report, planned, profiles: &profiles }.html();
            match path == Path::new("-") {
                true => talk.data(page)?,
                false => artifact::replace(path, page.as_bytes()).map_err(|e| Failure::file(path, e))?,
            }
        } else if self.json {
            let slower = slower::json(module, planned);
            let mut all = json(&program.name, report, &slower, &profiles);
            all["tuned"] = tuned::json(planned, &options.tuning).into();
            talk.data(format!("{all:#}\n"))?;
        } else {
            let shown = profiles.iter().map(Profile::to_string).collect::<String>();
            let tuned = tuned::lines(planned, &options.tuning);
            talk.data(text(report) + &slower::lines(module, planned) + &tuned + &shown)?;
        }
        for warning in &report.warnings {
            talk.warn(warning);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the entries would cost without each of the rules that fired.
fn worth(program: &Program, options: &OptimizeOptions, report: &mut Report) -> Result<(), BuildError> {
    let fired: BTreeSet<&str> = report.fired.iter().map(|f| f.rule).collect();
    for rule in RULES.iter().filter(|r| fired.contains(r.name)) {
        let mut without = options.clone();
        without.without.push(rule.name.into());
        let other = pipeline::optimize(lower::lower(program)?, &without)?;
        for fired in report.fired.iter_mut().filter(|f| f.rule == rule.name) {
            fired.without_ns = other.report.costs.iter().find(|c| c.entry == fired.entry).map(|c| c.after_ns);
        }
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for cost in &report.costs {
        let _ = writeln!(
            text,
            "entry {}: {} -> {} by the roofline{}",
            cost.entry,
            super::bench::time(cost.before_ns),
            super::bench::time(cost.after_ns),
            cost.sizes.iter().map(|(name, size)| format!(", {name}={size}")).collect::<String>()
        );
        for fired in report.fired.iter().filter(|f| f.entry == cost.entry) {
            let lines: Vec<String> = fired.lines.iter().map(|(file, line)| format!("{file}:{line}")).collect();
            let _ = writeln!(text, "  {:>3} x {:<28} {}", fired.count, fired.rule, lines.join(" "));
            let _ = writeln!(text, "        {}", fired.why);
            if let Some(ns) = fired.without_ns {
                let _ = writeln!(text, "        without it {}", super::bench::time(ns));
            }
        }
    }
    text
}

fn json(model: &str, report: &Report, slower: &[serde_json::Value], profiles: &[Profile]) -> serde_json::Value {
    let fired: Vec<_> = report
        .fired
        .iter()
        .map(|f| {
            serde_json::json!({ "rule": f.rule, "entry": f.entry, "count": f.count, "lines": f.lines, "why": f.why,
                "without_ns": f.without_ns })
        })
        .collect();
    let costs: Vec<_> = report
        .costs
        .iter()
        .map(|c| serde_json::json!({ "entry": c.entry, "before_ns": c.before_ns, "after_ns": c.after_ns, "sizes": c.sizes }))
        .collect();
    let mut all = serde_json::json!({
        "model": model, "rewrites": fired, "costs": costs, "warnings": report.warnings, "slower": slower,
    });
    if !profiles.is_empty() {
        all["profile"] = serde_json::json!(profiles);
    }
    all
}
