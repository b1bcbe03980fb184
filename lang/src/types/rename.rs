//! Renames that somebody forgot, the commonest mistake with named axes: a message about axes that do not fit proposes one.

use super::{Checker, Reported};
use crate::diagnostics::Diagnostic;
use crate::program::{AxisId, Span};

/// A longer operand is not repeated in a proposal.
const LONGEST: usize = 32;

impl Checker<'_> {
    /// Says that a value with the axes `more` beside those that it should have lacks the axes `missing`, where it should have all of
    /// `wanted`. Where sizes leave one way to rename an axis, proposes that.
    pub fn say_misfit(
        &mut self,
        diagnostic: Diagnostic,
        (more, missing, wanted): (&[AxisId], &[AxisId], &[AxisId]),
        at: Span,
    ) -> Reported {
        let help = match missing {
            [] => self.only_pair(more, wanted).map(|(from, to)| {
                let (from, to) = (self.stem(from), self.stem(to));
                format!(
                    "`{from}` is another axis of the size of `{to}`: where they meet, rename one: `x[{from} -> {to}]`"
                )
            }),
            _ => self.renamed(more, missing, at).map(|proposal| format!("rename an axis: {proposal}")),
        };
        self.say(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        })
    }

    /// The value at a place with one of `found` renamed to one of `wanted`, if only two of them have one size.
    pub fn renamed(&self, found: &[AxisId], wanted: &[AxisId], at: Span) -> Option<String> {
        let (from, to) = self.only_pair(found, wanted)?;
        let text = self.text(at);
        let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.'".contains(c));
        let operand = match text {
            name if is_name => name.to_string(),
            text if text.len() <= LONGEST && !text.contains('\n') => format!("({text})"),
            _ => "x".to_string(),
        };
        Some(format!("`{operand}[{} -> {}]`", self.stem(from), self.stem(to)))
    }

    pub fn only_pair(&self, found: &[AxisId], wanted: &[AxisId]) -> Option<(AxisId, AxisId)> {
        let fits = |from: AxisId| {
            let fitting = wanted.iter().filter(move |to| **to != from && self.size(**to) == self.size(from));
            fitting.map(move |to| (from, *to))
        };
        let mut pairs = found.iter().flat_map(|from| fits(*from));
        pairs.next().filter(|_| pairs.next().is_none())
    }
}
