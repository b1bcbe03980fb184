//! A loop along an axis. Its body is a closed graph: what it reads from outside are operands.

use std::sync::Arc;

use crate::graph::interp::{Env, EvalError, run_graph};
use crate::graph::tensor::Tensor;
use crate::graph::{Axis, Graph, Sizes, Type};
use crate::ops::{Attr, Class, Op, OpDef};

/// `scan[t, direction, carries, items, {body}] inits, items, captures`: runs `body` at each index of `t`. The body's results are the carries' next values, then the yields; the loop's results are the last carries, then the yields stacked along `t`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scan {
    pub axis: Axis,
    pub reverse: bool,
    /// How many operands are initial values of carries; then come the items, the rest are captures.
    pub carries: u32,
    pub items: u32,
    pub body: Arc<Graph>,
}

impl OpDef for Scan {
    const NAME: &'static str = "scan";
    const DOC: &'static str = "`scan[t, direction, carries, items, {body}] inits, items, captures`: runs `body` at each index of `t`. The body's results are the carries' next values, then the yields; the loop's results are the last carries, then the yields stacked along `t`.";

    fn attrs(&self) -> Vec<Attr> {
        let direction = if self.reverse { "reverse" } else { "forward" };
        vec![
            Attr::Axis(self.axis),
            Attr::word(direction),
            Attr::Int(i64::from(self.carries)),
            Attr::Int(i64::from(self.items)),
            Attr::Body(self.body.clone()),
        ]
    }
    fn parse(attrs: &[Attr], _: &[Type]) -> Option<Self> {
        let [axis, direction, carries, items, body] = attrs else { return None };
        let reverse = match direction.as_word()? {
            "reverse" => true,
            "forward" => false,
            _ => return None,
        };
        let (carries, items, body) = (carries.as_count()?, items.as_count()?, body.as_body()?);
        Some(Self { axis: axis.as_axis()?, reverse, carries, items, body })
    }
    fn arity(&self) -> Option<usize> {
        None
    }
    fn infer(&self, sizes: &Sizes, operands: &[&Type]) -> Result<Vec<Type>, String> {
        sizes.require(self.axis)?;
        let (carries, items) = (self.carries as usize, self.items as usize);
        if carries + items > operands.len() {
            return Err(format!("{carries} carries and {items} items of {} operands", operands.len()));
        }
        for (i, item) in operands[carries..carries + items].iter().enumerate() {
            item.needs(carries + i, self.axis)?;
        }
        let leaf = |kind: &str, operand: usize, end: usize, ty: &Type, want: &dyn Fn(&Type) -> Type| match operands.get(operand) {
            Some(x) if operand < end && want(x) == *ty => Ok(()),
            Some(x) if operand < end => Err(format!("{kind} is {ty} in the body, its operand {operand} {x}")),
            _ => Err(format!("{kind} of the body has no operand")),
        };
        for id in self.body.ids() {
            match &self.body.node(id).op {
                Op::Carry(c) => leaf(&format!("carry {}", c.index), c.index as usize, carries, &c.ty, &Type::clone)?,
                Op::Item(i) => leaf(
                    &format!("item {}", i.index),
                    carries + i.index as usize,
                    carries + items,
                    &i.ty,
                    &|x| x.over(x.axes.without(self.axis)),
                )?,
                Op::Capture(c) => leaf(
                    &format!("capture {}", c.index),
                    carries + items + c.index as usize,
                    operands.len(),
                    &c.ty,
                    &Type::clone,
                )?,
                _ => {}
            }
        }
        let mut results: Vec<&Type> = Vec::with_capacity(self.body.results.len());
        for (i, value) in self.body.results.iter().enumerate() {
            let node = self.body.petgraph().node_weight(value.node);
            let ty = node.and_then(|n| n.types.get(value.result as usize));
            results.push(ty.ok_or_else(|| format!("result {i} of the body does not exist"))?);
        }
        if results.len() < carries {
            return Err(format!("the body has {} results for {carries} carries", results.len()));
        }
        for (i, (next, init)) in results.iter().zip(&operands[..carries]).enumerate() {
            if next != init {
                return Err(format!("carry {i} begins as {init}, its next value is {next}"));
            }
        }
        let mut types: Vec<Type> = operands[..carries].iter().map(|t| (*t).clone()).collect();
        for ty in &results[carries..] {
            ty.lacks(operands.len(), self.axis).map_err(|_| format!("a yield ({ty}) already has axis {}", self.axis))?;
            types.push(ty.over(ty.axes.with(self.axis)));
        }
        Ok(types)
    }
    fn eval(&self, env: &Env, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (carries, items) = (self.carries as usize, self.items as usize);
        let n = env.extent(self.axis)?;
        let owned = |xs: &[&Tensor]| -> Vec<Tensor> { xs.iter().map(|x| (*x).clone()).collect() };
        let mut carried = owned(&operands[..carries]);
        let captures = owned(&operands[carries + items..]);
        // Yields with the loop's axis in front: iteration i fills one contiguous part.
        let mut yields: Vec<Stacked> = Vec::new();
        for value in &self.body.results[carries..] {
            let axes = env.axes(&self.body.ty(*value).axes)?;
            let part = axes.iter().map(|a| a.1).product::<usize>();
            yields.push(Stacked { axes, part, data: vec![0.0; n * part] });
        }
        for i in 0..n {
            let at = if self.reverse { n - 1 - i } else { i };
            let items: Vec<Tensor> = operands[carries..carries + items].iter().map(|x| x.at(self.axis, at)).collect();
            let inside = Env { carries: &carried, items: &items, captures: &captures, step: at, ..env.clone() };
            let mut results = run_graph(&self.body, &inside)?;
            for (y, value) in yields.iter_mut().zip(results.drain(carries..)) {
                let order: Vec<Axis> = y.axes.iter().map(|a| a.0).collect();
                y.data[at * y.part..(at + 1) * y.part].copy_from_slice(&value.ordered(&order).data);
            }
            carried = results;
        }
        let elems = self.body.results[carries..].iter().map(|v| self.body.ty(*v).elem);
        let stacked = yields.into_iter().zip(elems).map(|(y, elem)| {
            let mut axes = vec![(self.axis, n)];
            axes.extend(y.axes);
            Tensor::new(elem, axes, y.data)
        });
        Ok(carried.into_iter().chain(stacked).collect())
    }
    fn class(&self) -> Class {
        Class::Loop
    }
}

/// A yield while the loop runs.
struct Stacked {
    axes: Vec<(Axis, usize)>,
    part: usize,
    data: Vec<f64>,
}
