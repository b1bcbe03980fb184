//! `gatec fmt`: one style.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

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
    pub fn run(self, _: &Talk) -> Result<ExitCode, Failure> {
        let mut stale = false;
        for path in &self.models {
            if path == Path::new("-") {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|e| Failure::file(path, e))?;
                let formatted = gatec_lang::format(&text).map_err(BuildError::Source)?;
                std::io::stdout().write_all(formatted.as_bytes()).map_err(|e| Failure::file(path, e))?;
                continue;
            }
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
            let formatted = gatec_lang::format(&text).map_err(BuildError::Source)?;
            if formatted == text {
                continue;
            }
            if self.check {
                eprintln!("{}: not formatted", path.display());
                stale = true;
            } else {
                artifact::replace(path, formatted.as_bytes()).map_err(|e| Failure::file(path, e))?;
            }
        }
        Ok(ExitCode::from(u8::from(stale)))
    }
}
