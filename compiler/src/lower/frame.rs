//! Frames: an entry, and within it each loop, becomes a graph of its own.
//!
//! The program is one list of nodes in which a loop's body is a range that may name anything before it. The Graph IR wants
//! closed bodies. So each node gets a *home*, the loop that it varies in; what a body needs from outside its home is collected
//! first and becomes items and captures of the loop.

use std::collections::HashMap;

use gatec_lang::program::{AxisId, Entry, Kind, Node, NodeId};

use super::leaf::is_free;
use super::looped::operands;
use super::{Names, Problem};
use crate::graph::text::MAX_DEPTH;
use crate::graph::{Builder, Graph, Sizes, Type, Value};
use crate::ops;

/// The loop that a node varies in; `None`: the entry itself.
pub(super) type Home = Option<NodeId>;

/// What all frames of an entry share.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub names: Names<'a>,
    pub entry: &'a Entry,
    pub homes: &'a Homes,
}

/// The home of each node, and the loop around each loop.
pub(super) struct Homes {
    nodes: Vec<Home>,
    around: HashMap<NodeId, Home>,
}

/// A graph while it is built.
pub(super) struct Frame<'a, 'b> {
    pub scene: Scene<'a>,
    pub home: Home,
    pub build: Builder<'b>,
    /// Values of the nodes that this frame knows: its own, and those that came in.
    pub values: HashMap<NodeId, Vec<Value>>,
}

/// The graph of an entry: outputs, then next states.
pub(super) fn entry(names: Names, sizes: &mut Sizes, entry: &Entry) -> Result<Graph, Problem> {
    let homes = Homes::new(entry)?;
    let scene = Scene { names, entry, homes: &homes };
    let mut frame = Frame { scene, home: None, build: Builder::new(sizes), values: HashMap::new() };
    frame.nodes()?;
    frame.free_leaves(&entry.results)?;
    frame.free_leaves(&entry.next_states.iter().map(|n| n.1).collect::<Vec<_>>())?;
    let mut results = Vec::new();
    for (tensor, id) in entry.outputs.iter().zip(&entry.results) {
        let value = frame.value(*id)?;
        results.push(frame.fit(value, &names.boundary(tensor).ty())?);
    }
    for (state, id) in &entry.next_states {
        let state = names.0.states.get(*state).ok_or_else(|| Problem::new(format!("no state {state}")))?;
        let value = frame.value(*id)?;
        results.push(frame.fit(value, &names.boundary(&state.tensor).ty())?);
    }
    Ok(frame.build.finish(results))
}

impl Frame<'_, '_> {
    /// Lowers every node whose home is this frame, in order.
    pub fn nodes(&mut self) -> Result<(), Problem> {
        for i in 0..self.scene.entry.nodes.len() {
            let id = NodeId(i as u32);
            if self.scene.homes.nodes[i] != self.home || self.values.contains_key(&id) {
                continue;
            }
            let node = &self.scene.entry.nodes[i];
            self.build.span = Some(node.span);
            self.free_leaves(&operands(&node.kind))?;
            let values = self.node(id, node).map_err(|p| Problem { span: p.span.or(Some(node.span)), ..p })?;
            self.values.insert(id, values);
        }
        Ok(())
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Result<Vec<Value>, Problem> {
        let ty = self.scene.names.ty(&node.ty);
        let value = match &node.kind {
            Kind::Loop(l) => return self.looped(id, l),
            Kind::Input(_)
            | Kind::Param(_)
            | Kind::State(_)
            | Kind::Number(_)
            | Kind::Table { .. }
            | Kind::Index(_)
            | Kind::SizeOf(_) => self.leaf(&node.kind, &ty)?,
            Kind::Unary(f, x) => {
                let x = self.value(*x)?;
                self.pointwise_unary(*f, x)?
            }
            Kind::Binary(f, a, b) => {
                let (a, b) = (self.value(*a)?, self.value(*b)?);
                self.pointwise_binary(*f, a, b)?
            }
            Kind::Where(cond, then, otherwise) => {
                let operands = [self.value(*cond)?, self.value(*then)?, self.value(*otherwise)?];
                self.build.try_add(ops::Select, &operands)?
            }
            Kind::Cast(x) => {
                let x = self.value(*x)?;
                self.cast(x, ty.elem)?
            }
            Kind::Broadcast(x) => self.value(*x)?,
            Kind::Contract { over, a, b } => {
                let (a, b) = (self.value(*a)?, self.value(*b)?);
                let over = self.scene.names.set(over);
                self.build.try_add(ops::Contract { over }, &[a, b])?
            }
            Kind::Reduce { with, over, x } => {
                let x = self.value(*x)?;
                self.reduce(*with, &self.scene.names.list(over), x)?
            }
            Kind::Running { with, over, exclusive, x } => {
                let x = self.value(*x)?;
                self.running(*with, self.scene.names.axis(*over), *exclusive, x)?
            }
            Kind::Softmax { over, x } => {
                let x = self.value(*x)?;
                self.softmax(self.scene.names.set(over), x)?
            }
            Kind::LogSumExp { over, x } => {
                let x = self.value(*x)?;
                self.logsumexp(self.scene.names.set(over), x)?
            }
            Kind::RmsNorm { over, x, scale, eps } => {
                let (x, scale) = (self.value(*x)?, self.optional(*scale)?);
                self.rmsnorm(self.scene.names.set(over), x, scale, *eps)?
            }
            Kind::LayerNorm { over, x, scale, shift, eps } => {
                let (x, scale, shift) = (self.value(*x)?, self.optional(*scale)?, self.optional(*shift)?);
                self.layernorm(self.scene.names.set(over), x, (scale, shift), *eps)?
            }
            Kind::Rename { .. }
            | Kind::Split { .. }
            | Kind::Merge { .. }
            | Kind::Pick { .. }
            | Kind::Slice { .. }
            | Kind::Shift { .. }
            | Kind::Pad { .. }
            | Kind::Window { .. } => self.view(&node.kind)?,
            Kind::Concat { to, axes, xs } => self.concat(*to, axes, xs, &ty)?,
            Kind::Stack { axis, xs } => self.stack(*axis, xs, &ty)?,
            Kind::Gather { axis, index, x } => {
                let operands = [self.value(*x)?, self.value(*index)?];
                let axis = self.scene.names.axis(*axis);
                self.build.try_add(ops::Gather::new(axis), &operands)?
            }
            Kind::Segment { with, from, to, index, x } => {
                let (x, index) = (self.value(*x)?, self.value(*index)?);
                self.segment(*with, (self.scene.names.axis(*from), self.scene.names.axis(*to)), x, index)?
            }
            Kind::SegmentSoftmax { from, to, index, x } => {
                let (x, index) = (self.value(*x)?, self.value(*index)?);
                self.segment_softmax((self.scene.names.axis(*from), self.scene.names.axis(*to)), x, index)?
            }
            Kind::Dequantize { axis, block, size, bytes, x, scale } => {
                let operands = [self.value(*x)?, self.value(*scale)?];
                let [axis, block] = [axis, block].map(|a| self.scene.names.axis(*a));
                let bytes = bytes.map(|a| self.scene.names.axis(a));
                self.build.try_add(ops::Dequantize { axis, block, size: *size, bytes }, &operands)?
            }
            Kind::TopK { axis, slot, x } => {
                let x = self.value(*x)?;
                let (axis, slot) = (self.scene.names.axis(*axis), self.scene.names.axis(*slot));
                self.build.try_add(ops::TopK { axis, slot }, &[x])?
            }
            Kind::Route { .. } => self.route(&node.kind, &ty)?,
            Kind::Item { .. } | Kind::Carry(_) | Kind::Step(_) => {
                return Err(Problem::new("a value of one iteration stands outside its loop"));
            }
            Kind::Yielded { of, index } => self.result(*of, |l| l.inits.len() + index)?,
            Kind::Last { of, index } => self.result(*of, |_| *index)?,
        };
        Ok(vec![self.fit(value, &ty)?])
    }

    /// Makes numbers and the like that stand in a loop's body but are named from outside it.
    fn free_leaves(&mut self, named: &[NodeId]) -> Result<(), Problem> {
        for id in named {
            let Some(node) = self.scene.entry.nodes.get(id.0 as usize) else { continue };
            if is_free(&node.kind) && !self.values.contains_key(id) && self.scene.homes.of(*id) != self.home {
                let value = self.leaf(&node.kind, &self.scene.names.ty(&node.ty))?;
                self.values.insert(*id, vec![value]);
            }
        }
        Ok(())
    }

    /// The value of a node that came before.
    pub fn value(&self, id: NodeId) -> Result<Value, Problem> {
        let value = self.values.get(&id).and_then(|v| v.first()).copied();
        value.ok_or_else(|| Problem::new(format!("node {} has no value here", id.0)))
    }

    fn optional(&self, id: Option<NodeId>) -> Result<Option<Value>, Problem> {
        id.map(|id| self.value(id)).transpose()
    }

    /// Broadcasts a value to a type that has more axes.
    pub fn fit(&mut self, value: Value, ty: &Type) -> Result<Value, Problem> {
        let have = self.build.ty(value).clone();
        if have == *ty {
            return Ok(value);
        }
        if have.elem != ty.elem || !have.axes.is_subset(&ty.axes) {
            return Err(Problem::new(format!("a value is {have}, the program says {ty}")));
        }
        Ok(self.build.try_add(ops::Broadcast { over: ty.axes.minus(&have.axes) }, &[value])?)
    }
}

impl Homes {
    fn new(entry: &Entry) -> Result<Self, Problem> {
        let n = entry.nodes.len();
        // Loops in the order of their ends: an outer loop's node stands after the inner one.
        let mut inner: Vec<Home> = vec![None; n];
        let mut around = HashMap::new();
        for (i, node) in entry.nodes.iter().enumerate().rev() {
            let Kind::Loop(l) = &node.kind else { continue };
            let id = NodeId(i as u32);
            let body = l.body.start as usize..l.body.end as usize;
            if body.start > body.end || body.end > i {
                return Err(Problem::new("a loop's body does not stand before it"));
            }
            around.insert(id, inner[i]);
            // Inner loops come later in this order and overwrite.
            inner[body].fill(Some(id));
        }
        let mut homes = Self { nodes: Vec::with_capacity(n), around };
        for (i, node) in entry.nodes.iter().enumerate() {
            let home = match &node.kind {
                Kind::Input(_) | Kind::Param(_) | Kind::State(_) => None,
                Kind::Item { axis, .. } | Kind::Step(axis) => homes.loop_over(entry, inner[i], *axis)?,
                Kind::Yielded { of, .. } | Kind::Last { of, .. } => {
                    *inner.get(of.0 as usize).ok_or_else(|| Problem::new(format!("there is no node {}", of.0)))?
                }
                _ => inner[i],
            };
            homes.nodes.push(home);
        }
        Ok(homes)
    }

    /// The innermost loop over `axis` from `home` outwards.
    fn loop_over(&self, entry: &Entry, mut home: Home, axis: AxisId) -> Result<Home, Problem> {
        for _ in 0..=MAX_DEPTH {
            let id = home.ok_or_else(|| Problem::new("a value of one iteration stands outside its loop"))?;
            match &entry.node(id).kind {
                Kind::Loop(l) if l.axis == axis => return Ok(home),
                _ => home = self.around.get(&id).copied().flatten(),
            }
        }
        Err(Problem::new(format!("loops nest deeper than {MAX_DEPTH}")))
    }

    pub fn of(&self, id: NodeId) -> Home {
        self.nodes.get(id.0 as usize).copied().flatten()
    }

    /// Is the home of `id` the loop `outer`, or inside it?
    pub fn is_inside(&self, id: NodeId, outer: NodeId) -> Result<bool, Problem> {
        let mut home = self.of(id);
        for _ in 0..=MAX_DEPTH {
            match home {
                None => return Ok(false),
                Some(h) if h == outer => return Ok(true),
                Some(h) => home = self.around.get(&h).copied().flatten(),
            }
        }
        Err(Problem::new(format!("loops nest deeper than {MAX_DEPTH}")))
    }
}
