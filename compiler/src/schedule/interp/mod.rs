//! The meaning of a scheduled kernel, in f64 and plain loops: what runs where no machine at hand has the instructions.
//!
//! Units, tiles, panels, lanes and the threads of a block are walked as the schedule says, so that a schedule that misses an
//! element, reads beyond a buffer or lets two units write one place is found here. Arithmetic is exact where hardware rounds;
//! what is stored is rounded to the buffer's element type.

mod attend;
mod contract;
mod eval;
mod nest;
mod select;
#[cfg(test)]
mod tests;

use std::ops::Range;

use thiserror::Error;

use super::{BodySchedule, GPU_THREADS, Gpu, Schedule, UnitsExpr};
use crate::kernel::index::values;
use crate::kernel::types::types;
use crate::kernel::{Body, BufferId, Elem, Extent, Index, Kernel, Loop, Store};

/// What is wrong with a kernel, its schedule or the buffers it was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InterpError {
    #[error("b{buffer} ({name}) has {len} elements, and element {index} is read")]
    ReadOutside { buffer: u32, name: String, index: i64, len: usize },
    #[error("b{buffer} ({name}) has {len} elements, and element {index} is written")]
    WriteOutside { buffer: u32, name: String, index: i64, len: usize },
    #[error("element {index} of b{buffer} ({name}) is written by unit {first} and by unit {second}")]
    TwoWriters { buffer: u32, name: String, index: i64, first: i64, second: i64 },
    #[error("the kernel takes {wanted} {what}, and {found} were given")]
    Count { what: &'static str, wanted: usize, found: usize },
    #[error("the schedule is of another class than the kernel")]
    Schedule,
}

/// How many units a kernel has at these sizes.
pub fn units(kernel: &Kernel, schedule: &Schedule, dims: &[i64]) -> i64 {
    fn evaluate(e: &UnitsExpr, dims: &[i64]) -> i64 {
        match e {
            UnitsExpr::Known(n) | UnitsExpr::Extent(Extent::Known(n)) => *n,
            UnitsExpr::Extent(Extent::Dim(d)) => dims[d.0 as usize],
            UnitsExpr::Add(terms) => terms.iter().map(|t| evaluate(t, dims)).sum(),
            UnitsExpr::Mul(factors) => factors.iter().map(|t| evaluate(t, dims)).product(),
            UnitsExpr::Min(all) => all.iter().map(|t| evaluate(t, dims)).min().unwrap_or(0),
            UnitsExpr::DivUp(n, by) => (evaluate(n, dims) + by - 1).div_euclid(*by),
        }
    }
    evaluate(&super::units(kernel, schedule), dims)
}

/// Runs the units of `ranges`, in that order, on `buffers` (one for each of the kernel's). Whether no index that came at run
/// time was out of range.
pub fn run(
    kernel: &Kernel,
    schedule: &Schedule,
    dims: &[i64],
    buffers: &mut [Vec<f64>],
    ranges: &[Range<i64>],
) -> Result<bool, InterpError> {
    for (what, wanted, found) in
        [("buffers", kernel.buffers.len(), buffers.len()), ("sizes", kernel.dims as usize, dims.len())]
    {
        if wanted != found {
            return Err(InterpError::Count { what, wanted, found });
        }
    }
    let writers = kernel.buffers.iter().zip(&*buffers);
    let writers = writers.map(|(b, data)| if b.access.writes() { vec![NOBODY; data.len()] } else { Vec::new() });
    let writers = writers.collect();
    let mut machine = Machine {
        kernel,
        types: types(kernel).into_iter().map(|t| t.unwrap_or(Elem::F32)).collect(),
        dims,
        buffers,
        writers,
        vars: vec![0; kernel.vars as usize],
        temps: Vec::new(),
        accs: Vec::new(),
        values: vec![0.0; kernel.exprs.len()],
        closures: vec![None; kernel.exprs.len()],
        unit: 0,
        in_range: true,
    };
    for range in ranges {
        for unit in range.clone() {
            machine.unit = unit;
            machine.unit(schedule)?;
        }
    }
    Ok(machine.in_range)
}

const NOBODY: i64 = -1;

/// A kernel that runs.
struct Machine<'a> {
    kernel: &'a Kernel,
    types: Vec<Elem>,
    dims: &'a [i64],
    buffers: &'a mut [Vec<f64>],
    /// Which unit wrote an element.
    writers: Vec<Vec<i64>>,
    vars: Vec<i64>,
    temps: Vec<f64>,
    accs: Vec<f64>,
    /// Expressions at the current point.
    values: Vec<f64>,
    /// The expressions that one stands on, itself last.
    closures: Vec<Option<std::rc::Rc<[u32]>>>,
    unit: i64,
    in_range: bool,
}

type Done = Result<(), InterpError>;

impl Machine<'_> {
    fn unit(&mut self, schedule: &Schedule) -> Done {
        let kernel = self.kernel;
        match (&kernel.body, &schedule.body) {
            (Body::Nest(nest), BodySchedule::Nest(along)) => self.nest_on_cpu(nest, *along, schedule.lanes),
            (Body::Nest(nest), BodySchedule::Gpu(gpu)) => self.nest_on_gpu(nest, gpu),
            (Body::Contract(c), BodySchedule::Contract(tile)) => self.contract_on_cpu(c, tile),
            (Body::Contract(c), BodySchedule::Gpu(Gpu::Contract(tile))) => self.contract_on_gpu(c, tile),
            (Body::Attend(a), BodySchedule::Attend(tile)) => self.attend_on_cpu(a, tile),
            (Body::TopK(t), BodySchedule::Scalar | BodySchedule::Ranked { .. }) => self.top_k(t, self.unit),
            (Body::TopK(t), BodySchedule::Gpu(Gpu::Points)) => {
                let total = self.product(&t.rows);
                self.block_of_points(total).try_for_each(|row| self.top_k(t, row))
            }
            (Body::GroupRows(g), BodySchedule::Scalar | BodySchedule::Gpu(Gpu::Block)) => self.group_rows(g),
            _ => Err(InterpError::Schedule),
        }
    }

    /// The points of this unit where a block has one for each thread, the last thread's first.
    fn block_of_points(&self, total: i64) -> std::iter::Rev<Range<i64>> {
        let threads = i64::from(GPU_THREADS);
        (self.unit * threads..(self.unit * threads + threads).min(total)).rev()
    }

    fn extent(&self, extent: Extent) -> i64 {
        match extent {
            Extent::Known(n) => n,
            Extent::Dim(d) => self.dims[d.0 as usize],
        }
    }

    fn product(&self, loops: &[Loop]) -> i64 {
        loops.iter().map(|l| self.extent(l.extent)).product()
    }

    /// Sets the variables of loops from a linear index over them.
    fn unfold(&mut self, loops: &[Loop], index: i64) {
        let mut rest = index;
        for l in loops.iter().rev() {
            let extent = self.extent(l.extent).max(1);
            self.vars[l.var.0 as usize] = rest.rem_euclid(extent);
            rest = rest.div_euclid(extent);
        }
    }

    fn read(&self, buffer: BufferId, index: i64) -> Result<f64, InterpError> {
        let number = buffer.0 as usize;
        let data = &self.buffers[number];
        usize::try_from(index).ok().and_then(|i| data.get(i)).copied().ok_or_else(|| InterpError::ReadOutside {
            buffer: buffer.0,
            name: self.kernel.buffers[number].name.clone(),
            index,
            len: data.len(),
        })
    }

    fn write(&mut self, buffer: BufferId, index: i64, value: f64) -> Done {
        let number = buffer.0 as usize;
        let named = || self.kernel.buffers[number].name.clone();
        let len = self.buffers[number].len();
        let Some(at) = usize::try_from(index).ok().filter(|i| *i < len) else {
            return Err(InterpError::WriteOutside { buffer: buffer.0, name: named(), index, len });
        };
        let writer = self.writers[number][at];
        if writer != NOBODY && writer != self.unit {
            let (first, second) = (writer, self.unit);
            return Err(InterpError::TwoWriters { buffer: buffer.0, name: named(), index, first, second });
        }
        self.writers[number][at] = self.unit;
        self.buffers[number][at] = rounded(self.kernel.buffers[number].elem, value);
        Ok(())
    }

    fn store(&mut self, store: &Store, value: f64) -> Done {
        let index = self.index(&store.index)?;
        self.write(store.buffer, index, value)
    }

    fn store_all(&mut self, stores: &[Store]) -> Done {
        stores.iter().try_for_each(|s| {
            let value = self.eval(s.value)?;
            self.store(s, value)
        })
    }

    /// An index outside of expressions: what it reads is evaluated first.
    fn index(&mut self, index: &Index) -> Result<i64, InterpError> {
        let mut read = Vec::new();
        values(index, &mut read);
        for expr in read {
            self.eval(expr)?;
        }
        Ok(self.index_now(index))
    }
}

/// A number as an element type holds it.
pub(crate) fn rounded(elem: Elem, x: f64) -> f64 {
    match elem {
        Elem::F64 => x,
        Elem::F32 => f64::from(x as f32),
        Elem::F16 => to_fraction(x, 10, -14, 65504.0),
        Elem::Bf16 => to_fraction(x, 7, -126, 3.389_531_389_251_535_5e38),
        other => crate::scalar::wrap(other, x),
    }
}

/// Rounded to even with `bits` bits of fraction; beyond `most` (with its own rounding) it is infinite.
fn to_fraction(x: f64, bits: i32, least_exponent: i32, most: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = (x.abs().log2().floor() as i32).max(least_exponent);
    let unit = 2f64.powi(exponent - bits);
    let y = (x / unit).round_ties_even() * unit;
    if y.abs() > most { f64::INFINITY.copysign(x) } else { y }
}
