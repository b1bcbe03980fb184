//! `gatec inspect`: what is in an artifact.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gatec_runtime::Artifact;
use gatec_runtime::format::{Plan, SizeExpr, Step, Symbol, Tensor};

use super::{Failure, Talk};

#[derive(Args)]
pub struct Inspect {
    /// The artifact
    artifact: PathBuf,
    /// The whole manifest, as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self, _: &Talk) -> Result<ExitCode, Failure> {
        let artifact = Artifact::open(&self.artifact).map_err(|e| Failure::file(&self.artifact, e))?;
        let manifest = artifact.manifest();
        if self.json {
            let text = serde_json::to_string_pretty(manifest).map_err(|e| Failure::file(&self.artifact, e))?;
            println!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        let tensor = |t: &Tensor| {
            let axes: Vec<String> = t.axes.iter().map(|a| axis(&a.name, &a.size, &manifest.symbols)).collect();
            format!("{}: {}[{}]", t.name, t.elem, axes.join(", "))
        };
        println!("{} (gatec {}, format {})", manifest.name, manifest.compiler, manifest.version);
        for line in manifest.doc.lines() {
            println!("  {line}");
        }
        for entry in &manifest.entries {
            println!("entry {}", entry.name);
            entry.inputs.iter().for_each(|t| println!("  in   {}", tensor(t)));
            entry.outputs.iter().for_each(|t| println!("  out  {}", tensor(t)));
        }
        manifest.states.iter().for_each(|s| println!("state {} = {}", tensor(&s.tensor), s.init));
        let elements = |t: &Tensor| t.axes.iter().map(|a| a.size.eval(&[]).unwrap_or(0)).product::<i64>();
        let count: i64 = manifest.params.iter().map(|p| elements(&p.tensor)).sum();
        println!("{} parameters, {count} elements", manifest.params.len());
        manifest.params.iter().for_each(|p| println!("  {}  from {}", tensor(&p.tensor), p.parts.join(", ")));
        for variant in &manifest.variants {
            let kept: u64 = variant.kept.iter().map(|k| k.bytes).sum();
            println!("{:?}: {} kernels, {kept} bytes kept after loading", variant.isa, variant.kernels.len());
            for (plan, entry) in variant.entries.iter().zip(&manifest.entries) {
                println!(
                    "  entry {}: {} calls",
                    entry.name,
                    calls(plan, &mut |number| {
                        if let Some(kernel) = variant.kernels.get(number as usize) {
                            println!("    {}", kernel.label);
                        }
                    })
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn calls(plan: &Plan, each: &mut impl FnMut(u32)) -> usize {
    fn walk(steps: &[Step], each: &mut impl FnMut(u32)) -> usize {
        steps
            .iter()
            .map(|step| match step {
                Step::Call(call) => {
                    each(call.kernel);
                    1
                }
                Step::Loop { body, .. } => walk(body, each),
            })
            .sum()
    }
    walk(&plan.steps, each)
}

fn axis(name: &str, size: &SizeExpr, symbols: &[Symbol]) -> String {
    match size {
        SizeExpr::Known(n) if n.to_string() == name => name.to_string(),
        SizeExpr::Known(n) => format!("{name} = {n}"),
        SizeExpr::Symbol(i) if symbols.get(*i as usize).is_some_and(|s| s.name == name) => name.to_string(),
        _ => format!("{name} (computed)"),
    }
}
