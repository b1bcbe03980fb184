//! Streaming attention: one kernel from products to weighed values, on packed keys and values.

use crate::fuse::{Attention, GroupId, Way};
use crate::graph::{Axis, AxisSet, Value};
use crate::kernel::types::computed_in;
use crate::kernel::{Access, Attend, Body, Expr, Loop, Products};
use crate::scalar::{Binary, Unary};
use crate::schedule;

use super::builder::{Guard, KernelBuilder, Point};
use super::contract::PackShape;
use super::region::RegionId;
use super::{PlanError, Planner};

/// Scores of a row that are computed at a time: enough to share the scaling of sums, few enough that a mask's edge cuts off most of
/// what it hides. Part of the meaning in bits, so the same for every machine.
const BLOCK: u32 = 64;

impl Planner<'_> {
    pub(super) fn plan_attend(
        &mut self,
        region: RegionId,
        group: GroupId,
        attention: &Attention,
    ) -> Result<(), PlanError> {
        let Attention { x, keys, values, product, score, mixed, over, .. } = *attention;
        let acc = computed_in(self.graph(region).ty(product).elem);
        self.evened(region, x, &attention.sums)?;
        let natural_x = self.order_of(region, x);
        let sums = self.sums_order(region, x, &attention.sums, &natural_x)?;
        let roots = self.regions[region.0].fusion.groups[group.0].roots.clone();
        let root_order = roots.first().and_then(|v| self.location(region, *v)).map(|l| l.order()).unwrap_or_default();
        let in_order = |this: &Self, natural: Vec<Axis>, axes: &AxisSet| {
            this.complete(root_order.iter().copied().chain(natural).collect(), axes)
        };
        let batch = in_order(self, natural_x.clone(), &attention.batch);
        let rows = in_order(self, natural_x, &attention.rows);
        let cols = in_order(self, self.order_of(region, values), &attention.cols);
        let panel = |this: &Self, value: Value, sums: &[Axis], cols: &[Axis]| PackShape {
            matrices: batch.clone(),
            sums: sums.to_vec(),
            cols: cols.to_vec(),
            gate: None,
            parts: schedule::packed_parts(1, this.isa),
            lanes: schedule::packed_lanes(1, acc, this.isa),
            elem: this.exact_elem(region, value).unwrap_or(this.graph(region).ty(value).elem),
            products: Products::One,
            every: 1,
            unpack: None,
        };
        let (keys_shape, values_shape) = (panel(self, keys, &sums, &[over]), panel(self, values, &[over], &cols));
        let packed_keys = self.packed(region, keys, &keys_shape)?;
        let packed_values = self.packed(region, values, &values_shape)?;
        let label = self.label(region, group, "attend");
        let estimate =
            |axes: &[Axis]| axes.iter().map(|a| self.symbols.estimate(&self.size(*a)) as f64).product::<f64>();
        let scores = estimate(&batch) * estimate(&rows) * estimate(&[over]);
        let work = scores * 2.0 * (estimate(&sums) + estimate(&cols));

        let only = self.only_rows((region, group), roots.iter().copied(), &batch);
        let mut builder = KernelBuilder::new(self, region, Some(group));
        let mut point = Point::new();
        let batch = builder.merged_loop(&batch, &mut point);
        let only = only.map(|only| builder.only(only, &point)).transpose()?;
        let rows = builder.merged_loop(&rows, &mut point);
        let over = builder.merged_loop(&[over], &mut point);
        // Keys and values may have an axis in common: of the product it is summed, of the result a column.
        let mut of_product = point.clone();
        let sums = builder.sum_loops(&sums, x, &mut of_product)?;
        let x = builder.expand(region, x, &of_product, &Guard::default())?;
        let cols = builder.merged_loop(&cols, &mut point);
        let keys = builder.buffer("keys", &packed_keys, keys_shape.elem, Access::Read, true);
        let values = builder.buffer("values", &packed_values, values_shape.elem, Access::Read, true);
        let [acc_product, weighed, total] =
            [Attend::PRODUCT, Attend::WEIGHED, Attend::TOTAL].map(|a| builder.push(Expr::Acc(a)));
        builder.known.insert(product, acc_product);
        let score = builder.expand(region, score, &point, &Guard::default())?;
        let share = builder.push(Expr::Unary(Unary::Recip, total));
        let weighed = builder.push(Expr::Binary(Binary::Mul, weighed, share));
        builder.known.insert(mixed, weighed);
        let mut stores = Vec::new();
        for root in roots {
            let locations = builder.planner.regions[region.0].locations[&root].clone();
            stores.extend(builder.stores(root, &locations, &point)?);
        }
        let body =
            Body::Attend(Attend { batch, only, rows, over, cols, sums, block: BLOCK, x, keys, score, values, stores });
        builder.finish(&label, body, work)
    }

    /// The kernel reads its left operand at equal distances along each loop of the sum; one that a view has elsewhere is copied.
    fn evened(&mut self, region: RegionId, x: Value, sums: &AxisSet) -> Result<(), PlanError> {
        let order = self.order_of(region, x);
        let mut builder = KernelBuilder::new(self, region, None);
        let mut point = Point::new();
        let loops = builder.loops(&order, &mut point);
        let load = builder.expand(region, x, &point, &Guard::default())?;
        let summed: Vec<Loop> =
            order.iter().zip(loops).filter(|(axis, _)| sums.contains(**axis)).map(|(_, l)| l).collect();
        if builder.kernel.is_even(load, &summed) {
            return Ok(());
        }
        let (name, elem) = (self.name_of(region, x), self.graph(region).ty(x).elem);
        let place = self.scratch(&name, elem, &order);
        self.copy(region, x, &place)?;
        self.regions[region.0].locations.insert(x, vec![place]);
        self.note(region, x, Way::WrittenOut, "along the sum its elements do not stand at equal distances".into());
        Ok(())
    }
}
