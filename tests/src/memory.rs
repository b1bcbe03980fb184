//! How much memory loading a model takes: parameters that files hold in parts are not all put together beside what they become.
//! Runs after the first take none.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::print_stderr, reason = "says what was measured")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use gatec::BuildOptions;
use gatec_runtime::{LoadOptions, Model, Weights};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

struct Counting;

static NOW: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn more(bytes: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let now = NOW.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    MOST.fetch_max(now, Ordering::Relaxed);
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

/// One test: another would allocate meanwhile.
#[test]
fn loading_does_not_hold_all_parts_and_all_packed_weights_at_once() {
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
    MOST.store(before, Ordering::Relaxed);
    let model = Model::from_artifact(
        &artifact,
        Weights::open(at("w.safetensors")).unwrap(),
        &LoadOptions::default().threads(1),
    );
    let model = model.unwrap();
    let (peak, stays) = (MOST.load(Ordering::Relaxed) - before, NOW.load(Ordering::Relaxed) - before);
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
