//! How much memory loading a model takes: parameters that files hold in parts are not all put together beside what they become.
//! Runs after the first take none. What a session takes is what was said before, and little more than must live together.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::print_stderr, reason = "says what was measured")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gatec::BuildOptions;
use gatec_runtime::{LoadOptions, Model, View, WeightSource, Weights};
use gatec_tests::example::Example;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

struct Counting;

static NOW: AtomicU64 = AtomicU64::new(0);
static MOST_BYTES: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn more(bytes: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let now = NOW.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    MOST_BYTES.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Experts that a file holds one by one, in several layers.
const MODEL: &str = r#"
axis d = 128
axis h = 256
axis e = 8

block expert(x: f32[.., d]) -> f32[.., d] {
    param w1: f32[d, h] from "layers.{layer}.experts.{e}.w1"[h, d]
    param w2: f32[h, d] from "layers.{layer}.experts.{e}.w2"[d, h]
    param w3: f32[d, h] from "layers.{layer}.experts.{e}.w3"[h, d]
    (silu(x @ w1) * (x @ w3)) @ w2
}

model layers(x: f32[t, d]) -> f32[t, d] {
    repeat layer in 4 carry x {
        param score: f32[d, e] from "layers.{layer}.gate"[e, d]
        next x + (route x over e by topk(x @ score, 2) {
            experts: expert(x)
        } mix sum)
    }
}
"#;

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| (((i * 37) % 101) as f32 / 1010.0 - 0.05).to_le_bytes()).collect()
}

/// One test at a time: another would allocate meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn loading_does_not_hold_all_parts_and_all_packed_weights_at_once() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("layers.gate"), MODEL).unwrap();
    let options = BuildOptions { ptx: false, ..Default::default() };
    gatec::build(&at("layers.gate"), &options, &at("layers.so")).unwrap_or_else(|e| panic!("{e}"));
    let artifact = gatec_runtime::Artifact::open(at("layers.so")).unwrap();
    let mut bytes = std::collections::BTreeMap::new();
    for param in &artifact.manifest().params {
        for part in &param.parts {
            let shape: Vec<usize> = param.part_shape.iter().map(|n| *n as usize).collect();
            bytes.insert(part.clone(), (shape.clone(), floats(shape.iter().product())));
        }
    }
    let views = bytes.iter().map(|(name, (shape, data))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).expect("a tensor"))
    });
    let file = safetensors::serialize(views, None).unwrap();
    let weights = file.len() as u64;
    std::fs::write(at("w.safetensors"), file).unwrap();
    drop(bytes);

    let before = NOW.load(Ordering::Relaxed);
    MOST_BYTES.store(before, Ordering::Relaxed);
    let model = Model::from_artifact(
        &artifact,
        Weights::open(at("w.safetensors")).unwrap(),
        &LoadOptions::default().threads(1),
    );
    let model = model.unwrap();
    let (peak, stays) = (MOST_BYTES.load(Ordering::Relaxed) - before, NOW.load(Ordering::Relaxed) - before);
    let share = |bytes: u64| bytes as f64 / weights as f64;
    eprintln!("weights {weights} bytes; while loading {:.2} of that, afterwards {:.2}", share(peak), share(stays));
    let isa = model.isa();
    let variant = artifact.manifest().variants.iter().find(|v| v.isa == isa).expect("the variant that runs");
    let kept: u64 = variant.kept.iter().map(|k| k.bytes).sum();
    assert!(stays < kept + weights / 10, "the parts are let go: {stays} bytes stay, {kept} of them packed");
    // Of three equal parameters two become one packed matrix, together: they are in memory at once.
    assert!(share(peak - stays) < 0.75, "{:.2} of the weights are there twice", share(peak - stays));
    let mut session = model.session("layers").unwrap();
    let x = vec![0.1f32; 3 * 128];
    let mut run = || {
        let outputs = session.run(&[("x", x.as_slice().into())]).unwrap();
        assert!(outputs.slice::<f32>("y").unwrap().iter().all(|y| y.is_finite()));
    };
    run();
    let before = COUNT.load(Ordering::Relaxed);
    (0..10).for_each(|_| run());
    assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "runs after the first allocate nothing");
}

/// A session's tables and names, beside what it says that it needs.
const TABLES: u64 = 64 * 1024;
/// Of what must live together: what a session may take, beside the scratch memory of threads. Seen: 1.27.
const MOST: f64 = 1.3;

/// Every example and every model of the benchmarks, with few rows and with many.
#[test]
fn a_run_takes_what_was_said_before_and_little_more_than_must_live_together() {
    let _alone = ALONE.lock();
    let examples = Example::of("examples").into_iter().map(|e| (e.model(), e.sizes()));
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/cases");
    let mut models: Vec<PathBuf> = std::fs::read_dir(cases).expect("cases").flatten().map(|f| f.path()).collect();
    models.sort();
    let isa = gatec_runtime::cpu::supported().next().expect("a variant");
    let mut worst = 0.0f64;
    for (path, sizes) in examples.chain(models.into_iter().map(|path| (path, Vec::new()))) {
        let name = path.display();
        let options = BuildOptions { sizes, targets: vec![isa], ptx: false, ..Default::default() };
        let compiled = gatec::compile(&path, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = gatec::generate(&compiled.optimized.module, "", compiled.planned).unwrap();
        let artifact = gatec_runtime::Artifact::from_bytes(bytes).unwrap();
        let manifest = artifact.manifest().clone();
        for threads in [1, 2] {
            let load = LoadOptions::default().threads(threads);
            let model = Model::from_artifact(&artifact, WeightSource::Random(1), &load).unwrap();
            for entry in manifest.callable() {
                for size in [1, 48] {
                    let symbols = vec![size; manifest.symbols.len()];
                    let number = manifest.serving(&entry.name, &symbols).unwrap();
                    let need = gatec_runtime::need(&manifest, 0, number, &symbols).unwrap();
                    let inputs: Vec<Vec<u64>> =
                        entry.inputs.iter().map(|x| vec![0; x.bytes(&symbols).unwrap().div_ceil(8) as usize]).collect();
                    let views: Vec<(&str, View)> = entry
                        .inputs
                        .iter()
                        .zip(&inputs)
                        .map(|(x, words)| {
                            let bytes = &bytemuck::cast_slice(words)[..x.bytes(&symbols).unwrap() as usize];
                            (x.name.as_str(), View::bytes(x.elem, bytes, None).unwrap())
                        })
                        .collect();
                    let before = NOW.load(Ordering::Relaxed);
                    MOST_BYTES.store(before, Ordering::Relaxed);
                    let mut session = model.session(&entry.name).unwrap();
                    for symbol in &manifest.symbols {
                        session.bind(&symbol.name, size as usize).ok();
                    }
                    session.run(&views).unwrap_or_else(|e| panic!("{name}, {}: {e}", entry.name));
                    let peak = MOST_BYTES.load(Ordering::Relaxed) - before;
                    let beside = need.state_bytes + need.output_bytes;
                    let scratch = need.scratch_bytes * threads as u64;
                    let said = need.arena_bytes + beside + scratch;
                    let at = format!("{name}, {}, sizes {size}, {threads} threads", entry.name);
                    assert!(peak <= said + TABLES, "{at}: {peak} bytes, {said} were said");
                    let live = need.live_bytes + beside;
                    let most = (MOST * live as f64) as u64 + scratch + TABLES;
                    assert!(peak <= most, "{at}: {peak} bytes, {live} must live together");
                    worst = worst.max(need.arena_bytes as f64 / need.live_bytes.max(1) as f64);
                }
            }
        }
    }
    eprintln!("buffers take at most {worst:.2} of what must live together");
}
