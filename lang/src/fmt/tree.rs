//! From the syntax tree to words, breaks and groups. A rule of the grammar that is laid out in a way of its own has a function
//! here; all others are their words, one blank between two of them but where [`is_tight`] says none.

use pest::iterators::Pair;

use super::layout::{Break, Item};
use crate::syntax::{Rule, Token};

type P<'t> = Pair<'t, Rule>;

/// A file as items. `tokens` are the words of the same text.
pub(super) fn items<'t>(file: P<'t>, tokens: Vec<Token<'t>>) -> Vec<Item<'t>> {
    let mut writer = Writer {
        tokens,
        next: 0,
        items: Vec::new(),
        level: 0,
        pending: None,
        tight: true,
        keeps_blanks: true,
        is_first: true,
    };
    writer.file(file);
    writer.items
}

struct Writer<'t> {
    tokens: Vec<Token<'t>>,
    next: usize,
    items: Vec<Item<'t>>,
    level: usize,
    /// A break before the next word.
    pending: Option<Break>,
    /// No blank before the next word.
    tight: bool,
    /// The author's empty lines stay: between statements, not in lists.
    keeps_blanks: bool,
    /// Nothing stands yet in this file or body.
    is_first: bool,
}

impl<'t> Writer<'t> {
    fn file(&mut self, file: P<'t>) {
        let mut before_is_long = false;
        for (i, item) in file.into_inner().filter(|p| p.as_rule() == Rule::item).enumerate() {
            let inner: Vec<P> = item.into_inner().collect();
            let is_long =
                inner.iter().any(|p| !matches!(p.as_rule(), Rule::use_ | Rule::axis | Rule::type_ | Rule::constant));
            if i > 0 {
                self.pending = Some(if is_long || before_is_long { Break::Blank } else { Break::Hard });
            }
            before_is_long = is_long;
            inner.into_iter().for_each(|p| self.pair(p));
        }
        if self.next > 0 {
            self.pending = Some(Break::Hard);
        }
        self.comments();
    }

    fn pair(&mut self, pair: P<'t>) {
        match pair.as_rule() {
            // A body with statements is never one line.
            Rule::body | Rule::loop_body => {
                let breaks = pair.clone().into_inner().any(|p| p.as_rule() == Rule::statement);
                self.braces(pair, breaks);
            }
            Rule::network => self.network(pair),
            Rule::block | Rule::model | Rule::entry | Rule::entries | Rule::route | Rule::choose => {
                self.with_broken_body(pair)
            }
            Rule::if_ => self.sides(pair),
            Rule::match_ => self.arms(pair),
            Rule::chosen => {
                let end = pair.as_span().end();
                while self.tokens[self.next].start < end {
                    self.tight = true;
                    self.word();
                }
            }
            Rule::signature => self.signature(pair, true),
            Rule::arguments | Rule::sizes => {
                self.tight = true;
                self.list(pair);
            }
            Rule::record_ty | Rule::record | Rule::tuple | Rule::carry | Rule::table | Rule::pattern => self.list(pair),
            Rule::drop => {
                self.inner(pair);
                self.tight = true;
            }
            Rule::neg => {
                self.words_of(&pair);
                self.tight = true;
            }
            Rule::signed => {
                let negative = pair.as_str().starts_with('-');
                if negative {
                    self.word();
                    self.tight = true;
                }
                self.words_of(&pair);
            }
            Rule::expr => self.expr(pair),
            Rule::brackets
            | Rule::call_axes
            | Rule::at_axes
            | Rule::file_order
            | Rule::mix_axis
            | Rule::segments_axis => {
                self.tight = true;
                self.inner(pair);
            }
            _ => self.inner(pair),
        }
    }

    /// The words of a pair, its parts in their own ways.
    fn inner(&mut self, pair: P<'t>) {
        let end = pair.as_span().end();
        for part in pair.into_inner() {
            self.words_to(part.as_span().start());
            self.pair(part);
        }
        self.words_to(end);
    }

    fn with_broken_body(&mut self, pair: P<'t>) {
        let end = pair.as_span().end();
        let has_name = pair.as_rule() != Rule::entries;
        for part in pair.into_inner() {
            self.words_to(part.as_span().start());
            match part.as_rule() {
                Rule::signature => self.signature(part, has_name),
                Rule::body | Rule::experts | Rule::choices | Rule::each_entry => self.braces(part, true),
                _ => self.pair(part),
            }
        }
        self.words_to(end);
    }

    /// `{ .. }`, a statement a line.
    fn braces(&mut self, pair: P<'t>, breaks: bool) {
        let end = pair.as_span().end();
        let kind = if breaks { Break::Hard } else { Break::Line };
        let parts: Vec<P> = pair.into_inner().collect();
        self.open_brace(parts.is_empty());
        for (i, part) in parts.into_iter().enumerate() {
            self.pending = Some(if i == 0 { kind } else { Break::Hard });
            self.pair(part);
        }
        self.close_brace(end, kind);
    }

    /// `if a { .. } else { .. }`: one line, or no side is one.
    fn sides(&mut self, pair: P<'t>) {
        let end = pair.as_span().end();
        let breaks = pair.clone().into_inner().flatten().any(|p| p.as_rule() == Rule::statement);
        for part in pair.into_inner() {
            self.words_to(part.as_span().start());
            match part.as_rule() {
                Rule::body => self.braces(part, breaks),
                Rule::else_if => {
                    for part in part.into_inner() {
                        self.words_to(part.as_span().start());
                        match part.as_rule() {
                            Rule::body => self.braces(part, breaks),
                            _ => self.pair(part),
                        }
                    }
                }
                _ => self.pair(part),
            }
        }
        self.words_to(end);
    }

    /// `match x { .. }`, an arm a line.
    fn arms(&mut self, pair: P<'t>) {
        let end = pair.as_span().end();
        let (arms, value): (Vec<P>, Vec<P>) = pair.into_inner().partition(|p| p.as_rule() == Rule::case);
        for part in value {
            self.words_to(part.as_span().start());
            self.pair(part);
        }
        self.open_brace(arms.is_empty());
        for arm in arms {
            self.pending = Some(Break::Hard);
            self.pair(arm);
        }
        self.close_brace(end, Break::Hard);
    }

    fn network(&mut self, pair: P<'t>) {
        let end = pair.as_span().end();
        let (items, header): (Vec<P>, Vec<P>) = pair.into_inner().partition(|p| p.as_rule() == Rule::network_item);
        if let Some(name) = header.last() {
            self.words_to(name.as_span().end());
        }
        self.open_brace(items.is_empty());
        let mut before_is_long = false;
        for (i, item) in items.into_iter().enumerate() {
            let is_long = item.clone().into_inner().any(|p| matches!(p.as_rule(), Rule::entry | Rule::entries));
            self.pending = Some(if i > 0 && (is_long || before_is_long) { Break::Blank } else { Break::Hard });
            before_is_long = is_long;
            self.inner(item);
        }
        self.close_brace(end, Break::Hard);
    }

    fn open_brace(&mut self, is_empty: bool) {
        self.open();
        self.word();
        self.indent();
        self.keeps_blanks = true;
        self.is_first = true;
        self.tight = is_empty;
    }

    fn close_brace(&mut self, end: usize, kind: Break) {
        let is_empty = self.is_first;
        self.comments();
        self.dedent();
        if !is_empty || self.pending.is_some() {
            self.pending = self.pending.max(Some(kind));
        }
        self.keeps_blanks = false;
        self.words_to(end);
        self.items.push(Item::Close);
        self.keeps_blanks = true;
        self.is_first = false;
    }

    /// `(..) -> ..`: the arguments in one line, or each in its own; the result in a line of its own if it does not fit behind.
    /// It follows a name directly.
    fn signature(&mut self, pair: P<'t>, has_name: bool) {
        let end = pair.as_span().end();
        let (result, args): (Vec<P>, Vec<P>) = pair.into_inner().partition(|p| p.as_rule() == Rule::result);
        self.tight = has_name;
        self.list_of(args, None);
        if let Some(result) = result.into_iter().next() {
            let start = self.items.len();
            self.items.push(Item::Open);
            self.indent();
            self.pending = self.pending.max(Some(Break::Line));
            self.words_to(result.as_span().start());
            self.pair(result);
            self.dedent();
            self.items.push(Item::Close);
            // A result that needs more than a line is broken itself, behind the arguments.
            let fits = super::layout::flat(&self.items[start..]).is_some_and(|n| self.columns() + n <= super::WIDTH);
            if !fits && self.items[start + 2] == Item::Break(Break::Line) {
                self.items.splice(start..start + 3, [Item::Space]);
                self.items.truncate(self.items.len() - 2);
            }
        }
        self.words_to(end);
    }

    /// Where a line of this body begins, one level in, and what stands behind a signature.
    fn columns(&self) -> usize {
        (self.level + 1) * super::layout::INDENT + " {".len()
    }

    fn indent(&mut self) {
        self.items.push(Item::Indent);
        self.level += 1;
    }

    fn dedent(&mut self) {
        self.items.push(Item::Dedent);
        self.level -= 1;
    }

    /// What stands in parentheses or brackets, if it does: one line, or each part in its own.
    fn list(&mut self, pair: P<'t>) {
        let span = pair.as_span();
        let opens =
            self.tokens[self.next..].iter().take_while(|t| t.start < span.end()).find(|t| t.start >= span.start());
        match pair.as_rule() {
            // `carry x`, and `f32[d]` as a result.
            Rule::carry => {
                self.word();
                let is_list = self.peek() == "(";
                if is_list { self.list_of(pair.into_inner().collect(), Some(span.end())) } else { self.inner(pair) }
            }
            _ if opens.is_some_and(|t| matches!(t.text, "(" | "[")) => {
                self.list_of(pair.into_inner().collect(), Some(span.end()));
            }
            _ => self.inner(pair),
        }
    }

    /// The parts of a list that begins with the next word, to the bracket that closes it.
    fn list_of(&mut self, parts: Vec<P<'t>>, end: Option<usize>) {
        // One part that takes several lines itself needs no lines around it.
        let hugs = matches!(parts.as_slice(), [only] if has_braces(only)) && !self.has_comment_around(&parts[0]);
        // Sizes after a semicolon end without a comma; what is in parentheses alone is no list.
        let ends_with_comma = !parts.iter().any(|p| matches!(p.as_rule(), Rule::size_arg | Rule::given))
            && !matches!(parts.as_slice(), [only] if only.as_rule() == Rule::expr);
        let outer = std::mem::replace(&mut self.keeps_blanks, false);
        self.open();
        self.word();
        if !hugs {
            self.indent();
        }
        self.tight = true;
        if !hugs && !parts.is_empty() {
            self.pending = Some(Break::Soft);
        }
        for part in parts {
            self.words_in_list(part.as_span().start(), hugs);
            self.pair(part);
        }
        // A comma before the end is written anew, if at all.
        if self.peek() == "," {
            self.skip();
        }
        let is_empty = matches!(self.items.last(), Some(Item::Indent));
        if ends_with_comma && !hugs && !is_empty {
            self.items.push(Item::IfBroken(","));
        }
        self.comments();
        if !hugs {
            self.dedent();
            self.pending = self.pending.max((!is_empty).then_some(Break::Soft));
        }
        self.tight = true;
        self.word();
        self.items.push(Item::Close);
        self.keeps_blanks = outer;
        if let Some(end) = end {
            self.words_to(end);
        }
    }

    /// Commas and the like before the next part of a list; behind each a line may break.
    fn words_in_list(&mut self, end: usize, hugs: bool) {
        while self.tokens[self.next].start < end && self.next + 1 < self.tokens.len() {
            // A comma before a semicolon is none.
            if self.peek() == "," && self.tokens[self.next + 1].text == ";" {
                self.skip();
                continue;
            }
            let separates = matches!(self.peek(), "," | ";");
            self.word();
            if separates && !hugs {
                self.pending = Some(Break::Line);
            }
        }
    }

    /// A chain of operators: if it is broken, then before each operator that binds least.
    fn expr(&mut self, pair: P<'t>) {
        let end = pair.as_span().end();
        let mut chain: Vec<(Option<P>, Vec<P>)> = vec![(None, Vec::new())];
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::infix => chain.push((Some(part), Vec::new())),
                _ => chain.last_mut().expect("there is a first link").1.push(part),
            }
        }
        self.chain(&chain);
        self.words_to(end);
    }

    fn chain(&mut self, links: &[(Option<P<'t>>, Vec<P<'t>>)]) {
        let binding = |link: &(Option<P>, Vec<P>)| {
            let operator = link.0.clone().and_then(|p| p.into_inner().next());
            operator.map_or(u8::MAX, |p| crate::syntax::precedence(p.as_rule()))
        };
        let Some(least) = links[1..].iter().map(binding).min() else {
            links[0].1.iter().for_each(|p| self.pair(p.clone()));
            return;
        };
        self.open();
        self.indent();
        let mut from = 0;
        for i in 1..=links.len() {
            if i < links.len() && binding(&links[i]) != least {
                continue;
            }
            if let (Some(operator), true) = (&links[from].0, from > 0) {
                self.pending = self.pending.max(Some(Break::Line));
                self.pair(operator.clone());
            }
            self.chain(&links[from..i]);
            from = i;
        }
        self.dedent();
        self.items.push(Item::Close);
    }

    // Words.

    fn peek(&self) -> &'t str {
        self.tokens[self.next].text
    }

    /// All words that begin before a place.
    fn words_to(&mut self, end: usize) {
        while self.tokens[self.next].start < end && self.next + 1 < self.tokens.len() {
            self.word();
        }
    }

    fn words_of(&mut self, pair: &P) {
        self.words_to(pair.as_span().end());
    }

    /// The next word, with the comments and the break before it.
    fn word(&mut self) {
        self.gap();
        self.items.push(Item::Text(self.peek()));
        self.tight = false;
        self.is_first = false;
        self.next += 1;
    }

    /// What stands before the next word; after that nothing does.
    fn gap(&mut self) {
        self.comments();
        let token = &self.tokens[self.next];
        let keeps = token.blank_before && self.keeps_blanks && !self.is_first;
        match self.pending.take() {
            Some(Break::Hard) if keeps => self.items.push(Item::Break(Break::Blank)),
            Some(kind) => self.items.push(Item::Break(kind)),
            None if self.tight || self.next == 0 || is_tight(self.tokens[self.next - 1].text, token.text) => {}
            None => self.items.push(Item::Space),
        }
        self.tight = true;
    }

    /// Begins a group with the next word: what stands before that is not the group's.
    fn open(&mut self) {
        self.gap();
        self.items.push(Item::Open);
    }

    /// Leaves a word out; its comments go to the next one.
    fn skip(&mut self) {
        let comments = std::mem::take(&mut self.tokens[self.next].comments);
        self.next += 1;
        self.tokens[self.next].comments.splice(0..0, comments);
    }

    /// The comments before the next word. A new line follows.
    fn comments(&mut self) {
        for comment in std::mem::take(&mut self.tokens[self.next].comments) {
            if comment.own_line || self.items.is_empty() {
                let kind = match self.pending.take().map_or(Break::Hard, |kind| kind.max(Break::Hard)) {
                    Break::Hard if comment.blank_before && self.keeps_blanks && !self.is_first => Break::Blank,
                    kind => kind,
                };
                if !self.items.is_empty() {
                    self.items.push(Item::Break(kind));
                }
                self.items.push(Item::Text(comment.text));
                self.pending = Some(Break::Hard);
            } else {
                self.items.push(Item::Trailing(comment.text));
                self.pending = self.pending.max(Some(Break::Hard));
            }
            self.is_first = false;
        }
    }

    /// Does a comment stand right before or behind the part of a list that begins with the next word?
    fn has_comment_around(&self, part: &P) -> bool {
        let end = part.as_span().end();
        let before = self.tokens.get(self.next + 1);
        let mut behind = self.tokens[self.next..].iter().filter(|t| t.start >= end).peekable();
        let comma = behind.next_if(|t| t.text == ",");
        before.into_iter().chain(comma).chain(behind.next()).any(|t| !t.comments.is_empty())
    }
}

/// Does a part hold a body in braces?
fn has_braces(pair: &P) -> bool {
    let mut inside = pair.clone().into_inner().flatten();
    inside.any(|p| matches!(p.as_rule(), Rule::body | Rule::experts | Rule::choices | Rule::loop_body | Rule::match_))
}

/// Does no blank stand between two words?
fn is_tight(before: &str, after: &str) -> bool {
    let is_word = |text: &str| text.ends_with(|c: char| c.is_ascii_alphanumeric() || "_'\")]@".contains(c));
    match (before, after) {
        // `x[t = ..2]`, `f32[t, ..]`, and a number that ends with its point.
        (before, "..") => !matches!(before, "=" | ",") && !before.ends_with('.'),
        ("(" | "[" | "." | "..", _) | (_, "," | ";" | ")" | "]" | ":" | ".") => true,
        (before, "[") => before != "in" && is_word(before),
        _ => false,
    }
}
