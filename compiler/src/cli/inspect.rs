//! `gatec inspect`: what is in an artifact, and what it needs.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gatec_runtime::format::{Entry, Init, Isa, Manifest, Plan, SizeExpr, Step, Symbol, Tensor};
use gatec_runtime::{Artifact, Need};

use super::bench::size;
use super::table::Table;
use super::{Failure, Talk, name_and_size, once};

#[derive(Args)]
pub struct Inspect {
    /// The artifact
    artifact: PathBuf,
    /// Size of a symbolic axis for which memory is computed [default: 1]
    #[arg(long = "size", value_name = "NAME=SIZE", value_parser = name_and_size, value_delimiter = ',')]
    sizes: Vec<(String, i64)>,
    /// As JSON, with the whole manifest
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        once("--size", &self.sizes)?;
        let artifact = Artifact::open(&self.artifact).map_err(|e| Failure::file(&self.artifact, e))?;
        let ptx = artifact.ptx().map_err(|e| Failure::file(&self.artifact, e))?;
        let manifest = artifact.manifest();
        let symbols = self.symbols(manifest)?;
        let mut needs = Vec::new();
        for variant in 0..manifest.variants.len() {
            let entry = |entry| gatec_runtime::need(manifest, variant, entry, &symbols);
            needs.push((0..manifest.entries.len()).map(entry).collect());
        }
        let about =
            About { manifest, symbols: &symbols, needs: &needs, bytes: artifact.bytes().len(), ptx: ptx.as_deref() };
        match self.json {
            true => talk.data(format!("{:#}\n", about.json()))?,
            false => talk.data(about.to_string())?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The size of each symbol.
    fn symbols(&self, manifest: &Manifest) -> Result<Vec<i64>, Failure> {
        let names: Vec<&str> = manifest.symbols.iter().map(|s| s.name.as_str()).collect();
        if let Some((name, _)) = self.sizes.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            let there_is = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(Failure::Usage(format!("no symbolic axis `{name}`; there is {there_is}")));
        }
        let of = |name: &str| self.sizes.iter().find(|(n, _)| n == name).map_or(1, |(_, size)| *size);
        Ok(names.into_iter().map(of).collect())
    }
}

struct About<'a> {
    manifest: &'a Manifest,
    symbols: &'a [i64],
    /// By variant and entry; some work at other sizes only.
    needs: &'a [Vec<Result<Need, String>>],
    bytes: usize,
    ptx: Option<&'a str>,
}

impl About<'_> {
    fn json(&self) -> serde_json::Value {
        let need = |n: &Result<Need, String>| {
            let n = match n {
                Ok(n) => n,
                Err(why) => return serde_json::json!({ "error": why }),
            };
            serde_json::json!({
                "arena_bytes": n.arena_bytes, "live_bytes": n.live_bytes, "scratch_bytes_per_thread": n.scratch_bytes, "state_bytes": n.state_bytes,
                "input_bytes": n.input_bytes, "output_bytes": n.output_bytes,
            })
        };
        // Of several entries of a name, that which these sizes take.
        let first = |entry: &Entry| self.manifest.serving(&entry.name, self.symbols);
        let serves = |(entry, _): &(&Entry, &Result<Need, String>)| {
            first(entry).is_some_and(|n| self.manifest.entries[n] == **entry)
        };
        let variants = self.manifest.variants.iter().zip(self.needs).map(|(variant, needs)| {
            let entries: serde_json::Map<String, serde_json::Value> = self
                .manifest
                .entries
                .iter()
                .zip(needs)
                .filter(serves)
                .map(|(e, n)| (e.name.clone(), need(n)))
                .collect();
            serde_json::json!({ "isa": variant.isa, "kept_bytes": kept(variant), "entries": entries })
        });
        let sizes: serde_json::Map<String, serde_json::Value> =
            self.manifest.symbols.iter().zip(self.symbols).map(|(s, n)| (s.name.clone(), (*n).into())).collect();
        serde_json::json!({
            "artifact_bytes": self.bytes, "ptx_bytes": self.ptx.map(str::len), "parameter_bytes": self.parameter_bytes(),
            "memory": { "sizes": sizes, "variants": variants.collect::<Vec<_>>() }, "manifest": self.manifest,
        })
    }

    fn parameter_bytes(&self) -> u64 {
        self.manifest.params.iter().map(|p| p.tensor.bytes(&[]).unwrap_or(0)).sum()
    }

    fn tensor(&self, t: &Tensor) -> String {
        let axes: Vec<String> = t.axes.iter().map(|a| axis(&a.name, &a.size, &self.manifest.symbols)).collect();
        format!("{}: {}[{}]", t.name, t.elem, axes.join(", "))
    }

    fn states(&self, numbers: &[u32]) -> String {
        let names = numbers.iter().filter_map(|s| self.manifest.states.get(*s as usize));
        names.map(|s| s.tensor.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.manifest;
        let bytes = size(self.bytes as u64);
        writeln!(f, "{} (gatec {}, format {}, {bytes})", manifest.name, manifest.compiler, manifest.version)?;
        manifest.doc.lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        for entry in manifest.callable() {
            writeln!(f, "\nentry {}", entry.name)?;
            for (i, t) in entry.inputs.iter().enumerate() {
                let default = entry.defaults.iter().find(|default| default.input as usize == i);
                let default = default.map_or(String::new(), |default| format!(" = {}", default.value));
                writeln!(f, "  in   {}{default}", self.tensor(t))?;
            }
            entry.outputs.iter().try_for_each(|t| writeln!(f, "  out  {}", self.tensor(t)))?;
            for (what, numbers) in [("reads", &entry.reads), ("sets ", &entry.sets)] {
                if !numbers.is_empty() {
                    writeln!(f, "  {what} {}", self.states(numbers))?;
                }
            }
        }
        if !manifest.states.is_empty() {
            writeln!(f, "\nstates")?;
        }
        for state in &manifest.states {
            let init = match state.init {
                Init::Each(value) => value.to_string(),
                Init::Param(_) => "what the weight file has".into(),
            };
            writeln!(f, "  {} = {init}", self.tensor(&state.tensor))?;
        }
        let elements: u64 = manifest.params.iter().filter_map(|p| p.tensor.elements(&[])).sum();
        let bytes = size(self.parameter_bytes());
        writeln!(f, "\n{} parameters, {elements} elements, {bytes}", manifest.params.len())?;
        for param in &manifest.params {
            let default = param.default.map_or(String::new(), |default| format!(" = {default}"));
            write!(f, "  {}{default}", self.tensor(&param.tensor))?;
            match param.parts.as_slice() {
                [one] if *one == param.tensor.name => writeln!(f)?,
                [one] => writeln!(f, "  from {one}")?,
                [first, .., last] => writeln!(f, "  from {} parts, {first} to {last}", param.parts.len())?,
                [] => writeln!(f)?,
            }
        }
        for (variant, needs) in manifest.variants.iter().zip(self.needs) {
            let kernels = variant.kernels.len();
            write!(f, "\n{}: {kernels} kernels, {} of packed weights", variant.isa, size(kept(variant)))?;
            match self.ptx {
                Some(ptx) if variant.isa == Isa::Sm80 => writeln!(f, ", {} of PTX", size(ptx.len() as u64))?,
                _ => writeln!(f)?,
            }
            for ((entry, plan), need) in manifest.entries.iter().zip(&variant.entries).zip(needs) {
                let calls = calls(plan);
                writeln!(f, "  entry {}, {} calls; {}", manifest.title(entry), calls.len(), self.memory(need))?;
                let mut table = Table::bare();
                for (depth, kernel, line) in calls {
                    let label = variant.kernels.get(kernel as usize).map(|k| k.label.as_str()).unwrap_or_default();
                    table.row([format!("  {}{label}", "  ".repeat(depth)), line]);
                }
                write!(f, "{table}")?;
            }
        }
        Ok(())
    }
}

impl About<'_> {
    fn memory(&self, need: &Result<Need, String>) -> String {
        let sizes: Vec<String> =
            self.manifest.symbols.iter().zip(self.symbols).map(|(s, n)| format!("{} = {n}", s.name)).collect();
        let at = if sizes.is_empty() { String::new() } else { format!(" at {}", sizes.join(", ")) };
        match need {
            Err(why) => format!("it does not work{at}: {why}"),
            Ok(need) => {
                let beside = need.state_bytes + need.output_bytes;
                let all = size(need.arena_bytes + beside);
                let (live, scratch) = (size(need.live_bytes + beside), size(need.scratch_bytes));
                format!("a session needs {all} ({live} must live together) and {scratch} for each thread{at}")
            }
        }
    }
}

fn kept(variant: &gatec_runtime::format::Variant) -> u64 {
    variant.kept.iter().map(|k| k.bytes).sum()
}

/// Calls in order: loops around, kernel, source line.
fn calls(plan: &Plan) -> Vec<(usize, u32, String)> {
    fn walk(steps: &[Step], depth: usize, calls: &mut Vec<(usize, u32, String)>) {
        for step in steps {
            match step {
                Step::Call(call) => {
                    let line = call.lines.first().map(|(file, line)| format!("{file}:{line}")).unwrap_or_default();
                    calls.push((depth, call.kernel, line));
                }
                Step::Loop { body, .. } => walk(body, depth + 1, calls),
                Step::When { body, .. } => walk(body, depth, calls),
            }
        }
    }
    let mut found = Vec::new();
    walk(&plan.steps, 0, &mut found);
    found
}

fn axis(name: &str, size: &SizeExpr, symbols: &[Symbol]) -> String {
    match size {
        SizeExpr::Known(n) if n.to_string() == name => name.to_string(),
        SizeExpr::Known(n) => format!("{name} = {n}"),
        SizeExpr::Symbol(i) if symbols.get(*i as usize).is_some_and(|s| s.name == name) => name.to_string(),
        _ => format!("{name} (computed)"),
    }
}
