//! What `gatec explain` says about kernels: the work and the time that the cost model expects of them, and beside it the time that
//! they take.
//!
//! The expectation is that of one core of a machine (`machine`; a typical one, or `--machine`), at the assumed sizes. The measurement is that of `gatec bench`, with random weights and inputs, on this machine.

use std::fmt;
use std::time::Duration;

use gatec_runtime::format::{Call, Manifest, Plan, SizeExpr, Step};
use gatec_runtime::{Artifact, CallProfile, LoadOptions, Model, Touched, View, WeightSource, cpu};
use serde::Serialize;

use super::bench::{self, size, time};
use super::roofline::Roofline;
use super::table::Table;
use super::{Failure, run};
use crate::graph::{Entry, Module};
use crate::machine::{Demand, Machine};
use crate::plan::Planned;
use crate::schedule;

/// How long each entry is measured, beside its kernels.
const LIMIT: Duration = Duration::from_millis(300);

/// The kernels of an entry. Times in nanoseconds.
#[derive(Serialize)]
pub struct Profile {
    pub entry: String,
    /// Which of its forms runs at these sizes.
    pub form: String,
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
    /// What it asks of a core.
    pub demand: Demand,
    pub predicted_ns: f64,
    pub measured_ns: Option<f64>,
    pub achieved: Option<f64>,
    /// Which roof of this machine is the lower one: `flops` or `bytes`.
    pub bound_by: Option<&'static str>,
}

impl Kernel {
    /// Of a whole run: measured if it was, else predicted.
    pub fn run_ns(&self) -> f64 {
        self.calls * self.measured_ns.unwrap_or(self.predicted_ns)
    }
}

/// What is expected of each entry, in the form that these sizes take.
pub fn predicted(module: &Module, planned: &Planned, sizes: &[(String, i64)], machine: &Machine) -> Vec<Profile> {
    let symbols: Vec<i64> = sizes.iter().map(|(_, size)| *size).collect();
    let of = |(entry, plan): (&Entry, &Plan)| {
        let mut calls = Calls { planned, plan, symbols: &symbols, found: Vec::new(), loops: 0 };
        calls.walk(&plan.steps, 1, None);
        let found = calls.found;
        let sets = bench::working_sets(found.iter().map(|(_, profile)| profile));
        let kernels = found.into_iter().map(|(mut demand, call)| {
            demand.moved = call.touched.iter().map(|t| (t.bytes, bench::set_of(t, call.around, &sets))).collect();
            Kernel {
                calls: call.calls as f64,
                flops: call.flops,
                bytes: call.bytes(),
                predicted_ns: machine.kernel_time(&demand),
                demand,
                kernel: call.label,
                lines: call.lines,
                measured_ns: None,
                achieved: None,
                bound_by: None,
            }
        });
        profile(entry, planned.variant.isa.name(), sizes, kernels.collect())
    };
    let mut forms: Vec<(&Entry, &Plan)> = module.entries.iter().zip(&planned.variant.entries).collect();
    forms.retain(|(entry, _)| entry.serves(sizes));
    forms.dedup_by(|(next, _), (first, _)| next.name == first.name);
    forms.into_iter().map(of).collect()
}

/// The calls of a plan that do something, as a run would profile them, and what each asks of a core.
struct Calls<'p> {
    planned: &'p Planned,
    plan: &'p Plan,
    symbols: &'p [i64],
    found: Vec<(Demand, CallProfile)>,
    loops: u32,
}

impl Calls<'_> {
    fn walk(&mut self, steps: &[Step], times: i64, around: Option<u32>) {
        for step in steps {
            match step {
                Step::Call(call) if call.units.eval(self.symbols).unwrap_or(0) > 0 && times > 0 => {
                    self.call(call, times, around);
                }
                Step::Call(_) => {}
                // As if it ran: which arm is chosen nobody knows before.
                Step::When { body, .. } => self.walk(body, times, around),
                Step::Loop { count, body, .. } => {
                    self.loops += 1;
                    let times = times.saturating_mul(count.eval(self.symbols).unwrap_or(0));
                    self.walk(body, times, Some(self.loops - 1));
                }
            }
        }
    }

    fn call(&mut self, call: &Call, times: i64, around: Option<u32>) {
        let number = |size: &SizeExpr| size.eval(self.symbols).unwrap_or(0).max(0) as u64;
        let touched = call.args.iter().filter_map(|arg| {
            let buffer = self.plan.buffers.get(arg.buffer as usize)?;
            let bytes = number(&arg.bytes).min(number(&buffer.bytes));
            Some(Touched { buffer: arg.buffer, place: buffer.place, bytes })
        });
        let profile = CallProfile {
            label: self.planned.variant.kernels.get(call.kernel as usize).map_or("", |k| k.label.as_str()).into(),
            lines: call.lines.clone(),
            calls: times as u64,
            ns: 0,
            flops: number(&call.flops),
            touched: touched.collect(),
            around,
        };
        let dims: Vec<i64> = call.dims.iter().map(|dim| number(dim) as i64).collect();
        let kernel = self.planned.kernels.get(call.kernel as usize);
        let demand = kernel.map(|(_, kernel, schedule)| schedule::demand(kernel, schedule, &dims)).unwrap_or_default();
        self.found.push((demand, profile));
    }
}

fn profile(entry: &Entry, isa: &str, sizes: &[(String, i64)], kernels: Vec<Kernel>) -> Profile {
    let predicted_ns = kernels.iter().map(|k| k.calls * k.predicted_ns).sum();
    let (entry, form) = (entry.name.clone(), entry.title());
    Profile { entry, form, isa: isa.into(), sizes: sizes.into(), predicted_ns, measured: None, kernels }
}

/// What is expected of each entry, and what it takes on this machine. Also what cannot be right about the measurement.
pub fn measured(
    module: &Module,
    planned: &[Planned],
    sizes: &[(String, i64)],
    machine: &Machine,
    threads: usize,
) -> Result<(Vec<Profile>, Vec<String>), Failure> {
    let other = |e: &dyn fmt::Display| Failure::Other(e.to_string());
    // The one that the runtime would take.
    let planned = cpu::supported().find_map(|isa| planned.iter().find(|p| p.variant.isa == isa));
    let planned =
        planned.cloned().ok_or_else(|| Failure::Other("this machine can run none of the model's variants".into()))?;
    let mut profiles = predicted(module, &planned, sizes, machine);
    let artifact = Artifact::from_bytes(crate::generate(module, "", vec![planned])?).map_err(|e| other(&e))?;
    let options = LoadOptions::default().threads(threads);
    let model = Model::from_artifact(&artifact, WeightSource::Random(run::SEED), &options).map_err(|e| other(&e))?;
    let mut roofline = Roofline::new(model.isa(), model.threads())?;
    let mut faults = Vec::new();
    for profile in &mut profiles {
        let report = measure(artifact.manifest(), &model, &profile.entry, sizes, &mut roofline)?;
        for (kernel, found) in profile.kernels.iter_mut().zip(&report.kernels) {
            kernel.measured_ns = Some(found.ns);
            kernel.achieved = Some(found.figures.achieved);
            kernel.bound_by = Some(found.bound_by);
        }
        let (ns, achieved) = (report.min_ns, report.total.achieved);
        profile.measured = Some(Measured { ns, threads: report.threads, achieved });
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
        format!("{} on {}{sizes}: {} predicted{measured}", self.form, self.isa, time(self.predicted_ns))
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
    use crate::egraph::by_size;
    use crate::machine::TYPICAL;

    /// A loop, routes, drops: what is expected says of calls, work and lines what a run does.
    #[test]
    fn expectations_are_of_the_calls_that_run() {
        let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli/files/routed.gate");
        let isa = cpu::supported().next().unwrap();
        let options = BuildOptions { targets: vec![isa], ptx: false, ..Default::default() };
        let compiled = crate::compile(&model, &options).unwrap();
        let module = &compiled.optimized.module;
        for rows in [0, 9] {
            let sizes = by_size::point(module, &[("t".into(), rows)]);
            let expected = predicted(module, &compiled.planned[0], &sizes, &TYPICAL);
            let artifact = crate::generate(module, "", compiled.planned.clone()).unwrap();
            let artifact = Artifact::from_bytes(artifact).unwrap();
            let model = Model::from_artifact(&artifact, WeightSource::Random(1), &LoadOptions::default()).unwrap();
            let mut roofline = Roofline::new(isa, 1).unwrap();
            let entry = &expected[0].entry;
            let measured = measure(artifact.manifest(), &model, entry, &sizes, &mut roofline).unwrap();
            let of = |k: &Kernel| (k.kernel.clone(), k.lines.clone(), k.calls as u64, k.flops, k.bytes);
            let run = |k: &bench::KernelReport| {
                (k.label.clone(), k.lines.clone(), k.calls_per_run as u64, k.figures.flops, k.figures.bytes)
            };
            let (expected, run): (Vec<_>, Vec<_>) =
                (expected[0].kernels.iter().map(of).collect(), measured.kernels.iter().map(run).collect());
            assert_eq!(expected, run);
        }
    }

    /// Of an entry that has several forms, the one that runs.
    #[test]
    fn expectations_are_of_the_form_that_sizes_take() {
        let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli/files/pairs.gate");
        let options = BuildOptions { ptx: false, ..Default::default() };
        let compiled = crate::compile(&model, &options).unwrap();
        let module = &compiled.optimized.module;
        let forms = |t| {
            let sizes = by_size::point(module, &[("t".into(), t)]);
            let profiles = predicted(module, &compiled.planned[0], &sizes, &TYPICAL);
            profiles.into_iter().map(|p| p.form).collect::<Vec<_>>()
        };
        let [few, many] = [forms(2), forms(4096)];
        assert_eq!([few.len(), many.len()], [1, 1]);
        assert!(few[0].starts_with("pairs where t <= ") && many[0] == "pairs", "{few:?} {many:?}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 9_999, 10_000, 2_121_728].map(count), ["0", "9999", "10 k", "2122 k"]);
        assert_eq!([35_000_000, 7_000_000_000_000].map(count), ["35 M", "7000 G"]);
    }
}
