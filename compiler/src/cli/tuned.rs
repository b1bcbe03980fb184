//! What `gatec explain` says about tuning: the choices that `gatec build --tune` found, beside the default.

use std::fmt::Write;

use crate::plan::Planned;
use crate::schedule::{Choices, Tuned, Tuning, tuning};

fn of<'a>(planned: &'a Planned, tuning: &'a Tuning) -> impl Iterator<Item = (&'a str, &'a Tuned)> {
    let isa = planned.variant.isa;
    let found = move |kernel| tuning.find(&tuning::code(kernel), isa);
    planned.kernels.iter().filter_map(move |(_, kernel, _)| Some((kernel.name.as_str(), found(kernel)?)))
}

/// As text; none where nothing is tuned.
pub fn lines(planned: &Planned, tuning: &Tuning) -> String {
    let (mut text, default) = (String::new(), Choices::default());
    for (kernel, tuned) in of(planned, tuning) {
        if text.is_empty() {
            let _ = writeln!(text, "tuned on {}", planned.variant.isa);
        }
        let changes = tuned.choices.changes();
        let changes: Vec<_> =
            changes.map(|(c, is)| format!("{} {is} instead of {}", c.name, c.get(&default))).collect();
        let (changes, times) = (changes.join(", "), tuned.times_as_fast);
        let _ = writeln!(text, "  {kernel}: {changes}\n        {times:.2} times as fast on {}", tuned.on);
    }
    text
}

/// As JSON.
pub fn json(planned: &Planned, tuning: &Tuning) -> Vec<serde_json::Value> {
    let one = |(kernel, tuned): (&str, &Tuned)| {
        let choices = tuned.choices.changes().map(|(choice, value)| (choice.name.to_string(), value.into()));
        let choices: serde_json::Map<String, serde_json::Value> = choices.collect();
        serde_json::json!({
            "kernel": kernel, "choices": choices, "times_as_fast": tuned.times_as_fast, "on": tuned.on,
        })
    };
    of(planned, tuning).map(one).collect()
}

#[cfg(test)]
mod tests {
    use gatec_runtime::format::Isa;

    use super::*;
    use crate::BuildOptions;

    #[test]
    fn a_kernel_shows_what_was_found_for_it_whatever_it_is_called() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cli/files/glu.gate")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let compile = |text: &str, tuning: Tuning| {
            let path = folder.path().join("glu.gate");
            std::fs::write(&path, text).unwrap();
            let options = BuildOptions { targets: vec![Isa::X86V3], ptx: false, tuning, ..Default::default() };
            crate::compile(&path, &options).unwrap()
        };
        let default = compile(&text, Tuning::default());
        let (_, kernel, schedule) = &default.planned[0].kernels[0];
        let mut tuning = Tuning::default();
        let choices = Choices { tall_rows: 4, piece_kib: 12, ..Choices::default() };
        let tuned = Tuned { kernel: "as it was called".into(), choices, times_as_fast: 1.25, on: "a desk".into() };
        tuning.set(&tuning::code(kernel), Isa::X86V3, tuned);

        let renamed = compile(&text.replace("down", "out").replace("(x", "(y"), tuning.clone());
        assert_ne!(renamed.planned[0].kernels[0].2, *schedule, "it is scheduled as chosen");
        assert!(renamed.optimized.report.warnings.is_empty(), "nothing is stale");
        let shown = lines(&renamed.planned[0], &tuning);
        let what = "tall_rows 4 instead of 14, piece_kib 12 instead of 16\n        1.25 times as fast on a desk\n";
        assert_eq!(shown, format!("tuned on x86-64-v3\n  {}: {what}", kernel.name));
        assert_eq!(json(&renamed.planned[0], &tuning)[0]["choices"]["tall_rows"], 4);

        let other = compile(&text.replace("128", "144"), tuning.clone());
        assert_eq!(lines(&other.planned[0], &tuning), "");
        assert!(
            other.optimized.report.warnings[0].starts_with("`as it was called` was tuned and is not in this model")
        );
    }
}
