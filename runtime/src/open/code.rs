//! Loading the code of an artifact that was checked.
#![allow(unsafe_code, reason = "asks the dynamic linker to map code")]

use std::io::Write;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::{Artifact, OpenError};
use crate::format::abi;

/// The code of an artifact, mapped as long as this lives.
pub(crate) struct Code {
    // Dropped in this order. The file stays open while its code is mapped: the dynamic linker knows a library by its path,
    // and `/proc/self/fd/N` of a closed file would name the next one.
    library: Library,
    _file: Backing,
}

impl Code {
    /// Maps the very bytes that were checked.
    pub(crate) fn load(artifact: &Artifact) -> Result<Self, OpenError> {
        let backing = Backing::new(artifact.bytes()).map_err(|e| OpenError::Link { why: e.to_string() })?;
        // SAFETY: the bytes are a whole ELF file without needs and without functions that run on loading (`Elf::parse`),
        // unchanged since they were written (its hash), and nobody else can write to their copy in `backing`.
        let library = unsafe { Library::open(Some(backing.path()), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|e| OpenError::Link { why: e.to_string() })?;
        Ok(Self { library, _file: backing })
    }

    /// The kernel exported as `symbol`. It may be called as long as this `Code` lives.
    pub(crate) fn kernel(&self, symbol: &str) -> Result<abi::Kernel, OpenError> {
        // SAFETY: every function that the manifest names has this type: that is what the format's version stands for.
        let found = unsafe { self.library.get::<abi::Kernel>(symbol.as_bytes()) };
        found.map(|kernel| *kernel).map_err(|e| OpenError::Link { why: e.to_string() })
    }
}

/// A private copy of the file for the dynamic linker.
enum Backing {
    #[cfg(target_os = "linux")]
    Sealed {
        _file: std::fs::File,
        path: String,
    },
    Temporary(tempfile::NamedTempFile),
}

impl Backing {
    fn new(bytes: &[u8]) -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(sealed) = sealed_memory(bytes) {
            return Ok(sealed);
        }
        let mut file = tempfile::Builder::new().prefix("gatec-").suffix(".so").tempfile()?;
        file.write_all(bytes)?;
        Ok(Self::Temporary(file))
    }

    fn path(&self) -> &std::ffi::OsStr {
        match self {
            #[cfg(target_os = "linux")]
            Self::Sealed { path, .. } => path.as_ref(),
            Self::Temporary(file) => file.path().as_os_str(),
        }
    }
}

/// Anonymous memory that looks like a file and that nobody, this process included, can change any more.
#[cfg(target_os = "linux")]
fn sealed_memory(bytes: &[u8]) -> std::io::Result<Backing> {
    use std::os::fd::{AsRawFd, FromRawFd};

    // SAFETY: the name is a terminated string, the flags are valid.
    let fd = unsafe { libc::memfd_create(c"gatec".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `fd` is open and nobody else has it.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: `F_ADD_SEALS` takes an int, on an open descriptor.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let path = format!("/proc/self/fd/{fd}");
    if !std::path::Path::new(&path).exists() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    Ok(Backing::Sealed { _file: file, path })
}
