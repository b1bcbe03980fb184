//! Where the meaning of an op is subtle: ties, NaN, empty axes, one element, the ends of ranges.

use gatec_lang::Size;

use super::*;
use crate::graph::interp::{self, run_graph};
use crate::graph::tensor::Extents;
use crate::graph::{Axis, Builder, Elem, text};
use crate::scalar::{self, Fold};

/// Axes by name and extent, in order.
fn axes(list: &[(&str, usize)]) -> Vec<(Axis, usize)> {
    list.iter().map(|(name, n)| (Axis::new(name), *n)).collect()
}

fn f32s(list: &[(&str, usize)], data: &[f64]) -> Tensor {
    Tensor::new(Elem::F32, axes(list), data.to_vec())
}

fn i32s(list: &[(&str, usize)], data: &[f64]) -> Tensor {
    Tensor::new(Elem::I32, axes(list), data.to_vec())
}

/// Runs one op; `sizes` are those of axes that only the results have. Results come with their axes sorted by name.
fn try_eval(op: impl Into<Op>, operands: &[Tensor], extra: &[(&str, usize)]) -> Result<Tensor, String> {
    let mut extents: Vec<(Axis, usize)> = axes(extra);
    extents.extend(operands.iter().flat_map(|x| x.axes.clone()));
    let mut sizes = Sizes::default();
    for (axis, n) in &extents {
        assert!(sizes.declare(*axis, Size::known(*n as i64)), "{axis} has two extents");
    }
    let extents: Extents = extents.into_iter().collect();
    let mut b = Builder::new(&mut sizes);
    let leaves: Vec<_> =
        operands.iter().enumerate().map(|(i, x)| b.add(Input { index: i as u32, ty: x.ty() }, &[])).collect();
    let value = b.try_add(op, &leaves).map_err(|e| e.message)?;
    let ty = b.ty(value).clone();
    let graph = b.finish(vec![value]);
    let env = Env { inputs: operands, ..Env::new(&extents) };
    let y = run_graph(&graph, &env).map_err(|e| e.to_string())?.remove(0);
    assert_eq!(y.ty(), ty, "the meaning and the type rule differ");
    let order: Vec<Axis> = ty.axes.iter().collect();
    Ok(y.ordered(&order))
}

fn eval(op: impl Into<Op>, operands: &[Tensor], extra: &[(&str, usize)]) -> Vec<f64> {
    try_eval(op, operands, extra).unwrap().data.to_vec()
}

/// NaN equals NaN here.
fn same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

fn axis(name: &str) -> Axis {
    Axis::new(name)
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

#[test]
fn top_k_takes_ties_in_order_and_nan_last() {
    let op = TopK { axis: axis("a"), slot: axis("s") };
    let x = f32s(&[("a", 5)], &[1.0, NAN, 3.0, 3.0, -INF]);
    assert_eq!(eval(op.clone(), &[x], &[("s", 5)]), [2.0, 3.0, 0.0, 4.0, 1.0]);
    // -0 and 0 are equal: the lower index first.
    assert_eq!(eval(op.clone(), &[f32s(&[("a", 2)], &[-0.0, 0.0])], &[("s", 2)]), [0.0, 1.0]);
    assert_eq!(eval(op.clone(), &[f32s(&[("a", 2)], &[NAN, NAN])], &[("s", 1)]), [0.0]);
    let rows = f32s(&[("a", 2), ("r", 2)], &[1.0, 5.0, 2.0, 4.0]);
    assert_eq!(eval(op.clone(), &[rows], &[("s", 1)]), [1.0, 0.0]);
    assert_eq!(
        try_eval(op, &[f32s(&[("a", 2)], &[1.0, 2.0])], &[("s", 3)]).unwrap_err(),
        "axis a has 2 elements, axis s asks for 3"
    );
}

#[test]
fn arg_reduce_takes_the_first_and_never_nan() {
    let max = ArgReduce { which: scalar::Extreme::Max, over: axis("a") };
    let min = ArgReduce { which: scalar::Extreme::Min, over: axis("a") };
    assert_eq!(eval(max.clone(), &[f32s(&[("a", 4)], &[NAN, 2.0, 2.0, 1.0])], &[]), [1.0]);
    assert_eq!(eval(min, &[f32s(&[("a", 4)], &[NAN, 2.0, 1.0, 1.0])], &[]), [2.0]);
    assert_eq!(eval(max.clone(), &[f32s(&[("a", 2)], &[NAN, -INF])], &[]), [1.0]);
    assert_eq!(eval(max.clone(), &[f32s(&[("a", 2)], &[NAN, NAN])], &[]), [0.0]);
    assert_eq!(eval(max, &[f32s(&[("a", 0), ("r", 2)], &[])], &[]), [0.0, 0.0]);
}

#[test]
fn folds_over_nothing_give_their_unit() {
    let fold = |fold, elem| {
        let x = Tensor::new(elem, axes(&[("a", 0)]), vec![]);
        eval(Reduce { fold, over: axis("a").into() }, &[x], &[])[0]
    };
    assert_eq!(fold(scalar::Fold::Sum, Elem::F32), 0.0);
    assert_eq!(fold(scalar::Fold::Prod, Elem::F32), 1.0);
    assert_eq!(fold(scalar::Fold::Max, Elem::F32), -INF);
    assert_eq!(fold(scalar::Fold::Max, Elem::I8), -128.0);
    assert_eq!(fold(scalar::Fold::Min, Elem::U8), 255.0);
    assert_eq!(fold(scalar::Fold::All, Elem::Bool), 1.0);
    assert_eq!(fold(scalar::Fold::Any, Elem::Bool), 0.0);
    let empty = [f32s(&[("a", 0), ("m", 2)], &[]), f32s(&[("a", 0)], &[])];
    assert_eq!(eval(Contract { over: axis("a").into() }, &empty, &[]), [0.0, 0.0]);
}

#[test]
fn max_and_min_give_nan_where_an_element_is() {
    let x = f32s(&[("a", 3)], &[1.0, NAN, 2.0]);
    for fold in [scalar::Fold::Max, scalar::Fold::Min] {
        assert!(eval(Reduce { fold, over: axis("a").into() }, std::slice::from_ref(&x), &[])[0].is_nan());
    }
    let y = eval(Running { fold: scalar::Fold::Max, over: axis("a"), exclusive: true }, &[x], &[]);
    assert!(same(&y, &[-INF, 1.0, NAN]));
}

#[test]
fn integers_wrap_and_divide_downwards() {
    let int8 = |x: f64| Tensor::scalar(Elem::I8, x);
    assert_eq!(eval(Add, &[int8(100.0), int8(100.0)], &[]), [-56.0]);
    assert_eq!(eval(Mul, &[int8(-128.0), int8(-1.0)], &[]), [-128.0]);
    assert_eq!(eval(Unary { f: scalar::Unary::Neg }, &[int8(-128.0)], &[]), [-128.0]);
    let binary = |f, a, b| eval(Binary { f }, &[int8(a), int8(b)], &[])[0];
    assert_eq!(binary(scalar::Binary::Div, -7.0, 2.0), -4.0);
    assert_eq!(binary(scalar::Binary::Rem, -7.0, 2.0), 1.0);
    assert_eq!(binary(scalar::Binary::Div, 7.0, 0.0), 0.0);
    assert_eq!(binary(scalar::Binary::Rem, 7.0, 0.0), 0.0);
    let cast = |from, to, x| eval(Cast { to }, &[Tensor::scalar(from, x)], &[])[0];
    assert_eq!(cast(Elem::F32, Elem::I8, 300.7), 127.0);
    assert_eq!(cast(Elem::F32, Elem::U8, -1.5), 0.0);
    assert_eq!(cast(Elem::F32, Elem::I32, NAN), 0.0);
    assert_eq!(cast(Elem::F32, Elem::I32, -2.9), -2.0);
    assert_eq!(cast(Elem::I32, Elem::U8, 257.0), 1.0);
    assert_eq!(cast(Elem::F32, Elem::Bool, NAN), 1.0);
}

#[test]
fn comparisons_with_nan_are_false_but_ne() {
    let compare = |f| eval(Binary { f }, &[f32s(&[], &[NAN]), f32s(&[], &[1.0])], &[])[0];
    for f in [scalar::Binary::Eq, scalar::Binary::Lt, scalar::Binary::Le, scalar::Binary::Gt, scalar::Binary::Ge] {
        assert_eq!(compare(f), 0.0, "{f}");
    }
    assert_eq!(compare(scalar::Binary::Ne), 1.0);
}

#[test]
fn pointwise_ops_broadcast_by_name() {
    let a = f32s(&[("b", 2), ("a", 3)], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = f32s(&[("a", 3), ("c", 1)], &[10.0, 20.0, 30.0]);
    // In the order a, b, c.
    assert_eq!(eval(Add, &[a, b], &[]), [11.0, 14.0, 22.0, 25.0, 33.0, 36.0]);
    let empty = f32s(&[("a", 0)], &[]);
    assert!(eval(Add, &[empty, f32s(&[], &[1.0])], &[]).is_empty());
}

#[test]
fn contraction_has_batch_and_free_axes() {
    let a = f32s(&[("b", 2), ("m", 1), ("k", 2)], &[1.0, 2.0, 3.0, 4.0]);
    let b = f32s(&[("n", 2), ("k", 2), ("b", 2)], &[1.0, 0.0, 0.0, 1.0, 5.0, 6.0, 7.0, 8.0]);
    // y[b, m, n] = sum over k of a[b, m, k] * b[n, k, b]
    assert_eq!(eval(Contract { over: axis("k").into() }, &[a, b], &[]), [1.0, 19.0, 4.0, 50.0]);
    let outer = [f32s(&[("m", 2)], &[1.0, 2.0]), f32s(&[("n", 2)], &[3.0, 4.0])];
    assert_eq!(eval(Contract { over: Default::default() }, &outer, &[]), [3.0, 4.0, 6.0, 8.0]);
}

#[test]
fn split_and_merge_are_each_others_inverse() {
    let x = f32s(&[("r", 2), ("d", 6)], &(0..12).map(f64::from).collect::<Vec<_>>());
    let split = Split { from: axis("d"), to: vec![axis("q"), axis("p")] };
    let y = try_eval(split, &[x], &[("q", 2), ("p", 3)]).unwrap();
    // p, q, r: x[r, d = q * 3 + p]
    assert_eq!(y.data[..4], [0.0, 6.0, 3.0, 9.0]);
    let merge = Merge { from: vec![axis("q"), axis("p")], to: axis("d") };
    assert_eq!(eval(merge, &[y], &[("d", 6)]), [0.0, 6.0, 1.0, 7.0, 2.0, 8.0, 3.0, 9.0, 4.0, 10.0, 5.0, 11.0]);
}

#[test]
fn shift_fills_what_comes_from_outside() {
    let x = f32s(&[("t", 3)], &[1.0, 2.0, 3.0]);
    let shift = |by| eval(Shift { axis: axis("t"), by, fill: bits(9.0) }, std::slice::from_ref(&x), &[]);
    assert_eq!(shift(-1), [9.0, 1.0, 2.0]);
    assert_eq!(shift(2), [3.0, 9.0, 9.0]);
    assert_eq!(shift(i64::MIN), [9.0; 3]);
    assert_eq!(shift(i64::MAX), [9.0; 3]);
}

#[test]
fn reflection_leaves_the_edge_out() {
    let x = f32s(&[("t", 3)], &[1.0, 2.0, 3.0]);
    let pad = Pad { from: axis("t"), to: axis("u"), before: 2, fill: Fill::Reflect };
    assert_eq!(eval(pad.clone(), std::slice::from_ref(&x), &[("u", 7)]), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    assert!(try_eval(pad.clone(), std::slice::from_ref(&x), &[("u", 8)]).unwrap_err().contains("too short to mirror"));
    let constant = Pad { fill: Fill::Constant(bits(-1.0)), ..pad };
    assert_eq!(eval(constant, &[x], &[("u", 6)]), [-1.0, -1.0, 1.0, 2.0, 3.0, -1.0]);
}

#[test]
fn windows_read_zero_outside() {
    let x = f32s(&[("t", 4)], &[1.0, 2.0, 3.0, 4.0]);
    let (from, to, tap) = (axis("t"), axis("u"), axis("k"));
    let op = Window { from, to, tap, stride: 2, dilation: 1, pad: 1 };
    // In the order k, u.
    assert_eq!(eval(op.clone(), std::slice::from_ref(&x), &[("u", 2), ("k", 3)]), [0.0, 2.0, 1.0, 3.0, 2.0, 4.0]);
    let dilated = Window { stride: 1, dilation: 3, pad: 0, ..op };
    assert_eq!(eval(dilated, &[x], &[("u", 1), ("k", 2)]), [1.0, 4.0]);
}

#[test]
fn gather_aligns_shared_axes_and_refuses_what_is_outside() {
    let x = f32s(&[("e", 3), ("t", 2)], &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
    let gather = Gather::new(axis("e"));
    let index = i32s(&[("t", 2), ("s", 2)], &[2.0, 0.0, 1.0, 1.0]);
    // In the order s, t: x[e = index[t, s], t]
    assert_eq!(eval(gather.clone(), &[x.clone(), index], &[]), [20.0, 11.0, 0.0, 11.0]);
    // The index may have the axis itself: a permutation.
    let permutation = i32s(&[("e", 3)], &[2.0, 1.0, 0.0]);
    let y = f32s(&[("e", 3)], &[5.0, 6.0, 7.0]);
    assert_eq!(eval(gather.clone(), &[y, permutation], &[]), [7.0, 6.0, 5.0]);
    for outside in [-1.0, 3.0] {
        let error = try_eval(gather.clone(), &[x.clone(), i32s(&[], &[outside])], &[]).unwrap_err();
        assert!(error.contains("is outside axis e of extent 3"), "{error}");
    }
    assert!(eval(gather, &[x.clone(), i32s(&[("s", 0)], &[])], &[]).is_empty());
    // A negative index reads 0, what is beyond the end stays an error.
    let or_zero = Gather { axis: axis("e"), or_zero: true };
    assert_eq!(eval(or_zero.clone(), &[x.clone(), i32s(&[("s", 2)], &[-1.0, 1.0])], &[]), [0.0, 0.0, 10.0, 11.0]);
    let error = try_eval(or_zero, &[x, i32s(&[], &[3.0])], &[]).unwrap_err();
    assert!(error.contains("is outside axis e of extent 3"), "{error}");
}

#[test]
fn segments_fold_what_shares_an_index() {
    let x = f32s(&[("a", 4), ("d", 2)], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]);
    let to = i32s(&[("a", 4)], &[2.0, 0.0, 2.0, 0.0]);
    let op = |fold| Segment { fold, from: axis("a"), to: axis("n") };
    // In the order d, n; nothing has index 1.
    assert_eq!(eval(op(Fold::Sum), &[x.clone(), to.clone()], &[("n", 3)]), [6.0, 0.0, 4.0, 60.0, 0.0, 40.0]);
    assert_eq!(eval(op(Fold::Max), &[x.clone(), to.clone()], &[("n", 3)]), [4.0, -INF, 3.0, 40.0, -INF, 30.0]);
    // An index for each d.
    let each = i32s(&[("d", 2), ("a", 4)], &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(eval(op(Fold::Sum), &[x.clone(), each], &[("n", 2)]), [10.0, 0.0, 40.0, 60.0]);
    for outside in [-1.0, 3.0] {
        let to = i32s(&[("a", 4)], &[0.0, 1.0, outside, 2.0]);
        let error = try_eval(op(Fold::Sum), &[x.clone(), to], &[("n", 3)]).unwrap_err();
        assert!(error.contains("is outside axis n of extent 3"), "{error}");
    }
    let nothing = [f32s(&[("a", 0)], &[]), i32s(&[("a", 0)], &[])];
    assert_eq!(eval(op(Fold::Prod), &nothing, &[("n", 2)]), [1.0, 1.0]);
    assert!(try_eval(op(Fold::Sum), &[x.clone(), x], &[("n", 3)]).unwrap_err().contains("is not of integers"));
}

#[test]
fn concat_and_stack_keep_the_order_of_operands() {
    let a = f32s(&[("r", 2), ("a", 1)], &[1.0, 2.0]);
    let b = f32s(&[("b", 2), ("r", 2)], &[3.0, 4.0, 5.0, 6.0]);
    let concat = Concat { to: axis("c"), axes: vec![axis("a"), axis("b")] };
    // In the order c, r.
    assert_eq!(eval(concat, &[a, b], &[("c", 3)]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // In the order a, r, s.
    let a = f32s(&[("a", 1), ("r", 2)], &[1.0, 2.0]);
    let b = f32s(&[("r", 2), ("a", 1)], &[3.0, 4.0]);
    assert_eq!(eval(Stack { axis: axis("s") }, &[a, b], &[("s", 2)]), [1.0, 3.0, 2.0, 4.0]);
}

/// `h' = 2 h + x`, yielding `h'`.
fn doubling(reverse: bool, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut sizes = Sizes::default();
    sizes.declare(axis("t"), Size::known(n as i64));
    let ty = Type::scalar(Elem::F32);
    let mut b = Builder::new(&mut sizes);
    let h = b.add(Carry { index: 0, ty: ty.clone() }, &[]);
    let x = b.add(Item { index: 0, ty: ty.clone() }, &[]);
    let next = b.add(Add, &[h, h, x]);
    let body = std::sync::Arc::new(b.finish(vec![next, next]));
    let mut b = Builder::new(&mut sizes);
    let h = b.number(Elem::F32, 1.0);
    let x = b.add(Input { index: 0, ty: ty.over(axis("t").into()) }, &[]);
    let scan = Scan { axis: axis("t"), reverse, carries: 1, items: 1, body };
    let node = b.try_node(scan, &[h, x]).unwrap();
    let results = b.results(node);
    let graph = b.finish(results);
    let extents: Extents = [(axis("t"), n)].into_iter().collect();
    let inputs = [f32s(&[("t", n)], &(0..n).map(|i| i as f64).collect::<Vec<_>>())];
    let results = run_graph(&graph, &Env { inputs: &inputs, ..Env::new(&extents) }).unwrap();
    (results[0].data.to_vec(), results[1].data.to_vec())
}

#[test]
fn scans_run_both_ways_and_over_nothing() {
    assert_eq!(doubling(false, 3), (vec![12.0], vec![2.0, 5.0, 12.0]));
    assert_eq!(doubling(true, 3), (vec![18.0], vec![18.0, 9.0, 4.0]));
    assert_eq!(doubling(false, 1), (vec![2.0], vec![2.0]));
    assert_eq!(doubling(true, 0), (vec![1.0], vec![]));
}

#[test]
fn dequantized_values_share_the_scale_of_their_block() {
    let op = |size, bytes| Dequantize { axis: axis("d"), block: axis("b"), size, bytes };
    let i8s = |list: &[(&str, usize)], data: &[f64]| Tensor::new(Elem::I8, axes(list), data.to_vec());
    let scale = |data: &[f64]| Tensor::new(Elem::F16, axes(&[("b", data.len())]), data.to_vec());
    let q = i8s(&[("d", 3), ("h", 2)], &[1.0, -2.0, 3.0, 4.0, -128.0, 127.0]);
    // The last block is shorter; scales are the same along what they lack.
    assert_eq!(eval(op(2, None), &[q.clone(), scale(&[0.5, 2.0])], &[]), [0.5, -1.0, 1.5, 2.0, -256.0, 254.0]);
    let bytes = Tensor::new(Elem::U8, axes(&[("c", 2)]), vec![f64::from(0xf0u8), f64::from(0x08u8)]);
    let packed = |n| eval(op(2, Some(axis("c"))), &[bytes.clone(), scale(&[0.5, 2.0])], &[("d", n)]);
    assert_eq!(packed(4), [-4.0, 3.5, 0.0, -16.0]);
    assert_eq!(packed(3), [-4.0, 3.5, 0.0]);

    let wrong = |op, q: &Tensor, s: &Tensor| try_eval(op, &[q.clone(), s.clone()], &[]).unwrap_err();
    let f32s = f32s(&[("d", 3)], &[0.0; 3]);
    assert_eq!(wrong(op(2, None), &f32s, &scale(&[0.5; 2])), "operand 0 (f32[d]) is not of i8");
    assert_eq!(wrong(op(2, None), &q, &i8s(&[("b", 2)], &[0.0; 2])), "operand 1 (i8[b]) is not of f16, bf16 or f32");
    assert_eq!(wrong(op(2, None), &q, &scale(&[0.5; 3])), "axis b has size 3; axis d of size 3 makes 2 of 2 elements");
    assert_eq!(wrong(op(0, None), &q, &scale(&[0.5; 2])), "blocks of 0 elements");
    let wider = Tensor::new(Elem::F16, axes(&[("b", 2), ("e", 1)]), vec![0.5; 2]);
    assert_eq!(wrong(op(2, None), &q, &wider), "operand 1 (f16[b, e]) has axis e, operand 0 (i8[d, h]) has none");
}

/// Neither the side of a choice that is not taken, nor an arm for rows that went elsewhere, nor lengths of an axis without elements.
#[test]
fn an_index_is_wrong_where_a_result_needs_it() {
    let module = text::parse(
        "module m
        symbol t
        axis t = t
        axis b = 3
        graph @f(%x: f32[t], %i: i32[b], %on: bool[b]) -> (y: f32[b]) {
          %g = gather[t] %x, %i : f32[b]
          %n = const[-1.0] : f32[]
          %y = select %on, %g, %n : f32[b]
          return %y
        }
        graph @e(%x: f32[t], %i: i32[b]) -> (y: f32[t]) {
          %g = gather[t] %x, %i : f32[b]
          %s = reduce[sum, b] %g : f32[]
          %y = mul %s, %x : f32[t]
          return %y
        }",
    )
    .unwrap();
    let run = |entry: usize, x: &[f64], more: &[Tensor]| {
        let symbols = [("t".to_string(), x.len() as i64)].into_iter().collect();
        let inputs = [&[f32s(&[("t", x.len())], x)], more].concat();
        let values = interp::Values { symbols, inputs, ..Default::default() };
        interp::run(&module, &module.entries[entry], &values).map(|outcome| outcome.outputs[0].data.to_vec())
    };
    let index = i32s(&[("b", 3)], &[1.0, 7.0, 0.0]);
    let on = |on: [f64; 3]| Tensor::new(Elem::Bool, axes(&[("b", 3)]), on.to_vec());
    assert_eq!(run(0, &[5.0, 6.0], &[index.clone(), on([1.0, 0.0, 1.0])]), Ok(vec![6.0, -1.0, 5.0]));
    let error = run(0, &[5.0, 6.0], &[index.clone(), on([1.0, 1.0, 1.0])]).unwrap_err().to_string();
    assert!(error.contains("index 7 is outside axis t of extent 2"), "{error}");
    assert_eq!(run(1, &[], std::slice::from_ref(&index)), Ok(vec![]));
    assert!(run(1, &[0.0, 0.0], &[index]).is_err(), "0 times what is not there");
}

#[test]
fn wide_integers_are_exact_or_refused() {
    use scalar::Binary::{BitAnd, BitOr, BitXor, Div, Rem, Shl, Sub};
    let i64s = |x: f64| Tensor::new(Elem::I64, Vec::new(), vec![x]);
    let two = |n| 2f64.powi(n);
    let of = |op: Op, a, b| try_eval(op, &[i64s(a), i64s(b)], &[]).map(|y| y.data[0]);
    let binary = |f, a, b| of(Binary { f }.into(), a, b);
    for (f, a, b, exact) in [
        (BitXor, two(52) + 1.0, 1.0, two(52)),
        (BitAnd, -1.0, 255.0, 255.0),
        (Shl, 3.0, 52.0, 3.0 * two(52)),
        (Div, -7.0, 2.0, -4.0),
        (Rem, -7.0, 2.0, 1.0),
        (Rem, 7.0, -2.0, -1.0),
    ] {
        assert_eq!(binary(f, a, b), Ok(exact), "{f}");
    }
    for refused in [
        binary(BitOr, 1.0, two(53)),
        binary(Sub, two(52), -two(52) - 1.0),
        of(Add.into(), two(52), two(52) + 1.0),
        of(Mul.into(), two(27) + 1.0, two(27) + 1.0),
    ] {
        let error = refused.unwrap_err();
        assert!(error.contains("an i64 of more than 53 bits"), "{error}");
    }
    // A sum on its way.
    let x = Tensor::new(Elem::I64, axes(&[("t", 3)]), vec![two(52) + 1.0, two(52), -two(52)]);
    let sum = try_eval(Reduce { fold: scalar::Fold::Sum, over: axis("t").into() }, &[x], &[]);
    assert!(sum.is_err(), "{sum:?}");
}

#[test]
fn tensors_above_the_limit_are_refused() {
    let extents: Extents = [(axis("huge"), 1 << 40)].into_iter().collect();
    let mut sizes = Sizes::default();
    sizes.declare(axis("huge"), Size::known(1 << 40));
    let mut b = Builder::new(&mut sizes);
    let index = b.add(Index { axis: axis("huge") }, &[]);
    let graph = b.finish(vec![index]);
    let error = run_graph(&graph, &Env::new(&extents)).unwrap_err().to_string();
    assert!(error.contains("over the interpreter's limit"), "{error}");
}

#[test]
fn every_op_has_a_name_of_its_own_and_reads_what_it_writes() {
    let names: std::collections::BTreeSet<&str> = REFERENCE.iter().map(|r| r.0).collect();
    assert_eq!(names.len(), REFERENCE.len());
    let [d, e] = [axis("d"), axis("e")];
    let ty = Type::scalar(Elem::F32);
    let ops: Vec<Op> = vec![
        Const::new(Elem::F32, -0.0).into(),
        Window { from: d, to: e, tap: axis("k"), stride: 2, dilation: 3, pad: 4 }.into(),
        Pad { from: d, to: e, before: 1, fill: Fill::Reflect }.into(),
        Pad { from: d, to: e, before: 1, fill: Fill::Constant(bits(2.0)) }.into(),
        Concat { to: d, axes: vec![e, e] }.into(),
        Dequantize { axis: d, block: e, size: 32, bytes: None }.into(),
        Dequantize { axis: d, block: e, size: 32, bytes: Some(axis("c")) }.into(),
        Running { fold: scalar::Fold::Prod, over: d, exclusive: true }.into(),
        SizeOf { axis: d, elem: Elem::F32 }.into(),
        Loaded { index: 3, ty: ty.clone() }.into(),
    ];
    for op in ops {
        assert_eq!(Op::parse(op.name(), &op.attrs(), std::slice::from_ref(&ty)), Some(op));
    }
    assert_eq!(Op::parse("binary", &[Attr::word("add")], &[]), None);
}

/// `docs/generated/ops.md` comes from the list of ops and the list of rules of the verifier.
#[test]
fn the_reference_page_is_fresh() {
    let mut page = String::from(
        "# Ops and rules of the Graph IR\n\nWritten by `make bless` from `compiler/src/ops` and `compiler/src/graph/verify.rs`.\n\n",
    );
    page.push_str("| op | meaning |\n| --- | --- |\n");
    for (name, doc) in REFERENCE {
        page.push_str(&format!("| {name} | {} |\n", doc.replace('|', "\\|")));
    }
    for (title, names) in [
        ("Functions of `unary`", scalar::Unary::ALL.iter().map(|f| f.name()).collect::<Vec<_>>()),
        ("Functions of `binary`", scalar::Binary::ALL.iter().map(|f| f.name()).collect()),
        ("Folds of `reduce` and `running`", scalar::Fold::ALL.iter().map(|f| f.name()).collect()),
    ] {
        page.push_str(&format!("\n{title}: {}\n", names.join(" ")));
    }
    page.push_str("\n| rule | what the verifier asks |\n| --- | --- |\n");
    for (rule, text) in crate::graph::verify::RULES {
        page.push_str(&format!("| {rule} | {text} |\n"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/generated/ops.md");
    if matches!(std::env::var("INSTA_UPDATE").as_deref(), Ok("always" | "1")) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "docs/generated/ops.md is stale: make bless");
}
