//! Objects to a shared object, by the linker that is at hand.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use super::ArtifactError;

/// A linker and the form of its options.
struct Linker {
    program: &'static str,
    /// A compiler driver, which passes options on with `-Wl,`.
    driver: bool,
}

/// In the order in which they are tried. The versions are those of the LLVMs that gatec builds with: where libLLVM is, lld is a
/// small package away.
const LINKERS: [Linker; 6] = [
    Linker { program: "ld.lld-22", driver: false },
    Linker { program: "ld.lld-21", driver: false },
    Linker { program: "ld.lld-20", driver: false },
    Linker { program: "ld.lld-19", driver: false },
    Linker { program: "ld.lld", driver: false },
    Linker { program: "cc", driver: true },
];

/// All symbols bound when loading, no executable stack, and nothing that differs from run to run. Names of kernels stay (they
/// are exported), other symbols go.
const OPTIONS: [&str; 6] = ["-z", "now", "-z", "noexecstack", "--hash-style=gnu", "--build-id=none"];

/// Links named objects.
pub(super) fn shared(objects: &[(&str, &[u8])]) -> Result<Vec<u8>, ArtifactError> {
    let dir = tempfile::Builder::new()
        .prefix("gatec-")
        .tempdir()
        .map_err(|source| at(Path::new("a temporary folder"), source))?;
    for (name, bytes) in objects {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).map_err(|source| at(&path, source))?;
    }
    for linker in &LINKERS {
        let mut command = Command::new(linker.program);
        // Names without a folder: none can get into the file.
        command.current_dir(dir.path()).args(["-shared", "-s", "-o", "out.so"]);
        if linker.driver {
            command.args(["-nostdlib", &format!("-Wl,{}", OPTIONS.join(","))]);
        } else {
            command.args(OPTIONS);
        }
        command.args(objects.iter().map(|(name, _)| name));
        let done = match command.output() {
            Ok(done) => done,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(ArtifactError::Link { linker: linker.program, message: error.to_string() }),
        };
        if !done.status.success() {
            let message = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            return Err(ArtifactError::Link { linker: linker.program, message });
        }
        let path = dir.path().join("out.so");
        return std::fs::read(&path).map_err(|source| at(&path, source));
    }
    Err(ArtifactError::NoLinker { tried: LINKERS.iter().map(|l| l.program).collect() })
}

fn at(path: &Path, source: std::io::Error) -> ArtifactError {
    ArtifactError::Write { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused_with_the_linkers_words() {
        let error = shared(&[("kernels.o", b"not an object")]).unwrap_err();
        assert!(matches!(&error, ArtifactError::Link { message, .. } if message.contains("kernels.o")), "{error}");
    }
}
