//! Runs a program on a device.
#![allow(unsafe_code, reason = "launches kernels over memory that it owns or was told of")]

use std::ffi::c_void;
use std::sync::Arc;

use super::driver::{Device, DeviceMemory, Stream};
use super::loaded::Kernels;
use super::{CudaError, Loaded};
use crate::format::abi::GPU_EXTRA_PARAMETERS;
use crate::format::{Place, Plan};
use crate::memory::ALIGN;
use crate::plan::{MAX_LOOP_DEPTH, Op, PrepareError, Program};

/// Blocks of one launch where each wants scratch of its own: more units take more launches.
const SCRATCH_BLOCKS: i64 = 1 << 12;
/// Blocks of one launch at most, by the hardware's limit on the first dimension of a grid.
const MAX_BLOCKS: i64 = (1 << 31) - 1;

/// A program with its memory on a device.
#[derive(Debug)]
pub(crate) struct Exec {
    pub program: Program,
    stream: Stream,
    kernels: Arc<Kernels>,
    arena: DeviceMemory,
    scratch: DeviceMemory,
    /// A flag for each call of the plan.
    failed: DeviceMemory,
    flags: Vec<u8>,
    /// On the device: where each buffer starts. Those at the boundary have a mirror.
    bases: Vec<u64>,
    mirrors: Vec<Option<DeviceMemory>>,
    /// On the host: where those at the boundary stand.
    hosts: Vec<*mut u8>,
    values: Vec<u64>,
    device: Arc<Device>,
}

// SAFETY: `hosts` are set before each run by an owner who keeps them alive; nothing has an affinity to a thread.
unsafe impl Send for Exec {}
// SAFETY: nothing is reached through `&Exec`.
unsafe impl Sync for Exec {}

impl Exec {
    pub(crate) fn new(model: &Loaded) -> Result<Self, CudaError> {
        let device = &model.device;
        Ok(Self {
            program: Program::default(),
            stream: Stream::new(device)?,
            kernels: model.kernels.clone(),
            arena: DeviceMemory::new(device, 0)?,
            scratch: DeviceMemory::new(device, 0)?,
            failed: DeviceMemory::new(device, 0)?,
            flags: Vec::new(),
            bases: Vec::new(),
            mirrors: Vec::new(),
            hosts: Vec::new(),
            values: Vec::new(),
            device: device.clone(),
        })
    }

    /// Evaluates `plan` for `symbols` and makes memory for it on the device.
    pub(crate) fn prepare(
        &mut self,
        plan: &Plan,
        symbols: &[i64],
        available: &dyn Fn(Place) -> Option<u64>,
    ) -> Result<(), PrepareError> {
        self.program.evaluate(plan, symbols, available).map_err(PrepareError::Size)?;
        self.allocate().map_err(PrepareError::Device)
    }

    fn allocate(&mut self) -> Result<(), CudaError> {
        let program = &self.program;
        let blocks = program.calls.iter().map(|c| c.units.min(SCRATCH_BLOCKS)).max().unwrap_or(0) as u64;
        let scratch = scratch_stride(program).saturating_mul(blocks);
        self.arena.reserve(program.arena_bytes)?;
        self.scratch.reserve(scratch)?;
        self.flags.clear();
        self.flags.resize(4 * program.calls.iter().map(|c| c.number as usize + 1).max().unwrap_or(0), 0);
        self.failed.reserve(self.flags.len() as u64)?;
        let buffers = program.buffers.len();
        self.hosts.clear();
        self.hosts.resize(buffers, std::ptr::null_mut());
        self.mirrors.resize_with(buffers, || None);
        self.bases.clear();
        for (at, mirror) in program.buffers.iter().zip(&mut self.mirrors) {
            let base = match at.place {
                Place::Arena { .. } => self.arena.address + at.offset,
                Place::Kept(_) | Place::Param(_) => 0,
                Place::Input(_) | Place::Output(_) | Place::State(_) | Place::NextState(_) => match mirror {
                    Some(memory) => {
                        memory.reserve(at.bytes)?;
                        memory.address
                    }
                    None => mirror.insert(DeviceMemory::new(&self.device, at.bytes)?).address,
                },
            };
            self.bases.push(base);
        }
        Ok(())
    }

    /// Says where a buffer stands: on the device for kept buffers and parameters, here for those at the boundary.
    pub(crate) fn set_base(&mut self, buffer: usize, base: *mut u8) {
        match self.program.buffers[buffer].place {
            Place::Kept(_) | Place::Param(_) => self.bases[buffer] = base.addr() as u64,
            _ => self.hosts[buffer] = base,
        }
    }

    /// Runs the program. The number of the first call that met an index out of range, if one did.
    ///
    /// # Safety
    /// All bases are set, to memory that nobody else writes meanwhile, nor reads where the plan writes.
    pub(crate) unsafe fn run(&mut self) -> Result<Result<(), u32>, CudaError> {
        self.device.enter()?;
        if !self.flags.is_empty() {
            // SAFETY: `failed` has this size (`allocate`).
            unsafe { self.stream.clear(self.failed.address, self.flags.len()) }?;
        }
        for (i, at) in self.program.buffers.iter().enumerate() {
            if matches!(at.place, Place::Input(_) | Place::State(_)) {
                // SAFETY: the caller's promise: the buffer is set, and has the bytes that `prepare` compared.
                let values = unsafe { std::slice::from_raw_parts(self.hosts[i], at.bytes as usize) };
                // SAFETY: the mirror has as many (`allocate`).
                unsafe { self.stream.upload(self.bases[i], values) }?;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.walk() }?;
        // SAFETY: `failed` has this size.
        unsafe { self.stream.download(&mut self.flags, self.failed.address) }?;
        if let Some(number) = self.flags.chunks_exact(4).position(|flag| flag != [0; 4]) {
            return Ok(Err(number as u32));
        }
        for (i, at) in self.program.buffers.iter().enumerate() {
            if matches!(at.place, Place::Output(_) | Place::NextState(_)) {
                // SAFETY: the caller's promise, as above; nobody else reads it meanwhile.
                let values = unsafe { std::slice::from_raw_parts_mut(self.hosts[i], at.bytes as usize) };
                // SAFETY: the mirror has as many.
                unsafe { self.stream.download(values, self.bases[i]) }?;
            }
        }
        Ok(Ok(()))
    }

    /// # Safety
    /// As [`Exec::run`].
    unsafe fn walk(&mut self) -> Result<(), CudaError> {
        // The first operation of the body, iterations left, step, parity.
        let mut frames = [(0usize, 0i64, 0i64, false); MAX_LOOP_DEPTH];
        let mut numbers = [0i64; MAX_LOOP_DEPTH];
        let (mut at, mut depth) = (0, 0);
        while let Some(op) = self.program.ops.get(at).copied() {
            at += 1;
            match op {
                Op::Loop { count, reverse } => {
                    let (first, step) = if reverse { (count - 1, -1) } else { (0, 1) };
                    frames[depth] = (at, count - 1, step, false);
                    numbers[depth] = first;
                    depth += 1;
                }
                Op::End(_) => {
                    let (start, left, step, odd) = &mut frames[depth - 1];
                    if *left > 0 {
                        (*left, *odd) = (*left - 1, !*odd);
                        numbers[depth - 1] += *step;
                        at = *start;
                    } else {
                        depth -= 1;
                    }
                }
                Op::When { arg, is, end } => {
                    let odd = depth > 0 && frames[depth - 1].3;
                    let flag = &self.program.args[arg as usize];
                    let by = self.program.displacement(flag, &numbers[..depth], odd);
                    let from = self.bases[flag.buffer as usize].wrapping_add_signed(by);
                    let mut found = [0];
                    // SAFETY: a byte stands there (`Program::arg`); what runs before on the stream has written it.
                    unsafe { self.stream.download(&mut found, from) }?;
                    if (found != [0]) != is {
                        at = end as usize;
                    }
                }
                Op::Call(number) => {
                    let odd = depth > 0 && frames[depth - 1].3;
                    // SAFETY: the caller's promise.
                    unsafe { self.call(number as usize, &numbers[..depth], odd) }?;
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`Exec::run`].
    unsafe fn call(&mut self, number: usize, numbers: &[i64], odd: bool) -> Result<(), CudaError> {
        let program = &self.program;
        let call = &program.calls[number];
        self.values.clear();
        for arg in &program.args[call.args.start as usize..call.args.end as usize] {
            let by = program.displacement(arg, numbers, odd);
            self.values.push(self.bases[arg.buffer as usize].wrapping_add_signed(by));
        }
        let dims = &program.dims[call.dims.start as usize..call.dims.end as usize];
        self.values.extend(dims.iter().map(|dim| *dim as u64));
        let begin_at = self.values.len();
        self.values.extend([0, self.scratch.address, self.failed.address + 4 * u64::from(call.number)]);
        debug_assert_eq!(self.values.len(), begin_at + GPU_EXTRA_PARAMETERS);
        let launched = self.kernels.launches[call.kernel as usize];
        let most = if program.scratch_bytes > 0 { SCRATCH_BLOCKS } else { MAX_BLOCKS };
        let mut begin = 0;
        while begin < call.units {
            let blocks = (call.units - begin).min(most);
            self.values[begin_at] = begin as u64;
            let mut parameters: Vec<*mut c_void> =
                self.values.iter_mut().map(|v| std::ptr::from_mut(v).cast()).collect();
            // SAFETY: the numbers of buffers and sizes are the kernel's (`open`), each address lies in its buffer
            // (`Program::evaluate`), and `run` waits for the stream before memory is let go.
            unsafe {
                self.stream.launch(
                    launched.function,
                    blocks as u32,
                    launched.threads,
                    launched.shared_bytes,
                    &mut parameters,
                )
            }?;
            begin += blocks;
        }
        Ok(())
    }
}

/// Scratch of one block of the hungriest call.
fn scratch_stride(program: &Program) -> u64 {
    program.scratch_bytes.next_multiple_of(ALIGN as u64)
}
