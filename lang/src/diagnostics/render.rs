//! Diagnostics as text with source and carets, and as JSON.

use ariadne::{CharSet, Color, Config, IndexType, Label, Report, ReportKind};

use super::{Diagnostic, Diagnostics, Severity};
use crate::program::Span;

type Place = (String, std::ops::Range<usize>);

impl Diagnostics {
    /// All messages with their source.
    pub fn render(&self, color: bool) -> String {
        let mut out = Vec::new();
        let mut cache = ariadne::sources(self.files.iter().map(|(path, text)| (path.clone(), text.to_string())));
        for diagnostic in &self.list {
            let report = self.report(diagnostic, color);
            // Writing to memory does not fail.
            let _ = report.write(&mut cache, &mut out);
        }
        let text = String::from_utf8_lossy(&out);
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn report(&self, d: &Diagnostic, color: bool) -> Report<'static, Place> {
        let (kind, paint) = match d.severity {
            Severity::Error => (ReportKind::Error, Color::Red),
            Severity::Warning => (ReportKind::Warning, Color::Yellow),
        };
        let config =
            Config::default().with_color(color).with_index_type(IndexType::Byte).with_char_set(CharSet::Unicode);
        let mut report =
            Report::build(kind, self.place(d.span)).with_config(config).with_code(d.code).with_message(&d.message);
        let main = Label::new(self.place(d.span)).with_color(paint);
        report = report.with_label(match &d.label {
            Some(text) => main.with_message(text),
            // Without a text nothing would show where, without colours.
            None => main.with_message(""),
        });
        for (span, text) in &d.labels {
            report = report.with_label(Label::new(self.place(*span)).with_message(text).with_color(Color::Blue));
        }
        let fix = d.fix.as_ref().map(|(_, text)| format!("write `{text}`"));
        match (&d.help, fix) {
            (Some(help), Some(fix)) => report = report.with_help(format!("{help}: {fix}")),
            (Some(help), None) => report = report.with_help(help),
            (None, Some(fix)) => report = report.with_help(fix),
            (None, None) => {}
        }
        report.finish()
    }

    /// A place that lies inside its file, of whole characters.
    fn place(&self, span: Span) -> Place {
        let (path, text) = match self.files.get(span.file as usize) {
            Some((path, text)) => (path.clone(), &**text),
            None => (String::new(), ""),
        };
        let is_cut = |at: usize| !text.is_char_boundary(at);
        let (mut start, mut end) = ((span.start as usize).min(text.len()), (span.end as usize).min(text.len()));
        while is_cut(start) {
            start -= 1;
        }
        while is_cut(end) {
            end += 1;
        }
        (path, start..end.max(start))
    }

    /// One JSON object a line: `type`, `code`, `severity`, `message`, `file`, `line`, `column`, `start`, `end`, `help`, `fix`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        for d in &self.list {
            let (path, range) = self.place(d.span);
            let text = self.files.get(d.span.file as usize).map_or("", |(_, text)| text);
            let before = text.get(..range.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let severity = if d.severity == Severity::Error { "error" } else { "warning" };
            let fix = d
                .fix
                .as_ref()
                .map(|(span, text)| serde_json::json!({ "start": span.start, "end": span.end, "text": text }));
            let object = serde_json::json!({
                "type": "diagnostic", "code": d.code, "severity": severity, "message": d.message, "file": path,
                "line": line, "column": column, "start": range.start, "end": range.end, "help": d.help, "fix": fix,
            });
            out += &format!("{object}\n");
        }
        out
    }
}
