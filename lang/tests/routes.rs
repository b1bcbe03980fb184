//! Loops within routes.

use gatec_lang::Program;
use gatec_lang::program::{Kind, Type};

fn checked(text: &str) -> Program {
    gatec_lang::load_text("model.gate", text, &[]).unwrap_or_else(|d| panic!("{text}\n{}", d.render(false)))
}

/// The axes of carries, in order.
fn carries(program: &Program) -> Vec<String> {
    let names = |ty: &Type| ty.axes.iter().map(|a| program.axis(*a).name.to_string()).collect::<Vec<_>>().join(" ");
    let nodes = program.entries[0].nodes.iter();
    nodes.filter(|n| matches!(n.kind, Kind::Carry(_))).map(|n| names(&n.ty)).collect()
}

const HEAD: &str = "axis d = 4\naxis e = 3\nmodel m(x: f32[t, d], g: f32[t, e]) -> f32[t, d] {\n";

#[test]
fn a_carry_gets_the_expert_axis_of_what_it_becomes() {
    let text = "route x over e by top1(g) { param w: f32[d, d']
        repeat s in 3 carry (y = x) { next tanh(y @ w)[d' -> d] } } mix sum }";
    assert_eq!(carries(&checked(&format!("{HEAD}{text}"))), ["d e t"]);
}

/// Loops in loops, blocks that are instantiated within, and `..`.
#[test]
fn carries_of_blocks_and_of_inner_loops_get_it_too() {
    let text = "block step(x: f32[.., d]) -> f32[.., d] { param w: f32[d, d']\n tanh(x @ w)[d' -> d] }
        axis d = 4\naxis e = 3
        block deep(x: f32[.., d]) -> f32[.., d] {
            repeat s in 3 carry (y: f32[.., d] = x, n = 0.0) {
                let z = repeat u in 2 carry (z: f32[.., d] = 0.0) { next z + step(y) }
                next (z, n + 1.0)
            } else y + n
        }
        model m(x: f32[t, d], g: f32[t, e]) -> f32[t, d] { route x over e by top1(g) { deep(x) } mix sum }";
    let program = checked(text);
    assert_eq!(carries(&program), ["d e t", "", "d e t"]);
    let names: Vec<&str> = program.params.iter().map(|p| p.tensor.name.as_str()).collect();
    assert_eq!(names, ["deep.step.w"]);
}

/// A loop whose iterations do not differ between experts stays as it is.
#[test]
fn a_carry_that_no_expert_changes_lacks_it() {
    let text = "route x over e by top1(g) { param w: f32[d]
        w * repeat s in 3 carry (y = x) { next tanh(y) } } mix sum }";
    assert_eq!(carries(&checked(&format!("{HEAD}{text}"))), ["d t"]);
}
