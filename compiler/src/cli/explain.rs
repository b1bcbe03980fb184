//! `gatec explain`: what the optimiser did to a model, or what an error code means.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gatec_lang::Program;

use super::{Failure, ModelArgs, Talk, slower};
use crate::pipeline::{self, OptimizeOptions, Report};
use crate::rules::RULES;
use crate::{BuildError, lower};

#[derive(Args)]
pub struct Explain {
    /// A model, or an error code such as E0203
    subject: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Say what each rule is worth, the dearest to miss first: the cost of the whole without it
    #[arg(long)]
    worth: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        if let Some(code) = error_code(&self.subject) {
            let Some(entry) = gatec_lang::codes::find(code) else {
                return Err(Failure::Other(format!("no error code `{code}`")));
            };
            talk.data(format!("{}: {}\n\n{}\n", entry.code, entry.title, entry.explanation))?;
            return Ok(ExitCode::SUCCESS);
        }
        let options = self.model.options()?;
        let (program, mut optimized) = crate::optimize(&self.subject, &options)?;
        // For the best processor that the model has code for.
        let planned = crate::plan_all(&optimized.module, &options)?.into_iter().next();
        let planned = planned.ok_or_else(|| Failure::Other("no processor to build for".into()))?;
        if self.worth {
            let progress = super::build::progress(talk, "building without each rule");
            worth(&program, &options.optimize, &mut optimized.report)?;
            // What no rule did (a value placed elsewhere) has no such cost, and comes last.
            optimized.report.fired.sort_by(|a, b| b.without_ns.unwrap_or(0.0).total_cmp(&a.without_ns.unwrap_or(0.0)));
            progress.finish_and_clear();
        }
        let report = &optimized.report;
        let slower = slower::json(&optimized.module, &planned);
        talk.data(match self.json {
            true => format!("{:#}\n", json(&program.name, report, &slower)),
            false => text(report) + &slower::lines(&optimized.module, &planned),
        })?;
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
            "entry {}: {} -> {} by the roofline",
            cost.entry,
            super::bench::time(cost.before_ns),
            super::bench::time(cost.after_ns)
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

fn json(model: &str, report: &Report, slower: &[serde_json::Value]) -> serde_json::Value {
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
        .map(|c| serde_json::json!({ "entry": c.entry, "before_ns": c.before_ns, "after_ns": c.after_ns }))
        .collect();
    serde_json::json!({ "model": model, "rewrites": fired, "costs": costs, "warnings": report.warnings, "slower": slower })
}

fn error_code(subject: &Path) -> Option<&str> {
    let text = subject.to_str()?;
    let digits = text.strip_prefix(['E', 'W'])?;
    (digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}
