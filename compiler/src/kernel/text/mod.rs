//! The text form of the Kernel IR, `.kir`: printing a kernel, reading it back and printing it again gives the same bytes.
//!
//! Everything goes by number: buffers are `b0`, loop variables `i0`, run-time sizes `n0`, results of folds `t0`, expressions `%0`.
//! Names in quotes are for people.

mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use crate::graph::text::ParseError;
pub use parse::parse;
pub use print::{index, print};

/// How deep an index may nest in a text.
pub const MAX_DEPTH: usize = 64;
