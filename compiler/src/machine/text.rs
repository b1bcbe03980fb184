//! A machine as a file: what `gatec calibrate` writes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{KNOWN, Machine};

/// Of the file's form.
pub const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// For people: what was measured.
    about: String,
    machine: Machine,
}

/// Why a text is no machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    #[error("not a machine as `gatec calibrate` writes it: {0}")]
    Text(#[from] serde_json::Error),
    #[error("a machine of version {found}; this gatec reads version {VERSION}: run `gatec calibrate` again")]
    Version { found: u32 },
    #[error("`{what}` is {value}: a machine has figures above 0")]
    Figure { what: &'static str, value: f64 },
    #[error("`levels` grow: {before} bytes come before {after}")]
    Levels { before: u64, after: u64 },
}

impl Machine {
    /// The machine of that name.
    pub fn named(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(known, ..)| *known == name).map(|(.., machine)| *machine)
    }

    /// The text of a file.
    pub fn to_text(&self, about: &str) -> String {
        let file = File { version: VERSION, about: about.into(), machine: *self };
        // Numbers and a string have a text.
        serde_json::to_string_pretty(&file).map_or_else(|_| String::new(), |text| text + "\n")
    }

    /// The machine that a file's text tells.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(FileError::Version { found: version });
        }
        let machine = serde_json::from_str::<File>(text)?.machine;
        let figures = [
            ("flops_per_ns", machine.flops_per_ns),
            ("kernel_ns", machine.kernel_ns),
            ("function_ns", machine.function_ns),
            ("division_ns", machine.division_ns),
            ("scalar_ns", machine.scalar_ns),
            ("wait_ns", machine.wait_ns),
        ];
        let of_tiles = machine.tile_flops_per_ns.map(|value| ("tile_flops_per_ns", value));
        let speeds = machine.levels.map(|level| ("bytes_per_ns", level.bytes_per_ns));
        for (what, value) in figures.into_iter().chain(of_tiles).chain(speeds) {
            if !(value.is_finite() && value > 0.0) {
                return Err(FileError::Figure { what, value });
            }
        }
        match machine.levels.windows(2).find(|pair| pair[0].bytes >= pair[1].bytes) {
            Some(pair) => Err(FileError::Levels { before: pair[0].bytes, after: pair[1].bytes }),
            None => Ok(machine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TYPICAL;
    use super::*;

    #[test]
    fn a_file_has_the_machine_that_was_written() {
        for (name, _, machine) in KNOWN {
            assert_eq!(Machine::parse(&machine.to_text("a test")).unwrap(), *machine, "{name}");
        }
        assert_eq!(Machine::named("typical"), Some(TYPICAL));
        assert_eq!(Machine::named("nothing"), None);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_reason() {
        let good = TYPICAL.to_text("a test");
        let refused = |text: &str| Machine::parse(text).unwrap_err().to_string();
        assert!(refused("").starts_with("not a machine"));
        assert!(refused(&good[..good.len() / 2]).starts_with("not a machine"));
        assert!(refused(&good.replace("kernel_ns", "kernel")).contains("unknown field `kernel`"));
        assert!(refused(&good.replace("\"version\": 1", "\"version\": 2")).contains("version 2"));
        assert_eq!(refused(&good.replace("50.0", "0.0")), "`kernel_ns` is 0: a machine has figures above 0");
        let order = good.replace("32768", "2000000");
        assert_eq!(refused(&order), "`levels` grow: 2000000 bytes come before 1048576");
    }
}
