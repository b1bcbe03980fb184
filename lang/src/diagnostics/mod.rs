//! Diagnostics: a stable code, the place with a caret, what was expected and found, and where there is one, the fix.

pub mod codes;
mod near;
mod render;

pub use codes::Code;
pub use near::near;

use std::sync::Arc;

use crate::program::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One message about a program.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    pub span: Span,
    pub message: String,
    /// What is written at the place.
    pub label: Option<String>,
    /// Further places.
    pub labels: Vec<(Span, String)>,
    pub help: Option<String>,
    /// Text that would be right at a place.
    pub fix: Option<(Span, String)>,
}

impl Diagnostic {
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            span,
            message: message.into(),
            label: None,
            labels: Vec::new(),
            help: None,
            fix: None,
        }
    }
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
    pub fn fix(mut self, span: Span, text: impl Into<String>) -> Self {
        self.fix = Some((span, text.into()));
        self
    }
}

/// All messages about a program, and the sources they speak of.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub files: Vec<(String, Arc<str>)>,
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }
}
