//! What stands in an artifact, declared once: the compiler's writer and the runtime's reader use these types.
//!
//! An artifact is an ELF shared object without undefined symbols. Section `.gate.manifest` holds a [`Manifest`] as JSON;
//! section `.gate.ptx` the text of GPU kernels, compressed. Each kernel of each [`Variant`] is an exported function of type [`abi::Kernel`].

pub mod abi;
mod elem;
mod number;
mod size;

use serde::{Deserialize, Serialize};

pub use elem::Elem;
pub use size::SizeExpr;

/// Version of manifest and ABI. An artifact of another version is refused.
pub const VERSION: u32 = 7;
/// No buffer, file section or product of sizes is larger: byte offsets stay far inside `i64`.
pub const MAX_BYTES: u64 = 1 << 51;
/// The section that holds the manifest.
pub const MANIFEST_SECTION: &str = ".gate.manifest";
/// The section that holds PTX: a zlib stream of the text, which repeats itself a lot.
pub const PTX_SECTION: &str = ".gate.ptx";
/// No PTX text is longer: a reader inflates no more. The examples have a quarter of a megabyte.
pub const MAX_PTX_BYTES: usize = 256 << 20;

/// Everything that the runtime knows of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    /// Version of the compiler, for people.
    pub compiler: String,
    pub name: String,
    pub doc: String,
    /// Axes whose size is bound when the model runs.
    pub symbols: Vec<Symbol>,
    pub params: Vec<Param>,
    pub states: Vec<State>,
    pub entries: Vec<Entry>,
    /// One program for each kind of processor, best first.
    pub variants: Vec<Variant>,
    /// SHA-256, 64 hex digits, of the whole file with these digits as zeros ([`crate::open::seal`]). The last field, so that
    /// the digits stand right before the manifest's closing `"}`. Empty until the file is written.
    pub code_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    pub name: String,
    pub bound: Option<i64>,
}

/// A tensor at the boundary, dense, outermost axis first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    pub elem: Elem,
    pub axes: Vec<Axis>,
}

impl Tensor {
    /// How many elements it has under a binding of the symbols; `None` where a symbol is missing, a size is negative, or
    /// the tensor would not fit [`MAX_BYTES`].
    pub fn elements(&self, symbols: &[i64]) -> Option<u64> {
        let fits = |n: &u64| n.checked_mul(self.elem.bytes()).is_some_and(|bytes| bytes <= MAX_BYTES);
        // Every axis is bounded, also beside one of size 0.
        self.axes.iter().try_fold(1u64, |product, axis| {
            let size = u64::try_from(axis.size.eval(symbols)?).ok().filter(fits)?;
            product.checked_mul(size).filter(fits)
        })
    }

    /// Its bytes, likewise.
    pub fn bytes(&self, symbols: &[i64]) -> Option<u64> {
        Some(self.elements(symbols)? * self.elem.bytes())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    pub name: String,
    pub size: SizeExpr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Name and shape as kernels see it: all sizes known.
    pub tensor: Tensor,
    /// The tensors of the weight file that it is made of, in the order of its leading (indexed) axes: a single one as a rule,
    /// `layers x experts` of them for `from "layers.{layer}.experts.{e}.w1"`. Each is a contiguous, equal part.
    pub parts: Vec<String>,
    /// The shape of each of those tensors in the file. Same number of elements as the part; the order of bytes is the same.
    pub part_shape: Vec<u64>,
    /// Every element's value of a part that the file lacks.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "number::optional")]
    pub default: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub tensor: Tensor,
    pub init: Init,
}

/// What a state is in a new session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Every element's value.
    Each(#[serde(with = "number")] f64),
    /// That of the parameter of this number, of the same type and order.
    Param(u32),
}

/// What a caller runs. Several entries of one name are the same computation, planned for different sizes: they follow each other, and
/// the first serves whose bounds hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    /// Bounds of sizes that it serves; the last of a name has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_most: Vec<AtMost>,
    pub inputs: Vec<Tensor>,
    /// Inputs that a caller may leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defaults: Vec<InputDefault>,
    pub outputs: Vec<Tensor>,
    /// States that it reads or sets, by index.
    pub reads: Vec<u32>,
    pub sets: Vec<u32>,
    /// Where it takes indices from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indices: Vec<Indices>,
    /// What must be there of axes whose sizes are bound when the model runs: kernels rely on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

/// A size that must not be negative, and what it is of, in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Need {
    pub what: String,
    pub size: SizeExpr,
}

/// Elements of an input or a state are indices of an axis. Kernels check those that they read; this is for the message that says which one
/// was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indices {
    /// [`Place::Input`] or [`Place::State`].
    pub place: Place,
    pub axis: Axis,
    /// A negative one is no mistake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_negative: bool,
}

/// The input of that number, a scalar, has this value where a caller does not set it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputDefault {
    pub input: u32,
    #[serde(with = "number")]
    pub value: f64,
}

/// The symbol of that number is at most so large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtMost {
    pub symbol: u32,
    pub size: i64,
}

impl Entry {
    /// Is it meant for these sizes?
    pub fn serves(&self, symbols: &[i64]) -> bool {
        self.at_most.iter().all(|most| symbols.get(most.symbol as usize).is_some_and(|size| *size <= most.size))
    }
}

impl Manifest {
    /// What a caller can run: the first entry of each name.
    pub fn callable(&self) -> impl Iterator<Item = &Entry> + Clone {
        let is_first = |i: usize| i == 0 || self.entries[i - 1].name != self.entries[i].name;
        self.entries.iter().enumerate().filter(move |(i, _)| is_first(*i)).map(|(_, entry)| entry)
    }

    /// An entry's name, and for which sizes it is.
    pub fn title(&self, entry: &Entry) -> String {
        let symbol = |number: u32| self.symbols.get(number as usize).map_or("?", |s| s.name.as_str());
        title(&entry.name, entry.at_most.iter().map(|most| (symbol(most.symbol), most.size)))
    }

    /// The number of the entry of a name that serves these sizes.
    pub fn serving(&self, name: &str, symbols: &[i64]) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name && entry.serves(symbols))
    }
}

/// A name, and up to which sizes of symbols it is meant: `linear where t <= 64`.
pub fn title<'a>(name: &str, at_most: impl Iterator<Item = (&'a str, i64)>) -> String {
    let bounds: Vec<String> = at_most.map(|(symbol, size)| format!("{symbol} <= {size}")).collect();
    if bounds.is_empty() { name.to_owned() } else { format!("{name} where {}", bounds.join(", ")) }
}

/// What a variant needs of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Isa {
    /// The same as the next, and AMX: tiles of bf16.
    #[serde(rename = "x86-64-v4-amx")]
    X86V4Amx,
    /// The same as the next, and AVX-512 BF16: products of pairs.
    #[serde(rename = "x86-64-v4-bf16")]
    X86V4Bf16,
    /// AVX-512 F, BW, CD, DQ, VL, and FMA.
    #[serde(rename = "x86-64-v4")]
    X86V4,
    /// AVX2, FMA, F16C, BMI2.
    #[serde(rename = "x86-64-v3")]
    X86V3,
    /// Any x86-64.
    #[serde(rename = "x86-64")]
    X86,
    #[serde(rename = "aarch64")]
    Aarch64,
    /// A CUDA device of compute capability 8.0 or newer.
    #[serde(rename = "sm_80")]
    Sm80,
}

impl Isa {
    /// Best first within a machine.
    pub const ALL: [Self; 7] =
        [Self::X86V4Amx, Self::X86V4Bf16, Self::X86V4, Self::X86V3, Self::X86, Self::Aarch64, Self::Sm80];

    pub const fn name(self) -> &'static str {
        match self {
            Self::X86V4Amx => "x86-64-v4-amx",
            Self::X86V4Bf16 => "x86-64-v4-bf16",
            Self::X86V4 => "x86-64-v4",
            Self::X86V3 => "x86-64-v3",
            Self::X86 => "x86-64",
            Self::Aarch64 => "aarch64",
            Self::Sm80 => "sm_80",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The program of one kind of processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    pub isa: Isa,
    pub kernels: Vec<Kernel>,
    /// Buffers that `load` fills and that all sessions share: packed weights, constants. Sizes are known.
    pub kept: Vec<Kept>,
    /// Runs once when a model is loaded: parameters to kept buffers.
    pub load: Plan,
    /// One for each entry.
    pub entries: Vec<Plan>,
}

/// A buffer that lives as long as the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub name: String,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The exported symbol.
    pub symbol: String,
    /// What it computes, for people and profiles: `contract+silu`.
    pub label: String,
    pub args: u32,
    pub dims: u32,
    /// How a GPU launches it; absent for CPUs.
    pub launch: Option<Launch>,
}

/// The launch of a GPU kernel: one block for each unit of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub threads: u32,
    pub shared_bytes: u32,
}

/// Steps over buffers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
}

/// A buffer of a plan. Sizes in bytes, unpadded; every buffer starts at a multiple of 64 and may be read up to 64 bytes
/// beyond its end (vector tails). Not so inputs, outputs and parameters: they may stand in the caller's memory or a mapped
/// file, start at a multiple of their element's size, and end where they end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    pub name: String,
    pub place: Place,
    pub bytes: SizeExpr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Input(u32),
    Output(u32),
    Param(u32),
    /// A state as it was before the call.
    State(u32),
    /// What a state becomes after the call.
    NextState(u32),
    Kept(u32),
    /// Scratch that lives from step `from` to step `to`, both inclusive, counted over the top-level steps: the runtime places
    /// such buffers, two that do not live at once may share memory.
    Arena {
        from: u32,
        to: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    Call(Call),
    /// Runs `body` `count` times; `number` is the iteration for the strides of [`Arg`], counted down if `reverse`.
    Loop {
        count: SizeExpr,
        reverse: bool,
        body: Vec<Step>,
        /// Rows that leave it on the way, for those who count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exits: Option<Box<Exits>>,
    },
    /// Runs `body` if a byte (0 or 1) that an earlier step has left, or that came in, says so. The body does not write it.
    When {
        flag: Arg,
        is: bool,
        body: Vec<Step>,
    },
}

/// A flag for each row that says whether it has left a loop: one that never turns back. Looked at only when somebody asks for counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    /// The axes of the rows.
    pub axis: String,
    pub rows: SizeExpr,
    /// Where an iteration of the loop leaves the flags, a byte (0 or 1) for each row. Does not move but from half to half.
    pub left: Arg,
    /// (file, line)
    pub lines: Vec<(String, u32)>,
}

/// One call of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub kernel: u32,
    pub args: Vec<Arg>,
    pub dims: Vec<SizeExpr>,
    /// Independent units of work, shared out between threads in contiguous ranges. None: nothing is called.
    pub units: SizeExpr,
    /// About how many nanoseconds a unit takes on one thread, by the roofline: small work is not shared out.
    pub unit_ns: f32,
    /// Scratch for each thread.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub scratch_bytes: SizeExpr,
    /// Arithmetic operations that the call's results need, a multiply-add as two, a function as one: for measurements, nothing
    /// relies on it.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub flops: SizeExpr,
    /// The nodes of the source it stands for: (file, line), for profiles.
    pub lines: Vec<(String, u32)>,
    /// What it says about a router, for those who count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// The indices that the kernel looks at before it uses them, for messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// Indices that a kernel uses, and what they are called in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The kernel's own number for it.
    pub number: u32,
    /// A name, or the text of an expression.
    pub index: String,
    /// The axis of which they must be indices.
    pub axis: Axis,
    /// The axes of the loops around the call, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loops: Vec<String>,
    /// The variables of the kernel's loops that say which index it is, and the axes that they run over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<(u32, String)>,
}

/// What stands in a call's buffers about a router. Looked at only when somebody asks for counts; the call has one unit, and the
/// argument does not move with the loops around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The axis of the experts.
    pub expert: String,
    pub experts: SizeExpr,
    /// The argument that the call writes: rows of expert `e` are `offsets[e]..offsets[e + 1]` (i32) of the rows in their order.
    pub offsets: u32,
    /// After the experts stands a segment of the rows that no expert took.
    pub last_is_none: bool,
}

/// A pointer that a kernel gets: `buffer + offset + odd (in odd iterations) + sum of stride * iteration over the enclosing
/// loops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arg {
    pub buffer: u32,
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub offset: SizeExpr,
    /// Bytes for each iteration of the enclosing loops, outermost first; may be shorter than the nesting (rest 0).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strides: Vec<SizeExpr>,
    /// Bytes to add (possibly negative) in odd iterations of the innermost enclosing loop: a carry is one buffer of two halves.
    /// The parity counts executed iterations from 0, whatever the direction.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub odd: SizeExpr,
    /// Distinct bytes that the call needs to read or write behind it, at most; a view of a window may say more than the
    /// buffer has. For measurements, nothing relies on it.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub bytes: SizeExpr,
}

fn zero() -> SizeExpr {
    SizeExpr::Known(0)
}

fn is_zero(size: &SizeExpr) -> bool {
    *size == SizeExpr::Known(0)
}
