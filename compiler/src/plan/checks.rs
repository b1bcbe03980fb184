//! What indices that kernels look at are called: what a message about a wrong one says.

use gatec_runtime::format::{self, Check, abi};

use crate::graph::Value;
use crate::kernel::Loop;

use super::Planner;
use super::builder::KernelBuilder;
use super::region::RegionId;

/// Characters of an expression that a message shows.
const SHOWN: usize = 60;

impl KernelBuilder<'_, '_> {
    /// The indices that the kernel looks at: each expression once.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = Vec::new();
        for (expr, (region, index), axis) in &self.checked {
            if checks.iter().any(|c| c.number == expr.0) {
                continue;
            }
            let names = |l: &&&Loop| l.var.0 < VARS && self.kernel.mentions(*expr, l.var);
            let size = self.planner.symbols.expr(&self.size(*axis));
            checks.push(Check {
                number: expr.0,
                index: self.planner.written(*region, *index),
                axis: format::Axis { name: axis.name().into(), size },
                loops: self.planner.axes_around(self.region),
                vars: self.kernel.loops().iter().filter(names).map(|l| (l.var.0, l.name.clone())).collect(),
            });
        }
        checks
    }
}

/// Loop variables that a kernel can tell.
const VARS: u32 = (abi::FAULT_NUMBERS - abi::FAULT_VARS) as u32;

impl Planner<'_> {
    /// What a value is in the source: its name, else the beginning of the text that it stands for.
    fn written(&self, region: RegionId, value: Value) -> String {
        let node = self.graph(region).node(value.node);
        if let Some(name) = &node.name {
            return name.clone();
        }
        let text = node.span.and_then(|span| self.module.text_of(span)).unwrap_or("an index");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = words.chars().take(SHOWN).collect();
        if shown.len() < words.len() {
            shown += "..";
        }
        let is_name = shown.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
        if is_name { shown } else { format!("({shown})") }
    }

    /// The axes of the loops whose body a region is, outermost first.
    fn axes_around(&self, region: RegionId) -> Vec<String> {
        let mut axes = Vec::new();
        let mut at = &self.regions[region.0];
        while let Some((outer, _, axis)) = at.parent {
            axes.push(axis.name().to_string());
            at = &self.regions[outer.0];
        }
        axes.reverse();
        axes
    }
}
