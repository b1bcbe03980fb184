//! A model: an artifact's code with weights bound to it, shared by any number of sessions.
#![allow(unsafe_code, reason = "runs the load plan over memory that it owns")]

use std::borrow::Borrow;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::exec::Exec;
use super::walk::Fault;
use super::watch::Watch;
use super::{BadIndex, LoadError, RunError, Session};
use crate::format::{Call, Entry, Init, Isa, Manifest, Place, Plan, SizeExpr, State, Step, Variant, abi};
use crate::memory::Memory;
use crate::open::{Artifact, Code};
use crate::plan::PrepareError;
use crate::pool::Pool;
use crate::weights::{self, BoundParam, WeightErrors, WeightSource, Weights};

/// How a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    threads: Option<NonZeroUsize>,
    isa: Option<Isa>,
    pool: Option<Pool>,
}

impl LoadOptions {
    /// Threads of the model's own pool, the caller's included. 0, and what stands if nothing is said: as many as this process
    /// may use.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = NonZeroUsize::new(threads);
        self
    }

    /// The variant to run, instead of the best that the processor can.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// A pool that several models share, instead of one of its own.
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pool = Some(pool);
        self
    }
}

/// A loaded model. Cheap to clone; clones and sessions share code, weights and threads.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    // The pool goes first: its threads may be in the code.
    pool: Pool,
    manifest: Manifest,
    variant: usize,
    /// The symbols that an entry depends on.
    symbols: Vec<Vec<u32>>,
    /// What states begin with that are buffers, by the number of the state. Sessions copy it.
    firsts: Vec<Option<BoundParam>>,
    place: Loaded,
}

/// Where code and weights are.
enum Loaded {
    Cpu(Cpu),
    #[cfg(feature = "cuda")]
    Cuda(crate::cuda::Loaded),
}

struct Cpu {
    /// By the index of the variant's kernels. They live as long as `_code`.
    functions: Vec<abi::Kernel>,
    kept: Vec<Memory>,
    /// Those that an entry reads; the others were let go when `load` had packed them.
    params: Vec<Option<BoundParam>>,
    _code: Code,
}

impl Model {
    /// Loads the artifact at `path` with weights: a path of a `.safetensors` file or of an index of several, tensors
    /// ([`Weights`](crate::Weights)), or [`WeightSource::Random`].
    ///
    /// # Errors
    /// The artifact or the weights are not what they should be; memory or threads are short.
    pub fn load(
        path: impl AsRef<Path>,
        weights: impl Into<WeightSource>,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        Self::from_artifact(Artifact::open(path)?, weights, options)
    }

    /// Loads an artifact that is in memory: `include_bytes!("model.so")`.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(
        bytes: impl Into<Vec<u8>>,
        weights: impl Into<WeightSource>,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        Self::from_artifact(Artifact::from_bytes(bytes)?, weights, options)
    }

    /// Loads a checked artifact.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_artifact(
        artifact: impl Borrow<Artifact>,
        weights: impl Into<WeightSource>,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let artifact = artifact.borrow();
        let manifest = artifact.manifest().clone();
        let variant = artifact.variant(options.isa)?;
        let about = &manifest.variants[variant];
        if about.isa == Isa::Sm80 && !cfg!(feature = "cuda") {
            return Err(LoadError::NoCuda { isa: about.isa });
        }
        let weights = weights.into().open(&manifest)?;
        weights::check(&manifest, &weights)?;
        let pool = match &options.pool {
            Some(pool) => pool.clone(),
            None => Pool::new(options.threads).map_err(LoadError::Threads)?,
        };
        let place = match about.isa {
            #[cfg(feature = "cuda")]
            Isa::Sm80 => Loaded::Cuda(load_cuda(&manifest, about, artifact, &weights::bind(&manifest, &weights)?)?),
            _ => Loaded::Cpu(load_cpu(&manifest, about, artifact, &weights, &pool)?),
        };
        let first = |state: &State| match state.init {
            Init::Each(_) => Ok(None),
            Init::Param(i) => weights::assemble(&manifest.params[i as usize], &weights).map(Some),
        };
        let firsts = manifest.states.iter().map(first).collect::<Result<_, _>>().map_err(WeightErrors::from)?;
        let symbols = manifest.entries.iter().map(|entry| symbols_of(&manifest, about, &entry.name)).collect();
        Ok(Self(Arc::new(Inner { pool, variant, symbols, firsts, place, manifest })))
    }

    /// What the artifact says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// The variant that was picked.
    pub fn isa(&self) -> Isa {
        self.variant().isa
    }

    /// Threads that sessions may use.
    pub fn threads(&self) -> usize {
        self.0.pool.threads()
    }

    /// A session that runs `entry`, with states of its own at their initial values.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn session(&self, entry: &str) -> Result<Session, RunError> {
        Session::new(self.clone(), entry)
    }

    pub(super) fn variant(&self) -> &Variant {
        &self.0.manifest.variants[self.0.variant]
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// What a state begins with that is a buffer.
    pub(super) fn first(&self, state: usize) -> Option<&[u8]> {
        let bytes = self.0.manifest.states.get(state)?.tensor.bytes(&[])?;
        self.0.firsts.get(state)?.as_ref()?.bytes(usize::try_from(bytes).ok()?)
    }

    /// None on a GPU.
    pub(super) fn functions(&self) -> &[abi::Kernel] {
        match &self.0.place {
            Loaded::Cpu(cpu) => &cpu.functions,
            #[cfg(feature = "cuda")]
            Loaded::Cuda(_) => &[],
        }
    }

    #[cfg(feature = "cuda")]
    pub(super) fn cuda(&self) -> Option<&crate::cuda::Loaded> {
        match &self.0.place {
            Loaded::Cpu(_) => None,
            Loaded::Cuda(loaded) => Some(loaded),
        }
    }

    pub(super) fn symbols_of(&self, entry: usize) -> &[u32] {
        &self.0.symbols[entry]
    }

    /// Where a kept buffer or a parameter starts (on a GPU: its address there), and its bytes.
    pub(super) fn shared(&self, place: Place) -> Option<(*mut u8, u64)> {
        match &self.0.place {
            Loaded::Cpu(cpu) => cpu.shared(self.variant(), &self.0.manifest, place),
            #[cfg(feature = "cuda")]
            Loaded::Cuda(loaded) => loaded.shared(self.variant(), &self.0.manifest, place),
        }
    }
}

impl Cpu {
    fn shared(&self, variant: &Variant, manifest: &Manifest, place: Place) -> Option<(*mut u8, u64)> {
        match place {
            Place::Kept(i) => Some((self.kept.get(i as usize)?.start(), variant.kept.get(i as usize)?.bytes)),
            Place::Param(i) => {
                let bytes = manifest.params.get(i as usize)?.tensor.bytes(&[])?;
                Some((self.params.get(i as usize)?.as_ref()?.start().cast_mut(), bytes))
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = self.threads();
        f.debug_struct("Model")
            .field("name", &self.0.manifest.name)
            .field("isa", &self.isa())
            .field("threads", &threads)
            .finish()
    }
}

/// Maps the code and runs the load plan: parameters to kept buffers.
fn load_cpu(
    manifest: &Manifest,
    variant: &Variant,
    artifact: &Artifact,
    weights: &Weights,
    pool: &Pool,
) -> Result<Cpu, LoadError> {
    let code = Code::load(artifact)?;
    let functions = variant.kernels.iter().map(|k| code.kernel(&k.symbol)).collect::<Result<Vec<_>, _>>()?;
    let memory = |bytes: u64, what: &str| LoadError::OutOfMemory { what: what.into(), bytes };
    let mut kept = Vec::new();
    for buffer in &variant.kept {
        kept.push(Memory::zeroed(buffer.bytes).map_err(|e| memory(e.bytes, &buffer.name))?);
    }
    let params = manifest.params.iter().map(|_| None).collect();
    let mut cpu = Cpu { functions, kept, params, _code: code };
    pack(&mut cpu, manifest, variant, weights, pool)?;
    for (i, param) in manifest.params.iter().enumerate() {
        if cpu.params[i].is_none() && is_read(variant, i) {
            cpu.params[i] = Some(weights::assemble(param, weights).map_err(WeightErrors::from)?);
        }
    }
    Ok(cpu)
}

/// Is the parameter of that number read when entries run?
fn is_read(variant: &Variant, param: usize) -> bool {
    variant.entries.iter().any(|plan| plan.buffers.iter().any(|b| b.place == Place::Param(param as u32)))
}

/// Runs the load plan, step by step: a parameter is put together right before the first step that reads it, and let go after the
/// last. So those that are made of parts, or widened, are not all in memory beside what they become.
fn pack(
    cpu: &mut Cpu,
    manifest: &Manifest,
    variant: &Variant,
    weights: &Weights,
    pool: &Pool,
) -> Result<(), LoadError> {
    let plan = &variant.load;
    let last_uses = last_uses(plan);
    let mut exec = Exec::new();
    let mut before = 0;
    for (number, step) in plan.steps.iter().enumerate() {
        let calls_here = calls(std::slice::from_ref(step)).count() as u32;
        for i in params_of(plan, step) {
            if cpu.params[i].is_none() {
                let assembled = weights::assemble(&manifest.params[i], weights).map_err(WeightErrors::from)?;
                cpu.params[i] = Some(assembled);
            }
        }
        // The same buffers at the same places: the arena keeps what earlier steps left there.
        let one = Plan { buffers: plan.buffers.clone(), steps: vec![step.clone()] };
        let available = |place: Place| match place {
            Place::Param(i) => manifest.params.get(i as usize)?.tensor.bytes(&[]),
            place => cpu.shared(variant, manifest, place).map(|(_, bytes)| bytes),
        };
        exec.prepare(&one, &cpu.functions, &[], &available, pool.threads()).map_err(prepare_error)?;
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if let Some((base, _)) = cpu.shared(variant, manifest, buffer.place) {
                exec.set_base(i, base);
            }
        }
        // SAFETY: every buffer of this step is in the arena, kept or a parameter (`open` allows no other while loading), all of
        // which were set above; nobody else has them yet. A plan of the compiler does not write parameters, which are mapped
        // read-only.
        unsafe { exec.run(pool, &mut Watch::default(), 0) }
            .map_err(|fault| index_error(variant, &Fault { call: before + fault.call, ..*fault }))?;
        before += calls_here;
        for i in (0..cpu.params.len()).filter(|i| last_uses.get(*i) == Some(&Some(number))) {
            if !is_read(variant, i)
                && let Some(param) = cpu.params[i].take()
            {
                param.release(manifest.params[i].tensor.bytes(&[]).unwrap_or(0) as usize);
            }
        }
    }
    Ok(())
}

/// The parameters that a step reads.
fn params_of(plan: &Plan, step: &Step) -> Vec<usize> {
    let buffers = calls(std::slice::from_ref(step)).flat_map(|call| &call.args).map(|arg| arg.buffer);
    let places = buffers.filter_map(|buffer| plan.buffers.get(buffer as usize)).map(|buffer| buffer.place);
    let params = places.filter_map(|place| if let Place::Param(i) = place { Some(i as usize) } else { None });
    params.collect()
}

/// The last top-level step that reads each parameter; shorter than there are parameters if the last are not read.
fn last_uses(plan: &Plan) -> Vec<Option<usize>> {
    let mut last = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        for i in params_of(plan, step) {
            if i >= last.len() {
                last.resize(i + 1, None);
            }
            last[i] = Some(number);
        }
    }
    last
}

#[cfg(feature = "cuda")]
fn load_cuda(
    manifest: &Manifest,
    variant: &Variant,
    artifact: &Artifact,
    params: &[BoundParam],
) -> Result<crate::cuda::Loaded, LoadError> {
    use crate::cuda::{LoadFault, Loaded};

    let ptx = artifact.ptx()?.unwrap_or_default();
    Loaded::load(manifest, variant, &ptx, params).map_err(|fault| match fault {
        LoadFault::Device(error) => LoadError::Cuda(error),
        LoadFault::Prepare(error) => prepare_error(error),
        LoadFault::Index(call) => index_error(variant, &Fault { call, ..Fault::NONE }),
    })
}

fn prepare_error(error: PrepareError) -> LoadError {
    match error {
        PrepareError::Size(fault) => LoadError::Inconsistent { what: fault.what },
        PrepareError::Memory(e) => LoadError::OutOfMemory { what: "the load plan".into(), bytes: e.bytes },
        #[cfg(feature = "cuda")]
        PrepareError::Device(error) => LoadError::Cuda(error),
    }
}

fn index_error(variant: &Variant, fault: &Fault) -> LoadError {
    let call = call_number(&variant.load, fault.call);
    LoadError::IndexOutOfRange {
        kernel: call.map_or_else(String::new, |call| label(variant, call)),
        found: call.and_then(|call| BadIndex::told(fault, call, &[])).map(Box::new),
    }
}

pub(super) fn label(variant: &Variant, call: &Call) -> String {
    variant.kernels.get(call.kernel as usize).map(|k| k.label.clone()).unwrap_or_default()
}

/// The call of that number, loops unfolded once. Nesting is bounded (`open`).
pub(super) fn call_number(plan: &Plan, number: u32) -> Option<&Call> {
    calls(&plan.steps).nth(number as usize)
}

/// All calls, loops unfolded once.
pub(super) fn calls(steps: &[Step]) -> Box<dyn Iterator<Item = &Call> + '_> {
    Box::new(steps.iter().flat_map(|step| match step {
        Step::Call(call) => Box::new(std::iter::once(call)) as Box<dyn Iterator<Item = &Call>>,
        Step::Loop { body, .. } | Step::When { body, .. } => calls(body),
    }))
}

/// The symbols that tensors or plans of entries of a name mention, or the choice between them.
fn symbols_of(manifest: &Manifest, variant: &Variant, name: &str) -> Vec<u32> {
    let mut sizes: Vec<&SizeExpr> = Vec::new();
    let alternatives = || manifest.entries.iter().zip(&variant.entries).filter(|(entry, _)| entry.name == name);
    alternatives().for_each(|(entry, plan)| sizes_of(manifest, entry, plan, &mut sizes));
    let bounds = || alternatives().flat_map(|(entry, _)| &entry.at_most);
    let is_named = |s: &u32| sizes.iter().any(|size| size.names(*s)) || bounds().any(|most| most.symbol == *s);
    (0..manifest.symbols.len() as u32).filter(is_named).collect()
}

fn sizes_of<'a>(manifest: &'a Manifest, entry: &'a Entry, plan: &'a Plan, sizes: &mut Vec<&'a SizeExpr>) {
    let states = entry.reads.iter().chain(&entry.sets).filter_map(|s| manifest.states.get(*s as usize));
    let tensors = entry.inputs.iter().chain(&entry.outputs).chain(states.map(|s| &s.tensor));
    sizes.extend(tensors.flat_map(|t| &t.axes).map(|axis| &axis.size));
    sizes.extend(plan.buffers.iter().map(|b| &b.bytes));
    for call in calls(&plan.steps) {
        sizes.extend(call.dims.iter().chain([&call.units, &call.scratch_bytes]));
        sizes.extend(call.args.iter().flat_map(|arg| arg.strides.iter().chain([&arg.offset, &arg.odd])));
    }
    let mut open: Vec<&Step> = plan.steps.iter().collect();
    while let Some(step) = open.pop() {
        match step {
            Step::Call(_) => {}
            Step::Loop { count, body, .. } => {
                sizes.push(count);
                open.extend(body);
            }
            Step::When { flag, body, .. } => {
                sizes.extend(flag.strides.iter().chain([&flag.offset, &flag.odd]));
                open.extend(body);
            }
        }
    }
}
