//! The rules: what equals what. A rule has a name, a reason and a proof by evaluation ([`crate::egraph::prove`]), or it does not
//! exist.
//!
//! What a rule finds is said by a function, for the number of operands varies; it looks at the e-graph through [`Scene`] and
//! gives replacements as [`Tree`]s. Whatever its truth depends on stands in `when`: the proof switches each condition off and looks
//! for a program on which the rule is then wrong. What only decides whether a rule pays (that weights are known at load, say)
//! is no condition.
//!
//! All rules keep infinities and NaN. Sums may change their order, and factors of one product may be multiplied in another
//! order: results then differ by rounding, and where a factor leaves the range of the element type on the way.

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
    pub when: &'static [Condition],
    /// Programs for the proof, in the text form: the rule fires in some, and each condition fails in some. Axes that have one size
    /// in the text have one size in the proof, whatever it is.
    pub cases: &'static [&'static str],
}

/// What must hold for a rule to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(pub &'static str);

/// A class of values and another way to write it.
pub struct Match {
    pub class: Id,
    pub tree: Tree,
    /// The new way is better whatever the sizes: the old one is not taken out again.
    pub supersedes: bool,
}

/// All rules, in the order in which they are tried.
pub const RULES: &[Rule] = &[experts::GATHER_INWARDS, algebra::SCALE_INTO_WEIGHTS, gates::PRODUCTS_OF_ONE_OPERAND];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PASSES;

    /// `docs/generated/rules.md` comes from the lists of passes and rules.
    #[test]
    fn the_page_of_passes_and_rules_is_up_to_date() {
        let mut page = String::from(
            "# Passes and rules\n\nMade from the lists in `compiler/src/pipeline.rs` and `compiler/src/rules`; `make bless` writes it anew.\n\n## Passes, in their order\n\n| pass | what it does |\n| --- | --- |\n",
        );
        for pass in PASSES {
            page += &format!("| `{}` | {} |\n", pass.name, pass.about);
        }
        page += "\n## Rules, each proved by evaluation\n\n| rule | group | why | right only if |\n| --- | --- | --- | --- |\n";
        for rule in RULES {
            let when: Vec<&str> = rule.when.iter().map(|c| c.0).collect();
            page += &format!("| `{}` | {} | {} | {} |\n", rule.name, rule.group, rule.why, when.join("; "));
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/generated/rules.md");
        if matches!(std::env::var("INSTA_UPDATE").as_deref(), Ok("always" | "1")) {
            std::fs::write(&path, &page).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap_or_default(),
            page,
            "docs/generated/rules.md is stale: make bless"
        );
    }
}
