//! The typed program: what the front end hands to the compiler.
//!
//! Blocks are instantiated, names and axes resolved, every type known. A program that exists has passed every check: the
//! compiler may rely on each statement made here. There is no order of axes but at the boundary (`Tensor::order`).

mod functions;

use std::ops::Range;
use std::sync::Arc;

use crate::size::Size;

pub use functions::{Binary, Mix, PadMode, Reduce, Running, Unary};

/// A place in the source: file (index into [`Program::files`]) and byte range.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

/// On one line, for trees are printed with the places of all that is in them.
impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}..{}", self.file, self.start, self.end)
    }
}

/// Element types of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Elem {
    F32,
    F16,
    Bf16,
    F64,
    I32,
    I64,
    I8,
    U8,
    Bool,
}

impl Elem {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }
}

/// An axis: an index into [`Program::axes`]. Two axes are the same axis exactly if their ids are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AxisId(pub u32);

/// An axis after resolution. Names are unique in a program (`h`, `h'`, and `h.2` for the `h` of another instance).
#[derive(Clone, Debug)]
pub struct Axis {
    pub name: Arc<str>,
    pub size: Size,
    pub span: Span,
}

/// A size that is bound when the model runs.
#[derive(Clone, Debug)]
pub struct Symbol {
    pub name: Arc<str>,
    /// `axis seq <= 4096`
    pub bound: Option<i64>,
}

/// The type of a value: an element type and a set of axes, sorted by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub elem: Elem,
    pub axes: Vec<AxisId>,
}

/// A tensor at the boundary: `order` is the order of its bytes, outermost first.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub elem: Elem,
    pub order: Vec<AxisId>,
    /// Of an input, a scalar: its value where a caller does not set it.
    pub default: Option<f64>,
    pub doc: String,
    pub span: Span,
}

/// A parameter. Its tensor's name is its dotted path (`experts.gate`); its axes include those gained from `route`/`repeat`.
#[derive(Clone, Debug)]
pub struct Param {
    pub tensor: Tensor,
    /// Where its values stand in a weight file.
    pub source: Source,
    /// `buffer`: saved with the weights, but nothing that is trained.
    pub buffer: Option<Buffer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buffer {
    /// Every element's value where a weight file lacks it.
    pub default: Option<f64>,
}

/// A parameter of few bits: two of the program's parameters stand for one of the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantized {
    /// Parameters: values, scales.
    pub values: usize,
    pub scales: usize,
    /// Of a value: 8, or 4, of which a byte holds two.
    pub bits: u32,
    /// The axis in blocks, of `size` elements.
    pub axis: AxisId,
    pub size: i64,
    /// What the values have in its place as they are stored: the axis itself, or its bytes.
    pub stored: AxisId,
}

/// Names and order of a parameter in a weight file: `from "layers.{layer}.w1.weight"[h, d]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Literal pieces and axes whose index stands in the name; one tensor of the file for each value of those axes.
    pub name: Vec<NamePiece>,
    /// The order of the axes of each such tensor, outermost first.
    pub order: Vec<FileAxis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePiece {
    Text(String),
    /// The index of `axis`, counted from `first`.
    Index {
        axis: AxisId,
        first: i64,
    },
}

/// One axis of a tensor in a weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAxis {
    /// One of the parameter's axes.
    Axis(AxisId),
    /// Several of the parameter's axes stored as one, outermost first: `part * freq`.
    Merged(Vec<AxisId>),
    /// `_`: an axis of size 1 that the parameter lacks.
    Unit,
}

/// `state h: f32[batch, h] = 0.0`, or a buffer that an entry sets.
#[derive(Clone, Debug)]
pub struct State {
    pub tensor: Tensor,
    /// What it is in a new session.
    pub init: Init,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element's value.
    Each(f64),
    /// That of parameter `i`, a buffer, element by element as the weight file has them.
    Param(usize),
}

#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub doc: String,
    /// Source files as (path, text); [`Span::file`] points here.
    pub files: Vec<(String, Arc<str>)>,
    pub symbols: Vec<Symbol>,
    pub axes: Vec<Axis>,
    pub params: Vec<Param>,
    pub quantized: Vec<Quantized>,
    pub states: Vec<State>,
    pub entries: Vec<Entry>,
}

/// One entry of a network; a `model` is a network with one entry of the same name.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    /// Operands stand before the nodes that use them. The nodes of a loop's body are a contiguous range of this list, right
    /// before the loop's own node.
    pub nodes: Vec<Node>,
    /// One for each output, of the output's type.
    pub results: Vec<NodeId>,
    /// (state, value that it has after the call)
    pub next_states: Vec<(usize, NodeId)>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub ty: Type,
    pub span: Span,
}

/// What a node computes. Pointwise operands broadcast by axis: the type's axes are the union of the operands' axes.
/// Operands of one pointwise node have equal element types (the front end inserts [`Kind::Cast`]).
#[derive(Clone, Debug)]
pub enum Kind {
    /// Input `i` of the entry.
    Input(usize),
    /// Parameter `i` of the program, with all its axes. Inside a `repeat` the front end selects the iteration by [`Kind::Item`].
    Param(usize),
    /// State `i` of the program, as it was before the call.
    State(usize),
    /// A scalar.
    Number(f64),
    /// A small constant tensor, values in the given order of axes, outermost first.
    Table {
        order: Vec<AxisId>,
        values: Arc<[f64]>,
    },
    /// `index(t)`: `i32[t]`, 0, 1, ...
    Index(AxisId),
    /// `size(k)` of an axis whose size may be symbolic; a scalar of the node's element type.
    SizeOf(AxisId),
    Unary(Unary, NodeId),
    Binary(Binary, NodeId, NodeId),
    /// `where(cond, then, otherwise)`
    Where(NodeId, NodeId, NodeId),
    Cast(NodeId),
    /// Adds axes that the operand lacks; the type says which.
    Broadcast(NodeId),
    /// `a @[k] b`: sum of products over `over`, which both have.
    Contract {
        over: Vec<AxisId>,
        a: NodeId,
        b: NodeId,
    },
    Reduce {
        with: Reduce,
        over: Vec<AxisId>,
        x: NodeId,
    },
    /// `cumsum[t](x)` and its kin; `exclusive` leaves the element itself out.
    Running {
        with: Running,
        over: AxisId,
        exclusive: bool,
        x: NodeId,
    },
    Softmax {
        over: Vec<AxisId>,
        x: NodeId,
    },
    LogSumExp {
        over: Vec<AxisId>,
        x: NodeId,
    },
    /// `x / sqrt(mean(x^2) + eps) * scale`
    RmsNorm {
        over: Vec<AxisId>,
        x: NodeId,
        scale: Option<NodeId>,
        eps: f64,
    },
    /// `(x - mean) / sqrt(var + eps) * scale + shift`
    LayerNorm {
        over: Vec<AxisId>,
        x: NodeId,
        scale: Option<NodeId>,
        shift: Option<NodeId>,
        eps: f64,
    },
    Rename {
        from: AxisId,
        to: AxisId,
        x: NodeId,
    },
    /// `x[d -> head * k]`, outermost first.
    Split {
        from: AxisId,
        to: Vec<AxisId>,
        x: NodeId,
    },
    /// `x[head * k -> d]`, outermost first.
    Merge {
        from: Vec<AxisId>,
        to: AxisId,
        x: NodeId,
    },
    /// `x[t = 3]`: one element of a known index.
    Pick {
        axis: AxisId,
        index: i64,
        x: NodeId,
    },
    /// `x[t = 1..5]`: `to` has the elements from `start`, its size says how many.
    Slice {
        from: AxisId,
        to: AxisId,
        start: i64,
        x: NodeId,
    },
    /// `x[t = idx]`: the index tensor's axes take the place of `axis`; axes that both have go together.
    Gather {
        axis: AxisId,
        index: NodeId,
        x: NodeId,
    },
    /// `segment_sum[from -> to](x, index)`: the elements of `from` that have one index are folded; the unit of the fold where
    /// none has (the mean of none is 0).
    Segment {
        with: Reduce,
        from: AxisId,
        to: AxisId,
        index: NodeId,
        x: NodeId,
    },
    /// `segment_softmax[from -> to](x, index)`: a softmax over the elements that have one index.
    SegmentSoftmax {
        from: AxisId,
        to: AxisId,
        index: NodeId,
        x: NodeId,
    },
    /// `x[t = t + by else fill]`
    Shift {
        axis: AxisId,
        by: i64,
        fill: f64,
        x: NodeId,
    },
    /// `pad[t: before..after](x, mode)`: `to` is the longer axis.
    Pad {
        from: AxisId,
        to: AxisId,
        before: i64,
        mode: PadMode,
        x: NodeId,
    },
    /// `window(x, w -> kw: 3, ...)`: element `(to, tap)` is `x[from = to * stride + tap * dilation - pad]`, 0 outside.
    Window {
        from: AxisId,
        to: AxisId,
        tap: AxisId,
        stride: i64,
        dilation: i64,
        pad: i64,
        x: NodeId,
    },
    /// Operands along `to`, one after the other; operand `i` has axis `axes[i]` there.
    Concat {
        to: AxisId,
        axes: Vec<AxisId>,
        xs: Vec<NodeId>,
    },
    /// Operands along a new axis.
    Stack {
        axis: AxisId,
        xs: Vec<NodeId>,
    },
    /// A quantised parameter's values and scales as `f32`: `value * scale`, of which `size` neighbours along `axis` have one in common.
    Dequantize {
        axis: AxisId,
        /// The axis that scales have in its place.
        block: AxisId,
        size: i64,
        /// The axis of bytes that hold two values each.
        bytes: Option<AxisId>,
        x: NodeId,
        scale: NodeId,
    },
    /// Indices of the `size(slot)` largest along `axis`, largest first, ties to the lower index, NaN last: `i32[.., slot]`.
    TopK {
        axis: AxisId,
        slot: AxisId,
        x: NodeId,
    },
    /// `route`: evaluates `body` for the chosen experts.
    ///
    /// `index: i32[.., slot]` says which, `weight: f32[.., slot]` how much each counts (`None`: `all`, every expert, weights
    /// over the axis itself). `body` computes `value: T[.., expert, ..]` *for every expert* (its parameters carry `expert`):
    /// dense meaning; the compiler makes it sparse. Result: `mix` over the slots of `value[expert = index]`.
    /// `drops`: a slot of index -1 has no expert, its value is 0 (`mix` is `Sum`, `None` or `Concat` then).
    Route {
        expert: AxisId,
        slot: Option<AxisId>,
        index: Option<NodeId>,
        weight: Option<NodeId>,
        drops: bool,
        mix: Mix,
        value: NodeId,
    },
    /// A loop over `axis` (`scan`, and `repeat`, whose axis is the layer). The values of one iteration are [`Kind::Item`] and
    /// [`Kind::Carry`] nodes within `body`. Its results are the nodes [`Kind::Yielded`] and [`Kind::Last`] that follow it.
    Loop(Box<Loop>),
    /// In a loop's body: the current element along the loop's axis of a value from outside the loop.
    Item {
        axis: AxisId,
        x: NodeId,
    },
    /// In a loop's body: carry `i` before this iteration.
    Carry(usize),
    /// In a loop's body: the iteration's number, `i32[]`.
    Step(AxisId),
    /// Yield `i` of a loop, stacked along its axis.
    Yielded {
        of: NodeId,
        index: usize,
    },
    /// Value after the last iteration of `finals[i]` of a loop; its initial value where the axis is empty.
    Last {
        of: NodeId,
        index: usize,
    },
}

#[derive(Clone, Debug)]
pub struct Loop {
    pub axis: AxisId,
    pub reverse: bool,
    /// The nodes of the body.
    pub body: Range<u32>,
    /// Initial values, from outside.
    pub inits: Vec<NodeId>,
    /// Values after an iteration, from the body; one for each init, of its type.
    pub nexts: Vec<NodeId>,
    /// Values of the body that are stacked along the axis (reads `carry` after the step: what `next` set).
    pub yields: Vec<NodeId>,
}

impl Entry {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl Program {
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.0 as usize]
    }
}
