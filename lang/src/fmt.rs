//! The formatter. One style, idempotent, comments stay.
//!
//! It works on the lines of the text: four blanks for each bracket that is open, no blanks at the end of a line, one blank line
//! at most, one newline at the end. What stands within a line is the author's.

use crate::diagnostics::Diagnostics;

/// The text in gatec's style.
///
/// # Errors
/// The text is no Gate program.
pub fn format(text: &str) -> Result<String, Diagnostics> {
    if let Err(diagnostic) = crate::syntax::parse(0, text) {
        let files = vec![("<text>".to_string(), text.into())];
        return Err(Diagnostics { files, list: vec![*diagnostic] });
    }
    let mut out = String::new();
    let (mut depth, mut blank) = (0usize, true);
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            if !blank {
                out.push('\n');
            }
            blank = true;
            continue;
        }
        let (opened, closed, leading) = brackets(line);
        let indent = depth.saturating_sub(leading) + usize::from(continues(line));
        out.push_str(&"    ".repeat(indent));
        out.push_str(line);
        out.push('\n');
        depth = (depth + opened).saturating_sub(closed);
        blank = false;
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    Ok(out)
}

/// Brackets that a line opens and closes, and how many it closes before anything else.
fn brackets(line: &str) -> (usize, usize, usize) {
    let (mut opened, mut closed, mut leading, mut begun, mut text) = (0, 0, 0, false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => text = !text,
            _ if text => {}
            '/' if chars.peek() == Some(&'/') => break,
            '{' | '(' | '[' => {
                opened += 1;
                begun = true;
            }
            '}' | ')' | ']' => {
                closed += 1;
                leading += usize::from(!begun);
            }
            _ => begun = true,
        }
    }
    (opened, closed, leading)
}

/// Does a line go on with the statement before it?
fn continues(line: &str) -> bool {
    line.starts_with("->")
}
