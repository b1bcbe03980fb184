//! Choices when building: what is kept, and which parameters a model then has.

use gatec_lang::{Program, load_text};

fn program(text: &str) -> Program {
    load_text("model.gate", text, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)))
}

/// Paths of the parameters, in the order in which they are met.
fn params(text: &str) -> Vec<String> {
    program(text).params.iter().map(|p| p.tensor.name.clone()).collect()
}

const GATED: &str = "axis d = 4
block f(x: f32[.., d], kind: name = \"plain\", depth: number = 1, gated: bool = false) -> f32[.., d] {
    let y = match kind {
        \"plain\": { param w: f32[d]
            x * w }
        \"wide\", \"wider\": { param w: f32[d, d']
            (x @ w)[d' -> d] }
        else: x
    }
    let z = if depth == 2 and not gated { param twice: f32[d]
        y * twice } else if depth > 2 { y * 3.0 } else { y }
    if gated { param g: f32[d]
        z * g } else { z }
}
";

fn gated(call: &str) -> Vec<String> {
    params(&format!("{GATED}model m(x: f32[t, d]) -> f32[t, d] {{ {call} }}"))
}

#[test]
fn one_side_is_kept_with_its_parameters() {
    assert_eq!(gated("f(x)"), ["f.w"]);
    assert_eq!(gated("f(x, \"none\", 2)"), ["f.twice"]);
    assert_eq!(gated("f(x, kind = \"wider\", gated = 1 < 2)"), ["f.w", "f.g"]);
    assert_eq!(gated("f(x, depth = size(d) - 2, kind = \"none\", gated = not (\"a\" != \"b\"))"), ["f.twice"]);
}

#[test]
fn names_and_bools_may_be_constants() {
    let text = format!(
        "{GATED}const kind = \"wide\"\nconst gated = true\nmodel m(x: f32[t, d]) -> f32[t, d] {{ f(x, kind, gated = gated) }}"
    );
    assert_eq!(params(&text), ["f.w", "f.g"]);
}

#[test]
fn defaults_are_read_where_they_are_declared() {
    let text = "axis d = 4\nconst eps = 2.0\nblock f(x: f32[.., d], eps: f32[] = eps + 1.0) -> f32[.., d] { x + eps }
model m(x: f32[t, d]) -> (a: f32[t, d], b: f32[t, d]) {
    let eps = sum[d](x)
    (a: first: f(x), b: second: f(x, sum[t](eps)))
}";
    let program = program(text);
    let threes = |n: &&gatec_lang::program::Node| matches!(n.kind, gatec_lang::program::Kind::Number(3.0));
    assert_eq!(program.entries[0].nodes.iter().filter(threes).count(), 1);
}

#[test]
fn copies_have_their_parameters_under_their_names() {
    let text = "axis d = 4
block head(x: f32[.., d]) -> f32[.., out] { param w: f32[d, out]
    x @ w }
model m(x: f32[t, d]) -> (seg: f32[t, seg], all: f32[task, t, d]) {
    let feats = for task in [seg, depth] { param scale: f32[d]
        x * scale }
    let heads = for task in [seg, depth] {
        let y = head(feats.{task}; out = match task { \"seg\": 2 else: 3 })
        y
    }
    (seg: heads.seg[out -> seg] * heads.depth[out = 0], all: stack[task](feats))
}";
    assert_eq!(params(text), ["seg.scale", "depth.scale", "seg.head.w", "depth.head.w"]);
}

#[test]
fn a_field_is_chosen_by_a_name() {
    let text = "axis d = 4
block pick(r: f32[.., d], s: f32[.., d], which: name) -> f32[.., d] {
    let both = (first: r, second: s)
    both.{which}
}
model m(x: f32[t, d], y: f32[t, d]) -> f32[t, d] { pick(x, y, \"second\") }";
    assert!(params(text).is_empty());
}

#[test]
fn what_stands_in_a_side_that_is_not_kept_counts_as_used() {
    let text = "axis d = 4
block f(x: f32[.., d], y: f32[.., d], both: bool) -> f32[.., d] {
    param scale: f32[d]
    let z = y * scale
    if both { x + z } else { x }
}
model m(x: f32[t, d]) -> f32[t, d] { f(x, x, false) }";
    let (found, diagnostics) = gatec_lang::check_text("model.gate", text, &[]);
    let told: Vec<&str> = diagnostics.list.iter().map(|d| d.message.as_str()).collect();
    assert!(found.is_some() && told.is_empty(), "{told:?}");
}
