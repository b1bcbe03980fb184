//! Directed passes: what is right whatever it costs. One pass is one file.

mod canonicalize;
mod dead_code;
mod narrow;
mod told;

pub use canonicalize::canonicalize;
pub use dead_code::dead_code;
pub use narrow::narrow;
pub use told::tell;

use crate::graph::Module;
use crate::pipeline::{OptimizeOptions, Report};

/// Canonical form and no dead code, once more.
pub fn clean(module: Module, options: &OptimizeOptions, report: &mut Report) -> Result<Module, String> {
    let module = canonicalize(module, options, report)?;
    dead_code(module, options, report)
}
