//! What was measured to be faster than the default, kernel by kernel: a small file beside a model.
//!
//! ```text
//! { "version": 1, "kernels": [
//!   { "kernel": "contract h", "code": "1f0c...", "isa": "x86-64-v4", "choices": { "narrow_panels": 8 },
//!     "times_as_fast": 1.12, "on": "AMD EPYC, 2 threads" } ] }
//! ```
//!
//! A kernel is known by a hash of its Kernel IR without names: whatever changes it makes its entry stale, and renaming does not. A
//! file may hold entries of several kinds of processor, so that a model can be tuned on one machine after the other.

use std::collections::{BTreeMap, BTreeSet};

use gatec_runtime::format::Isa;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::choices::{Choice, Choices};
use crate::kernel::{Kernel, text};

/// The version of the file.
const VERSION: u32 = 1;
/// Bytes of a file that is read at most: an entry has about two hundred.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// Choices by kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    /// By processor and [`code`].
    kernels: BTreeMap<(Isa, String), Tuned>,
    /// Of kernels that are not there.
    elsewhere: Choices,
}

/// What was found for a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// Its label, for people.
    pub kernel: String,
    pub choices: Choices,
    /// Time by default over time as chosen.
    pub times_as_fast: f64,
    /// Where that was measured, for people.
    pub on: String,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TuningError {
    #[error("no file of `gatec build --tune`: {0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0}: this gatec reads version {VERSION}")]
    Version(u32),
    #[error("`{kernel}`: no choice `{choice}`; there are {}", names())]
    Unknown { kernel: String, choice: String },
    #[error("`{kernel}`: `{choice}` is {found}, and must be from {least} to {most}")]
    Range { kernel: String, choice: &'static str, found: u32, least: u32, most: u32 },
    #[error("`{kernel}` has two entries for {isa}")]
    Twice { kernel: String, isa: Isa },
}

fn names() -> String {
    super::CHOICES.iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    kernels: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kernel: String,
    code: String,
    isa: Isa,
    choices: BTreeMap<String, u32>,
    times_as_fast: f64,
    on: String,
}

/// A kernel's identity in files.
pub fn code(kernel: &Kernel) -> String {
    let mut kernel = kernel.without_names();
    kernel.name.clear();
    let hash = Sha256::digest(text::print(&kernel));
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Tuning {
    /// The same for every kernel.
    pub fn everywhere(choices: Choices) -> Self {
        Self { kernels: BTreeMap::new(), elsewhere: choices }
    }

    /// What is chosen for a kernel.
    pub fn of(&self, kernel: &Kernel, isa: Isa) -> Choices {
        let is_there = self.kernels.keys().any(|(of, _)| *of == isa);
        let tuned = if is_there { self.find(&code(kernel), isa) } else { None };
        tuned.map_or(self.elsewhere, |tuned| tuned.choices)
    }

    pub fn find(&self, code: &str, isa: Isa) -> Option<&Tuned> {
        self.kernels.get(&(isa, code.to_string()))
    }

    pub fn set(&mut self, code: &str, isa: Isa, tuned: Tuned) {
        self.kernels.insert((isa, code.to_string()), tuned);
    }

    /// Drops what was found for a kind of processor.
    pub fn forget(&mut self, isa: Isa) {
        self.kernels.retain(|(of, _), _| *of != isa);
    }

    pub fn is_empty(&self) -> bool {
        self.kernels.is_empty()
    }

    /// Labels of entries for `isa` that no kernel of these has.
    pub fn stale(&self, isa: Isa, kernels: &[(String, Kernel, super::Schedule)]) -> Vec<String> {
        let of_isa = || self.kernels.iter().filter(|((of, _), _)| *of == isa);
        if of_isa().next().is_none() {
            return Vec::new();
        }
        let there: BTreeSet<String> = kernels.iter().map(|(_, kernel, _)| code(kernel)).collect();
        of_isa().filter(|((_, code), _)| !there.contains(code)).map(|(_, tuned)| tuned.kernel.clone()).collect()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is none, of another version, or says what cannot be.
    pub fn parse(text: &str) -> Result<Self, TuningError> {
        let version = |value: &serde_json::Value| value.get("version").and_then(serde_json::Value::as_u64);
        // Of another version other fields are right.
        if let Some(other) = version(&serde_json::from_str(text)?).filter(|v| *v != u64::from(VERSION)) {
            return Err(TuningError::Version(u32::try_from(other).unwrap_or(u32::MAX)));
        }
        let file: File = serde_json::from_str(text)?;
        let mut tuning = Self::default();
        for Entry { kernel, code, isa, choices: changes, times_as_fast, on } in file.kernels {
            let mut choices = Choices::default();
            for (name, found) in changes {
                let Some(choice) = Choice::find(&name) else {
                    return Err(TuningError::Unknown { kernel, choice: name });
                };
                if !choice.range.contains(&found) {
                    let (least, most) = (*choice.range.start(), *choice.range.end());
                    return Err(TuningError::Range { kernel, choice: choice.name, found, least, most });
                }
                choice.set(&mut choices, found);
            }
            let tuned = Tuned { kernel: kernel.clone(), choices, times_as_fast, on };
            if tuning.kernels.insert((isa, code), tuned).is_some() {
                return Err(TuningError::Twice { kernel, isa });
            }
        }
        Ok(tuning)
    }

    /// The text of a file.
    pub fn print(&self) -> String {
        let entries = self.kernels.iter().map(|((isa, code), tuned)| Entry {
            kernel: tuned.kernel.clone(),
            code: code.clone(),
            isa: *isa,
            choices: tuned.choices.changes().map(|(choice, value)| (choice.name.to_string(), value)).collect(),
            times_as_fast: (tuned.times_as_fast * 100.0).round() / 100.0,
            on: tuned.on.clone(),
        });
        let file = File { version: VERSION, kernels: entries.collect() };
        // Strings, numbers and lists of them: there is nothing that JSON has not.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{ "version": 1, "kernels": [ { "kernel": "contract h", "code": "0123456789abcdef",
        "isa": "x86-64-v4", "choices": { "narrow_panels": 8, "row_block": 56 }, "times_as_fast": 1.12, "on": "here" } ] }"#;

    #[test]
    fn a_file_says_the_same_after_printing() {
        let tuning = Tuning::parse(FILE).unwrap();
        assert_eq!(Tuning::parse(&tuning.print()).unwrap(), tuning);
        let choices = tuning.find("0123456789abcdef", Isa::X86V4).unwrap().choices;
        assert_eq!(choices, Choices { narrow_panels: 8, row_block: 56, ..Choices::default() });
        assert_eq!(tuning.find("0123456789abcdef", Isa::X86V3), None, "of another processor");
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |from: &str, to: &str| Tuning::parse(&FILE.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("narrow_panels", "wide_panels").starts_with("`contract h`: no choice `wide_panels`; there are "));
        assert_eq!(wrong(": 56", ": 0"), "`contract h`: `row_block` is 0, and must be from 1 to 1024");
        assert_eq!(wrong("\"version\": 1", "\"version\": 2"), "version 2: this gatec reads version 1");
        for (from, to) in [
            (": 8", ": -8"),
            (": 8", ": 4294967296"),
            (": 8", ": 1.5"),
            ("x86-64-v4", "z80"),
            ("\"on\"", "\"where\""),
            ("] }", "]"),
            ("1.12", "null"),
            ("\"kernels\"", "\"kernel\""),
        ] {
            let message = wrong(from, to);
            assert!(message.starts_with("no file of `gatec build --tune`: "), "{from} -> {to}: {message}");
        }
        let entry = &FILE[FILE.find("{ \"kernel\":").unwrap()..FILE.rfind(" ] }").unwrap()];
        assert_eq!(wrong(entry, &format!("{entry}, {entry}")), "`contract h` has two entries for x86-64-v4");
    }

    #[test]
    fn every_choice_is_found_by_name_and_tries_what_a_file_may_say() {
        for choice in super::super::CHOICES {
            let default = choice.get(&Choices::default());
            assert!(std::ptr::eq(Choice::find(choice.name).unwrap(), choice));
            assert!(choice.range.contains(&default) && !choice.others.contains(&default), "{}", choice.name);
            assert!(choice.others.iter().all(|other| choice.range.contains(other)), "{}", choice.name);
        }
    }
}
