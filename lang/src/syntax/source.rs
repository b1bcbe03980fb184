//! `from "name"[order]`, and `from "name"` behind an instance.

use super::parse::{P, Parts, Rule, Tree};
use super::{FileAxis, FileFactor, Place, Source};

impl Tree<'_> {
    pub(super) fn source(&self, pair: P) -> Source {
        let mut parts = Parts::of(pair);
        let Place { name, span } = self.named_place(parts.next());
        let order = parts.take(Rule::file_order).map(|p| p.into_inner().map(|axis| self.file_axis(axis)).collect());
        Source { name, name_span: span, order }
    }

    pub(super) fn place(&self, pair: P) -> Place {
        self.named_place(Parts::of(pair).next())
    }

    fn named_place(&self, string: P) -> Place {
        let span = self.span(&string);
        Place { name: string.into_inner().map(|p| p.as_str().to_string()).collect(), span }
    }

    fn file_axis(&self, pair: P) -> FileAxis {
        let span = self.span(&pair);
        let factor = |p: P| match Parts::of(p).next() {
            p if p.as_rule() == Rule::one_of => FileFactor::OneOf(p.into_inner().map(|p| self.name(p)).collect()),
            p => FileFactor::Name(self.name(p)),
        };
        let terms = pair.into_inner().map(|term| term.into_inner().map(factor).collect()).collect();
        FileAxis { terms, span }
    }
}
