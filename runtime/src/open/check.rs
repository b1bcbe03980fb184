//! Checks of a manifest on its own: every index in range, every size bounded, nothing nests too deep. What is checked here
//! is relied on without a check behind it.

use std::collections::BTreeSet;

use crate::format::{
    Arg, Buffer, Call, Entry, Init, InputDefault, MAX_BYTES, Manifest, Place, Plan, SizeExpr, Step, Tensor, Variant,
};

/// Loops within loops within one plan.
pub const MAX_LOOP_DEPTH: usize = 8;
/// Loops and conditions around a step of a plan: not more than the reader of JSON allows, three levels for each.
const MAX_STEP_DEPTH: usize = 32;
/// Nesting of one size.
pub const MAX_EXPR_DEPTH: usize = 16;
/// Numbers and symbols in one size.
const MAX_EXPR_NODES: usize = 512;
/// Steps of one plan, those in loops counted once.
pub const MAX_STEPS: usize = 1 << 20;
/// Faults told at once: a garbage manifest has thousands.
const MAX_FAULTS: usize = 20;

/// Everything wrong with the manifest, in the order of its fields; at most [`MAX_FAULTS`].
pub(super) fn check(manifest: &Manifest) -> Vec<String> {
    let mut check = Check { manifest, faults: Vec::new(), place: String::new() };
    check.manifest();
    check.faults.truncate(MAX_FAULTS);
    check.faults
}

struct Check<'a> {
    manifest: &'a Manifest,
    faults: Vec<String>,
    /// Where we are, for messages: `variant x86-64-v3, entry chunk`.
    place: String,
}

/// What a plan may name.
#[derive(Clone, Copy)]
struct Scope<'a> {
    variant: &'a Variant,
    /// `None` for the load plan.
    entry: Option<&'a Entry>,
}

impl Check<'_> {
    fn fault(&mut self, what: impl std::fmt::Display) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(if self.place.is_empty() { what.to_string() } else { format!("{}: {what}", self.place) });
        }
    }

    fn manifest(&mut self) {
        let manifest = self.manifest;
        self.unique("symbol", manifest.symbols.iter().map(|s| s.name.as_str()));
        self.unique("parameter", manifest.params.iter().map(|p| p.tensor.name.as_str()));
        self.unique("state", manifest.states.iter().map(|s| s.tensor.name.as_str()));
        self.unique("entry", manifest.callable().map(|e| e.name.as_str()));
        for symbol in &manifest.symbols {
            if symbol.bound.is_some_and(|bound| bound < 0) {
                self.fault(format_args!("symbol `{}` has a negative bound", symbol.name));
            }
        }
        for param in &manifest.params {
            self.param(param);
        }
        for state in &manifest.states {
            self.tensor("state", &state.tensor);
            if let Init::Param(i) = state.init
                && self.index("parameter", i, manifest.params.len())
            {
                let (param, name) = (&manifest.params[i as usize].tensor, &state.tensor.name);
                if (param.elem, &param.axes) != (state.tensor.elem, &state.tensor.axes) {
                    self.fault(format_args!("state `{name}` begins with `{}`, which is of another type", param.name));
                }
            }
        }
        for entry in &manifest.entries {
            self.place = format!("entry `{}`", entry.name);
            self.unique("input", entry.inputs.iter().map(|t| t.name.as_str()));
            self.unique("output", entry.outputs.iter().map(|t| t.name.as_str()));
            for tensor in entry.inputs.iter().chain(&entry.outputs) {
                self.tensor("tensor", tensor);
            }
            for default in &entry.defaults {
                self.index("input", default.input, entry.inputs.len());
                let input = entry.inputs.get(default.input as usize);
                if let Some(input) = input.filter(|input| !input.axes.is_empty()) {
                    self.fault(format_args!("input `{}` has a default, but is no scalar", input.name));
                }
            }
            for state in entry.reads.iter().chain(&entry.sets) {
                self.index("state", *state, manifest.states.len());
            }
            for indices in &entry.indices {
                match indices.place {
                    Place::Input(i) => drop(self.index("input", i, entry.inputs.len())),
                    Place::State(i) => drop(self.index("state", i, manifest.states.len())),
                    place => self.fault(format_args!("{place:?} holds no indices")),
                }
            }
            for need in &entry.needs {
                self.size(&need.what, &need.size, false);
            }
            for most in &entry.at_most {
                self.index("symbol", most.symbol, manifest.symbols.len());
            }
        }
        self.alternatives();
        self.place.clear();
        if manifest.variants.is_empty() {
            self.fault("it has no variant");
        }
        for variant in &manifest.variants {
            self.variant(variant);
        }
    }

    /// Entries of one name have the same boundary, and the last of them serves all sizes that none before does.
    fn alternatives(&mut self) {
        let entries = &self.manifest.entries;
        for (i, entry) in entries.iter().enumerate() {
            self.place = format!("entry `{}`", entry.name);
            let next = entries.get(i + 1).filter(|next| next.name == entry.name);
            if next.is_none() != entry.at_most.is_empty() {
                self.fault("its sizes are not all served by one entry");
            }
            // Bits: a default that is NaN is the same in both.
            let default = |d: &InputDefault| (d.input, d.value.to_bits());
            let boundary = |e: &Entry| {
                let defaults: Vec<_> = e.defaults.iter().map(default).collect();
                (e.inputs.clone(), defaults, e.outputs.clone(), e.sets.clone())
            };
            if next.is_some_and(|next| boundary(next) != boundary(entry)) {
                self.fault("another of this name has other inputs, outputs or states");
            }
        }
    }

    fn variant(&mut self, variant: &Variant) {
        self.place = format!("variant {}", variant.isa);
        if manifest_repeats(self.manifest, variant) {
            self.fault("it stands there twice");
        }
        for kernel in &variant.kernels {
            if kernel.symbol.is_empty() || kernel.symbol.contains('\0') {
                self.fault(format_args!("kernel `{}` has no proper symbol", kernel.label));
            }
            if variant.isa == crate::format::Isa::Sm80
                && kernel.launch.as_ref().is_none_or(|l| l.threads == 0 || l.threads > 1024)
            {
                self.fault(format_args!("kernel `{}` has no proper launch", kernel.symbol));
            }
        }
        for kept in &variant.kept {
            if kept.bytes > MAX_BYTES {
                self.fault(format_args!("kept buffer `{}` of {} bytes", kept.name, kept.bytes));
            }
        }
        if variant.entries.len() != self.manifest.entries.len() {
            let (plans, entries) = (variant.entries.len(), self.manifest.entries.len());
            self.fault(format_args!("{plans} plans for {entries} entries"));
        }
        self.place = format!("variant {}, load", variant.isa);
        self.plan(&variant.load, Scope { variant, entry: None });
        for (plan, entry) in variant.entries.iter().zip(&self.manifest.entries) {
            self.place = format!("variant {}, entry `{}`", variant.isa, entry.name);
            self.plan(plan, Scope { variant, entry: Some(entry) });
        }
        self.place.clear();
    }

    fn plan(&mut self, plan: &Plan, scope: Scope) {
        for buffer in &plan.buffers {
            self.buffer(buffer, plan, scope);
        }
        if let Some(entry) = scope.entry {
            let has = |place: Place| plan.buffers.iter().any(|b| b.place == place);
            for (i, output) in entry.outputs.iter().enumerate() {
                if !has(Place::Output(i as u32)) {
                    self.fault(format_args!("nothing writes output `{}`", output.name));
                }
            }
            for state in &entry.sets {
                if !has(Place::NextState(*state)) {
                    self.fault(format_args!("nothing writes state {state}, which the entry sets"));
                }
            }
        }
        // A stack of its own: the depth of a hostile plan is known only after walking it.
        let mut steps = 0;
        let mut open: Vec<(std::slice::Iter<Step>, usize)> = vec![(plan.steps.iter(), 0)];
        while let Some((level, depth)) = open.last_mut() {
            let (next, depth) = (level.next(), *depth);
            let Some(step) = next else {
                open.pop();
                continue;
            };
            steps += 1;
            if steps > MAX_STEPS {
                return self.fault(format_args!("more than {MAX_STEPS} steps"));
            }
            match step {
                Step::Call(call) => self.call(call, plan, scope, depth),
                Step::Loop { count, body, exits, .. } => {
                    self.size("the count of a loop", count, scope.entry.is_none());
                    if let Some(exits) = exits {
                        self.size("the rows of a loop", &exits.rows, scope.entry.is_none());
                        self.arg(&exits.left, plan, "exits", depth + 1, scope.entry.is_none());
                    }
                    if depth >= MAX_LOOP_DEPTH {
                        return self.fault(format_args!("loops nest deeper than {MAX_LOOP_DEPTH}"));
                    }
                    open.push((body.iter(), depth + 1));
                }
                Step::When { flag, body, .. } => {
                    self.arg(flag, plan, "a flag", depth, scope.entry.is_none());
                    if open.len() > MAX_STEP_DEPTH {
                        return self.fault(format_args!("steps nest deeper than {MAX_STEP_DEPTH}"));
                    }
                    open.push((body.iter(), depth));
                }
            }
        }
    }

    fn buffer(&mut self, buffer: &Buffer, plan: &Plan, scope: Scope) {
        let manifest = self.manifest;
        self.size(&format!("buffer `{}`", buffer.name), &buffer.bytes, scope.entry.is_none());
        let index = match (buffer.place, scope.entry) {
            (Place::Param(i), _) => (i, manifest.params.len(), "parameter"),
            (Place::Kept(i), _) => (i, scope.variant.kept.len(), "kept buffer"),
            (Place::Input(i), Some(entry)) => (i, entry.inputs.len(), "input"),
            (Place::Output(i), Some(entry)) => (i, entry.outputs.len(), "output"),
            (Place::State(i), Some(_)) => (i, manifest.states.len(), "state"),
            (Place::NextState(i), Some(_)) => (i, manifest.states.len(), "state"),
            (Place::Arena { from, to }, _) => {
                if from > to || to as usize >= plan.steps.len() {
                    let steps = plan.steps.len();
                    self.fault(format_args!("buffer `{}` lives from step {from} to {to} of {steps}", buffer.name));
                }
                return;
            }
            (place, None) => {
                return self.fault(format_args!("buffer `{}` is {place:?}, which loading has not", buffer.name));
            }
        };
        if !self.index(index.2, index.0, index.1) {
            return;
        }
        if let (Place::NextState(i), Some(entry)) = (buffer.place, scope.entry)
            && !entry.sets.contains(&i)
        {
            self.fault(format_args!("it sets state {i}, which the entry does not"));
        }
        let have = match buffer.place {
            Place::Param(i) => manifest.params.get(i as usize).and_then(|p| p.tensor.bytes(&[])),
            Place::Kept(i) => scope.variant.kept.get(i as usize).map(|k| k.bytes),
            // Of the others the sizes are known when a session binds them, and compared there.
            _ => return,
        };
        // A size that is not known does not fit either.
        let want = buffer.bytes.eval(&[]).and_then(|n| u64::try_from(n).ok());
        if want.is_none() || have.is_none_or(|have| want > Some(have)) {
            self.fault(format_args!("buffer `{}` is larger than what it stands for", buffer.name));
        }
    }

    fn call(&mut self, call: &Call, plan: &Plan, scope: Scope, depth: usize) {
        let Some(kernel) = scope.variant.kernels.get(call.kernel as usize) else {
            return self.fault(format_args!("kernel {} of {}", call.kernel, scope.variant.kernels.len()));
        };
        if call.args.len() != kernel.args as usize || call.dims.len() != kernel.dims as usize {
            let (args, dims) = (call.args.len(), call.dims.len());
            self.fault(format_args!(
                "kernel `{}` takes {} buffers and {} sizes, a call gives {args} and {dims}",
                kernel.symbol, kernel.args, kernel.dims
            ));
        }
        if !call.unit_ns.is_finite() || call.unit_ns < 0.0 {
            self.fault(format_args!("a call of `{}` takes {} ns", kernel.symbol, call.unit_ns));
        }
        let at_load = scope.entry.is_none();
        for size in call.dims.iter().chain([&call.units, &call.scratch_bytes, &call.flops]) {
            self.size(&kernel.symbol, size, at_load);
        }
        if let Some(routing) = &call.routing {
            self.index("counted argument", routing.offsets, call.args.len());
            self.size(&kernel.symbol, &routing.experts, at_load);
            if at_load {
                self.fault(format_args!("`{}`: loading has no router", kernel.symbol));
            }
        }
        for check in &call.checks {
            self.size(&kernel.symbol, &check.axis.size, at_load);
        }
        for arg in &call.args {
            self.arg(arg, plan, &kernel.symbol, depth, at_load);
        }
    }

    fn arg(&mut self, arg: &Arg, plan: &Plan, kernel: &str, depth: usize, at_load: bool) {
        self.index("buffer", arg.buffer, plan.buffers.len());
        for size in arg.strides.iter().chain([&arg.offset, &arg.odd, &arg.bytes]) {
            self.size(kernel, size, at_load);
        }
        if arg.strides.len() > depth {
            self.fault(format_args!("`{kernel}`: {} strides inside {depth} loops", arg.strides.len()));
        }
        if depth == 0 && arg.odd != SizeExpr::Known(0) {
            self.fault(format_args!("`{kernel}`: alternating buffers outside a loop"));
        }
    }

    fn param(&mut self, param: &crate::format::Param) {
        let name = &param.tensor.name;
        self.tensor("parameter", &param.tensor);
        let Some(elements) = param.tensor.elements(&[]) else {
            return self.fault(format_args!("parameter `{name}` has no known size"));
        };
        let part = param.part_shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_BYTES);
        let all = part.and_then(|n| n.checked_mul(param.parts.len() as u64));
        if all != Some(elements) {
            let (parts, shape) = (param.parts.len(), &param.part_shape);
            self.fault(format_args!("parameter `{name}` of {elements} elements is made of {parts} parts of {shape:?}"));
        }
    }

    fn tensor(&mut self, kind: &str, tensor: &Tensor) {
        for axis in &tensor.axes {
            self.size(&format!("{kind} `{}`, axis `{}`", tensor.name, axis.name), &axis.size, false);
        }
    }

    fn size(&mut self, what: &str, size: &SizeExpr, known: bool) {
        // Depth first: what comes after walks the tree.
        if size.depth() > MAX_EXPR_DEPTH {
            return self.fault(format_args!("{what}: a size nests deeper than {MAX_EXPR_DEPTH}"));
        }
        if nodes(size) > MAX_EXPR_NODES {
            return self.fault(format_args!("{what}: a size of more than {MAX_EXPR_NODES} terms"));
        }
        let symbols = if known { 0 } else { self.manifest.symbols.len() };
        if let Some(why) = expr_fault(size, symbols) {
            self.fault(format_args!("{what}: {why}"));
        }
    }

    fn index(&mut self, kind: &str, index: u32, len: usize) -> bool {
        let inside = (index as usize) < len;
        if !inside {
            self.fault(format_args!("{kind} {index} of {len}"));
        }
        inside
    }

    fn unique<'n>(&mut self, kind: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                self.fault(format_args!("two of {kind} `{name}`"));
            }
        }
    }
}

fn manifest_repeats(manifest: &Manifest, variant: &Variant) -> bool {
    manifest.variants.iter().filter(|v| v.isa == variant.isa).count() > 1
}

fn nodes(size: &SizeExpr) -> usize {
    1 + match size {
        SizeExpr::Known(_) | SizeExpr::Symbol(_) => 0,
        SizeExpr::Add(xs) | SizeExpr::Mul(xs) | SizeExpr::Min(xs) => xs.iter().map(nodes).sum(),
        SizeExpr::Div(x, _) | SizeExpr::DivUp(x, _) => nodes(x),
    }
}

fn expr_fault(size: &SizeExpr, symbols: usize) -> Option<String> {
    match size {
        SizeExpr::Known(_) => None,
        SizeExpr::Symbol(i) if (*i as usize) < symbols => None,
        SizeExpr::Symbol(i) => Some(format!("symbol {i} of {symbols}")),
        SizeExpr::Add(xs) | SizeExpr::Mul(xs) | SizeExpr::Min(xs) => xs.iter().find_map(|x| expr_fault(x, symbols)),
        SizeExpr::Div(_, by) | SizeExpr::DivUp(_, by) if *by <= 0 => Some(format!("division by {by}")),
        SizeExpr::Div(x, _) | SizeExpr::DivUp(x, _) => expr_fault(x, symbols),
    }
}
