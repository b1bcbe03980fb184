//! The GPU variant: what is said where there is no GPU, and a kernel written by hand where there is one.

mod fixture;

use fixture::{arg, f32s, known, safetensors};
use gatec_runtime::format::*;
use gatec_runtime::{LoadError, LoadOptions, Model, Weights};

/// `y = 2 w x` over `n` elements, by the kernel in `twice.ptx`.
fn manifest() -> Manifest {
    let n = || SizeExpr::Symbol(0);
    let elements =
        |name: &str| Tensor { name: name.into(), elem: Elem::F32, axes: vec![Axis { name: "n".into(), size: n() }] };
    let buffer = |name: &str, place, bytes| Buffer { name: name.into(), place, bytes };
    let bytes = || SizeExpr::Mul(vec![known(4), n()]);
    let launch = Some(Launch { threads: 32, shared_bytes: 0 });
    let call = Call {
        kernel: 0,
        args: vec![arg(0), arg(1), arg(2)],
        dims: vec![n()],
        units: SizeExpr::DivUp(Box::new(n()), 32),
        unit_ns: 1.0,
        scratch_bytes: known(0),
        flops: known(0),
        lines: vec![],
        routing: None,
        checks: Vec::new(),
    };
    let plan = Plan {
        buffers: vec![
            buffer("w", Place::Param(0), known(4)),
            buffer("x", Place::Input(0), bytes()),
            buffer("y", Place::Output(0), bytes()),
        ],
        steps: vec![Step::Call(call)],
    };
    Manifest {
        version: VERSION,
        compiler: "by hand".into(),
        name: "twice".into(),
        doc: String::new(),
        symbols: vec![Symbol { name: "n".into(), bound: None }],
        params: vec![Param {
            tensor: Tensor { name: "w".into(), elem: Elem::F32, axes: vec![] },
            parts: vec!["w".into()],
            part_shape: vec![],
            default: None,
        }],
        states: vec![],
        entries: vec![Entry {
            indices: Vec::new(),
            needs: Vec::new(),
            defaults: Vec::new(),
            at_most: Vec::new(),
            name: "twice".into(),
            inputs: vec![elements("x")],
            outputs: vec![elements("y")],
            reads: vec![],
            sets: vec![],
        }],
        variants: vec![Variant {
            isa: Isa::Sm80,
            kernels: vec![Kernel { symbol: "twice".into(), label: "twice".into(), args: 3, dims: 1, launch }],
            kept: vec![],
            load: Plan::default(),
            entries: vec![plan],
        }],
        code_hash: String::new(),
    }
}

fn load() -> Result<Model, LoadError> {
    let weights = Weights::from_bytes(safetensors(&[("w", "F32", &[], &f32s(&[3.0]))])).unwrap();
    Model::from_bytes(fixture::artifact(&manifest()), weights, &LoadOptions::default().threads(1).isa(Isa::Sm80))
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_runtime_without_cuda_says_so() {
    let error = load().unwrap_err().to_string();
    assert_eq!(error, "sm_80 was asked for, but this runtime was built without the feature `cuda` [R0105]");
}

#[cfg(feature = "cuda")]
#[test]
fn a_kernel_runs_where_there_is_a_gpu_and_an_error_says_where_there_is_none() {
    let model = match load() {
        Ok(model) => model,
        Err(error) if gatec_runtime::cuda::is_driver_present() => panic!("{error}"),
        Err(error) => {
            return assert_eq!(
                error.to_string(),
                "the GPU: no CUDA driver on this machine (libcuda was not found) [R0403]"
            );
        }
    };
    let mut session = model.session("twice").unwrap();
    for n in [1usize, 32, 1000] {
        let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let outputs = session.run(&[("x", (&x).into())]).unwrap();
        assert!(outputs.slice::<f32>("y").unwrap().iter().zip(&x).all(|(y, x)| *y == 6.0 * x));
    }
}

#[test]
fn a_cpu_is_not_asked_to_run_gpu_code() {
    let error =
        Model::from_bytes(fixture::artifact(&manifest()), Weights::default(), &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("artifact with code for sm_80; this processor runs "), "{error}");
}

/// Loads and runs; what came of it. A process of its own can have a driver of its own.
#[cfg(feature = "cuda")]
#[test]
fn loading_and_running_give_results_or_errors() {
    let done = load().map_err(|e| e.to_string()).and_then(|model| {
        let mut session = model.session("twice").map_err(|e| e.to_string())?;
        let x = [1.0f32; 32];
        session.run(&[("x", x[..].into())]).map(drop).map_err(|e| e.to_string())
    });
    let said = done.err().unwrap_or("nothing went wrong".into());
    assert!(!said.is_empty());
    // For the test below.
    std::fs::write(std::env::var("GATEC_SAID").unwrap_or("/dev/null".into()), said).unwrap();
}

/// With a driver that goes wrong at one place each time.
#[cfg(feature = "cuda")]
#[test]
fn what_goes_wrong_with_a_driver_is_an_error_that_says_so() {
    use std::process::Command;

    let dir = tempfile::tempdir().unwrap();
    for (folder, flag) in [("whole", "-DWHOLE"), ("part", "-DINCOMPLETE")] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join("driver.c"), include_str!("driver.c")).unwrap();
        let library = dir.path().join(folder).join("libcuda.so");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-w", flag, "-o"]).arg(&library).arg(dir.path().join("driver.c"));
        assert!(compile.status().unwrap().success());
    }
    let said = |folder: &str, fail: &str| {
        let report = dir.path().join("said");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "loading_and_running_give_results_or_errors"]);
        command.env("LD_LIBRARY_PATH", dir.path().join(folder)).env("FAIL", fail).env("GATEC_SAID", &report);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{folder}, {fail}: {}", String::from_utf8_lossy(&out.stdout));
        std::fs::read_to_string(report).unwrap()
    };
    let cases = [
        ("whole", "init", "the GPU: no CUDA device: a test (CUDA_ERROR) [R0403]"),
        ("whole", "old device", "the GPU: device Test device has compute capability 7.7, and 8.0 is needed [R0403]"),
        (
            "whole",
            "ptx version",
            "the GPU: the driver is too old: it is for CUDA 10.2, which does not know the artifact's PTX 7.0; update the driver [R0403]",
        ),
        ("whole", "ptx", "the GPU: the driver refuses the artifact's PTX: a test (CUDA_ERROR) [R0403]"),
        ("whole", "kernel", "the GPU: no kernel `twice` in the artifact's PTX: a test (CUDA_ERROR) [R0403]"),
        ("whole", "run", "the GPU: while running kernels: a test (CUDA_ERROR) [R0403]"),
        (
            "part",
            "",
            "the GPU: the CUDA driver on this machine lacks `cuStreamSynchronize`: it is too old, or no whole driver [R0403]",
        ),
    ];
    for (folder, fail, want) in cases {
        assert_eq!(said(folder, fail), want, "{folder}, {fail}");
    }
    let memory = said("whole", "memory");
    assert!(
        memory.starts_with("the GPU: no device memory for ")
            && memory.ends_with(": out of memory (CUDA_ERROR_OUT_OF_MEMORY) [R0403]"),
        "{memory}"
    );
    assert_eq!(said("whole", ""), "nothing went wrong");
}
