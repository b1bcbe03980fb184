//! The blocks and functions of a file: signatures, and what is said of them.

use gatec_lang::syntax::{CallableKind, File, Item};

use super::{Part, paragraphs};

/// Is there something to build in a file?
pub fn has_model(tree: &File) -> bool {
    tree.items.iter().any(|item| match item {
        Item::Network(_) => true,
        Item::Callable(callable) => callable.kind == CallableKind::Model,
        _ => false,
    })
}

/// A heading, a signature and its words for each, in their order. `text` is the file's.
pub fn parts(level: u8, text: &str, tree: &File) -> Vec<Part> {
    let mut page = Vec::new();
    for item in &tree.items {
        let Item::Callable(callable) = item else { continue };
        if callable.kind == CallableKind::Model {
            continue;
        }
        page.push(Part::Heading(level, callable.name.text.clone()));
        let (start, end) = (callable.span.start as usize, callable.body.span.start as usize);
        page.push(Part::Code(text.get(start..end).unwrap_or_default().trim_end().to_string()));
        page.extend(paragraphs(&callable.doc));
    }
    page
}
