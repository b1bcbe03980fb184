//! A model's file and those that it uses, read and parsed once each.
//!
//! `use "cells.gate"` names a file from the folder of the file that says so. What it declares (blocks, functions, constants) can
//! be used there; its axes are its own, and a model in it is not built. Files may use each other in a circle.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, codes};
use crate::program::Span;
use crate::syntax::{self, Item};

/// Files of one model.
const MAX_FILES: usize = 256;

/// Parsed files, the model's first; [`Span::file`] is the number of one.
pub(crate) struct Files {
    pub trees: Vec<syntax::File>,
    /// For each file the numbers of those that it uses.
    pub uses: Vec<Vec<usize>>,
    /// Their names and texts, and what is wrong with them.
    pub out: Diagnostics,
}

/// Reads what `text` uses; `name` is its path.
pub(crate) fn open(name: &str, text: &str) -> Files {
    let mut files = Files { trees: Vec::new(), uses: Vec::new(), out: Diagnostics::default() };
    let mut known: Vec<PathBuf> = vec![same(Path::new(name))];
    files.out.files.push((name.to_string(), Arc::from(text)));
    let mut next = 0;
    while next < files.out.files.len() {
        let (path, text) = files.out.files[next].clone();
        let tree = syntax::parse(next as u32, &text).unwrap_or_else(|diagnostic| {
            files.out.list.push(*diagnostic);
            syntax::File::default()
        });
        let folder = Path::new(&path).parent().unwrap_or(Path::new("")).to_path_buf();
        let mut uses = Vec::new();
        for item in &tree.items {
            let Item::Use(used, span) = item else { continue };
            match files.find(&folder.join(used), &mut known, *span) {
                Ok(number) => uses.push(number),
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
    /// The number of a file, which is read if it is new.
    fn find(&mut self, path: &Path, known: &mut Vec<PathBuf>, span: Span) -> Result<usize, Box<Diagnostic>> {
        let one = same(path);
        if let Some(number) = known.iter().position(|k| *k == one) {
            return Ok(number);
        }
        let name = path.display().to_string();
        if known.len() >= MAX_FILES {
            let message = format!("a model is made of at most {MAX_FILES} files");
            return Err(Box::new(Diagnostic::error(codes::TOO_LARGE, span, message)));
        }
        match crate::read(path) {
            Ok(text) => {
                known.push(one);
                self.out.files.push((name, Arc::from(text)));
                Ok(known.len() - 1)
            }
            Err(why) => Err(Box::new(Diagnostic::error(codes::FILE, span, format!("{name}: {why}")))),
        }
    }
}

/// A path under which a file is known, however it is written.
fn same(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}
