//! Lowering of programs that are written down by hand: homes, captures, routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatec_lang::program::*;
use gatec_lang::{Program, Size};

use super::lower;
use crate::graph::interp::{Outcome, Values, run};
use crate::graph::tensor::Tensor as Value;
use crate::graph::text::{parse, print};
use crate::graph::verify::verify;
use crate::graph::{self};

/// A program of one entry while it is written down.
struct Writer {
    axes: Vec<Axis>,
    params: Vec<Param>,
    inputs: Vec<Tensor>,
    nodes: Vec<Node>,
}

const F32: Elem = Elem::F32;

impl Writer {
    fn new(axes: &[(&str, i64)]) -> Self {
        let axis =
            |(name, n): &(&str, i64)| Axis { name: (*name).into(), size: Size::known(*n), span: Span::default() };
        let axes = axes.iter().map(axis).collect();
        Self { axes, params: Vec::new(), inputs: Vec::new(), nodes: Vec::new() }
    }
    fn axis(&self, name: &str) -> AxisId {
        AxisId(self.axes.iter().position(|a| &*a.name == name).unwrap() as u32)
    }
    fn axes(&self, names: &[&str]) -> Vec<AxisId> {
        names.iter().map(|n| self.axis(n)).collect()
    }
    fn node(&mut self, kind: Kind, elem: Elem, axes: &[&str]) -> NodeId {
        let mut axes = self.axes(axes);
        axes.sort();
        self.nodes.push(Node { kind, ty: Type { elem, axes }, span: Span::default() });
        NodeId(self.nodes.len() as u32 - 1)
    }
    fn tensor(&self, name: &str, axes: &[&str]) -> Tensor {
        Tensor {
            name: name.into(),
            elem: F32,
            order: self.axes(axes),
            default: None,
            doc: String::new(),
            span: Span::default(),
        }
    }
    fn input(&mut self, name: &str, axes: &[&str]) -> NodeId {
        self.inputs.push(self.tensor(name, axes));
        self.node(Kind::Input(self.inputs.len() - 1), F32, axes)
    }
    fn param(&mut self, name: &str, axes: &[&str]) -> NodeId {
        let order = self.axes(axes).into_iter().map(FileAxis::Axis).collect();
        let source = Source { name: vec![NamePiece::Text(name.into())], order };
        self.params.push(Param { tensor: self.tensor(name, axes), source, buffer: None });
        self.node(Kind::Param(self.params.len() - 1), F32, axes)
    }
    /// A loop whose body is all nodes from `start` on.
    fn looped(&mut self, axis: &str, start: usize, inits: &[NodeId], nexts: &[NodeId], yields: &[NodeId]) -> NodeId {
        let body = start as u32..self.nodes.len() as u32;
        let (inits, nexts, yields) = (inits.to_vec(), nexts.to_vec(), yields.to_vec());
        let l = Loop { axis: self.axis(axis), reverse: false, body, inits, nexts, yields };
        self.node(Kind::Loop(Box::new(l)), F32, &[])
    }
    /// The program, its module verified and read back, run.
    fn run(self, results: &[(NodeId, &[&str])], inputs: &[&[f64]], params: &[&[f64]]) -> (String, Outcome) {
        let outputs =
            results.iter().enumerate().map(|(i, (_, axes))| self.tensor(&format!("y{i}"), axes)).collect::<Vec<_>>();
        let entry = Entry {
            name: "f".into(),
            inputs: self.inputs,
            outputs,
            nodes: self.nodes,
            results: results.iter().map(|r| r.0).collect(),
            next_states: Vec::new(),
            span: Span::default(),
        };
        let program = Program {
            name: "test".into(),
            doc: String::new(),
            files: Vec::new(),
            symbols: Vec::new(),
            axes: self.axes,
            params: self.params,
            quantized: Vec::new(),
            states: Vec::new(),
            entries: vec![entry],
        };
        let module = lower(&program).unwrap();
        let text = print(&module);
        assert_eq!(verify(&module), Ok(()), "{text}");
        assert_eq!(print(&parse(&text).unwrap()), text);
        let value = |b: &graph::Boundary, data: &[f64]| {
            let axes = b.order.iter().map(|a| (*a, module.sizes.known(*a).unwrap() as usize)).collect();
            Value::new(b.elem, axes, data.to_vec())
        };
        let values = Values {
            symbols: BTreeMap::new(),
            inputs: module.entries[0].inputs.iter().zip(inputs).map(|(b, d)| value(b, d)).collect(),
            params: module.params.iter().zip(params).map(|(p, d)| value(&p.tensor, d)).collect(),
            states: Vec::new(),
        };
        let outcome = run(&module, &module.entries[0], &values).unwrap();
        (text, outcome)
    }
}

fn close(found: &[f64], want: &[f64]) {
    assert_eq!(found.len(), want.len());
    for (a, b) in found.iter().zip(want) {
        assert!((a - b).abs() < 1e-12 || a.is_nan() && b.is_nan(), "{found:?} is not {want:?}");
    }
}

/// A loop in a loop. The inner body reads the outer carry, an item of the outer loop, a parameter and a number; the outer
/// loop's first value is a number that stands in its body.
#[test]
fn bodies_take_what_they_read_from_outside_as_operands() {
    let mut w = Writer::new(&[("t", 2), ("u", 2)]);
    let (t, u) = (w.axis("t"), w.axis("u"));
    let x = w.input("x", &["t"]);
    let ten = w.node(Kind::Number(10.0), F32, &[]);
    let outer = w.nodes.len();
    let h = w.node(Kind::Carry(0), F32, &[]);
    let inner = w.nodes.len();
    let g = w.node(Kind::Carry(0), F32, &[]);
    let p = w.param("p", &["t", "u"]);
    let row = w.node(Kind::Item { axis: t, x: p }, F32, &["u"]);
    let item = w.node(Kind::Item { axis: u, x: row }, F32, &[]);
    let xt = w.node(Kind::Item { axis: t, x }, F32, &[]);
    let scaled = w.node(Kind::Binary(Binary::Mul, item, ten), F32, &[]);
    let sum = w.node(Kind::Binary(Binary::Add, g, scaled), F32, &[]);
    let sum = w.node(Kind::Binary(Binary::Add, sum, xt), F32, &[]);
    let l = w.looped("u", inner, &[h], &[sum], &[h]);
    let last = w.node(Kind::Last { of: l, index: 0 }, F32, &[]);
    let stacked = w.node(Kind::Yielded { of: l, index: 0 }, F32, &["u"]);
    let zero = w.node(Kind::Number(0.0), F32, &[]);
    let l = w.looped("t", outer, &[zero], &[last], &[last, stacked]);
    let end = w.node(Kind::Last { of: l, index: 0 }, F32, &[]);
    let ys = w.node(Kind::Yielded { of: l, index: 0 }, F32, &["t"]);
    let hs = w.node(Kind::Yielded { of: l, index: 1 }, F32, &["t", "u"]);
    let results: [(NodeId, &[&str]); 3] = [(end, &[]), (ys, &["t"]), (hs, &["t", "u"])];
    let (text, y) = w.run(&results, &[&[1.0, 2.0]], &[&[0.1, 0.2, 0.3, 0.4]]);
    // 0 -> + 1 + 1, 2 + 1 = 5 -> + 3 + 2, 4 + 2 = 16
    close(&y.outputs[0].data, &[16.0]);
    close(&y.outputs[1].data, &[5.0, 16.0]);
    close(&y.outputs[2].data, &[0.0, 0.0, 5.0, 5.0]);
    insta::assert_snapshot!(text);
}

/// Two of three experts, one weight matrix each.
#[test]
fn a_route_is_a_contraction_of_gathered_values() {
    let mut w = Writer::new(&[("t", 2), ("e", 3), ("s", 2), ("d", 1)]);
    let (e, s) = (w.axis("e"), w.axis("s"));
    let x = w.input("x", &["t", "d"]);
    let score = w.input("score", &["t", "e"]);
    let index = w.node(Kind::TopK { axis: e, slot: s, x: score }, Elem::I32, &["t", "s"]);
    let weight = w.node(Kind::Gather { axis: e, index, x: score }, F32, &["t", "s"]);
    let p = w.param("p", &["e", "d"]);
    let over = w.axes(&["d"]);
    let value = w.node(Kind::Contract { over, a: x, b: p }, F32, &["t", "e"]);
    let mut results: Vec<(NodeId, &[&str])> = Vec::new();
    for mix in [Mix::Sum, Mix::Mean, Mix::Max] {
        let kind = Kind::Route {
            expert: e,
            slot: Some(s),
            index: Some(index),
            weight: Some(weight),
            drops: false,
            mix,
            value,
        };
        results.push((w.node(kind, F32, &["t"]), &["t"]));
    }
    let all =
        Kind::Route { expert: e, slot: None, index: None, weight: Some(score), drops: false, mix: Mix::Sum, value };
    results.push((w.node(all, F32, &["t"]), &["t"]));
    let (text, y) = w.run(&results, &[&[1.0, 10.0], &[0.5, 0.25, 0.125, 0.0, 2.0, 1.0]], &[&[1.0, 2.0, 4.0]]);
    close(&y.outputs[0].data, &[0.5 + 0.5, 40.0 + 40.0]);
    close(&y.outputs[1].data, &[1.5, 30.0]);
    close(&y.outputs[2].data, &[2.0, 40.0]);
    close(&y.outputs[3].data, &[0.5 + 0.5 + 0.5, 80.0]);
    insta::assert_snapshot!(text);
}

#[test]
fn activations_and_norms_have_their_values() {
    let mut w = Writer::new(&[("d", 4)]);
    let x = w.input("x", &["d"]);
    let over = w.axes(&["d"]);
    let mut results: Vec<(NodeId, &[&str])> = Vec::new();
    for f in [Unary::Relu, Unary::Silu, Unary::Gelu, Unary::GeluTanh, Unary::Softplus] {
        results.push((w.node(Kind::Unary(f, x), F32, &["d"]), &["d"]));
    }
    for kind in [
        Kind::Softmax { over: over.clone(), x },
        Kind::RmsNorm { over: over.clone(), x, scale: None, eps: 0.0 },
        Kind::LayerNorm { over: over.clone(), x, scale: None, shift: None, eps: 0.0 },
    ] {
        results.push((w.node(kind, F32, &["d"]), &["d"]));
    }
    results.push((w.node(Kind::LogSumExp { over: over.clone(), x }, F32, &[]), &[]));
    results.push((w.node(Kind::Reduce { with: Reduce::Mean, over, x }, F32, &[]), &[]));
    let (_, y) = w.run(&results, &[&[-1.0, 0.0, 1.0, 3.0]], &[]);
    let y: Vec<&[f64]> = y.outputs.iter().map(|t| t.data.as_slice()).collect();
    close(y[0], &[0.0, 0.0, 1.0, 3.0]);
    close(y[1], &[-0.268_941_421_369_995_1, 0.0, 0.731_058_578_630_004_9, 2.857_722_380_467_6]);
    // torch.nn.functional.gelu, exact and tanh, in float64
    close(y[2], &[-0.158_655_253_931_457_05, 0.0, 0.841_344_746_068_542_9, 2.995_950_305_905_11]);
    close(y[3], &[-0.158_808_009_391_723_24, 0.0, 0.841_191_990_608_276_8, 2.996_362_607_918_227]);
    close(y[4], &[0.313_261_687_518_222_8, std::f64::consts::LN_2, 1.313_261_687_518_222_8, 3.048_587_351_573_742_3]);
    let exp: Vec<f64> = [-1.0f64, 0.0, 1.0, 3.0].iter().map(|v| v.exp()).collect();
    let sum: f64 = exp.iter().sum();
    close(y[5], &exp.iter().map(|v| v / sum).collect::<Vec<_>>());
    let rms = (11.0f64 / 4.0).sqrt();
    close(y[6], &[-1.0 / rms, 0.0, 1.0 / rms, 3.0 / rms]);
    let deviation = (8.75f64 / 4.0).sqrt();
    close(y[7], &[-1.75, -0.75, 0.25, 2.25].map(|v: f64| v / deviation));
    close(y[8], &[sum.ln()]);
    close(y[9], &[0.75]);
}

#[test]
fn hard_functions_and_the_gamma_function_have_their_values() {
    let mut w = Writer::new(&[("d", 8)]);
    let x = w.input("x", &["d"]);
    let functions = [Unary::HardSigmoid, Unary::HardSwish, Unary::Lgamma];
    let results = functions.map(|f| (w.node(Kind::Unary(f, x), F32, &["d"]), &["d"][..]));
    let (_, y) = w.run(&results, &[&[-4.0, -1.5, 0.0, 0.25, 1.0, 2.0, 7.5, 150.0]], &[]);
    let y: Vec<&[f64]> = y.outputs.iter().map(|t| t.data.as_slice()).collect();
    close(y[0], &[0.0, 0.25, 0.5, 3.25 / 6.0, 4.0 / 6.0, 5.0 / 6.0, 1.0, 1.0]);
    close(y[1], &[0.0, -0.375, 0.0, 0.8125 / 6.0, 4.0 / 6.0, 10.0 / 6.0, 7.5, 150.0]);
    // math.lgamma
    assert_eq!([y[2][0], y[2][2]], [f64::INFINITY; 2], "poles");
    close(&y[2][3..], &[1.288_022_524_698_077_4, 0.0, 0.0, 7.534_364_236_758_734, 600.009_470_555_327_4]);
    close(&y[2][1..2], &[0.860_047_015_376_481]);
}

#[test]
fn logsumexp_of_infinities_is_not_nan() {
    let lse = |data: &[f64]| {
        let mut w = Writer::new(&[("d", data.len() as i64)]);
        let x = w.input("x", &["d"]);
        let over = w.axes(&["d"]);
        let y = w.node(Kind::LogSumExp { over, x }, F32, &[]);
        w.run(&[(y, &[])], &[data], &[]).1.outputs[0].data[0]
    };
    assert_eq!(lse(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), f64::NEG_INFINITY);
    assert_eq!(lse(&[f64::INFINITY, 0.0]), f64::INFINITY);
    assert_eq!(lse(&[1000.0]), 1000.0);
    assert_eq!(lse(&[]), f64::NEG_INFINITY);
}

#[test]
fn tables_stand_in_their_own_order() {
    let mut w = Writer::new(&[("b", 2), ("a", 2)]);
    let table = Kind::Table { order: w.axes(&["b", "a"]), values: Arc::from([1.0, 2.0, 3.0, 4.0]) };
    let t = w.node(table, F32, &["a", "b"]);
    let (_, y) = w.run(&[(t, &["a", "b"])], &[], &[]);
    close(&y.outputs[0].data, &[1.0, 3.0, 2.0, 4.0]);
}
