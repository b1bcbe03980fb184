//! `gatec explain-error`: what an error code means, with the mistake and its fix.

use std::process::ExitCode;

use clap::Args;
use gatec_lang::codes::{self, CODES};

use super::{Failure, Talk};

#[derive(Args)]
pub struct ExplainError {
    /// A code such as E0203; without one, all of them are listed
    code: Option<String>,
}

impl ExplainError {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let text = match &self.code {
            None => CODES.iter().map(|entry| format!("{}  {}\n", entry.code, entry.title)).collect(),
            Some(code) => {
                let Some(entry) = codes::find(&code.to_ascii_uppercase()) else {
                    let message = format!("no error code `{code}`; `gatec explain-error` lists them");
                    return Err(Failure::Other(message));
                };
                format!("{}: {}\n\n{}", entry.code, entry.title, entry.page)
            }
        };
        talk.data(text)?;
        Ok(ExitCode::SUCCESS)
    }
}
