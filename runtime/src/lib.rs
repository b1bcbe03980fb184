//! Runs artifacts that gatec built. Links no compiler.
//!
//! [`Model::load`] reads an artifact and binds weights to it, [`Model::session`] gives what a caller runs: its own states,
//! sizes and memory.
//!
//! ```no_run
//! use gatec_runtime::{LoadOptions, Model};
//!
//! let model = Model::load("vad.so", "vad.safetensors", &LoadOptions::default())?;
//! let mut session = model.session("chunk")?;
//! let sound = vec![0.0f32; 512];
//! let outputs = session.run(&[("sound", sound[..].into())])?;
//! let speech: &[f32] = outputs.slice("speech")?;
//! # let _ = speech;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod codes;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod format;
mod memory;
pub mod open;
mod plan;
pub mod pool;
pub mod session;
pub mod weights;

pub use open::{Artifact, OpenError};
pub use plan::{Need, need};
pub use session::{
    CallProfile, Element, ExitCounts, LayerCounts, LoadError, LoadOptions, Model, Outputs, RouterCounts, RunError,
    Session, Span, Touched, Trace, View, ViewMut,
};
pub use weights::{WeightError, WeightSource, Weights};
