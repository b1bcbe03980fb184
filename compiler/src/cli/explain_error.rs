//! `gatec explain-error`: what an error code means. Those of programs (`E0203`) come with the mistake and its fix, those of artifacts and
//! calls (`R0312`) with what to do.

use std::process::ExitCode;

use clap::Args;
use gatec_lang::codes as programs;
use gatec_runtime::codes as calls;

use super::{Failure, Talk};

#[derive(Args)]
pub struct ExplainError {
    /// A code such as E0203 or R0312; without one, all of them are listed
    code: Option<String>,
}

/// Code, title, page.
fn all() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_programs = programs::CODES.iter().map(|entry| (entry.code, entry.title, entry.page));
    of_programs.chain(calls::CODES.iter().map(|entry| (entry.code, entry.title, entry.page)))
}

impl ExplainError {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let text = match &self.code {
            None => all().map(|(code, title, _)| format!("{code}  {title}\n")).collect(),
            Some(asked) => {
                let Some((code, title, page)) = all().find(|(code, ..)| code.eq_ignore_ascii_case(asked)) else {
                    let message = format!("no error code `{asked}`; `gatec explain-error` lists them");
                    return Err(Failure::Other(message));
                };
                format!("{code}: {title}\n\n{page}")
            }
        };
        talk.data(text)?;
        Ok(ExitCode::SUCCESS)
    }
}
