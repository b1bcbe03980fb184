//! Borrowed tensors in and out.
#![allow(unsafe_code, reason = "looks at elements as bytes and back")]

use super::RunError;
use crate::format::Elem;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that stands for an element type.
pub trait Element: Copy + sealed::Sealed + 'static {
    const NAME: &'static str;
    /// Its bytes are a value of these element types, and the other way round.
    const IS: &'static [Elem];
    /// Its bytes may also be given as these: not every byte of the element type is a value of the Rust type.
    const GIVES: &'static [Elem];
}

macro_rules! element {
    ($rust:ty, is $is:expr, gives $gives:expr) => {
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const NAME: &'static str = stringify!($rust);
            const IS: &'static [Elem] = &$is;
            const GIVES: &'static [Elem] = &$gives;
        }
    };
}

element!(f32, is [Elem::F32], gives []);
element!(f64, is [Elem::F64], gives []);
element!(i32, is [Elem::I32], gives []);
element!(i64, is [Elem::I64], gives []);
element!(i8, is [Elem::I8], gives []);
element!(u8, is [Elem::U8], gives []);
// The bits of a half or of a bfloat16.
element!(u16, is [Elem::F16, Elem::Bf16], gives []);
// A result of type bool is read through `View::bytes`: Rust's `bool` may hold 0 and 1 only.
element!(bool, is [], gives [Elem::Bool]);

pub(super) fn gives<T: Element>(elem: Elem) -> bool {
    T::IS.contains(&elem) || T::GIVES.contains(&elem)
}

/// A tensor that is only looked at: elements, and a shape if the caller knows it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) shape: Option<&'a [usize]>,
    pub(super) elems: [&'static [Elem]; 2],
    pub(super) name: &'static str,
}

impl<'a> View<'a> {
    /// Elements without a shape: it follows from the model and the number of elements.
    pub fn flat<T: Element>(elements: &'a [T]) -> Self {
        Self { bytes: as_bytes(elements), shape: None, elems: [T::IS, T::GIVES], name: T::NAME }
    }

    /// Elements and their shape, outermost axis first.
    ///
    /// # Errors
    /// [`RunError::View`] if the shape is one of another number of elements.
    pub fn shaped<T: Element>(elements: &'a [T], shape: &'a [usize]) -> Result<Self, RunError> {
        let product = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if product != Some(elements.len()) {
            return Err(RunError::View { shape: shape.to_vec(), elements: elements.len() });
        }
        Ok(Self { shape: Some(shape), ..Self::flat(elements) })
    }

    /// Bytes of elements of type `elem`, as little-endian machines hold them. A `bool` is a byte 0 or 1.
    ///
    /// # Errors
    /// [`RunError::View`] if the bytes are no whole number of elements, or of another number than the shape's.
    pub fn bytes(elem: Elem, bytes: &'a [u8], shape: Option<&'a [usize]>) -> Result<Self, RunError> {
        let size = elem.bytes() as usize;
        let elements = bytes.len() / size;
        let product = shape.map_or(Some(elements), |s| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
        if product != Some(elements) || !bytes.len().is_multiple_of(size) {
            return Err(RunError::View { shape: shape.unwrap_or_default().to_vec(), elements });
        }
        let elems: &'static [Elem] = Elem::ALL.iter().find(|e| **e == elem).map_or(&[], std::slice::from_ref);
        Ok(Self { bytes, shape, elems: [elems, &[]], name: elem.name() })
    }

    pub(super) fn is(&self, elem: Elem) -> bool {
        self.elems.iter().any(|list| list.contains(&elem))
    }
}

impl<'a, T: Element> From<&'a [T]> for View<'a> {
    fn from(elements: &'a [T]) -> Self {
        Self::flat(elements)
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for View<'a> {
    fn from(elements: &'a [T; N]) -> Self {
        Self::flat(elements)
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for View<'a> {
    fn from(elements: &'a Vec<T>) -> Self {
        Self::flat(elements)
    }
}

/// A tensor that a run writes, in the caller's memory.
#[derive(Debug)]
pub struct ViewMut<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) elems: &'static [Elem],
    pub(super) name: &'static str,
}

impl<'a> ViewMut<'a> {
    /// Room for all elements of a result.
    pub fn flat<T: Element>(elements: &'a mut [T]) -> Self {
        Self { bytes: as_bytes_mut(elements), elems: T::IS, name: T::NAME }
    }
}

impl<'a, T: Element> From<&'a mut [T]> for ViewMut<'a> {
    fn from(elements: &'a mut [T]) -> Self {
        Self::flat(elements)
    }
}

pub(super) fn as_bytes<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: an `Element` (sealed) has no padding, so all its bytes are initialised; the length is that of the slice.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

fn as_bytes_mut<T: Element>(elements: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `as_bytes`. Who writes through it (a kernel) writes elements of a type in `T::IS`, every value of which is
    // one of `T`; it is not handed out as bytes.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements)) }
}

/// Bytes as elements, if `T` stands for `elem` and may take any of its values.
pub(super) fn elements<T: Element>(bytes: &[u8], elem: Elem) -> Option<&[T]> {
    let whole = T::IS.contains(&elem) && bytes.as_ptr().cast::<T>().is_aligned();
    // SAFETY: the start is aligned, every bit pattern is a value of `T` (`Element::IS`), and the length is rounded down.
    whole.then(|| unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

/// Bytes as elements to be written; for `bool`, the bytes must be ones that a program wrote as `bool`, or zero.
pub(super) fn elements_mut<T: Element>(bytes: &mut [u8], elem: Elem) -> Option<&mut [T]> {
    let whole = gives::<T>(elem) && bytes.as_mut_ptr().cast::<T>().is_aligned();
    // SAFETY: as in `elements`; for `bool` the caller says that the bytes are 0 or 1.
    whole.then(|| unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) })
}
