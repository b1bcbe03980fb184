//! A model on a device: its kernels, and what the load plan made of its weights.
#![allow(unsafe_code, reason = "copies weights to the device and runs the load plan")]

use std::sync::Arc;

use super::driver::{Device, DeviceMemory, Function, Module, Stream};
use super::{CudaError, Exec};
use crate::format::{Manifest, Place, Variant};
use crate::plan::PrepareError;
use crate::weights::BoundParam;

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) device: Arc<Device>,
    pub(super) kernels: Arc<Kernels>,
    kept: Vec<DeviceMemory>,
    params: Vec<Option<DeviceMemory>>,
}

/// A variant's kernels, as they are launched.
#[derive(Debug)]
pub(super) struct Kernels {
    pub launches: Vec<Launched>,
    _module: Module,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Launched {
    pub function: Function,
    pub threads: u32,
    pub shared_bytes: u32,
}

/// What went wrong while loading.
pub(crate) enum LoadFault {
    Device(CudaError),
    Prepare(PrepareError),
    /// The number of the call that met an index out of range.
    Index(u32),
}

impl From<CudaError> for LoadFault {
    fn from(error: CudaError) -> Self {
        Self::Device(error)
    }
}

impl Loaded {
    /// Loads the kernels and weights and runs the load plan.
    pub(crate) fn load(
        manifest: &Manifest,
        variant: &Variant,
        ptx: &str,
        params: &[BoundParam],
    ) -> Result<Self, LoadFault> {
        let device = Device::open(0)?;
        let module = Module::load(&device, ptx)?;
        let mut launches = Vec::new();
        for kernel in &variant.kernels {
            let (threads, shared_bytes) = kernel.launch.as_ref().map_or((1, 0), |l| (l.threads, l.shared_bytes));
            let function = module.function(&kernel.symbol, shared_bytes)?;
            launches.push(Launched { function, threads, shared_bytes });
        }
        let kernels = Arc::new(Kernels { launches, _module: module });
        let mut kept = Vec::new();
        for buffer in &variant.kept {
            kept.push(DeviceMemory::new(&device, buffer.bytes)?);
        }
        let mut stream = Stream::new(&device)?;
        let mut on_device = Vec::new();
        for (param, about) in params.iter().zip(&manifest.params) {
            let bytes = about.tensor.bytes(&[]).unwrap_or(0);
            let memory = DeviceMemory::new(&device, bytes)?;
            // SAFETY: a bound parameter has as many bytes as the manifest says (`weights::bind`).
            let values = unsafe { std::slice::from_raw_parts(param.start(), bytes as usize) };
            // SAFETY: `memory` was made of this size.
            unsafe { stream.upload(memory.address, values) }?;
            on_device.push(Some(memory));
        }
        stream.wait()?;
        let mut loaded = Self { device, kernels, kept, params: on_device };
        let mut exec = Exec::new(&loaded)?;
        let available = |place| loaded.shared(variant, manifest, place).map(|(_, bytes)| bytes);
        exec.prepare(&variant.load, &[], &available).map_err(LoadFault::Prepare)?;
        for (i, buffer) in variant.load.buffers.iter().enumerate() {
            if let Some((base, _)) = loaded.shared(variant, manifest, buffer.place) {
                exec.set_base(i, base);
            }
        }
        // SAFETY: a load plan has kept buffers and parameters only besides its arena (`open`), all of which are set.
        unsafe { exec.run() }?.map_err(LoadFault::Index)?;
        let read =
            |i: usize| variant.entries.iter().any(|p| p.buffers.iter().any(|b| b.place == Place::Param(i as u32)));
        for (i, param) in loaded.params.iter_mut().enumerate() {
            if !read(i) {
                *param = None;
            }
        }
        Ok(loaded)
    }

    /// The address of a kept buffer or a parameter on the device, and its bytes.
    pub(crate) fn shared(&self, variant: &Variant, manifest: &Manifest, place: Place) -> Option<(*mut u8, u64)> {
        let (memory, bytes) = match place {
            Place::Kept(i) => (self.kept.get(i as usize)?, variant.kept.get(i as usize)?.bytes),
            Place::Param(i) => {
                let tensor = &manifest.params.get(i as usize)?.tensor;
                (self.params.get(i as usize)?.as_ref()?, tensor.bytes(&[])?)
            }
            _ => return None,
        };
        // Never followed on this side: a number that travels as the pointers of CPUs do.
        Some((std::ptr::without_provenance_mut(memory.address as usize), bytes))
    }
}
