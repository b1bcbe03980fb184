//! Contractions: rows, columns and sums of a group whose core runs on packed panels.

use gatec_lang::Size;

use crate::fuse::{GroupId, Grouped, Roles};
use crate::graph::{Axis, AxisSet, Value};
use crate::kernel::types::computed_in;
use crate::kernel::{Access, Blocks, Body, Contract, Elem, Expr, Grouping, Index, Loop, Products, index};
use crate::schedule;

use super::builder::{Guard, KernelBuilder, Point, Unpack};
use super::quantized::Quantized;
use super::region::{By, Location, RegionId, Sorting};
use super::sizes::product;
use super::{PlanError, Planner};

/// Instructions that pass while an element of the weights comes from memory, roughly.
const READ_FLOPS: f64 = 8.0;

/// Steps of a loop that has so few that the way into it and out of it costs more than where it reads.
const SHORT: i64 = 8;

/// Columns, sums and matrices of a packed operand, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PackShape {
    /// Axes of which each combination has its own matrix, outermost first: axes of loops around, batch or expert.
    pub matrices: Vec<Axis>,
    pub sums: Vec<Axis>,
    pub cols: Vec<Axis>,
    pub gate: Option<Axis>,
    /// Parts of a panel: each has a share of the gates.
    pub parts: u32,
    /// Columns of one panel, for each gate.
    pub lanes: u32,
    /// As the operand is stored: narrower than it is multiplied, where that holds the same values.
    pub elem: Elem,
    /// How many steps of the sum stand side by side.
    pub products: Products,
    /// Steps of the sum that a row stands for: of values that share a byte, or a scale.
    pub every: i64,
    /// Of quantised weights their values or their scales, as they are stored.
    pub unpack: Option<Unpack>,
}

impl PackShape {
    pub fn gates(&self, planner: &Planner<'_>) -> u32 {
        self.gate.map_or(1, |gate| planner.size(gate).as_known().unwrap_or(1) as u32)
    }

    /// Rows of a panel: steps of the sum, whole pairs or tiles of them.
    pub fn steps(&self, planner: &Planner<'_>) -> Size {
        let sums = planner.extent_of(&self.sums);
        match (self.products.steps(), self.every) {
            (1, 1) => sums,
            (1, every) => super::sizes::div_up(&sums, every),
            (together, _) => super::sizes::times(&super::sizes::div_up(&sums, together), together),
        }
    }

    /// Elements of one matrix.
    pub fn matrix(&self, planner: &Planner<'_>) -> Size {
        let panels = super::sizes::div_up(&planner.extent_of(&self.cols), i64::from(self.lanes));
        let panel = super::sizes::times(&self.steps(planner), i64::from(self.lanes * self.gates(planner)));
        product(&panels, &panel)
    }

    /// Elements of all matrices.
    pub fn elements(&self, planner: &Planner<'_>) -> Size {
        product(&planner.extent_of(&self.matrices), &self.matrix(planner))
    }
}

impl Planner<'_> {
    /// The product of axes' sizes.
    pub(super) fn extent_of(&self, axes: &[Axis]) -> Size {
        axes.iter().fold(Size::known(1), |n, a| product(&n, &self.size(*a)))
    }

    pub(super) fn plan_contract(
        &mut self,
        region: RegionId,
        group: GroupId,
        value: Value,
        roles: &Roles,
    ) -> Result<(), PlanError> {
        let elem = self.graph(region).ty(value).elem;
        let natural_x = self.order_of(region, roles.x);
        let weights = roles.grouped.as_ref().map_or(roles.w, |g| g.weights);
        let natural_w = self.order_of(region, weights);
        let sums = self.sums_order(region, roles.x, &roles.sums, &natural_x)?;
        let mut natural_rows = natural_x.clone();
        if let Some(grouped) = &roles.grouped {
            natural_rows.extend(self.order_of(region, grouped.index));
        }
        // The first root's order, so that rows are written in sequence.
        let roots = self.regions[region.0].fusion.groups[group.0].roots.clone();
        let root_order = roots.first().and_then(|v| self.location(region, *v)).map(|l| l.order()).unwrap_or_default();
        let in_order = |this: &Self, natural: &[Axis], axes: &AxisSet| {
            let mut order: Vec<Axis> = root_order.iter().filter(|a| axes.contains(**a)).copied().collect();
            order.extend(natural.iter().filter(|a| axes.contains(**a)));
            this.complete(order, axes)
        };
        let batch = in_order(self, &natural_x, &roles.batch);
        let rows = in_order(self, &natural_rows, &roles.rows);
        let cols = in_order(self, &natural_w, &roles.cols);
        let gates = roles.gate.map_or(1, |gate| self.size(gate).as_known().unwrap_or(1)) as u32;
        let matrices = match &roles.grouped {
            Some(grouped) => vec![grouped.expert],
            None => batch.clone(),
        };
        let lanes = schedule::packed_lanes(gates, computed_in(elem), self.isa);
        let parts = schedule::packed_parts(gates, self.isa);
        let quantized = self.quantized(region, value, weights, &sums);
        let elem = match &quantized {
            Some(quantized) => quantized.elems.0,
            None => self.exact_elem(region, weights).unwrap_or(elem),
        };
        let x_elem = self.exact_elem(region, roles.x).unwrap_or(self.graph(region).ty(roles.x).elem);
        let acc = computed_in(self.graph(region).ty(value).elem);
        let products = schedule::products(self.isa, [x_elem, elem], acc);
        let (sums_of, cols_of) = (sums.clone(), cols.clone());
        let (every, unpack) = (1, None);
        let gate = roles.gate;
        let mut shape =
            PackShape { matrices, sums: sums_of, cols: cols_of, gate, parts, lanes, elem, products, every, unpack };
        let mut packed_scales = None;
        if let Some(Quantized { size, elems, bits, .. }) = quantized {
            let scales = PackShape { every: size, elem: elems.1, unpack: Some(Unpack::Scales), ..shape.clone() };
            packed_scales = Some((self.packed(region, weights, &scales)?, elems.1, bits, size));
            shape = PackShape { every: if bits == 4 { 2 } else { 1 }, unpack: Some(Unpack::Values), ..shape };
        }
        let packed = self.packed(region, weights, &shape)?;
        let sorted = match &roles.grouped {
            Some(grouped) => {
                let Grouped { index, or_zero, expert, .. } = *grouped;
                let by = By::Expert { index, or_zero, expert };
                // Rows without an expert are a segment of their own, unless nobody reads what becomes of them.
                let fusion = &self.regions[region.0].fusion;
                let stores_none = or_zero && !roots.iter().all(|root| fusion.unchosen.get(root) == Some(&index));
                let segments = if stores_none { self.segments(&by) } else { self.size(expert) };
                Some((self.sorted_rows(region, &Sorting { by, rows: rows.clone() })?, segments, stores_none))
            }
            None if batch.is_empty() => match self.only_rows((region, group), [value], &rows) {
                Some(only) => {
                    let sorting = Sorting { by: By::Flag(only), rows: rows.clone() };
                    // Where the others' results are not needed either, they are of no segment that is looked at.
                    let is_whole = self.only_rows((region, group), roots.iter().copied(), &rows) == Some(only);
                    let segments = Size::known(if is_whole { 1 } else { 2 });
                    Some((self.sorted_rows(region, &sorting)?, segments, !is_whole))
                }
                None => None,
            },
            None => None,
        };
        let grouped = if sorted.is_some() { "grouped " } else { "" };
        let label = self.label(region, group, &format!("{grouped}{}contract", products.label()));
        let estimate =
            |axes: &[Axis]| axes.iter().map(|a| self.symbols.estimate(&self.size(*a)) as f64).product::<f64>();
        let matrix = estimate(&cols) * estimate(&sums) * f64::from(gates);
        // Few rows wait for the weights.
        let work = estimate(&batch) * matrix * (2.0 * estimate(&rows)).max(READ_FLOPS);

        let mut builder = KernelBuilder::new(self, region, Some(group));
        builder.chosen = roles.grouped.as_ref().map(|grouped| grouped.index);
        let mut point = Point::new();
        let batch = builder.merged_loop(&batch, &mut point);
        let rows = builder.merged_loop(&rows, &mut point);
        let cols = builder.merged_loop(&cols, &mut point);
        let sums = builder.sum_loops(&sums, roles.x, &mut point)?;
        let x = builder.expand(region, roles.x, &point, &Guard::default())?;
        let w = builder.buffer("w", &packed, elem, Access::Read, true);
        let blocks = packed_scales.map(|(spot, elem, bits, size)| Blocks {
            bits,
            size: size as u32,
            scales: builder.buffer("scales", &spot, elem, Access::Read, true),
        });
        let grouping = sorted.map(|((order, offsets), segments, last_is_none)| Grouping {
            experts: builder.extent(&segments),
            last_is_none,
            order: builder.buffer("order", &order, Elem::I32, Access::Read, false),
            offsets: builder.buffer("offsets", &offsets, Elem::I32, Access::Read, false),
        });
        match roles.gate {
            Some(gate) => builder.gates = Some((value, gate)),
            None => {
                let acc = builder.push(Expr::Acc(0));
                builder.known.insert(value, acc);
            }
        }
        let mut stores = Vec::new();
        for root in roots {
            let locations = builder.planner.regions[region.0].locations[&root].clone();
            stores.extend(builder.root_stores(root, value, roles.gate, &locations, &point)?);
        }
        let contract = Contract { batch, rows, cols, sums, groups: gates, products, x, w, blocks, grouping, stores };
        let body = Body::Contract(contract);
        builder.finish(&label, body, work)
    }

    /// Contracted axes, outermost first: the left operand is read along its innermost axis, unless that one is short.
    pub(super) fn sums_order(
        &mut self,
        region: RegionId,
        x: Value,
        sums: &AxisSet,
        natural_x: &[Axis],
    ) -> Result<Vec<Axis>, PlanError> {
        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let mut loops = Vec::new();
        let axes = builder.planner.complete(natural_x.to_vec(), &builder.planner.graph(region).ty(x).axes.clone());
        for axis in axes {
            let l = builder.loops(&[axis], &mut point).remove(0);
            loops.push((axis, l.var));
        }
        let x = builder.expand(region, x, &point, &Guard::default())?;
        let Expr::Load { index, .. } = builder.kernel.expr(x).clone() else {
            return Ok(builder.planner.complete(natural_x.to_vec(), sums));
        };
        let mut strides: Vec<(i64, Axis)> = loops
            .into_iter()
            .filter(|(axis, _)| sums.contains(*axis))
            .map(|(axis, var)| (index::known_stride(&index, var).unwrap_or(i64::MAX), axis))
            .collect();
        // Widest stride first; equal strides keep the order of the operand.
        strides.sort_by_key(|(stride, _)| std::cmp::Reverse(*stride));
        // A loop of few steps costs more than distance does: inside stands one that is long enough (the channels of a convolution, not
        // its taps), counting axes as one that are read as one.
        let known = |axis: Axis| self.module.sizes.known(axis).unwrap_or(i64::MAX);
        let is_one =
            |(outer, _): &(i64, Axis), (inner, axis): &(i64, Axis)| inner.checked_mul(known(*axis)) == Some(*outer);
        let (short, long): (Vec<_>, Vec<_>) = strides
            .chunk_by(is_one)
            .partition(|chunk| chunk.iter().fold(1, |n: i64, (_, axis)| n.saturating_mul(known(*axis))) < SHORT);
        Ok(short.into_iter().chain(long).flatten().map(|(_, axis)| *axis).collect())
    }
}

impl KernelBuilder<'_, '_> {
    /// One loop over axes, outermost first.
    pub(super) fn merged_loop(&mut self, axes: &[Axis], point: &mut Point) -> Loop {
        let names: Vec<&str> = axes.iter().map(|a| a.name()).collect();
        let size = self.planner.extent_of(axes);
        let merged = self.new_loop(&names.join("*"), &size);
        self.unmerge(Index::Var(merged.var), axes, point);
        merged
    }

    /// Contracted axes as one loop if all that the left operand loads then stands at equal distances, else as a loop each.
    pub(super) fn sum_loops(&mut self, axes: &[Axis], x: Value, point: &mut Point) -> Result<Vec<Loop>, PlanError> {
        let region = self.region;
        if axes.len() <= 1 {
            return Ok(self.loops(axes, point));
        }
        let (exprs, vars) = (self.kernel.exprs.len(), self.kernel.vars);
        let merged = self.merged_loop(axes, point);
        let expr = self.expand(region, x, point, &Guard::default())?;
        let is_even = |index: &Index| index::stride(index, merged.var).is_some();
        let even = self.kernel.loads(expr).into_iter().all(|load| match load {
            Expr::Load { index, bounds, .. } => is_even(index) && bounds.iter().all(|b| is_even(&b.index)),
            _ => true,
        });
        if even {
            return Ok(vec![merged]);
        }
        self.forget_since(exprs, vars);
        Ok(self.loops(axes, point))
    }

    /// Stores of a root. The contraction itself, where it has gates, is stored gate by gate.
    fn root_stores(
        &mut self,
        root: Value,
        core: Value,
        gate: Option<Axis>,
        locations: &[Location],
        point: &Point,
    ) -> Result<Vec<crate::kernel::Store>, PlanError> {
        let Some(gate) = gate.filter(|_| root == core) else { return self.stores(root, locations, point) };
        let name = self.planner.name_of(self.region, root);
        let gates = self.size(gate).as_known().unwrap_or(0);
        let mut stores = Vec::new();
        for number in 0..gates {
            let acc = self.push(Expr::Acc(number as u32));
            let mut point = point.clone();
            point.insert(gate, crate::kernel::Index::Known(number));
            stores
                .extend(locations.iter().map(|location| self.store(&name, location, &point, acc)).collect::<Vec<_>>());
        }
        Ok(stores)
    }
}
