//! `gatec weights`: the tensors that a model wants of a weight file, and which of them a file has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gatec_runtime::format::Manifest;
use gatec_runtime::weights::{WeightError, Weights as File};

use super::table::Table;
use super::tensors::{self, Tensor};
use super::{Failure, SourceArgs, Talk};
use crate::{BuildError, lower, plan};

#[derive(Args)]
pub struct Weights {
    /// The model
    model: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    /// Hold these weights against it: a .safetensors file, or the index of several
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Write random weights: a .safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    random: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Weights {
    pub fn run(self, talk: &Talk) -> Result<ExitCode, Failure> {
        let program = gatec_lang::load(&self.model, &self.source.sizes()?).map_err(BuildError::Source)?;
        let module = lower::lower(&program).map_err(BuildError::from)?;
        let manifest = plan::manifest(&module, "", Vec::new());
        if let Some(path) = &self.random {
            tensors::write(path, &random(&manifest)?)?;
        }
        let file = match &self.check {
            Some(path) => Some(File::open(path).map_err(|e| Failure::Other(e.to_string()))?),
            None => None,
        };
        let report = Report::of(&manifest, file.as_ref());
        match self.json {
            true => talk.data(format!("{:#}\n", report.json()))?,
            false => talk.data(report.text())?,
        }
        Ok(ExitCode::from(u8::from(report.wanted.iter().any(|w| w.fault.is_some()))))
    }
}

/// A tensor that a model wants.
struct Wanted<'a> {
    name: &'a str,
    elem: &'static str,
    shape: &'a [u64],
    /// What it is where the file lacks it.
    default: Option<f64>,
    /// What is wrong with what the file has of it.
    fault: Option<String>,
}

struct Report<'a> {
    wanted: Vec<Wanted<'a>>,
    /// Names, types and shapes of what the file has beside them.
    unused: Vec<(String, String, Vec<u64>)>,
    is_checked: bool,
}

impl<'a> Report<'a> {
    fn of(manifest: &'a Manifest, file: Option<&File>) -> Self {
        let mut faults: BTreeMap<String, String> = BTreeMap::new();
        for error in file.into_iter().flat_map(|file| file.faults(manifest)) {
            let (name, what) = match &error {
                WeightError::Missing { name, near_name } => {
                    (name, near_name.as_ref().map_or("missing".into(), |near| format!("missing; is it `{near}`?")))
                }
                WeightError::Shape { name, found, .. } => (name, format!("has shape {}", shape(found))),
                WeightError::Elem { name, found, .. } => (name, format!("is {found}, which would be rounded")),
                _ => continue,
            };
            faults.insert(name.clone(), what);
        }
        let parts = manifest.params.iter().flat_map(|p| p.parts.iter().map(move |name| (name, p)));
        let mut wanted: Vec<Wanted> = parts
            .map(|(name, param)| Wanted {
                name,
                elem: param.tensor.elem.name(),
                shape: &param.part_shape,
                default: param.default.filter(|_| file.is_none_or(|file| file.tensor(name).is_none())),
                fault: faults.get(name).cloned(),
            })
            .collect();
        // Two parameters may be of one tensor.
        wanted.sort_by_key(|w| w.name);
        wanted.dedup_by_key(|w| w.name);
        let is_wanted = |name: &str| wanted.binary_search_by_key(&name, |w| w.name).is_ok();
        let all = file.into_iter().flat_map(|file| file.tensors());
        let unused = all.filter(|(name, ..)| !is_wanted(name));
        let unused = unused.map(|(name, elem, shape)| (name.into(), elem.to_lowercase(), shape.to_vec())).collect();
        Self { wanted, unused, is_checked: file.is_some() }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&["tensor", "type", "shape", if self.is_checked { "in the file" } else { "" }]);
        for w in &self.wanted {
            let found = match (w.default, self.is_checked) {
                (Some(default), true) => format!("missing: {default}"),
                (Some(default), false) => format!("{default} if it is missing"),
                (None, true) => w.fault.clone().unwrap_or_else(|| "as wanted".into()),
                (None, false) => String::new(),
            };
            table.row([w.name.into(), w.elem.into(), shape(w.shape), found]);
        }
        let mut text = table.to_string();
        if !self.unused.is_empty() {
            let mut table = Table::new(&["not wanted", "type", "shape", ""]);
            for (name, elem, of) in &self.unused {
                table.row([name.clone(), elem.clone(), shape(of), String::new()]);
            }
            text += &format!("\n{table}");
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let wanted = self.wanted.iter().map(|w| {
            let mut wanted = serde_json::json!({ "name": w.name, "elem": w.elem, "shape": w.shape, "fault": w.fault });
            if let Some(default) = w.default {
                wanted["default"] = serde_json::json!(default);
            }
            wanted
        });
        let unused = self
            .unused
            .iter()
            .map(|(name, elem, shape)| serde_json::json!({ "name": name, "elem": elem, "shape": shape }));
        serde_json::json!({ "wanted": wanted.collect::<Vec<_>>(), "unused": unused.collect::<Vec<_>>() })
    }
}

fn shape(of: &[u64]) -> String {
    format!("[{}]", of.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
}

/// Weights as those of `--random`.
fn random(manifest: &Manifest) -> Result<Vec<(String, Tensor)>, Failure> {
    let weights = File::random(manifest, 1).map_err(|e| Failure::Other(e.to_string()))?;
    let names: Vec<String> = weights.tensors().map(|(name, ..)| name.to_owned()).collect();
    let tensor = |name: String| {
        let (elem, shape, bytes) = weights.tensor(&name)?;
        let shape = shape.iter().map(|n| *n as usize).collect();
        Some((name.clone(), Tensor::new(elem?, shape, bytes)))
    };
    Ok(names.into_iter().filter_map(tensor).collect())
}
