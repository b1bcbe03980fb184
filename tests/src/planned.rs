//! Plans of every machine, the GPU and those that this processor is not, run by the interpreter of kernels: random programs
//! against the interpreter of graphs. Scratch memory is full of NaN before it is written.

use gatec::BuildOptions;
use gatec::graph::random::{self, Options};
use gatec::graph::tensor::Tensor;
use gatec::graph::{Elem, Module, interp::Values};
use gatec::kernel::verify::verify;
use gatec::plan::{self, Planned};
use gatec::schedule::interp;
use gatec_runtime::format::{Call, Isa, Place, Plan, Step};
use gatec_tests::example::Example;
use gatec_tests::{difference, interpret};

/// Sums are exact here, stored values rounded to f32; on programs whose magnitudes stay near 1.
const TOLERANCE: f64 = 2e-5;

#[test]
fn plans_of_every_machine_agree_with_the_interpreter() {
    let count: u64 = std::env::var("GATEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let first: u64 = std::env::var("GATEC_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let failures: Vec<String> = (first..first + count).filter_map(|seed| checked(seed).err()).collect();
    assert!(failures.is_empty(), "{} of {count} programs:\n{}", failures.len(), failures.join("\n"));
}

/// Each entry of each example, optimised and planned for the GPU, against the interpreter on the program as it was written.
#[test]
fn the_gpu_plans_of_the_examples_agree_with_the_interpreter() {
    let mut failures = Vec::new();
    for example in Example::all() {
        let options = BuildOptions { sizes: example.sizes(), targets: Vec::new(), ptx: true, ..Default::default() };
        let compiled = gatec::compile(&example.model(), &options).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        let written = gatec::lower::lower(&compiled.program).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
        let module = &compiled.optimized.module;
        for (entry, about) in module.entries.iter().enumerate() {
            for size in [1, 5] {
                let symbols: Vec<(&str, i64)> = module.symbols.iter().map(|(name, _)| (name.as_str(), size)).collect();
                let values = random::values(&written, entry, &symbols, 3);
                let expected =
                    interpret(&written, entry, &values).unwrap_or_else(|e| panic!("{}: {e}", example.name()));
                let at = format!("{}, {}, sizes {size}", example.name(), about.name);
                match run(module, &compiled.planned[0], entry, &values) {
                    Err(e) => failures.push(format!("{at}: {e}")),
                    Ok(found) => {
                        for ((found, expected), output) in found.iter().zip(&expected).zip(&about.outputs) {
                            let error = difference(found, expected);
                            if error > TOLERANCE {
                                failures.push(format!("{at}: {} is off by {error:e}", output.name));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A panic is a failure of its seed.
fn checked(seed: u64) -> Result<(), String> {
    std::panic::catch_unwind(|| check(seed)).unwrap_or_else(|_| Err(format!("seed {seed}: panicked")))
}

fn check(seed: u64) -> Result<(), String> {
    let module = random::module(seed, &Options::default());
    for isa in Isa::ALL {
        let planned = plan::plan(&module, isa, &[]).map_err(|e| format!("seed {seed}, {isa}: {e}"))?;
        for t in [1, 0, 7] {
            let values = random::values(&module, 0, &[("t", t)], seed + 1);
            let Ok(expected) = interpret(&module, 0, &values) else { continue };
            let at = format!("seed {seed}, t = {t}, {isa}");
            let found = run(&module, &planned, 0, &values).map_err(|e| format!("{at}: {e}"))?;
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = difference(found, expected);
                if error > TOLERANCE {
                    return Err(format!("{at}: output {i} is off by {error:e}"));
                }
            }
        }
    }
    Ok(())
}

/// The outputs of an entry.
fn run(module: &Module, planned: &Planned, entry: usize, values: &Values) -> Result<Vec<Vec<f64>>, String> {
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
            buffer.map_or_else(Vec::new, |b| numbers(boundary.elem, &buffers[b]))
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
            let ordered = |t: &Tensor, order: &[gatec::graph::Axis]| bytes(t.elem, &t.ordered(order).data);
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
                Step::Loop { count, reverse, body } => {
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
            memory.push(numbers(buffer.elem, slice));
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
                    buffers[arg.buffer as usize][to..to + size].copy_from_slice(&bytes(buffer.elem, &[*after]));
                }
            }
        }
        Ok(())
    }
}

fn bytes(elem: Elem, numbers: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for x in numbers {
        match elem {
            Elem::F32 => bytes.extend((*x as f32).to_le_bytes()),
            Elem::F64 => bytes.extend(x.to_le_bytes()),
            Elem::I32 => bytes.extend((*x as i32).to_le_bytes()),
            Elem::I64 => bytes.extend((*x as i64).to_le_bytes()),
            Elem::I8 => bytes.extend((*x as i8).to_le_bytes()),
            Elem::U8 | Elem::Bool => bytes.push(*x as u8),
            Elem::F16 | Elem::Bf16 => unreachable!("random programs have no halves"),
        }
    }
    bytes
}

fn numbers(elem: Elem, bytes: &[u8]) -> Vec<f64> {
    gatec_tests::numbers(elem, bytes)
}
