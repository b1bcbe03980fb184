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
    let mut blank = true;
    // Open brackets, and whether each indents: of those that a line leaves open only the last does.
    let mut open: Vec<bool> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            if !blank {
                out.push('\n');
            }
            blank = true;
            continue;
        }
        let all = brackets(line);
        let leading = all.iter().take_while(|b| b.leads).count();
        let kept = open.len().saturating_sub(leading);
        let indent = open[..kept].iter().filter(|indents| **indents).count() + usize::from(continues(line));
        out.push_str(&"    ".repeat(indent));
        out.push_str(line);
        out.push('\n');
        let mut here = 0;
        for bracket in all {
            if bracket.opens {
                open.push(false);
                here += 1;
            } else {
                open.pop();
                here = usize::min(here, open.len()).saturating_sub(1);
            }
        }
        if here > 0
            && let Some(last) = open.last_mut()
        {
            *last = true;
        }
        blank = false;
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    Ok(out)
}

struct Bracket {
    opens: bool,
    /// It closes, and nothing but closing brackets stands before it.
    leads: bool,
}

/// The brackets of a line, outside of strings and comments.
fn brackets(line: &str) -> Vec<Bracket> {
    let (mut found, mut leads, mut text) = (Vec::new(), true, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => text = !text,
            _ if text => {}
            '/' if chars.peek() == Some(&'/') => break,
            '{' | '(' | '[' => found.push(Bracket { opens: true, leads: false }),
            '}' | ')' | ']' => found.push(Bracket { opens: false, leads }),
            _ => {}
        }
        leads &= matches!(c, '}' | ')' | ']');
    }
    found
}

/// Does a line go on with the statement before it?
fn continues(line: &str) -> bool {
    line.starts_with("->")
}
