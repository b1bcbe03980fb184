//! The blocks, functions and types of records of a file: signatures, and what is said of them.

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
        let (name, doc, start, end) = match item {
            Item::Type(ty) => (&ty.name, &ty.doc, ty.span.start, ty.span.end),
            Item::Callable(callable) if callable.kind != CallableKind::Model => {
                (&callable.name, &callable.doc, callable.span.start, callable.body.span.start)
            }
            _ => continue,
        };
        page.push(Part::Heading(level, name.text.clone()));
        page.push(Part::Code(text.get(start as usize..end as usize).unwrap_or_default().trim_end().to_string()));
        page.extend(paragraphs(doc));
    }
    page
}
