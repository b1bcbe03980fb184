//! The rules: what equals what. A rule has a name, a reason and a proof by evaluation (`egraph::prove`), or it does not exist.
//!
//! What a rule finds is said by a function, for the number of operands varies; it looks at the e-graph through [`Scene`] and
//! gives replacements as [`Tree`]s.

mod algebra;
mod experts;
mod gates;

use egg::Id;

use crate::egraph::{Scene, Tree};

/// A rewrite rule.
#[derive(Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    pub group: &'static str,
    pub why: &'static str,
    /// Places where it applies, in a fixed order.
    pub find: fn(&mut Scene) -> Vec<Match>,
}

/// A class of values and another way to write it.
pub struct Match {
    pub class: Id,
    pub tree: Tree,
    /// The new way is better whatever the sizes: the old one is not taken out again.
    pub supersedes: bool,
}

/// All rules, in the order in which they are tried.
pub const RULES: &[Rule] = &[experts::GATHER_INWARDS, algebra::SCALE_INTO_WEIGHTS, gates::PRODUCTS_OF_ONE_OPERAND];
