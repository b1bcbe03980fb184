//! Text to tokens with their places.

use super::is_word_char;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// In quotes: pieces of text, and names in braces.
    Quoted(Vec<Piece>),
    /// `%x`, `@w`, `$h`; without the sigil. A quoted name follows as a token of its own, the name here is empty.
    Sigil(char, String),
    Int(String),
    Num(f64),
    /// One of `[](){},:=#*/+-`, and `->` and `<=` as one.
    Mark(&'static str),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Braced(String),
}

/// A token and where it begins: line and column, from 1.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub token: Token,
    pub line: usize,
    pub column: usize,
}

pub(super) struct LexError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

const MARKS: [&str; 16] = ["->", "<=", "[", "]", "(", ")", "{", "}", ",", ":", "=", "#", "*", "/", "+", "-"];

/// All tokens, [`Token::End`] last. Comments run from `//` to the end of the line.
pub(super) fn lex(text: &str) -> Result<Vec<Spot>, LexError> {
    let mut spots = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let mut rest = line;
        let mut column = 1;
        loop {
            let gap = rest.len() - rest.trim_start().len();
            column += rest[..gap].chars().count();
            rest = &rest[gap..];
            if rest.is_empty() || rest.starts_with("//") {
                break;
            }
            let (token, length) = token(rest).map_err(|message| LexError { line: number + 1, column, message })?;
            spots.push(Spot { token, line: number + 1, column });
            column += rest[..length].chars().count();
            rest = &rest[length..];
        }
    }
    spots.push(Spot { token: Token::End, line: text.split('\n').count(), column: 1 });
    Ok(spots)
}

/// The token at the start of `rest`, and how many bytes it has.
fn token(rest: &str) -> Result<(Token, usize), String> {
    let first = rest.chars().next().unwrap_or('\0');
    if first == '"' {
        return quoted(rest);
    }
    if matches!(first, '%' | '@' | '$') {
        let name = prefix(&rest[1..], is_word_char);
        return Ok((Token::Sigil(first, name.to_owned()), 1 + name.len()));
    }
    if first.is_ascii_digit() {
        return number(rest);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let word = prefix(rest, is_word_char);
        return Ok((Token::Word(word.to_owned()), word.len()));
    }
    match MARKS.into_iter().find(|m| rest.starts_with(m)) {
        Some(mark) => Ok((Token::Mark(mark), mark.len())),
        None => Err(format!("unexpected character {first:?}")),
    }
}

fn prefix(text: &str, keep: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !keep(c)).unwrap_or(text.len())]
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut length = prefix(rest, is_digit).len();
    let mut whole = true;
    if let Some(fraction) = rest[length..].strip_prefix('.') {
        length += 1 + prefix(fraction, is_digit).len();
        whole = false;
    }
    if let Some(exponent) = rest[length..].strip_prefix('e') {
        let sign = usize::from(exponent.starts_with(['-', '+']));
        length += 1 + sign + prefix(&exponent[sign..], is_digit).len();
        whole = false;
    }
    let text = &rest[..length];
    if whole {
        return Ok((Token::Int(text.to_owned()), length));
    }
    let value = text.parse().map_err(|_| format!("{text} is no number"))?;
    Ok((Token::Num(value), length))
}

fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut braced = false;
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if braced => return Err("`{` is not closed".into()),
            '"' => {
                if !piece.is_empty() {
                    pieces.push(Piece::Text(piece));
                }
                return Ok((Token::Quoted(pieces), at + 1));
            }
            '{' if !braced => {
                if !piece.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut piece)));
                }
                braced = true;
            }
            '}' if braced => {
                pieces.push(Piece::Braced(std::mem::take(&mut piece)));
                braced = false;
            }
            '{' | '}' => return Err(format!("unexpected `{c}` in quotes")),
            '\\' => match chars.next() {
                Some((_, 'u')) => {
                    let hex: String = chars.by_ref().map(|c| c.1).take_while(|c| *c != '}').take(12).collect();
                    let code = hex.strip_prefix('{').and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    piece.push(code.and_then(char::from_u32).ok_or("no such character")?);
                }
                Some((_, c @ ('"' | '\\' | '{' | '}'))) => piece.push(c),
                _ => return Err("unknown escape in quotes".into()),
            },
            c => piece.push(c),
        }
    }
    Err("quotes are not closed".into())
}
