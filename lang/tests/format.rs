//! The formatter: one style, nothing lost.

use std::path::Path;

use gatec_lang::format;

#[test]
fn formatting_twice_is_formatting_once_and_examples_are_formatted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for folder in ["examples", "tests"] {
        let mut stack = vec![root.join(folder)];
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    stack.push(path);
                } else if path.extension().is_some_and(|e| e == "gate") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let once = format(&text).unwrap_or_else(|d| panic!("{}", d.render(false)));
                    assert_eq!(once, text, "{}: run `gatec fmt`", path.display());
                    assert_eq!(format(&once).unwrap(), once);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 5);
}

#[test]
fn comments_stay_and_brackets_indent() {
    let text =
        "// top\nmodel m(x: f32[t])   -> f32[t]   {\n// why (\nlet y =   x   \n\n\n  y + ( // inner\n1.0\n)\n}\n\n\n";
    let formatted = format(text).unwrap();
    insta::assert_snapshot!(formatted, @r"
    // top
    model m(x: f32[t])   -> f32[t]   {
        // why (
        let y =   x

        y + ( // inner
            1.0
        )
    }
    ");
}
