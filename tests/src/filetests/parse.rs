//! `//! parse`: the error of a text that is no module, or the module as it prints.

use gatec::graph::text;

use crate::{Case, Output};

pub fn run(case: &Case) -> Result<Output, String> {
    let module = match text::parse(&case.text) {
        Ok(module) => module,
        Err(e) => return Ok(Output::Snapshot(e.to_string())),
    };
    let printed = text::print(&module);
    let again = text::parse(&printed).map_err(|e| format!("what was printed does not read back: {e}"))?;
    if text::print(&again) != printed {
        return Err("what was printed reads back to something else".into());
    }
    Ok(Output::Snapshot(printed))
}
