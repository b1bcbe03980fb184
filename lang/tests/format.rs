//! The formatter: one style, whatever stood there; nothing lost.

use std::path::{Path, PathBuf};

use gatec_lang::format;
use gatec_lang::syntax::{Token, tokens};
use proptest::prelude::*;

/// Every `.gate` file of examples and tests, but for those that the command line is tried on: some are out of shape on purpose.
fn programs() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in ["examples", "tests"] {
        let mut stack = vec![root.join(folder)];
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    if !path.ends_with("tests/cli") {
                        stack.push(path);
                    }
                } else if path.extension().is_some_and(|e| e == "gate") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    found.push((path, text));
                }
            }
        }
    }
    assert!(found.len() > 15);
    found.sort();
    found
}

fn formatted(text: &str) -> String {
    format(text).unwrap_or_else(|d| panic!("{text}\n{}", d.render(false)))
}

/// Words and comments, without commas that end a list.
fn kept(text: &str) -> (Vec<&str>, Vec<&str>) {
    let all = tokens(text);
    let comments = all.iter().flat_map(|t| t.comments.iter().map(|c| c.text)).collect();
    let ends = |i: usize| all[i].text == "," && matches!(all[i + 1].text, ")" | "]" | ";");
    let words = (0..all.len()).filter(|i| !ends(*i)).map(|i| all[i].text).collect();
    (words, comments)
}

#[test]
fn formatting_twice_is_formatting_once_and_programs_are_formatted() {
    for (path, text) in programs() {
        let once = formatted(&text);
        assert_eq!(once, text, "{}: run `gatec fmt`", path.display());
        assert_eq!(formatted(&once), once);
    }
}

#[test]
fn blocks_of_the_reference_are_formatted() {
    for block in include_str!("../../docs/language.md").split("```gate\n").skip(1) {
        let program = block.split("```").next().unwrap_or_default();
        assert_eq!(formatted(program), program);
    }
}

/// The text with other blanks and line ends between its words, where the grammar lets them stand.
fn mangled(text: &str, mut random: impl FnMut(usize) -> usize) -> String {
    let mut out = String::new();
    let all = tokens(text);
    let mut blanks = |most: usize| " ".repeat(random(most + 1));
    for (i, token) in all.iter().enumerate() {
        for comment in &token.comments {
            if comment.blank_before {
                out += "\n\n";
            }
            if comment.own_line && !out.ends_with('\n') {
                out += "\n";
            }
            out += &blanks(9);
            out += comment.text;
            out += "\n";
        }
        if token.blank_before {
            out += "\n\n";
        }
        if i > 0 && token.comments.is_empty() && !token.blank_before {
            let gap = &text[all[i - 1].start + all[i - 1].text.len()..token.start];
            let belongs = |before: &Token| {
                matches!(token.text, "(" | "[" | ".") || matches!(before.text, "." | "@") || token.text.is_empty()
            };
            match (gap.is_empty(), belongs(&all[i - 1])) {
                (true, true) => {}
                (true, false) => out += &blanks(2),
                // A blank, a tab or a new line.
                (false, _) => {
                    out += &blanks(2);
                    out += [" ", "\t", "\n", "\r\n"][blanks(3).len()];
                    out += &blanks(12);
                }
            }
        }
        out += token.text;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn how_a_program_stood_does_not_matter(seed in any::<u64>()) {
        let mut state = seed | 1;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        for (path, text) in programs() {
            let other = mangled(&text, &mut random);
            prop_assert_eq!(&formatted(&other), &formatted(&text), "{}\n{}", path.display(), other);
        }
    }

    #[test]
    fn no_word_and_no_comment_is_lost(at in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..12)) {
        for (path, text) in programs() {
            let all = tokens(&text);
            let mut places: Vec<(usize, bool)> = at.iter().map(|(i, own)| (i.index(all.len()), *own)).collect();
            places.sort_unstable();
            places.dedup_by_key(|p| p.0);
            let mut commented = text.clone();
            for (n, (place, own)) in places.iter().enumerate().rev() {
                let token = &all[*place];
                let before = place.checked_sub(1).map_or("", |i| all[i].text);
                // A bracket follows what it belongs to directly.
                if matches!(token.text, "(" | "[" | ".") || matches!(before, "." | "@") {
                    continue;
                }
                let comment = if *own { format!("\n// note {n}\n") } else { format!(" // note {n}\n") };
                commented.insert_str(token.start, &comment);
            }
            let once = formatted(&commented);
            prop_assert_eq!(kept(&once), kept(&commented), "{}", path.display());
            prop_assert_eq!(&formatted(&once), &once, "{}\n{}", path.display(), commented);
        }
    }
}

#[test]
fn the_layout_follows_from_what_is_written() {
    let text = r#"
// top
axis   d=4 // width
axis hidden = 4*size(d)// another
const taps:f32[k]=[0.25,-0.5 ,inf,]
fn gated(x: f32[..,d],gate: f32[d,..])->f32[..,d]{x*sigmoid(gate)}
model m(x: f32[t,d],second: f32[t,d],third: f32[t,d],fourth: f32[t,d],fifth: f32[t,d])->(y:f32[t,d],other:f32[t,d]){

// why (
param a,b:f32[d , d'] from "w"[ d',d ]


let y=-x@a*third - not_here(second,third;h=4*size(d))[d'->d]
let long = first_of_all(x, second) + second_of_all(third, fourth) * third_of_all(fifth, second, third) + last_of_all(x, second)
  (y: y, // inner
  other: x[t = t-1 else - 1.0] @ [d] a,)
}
"#;
    insta::assert_snapshot!(format(&text.replace("@ [d]", "@[d]")).unwrap());
}
