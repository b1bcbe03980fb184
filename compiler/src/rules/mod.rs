//! The rules: what equals what. A rule has a name, a reason and a proof by evaluation ([`crate::egraph::prove`]), or it does not
//! exist.
//!
//! A rule is a pair of patterns ([`crate::egraph::pattern`]) wherever the number of operands is fixed. What no pattern says (N
//! products of one operand become one) is found by a function, which looks at the e-graph through [`Scene`].
//!
//! Whatever its truth depends on stands in `when`: the proof switches each condition off and looks for a program on which the
//! rule is then wrong. What only decides whether it pays (that weights are known at load, say) stands in `pays`, and the proof does
//! without.
//!
//! Sums may change their order, and factors of one product may be multiplied in another order: results then differ by rounding, and
//! where a factor leaves the range of the element type on the way. NaN stays NaN. An infinity stays one unless `infinities`
//! says that it may become NaN: a number never becomes infinite or NaN, nor the reverse.

mod algebra;
mod blocks;
mod experts;
mod gates;
mod identities;
mod loops;
mod nested;
mod recurrence;

use std::fmt;

pub use crate::egraph::scene::Match;
use crate::egraph::scene::Scene;

/// A rewrite rule.
#[derive(Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    pub group: &'static str,
    pub why: &'static str,
    pub phase: Phase,
    pub find: Find,
    /// What must hold for it to be true.
    pub when: &'static [Condition],
    /// What must hold for it to be worth a look.
    pub pays: &'static [Condition],
    pub infinities: Infinities,
}

/// How a rule finds its places.
#[derive(Clone, Copy)]
pub enum Find {
    Pattern {
        from: &'static str,
        to: &'static str,
    },
    Search {
        /// Places where it applies, in a fixed order.
        find: fn(&mut Scene) -> Vec<Match>,
        /// Programs for the proof, in the text form: the rule fires in some, and each condition fails in some. Axes that have one
        /// size in the text have one size in the proof, whatever it is. A pattern's programs are made from it.
        cases: &'static [&'static str],
    },
}

/// What a rule does to infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Infinities {
    Stay,
    /// `inf * (0 * x + y)` is infinite where `inf * 0 * x + inf * y` is not a number.
    MayBeNan,
}

/// A condition of a rule, on variables of its pattern: on the axes of values, or on axes that are attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Disjoint(&'static str, &'static str),
    /// The first has all axes of the second.
    Has(&'static str, &'static str),
    /// The first has no axes but those of the second, and is no scalar.
    Within(&'static str, &'static str),
    /// The sizes of these axes are known, and none is 0.
    NotEmpty(&'static str),
    /// Likewise, or the result has an axis of that size: where it is 0, there is no result.
    NotEmptyAlone(&'static str),
    AtLoad(&'static str),
    Late(&'static str),
    /// An element takes 32 bits at least, and is not stored in fewer than it has. Rounding would show, and weights that are stored in
    /// fewer would be stored anew.
    Wide(&'static str),
    /// Tested by a rule's own search.
    Says(&'static str),
}

impl Condition {
    pub fn variables(&self) -> Vec<&'static str> {
        match *self {
            Self::Disjoint(a, b) | Self::Has(a, b) | Self::Within(a, b) => vec![a, b],
            Self::NotEmpty(a) | Self::NotEmptyAlone(a) | Self::AtLoad(a) | Self::Late(a) | Self::Wide(a) => vec![a],
            Self::Says(_) => Vec::new(),
        }
    }

    pub fn is_about(&self, variable: &str) -> bool {
        match *self {
            Self::Disjoint(a, b) | Self::Has(a, b) | Self::Within(a, b) => a == variable || b == variable,
            Self::NotEmpty(a) | Self::NotEmptyAlone(a) | Self::AtLoad(a) | Self::Late(a) | Self::Wide(a) => {
                a == variable
            }
            Self::Says(_) => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disjoint(a, b) => write!(f, "`{a}` and `{b}` share no axis"),
            Self::Has(a, b) => write!(f, "`{a}` varies along all of `{b}`"),
            Self::Within(a, b) => write!(f, "`{a}` varies along `{b}` and nothing else"),
            Self::NotEmpty(k) => write!(f, "`{k}` is known not to be empty"),
            Self::NotEmptyAlone(k) => write!(f, "`{k}` is known not to be empty, or the result is where it is"),
            Self::AtLoad(x) => write!(f, "`{x}` is known at load"),
            Self::Late(x) => write!(f, "`{x}` is not known at load"),
            Self::Wide(x) => write!(f, "`{x}` is of 32 bits at least, and stored in no fewer than it has"),
            Self::Says(what) => f.write_str(what),
        }
    }
}

/// When rules run: one phase to its end, then the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before others rewrite them: what was written several times.
    Blocks,
    /// One value at a time.
    Values,
    /// Products that share an operand: each group once, when there is no more to find.
    Gates,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Blocks, Self::Values, Self::Gates];

    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Values => "values",
            Self::Gates => "gates",
        }
    }
}

/// All rules; those of a phase are tried in this order.
pub const RULES: &[Rule] = &[
    blocks::BLOCKS_IN_A_SUM,
    blocks::BLOCKS_IN_A_STACK,
    experts::GATHER_INWARDS,
    experts::GATHER_OR_ZERO_INWARDS,
    nested::GATHER_OF_GATHER,
    nested::EXPERTS_OF_EXPERTS,
    loops::GATHER_INTO_LOOP,
    algebra::SCALE_INTO_WEIGHTS,
    algebra::GATE_INTO_PRODUCT,
    algebra::GATE_OUT_OF_PRODUCT,
    algebra::PRODUCT_ORDER,
    algebra::SUM_OF_PRODUCTS,
    algebra::SUMS_INTO_ONE,
    algebra::SUM_INTO_PRODUCT,
    identities::SIGMOID_WRITTEN_OUT,
    identities::TANH_OF_SIGMOID,
    gates::PRODUCTS_OF_ONE_OPERAND,
    recurrence::STEPS_IN_CHUNKS,
];

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
        page += "\n## Rules, each proved by evaluation\n";
        for phase in Phase::ALL {
            page += &format!("\nPhase `{}`:\n", phase.name());
            for rule in RULES.iter().filter(|r| r.phase == phase) {
                page += &format!("\n- **{}** ({}): {}.\n", rule.name, rule.group, rule.why);
                if let Find::Pattern { from, to } = rule.find {
                    page += &format!("  `{from}` is `{to}`.\n");
                }
                let list = |c: &[Condition]| c.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                if !rule.when.is_empty() {
                    page += &format!("  Right only if {}.\n", list(rule.when));
                }
                if !rule.pays.is_empty() {
                    page += &format!("  Looked at only if {}.\n", list(rule.pays));
                }
                if rule.infinities == Infinities::MayBeNan {
                    page += "  An infinity may become NaN.\n";
                }
            }
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
