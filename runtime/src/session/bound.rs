//! An entry at known sizes: its memory, and one run over it.
#![allow(unsafe_code, reason = "runs programs over memory that the session and its caller own")]

use super::engine::Engine;
use super::error::Shape;
use super::sizes::{Sizes, mismatch};
use super::{BadIndex, RunError, Session, View, ViewMut, find, model};
use crate::format::{Place, Tensor};
use crate::memory::Memory;
use crate::plan::PrepareError;
use crate::weights;

/// An entry with its memory.
#[derive(Debug)]
pub(super) struct Bound {
    pub engine: Engine,
    pub sizes: Sizes,
    /// Everything fits `sizes`.
    pub prepared: bool,
    /// `sizes` are those that `bind` asked for, as far as it did.
    pub ready: bool,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// An input or output.
#[derive(Debug)]
pub(super) struct Port {
    /// The session's own memory for it; made when it is first needed.
    pub own: Memory,
    pub bytes: u64,
    pub shape: Vec<usize>,
    /// `own` holds a value.
    pub filled: bool,
    /// Where it stands in the run at hand, if in the caller's memory.
    pub given: Option<*mut u8>,
}

// SAFETY: `given` is set and used within one call of `Session::run_into`, from views borrowed for that call.
unsafe impl Send for Port {}
// SAFETY: nothing is reached through `&Port` but shared bytes of `own`.
unsafe impl Sync for Port {}

impl Port {
    fn new() -> Self {
        Self { own: Memory::empty(), bytes: 0, shape: Vec::new(), filled: false, given: None }
    }

    /// Takes the size that `tensor` has; `None` if it is out of range.
    fn fit(&mut self, tensor: &Tensor, symbols: &[i64]) -> Option<()> {
        let bytes = tensor.bytes(symbols)?;
        self.filled &= self.bytes == bytes;
        self.bytes = bytes;
        self.shape.clear();
        for axis in &tensor.axes {
            self.shape.push(usize::try_from(axis.size.eval(symbols)?).ok()?);
        }
        Some(())
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.given.unwrap_or(self.own.start())
    }
}

impl Session {
    /// Are the inputs of the sizes that the entry is bound to?
    pub(super) fn fits(&self, inputs: &[(&str, View)]) -> bool {
        let Some(bound) = self.entries[self.entry].as_ref().filter(|bound| bound.ready) else { return false };
        let tensors = &self.entry().inputs;
        inputs.iter().all(|(name, view)| {
            let port = tensors.iter().zip(&bound.inputs).find(|(tensor, _)| tensor.name == *name);
            port.is_some_and(|(_, port)| {
                view.bytes.len() as u64 == port.bytes && view.shape.is_none_or(|shape| shape == port.shape)
            })
        })
    }

    /// Finds all sizes from what was bound and the inputs.
    pub(super) fn infer(&mut self, inputs: &[(&str, View)]) -> Result<(), RunError> {
        let manifest = self.model.manifest();
        let tensors = &manifest.entries[self.entry].inputs;
        self.inferred.copy_from(&self.sizes);
        // An input may say its symbol only when others are known; every round but the last finds one.
        loop {
            let mut news = false;
            for (name, view) in inputs {
                let number = find("input", name, tensors.iter().map(|t| t.name.as_str()))?;
                check_elem(&tensors[number], view)?;
                news |= self.inferred.infer(manifest, tensors, number, view)?;
            }
            if !news {
                return Ok(());
            }
        }
    }

    pub(super) fn unbound(&self) -> RunError {
        let manifest = self.model.manifest();
        let open = self.model.symbols_of(self.entry).iter().filter(|s| !self.inferred.is_bound(**s as usize));
        RunError::Unbound { symbols: open.map(|s| manifest.symbols[*s as usize].name.clone()).collect() }
    }

    /// Makes the entry ready for the sizes in `inferred`.
    pub(super) fn rebind(&mut self) -> Result<(), RunError> {
        let model = self.model.clone();
        let manifest = model.manifest();
        if model.symbols_of(self.entry).iter().any(|s| !self.inferred.is_bound(*s as usize)) {
            return Err(self.unbound());
        }
        // `open` has seen that one of each name serves all sizes.
        self.serve(manifest.serving(&self.entry().name, &self.inferred.values).unwrap_or(self.entry));
        let entry = &manifest.entries[self.entry];
        let bound = match &mut self.entries[self.entry] {
            Some(bound) => bound,
            empty => empty.insert(Box::new(Bound {
                engine: Engine::new(&model)?,
                sizes: Sizes::default(),
                prepared: false,
                ready: false,
                inputs: entry.inputs.iter().map(|_| Port::new()).collect(),
                outputs: entry.outputs.iter().map(|_| Port::new()).collect(),
            })),
        };
        let symbols = &self.inferred.values;
        let same = |a: &Sizes| {
            model.symbols_of(self.entry).iter().all(|s| a.values.get(*s as usize) == symbols.get(*s as usize))
        };
        if bound.prepared && same(&bound.sizes) {
            bound.ready = true;
            return Ok(());
        }
        (bound.ready, bound.prepared) = (false, false);
        let size = |what: String| RunError::Size {
            what,
            bound: manifest.symbols.iter().zip(symbols).map(|(s, n)| (s.name.clone(), *n)).collect(),
        };
        if let Some(need) = entry.needs.iter().find(|need| need.size.eval(symbols).is_none_or(|n| n < 0)) {
            return Err(size(need.what.clone()));
        }
        let ports = bound.inputs.iter_mut().zip(&entry.inputs).chain(bound.outputs.iter_mut().zip(&entry.outputs));
        for (port, tensor) in ports {
            port.fit(tensor, symbols).ok_or_else(|| size(format!("the size of `{}`", tensor.name)))?;
        }
        for default in &entry.defaults {
            let (port, tensor) = (&mut bound.inputs[default.input as usize], &entry.inputs[default.input as usize]);
            if !port.filled {
                port.own.reserve(port.bytes)?;
                let (bytes, size) = weights::narrow(default.value, tensor.elem);
                port.own.bytes_mut(size).copy_from_slice(&bytes[..size]);
                port.filled = true;
            }
        }
        for state in entry.reads.iter().chain(&entry.sets) {
            let (slot, about) = (&mut self.states[*state as usize], &manifest.states[*state as usize]);
            let bytes =
                about.tensor.bytes(symbols).ok_or_else(|| size(format!("the size of `{}`", about.tensor.name)))?;
            slot.fit(about, model.first(*state as usize), bytes)?;
        }
        let (states, inputs, outputs) = (&self.states, &bound.inputs, &bound.outputs);
        let available = |place: Place| match place {
            Place::Input(i) => inputs.get(i as usize).map(|port| port.bytes),
            Place::Output(i) => outputs.get(i as usize).map(|port| port.bytes),
            Place::State(i) | Place::NextState(i) => states.get(i as usize).and_then(|s| s.bytes),
            place => model.shared(place).map(|(_, bytes)| bytes),
        };
        let plan = &model.variant().entries[self.entry];
        bound.engine.prepare(&model, plan, symbols, &available, self.threads).map_err(|e| match e {
            PrepareError::Size(fault) => size(fault.what),
            PrepareError::Memory(memory) => memory.into(),
            #[cfg(feature = "cuda")]
            PrepareError::Device(error) => RunError::Device { message: error.to_string() },
        })?;
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if let Some((base, _)) = model.shared(buffer.place) {
                bound.engine.set_base(i, base);
            }
        }
        bound.sizes.copy_from(&self.inferred);
        (bound.ready, bound.prepared) = (true, true);
        Ok(())
    }

    /// Goes on with another entry of the same name, in the memory that is there: what was filled stays.
    fn serve(&mut self, number: usize) {
        if number != self.entry {
            self.entries.swap(number, self.entry);
            self.entry = number;
        }
    }

    /// Says where inputs and outputs stand in this run.
    pub(super) fn place(&mut self, inputs: &[(&str, View)], outputs: &mut [(&str, ViewMut)]) -> Result<(), RunError> {
        let entry = &self.model.manifest().entries[self.entry];
        let Some(bound) = &mut self.entries[self.entry] else { return Err(self.unbound()) };
        for (name, view) in inputs {
            let number = find("input", name, entry.inputs.iter().map(|t| t.name.as_str()))?;
            let (tensor, port) = (&entry.inputs[number], &mut bound.inputs[number]);
            check_elem(tensor, view)?;
            if view.bytes.len() as u64 != port.bytes || view.shape.is_some_and(|shape| shape != port.shape) {
                return Err(mismatch(tensor, Some(&bound.sizes.values), view));
            }
            let align = tensor.elem.bytes();
            if !view.bytes.is_empty() && !(view.bytes.as_ptr() as usize as u64).is_multiple_of(align) {
                return Err(RunError::Misaligned { name: tensor.name.clone(), align });
            }
            if port.given.replace(view.bytes.as_ptr().cast_mut()).is_some() {
                return Err(RunError::Twice { name: tensor.name.clone() });
            }
        }
        for (tensor, port) in entry.inputs.iter().zip(&bound.inputs) {
            if port.given.is_none() && !port.filled {
                return Err(RunError::MissingInput { name: tensor.name.clone() });
            }
        }
        for (name, view) in outputs {
            let number = find("output", name, entry.outputs.iter().map(|t| t.name.as_str()))?;
            let (tensor, port) = (&entry.outputs[number], &mut bound.outputs[number]);
            if !view.elems.contains(&tensor.elem) {
                return Err(RunError::Elem {
                    kind: "output",
                    name: tensor.name.clone(),
                    want: tensor.elem,
                    found: view.name,
                });
            }
            if view.bytes.len() as u64 != port.bytes {
                let want = Shape { tensor, symbols: Some(&bound.sizes.values) }.to_string();
                let found = format!("{} elements", view.bytes.len() as u64 / tensor.elem.bytes());
                return Err(RunError::Shape { kind: "output", name: tensor.name.clone(), want, found });
            }
            if port.given.replace(view.bytes.as_mut_ptr()).is_some() {
                return Err(RunError::Twice { name: tensor.name.clone() });
            }
        }
        for port in &mut bound.outputs {
            port.filled = port.given.is_none();
            if port.filled {
                port.own.reserve(port.bytes)?;
            }
        }
        Ok(())
    }

    /// Runs the entry over the memory that was placed.
    pub(super) fn go(&mut self) -> Result<(), RunError> {
        let manifest = self.model.manifest();
        let Some(bound) = &mut self.entries[self.entry] else { return Err(self.unbound()) };
        for i in 0..bound.engine.program().buffers.len() {
            let base = match bound.engine.program().buffers[i].place {
                Place::Input(n) => bound.inputs[n as usize].start(),
                Place::Output(n) => bound.outputs[n as usize].start(),
                Place::State(n) => self.states[n as usize].current.start(),
                Place::NextState(n) => self.states[n as usize].next.start(),
                Place::Arena { .. } | Place::Kept(_) | Place::Param(_) => continue,
            };
            bound.engine.set_base(i, base);
        }
        // SAFETY: every base is set: those of the arena, kept buffers and parameters by `rebind`, the others here, to memory of
        // the sizes that `rebind` evaluated and `place` compared. The session is borrowed mutably, inputs and outputs are borrowed
        // by the caller of `run_into`; what is shared with other sessions (kept buffers, parameters) no entry writes.
        let result = unsafe { bound.engine.run(&self.model, &mut self.watch, self.entry) };
        if let Err(stopped) = result {
            bound.outputs.iter_mut().for_each(|port| port.filled = false);
            let fault = stopped.index()?;
            let symbols = &bound.sizes.values;
            let variant = self.model.variant();
            let call = model::call_number(&variant.entries[self.entry], fault.call);
            let told = call.and_then(|call| BadIndex::told(&fault, call, symbols));
            return Err(RunError::IndexOutOfRange {
                kernel: call.map(|call| model::label(variant, call)).unwrap_or_default(),
                lines_of: call.map(|call| call.lines.clone()).unwrap_or_default(),
                one_of: call.map(|call| call.checks.iter().map(|c| c.index.clone()).collect()).unwrap_or_default(),
                found: self.bad_index().or(told).map(Box::new),
            });
        }
        for state in &manifest.entries[self.entry].sets {
            let slot = &mut self.states[*state as usize];
            std::mem::swap(&mut slot.current, &mut slot.next);
            slot.fresh = false;
        }
        Ok(())
    }
}

fn check_elem(tensor: &Tensor, view: &View) -> Result<(), RunError> {
    if view.is(tensor.elem) {
        return Ok(());
    }
    Err(RunError::Elem { kind: "input", name: tensor.name.clone(), want: tensor.elem, found: view.name })
}
