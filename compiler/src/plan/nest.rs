//! Nests: maps, reductions, running folds, copies.

use gatec_runtime::format::Isa;

use crate::fuse::{Group, GroupId, Only, is_leaf};
use crate::graph::{Axis, AxisSet, Value};
use crate::kernel::{self, Access, Body, Elem, Expr, ExprId, Fold, Index, Loop, Nest, Stage, Store, Temp};
use crate::ops::{Op, Running, Segment};
use crate::scalar::Unary;

use super::builder::{Guard, KernelBuilder, Point};
use super::region::{By, Location, RegionId, Sorting};
use super::{PlanError, Planner};

impl Planner<'_> {
    /// A group whose core is a nest: reductions first to last, roots as soon as what they need is there.
    pub(super) fn plan_nest(&mut self, region: RegionId, group: GroupId, outer: &AxisSet) -> Result<(), PlanError> {
        let members = self.regions[region.0].fusion.groups[group.0].clone();
        let mut todo: Vec<Value> = members.folds.iter().chain(&members.roots).copied().collect();
        todo.sort();
        todo.dedup();
        let leading = members.roots.iter().find(|v| outer.is_subset(&self.graph(region).ty(**v).axes)).copied();
        let order = leading.and_then(|v| self.location(region, v)).map(|l| l.order());
        let mut outer: Vec<Axis> = self.complete(order.unwrap_or_default(), outer);
        // A map runs along its innermost axis.
        let innermost = if members.folds.is_empty() { outer.pop() } else { None };
        let label = self.label(region, group, if members.folds.is_empty() { "map" } else { "reduce" });
        let work = todo.iter().map(|v| self.work(region, *v)).sum();
        for value in &members.folds {
            if let Some(by) = self.sorting(region, *value) {
                self.sorted_rows(region, &by)?;
            }
        }

        let values = members.folds.iter().chain(&members.roots).copied();
        let only = self.only_rows((region, group), values, &outer);
        let mut builder = KernelBuilder::new(self, region, Some(group));
        let mut point = Point::new();
        let loops = builder.loops(&outer, &mut point);
        let only = only.map(|only| builder.only(only, &point)).transpose()?;
        let mut stages = Vec::new();
        for value in todo {
            builder.value_stages(&members, value, (innermost, &outer), &point, &mut stages)?;
        }
        builder.finish(&label, Body::Nest(Nest { outer: loops, only, walk: None, stages }), work)
    }

    /// A running fold along one axis.
    pub(super) fn plan_running(&mut self, region: RegionId, group: GroupId, value: Value) -> Result<(), PlanError> {
        let graph = self.graph(region);
        let Op::Running(Running { fold, over, exclusive }) = graph.op(value).clone() else {
            return Err(PlanError::Internal("a running fold was expected".into()));
        };
        let operand = graph.operands(value.node)[0];
        let locations = self.regions[region.0].locations[&value].clone();
        let outer: Vec<Axis> = locations[0].order().into_iter().filter(|a| *a != over).collect();
        let label = self.label(region, group, "running");
        let work = self.work(region, operand);
        let mut builder = KernelBuilder::new(self, region, Some(group));
        let mut point = Point::new();
        let loops = builder.loops(&outer, &mut point);
        let over = builder.loops(&[over], &mut point).remove(0);
        let x = builder.expand(region, operand, &point, &Guard::default())?;
        let name = builder.planner.name_of(region, value);
        let store = builder.store(&name, &locations[0], &point, x);
        let stage = Stage::Running { fold: fold.into(), over, exclusive, value: x, store };
        builder.finish(&label, Body::Nest(Nest { outer: loops, only: None, walk: None, stages: vec![stage] }), work)?;
        for location in &locations[1..] {
            self.copy(region, value, location)?;
        }
        Ok(())
    }

    /// Writes a value, evaluated here and now, to a location.
    pub(super) fn copy(&mut self, region: RegionId, value: Value, to: &Location) -> Result<(), PlanError> {
        let work = self.work(region, value);
        let mut outer = to.order();
        let innermost = outer.pop();
        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let loops = builder.loops(&outer, &mut point);
        let inner = builder.loops(&innermost.into_iter().collect::<Vec<_>>(), &mut point);
        let x = builder.expand(region, value, &point, &Guard::default())?;
        let name = builder.planner.name_of(region, value);
        let store = builder.store(&name, to, &point, x);
        let stages = vec![Stage::Map { inner, stores: vec![store] }];
        builder.finish("copy", Body::Nest(Nest { outer: loops, only: None, walk: None, stages }), work)
    }

    /// The rows of which the kernel of a group that makes these values has to compute any, if that is told along these of its axes. On
    /// a GPU it computes all.
    pub(super) fn only_rows(
        &self,
        (region, group): (RegionId, GroupId),
        values: impl IntoIterator<Item = Value>,
        rows: &[Axis],
    ) -> Option<Only> {
        let graph = self.graph(region);
        let only = Only::of(&self.regions[region.0].needs, values)?;
        let is_there = is_leaf(graph, only.flag) || self.regions[region.0].fusion.flagged.get(&group) == Some(&only);
        let axes = &graph.ty(only.flag).axes;
        let fits = !axes.is_empty() && axes.iter().all(|a| rows.contains(&a)) && self.isa != Isa::Sm80;
        (is_there && fits).then_some(only)
    }

    /// By what the rows of a fold over segments are sorted.
    pub(super) fn sorting(&self, region: RegionId, value: Value) -> Option<Sorting> {
        let graph = self.graph(region);
        let Op::Segment(Segment { from, to: into, .. }) = *graph.op(value) else { return None };
        let index = graph.operands(value.node)[1];
        let apart = self.complete(self.order_of(region, index), &graph.ty(index).axes.without(from));
        let rows = apart.iter().copied().chain([from]).collect();
        Some(Sorting { by: By::Element { index, apart, into }, rows })
    }

    pub(super) fn location(&self, region: RegionId, value: Value) -> Option<Location> {
        self.regions[region.0].locations.get(&value)?.first().cloned()
    }

    /// What a group does, in words: its core and the functions around it.
    pub(super) fn label(&self, region: RegionId, group: GroupId, core: &str) -> String {
        let graph = self.graph(region);
        let fusion = &self.regions[region.0].fusion;
        let mut label = core.to_string();
        let mut words: Vec<&str> = Vec::new();
        for id in graph.ids().filter(|id| fusion.home(Value::of(*id)) == Some(group)) {
            let word = match &graph.node(id).op {
                Op::Unary(unary) => unary.f.name(),
                Op::Reduce(_) if core == "reduce" => "fold",
                _ => continue,
            };
            if !words.contains(&word) && words.len() < 3 {
                words.push(word);
            }
        }
        for word in words {
            label.push('+');
            label.push_str(word);
        }
        label
    }

    /// Elements that are touched to make a value: its own, and for a fold those of its operand.
    pub(super) fn work(&self, region: RegionId, value: Value) -> f64 {
        let graph = self.graph(region);
        let of = |axes: &AxisSet| axes.iter().map(|a| self.symbols.estimate(&self.size(a)) as f64).product::<f64>();
        let own = of(&graph.ty(value).axes);
        let operands = graph.operands(value.node);
        operands.iter().map(|v| of(&graph.ty(*v).axes)).fold(own, f64::max) * POINTWISE_FLOPS
    }
}

/// Instructions of an element of pointwise work, roughly.
const POINTWISE_FLOPS: f64 = 16.0;

impl KernelBuilder<'_, '_> {
    /// Whether a point is one of those rows.
    pub(super) fn only(&mut self, only: Only, point: &Point) -> Result<ExprId, PlanError> {
        let flag = self.expand(self.region, only.flag, point, &Guard::default())?;
        Ok(if only.when { flag } else { self.push(Expr::Unary(Unary::Not, flag)) })
    }

    /// The stages of a value of a group: the fold that makes it, the map that stores it.
    pub(super) fn value_stages(
        &mut self,
        group: &Group,
        value: Value,
        (innermost, outer): (Option<Axis>, &[Axis]),
        point: &Point,
        stages: &mut Vec<Stage>,
    ) -> Result<(), PlanError> {
        if group.folds.contains(&value) {
            let stage = self.fold_stage(value, Temp(stages.len() as u32), point)?;
            stages.push(stage);
        }
        if group.roots.contains(&value) {
            let stage = self.map_stage(value, innermost, outer, point)?;
            stages.push(stage);
        }
        Ok(())
    }

    /// A reduction at a point, and its result as a known value.
    fn fold_stage(&mut self, value: Value, temp: Temp, point: &Point) -> Result<Stage, PlanError> {
        let region = self.region;
        let graph = self.planner.graph(region);
        let operands = graph.operands(value.node);
        let elem = graph.ty(value).elem;
        let (fold, over) = match graph.op(value) {
            Op::Reduce(reduce) => (reduce.fold.into(), reduce.over.clone()),
            Op::ArgReduce(arg) => (arg.which.into(), AxisSet::from(arg.over)),
            Op::Contract(contract) => (Fold::Sum, contract.over.clone()),
            Op::Segment(segment) => (segment.fold.into(), AxisSet::from(segment.from)),
            other => return Err(PlanError::Internal(format!("`{}` is no fold", other.name()))),
        };
        let natural =
            operands.iter().map(|v| self.planner.order_of(region, *v)).max_by_key(Vec::len).unwrap_or_default();
        let order = self.planner.complete(natural, &over);
        let mut inner_point = point.clone();
        let (inner, segment) = match self.planner.sorting(region, value) {
            Some(by) => {
                let (l, segment) = self.segment_loop(&by, &mut inner_point)?;
                (vec![l], Some(segment))
            }
            None => (self.loops(&order, &mut inner_point), None),
        };
        let guard = Guard::default();
        let x = match graph.op(value) {
            // The product is evaluated element by element.
            Op::Contract(_) => {
                let a = self.expand(region, operands[0], &inner_point, &guard)?;
                let b = self.expand(region, operands[1], &inner_point, &guard)?;
                self.push(Expr::Binary(crate::scalar::Binary::Mul, a, b))
            }
            _ => self.expand(region, operands[0], &inner_point, &guard)?,
        };
        let result = self.push(Expr::Temp(temp));
        self.known.insert(value, result);
        Ok(Stage::Reduce { temp, elem, fold, inner, segment, value: x })
    }

    /// The loop over the rows of the segment that the point is of; folds of the same rows share it.
    fn segment_loop(&mut self, sorting: &Sorting, point: &mut Point) -> Result<(Loop, kernel::Segment), PlanError> {
        let By::Element { apart, into, .. } = &sorting.by else {
            return Err(PlanError::Internal("a fold over segments of other rows".into()));
        };
        let (order, offsets) = self.planner.sorted_rows(self.region, sorting)?;
        let segments: Vec<Axis> = apart.iter().copied().chain([*into]).collect();
        let segment = kernel::Segment {
            at: self.merge(&segments, point),
            order: self.buffer("order", &order, Elem::I32, Access::Read, false),
            offsets: self.buffer("offsets", &offsets, Elem::I32, Access::Read, false),
        };
        let l = match self.segment_loops.iter().find(|(known, _)| known == sorting) {
            Some((_, l)) => l.clone(),
            None => {
                let l = self.merged_loop(&sorting.rows, &mut Point::new());
                self.segment_loops.push((sorting.clone(), l.clone()));
                l
            }
        };
        let from = sorting.rows[apart.len()];
        let mut row = Index::Var(l.var);
        if !apart.is_empty() {
            let size = self.size(from);
            let rows = self.number(&size);
            row = self.rem(row, rows);
        }
        point.insert(from, row);
        Ok((l, segment))
    }

    /// Stores a value wherever it must stand.
    fn map_stage(
        &mut self,
        value: Value,
        innermost: Option<Axis>,
        outer: &[Axis],
        point: &Point,
    ) -> Result<Stage, PlanError> {
        let region = self.region;
        let locations = self.planner.regions[region.0].locations[&value].clone();
        let order = locations[0].order();
        let inner: Vec<Axis> = order.into_iter().filter(|a| !outer.contains(a) || Some(*a) == innermost).collect();
        let mut point = point.clone();
        let inner = self.loops(&inner, &mut point);
        let stores = self.stores(value, &locations, &point)?;
        Ok(Stage::Map { inner, stores })
    }

    /// The value at a point, stored at each of its locations.
    pub(super) fn stores(
        &mut self,
        value: Value,
        locations: &[Location],
        point: &Point,
    ) -> Result<Vec<Store>, PlanError> {
        let x = self.expand(self.region, value, point, &Guard::default())?;
        let name = self.planner.name_of(self.region, value);
        Ok(locations.iter().map(|location| self.store(&name, location, point, x)).collect())
    }
}
