//! Graphs while they are planned: the entry's, the bodies of its loops, and the graph of loading; where their values stand.

use std::collections::{BTreeMap, BTreeSet};

use gatec_lang::Size;
use gatec_runtime::format::Place;
use petgraph::graph::NodeIndex;

use crate::fuse::{Fusion, GroupId, Needs, Only};
use crate::graph::{Axis, Boundary, Elem, Graph, Value};
use crate::ops::{Class, Op, Scan};

use super::manifest::param_order;
use super::sizes::product;
use super::steps::Spot;
use super::{PlanError, Planner};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegionId(pub usize);

/// A graph that is being planned.
pub struct Region<'g> {
    pub graph: &'g Graph,
    pub fusion: Fusion,
    pub needs: Needs,
    /// The region around a loop's body, and the loop.
    pub parent: Option<(RegionId, NodeIndex, Axis)>,
    /// Loops around it.
    pub depth: usize,
    /// Where roots and carries stand. A value stored several times is read at the first place.
    pub locations: BTreeMap<Value, Vec<Location>>,
    /// Values that depend on parameters alone, by pointwise ops and views.
    pub at_load: BTreeSet<Value>,
    /// Joined values whose parts have places in them: which parts are written there by whoever computes them.
    pub placed: BTreeMap<Value, Vec<bool>>,
    /// Sorted rows that several grouped contractions share.
    pub sorted_rows: Vec<SortedRows>,
}

/// Rows sorted into segments that stand one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorting {
    pub by: By,
    /// Axes of the rows, outermost first.
    pub rows: Vec<Axis>,
}

/// What tells a row's segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Its expert; may that be negative, such rows come last, in a segment of their own.
    Expert { index: Value, or_zero: bool, expert: Axis },
    /// The element of `into` that it belongs to; at each point of `apart`, the outermost of the rows' axes, there are others.
    Element { index: Value, apart: Vec<Axis>, into: Axis },
    /// First the rows where a flag is so, then the others.
    Flag(Only),
}

/// Rows sorted into segments, and where their order and the segments' offsets stand.
pub struct SortedRows {
    pub sorting: Sorting,
    pub order: Spot,
    pub offsets: Spot,
}

/// Where the elements of a value stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    pub spot: Spot,
    pub elem: Elem,
    /// Elements between neighbours along each axis, outermost first.
    pub strides: Vec<(Axis, Size)>,
}

impl Location {
    /// A dense tensor at the start of `spot`.
    pub fn dense(spot: Spot, elem: Elem, order: &[Axis], size: &dyn Fn(Axis) -> Size) -> Self {
        let mut inner = Size::known(1);
        let mut strides: Vec<(Axis, Size)> = order
            .iter()
            .rev()
            .map(|&axis| {
                let stride = inner.clone();
                inner = product(&inner, &size(axis));
                (axis, stride)
            })
            .collect();
        strides.reverse();
        Self { spot, elem, strides }
    }

    pub fn order(&self) -> Vec<Axis> {
        self.strides.iter().map(|(axis, _)| *axis).collect()
    }

    /// The element of the current iteration of the loop at `depth` over `axis`.
    pub fn item(&self, axis: Axis, depth: usize) -> Self {
        let mut item = self.clone();
        if let Some(position) = item.strides.iter().position(|(a, _)| *a == axis) {
            let (_, stride) = item.strides.remove(position);
            item.spot.loops.resize(depth.max(item.spot.loops.len()), Size::default());
            item.spot.loops.resize(depth + 1, Size::default());
            item.spot.loops[depth] = stride;
        }
        item
    }
}

/// How a kernel gets a value.
pub enum Source {
    /// It is loaded.
    Buffer(Location),
    /// It is a value of another region; `item`: at the current iteration of the loop at that depth, along that axis.
    Elsewhere { region: RegionId, value: Value, item: Option<(Axis, usize)> },
    /// Its op is evaluated.
    Here,
}

/// The operand of a loop that its body reads as item `index`.
pub fn item_operand(scan: &Scan, index: u32) -> usize {
    (scan.carries + index) as usize
}

/// The operand of a loop that its body reads as capture `index`.
pub fn capture_operand(scan: &Scan, index: u32) -> usize {
    (scan.carries + scan.items + index) as usize
}

impl<'g> Planner<'g> {
    pub fn graph(&self, region: RegionId) -> &'g Graph {
        self.regions[region.0].graph
    }

    pub fn size(&self, axis: Axis) -> Size {
        // The verifier saw to it that every axis of the graph has a size.
        self.module.sizes.get(axis).cloned().unwrap_or_default()
    }

    /// The name of a value, for people.
    pub fn name_of(&self, region: RegionId, value: Value) -> String {
        let node = self.graph(region).node(value.node);
        node.name.clone().unwrap_or_else(|| format!("{}{}", node.op.name(), value.node.index()))
    }

    /// A tensor at the boundary.
    pub fn at_boundary(&mut self, place: Place, tensor: &Boundary) -> Location {
        let bytes = self.bytes(tensor.elem, &tensor.order);
        let buffer = self.steps.at(place, &tensor.name, self.symbols.expr(&bytes));
        Location::dense(Spot::start_of(buffer), tensor.elem, &tensor.order, &|a| self.size(a))
    }

    /// Bytes of a dense tensor.
    pub fn bytes(&self, elem: Elem, order: &[Axis]) -> Size {
        order.iter().fold(Size::known(elem.bytes() as i64), |n, a| product(&n, &self.size(*a)))
    }

    /// A new dense buffer.
    pub fn scratch(&mut self, name: &str, elem: Elem, order: &[Axis]) -> Location {
        let bytes = self.symbols.expr(&self.bytes(elem, order));
        let buffer = self.steps.scratch(name, bytes);
        Location::dense(Spot::start_of(buffer), elem, order, &|a| self.size(a))
    }

    /// Where a kernel of `group` finds a value.
    pub fn source(&mut self, region: RegionId, value: Value, group: Option<GroupId>) -> Result<Source, PlanError> {
        if let Some(home) = self.regions[region.0].fusion.home(value) {
            if Some(home) == group {
                return Ok(Source::Here);
            }
            return match self.regions[region.0].locations.get(&value).and_then(|l| l.first()) {
                Some(location) => Ok(Source::Buffer(location.clone())),
                None => Err(PlanError::Internal(format!("`{}` was not stored", self.name_of(region, value)))),
            };
        }
        if let Some(location) = self.regions[region.0].locations.get(&value).and_then(|l| l.first()) {
            return Ok(Source::Buffer(location.clone()));
        }
        let module = self.module;
        Ok(match self.graph(region).op(value) {
            Op::Input(input) => {
                let entry = &module.entries[self.entry];
                Source::Buffer(self.at_boundary(Place::Input(input.index), &entry.inputs[input.index as usize]))
            }
            Op::Param(param) => {
                let declared = &module.params[param.index as usize];
                let tensor = Boundary { order: param_order(declared), ..declared.tensor.clone() };
                Source::Buffer(self.at_boundary(Place::Param(param.index), &tensor))
            }
            Op::State(state) => {
                let tensor = &module.states[state.index as usize].tensor;
                Source::Buffer(self.at_boundary(Place::State(state.index), tensor))
            }
            Op::Loaded(loaded) if self.loading => {
                let value = module.load.results[loaded.index as usize];
                Source::Elsewhere { region: self.load_region, value, item: None }
            }
            Op::Loaded(loaded) => Source::Buffer(self.kept_plain(loaded.index as usize)),
            Op::Item(item) => self.outer(region, |scan| item_operand(scan, item.index), true)?,
            Op::Capture(capture) => self.outer(region, |scan| capture_operand(scan, capture.index), false)?,
            _ => Source::Here,
        })
    }

    /// An operand of the loop around a region.
    fn outer(
        &mut self,
        region: RegionId,
        operand: impl Fn(&Scan) -> usize,
        is_item: bool,
    ) -> Result<Source, PlanError> {
        let (parent, node, axis) = self.parent(region)?;
        let Op::Scan(scan) = &self.graph(parent).node(node).op else {
            return Err(PlanError::Internal("the parent of a region is no loop".into()));
        };
        let value = self.graph(parent).operands(node)[operand(scan)];
        let depth = self.regions[parent.0].depth;
        let item = is_item.then_some((axis, depth));
        // A buffer outside is read in place, moved along with the loop.
        if !self.loading
            && let Source::Buffer(location) = self.source(parent, value, None)?
        {
            return Ok(Source::Buffer(match item {
                Some((axis, depth)) => location.item(axis, depth),
                None => location,
            }));
        }
        Ok(Source::Elsewhere { region: parent, value, item })
    }

    pub fn parent(&self, region: RegionId) -> Result<(RegionId, NodeIndex, Axis), PlanError> {
        self.regions[region.0].parent.ok_or_else(|| PlanError::Internal("a loop's leaf outside any loop".into()))
    }

    /// Values of a graph that pointwise ops and views make of parameters alone.
    pub fn find_at_load(&self, graph: &Graph, parent: Option<(RegionId, NodeIndex, Axis)>) -> BTreeSet<Value> {
        let mut at_load = BTreeSet::new();
        for id in graph.ids() {
            let value = Value::of(id);
            let operands = graph.operands(id);
            let op = &graph.node(id).op;
            let from_outside = |operand: &dyn Fn(&Scan) -> usize| {
                parent.is_some_and(|(region, node, _)| match &self.graph(region).node(node).op {
                    Op::Scan(scan) => {
                        self.regions[region.0].at_load.contains(&self.graph(region).operands(node)[operand(scan)])
                    }
                    _ => false,
                })
            };
            let known = match op {
                Op::Param(_) | Op::Loaded(_) | Op::Const(_) | Op::Table(_) => true,
                Op::Item(item) => from_outside(&|scan| item_operand(scan, item.index)),
                Op::Capture(capture) => from_outside(&|scan| capture_operand(scan, capture.index)),
                op => {
                    matches!(op.class(), Class::Pointwise | Class::View)
                        && !operands.is_empty()
                        && operands.iter().all(|v| at_load.contains(v))
                        && self.module.sizes.are_known(&graph.ty(value).axes)
                }
            };
            if known {
                at_load.insert(value);
            }
        }
        at_load
    }
}
