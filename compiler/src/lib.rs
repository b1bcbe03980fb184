//! The compiler: a `.gate` file to one artifact.

pub mod artifact;
pub mod codegen;
pub mod fuse;
pub mod graph;
pub mod kernel;
pub mod lower;
pub mod ops;
pub mod plan;
pub mod scalar;
pub mod schedule;
