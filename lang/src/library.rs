//! The standard library: files of blocks, written in Gate, that are part of the compiler. `use "std/norms.gate"` names one wherever
//! the model stands; no such name is looked for on disk.

/// What the name of a file of the library begins with.
pub(crate) const PREFIX: &str = "std/";

macro_rules! library {
    ($($name:literal),* $(,)?) => {
        /// Names and texts of all files, by name.
        pub const LIBRARY: &[(&str, &str)] = &[$((concat!("std/", $name), include_str!(concat!("../std/", $name)))),*];
    };
}

library! { "attention.gate", "glu.gate", "graph.gate", "norms.gate", "recurrent.gate", "routers.gate" }

/// The text of a file of the library, by the name that `use` has for it.
pub fn library(name: &str) -> Option<&'static str> {
    LIBRARY.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}
