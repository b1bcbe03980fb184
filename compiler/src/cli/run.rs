//! `gatec run`: one call of an entry, tensors from files to files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gatec_runtime::format::{Elem, Isa, Manifest};
use gatec_runtime::{Artifact, LoadOptions, Model, Session, View, Weights};

use super::tensors::{self, Tensor};
use super::{Failure, ModelArgs, Talk, build, name_and_size};

/// How an artifact is loaded and its sizes are bound; shared with `bench`.
#[derive(Args)]
pub struct LoadArgs {
    /// The artifact, or a model to compile on the fly
    pub model: PathBuf,
    /// The weights
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
    /// Threads
    #[arg(long)]
    pub threads: Option<usize>,
    /// Use the code for this processor
    #[arg(long, value_name = "CPU")]
    pub target_cpu: Option<String>,
    #[command(flatten)]
    pub model_args: ModelArgs,
}

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    load: LoadArgs,
    /// An input: NAME=FILE, FILE.npz:NAME, or a file that holds inputs under their names
    #[arg(short, long = "input", value_name = "NAME=FILE")]
    inputs: Vec<String>,
    /// Where the outputs go (.npy, .npz, .safetensors) [default: a summary on standard output]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Time of every kernel, on standard error
    #[arg(long)]
    profile: bool,
}

impl LoadArgs {
    /// Opens the artifact, compiling first if the file is a model.
    pub fn model(&self) -> Result<Model, Failure> {
        let artifact = self.artifact()?;
        let mut options = LoadOptions::default();
        if let Some(threads) = self.threads {
            options = options.threads(threads);
        }
        if let Some(cpu) = &self.target_cpu {
            let isa: Isa = serde_json::from_value(cpu.as_str().into())
                .map_err(|_| Failure::Other(format!("no processor `{cpu}`")))?;
            options = options.isa(isa);
        }
        let weights = match &self.weights {
            Some(path) => Weights::open(path).map_err(|e| Failure::file(path, e))?,
            None if self.random || artifact.manifest().params.is_empty() => Weights::random(artifact.manifest(), SEED),
            None => return Err(Failure::Other("the model has parameters: give --weights FILE or --random".into())),
        };
        Model::from_artifact(&artifact, weights, &options).map_err(|e| Failure::file(&self.model, e))
    }

    fn artifact(&self) -> Result<Artifact, Failure> {
        if self.model.extension().is_none_or(|e| e != "gate") {
            return Artifact::open(&self.model).map_err(|e| Failure::file(&self.model, e));
        }
        let folder = tempfile::tempdir().map_err(|e| Failure::file(&self.model, e))?;
        let out = folder.path().join("model.so");
        let mut options = self.model_args.options();
        options.optimize.assume.extend(self.sizes.clone());
        options.ptx = false;
        let progress = build::progress(&format!("building {}", self.model.display()));
        let built = crate::build(&self.model, &options, &out);
        progress.finish_and_clear();
        built?;
        Artifact::open(&out).map_err(|e| Failure::file(&self.model, e))
    }

    /// A session at the given sizes.
    pub fn session(&self, model: &Model) -> Result<Session, Failure> {
        let entry = match (&self.entry, model.manifest().entries.as_slice()) {
            (Some(entry), _) => entry,
            (None, [only]) => &only.name,
            (None, several) => {
                let names: Vec<&str> = several.iter().map(|e| e.name.as_str()).collect();
                return Err(Failure::Other(format!("which entry? give --entry: {}", names.join(", "))));
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
        let sizes: Vec<Option<i64>> = manifest
            .symbols
            .iter()
            .map(|s| self.sizes.iter().find(|(name, _)| *name == s.name).map(|(_, size)| *size))
            .collect();
        let Some(entry) = manifest.entries.iter().find(|e| e.name == entry) else { return Ok(()) };
        for (number, input) in entry.inputs.iter().enumerate() {
            if given.iter().any(|(name, _)| *name == input.name) {
                continue;
            }
            let bound: Vec<i64> = sizes.iter().map(|s| s.unwrap_or(RANDOM_SIZE)).collect();
            let shape: Vec<usize> =
                input.axes.iter().map(|a| a.size.eval(&bound).unwrap_or(0).max(0) as usize).collect();
            given.push((input.name.clone(), random(input.elem, shape, SEED + number as u64)));
        }
        Ok(())
    }
}

/// Size of a symbolic axis that nobody gave, in random inputs.
const RANDOM_SIZE: i64 = 4;
const SEED: u64 = 1;

/// Uniform in -1..1; integers are 0.
fn random(elem: Elem, shape: Vec<usize>, seed: u64) -> Tensor {
    let count = shape.iter().product::<usize>();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let bytes: Vec<u8> = match elem {
        Elem::F32 => (0..count).flat_map(|_| next().to_le_bytes()).collect(),
        Elem::F64 => (0..count).flat_map(|_| f64::from(next()).to_le_bytes()).collect(),
        // The upper half of an f32 is a bf16.
        Elem::Bf16 => (0..count).flat_map(|_| ((next().to_bits() >> 16) as u16).to_le_bytes()).collect(),
        other => vec![0; count * other.bytes() as usize],
    };
    Tensor::new(elem, shape, &bytes)
}

impl Run {
    pub fn run(self, _: &Talk) -> Result<ExitCode, Failure> {
        let model = self.load.model()?;
        let mut session = self.load.session(&model)?;
        let entry = session.entry().name.clone();
        let mut inputs = self.read_inputs()?;
        if self.load.random {
            self.load.random_inputs(model.manifest(), &entry, &mut inputs)?;
        }
        let mut views: Vec<(&str, View)> = Vec::new();
        for (name, tensor) in &inputs {
            views.push((name, tensor.view().map_err(|e| Failure::Other(e.to_string()))?));
        }
        session.set_profiled(self.profile);
        let outputs = session.run(&views).map_err(|e| Failure::Other(e.to_string()))?;
        let outputs: Vec<(String, Tensor)> = outputs
            .iter()
            .map(|(name, elem, shape, bytes)| (name.to_string(), Tensor::new(elem, shape.to_vec(), bytes)))
            .collect();
        match &self.output {
            Some(path) => tensors::write(path, &outputs)?,
            None => outputs.iter().for_each(|(name, tensor)| println!("{}", summary(name, tensor))),
        }
        if self.profile {
            for call in session.profile() {
                eprintln!("{call}");
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
                inputs.extend(tensors);
                continue;
            };
            let tensor = tensors.remove(name).or_else(|| tensors.pop_first().map(|(_, t)| t));
            let tensor = tensor.ok_or_else(|| Failure::file(path, format!("no tensor `{name}`")))?;
            inputs.push((name.to_string(), tensor));
        }
        Ok(inputs)
    }
}

/// Shape, range and first elements.
fn summary(name: &str, tensor: &Tensor) -> String {
    let bytes = tensor.bytes();
    let values: Vec<f64> = match tensor.elem {
        Elem::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        Elem::I32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        _ => Vec::new(),
    };
    let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
    let mut text = format!("{name}: {}[{}]", tensor.elem, shape.join(", "));
    if !values.is_empty() {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first: Vec<String> = values.iter().take(6).map(|v| format!("{v:.6}")).collect();
        text += &format!("  {low:.6} to {high:.6}: {}", first.join(", "));
        if values.len() > 6 {
            text += ", ...";
        }
    }
    text
}
