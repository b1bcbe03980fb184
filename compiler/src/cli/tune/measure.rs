//! Variants of a model that run in turn, and the time of each kernel.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use gatec_runtime::format::{Isa, Step};
use gatec_runtime::pool::Pool;
use gatec_runtime::{Artifact, LoadOptions, Model, RunError, Session, View, WeightSource};

use super::super::tensors::Tensor;
use super::super::{Failure, run};
use crate::egraph::by_size;
use crate::graph::Module;
use crate::plan::{self, Planned};
use crate::schedule::Tuning;
use crate::{BuildError, BuildOptions};

/// Runs of each variant in a turn: the first finds caches as the other left them.
const RUNS: usize = 3;
/// Turns of each variant at a point, at least.
const LEAST_TURNS: usize = 3;

/// Nanoseconds in a run, by the number of a kernel.
pub type Times = BTreeMap<u32, f64>;

/// Where is measured.
pub struct Point {
    pub entry: String,
    number: usize,
    pub sizes: Vec<(String, i64)>,
    pub pool: Pool,
    inputs: Vec<(String, Tensor)>,
}

/// A variant of a model that runs, with a session for each point.
pub struct Running {
    pub planned: Planned,
    sessions: Vec<Session>,
    /// The kernels that an entry calls, in the order of its plan.
    calls: Vec<Vec<u32>>,
}

/// What all variants have in common.
pub struct Lab<'a> {
    module: &'a Module,
    options: &'a BuildOptions,
    pub isa: Isa,
    pub points: Vec<Point>,
}

impl<'a> Lab<'a> {
    /// Points: every entry, at the assumed sizes and with each of them 1, on one thread and on all.
    pub fn new(module: &'a Module, options: &'a BuildOptions, isa: Isa) -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut counts = vec![1, threads];
        counts.dedup();
        let mut pools = Vec::new();
        for count in counts {
            let pool = Pool::new(NonZeroUsize::new(count));
            pools.push(pool.map_err(|e| Failure::Other(format!("starting threads: {e}")))?);
        }
        let assumed = by_size::point(module, &options.optimize.assume);
        let mut sizes = vec![assumed.iter().map(|(name, _)| (name.clone(), 1)).collect(), assumed];
        sizes.dedup();
        let mut lab = Self { module, options, isa, points: Vec::new() };
        let artifact = lab.artifact(&lab.plan(&options.tuning)?)?;
        for entry in artifact.manifest().callable() {
            for sizes in &sizes {
                let symbols: Vec<i64> = sizes.iter().map(|(_, size)| *size).collect();
                let number = artifact.manifest().serving(&entry.name, &symbols).unwrap_or(0);
                let mut inputs = Vec::new();
                run::random_inputs(sizes, artifact.manifest(), &entry.name, &mut inputs)?;
                for pool in &pools {
                    let inputs = inputs.clone();
                    let (entry, sizes, pool) = (entry.name.clone(), sizes.clone(), pool.clone());
                    lab.points.push(Point { entry, number, sizes, pool, inputs });
                }
            }
        }
        Ok(lab)
    }

    pub fn plan(&self, tuning: &Tuning) -> Result<Planned, Failure> {
        Ok(plan::plan(self.module, self.isa, &self.options.optimize.assume, tuning).map_err(BuildError::from)?)
    }

    fn artifact(&self, planned: &Planned) -> Result<Artifact, Failure> {
        let bytes = crate::generate(self.module, "", vec![planned.clone()])?;
        Artifact::from_bytes(bytes).map_err(|e| Failure::Other(e.to_string()))
    }

    /// Loads a variant. Points with the same threads share a model.
    pub fn start(&self, planned: Planned) -> Result<Running, Failure> {
        let artifact = self.artifact(&planned)?;
        let mut models: Vec<(usize, Model)> = Vec::new();
        let mut sessions = Vec::new();
        for point in &self.points {
            let threads = point.pool.threads();
            let model = match models.iter().find(|(of, _)| *of == threads) {
                Some((_, model)) => model.clone(),
                None => {
                    let options = LoadOptions::default().pool(point.pool.clone());
                    let model = Model::from_artifact(&artifact, WeightSource::Random(run::SEED), &options);
                    let model = model.map_err(|e| Failure::Other(e.to_string()))?;
                    models.push((threads, model.clone()));
                    model
                }
            };
            let mut session = model.session(&point.entry).map_err(other)?;
            for (name, size) in &point.sizes {
                session.bind(name, *size as usize).map_err(other)?;
            }
            sessions.push(session);
        }
        let calls = planned.variant.entries.iter().map(|plan| {
            let mut calls = Vec::new();
            each_call(&plan.steps, &mut calls);
            calls
        });
        Ok(Running { calls: calls.collect(), planned, sessions })
    }

    /// The time of each kernel of two variants at each point: each the least of many runs in turn, for about so long in all.
    pub fn compare(&self, a: &mut Running, b: &mut Running, limit: Duration) -> Result<Vec<[Times; 2]>, Failure> {
        let slot = limit / self.points.len().max(1) as u32;
        let mut all = Vec::new();
        for (number, point) in self.points.iter().enumerate() {
            let views: Result<Vec<(&str, View)>, RunError> =
                point.inputs.iter().map(|(name, tensor)| Ok((name.as_str(), tensor.view()?))).collect();
            let views = views.map_err(other)?;
            let (start, mut best) = (Instant::now(), [Times::new(), Times::new()]);
            let mut turns = 0;
            while turns < LEAST_TURNS || start.elapsed() < slot {
                for (running, best) in [&mut *a, &mut *b].into_iter().zip(&mut best) {
                    for _ in 0..RUNS {
                        running.run(number, point.number, &views, best).map_err(other)?;
                    }
                }
                turns += 1;
            }
            all.push(best);
        }
        Ok(all)
    }
}

impl Running {
    /// One run; `best` keeps the least time of each kernel.
    fn run(&mut self, at: usize, entry: usize, views: &[(&str, View)], best: &mut Times) -> Result<(), RunError> {
        let session = &mut self.sessions[at];
        session.set_profiled(true);
        session.run(views)?;
        let mut times = Times::new();
        for (call, kernel) in session.profile().iter().zip(&self.calls[entry]) {
            if call.calls > 0 {
                *times.entry(*kernel).or_default() += call.ns as f64;
            }
        }
        for (kernel, ns) in times {
            let least = best.entry(kernel).or_insert(f64::INFINITY);
            *least = ns.max(1.0).min(*least);
        }
        Ok(())
    }
}

fn other(error: RunError) -> Failure {
    Failure::Other(error.to_string())
}

fn each_call(steps: &[Step], calls: &mut Vec<u32>) {
    for step in steps {
        match step {
            Step::Call(call) => calls.push(call.kernel),
            Step::Loop { body, .. } | Step::When { body, .. } => each_call(body, calls),
        }
    }
}
