//! `gatec fmt`: one style.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::check::standard_input;
use super::{Failure, Talk};
use crate::{BuildError, artifact};

#[derive(Args)]
pub struct Fmt {
    /// The models; `-` formats standard input to standard output
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Change nothing; fail if a file is not formatted
    #[arg(long)]
    check: bool,
}

impl Fmt {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let mut stale = false;
        for path in &self.models {
            if path == Path::new("-") {
                let text = standard_input()?;
                let formatted = formatted("standard input", &text)?;
                if self.check {
                    stale |= formatted != text;
                } else {
                    talk.data(&formatted)?;
                }
                continue;
            }
            let text = gatec_lang::read(path).map_err(|e| Failure::file(path, e))?;
            let formatted = formatted(&path.display().to_string(), &text)?;
            if formatted == text {
                continue;
            }
            if self.check {
                talk.say(&format!("{}: not formatted\n", path.display()));
                stale = true;
            } else {
                artifact::replace(path, formatted.as_bytes()).map_err(|e| Failure::file(path, e))?;
            }
        }
        Ok(ExitCode::from(u8::from(stale)))
    }
}

fn formatted(name: &str, text: &str) -> Result<String, BuildError> {
    gatec_lang::format(text).map_err(|mut diagnostics| {
        // The formatter sees a text; who reads the message has a file.
        diagnostics.files.iter_mut().for_each(|file| file.0 = name.into());
        BuildError::Source(diagnostics)
    })
}
