//! The type of a value: an element type and a set of axes; and what type rules ask of operands.

use std::fmt;

use super::{Axis, AxisSet, Elem, Sizes};

/// The type of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Type {
    pub elem: Elem,
    pub axes: AxisSet,
}

impl Type {
    pub fn new(elem: Elem, axes: AxisSet) -> Self {
        Self { elem, axes }
    }

    /// A type without axes.
    pub fn scalar(elem: Elem) -> Self {
        Self::new(elem, AxisSet::default())
    }

    /// This type with another element type.
    pub fn of(&self, elem: Elem) -> Self {
        Self::new(elem, self.axes.clone())
    }

    /// This type over other axes.
    pub fn over(&self, axes: AxisSet) -> Self {
        Self::new(self.elem, axes)
    }

    /// Operand `n` must have `axis`.
    pub fn needs(&self, n: usize, axis: Axis) -> Result<(), String> {
        if self.axes.contains(axis) { Ok(()) } else { Err(format!("operand {n} ({self}) has no axis {axis}")) }
    }

    /// Operand `n` must not have `axis`.
    pub fn lacks(&self, n: usize, axis: Axis) -> Result<(), String> {
        if self.axes.contains(axis) { Err(format!("operand {n} ({self}) already has an axis {axis}")) } else { Ok(()) }
    }

    /// Operand `n` must be of floats.
    pub fn needs_float(&self, n: usize) -> Result<(), String> {
        if self.elem.is_float() { Ok(()) } else { Err(format!("operand {n} ({self}) is not of floats")) }
    }

    /// Operand `n` must be of `elem`.
    pub fn needs_elem(&self, n: usize, elem: Elem) -> Result<(), String> {
        if self.elem == elem { Ok(()) } else { Err(format!("operand {n} is of {}, expected {elem}", self.elem)) }
    }

    /// Operand `n` must be of numbers, not `bool`.
    pub fn needs_number(&self, n: usize) -> Result<(), String> {
        if self.elem == Elem::Bool { Err(format!("operand {n} ({self}) is not of numbers")) } else { Ok(()) }
    }

    /// Operand `n` must be of integers.
    pub fn needs_integer(&self, n: usize) -> Result<(), String> {
        self.needs_number(n)?;
        if self.elem.is_float() { Err(format!("operand {n} ({self}) is not of integers")) } else { Ok(()) }
    }

    /// Every axis of a leaf's type must have a size.
    pub fn is_sized(&self, sizes: &Sizes) -> Result<(), String> {
        self.axes.iter().try_for_each(|a| sizes.require(a).map(|_| ()))
    }

    /// The type of a pointwise result: equal element types, the union of all axes.
    pub fn broadcast(operands: &[&Self]) -> Result<Self, String> {
        let (first, rest) = operands.split_first().ok_or("an operand is missing")?;
        let mut axes = first.axes.clone();
        for (i, ty) in rest.iter().enumerate() {
            ty.needs_elem(i + 1, first.elem)?;
            axes = axes.union(&ty.axes);
        }
        Ok(Self::new(first.elem, axes))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.elem, self.axes)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
