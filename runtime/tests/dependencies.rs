//! The runtime stays small: a new dependency is a decision, made here.

use std::process::Command;

/// Direct dependencies, each with what it is for.
const DIRECT: [(&str, &str); 11] = [
    ("libc", "sealed memory for code, advice on huge pages"),
    ("libloading", "maps code"),
    ("memmap2", "maps weights"),
    ("miniz_oxide", "the text of GPU kernels, compressed"),
    ("object", "reads ELF files without loading them"),
    ("safetensors", "reads weight files"),
    ("serde", "the manifest"),
    ("serde_json", "the manifest"),
    ("sha2", "the hash of an artifact"),
    ("strsim", "near names"),
    ("tempfile", "code on systems without sealed memory"),
];

fn tree(depth: &str) -> Vec<String> {
    let arguments = ["tree", "-p", "gatec-runtime", "-e", "normal", "--prefix", "none", "--offline", "--depth", depth];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn dependencies_are_those_that_were_decided() {
    let mut decided: Vec<_> = DIRECT.iter().map(|(name, _)| *name).chain(["gatec-runtime", "thiserror"]).collect();
    decided.sort_unstable();
    assert_eq!(tree("1"), decided);
    let all = tree("99");
    assert!(all.len() <= 45, "{} crates behind them: {all:?}", all.len());
    let heavy = |name: &&String| ["llvm", "inkwell", "gatec-lang", "rayon", "tokio"].iter().any(|h| name.contains(h));
    assert_eq!(all.iter().find(heavy), None);
}
