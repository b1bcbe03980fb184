//! Attributes of ops: what stands in brackets in the text form, and leaf terms of the e-graph.

use std::borrow::Cow;
use std::sync::Arc;

use crate::graph::{Axis, AxisSet, Elem, Graph};

/// An attribute of an op. A reader of text cannot tell a word from an axis: the `as_` functions take either.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attr {
    Int(i64),
    /// Bits of an f64, so that attributes can be compared; see [`Attr::num`].
    Num(u64),
    Word(Cow<'static, str>),
    Axis(Axis),
    Axes(AxisSet),
    /// In order.
    List(Vec<Axis>),
    Elem(Elem),
    Nums(Vec<u64>),
    /// The body of a loop.
    Body(Arc<Graph>),
}

/// Bits of a number; every NaN has the same.
pub fn bits(x: f64) -> u64 {
    if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }
}

impl Attr {
    pub fn num(x: f64) -> Self {
        Self::Num(bits(x))
    }
    pub fn word(word: impl Into<Cow<'static, str>>) -> Self {
        Self::Word(word.into())
    }
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }
    /// A number that counts: of an operand, a result, a place.
    pub fn as_count(&self) -> Option<u32> {
        self.as_int().and_then(|n| u32::try_from(n).ok())
    }
    /// Bits of a number.
    pub fn as_num(&self) -> Option<u64> {
        if let Self::Num(x) = self { Some(*x) } else { None }
    }
    pub fn as_word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Axis(axis) => Some(axis.name()),
            Self::Elem(elem) => Some(elem.name()),
            _ => None,
        }
    }
    pub fn as_axis(&self) -> Option<Axis> {
        match self {
            Self::Axis(axis) => Some(*axis),
            Self::Word(word) => Some(Axis::new(word)),
            Self::Axes(axes) if axes.len() == 1 => axes.iter().next(),
            _ => None,
        }
    }
    pub fn as_axes(&self) -> Option<AxisSet> {
        match self {
            Self::Axes(axes) => Some(axes.clone()),
            _ => self.as_axis().map(AxisSet::from),
        }
    }
    pub fn as_list(&self) -> Option<Vec<Axis>> {
        if let Self::List(list) = self { Some(list.clone()) } else { None }
    }
    pub fn as_elem(&self) -> Option<Elem> {
        match self {
            Self::Elem(elem) => Some(*elem),
            _ => self.as_word().and_then(Elem::parse),
        }
    }
    pub fn as_nums(&self) -> Option<&[u64]> {
        if let Self::Nums(nums) = self { Some(nums) } else { None }
    }
    pub fn as_body(&self) -> Option<Arc<Graph>> {
        if let Self::Body(body) = self { Some(body.clone()) } else { None }
    }
}
