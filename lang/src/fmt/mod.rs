//! The formatter: one style, idempotent. Only blanks and line ends change, and commas at the end of a list; what is written
//! decides how it is laid out, not how it stood.
//!
//! The syntax tree says where lines may break and what is indented ([`tree`]), the words of the text with their comments are
//! written in their order, so that none can be lost, and [`layout`] picks the breaks: a list or a chain of operators that does
//! not fit in a line is broken as a whole. An author's empty lines between statements stay (one at most), comments at the ends
//! of lines that follow each other stand in one column.

mod layout;
mod tree;

use crate::diagnostics::Diagnostics;
use crate::syntax;

/// Columns of a line.
const WIDTH: usize = 120;

/// The text in gatec's style.
///
/// # Errors
/// The text is no Gate program.
pub fn format(text: &str) -> Result<String, Diagnostics> {
    match syntax::pairs(0, text) {
        Ok(file) => Ok(layout::lay_out(&tree::items(file, syntax::tokens(text)), WIDTH)),
        Err(diagnostic) => {
            let files = vec![("<text>".to_string(), text.into())];
            Err(Diagnostics { files, list: vec![*diagnostic] })
        }
    }
}
