//! Texts that are no programs: what the parser met, what could have stood there, and the usual slips.

use std::collections::BTreeSet;

use pest::Parser;
use pest::error::{Error, ErrorVariant, InputLocation};

use super::parse::{Gate, Rule};
use super::tokens;
use crate::diagnostics::{Diagnostic, codes, near};
use crate::program::Span;

/// Words that a declaration begins with.
const DECLARATIONS: &[&str] = &["use", "axis", "const", "fn", "block", "model", "network"];
/// Words that a statement begins with.
const STATEMENTS: &[&str] = &["param", "buffer", "part", "state", "let", "next", "exit", "entry"];
/// Bytes of a text that is parsed once more for its words: that costs far more than the first time.
const MOST_BYTES: usize = 64 << 10;
/// Words that are listed as expected; more would be noise.
const MOST: usize = 8;

/// The message about a text that the parser refused.
pub(super) fn explain(file: u32, text: &str, error: &Error<Rule>) -> Diagnostic {
    let refused = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    let (start, expected) = furthest(text).filter(|(at, _)| *at >= refused).unwrap_or((refused, BTreeSet::new()));
    let mut words: BTreeSet<String> = expected.into_iter().map(|token| format!("`{token}`")).collect();
    let mut rules: BTreeSet<&str> = BTreeSet::new();
    if let ErrorVariant::ParsingError { positives, .. } = &error.variant {
        rules.extend(positives.iter().filter_map(|rule| describe(*rule)));
    }
    if start == refused {
        words.extend(rules.iter().map(|rule| (*rule).to_string()));
    }
    let rest = &text[start.min(text.len())..];
    let next = tokens(rest).into_iter().next();
    // Where only blanks and comments follow, the place is right behind what was read.
    let (offset, found) = next.map(|t| (t.start, t.text)).filter(|t| !t.1.is_empty()).unwrap_or_default();
    let names_axis = rules.contains("a name") || matches!(found, "]" | "," | "*" | "->" | "=");
    if let (true, Some(diagnostic)) = (names_axis, reserved(file, text, start)) {
        return diagnostic;
    }
    let start = start + offset;
    let end = (start + found.len().max(1)).min(text.len().max(start + 1));
    let span = Span { file, start: start as u32, end: end as u32 };
    let message = match found {
        "" => "the file ends too early".to_string(),
        found => format!("`{found}` cannot stand here"),
    };
    let mut diagnostic = Diagnostic::error(codes::SYNTAX, span, message);
    if !words.is_empty() && words.len() <= MOST {
        let words: Vec<String> = words.into_iter().collect();
        diagnostic = diagnostic.label(format!("expected {}", words.join(", ")));
    }
    slip(diagnostic, text, start, found)
}

/// How far the parser came, and the words that it would have taken there.
fn furthest(text: &str) -> Option<(usize, BTreeSet<String>)> {
    if text.len() > MOST_BYTES {
        return None;
    }
    pest::set_error_detail(true);
    let attempts = Gate::parse(Rule::file, text).err().and_then(|e| e.parse_attempts());
    pest::set_error_detail(false);
    let attempts = attempts?;
    let words = attempts.expected_tokens().into_iter().map(|token| token.to_string().trim_matches('`').to_string());
    // Comments and blanks could stand anywhere.
    let words = words
        .filter(|word| !["//", "_", "'"].contains(&word.as_str()) && !word.trim().is_empty() && !word.contains(".."));
    Some((attempts.max_position, words.collect()))
}

/// A word of the language where a name must stand.
fn reserved(file: u32, text: &str, start: usize) -> Option<Diagnostic> {
    let before = tokens(&text[..start]).into_iter().rev().find(|t| !t.text.is_empty())?;
    if Gate::parse(Rule::keyword, before.text).is_err() {
        return None;
    }
    let span = Span { file, start: before.start as u32, end: (before.start + before.text.len()) as u32 };
    // The parser takes `scan scan` for a loop over an axis of that name: the first of the two is right.
    let two = tokens(&text[..before.start]).into_iter().rev().find(|t| !t.text.is_empty())?;
    if Gate::parse(Rule::keyword, two.text).is_err() && !matches!(two.text, "," | "(" | "[" | "." | "->" | "*") {
        return None;
    }
    let message = format!("`{}` is a word of the language and cannot be a name", before.text);
    Some(Diagnostic::error(codes::SYNTAX, span, message))
}

/// A slip that many make, and what would be right.
fn slip(diagnostic: Diagnostic, text: &str, start: usize, found: &str) -> Diagnostic {
    let before = &text[..start.min(text.len())];
    let follows_name = before.trim_end().ends_with(|c: char| c.is_ascii_alphanumeric() || "_')]".contains(c));
    if matches!(found, "(" | "[") && follows_name && before.ends_with(' ') {
        let blanks = before.len() - before.trim_end().len();
        let span = Span { start: (start - blanks) as u32, ..diagnostic.span };
        let help = format!("the `{found}` of a call or of brackets follows its name directly");
        return diagnostic.help(help).fix(span, found);
    }
    let depth = before.matches('{').count().saturating_sub(before.matches('}').count());
    let known = if depth == 0 { DECLARATIONS } else { STATEMENTS };
    // The misspelt word itself, or the one before it, which was taken for a value.
    let last = tokens(before).into_iter().rev().find(|t| !t.text.is_empty());
    let place = |at: usize, word: &str| Span { start: at as u32, end: (at + word.len()) as u32, ..diagnostic.span };
    for (at, word) in std::iter::once((start, found)).chain(last.map(|t| (t.start, t.text))) {
        match near(word, known.iter().copied()) {
            Some(near) if word.len() > 2 => return diagnostic.clone().fix(place(at, word), near),
            _ => {}
        }
    }
    diagnostic
}

/// A grammar rule in words; `None` for what would only add noise.
fn describe(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::item => "a declaration",
        Rule::ident | Rule::name => "a name",
        Rule::field => "a field's name",
        Rule::number => "a number",
        Rule::string => "a string",
        Rule::ty => "a type",
        Rule::expr | Rule::operand | Rule::primary => "an expression",
        Rule::infix => "an operator",
        Rule::statement => "a statement",
        Rule::loop_body => "a loop's body",
        Rule::network_item => "a network's item",
        Rule::bracket => "an axis and what becomes of it",
        _ => return None,
    })
}
