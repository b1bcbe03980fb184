//! Runs artifacts that gatec built. Links no compiler.

pub mod format;
