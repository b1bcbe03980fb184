//! Weights that a contraction takes as they are quantised.

use gatec_runtime::format::Isa;

use crate::fuse::Way;
use crate::graph::{Axis, Elem, Value};
use crate::ops::{Op, Scan};

use super::Planner;
use super::region::{RegionId, capture_operand, item_operand};

/// How weights are quantised.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantized {
    /// The axis in blocks, as the contraction names it.
    pub axis: Axis,
    /// Elements of a block.
    pub size: i64,
    pub bits: u32,
    /// Of values and scales, as they are stored.
    pub elems: (Elem, Elem),
}

impl Planner<'_> {
    /// How the weights of a contraction are quantised, if it can take them so: views that leave the blocks whole stand before them, and
    /// blocks are those of the linear sum.
    pub(super) fn quantized(
        &mut self,
        region: RegionId,
        contraction: Value,
        weights: Value,
        sums: &[Axis],
    ) -> Option<Quantized> {
        let found = self.quantized_below(region, weights)?;
        let (axis, size) = (found.axis, found.size);
        let n = self.size(axis).as_known().unwrap_or(0);
        let why = match sums {
            _ if self.isa == Isa::Sm80 => "its kernels multiply floats".into(),
            [.., last] if *last != axis => format!("blocks are along `{axis}`, sums innermost along `{last}`"),
            [_, _, ..] if n % size != 0 => {
                format!("sums are over several axes, and {n} elements of `{axis}` are no blocks of {size}")
            }
            _ if !sums.contains(&axis) => format!("blocks are along `{axis}`, which is not summed over"),
            _ if u32::try_from(size).is_err() => format!("blocks of {size} elements"),
            _ => return Some(found),
        };
        self.note(region, contraction, Way::Floats, why);
        None
    }

    fn quantized_below(&self, region: RegionId, value: Value) -> Option<Quantized> {
        let graph = self.graph(region);
        let operands = graph.operands(value.node);
        let outside = |operand: &dyn Fn(&Scan) -> usize| {
            let (parent, node, _) = self.regions[region.0].parent?;
            let Op::Scan(scan) = &self.graph(parent).node(node).op else { return None };
            self.quantized_below(parent, self.graph(parent).operands(node)[operand(scan)])
        };
        let below = || self.quantized_below(region, operands[0]);
        let beside = |axes: &[Axis]| below().filter(|found| !axes.contains(&found.axis));
        match graph.op(value) {
            Op::Dequantize(packed) => {
                let [values, scales] = [0, 1].map(|i| self.exact_elem(region, operands[i]));
                let bits = if packed.bytes.is_some() { 4 } else { 8 };
                Some(Quantized { axis: packed.axis, size: packed.size, bits, elems: (values?, scales?) })
            }
            Op::Loaded(loaded) => {
                self.quantized_below(self.load_region, self.module.load.results[loaded.index as usize])
            }
            Op::Item(item) => outside(&|scan| item_operand(scan, item.index)),
            Op::Capture(capture) => outside(&|scan| capture_operand(scan, capture.index)),
            Op::Rename(rename) => {
                let found = below()?;
                let axis = if found.axis == rename.from { rename.to } else { found.axis };
                Some(Quantized { axis, ..found })
            }
            Op::Broadcast(_) => below(),
            Op::Pick(pick) => beside(&[pick.axis]),
            Op::Slice(slice) => beside(&[slice.from]),
            Op::Split(split) => beside(&[split.from]),
            Op::Merge(merge) => beside(&merge.from),
            // All alike.
            Op::Stack(_) => {
                let first = below()?;
                let is_same = |v: &Value| self.quantized_below(region, *v).as_ref() == Some(&first);
                operands.iter().all(is_same).then_some(first)
            }
            _ => None,
        }
    }
}
