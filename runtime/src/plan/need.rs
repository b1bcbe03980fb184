//! How much memory an entry needs at given sizes, without loading anything.

use super::Program;
use crate::format::{Manifest, Tensor};

/// Bytes that a session takes for an entry, beside what is shared by all sessions of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Between kernels.
    pub arena_bytes: u64,
    /// Of each thread.
    pub scratch_bytes: u64,
    /// States that the entry reads or sets, before a call and after it.
    pub state_bytes: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
}

/// What the entry of that number needs in the variant of that number, with the symbols bound to these sizes.
///
/// # Errors
/// The sizes do not work out: which.
pub fn need(manifest: &Manifest, variant: usize, entry: usize, symbols: &[i64]) -> Result<Need, String> {
    let about = manifest.entries.get(entry).ok_or("no such entry")?;
    let plan = manifest.variants.get(variant).and_then(|v| v.entries.get(entry)).ok_or("no such variant")?;
    let mut program = Program::default();
    program.evaluate(plan, symbols, &|_| Some(u64::MAX)).map_err(|fault| format!("{} is out of range", fault.what))?;
    let all = |tensors: &mut dyn Iterator<Item = &Tensor>| {
        let mut sum = 0u64;
        for t in tensors {
            let bytes = t.bytes(symbols).ok_or_else(|| format!("the size of `{}` is out of range", t.name))?;
            sum = sum.saturating_add(bytes);
        }
        Ok::<u64, String>(sum)
    };
    let mut states: Vec<u32> = about.reads.iter().chain(&about.sets).copied().collect();
    states.sort_unstable();
    states.dedup();
    let states = all(&mut states.iter().filter_map(|s| manifest.states.get(*s as usize)).map(|s| &s.tensor))?;
    Ok(Need {
        arena_bytes: program.arena_bytes,
        scratch_bytes: program.scratch_bytes,
        state_bytes: states.saturating_mul(2),
        input_bytes: all(&mut about.inputs.iter())?,
        output_bytes: all(&mut about.outputs.iter())?,
    })
}
