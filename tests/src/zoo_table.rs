//! The table of `make zoo`: every system of `examples/zoo`, its largest error, the time to build it, lines of its model and of its fixture.

#![allow(clippy::print_stdout, reason = "the table is what it gives")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use gatec::BuildOptions;
use gatec_runtime::Artifact;
use gatec_tests::example::Example;
use gatec_tests::runnable;

fn main() -> ExitCode {
    println!("| system | largest error | may be | build, s | lines of Gate | lines of the fixture |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut all_agree = true;
    for example in Example::of("examples/zoo") {
        match row(&example) {
            Ok((row, agrees)) => {
                all_agree &= agrees;
                println!("{row}");
            }
            Err(why) => {
                all_agree = false;
                println!("| {} | {why} | | | | |", example.name());
            }
        }
    }
    if all_agree { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line of the table, and whether the system agrees with its golden file.
fn row(example: &Example) -> Result<(String, bool), String> {
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let artifact = out.path().join("model.so");
    let options = BuildOptions { sizes: example.sizes(), ..Default::default() };
    let begun = Instant::now();
    gatec::build(&example.model(), &options, &artifact).map_err(|e| e.to_string())?;
    let seconds = begun.elapsed().as_secs_f64();
    let opened = Artifact::open(&artifact).map_err(|e| e.to_string())?;
    let mut largest = 0f64;
    for isa in runnable(&opened) {
        for run in &example.case.run {
            let results = example.compiled(run, &artifact, isa, 1);
            let errors = results.iter().map(|(name, found)| example.error(run, name, found));
            largest = errors.fold(largest, f64::max);
        }
    }
    let may = example.case.tolerance["f32"];
    let [model, fixture] =
        [(example.model(), "//"), (example.folder.join("fixture.py"), "#")].map(|(f, c)| lines(&f, c));
    let row = format!("| {} | {largest:.1e} | {may:.0e} | {seconds:.2} | {model} | {fixture} |", example.name());
    Ok((row, largest <= may))
}

/// Lines of a file that are neither blank nor a comment.
fn lines(file: &Path, comment: &str) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(comment)).count()
}
