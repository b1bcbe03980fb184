//! A model's file and those that it uses, read and parsed once each.
//!
//! `use "cells.gate"` names a file from the folder of the file that says so. What it declares (blocks, functions, constants) can
//! be used there; its axes are its own, and a model in it is not built. Files may use each other in a circle. A name that begins with
//! `std/` is one of the library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, codes, near};
use crate::library::{LIBRARY, PREFIX};
use crate::program::Span;
use crate::syntax::{self, Item, Name};

/// Files of one model.
const MAX_FILES: usize = 256;

/// Parsed files, the model's first; [`Span::file`] is the number of one.
pub(crate) struct Files {
    pub trees: Vec<syntax::File>,
    /// For each file what it uses.
    pub uses: Vec<Vec<Used>>,
    /// Their names and texts, and what is wrong with them.
    pub out: Diagnostics,
}

/// A file that another one uses.
pub(crate) struct Used {
    pub file: usize,
    /// The names that are asked for; all of them where none is written.
    pub names: Option<Vec<Name>>,
}

/// Under what a file is known.
#[derive(PartialEq, Eq)]
enum Place {
    Library(&'static str),
    Disk(PathBuf),
}

/// Reads what `text` uses; `name` is its path.
pub(crate) fn open(name: &str, text: &str) -> Files {
    let mut files = Files { trees: Vec::new(), uses: Vec::new(), out: Diagnostics::default() };
    let mut known: Vec<Place> = vec![on_disk(Path::new(name))];
    files.out.files.push((name.to_string(), Arc::from(text)));
    let mut next = 0;
    while next < files.out.files.len() {
        let (path, text) = files.out.files[next].clone();
        let tree = syntax::parse(next as u32, &text).unwrap_or_else(|diagnostic| {
            files.out.list.push(*diagnostic);
            syntax::File::default()
        });
        let folder = Path::new(&path).parent().unwrap_or(Path::new("")).to_path_buf();
        let mut uses: Vec<Used> = Vec::new();
        for item in &tree.items {
            let Item::Use(used) = item else { continue };
            let found = match used.path.starts_with(PREFIX) {
                true => files.in_library(&used.path, &mut known, used.path_span),
                false => files.find(&folder.join(&used.path), &mut known, used.path_span),
            };
            match found {
                Ok(file) => uses.push(Used { file, names: used.names.clone() }),
                Err(diagnostic) => files.out.list.push(*diagnostic),
            }
        }
        files.trees.push(tree);
        files.uses.push(uses);
        next += 1;
    }
    files
}

impl Files {
    /// The number of a file on disk, which is read if it is new.
    fn find(&mut self, path: &Path, known: &mut Vec<Place>, span: Span) -> Result<usize, Box<Diagnostic>> {
        let name = path.display().to_string();
        self.number(name, on_disk(path), known, span, || crate::read(path).map_err(|e| e.to_string()))
    }

    /// The number of a file of the library.
    fn in_library(&mut self, name: &str, known: &mut Vec<Place>, span: Span) -> Result<usize, Box<Diagnostic>> {
        match LIBRARY.iter().find(|(n, _)| *n == name) {
            Some((name, text)) => {
                self.number((*name).to_string(), Place::Library(name), known, span, || Ok((*text).to_string()))
            }
            None => {
                let names: Vec<&str> = LIBRARY.iter().map(|(name, _)| *name).collect();
                let diagnostic =
                    Diagnostic::error(codes::FILE, span, format!("the standard library has no file `{name}`"));
                Err(Box::new(match near(name, names.iter().copied()) {
                    Some(near) => diagnostic.fix(span, format!("\"{near}\"")),
                    None => diagnostic.help(format!("it has {}", names.join(", "))),
                }))
            }
        }
    }

    fn number(
        &mut self,
        name: String,
        place: Place,
        known: &mut Vec<Place>,
        span: Span,
        read: impl FnOnce() -> Result<String, String>,
    ) -> Result<usize, Box<Diagnostic>> {
        if let Some(number) = known.iter().position(|k| *k == place) {
            return Ok(number);
        }
        if known.len() >= MAX_FILES {
            let message = format!("a model is made of at most {MAX_FILES} files");
            return Err(Box::new(Diagnostic::error(codes::TOO_LARGE, span, message)));
        }
        match read() {
            Ok(text) => {
                known.push(place);
                self.out.files.push((name, Arc::from(text)));
                Ok(known.len() - 1)
            }
            Err(why) => Err(Box::new(Diagnostic::error(codes::FILE, span, format!("{name}: {why}")))),
        }
    }
}

/// A path under which a file is known, however it is written.
fn on_disk(path: &Path) -> Place {
    Place::Disk(path.canonicalize().unwrap_or_else(|_| path.to_path_buf()))
}
