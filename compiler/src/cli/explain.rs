//! `gatec explain`: what the optimiser did to a model, or what an error code means.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Failure, ModelArgs, Talk, slower};
use crate::BuildError;

#[derive(Args)]
pub struct Explain {
    /// A model, or an error code such as E0203
    subject: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self, _: &Talk) -> Result<ExitCode, Failure> {
        if let Some(code) = error_code(&self.subject) {
            let Some(entry) = gatec_lang::codes::find(code) else {
                return Err(Failure::Other(format!("no error code `{code}`")));
            };
            println!("{}: {}\n\n{}", entry.code, entry.title, entry.explanation);
            return Ok(ExitCode::SUCCESS);
        }
        let options = self.model.options();
        let (program, optimized) = crate::optimize(&self.subject, &options)?;
        let isa = options.targets.first().copied().unwrap_or(gatec_runtime::format::Isa::X86);
        let planned = crate::plan::plan(&optimized.module, isa, &options.optimize.assume).map_err(BuildError::from)?;
        let report = &optimized.report;
        if self.json {
            let fired: Vec<_> = report
                .fired
                .iter()
                .map(|f| serde_json::json!({ "rule": f.rule, "entry": f.entry, "count": f.count, "lines": f.lines, "why": f.why }))
                .collect();
            let costs: Vec<_> = report
                .costs
                .iter()
                .map(|c| serde_json::json!({ "entry": c.entry, "before_ns": c.before_ns, "after_ns": c.after_ns }))
                .collect();
            let all = serde_json::json!({ "model": program.name, "rewrites": fired, "costs": costs, "warnings": report.warnings,
                "slower": slower::json(&optimized.module, &planned) });
            println!("{all:#}");
            return Ok(ExitCode::SUCCESS);
        }
        for cost in &report.costs {
            println!(
                "entry {}: {} -> {} by the roofline",
                cost.entry,
                super::bench::time(cost.before_ns),
                super::bench::time(cost.after_ns)
            );
            for fired in report.fired.iter().filter(|f| f.entry == cost.entry) {
                let lines: Vec<String> = fired.lines.iter().map(|(file, line)| format!("{file}:{line}")).collect();
                println!("  {:>3} x {:<28} {}\n        {}", fired.count, fired.rule, lines.join(" "), fired.why);
            }
        }
        for line in slower::lines(&optimized.module, &planned) {
            println!("{line}");
        }
        for warning in &report.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn error_code(subject: &Path) -> Option<&str> {
    let text = subject.to_str()?;
    let digits = text.strip_prefix(['E', 'W'])?;
    (digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}
