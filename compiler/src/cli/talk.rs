//! What a subcommand says: data to standard output, talk to standard error, in colour where people read it.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use gatec_lang::diagnostics::Diagnostics;

use super::Failure;
use crate::BuildError;

#[derive(Clone, Copy, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum ErrorFormat {
    Text,
    Json,
}

/// What subcommands know of who listens.
pub struct Talk {
    pub color: bool,
    /// Somebody watches: progress is shown.
    pub terminal: bool,
    errors: ErrorFormat,
}

impl Talk {
    pub fn new(color: Color, errors: ErrorFormat) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && wanted,
        };
        Self { color, terminal, errors }
    }

    /// Writes data.
    pub fn data(&self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let done = out.write_all(bytes.as_ref()).and_then(|()| out.flush());
        done.map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::file("standard output", e),
        })
    }

    /// Says what is wrong with a model, or might be.
    pub fn diagnostics(&self, diagnostics: &Diagnostics) {
        match self.errors {
            ErrorFormat::Json => self.say(&diagnostics.to_json()),
            ErrorFormat::Text => self.say(&diagnostics.render(self.color)),
        }
    }

    pub fn warn(&self, what: impl std::fmt::Display) {
        self.titled("warning", "33", &what);
    }

    pub fn fail(&self, failure: &Failure) {
        match failure {
            Failure::Build(BuildError::Source(diagnostics)) => self.diagnostics(diagnostics),
            other => self.titled("error", "31", other),
        }
    }

    fn titled(&self, title: &str, color: &str, what: &dyn std::fmt::Display) {
        if self.errors == ErrorFormat::Json {
            let message = serde_json::json!({ "type": title, "message": what.to_string() });
            return self.say(&format!("{message}\n"));
        }
        match self.color {
            true => self.say(&format!("\x1b[1;{color}m{title}\x1b[0m: {what}\n")),
            false => self.say(&format!("{title}: {what}\n")),
        }
    }

    /// Nobody hears what cannot be said: a closed standard error is no reason to stop.
    pub fn say(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
