//! The text form of the Graph IR, `.gir`: printing a module, reading it back and printing it again gives the same bytes.
//!
//! Spans and origins of nodes are not part of it. `docs/ir.md` is the reference.

mod lex;
mod names;
mod parse;
mod parts;
mod print;
#[cfg(test)]
mod tests;

pub use names::Names;
pub use parse::parse;
pub use parts::ParseError;
pub(crate) use print::head_of;
pub use print::{Place, print, print_graph, print_with_notes};

/// How deep loops, and parentheses in sizes, may nest in a text.
pub const MAX_DEPTH: usize = 64;

/// May a name stand without quotes?
fn is_word(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(is_word_char)
        && !matches!(name, "inf" | "nan")
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '\'')
}
