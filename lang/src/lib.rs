//! The Gate language: text to typed program. Knows no IR and no target.

pub mod program;
pub mod size;

pub use program::Program;
pub use size::Size;
