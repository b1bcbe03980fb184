//! `gatec run`: one call of an entry, tensors from files to files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use gatec_runtime::format::{Elem, Isa, Manifest};
use gatec_runtime::{Artifact, LoadOptions, Model, Session, View, Weights};

use super::stats::Stats;
use super::tensors::{self, Tensor};
use super::trace::Timeline;
use super::tune::TunedArgs;
use super::{Failure, ModelArgs, Talk, build, name_and_size, once};

/// How an artifact is loaded and its sizes are bound; shared with `bench`.
#[derive(Args)]
pub struct LoadArgs {
    /// The artifact, or a model to compile on the fly
    pub model: PathBuf,
    /// The weights: a .safetensors file, or the index of several
    #[arg(short, long)]
    pub weights: Option<PathBuf>,
    /// Random weights and random inputs, for a first look
    #[arg(long)]
    pub random: bool,
    /// The entry, if the model has several
    #[arg(long)]
    pub entry: Option<String>,
    /// Size of a symbolic axis
    #[arg(long = "size", value_name = "NAME=SIZE", value_parser = name_and_size, value_delimiter = ',')]
    pub sizes: Vec<(String, i64)>,
    /// Threads [default: as many as there are processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Use the code for this processor: x86-64-v4, x86-64-v3, x86-64, sm_80
    #[arg(long, value_name = "CPU", value_parser = isa)]
    pub target_cpu: Option<Isa>,
    #[command(flatten)]
    pub model_args: ModelArgs,
    #[command(flatten)]
    tuned: TunedArgs,
}

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    load: LoadArgs,
    /// An input: NAME=FILE (.npy, .npz, .safetensors), or a file that holds inputs under their names; `-` is standard input
    #[arg(short, long = "input", value_name = "NAME=FILE")]
    inputs: Vec<String>,
    /// Where the outputs go (.npy, .npz, .safetensors); `-` is standard output, as .npy if it is one, else as .npz
    /// [default: a summary on standard output]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// What states begin with (.npz, .safetensors), buffers that a call sets too; those that it lacks begin as the model says
    #[arg(long, value_name = "FILE")]
    states: Option<PathBuf>,
    /// Where states go after the call (.npz, .safetensors), for `--states` of the next one
    #[arg(long, value_name = "FILE")]
    save_states: Option<PathBuf>,
    /// The summary as JSON
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Time of every kernel, on standard error
    #[arg(long)]
    profile: bool,
    /// Where rows went, on standard error: rows of each expert, choices that none took, entropy; rows that left in each layer
    #[arg(long)]
    stats: bool,
    /// Where a timeline of all threads goes, for Perfetto or Chrome's tracing page: kernels and the lines they stand for
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn isa(name: &str) -> Result<Isa, String> {
    let names: Vec<&str> = Isa::ALL.iter().map(|isa| isa.name()).collect();
    Isa::parse(name).ok_or_else(|| format!("no processor `{name}`; there are {}", names.join(", ")))
}

/// An artifact, and how long it took to read and check it.
pub struct Opened {
    pub artifact: Artifact,
    pub opened_in: Duration,
}

impl LoadArgs {
    /// Opens the artifact, compiling first if the file is a model.
    pub fn artifact(&self, talk: &Talk) -> Result<Opened, Failure> {
        once("--size", &self.sizes)?;
        if self.model.extension().is_none_or(|e| e != "gate") {
            self.model_args.none_given(&self.model, &[("--tuned", self.tuned.is_given())])?;
            return self.open(&self.model);
        }
        let folder = tempfile::tempdir().map_err(|e| Failure::file(&self.model, e))?;
        let out = folder.path().join("model.so");
        let mut options = self.model_args.options()?;
        options.optimize.assume.extend(self.sizes.clone());
        options.tuning = self.tuned.read(&self.model)?;
        options.ptx = self.target_cpu == Some(Isa::Sm80);
        let progress = build::progress(talk, &format!("building {}", self.model.display()));
        let built = crate::build(&self.model, &options, &out);
        progress.finish_and_clear();
        for warning in &built?.optimized.report.warnings {
            talk.warn(warning);
        }
        self.open(&out)
    }

    fn open(&self, path: &Path) -> Result<Opened, Failure> {
        let start = Instant::now();
        let artifact = Artifact::open(path).map_err(|e| Failure::file(&self.model, e))?;
        Ok(Opened { artifact, opened_in: start.elapsed() })
    }

    /// Loads an artifact with its weights.
    pub fn model(&self, opened: &Opened) -> Result<Model, Failure> {
        let manifest = opened.artifact.manifest();
        let mut options = LoadOptions::default();
        if let Some(threads) = self.threads {
            options = options.threads(usize::from(threads));
        }
        if let Some(isa) = self.target_cpu {
            options = options.isa(isa);
        }
        let weights = match &self.weights {
            Some(path) => Weights::open(path).map_err(|e| Failure::Other(e.to_string()))?,
            None if self.random || manifest.params.iter().all(|param| param.default.is_some()) => {
                Weights::random(manifest, SEED).map_err(|e| Failure::Other(e.to_string()))?
            }
            None => return Err(Failure::Usage("the model has parameters: give --weights FILE or --random".into())),
        };
        Model::from_artifact(&opened.artifact, weights, &options).map_err(|e| Failure::file(&self.model, e))
    }

    /// A session at the given sizes.
    pub fn session(&self, model: &Model) -> Result<Session, Failure> {
        let names: Vec<&str> = model.manifest().callable().map(|e| e.name.as_str()).collect();
        let entry = match (&self.entry, names.as_slice()) {
            (Some(entry), _) => entry,
            (None, [only]) => *only,
            (None, names) => {
                return Err(Failure::Usage(format!("which entry? give --entry: {}", names.join(", "))));
            }
        };
        let mut session = model.session(entry).map_err(|e| Failure::Other(e.to_string()))?;
        for (name, size) in &self.sizes {
            session.bind(name, *size as usize).map_err(|e| Failure::Other(e.to_string()))?;
        }
        Ok(session)
    }

    /// A random input for each input that is not given; its symbolic sizes must be.
    pub fn random_inputs(
        &self,
        manifest: &Manifest,
        entry: &str,
        given: &mut Vec<(String, Tensor)>,
    ) -> Result<(), Failure> {
        random_inputs(&self.sizes, manifest, entry, given)
    }
}

/// A random input of an entry for each that is not given and has no default; symbolic axes have these sizes.
pub fn random_inputs(
    sizes: &[(String, i64)],
    manifest: &Manifest,
    entry: &str,
    given: &mut Vec<(String, Tensor)>,
) -> Result<(), Failure> {
    let known = |name: &str| sizes.iter().find(|(n, _)| n == name).map_or(RANDOM_SIZE, |(_, size)| *size);
    let bound: Vec<i64> = manifest.symbols.iter().map(|s| known(&s.name)).collect();
    let Some(entry) = manifest.entries.iter().find(|e| e.name == entry) else { return Ok(()) };
    for (number, input) in entry.inputs.iter().enumerate() {
        let has_default = entry.defaults.iter().any(|default| default.input as usize == number);
        if has_default || given.iter().any(|(name, _)| *name == input.name) {
            continue;
        }
        let too_large = || Failure::Other(format!("a random `{}` of these sizes fits no memory", input.name));
        let count = input.elements(&bound).ok_or_else(too_large)?;
        let mut bytes = Vec::new();
        let room = usize::try_from(count * input.elem.bytes()).ok().and_then(|n| bytes.try_reserve_exact(n).ok());
        room.ok_or_else(too_large)?;
        random(input.elem, count, SEED + number as u64, &mut bytes);
        // Every axis has a size: their product has.
        let shape = input.axes.iter().map(|a| a.size.eval(&bound).unwrap_or(0) as usize).collect();
        given.push((input.name.clone(), Tensor::new(input.elem, shape, &bytes)));
    }
    Ok(())
}

/// Size of a symbolic axis that nobody gave, in random inputs.
const RANDOM_SIZE: i64 = 4;
/// Of random weights and inputs.
pub const SEED: u64 = 1;

/// Elements uniform in -1..1; integers are 0.
fn random(elem: Elem, count: u64, seed: u64, bytes: &mut Vec<u8>) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    match elem {
        Elem::F32 => (0..count).for_each(|_| bytes.extend(next().to_le_bytes())),
        Elem::F64 => (0..count).for_each(|_| bytes.extend(f64::from(next()).to_le_bytes())),
        // The upper half of an f32 is a bf16.
        Elem::Bf16 => (0..count).for_each(|_| bytes.extend(((next().to_bits() >> 16) as u16).to_le_bytes())),
        other => bytes.resize((count * other.bytes()) as usize, 0),
    }
}

impl Run {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        if let Some(path) = self.output.as_deref().filter(|path| *path != Path::new("-")) {
            // Before the work, not after it.
            tensors::format(path)?;
        }
        if let Some(path) = &self.save_states {
            tensors::format(path)?;
        }
        if self.trace.as_deref() == Some(Path::new("-")) {
            return Err(Failure::Usage("--trace writes a file, `-` is none: name one".into()));
        }
        let mut timeline = Timeline::new();
        let artifact = timeline.phase("open", || self.load.artifact(talk))?;
        let progress = build::progress(talk, &format!("running {}", self.load.model.display()));
        let model = timeline.phase("load", || self.load.model(&artifact))?;
        let mut session = self.load.session(&model)?;
        let entry = session.entry().name.clone();
        let mut inputs = self.read_inputs()?;
        if self.load.random {
            self.load.random_inputs(model.manifest(), &entry, &mut inputs)?;
        }
        if let Some(path) = &self.states {
            for (name, tensor) in tensors::read(path)? {
                let view = tensor.view().map_err(|e| Failure::file(path, e))?;
                session.set_state(&name, view).map_err(|e| Failure::file(path, e))?;
            }
        }
        let mut views: Vec<(&str, View)> = Vec::new();
        for (name, tensor) in &inputs {
            views.push((name, tensor.view().map_err(|e| Failure::Other(e.to_string()))?));
        }
        session.set_profiled(self.profile).set_counted(self.stats);
        if self.trace.is_some() {
            session.set_traced(Timeline::room(model.threads()));
        }
        let running = &mut session;
        let outputs = timeline.phase(&format!("run {entry}"), move || running.run(&views));
        let outputs = outputs.map_err(|e| Failure::Other(e.to_string()))?;
        let outputs: Vec<(String, Tensor)> = outputs
            .iter()
            .map(|(name, elem, shape, bytes)| (name.to_string(), Tensor::new(elem, shape.to_vec(), bytes)))
            .collect();
        progress.finish_and_clear();
        if let Some(path) = &self.save_states {
            let state =
                |(name, elem, shape, bytes): (&str, _, _, &[u8])| (name.into(), Tensor::new(elem, shape, bytes));
            tensors::write(path, &session.states().map(state).collect::<Vec<_>>())?;
        }
        match &self.output {
            Some(path) if path == Path::new("-") => talk.data(tensors::to_standard_output(&outputs)?)?,
            Some(path) => tensors::write(path, &outputs)?,
            None if self.json => {
                let all: BTreeMap<&str, _> = outputs.iter().map(|(n, t)| (n.as_str(), Summary::of(t).json())).collect();
                talk.data(format!("{:#}\n", serde_json::json!(all)))?;
            }
            None => {
                for (name, tensor) in &outputs {
                    talk.data(format!("{name}: {}\n", Summary::of(tensor)))?;
                }
            }
        }
        if let Some(path) = &self.trace {
            timeline.write(path, &session, talk)?;
        }
        if self.stats {
            talk.say(&Stats { entry: &entry, routers: &session.routers(), exits: &session.exits() }.to_string());
        }
        if self.profile {
            for call in session.profile() {
                talk.say(&format!("{call}\n"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn read_inputs(&self) -> Result<Vec<(String, Tensor)>, Failure> {
        let mut inputs = Vec::new();
        for given in &self.inputs {
            let (name, path) = match given.split_once('=') {
                Some((name, path)) => (Some(name), Path::new(path)),
                None => (None, Path::new(given)),
            };
            let mut tensors = tensors::read(path)?;
            let Some(name) = name else {
                if tensors.contains_key(tensors::UNNAMED) {
                    let what = "a .npy file has no name for its tensor: write NAME=FILE";
                    return Err(Failure::Usage(format!("{}: {what}", path.display())));
                }
                inputs.extend(tensors);
                continue;
            };
            // A file of one tensor is that tensor, whatever its name there.
            let only = if tensors.len() == 1 { tensors.keys().next().cloned() } else { None };
            let tensor = tensors.remove(name).or_else(|| only.and_then(|only| tensors.remove(&only)));
            let tensor = tensor.ok_or_else(|| Failure::file(path, format!("no tensor `{name}`")))?;
            inputs.push((name.to_string(), tensor));
        }
        Ok(inputs)
    }
}

/// Shape, range and first elements of a tensor.
struct Summary {
    elem: Elem,
    shape: Vec<usize>,
    /// Least and greatest; none if it has no elements.
    range: Option<(f64, f64)>,
    first: Vec<f64>,
    more: bool,
}

/// Elements that a summary shows.
const SHOWN: usize = 6;

impl Summary {
    fn of(tensor: &Tensor) -> Self {
        let numbers = tensor.numbers();
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self {
            elem: tensor.elem,
            shape: tensor.shape.clone(),
            range: (!numbers.is_empty()).then_some((low, high)),
            first: numbers.iter().take(SHOWN).copied().collect(),
            more: numbers.len() > SHOWN,
        }
    }

    fn json(&self) -> serde_json::Value {
        let (min, max) = self.range.unzip();
        serde_json::json!({ "elem": self.elem, "shape": self.shape, "min": min, "max": max, "first": self.first })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{}[{}]", self.elem, shape.join(", "))?;
        let Some((low, high)) = self.range else { return Ok(()) };
        let shown = |x: f64| if self.elem.is_float() { format!("{x:.6}") } else { x.to_string() };
        let first: Vec<String> = self.first.iter().map(|x| shown(*x)).collect();
        write!(f, "  {} to {}: {}{}", shown(low), shown(high), first.join(", "), if self.more { ", ..." } else { "" })
    }
}
