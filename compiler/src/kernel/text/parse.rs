//! Text to Kernel IR. What is read need not verify, so that a text can hold what the verifier refuses.

use super::MAX_DEPTH;
use super::lex::{Spot, Token, lex};
use crate::graph::text::ParseError;
use crate::kernel::{
    Access, Attend, Blocks, Body, Bound, Buffer, BufferId, Contract, Dim, Elem, Expr, ExprId, Extent, Fold, GroupRows,
    Grouping, Index, Kernel, Loop, Nest, Products, Segment, Stage, Store, Temp, TopK, Var,
};
use crate::scalar::{Binary, Unary};

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// Reads a kernel.
pub fn parse(text: &str) -> Result<Kernel> {
    let spots = lex(text).map_err(|(line, column, message)| ParseError { line, column, message })?;
    let mut parser = Parser { spots, at: 0 };
    let kernel = parser.kernel()?;
    match parser.peek() {
        Token::End => Ok(kernel),
        _ => Err(parser.error("expected the end of the text")),
    }
}

struct Parser {
    spots: Vec<Spot>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.spots[self.at].token
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        // The end stays.
        self.at = (self.at + 1).min(self.spots.len() - 1);
        token
    }
    fn error(&self, message: impl Into<String>) -> ParseError {
        let spot = &self.spots[self.at];
        ParseError { line: spot.line, column: spot.column, message: message.into() }
    }
    fn eat(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(w) if w == word);
        if found {
            self.next();
        }
        found
    }
    fn eat_mark(&mut self, mark: char) -> bool {
        let found = *self.peek() == Token::Mark(mark);
        if found {
            self.next();
        }
        found
    }
    fn word(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { Err(self.error(format!("expected `{word}`"))) }
    }
    fn mark(&mut self, mark: char) -> Result<()> {
        if self.eat_mark(mark) { Ok(()) } else { Err(self.error(format!("expected `{mark}`"))) }
    }
    fn any_word(&mut self, what: &str) -> Result<String> {
        match self.peek().clone() {
            Token::Word(w) => {
                self.next();
                Ok(w)
            }
            _ => Err(self.error(format!("expected {what}"))),
        }
    }
    fn name(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Quoted(name) => {
                self.next();
                Ok(name)
            }
            _ => Err(self.error("expected a name in quotes")),
        }
    }
    /// A number of a kind: `b0`, `%3`.
    fn numbered(&mut self, kind: char) -> Result<u32> {
        match *self.peek() {
            Token::Numbered(k, number) if k == kind => {
                self.next();
                Ok(number)
            }
            _ => Err(self.error(format!("expected `{kind}` and a number"))),
        }
    }
    fn expr_id(&mut self) -> Result<ExprId> {
        self.numbered('%').map(ExprId)
    }
    fn buffer_id(&mut self) -> Result<BufferId> {
        self.numbered('b').map(BufferId)
    }
    fn parsed<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let text = match self.peek() {
            Token::Number(text) | Token::Word(text) => text.clone(),
            _ => return Err(self.error(format!("expected {what}"))),
        };
        let value = text.parse().map_err(|_| self.error(format!("`{text}` is not {what}")))?;
        self.next();
        Ok(value)
    }
    fn elem(&mut self) -> Result<Elem> {
        let found = match self.peek() {
            Token::Word(w) => Elem::parse(w),
            // `i32` reads as a number of the kind `i`.
            Token::Numbered('i', bits) => Elem::parse(&format!("i{bits}")),
            _ => None,
        };
        let elem = found.ok_or_else(|| self.error("expected an element type"))?;
        self.next();
        Ok(elem)
    }

    fn kernel(&mut self) -> Result<Kernel> {
        self.word("kernel")?;
        let name = self.name()?;
        self.word("dims")?;
        let dims = self.parsed("a count")?;
        self.word("vars")?;
        let vars = self.parsed("a count")?;
        self.mark('{')?;
        let mut buffers = Vec::new();
        while let Token::Numbered('b', number) = *self.peek() {
            self.in_turn(number, buffers.len())?;
            self.next();
            self.mark('=')?;
            let access = match self.any_word("`read` or `write`")?.as_str() {
                "read" => Access::Read,
                "write" => Access::Write,
                "update" => Access::Update,
                _ => return Err(self.error("a buffer is `read` or `write`")),
            };
            let packed = self.eat("packed");
            let elem = self.elem()?;
            buffers.push(Buffer { name: self.name()?, elem, access, packed });
        }
        let mut exprs = Vec::new();
        while let Token::Numbered('%', number) = *self.peek() {
            self.in_turn(number, exprs.len())?;
            self.next();
            self.mark('=')?;
            exprs.push(self.expr()?);
        }
        let body = match self.any_word("the kernel's class")?.as_str() {
            "nest" => Body::Nest(self.nest()?),
            "contract" => Body::Contract(self.contract()?),
            "attend" => Body::Attend(self.attend()?),
            "top_k" => Body::TopK(self.top_k()?),
            "group_rows" => Body::GroupRows(self.group_rows()?),
            other => return Err(self.error(format!("no class `{other}`"))),
        };
        self.mark('}')?;
        Ok(Kernel { name, dims, buffers, vars, exprs, body })
    }

    fn in_turn(&self, number: u32, expected: usize) -> Result<()> {
        if number as usize == expected { Ok(()) } else { Err(self.error(format!("expected number {expected}"))) }
    }

    fn expr(&mut self) -> Result<Expr> {
        let word = self.any_word("an expression")?;
        Ok(match word.as_str() {
            "const" => Expr::Const { elem: self.elem()?, value: self.parsed("a number")? },
            "index" => Expr::Index { elem: self.elem()?, index: self.index(0)? },
            "load" => self.load()?,
            "select" => {
                let c = self.expr_id()?;
                self.mark(',')?;
                let a = self.expr_id()?;
                self.mark(',')?;
                Expr::Select(c, a, self.expr_id()?)
            }
            "cast" => Expr::Cast(self.elem()?, self.expr_id()?),
            "temp" => Expr::Temp(Temp(self.numbered('t')?)),
            "acc" => Expr::Acc(self.parsed("a number")?),
            other => match (Unary::parse(other), Binary::parse(other)) {
                (Some(f), _) => Expr::Unary(f, self.expr_id()?),
                (_, Some(f)) => {
                    let a = self.expr_id()?;
                    self.mark(',')?;
                    Expr::Binary(f, a, self.expr_id()?)
                }
                _ => return Err(self.error(format!("no function `{other}`"))),
            },
        })
    }

    fn load(&mut self) -> Result<Expr> {
        let (buffer, index) = self.place()?;
        let mut bounds = Vec::new();
        if self.eat("if") {
            loop {
                let index = self.index(0)?;
                self.mark('<')?;
                bounds.push(Bound { index, extent: self.extent()? });
                if !self.eat("and") {
                    break;
                }
            }
        }
        let otherwise = if self.eat("else") { self.parsed("a number")? } else { 0.0 };
        Ok(Expr::Load { buffer, index, bounds, otherwise })
    }

    /// `b0[index]`
    fn place(&mut self) -> Result<(BufferId, Index)> {
        let buffer = self.buffer_id()?;
        self.mark('[')?;
        let index = self.index(0)?;
        self.mark(']')?;
        Ok((buffer, index))
    }

    fn extent(&mut self) -> Result<Extent> {
        match *self.peek() {
            Token::Numbered('n', number) => {
                self.next();
                Ok(Extent::Dim(Dim(number)))
            }
            _ => self.parsed("a size").map(Extent::Known),
        }
    }

    fn one_loop(&mut self) -> Result<Loop> {
        let var = Var(self.numbered('i')?);
        let name = self.name()?;
        self.word("in")?;
        Ok(Loop { var, name, extent: self.extent()? })
    }

    fn loops(&mut self) -> Result<Vec<Loop>> {
        let mut loops = Vec::new();
        if matches!(self.peek(), Token::Numbered('i', _)) {
            loops.push(self.one_loop()?);
            while self.eat_mark(',') {
                loops.push(self.one_loop()?);
            }
        }
        Ok(loops)
    }

    fn store(&mut self) -> Result<Store> {
        let (buffer, index) = self.place()?;
        self.mark('=')?;
        Ok(Store { buffer, index, value: self.expr_id()? })
    }

    fn stores(&mut self) -> Result<Vec<Store>> {
        self.mark('{')?;
        let mut stores = Vec::new();
        while !self.eat_mark('}') {
            stores.push(self.store()?);
        }
        Ok(stores)
    }

    fn fold(&mut self) -> Result<Fold> {
        let word = self.any_word("a fold")?;
        Fold::parse(&word).ok_or_else(|| self.error(format!("no fold `{word}`")))
    }

    fn nest(&mut self) -> Result<Nest> {
        let outer = self.loops()?;
        let only = if self.eat("only") { Some(self.expr_id()?) } else { None };
        let walk = if self.eat("walk") { Some(self.one_loop()?) } else { None };
        self.mark('{')?;
        let mut stages = Vec::new();
        while !self.eat_mark('}') {
            stages.push(self.stage()?);
        }
        Ok(Nest { outer, only, walk, stages })
    }

    fn stage(&mut self) -> Result<Stage> {
        if self.eat("map") {
            return Ok(Stage::Map { inner: self.loops()?, stores: self.stores()? });
        }
        if self.eat("running") {
            let fold = self.fold()?;
            let exclusive = self.eat("exclusive");
            self.word("over")?;
            let over = self.one_loop()?;
            self.word("of")?;
            let value = self.expr_id()?;
            self.mark('{')?;
            let store = self.store()?;
            self.mark('}')?;
            return Ok(Stage::Running { fold, over, exclusive, value, store });
        }
        let temp = Temp(self.numbered('t')?);
        self.mark('=')?;
        let fold = self.fold()?;
        let elem = self.elem()?;
        self.word("over")?;
        let inner = self.loops()?;
        let segment = if self.eat("segment") { Some(self.segment()?) } else { None };
        self.word("of")?;
        Ok(Stage::Reduce { temp, elem, fold, inner, segment, value: self.expr_id()? })
    }

    fn segment(&mut self) -> Result<Segment> {
        let at = self.index(0)?;
        self.word("order")?;
        let order = self.buffer_id()?;
        self.word("offsets")?;
        Ok(Segment { order, offsets: self.buffer_id()?, at })
    }

    fn contract(&mut self) -> Result<Contract> {
        self.word("batch")?;
        let batch = self.one_loop()?;
        self.word("rows")?;
        let rows = self.one_loop()?;
        self.word("cols")?;
        let cols = self.one_loop()?;
        self.word("sums")?;
        let sums = self.loops()?;
        self.word("groups")?;
        let groups = self.parsed("a count")?;
        let products = match () {
            () if self.eat("interleaved") => Products::Interleaved,
            () if self.eat("pairs") => Products::Pairs,
            () if self.eat("tiles") => Products::Tiles,
            () if self.eat("bytes") => Products::Bytes,
            () if self.eat("byte_tiles") => Products::ByteTiles,
            () => Products::One,
        };
        self.word("x")?;
        let x = self.expr_id()?;
        self.word("w")?;
        let w = self.buffer_id()?;
        let mut blocks = None;
        if self.eat("bits") {
            let bits = self.parsed("a count")?;
            self.word("by")?;
            let size = self.parsed("a count")?;
            self.word("scales")?;
            blocks = Some(Blocks { bits, size, scales: self.buffer_id()? });
        }
        let mut grouping = None;
        if self.eat("experts") {
            let experts = self.extent()?;
            let last_is_none = self.eat("last");
            if last_is_none {
                self.word("none")?;
            }
            self.word("order")?;
            let order = self.buffer_id()?;
            self.word("offsets")?;
            grouping = Some(Grouping { experts, last_is_none, order, offsets: self.buffer_id()? });
        }
        Ok(Contract { batch, rows, cols, sums, groups, products, x, w, blocks, grouping, stores: self.stores()? })
    }

    fn attend(&mut self) -> Result<Attend> {
        self.word("batch")?;
        let batch = self.one_loop()?;
        let only = if self.eat("only") { Some(self.expr_id()?) } else { None };
        self.word("rows")?;
        let rows = self.one_loop()?;
        self.word("over")?;
        let over = self.one_loop()?;
        self.word("by")?;
        let block = self.parsed("a count")?;
        self.word("cols")?;
        let cols = self.one_loop()?;
        self.word("sums")?;
        let sums = self.loops()?;
        self.word("x")?;
        let x = self.expr_id()?;
        self.word("keys")?;
        let keys = self.buffer_id()?;
        self.word("score")?;
        let score = self.expr_id()?;
        self.word("values")?;
        let values = self.buffer_id()?;
        Ok(Attend { batch, only, rows, over, cols, sums, block, x, keys, score, values, stores: self.stores()? })
    }

    fn top_k(&mut self) -> Result<TopK> {
        let rows = self.loops()?;
        self.word("over")?;
        let over = self.one_loop()?;
        self.word("of")?;
        let value = self.expr_id()?;
        self.word("take")?;
        let k = self.extent()?;
        self.word("slot")?;
        let slot = Var(self.numbered('i')?);
        self.mark('{')?;
        let (buffer, index) = self.place()?;
        self.mark('}')?;
        Ok(TopK { rows, over, k, value, slot, buffer, index })
    }

    fn group_rows(&mut self) -> Result<GroupRows> {
        let rows = self.loops()?;
        self.word("of")?;
        let expert = self.expr_id()?;
        self.word("experts")?;
        let experts = self.extent()?;
        self.word("order")?;
        let order = self.buffer_id()?;
        self.word("offsets")?;
        Ok(GroupRows { rows, experts, expert, order, offsets: self.buffer_id()? })
    }

    /// A sum of products.
    fn index(&mut self, depth: usize) -> Result<Index> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("an index nests at most {MAX_DEPTH} deep")));
        }
        let mut terms = vec![self.product(depth)?];
        while self.eat_mark('+') {
            terms.push(self.product(depth)?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Index::Add(terms) })
    }

    fn product(&mut self, depth: usize) -> Result<Index> {
        let mut factors = vec![self.factor(depth)?];
        while self.eat_mark('*') {
            factors.push(self.factor(depth)?);
        }
        Ok(if factors.len() == 1 { factors.remove(0) } else { Index::Mul(factors) })
    }

    fn factor(&mut self, depth: usize) -> Result<Index> {
        match *self.peek() {
            Token::Numbered('i', number) => {
                self.next();
                Ok(Index::Var(Var(number)))
            }
            Token::Numbered('n', number) => {
                self.next();
                Ok(Index::Dim(Dim(number)))
            }
            Token::Mark('(') => {
                self.next();
                let inside = self.index(depth + 1)?;
                let index = if self.eat_mark('/') {
                    Index::Div(Box::new(inside), Box::new(self.index(depth + 1)?))
                } else if self.eat("mod") {
                    Index::Mod(Box::new(inside), Box::new(self.index(depth + 1)?))
                } else {
                    inside
                };
                self.mark(')')?;
                Ok(index)
            }
            Token::Word(ref word) if word == "value" => {
                self.next();
                self.mark('(')?;
                let expr = self.expr_id()?;
                self.mark(',')?;
                let extent = self.extent()?;
                self.mark(')')?;
                Ok(Index::Value(expr, extent))
            }
            _ => self.parsed("an index").map(Index::Known),
        }
    }
}
