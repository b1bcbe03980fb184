//! The standard library: its files parse, are laid out as `gatec fmt` has it, and the programs of `tests/filetests/run` that use it
//! check; they call every block and function of it.

use std::path::Path;

use gatec_lang::syntax::{Callable, File, Item, parse};
use gatec_lang::{LIBRARY, check, check_text, format};

fn callables(tree: &File) -> impl Iterator<Item = &Callable> {
    tree.items.iter().filter_map(|item| if let Item::Callable(c) = item { Some(c) } else { None })
}

#[test]
fn files_of_the_library_are_laid_out_and_have_their_words() {
    for (name, text) in LIBRARY {
        let tree = parse(0, text).unwrap_or_else(|d| panic!("{name}: {}", d.message));
        assert!(!tree.doc.is_empty(), "{name} does not say what it is");
        assert_eq!(format(text).unwrap(), *text, "{name}: run `gatec fmt`");
        let mute: Vec<&str> = callables(&tree).filter(|c| c.doc.is_empty()).map(|c| c.name.text.as_str()).collect();
        assert!(mute.is_empty(), "{name} does not say what these are: {mute:?}");
    }
}

#[test]
fn programs_call_all_of_the_library() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/filetests/run");
    let files = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path());
    let mut all = String::new();
    for path in files.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("std-"))) {
        let Some("gate") = path.extension().and_then(|e| e.to_str()) else { continue };
        let (_, diagnostics) = check(&path, &[]);
        assert!(diagnostics.list.is_empty(), "{}", diagnostics.render(false));
        all += &std::fs::read_to_string(&path).unwrap();
    }
    for (name, text) in LIBRARY {
        let tree = parse(0, text).unwrap();
        all += text;
        for callable in callables(&tree) {
            // Once where it is declared, and once more.
            let uses = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| *w == callable.name.text);
            assert!(uses.count() > 1, "no program calls `{}` of {name}", callable.name.text);
        }
    }
}

/// Wherever the model stands, and whatever lies beside it.
#[test]
fn the_library_is_found_without_a_path() {
    for name in ["nowhere/model.gate", "nowhere/std/model.gate", "<stdin>"] {
        let text = "use unit_norm from \"std/norms.gate\"\nmodel m(x: f32[t]) -> f32[t] { unit_norm(x) }";
        let (program, diagnostics) = check_text(name, text, &[]);
        assert!(program.is_some(), "{}", diagnostics.render(false));
        assert_eq!(diagnostics.files[1].0, "std/norms.gate");
        let text = "use \"norms.gate\"\nmodel m(x: f32[t]) -> f32[t] { unit_norm(x) }";
        assert!(check_text(name, text, &[]).0.is_none(), "{name}: a file of the library without its folder");
    }
}
