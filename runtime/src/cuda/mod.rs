//! Runs the plans of the GPU variant. The driver is loaded when it is first asked for; nothing here needs CUDA to build.
//!
//! Weights and what was packed from them stay on the device. Inputs and states go there before a run, results and states come
//! back after it, so that a session looks the same on both sides.

mod driver;
mod exec;
mod loaded;

pub(crate) use exec::Exec;
pub(crate) use loaded::{LoadFault, Loaded};

/// Why a GPU cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    #[error("no CUDA driver on this machine (libcuda was not found)")]
    NoDriver,
    #[error("the CUDA driver on this machine lacks `{function}`: it is too old, or no whole driver")]
    Incomplete { function: &'static str },
    #[error("no CUDA device: {why}")]
    NoDevice { why: String },
    #[error("device {name} has compute capability {major}.{minor}, and 8.0 is needed")]
    TooOld { name: String, major: i32, minor: i32 },
    #[error(
        "the driver is too old: it is for CUDA {driver}, which does not know the artifact's PTX {ptx}; update the driver"
    )]
    OldDriver { ptx: String, driver: String },
    #[error("the driver refuses the artifact's PTX: {why}")]
    Ptx { why: String },
    #[error("no kernel `{symbol}` in the artifact's PTX: {why}")]
    NoKernel { symbol: String, why: String },
    #[error("no device memory for {bytes} bytes: {why}")]
    OutOfMemory { bytes: u64, why: String },
    #[error("while {doing}: {why}")]
    Driver { doing: &'static str, why: String },
}

/// Is there a CUDA driver on this machine?
pub fn is_driver_present() -> bool {
    driver::is_present()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_or_device_the_error_says_so() {
        match driver::Device::open(0) {
            Ok(device) => assert!(is_driver_present(), "{device:?}"),
            Err(CudaError::NoDriver) => assert!(!is_driver_present()),
            Err(error) => assert!(matches!(error, CudaError::NoDevice { .. } | CudaError::TooOld { .. }), "{error}"),
        }
        assert!(driver::Device::open(usize::MAX).is_err());
    }
}
