//! Algebra that pays: sums of products over named axes may be taken in another order.

use super::Condition::{AtLoad, Disjoint, Has, Late, NotEmpty, NotEmptyAlone, Wide, Within};
use super::{Find, Infinities, Phase, Rule};

/// A norm's scale goes into the next product's weights.
pub const SCALE_INTO_WEIGHTS: Rule = Rule {
    name: "scale-into-weights",
    group: "algebra",
    why: "a factor known at load is multiplied into the weights once, not into every row",
    phase: Phase::Values,
    find: Find::Pattern { from: "(contract ?k (mul ?s.. ?x..) ?w)", to: "(contract ?k (mul ?x..) (mul ?s.. ?w))" },
    // What is left of the product must still vary as the product did along the sum.
    when: &[Has("?x", "?k")],
    pays: &[AtLoad("?s"), Within("?s", "?k"), Late("?x"), AtLoad("?w"), Wide("?w")],
    infinities: Infinities::Stay,
};

/// A number or a scale after a product is taken into its weights; a gate of the rows before a wide product costs less than after it.
pub const GATE_INTO_PRODUCT: Rule = Rule {
    name: "gate-into-product",
    group: "algebra",
    why: "a factor that does not vary along the sum may scale an operand instead of the result",
    phase: Phase::Values,
    find: Find::Pattern { from: "(mul ?g.. (contract ?k ?x ?w))", to: "(contract ?k (mul ?g.. ?x) ?w)" },
    when: &[Disjoint("?g", "?k"), NotEmpty("?k")],
    pays: &[Wide("?x"), Wide("?w")],
    infinities: Infinities::MayBeNan,
};

/// The root mean square of a norm scales the product's rows, where fewer elements are to be scaled than before it.
pub const GATE_OUT_OF_PRODUCT: Rule = Rule {
    name: "gate-out-of-product",
    group: "algebra",
    why: "a factor that does not vary along the sum may scale the result instead of an operand",
    phase: Phase::Values,
    find: Find::Pattern { from: "(contract ?k (mul ?g.. ?x..) ?w)", to: "(mul ?g.. (contract ?k (mul ?x..) ?w))" },
    when: &[Disjoint("?g", "?k"), NotEmpty("?k")],
    pays: &[Late("?g"), Wide("?x"), Wide("?w")],
    infinities: Infinities::MayBeNan,
};

/// Both the mixing of linear maps, `sum over e of g[e] * (x @ w[e])` as `x @ (sum over e of g[e] * w[e])`, and the order of low-rank
/// products, `(x @ a) @ b` as `x @ (a @ b)`: contractions are associative. The same rule leads back.
pub const PRODUCT_ORDER: Rule = Rule {
    name: "product-order",
    group: "algebra",
    why: "of two products in a row either may come first: the thin one, or that of weights for all rows at once",
    phase: Phase::Values,
    find: Find::Pattern { from: "(contract ?e ?g (contract ?k ?x ?w))", to: "(contract ?k ?x (contract ?e ?g ?w))" },
    when: &[Disjoint("?x", "?e"), Disjoint("?g", "?k"), NotEmptyAlone("?k"), NotEmptyAlone("?e")],
    pays: &[Wide("?g"), Wide("?x"), Wide("?w")],
    infinities: Infinities::MayBeNan,
};

/// A weighted sum of products is a product, too: the form in which the other rules look for it.
pub const SUM_OF_PRODUCTS: Rule = Rule {
    name: "sum-of-products",
    group: "algebra",
    why: "a sum of products along an axis that both factors have is a contraction",
    phase: Phase::Values,
    find: Find::Pattern {
        from: "(reduce sum ?e (mul ?g.. (contract ?k ?x ?w)))",
        to: "(contract ?e (mul ?g..) (contract ?k ?x ?w))",
    },
    when: &[Has("?g", "?e"), Has("?w", "?e"), Disjoint("?e", "?k")],
    pays: &[],
    infinities: Infinities::Stay,
};

/// The experts' weighted sum is taken within their last product: no expert's own answer is ever stored.
pub const SUMS_INTO_ONE: Rule = Rule {
    name: "sums-into-one",
    group: "algebra",
    why: "a weighted sum of products over other axes is one longer sum",
    phase: Phase::Values,
    find: Find::Pattern { from: "(contract ?e ?g (contract ?k ?x ?w))", to: "(contract ?e+?k (mul ?g ?x) ?w)" },
    when: &[Has("?w", "?e"), Disjoint("?g", "?k"), NotEmpty("?k")],
    pays: &[Has("?x", "?e"), AtLoad("?w"), Wide("?x")],
    infinities: Infinities::MayBeNan,
};

/// Branches without weights of their own are summed within their last product.
pub const SUM_INTO_PRODUCT: Rule = Rule {
    name: "sum-into-product",
    group: "algebra",
    why: "a sum of products over further axes is one longer sum",
    phase: Phase::Values,
    find: Find::Pattern { from: "(reduce sum ?e (contract ?k ?x ?w))", to: "(contract ?e+?k ?x ?w)" },
    when: &[Has("?x", "?e"), Has("?w", "?e")],
    pays: &[],
    infinities: Infinities::Stay,
};
