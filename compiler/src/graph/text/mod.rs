//! The text form of the Graph IR.
