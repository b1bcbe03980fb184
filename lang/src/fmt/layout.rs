//! Words, possible breaks and groups of them, laid out in lines: a group stands in one line if it fits, else each of its own
//! breaks is taken.

use std::fmt::Write;

/// Blanks of a level of indentation.
pub(super) const INDENT: usize = 4;
/// Blanks between the longest line of a run and its comments.
const BEFORE_COMMENT: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'t> {
    Text(&'t str),
    Space,
    /// A comment at the end of the line. A [`Break::Hard`] follows.
    Trailing(&'t str),
    Break(Break),
    /// Stands only in a group that is broken.
    IfBroken(&'static str),
    Open,
    Close,
    Indent,
    Dedent,
}

/// In one line nothing, or a blank; else a new line. The last two always are one; the last leaves an empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Break {
    Soft,
    Line,
    Hard,
    Blank,
}

impl Item<'_> {
    /// Its length in a group that stands in one line.
    fn flat(&self) -> usize {
        match self {
            Item::Text(text) => text.chars().count(),
            Item::Space | Item::Break(Break::Line) => 1,
            _ => 0,
        }
    }
}

/// A line while it is made.
#[derive(Default)]
struct Line<'t> {
    indent: usize,
    code: String,
    comment: Option<&'t str>,
}

pub(super) fn lay_out(items: &[Item], width: usize) -> String {
    let spans = spans(items);
    let mut lines = vec![Line::default()];
    let (mut level, mut column) = (0usize, 0usize);
    // Whether each open group is broken; the whole is.
    let mut broken = vec![true];
    for (i, item) in items.iter().enumerate() {
        let is_broken = broken.last().copied().unwrap_or(true);
        let line = lines.last_mut().expect("there is a first line");
        let mut write = |text: &str| {
            line.code.push_str(text);
            column += text.chars().count();
        };
        match item {
            Item::Text(text) => write(text),
            Item::Space => write(" "),
            Item::IfBroken(text) if is_broken => write(text),
            Item::IfBroken(_) => {}
            Item::Trailing(comment) => line.comment = Some(comment),
            Item::Break(Break::Soft) if !is_broken => {}
            Item::Break(Break::Line) if !is_broken => write(" "),
            Item::Break(kind) => {
                if *kind == Break::Blank {
                    lines.push(Line::default());
                }
                lines.push(Line { indent: level * INDENT, ..Line::default() });
                column = level * INDENT;
            }
            Item::Open => broken.push(spans[i].is_none_or(|length| column + length > width)),
            Item::Close => {
                broken.pop();
            }
            Item::Indent => level += 1,
            Item::Dedent => level = level.saturating_sub(1),
        }
    }
    text(&lines)
}

/// How long items are in one line, if they can stand in one.
pub(super) fn flat(items: &[Item]) -> Option<usize> {
    items.iter().try_fold(0, |length, item| match item {
        Item::Break(Break::Hard | Break::Blank) | Item::Trailing(_) => None,
        item => Some(length + item.flat()),
    })
}

/// For each [`Item::Open`]: how long the line is from there to the first break after the group, if the group stands in one
/// line; none where it cannot.
fn spans(items: &[Item]) -> Vec<Option<usize>> {
    let mut spans = vec![None; items.len()];
    // From the back: the length of what follows up to a break; and for each group that is not begun yet its length so far.
    let mut after = 0;
    let mut groups: Vec<Option<usize>> = Vec::new();
    for (i, item) in items.iter().enumerate().rev() {
        let flat = item.flat();
        match item {
            Item::Close => groups.push(Some(after)),
            Item::Open => {
                let length = groups.pop().flatten();
                spans[i] = length;
                // The outer group holds the inner one; what must break within must break it, too.
                if length.is_none() {
                    groups.iter_mut().for_each(|g| *g = None);
                }
            }
            Item::Break(Break::Hard | Break::Blank) | Item::Trailing(_) => groups.iter_mut().for_each(|g| *g = None),
            _ => groups.iter_mut().flatten().for_each(|length| *length += flat),
        }
        after = if matches!(item, Item::Break(_)) { 0 } else { after + flat };
    }
    spans
}

/// The lines, comments at their ends in columns: one column for lines of one indentation that follow each other.
fn text(lines: &[Line]) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < lines.len() {
        let is_empty = |line: &Line| line.code.is_empty() && line.comment.is_none();
        let run = lines[i..].iter().take_while(|line| line.indent == lines[i].indent && !is_empty(line)).count().max(1);
        let run = &lines[i..i + run];
        let longest = run.iter().filter(|l| l.comment.is_some()).map(|l| l.code.chars().count()).max().unwrap_or(0);
        for line in run {
            if !is_empty(line) {
                let _ = write!(out, "{:indent$}{}", "", line.code, indent = line.indent);
            }
            if let Some(comment) = line.comment {
                let blanks = longest - line.code.chars().count() + BEFORE_COMMENT;
                let _ = write!(out, "{:blanks$}{comment}", "");
            }
            out.push('\n');
        }
        i += run.len();
    }
    let text = out.trim_start_matches('\n').trim_end();
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}
