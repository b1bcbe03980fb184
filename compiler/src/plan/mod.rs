//! From a fused graph to kernels and the plan that calls them, for one kind of machine.
//!
//! Here order begins: each buffer gets an order of axes, each group becomes a kernel over loops, each loop of the graph a loop of
//! the plan. What can be known at load (packed weights, values of the load graph) is asked for while the entries are planned, and
//! planned last, as the `load` plan.

mod attend;
mod builder;
mod checks;
mod contract;
mod expand;
mod indices;
mod join;
mod layout;
mod manifest;
mod needs;
mod nest;
mod once;
mod pack;
mod quantized;
mod region;
mod scan;
mod select;
mod sizes;
mod steps;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use gatec_lang::Size;
use gatec_runtime::format::{self, Call, Check, Isa, Kept, Place, Plan, Routing, SizeExpr};
use thiserror::Error;

use crate::fuse::{self, Core, GroupId, Needs, Note, Outside, Way};
use crate::graph::{Axis, Elem, Graph, Module, Value};
use crate::kernel::{Extent, Kernel};
use crate::ops::{Class, Op};
use crate::schedule::{self, Schedule, Tuning, UnitsExpr};

pub use manifest::{manifest, param_order};

use pack::Pack;
use region::{Location, Region, RegionId};
use sizes::Symbols;
use steps::{Spot, Steps};

/// Why a module could not be planned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    #[error("a constant tensor of {elements} elements: at most {most} can be written into code; make it a parameter")]
    Table { elements: usize, most: usize },
    #[error("`{0}` depends on a size that is bound when the model runs; what is computed at load cannot")]
    SymbolicAtLoad(String),
    #[error("internal error in planning (please report it): {0}")]
    Internal(String),
}

/// Kernels and plans for one kind of machine.
#[derive(Clone, Debug)]
pub struct Planned {
    pub variant: format::Variant,
    /// Symbol, kernel, schedule; in the order of `variant.kernels`.
    pub kernels: Vec<(String, Kernel, Schedule)>,
    /// Where a slower way was taken, and why.
    pub slower: Vec<Slower>,
}

/// A slower way that planning took: what `explain` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slower {
    /// Number of the entry; `None`: at load.
    pub entry: Option<usize>,
    pub value: String,
    /// File and line that the value comes from.
    pub line: Option<(String, u32)>,
    pub way: Way,
    pub why: String,
}

/// Plans a module whose `load` graph has been split off. `files` are names of source files, for profiles.
pub fn plan(module: &Module, isa: Isa, assume: &[(String, i64)], tuning: &Tuning) -> Result<Planned, PlanError> {
    let symbols = Symbols::new(module.symbols.iter().map(|(name, _)| name.clone()), assume);
    let load = Region {
        graph: &module.load,
        fusion: fuse::Fusion::default(),
        needs: Needs::default(),
        parent: None,
        depth: 0,
        locations: BTreeMap::new(),
        at_load: Default::default(),
        placed: BTreeMap::new(),
        sorted_rows: Vec::new(),
    };
    let mut planner = Planner {
        module,
        isa,
        tuning,
        symbols,
        regions: vec![load],
        load_region: RegionId(0),
        entry: 0,
        loading: false,
        steps: Steps::new(),
        kernels: Vec::new(),
        kept: Vec::new(),
        plain: BTreeMap::new(),
        packs: Vec::new(),
        slower: Vec::new(),
    };
    let mut entries = Vec::new();
    for entry in 0..module.entries.len() {
        entries.push(planner.plan_entry(entry)?);
    }
    let load = planner.plan_load()?;
    let kernels = planner
        .kernels
        .iter()
        .map(|k| format::Kernel {
            symbol: k.symbol.clone(),
            label: k.label.clone(),
            args: k.kernel.buffers.len() as u32,
            dims: k.kernel.dims,
            launch: schedule::launch(&k.schedule),
        })
        .collect();
    let variant = format::Variant { isa, kernels, kept: planner.kept, load, entries };
    let Planner { kernels, slower, .. } = planner;
    let kernels = kernels.into_iter().map(|k| (k.symbol, k.kernel, k.schedule)).collect();
    Ok(Planned { variant, kernels, slower })
}

/// What a call stands for.
#[derive(Default)]
pub(crate) struct Origin {
    pub lines: Vec<(String, u32)>,
    pub routing: Option<Routing>,
    pub checks: Vec<Check>,
}

struct PlannedKernel {
    symbol: String,
    label: String,
    kernel: Kernel,
    /// [`Kernel::without_names`], to find equal ones.
    code: Kernel,
    schedule: Schedule,
}

/// A module while it is planned.
pub(crate) struct Planner<'g> {
    module: &'g Module,
    isa: Isa,
    tuning: &'g Tuning,
    symbols: Symbols,
    regions: Vec<Region<'g>>,
    load_region: RegionId,
    /// The entry that is planned.
    entry: usize,
    /// Is the load plan being made? Then parameters are at hand, and values of the load graph are evaluated.
    loading: bool,
    steps: Steps,
    kernels: Vec<PlannedKernel>,
    kept: Vec<Kept>,
    /// Values of the load graph that entries read as they stand: to their kept buffer and its order.
    plain: BTreeMap<usize, (u32, Vec<Axis>)>,
    packs: Vec<Pack>,
    slower: Vec<Slower>,
}

impl<'g> Planner<'g> {
    fn plan_entry(&mut self, number: usize) -> Result<Plan, PlanError> {
        self.entry = number;
        self.steps = Steps::new();
        let module = self.module;
        let entry = &module.entries[number];
        let region = self.add_region(&entry.graph, None, 0, &entry.graph.results);
        let outputs = entry.outputs.iter().enumerate().map(|(i, tensor)| (Place::Output(i as u32), tensor));
        let states = entry.next_states.iter().map(|&i| (Place::NextState(i as u32), &module.states[i].tensor));
        let targets: Vec<(Value, Location)> = entry
            .graph
            .results
            .iter()
            .zip(outputs.chain(states))
            .map(|(&value, (place, tensor))| (value, self.at_boundary(place, tensor)))
            .collect();
        self.plan_region(region, targets)?;
        Ok(std::mem::take(&mut self.steps).finish())
    }

    /// The load plan: values that entries read as they stand, then packed weights.
    fn plan_load(&mut self) -> Result<Plan, PlanError> {
        self.loading = true;
        self.steps = Steps::new();
        let module = self.module;
        // Packing evaluates pointwise work and views on its way; what sums something is stored first.
        let summed = (0..module.load.results.len()).filter(|i| sums_something(&module.load, module.load.results[*i]));
        let wanted: BTreeSet<usize> = self.plain.keys().copied().chain(summed).collect();
        let values: Vec<Value> = wanted.iter().map(|index| module.load.results[*index]).collect();
        self.regions[self.load_region.0].fusion = fuse::fuse(
            &module.load,
            &module.sizes,
            &values,
            Outside { at_load: &|_| false, innermost: &|_| None, needs: &Needs::default() },
            self.isa,
        );
        let targets = wanted.into_iter().map(|i| (module.load.results[i], self.kept_plain(i))).collect();
        self.plan_region(self.load_region, targets)?;
        self.plan_packs()?;
        Ok(std::mem::take(&mut self.steps).finish())
    }

    fn add_region(
        &mut self,
        graph: &'g crate::graph::Graph,
        parent: Option<(RegionId, petgraph::graph::NodeIndex, Axis)>,
        depth: usize,
        wanted: &[Value],
    ) -> RegionId {
        let at_load = self.find_at_load(graph, parent);
        let needs = match parent {
            Some((outer, node, _)) => self.needs_of_body(outer, node),
            None => Needs::of_graph(graph),
        };
        let (locations, placed, sorted_rows) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let fusion = Default::default();
        self.regions.push(Region { graph, fusion, needs, parent, depth, locations, at_load, placed, sorted_rows });
        let region = RegionId(self.regions.len() - 1);
        let outside = Outside {
            at_load: &|v| self.regions[region.0].at_load.contains(&v),
            innermost: &|leaf| self.innermost(region, leaf),
            needs: &self.regions[region.0].needs,
        };
        let fusion = fuse::fuse(graph, &self.module.sizes, wanted, outside, self.isa);
        let notes = fusion.notes.clone();
        self.regions[region.0].fusion = fusion;
        for Note { value, way, why } in notes {
            self.note(region, value, way, why);
        }
        region
    }

    fn needs_of_body(&self, outer: RegionId, node: petgraph::graph::NodeIndex) -> Needs {
        let Op::Scan(scan) = &self.graph(outer).node(node).op else { return Needs::default() };
        self.regions[outer.0].needs.within(scan, &self.graph(outer).operands(node), node)
    }

    /// Plans the groups of a region; `targets` says where values must stand at the end.
    fn plan_region(&mut self, region: RegionId, targets: Vec<(Value, Location)>) -> Result<(), PlanError> {
        let mut unwritten = Vec::new();
        for (value, location) in targets {
            let fusion = &self.regions[region.0].fusion;
            let core = fusion.home(value).filter(|_| fusion.is_root(value)).map(|home| &fusion.groups[home.0].core);
            let stored = match core {
                Some(core) if core.stores_anywhere() => true,
                Some(_) => self.location(region, value).is_none(),
                None => false,
            };
            if stored {
                self.regions[region.0].locations.entry(value).or_default().push(location);
            } else {
                unwritten.push((value, location));
            }
        }
        self.place_parts(region);
        for group in self.regions[region.0].fusion.order.clone() {
            self.plan_group(region, group)?;
        }
        for (value, location) in unwritten {
            self.copy(region, value, &location)?;
        }
        Ok(())
    }

    fn plan_group(&mut self, region: RegionId, group: GroupId) -> Result<(), PlanError> {
        let Some(only) = self.regions[region.0].fusion.only_if.get(&group).copied() else {
            return self.plan_kernels(region, group);
        };
        let region::Source::Buffer(flag) = self.source(region, only.flag, None)? else {
            return self.plan_kernels(region, group);
        };
        let about = &self.regions[region.0];
        let (locations, sorted) = (about.locations.clone(), about.sorted_rows.len());
        self.steps.begin();
        let planned = self.plan_kernels(region, group);
        self.steps.end_when(flag.spot.arg(flag.elem.bytes(), SizeExpr::Known(1), &self.symbols), only.when);
        // What was made on the way is there only if these steps have run.
        let about = &mut self.regions[region.0];
        about.sorted_rows.truncate(sorted);
        let own = std::mem::replace(&mut about.locations, locations);
        about.locations.extend(own.into_iter().filter(|(value, _)| about.fusion.home(*value) == Some(group)));
        planned
    }

    fn plan_kernels(&mut self, region: RegionId, group: GroupId) -> Result<(), PlanError> {
        let core = self.regions[region.0].fusion.groups[group.0].core.clone();
        for root in self.regions[region.0].fusion.groups[group.0].roots.clone() {
            // A loop places its results by itself.
            if !matches!(core, Core::Scan { .. }) {
                self.allocate(region, root);
            }
        }
        if self.plan_joined(region, group)? {
            return Ok(());
        }
        match core {
            Core::Contract { value, roles } => self.plan_contract(region, group, value, &roles),
            Core::Attend(attention) => self.plan_attend(region, group, &attention),
            Core::Nest { outer } => self.plan_nest(region, group, &outer),
            Core::Running { value } => self.plan_running(region, group, value),
            Core::TopK { value } => self.plan_top_k(region, group, value),
            Core::Scan { node } => self.plan_scan(region, node),
        }
    }

    /// A buffer for a value that has no place yet.
    fn allocate(&mut self, region: RegionId, value: Value) {
        if self.location(region, value).is_none() {
            let order = self.order_of(region, value);
            let elem = self.graph(region).ty(value).elem;
            let location = self.scratch(&self.name_of(region, value), elem, &order);
            self.regions[region.0].locations.insert(value, vec![location]);
        }
    }

    /// Remembers that a slower way was taken.
    fn note(&mut self, region: RegionId, value: Value, way: Way, why: String) {
        let span = self.graph(region).node(value.node).span;
        let slower = Slower {
            entry: if region == self.load_region { None } else { Some(self.entry) },
            value: self.name_of(region, value),
            line: span.and_then(|span| self.module.line_of(span)),
            way,
            why,
        };
        if !self.slower.contains(&slower) {
            self.slower.push(slower);
        }
    }

    /// The kept buffer of a value of the load graph, as it stands.
    fn kept_plain(&mut self, index: usize) -> Location {
        let value = self.module.load.results[index];
        let elem = self.module.load.ty(value).elem;
        if !self.plain.contains_key(&index) {
            let order = self.order_of(self.load_region, value);
            let bytes = self.bytes(elem, &order);
            let kept = self.add_kept(&self.name_of(self.load_region, value), &bytes);
            self.plain.insert(index, (kept, order));
        }
        let (kept, order) = self.plain[&index].clone();
        let name = self.kept[kept as usize].name.clone();
        let bytes = SizeExpr::Known(self.kept[kept as usize].bytes as i64);
        let buffer = self.steps.at(Place::Kept(kept), &name, bytes);
        Location::dense(Spot::start_of(buffer), elem, &order, &|a| self.size(a))
    }

    fn add_kept(&mut self, name: &str, bytes: &Size) -> u32 {
        let bytes = bytes.as_known().unwrap_or(0).max(0) as u64;
        self.kept.push(Kept { name: name.into(), bytes });
        self.kept.len() as u32 - 1
    }

    /// Adds a call of a kernel to the plan; equal kernels are one.
    fn call(
        &mut self,
        label: &str,
        mut kernel: Kernel,
        spots: &[(Spot, Elem)],
        dims: &[Size],
        origin: Origin,
        flops: f64,
    ) -> Result<(), PlanError> {
        kernel.name = label.into();
        let choices = self.tuning.of(&kernel, self.isa);
        let schedule = schedule::schedule_as(&kernel, self.isa, &choices);
        let units = self.evaluate(&schedule::units(&kernel, &schedule), dims);
        let scratch_bytes = self.evaluate(&schedule::scratch(&kernel, &schedule), dims);
        let work = schedule::work(&kernel);
        let code = kernel.without_names();
        let number = match self.kernels.iter().position(|k| k.code == code && k.schedule == schedule) {
            Some(number) => number,
            None => {
                let symbol = format!(
                    "{}_{}_{}",
                    label.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
                    self.kernels.len(),
                    suffix(self.isa)
                );
                self.kernels.push(PlannedKernel { symbol, label: label.into(), kernel, code, schedule });
                self.kernels.len() - 1
            }
        };
        let estimated_units = self.estimate(&units).max(1) as f64;
        self.steps.call(Call {
            kernel: number as u32,
            args: spots
                .iter()
                .zip(&work.bytes)
                .map(|((spot, elem), bytes)| spot.arg(elem.bytes(), self.evaluate(bytes, dims), &self.symbols))
                .collect(),
            dims: dims.iter().map(|d| self.symbols.expr(d)).collect(),
            units,
            unit_ns: (flops / estimated_units / f64::from(choices.flops_per_ns)) as f32,
            scratch_bytes,
            flops: self.evaluate(&work.flops, dims),
            lines: origin.lines,
            routing: origin.routing,
            checks: origin.checks,
        });
        Ok(())
    }

    /// Units or bytes of a kernel, in the sizes of the model.
    fn evaluate(&self, units: &UnitsExpr, dims: &[Size]) -> SizeExpr {
        match units {
            UnitsExpr::Known(n) => SizeExpr::Known(*n),
            UnitsExpr::Extent(Extent::Known(n)) => SizeExpr::Known(*n),
            UnitsExpr::Extent(Extent::Dim(dim)) => self.symbols.expr(&dims[dim.0 as usize]),
            UnitsExpr::Add(terms) => sizes::add(terms.iter().map(|u| self.evaluate(u, dims))),
            UnitsExpr::Mul(factors) => sizes::mul(factors.iter().map(|u| self.evaluate(u, dims))),
            UnitsExpr::Min(all) => SizeExpr::Min(all.iter().map(|u| self.evaluate(u, dims)).collect()),
            UnitsExpr::DivUp(n, by) => SizeExpr::DivUp(Box::new(self.evaluate(n, dims)), *by),
        }
    }

    fn estimate(&self, size: &SizeExpr) -> i64 {
        let bound: Vec<i64> = self.symbols.assumed().to_vec();
        size.eval(&bound).unwrap_or(1)
    }

    /// The source lines that a group stands for.
    fn lines(&self, region: RegionId, group: Option<GroupId>) -> Vec<(String, u32)> {
        let Some(group) = group else { return Vec::new() };
        let group = &self.regions[region.0].fusion.groups[group.0];
        self.lines_of(region, &group.roots)
    }

    /// The source lines that values come from.
    fn lines_of(&self, region: RegionId, values: &[Value]) -> Vec<(String, u32)> {
        let spans = values.iter().filter_map(|v| self.graph(region).node(v.node).span);
        let mut lines: Vec<(String, u32)> = spans.filter_map(|span| self.module.line_of(span)).collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

fn suffix(isa: Isa) -> &'static str {
    match isa {
        Isa::X86V4Amx => "v4amx",
        Isa::X86V4Bf16 => "v4bf16",
        Isa::X86V4 => "v4",
        Isa::X86V3 => "v3",
        Isa::X86 => "v1",
        Isa::Aarch64 => "a64",
        Isa::Sm80 => "sm80",
    }
}

/// Is a value made by more than pointwise work and views?
fn sums_something(graph: &Graph, value: Value) -> bool {
    let mut seen = BTreeSet::new();
    let mut below = vec![value.node];
    while let Some(id) = below.pop() {
        if !matches!(graph.node(id).op.class(), Class::Leaf | Class::Pointwise | Class::View) {
            return true;
        }
        if seen.insert(id) {
            below.extend(graph.operands(id).iter().map(|v| v.node));
        }
    }
    false
}
