//! The small parts of a text: names, numbers, lists, types, sizes.

use gatec_lang::Size;

use super::MAX_DEPTH;
use super::lex::{LexError, Piece, Spot, Token};
use crate::graph::{Axis, Boundary, Elem, Type};
use crate::ops::Attr;

/// A text that is no module, or no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl From<LexError> for ParseError {
    fn from(e: LexError) -> Self {
        Self { line: e.line, column: e.column, message: e.message }
    }
}

/// Normal forms of sizes are kept by insertion: a long one would take quadratic time.
const MAX_SIZE_TOKENS: usize = 256;

pub(super) type Result<T, E = ParseError> = std::result::Result<T, E>;

/// A text while it is read.
pub(super) struct Parser {
    pub spots: Vec<Spot>,
    pub at: usize,
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.spots[self.at].token
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        // The end stays.
        self.at = (self.at + 1).min(self.spots.len() - 1);
        token
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        let spot = &self.spots[self.at];
        ParseError { line: spot.line, column: spot.column, message: message.into() }
    }

    pub(super) fn expected(&self, what: &str) -> ParseError {
        let found = match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Quoted(_) => "a name in quotes".into(),
            Token::Sigil(sigil, name) => format!("`{sigil}{name}`"),
            Token::Int(n) => format!("`{n}`"),
            Token::Num(x) => format!("`{x}`"),
            Token::Mark(mark) => format!("`{mark}`"),
            Token::End => "the end".into(),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    pub(super) fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(m) if *m == mark)
    }

    pub(super) fn take(&mut self, mark: &str) -> bool {
        let is = self.is(mark);
        if is {
            self.next();
        }
        is
    }

    pub(super) fn expect(&mut self, mark: &str) -> Result<()> {
        if self.take(mark) { Ok(()) } else { Err(self.expected(&format!("`{mark}`"))) }
    }

    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let is = matches!(self.peek(), Token::Word(w) if w == keyword);
        if is {
            self.next();
        }
        is
    }

    /// `item, item, ... close`
    pub(super) fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    /// A name, with or without quotes.
    pub(super) fn name(&mut self) -> Result<String> {
        match self.peek() {
            Token::Word(word) => {
                let word = word.clone();
                self.next();
                Ok(word)
            }
            Token::Quoted(_) => self.quoted_name(),
            _ => Err(self.expected("a name")),
        }
    }

    fn quoted_name(&mut self) -> Result<String> {
        let Token::Quoted(pieces) = self.peek() else {
            return Err(self.expected("a name"));
        };
        let name = match &pieces[..] {
            [] => String::new(),
            [Piece::Text(text)] => text.clone(),
            _ => return Err(self.error("unexpected `{` in quotes")),
        };
        self.next();
        Ok(name)
    }

    /// A name behind a sigil: `@w`, `@"odd name"`.
    pub(super) fn sigil(&mut self, sigil: char) -> Result<String> {
        match self.peek() {
            Token::Sigil(s, name) if *s == sigil => {
                let name = name.clone();
                self.next();
                if name.is_empty() { self.quoted_name() } else { Ok(name) }
            }
            _ => Err(self.expected(&format!("a name with `{sigil}`"))),
        }
    }

    pub(super) fn axis(&mut self) -> Result<Axis> {
        Ok(Axis::new(&self.name()?))
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        let sign = if self.take("-") { "-" } else { "" };
        let Token::Int(digits) = self.peek() else {
            return Err(self.expected("an integer"));
        };
        let n = format!("{sign}{digits}").parse().map_err(|_| self.error("an integer that is too large"))?;
        self.next();
        Ok(n)
    }

    /// A number that is not an integer, or an integer.
    pub(super) fn number(&mut self) -> Result<Attr> {
        let negative = self.take("-");
        let sign = if negative { -1.0 } else { 1.0 };
        let attr = match self.peek() {
            Token::Num(x) => Attr::num(sign * x),
            Token::Word(w) if w == "inf" => Attr::num(sign * f64::INFINITY),
            Token::Word(w) if w == "nan" => Attr::num(f64::NAN),
            Token::Int(digits) => {
                let text = format!("{}{digits}", if negative { "-" } else { "" });
                Attr::Int(text.parse().map_err(|_| self.error("an integer that is too large"))?)
            }
            _ => return Err(self.expected("a number")),
        };
        self.next();
        Ok(attr)
    }

    pub(super) fn float(&mut self) -> Result<f64> {
        Ok(match self.number()? {
            Attr::Num(bits) => f64::from_bits(bits),
            Attr::Int(n) => n as f64,
            _ => f64::NAN,
        })
    }

    pub(super) fn elem(&mut self) -> Result<Elem> {
        let elem = match self.peek() {
            Token::Word(word) => Elem::parse(word),
            _ => None,
        };
        let elem = elem.ok_or_else(|| self.expected("an element type"))?;
        self.next();
        Ok(elem)
    }

    /// `f32[t, d]`, in order.
    pub(super) fn tensor(&mut self, name: String) -> Result<Boundary> {
        let elem = self.elem()?;
        self.expect("[")?;
        Ok(Boundary { name, elem, order: self.list("]", Self::axis)? })
    }

    pub(super) fn ty(&mut self) -> Result<Type> {
        Ok(self.tensor(String::new())?.ty())
    }

    /// A sum of products of symbols, numbers and `floor((size)/n)`.
    pub(super) fn size(&mut self, depth: usize) -> Result<Size> {
        if depth > MAX_DEPTH {
            return Err(self.error("a size nests too deep"));
        }
        let mut sum = Size::known(0);
        let mut negative = self.take("-");
        let start = self.at;
        loop {
            let mut product = Size::known(if negative { -1 } else { 1 });
            loop {
                if self.at - start > MAX_SIZE_TOKENS {
                    return Err(self.error("a size is too long"));
                }
                let factor = self.factor(depth)?;
                product = product.checked_mul(&factor).ok_or_else(|| self.error("a size is too large"))?;
                if !self.take("*") {
                    break;
                }
            }
            sum = sum.checked_add(&product).ok_or_else(|| self.error("a size is too large"))?;
            if self.take("+") {
                negative = false;
            } else if self.take("-") {
                negative = true;
            } else {
                return Ok(sum);
            }
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Size> {
        if let Token::Int(_) = self.peek() {
            let n = self.int()?;
            return if n <= gatec_lang::size::MAX_SIZE {
                Ok(Size::known(n))
            } else {
                Err(self.error("a size is too large"))
            };
        }
        let name = self.name()?;
        if name != "floor" || !self.take("(") {
            return Ok(Size::symbol(&name));
        }
        self.expect("(")?;
        let size = self.size(depth + 1)?;
        self.expect(")")?;
        self.expect("/")?;
        let divisor = self.int()?;
        let size = size.checked_div(divisor).ok_or_else(|| self.error("a divisor that is not positive"))?;
        self.expect(")")?;
        Ok(size)
    }
}
