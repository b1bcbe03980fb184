//! What can go wrong when a model is loaded or run.

use std::fmt;

use super::BadIndex;
use crate::codes;
use crate::format::{Elem, Isa};
use crate::open::OpenError;
use crate::weights::WeightErrors;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Weights(#[from] WeightErrors),
    #[error("cannot start threads: {0} [{code}]", code = codes::THREADS)]
    Threads(std::io::Error),
    #[error("no memory for {bytes} bytes of {what} [{}]", codes::OUT_OF_MEMORY)]
    OutOfMemory { what: String, bytes: u64 },
    #[error("inconsistent artifact: {what} does not work out [{}]", codes::DAMAGED)]
    Inconsistent { what: String },
    #[error("while loading, {}in kernel `{kernel}` [{}]", wrong(found.as_deref(), &[]), codes::INDEX)]
    IndexOutOfRange { kernel: String, found: Option<Box<BadIndex>> },
    #[error("{isa} was asked for, but this runtime was built without the feature `cuda` [{}]", codes::MACHINE)]
    NoCuda { isa: Isa },
    #[cfg(feature = "cuda")]
    #[error("the GPU: {0} [{code}]", code = codes::DEVICE)]
    Cuda(#[from] crate::cuda::CudaError),
}

/// Why a call failed. The session stays usable; states are as they were before the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error("no {kind} `{name}`; there is {} [{}]", names(there_is), codes::UNKNOWN_NAME)]
    Unknown { kind: &'static str, name: String, there_is: Vec<String> },
    #[error("input `{name}` is missing: give it to `run` or fill it through `input_mut` [{}]", codes::MISSING_INPUT)]
    MissingInput { name: String },
    #[error(
        "output `{name}` has no value here: no run has finished, or it went to the caller's memory [{}]",
        codes::NO_RESULT
    )]
    NoResult { name: String },
    #[error("`{name}` is given twice [{}]", codes::TWICE)]
    Twice { name: String },
    #[error("{kind} `{name}` holds {want}, the given one {found} [{}]", codes::ELEM)]
    Elem { kind: &'static str, name: String, want: Elem, found: &'static str },
    #[error("{kind} `{name}` is {want}, the given one has {found} [{}]", codes::SHAPE)]
    Shape { kind: &'static str, name: String, want: String, found: String },
    #[error("a view of shape {shape:?} over {elements} elements [{}]", codes::SHAPE)]
    View { shape: Vec<usize>, elements: usize },
    #[error("the bytes of `{name}` start at an address that is no multiple of {align} [{}]", codes::ALIGN)]
    Misaligned { name: String, align: u64 },
    #[error("`{symbol}` is {first} by {first_from}, but {second} by {second_from} [{}]", codes::CONFLICT)]
    Conflict { symbol: String, first: i64, first_from: String, second: i64, second_from: String },
    #[error(
        "the size of {} is not known: set it, or give inputs with their shapes [{}]",
        names(symbols),
        codes::UNBOUND
    )]
    Unbound { symbols: Vec<String> },
    #[error("`{symbol}` is {size}, the model was built for at most {bound} [{}]", codes::OVER_BOUND)]
    OverBound { symbol: String, size: i64, bound: i64 },
    #[error("{what} is out of range for {} [{}]", sizes(bound), codes::SIZE)]
    Size { what: String, bound: Vec<(String, i64)> },
    #[error("no memory for {bytes} bytes [{}]", codes::OUT_OF_MEMORY)]
    OutOfMemory { bytes: u64 },
    #[error("state `{name}` holds {was} bytes and these sizes want {now}: `reset` it first [{}]", codes::STATE_SIZE)]
    StateSize { name: String, was: u64, now: u64 },
    #[error("the GPU: {message} [{}]", codes::DEVICE)]
    Device { message: String },
    /// `found` is the first wrong one that stands in an input or a state, else the one that the kernel met; `None` where it was computed
    /// on a GPU. `one_of` are the indices that the kernel looks at.
    #[error("{}in kernel `{kernel}`{} [{}]", wrong(found.as_deref(), one_of), lines(lines_of), codes::INDEX)]
    IndexOutOfRange { kernel: String, lines_of: Vec<(String, u32)>, one_of: Vec<String>, found: Option<Box<BadIndex>> },
}

fn names(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        all => all.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
    }
}

fn sizes(bound: &[(String, i64)]) -> String {
    match bound {
        [] => "these sizes".into(),
        all => all.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", "),
    }
}

fn wrong(found: Option<&BadIndex>, one_of: &[String]) -> String {
    match (found, one_of) {
        (Some(bad), _) => format!("{bad}, "),
        (None, []) => "an index out of range ".into(),
        (None, one_of) => format!("an index out of range, one of {}, ", names(one_of)),
    }
}

fn lines(lines: &[(String, u32)]) -> String {
    match lines {
        [] => String::new(),
        all => {
            format!(", from {}", all.iter().map(|(file, line)| format!("{file}:{line}")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A shape with the names of its axes, for messages: `f32[tokens = 3, d = 64]`.
pub(super) struct Shape<'a> {
    pub tensor: &'a crate::format::Tensor,
    /// `None` where a size is not known.
    pub symbols: Option<&'a [i64]>,
}

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.tensor.elem)?;
        for (i, axis) in self.tensor.axes.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match self.symbols.map_or_else(|| axis.size.eval(&[]), |symbols| axis.size.eval(symbols)) {
                Some(size) if size.to_string() == axis.name => write!(f, "{size}")?,
                Some(size) => write!(f, "{} = {size}", axis.name)?,
                None => f.write_str(&axis.name)?,
            }
        }
        f.write_str("]")
    }
}
