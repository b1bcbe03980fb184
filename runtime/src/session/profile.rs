//! Where the time of runs goes, by call of a kernel.

use std::fmt;

use super::{Session, model};

/// A call of a kernel, over all runs since the profile was switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallProfile {
    /// What the kernel computes.
    pub label: String,
    /// The lines of the source that it stands for.
    pub lines: Vec<(String, u32)>,
    pub calls: u64,
    /// As the calling thread saw it: its own share of work that several threads did.
    pub ns: u64,
}

impl fmt::Display for CallProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.ns as f64 / self.calls.max(1) as f64;
        write!(f, "{:>10.1} us  {:>8} x {:>9.2} us  {}", self.ns as f64 / 1e3, self.calls, each / 1e3, self.label)?;
        for (i, (file, line)) in self.lines.iter().enumerate() {
            write!(f, "{}{file}:{line}", if i == 0 { "  " } else { ", " })?;
        }
        Ok(())
    }
}

impl Session {
    /// Switches the profile on or off, from zero. While it is on, each call costs two readings of the clock; off, nothing.
    pub fn set_profiled(&mut self, on: bool) -> &mut Self {
        self.profiled = on;
        for bound in self.entries.iter_mut().flatten() {
            bound.engine.clear_times();
        }
        self
    }

    /// The calls of the entry's plan in their order, with their times.
    pub fn profile(&self) -> Vec<CallProfile> {
        let variant = self.model.variant();
        let times = self.entries[self.entry].as_ref().map(|b| b.engine.times()).unwrap_or_default();
        let calls = model::calls(&variant.entries[self.entry].steps).enumerate();
        calls
            .map(|(number, call)| {
                // Calls without work have no time.
                let time = times.get(number).copied().unwrap_or_default();
                let label = model::label(variant, call);
                CallProfile { label, lines: call.lines.clone(), calls: time.calls, ns: time.ns }
            })
            .collect()
    }
}
