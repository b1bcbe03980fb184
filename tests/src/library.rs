//! Blocks of the standard library against the same text written out in a model: the same kernels, for every CPU variant.

use std::path::Path;

use gatec::BuildOptions;
use gatec::kernel::text::print;

/// Name, body of a model that uses the library, body with all of it written out.
type Pair = (&'static str, &'static str, &'static str);

const HEAD: &str = "axis d = 24\naxis h = 40\naxis head = 2\naxis k = 12\naxis share = 3\naxis e = 4\naxis o = 16\n";

const PAIRS: &[Pair] = &[
    (
        "swiglu",
        "model m(x: f32[t, d]) -> f32[t, d] { swiglu(x; h = 40) }",
        "model m(x: f32[t, d]) -> f32[t, d] {
            param gate, up: f32[d, h]
            param down: f32[h, d]
            (silu(x @ gate) * (x @ up)) @ down
        }",
    ),
    (
        "mlp, pre_norm",
        "model m(x: f32[t, d]) -> f32[t, d] { pre_norm(layer_norm, mlp(gelu; h = 40), x) }",
        "model m(x: f32[t, d]) -> f32[t, d] {
            param scale, shift: f32[d]
            param up: f32[d, h]
            param up_bias: f32[h]
            param down: f32[h, d]
            param down_bias: f32[d]
            x + gelu(layernorm[d](x, scale, shift) @ up + up_bias) @ down + down_bias
        }",
    ),
    (
        "lstm",
        "model m(x: f32[b, t, d]) -> f32[b, t, h] { lstm(x; h = 40) }",
        "model m(x: f32[b, t, d]) -> f32[b, t, h] {
            param wi, wf, wg, wo: f32[d, h]
            param ui, uf, ug, uo: f32[h', h]
            param bi, bf, bg, bo: f32[h]
            scan t carry (hid: f32[b, h] = 0.0, cell: f32[b, h] = 0.0) {
                let before = hid[h -> h']
                let i = sigmoid(x @ wi + before @ ui + bi)
                let f = sigmoid(x @ wf + before @ uf + bf)
                let g = tanh(x @ wg + before @ ug + bg)
                let o = sigmoid(x @ wo + before @ uo + bo)
                let cell = f * cell + i * g
                next (o * tanh(cell), cell)
            } yield hid
        }",
    ),
    (
        "gru",
        "model m(x: f32[b, t, d]) -> f32[b, t, h] { gru(x; h = 40) }",
        "model m(x: f32[b, t, d]) -> f32[b, t, h] {
            param wr, wz, wn: f32[d, h]
            param ur, uz, un: f32[h', h]
            param br, bz, bn, bu: f32[h]
            scan t carry (hid: f32[b, h] = 0.0) {
                let before = hid[h -> h']
                let r = sigmoid(x @ wr + before @ ur + br)
                let z = sigmoid(x @ wz + before @ uz + bz)
                let n = tanh(x @ wn + bn + r * (before @ un + bu))
                next (1.0 - z) * n + z * hid
            } yield hid
        }",
    ),
    (
        "min_gru",
        "model m(x: f32[b, t, d]) -> f32[b, t, h] { min_gru(x; h = 40) }",
        "model m(x: f32[b, t, d]) -> f32[b, t, h] {
            param wz, wn: f32[d, h]
            param bz, bn: f32[h]
            let z = sigmoid(x @ wz + bz)
            let n = x @ wn + bn
            scan t carry (hid: f32[b, h] = 0.0) { next (1.0 - z) * hid + z * n } yield hid
        }",
    ),
    (
        "gated_multi_head",
        "model m(x: f32[b, seq, d]) -> f32[b, seq, d] { gated_multi_head(causal, x; head = 2) }",
        "model m(x: f32[b, seq, d]) -> f32[b, seq, d] {
            param wq, wk, wv, wg: f32[d, head, k]
            param wo: f32[head, k, d]
            let q = x @ wq
            let key = (x @ wk)[seq -> src]
            let val = (x @ wv)[seq -> src]
            let score = where(index(seq) >= index(src), (q @[k] key) / sqrt(size(k)), -inf)
            let seen = softmax[src](score) @[src] val
            (sigmoid(x @ wg) * seen) @[head, k] wo
        }",
    ),
    (
        "grouped_query",
        "model m(x: f32[b, seq, d]) -> f32[b, seq, d] { grouped_query(causal, unturned, x; head = 2, share = 3, k = 12) }",
        "model m(x: f32[b, seq, d]) -> f32[b, seq, d] {
            param wq: f32[d, head, share, k]
            param wk, wv: f32[d, head, k]
            param wo: f32[head, share, k, d]
            let key = (x @ wk)[seq -> src]
            let q = x @ wq
            let val = (x @ wv)[seq -> src]
            let score = where(index(seq) >= index(src), (q @[k] key) / sqrt(size(k)), -inf)
            (softmax[src](score) @[src] val) @[head, share, k] wo
        }",
    ),
    (
        "mixture",
        "model m(x: f32[t, d]) -> f32[t, d] { mixture(swiglu(; h = 40), x; e = 4) }",
        "model m(x: f32[t, d]) -> f32[t, d] {
            param router: f32[d, e]
            route x over e by topk(softmax[e](x @ router), 2, normalize) {
                param gate, up: f32[d, h]
                param down: f32[h, d]
                (silu(x @ gate) * (x @ up)) @ down
            } mix sum
        }",
    ),
    (
        "gat",
        "model m(x: f32[node, d], i: i32[edge], j: i32[edge]) -> f32[node, head, k] { gat(x, i, j; head = head, k = k) }",
        "model m(x: f32[node, d], i: i32[edge], j: i32[edge]) -> f32[node, head, k] {
            param w: f32[d, head, k]
            param a, c, b: f32[head, k]
            let y = x @ w
            let score = sum[k](y * a)[node = i] + sum[k](y * c)[node = j]
            let weight = segment_softmax[edge -> node](where(score > 0.0, score, 0.2 * score), j)
            segment_sum[edge -> node](weight * y[node = i], j) + b
        }",
    ),
];

/// The kernels of a model, the best processor's first.
fn kernels(name: &str, text: &str) -> Vec<String> {
    let program = gatec_lang::load_text(name, text, &[]).unwrap_or_else(|d| panic!("{name}\n{}", d.render(false)));
    let module = gatec::lower::lower(&program).unwrap_or_else(|e| panic!("{name}: {e}"));
    let options = BuildOptions { ptx: false, ..BuildOptions::default() };
    let optimized = gatec::pipeline::optimize(module, &options.optimize).unwrap_or_else(|e| panic!("{name}: {e}"));
    let planned = gatec::plan_all(&optimized.module, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    planned.iter().flat_map(|p| &p.kernels).map(|(_, kernel, _)| unnumbered(&print(kernel))).collect()
}

/// Without the numbers of nodes in names of buffers: `"pick10"` is `"pick"`.
fn unnumbered(text: &str) -> String {
    let part = |(i, part): (usize, &str)| {
        if i % 2 == 1 { part.trim_end_matches(|c: char| c.is_ascii_digit()).to_string() } else { part.to_string() }
    };
    text.split('"').enumerate().map(part).collect::<Vec<_>>().join("\"")
}

#[test]
fn blocks_of_the_library_make_the_kernels_of_what_is_written_out() {
    let uses: String = gatec_lang::LIBRARY.iter().map(|(name, _)| format!("use \"{name}\"\n")).collect();
    for (name, by_library, by_hand) in PAIRS {
        let (found, wanted) =
            (kernels(name, &format!("{uses}{HEAD}{by_library}")), kernels(name, &format!("{HEAD}{by_hand}")));
        assert!(!found.is_empty(), "{name}");
        assert_eq!(found.len(), wanted.len(), "{name}: so many kernels");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(found, wanted, "{name}");
        }
    }
}

/// Wherever a model stands, the library is part of its artifact's sources.
#[test]
fn a_model_that_uses_the_library_builds_from_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gate");
    let text = "use swiglu from \"std/glu.gate\"\naxis d = 8\nmodel m(x: f32[t, d]) -> f32[t, d] { swiglu(x) }";
    std::fs::write(&path, text).expect("the model can be written");
    let compiled = gatec::compile(Path::new(&path), &BuildOptions { ptx: false, ..BuildOptions::default() });
    assert!(compiled.is_ok());
}
