//! How much memory an entry needs at given sizes, without loading anything.

use super::Program;
use super::arena::Interval;
use crate::format::{Manifest, Tensor};

/// Bytes that a session takes for an entry, beside what is shared by all sessions of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Between kernels.
    pub arena_bytes: u64,
    /// Of these, what must live together where that is most: no placement takes less.
    pub live_bytes: u64,
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
        live_bytes: live(&program.intervals),
        scratch_bytes: program.scratch_bytes,
        state_bytes: states.saturating_mul(2),
        input_bytes: all(&mut about.inputs.iter())?,
        output_bytes: all(&mut about.outputs.iter())?,
    })
}

/// The most bytes of buffers that live at the same step.
fn live(intervals: &[Interval]) -> u64 {
    let mut changes: Vec<(u32, i128)> = Vec::new();
    for i in intervals {
        changes.push((i.from, i128::from(i.bytes)));
        changes.push((i.to.saturating_add(1), -i128::from(i.bytes)));
    }
    // At the same step those that end make room first.
    changes.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    u64::try_from(most).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_together_counts_and_what_follows_does_not() {
        let of = |from, to, bytes| Interval { buffer: 0, from, to, bytes, offset: 0 };
        assert_eq!(live(&[]), 0);
        assert_eq!(live(&[of(0, 1, 10), of(1, 2, 20), of(2, 3, 10), of(3, 9, 5), of(4, 4, 100)]), 105);
    }
}
