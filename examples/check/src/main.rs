//! Runs the artifacts of a bundle (`make gpu-bundle`) against golden values and times them: for a GPU machine that has neither
//! compiler nor network.
//!
//!     gatec-check [--cpu] FOLDER
//!
//! `FOLDER/cases` has a line for each run: name, artifact, weights, entry, values, tolerance. The values are a `.safetensors` file with
//! inputs `in.NAME` and outputs `out.NAME`. The exit code is 0 if all agree, 1 if not, 2 if nothing could be run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

mod values;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use gatec_runtime::format::Isa;
use gatec_runtime::{LoadError, LoadOptions, Model, RunError, View};
use values::{Values, difference};

/// Calls before the clock starts, and calls that are timed.
const WARM_UP: usize = 3;
const TIMED: usize = 50;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let on_cpu = arguments.iter().position(|a| a == "--cpu").map(|at| arguments.remove(at)).is_some();
    let [folder] = arguments.as_slice() else {
        eprintln!("gatec-check [--cpu] FOLDER");
        return ExitCode::from(2);
    };
    match check(Path::new(folder), on_cpu) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// One line of `cases`.
struct Case<'a> {
    name: &'a str,
    artifact: &'a str,
    weights: &'a str,
    entry: &'a str,
    values: &'a str,
    tolerance: f64,
}

fn parse(line: &str) -> Option<Case<'_>> {
    let mut words = line.split_whitespace();
    let mut next = || words.next();
    let (name, artifact, weights, entry, values) = (next()?, next()?, next()?, next()?, next()?);
    Some(Case { name, artifact, weights, entry, values, tolerance: next()?.parse().ok()? })
}

/// Whether all runs agree.
fn check(folder: &Path, on_cpu: bool) -> Result<bool, String> {
    let list = folder.join("cases");
    let list = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut wrong = 0;
    let mut count = 0;
    for line in list.lines().filter(|l| !l.trim().is_empty()) {
        let case = parse(line).ok_or_else(|| format!("cases: `{line}` is not six words"))?;
        count += 1;
        match run(folder, &case, on_cpu) {
            Ok(found) => {
                wrong += usize::from(!found.agrees);
                println!("{}", found.line);
            }
            // The same for every case: nothing can be run here.
            Err(Fault::Load(why)) => return Err(format!("{}: {why}", case.name)),
            Err(Fault::Run(why)) => {
                wrong += 1;
                println!("{:<28} FAILED: {why}", case.name);
            }
        }
    }
    println!("{} of {count} runs agree with their golden values", count - wrong);
    Ok(wrong == 0 && count > 0)
}

enum Fault {
    Load(String),
    Run(String),
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Self {
        Self::Load(error.to_string())
    }
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        Self::Run(error.to_string())
    }
}

struct Found {
    agrees: bool,
    line: String,
}

fn run(folder: &Path, case: &Case<'_>, on_cpu: bool) -> Result<Found, Fault> {
    let options = if on_cpu { LoadOptions::default() } else { LoadOptions::default().isa(Isa::Sm80) };
    let model = Model::load(folder.join(case.artifact), folder.join(case.weights), &options)?;
    let mut session = model.session(case.entry)?;
    let values = Values::read(&folder.join(case.values)).map_err(Fault::Load)?;
    let mut views = Vec::new();
    for (name, tensor) in values.inputs() {
        views.push((name, View::bytes(tensor.elem, tensor.bytes(), Some(&tensor.shape))?));
    }
    let mut worst = 0.0f64;
    for (name, elem, _, bytes) in session.run(&views)?.iter() {
        let golden = values.output(name).ok_or_else(|| Fault::Run(format!("no golden values for `{name}`")))?;
        worst = worst.max(difference(&values::numbers(elem, bytes), &golden.numbers()));
    }
    let mut times = Vec::new();
    for call in 0..WARM_UP + TIMED {
        let before = Instant::now();
        // States go on from call to call: what is timed is the same work.
        session.run(&views)?;
        if call >= WARM_UP {
            times.push(before.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    let agrees = worst <= case.tolerance;
    let line = format!(
        "{:<28} {:<7} {} off by {worst:.1e} (may be {:.0e}); min {:.1} us, median {:.1} us",
        case.name,
        model.isa(),
        if agrees { "ok, " } else { "WRONG," },
        case.tolerance,
        times[0],
        times[TIMED / 2]
    );
    Ok(Found { agrees, line })
}
