//! Input that nobody means well with: an error, never a crash, a hang or memory without end.

use gatec_lang::{check_text, format};
use proptest::prelude::*;

#[test]
fn nesting_a_million_deep_is_refused() {
    for text in [
        "(",
        "[",
        "{",
        "-",
        "not ",
        "f(",
        "x[t = ",
        "x[t = ..",
        "scan t { ",
        "(a: f(",
        "f(a: ",
        "next (",
        "route x over e by ",
        "scan t { next (",
        "x[t = t - 1 else ",
        "f[t: ",
        "if ",
        "if a * match ",
        "if a { b } else { ",
        "for a in ",
        "match a { 1: ",
    ] {
        let program = format!("model m(x: f32[t]) -> f32[t] {{ {} }}", text.repeat(1_000_000 / text.len()));
        let (program, diagnostics) = check_text("deep.gate", &program, &[]);
        assert!(program.is_none() && diagnostics.has_errors(), "{text}");
    }
}

/// Each text is parsed in one way: a parser that tries two at each level would not end.
#[test]
fn nesting_as_deep_as_allowed_is_parsed_at_once() {
    for text in [
        "(",
        "-",
        "not ",
        "f(",
        "x[t = ",
        "x[t = ..",
        "(a: f(",
        "(a: ",
        "f(a: f(",
        "f(a = ",
        "scan t { next (",
        "x[t = t - 1 else ",
        "f[t: ",
        "repeat l in ",
        "route x over e by (",
        "x[t = (a: f(",
        "if ",
        "if a { b } else { ",
        "for a in ",
        "for a in [b, c] { ",
        "match a { 1: ",
        "match a { 1: { ",
        "x.{",
        "f(a; b.c = ",
    ] {
        for depth in [10, 20, 40, 80] {
            let program = format!("model m(x: f32[t]) -> f32[t] {{ {} }}", text.repeat(depth));
            assert!(check_text("deep.gate", &program, &[]).0.is_none(), "{text}");
        }
    }
}

#[test]
fn a_long_chain_of_operators_is_refused() {
    let program = format!("model m(x: f32[t]) -> f32[t] {{ x{} }}", " + x".repeat(100_000));
    assert!(check_text("long.gate", &program, &[]).0.is_none());
}

/// A message may point behind what was read, into a comment of wide characters.
#[test]
fn messages_show_whole_characters() {
    for text in [
        "axis a = //é",
        "axis i = \u{fffd}",
        "//xis i = \u{fffd}",
        "model m(x: f32[é]) -> f32[] { é }",
        "axis é",
        "// é",
    ] {
        let (_, diagnostics) = check_text("a.gate", text, &[]);
        assert!(!diagnostics.render(false).is_empty() && !diagnostics.to_json().is_empty(), "{text}");
    }
}

#[test]
fn a_large_file_is_refused_unread() {
    let program = "// nothing\n".repeat(1 << 20);
    let (_, diagnostics) = check_text("large.gate", &program, &[]);
    assert_eq!(diagnostics.list[0].code, "E0002");
}

#[test]
fn a_long_program_is_formatted_and_checked_without_delay() {
    let mut text = String::new();
    for i in 0..8000 {
        text += &format!("fn f{i}(x: f32[.., d], y: f32[.., d]) -> f32[.., d] {{ x * (y + f(x, y)) // {i}\n}}\n");
    }
    assert_eq!(format(&format(&text).unwrap()).unwrap(), format(&text).unwrap());
    assert!(check_text("long.gate", &text, &[]).0.is_none());
}

#[test]
fn sizes_that_overflow_are_errors() {
    for text in [
        "axis d = 1000000000000000000000\nmodel m(x: f32[d]) -> f32[d] { x }",
        "axis d = 281474976710656\naxis h = 281474976710656\nmodel m(x: f32[d, h]) -> f32[k] { x[d * h -> k] }",
        "axis d = 4\nmodel m(x: f32[d]) -> f32[e] { pad[d: 0..281474976710656](x)[d -> e] }",
        "axis d = 4\nmodel m(x: f32[d]) -> f32[d] { repeat l in 99999999999999999999 carry x { next x } }",
    ] {
        let (program, diagnostics) = check_text("sizes.gate", text, &[]);
        assert!(program.is_none() && diagnostics.has_errors(), "{text}");
    }
}

#[test]
fn blocks_that_call_blocks_without_end_are_refused() {
    let mut text = String::from("block b0(x: f32[..]) -> f32[..] { x + x }\n");
    for i in 1..60 {
        text += &format!("block b{i}(x: f32[..]) -> f32[..] {{ p: b{0}(x) + q: b{0}(x) }}\n", i - 1);
    }
    text += "model m(x: f32[t]) -> f32[t] { b59(x) }";
    let (program, diagnostics) = check_text("wide.gate", &text, &[]);
    assert!(program.is_none());
    assert!(diagnostics.list.iter().any(|d| d.code == "E0002"), "{}", diagnostics.render(false));
}

#[test]
fn copies_of_copies_without_end_are_refused() {
    let text =
        format!("model m(x: f32[t]) -> f32[t] {{ {} x {} }}", "for a in [p, q] { ".repeat(40), "}.p ".repeat(40));
    let (program, diagnostics) = check_text("copies.gate", &text, &[]);
    assert!(program.is_none());
    assert!(diagnostics.list.iter().any(|d| d.code == "E0002"), "{}", diagnostics.render(false));
    let many = format!("model m(x: f32[t]) -> f32[t] {{ {} {{ x }} }}", "if true { x } else ".repeat(2000));
    assert!(check_text("sides.gate", &many, &[]).0.is_some());
}

const MODEL: &str = include_str!("../../examples/mixtral-ffn/model.gate");

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn garbage_gets_an_error(text in "\\PC{0,200}") {
        let (program, diagnostics) = check_text("garbage.gate", &text, &[]);
        prop_assert!(program.is_some() != diagnostics.has_errors());
        let _ = diagnostics.render(true);
    }

    #[test]
    fn programs_with_a_piece_cut_or_doubled_get_an_answer(from in 0usize..2000, length in 0usize..60, twice in any::<bool>()) {
        let cut = |at: usize| (0..=at.min(MODEL.len())).rev().find(|i| MODEL.is_char_boundary(*i)).unwrap_or(0);
        let (from, to) = (cut(from), cut(from + length));
        let text = if twice {
            format!("{}{}", &MODEL[..to], &MODEL[from..])
        } else {
            format!("{}{}", &MODEL[..from], &MODEL[to..])
        };
        let (program, diagnostics) = check_text("cut.gate", &text, &[]);
        prop_assert!(program.is_some() != diagnostics.has_errors());
        let _ = diagnostics.render(false);
        let _ = format(&text);
    }
}
