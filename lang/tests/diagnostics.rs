//! Source and message together, as the user meets them: one program for each code that a program can cause.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatec_lang::check_text;
use gatec_lang::diagnostics::codes::CODES;

/// (code, program)
const WRONG: &[(&str, &str)] = &[
    ("E0001", "model m(x: f32[t]) -> f32[t] { x + }"),
    ("E0101", "model m(input: f32[t]) -> f32[t] { inptu * 2.0 }"),
    ("E0102", "axis d = 4\naxis d = 8\nmodel m(x: f32[d]) -> f32[d] { x }"),
    ("E0103", "axis width = 4\nmodel m(x: f32[width]) -> f32[] { sum[widht](x) }"),
    ("E0104", "model m(x: f33[t]) -> f32[t] { x }"),
    ("E0105", "axis d = 4"),
    ("E0106", "block a(x: f32[..]) -> f32[..] { a(x) }\nmodel m(x: f32[t]) -> f32[t] { a(x) }"),
    ("E0107", "axis d = 1.5\nmodel m(x: f32[d]) -> f32[d] { x }"),
    ("E0108", "axis e = 4\nmodel m(x: f32[t, e]) -> f32[t, e] { grad(x) }"),
    ("E0202", "model m(x: f32[t], n: i32[t]) -> f32[t] { x * n }"),
    ("E0203", "axis d = 4\naxis h = 8\nmodel m(a: f32[d, h], b: f32[d, h]) -> f32[] { a @ b }"),
    (
        "E0204",
        "axis d = 4\naxis h = 8\nblock f(x: f32[d, h]) -> f32[d] { sum[h](x) }\nmodel m(x: f32[t]) -> f32[d] { f(x) }",
    ),
    ("E0205", "axis d = 5\naxis h = 2\nmodel m(x: f32[d]) -> f32[h, k] { x[d -> h * k] }"),
    ("E0206", "axis d = 4\nmodel m(x: f32[d]) -> f32[] { x[d = 4] }"),
    ("E0207", "model m(x: f32[t]) -> f32[t] { (a: x, b: x) + 1.0 }"),
    ("E0208", "model m(x: f32[t]) -> f32[t] { tanh(x, x) }"),
    ("E0209", "axis d = 8\nmodel m(x: f32[d]) -> f32[d, k] { window(x, d -> k: sum[d](x), pad = 1) }"),
    ("E0210", "model m(x: f32[t]) -> f32[t] { let r = (left: x, right: x)\n r.rigth }"),
    (
        "E0211",
        "axis d = 4\nmodel m(x: f32[t, d]) -> f32[t, d] {\n scan t carry (h: f32[d] = 0.0, c: f32[d] = 0.0) { next h + x } yield h }",
    ),
    (
        "E0212",
        "axis e = 4\naxis d = 4\nmodel m(x: f32[t, d]) -> f32[t, d] {\n param w: f32[d, e]\n route x over e by topk(x @ w, 9) { x } mix sum }",
    ),
    (
        "E0213",
        "axis d = 4\naxis h = 8\nmodel m(x: f32[t, d]) -> f32[t, h] {\n param w: f32[d, h] from \"w\"[h]\n x @ w }",
    ),
    (
        "E0214",
        "axis d = 4\nblock f(x: f32[.., d]) -> f32[.., d] { sum[d](x) }\nmodel m(x: f32[t, d]) -> f32[t, d] { f(x) }",
    ),
    (
        "E0215",
        "axis d = 4\nblock f(x: f32[.., d]) -> f32[.., d] { param b: f32[d]\n x + b }\nmodel m(x: f32[t, d]) -> f32[t, d] { f(f(x)) }",
    ),
    ("E0216", "axis d = 4\naxis h = 8\nmodel m(x: f32[t, d]) -> f32[t, h] {\n param w: q4[d, h]\n x @ w }"),
    ("W0301", "axis d = 4\nmodel m(x: f32[t, d]) -> f32[t, d] { let y = x + 1.0\n x }"),
];

#[test]
fn every_mistake_has_its_message() {
    let mut text = String::new();
    for (code, program) in WRONG {
        let (_, diagnostics) = check_text("model.gate", program, &[]);
        let codes: Vec<&str> = diagnostics.list.iter().map(|d| d.code).collect();
        assert!(codes.contains(code), "{program}\nexpected {code}, found {codes:?}");
        text += &format!("{}\n", diagnostics.render(false));
    }
    insta::assert_snapshot!(text);
}

/// Rewritten where snapshots are (`INSTA_UPDATE=always`).
#[test]
fn the_page_of_errors_is_what_the_codes_say() {
    let mut page = String::from(
        "# Errors and warnings\n\nA code never changes its meaning. `gatec explain E0203` says the same. Made from `lang/src/diagnostics/codes.rs` and the tests \
         beside it: `make bless` rewrites it.\n",
    );
    for entry in CODES {
        page += &format!("\n## {}: {}\n\n{}\n", entry.code, entry.title, entry.explanation);
        let Some((_, program)) = WRONG.iter().find(|(code, _)| *code == entry.code) else { continue };
        let diagnostics = check_text("model.gate", program, &[]).1.list;
        let Some(found) = diagnostics.iter().find(|d| d.code == entry.code) else { continue };
        page += &format!("\n```text\n{program}\n```\n\n> {}\n", found.message);
        if let Some(help) = &found.help {
            page += &format!(">\n> Help: {help}\n");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "docs/errors.md: run `make bless`");
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
fn every_code_has_a_program() {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let programs = mistakes().into_iter().flat_map(|m| m.1).chain(WRONG.iter().map(|w| w.1.to_string()));
    let large = "// nothing\n".repeat(1 << 19);
    for program in programs.chain([large, "(".repeat(1000)]) {
        seen.extend(check_text("model.gate", &program, &[]).1.list.iter().map(|d| d.code));
    }
    seen.extend(gatec_lang::check(Path::new("no such file"), &[]).1.list.iter().map(|d| d.code));
    let missing: Vec<&str> = CODES.iter().map(|e| e.code).filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no program shows {missing:?}");
}

#[test]
fn codes_are_unique_and_explained() {
    let mut seen = Vec::new();
    for entry in CODES {
        assert!(!seen.contains(&entry.code), "{} stands twice", entry.code);
        assert!(entry.explanation.len() > 20, "{} is not explained", entry.code);
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
