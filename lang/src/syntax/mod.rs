//! The syntax tree: what was written, with its places.

pub mod bounds;
mod choice;
mod expressions;
mod parse;
mod route;
mod source;
mod tokens;
mod wrong;

pub(crate) use expressions::precedence;
pub use parse::parse;
pub(crate) use parse::{Rule, pairs};
pub use tokens::{Comment, Token, tokens};

use crate::program::Span;

/// A name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug, Default)]
pub struct File {
    pub doc: String,
    pub items: Vec<Item>,
    /// Every comment, in order.
    pub comments: Vec<Span>,
}

#[derive(Clone, Debug)]
pub enum Item {
    Use(Use),
    Axis(Axis),
    Type(RecordType),
    Const(Const),
    /// `fn`, `block`, `model`.
    Callable(Callable),
    Network(Network),
}

/// `use "file.gate"`, `use a, b from "file.gate"`
#[derive(Clone, Debug)]
pub struct Use {
    pub path: String,
    pub path_span: Span,
    /// Those of its names that are used; all of them where none is written.
    pub names: Option<Vec<Name>>,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub name: Name,
    pub size: AxisSize,
    pub doc: String,
}

#[derive(Clone, Debug)]
pub enum AxisSize {
    Symbolic,
    Is(Expr),
    AtMost(Expr),
}

/// `type moments = (mean: f32[d], var: f32[d])`
#[derive(Clone, Debug)]
pub struct RecordType {
    pub name: Name,
    pub fields: Fields,
    pub doc: String,
    pub span: Span,
}

/// A size that a callable has of its own, with its default.
pub type OwnSize = (Name, Option<Expr>);

/// Tensors and records by their names.
pub type Fields = Vec<(Name, ResultTy)>;

#[derive(Clone, Debug)]
pub struct Const {
    pub name: Name,
    pub ty: Option<Ty>,
    pub value: ConstValue,
}

#[derive(Clone, Debug)]
pub enum ConstValue {
    Expr(Expr),
    /// Values, and the extents as nested, outermost first.
    Table {
        values: Vec<f64>,
        extents: Vec<usize>,
        span: Span,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallableKind {
    Fn,
    Block,
    Model,
    Entry,
}

#[derive(Clone, Debug)]
pub struct Callable {
    pub kind: CallableKind,
    pub name: Name,
    pub args: Vec<Declared>,
    /// `; h = 64, k`: axes of the block's own, and their sizes where a call gives none.
    pub sizes: Vec<OwnSize>,
    pub result: Option<ResultTy>,
    pub body: Body,
    pub doc: String,
    pub span: Span,
}

/// An argument of a signature.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: Name,
    pub is: DeclaredAs,
    /// `= 1.0`: what it is if a call does not say.
    pub default: Option<Expr>,
}

#[derive(Clone, Debug)]
pub enum ResultTy {
    One(Ty),
    Record(Fields),
    /// The name of a record's type.
    Named(Name),
}

#[derive(Clone, Debug)]
pub enum DeclaredAs {
    Tensor(Ty),
    Record(Fields),
    /// `f: block`
    Block,
    /// `cell: name`, `gated: bool`, `n: number`: known when building; or the name of a record's type.
    Known(Name),
}

#[derive(Clone, Debug)]
pub struct Network {
    pub name: Name,
    pub axes: Vec<Axis>,
    pub statements: Vec<Statement>,
    pub entries: Vec<Callable>,
    pub doc: String,
}

#[derive(Clone, Debug)]
pub struct Ty {
    pub elem: Name,
    pub axes: Vec<Name>,
    /// `d: 32`: an axis, by its place in `axes`, and how many elements of it a block has.
    pub blocks: Vec<(usize, Expr)>,
    /// `..`
    pub rest: bool,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Body {
    pub statements: Vec<Statement>,
    pub value: Option<Box<Expr>>,
    pub span: Span,
}

impl Body {
    /// A value alone.
    pub fn of(value: Expr) -> Self {
        Self { statements: Vec::new(), span: value.span, value: Some(Box::new(value)) }
    }
}

#[derive(Clone, Debug)]
pub enum Statement {
    /// `param`, and `buffer`, which says how.
    Param {
        names: Vec<Name>,
        ty: Ty,
        source: Option<Source>,
        buffer: Option<Buffer>,
    },
    Part {
        names: Vec<Name>,
        block: Name,
        sizes: Vec<(Name, Expr)>,
        place: Option<Place>,
    },
    State {
        names: Vec<Name>,
        ty: Ty,
        init: Expr,
    },
    Let {
        names: Vec<Name>,
        is_record: bool,
        value: Expr,
    },
    NextState {
        name: Name,
        value: Expr,
    },
    Exit(Exit),
}

/// `buffer mean: f32[d] = 0.0`
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Every element's value where the weight file lacks it.
    pub default: Option<Expr>,
}

/// `exit axis when condition yield value`, `exit batch, t when ..`
#[derive(Clone, Debug)]
pub struct Exit {
    pub axes: Vec<Name>,
    pub condition: Expr,
    pub value: Expr,
}

/// `from "name"[order]`
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub name_span: Span,
    /// Each axis of the file.
    pub order: Option<Vec<FileAxis>>,
}

/// A sum of products: `h`, `head * k`, `wq + wk + wv`.
#[derive(Clone, Debug)]
pub struct FileAxis {
    pub terms: Vec<Vec<FileFactor>>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum FileFactor {
    /// An axis; `_` is a name here. A term of one name may be a parameter.
    Name(Name),
    /// `(gate, up)`: parameters, one after the other.
    OneOf(Vec<Name>),
}

/// `from "encoder.{layer}"` behind an instance.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    /// With its quotes.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Number(f64),
    Bool(bool),
    /// `"rhn"`: a name known when building.
    Text(String),
    Name(Name),
    Unary(Prefix, Box<Expr>),
    Binary(Infix, Box<Expr>, Box<Expr>),
    /// `a @ b`, `a @[k] b`
    At {
        axes: Option<Vec<Name>>,
        a: Box<Expr>,
        b: Box<Expr>,
    },
    Field(Box<Expr>, Name),
    /// `r.{task}`: the field that a name known when building says.
    FieldOf(Box<Expr>, Name),
    Brackets(Box<Expr>, Vec<Bracket>),
    Record(Vec<(Name, Expr)>),
    /// `(a, b)`: several values, which only `next` takes.
    Tuple(Vec<Expr>),
    Call(Call),
    Scan(Box<Scan>),
    Repeat(Box<Repeat>),
    Route(Box<Route>),
    Choose(Box<Choose>),
    If(Box<If>),
    Match(Box<Match>),
    For(Box<For>),
    Last(Name),
}

/// `if a { .. } else if b { .. } else { .. }`: decided when building.
#[derive(Clone, Debug)]
pub struct If {
    pub sides: Vec<(Expr, Body)>,
    pub otherwise: Option<Body>,
}

/// `match cell { "rhn": .. else: .. }`: decided when building.
#[derive(Clone, Debug)]
pub struct Match {
    pub value: Expr,
    /// No patterns: `else`.
    pub arms: Vec<(Vec<Expr>, Body)>,
}

/// `for task in [seg, depth] { .. }`, `for member in 5 { .. }`: copies with parameters of their own.
#[derive(Clone, Debug)]
pub struct For {
    pub name: Name,
    pub over: Copies,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Copies {
    /// `[seg, depth]`
    Names(Vec<Name>),
    /// So many, along an axis.
    Count(Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Infix {
    Or,
    And,
    Eq,
    Ne,
    Le,
    Ge,
    Lt,
    Gt,
    BitOr,
    BitXor,
    BitAnd,
    Shl,
    Shr,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub label: Option<Name>,
    pub callee: Name,
    /// `sum[d](x)`, `pad[t: 1..1](x)`, `segment_sum[edge -> node](x, index)`, `top[t -> k: 8](x)`
    pub axes: Vec<CallAxis>,
    pub args: Vec<Argument>,
    /// After the semicolon: sizes of axes, or values of parameters; the block says which.
    pub sizes: Vec<(Name, Expr)>,
    /// After the semicolon: values of parameters of instances within, by their path.
    pub given: Vec<(Vec<Name>, Expr)>,
    pub place: Option<Place>,
}

#[derive(Clone, Debug)]
pub struct CallAxis {
    pub name: Name,
    pub into: Option<Name>,
    pub from: Option<Expr>,
    pub to: Option<Expr>,
}

#[derive(Clone, Debug)]
pub enum Argument {
    Expr(Expr),
    Named(Name, Expr),
    /// `drop(else x)`
    Dropped(Name, Expr),
    /// `w -> kw: 3`, `w -> out, kw: 3`
    Window {
        from: Name,
        to: Option<Name>,
        tap: Name,
        size: Expr,
    },
}

#[derive(Clone, Debug)]
pub enum Bracket {
    Arrow {
        from: Vec<Name>,
        to: Vec<Name>,
        span: Span,
    },
    /// `[t = 3]`, `[t = idx]`, `[t = t - 1 else 0.0]`
    Pick {
        axis: Name,
        value: Box<Expr>,
        fill: Option<Box<Expr>>,
        span: Span,
    },
    /// `[t = 1..5]`; either end may be open.
    Slice {
        axis: Name,
        from: Option<Box<Expr>>,
        to: Option<Box<Expr>>,
        span: Span,
    },
}

#[derive(Clone, Debug)]
pub struct Carried {
    pub name: Name,
    pub ty: Option<ResultTy>,
    pub init: Option<Expr>,
}

#[derive(Clone, Debug)]
pub struct Scan {
    pub axis: Name,
    /// `scan step in 20`: an axis of its own.
    pub times: Option<Expr>,
    pub reverse: bool,
    /// `lengths = n`: each sequence has its own.
    pub lengths: Option<Expr>,
    /// `segments[seq] = of`: sequences one after the other.
    pub segments: Option<Segments>,
    pub carries: Vec<Carried>,
    pub statements: Vec<Statement>,
    pub nexts: Vec<Expr>,
    pub until: Option<Expr>,
    pub yields: Expr,
}

#[derive(Clone, Debug)]
pub struct Segments {
    /// That of the sequences.
    pub axis: Option<Name>,
    pub of: Expr,
}

#[derive(Clone, Debug)]
pub struct Repeat {
    pub axis: Name,
    pub count: Expr,
    pub carries: Vec<Carried>,
    pub statements: Vec<Statement>,
    pub nexts: Vec<Expr>,
    pub until: Option<Expr>,
    pub yields: Option<Expr>,
    pub otherwise: Option<Expr>,
}

/// `local: tiny(x)`
#[derive(Clone, Debug)]
pub struct Arm {
    pub name: Name,
    pub value: Expr,
}

/// `choose g { wide: f(x)  small: h(x) }`
#[derive(Clone, Debug)]
pub struct Choose {
    pub by: Expr,
    /// For all arms.
    pub statements: Vec<Statement>,
    pub arms: Arms,
}

#[derive(Clone, Debug)]
pub enum Arms {
    Named(Vec<Arm>),
    /// `level in 0..16: f(x, level)`
    Each {
        name: Name,
        from: Box<Expr>,
        to: Box<Expr>,
        value: Box<Expr>,
    },
}

#[derive(Clone, Debug)]
pub struct Route {
    pub x: Expr,
    /// `over e`
    pub expert: Option<Name>,
    pub policy: Expr,
    /// What all experts do, each with parameters of its own; or, without a value, what stands before the arms.
    pub body: Body,
    /// Experts of different kinds, in the order of their numbers.
    pub arms: Vec<Arm>,
    /// Left out where one expert is chosen.
    pub mix: Option<Name>,
    /// `mix concat[axis]`
    pub mix_axis: Option<Name>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Rule, pairs};

    /// Programs of the reference, which `tests/reference.rs` checks.
    #[test]
    fn every_construct_of_the_grammar_stands_in_an_example_of_the_reference() {
        let text = include_str!("../../../docs/language.md");
        let mut seen: BTreeSet<Rule> = BTreeSet::new();
        for program in text.split("```gate\n").skip(1).filter_map(|b| b.split("```").next()) {
            let file = pairs(0, program).unwrap_or_else(|d| panic!("{}", d.message));
            seen.extend(std::iter::once(file).flat_map(|p| p.into_inner().flatten()).map(|p| p.as_rule()));
        }
        // What leaves no trace in the tree: the file itself, words, and rules that are only looked for.
        let silent = [Rule::file, Rule::keyword, Rule::WHITESPACE, Rule::COMMENT];
        let missing: Vec<&Rule> =
            Rule::all_rules().iter().filter(|r| !seen.contains(r) && !silent.contains(r)).collect();
        assert!(missing.is_empty(), "docs/language.md has no example of {missing:?}");
    }
}
