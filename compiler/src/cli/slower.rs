//! What `gatec explain` says about fusion: where a slower way was taken, and why.

use std::fmt::Write;

use crate::graph::Module;
use crate::plan::{Planned, Slower};

/// As text; none where everything runs on the fastest class of kernel.
pub fn lines(module: &Module, planned: &Planned) -> String {
    let mut text = String::new();
    if !planned.slower.is_empty() {
        let _ = writeln!(text, "slower ways on {}", planned.variant.isa);
    }
    for slower in &planned.slower {
        let at = slower.line.as_ref().map(|(file, line)| format!("  {file}:{line}")).unwrap_or_default();
        let _ = writeln!(text, "  {}: {}, `{}`{at}", entry(module, slower), slower.way.words(), slower.value);
        let _ = writeln!(text, "        {}", slower.why);
    }
    text
}

/// As JSON.
pub fn json(module: &Module, planned: &Planned) -> Vec<serde_json::Value> {
    let one = |slower: &Slower| {
        serde_json::json!({
            "entry": entry(module, slower), "way": slower.way.words(), "value": slower.value, "line": slower.line,
            "why": slower.why,
        })
    };
    planned.slower.iter().map(one).collect()
}

/// The name of the entry.
pub fn entry<'a>(module: &'a Module, slower: &Slower) -> &'a str {
    slower.entry.and_then(|entry| module.entries.get(entry)).map_or("at load", |entry| entry.name.as_str())
}
