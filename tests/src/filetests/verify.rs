//! `//! verify`: which rules a module breaks. Faults stand as comments on the lines that break rules.

use gatec::graph::{text, verify};

use crate::{Case, Output};

pub fn run(case: &Case) -> Result<Output, String> {
    let module = text::parse(&case.text).map_err(|e| e.to_string())?;
    let faults = verify::verify(&module).err().unwrap_or_default();
    Ok(Output::Itself(verify::annotate(&module, &faults)))
}
