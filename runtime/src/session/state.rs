//! States: what a session remembers between calls.

use super::error::Shape;
use super::{Element, RunError, Session, View, find, view};
use crate::format::State;
use crate::memory::{Memory, OutOfMemory};
use crate::weights::narrow;

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
    /// A state at its initial values, if its size is known.
    pub fn new(about: &State) -> Result<Self, OutOfMemory> {
        let mut slot = Self { current: Memory::empty(), next: Memory::empty(), bytes: None, fresh: true };
        if let Some(bytes) = about.tensor.bytes(&[]) {
            slot.resize(about, bytes)?;
        }
        Ok(slot)
    }

    /// Makes it `bytes` large. A state that holds something is not resized.
    pub fn fit(&mut self, about: &State, bytes: u64) -> Result<(), RunError> {
        match self.bytes {
            Some(was) if was == bytes => Ok(()),
            Some(was) if !self.fresh => Err(RunError::StateSize { name: about.tensor.name.clone(), was, now: bytes }),
            _ => self.resize(about, bytes).map_err(|e| RunError::OutOfMemory { bytes: e.bytes }),
        }
    }

    fn resize(&mut self, about: &State, bytes: u64) -> Result<(), OutOfMemory> {
        self.bytes = None;
        self.current.reserve(bytes)?;
        self.next.reserve(bytes)?;
        self.bytes = Some(bytes);
        self.reset(about);
        Ok(())
    }

    pub fn reset(&mut self, about: &State) {
        let (value, size) = narrow(about.init, about.tensor.elem);
        for element in self.current.bytes_mut(self.bytes.unwrap_or(0) as usize).chunks_exact_mut(size) {
            element.copy_from_slice(&value[..size]);
        }
        self.fresh = true;
    }
}

impl Session {
    /// A state as the last run left it.
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
        let tensor = &self.model.manifest().states[number].tensor;
        if !view.is(tensor.elem) {
            return Err(RunError::Elem { kind: "state", name: name.into(), want: tensor.elem, found: view.name });
        }
        let bytes = self.states[number].bytes.ok_or_else(|| self.unbound())? as usize;
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

    /// Sets all states to their initial values.
    pub fn reset(&mut self) {
        for (slot, about) in self.states.iter_mut().zip(&self.model.manifest().states) {
            slot.reset(about);
        }
    }

    fn find_state(&self, name: &str) -> Result<usize, RunError> {
        find("state", name, self.model.manifest().states.iter().map(|s| s.tensor.name.as_str()))
    }
}
