//! `//! verify`: which rules a module breaks. Faults stand as comments on the lines that break rules.

use gatec::graph::{text, verify};

use crate::{Case, Output};

pub fn run(case: &Case) -> Result<Output, String> {
    let module = text::parse(&case.text).map_err(|e| e.to_string())?;
    let faults = verify::verify(&module).err().unwrap_or_default();
    Ok(Output::Itself(verify::annotate(&module, &faults)))
}

/// The module that `docs/ir.md` shows is a filetest.
#[test]
fn the_reference_shows_a_module_that_verifies() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap_or_default();
    let lines = |text: &str, indent: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|l| !l.starts_with(&format!("{indent}module")));
        lines.take_while(|l| l.is_empty() || l.starts_with(indent)).map(|l| l.trim().to_owned()).collect()
    };
    let shown = lines(&read("../docs/ir.md"), "    ").join("\n");
    assert_eq!(shown.trim(), lines(&read("filetests/verify/docs.gir"), "").join("\n").trim());
}
