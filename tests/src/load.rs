//! What the runtime costs beside its kernels: a call with nothing to do, counting where rows go, and many sessions at once.
//!
//!     cargo run --release -p gatec-tests --bin gatec-load [-- --seconds 2 --sessions 16 --threads 2]
//!
//! Everything that is compared runs in turn; the fastest of each counts, for throughput the most calls in a second. `taskset` gives it
//! fewer processors. Prints JSON.
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use gatec::BuildOptions;
use gatec_runtime::{LoadOptions, Model, Session, View, WeightSource};
use serde_json::{Value, json};

/// What the runtime costs beside its kernels
#[derive(Parser)]
struct Args {
    /// How long each figure is looked for
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Of the pool that the sessions share
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Rounds of things that are compared.
const ROUNDS: u32 = 8;

fn main() -> ExitCode {
    let args = Args::parse();
    match measured(&args) {
        Ok(all) => println!("{all:#}"),
        Err(why) => {
            println!("{}", json!({ "error": why }));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measured(args: &Args) -> Result<Value, String> {
    let time = Duration::from_secs_f64(args.seconds);
    Ok(json!({
        "null_ns": nothing(time)?,
        "counting": [counting(1, time)?, counting(16, time)?, counting(128, time)?],
        "load": [
            load("moe_mixtral", 16, args, time)?,
            load("moe_mixtral", 128, args, time)?,
            load("lstm", 1, args, time)?,
        ],
    }))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn model(case: &str, threads: usize) -> Result<Model, String> {
    let gate = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/cases").join(format!("{case}.gate"));
    let folder = tempfile::tempdir().map_err(text)?;
    let artifact = folder.path().join("model.so");
    gatec::build(&gate, &BuildOptions { ptx: false, ..Default::default() }, &artifact).map_err(text)?;
    Model::load(&artifact, WeightSource::Random(1), &LoadOptions::default().threads(threads)).map_err(text)
}

/// A session with all symbolic axes of this size, and inputs for it.
struct Caller {
    session: Session,
    inputs: Vec<(String, Vec<f32>)>,
}

impl Caller {
    fn new(model: &Model, size: usize) -> Result<Self, String> {
        let manifest = model.manifest();
        let entry = &manifest.entries[0];
        let mut session = model.session(&entry.name).map_err(text)?;
        for symbol in &manifest.symbols {
            session.bind(&symbol.name, size).map_err(text)?;
        }
        let symbols = vec![size as i64; manifest.symbols.len()];
        let inputs = entry.inputs.iter().map(|x| {
            let count = x.elements(&symbols).unwrap_or(0);
            (x.name.clone(), (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect())
        });
        let mut caller = Self { session, inputs: inputs.collect() };
        caller.run(1)?;
        Ok(caller)
    }

    /// The least nanoseconds of so many runs.
    fn run(&mut self, runs: usize) -> Result<u64, String> {
        let views: Vec<(&str, View)> = self.inputs.iter().map(|(name, x)| (name.as_str(), View::flat(x))).collect();
        let mut least = u64::MAX;
        for _ in 0..runs {
            let start = Instant::now();
            self.session.run(&views).map_err(text)?;
            least = least.min(start.elapsed().as_nanos() as u64);
        }
        Ok(least)
    }
}

/// Of many calls in a row, so that the clock does not count.
fn nothing(time: Duration) -> Result<f64, String> {
    const CALLS: u32 = 1000;
    let model = model("null", 1)?;
    let mut session = model.session("null").map_err(text)?;
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < time {
        let began = Instant::now();
        for _ in 0..CALLS {
            session.run(&[("x", (&[1.0f32]).into())]).map_err(text)?;
        }
        least = least.min(began.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    Ok(least)
}

/// A routed model whose rows are counted, against the same uncounted.
fn counting(tokens: usize, time: Duration) -> Result<Value, String> {
    let model = model("moe_mixtral", 1)?;
    let mut callers = [Caller::new(&model, tokens)?, Caller::new(&model, tokens)?];
    callers[1].session.set_counted(true);
    let (start, mut least) = (Instant::now(), [u64::MAX; 2]);
    while start.elapsed() < time {
        for (caller, least) in callers.iter_mut().zip(&mut least) {
            *least = caller.run(4)?.min(*least);
        }
    }
    let [plain, counted] = least.map(|ns| ns as f64);
    Ok(json!({ "tokens": tokens, "plain_ns": plain, "counted_ns": counted, "costs": counted / plain - 1.0 }))
}

/// Calls in a second of many sessions at once, against one session that has all threads to itself.
fn load(case: &str, size: usize, args: &Args, time: Duration) -> Result<Value, String> {
    let model = model(case, args.threads)?;
    let mut one = [Caller::new(&model, size)?];
    let mut many = Vec::new();
    for _ in 0..args.sessions {
        many.push(Caller::new(&model, size)?);
    }
    let mut best = [0.0f64; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].max(throughput(&mut one, time / ROUNDS)?);
        best[1] = best[1].max(throughput(&mut many, time / ROUNDS)?);
    }
    Ok(json!({
        "case": case, "size": size, "threads": args.threads, "sessions": args.sessions,
        "one_calls_per_s": best[0], "many_calls_per_s": best[1], "many_over_one": best[1] / best[0],
    }))
}

/// Calls in a second of all callers, each on a thread of its own.
fn throughput(callers: &mut [Caller], time: Duration) -> Result<f64, String> {
    let (calls, together) = (AtomicU64::new(0), Barrier::new(callers.len()));
    let start = std::sync::OnceLock::new();
    let work = |caller: &mut Caller| {
        together.wait();
        let start = *start.get_or_init(Instant::now);
        while start.elapsed() < time {
            caller.run(1)?;
            calls.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<Instant, String>(Instant::now())
    };
    let work = &work;
    let ends: Vec<Result<Instant, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = callers.iter_mut().map(|caller| scope.spawn(move || work(caller))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a caller panicked".into()))).collect()
    });
    let mut last = Duration::ZERO;
    for end in ends {
        last = last.max(end?.duration_since(*start.get_or_init(Instant::now)));
    }
    Ok(calls.into_inner() as f64 / last.as_secs_f64())
}
