//! States: what a session remembers between calls.

use super::RunError;
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
