//! The reference interpreter: the meaning of a program, in f64 and plain loops.
//!
//! It asks each op for its meaning, node after node, and shares no code with fusion, kernels or code generation. Memory is
//! bounded: a tensor above [`Env::limit`] is refused, and a value is dropped after its last use.

use std::collections::BTreeMap;

use super::tensor::{Extents, Tensor, Unbound};
use super::{Axis, AxisSet, Boundary, Elem, Entry, Graph, Module, Type};
use crate::scalar;

/// Elements of the largest tensor that the interpreter makes, unless told otherwise: 512 MiB of f64.
pub const LIMIT: usize = 1 << 26;

/// From here on f64 does not have every integer.
const EXACT: f64 = (1u64 << 53) as f64;

/// What a graph is evaluated in: extents, and the values behind its leaves.
#[derive(Clone, Debug)]
pub struct Env<'a> {
    pub extents: &'a Extents,
    /// Elements of the largest tensor.
    pub limit: usize,
    pub inputs: &'a [Tensor],
    pub params: &'a [Tensor],
    pub states: &'a [Tensor],
    pub loaded: &'a [Tensor],
    pub carries: &'a [Tensor],
    pub items: &'a [Tensor],
    pub captures: &'a [Tensor],
    /// Index along the innermost loop's axis.
    pub step: usize,
    /// What an element is whose index lies outside: none, which is an error, or one of two stand-ins.
    pub outside: Option<StandIn>,
}

/// A value in the place of an element that there is not, to find out whether any result needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    Zero,
    /// NaN of floats, 1 of others.
    Other,
}

impl StandIn {
    pub fn of(self, elem: Elem) -> f64 {
        match self {
            Self::Zero => 0.0,
            Self::Other if elem.is_float() => f64::NAN,
            Self::Other => 1.0,
        }
    }
}

/// Why an op has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    #[error("axis {axis} has no extent")]
    Extent { axis: Axis },
    #[error("index {index} is outside axis {axis} of extent {extent}")]
    Index { axis: Axis, index: f64, extent: usize },
    #[error("{wanted} elements are asked of axis {axis} of extent {extent}")]
    TooFew { axis: Axis, extent: usize, wanted: usize },
    #[error("{leaf}[{index}] has no value")]
    Missing { leaf: &'static str, index: u32 },
    #[error("{leaf}[{index}] is {found}, expected {want}")]
    Leaf { leaf: &'static str, index: u32, want: Type, found: Type },
    #[error("a value of type {ty} is over the interpreter's limit of {limit} elements")]
    TooLarge { ty: Type, limit: usize },
    #[error("an i64 of more than 53 bits: the interpreter counts in f64, compiled code has them all")]
    Bits,
    #[error("%{node} ({op}): {source}")]
    At { node: String, op: &'static str, source: Box<EvalError> },
}

impl EvalError {
    fn is_index(&self) -> bool {
        match self {
            Self::Index { .. } => true,
            Self::At { source, .. } => source.is_index(),
            _ => false,
        }
    }
}

impl<'a> Env<'a> {
    /// An environment without leaves.
    pub fn new(extents: &'a Extents) -> Self {
        Self {
            extents,
            limit: LIMIT,
            inputs: &[],
            params: &[],
            states: &[],
            loaded: &[],
            carries: &[],
            items: &[],
            captures: &[],
            step: 0,
            outside: None,
        }
    }

    pub fn extent(&self, axis: Axis) -> Result<usize, EvalError> {
        self.extents.get(axis).ok_or(EvalError::Extent { axis })
    }

    /// The axes of a type with their extents, sorted by name.
    pub fn axes(&self, axes: &AxisSet) -> Result<Vec<(Axis, usize)>, EvalError> {
        axes.iter().map(|a| Ok((a, self.extent(a)?))).collect()
    }

    /// An index that comes as a number.
    pub fn check_index(&self, axis: Axis, index: f64) -> Result<usize, EvalError> {
        let extent = self.extent(axis)?;
        if index >= 0.0 && index < extent as f64 {
            Ok(index as usize)
        } else {
            Err(EvalError::Index { axis, index, extent })
        }
    }

    /// The value behind a leaf.
    pub fn leaf(&self, leaf: &'static str, from: &[Tensor], index: u32, ty: &Type) -> Result<Tensor, EvalError> {
        let value = from.get(index as usize).ok_or(EvalError::Missing { leaf, index })?;
        let fits = value.elem == ty.elem
            && value.axes.len() == ty.axes.len()
            && value.axes.iter().all(|(a, n)| ty.axes.contains(*a) && self.extents.get(*a) == Some(*n));
        // What comes from outside may have been rounded on its way here.
        if ty.elem == Elem::I64 && value.data.iter().any(|x| x.abs() >= EXACT) {
            return Err(EvalError::Bits);
        }
        if fits {
            return Ok(value.clone());
        }
        Err(EvalError::Leaf { leaf, index, want: ty.clone(), found: value.ty() })
    }
}

/// What an op has made, if f64 holds it: an i64 may have more bits.
pub fn exact(results: Vec<Tensor>) -> Result<Vec<Tensor>, EvalError> {
    let is_exact = |t: &Tensor| t.elem != Elem::I64 || t.data.iter().all(|x| scalar::is_exact(t.elem, *x));
    if results.iter().all(is_exact) { Ok(results) } else { Err(EvalError::Bits) }
}

/// The results of a graph.
pub fn run_graph(graph: &Graph, env: &Env) -> Result<Vec<Tensor>, EvalError> {
    let mut last_use = vec![0; graph.len()];
    for id in graph.ids() {
        for operand in graph.operands(id) {
            last_use[operand.node.index()] = id.index();
        }
    }
    for result in &graph.results {
        last_use[result.node.index()] = usize::MAX;
    }
    let mut values: Vec<Vec<Tensor>> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let at = |source| {
            let name = node.name.clone().unwrap_or_else(|| id.index().to_string());
            EvalError::At { node: name, op: node.op.name(), source: Box::new(source) }
        };
        for ty in &node.types {
            if env.extents.count(&ty.axes).is_none_or(|n| n > env.limit) {
                return Err(at(EvalError::TooLarge { ty: ty.clone(), limit: env.limit }));
            }
        }
        let operands = graph.operands(id);
        let tensors: Vec<&Tensor> = operands.iter().map(|v| &values[v.node.index()][v.result as usize]).collect();
        let results = node.op.eval(env, &tensors).and_then(exact).map_err(at)?;
        for operand in operands {
            if last_use[operand.node.index()] == id.index() {
                values[operand.node.index()].clear();
            }
        }
        values.push(results);
    }
    Ok(graph.results.iter().map(|v| values[v.node.index()][v.result as usize].clone()).collect())
}

/// Why a module could not be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error(transparent)]
    Unbound(#[from] Unbound),
    #[error("{kind} `{name}` is {found}, expected {want}")]
    Boundary { kind: &'static str, name: String, want: String, found: String },
    #[error("{found} {kind}s for {want}")]
    Count { kind: &'static str, want: usize, found: usize },
    #[error("entry `{entry}`: {source}")]
    Entry { entry: String, source: EvalError },
}

/// What a module runs with.
#[derive(Clone, Debug, Default)]
pub struct Values {
    pub symbols: BTreeMap<String, i64>,
    /// One for each input of the entry, axes in any order.
    pub inputs: Vec<Tensor>,
    /// One for each parameter of the module.
    pub params: Vec<Tensor>,
    /// One for each state of the module.
    pub states: Vec<Tensor>,
}

/// What an entry gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// One for each output, axes in the output's order.
    pub outputs: Vec<Tensor>,
    /// One for each state of the module: its next value, or the old one where the entry sets none.
    pub states: Vec<Tensor>,
}

/// Runs an entry once, the module's `load` graph before it.
pub fn run(module: &Module, entry: &Entry, values: &Values) -> Result<Outcome, RunError> {
    let extents = Extents::bind(&module.sizes, &values.symbols)?;
    check("input", entry.inputs.iter(), &values.inputs, &extents)?;
    check("param", module.params.iter().map(|p| &p.tensor), &values.params, &extents)?;
    check("state", module.states.iter().map(|s| &s.tensor), &values.states, &extents)?;
    let failed = |name: &str| {
        let entry = name.to_owned();
        move |source| RunError::Entry { entry, source }
    };
    let mut env = Env::new(&extents);
    env.params = &values.params;
    let loaded = run_graph(&module.load, &env).map_err(failed("load"))?;
    let env = Env { inputs: &values.inputs, states: &values.states, loaded: &loaded, ..env };
    let mut results = match run_graph(&entry.graph, &env) {
        Err(source) if source.is_index() => unneeded(&entry.graph, &env).ok_or(source),
        results => results,
    }
    .map_err(failed(&entry.name))?;
    let mut states = values.states.clone();
    let next = results.split_off(entry.outputs.len().min(results.len()));
    for (state, value) in entry.next_states.iter().zip(next) {
        states[*state] = value.ordered(&module.states[*state].tensor.order);
    }
    let outputs = results.iter().zip(&entry.outputs).map(|(value, out)| value.ordered(&out.order)).collect();
    Ok(Outcome { outputs, states })
}

/// The results of a graph in which an index lies outside, if none of them needs the element: whatever that is, they are the same.
fn unneeded(graph: &Graph, env: &Env) -> Option<Vec<Tensor>> {
    let with = |stand_in| run_graph(graph, &Env { outside: Some(stand_in), ..env.clone() }).ok();
    let (one, other) = (with(StandIn::Zero)?, with(StandIn::Other)?);
    let bits = |t: &Tensor| t.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    one.iter().map(bits).eq(other.iter().map(bits)).then_some(one)
}

/// Initial values of a module's states; `params` are those of the module.
pub fn initial_states(
    module: &Module,
    symbols: &BTreeMap<String, i64>,
    params: &[Tensor],
) -> Result<Vec<Tensor>, RunError> {
    let extents = Extents::bind(&module.sizes, symbols)?;
    let initial = |s: &super::State| match s.init {
        super::Init::Each(value) => {
            let axes = s.tensor.order.iter().map(|a| (*a, extents.get(*a).unwrap_or(0))).collect();
            Tensor::from_fn(s.tensor.elem, axes, |_| value)
        }
        super::Init::Param(i) => params[i].ordered(&s.tensor.order),
    };
    Ok(module.states.iter().map(initial).collect())
}

fn check<'a>(
    kind: &'static str,
    want: impl ExactSizeIterator<Item = &'a Boundary>,
    found: &[Tensor],
    extents: &Extents,
) -> Result<(), RunError> {
    if want.len() != found.len() {
        return Err(RunError::Count { kind, want: want.len(), found: found.len() });
    }
    for (want, found) in want.zip(found) {
        let fits = want.elem == found.elem
            && want.order.len() == found.axes.len()
            && want.order.iter().all(|a| found.extent(*a).is_some() && found.extent(*a) == extents.get(*a));
        if !fits {
            let show = |axes: Vec<(Axis, Option<usize>)>| {
                let axes: Vec<String> =
                    axes.iter().map(|(a, n)| format!("{a} = {}", n.map_or("?".into(), |n| n.to_string()))).collect();
                axes.join(", ")
            };
            let wanted = show(want.order.iter().map(|a| (*a, extents.get(*a))).collect());
            let got = show(found.axes.iter().map(|(a, n)| (*a, Some(*n))).collect());
            return Err(RunError::Boundary {
                kind,
                name: want.name.clone(),
                want: format!("{}[{wanted}]", want.elem),
                found: format!("{}[{got}]", found.elem),
            });
        }
    }
    Ok(())
}
