//! Sessions: what a caller runs. A session has its own sizes, memory and states; the model behind it is shared.
#![allow(unsafe_code, reason = "runs programs over memory that the session and its caller own")]

mod engine;
mod error;
mod model;
mod profile;
mod sizes;
mod state;
mod view;
mod walk;

pub use error::{LoadError, RunError};
pub use model::{LoadOptions, Model};
pub use profile::CallProfile;
pub use view::{Element, View, ViewMut};

use crate::format::{Elem, Entry, Place, Tensor};
use crate::memory::{Memory, OutOfMemory};
use crate::plan::PrepareError;
use engine::{Engine, Stopped};
use error::Shape;
use sizes::{Sizes, Source, mismatch};
use state::StateSlot;

impl From<OutOfMemory> for RunError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory { bytes: error.bytes }
    }
}

/// Runs the entries of a model. It covers all of them: they share the states.
///
/// A session is used by one thread at a time, and may move between threads; several sessions of one model run at once.
/// After the first run at some sizes, a run at those sizes neither allocates nor locks.
#[derive(Debug)]
pub struct Session {
    model: Model,
    entry: usize,
    entries: Vec<Option<Box<Bound>>>,
    states: Vec<StateSlot>,
    /// What `bind` said.
    sizes: Sizes,
    /// `sizes` and what the inputs at hand say.
    inferred: Sizes,
    threads: usize,
    profiled: bool,
}

/// An entry with its memory.
#[derive(Debug)]
struct Bound {
    engine: Engine,
    sizes: Sizes,
    /// Everything fits `sizes`.
    prepared: bool,
    /// `sizes` are those that `bind` asked for, as far as it did.
    ready: bool,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or output.
#[derive(Debug)]
struct Port {
    /// The session's own memory for it; made when it is first needed.
    own: Memory,
    bytes: u64,
    shape: Vec<usize>,
    /// `own` holds a value.
    filled: bool,
    /// Where it stands in the run at hand, if in the caller's memory.
    given: Option<*mut u8>,
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

    fn start(&self) -> *mut u8 {
        self.given.unwrap_or(self.own.start())
    }
}

impl Session {
    fn new(model: Model, entry: &str) -> Result<Self, RunError> {
        let manifest = model.manifest();
        let number = find("entry", entry, manifest.entries.iter().map(|e| e.name.as_str()))?;
        let states = manifest.states.iter().map(StateSlot::new).collect::<Result<_, _>>()?;
        let sizes = Sizes::new(manifest.symbols.len());
        Ok(Self {
            entry: number,
            entries: manifest.entries.iter().map(|_| None).collect(),
            states,
            inferred: sizes.clone(),
            sizes,
            threads: model.threads(),
            profiled: false,
            model,
        })
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The entry that runs: its inputs and outputs.
    pub fn entry(&self) -> &Entry {
        &self.model.manifest().entries[self.entry]
    }

    /// Runs another entry from now on. States are those of the session, whatever entry set them.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn enter(&mut self, entry: &str) -> Result<&mut Self, RunError> {
        self.entry = find("entry", entry, self.model.manifest().entries.iter().map(|e| e.name.as_str()))?;
        Ok(self)
    }

    /// Binds a symbolic axis to a size, for all entries. What inputs say must agree with it.
    ///
    /// # Errors
    /// There is no such axis, or the model was built for smaller sizes.
    pub fn bind(&mut self, symbol: &str, size: usize) -> Result<&mut Self, RunError> {
        let manifest = self.model.manifest();
        let number = find("symbolic axis", symbol, manifest.symbols.iter().map(|s| s.name.as_str()))?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.sizes.set(manifest, &[], number, size, Source::Bind)?;
        for bound in self.entries.iter_mut().flatten() {
            bound.ready = false;
        }
        Ok(self)
    }

    /// Uses at most this many threads of the model's, at least the caller's own. Results do not depend on it.
    pub fn set_threads(&mut self, threads: usize) -> &mut Self {
        self.threads = threads.clamp(1, self.model.threads());
        for bound in self.entries.iter_mut().flatten() {
            (bound.ready, bound.prepared) = (false, false);
        }
        self
    }

    /// Runs the entry. `inputs` are used where they stand; one that is not named here must have been filled through
    /// [`Session::input_mut`], and keeps its values from run to run. Sizes that are not bound follow from the inputs.
    ///
    /// # Errors
    /// An input is unknown, missing or of another element type or shape; sizes contradict each other; an index that the
    /// model read was out of range. States are then as they were.
    pub fn run(&mut self, inputs: &[(&str, View)]) -> Result<Outputs<'_>, RunError> {
        self.run_into(inputs, &mut [])?;
        Ok(Outputs { session: self })
    }

    /// As [`Session::run`]; results that are named in `outputs` are written there instead of the session's own memory.
    ///
    /// # Errors
    /// As [`Session::run`]; an output is unknown or of another type or size.
    pub fn run_into(&mut self, inputs: &[(&str, View)], outputs: &mut [(&str, ViewMut)]) -> Result<(), RunError> {
        if !self.fits(inputs) {
            self.infer(inputs)?;
            self.rebind()?;
        }
        let result = self.place(inputs, outputs).and_then(|()| self.go());
        // The caller's memory is his again.
        if let Some(bound) = &mut self.entries[self.entry] {
            bound.inputs.iter_mut().chain(&mut bound.outputs).for_each(|port| port.given = None);
        }
        result
    }

    /// The memory of an input, to be filled in place. All symbolic axes must be bound, or known from an earlier run.
    ///
    /// # Errors
    /// There is no such input, its elements are no `T`, or a size is not known.
    pub fn input_mut<T: Element>(&mut self, name: &str) -> Result<&mut [T], RunError> {
        let number = find("input", name, self.entry().inputs.iter().map(|t| t.name.as_str()))?;
        let elem = self.entry().inputs[number].elem;
        if !self.entries[self.entry].as_ref().is_some_and(|b| b.ready) {
            self.inferred.copy_from(&self.sizes);
            self.rebind()?;
        }
        let Some(bound) = &mut self.entries[self.entry] else {
            return Err(RunError::MissingInput { name: name.into() });
        };
        let port = &mut bound.inputs[number];
        port.own.reserve(port.bytes)?;
        port.filled = true;
        let wrong = RunError::Elem { kind: "input", name: name.into(), want: elem, found: T::NAME };
        view::elements_mut(port.own.bytes_mut(port.bytes as usize), elem).ok_or(wrong)
    }

    /// A result of the last run, in the session's memory.
    ///
    /// # Errors
    /// There is no such output, its elements are no `T`, or no run has written it there.
    pub fn output<T: Element>(&self, name: &str) -> Result<&[T], RunError> {
        let (bytes, elem) = self.output_bytes(name)?;
        let wrong = || RunError::Elem { kind: "output", name: name.into(), want: elem, found: T::NAME };
        view::elements(bytes, elem).ok_or_else(wrong)
    }

    /// The shape of a result of the last run, outermost axis first.
    ///
    /// # Errors
    /// There is no such output, or no run has told its size.
    pub fn output_shape(&self, name: &str) -> Result<&[usize], RunError> {
        Ok(&self.output_port(name)?.1.shape)
    }

    fn output_bytes(&self, name: &str) -> Result<(&[u8], Elem), RunError> {
        let (tensor, port) = self.output_port(name)?;
        if !port.filled {
            return Err(RunError::NoResult { name: name.into() });
        }
        Ok((port.own.bytes(port.bytes as usize), tensor.elem))
    }

    fn output_port(&self, name: &str) -> Result<(&Tensor, &Port), RunError> {
        let outputs = &self.entry().outputs;
        let number = find("output", name, outputs.iter().map(|t| t.name.as_str()))?;
        let bound = self.entries[self.entry].as_ref().ok_or_else(|| RunError::NoResult { name: name.into() })?;
        Ok((&outputs[number], &bound.outputs[number]))
    }

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

    /// Are the inputs of the sizes that the entry is bound to?
    fn fits(&self, inputs: &[(&str, View)]) -> bool {
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
    fn infer(&mut self, inputs: &[(&str, View)]) -> Result<(), RunError> {
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

    fn unbound(&self) -> RunError {
        let manifest = self.model.manifest();
        let open = self.model.symbols_of(self.entry).iter().filter(|s| !self.inferred.is_bound(**s as usize));
        RunError::Unbound { symbols: open.map(|s| manifest.symbols[*s as usize].name.clone()).collect() }
    }

    /// Makes the entry ready for the sizes in `inferred`.
    fn rebind(&mut self) -> Result<(), RunError> {
        let model = self.model.clone();
        let manifest = model.manifest();
        let entry = &manifest.entries[self.entry];
        if model.symbols_of(self.entry).iter().any(|s| !self.inferred.is_bound(*s as usize)) {
            return Err(self.unbound());
        }
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
        let ports = bound.inputs.iter_mut().zip(&entry.inputs).chain(bound.outputs.iter_mut().zip(&entry.outputs));
        for (port, tensor) in ports {
            port.fit(tensor, symbols).ok_or_else(|| size(format!("the size of `{}`", tensor.name)))?;
        }
        for state in entry.reads.iter().chain(&entry.sets) {
            let (slot, about) = (&mut self.states[*state as usize], &manifest.states[*state as usize]);
            let bytes =
                about.tensor.bytes(symbols).ok_or_else(|| size(format!("the size of `{}`", about.tensor.name)))?;
            slot.fit(about, bytes)?;
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

    /// Says where inputs and outputs stand in this run.
    fn place(&mut self, inputs: &[(&str, View)], outputs: &mut [(&str, ViewMut)]) -> Result<(), RunError> {
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
            if !(view.bytes.as_ptr() as usize as u64).is_multiple_of(align) {
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
    fn go(&mut self) -> Result<(), RunError> {
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
        let result = unsafe { bound.engine.run(&self.model, self.profiled) };
        if let Err(stopped) = result {
            bound.outputs.iter_mut().for_each(|port| port.filled = false);
            let number = match stopped {
                Stopped::Index(number) => number,
                #[cfg(feature = "cuda")]
                Stopped::Device(error) => return Err(RunError::Device { message: error.to_string() }),
            };
            let variant = self.model.variant();
            let call = model::call_number(&variant.entries[self.entry], number);
            return Err(RunError::IndexOutOfRange {
                kernel: call.map(|call| model::label(variant, call)).unwrap_or_default(),
                lines_of: call.map(|call| call.lines.clone()).unwrap_or_default(),
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

/// The place of `name`, or an error that lists what there is.
fn find<'a>(
    kind: &'static str,
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, RunError> {
    let all = names.clone();
    names.position(|n| n == name).ok_or_else(|| RunError::Unknown {
        kind,
        name: name.into(),
        there_is: all.map(str::to_owned).collect(),
    })
}

/// The results of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    session: &'a Session,
}

impl<'a> Outputs<'a> {
    /// The elements of a result, innermost axis last.
    ///
    /// # Errors
    /// There is no such output, or its elements are no `T`.
    pub fn slice<T: Element>(&self, name: &str) -> Result<&'a [T], RunError> {
        self.session.output(name)
    }

    /// The shape of a result, outermost axis first.
    ///
    /// # Errors
    /// There is no such output.
    pub fn shape(&self, name: &str) -> Result<&'a [usize], RunError> {
        self.session.output_shape(name)
    }

    /// All results in the model's order: name, element type, shape, bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Elem, &'a [usize], &'a [u8])> {
        let session = self.session;
        session.entry().outputs.iter().filter_map(move |tensor| {
            let (_, port) = session.output_port(&tensor.name).ok()?;
            Some((tensor.name.as_str(), tensor.elem, port.shape.as_slice(), port.own.bytes(port.bytes as usize)))
        })
    }
}
