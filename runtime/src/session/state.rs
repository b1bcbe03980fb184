//! States: what a session remembers between calls.

use super::error::Shape;
use super::{Element, RunError, Session, View, find, view};
use crate::format::{Axis, Elem, Init, State};
use crate::memory::{Memory, OutOfMemory};
use crate::weights::fill;

/// A state as it is, and room for what it becomes. They change places after a call that set it.
#[derive(Debug)]
pub(super) struct StateSlot {
    pub current: Memory,
    pub next: Memory,
    /// `None` while its size is not known.
    pub bytes: Option<u64>,
    /// It holds its initial values: nothing is lost if its size changes.
    pub fresh: bool,
}

impl StateSlot {
    /// A state at its initial values, if its size is known; `first` is what it begins with, where that is a parameter.
    pub fn new(about: &State, first: Option<&[u8]>) -> Result<Self, OutOfMemory> {
        let mut slot = Self { current: Memory::empty(), next: Memory::empty(), bytes: None, fresh: true };
        if let Some(bytes) = about.tensor.bytes(&[]) {
            slot.resize(about, first, bytes)?;
        }
        Ok(slot)
    }

    /// Makes it `bytes` large. A state that holds something is not resized.
    pub fn fit(&mut self, about: &State, first: Option<&[u8]>, bytes: u64) -> Result<(), RunError> {
        match self.bytes {
            Some(was) if was == bytes => Ok(()),
            Some(was) if !self.fresh => Err(RunError::StateSize { name: about.tensor.name.clone(), was, now: bytes }),
            _ => self.resize(about, first, bytes).map_err(|e| RunError::OutOfMemory { bytes: e.bytes }),
        }
    }

    fn resize(&mut self, about: &State, first: Option<&[u8]>, bytes: u64) -> Result<(), OutOfMemory> {
        self.bytes = None;
        self.current.reserve(bytes)?;
        self.next.reserve(bytes)?;
        self.bytes = Some(bytes);
        self.reset(about, first);
        Ok(())
    }

    pub fn reset(&mut self, about: &State, first: Option<&[u8]>) {
        let bytes = self.current.bytes_mut(self.bytes.unwrap_or(0) as usize);
        match (about.init, first) {
            (Init::Each(value), _) => fill(value, bytes, about.tensor.elem),
            // As many bytes (`open` checked the types).
            (Init::Param(_), Some(first)) if first.len() == bytes.len() => bytes.copy_from_slice(first),
            (Init::Param(_), _) => fill(0.0, bytes, about.tensor.elem),
        }
        self.fresh = true;
    }
}

impl Session {
    /// A state, or a buffer that an entry sets, as the last run left it.
    ///
    /// # Errors
    /// There is no such state, its elements are no `T`, or its size is not known yet.
    pub fn state<T: Element>(&self, name: &str) -> Result<&[T], RunError> {
        let number = self.find_state(name)?;
        let (slot, elem) = (&self.states[number], self.model.manifest().states[number].tensor.elem);
        let bytes = slot.bytes.ok_or_else(|| self.unbound())?;
        let wrong = || RunError::Elem { kind: "state", name: name.into(), want: elem, found: T::NAME };
        view::elements(slot.current.bytes(bytes as usize), elem).ok_or_else(wrong)
    }

    /// Sets a state.
    ///
    /// # Errors
    /// There is no such state, or the view is of another type or size.
    pub fn set_state<'a>(&mut self, name: &str, value: impl Into<View<'a>>) -> Result<(), RunError> {
        let (number, view) = (self.find_state(name)?, value.into());
        let model = self.model.clone();
        let tensor = &model.manifest().states[number].tensor;
        if !view.is(tensor.elem) {
            return Err(RunError::Elem { kind: "state", name: name.into(), want: tensor.elem, found: view.name });
        }
        let bytes = match self.states[number].bytes {
            Some(bytes) => bytes as usize,
            None => self.fit_state(number)?,
        };
        if view.bytes.len() != bytes {
            let want = Shape { tensor, symbols: None }.to_string();
            let found = format!("{} bytes, not {bytes}", view.bytes.len());
            return Err(RunError::Shape { kind: "state", name: name.into(), want, found });
        }
        let slot = &mut self.states[number];
        slot.current.bytes_mut(bytes).copy_from_slice(view.bytes);
        slot.fresh = false;
        Ok(())
    }

    /// Sets all states to their initial values; buffers to what the weights have.
    pub fn reset(&mut self) {
        for (i, (slot, about)) in self.states.iter_mut().zip(&self.model.manifest().states).enumerate() {
            slot.reset(about, self.model.first(i));
        }
    }

    /// All states whose sizes are known: name, element type, shape, bytes.
    pub fn states(&self) -> impl Iterator<Item = (&str, Elem, Vec<usize>, &[u8])> {
        self.states.iter().zip(&self.model.manifest().states).filter_map(|(slot, about)| {
            let size = |axis: &Axis| usize::try_from(axis.size.eval(&self.inferred.values)?).ok();
            let shape = about.tensor.axes.iter().map(size).collect::<Option<_>>()?;
            Some((about.tensor.name.as_str(), about.tensor.elem, shape, slot.current.bytes(slot.bytes? as usize)))
        })
    }

    /// Makes a state as large as the sizes say that are bound.
    fn fit_state(&mut self, number: usize) -> Result<usize, RunError> {
        let model = self.model.clone();
        let about = &model.manifest().states[number];
        let is_open = |symbol: &usize| {
            about.tensor.axes.iter().any(|axis| axis.size.names(*symbol as u32)) && !self.sizes.is_bound(*symbol)
        };
        let bytes = match (0..self.sizes.values.len()).any(|symbol| is_open(&symbol)) {
            true => None,
            false => about.tensor.bytes(&self.sizes.values),
        };
        let bytes = bytes.ok_or_else(|| self.unbound())?;
        self.states[number].fit(about, model.first(number), bytes)?;
        Ok(bytes as usize)
    }

    fn find_state(&self, name: &str) -> Result<usize, RunError> {
        find("state", name, self.model.manifest().states.iter().map(|s| s.tensor.name.as_str()))
    }
}
