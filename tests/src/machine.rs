//! Plans of every machine, run by the interpreter of kernels. Scratch memory is full of NaN before it is written.

use gatec::graph::Module;
use gatec::graph::interp::Values;
use gatec::graph::tensor::Tensor;
use gatec::kernel::verify::verify;
use gatec::plan::{self, Planned};
use gatec::schedule::interp;
use gatec_runtime::format::{Call, Place, Plan, Step};

/// The outputs of an entry.
pub fn run(module: &Module, planned: &Planned, entry: usize, values: &Values) -> Result<Vec<Vec<f64>>, String> {
    let symbols: Vec<i64> = module.symbols.iter().map(|(name, _)| values.symbols[name]).collect();
    let kept = planned.variant.kept.iter().map(|k| unset(k.bytes as usize)).collect();
    let mut machine = Machine { module, planned, entry, values, symbols, kept };
    machine.plan(&planned.variant.load)?;
    let buffers = machine.plan(&planned.variant.entries[entry])?;
    let outputs = module.entries[entry].outputs.iter().enumerate();
    let plan = &planned.variant.entries[entry];
    Ok(outputs
        .map(|(i, boundary)| {
            let buffer = plan.buffers.iter().position(|b| b.place == Place::Output(i as u32));
            buffer.map_or_else(Vec::new, |b| crate::numbers(boundary.elem, &buffers[b]))
        })
        .collect())
}

struct Machine<'a> {
    module: &'a Module,
    planned: &'a Planned,
    entry: usize,
    values: &'a Values,
    symbols: Vec<i64>,
    kept: Vec<Vec<u8>>,
}

/// Bytes that are NaN as floats and far out of range as integers.
fn unset(bytes: usize) -> Vec<u8> {
    vec![0xFF; bytes]
}

impl Machine<'_> {
    /// Runs a plan; what its buffers hold at the end.
    fn plan(&mut self, plan: &Plan) -> Result<Vec<Vec<u8>>, String> {
        let mut buffers = Vec::new();
        for buffer in &plan.buffers {
            let size = buffer.bytes.eval(&self.symbols).ok_or_else(|| format!("{} has no size", buffer.name))?;
            let ordered = |t: &Tensor, order: &[gatec::graph::Axis]| crate::bytes(t.elem, &t.ordered(order).data);
            let filled = match buffer.place {
                Place::Input(i) => {
                    ordered(&self.values.inputs[i as usize], &self.module.entries[self.entry].inputs[i as usize].order)
                }
                Place::Param(i) => {
                    let order = plan::param_order(&self.module.params[i as usize]);
                    ordered(&self.values.params[i as usize], &order)
                }
                Place::State(i) => {
                    ordered(&self.values.states[i as usize], &self.module.states[i as usize].tensor.order)
                }
                Place::Kept(i) => self.kept[i as usize].clone(),
                Place::Output(_) | Place::NextState(_) | Place::Arena { .. } => unset(size as usize),
            };
            if filled.len() as i64 != size {
                return Err(format!("{} has {} bytes, and the plan says {size}", buffer.name, filled.len()));
            }
            buffers.push(filled);
        }
        self.steps(&plan.steps, &mut buffers, &mut Vec::new(), false)?;
        for (buffer, filled) in plan.buffers.iter().zip(&buffers) {
            if let Place::Kept(i) = buffer.place {
                self.kept[i as usize] = filled.clone();
            }
        }
        Ok(buffers)
    }

    fn steps(&self, steps: &[Step], buffers: &mut [Vec<u8>], numbers: &mut Vec<i64>, odd: bool) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Call(call) => self.call(call, buffers, numbers, odd)?,
                Step::When { flag, is, body } => {
                    let eval = |size: &gatec_runtime::format::SizeExpr| size.eval(&self.symbols).ok_or("no size");
                    let mut start = eval(&flag.offset)? + if odd { eval(&flag.odd)? } else { 0 };
                    for (stride, i) in flag.strides.iter().zip(numbers.iter()) {
                        start += eval(stride)? * i;
                    }
                    if (buffers[flag.buffer as usize][start as usize] != 0) == *is {
                        self.steps(body, buffers, numbers, odd)?;
                    }
                }
                Step::Loop { count, reverse, body, .. } => {
                    let count = count.eval(&self.symbols).ok_or("a loop without a count")?;
                    for i in 0..count {
                        numbers.push(if *reverse { count - 1 - i } else { i });
                        self.steps(body, buffers, numbers, i % 2 == 1)?;
                        numbers.pop();
                    }
                }
            }
        }
        Ok(())
    }

    fn call(&self, call: &Call, buffers: &mut [Vec<u8>], at: &[i64], odd: bool) -> Result<(), String> {
        let (symbol, kernel, schedule) = &self.planned.kernels[call.kernel as usize];
        let failed = |e: &dyn std::fmt::Display| format!("{symbol}: {e}");
        verify(kernel).map_err(|faults| failed(&format!("{faults:?}")))?;
        let eval = |size: &gatec_runtime::format::SizeExpr| size.eval(&self.symbols).ok_or_else(|| failed(&"no size"));
        let units = eval(&call.units)?;
        if units == 0 {
            return Ok(());
        }
        let mut starts = Vec::new();
        let mut memory = Vec::new();
        for (arg, buffer) in call.args.iter().zip(&kernel.buffers) {
            let mut start = eval(&arg.offset)?;
            for (stride, i) in arg.strides.iter().zip(at) {
                start += eval(stride)? * i;
            }
            start += if odd { eval(&arg.odd)? } else { 0 };
            let bytes = &buffers[arg.buffer as usize];
            // An empty buffer may begin anywhere: nothing of it is read.
            let slice = usize::try_from(start)
                .ok()
                .and_then(|s| if bytes.is_empty() { Some(&bytes[..]) } else { bytes.get(s..) });
            let slice = slice.ok_or_else(|| failed(&format!("{} begins at {start}", buffer.name)))?;
            starts.push(start as usize);
            memory.push(crate::numbers(buffer.elem, slice));
        }
        let before = memory.clone();
        let dims = call.dims.iter().map(eval).collect::<Result<Vec<i64>, String>>()?;
        if units != interp::units(kernel, schedule, &dims) {
            return Err(failed(&format!("{units} units in the plan")));
        }
        // Some later units first: their order is free.
        let ranges = [units / 2..units, 0..units / 2];
        if !interp::run(kernel, schedule, &dims, &mut memory, &ranges).map_err(|e| failed(&e))? {
            return Err(failed(&"an index out of range"));
        }
        for ((arg, buffer), (start, (after, before))) in
            call.args.iter().zip(&kernel.buffers).zip(starts.iter().zip(memory.iter().zip(&before)))
        {
            let size = buffer.elem.bytes() as usize;
            for (i, (after, before)) in after.iter().zip(before).enumerate() {
                if after.to_bits() != before.to_bits() {
                    let to = start + i * size;
                    buffers[arg.buffer as usize][to..to + size].copy_from_slice(&crate::bytes(buffer.elem, &[*after]));
                }
            }
        }
        Ok(())
    }
}
