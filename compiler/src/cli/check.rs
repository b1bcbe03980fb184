//! `gatec check`: reads a model and says what is wrong with it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, ModelArgs, Talk};

#[derive(Args)]
pub struct Check {
    /// The models
    #[arg(required = true)]
    models: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// How messages are written: text, or one JSON object a line
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    error_format: String,
}

impl Check {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let mut failed = false;
        for path in &self.models {
            let (program, diagnostics) = gatec_lang::check(path, &self.model.axes);
            failed |= program.is_none();
            if self.error_format == "json" {
                eprint!("{}", diagnostics.to_json());
            } else {
                eprint!("{}", diagnostics.render(talk.color));
            }
        }
        Ok(ExitCode::from(u8::from(failed)))
    }
}
