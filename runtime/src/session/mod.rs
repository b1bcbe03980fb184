//! Sessions: what a caller runs. A session has its own sizes, memory and states; the model behind it is shared.

mod bound;
mod counts;
mod engine;
mod error;
mod exec;
mod index;
mod model;
mod outputs;
mod profile;
mod shares;
mod sizes;
mod state;
mod trace;
mod view;
mod walk;
mod watch;

pub use counts::{ExitCounts, LayerCounts, RouterCounts};
pub use error::{LoadError, RunError};
pub use index::BadIndex;
pub use model::{LoadOptions, Model};
pub use outputs::Outputs;
pub use profile::{CallProfile, Touched};
pub use trace::{Span, Trace};
pub use view::{Element, View, ViewMut};

use crate::format::{Entry, Manifest};
use crate::memory::OutOfMemory;
use bound::Bound;
use sizes::{Sizes, Source};
use state::StateSlot;
use watch::Watch;

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
    watch: Watch,
}

impl Session {
    fn new(model: Model, entry: &str) -> Result<Self, RunError> {
        let manifest = model.manifest();
        let number = find_entry(manifest, entry)?;
        let slot = |(i, about)| StateSlot::new(about, model.first(i));
        let states = manifest.states.iter().enumerate().map(slot).collect::<Result<_, _>>()?;
        let sizes = Sizes::new(manifest.symbols.len());
        Ok(Self {
            entry: number,
            entries: manifest.entries.iter().map(|_| None).collect(),
            states,
            inferred: sizes.clone(),
            sizes,
            threads: model.threads(),
            watch: Watch::default(),
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
        self.entry = find_entry(self.model.manifest(), entry)?;
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
    /// [`Session::input_mut`], and keeps its values from run to run; or it has a default. Sizes that are not bound follow from the inputs.
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
}

/// The first entry of that name; which of them runs is decided when its sizes are known.
fn find_entry(manifest: &Manifest, name: &str) -> Result<usize, RunError> {
    find("entry", name, manifest.callable().map(|e| e.name.as_str()))?;
    Ok(manifest.entries.iter().position(|e| e.name == name).unwrap_or(0))
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
