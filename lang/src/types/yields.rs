//! What `yield` asks of a loop, and what the loop gives.

use super::carry::Carry;
use super::exit::Exits;
use super::packed::Packed;
use super::records::{groups, nested, nodes_by_name};
use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Elem, Kind, NodeId, Span};
use crate::syntax::{Expr, ExprKind};

/// What a `yield` asks for: a value of each iteration, or the last of a carry.
pub(super) enum Yielded {
    Each(NodeId),
    Last(usize),
    /// The last of a carry in each sequence, and its value of each iteration.
    LastOfEach(usize, NodeId),
}

/// All that a loop yields, and the names of the record that it makes.
pub(super) struct Yields {
    pub(super) list: Vec<Yielded>,
    shape: Shape,
}

/// What the yields make together, in their order.
enum Shape {
    One,
    Record(Vec<(String, Shape)>),
}

impl Shape {
    fn of(&self, vals: &mut impl Iterator<Item = Val>) -> Val {
        match self {
            Self::One => vals.next().unwrap_or(Val::Error),
            Self::Record(fields) => {
                // Fields of carries have dots where they are of records in records.
                Val::Record(nested(fields.iter().map(|(name, shape)| (name.clone(), shape.of(vals))).collect()))
            }
        }
    }
}

impl Yields {
    /// The values that are stacked.
    pub(super) fn each(&self) -> Vec<NodeId> {
        let stacked = |y: &Yielded| match y {
            Yielded::Each(node) | Yielded::LastOfEach(_, node) => Some(*node),
            Yielded::Last(_) => None,
        };
        self.list.iter().filter_map(stacked).collect()
    }
}

impl Checker<'_> {
    /// Opens a scope in which carries are what `next` set.
    pub(super) fn bind_nexts(&mut self, scope: &mut Scope, carries: &[Carry], nexts: &[NodeId], span: Span) {
        scope.values.push(Default::default());
        for (name, val) in nodes_by_name(carries, nexts) {
            scope.bind(&name.text, val, self.loops.len(), span);
        }
    }

    pub(super) fn loop_yields(
        &mut self,
        scope: &mut Scope,
        yields: Option<&Expr>,
        carries: &[Carry],
        nexts: &Checked<(Vec<NodeId>, Option<Exits>)>,
    ) -> Checked<Yields> {
        let mut all = Yields { list: Vec::new(), shape: Shape::One };
        if let (Some(yields), Ok((nexts, _))) = (yields, nexts) {
            all.shape = self.yields(scope, yields, carries, nexts, &mut all.list)?;
        }
        Ok(all)
    }

    /// What a loop gives: its yields in the order in which they were asked for.
    pub(super) fn results(
        &mut self,
        of: NodeId,
        axis: AxisId,
        carries: &[Carry],
        (yielded, packed): (Yields, Option<Packed>),
        span: Span,
    ) -> Checked<Val> {
        let mut results = Vec::new();
        let mut number = 0;
        for y in &yielded.list {
            results.push(match y {
                Yielded::Each(node) | Yielded::LastOfEach(_, node) => {
                    let ty = self.ty(*node).clone();
                    let axes = super::brackets::with(ty.axes, &[axis]);
                    number += 1;
                    let all = self.push(Kind::Yielded { of, index: number - 1 }, ty.elem, axes, span)?;
                    match (y, packed) {
                        (Yielded::LastOfEach(i, _), Some(packed)) => {
                            self.last_of_each(packed, all, &carries[*i], span)?
                        }
                        _ => Val::Tensor(all),
                    }
                }
                Yielded::Last(index) => {
                    let ty = carries[*index].ty.clone();
                    self.tensor(Kind::Last { of, index: *index }, ty.elem, ty.axes, span)?
                }
            });
        }
        Ok(yielded.shape.of(&mut results.into_iter()))
    }

    /// What `yield` asks for: the names of a record, or one value. A carry is read as `next` set it.
    fn yields(
        &mut self,
        scope: &mut Scope,
        yields: &Expr,
        carries: &[Carry],
        nexts: &[NodeId],
        found: &mut Vec<Yielded>,
    ) -> Checked<Shape> {
        self.bind_nexts(scope, carries, nexts, yields.span);
        let shape = self.asked(scope, yields, carries, found);
        scope.values.pop();
        shape
    }

    /// One of the things that `yield` asks for, with all that is in it.
    fn asked(&mut self, scope: &mut Scope, expr: &Expr, carries: &[Carry], found: &mut Vec<Yielded>) -> Checked<Shape> {
        match &expr.kind {
            ExprKind::Last(name) => {
                let own = carries.iter().enumerate().filter(|(_, c)| c.name.text == name.text);
                let own: Vec<(usize, &Carry)> = own.collect();
                found.extend(own.iter().map(|(index, _)| Yielded::Last(*index)));
                match own.as_slice() {
                    [] => {
                        let names: Vec<&str> = groups(carries).iter().map(|c| c[0].name.text.as_str()).collect();
                        let message = format!("`last {}`: the carries are {}", name.text, names.join(", "));
                        Err(self.say(Diagnostic::error(codes::LOOP, expr.span, message)))
                    }
                    [(_, Carry { field: None, .. })] => Ok(Shape::One),
                    fields => {
                        let field = |(_, c): &(usize, &Carry)| Some((c.field.clone()?, Shape::One));
                        Ok(Shape::Record(fields.iter().filter_map(field).collect()))
                    }
                }
            }
            ExprKind::Record(fields) => {
                let shapes: Vec<Checked<(String, Shape)>> = fields
                    .iter()
                    .map(|(name, expr)| Ok((name.text.clone(), self.asked(scope, expr, carries, found)?)))
                    .collect();
                shapes.into_iter().collect::<Checked<_>>().map(Shape::Record)
            }
            _ => {
                let val = self.expr(scope, expr)?;
                self.each(&val, expr.span, found)
            }
        }
    }

    fn each(&mut self, val: &Val, span: Span, found: &mut Vec<Yielded>) -> Checked<Shape> {
        if let Val::Record(fields) = val {
            let field = |(name, val): &(String, Val)| Ok((name.clone(), self.each(val, span, found)?));
            return fields.iter().map(field).collect::<Checked<_>>().map(Shape::Record);
        }
        found.push(Yielded::Each(self.as_tensor(val, Elem::F32, span)?));
        Ok(Shape::One)
    }
}
