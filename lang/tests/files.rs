//! A model of several files.

use std::path::{Path, PathBuf};

use gatec_lang::{check, check_text};

fn parts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parts")
}

/// A program beside the files of `tests/parts`.
fn beside(text: &str) -> String {
    let (program, diagnostics) = check_text(&parts().join("here.gate").display().to_string(), text, &[]);
    assert_eq!(program.is_none(), diagnostics.has_errors());
    let folder = format!("{}/", parts().display());
    diagnostics.render(false).replace(&folder, "")
}

#[test]
fn a_file_is_found_from_the_folder_of_the_one_that_uses_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/filetests/run/use.gate");
    let (program, diagnostics) = check(&path, &[("h".into(), 5)]);
    let program = program.unwrap_or_else(|| panic!("{}", diagnostics.render(false)));
    let names: Vec<&str> = program.params.iter().map(|p| p.tensor.name.as_str()).collect();
    assert_eq!(names, ["w", "cell.up", "cell.down"]);
    // Sizes that are given are those of the model's file.
    let sizes = |id: usize| -> Vec<i64> {
        program.params[id].tensor.order.iter().map(|a| program.axis(*a).size.as_known().unwrap()).collect()
    };
    assert_eq!((sizes(0), sizes(1)), (vec![4, 5], vec![4, 6]));
    assert_eq!(program.files.len(), 3);
}

#[test]
fn what_is_wrong_with_files_is_told() {
    let model = "model m(x: f32[t, d]) -> f32[t, d] { cell(x) }";
    let texts = [
        format!("use \"missing.gate\"\naxis d = 4\n{model}"),
        format!("use \"../parts\"\naxis d = 4\n{model}"),
        // Twice the same name; a name of a file that the used one uses; another file's axis.
        format!("use \"cells.gate\"\naxis d = 4\nfn damped(x: f32[..]) -> f32[..] {{ x }}\n{model}"),
        "use \"cells.gate\"\naxis d = 4\nmodel m(x: f32[t, d]) -> f32[t, d] { centred(x) }".to_string(),
        "use \"cells.gate\"\naxis d = 4\nmodel m(x: f32[t, d]) -> f32[t, d] { x * size(h) }".to_string(),
        // What is wrong with an argument is wrong here, what is wrong in a block is wrong there.
        "use \"cells.gate\"\nmodel m(x: f32[t]) -> f32[t] { cell(x) }".to_string(),
    ];
    let messages: Vec<String> = texts.iter().map(|text| beside(text)).collect();
    insta::assert_snapshot!(messages.join("\n"));
}

/// Files may use each other in a circle, blocks may not.
#[test]
fn a_circle_of_files_is_no_circle_of_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let checked = || {
        let (program, diagnostics) = check(&dir.path().join("a.gate"), &[]);
        assert_eq!(program.is_none(), diagnostics.has_errors());
        diagnostics.render(false).replace(&format!("{}/", dir.path().display()), "")
    };
    let model = "model m(x: f32[t, d]) -> f32[t, d] { outer(x) }\n";
    write(
        "a.gate",
        &format!("use \"b.gate\"\naxis d = 4\nblock inner(x: f32[.., d]) -> f32[.., d] {{ x + 1.0 }}\n{model}"),
    );
    write("b.gate", "use inner from \"a.gate\"\naxis d = 4\nblock outer(x: f32[.., d]) -> f32[.., d] { inner(x) }\n");
    assert_eq!(checked(), "");
    write(
        "a.gate",
        &format!(
            "use \"b.gate\"\nuse \"a.gate\"\naxis d = 4\nblock inner(x: f32[.., d]) -> f32[.., d] {{ outer(x) }}\n{model}"
        ),
    );
    insta::assert_snapshot!(checked());
}
