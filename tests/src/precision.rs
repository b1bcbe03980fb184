//! Errors of compiled f32 code against sums in f64, beside those of PyTorch's f32 on the same programs (`tests/precision`), on every CPU variant
//! of this machine: no worse than docs/numerics.md says.
//!
//! `GATEC_SHOW=1` shows them (with `--nocapture`).

use std::collections::BTreeMap;
use std::path::Path;

use gatec::graph::interp::Values;
use gatec::graph::tensor::Tensor;
use gatec::graph::{Axis, Boundary, Module};
use gatec::pipeline::{OptimizeOptions, optimize};
use gatec::plan;
use gatec_tests::example::{Stored, read};
use gatec_tests::{Built, difference, interpret};

/// Programs, and how many times PyTorch's error theirs is at most, as docs/numerics.md has it.
const BOUNDS: [(&str, f64); 9] = [
    ("product", 0.90),
    ("mlp", 0.97),
    ("swiglu", 0.95),
    ("folds", 1.12),
    ("attention", 1.06),
    ("experts", 1.00),
    ("recurrence", 0.85),
    ("lstm", 0.70),
    ("functions", 1.00),
];

/// As `made` in `precision.py`.
fn made(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let code = name.bytes().fold(2_166_136_261u32, |code, byte| (code ^ u32::from(byte)).wrapping_mul(16_777_619));
    (0..count as u32).map(move |i| {
        let x = i.wrapping_mul(0x9E37_79B1).wrapping_add(code);
        let x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        let x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        f64::from((f64::from(x ^ (x >> 16)) / 2f64.powi(31) - 1.0) as f32)
    })
}

fn values(module: &Module, shapes: &BTreeMap<&str, usize>) -> Values {
    let size = |axis: Axis| module.sizes.known(axis).map(|n| n as usize).unwrap_or_else(|| shapes[axis.name()]);
    let tensor = |boundary: &Boundary, order: &[Axis], scale: f64| {
        let axes: Vec<(Axis, usize)> = order.iter().map(|a| (*a, size(*a))).collect();
        let count = axes.iter().map(|a| a.1).product();
        let mut numbers = made(&boundary.name, count).map(|x| x * scale);
        Tensor::from_fn(boundary.elem, axes, |_| numbers.next().unwrap_or(0.0))
    };
    let params = module.params.iter().map(|param| {
        let order = plan::param_order(param);
        tensor(&param.tensor, &order, if order.len() > 1 { 1.0 / 16.0 } else { 1.0 })
    });
    Values {
        symbols: module.symbols.iter().map(|(name, _)| (name.clone(), shapes[name.as_str()] as i64)).collect(),
        params: params.collect(),
        inputs: module.entries[0].inputs.iter().map(|b| tensor(b, &b.order, 1.0)).collect(),
        states: Vec::new(),
    }
}

/// The root of the mean square of what differs.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    let sum: f64 = found.iter().zip(expected).map(|(f, e)| (f - e) * (f - e)).sum();
    (sum / found.len().max(1) as f64).sqrt()
}

#[test]
fn compiled_f32_errs_no_more_beside_pytorch_than_is_documented() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("precision");
    let stored = read(&folder.join("precision.safetensors"));
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/numerics.md")).unwrap();
    let (mut lines, mut worse) = (Vec::new(), Vec::new());
    for (name, bound) in BOUNDS {
        assert!(page.contains(&format!("| `{name}` | {bound:.2} |")), "docs/numerics.md: {name}, {bound:.2}");
        let [exact, theirs] = ["f64", "f32"].map(|kind| &stored[&format!("{name}.{kind}")]);
        let program = gatec_lang::load(&folder.join(format!("{name}.gate")), &[]);
        let module = gatec::lower::lower(&program.unwrap_or_else(|d| panic!("{}", d.render(false)))).unwrap();
        let values = values(&module, &sizes(exact));
        let meant = interpret(&module, 0, &values).unwrap_or_else(|e| panic!("{name}: {e}")).remove(0);
        let apart = difference(&meant, &exact.numbers());
        assert!(apart < 1e-12, "{name}: the interpreter and PyTorch's f64 are {apart:e} apart");
        let of_theirs = error(&theirs.numbers(), &meant);
        let optimized = optimize(module, &OptimizeOptions::default()).unwrap().module;
        let built = Built::new(&optimized).unwrap();
        for &isa in &built.isas {
            let found = built.run(0, &values, isa, 1).unwrap_or_else(|e| panic!("{name}: {e}")).remove(0);
            let of_ours = error(&found, &meant);
            let ratio = of_ours / of_theirs;
            let line = format!("{name}, {isa}: {of_ours:.2e}, PyTorch {of_theirs:.2e}: {ratio:.2}");
            if ratio > bound {
                worse.push(line.clone());
            }
            lines.push(line);
        }
    }
    if std::env::var_os("GATEC_SHOW").is_some() {
        #[allow(clippy::print_stderr, reason = "asked for")]
        {
            eprintln!("{}", lines.join("\n"));
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

/// Sizes of symbols: the first axis of a result is `t`, of three the second is `b`.
fn sizes(result: &Stored) -> BTreeMap<&'static str, usize> {
    BTreeMap::from([("t", result.shape[0]), ("s", result.shape[0]), ("b", result.shape[1])])
}
