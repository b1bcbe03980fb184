//! The folders of `examples/` and of `examples/zoo/` that have a `case.toml`: what is run, and what must come out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gatec::graph::Elem;
use gatec_runtime::format::Isa;
use gatec_runtime::{LoadOptions, Model, View};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::difference;

/// Outputs by name, each of all calls one after the other; then states after the last call.
pub type Results = BTreeMap<String, Vec<f64>>;

/// A folder and its case.
pub struct Example {
    pub folder: PathBuf,
    pub case: Case,
    golden: BTreeMap<String, Stored>,
}

/// `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Where the equations stand.
    pub paper: String,
    /// The `.gate` file.
    model: PathBuf,
    /// Other sizes of static axes than the file's.
    #[serde(default)]
    axes: BTreeMap<String, i64>,
    /// Weights of the runs that name none.
    weights: Option<PathBuf>,
    /// The script that writes those weights, where they are not in git.
    fetched: Option<PathBuf>,
    golden: PathBuf,
    /// The largest difference that is right, by element type: relative to the largest expected magnitude, or to 1.
    pub tolerance: BTreeMap<String, f64>,
    pub run: Vec<Run>,
}

/// One run, or one for each row of an input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// May be left out where there is one.
    pub entry: Option<String>,
    weights: Option<PathBuf>,
    /// Input or output `x` is the golden file's `golden_prefix.x`, unless the tables below say otherwise.
    golden_prefix: Option<String>,
    /// The golden file's name of an input, or a `.wav` file.
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    outputs: BTreeMap<String, String>,
    /// States that are compared after the last call.
    #[serde(default)]
    pub states: BTreeMap<String, String>,
    #[serde(default)]
    pub states_tolerance: BTreeMap<String, f64>,
    /// An input whose rows are given one by one, in as many calls.
    pub calls: Option<String>,
}

/// A tensor of a file, or sound; the elements as bytes, in memory that is aligned for each type.
#[derive(Clone, Debug)]
pub struct Stored {
    pub elem: Elem,
    pub shape: Vec<usize>,
    words: Vec<u64>,
    length: usize,
}

impl Stored {
    pub fn new(elem: Elem, shape: Vec<usize>, bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { elem, shape, words, length: bytes.len() }
    }

    pub fn scalar(elem: Elem, value: f64) -> Self {
        let (bytes, size) = gatec_runtime::weights::narrow(value, elem);
        Self::new(elem, Vec::new(), &bytes[..size])
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    pub fn numbers(&self) -> Vec<f64> {
        crate::numbers(self.elem, self.bytes())
    }

    /// The bytes of row `i` along the first axis.
    pub fn row(&self, i: usize) -> Self {
        let size = self.shape[1..].iter().product::<usize>() * self.elem.bytes() as usize;
        Self::new(self.elem, self.shape[1..].to_vec(), &self.bytes()[i * size..(i + 1) * size])
    }

    /// Sound as `f32`; its shape is not known.
    fn sound(path: &Path) -> Self {
        let mut wav = hound::WavReader::open(path).expect("a recording");
        let samples: Vec<f32> = wav.samples::<i16>().map(|s| f32::from(s.expect("a sample")) / 32768.0).collect();
        Self::new(Elem::F32, vec![samples.len()], bytemuck::cast_slice(&samples))
    }

    /// The same elements in another shape; those that do not fill the first axis are left out.
    fn reshaped(&self, row: &[usize]) -> Self {
        let size = row.iter().product::<usize>().max(1);
        let rows = self.length / self.elem.bytes() as usize / size;
        let shape: Vec<usize> = std::iter::once(rows).chain(row.iter().copied()).collect();
        Self::new(self.elem, shape, &self.bytes()[..rows * size * self.elem.bytes() as usize])
    }
}

/// The tensors of a `.safetensors` file.
pub fn read(path: &Path) -> BTreeMap<String, Stored> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let stored = |(name, view): (String, safetensors::tensor::TensorView)| {
        let elem = match view.dtype() {
            Dtype::F32 => Elem::F32,
            Dtype::F64 => Elem::F64,
            Dtype::F16 => Elem::F16,
            Dtype::BF16 => Elem::Bf16,
            Dtype::I32 => Elem::I32,
            Dtype::I64 => Elem::I64,
            Dtype::I8 => Elem::I8,
            Dtype::U8 => Elem::U8,
            Dtype::BOOL => Elem::Bool,
            other => panic!("{}: `{name}` is {other:?}", path.display()),
        };
        (name, Stored::new(elem, view.shape().to_vec(), view.data()))
    };
    file.tensors().into_iter().map(stored).collect()
}

impl Example {
    /// All of them, by name.
    pub fn all() -> Vec<Self> {
        [Self::of("examples"), Self::of("examples/zoo")].into_iter().flatten().collect()
    }

    /// Those of a folder of the repository. One whose weights have not been fetched is left out, which is said.
    pub fn of(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        let folders = std::fs::read_dir(&root).expect("the folder of examples");
        let mut folders: Vec<PathBuf> =
            folders.flatten().map(|f| f.path()).filter(|f| f.join("case.toml").exists()).collect();
        folders.sort();
        folders.into_iter().map(Self::open).filter(Self::is_whole).collect()
    }

    #[allow(clippy::print_stderr, reason = "says what is not run")]
    fn is_whole(&self) -> bool {
        let (Some(weights), Some(script)) = (&self.case.weights, &self.case.fetched) else { return true };
        let is_there = self.folder.join(weights).exists();
        if !is_there {
            eprintln!("not run: {}, whose weights {} has not written", self.name(), script.display());
        }
        is_there
    }

    fn open(folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join("case.toml")).expect("case.toml can be read");
        let case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let golden = read(&folder.join(&case.golden));
        Self { folder, case, golden }
    }

    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn model(&self) -> PathBuf {
        self.folder.join(&self.case.model)
    }

    pub fn sizes(&self) -> Vec<(String, i64)> {
        self.case.axes.iter().map(|(name, size)| (name.clone(), *size)).collect()
    }

    pub fn weights(&self, run: &Run) -> PathBuf {
        let file = run.weights.as_ref().or(self.case.weights.as_ref());
        self.folder.join(file.unwrap_or_else(|| panic!("{}: a run without weights", self.name())))
    }

    /// Runs an artifact, all calls of a run in one session.
    pub fn compiled(&self, run: &Run, artifact: &Path, isa: Isa, threads: usize) -> Results {
        let options = LoadOptions::default().isa(isa).threads(threads);
        let model =
            Model::load(artifact, self.weights(run), &options).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
        let entries = &model.manifest().entries;
        let entry = match &run.entry {
            Some(name) => entries.iter().find(|e| e.name == *name).expect("the entry of the case"),
            None => &entries[0],
        };
        let known = |tensor: &gatec_runtime::format::Tensor| -> Vec<Option<usize>> {
            tensor.axes.iter().map(|a| a.size.eval(&[]).and_then(|n| usize::try_from(n).ok())).collect()
        };
        let inputs: Vec<(String, Stored)> = entry
            .inputs
            .iter()
            .map(|input| (input.name.clone(), self.input(run, &input.name, &row(&known(input), run.calls.is_some()))))
            .collect();
        let mut session = model.session(&entry.name).expect("a session");
        let mut results = Results::new();
        for call in calls(run, &inputs) {
            let views: Vec<(&str, View)> = call
                .iter()
                .map(|(name, x)| (name.as_str(), View::bytes(x.elem, x.bytes(), Some(&x.shape)).expect("a view")))
                .collect();
            let outputs = session.run(&views).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
            for (name, elem, _, bytes) in outputs.iter() {
                results.entry(name.into()).or_default().extend(crate::numbers(elem, bytes));
            }
        }
        for state in run.states.keys() {
            let tensor = model.manifest().states.iter().find(|s| s.tensor.name == *state).expect("a state of the case");
            let values: Vec<f64> = match tensor.tensor.elem {
                Elem::I32 => session.state::<i32>(state).expect("a state").iter().map(|x| f64::from(*x)).collect(),
                _ => session.state::<f32>(state).expect("a state").iter().map(|x| f64::from(*x)).collect(),
            };
            results.insert(format!("state {state}"), values);
        }
        results
    }

    /// How far a result of [`Self::compiled`] is from the golden file.
    pub fn error(&self, run: &Run, name: &str, found: &[f64]) -> f64 {
        let golden = match name.strip_prefix("state ") {
            Some(state) => self.state(&run.states[state]),
            None => self.output(run, name),
        };
        difference(found, &golden.numbers())
    }

    /// An input of a run; `row` is its shape without the first axis, as far as the model knows it.
    pub fn input(&self, run: &Run, name: &str, row: &[usize]) -> Stored {
        match run.inputs.get(name) {
            Some(file) if file.ends_with(".wav") => Stored::sound(&self.folder.join(file)).reshaped(row),
            other => self.golden(run, name, other),
        }
    }

    pub fn output(&self, run: &Run, name: &str) -> Stored {
        self.golden(run, name, run.outputs.get(name))
    }

    pub fn state(&self, name: &str) -> Stored {
        self.tensor(name)
    }

    fn golden(&self, run: &Run, name: &str, other: Option<&String>) -> Stored {
        match (other, &run.golden_prefix) {
            (Some(other), _) => self.tensor(other),
            (None, Some(prefix)) => self.tensor(&format!("{prefix}.{name}")),
            (None, None) => self.tensor(name),
        }
    }

    fn tensor(&self, name: &str) -> Stored {
        self.golden
            .get(name)
            .unwrap_or_else(|| panic!("{}: no tensor `{name}` in the golden file", self.name()))
            .clone()
    }
}

/// The known shape of a row: that of the input itself where it is given row by row.
pub fn row(shape: &[Option<usize>], by_row: bool) -> Vec<usize> {
    shape.iter().skip(usize::from(!by_row)).map(|n| n.unwrap_or(1)).collect()
}

/// The inputs of each call.
pub fn calls(run: &Run, inputs: &[(String, Stored)]) -> Vec<Vec<(String, Stored)>> {
    let Some(by) = &run.calls else { return vec![inputs.to_vec()] };
    let count = inputs.iter().find(|(name, _)| name == by).map_or(0, |(_, x)| x.shape[0]);
    let one = |i: usize| {
        inputs.iter().map(|(name, x)| (name.clone(), if name == by { x.row(i) } else { x.clone() })).collect()
    };
    (0..count).map(one).collect()
}
