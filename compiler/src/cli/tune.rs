//! `gatec build --tune`: which choices of schedules are faster on this machine, kernel by kernel.
//!
//! One choice after the other gets each of its other values in all kernels at once. The model so changed and the model as far as it is
//! tuned run in turn, with random weights, at few and at many rows, on one thread and on all; a kernel keeps a value that makes it
//! faster over all of these and slower at none. In the end the tuned model and the default run in turn once more: what does not show
//! again was luck, and is dropped.

mod measure;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use gatec_runtime::cpu;
use indicatif::{ProgressBar, ProgressStyle};

use super::bench::time;
use super::{Failure, Talk};
use crate::BuildOptions;
use crate::graph::Module;
use crate::schedule::{CHOICES, Choice, Choices, Tuned, Tuning, tuning};
use measure::{Lab, Running, Times};

/// So much faster a value must be to be kept, and so much slower it may be at no point: below that timings say nothing.
const FASTER: f64 = 1.03;
const SLOWER: f64 = 0.97;
/// The part of the time that is kept for the end.
const LAST: f64 = 0.25;

/// Where choices come from.
#[derive(Args, Clone, Default)]
pub struct TunedArgs {
    /// Choices of schedules that `build --tune` measured [default: the model's name with `.tune.json`, if it is there]
    #[arg(long, value_name = "FILE")]
    tuned: Option<PathBuf>,
}

impl TunedArgs {
    pub fn is_given(&self) -> bool {
        self.tuned.is_some()
    }

    /// Where they stand.
    pub fn path(&self, model: &Path) -> PathBuf {
        self.tuned.clone().unwrap_or_else(|| model.with_extension("tune.json"))
    }

    /// Reads them. A file that nobody named may be missing.
    pub fn read(&self, model: &Path) -> Result<Tuning, Failure> {
        let path = self.path(model);
        let is_there = std::fs::exists(&path).map_err(|e| Failure::file(&path, e))?;
        if self.tuned.is_none() && !is_there {
            return Ok(Tuning::default());
        }
        let text = read(&path).map_err(|e| Failure::file(&path, e))?;
        Tuning::parse(&text).map_err(|e| Failure::file(&path, e))
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(tuning::MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Tunes a model for about so long: the choices, those known for other processors among them, and what to say.
pub fn tune(
    module: &Module,
    options: &BuildOptions,
    limit: Duration,
    talk: &Talk,
) -> Result<(Tuning, String), Failure> {
    let start = Instant::now();
    let mut options = options.clone();
    options.ptx = false;
    let all = crate::plan_all(module, &options)?;
    // The one that the runtime would take.
    let planned = cpu::supported().find_map(|isa| all.iter().find(|p| p.variant.isa == isa));
    let planned = planned.ok_or_else(|| Failure::Other("this machine can run none of the model's variants".into()))?;
    options.tuning.forget(planned.variant.isa);
    let kernels = planned.kernels.iter().map(|(_, kernel, _)| (tuning::code(kernel), kernel.name.clone())).collect();
    let lab = Lab::new(module, &options, planned.variant.isa)?;
    let mut search = Search { lab: &lab, known: &options.tuning, kernels, found: Found::new() };
    let untried = search.all(start, limit, talk)?;
    let said = search.confirm(limit.saturating_sub(start.elapsed()))?;
    let untried = match untried[..] {
        [] => String::new(),
        _ => format!("no time was left to try {}: give more --tune-seconds\n", untried.join(", ")),
    };
    Ok((search.tuning(&search.found), untried + &said))
}

/// Choices by the number of a kernel, and how many times as fast it is with them.
type Found = BTreeMap<u32, (Choices, f64)>;

struct Search<'a> {
    lab: &'a Lab<'a>,
    /// Choices for other processors.
    known: &'a Tuning,
    /// Identity and label of each kernel: choices change neither, nor their order.
    kernels: Vec<(String, String)>,
    found: Found,
}

impl Search<'_> {
    fn tuning(&self, found: &Found) -> Tuning {
        let mut tuning = self.known.clone();
        let on = processor();
        for (number, (choices, times_as_fast)) in found {
            let (code, kernel) = &self.kernels[*number as usize];
            let (kernel, on, choices) = (kernel.clone(), on.clone(), *choices);
            tuning.set(code, self.lab.isa, Tuned { kernel, choices, times_as_fast: *times_as_fast, on });
        }
        tuning
    }

    fn start(&self, found: &Found) -> Result<Running, Failure> {
        self.lab.start(self.lab.plan(&self.tuning(found))?)
    }

    /// Tries all values of all choices; the names of those for which no time was left.
    fn all(&mut self, start: Instant, limit: Duration, talk: &Talk) -> Result<Vec<&'static str>, Failure> {
        let limit = limit.mul_f64(1.0 - LAST);
        let mut trials: usize = CHOICES.iter().map(|c| c.others.len()).sum();
        let bar = bar(talk, trials as u64);
        let (mut best, mut untried) = (self.start(&self.found)?, Vec::new());
        for choice in CHOICES {
            bar.set_message(choice.name);
            // For each kernel the best value so far, and its gain.
            let mut gains: Found = Found::new();
            for &value in choice.others {
                let left = limit.saturating_sub(start.elapsed());
                if left.is_zero() && !untried.contains(&choice.name) {
                    untried.push(choice.name);
                }
                if !left.is_zero() {
                    self.try_value(choice, value, &mut best, left / trials as u32, &mut gains)?;
                }
                trials -= 1;
                bar.inc(1);
            }
            if !gains.is_empty() {
                self.found.extend(gains);
                best = self.start(&self.found)?;
            }
        }
        bar.finish_and_clear();
        Ok(untried)
    }

    /// Measures a value in all kernels at once against what was found for the choices before.
    fn try_value(
        &mut self,
        choice: &'static Choice,
        value: u32,
        best: &mut Running,
        slot: Duration,
        gains: &mut Found,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let tried: Found = (0..self.kernels.len() as u32)
            .map(|number| {
                let mut choices = self.found.get(&number).map_or(Choices::default(), |(choices, _)| *choices);
                choice.set(&mut choices, value);
                (number, (choices, 1.0))
            })
            .collect();
        let planned = self.lab.plan(&self.tuning(&tried))?;
        if planned.variant == best.planned.variant && planned.kernels == best.planned.kernels {
            return Ok(());
        }
        // What runs as before is no faster, whatever is measured. A choice that changes no schedule is about shares of threads: of all.
        let (new, old) = (&planned.kernels, &best.planned.kernels);
        let is_of_all = new == old;
        let is_changed: Vec<bool> = new.iter().zip(old).map(|(new, old)| is_of_all || new != old).collect();
        let mut other = self.lab.start(planned)?;
        let times = self.lab.compare(best, &mut other, slot.saturating_sub(begun.elapsed()))?;
        for (number, (choices, _)) in tried {
            let gain = gain(&times, number).filter(|_| is_changed[number as usize]);
            let sofar = gains.get(&number).map_or(0.0, |(_, gain)| *gain);
            if let Some(gain) = gain.filter(|gain| *gain > sofar) {
                gains.insert(number, (choices, gain));
            }
        }
        Ok(())
    }

    /// Measures what was found against the default once more: what to say.
    fn confirm(&mut self, limit: Duration) -> Result<String, Failure> {
        if self.found.is_empty() {
            return Ok("nothing was faster than the default\n".into());
        }
        let mut default = self.start(&Found::new())?;
        let mut tuned = self.start(&self.found)?;
        let times = self.lab.compare(&mut default, &mut tuned, limit)?;
        let tried = self.found.len();
        self.found = std::mem::take(&mut self.found)
            .into_iter()
            .filter_map(|(number, (choices, _))| Some((number, (choices, gain(&times, number)?))))
            .collect();
        let mut said = format!("of {tried} kernels that seemed faster {} were so again\n", self.found.len());
        for (point, [before, after]) in self.lab.points.iter().zip(&times) {
            let is_tuned = |number: &u32| self.found.contains_key(number);
            let after = before.iter().map(|(n, ns)| if is_tuned(n) { after.get(n).unwrap_or(ns) } else { ns });
            let (before, after): (f64, f64) = (before.values().sum(), after.sum());
            let sizes: String = point.sizes.iter().map(|(name, size)| format!(", {name}={size}")).collect();
            let threads = point.pool.threads();
            let plural = if threads == 1 { "" } else { "s" };
            let (entry, was, is) = (&point.entry, time(before), time(after));
            let _ = writeln!(said, "  {entry}{sizes}, {threads} thread{plural}: {was} by default, {is} tuned");
        }
        Ok(said)
    }
}

/// How many times as fast a kernel is, over all points where it runs; `None`: no faster, or slower at one of them.
fn gain(times: &[[Times; 2]], kernel: u32) -> Option<f64> {
    let ratios = times.iter().filter_map(|[before, after]| Some(before.get(&kernel)? / after.get(&kernel)?));
    let ratios: Vec<f64> = ratios.collect();
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64;
    (mean.exp() >= FASTER && ratios.iter().all(|ratio| *ratio >= SLOWER)).then_some(mean.exp())
}

/// What this machine calls its processor.
fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |key: &str| {
        let mut values = about.lines().filter_map(|line| line.split_once(':'));
        values.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_string())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let name = of("model name").unwrap_or_else(|| "unknown processor".into());
    let numbers = of("cpu family").zip(of("model"));
    let numbers = numbers.map_or(String::new(), |(family, model)| format!(" (family {family}, model {model})"));
    format!("{name}{numbers}, {threads} threads")
}

/// How many values were tried of how many, on a terminal.
fn bar(talk: &Talk, trials: u64) -> ProgressBar {
    if !talk.terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(trials);
    if let Ok(style) = ProgressStyle::with_template("tuning {bar:30} {pos}/{len} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_shows_over_all_points_and_is_a_loss_at_none() {
        let at = |before: f64, after: f64| [Times::from([(0, before)]), Times::from([(0, after)])];
        let elsewhere = [Times::from([(1, 5.0)]), Times::from([(1, 1.0)])];
        let found = gain(&[at(20.0, 10.0), at(20.0, 20.0), elsewhere.clone()], 0);
        assert!(found.is_some_and(|gain| (gain - 2.0f64.sqrt()).abs() < 1e-12), "{found:?}");
        assert_eq!(gain(&[at(20.0, 10.0), at(20.0, 22.0)], 0), None, "slower at the second");
        assert_eq!(gain(&[at(20.0, 19.9)], 0), None, "no more than noise");
        assert_eq!(gain(&[elsewhere], 0), None, "it never runs");
    }
}
