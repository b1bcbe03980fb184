//! Which index is out of range: looked for in inputs and states after a kernel has met one, or as the kernel told it.
#![allow(unsafe_code, reason = "reads inputs where they stand")]

use std::fmt;
use std::ops::Range;

use super::Session;
use super::walk::Fault;
use crate::format::abi::FAULT_VARS;
use crate::format::{Call, Elem, Place, Tensor};

/// An element of an input, a state or a computed value that is no index of the axis that it must be one of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadIndex {
    /// The name of the input, state or value, or the text of the expression that makes it, in parentheses.
    pub tensor: String,
    /// The place of the element, a number for each axis, outermost first.
    pub at: Vec<(String, u64)>,
    pub value: i64,
    pub axis: String,
    /// Of the axis.
    pub size: i64,
}

impl fmt::Display for BadIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: Vec<String> = self.at.iter().map(|(axis, number)| format!("{axis} = {number}")).collect();
        let at = if at.is_empty() { String::new() } else { format!("[{}]", at.join(", ")) };
        let Self { tensor, value, axis, size, .. } = self;
        let s = if *size == 1 { "" } else { "s" };
        write!(f, "`{tensor}{at}` is {value}, an index out of range: axis `{axis}` has {size} element{s}")
    }
}

impl BadIndex {
    /// What a kernel has told of an index that its call checks.
    pub(super) fn told(fault: &Fault, call: &Call, symbols: &[i64]) -> Option<Self> {
        let check = call.checks.iter().find(|check| i64::from(check.number) == fault.told[0])?;
        let loops = check.loops.iter().zip(fault.iterations);
        let vars =
            check.vars.iter().filter_map(|(var, axis)| Some((axis, *fault.told.get(*var as usize + FAULT_VARS)?)));
        let at = loops.chain(vars).filter_map(|(axis, number)| Some((axis.clone(), u64::try_from(number).ok()?)));
        let size = check.axis.size.eval(symbols)?;
        let (tensor, axis) = (check.index.clone(), check.axis.name.clone());
        Some(Self { tensor, at: at.collect(), value: fault.told[1], axis, size })
    }
}

impl Session {
    /// The first wrong index in the inputs and states of the run that failed.
    pub(super) fn bad_index(&self) -> Option<BadIndex> {
        let manifest = self.model.manifest();
        let entry = &manifest.entries[self.entry];
        let bound = self.entries[self.entry].as_ref()?;
        let symbols = &bound.sizes.values;
        entry.indices.iter().find_map(|indices| {
            let (tensor, start) = match indices.place {
                Place::Input(i) => (&entry.inputs[i as usize], bound.inputs[i as usize].start().cast_const()),
                Place::State(i) => {
                    (&manifest.states[i as usize].tensor, self.states[i as usize].current.start().cast_const())
                }
                _ => return None,
            };
            let size = indices.axis.size.eval(symbols)?;
            let lowest = if indices.may_be_negative { i64::MIN } else { 0 };
            let count = usize::try_from(tensor.elements(symbols)?).ok()?;
            // SAFETY: the run at hand has placed so many elements there (`place`, `fit`), aligned, and is over: nobody writes them.
            let (at, value) = unsafe { outside(tensor.elem, start, count, lowest..size) }?;
            let at = place_of(tensor, symbols, at as u64);
            Some(BadIndex { tensor: tensor.name.clone(), at, value, axis: indices.axis.name.clone(), size })
        })
    }
}

/// The first of `count` elements that is outside of a range, and its number.
///
/// # Safety
/// So many elements of the type stand at `start`, aligned, and nobody writes them meanwhile.
unsafe fn outside(elem: Elem, start: *const u8, count: usize, inside: Range<i64>) -> Option<(usize, i64)> {
    if count == 0 {
        return None;
    }
    // SAFETY: the caller's promise, in each arm for the type that it names.
    unsafe {
        match elem {
            Elem::I32 => first(std::slice::from_raw_parts(start.cast::<i32>(), count), &inside),
            Elem::I64 => first(std::slice::from_raw_parts(start.cast::<i64>(), count), &inside),
            Elem::I8 => first(std::slice::from_raw_parts(start.cast::<i8>(), count), &inside),
            Elem::U8 => first(std::slice::from_raw_parts(start, count), &inside),
            _ => None,
        }
    }
}

fn first<T: Copy + Into<i64>>(values: &[T], inside: &Range<i64>) -> Option<(usize, i64)> {
    values.iter().map(|value| (*value).into()).enumerate().find(|(_, value)| !inside.contains(value))
}

/// The place of element `number` of a tensor.
fn place_of(tensor: &Tensor, symbols: &[i64], mut number: u64) -> Vec<(String, u64)> {
    let mut at = Vec::new();
    for axis in tensor.axes.iter().rev() {
        let size = axis.size.eval(symbols).and_then(|n| u64::try_from(n).ok()).unwrap_or(1).max(1);
        at.push((axis.name.clone(), number % size));
        number /= size;
    }
    at.reverse();
    at
}
