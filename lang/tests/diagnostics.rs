//! Source and message together, as the user meets them: one program for each code that a program can cause.

use std::path::{Path, PathBuf};

use gatec_lang::diagnostics::codes::{CODES, Entry, SYNTAX, TOO_DEEP};
use gatec_lang::{check_text, format};

/// The programs of a code's page: one with the mistake, and one without it.
fn examples(entry: &Entry) -> (&'static str, &'static str) {
    let programs: Vec<&str> = entry.page.split("```gate\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert_eq!(programs.len(), 2, "the page of {} has one program with the mistake, and one without it", entry.code);
    (programs[0], programs[1])
}

#[test]
fn every_mistake_has_its_message() {
    let mut text = String::new();
    for entry in CODES {
        let (_, diagnostics) = check_text("model.gate", examples(entry).0, &[]);
        let codes: Vec<&str> = diagnostics.list.iter().map(|d| d.code).collect();
        assert_eq!(codes, [entry.code], "{}\n{}", entry.code, diagnostics.render(false));
        text += &format!("{}\n", diagnostics.render(false));
    }
    insta::assert_snapshot!(text);
}

/// Both are laid out as `gatec fmt` has it, as far as they parse.
#[test]
fn what_pages_say_mends_their_programs() {
    for entry in CODES {
        let (wrong, right) = examples(entry);
        let (program, diagnostics) = check_text("model.gate", right, &[]);
        assert!(program.is_some() && diagnostics.list.is_empty(), "{}\n{}", entry.code, diagnostics.render(false));
        for text in [wrong, right] {
            assert!(format(text).is_ok_and(|laid| laid == text) || [SYNTAX, TOO_DEEP].contains(&entry.code), "{text}");
        }
    }
}

/// Each text of `mistakes/` holds programs about one construct, `---` between them.
fn mistakes() -> Vec<(String, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let programs = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, text.split("---\n").map(str::to_string).collect())
    };
    files.iter().map(programs).collect()
}

#[test]
fn mistakes_of_each_construct_have_their_messages() {
    for (name, programs) in mistakes() {
        let mut text = String::new();
        for program in programs {
            let (found, diagnostics) = check_text("model.gate", &program, &[]);
            assert!(found.is_none(), "nothing is wrong with\n{program}");
            text += &format!("{}\n", diagnostics.render(false));
        }
        insta::assert_snapshot!(name, text);
    }
}

/// What a fix says makes another program, and its own message goes.
#[test]
fn fixes_mend_what_they_are_about() {
    let mut mended = 0;
    for program in mistakes().into_iter().flat_map(|m| m.1) {
        let (_, before) = check_text("model.gate", &program, &[]);
        for diagnostic in &before.list {
            let Some((span, fix)) = &diagnostic.fix else { continue };
            let after = format!("{}{fix}{}", &program[..span.start as usize], &program[span.end as usize..]);
            let (_, left) = check_text("model.gate", &after, &[]);
            let same =
                |d: &gatec_lang::diagnostics::Diagnostic| d.code == diagnostic.code && d.message == diagnostic.message;
            assert!(!left.list.iter().any(same), "{after}\n{}", left.render(false));
            mended += 1;
        }
    }
    assert!(mended > 12);
}

#[test]
fn codes_are_unique_and_explained() {
    let mut seen = Vec::new();
    for entry in CODES {
        assert!(!seen.contains(&entry.code), "{} stands twice", entry.code);
        assert!(entry.page.len() > 20, "{} is not explained", entry.code);
        seen.push(entry.code);
    }
}

#[test]
fn a_fix_is_text_that_can_stand_in_its_place() {
    let text = "axis width = 4\nmodel m(x: f32[width]) -> f32[] { sum[widht](x) }";
    let (_, diagnostics) = check_text("model.gate", text, &[]);
    let (span, fix) = diagnostics.list[0].fix.clone().unwrap();
    let mended = format!("{}{fix}{}", &text[..span.start as usize], &text[span.end as usize..]);
    assert!(check_text("model.gate", &mended, &[]).0.is_some(), "{mended}");
}

#[test]
fn all_errors_are_told_at_once_and_none_of_what_follows_from_them() {
    let text = "axis d = 4\nmodel m(x: f32[t, d]) -> f32[t, d] {\n let a = foo(x)\n let b = a + bar\n b + a }";
    let (program, diagnostics) = check_text("model.gate", text, &[]);
    assert!(program.is_none());
    let errors: Vec<&str> =
        diagnostics.list.iter().filter(|d| d.code.starts_with('E')).map(|d| d.message.as_str()).collect();
    assert_eq!(errors, ["no block or function `foo`", "no value `bar` here"]);
}

#[test]
fn messages_come_as_json_too() {
    let (_, diagnostics) = check_text("model.gate", "model m(x: f32[t]) -> f32[t] { y }", &[]);
    let line: serde_json::Value = serde_json::from_str(diagnostics.to_json().lines().next().unwrap()).unwrap();
    assert_eq!(
        (line["code"].as_str(), line["line"].as_i64(), line["column"].as_i64()),
        (Some("E0101"), Some(1), Some(32))
    );
}
