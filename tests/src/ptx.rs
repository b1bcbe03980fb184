//! GPU kernels: every class in every form that schedules give it, and all kernels of the examples, go through NVIDIA's assembler
//! for sm_80 and sm_90.
#![allow(clippy::print_stderr, reason = "says what was not covered")]

use std::path::{Path, PathBuf};
use std::process::Command;

use gatec::BuildOptions;
use gatec::codegen::Scheduled;
use gatec::codegen::ptx::compile;
use gatec::kernel::Body;
use gatec::kernel::text::parse;
use gatec::kernel::verify::verify;
use gatec::plan;
use gatec::schedule::{BodySchedule, Gpu, Math, schedule};
use gatec_runtime::format::Isa;
use gatec_tests::elements;
use gatec_tests::example::Example;

fn scheduled(symbol: &str, text: &str, fast: bool) -> Scheduled {
    let kernel = parse(text).unwrap_or_else(|e| panic!("{symbol}: {e}"));
    verify(&kernel).unwrap_or_else(|faults| panic!("{symbol}: {faults:?}"));
    let chosen = schedule(&kernel, Isa::Sm80);
    let chosen = if fast { chosen.fast(&kernel) } else { chosen };
    (symbol.to_owned(), kernel, chosen)
}

/// A contraction of `elem` with that many groups of accumulators, columns and experts (0: not grouped).
fn contraction(elem: &str, groups: u32, cols: &str, experts: u32) -> String {
    let accs: String = (0..groups).map(|g| format!("%{} = acc {g}\n", g + 1)).collect();
    let mut next = groups + 1;
    let mut sum = String::new();
    let mut last = 1;
    for g in 1..groups {
        sum += &format!("%{next} = tanh %{}\n%{} = mul %{last}, %{next}\n", g + 1, next + 1);
        last = next + 1;
        next += 2;
    }
    let grouped = if experts > 0 { format!("experts {experts} order b3 offsets b4") } else { String::new() };
    format!(
        "kernel \"contract\" dims 2 vars 4 {{ b0 = read {elem} \"x\" b1 = read packed {elem} \"w\" b2 = write {elem} \"y\"
         b3 = read i32 \"order\" b4 = read i32 \"offsets\"
         %0 = load b0[i1*n1 + i3]\n{accs}{sum}
         contract batch i0 \"b\" in 1 rows i1 \"t\" in n0 cols i2 \"h\" in {cols} sums i3 \"d\" in n1 groups {groups} x %0 w b1
         {grouped} {{ b2[{}*i1 + i2] = %{last} }} }}",
        if cols == "n1" { "n1" } else { cols }
    )
}

fn all() -> Vec<Scheduled> {
    let nest = |stages: &str| {
        format!(
            "kernel \"nest\" dims 2 vars 4 {{ b0 = read f32 \"x\" b1 = write f32 \"y\" b2 = write i32 \"at\" b3 = write bool \"any\"
             b4 = read bf16 \"h\"
             %0 = load b0[i0*n1 + i1] if i1 + -1 < n1 else 2.0
             %1 = exp %0\n %2 = temp t0\n %3 = load b0[i0*n1 + i2]\n %4 = tanh %3\n %5 = div %4, %2
             %6 = temp t1\n %7 = const f32 0.0\n %8 = lt %0, %7\n %9 = load b4[i1]\n %10 = erf %9\n %11 = pow %10, %0
             nest i0 \"t\" in n0 {{ {stages} }} }}"
        )
    };
    let mut kernels = vec![
        scheduled("elements", &nest("map i1 \"d\" in n1 { b1[i0*n1 + i1] = %11 }"), false),
        scheduled(
            "row",
            &nest("t0 = sum f32 over i1 \"d\" in n1 of %1 map i2 \"d\" in n1 { b1[i0*n1 + i2] = %5 }"),
            false,
        ),
        scheduled("row_any", &nest("t1 = any bool over i1 \"d\" in n1 of %8 map { b3[i0] = %6 }"), false),
        scheduled("arg", &nest("t1 = arg_max f32 over i1 \"d\" in n1 of %0 map { b2[i0] = %6 }"), false),
        scheduled("running", &nest("running sum over i1 \"d\" in n1 of %0 { b1[i0*n1 + i1] = %0 }"), false),
        scheduled(
            "top_k",
            "kernel \"top_k\" dims 1 vars 3 { b0 = read f32 \"scores\" b1 = write i32 \"index\" %0 = load b0[8*i0 + i1]
             top_k i0 \"t\" in n0 over i1 \"e\" in 8 of %0 take 2 slot i2 { b1[2*i0 + i2] } }",
            false,
        ),
        scheduled(
            "group_rows",
            "kernel \"group_rows\" dims 1 vars 2 { b0 = read i32 \"index\" b1 = write i32 \"order\" b2 = write i32 \"offsets\"
             %0 = load b0[2*i0 + i1] group_rows i0 \"t\" in n0, i1 \"slot\" in 2 of %0 experts 8 order b1 offsets b2 }",
            false,
        ),
    ];
    for elem in ["f32", "bf16", "f16"] {
        for groups in [1, 2, 3, 4, 9, 33] {
            for (cols, experts) in [("128", 0), ("n1", 8)] {
                // Halves are on tensor cores anyway.
                for fast in [false, true].into_iter().take(if elem == "f32" { 2 } else { 1 }) {
                    let symbol = format!("contract_{elem}_{groups}_{experts}_{fast}");
                    kernels.push(scheduled(&symbol, &contraction(elem, groups, cols, experts), fast));
                }
            }
        }
    }
    kernels
}

/// `$GATEC_PTXAS`, the `ptxas` on the path, or that of the Python package `nvidia-cuda-nvcc`. `None`, said aloud, where there is
/// none and `GATEC_NO_PTXAS` allows that.
fn ptxas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("GATEC_PTXAS") {
        return Some(path.into());
    }
    if Command::new("ptxas").arg("--version").output().is_ok() {
        return Some("ptxas".into());
    }
    let find =
        "import nvidia, pathlib\nfor p in nvidia.__path__:\n  for f in pathlib.Path(p).glob('*/bin/ptxas'): print(f)";
    let found = Command::new("python3").args(["-c", find]).output();
    let found = found.ok().and_then(|out| String::from_utf8_lossy(&out.stdout).lines().next().map(PathBuf::from));
    if found.is_none() {
        let allowed = std::env::var_os("GATEC_NO_PTXAS").is_some();
        assert!(
            allowed,
            "no ptxas: install nvidia-cuda-nvcc, name one in GATEC_PTXAS, or set GATEC_NO_PTXAS=1 to skip"
        );
        eprintln!("no ptxas: the text of GPU kernels was generated, but not assembled");
    }
    found
}

/// Assembles a text; what `ptxas` says, where it refuses.
fn assemble(ptxas: &Path, text: &str, processor: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (from, to) = (folder.path().join("kernels.ptx"), folder.path().join("kernels.cubin"));
    std::fs::write(&from, text).map_err(|e| e.to_string())?;
    let out = Command::new(ptxas).arg("-v").arg(format!("-arch={processor}")).arg(&from).arg("-o").arg(&to).output();
    let out = out.map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn every_kernel_assembles_without_spills() {
    let kernels = all();
    let text = compile(&kernels).unwrap_or_else(|e| panic!("{e}"));
    for (symbol, ..) in &kernels {
        assert!(text.contains(&format!(".visible .entry {symbol}(")), "{symbol} is no entry");
    }
    let Some(ptxas) = ptxas() else {
        let allowed = std::env::var_os("GATEC_NO_PTXAS").is_some();
        assert!(
            allowed,
            "no ptxas: install nvidia-cuda-nvcc, name one in GATEC_PTXAS, or set GATEC_NO_PTXAS=1 to skip"
        );
        return;
    };
    // Kernels of more groups than fit registers may spill.
    assembles(&ptxas, "all", &text, &|name| name.contains("_33_"));
}

/// For sm_80 and sm_90, and nothing spills but in kernels that may.
fn assembles(ptxas: &Path, what: &str, text: &str, may_spill: &dyn Fn(&str) -> bool) {
    for processor in ["sm_80", "sm_90"] {
        let said = assemble(ptxas, text, processor).unwrap_or_else(|said| panic!("{what}, {processor}: {said}"));
        let spilled: Vec<&str> = said
            .split("Compiling entry function '")
            .skip(1)
            .filter(|part| part.contains(" bytes spill stores") && !part.contains(" 0 bytes spill stores"))
            .filter_map(|part| part.split('\'').next())
            .filter(|name| !may_spill(name))
            .collect();
        assert!(spilled.is_empty(), "{what}, {processor}: spills in {spilled:?}");
    }
}

/// Where the schedule of a contraction says tensor cores, its text multiplies with them; else it does not.
fn tensor_cores_where_scheduled(what: &str, text: &str, kernels: &[Scheduled]) -> usize {
    let mut count = 0;
    for (symbol, _, schedule) in kernels {
        let BodySchedule::Gpu(Gpu::Contract(tile)) = &schedule.body else { continue };
        let entry = text.split(".visible .entry ").find(|e| e.starts_with(&format!("{symbol}(")));
        let entry = entry.unwrap_or_else(|| panic!("{what}: {symbol} is no entry"));
        let wanted = tile.math != Math::Fma;
        assert_eq!(entry.contains("mma.sync.aligned"), wanted, "{what}: {symbol} is scheduled as {:?}", tile.math);
        count += usize::from(wanted);
    }
    count
}

/// Contractions of every pair of element types, after all passes.
#[test]
fn contractions_of_every_element_type_assemble() {
    let mut kernels = Vec::new();
    for (number, case) in elements::all().into_iter().enumerate() {
        let planned = plan::plan(&case.optimized(), Isa::Sm80, &[], &Default::default())
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let contractions =
            planned.kernels.into_iter().filter(|(_, kernel, _)| matches!(kernel.body, Body::Contract(_)));
        kernels.extend(contractions.map(|(symbol, kernel, schedule)| (format!("{symbol}_{number}"), kernel, schedule)));
    }
    let text = compile(&kernels).unwrap_or_else(|e| panic!("{e}"));
    assert!(tensor_cores_where_scheduled("elements", &text, &kernels) > 0);
    if let Some(ptxas) = ptxas() {
        assembles(&ptxas, "elements", &text, &|_| false);
    }
}

#[test]
fn every_kernel_of_the_examples_assembles() {
    let models = Example::of("examples").into_iter().map(|e| (e.model(), e.sizes()));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let halves = folder.join("mixtral-bf16/halves.gate");
    let tiny = vec![("d".to_owned(), 64), ("h".to_owned(), 112)];
    let others = [(halves.clone(), tiny), (folder.join("moe-transformer/model.gate"), Vec::new())];
    for (model, sizes) in models.chain(others) {
        let options = BuildOptions { sizes, targets: Vec::new(), ptx: true, ..Default::default() };
        let compiled = gatec::compile(&model, &options).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
        let kernels = &compiled.planned[0].kernels;
        let what = model.display().to_string();
        for (symbol, kernel, _) in kernels {
            verify(kernel).unwrap_or_else(|faults| panic!("{what}, {symbol}: {faults:?}"));
        }
        let text = compile(kernels).unwrap_or_else(|e| panic!("{what}: {e}"));
        // Both grouped products of the experts; the router is f32.
        let wanted = if model == halves { 2 } else { 0 };
        assert_eq!(tensor_cores_where_scheduled(&what, &text, kernels), wanted, "{what}");
        if let Some(ptxas) = ptxas() {
            assembles(&ptxas, &what, &text, &|_| false);
        }
    }
}

#[test]
fn tensor_cores_multiply_halves_and_f32_only_on_request() {
    let text = |elem: &str, fast: bool| {
        let kernels = [scheduled("k", &contraction(elem, 2, "128", 0), fast)];
        compile(&kernels).unwrap_or_else(|e| panic!("{e}"))
    };
    assert!(text("bf16", false).contains("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"));
    assert!(text("f16", false).contains("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"));
    assert!(text("f32", true).contains("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"));
    let plain = text("f32", false);
    assert!(!plain.contains("mma.sync") && plain.contains("fma.rn.f32"));
    assert!(plain.contains("ld.shared.v4"), "vectors from shared memory:\n{plain}");
    // While one piece is multiplied the next ones are on their way, 16 bytes at once where they stand together.
    assert!(plain.contains("cp.async.cg.shared.global") && plain.contains("cp.async.wait_group"), "{plain}");
    assert!(text("bf16", false).contains("ldmatrix.sync.aligned.m8n8.x2.trans"));
}

/// f32 goes through tensor cores where the builder of the model asked for it, and nowhere else.
#[test]
fn the_option_for_tf32_reaches_every_contraction_of_f32() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mixtral-bf16/model.gate");
    let options = BuildOptions {
        sizes: vec![("d".to_owned(), 64), ("h".to_owned(), 112)],
        targets: Vec::new(),
        tf32: true,
        ..Default::default()
    };
    let compiled = gatec::compile(&model, &options).unwrap_or_else(|e| panic!("{e}"));
    let kernels = &compiled.planned[0].kernels;
    let text = compile(kernels).unwrap_or_else(|e| panic!("{e}"));
    // Weights are bf16 and rows f32: both experts' products and the router.
    assert_eq!(tensor_cores_where_scheduled("tf32", &text, kernels), 3);
    if let Some(ptxas) = ptxas() {
        assembles(&ptxas, "tf32", &text, &|_| false);
    }
}

#[test]
fn the_text_asks_for_no_newer_ptx_than_needed() {
    let text = compile(&all()[..3]).unwrap_or_else(|e| panic!("{e}"));
    assert!(text.contains(".version 7.0") && text.contains(".target sm_80"), "{}", &text[..200]);
}

#[test]
fn schedules_choose_forms_by_shape() {
    let forms: Vec<Gpu> = all()
        .into_iter()
        .take(7)
        .map(|(_, _, s)| match s.body {
            BodySchedule::Gpu(gpu) => gpu,
            other => panic!("{other:?}"),
        })
        .collect();
    let want = [Gpu::Elements, Gpu::Row, Gpu::Row, Gpu::Points, Gpu::Points, Gpu::Points, Gpu::Block];
    assert_eq!(forms, want);
    let (_, _, s) = scheduled("k", &contraction("f32", 1, "128", 0), false);
    assert!(matches!(s.body, BodySchedule::Gpu(Gpu::Contract(tile)) if tile.math == Math::Fma && tile.panel == 32));
}
