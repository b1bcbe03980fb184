use insta::assert_snapshot;
use proptest::prelude::*;

use super::{parse, print};
use crate::graph::verify::verify;

const SAMPLE: &str = r#"
module sample
symbol tokens <= 4096
symbol batch
axis d = 4
axis h = 8
axis "h 2" = 8
axis t = tokens
axis f = floor((tokens + 2)/2)
axis b = batch
axis one = 1
param @experts.gate: f32[d, h] from "layers.{h}.w\{1\}"[d, _]
param @wh: f32["h 2", h]
state $h: f32[b, h] = 0.0

load {
  %w = broadcast[one] @experts.gate : f32[d, h, one]
  return %w
}

graph @step(%x: f32[t, b, d]) -> (y: f32[b, t, h], f32[]) next ($h) {
  %w = loaded[0] : f32[d, h, one]
  %1 = const[-1e-5] : f32[]
  %v = pick[one, 0] %w : f32[d, h]   // comment
  %p = contract[d] %x, %v : f32[b, h, t]
  %0 = scan[t, forward, 1, 1] $h, %p, @wh : f32[b, h], f32[b, h, t] {
    %a = carry[0] : f32[b, h]
    return %a
  }
  return %p, %1, $h
}
"#;

/// The sample with a loop that verifies.
fn sample() -> String {
    SAMPLE.replace(
        "%0 = scan[t, forward, 1, 1] $h, %p, @wh : f32[b, h], f32[b, h, t] {
    %a = carry[0] : f32[b, h]
    return %a
  }
  return %p, %1, $h",
        "%s:2 = scan[t, forward, 1, 1] $h, %p, @wh : f32[b, h], f32[b, h, t] {
    %h = carry[0] : f32[b, h]
    %x = item[0] : f32[b, h]
    %w = capture[0] : f32[h, \"h 2\"]
    %3 = rename[h, \"h 2\"] %h : f32[b, \"h 2\"]
    %4 = contract[\"h 2\"] %3, %w : f32[b, h]
    %5 = add %x, %4 : f32[b, h]
    return %5, %5
  }
  return %s#1, %1, %s#0",
    )
}

#[test]
fn what_is_printed_reads_back_to_the_same_bytes() {
    let module = parse(&sample()).unwrap();
    let text = print(&module);
    assert_snapshot!(text);
    let again = parse(&text).unwrap();
    assert_eq!(print(&again), text);
    assert_eq!(again.entries[0].graph, module.entries[0].graph);
    assert_eq!(verify(&module), Ok(()));
}

#[test]
fn errors_have_a_place() {
    let error = |text: &str| parse(text).unwrap_err().to_string();
    assert_snapshot!(error(SAMPLE), @"26:69: %0 has 1 results, but 2 types");
    assert_snapshot!(error("axis a = 3\naxis a = 4"), @"2:1: axis a has another size before");
    assert_snapshot!(error("graph @f() -> () { return %x }"), @"1:27: no value %x here");
    assert_snapshot!(error("graph @f() -> () { %x = frob : f32[] return }"), @"1:25: `frob` is no op");
    assert_snapshot!(error("graph @f() -> () { %x = pick[a] : f32[] return }"), @"1:25: `pick` cannot have these attributes");
    assert_snapshot!(error("axis é = 1"), @"1:6: unexpected character 'é'");
    assert_snapshot!(error("axis a = 99999999999999999999"), @"1:10: an integer that is too large");
}

#[test]
fn nesting_is_bounded() {
    let size = format!("axis a = {}1{}", "floor((".repeat(20_000), ")/2)".repeat(20_000));
    assert!(parse(&size).unwrap_err().message.contains("too deep"));
    let body = "%s:0 = scan[a, forward, 0, 0] %x : none {".repeat(20_000);
    let graph = format!("graph @f(%x: f32[]) -> () {{ {}", body.replace("%x", ""));
    assert!(parse(&graph).is_err());
    let nested = "graph @f(%x: f32[a]) -> () { %s:0 = scan[a, forward, 0, 1] %x : none { %x = item[0] : f32[a] "
        .to_owned()
        + &"%s:0 = scan[a, forward, 0, 1] %x : none { %x = item[0] : f32[a] ".repeat(20_000);
    assert!(parse(&nested).unwrap_err().message.contains("too deep"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Cut, doubled and replaced pieces of a text: an error or a module, never a panic; a module prints and reads back.
    #[test]
    fn any_text_is_an_error_or_a_module(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[%@$#a-h0-9\\[\\](){},:=*/ \\-.\"é]{0,6}"), 1..4)
    ) {
        let mut text: Vec<char> = sample().chars().collect();
        for (at, cut, insert) in edits {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(module) = parse(&text) {
            let faults = verify(&module);
            let printed = print(&module);
            let again = parse(&printed);
            prop_assert!(again.is_ok(), "{printed}\n{again:?}");
            let again = again.unwrap();
            prop_assert_eq!(print(&again), printed);
            prop_assert_eq!(verify(&again).is_ok(), faults.is_ok());
        }
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
