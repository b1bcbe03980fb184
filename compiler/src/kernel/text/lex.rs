//! Text to tokens with their places.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// A letter and a number: `b0`, `i3`, `n1`, `t0`, and `%7`.
    Numbered(char, u32),
    Quoted(String),
    /// A number as written, with its sign.
    Number(String),
    Mark(char),
    End,
}

/// A token and where it begins: line and column, from 1.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub token: Token,
    pub line: usize,
    pub column: usize,
}

/// All tokens, [`Token::End`] last. Comments run from `//` to the end of the line.
pub(super) fn lex(text: &str) -> Result<Vec<Spot>, (usize, usize, String)> {
    let mut spots = Vec::new();
    let mut lines = 0;
    for (number, line) in text.split('\n').enumerate() {
        lines = number + 1;
        let (mut rest, mut column) = (line, 1);
        loop {
            let gap = rest.len() - rest.trim_start().len();
            column += rest[..gap].chars().count();
            rest = &rest[gap..];
            if rest.is_empty() || rest.starts_with("//") {
                break;
            }
            let (token, length) = token(rest).map_err(|message| (number + 1, column, message))?;
            spots.push(Spot { token, line: number + 1, column });
            column += rest[..length].chars().count();
            rest = &rest[length..];
        }
    }
    spots.push(Spot { token: Token::End, line: lines, column: 1 });
    Ok(spots)
}

/// The token at the start of `rest`, and how many bytes it has.
fn token(rest: &str) -> Result<(Token, usize), String> {
    let first = rest.chars().next().unwrap_or('\0');
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if first == '"' {
        return quoted(rest);
    }
    if first == '%' {
        let digits = prefix(&rest[1..], |c| c.is_ascii_digit());
        let number = digits.parse().map_err(|_| "`%` wants the number of an expression".to_owned())?;
        return Ok((Token::Numbered('%', number), 1 + digits.len()));
    }
    let signed = rest.strip_prefix('-').unwrap_or(rest);
    if signed.starts_with(|c: char| c.is_ascii_digit()) || signed.len() < rest.len() && signed.starts_with("inf") {
        // Exponents have a sign of their own.
        let mut length = rest.len() - signed.len() + prefix(signed, |c| is_word(c) || c == '.').len();
        if rest[..length].ends_with('e') && rest[length..].starts_with(['-', '+']) {
            length += 1 + prefix(&rest[length + 1..], |c| c.is_ascii_digit()).len();
        }
        return Ok((Token::Number(rest[..length].to_owned()), length));
    }
    if first.is_ascii_alphabetic() {
        let word = prefix(rest, is_word);
        let numbered =
            matches!(first, 'b' | 'i' | 'n' | 't') && word.len() > 1 && word[1..].bytes().all(|c| c.is_ascii_digit());
        if numbered && let Ok(number) = word[1..].parse() {
            return Ok((Token::Numbered(first, number), word.len()));
        }
        return Ok((Token::Word(word.to_owned()), word.len()));
    }
    match first {
        '=' | '[' | ']' | '(' | ')' | '{' | '}' | ',' | '+' | '*' | '/' | '<' => Ok((Token::Mark(first), 1)),
        other => Err(format!("unexpected character {other:?}")),
    }
}

fn prefix(text: &str, keep: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !keep(c)).unwrap_or(text.len())]
}

fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Quoted(text), at + 1)),
            '\\' => match chars.next() {
                Some((_, 'u')) => {
                    let hex: String = chars.by_ref().map(|c| c.1).take_while(|c| *c != '}').take(12).collect();
                    let code = hex.strip_prefix('{').and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    text.push(code.and_then(char::from_u32).ok_or("no such character")?);
                }
                Some((_, c @ ('"' | '\\'))) => text.push(c),
                _ => return Err("unknown escape in quotes".into()),
            },
            c => text.push(c),
        }
    }
    Err("quotes are not closed".into())
}
