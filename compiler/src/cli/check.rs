//! `gatec check`: reads models and says what is wrong with them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Failure, SourceArgs, Talk};

#[derive(Args)]
pub struct Check {
    /// The models; `-` reads standard input
    #[arg(required = true)]
    models: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Check {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let sizes = self.source.sizes()?;
        let mut failed = false;
        for path in &self.models {
            let (program, diagnostics) = if path == Path::new("-") {
                gatec_lang::check_text("standard input", &standard_input()?, &sizes)
            } else {
                gatec_lang::check(path, &sizes)
            };
            failed |= program.is_none();
            talk.diagnostics(&diagnostics);
        }
        Ok(ExitCode::from(u8::from(failed)))
    }
}

/// All of standard input, as far as a model can be long: the parser refuses what is longer.
pub fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let mut bounded = std::io::stdin().take(gatec_lang::MAX_FILE_BYTES as u64 + 1);
    bounded.read_to_string(&mut text).map_err(|e| Failure::file("standard input", e))?;
    Ok(text)
}
