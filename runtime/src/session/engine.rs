//! What runs a plan: this machine's processor or a GPU.
#![allow(unsafe_code, reason = "hands on a promise about memory")]

use super::counts::Counts;
use super::walk::Fault;
use super::watch::{CallTime, Watch};
use super::{Model, RunError, exec};
use crate::format::{Place, Plan};
use crate::plan::{PrepareError, Program};

#[derive(Debug)]
pub(super) enum Engine {
    Cpu(Box<exec::Exec>),
    #[cfg(feature = "cuda")]
    Cuda(Box<crate::cuda::Exec>),
}

/// Why a run ended early.
pub(super) enum Stopped {
    /// The call of that number, in the plan, met an index out of range.
    Index(Box<Fault>),
    #[cfg(feature = "cuda")]
    Device(crate::cuda::CudaError),
}

impl Stopped {
    /// The call that met an index out of range, or the error of a device.
    pub fn index(self) -> Result<Box<Fault>, RunError> {
        match self {
            Self::Index(fault) => Ok(fault),
            #[cfg(feature = "cuda")]
            Self::Device(error) => Err(RunError::Device { message: error.to_string() }),
        }
    }
}

impl Engine {
    /// For the variant that `model` runs.
    pub fn new(model: &Model) -> Result<Self, RunError> {
        #[cfg(feature = "cuda")]
        if let Some(loaded) = model.cuda() {
            let exec = crate::cuda::Exec::new(loaded).map_err(|e| RunError::Device { message: e.to_string() })?;
            return Ok(Self::Cuda(Box::new(exec)));
        }
        let _ = model;
        Ok(Self::Cpu(Box::new(exec::Exec::new())))
    }

    pub fn prepare(
        &mut self,
        model: &Model,
        plan: &Plan,
        symbols: &[i64],
        available: &dyn Fn(Place) -> Option<u64>,
        threads: usize,
    ) -> Result<(), PrepareError> {
        match self {
            Self::Cpu(exec) => exec.prepare(plan, model.functions(), symbols, available, threads),
            #[cfg(feature = "cuda")]
            Self::Cuda(exec) => exec.prepare(plan, symbols, available),
        }
    }

    pub fn program(&self) -> &Program {
        match self {
            Self::Cpu(exec) => &exec.program,
            #[cfg(feature = "cuda")]
            Self::Cuda(exec) => &exec.program,
        }
    }

    /// Says where a buffer stands; kept buffers and parameters where [`Model::shared`] has them.
    pub fn set_base(&mut self, buffer: usize, base: *mut u8) {
        match self {
            Self::Cpu(exec) => exec.set_base(buffer, base),
            #[cfg(feature = "cuda")]
            Self::Cuda(exec) => exec.set_base(buffer, base),
        }
    }

    /// Runs the program, the plan of the entry of that number.
    ///
    /// # Safety
    /// All bases are set, to memory that nobody else writes meanwhile, nor reads where the plan writes.
    pub unsafe fn run(&mut self, model: &Model, watch: &mut Watch, entry: usize) -> Result<(), Stopped> {
        match self {
            // SAFETY: the caller's promise.
            Self::Cpu(exec) => unsafe { exec.run(model.pool(), watch, entry) }.map_err(Stopped::Index),
            #[cfg(feature = "cuda")]
            // SAFETY: the caller's promise.
            Self::Cuda(exec) => unsafe { exec.run() }
                .map_err(Stopped::Device)?
                .map_err(|call| Stopped::Index(Box::new(Fault { call, ..Fault::NONE }))),
        }
    }

    /// Times by the number of a call in the plan. On a GPU, none: the host does not see them.
    pub fn times(&self) -> &[CallTime] {
        match self {
            Self::Cpu(exec) => exec.times(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => &[],
        }
    }

    /// Where rows went, if that was counted. On a GPU it is not.
    pub fn counts(&self) -> Option<&Counts> {
        match self {
            Self::Cpu(exec) => Some(exec.counts()),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => None,
        }
    }

    pub fn clear_counts(&mut self) {
        match self {
            Self::Cpu(exec) => exec.clear_counts(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => {}
        }
    }

    pub fn clear_times(&mut self) {
        match self {
            Self::Cpu(exec) => exec.clear_times(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => {}
        }
    }
}
