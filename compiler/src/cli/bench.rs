//! `gatec bench`: how long a call takes, and how that compares with what the machine could do.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use gatec_runtime::View;

use super::run::LoadArgs;
use super::{Failure, Talk};

#[derive(Args)]
pub struct Bench {
    #[command(flatten)]
    load: LoadArgs,
    /// How long to measure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Calls before the clock starts.
const WARM_UP: usize = 3;

impl Bench {
    pub fn run(mut self, _: &Talk) -> Result<ExitCode, Failure> {
        self.load.random |= self.load.weights.is_none();
        let model = self.load.model()?;
        let mut session = self.load.session(&model)?;
        let entry = session.entry().name.clone();
        let mut inputs = Vec::new();
        self.load.random_inputs(model.manifest(), &entry, &mut inputs)?;
        let mut views: Vec<(&str, View)> = Vec::new();
        for (name, tensor) in &inputs {
            views.push((name, tensor.view().map_err(|e| Failure::Other(e.to_string()))?));
        }
        let mut call = || session.run(&views).map(drop).map_err(|e| Failure::Other(e.to_string()));
        for _ in 0..WARM_UP {
            call()?;
        }
        let (start, limit) = (Instant::now(), Duration::from_secs_f64(self.seconds));
        let mut times = Vec::new();
        while start.elapsed() < limit || times.len() < WARM_UP {
            let before = Instant::now();
            call()?;
            times.push(before.elapsed().as_nanos() as f64);
        }
        times.sort_by(f64::total_cmp);
        let (least, median) = (times[0], times[times.len() / 2]);
        session.set_profiled(true);
        session.run(&views).map_err(|e| Failure::Other(e.to_string()))?;
        let profile = session.profile();
        if self.json {
            let value = serde_json::json!({
                "entry": entry, "isa": model.isa(), "threads": model.threads(), "runs": times.len(),
                "min_ns": least, "median_ns": median,
            });
            println!("{value}");
        } else {
            println!(
                "{entry} ({:?}, {} threads): min {}, median {}, {} runs",
                model.isa(),
                model.threads(),
                time(least),
                time(median),
                times.len()
            );
            for call in profile {
                println!("  {call}");
            }
        }
        Ok(ExitCode::SUCCESS)
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
