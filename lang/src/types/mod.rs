//! Checks a syntax tree and instantiates its blocks: names, axes, types and sizes are resolved, and what comes out is a
//! [`Program`] of typed nodes.
//!
//! An axis is its name and its size: `h` of 64 and `h` of 128 are two axes, and two `src` of one size are one. All errors are
//! collected: a value that has one is [`Val::Error`], and nothing is said of what is made of it.

mod arms;
mod axes;
mod block_arguments;
mod brackets;
mod builtin;
mod calls;
mod capacity;
mod carry;
mod choice;
mod choose;
mod contract;
mod defaults;
mod entry;
mod exit;
mod expr;
mod fused;
mod given;
mod lengths;
mod loops;
mod packed;
mod params;
mod pointwise;
mod policy;
mod quantized;
mod queue;
mod random;
mod records;
mod reduce;
mod rename;
mod results;
mod route;
mod scope;
mod segment;
mod select;
mod sizes;
mod soft;
mod source;
mod subtree;
mod values;
mod window;
mod yields;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostics::{Diagnostic, Diagnostics, codes, near};
use crate::files::Files;
use crate::program::{self, AxisId, Elem, Kind, NamePiece, Node, NodeId, Program, Span, Type, Unary};
use crate::size::{MAX_SIZE, Size};
use crate::syntax::{self, Item};

use scope::Scope;

/// A diagnostic has been written; there is no value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported;

pub(crate) type Checked<T> = Result<T, Reported>;

/// What an expression is.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    Tensor(NodeId),
    /// A number known when building; it takes the element type of what it meets.
    Number(f64),
    /// Known when building.
    Bool(bool),
    /// A name known when building: `"rhn"`.
    Text(String),
    /// A size that is bound when the model runs, or made of such; it takes the element type of what it meets, too.
    Size(Size),
    Record(Vec<(String, Val)>),
    /// What a routing policy gives.
    Plan(route::Plan),
    /// A shared instance of a block.
    Part {
        block: Template,
        path: Vec<String>,
        /// Axes of the block in which it is declared.
        around: BTreeMap<String, AxisId>,
        /// What the names of its tensors in a weight file begin with, where that is not its path.
        place: Option<Vec<NamePiece>>,
        /// Values of its parameters, if the block in which it is declared was given some.
        given: scope::Given,
        /// Axes that its parameters gain: those of the routes and repeats around its declaration, not around its calls.
        gained: Vec<AxisId>,
    },
    /// A block that is an argument: each call is an instance.
    Block(Template),
    /// A function of the language that is an argument in the place of a block.
    Function(Unary, String),
    /// Parameters of a subtree.
    Params(Vec<subtree::Member>),
    /// Something wrong, of which has been told.
    Error,
}

/// What a file knows: its own declarations, and the blocks, functions and constants of those that it uses.
#[derive(Default)]
pub(crate) struct Names<'s> {
    pub callables: BTreeMap<String, &'s syntax::Callable>,
    pub consts: BTreeMap<String, &'s syntax::Const>,
    pub types: BTreeMap<String, &'s syntax::RecordType>,
    /// Axes that the file declares.
    pub axes: BTreeMap<String, AxisId>,
}

/// A block by its name in a file, and what it was given where it was named.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub name: String,
    pub file: usize,
    pub sizes: Vec<(syntax::Name, AxisId)>,
    /// Its first arguments, which are blocks.
    pub first: Vec<Val>,
}

/// What is being checked.
pub(crate) struct Checker<'s> {
    pub out: Diagnostics,
    /// What each file knows, and the file that is being looked at.
    names: Vec<Names<'s>>,
    here: usize,
    pub program: Program,
    /// Names of axes as written, by id; the program's names are unique.
    stems: Vec<String>,
    axis_ids: BTreeMap<(String, Size), AxisId>,
    param_ids: BTreeMap<String, usize>,
    /// By the name of a tensor of the weight file: the first parameter that is read from it, and its shape.
    stored_shapes: BTreeMap<String, (usize, String)>,
    used_params: Vec<bool>,
    param_spans: Vec<Span>,
    // The entry that is being checked.
    nodes: Vec<Node>,
    loops: Vec<loops::Around>,
    /// Axes that parameters gain, outermost first: of routes and repeats.
    gained: Vec<AxisId>,
    /// Expert axes of the routes around: batch axes of every contraction.
    experts: Vec<AxisId>,
    /// Carries that have an expert axis of a route around, though nothing says so but what they become.
    widened: BTreeSet<(Span, AxisId)>,
    /// A carry turned out to have one: its loop is checked anew.
    widens: bool,
    /// The experts of the route whose policy is being read.
    routed: Option<route::Routed>,
    /// What the routes around send to the experts that are being read.
    sent: Vec<route::Sent>,
    /// For the arms of a `choose` around: whether each was chosen.
    chosen: Vec<NodeId>,
    /// Blocks that are being instantiated.
    calling: Vec<Span>,
    next_states: Vec<params::NextState>,
    /// Bodies of `for` that were written out.
    copies: usize,
}

/// Nodes of one entry: blocks that call blocks grow fast.
const MAX_NODES: usize = 200_000;
/// Copies of one entry: those in copies multiply, though they may compute nothing.
const MAX_COPIES: usize = 10_000;
/// Blocks within blocks.
const MAX_CALLS: usize = 64;

/// Checks parsed files, the model's first. `sizes` gives its static axes other sizes.
pub(crate) fn check(files: &Files, sizes: &[(String, i64)]) -> (Option<Program>, Diagnostics) {
    let program = Program {
        name: String::new(),
        doc: files.trees[0].doc.clone(),
        files: files.out.files.clone(),
        symbols: Vec::new(),
        axes: Vec::new(),
        params: Vec::new(),
        quantized: Vec::new(),
        states: Vec::new(),
        entries: Vec::new(),
    };
    let mut checker = Checker {
        out: files.out.clone(),
        names: Vec::new(),
        here: 0,
        program,
        stems: Vec::new(),
        axis_ids: BTreeMap::new(),
        param_ids: BTreeMap::new(),
        stored_shapes: BTreeMap::new(),
        used_params: Vec::new(),
        param_spans: Vec::new(),
        nodes: Vec::new(),
        loops: Vec::new(),
        gained: Vec::new(),
        experts: Vec::new(),
        widened: BTreeSet::new(),
        widens: false,
        routed: None,
        sent: Vec::new(),
        chosen: Vec::new(),
        calling: Vec::new(),
        next_states: Vec::new(),
        copies: 0,
    };
    checker.files(files, sizes);
    let Checker { mut out, program, .. } = checker;
    out.list.sort_by_key(|d| (d.severity == crate::diagnostics::Severity::Warning, d.span.file, d.span.start));
    let good = !out.has_errors();
    // What is read where something is wrong has not been looked at.
    if !good {
        out.list.retain(|d| d.code != codes::UNUSED);
    }
    (good.then_some(program), out)
}

impl<'s> Checker<'s> {
    fn files(&mut self, files: &'s Files, sizes: &[(String, i64)]) {
        for (number, uses) in files.uses.iter().enumerate() {
            let mut names = Names::default();
            let used = uses.iter().filter(|used| used.file != number);
            self.declare(&mut names, &files.trees[number], number, None);
            for used in used {
                self.declare(&mut names, &files.trees[used.file], number, used.names.as_deref());
            }
            self.names.push(names);
        }
        for (number, tree) in files.trees.iter().enumerate() {
            self.here = number;
            let axes = tree.items.iter().filter_map(|i| if let Item::Axis(a) = i { Some(a) } else { None });
            self.declare_axes(axes, if number == 0 { sizes } else { &[] });
        }
        self.here = 0;
        self.model(&files.trees[0]);
    }

    /// What a tree declares, for file `number`: all of it, or what that file asks for. Its models are for nobody else.
    fn declare(&mut self, names: &mut Names<'s>, tree: &'s syntax::File, number: usize, only: Option<&[syntax::Name]>) {
        let is_asked = |name: &syntax::Name| only.is_none_or(|only| only.iter().any(|n| n.text == name.text));
        let mut offered: Vec<&str> = Vec::new();
        for item in &tree.items {
            match item {
                Item::Callable(callable) => {
                    let name = &callable.name;
                    let is_model = callable.kind == syntax::CallableKind::Model;
                    if is_model && name.span.file as usize != number {
                        continue;
                    }
                    offered.push(&name.text);
                    if !is_asked(name) {
                        continue;
                    }
                    if let Some(first) = names.callables.insert(name.text.clone(), callable) {
                        self.twice(name, first.name.span);
                    }
                }
                Item::Const(constant) => {
                    offered.push(&constant.name.text);
                    if !is_asked(&constant.name) {
                        continue;
                    }
                    if let Some(first) = names.consts.insert(constant.name.text.clone(), constant) {
                        self.twice(&constant.name, first.name.span);
                    }
                }
                Item::Type(ty) => {
                    offered.push(&ty.name.text);
                    if !is_asked(&ty.name) {
                        continue;
                    }
                    if let Some(first) = names.types.insert(ty.name.text.clone(), ty) {
                        self.twice(&ty.name, first.name.span);
                    }
                }
                Item::Axis(_) | Item::Network(_) | Item::Use(_) => {}
            }
        }
        for name in only.into_iter().flatten().filter(|name| !offered.contains(&name.text.as_str())) {
            let message = format!("the file has no block, function, constant or type `{}`", name.text);
            let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, name.span, message);
            self.say(match near(&name.text, offered.iter().copied()) {
                Some(near) => diagnostic.fix(name.span, near),
                None => diagnostic.help(format!("it has {}", offered.join(", "))),
            });
        }
    }

    /// What the file that is being looked at knows.
    pub fn known(&self) -> &Names<'s> {
        &self.names[self.here]
    }

    /// Does something in another file, with the names of that.
    pub fn in_file<T>(&mut self, file: u32, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.here, file as usize);
        let done = f(self);
        self.here = outer;
        done
    }

    fn model(&mut self, file: &'s syntax::File) {
        let models: Vec<_> = file
            .items
            .iter()
            .filter_map(|i| match i {
                Item::Callable(c) if c.kind == syntax::CallableKind::Model => Some(entry::Top::Model(c)),
                Item::Network(n) => Some(entry::Top::Network(n)),
                _ => None,
            })
            .collect();
        match models.as_slice() {
            [] => {
                let end = self.out.files[0].1.len() as u32;
                let at = Span { file: 0, start: end.saturating_sub(1), end };
                self.say(Diagnostic::error(codes::NO_MODEL, at, "there is no `model` and no `network` in this file"));
            }
            [only] => self.top(only),
            [_, second, ..] => {
                let at = second.name().span;
                let message = "a file holds one `model` or `network`";
                self.say(Diagnostic::error(codes::TWICE, at, message).help("put several entries into one `network`"));
            }
        }
        self.read_states();
        self.warn_of_unused_params();
    }

    pub fn say(&mut self, diagnostic: Diagnostic) -> Reported {
        // The same place is wrong once, however often a block is instantiated.
        let known =
            |d: &Diagnostic| d.code == diagnostic.code && d.span == diagnostic.span && d.message == diagnostic.message;
        if !self.out.list.iter().any(known) {
            self.out.list.push(diagnostic);
        }
        Reported
    }

    /// The text at a place.
    pub fn text(&self, span: Span) -> &str {
        let text = self.out.files.get(span.file as usize).map_or("", |(_, text)| text);
        text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The text at a place as an argument of a cast.
    pub fn cast_text(&self, elem: Elem, span: Span) -> String {
        format!("{}({})", elem.name(), self.text(span))
    }

    pub fn twice(&mut self, name: &syntax::Name, first: Span) -> Reported {
        let message = format!("`{}` is declared twice", name.text);
        self.say(Diagnostic::error(codes::TWICE, name.span, message).label("again here").also(first, "first here"))
    }

    // Nodes.

    pub fn push(&mut self, kind: Kind, elem: Elem, mut axes: Vec<AxisId>, span: Span) -> Checked<NodeId> {
        axes.sort();
        axes.dedup();
        if self.is_full() {
            let message = format!("the model has more than {MAX_NODES} operations");
            return Err(self.say(Diagnostic::error(codes::TOO_LARGE, span, message)));
        }
        self.same_names(&axes, span)?;
        let mut known = axes.iter().filter_map(|axis| self.size(*axis).as_known());
        if known.try_fold(1i64, |all, n| all.checked_mul(n).filter(|all| *all <= MAX_SIZE)).is_none() {
            let names: Vec<&str> = axes.iter().map(|axis| self.stem(*axis)).collect();
            let message = format!("a value over {} has more than {MAX_SIZE} elements", names.join(", "));
            return Err(self.say(Diagnostic::error(codes::TOO_LARGE, span, message)));
        }
        self.nodes.push(Node { kind, ty: Type { elem, axes }, span });
        Ok(NodeId(self.nodes.len() as u32 - 1))
    }

    pub fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_NODES
    }

    pub fn tensor(&mut self, kind: Kind, elem: Elem, axes: Vec<AxisId>, span: Span) -> Checked<Val> {
        self.push(kind, elem, axes, span).map(Val::Tensor)
    }

    /// Two axes of one name in one value have two sizes: somebody forgot to rename one.
    fn same_names(&mut self, axes: &[AxisId], span: Span) -> Checked<()> {
        for (i, &a) in axes.iter().enumerate() {
            if let Some(&b) = axes[..i].iter().find(|b| self.stem(**b) == self.stem(a)) {
                let (name, first, second) = (self.stem(a).to_string(), self.show_size(b), self.show_size(a));
                let message = format!("`{name}` has two sizes here: {first} and {second}");
                let help = format!("rename one of them: `x[{name} -> other]`");
                return Err(self.say(Diagnostic::error(codes::SIZES, span, message).help(help)));
            }
        }
        Ok(())
    }

    pub fn ty(&self, node: NodeId) -> &Type {
        &self.nodes[node.0 as usize].ty
    }

    pub fn has(&self, node: NodeId, axis: AxisId) -> bool {
        self.ty(node).axes.contains(&axis)
    }

    /// The axes of a node without some.
    pub fn axes_without(&self, node: NodeId, without: &[AxisId]) -> Vec<AxisId> {
        self.ty(node).axes.iter().copied().filter(|a| !without.contains(a)).collect()
    }

    /// A type in words: `f32[t, d]`.
    pub fn show(&self, ty: &Type) -> String {
        let axes: Vec<&str> = ty.axes.iter().map(|a| self.stem(*a)).collect();
        format!("{}[{}]", ty.elem.name(), axes.join(", "))
    }

    /// Two types in words, with the sizes of axes that one has and the other has another one of that name: `f32[f = 8]`.
    pub fn show_both(&self, a: &Type, b: &Type) -> (String, String) {
        let show = |ty: &Type, other: &Type| {
            let axes = ty.axes.iter().map(|axis| match self.namesake(*axis, &other.axes) {
                Some(_) => format!("{} = {}", self.stem(*axis), self.size(*axis)),
                None => self.stem(*axis).to_string(),
            });
            format!("{}[{}]", ty.elem.name(), axes.collect::<Vec<_>>().join(", "))
        };
        (show(a, b), show(b, a))
    }

    /// Another axis of the same name.
    pub fn namesake(&self, axis: AxisId, axes: &[AxisId]) -> Option<AxisId> {
        axes.iter().copied().find(|other| *other != axis && self.stem(*other) == self.stem(axis))
    }

    pub fn stem(&self, axis: AxisId) -> &str {
        &self.stems[axis.0 as usize]
    }

    pub fn size(&self, axis: AxisId) -> &Size {
        &self.program.axes[axis.0 as usize].size
    }

    /// An axis of that size.
    pub fn axis_with(&self, size: &Size) -> Option<AxisId> {
        let found = self.program.axes.iter().position(|axis| axis.size == *size)?;
        Some(AxisId(found as u32))
    }

    pub fn show_size(&self, axis: AxisId) -> String {
        self.size(axis).to_string()
    }

    pub fn not_yet<T>(&mut self, what: &str, span: Span) -> Checked<T> {
        let message = format!("{what} is part of the language, but not built yet");
        Err(self.say(Diagnostic::error(codes::FEATURE, span, message)))
    }

    fn fresh_scope(&self) -> Scope {
        Scope::new(self.known().axes.clone())
    }
}

/// The element type of a name.
pub(crate) fn elem_of(name: &str) -> Option<Elem> {
    use Elem::{Bf16, Bool, F16, F32, F64, I8, I32, I64, U8};
    [F32, F16, Bf16, F64, I32, I64, I8, U8, Bool].into_iter().find(|e| e.name() == name)
}

pub(crate) fn is_float(elem: program::Elem) -> bool {
    matches!(elem, Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::F64)
}
