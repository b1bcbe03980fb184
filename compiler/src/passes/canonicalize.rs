//! One form for equal values.
//!
//! Before: `add (add %a, %b), %c`, `mul %x, 1`, two equal nodes. After: `add %a, %b, %c`, `%x`, one node. Sums and products
//! are flat, with numbers folded into one and operands in a fixed order; equal nodes are one (the builder sees to it); renames of an
//! axis to itself, casts to the same type and broadcasts of what broadcasts by name anyway go; functions of numbers are numbers. A
//! pick from pointwise work of which only picks are read is made from its operands. Integers are divided by powers of two by their bits.
//! A window that leaves its axis is a window of a longer axis: where many windows see a border, it is written once instead of guarded in each.
//! Does nothing to a graph in that form.
//! Rounding may change with the order of a sum; no other result does.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatec_lang::Size;

use crate::graph::interp::{self, Env};
use crate::graph::tensor::{Extents, Tensor};
use crate::graph::{Axis, AxisSet, Builder, Graph, Module, Remake, Sizes, Value};
use crate::ops::{self, Class, Op};
use crate::pipeline::{OptimizeOptions, Report};
use crate::scalar::Binary;

pub fn canonicalize(mut module: Module, _: &OptimizeOptions, _: &mut Report) -> Result<Module, String> {
    let mut padded = Padded::new();
    for entry in &mut module.entries {
        entry.graph = graph(&entry.graph, &mut module.sizes, &mut padded)?;
    }
    module.load = graph(&module.load, &mut module.sizes, &mut padded)?;
    Ok(module)
}

/// Axes that are so much longer at both ends: the same ones everywhere, so that equal parts of a module stay equal.
type Padded = BTreeMap<(Axis, i64), Axis>;

fn graph(old: &Graph, sizes: &mut Sizes, padded: &mut Padded) -> Result<Graph, String> {
    // A loop's body first: builders borrow the sizes.
    let mut bodies: BTreeMap<usize, Arc<Graph>> = BTreeMap::new();
    for id in old.ids() {
        if let Op::Scan(scan) = &old.node(id).op {
            bodies.insert(id.index(), Arc::new(graph(&scan.body, sizes, padded)?));
        }
    }
    let mut remake = Remake::new(old, sizes);
    for id in old.ids() {
        let node = old.node(id);
        let mut operands = remake.operands(id);
        let build = &mut remake.build;
        if node.op.class() == Class::Pointwise {
            strip_broadcasts(build, &mut operands);
            if let Some(number) = number(build, &node.op, &operands) {
                remake.replace(Value::of(id), number);
                continue;
            }
        }
        let ty = &node.types[0];
        let one = match &node.op {
            Op::Add(_) | Op::Mul(_) => {
                let inner = old.operands(id);
                let once: Vec<bool> = inner.iter().map(|v| is_read_once(old, *v)).collect();
                Some(flat(build, &node.op, &operands, &once, ty)?)
            }
            Op::Cast(cast) if build.ty(operands[0]).elem == cast.to => Some(operands[0]),
            Op::Rename(rename) if rename.from == rename.to => Some(operands[0]),
            Op::Broadcast(_) if build.ty(operands[0]) == ty => Some(operands[0]),
            // Both sides are one: the condition decides nothing.
            Op::Select(_) if operands[1] == operands[2] && build.ty(operands[1]) == ty => Some(operands[1]),
            _ => None,
        };
        let one = match (one, &node.op) {
            (None, Op::Pick(pick)) if is_only_picked(old, old.operands(id)[0], pick.axis) => {
                inwards(build, pick, operands[0], MAX_INWARDS)?
            }
            (None, Op::Window(window)) if window.pad > 0 => bordered(build, window, operands[0], padded)?,
            (one, _) => one,
        };
        if let Some(one) = one {
            remake.replace(Value::of(id), one);
            continue;
        }
        let mut op = node.op.clone();
        if let Some((by_bits, with)) = by_bits(build, &op, &operands) {
            op = by_bits;
            operands[1] = build.try_add(with, &[]).map_err(|e| e.to_string())?;
        }
        if let Op::Scan(scan) = &mut op {
            scan.body = bodies[&id.index()].clone();
        }
        remake.put(id, op, &operands)?;
    }
    Ok(remake.finish())
}

/// A window that leaves its axis, as a window of `x` with zeros on both sides.
fn bordered(build: &mut Builder, window: &ops::Window, x: Value, padded: &mut Padded) -> Result<Option<Value>, String> {
    let (from, pad) = (window.from, window.pad);
    let to = match padded.get(&(from, pad)) {
        Some(to) => *to,
        None => {
            let size = build.sizes.get(from).and_then(|size| size.checked_add(&Size::known(2 * pad)));
            let Some(size) = size else { return Ok(None) };
            let to = build.sizes.fresh(from.name(), size);
            padded.insert((from, pad), to);
            to
        }
    };
    let pad = ops::Pad { from, to, before: pad, fill: ops::Fill::Constant(0f64.to_bits()) };
    let x = below_windows(build, &pad, x, MAX_INWARDS)?;
    build.try_add(ops::Window { from: to, pad: 0, ..window.clone() }, &[x]).map(Some).map_err(|e| e.to_string())
}

/// `pad(window(x))` as `window(pad(x))`, where the window slides along another axis: there are fewer elements to pad.
fn below_windows(build: &mut Builder, pad: &ops::Pad, x: Value, depth: usize) -> Result<Value, String> {
    let (op, operands) = (build.graph().op(x).clone(), build.graph().operands(x.node));
    let padded = match op {
        Op::Window(window) if depth > 0 && ![window.to, window.tap].contains(&pad.from) => {
            let below = below_windows(build, pad, operands[0], depth - 1)?;
            build.try_add(window, &[below])
        }
        _ => build.try_add(pad.clone(), &[x]),
    };
    padded.map_err(|e| e.to_string())
}

/// Of `x / n` and `x % n`, where integers `n` are powers of two that are known: `x >> log2 n` and `x & n - 1`. Both round down.
fn by_bits(build: &Builder, op: &Op, operands: &[Value]) -> Option<(Op, Op)> {
    let Op::Binary(binary) = op else { return None };
    let (f, of): (_, fn(u64) -> u64) = match binary.f {
        Binary::Div => (Binary::Shr, |n| n.trailing_zeros().into()),
        Binary::Rem => (Binary::BitAnd, |n| n - 1),
        _ => return None,
    };
    let bits = |bits: &u64| {
        let n = f64::from_bits(*bits) as u64;
        // Of 2^54 or more, f64 lacks what is one less.
        (n.is_power_of_two() && n < 1 << 54 && (n as f64).to_bits() == *bits).then(|| (of(n) as f64).to_bits())
    };
    let with: Op = match build.graph().op(operands[1]) {
        Op::Const(n) if !n.elem.is_float() => ops::Const { bits: bits(&n.bits)?, ..n.clone() }.into(),
        Op::Table(table) if !table.elem.is_float() => {
            ops::Table { values: table.values.iter().map(bits).collect::<Option<_>>()?, ..table.clone() }.into()
        }
        _ => return None,
    };
    Some((ops::Binary { f }.into(), with))
}

/// Is every reader of a value a pick along this axis?
fn is_only_picked(graph: &Graph, value: Value, axis: Axis) -> bool {
    !graph.results.contains(&value)
        && graph.uses(value).iter().all(|(user, _)| matches!(&graph.node(*user).op, Op::Pick(p) if p.axis == axis))
}

/// `pick[k = i](f(a, b))` as `f(pick[k = i](a), pick[k = i](b))`: gates that are picked from a sum are picked from its products.
fn inwards(build: &mut Builder, pick: &ops::Pick, x: Value, depth: usize) -> Result<Option<Value>, String> {
    let op = build.graph().op(x).clone();
    if depth == 0 || !matches!(op, Op::Add(_) | Op::Mul(_) | Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_))
    {
        return Ok(None);
    }
    let mut picked = Vec::new();
    for operand in build.graph().operands(x.node) {
        picked.push(match build.ty(operand).axes.contains(pick.axis) {
            true => match inwards(build, pick, operand, depth - 1)? {
                Some(value) => value,
                None => build.try_add(pick.clone(), &[operand]).map_err(|e| e.to_string())?,
            },
            false => operand,
        });
    }
    Ok(Some(build.try_add(op, &picked).map_err(|e| e.to_string())?))
}

/// Through how many ops a pick moves at once: it recurses.
const MAX_INWARDS: usize = 64;

/// Takes off broadcasts along axes that other operands of a pointwise op have.
fn strip_broadcasts(build: &Builder, operands: &mut [Value]) {
    for i in 0..operands.len() {
        while let Op::Broadcast(broadcast) = build.graph().op(operands[i]) {
            let others = operands.iter().enumerate().filter(|(j, _)| *j != i);
            let axes = others.fold(AxisSet::default(), |axes, (_, v)| axes.union(&build.ty(*v).axes));
            if !broadcast.over.is_subset(&axes) {
                break;
            }
            operands[i] = build.graph().operands(operands[i].node)[0];
        }
    }
}

/// A pointwise op of numbers, as the interpreter evaluates it: one of an i64 that f64 lacks is left to the kernels.
fn number(build: &mut Builder, op: &Op, operands: &[Value]) -> Option<Value> {
    let of = |v: &Value| match build.graph().op(*v) {
        Op::Const(constant) => Some(Tensor::scalar(constant.elem, constant.value())),
        _ => None,
    };
    let numbers: Vec<Tensor> = operands.iter().map(of).collect::<Option<_>>()?;
    let extents = Extents::default();
    let results = op.eval(&Env::new(&extents), &numbers.iter().collect::<Vec<_>>()).and_then(interp::exact).ok()?;
    let [result] = results.as_slice() else { return None };
    Some(build.number(result.elem, *result.data.first()?))
}

fn is_read_once(graph: &Graph, value: Value) -> bool {
    graph.uses(value).len() + graph.results.iter().filter(|r| **r == value).count() == 1
}

/// A sum or product without nesting and with one number at most. An operand that others read, too, stays (`once` tells), and so
/// does one with fewer axes: its sum would be made anew for every element.
fn flat(
    build: &mut Builder,
    op: &Op,
    operands: &[Value],
    once: &[bool],
    ty: &crate::graph::Type,
) -> Result<Value, String> {
    let is_sum = matches!(op, Op::Add(_));
    let unit = if is_sum { 0.0 } else { 1.0 };
    let mut number = unit;
    let mut terms = Vec::new();
    for (&operand, once) in operands.iter().zip(once) {
        let inner = match build.graph().op(operand) == op && *once && build.ty(operand) == ty {
            true => build.graph().operands(operand.node),
            false => vec![operand],
        };
        for value in inner {
            match build.graph().op(value) {
                // Integers wrap at their width: left to the kernels.
                Op::Const(constant) if ty.elem.is_float() => {
                    let n = f64::from_bits(constant.bits);
                    number = if is_sum { number + n } else { number * n };
                }
                _ => terms.push(value),
            }
        }
    }
    if number != unit || terms.is_empty() {
        let constant = ops::Const { elem: ty.elem, bits: number.to_bits() };
        terms.push(build.try_add(constant, &[]).map_err(|e| e.to_string())?);
    }
    let covers = |build: &Builder, value: Value| build.ty(value) == ty;
    if let [one] = terms.as_slice()
        && covers(build, *one)
    {
        return Ok(*one);
    }
    terms.sort();
    build.try_add(op.clone(), &terms).map_err(|e| e.to_string())
}
