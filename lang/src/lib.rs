//! The Gate language: text to typed program. Knows no IR and no target.
//!
//! ```
//! let program = gatec_lang::load_text("gate.gate", "model double(x: f32[t]) -> f32[t] { x + x }", &[]).unwrap();
//! assert_eq!(program.entries[0].name, "double");
//! ```

pub mod diagnostics;
mod files;
mod fmt;
mod library;
pub mod program;
pub mod size;
pub mod syntax;
mod types;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use diagnostics::{Diagnostic, Diagnostics};

pub use diagnostics::codes;
pub use fmt::format;
pub use library::{LIBRARY, library};
pub use program::Program;
pub use size::Size;
pub use syntax::bounds::MAX_BYTES as MAX_FILE_BYTES;

/// Reads and checks the model at `path`; `sizes` gives static axes other sizes. Warnings come with a program, too.
pub fn check(path: &Path, sizes: &[(String, i64)]) -> (Option<Program>, Diagnostics) {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => check_text(&name, &text, sizes),
        Err(why) => {
            let diagnostic = Diagnostic::error(codes::FILE, program::Span::default(), format!("{name}: {why}"));
            let files = vec![(name, Arc::from(""))];
            (None, Diagnostics { files, list: vec![diagnostic] })
        }
    }
}

/// The text of a source file, as far as a file may be long: what is longer (a device has no end) the parser refuses.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// As [`check`], of a text; `name` stands in messages, and what the text uses is looked for beside it.
pub fn check_text(name: &str, text: &str, sizes: &[(String, i64)]) -> (Option<Program>, Diagnostics) {
    let files = files::open(name, text);
    // A file that does not parse has none of its names: what else would be said follows from that.
    if files.out.has_errors() {
        return (None, files.out);
    }
    types::check(&files, sizes)
}

/// The program at `path`, or all that is wrong with it.
///
/// # Errors
/// The file cannot be read, or the program has errors.
pub fn load(path: &Path, sizes: &[(String, i64)]) -> Result<Program, Diagnostics> {
    let (program, diagnostics) = check(path, sizes);
    program.ok_or(diagnostics)
}

/// As [`load`], of a text.
///
/// # Errors
/// The program has errors.
pub fn load_text(name: &str, text: &str, sizes: &[(String, i64)]) -> Result<Program, Diagnostics> {
    let (program, diagnostics) = check_text(name, text, sizes);
    program.ok_or(diagnostics)
}
