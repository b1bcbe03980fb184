//! What `gatec explain` says about kernels: the work and the time that the cost model expects of them, and beside it the time that
//! they take.
//!
//! The expectation is that of the rewriting: one core of a typical machine (`machine`), everything from its caches, at the
//! assumed sizes. The measurement is that of `gatec bench`, with random weights and inputs, on this machine.

use std::fmt;
use std::time::Duration;

use gatec_runtime::format::{Call, Manifest, Plan, Step};
use gatec_runtime::{Artifact, LoadOptions, Model, View, WeightSource, cpu};
use serde::Serialize;

use super::bench::{self, size, time};
use super::roofline::Roofline;
use super::table::Table;
use super::{Failure, run};
use crate::graph::Module;
use crate::machine::TYPICAL;
use crate::plan::{self, Planned};

/// How long each entry is measured, beside its kernels.
const LIMIT: Duration = Duration::from_millis(300);

/// The kernels of an entry. Times in nanoseconds.
#[derive(Serialize)]
pub struct Profile {
    pub entry: String,
    pub isa: String,
    /// Sizes of the symbolic axes.
    pub sizes: Vec<(String, i64)>,
    /// Of a run: the sum of its kernels'.
    pub predicted_ns: f64,
    pub measured: Option<Measured>,
    /// In the order of the plan.
    pub kernels: Vec<Kernel>,
}

#[derive(Serialize)]
pub struct Measured {
    /// The fastest run.
    pub ns: f64,
    pub threads: usize,
    /// Of the roofline of this machine.
    pub achieved: f64,
}

/// A call of a kernel; work and times are those of one call.
#[derive(Serialize)]
pub struct Kernel {
    pub kernel: String,
    pub lines: Vec<(String, u32)>,
    /// In a run.
    pub calls: f64,
    pub flops: u64,
    pub bytes: u64,
    pub predicted_ns: f64,
    pub measured_ns: Option<f64>,
    pub achieved: Option<f64>,
    /// Which roof of this machine is the lower one: `flops` or `bytes`.
    pub bound_by: Option<&'static str>,
}

impl Kernel {
    fn new(label: &str, lines: &[(String, u32)], calls: f64, flops: u64, bytes: u64) -> Self {
        Self {
            kernel: label.into(),
            lines: lines.into(),
            calls,
            flops,
            bytes,
            predicted_ns: TYPICAL.kernel_ns + TYPICAL.time(flops as f64, bytes as f64),
            measured_ns: None,
            achieved: None,
            bound_by: None,
        }
    }

    /// Of a whole run: measured if it was, else predicted.
    pub fn run_ns(&self) -> f64 {
        self.calls * self.measured_ns.unwrap_or(self.predicted_ns)
    }
}

/// The sizes of a model's symbolic axes: the assumed ones, else those that estimates take.
pub fn sizes(module: &Module, assume: &[(String, i64)]) -> Vec<(String, i64)> {
    let of = |(name, bound): &(String, Option<i64>)| {
        let typical = plan::TYPICAL_SIZE.min(bound.unwrap_or(i64::MAX));
        let assumed = assume.iter().find(|(n, _)| n == name);
        (name.clone(), assumed.map_or(typical, |(_, size)| *size))
    };
    module.symbols.iter().map(of).collect()
}

/// What is expected of each entry.
pub fn predicted(module: &Module, planned: &Planned, sizes: &[(String, i64)]) -> Vec<Profile> {
    let symbols: Vec<i64> = sizes.iter().map(|(_, size)| *size).collect();
    let of = |(entry, plan): (&crate::graph::Entry, &Plan)| {
        let mut calls = Vec::new();
        each_call(&plan.steps, 1, &symbols, &mut |call, times| calls.push((call.clone(), times)));
        let kernels = calls.iter().map(|(call, times)| {
            let number = |size: &gatec_runtime::format::SizeExpr| size.eval(&symbols).unwrap_or(0).max(0) as u64;
            let bytes = call.args.iter().map(|arg| {
                let whole = plan.buffers.get(arg.buffer as usize).map_or(0, |buffer| number(&buffer.bytes));
                number(&arg.bytes).min(whole)
            });
            let label = planned.variant.kernels.get(call.kernel as usize).map_or("", |k| k.label.as_str());
            Kernel::new(label, &call.lines, *times as f64, number(&call.flops), bytes.sum())
        });
        profile(&entry.name, planned.variant.isa.name(), sizes, kernels.collect())
    };
    module.entries.iter().zip(&planned.variant.entries).map(of).collect()
}

/// Calls that do something, and how often.
fn each_call(steps: &[Step], times: i64, symbols: &[i64], f: &mut impl FnMut(&Call, i64)) {
    for step in steps {
        match step {
            Step::Call(call) if call.units.eval(symbols).unwrap_or(0) > 0 && times > 0 => f(call, times),
            Step::Call(_) => {}
            Step::Loop { count, body, .. } => {
                let times = times.saturating_mul(count.eval(symbols).unwrap_or(0));
                each_call(body, times, symbols, f);
            }
        }
    }
}

fn profile(entry: &str, isa: &str, sizes: &[(String, i64)], kernels: Vec<Kernel>) -> Profile {
    let predicted_ns = kernels.iter().map(|k| k.calls * k.predicted_ns).sum();
    Profile { entry: entry.into(), isa: isa.into(), sizes: sizes.into(), predicted_ns, measured: None, kernels }
}

/// What is expected of each entry, and what it takes on this machine. Also what cannot be right about the measurement.
pub fn measured(
    module: &Module,
    planned: &[Planned],
    sizes: &[(String, i64)],
    threads: usize,
) -> Result<(Vec<Profile>, Vec<String>), Failure> {
    let other = |e: &dyn fmt::Display| Failure::Other(e.to_string());
    // The one that the runtime would take.
    let planned = cpu::supported().find_map(|isa| planned.iter().find(|p| p.variant.isa == isa));
    let planned =
        planned.cloned().ok_or_else(|| Failure::Other("this machine can run none of the model's variants".into()))?;
    let artifact = Artifact::from_bytes(crate::generate(module, "", vec![planned])?).map_err(|e| other(&e))?;
    let options = LoadOptions::default().threads(threads);
    let model = Model::from_artifact(&artifact, WeightSource::Random(run::SEED), &options).map_err(|e| other(&e))?;
    let mut roofline = Roofline::new(model.isa(), model.threads())?;
    let (mut profiles, mut faults) = (Vec::new(), Vec::new());
    for entry in &artifact.manifest().entries {
        let report = measure(artifact.manifest(), &model, &entry.name, sizes, &mut roofline)?;
        let kernels = report.kernels.into_iter().map(|k| Kernel {
            measured_ns: Some(k.ns),
            achieved: Some(k.figures.achieved),
            bound_by: Some(k.bound_by),
            ..Kernel::new(&k.label, &k.lines, k.calls_per_run, k.figures.flops, k.figures.bytes)
        });
        let mut profile = profile(&entry.name, &report.isa, sizes, kernels.collect());
        let (ns, achieved) = (report.min_ns, report.total.achieved);
        profile.measured = Some(Measured { ns, threads: report.threads, achieved });
        profiles.push(profile);
        faults.extend(report.faults);
    }
    Ok((profiles, faults))
}

fn measure(
    manifest: &Manifest,
    model: &Model,
    entry: &str,
    sizes: &[(String, i64)],
    roofline: &mut Roofline,
) -> Result<bench::Report, Failure> {
    let other = |e: gatec_runtime::RunError| Failure::Other(e.to_string());
    let mut session = model.session(entry).map_err(other)?;
    for (name, size) in sizes {
        session.bind(name, *size as usize).map_err(other)?;
    }
    let mut inputs = Vec::new();
    run::random_inputs(sizes, manifest, entry, &mut inputs)?;
    let mut views: Vec<(&str, View)> = Vec::new();
    for (name, tensor) in &inputs {
        views.push((name, tensor.view().map_err(other)?));
    }
    bench::measure(&mut session, &views, LIMIT, roofline)
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernels of {}", self.about())?;
        let header = ["kernel", "calls", "flops", "bytes", "predicted", "measured", "roofline", "bound by", "source"];
        let mut table = Table::new(&header);
        for kernel in &self.kernels {
            table.row([
                kernel.kernel.clone(),
                format!("{}", kernel.calls),
                count(kernel.flops),
                size(kernel.bytes),
                time(kernel.predicted_ns),
                kernel.measured_ns.map(time).unwrap_or_default(),
                kernel.achieved.map(percent).unwrap_or_default(),
                kernel.bound_by.unwrap_or_default().into(),
                kernel.lines.first().map(|(file, line)| format!("{file}:{line}")).unwrap_or_default(),
            ]);
        }
        write!(f, "{table}")
    }
}

impl Profile {
    /// `glu on x86-64-v3, t=8: 1.20 us predicted, 1.30 us measured on 1 thread, 80 % of the roofline`
    pub fn about(&self) -> String {
        let sizes: String = self.sizes.iter().map(|(name, size)| format!(", {name}={size}")).collect();
        let measured = self.measured.as_ref().map_or_else(String::new, |m| {
            let threads = if m.threads == 1 { "1 thread".to_string() } else { format!("{} threads", m.threads) };
            format!(", {} measured on {threads}, {} of the roofline", time(m.ns), percent(m.achieved))
        });
        format!("{} on {}{sizes}: {} predicted{measured}", self.entry, self.isa, time(self.predicted_ns))
    }
}

/// A part of a whole in words.
pub fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

/// A number in words.
pub fn count(n: u64) -> String {
    match n as f64 {
        x if x < 1e4 => format!("{x:.0}"),
        x if x < 1e7 => format!("{:.0} k", x / 1e3),
        x if x < 1e10 => format!("{:.0} M", x / 1e6),
        x => format!("{:.0} G", x / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuildOptions;

    /// A loop, routes, drops: what is expected says of calls, work and lines what a run does.
    #[test]
    fn expectations_are_of_the_calls_that_run() {
        let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli/files/routed.gate");
        let isa = cpu::supported().next().unwrap();
        let options = BuildOptions { targets: vec![isa], ptx: false, ..Default::default() };
        let compiled = crate::compile(&model, &options).unwrap();
        let module = &compiled.optimized.module;
        for rows in [0, 9] {
            let sizes = sizes(module, &[("t".into(), rows)]);
            let expected = predicted(module, &compiled.planned[0], &sizes);
            let (measured, _) = measured(module, &compiled.planned, &sizes, 1).unwrap();
            let of = |profile: &Profile| {
                let kernel = |k: &Kernel| (k.kernel.clone(), k.lines.clone(), k.calls as u64, k.flops, k.bytes);
                profile.kernels.iter().map(kernel).collect::<Vec<_>>()
            };
            assert_eq!(of(&expected[0]), of(&measured[0]));
            assert_eq!(expected[0].predicted_ns, measured[0].predicted_ns);
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 9_999, 10_000, 2_121_728].map(count), ["0", "9999", "10 k", "2122 k"]);
        assert_eq!([35_000_000, 7_000_000_000_000].map(count), ["35 M", "7000 G"]);
    }
}
