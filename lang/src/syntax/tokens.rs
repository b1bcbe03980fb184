//! The words of a text and the comments between them: what the parser reads over, and what the formatter must keep.

/// A word, and what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    pub text: &'t str,
    pub start: usize,
    pub comments: Vec<Comment<'t>>,
    /// An empty line stands right before it (after the last of its comments).
    pub blank_before: bool,
}

/// `// ...`, without blanks at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment<'t> {
    pub text: &'t str,
    pub start: usize,
    /// Nothing but blanks stands before it in its line.
    pub own_line: bool,
    pub blank_before: bool,
}

/// The words of a text. The last one is empty: it has the comments at the end of the file.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut comments: Vec<Comment> = Vec::new();
    let (mut at, mut newlines) = (0, 0);
    loop {
        let rest = &text[at..];
        let Some(c) = rest.chars().next() else { break };
        if c.is_whitespace() {
            newlines += usize::from(c == '\n');
            at += c.len_utf8();
            continue;
        }
        let is_first = tokens.is_empty() && comments.is_empty();
        let length = length(rest);
        if rest.starts_with("//") {
            let own_line = newlines > 0 || is_first;
            comments.push(Comment {
                text: rest[..length].trim_end(),
                start: at,
                own_line,
                blank_before: newlines > 1 && !is_first,
            });
        } else {
            let comments = std::mem::take(&mut comments);
            tokens.push(Token { text: &rest[..length], start: at, comments, blank_before: newlines > 1 && !is_first });
        }
        newlines = 0;
        at += length;
    }
    tokens.push(Token { text: "", start: text.len(), comments, blank_before: false });
    tokens
}

/// How long the word or comment is that a text begins with.
fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, f: fn(u8) -> bool| from + bytes[from..].iter().take_while(|b| f(**b)).count();
    match bytes[0] {
        b'/' if bytes.get(1) == Some(&b'/') => text.find('\n').unwrap_or(text.len()),
        b'"' => text[1..].find(['"', '\n']).map_or(text.len(), |end| end + 2),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
            let end = run(0, |b| b.is_ascii_alphanumeric() || b == b'_');
            run(end, |b| b == b'\'')
        }
        b'0'..=b'9' => {
            let mut end = run(0, |b| b.is_ascii_digit());
            if bytes.get(end) == Some(&b'.') && bytes.get(end + 1) != Some(&b'.') {
                end = run(end + 1, |b| b.is_ascii_digit());
            }
            if matches!(bytes.get(end), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
                let digits = run(end + 1 + sign, |b| b.is_ascii_digit());
                if digits > end + 1 + sign {
                    end = digits;
                }
            }
            end
        }
        _ if ["->", "==", "!=", "<=", ">=", "..", "<<", ">>"].iter().any(|two| text.starts_with(two)) => 2,
        _ => text.chars().next().map_or(1, char::len_utf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_grammar() {
        let text = "let h' = x[t = 1..5] @[k] w // why\n\n  // own\n  - 1.5e-3 from \"a{b}\"";
        let words: Vec<&str> = tokens(text).iter().map(|t| t.text).collect();
        let expected = [
            "let", "h'", "=", "x", "[", "t", "=", "1", "..", "5", "]", "@", "[", "k", "]", "w", "-", "1.5e-3", "from",
            "\"a{b}\"", "",
        ];
        assert_eq!(words, expected);
        let minus = &tokens(text)[16];
        let comments: Vec<(&str, bool, bool)> =
            minus.comments.iter().map(|c| (c.text, c.own_line, c.blank_before)).collect();
        assert_eq!(comments, [("// why", false, false), ("// own", true, true)]);
    }
}
