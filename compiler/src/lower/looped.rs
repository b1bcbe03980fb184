//! Loops: `scan` and `repeat`. What the body reads from outside becomes operands: initial values of carries, items (values
//! that have the loop's axis and are read at the current index), captures.

use std::collections::HashMap;
use std::sync::Arc;

use gatec_lang::program::{Kind, Loop, NodeId};

use super::Problem;
use super::frame::{Frame, Scene};
use super::leaf::is_free;
use crate::graph::text::MAX_DEPTH;
use crate::graph::{Axis, Builder, Type, Value};
use crate::ops;

/// What a body reads from outside, each once, in order of first use.
#[derive(Default)]
struct Needs {
    items: Vec<NodeId>,
    captures: Vec<NodeId>,
}

impl Frame<'_, '_> {
    /// The results of a loop: carries after the last iteration, then stacked yields.
    pub(super) fn looped(&mut self, id: NodeId, l: &Loop) -> Result<Vec<Value>, Problem> {
        let scene = self.scene;
        if depth(scene, id)? > MAX_DEPTH {
            return Err(Problem::new(format!("loops nest deeper than {MAX_DEPTH}")));
        }
        let axis = scene.names.axis(l.axis);
        let needs = needs(scene, id, l, &|x| Ok(self.build.ty(self.value(x)?).axes.contains(axis)))?;
        let mut operands = Vec::new();
        let mut carries = Vec::new();
        for (init, next) in l.inits.iter().zip(&l.nexts) {
            let ty = scene.names.ty(&scene.entry.node(*next).ty);
            let init = self.value(*init)?;
            operands.push(self.fit(init, &ty)?);
            carries.push(ty);
        }
        for x in needs.items.iter().chain(&needs.captures) {
            operands.push(self.value(*x)?);
        }
        let types: Vec<Type> = operands.iter().map(|v| self.build.ty(*v).clone()).collect();
        let (items, captures) = types[carries.len()..].split_at(needs.items.len());

        let mut body = Frame { scene, home: Some(id), build: Builder::new(self.build.sizes), values: HashMap::new() };
        body.leaves(&needs, l, axis, &carries, items, captures)?;
        body.nodes()?;
        let mut results = Vec::new();
        for (next, ty) in l.nexts.iter().zip(&carries) {
            let next = body.value(*next)?;
            results.push(body.fit(next, ty)?);
        }
        for y in &l.yields {
            let ty = scene.names.ty(&scene.entry.node(*y).ty);
            let y = body.value(*y)?;
            results.push(body.fit(y, &ty)?);
        }
        let graph = Arc::new(body.build.finish(results));
        let (carries, items) = (carries.len() as u32, needs.items.len() as u32);
        let scan = ops::Scan { axis, reverse: l.reverse, carries, items, body: graph };
        let node = self.build.try_node(scan, &operands)?;
        Ok(self.build.results(node))
    }

    /// One result of a loop.
    pub(super) fn result(&self, of: NodeId, index: impl Fn(&Loop) -> usize) -> Result<Value, Problem> {
        let Kind::Loop(l) = &self.scene.entry.node(of).kind else {
            return Err(Problem::new("the result of something that is no loop"));
        };
        let value = self.values.get(&of).and_then(|results| results.get(index(l))).copied();
        value.ok_or_else(|| Problem::new("a loop has no such result"))
    }

    /// The leaves of a body.
    fn leaves(
        &mut self,
        needs: &Needs,
        l: &Loop,
        axis: Axis,
        carries: &[Type],
        items: &[Type],
        captures: &[Type],
    ) -> Result<(), Problem> {
        let scene = self.scene;
        for (i, (id, ty)) in needs.captures.iter().zip(captures).enumerate() {
            let value = self.build.try_add(ops::Capture { index: i as u32, ty: ty.clone() }, &[])?;
            self.values.insert(*id, vec![value]);
        }
        let mut by_operand = HashMap::new();
        for (i, (id, ty)) in needs.items.iter().zip(items).enumerate() {
            let ty = ty.over(ty.axes.without(axis));
            let value = self.build.try_add(ops::Item { index: i as u32, ty }, &[])?;
            by_operand.insert(*id, value);
        }
        for i in l.body.clone() {
            let id = NodeId(i);
            let node = scene.entry.node(id);
            if is_free(&node.kind) || scene.homes.of(id) != self.home {
                continue;
            }
            self.build.span = Some(node.span);
            let value = match &node.kind {
                Kind::Item { x, .. } => match by_operand.get(x) {
                    Some(item) => *item,
                    None => self.value(*x)?,
                },
                Kind::Carry(c) => {
                    let ty = carries.get(*c).ok_or_else(|| Problem::new(format!("there is no carry {c}")))?;
                    self.build.try_add(ops::Carry { index: *c as u32, ty: ty.clone() }, &[])?
                }
                Kind::Step(_) => self.build.try_add(ops::Step, &[])?,
                _ => continue,
            };
            let value = self.fit(value, &scene.names.ty(&node.ty))?;
            self.values.insert(id, vec![value]);
        }
        // Numbers and the like from outside are made anew.
        for id in outside(scene, self.home, l)? {
            let node = scene.entry.node(id);
            if is_free(&node.kind) {
                let ty = scene.names.ty(&node.ty);
                let value = self.leaf(&node.kind, &ty)?;
                self.values.insert(id, vec![value]);
            }
        }
        Ok(())
    }
}

/// What a loop's body reads from outside; `has_axis` says whether such a value has the loop's axis.
fn needs(
    scene: Scene,
    id: NodeId,
    l: &Loop,
    has_axis: &dyn Fn(NodeId) -> Result<bool, Problem>,
) -> Result<Needs, Problem> {
    let mut needs = Needs::default();
    let mut add = |list: fn(&mut Needs) -> &mut Vec<NodeId>, id: NodeId| {
        let list = list(&mut needs);
        if !list.contains(&id) {
            list.push(id);
        }
    };
    for i in l.body.clone() {
        let node = NodeId(i);
        if let Kind::Item { x, .. } = &scene.entry.node(node).kind
            && scene.homes.of(node) == Some(id)
        {
            // An item that does not vary along the axis is a capture.
            if has_axis(*x)? {
                add(|n| &mut n.items, *x);
            } else {
                add(|n| &mut n.captures, *x);
            }
        }
    }
    for x in outside(scene, Some(id), l)? {
        if !is_free(&scene.entry.node(x).kind) {
            add(|n| &mut n.captures, x);
        }
    }
    Ok(needs)
}

/// Nodes outside a loop that its body names, but for operands of its own items; in order of first use, not each once.
fn outside(scene: Scene, home: Option<NodeId>, l: &Loop) -> Result<Vec<NodeId>, Problem> {
    let Some(id) = home else { return Ok(Vec::new()) };
    let mut named = Vec::new();
    for i in l.body.clone() {
        let node = NodeId(i);
        let kind = &scene.entry.node(node).kind;
        let own_item = matches!(kind, Kind::Item { .. }) && scene.homes.of(node) == Some(id);
        if scene.homes.is_inside(node, id)? && !own_item {
            named.extend(operands(kind));
        }
    }
    named.extend(l.nexts.iter().chain(&l.yields));
    let mut found = Vec::new();
    for x in named {
        if !scene.homes.is_inside(x, id)? {
            found.push(x);
        }
    }
    Ok(found)
}

/// How many loops stand around a loop, itself included.
fn depth(scene: Scene, id: NodeId) -> Result<usize, Problem> {
    let mut depth = 1;
    let mut at = scene.homes.of(id);
    while let Some(outer) = at {
        depth += 1;
        if depth > MAX_DEPTH {
            break;
        }
        at = scene.homes.of(outer);
    }
    Ok(depth)
}

/// The nodes that a node names.
pub(super) fn operands(kind: &Kind) -> Vec<NodeId> {
    match kind {
        Kind::Input(_)
        | Kind::Param(_)
        | Kind::State(_)
        | Kind::Number(_)
        | Kind::Table { .. }
        | Kind::Index(_)
        | Kind::SizeOf(_)
        | Kind::Carry(_)
        | Kind::Step(_) => Vec::new(),
        Kind::Unary(_, x)
        | Kind::Cast(x)
        | Kind::Broadcast(x)
        | Kind::Reduce { x, .. }
        | Kind::Running { x, .. }
        | Kind::Softmax { x, .. }
        | Kind::LogSumExp { x, .. }
        | Kind::Rename { x, .. }
        | Kind::Split { x, .. }
        | Kind::Merge { x, .. }
        | Kind::Pick { x, .. }
        | Kind::Slice { x, .. }
        | Kind::Shift { x, .. }
        | Kind::Pad { x, .. }
        | Kind::Window { x, .. }
        | Kind::TopK { x, .. }
        | Kind::Item { x, .. } => vec![*x],
        Kind::Binary(_, a, b) | Kind::Contract { a, b, .. } => vec![*a, *b],
        Kind::Where(a, b, c) => vec![*a, *b, *c],
        Kind::RmsNorm { x, scale, .. } => [*x].into_iter().chain(*scale).collect(),
        Kind::LayerNorm { x, scale, shift, .. } => [*x].into_iter().chain(*scale).chain(*shift).collect(),
        Kind::Gather { index, x, .. } | Kind::Segment { index, x, .. } | Kind::SegmentSoftmax { index, x, .. } => {
            vec![*x, *index]
        }
        Kind::Dequantize { x, scale, .. } => vec![*x, *scale],
        Kind::Concat { xs, .. } | Kind::Stack { xs, .. } => xs.clone(),
        Kind::Route { index, weight, value, .. } => index.iter().chain(weight).copied().chain([*value]).collect(),
        // Results inside the body are named from there; what they name outside counts for the loops around.
        Kind::Loop(l) => l.inits.iter().chain(&l.nexts).chain(&l.yields).copied().collect(),
        Kind::Yielded { of, .. } | Kind::Last { of, .. } => vec![*of],
    }
}
