//! `gatec bench`: how long a call takes, where the time goes, and how that compares with what the machine could do.
//!
//! Each kernel's operations and bytes stand in the artifact. Its bound is the larger of two times: that of its operations at the
//! peak, and that of its bytes at the speed at which this machine reads: bytes of weights, inputs, outputs and states from a working set
//! of all that the loop around (or the whole entry) touches before it comes back to them, bytes of scratch memory from a set
//! of their own size. The bound of a run is the sum of its kernels'.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use gatec_runtime::format::Place;
use gatec_runtime::{CallProfile, RunError, Session, Touched, View};
use serde::Serialize;

use super::roofline::Roofline;
use super::run::LoadArgs;
use super::table::Table;
use super::{Failure, Talk, build};

#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    load: LoadArgs,
    /// How long to measure
    #[arg(long, default_value_t = 1.0, value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Calls before the clock starts.
const WARM_UP: usize = 3;
/// At least so many runs are timed.
const LEAST_RUNS: usize = 3;
/// A figure above the roof by more than this is an error in a measurement: a roof that is measured twice differs by up to this
/// much on a machine that others use as well.
const NOISE: f64 = 1.05;

/// How often roofs are measured again when something went beyond them.
const AGAIN: usize = 2;

/// What was measured. Times in nanoseconds.
#[derive(Serialize)]
pub struct Report {
    pub entry: String,
    pub isa: String,
    pub threads: usize,
    runs: usize,
    pub min_ns: f64,
    median_ns: f64,
    /// From opening the artifact to the first result; only with weights from a file.
    first_result_ns: Option<f64>,
    artifact_bytes: usize,
    pub total: Figures,
    roofline: Roofs,
    pub kernels: Vec<KernelReport>,
    /// What cannot be right.
    pub faults: Vec<String>,
}

#[derive(Serialize)]
struct Roofs {
    peak_gflops: f64,
    /// Of tiles of bf16, where the code has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    tile_gflops: Option<f64>,
    read: Vec<Read>,
}

#[derive(Serialize)]
struct Read {
    working_set_bytes: u64,
    gbytes_per_s: f64,
}

/// Work and speed: of one call of a kernel, or of a run.
#[derive(Serialize)]
pub struct Figures {
    pub flops: u64,
    pub bytes: u64,
    gflops: f64,
    gbytes_per_s: f64,
    /// The least time that the roofline allows.
    pub bound_ns: f64,
    /// Of the roofline: bound over time.
    pub achieved: f64,
}

#[derive(Serialize)]
pub struct KernelReport {
    pub label: String,
    pub lines: Vec<(String, u32)>,
    pub calls_per_run: f64,
    pub ns: f64,
    #[serde(flatten)]
    pub figures: Figures,
    /// Which of the roofs is the lower one: `flops` or `bytes`.
    pub bound_by: &'static str,
}

impl Bench {
    pub fn run(mut self, talk: &Talk) -> Result<ExitCode, Failure> {
        self.load.random |= self.load.weights.is_none();
        let from_file = self.load.weights.is_some();
        let artifact = self.load.artifact(talk)?;
        let start = Instant::now();
        let model = self.load.model(&artifact)?;
        let mut session = self.load.session(&model)?;
        let opened = start.elapsed();
        let entry = session.entry().name.clone();
        let mut inputs = Vec::new();
        self.load.random_inputs(model.manifest(), &entry, &mut inputs)?;
        let mut views: Vec<(&str, View)> = Vec::new();
        for (name, tensor) in &inputs {
            views.push((name, tensor.view().map_err(other)?));
        }
        let start = Instant::now();
        session.run(&views).map_err(other)?;
        let first = artifact.opened_in + opened + start.elapsed();
        let progress = build::progress(talk, &format!("measuring {entry}"));
        let mut roofline = Roofline::new(model.isa(), model.threads())?;
        let mut report = measure(&mut session, &views, Duration::from_secs_f64(self.seconds), &mut roofline)?;
        progress.finish_and_clear();
        report.first_result_ns = from_file.then_some(first.as_nanos() as f64);
        report.artifact_bytes = artifact.artifact.bytes().len();
        if self.json {
            let text = serde_json::to_string_pretty(&report).map_err(|e| Failure::Other(e.to_string()))?;
            talk.data(text + "\n")?;
        } else {
            talk.data(report.to_string())?;
        }
        for fault in &report.faults {
            talk.warn(fault);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Measures the entry of a session for about so long, and a while more for its kernels. `roofline` is of the same processor and
/// threads.
pub fn measure(
    session: &mut Session,
    views: &[(&str, View)],
    limit: Duration,
    roofline: &mut Roofline,
) -> Result<Report, Failure> {
    let times = times(session, views, limit).map_err(other)?;
    let profile = profile(session, views, times[0]).map_err(other)?;
    let mut report = report(&times, &profile, roofline)?;
    for _ in 0..AGAIN {
        if !report.faults.is_empty() {
            roofline.again()?;
            report = self::report(&times, &profile, roofline)?;
        }
    }
    report.entry = session.entry().name.clone();
    report.isa = session.model().isa().name().into();
    report.threads = session.model().threads();
    Ok(report)
}

fn other(error: RunError) -> Failure {
    Failure::Other(error.to_string())
}

pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if (0.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 0 to 3600 seconds".into()) }
}

/// Nanoseconds of each run, ascending.
fn times(session: &mut Session, views: &[(&str, View)], limit: Duration) -> Result<Vec<f64>, RunError> {
    for _ in 0..WARM_UP {
        session.run(views)?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < limit || times.len() < LEAST_RUNS {
        let before = Instant::now();
        session.run(views)?;
        times.push(before.elapsed().as_nanos().max(1) as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The fastest of many profiled runs: times of kernels that belong together.
fn profile(session: &mut Session, views: &[(&str, View)], run_ns: f64) -> Result<Vec<CallProfile>, RunError> {
    const MOST_NS: f64 = 3e8;
    let mut best: Option<Vec<CallProfile>> = None;
    let total = |profile: &[CallProfile]| profile.iter().map(|call| call.ns).sum::<u64>();
    for _ in 0..(MOST_NS / run_ns).clamp(3.0, 200.0) as usize {
        session.set_profiled(true);
        session.run(views)?;
        let profile = session.profile();
        if best.as_ref().is_none_or(|best| total(&profile) < total(best)) {
            best = Some(profile);
        }
    }
    session.set_profiled(false);
    Ok(best.unwrap_or_default())
}

/// Buffers that hold something between runs, or come from outside.
fn stays(place: Place) -> bool {
    !matches!(place, Place::Arena { .. })
}

/// Bytes that stay and are touched within a loop, or (`None`) within a run.
pub fn working_sets<'c>(profile: impl Iterator<Item = &'c CallProfile>) -> BTreeMap<Option<u32>, u64> {
    let mut touched: BTreeMap<(Option<u32>, u32), u64> = BTreeMap::new();
    for call in profile {
        let sets = [None, call.around];
        for around in if call.around.is_some() { &sets[..] } else { &sets[..1] } {
            for one in call.touched.iter().filter(|t| stays(t.place)) {
                let most = touched.entry((*around, one.buffer)).or_default();
                *most = one.bytes.max(*most);
            }
        }
    }
    let mut sets = BTreeMap::new();
    for ((around, _), bytes) in touched {
        *sets.entry(around).or_default() += bytes;
    }
    sets
}

/// The bytes among which what a call touches is met again.
pub fn set_of(touched: &Touched, around: Option<u32>, sets: &BTreeMap<Option<u32>, u64>) -> u64 {
    if stays(touched.place) { sets.get(&around).copied().unwrap_or(0) } else { touched.bytes }
}

fn report(times: &[f64], profile: &[CallProfile], roofline: &Roofline) -> Result<Report, Failure> {
    let sets = working_sets(profile.iter());
    let (mut kernels, mut faults) = (Vec::new(), Vec::new());
    let (mut flops, mut bytes, mut bound) = (0, 0, 0.0);
    for call in profile.iter().filter(|call| call.calls > 0) {
        let mut moving_ns = 0.0;
        for one in &call.touched {
            moving_ns += one.bytes as f64 / roofline.bytes_per_ns(set_of(one, call.around, &sets))?;
        }
        let computing_ns = call.flops as f64 / roofline.flops_per_ns_of(&call.label);
        let ns = call.ns as f64 / call.calls as f64;
        let figures = figures(call.flops, call.bytes(), ns, computing_ns.max(moving_ns));
        if figures.achieved > NOISE {
            faults.push(above(&call.label, figures.achieved));
        }
        flops += call.calls * call.flops;
        bytes += call.calls * call.bytes();
        bound += call.calls as f64 * figures.bound_ns;
        let bound_by = if computing_ns > moving_ns { "flops" } else { "bytes" };
        let (label, lines) = (call.label.clone(), call.lines.clone());
        kernels.push(KernelReport { label, lines, calls_per_run: call.calls as f64, ns, figures, bound_by });
    }
    let total = figures(flops, bytes, times[0], bound);
    if total.achieved > NOISE {
        faults.push(above("the whole run", total.achieved));
    }
    let read = roofline.measured().into_iter();
    let read = read.map(|(working_set_bytes, gbytes_per_s)| Read { working_set_bytes, gbytes_per_s }).collect();
    Ok(Report {
        entry: String::new(),
        isa: String::new(),
        threads: 0,
        runs: times.len(),
        min_ns: times[0],
        median_ns: times[times.len() / 2],
        first_result_ns: None,
        artifact_bytes: 0,
        total,
        roofline: Roofs { peak_gflops: roofline.flops_per_ns(), tile_gflops: roofline.tile_flops_per_ns(), read },
        kernels,
        faults,
    })
}

fn figures(flops: u64, bytes: u64, ns: f64, bound_ns: f64) -> Figures {
    let ns = ns.max(1.0);
    let (gflops, gbytes_per_s) = (flops as f64 / ns, bytes as f64 / ns);
    Figures { flops, bytes, gflops, gbytes_per_s, bound_ns, achieved: bound_ns / ns }
}

fn above(what: &str, achieved: f64) -> String {
    format!(
        "{what} is {achieved:.2} times as fast as the roofline allows: an error in a measurement (the roof was disturbed, or the work is counted too high)"
    )
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = if self.threads == 1 { "1 thread".to_string() } else { format!("{} threads", self.threads) };
        writeln!(
            f,
            "{} on {}, {threads}: min {}, median {}, {} runs",
            self.entry,
            self.isa,
            time(self.min_ns),
            time(self.median_ns),
            self.runs
        )?;
        let total = &self.total;
        writeln!(
            f,
            "  {:.1} GFLOP/s, {:.1} GB/s: {:.0} % of what the roofline allows ({})",
            total.gflops,
            total.gbytes_per_s,
            100.0 * total.achieved,
            time(total.bound_ns)
        )?;
        write!(f, "  this machine: {:.1} GFLOP/s", self.roofline.peak_gflops)?;
        if let Some(tiles) = self.roofline.tile_gflops {
            write!(f, ", {tiles:.1} of tiles")?;
        }
        for read in &self.roofline.read {
            write!(f, ", {:.0} GB/s from {}", read.gbytes_per_s, size(read.working_set_bytes))?;
        }
        writeln!(f)?;
        if let Some(first) = self.first_result_ns {
            writeln!(f, "  {} from opening the artifact to the first result", time(first))?;
        }
        writeln!(f)?;
        let mut table = Table::new(&["kernel", "calls", "time", "GFLOP/s", "GB/s", "achieved", "bound by", "source"]);
        let all: f64 = self.kernels.iter().map(|k| k.calls_per_run * k.ns).sum();
        for kernel in &self.kernels {
            let part = kernel.calls_per_run * kernel.ns;
            table.row([
                kernel.label.clone(),
                format!("{}", kernel.calls_per_run),
                format!("{} {:>3.0} %", time(part), 100.0 * part / all.max(1.0)),
                format!("{:.1}", kernel.figures.gflops),
                format!("{:.1}", kernel.figures.gbytes_per_s),
                format!("{:.0} %", 100.0 * kernel.figures.achieved),
                kernel.bound_by.into(),
                kernel.lines.first().map(|(file, line)| format!("{file}:{line}")).unwrap_or_default(),
            ]);
        }
        write!(f, "{table}")
    }
}

/// A time in words.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// A number of bytes in words.
pub fn size(bytes: u64) -> String {
    match bytes {
        n if n < 10 << 10 => format!("{n} B"),
        n if n < 10 << 20 => format!("{} KiB", n >> 10),
        n if n < 10 << 30 => format!("{} MiB", n >> 20),
        n => format!("{} GiB", n >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(around: Option<u32>, touched: &[(u32, Place, u64)]) -> CallProfile {
        let touched =
            touched.iter().map(|(buffer, place, bytes)| Touched { buffer: *buffer, place: *place, bytes: *bytes });
        CallProfile { label: "k".into(), lines: vec![], calls: 1, ns: 1, flops: 1, touched: touched.collect(), around }
    }

    #[test]
    fn a_loop_has_the_working_set_of_its_body_and_a_run_that_of_all() {
        let scratch = Place::Arena { from: 0, to: 1 };
        let calls = [
            call(None, &[(0, Place::Input(0), 10), (1, Place::Kept(0), 100), (2, scratch, 1000)]),
            call(Some(0), &[(2, scratch, 50), (3, Place::Kept(1), 200)]),
            call(Some(0), &[(3, Place::Kept(1), 150), (4, Place::Output(0), 5)]),
        ];
        assert_eq!(working_sets(calls.iter()), BTreeMap::from([(None, 315), (Some(0), 205)]));
    }

    #[test]
    fn a_figure_above_the_roof_is_said() {
        let roofline = Roofline::new(gatec_runtime::cpu::supported().next().unwrap(), 1).unwrap();
        let mut impossible = call(None, &[]);
        impossible.flops = 1 << 40;
        let report = report(&[1e12], &[impossible], &roofline).unwrap();
        assert_eq!(report.faults.len(), 1);
        assert!(report.faults[0].starts_with("k is ") && report.faults[0].contains("an error in a measurement"));
    }
}
