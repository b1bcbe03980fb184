//! Runs every text in `tests/filetests`. The first `//!` line of a file names a mode: `//! verify`, `//! pass: canonicalize`.
//!
//! A mode is a function from the file to a text, which is compared with the snapshot beside the file, or with the file itself
//! where expectations stand in it. `INSTA_UPDATE=always` blesses both. To add a mode: a file in `src/filetests`, a line in
//! [`MODES`].

#[path = "filetests/fuse.rs"]
mod fuse;
#[path = "filetests/optimize.rs"]
mod optimize;
#[path = "filetests/parse.rs"]
mod parse;
#[path = "filetests/run.rs"]
mod run_program;
#[path = "filetests/verify.rs"]
mod verify;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

/// A file to run.
pub struct Case {
    pub path: PathBuf,
    /// What follows the mode's name and a colon.
    pub argument: String,
    /// The other `//!` lines, without the marks.
    pub header: Vec<String>,
    /// The whole file.
    pub text: String,
}

/// What a mode makes of a file.
pub enum Output {
    /// Compared with the snapshot beside the file.
    Snapshot(String),
    /// Compared with the file, but for its header and for lines that are empty.
    Itself(String),
    /// The mode compared for itself.
    Nothing,
}

/// A mode's name and what it does; an error is a broken file or expectation.
type Mode = (&'static str, fn(&Case) -> Result<Output, String>);

const MODES: &[Mode] = &[
    ("fuse", fuse::run),
    ("optimize", optimize::run),
    ("parse", parse::run),
    ("run", run_program::run),
    ("verify", verify::run),
];

#[test]
fn every_text_gives_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty(), "no filetests in {}", root.display());
    // `FILETEST=verify/axes` runs the files whose path has that in it.
    let only = std::env::var("FILETEST").unwrap_or_default();
    let failures: Vec<String> = files
        .par_iter()
        .filter(|path| path.to_string_lossy().contains(&only))
        .filter_map(|path| run(path).err().map(|e| format!("{}: {e}", shown(&root, path))))
        .collect();
    assert!(failures.is_empty(), "{} of {} filetests fail:\n{}", failures.len(), files.len(), failures.join("\n"));
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Every `.gir`, `.kir` and `.gate` file under a folder, in order.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "gir" || e == "kir" || e == "gate") {
            files.push(path);
        }
    }
}

fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let mut header: Vec<String> = header(&text).map(|l| l.trim_start_matches("//!").trim().to_owned()).collect();
    if header.is_empty() {
        return Err("no `//!` line names a mode".into());
    }
    let first = header.remove(0);
    let (name, argument) = first.split_once(':').unwrap_or((&first, ""));
    let (_, mode) = MODES.iter().find(|m| m.0 == name.trim()).ok_or_else(|| format!("no mode `{name}`"))?;
    let case = Case { path: path.to_owned(), argument: argument.trim().to_owned(), header, text };
    let output = catch_unwind(AssertUnwindSafe(|| mode(&case))).map_err(|_| "panicked")??;
    match output {
        Output::Snapshot(text) => snapshot(path, &text),
        Output::Itself(text) => itself(&case, &text),
        Output::Nothing => Ok(()),
    }
}

fn header(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|l| l.starts_with("//")).filter(|l| l.starts_with("//!"))
}

fn snapshot(path: &Path, text: &str) -> Result<(), String> {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(path.parent().unwrap_or(path));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let assert = || settings.bind(|| insta::assert_snapshot!(name, text));
    catch_unwind(AssertUnwindSafe(assert)).map_err(|_| "differs from its snapshot".into())
}

fn itself(case: &Case, text: &str) -> Result<(), String> {
    let comments: Vec<&str> = case.text.lines().take_while(|l| l.starts_with("//")).collect();
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|l| l.trim_end().to_owned());
        lines.filter(|l| !l.is_empty()).collect()
    };
    let (found, want) = (lines(text), lines(&case.text).split_off(comments.len()));
    if found == want {
        return Ok(());
    }
    if matches!(std::env::var("INSTA_UPDATE").as_deref(), Ok("always" | "1")) {
        let blessed = format!("{}\n{text}", comments.join("\n"));
        return std::fs::write(&case.path, blessed).map_err(|e| e.to_string());
    }
    let differs = found.iter().zip(&want).position(|(a, b)| a != b).unwrap_or(found.len().min(want.len()));
    let line = |lines: &[String]| lines.get(differs).map_or("(nothing)".to_owned(), |l| l.trim().to_owned());
    Err(format!("differs\n  expected: {}\n  found:    {}", line(&want), line(&found)))
}
