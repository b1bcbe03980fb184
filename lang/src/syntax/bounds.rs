//! Bounds on what is parsed, checked on the text: the parser recurses, the text must not decide how deep.

use crate::diagnostics::{Diagnostic, codes};
use crate::program::Span;

/// Bytes of a source file.
pub const MAX_BYTES: usize = 4 << 20;
/// Brackets open at once, loops and prefix operators included.
pub const MAX_NESTING: usize = 100;
/// Words behind which an expression stands before the braces: one may stand in another's.
const HEADS: &[&str] = &["if", "match", "for", "route", "choose", "repeat", "scan"];
/// Operators in one statement.
pub const MAX_OPERATORS: usize = 1000;

/// What is too large for the parser.
pub fn check(file: u32, text: &str) -> Option<Diagnostic> {
    let at = |i: usize| Span { file, start: i as u32, end: i as u32 + 1 };
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Some(Diagnostic::error(codes::TOO_LARGE, at(0), message));
    }
    let bytes = text.as_bytes();
    let (mut open, mut prefixes, mut operators, mut heads) = (0usize, 0usize, 0usize, 0usize);
    let mut i = 0;
    while i < bytes.len() {
        heads += usize::from(begins_head(bytes, i));
        match bytes[i] {
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
                continue;
            }
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' && bytes[i] != b'\n' {
                    i += 1;
                }
            }
            b'(' | b'[' | b'{' => {
                open += 1;
                prefixes = 0;
                heads -= usize::from(bytes[i] == b'{' && heads > 0);
            }
            b')' | b']' | b'}' => {
                open = open.saturating_sub(1);
                prefixes = 0;
            }
            b'-' => {
                prefixes += 1;
                operators += 1;
            }
            b'+' | b'*' | b'/' | b'%' | b'@' | b'<' | b'>' | b'=' | b'.' | b'&' | b'|' | b'^' => operators += 1,
            b'n' if bytes[i..].starts_with(b"not") => {
                prefixes += 1;
                i += 2;
            }
            b'o' | b'a' if bytes[i..].starts_with(b"or ") || bytes[i..].starts_with(b"and ") => operators += 1,
            // Only what begins a statement or an argument starts the count anew.
            b'l' if bytes[i..].starts_with(b"let ") => (operators, heads) = (0, 0),
            b',' => operators = 0,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => prefixes = 0,
        }
        if open + prefixes + heads > MAX_NESTING {
            let message = format!("nested deeper than {MAX_NESTING}");
            return Some(Diagnostic::error(codes::TOO_DEEP, at(i), message));
        }
        if operators > MAX_OPERATORS {
            let message = format!("more than {MAX_OPERATORS} operators in one statement");
            return Some(Diagnostic::error(codes::TOO_DEEP, at(i), message).help("name parts of it with `let`"));
        }
        i += 1;
    }
    None
}

/// Does one of the words begin there? As the name of a field it is none.
fn begins_head(bytes: &[u8], at: usize) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let is_longer = |b: &u8| is_word(b) || matches!(b, b'\'' | b':');
    let is_inside = at > 0 && (is_word(&bytes[at - 1]) || bytes[at - 1] == b'.');
    // A name, too, where something follows directly.
    let is_name = |word: &str, next: &u8| word == "choose" && b"([.,)".contains(next);
    let ends = |word: &str, next: &u8| is_longer(next) || is_name(word, next);
    let is_head = |word: &str| {
        bytes[at..].starts_with(word.as_bytes()) && !bytes.get(at + word.len()).is_some_and(|b| ends(word, b))
    };
    !is_inside && HEADS.iter().any(|word| is_head(word))
}
