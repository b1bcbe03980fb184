//! `//! fuse: MACHINE`: the kernels that a module becomes on a kind of machine (`x86-64-v3`, `sm_80`), where their left operands come
//! from, and which slower ways were taken.
//!
//! `//! expect: kernels 2, evaluated 1, slower 0` counts kernels of the entries and of loading, prologues, and slower ways.

use gatec::graph::{text, verify};
use gatec::kernel;
use gatec::plan;
use gatec::schedule::{BodySchedule, Left};
use gatec_runtime::format::Isa;

use crate::{Case, Output};

pub fn run(case: &Case) -> Result<Output, String> {
    let module = text::parse(&case.text).map_err(|e| e.to_string())?;
    verify::verify(&module).map_err(|faults| format!("{faults:#?}"))?;
    let isa = Isa::ALL.iter().copied().find(|isa| isa.to_string() == case.argument);
    let isa = isa.ok_or_else(|| format!("no machine `{}`: {:?}", case.argument, Isa::ALL.map(|i| i.to_string())))?;
    let planned = plan::plan(&module, isa, &[], &Default::default()).map_err(|e| e.to_string())?;
    let mut text = String::new();
    let mut evaluated = 0;
    for (_, kernel, schedule) in &planned.kernels {
        text += &kernel::text::print(kernel);
        if matches!(&schedule.body, BodySchedule::Contract(tile) if tile.left == Left::Evaluated) {
            evaluated += 1;
            text += "// its prologue evaluates the left operand\n";
        }
        text += "\n";
    }
    for slower in &planned.slower {
        text += &format!("// {}: `{}`: {}\n", slower.way.words(), slower.value, slower.why);
    }
    for line in &case.header {
        let Some(wanted) = line.strip_prefix("expect:") else { return Err(format!("`{line}` is no expectation")) };
        for part in wanted.split(',') {
            let (what, count) = part.trim().split_once(' ').ok_or_else(|| format!("`{part}` counts nothing"))?;
            let found = match what {
                "kernels" => planned.kernels.len(),
                "evaluated" => evaluated,
                "slower" => planned.slower.len(),
                other => return Err(format!("`{other}` is not counted")),
            };
            if count.parse() != Ok(found) {
                return Err(format!("expected {}, found {found}\n{text}", part.trim()));
            }
        }
    }
    Ok(Output::Snapshot(text))
}
