//! Which axis a name stands for in a block.

use gatec_lang::Program;
use gatec_lang::program::Elem::{F32, I32};
use gatec_lang::program::Kind;

fn checked(text: &str) -> Program {
    gatec_lang::load_text("model.gate", text, &[]).unwrap_or_else(|d| panic!("{text}\n{}", d.render(false)))
}

/// Parameters as `name[axis = size, ..]`.
fn params(program: &Program) -> Vec<String> {
    let axes = |order: &[gatec_lang::program::AxisId]| {
        let axes = order.iter().map(|a| program.axis(*a));
        axes.map(|a| format!("{} = {}", a.name, a.size)).collect::<Vec<_>>().join(", ")
    };
    program.params.iter().map(|p| format!("{}[{}]", p.tensor.name, axes(&p.tensor.order))).collect()
}

#[test]
fn axes_of_a_block_go_on_to_the_blocks_that_it_calls() {
    let text = "axis d = 4\naxis o = 4
        block f(x: f32[.., d]) -> f32[.., o] { param w: f32[d, o]\n x @ w }
        block g(x: f32[.., d]) -> f32[.., o] { f(x) }
        model m(x: f32[t, d], y: f32[t, u]) -> (a: f32[t], b: f32[t], c: f32[t]) {
            (a: sum[o](wide: g(x; o = 8)), b: sum[o](file: g(x)), c: sum[o](inner: f(x; o = 2)))
        }";
    let expected = ["wide.f.w[d = 4, o.2 = 8]", "file.f.w[d = 4, o = 4]", "inner.w[d = 4, o.3 = 2]"];
    assert_eq!(params(&checked(text)), expected);
}

/// What the arguments carry counts before what the block around has, and a block that was given as an argument is called like any other.
#[test]
fn arguments_bind_axes_before_the_block_around_does() {
    let text = "axis d = 4\naxis h = 4
        block scale(x: f32[.., h]) -> f32[.., h] { param s: f32[h]\n x * s }
        block outer(x: f32[.., d], inner: block) -> f32[.., d] {
            param up: f32[d, h]
            sum[h](inner(x @ up)) + narrow: inner(x[d -> h])[h -> d]
        }
        model m(x: f32[t, d]) -> f32[t, d] { outer(x, scale; h = 6) }";
    assert_eq!(params(&checked(text)), ["outer.up[d = 4, h.2 = 6]", "outer.inner.s[h.2 = 6]", "outer.narrow.s[h = 4]"]);
}

/// A part is one instance: its axes are those of the place where it is declared.
#[test]
fn a_part_has_the_axes_of_where_it_is_declared() {
    let text = "axis d = 4\naxis o = 4
        block f(x: f32[.., d]) -> f32[.., o] { param w: f32[d, o]\n x @ w }
        block g(x: f32[.., d], f: block) -> f32[..] { sum[o](f(x)) }
        block both(x: f32[.., d]) -> f32[..] {
            part p: f
            one: g(x, p; o = 2) + two: g(x, p; o = 3)
        }
        model m(x: f32[t, d]) -> f32[t] { both(x; o = 8) }";
    assert_eq!(params(&checked(text)), ["both.p.w[d = 4, o.2 = 8]"]);
}

/// A part of a block that came in is one instance, with what the block was given before; an instance and a function stay what they are.
#[test]
fn a_part_may_be_of_a_block_that_came_in() {
    let text = "axis d = 4
        block mlp(act: block, x: f32[.., d]; h = 2) -> f32[.., d] {
            param up: f32[d, h]
            param down: f32[h, d]
            act(x @ up) @ down
        }
        block twice(f: block, x: f32[.., d]) -> f32[.., d] { part p: f\n p(p(x)) }
        model m(x: f32[t, d]) -> f32[t, d] {
            part a: mlp(h = 5)
            twice(mlp(gelu; h = 3), x) + other: gelus(a, x)
        }
        block gelus(f: block, x: f32[.., d]) -> f32[.., d] {
            part q: f
            q(gelu, twice(tanh, q(gelu, x)))
        }";
    let expected =
        ["twice.p.up[d = 4, h.2 = 3]", "twice.p.down[h.2 = 3, d = 4]", "a.up[d = 4, h = 5]", "a.down[h = 5, d = 4]"];
    assert_eq!(params(&checked(text)), expected);
}

/// A strided window keeps the name of its axis, in a block's result too.
#[test]
fn a_body_may_make_an_axis_shorter() {
    let text = "axis t = 8\naxis k = 3
        block every_second(x: f32[.., t]) -> f32[.., t] { window(x, t -> k: 1, stride = 2)[k = 0] }
        model m(x: f32[b, t]) -> f32[b, half] { every_second(every_second(x))[t -> half] }";
    let program = checked(&text.replace("every_second(every_second(x))", "a: every_second(b: every_second(x))"));
    let output = &program.entries[0].outputs[0];
    assert_eq!(program.axis(output.order[1]).size.to_string(), "2");
}

/// A part that is declared outside of a loop is one for all its iterations, as a parameter is.
#[test]
fn a_part_outside_of_a_loop_has_one_set_of_parameters() {
    let text = "axis d = 4\naxis e = 3
        block f(x: f32[.., d]) -> f32[.., d] { param w: f32[d]\n x * w }
        block own(x: f32[.., d]) -> f32[.., d] { part p: f\n p(p(x)) }
        network n {
            part p: f
            param v: f32[d]
            entry a(x: f32[t, d]) -> f32[t, d] { repeat layer in 3 carry x { next v * own(p(x)) } }
            entry b(x: f32[t, d]) -> f32[t, d] { p(x) * v }
            entry c(x: f32[t, d], g: f32[t, e]) -> f32[t, d] { route x over e by top1(g) { p(x) + expert: f(x) } mix sum }
        }";
    let expected = ["v[d = 4]", "p.w[d = 4]", "own.p.w[layer = 3, d = 4]", "expert.w[e = 3, d = 4]"];
    assert_eq!(params(&checked(text)), expected);
}

/// The graph counts from the end of an axis whose size is bound when the model runs.
#[test]
fn elements_are_counted_from_the_end_of_any_axis() {
    let text = "model m(x: f32[t, b]) -> (last: f32[b], two: f32[n, b], all: f32[t, b]) {
            (last: x[t = -1], two: x[t = -3..-1][t -> n], all: x[t = 0..])
        }";
    let program = checked(&format!("axis n = 2\n{text}"));
    let gathers = program.entries[0].nodes.iter().filter(|n| matches!(n.kind, Kind::Gather { .. }));
    assert_eq!(gathers.count(), 2);
}

/// Functions of the language stand where blocks do, lists of parts and states are several of one kind, and what begins with `_` is
/// unused on purpose.
#[test]
fn functions_are_arguments_and_parts_and_states_come_in_lists() {
    let text = "axis d = 4
        block phi(x: f32[.., d]) -> f32[.., d] { param w: f32[d]\n x * w }
        fn twice(f: block, x: f32[..], _y: f32[..]) -> f32[..] { f(f(x)) }
        block through(f: block, x: f32[.., d]) -> f32[.., d] { param s: f32[d]\n twice(f, x, s) }
        network n {
            part a, b: phi
            state u, v: f32[d] = 0.0
            entry go(x: f32[d]) -> f32[d] {
                next u = a(x)
                next v = b(x)
                through(gelu, u + v)
            }
        }";
    let (program, diagnostics) = gatec_lang::check_text("model.gate", text, &[]);
    assert!(diagnostics.list.is_empty(), "{}", diagnostics.render(false));
    let program = program.unwrap();
    assert_eq!(params(&program), ["a.w[d = 4]", "b.w[d = 4]", "through.s[d = 4]"]);
    assert_eq!(program.states.iter().map(|s| s.tensor.name.as_str()).collect::<Vec<_>>(), ["u", "v"]);
    let gelus =
        program.entries[0].nodes.iter().filter(|n| matches!(n.kind, Kind::Unary(gatec_lang::program::Unary::Gelu, _)));
    assert_eq!(gelus.count(), 2);
}

/// Sizes take the element type of what they meet, as numbers do.
#[test]
fn sizes_meet_integers_and_floats() {
    let text = "model m(x: f32[t]) -> (last: bool[t], n: i32[], mean: f32[], end: f32[]) {
            let place = size(t) - 1
            (last: index(t) == place, n: size(t), mean: sum[t](x) / size(t), end: x[t = place])
        }";
    let program = checked(text);
    let elems: Vec<_> =
        program.entries[0].nodes.iter().filter(|n| matches!(n.kind, Kind::SizeOf(_))).map(|n| n.ty.elem).collect();
    assert_eq!(elems, [I32, F32, I32, I32]);
}

/// `let (a, b) = f(x)` takes what the block declares, in that order, however its body has it.
#[test]
fn a_record_has_the_order_that_is_declared() {
    let program = "axis d = 4
block f(x: f32[.., d]) -> (first: f32[.., d], second: i32[..]) { (second: argmax[d](x), first: x * 2.0) }
model m(x: f32[t, d]) -> (y: f32[t, d], at: i32[t]) {
    let (y, at) = f(x)
    (at: at, y: y)
}";
    let (found, diagnostics) = gatec_lang::check_text("model.gate", program, &[]);
    assert!(found.is_some(), "{}", diagnostics.render(false));
}

/// Sizes may be made of axes that stand below.
#[test]
fn the_order_of_declarations_does_not_matter() {
    let text = "axis q = size(t) / 3, d = 2 * size(e)
        axis e = size(g)
        axis t, g = 3
        model m(x: f32[t, d]) -> (first: f32[d], n: i32[q]) {
            param w: f32[d, e]\n (first: x[t = 0] * sum[e](w), n: index(q)) }";
    let program = checked(text);
    assert_eq!(params(&program), ["w[d = 6, e = 3]"]);
}
