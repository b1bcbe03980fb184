//! Tensors of the reference interpreter: f64 values over named axes, in plain row-major order.
//!
//! The order of axes is whatever the op that made the tensor left; nothing depends on it. Readers ask for strides by axis, or
//! for a copy in an order of their own ([`Tensor::ordered`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use gatec_lang::Size;

use super::{Axis, AxisSet, Elem, Sizes, Type};

/// Values over named axes, outermost first. Values are not rounded to `elem`: the interpreter is exact where hardware rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub elem: Elem,
    pub axes: Vec<(Axis, usize)>,
    /// Shared, so that a copy of a tensor costs nothing.
    pub data: Arc<Vec<f64>>,
}

impl Tensor {
    /// # Panics
    /// If there are not as many values as the extents say.
    pub fn new(elem: Elem, axes: Vec<(Axis, usize)>, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), axes.iter().map(|a| a.1).product::<usize>(), "bug in gatec: values of {axes:?}");
        Self { elem, axes, data: Arc::new(data) }
    }

    pub fn scalar(elem: Elem, x: f64) -> Self {
        Self::new(elem, Vec::new(), vec![x])
    }

    /// Each element by its linear number.
    pub fn from_fn(elem: Elem, axes: Vec<(Axis, usize)>, f: impl FnMut(usize) -> f64) -> Self {
        let count = axes.iter().map(|a| a.1).product();
        Self::new(elem, axes, (0..count).map(f).collect())
    }

    /// The first value: what a scalar holds.
    pub fn item(&self) -> Option<f64> {
        self.data.first().copied()
    }

    pub fn extent(&self, axis: Axis) -> Option<usize> {
        self.axes.iter().find(|a| a.0 == axis).map(|a| a.1)
    }

    pub fn ty(&self) -> Type {
        Type::new(self.elem, self.axis_set())
    }

    pub fn axis_set(&self) -> AxisSet {
        self.axes.iter().map(|a| a.0).collect()
    }

    /// Elements from one index to the next, for each axis in order.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.axes.len()];
        for i in (1..self.axes.len()).rev() {
            strides[i - 1] = strides[i] * self.axes[i].1;
        }
        strides
    }

    /// Strides along the given axes; 0 for an axis that the tensor lacks: so it broadcasts.
    pub fn strides_along(&self, axes: &[(Axis, usize)]) -> Vec<usize> {
        let strides = self.strides();
        let along = |axis| self.axes.iter().position(|a| a.0 == axis).map_or(0, |i| strides[i]);
        axes.iter().map(|a| along(a.0)).collect()
    }

    /// A copy with axes in another order. Axes that the tensor lacks are not added.
    pub fn ordered(&self, order: &[Axis]) -> Self {
        let axes: Vec<(Axis, usize)> = order.iter().filter_map(|a| Some((*a, self.extent(*a)?))).collect();
        debug_assert_eq!(axes.len(), self.axes.len(), "bug in gatec: an order leaves axes out");
        if axes == self.axes {
            return self.clone();
        }
        let mut data = Vec::with_capacity(self.data.len());
        let strides = self.strides_along(&axes);
        walk(&extents(&axes), [&strides], |[i]| data.push(self.data[i]));
        Self::new(self.elem, axes, data)
    }

    /// A copy whose last axes are `last`, in that order; the others stay in front as they are.
    pub fn with_last(&self, last: &[Axis]) -> Self {
        let order: Vec<Axis> =
            self.axes.iter().map(|a| a.0).filter(|a| !last.contains(a)).chain(last.iter().copied()).collect();
        self.ordered(&order)
    }

    /// The same values under other axes: of equal number, in the same row-major order.
    pub fn relabelled(&self, axes: Vec<(Axis, usize)>) -> Self {
        debug_assert_eq!(axes.iter().map(|a| a.1).product::<usize>(), self.data.len());
        Self { elem: self.elem, axes, data: self.data.clone() }
    }

    /// The element at `index` along `axis`, without that axis.
    pub fn at(&self, axis: Axis, index: usize) -> Self {
        let rest: Vec<(Axis, usize)> = self.axes.iter().copied().filter(|a| a.0 != axis).collect();
        let strides = self.strides_along(&rest);
        let start = self.axes.iter().position(|a| a.0 == axis).map_or(0, |i| index * self.strides()[i]);
        let mut data = Vec::with_capacity(rest.iter().map(|a| a.1).product());
        walk(&extents(&rest), [&strides], |[i]| data.push(self.data[start + i]));
        Self::new(self.elem, rest, data)
    }

    /// Axis `to` of `extent` in the place of `from`: index `i` of it is `place(i)` of `from`, or `fill`.
    pub fn moved<E>(
        &self,
        from: Axis,
        to: Axis,
        extent: usize,
        fill: f64,
        place: impl Fn(usize) -> Result<Option<usize>, E>,
    ) -> Result<Self, E> {
        let x = self.with_last(&[from]);
        let n = x.extent(from).unwrap_or(1);
        let places = (0..extent).map(place).collect::<Result<Vec<_>, E>>()?;
        let mut axes = x.axes[..x.axes.len() - 1].to_vec();
        let rows: usize = axes.iter().map(|a| a.1).product();
        axes.push((to, extent));
        let mut data = Vec::with_capacity(rows * extent);
        for row in 0..rows {
            data.extend(places.iter().map(|at| at.map_or(fill, |at| x.data[row * n + at])));
        }
        Ok(Self::new(self.elem, axes, data))
    }

    /// Each element by a function of one.
    pub fn map(&self, elem: Elem, f: impl Fn(f64) -> f64) -> Self {
        Self::new(elem, self.axes.clone(), self.data.iter().map(|x| f(*x)).collect())
    }

    /// Each element by a function of the elements of several tensors, which broadcast by axis.
    pub fn zip<const N: usize>(elem: Elem, tensors: [&Self; N], f: impl Fn([f64; N]) -> f64) -> Self {
        let axes = union_axes(&tensors);
        let strides: [Vec<usize>; N] = std::array::from_fn(|i| tensors[i].strides_along(&axes));
        let mut data = Vec::with_capacity(axes.iter().map(|a| a.1).product());
        walk(&extents(&axes), std::array::from_fn(|i| strides[i].as_slice()), |at: [usize; N]| {
            data.push(f(std::array::from_fn(|i| tensors[i].data[at[i]])));
        });
        Self::new(elem, axes, data)
    }
}

/// Every axis of the tensors, once: those of the largest first, so that most is read in order.
pub fn union_axes(tensors: &[&Tensor]) -> Vec<(Axis, usize)> {
    let largest = tensors.iter().rev().max_by_key(|t| t.data.len());
    let mut axes: Vec<(Axis, usize)> = Vec::new();
    for axis in largest.into_iter().chain(tensors.iter()).flat_map(|t| t.axes.iter()) {
        if !axes.iter().any(|a| a.0 == axis.0) {
            axes.push(*axis);
        }
    }
    axes
}

/// The extents of axes.
pub fn extents(axes: &[(Axis, usize)]) -> Vec<usize> {
    axes.iter().map(|a| a.1).collect()
}

/// Visits every point of a box in row-major order with the offsets that `N` sets of strides give.
pub fn walk<const N: usize>(extents: &[usize], strides: [&[usize]; N], mut f: impl FnMut([usize; N])) {
    if extents.contains(&0) {
        return;
    }
    let (inner, outer) = extents.split_last().map_or((1, extents), |(last, rest)| (*last, rest));
    let step: [usize; N] = std::array::from_fn(|k| strides[k].last().copied().unwrap_or(0));
    let mut index = vec![0; outer.len()];
    let mut start = [0; N];
    loop {
        let mut at = start;
        for _ in 0..inner {
            f(at);
            for k in 0..N {
                at[k] += step[k];
            }
        }
        // The next row, as an odometer counts.
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for k in 0..N {
                start[k] += strides[k][axis];
            }
            if index[axis] < outer[axis] {
                break;
            }
            for k in 0..N {
                start[k] -= strides[k][axis] * outer[axis];
            }
            index[axis] = 0;
        }
    }
}

/// A binding of axes to numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(BTreeMap<Axis, usize>);

/// An axis that a binding of symbols leaves without an extent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("axis {axis}: its size {size} has no value (a symbol is unbound, or it is negative or too large)")]
pub struct Unbound {
    pub axis: Axis,
    pub size: Size,
}

impl Extents {
    /// The extent of every axis under a binding of symbols.
    pub fn bind(sizes: &Sizes, symbols: &BTreeMap<String, i64>) -> Result<Self, Unbound> {
        let bind = |name: &str| symbols.get(name).copied();
        sizes
            .iter()
            .map(|(axis, size)| {
                let extent = size.eval(&bind).and_then(|n| usize::try_from(n).ok());
                extent.map(|n| (axis, n)).ok_or_else(|| Unbound { axis, size: size.clone() })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn get(&self, axis: Axis) -> Option<usize> {
        self.0.get(&axis).copied()
    }

    /// Elements of a type; `None` if an axis is unbound or the product leaves `usize`.
    pub fn count(&self, axes: &AxisSet) -> Option<usize> {
        axes.iter().try_fold(1usize, |n, a| n.checked_mul(self.get(a)?))
    }

    /// The axes of a type with their extents, sorted by name.
    pub fn axes(&self, axes: &AxisSet) -> Option<Vec<(Axis, usize)>> {
        axes.iter().map(|a| Some((a, self.get(a)?))).collect()
    }
}

impl FromIterator<(Axis, usize)> for Extents {
    fn from_iter<I: IntoIterator<Item = (Axis, usize)>>(extents: I) -> Self {
        Self(extents.into_iter().collect())
    }
}
