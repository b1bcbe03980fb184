//! What is said where nothing can be run: no feature, no driver, a driver that goes wrong.

#[path = "../../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::path::Path;
use std::process::Command;

use gatec_runtime::format::{Isa, Launch, Variant};

/// Exit code, what was printed, what was reported as an error.
fn check(folder: &Path, options: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_gatec-check")).args(options).arg(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

/// A bundle of one case: `y = 2 w x`, by the kernel in the runtime's tests.
fn bundle() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut manifest = fixture::manifest();
    let mut gpu = Variant { isa: Isa::Sm80, ..manifest.variants[0].clone() };
    gpu.kernels.iter_mut().for_each(|k| k.launch = Some(Launch { threads: 32, shared_bytes: 0 }));
    manifest.variants.push(gpu);
    std::fs::write(at("twice.so"), fixture::artifact(&manifest)).unwrap();
    let (w, x, y) = (fixture::f32s(&[1.0, 2.0]), fixture::f32s(&[1.0; 4]), fixture::f32s(&[2.0, 4.0, 6.0, 8.0]));
    let more = fixture::f32s(&[3.0, 4.0]);
    let weights = fixture::safetensors(&[("w.0", "F32", &[2], &w), ("w.1", "F32", &[2], &more)]);
    std::fs::write(at("weights.safetensors"), weights).unwrap();
    let values = fixture::safetensors(&[("in.x", "F32", &[1, 4], &x), ("out.y", "F32", &[1, 4], &y)]);
    std::fs::write(at("values.safetensors"), values).unwrap();
    std::fs::write(at("cases"), "scaled twice.so weights.safetensors scale values.safetensors 1e-6\n").unwrap();
    folder
}

#[test]
fn a_bundle_runs_on_this_processor() {
    let folder = bundle();
    let (code, said, error) = check(folder.path(), &["--cpu"]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(said.contains("ok,") && said.ends_with("1 of 1 runs agree with their golden values"), "{said}");
    let cases = std::fs::read_to_string(folder.path().join("cases")).unwrap();
    // Other golden values.
    let wrong = fixture::f32s(&[2.0, 4.0, 6.0, 9.0]);
    let x = fixture::f32s(&[1.0; 4]);
    let values = fixture::safetensors(&[("in.x", "F32", &[1, 4], &x), ("out.y", "F32", &[1, 4], &wrong)]);
    std::fs::write(folder.path().join("values.safetensors"), values).unwrap();
    let (code, said, _) = check(folder.path(), &["--cpu"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("WRONG, off by 1.1e-1") && said.ends_with("0 of 1 runs agree with their golden values"),
        "{said}"
    );
    // Another entry.
    std::fs::write(folder.path().join("cases"), cases.replace(" scale ", " scales ")).unwrap();
    let (code, said, _) = check(folder.path(), &["--cpu"]);
    assert_eq!(code, 1);
    assert!(said.contains("FAILED"), "{said}");
}

/// Where no GPU can be used, it says why and runs nothing.
#[test]
fn without_a_gpu_nothing_runs_and_the_error_says_why() {
    let folder = bundle();
    let (code, said, error) = check(folder.path(), &[]);
    assert_eq!((code, said.as_str()), (2, ""));
    assert!(error.starts_with("error: scaled: "), "{error}");
    #[cfg(not(feature = "cuda"))]
    assert!(error.ends_with("this runtime was built without the feature `cuda` [R0105]"), "{error}");
}

#[test]
fn an_empty_folder_and_a_broken_list_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) = check(folder.path(), &[]);
    assert_eq!(code, 2);
    assert!(error.contains("cases: No such file"), "{error}");
    std::fs::write(folder.path().join("cases"), "a b c\n").unwrap();
    let (code, _, error) = check(folder.path(), &[]);
    assert_eq!((code, error.as_str()), (2, "error: cases: `a b c` is not six words"));
}
