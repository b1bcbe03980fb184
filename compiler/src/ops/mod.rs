//! The ops of the Graph IR. One op is one file (those of [`leaf`] share one): its type rule, its meaning, its text, the kernel class that it lowers to.
//! This module is the list and the dispatch; nothing else in the compiler matches on the name of an op to learn about it.

mod attr;
#[cfg(test)]
mod tests;

use std::fmt;

pub use attr::{Attr, bits};
pub use pad::Fill;
pub use slice::Start;

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Sizes, Type};

/// What an op is. No default methods: nothing about an op is forgotten in silence.
pub trait OpDef: Clone + fmt::Debug + PartialEq + Eq + std::hash::Hash + PartialOrd + Ord + Into<Op> {
    const NAME: &'static str;
    /// One line for the reference: type and meaning.
    const DOC: &'static str;
    /// What stands in brackets in the text form; leaf terms of the e-graph.
    fn attrs(&self) -> Vec<Attr>;
    /// The inverse of `attrs`; `types` are the result types as written (only leaves need them).
    fn parse(attrs: &[Attr], types: &[Type]) -> Option<Self>;
    /// How many operands; `None`: one or more.
    fn arity(&self) -> Option<usize>;
    /// Result types, or what is wrong, naming operands by number and axes by name.
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String>;
    /// The meaning, in f64 and plain loops. Operands have the types that `infer` accepted, sizes bound by `env`; the caller
    /// has checked that the results are not too large.
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError>;
    /// The kind of kernel that computes it.
    fn class(&self) -> Class;
}

/// What computes an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A leaf: somebody else's buffer, or a number.
    Leaf,
    /// Element by element: part of any nest.
    Pointwise,
    /// Only an index function: part of whatever reads it.
    View,
    /// A fold over axes, in a nest.
    Reduce,
    /// A sum of products.
    Contract,
    /// Selection and sorting: top-k.
    Select,
    /// A loop with a body.
    Loop,
}

macro_rules! ops {
    ($($module:ident :: {$($op:ident),*}),* $(,)?) => {
        $(mod $module;)*
        $(pub use $module::{$($op),*};)*

        /// Any op.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Op { $($($op($op),)*)* }

        $($(impl From<$op> for Op { fn from(op: $op) -> Self { Self::$op(op) } })*)*

        /// Names and one-line descriptions of all ops.
        pub const REFERENCE: &[(&str, &str)] = &[$($(($op::NAME, $op::DOC),)*)*];

        impl Op {
            pub fn name(&self) -> &'static str { match self { $($(Self::$op(_) => $op::NAME,)*)* } }
            pub fn attrs(&self) -> Vec<Attr> { match self { $($(Self::$op(op) => op.attrs(),)*)* } }
            pub fn parse(name: &str, attrs: &[Attr], types: &[Type]) -> Option<Self> {
                $($(if name == $op::NAME { return $op::parse(attrs, types).map(Self::$op); })*)*
                None
            }
            pub fn arity(&self) -> Option<usize> { match self { $($(Self::$op(op) => op.arity(),)*)* } }
            pub fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
                match self { $($(Self::$op(op) => op.infer(sizes, operands),)*)* }
            }
            pub fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
                match self { $($(Self::$op(op) => op.eval(env, operands),)*)* }
            }
            pub fn class(&self) -> Class { match self { $($(Self::$op(op) => op.class(),)*)* } }
        }
    };
}

impl Op {
    /// The axis that the integers of operand 1 index.
    pub fn indexed(&self) -> Option<Axis> {
        match self {
            Self::Gather(gather) => Some(gather.axis),
            Self::Segment(segment) => Some(segment.to),
            _ => None,
        }
    }
}

// The list. `unary` and `binary` hold one op each, parametrised by a function: the functions are the list in `scalar`.
ops! {
    leaf::{Input, Param, State, Loaded, Carry, Item, Capture},
    constant::{Const}, table::{Table}, index::{Index}, size_of::{SizeOf}, step::{Step},
    unary::{Unary}, binary::{Binary}, add::{Add}, mul::{Mul}, select::{Select}, cast::{Cast}, broadcast::{Broadcast},
    contract::{Contract}, reduce::{Reduce}, arg_reduce::{ArgReduce}, running::{Running}, segment::{Segment},
    rename::{Rename}, split::{Split}, merge::{Merge}, pick::{Pick}, slice::{Slice}, shift::{Shift}, pad::{Pad}, window::{Window},
    concat::{Concat}, stack::{Stack}, gather::{Gather}, dequantize::{Dequantize}, top_k::{TopK},
    scan::{Scan},
}
