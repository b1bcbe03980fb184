//! The compiler: typed program to artifact.

pub mod artifact;
pub mod graph;
pub mod ops;
pub mod scalar;
