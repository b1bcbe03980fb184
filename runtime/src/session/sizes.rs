//! Sizes of symbolic axes: bound by name, or read off inputs.

use super::error::Shape;
use super::{RunError, View};
use crate::format::{Manifest, SizeExpr, Tensor};

/// The size of each symbol, and who said so.
#[derive(Debug, Clone, Default)]
pub(super) struct Sizes {
    /// 0 where `from` is `None`.
    pub values: Vec<i64>,
    from: Vec<Option<Source>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    Bind,
    /// Input number, and the axis if it was one alone.
    Input(u32, Option<u32>),
}

impl Sizes {
    pub fn new(symbols: usize) -> Self {
        Self { values: vec![0; symbols], from: vec![None; symbols] }
    }

    pub fn is_bound(&self, symbol: usize) -> bool {
        self.from[symbol].is_some()
    }

    /// The same as `other`, in memory that is there.
    pub fn copy_from(&mut self, other: &Self) {
        self.values.clone_from(&other.values);
        self.from.clone_from(&other.from);
    }

    pub fn set(
        &mut self,
        manifest: &Manifest,
        inputs: &[Tensor],
        symbol: usize,
        size: i64,
        from: Source,
    ) -> Result<(), RunError> {
        let about = &manifest.symbols[symbol];
        match self.from[symbol] {
            // Saying it again replaces what was said.
            Some(first) if self.values[symbol] != size && !(first == Source::Bind && from == Source::Bind) => {
                return Err(RunError::Conflict {
                    symbol: about.name.clone(),
                    first: self.values[symbol],
                    first_from: describe(first, inputs),
                    second: size,
                    second_from: describe(from, inputs),
                });
            }
            Some(_) if from != Source::Bind => return Ok(()),
            _ => {}
        }
        if let Some(bound) = about.bound.filter(|bound| size > *bound) {
            return Err(RunError::OverBound { symbol: about.name.clone(), size, bound });
        }
        self.values[symbol] = size;
        self.from[symbol] = Some(from);
        Ok(())
    }

    /// Reads what `view` says about symbols. `true` if it said something new.
    pub fn infer(
        &mut self,
        manifest: &Manifest,
        inputs: &[Tensor],
        input: usize,
        view: &View,
    ) -> Result<bool, RunError> {
        let tensor = &inputs[input];
        let mut news = false;
        if let Some(shape) = view.shape {
            if shape.len() != tensor.axes.len() {
                return Err(mismatch(tensor, None, view));
            }
            for (number, (axis, have)) in tensor.axes.iter().zip(shape).enumerate() {
                let have = *have as i64;
                if let SizeExpr::Symbol(symbol) = axis.size {
                    let source = Source::Input(input as u32, Some(number as u32));
                    news |= !self.is_bound(symbol as usize);
                    self.set(manifest, inputs, symbol as usize, have, source)?;
                } else if let Some(symbol) = self.only_unbound(std::slice::from_ref(axis)) {
                    news |= self.solve(manifest, inputs, symbol, have, input, |symbols| axis.size.eval(symbols))?;
                }
            }
            return Ok(news);
        }
        // The number of elements decides if one symbol is open.
        if let Some(symbol) = self.only_unbound(&tensor.axes) {
            let elements = (view.bytes.len() as u64 / tensor.elem.bytes()) as i64;
            let product = |symbols: &[i64]| tensor.elements(symbols).map(|n| n as i64);
            news = self.solve(manifest, inputs, symbol, elements, input, product)?;
        }
        Ok(news)
    }

    /// Finds the size of `symbol` that makes `f` be `want`, for an `f` that grows with it by a constant.
    fn solve(
        &mut self,
        manifest: &Manifest,
        inputs: &[Tensor],
        symbol: usize,
        want: i64,
        input: usize,
        f: impl Fn(&[i64]) -> Option<i64>,
    ) -> Result<bool, RunError> {
        let mut at = |size: i64| {
            self.values[symbol] = size;
            let value = f(&self.values);
            self.values[symbol] = 0;
            value
        };
        // Away from 0, where `t - 1` is negative and a stride leaves nothing.
        let base = 1 << 12;
        let solved = || {
            let (low, high) = (at(base)?, at(base * 2)?);
            let grows = high.checked_sub(low).filter(|n| *n > 0 && n % base == 0)? / base;
            let size = base + want.checked_sub(low)?.checked_div(grows)?;
            (size >= 0 && at(size) == Some(want)).then_some(size)
        };
        let Some(size) = { solved }() else { return Ok(false) };
        self.set(manifest, inputs, symbol, size, Source::Input(input as u32, None))?;
        Ok(true)
    }

    /// The one symbol in these axes that is not bound, if it is one.
    fn only_unbound(&self, axes: &[crate::format::Axis]) -> Option<usize> {
        let mut open =
            (0..self.values.len()).filter(|s| !self.is_bound(*s) && axes.iter().any(|a| a.size.names(*s as u32)));
        open.next().filter(|_| open.next().is_none())
    }
}

fn describe(source: Source, inputs: &[Tensor]) -> String {
    match source {
        Source::Bind => "`bind`".into(),
        Source::Input(input, axis) => {
            let tensor = &inputs[input as usize];
            match axis {
                Some(axis) => format!("axis {axis} of input `{}`", tensor.name),
                None => format!("the size of input `{}`", tensor.name),
            }
        }
    }
}

/// `view` is not a value of `tensor`.
pub(super) fn mismatch(tensor: &Tensor, symbols: Option<&[i64]>, view: &View) -> RunError {
    let found = match view.shape {
        Some(shape) => format!("shape {shape:?}"),
        None => format!("{} elements", view.bytes.len() as u64 / tensor.elem.bytes()),
    };
    RunError::Shape { kind: "input", name: tensor.name.clone(), want: Shape { tensor, symbols }.to_string(), found }
}
