//! Functions of gates that were written out.

use super::{Find, Infinities, Phase, Rule};

/// `1 / (1 + exp(-y))`, and SiLU as `y / (1 + exp(-y))`: one exponential that cannot overflow.
pub const SIGMOID_WRITTEN_OUT: Rule = Rule {
    name: "sigmoid-written-out",
    group: "gates",
    why: "a logistic function that was written out is a sigmoid: fewer operations, and nothing overflows",
    phase: Phase::Values,
    find: Find::Pattern {
        from: "(binary div ?x (add 1 (unary exp (unary neg ?y))))",
        to: "(mul ?x (unary sigmoid ?y))",
    },
    when: &[],
    pays: &[],
    infinities: Infinities::Stay,
};

/// `2 sigmoid(2 x) - 1`, which is inexact near 0.
pub const TANH_OF_SIGMOID: Rule = Rule {
    name: "tanh-of-sigmoid",
    group: "gates",
    why: "a sigmoid stretched to -1..1 is a hyperbolic tangent: fewer operations, exact near 0",
    phase: Phase::Values,
    find: Find::Pattern { from: "(binary sub (mul 2 (unary sigmoid (mul 2 ?x..))) 1)", to: "(unary tanh (mul ?x..))" },
    when: &[],
    pays: &[],
    infinities: Infinities::Stay,
};
