//! `gatec calibrate`: what this machine can do, as a file for `--machine`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gatec_runtime::cpu;

use super::profile::{self, Profile};
use super::roofline::Roofline;
use super::{Failure, Talk, build};
use crate::machine::{Demand, KNOWN, LEVELS, Level, Machine};
use crate::{BuildError, BuildOptions, artifact, lower, pipeline, schedule};

#[derive(Args)]
pub struct Calibrate {
    /// Where the figures go, `-` for standard output
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
    /// List the machines that `--machine` knows by name, and measure nothing
    #[arg(long)]
    list: bool,
}

/// Kernels that do much of one thing each.
const PROGRAM: &str = include_str!("calibrate.gate");
const WAITS: &str = "waits";
/// Working sets, as powers of two of bytes.
const SETS: std::ops::RangeInclusive<u32> = 14..=28;
/// No set is larger.
const BEYOND: u64 = 1 << 40;

impl Calibrate {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        if self.list {
            let mut text = String::new();
            for (name, about, machine) in KNOWN {
                let _ = writeln!(text, "{name:<12} {about}: {machine}");
            }
            talk.data(text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let progress = build::progress(talk, "measuring this machine");
        let machine = measured();
        progress.finish_and_clear();
        let machine = machine?;
        let text = machine.to_text(&format!("one core, measured by gatec {}", env!("CARGO_PKG_VERSION")));
        if self.output == Path::new("-") {
            talk.data(text)?;
        } else {
            artifact::replace(&self.output, text.as_bytes()).map_err(|e| Failure::file(&self.output, e))?;
            talk.say(&format!("{}: {machine}\n", self.output.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The machine that `--machine` says: a name, or a file.
pub fn machine(name: &Path) -> Result<Machine, Failure> {
    if let Some(machine) = name.to_str().and_then(Machine::named) {
        return Ok(machine);
    }
    let text = gatec_lang::read(name).map_err(|why| {
        let names: Vec<&str> = KNOWN.iter().map(|(name, ..)| *name).collect();
        Failure::file(name, format!("{why}; the machines known by name are {}", names.join(", ")))
    })?;
    Machine::parse(&text).map_err(|why| Failure::file(name, why))
}

/// Measures one core of this machine.
fn measured() -> Result<Machine, Failure> {
    let isa = cpu::supported().next().ok_or_else(|| Failure::Other("gatec has no code for this processor".into()))?;
    let roofline = Roofline::new(isa, 1)?;
    let mut read = Vec::new();
    for set in SETS.map(|power| 1u64 << power) {
        read.push((set, roofline.bytes_per_ns(set)?));
    }
    let options = BuildOptions { targets: vec![isa], ptx: false, ..BuildOptions::default() };
    let program = gatec_lang::load_text("calibrate.gate", PROGRAM, &[]).map_err(BuildError::Source)?;
    let module = lower::lower(&program).map_err(BuildError::from)?;
    let module = pipeline::optimize(module, &options.optimize).map_err(BuildError::from)?.module;
    let planned = crate::plan_all(&module, &options)?;
    // Of what is still to be measured, nothing is counted.
    let mut machine = Machine {
        flops_per_ns: roofline.flops_per_ns(),
        tile_flops_per_ns: Some(f64::INFINITY),
        levels: levels(&read),
        kernel_ns: 0.0,
        function_ns: 0.0,
        division_ns: 0.0,
        scalar_ns: 0.0,
        wait_ns: 0.0,
    };
    let (profiles, _) = profile::measured(&module, &planned, &[], &machine, 1)?;
    machine.kernel_ns = least(&profiles, "start", &machine, |_| 1.0)?;
    machine.wait_ns = least(&profiles, WAITS, &machine, |demand| demand.waits)?;
    machine.scalar_ns = least(&profiles, "scalars", &machine, |demand| demand.scalars)?;
    machine.function_ns = least(&profiles, "functions", &machine, |demand| demand.functions)?;
    machine.division_ns = least(&profiles, "divisions", &machine, |demand| demand.divisions)?;
    machine.tile_flops_per_ns = match schedule::has_tiles(isa) {
        true => Some(1.0 / least(&profiles, "tiles", &machine, |demand| demand.tiles)?),
        false => None,
    };
    Ok(machine)
}

/// What one of `count` takes: the rest of an entry's time.
fn least(profiles: &[Profile], entry: &str, machine: &Machine, count: fn(&Demand) -> f64) -> Result<f64, Failure> {
    let profile = profiles.iter().find(|profile| profile.entry == entry);
    let found = profile.and_then(|profile| {
        let kernel = profile.kernels.first()?;
        let demand = Demand { moved: Vec::new(), ..kernel.demand.clone() };
        let measured = kernel.measured_ns?;
        // Waiting happens beside computing.
        let rest = if entry == WAITS { machine.kernel_ns } else { machine.kernel_time(&demand) };
        (count(&demand) > 0.0).then(|| (measured - rest).max(measured / 10.0) / count(&demand))
    });
    found.ok_or_else(|| Failure::Other(format!("internal error (please report it): `{entry}` measures nothing")))
}

/// Groups working sets by their speed, so that those of a group differ least; `read` ascends.
fn levels(read: &[(u64, f64)]) -> [Level; LEVELS] {
    // What is slower than a larger set was disturbed.
    let mut speeds: Vec<f64> = read.iter().map(|(_, speed)| speed.ln()).collect();
    for i in (1..speeds.len()).rev() {
        speeds[i - 1] = speeds[i - 1].max(speeds[i]);
    }
    let mean = |group: &[f64]| group.iter().sum::<f64>() / group.len() as f64;
    let spread = |group: &[f64]| group.iter().map(|s| (s - mean(group)).powi(2)).sum::<f64>();
    let n = speeds.len();
    let cuts = (1..n).flat_map(|a| (a + 1..n).flat_map(move |b| (b + 1..n).map(move |c| [a, b, c, n])));
    let groups = |cuts: &[usize; LEVELS]| {
        let from = [0, cuts[0], cuts[1], cuts[2]];
        std::array::from_fn::<_, LEVELS, _>(|i| from[i]..cuts[i])
    };
    let cost = |cuts: &[usize; LEVELS]| groups(cuts).into_iter().map(|group| spread(&speeds[group])).sum::<f64>();
    let best = cuts.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or([1, 2, 3, n]);
    groups(&best).map(|group| Level {
        bytes: if group.end == n { BEYOND } else { read[group.end - 1].0 },
        // Of a set that is as large as the level.
        bytes_per_ns: speeds[group.end - 1].exp(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_where_speeds_fall() {
        let speed = |power: u32| match power {
            ..=15 => 200.0,
            16..=20 => 100.0,
            21..=25 => 50.0,
            _ => 10.0,
        };
        let mut read: Vec<(u64, f64)> = SETS.map(|power| (1 << power, speed(power))).collect();
        // Something else ran.
        read[4].1 = 30.0;
        let found = levels(&read).map(|level| (level.bytes, level.bytes_per_ns.round()));
        assert_eq!(found, [(1 << 15, 200.0), (1 << 20, 100.0), (1 << 25, 50.0), (BEYOND, 10.0)]);
    }
}
