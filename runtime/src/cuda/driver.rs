//! The driver's calls that are needed, with owners for what it hands out.
#![allow(unsafe_code, reason = "calls the CUDA driver")]

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::CudaError;

pub(super) fn is_present() -> bool {
    // SAFETY: loads the driver's library, whose start-up code is the vendor's. Asked first: other calls panic without it.
    unsafe { sys::is_culib_present() }
}

fn failed(doing: &'static str) -> impl Fn(result::DriverError) -> CudaError {
    move |error| CudaError::Driver { doing, why: describe(error) }
}

fn describe(error: result::DriverError) -> String {
    let name = error.error_name().map(|n| n.to_string_lossy().into_owned());
    let text = error.error_string().map(|t| t.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{text} ({name})"),
        _ => format!("error {:?}", error.0),
    }
}

/// Every function of the driver that is called from here: calls of one that is missing would panic.
const NEEDED: [&str; 25] = [
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuMemsetD8_v2",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
];

/// A function that this driver lacks.
fn missing() -> Option<&'static str> {
    // SAFETY: the driver's library is there (`is_present`); it stays loaded.
    let library = unsafe { sys::culib() };
    // SAFETY: looks for a name; the address is not used.
    let has = |name: &&str| unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_ok();
    NEEDED.iter().find(|name| !has(name)).copied()
}

/// The version of CUDA that the driver is for: 12080 is 12.8.
fn version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: writes one number; may be called at any time.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().ok()?;
    Some(version)
}

/// Why PTX was refused.
fn refusal(error: result::DriverError, ptx: &str) -> CudaError {
    if error.0 != sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION {
        return CudaError::Ptx { why: describe(error) };
    }
    let asked = ptx.lines().find_map(|line| line.trim().strip_prefix(".version"));
    let driver = version().map_or("an unknown version".into(), |v| format!("{}.{}", v / 1000, v % 1000 / 10));
    CudaError::OldDriver { ptx: asked.unwrap_or_default().trim().into(), driver }
}

/// A device with its primary context.
#[derive(Debug)]
pub(super) struct Device {
    device: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: a context may be made current on any thread; the driver does its own locking.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    pub(super) fn open(ordinal: usize) -> Result<Arc<Self>, CudaError> {
        if !is_present() {
            return Err(CudaError::NoDriver);
        }
        if let Some(function) = missing() {
            return Err(CudaError::Incomplete { function });
        }
        let none = |error| CudaError::NoDevice { why: describe(error) };
        result::init().map_err(none)?;
        let count = result::device::get_count().map_err(none)?;
        let number = i32::try_from(ordinal).ok().filter(|n| *n < count);
        let number = number.ok_or_else(|| CudaError::NoDevice { why: format!("{ordinal} of {count}") })?;
        let device = result::device::get(number).map_err(none)?;
        let attribute = |which| {
            // SAFETY: `device` came from the driver.
            unsafe { result::device::get_attribute(device, which) }.map_err(none)
        };
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if major < 8 {
            let name = result::device::get_name(device).map_err(none)?;
            return Err(CudaError::TooOld { name, major, minor });
        }
        // SAFETY: `device` came from the driver; `drop` releases the context.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(none)?;
        Ok(Arc::new(Self { device, context }))
    }

    /// Makes the calls of this thread go to this device.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("choosing the device"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once, by `open`. A failure leaves the context to the end of the process.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Loaded PTX.
#[derive(Debug)]
pub(super) struct Module {
    module: sys::CUmodule,
    device: Arc<Device>,
}

// SAFETY: a module may be used from any thread whose context is its own.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

/// A kernel; valid as long as its module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function(sys::CUfunction);

// SAFETY: a handle, used with the module's context.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Module {
    pub(super) fn load(device: &Arc<Device>, ptx: &str) -> Result<Self, CudaError> {
        device.enter()?;
        let text = CString::new(ptx).map_err(|e| CudaError::Ptx { why: e.to_string() })?;
        // SAFETY: a terminated string of PTX; the driver compiles it and keeps nothing of it.
        let module = unsafe { result::module::load_data(text.as_ptr().cast()) };
        let module = module.map_err(|e| refusal(e, ptx))?;
        Ok(Self { module, device: device.clone() })
    }

    /// The kernel `symbol`, allowed to use `shared_bytes` of dynamic shared memory.
    pub(super) fn function(&self, symbol: &str, shared_bytes: u32) -> Result<Function, CudaError> {
        let no = |why: String| CudaError::NoKernel { symbol: symbol.into(), why };
        let name = CString::new(symbol).map_err(|e| no(e.to_string()))?;
        self.device.enter()?;
        // SAFETY: the module is loaded as long as `self` lives.
        let function = unsafe { result::module::get_function(self.module, name) }.map_err(|e| no(describe(e)))?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(shared_bytes).map_err(|e| no(e.to_string()))?;
        // SAFETY: `function` came from the driver.
        unsafe { result::function::set_function_attribute(function, attribute, bytes) }.map_err(|e| no(describe(e)))?;
        Ok(Function(function))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: loaded once, by `load`; functions of it are used by owners of the module only.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}

/// Memory on a device.
#[derive(Debug)]
pub(super) struct DeviceMemory {
    pub address: u64,
    bytes: u64,
    device: Arc<Device>,
}

impl DeviceMemory {
    pub(super) fn new(device: &Arc<Device>, bytes: u64) -> Result<Self, CudaError> {
        device.enter()?;
        let refused = |why| CudaError::OutOfMemory { bytes, why };
        // Kernels may read a vector beyond the end; and the driver gives no memory of size 0.
        let size = bytes.checked_add(crate::memory::TAIL as u64).and_then(|n| usize::try_from(n).ok());
        let size = size.ok_or_else(|| refused("more than an address space".into()))?;
        // SAFETY: asks for memory; `drop` frees it.
        let address = unsafe { result::malloc_sync(size) }.map_err(|e| refused(describe(e)))?;
        let memory = Self { address, bytes, device: device.clone() };
        // SAFETY: the range was just allocated.
        unsafe { result::memset_d8_sync(address, 0, size) }.map_err(failed("clearing memory"))?;
        Ok(memory)
    }

    /// Makes sure of `bytes`; what was there is lost if that needs new memory.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<(), CudaError> {
        if bytes > self.bytes {
            let device = self.device.clone();
            *self = Self::new(&device, bytes)?;
        }
        Ok(())
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated once, by `new`; owners synchronise their stream before they let go.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// A queue of work for a device.
#[derive(Debug)]
pub(super) struct Stream {
    stream: sys::CUstream,
    pub device: Arc<Device>,
}

// SAFETY: a stream may be used from any thread whose context is its own, by one at a time (`&mut self`).
unsafe impl Send for Stream {}
// SAFETY: nothing is done through `&Stream`.
unsafe impl Sync for Stream {}

impl Stream {
    pub(super) fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        device.enter()?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed("making a stream"))?;
        Ok(Self { stream, device: device.clone() })
    }

    /// # Safety
    /// `to` has as many bytes, on this device.
    pub(super) unsafe fn upload(&mut self, to: u64, from: &[u8]) -> Result<(), CudaError> {
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's promise; from pageable memory the driver copies before it returns.
        unsafe { result::memcpy_htod_async(to, from, self.stream) }.map_err(failed("copying to the device"))
    }

    /// Copies, and waits for all work before.
    ///
    /// # Safety
    /// `from` has as many bytes, on this device.
    pub(super) unsafe fn download(&mut self, to: &mut [u8], from: u64) -> Result<(), CudaError> {
        if !to.is_empty() {
            // SAFETY: the caller's promise; `to` is not let go before the copy is done.
            unsafe { result::memcpy_dtoh_async(to, from, self.stream) }.map_err(failed("copying from the device"))?;
        }
        self.wait()
    }

    /// # Safety
    /// `address` has as many bytes, on this device.
    pub(super) unsafe fn clear(&mut self, address: u64, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream) }.map_err(failed("clearing memory"))
    }

    pub(super) fn wait(&mut self) -> Result<(), CudaError> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("running kernels"))
    }

    /// # Safety
    /// The parameters are what `function` takes; addresses among them are live until the stream is waited for.
    pub(super) unsafe fn launch(
        &mut self,
        function: Function,
        blocks: u32,
        threads: u32,
        shared_bytes: u32,
        parameters: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise; the driver copies the parameters before it returns.
        unsafe {
            result::launch_kernel(function.0, (blocks, 1, 1), (threads, 1, 1), shared_bytes, self.stream, parameters)
        }
        .map_err(failed("launching a kernel"))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            let _ = self.wait();
            // SAFETY: made once, by `new`.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}
