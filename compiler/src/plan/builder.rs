//! Builds one kernel: gives numbers to sizes, buffers and variables, and turns graph values into expressions.

use std::collections::BTreeMap;

use gatec_lang::Size;

use crate::fuse::GroupId;
use crate::graph::{Axis, Value};
use crate::kernel::index::{self, Vars};
use crate::kernel::{
    Access, Body, Bound, Buffer, BufferId, Dim, Elem, Expr, ExprId, Extent, Index, Kernel, Loop, Store, Var,
};

use super::region::{Location, RegionId, Sorting};
use super::steps::Spot;
use super::walk::Walked;
use super::{Origin, PlanError, Planner};

/// Where a value is looked at: an index for each of its axes.
pub type Point = BTreeMap<Axis, Index>;

/// Loads below it must stay inside these; outside they give `fill`.
#[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
pub struct Guard {
    pub bounds: Vec<Bound>,
    pub fill: f64,
}

/// What a packing takes of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// Values as they are stored.
    Values,
    Scales,
}

/// A kernel under construction, for a group of a region.
pub struct KernelBuilder<'p, 'g> {
    pub planner: &'p mut Planner<'g>,
    pub region: RegionId,
    /// The group that is built: its members are expressions here, not buffers.
    pub group: Option<GroupId>,
    pub kernel: Kernel,
    pub vars: Vars,
    /// The arguments of the call, in the order of the kernel's buffers.
    pub spots: Vec<(Spot, Elem)>,
    /// The sizes of the call, in the order of the kernel's dims.
    pub dims: Vec<Size>,
    /// Values that are already computed at the point of the kernel: accumulators, results of stages.
    pub known: BTreeMap<Value, ExprId>,
    /// The contraction and its gate axis: picks along it are accumulators.
    pub gates: Option<(Value, Axis)>,
    /// Where a packing runs over the loops around: the index of the iteration at each depth.
    pub loop_vars: Vec<Option<Index>>,
    /// Set where the kernel walks a loop by itself.
    pub walked: Option<Walked>,
    /// The loops over rows of segments.
    pub segment_loops: Vec<(Sorting, Loop)>,
    /// Set where quantised weights are packed as such.
    pub unpack: Option<Unpack>,
    /// The index by which rows are grouped: it is of an expert in each.
    pub chosen: Option<Value>,
    /// Expressions that must be indices of an axis, and the values of which they are made.
    pub checked: Vec<(ExprId, (RegionId, Value), Axis)>,
    memo: Vec<(RegionId, Value, Point, Guard, ExprId)>,
}

impl<'p, 'g> KernelBuilder<'p, 'g> {
    pub fn new(planner: &'p mut Planner<'g>, region: RegionId, group: Option<GroupId>) -> Self {
        let kernel = Kernel {
            name: String::new(),
            dims: 0,
            buffers: Vec::new(),
            vars: 0,
            exprs: Vec::new(),
            // Replaced by `finish`.
            body: Body::Nest(crate::kernel::Nest { outer: Vec::new(), only: None, walk: None, stages: Vec::new() }),
        };
        Self {
            planner,
            region,
            group,
            kernel,
            vars: Vars::default(),
            spots: Vec::new(),
            dims: Vec::new(),
            known: BTreeMap::new(),
            gates: None,
            loop_vars: Vec::new(),
            walked: None,
            segment_loops: Vec::new(),
            unpack: None,
            chosen: None,
            checked: Vec::new(),
            memo: Vec::new(),
        }
    }

    /// The size of an axis.
    pub fn size(&self, axis: Axis) -> Size {
        self.planner.size(axis)
    }

    pub fn extent(&mut self, size: &Size) -> Extent {
        match size.as_known() {
            Some(n) => Extent::Known(n),
            None => Extent::Dim(self.dim(size)),
        }
    }

    fn dim(&mut self, size: &Size) -> Dim {
        let number = self.dims.iter().position(|d| d == size).unwrap_or_else(|| {
            self.dims.push(size.clone());
            self.dims.len() - 1
        });
        Dim(number as u32)
    }

    /// A size as an index.
    pub fn number(&mut self, size: &Size) -> Index {
        match size.as_known() {
            Some(n) => Index::Known(n),
            None => Index::Dim(self.dim(size)),
        }
    }

    /// A stride as an index. A multiple of a size that the kernel has is written as that: division by the size then falls away.
    fn stride(&mut self, stride: &Size) -> Index {
        if !self.dims.contains(stride)
            && let Some((_, coefficient)) = stride.terms().next().filter(|_| stride.terms().count() == 1)
            && let Some(unit) = stride.checked_div(coefficient)
            && self.dims.contains(&unit)
        {
            let unit = self.number(&unit);
            return self.mul(vec![Index::Known(coefficient), unit]);
        }
        self.number(stride)
    }

    /// A new loop.
    pub fn new_loop(&mut self, name: &str, size: &Size) -> Loop {
        let var = Var(self.kernel.vars);
        self.kernel.vars += 1;
        let extent = self.extent(size);
        self.vars.declare(var, extent);
        Loop { var, name: name.into(), extent }
    }

    /// A loop for each axis, and their variables in `point`.
    pub fn loops(&mut self, axes: &[Axis], point: &mut Point) -> Vec<Loop> {
        axes.iter()
            .map(|&axis| {
                let size = self.size(axis);
                let l = self.new_loop(axis.name(), &size);
                point.insert(axis, Index::Var(l.var));
                l
            })
            .collect()
    }

    pub fn add(&self, terms: Vec<Index>) -> Index {
        index::add(&self.vars, terms)
    }
    pub fn mul(&self, factors: Vec<Index>) -> Index {
        index::mul(&self.vars, factors)
    }
    pub fn div(&self, n: Index, by: Index) -> Index {
        index::div(&self.vars, n, by)
    }
    pub fn rem(&self, n: Index, by: Index) -> Index {
        index::rem(&self.vars, n, by)
    }

    /// `index` along axes merged outermost first, as an index for each of them.
    pub fn unmerge(&mut self, index: Index, axes: &[Axis], point: &mut Point) {
        let mut inner = Size::known(1);
        for (i, &axis) in axes.iter().enumerate().rev() {
            let size = self.size(axis);
            let stride = self.number(&inner);
            let mut part = self.div(index.clone(), stride);
            if i > 0 {
                let extent = self.number(&size);
                part = self.rem(part, extent);
            }
            point.insert(axis, part);
            inner = super::sizes::product(&inner, &size);
        }
    }

    /// The inverse of [`Self::unmerge`].
    pub fn merge(&mut self, axes: &[Axis], point: &Point) -> Index {
        let mut inner = Size::known(1);
        let mut terms = Vec::new();
        for &axis in axes.iter().rev() {
            let stride = self.number(&inner);
            let at = point.get(&axis).cloned().unwrap_or(Index::Known(0));
            terms.push(self.mul(vec![at, stride]));
            inner = super::sizes::product(&inner, &self.size(axis));
        }
        self.add(terms)
    }

    pub fn push(&mut self, expr: Expr) -> ExprId {
        if let Some(known) = self.kernel.exprs.iter().position(|e| *e == expr) {
            return ExprId(known as u32);
        }
        self.kernel.exprs.push(expr);
        ExprId(self.kernel.exprs.len() as u32 - 1)
    }

    /// Undoes an attempt: expressions and loop variables from these numbers on were never made.
    pub fn forget_since(&mut self, exprs: usize, vars: u32) {
        self.kernel.exprs.truncate(exprs);
        self.kernel.vars = vars;
        self.memo.retain(|(.., expr)| (expr.0 as usize) < exprs);
        self.checked.retain(|(expr, ..)| (expr.0 as usize) < exprs);
    }

    /// The argument for a spot.
    pub fn buffer(&mut self, name: &str, spot: &Spot, elem: Elem, access: Access, packed: bool) -> BufferId {
        let same = self
            .spots
            .iter()
            .zip(&self.kernel.buffers)
            .position(|((s, e), b)| s == spot && *e == elem && b.access == access && b.packed == packed);
        if let Some(number) = same {
            return BufferId(number as u32);
        }
        self.spots.push((spot.clone(), elem));
        self.kernel.buffers.push(Buffer { name: name.into(), elem, access, packed });
        BufferId(self.spots.len() as u32 - 1)
    }

    /// The index of a point in a location.
    pub fn index_in(&mut self, location: &Location, point: &Point) -> Index {
        let mut terms = Vec::new();
        for (axis, stride) in &location.strides {
            let at = point.get(axis).cloned().unwrap_or(Index::Known(0));
            let stride = self.stride(stride);
            terms.push(self.mul(vec![at, stride]));
        }
        self.add(terms)
    }

    /// The argument that holds a location, and the index of a point in it.
    fn place(&mut self, name: &str, location: &Location, point: &Point, access: Access) -> (BufferId, Index) {
        let index = self.index_in(location, point);
        let Some(Walked { depth, number, updated }) = &self.walked else {
            return (self.buffer(name, &location.spot, location.elem, access, false), index);
        };
        // What the plan would add in every iteration, the kernel does.
        let (depth, number) = (*depth, number.clone());
        let is_updated = updated.contains(&location.spot.buffer);
        let mut spot = location.spot.clone();
        let mut terms = vec![index];
        if let Some(stride) = spot.loops.get_mut(depth).map(std::mem::take).filter(|s| *s != Size::default()) {
            let stride = self.stride(&stride);
            let at = self.loop_vars[depth].clone().unwrap_or(Index::Known(0));
            terms.push(self.mul(vec![stride, at]));
        }
        while spot.loops.last().is_some_and(|s| *s == Size::default()) {
            spot.loops.pop();
        }
        let odd = std::mem::take(&mut spot.odd);
        if odd != Size::default() {
            let (odd, parity) = (self.number(&odd), self.rem(number, Index::Known(2)));
            terms.push(self.mul(vec![odd, parity]));
        }
        if is_updated {
            let offset = std::mem::take(&mut spot.offset);
            terms.push(self.number(&offset));
        }
        let access = if is_updated { Access::Update } else { access };
        let index = self.add(terms);
        (self.buffer(name, &spot, location.elem, access, false), index)
    }

    /// Goes on with another group: its members are expressions from here on, those of others stand in buffers.
    pub fn enter(&mut self, group: GroupId) {
        self.group = Some(group);
        self.memo.clear();
        self.known.clear();
    }

    pub fn load(&mut self, name: &str, location: &Location, point: &Point, guard: &Guard) -> ExprId {
        let (buffer, index) = self.place(name, location, point, Access::Read);
        self.push(Expr::Load { buffer, index, bounds: guard.bounds.clone(), otherwise: guard.fill })
    }

    pub fn store(&mut self, name: &str, location: &Location, point: &Point, value: ExprId) -> Store {
        let (buffer, index) = self.place(name, location, point, Access::Write);
        Store { buffer, index, value }
    }

    /// The value at a point as an expression.
    pub fn expand(
        &mut self,
        region: RegionId,
        value: Value,
        point: &Point,
        guard: &Guard,
    ) -> Result<ExprId, PlanError> {
        if region == self.region
            && let Some(&expr) = self.known.get(&value)
        {
            return Ok(expr);
        }
        let axes = self.planner.graph(region).ty(value).axes.clone();
        let point: Point = point.iter().filter(|(a, _)| axes.contains(**a)).map(|(a, i)| (*a, i.clone())).collect();
        let seen = self.memo.iter().find(|(r, v, p, g, _)| (*r, *v) == (region, value) && *p == point && g == guard);
        if let Some((.., expr)) = seen {
            return Ok(*expr);
        }
        let expr = self.expand_new(region, value, &point, guard)?;
        self.memo.push((region, value, point, guard.clone(), expr));
        Ok(expr)
    }

    /// The index of the current iteration of the loop at `depth`; known only where a packing runs over all of them.
    pub fn loop_index(&self, depth: usize) -> Result<Index, PlanError> {
        let index = self.loop_vars.get(depth).cloned().flatten();
        index.ok_or_else(|| PlanError::Internal(format!("the iteration at depth {depth} is no number here")))
    }

    /// `expr`, but 0 where the guard fails.
    pub fn zero_outside(&mut self, expr: ExprId, guard: &Guard, elem: Elem) -> ExprId {
        if matches!(self.kernel.expr(expr), Expr::Load { bounds, otherwise, .. } if *bounds == guard.bounds && *otherwise == 0.0)
        {
            return expr;
        }
        let zero = self.push(Expr::Const { elem, value: 0.0 });
        guard.bounds.iter().fold(expr, |expr, bound| {
            let inside = self.is_inside(bound);
            self.push(Expr::Select(inside, expr, zero))
        })
    }

    /// Puts the kernel together and adds its call to the plan.
    pub fn finish(self, label: &str, body: Body, flops: f64) -> Result<(), PlanError> {
        let lines = self.planner.lines(self.region, self.group);
        self.finish_as(label, body, flops, Origin { lines, ..Origin::default() })
    }

    /// [`Self::finish`] for a kernel that stands for more or less than its group.
    pub fn finish_as(mut self, label: &str, body: Body, flops: f64, mut origin: Origin) -> Result<(), PlanError> {
        self.kernel.body = body;
        self.kernel.dims = self.dims.len() as u32;
        origin.checks = self.checks();
        self.planner.call(label, self.kernel, &self.spots, &self.dims, origin, flops)
    }
}
