//! Axis brackets, windows and pads; concat and stack.

use gatec_lang::program::{AxisId, Kind, NodeId, PadMode};

use super::Problem;
use super::frame::Frame;
use crate::graph::{Type, Value};
use crate::ops::{self, Op};

impl Frame<'_, '_> {
    pub(super) fn view(&mut self, kind: &Kind) -> Result<Value, Problem> {
        let names = self.scene.names;
        let axis = |id: &AxisId| names.axis(*id);
        let (op, x): (Op, NodeId) = match kind {
            Kind::Rename { from, to, x } => (ops::Rename { from: axis(from), to: axis(to) }.into(), *x),
            Kind::Split { from, to, x } => (ops::Split { from: axis(from), to: names.list(to) }.into(), *x),
            Kind::Merge { from, to, x } => (ops::Merge { from: names.list(from), to: axis(to) }.into(), *x),
            Kind::Pick { axis: of, index, x } => (ops::Pick { axis: axis(of), index: *index }.into(), *x),
            Kind::Slice { from, to, start, x } => {
                (ops::Slice { from: axis(from), to: axis(to), start: ops::Start::At(*start) }.into(), *x)
            }
            Kind::Shift { axis: along, by, fill, x } => {
                (ops::Shift { axis: axis(along), by: *by, fill: ops::bits(*fill) }.into(), *x)
            }
            Kind::Pad { from, to, before, mode, x } => {
                let fill = match mode {
                    PadMode::Constant(bits) => ops::Fill::Constant(ops::bits(f64::from_bits(*bits))),
                    PadMode::Reflect => ops::Fill::Reflect,
                };
                (ops::Pad { from: axis(from), to: axis(to), before: *before, fill }.into(), *x)
            }
            Kind::Window { from, to, tap, stride, dilation, pad, x } => {
                let (from, to, tap) = (axis(from), axis(to), axis(tap));
                (ops::Window { from, to, tap, stride: *stride, dilation: *dilation, pad: *pad }.into(), *x)
            }
            _ => return Err(Problem::new("not a view")),
        };
        let x = self.value(x)?;
        Ok(self.build.try_add(op, &[x])?)
    }

    /// Operands may lack axes that others have: they broadcast.
    pub(super) fn concat(&mut self, to: AxisId, axes: &[AxisId], xs: &[NodeId], ty: &Type) -> Result<Value, Problem> {
        let (to, axes) = (self.scene.names.axis(to), self.scene.names.list(axes));
        let mut operands = Vec::with_capacity(xs.len());
        for (x, axis) in xs.iter().zip(&axes) {
            let x = self.value(*x)?;
            operands.push(self.fit(x, &ty.over(ty.axes.without(to).with(*axis)))?);
        }
        Ok(self.build.try_add(ops::Concat { to, axes }, &operands)?)
    }

    pub(super) fn stack(&mut self, axis: AxisId, xs: &[NodeId], ty: &Type) -> Result<Value, Problem> {
        let axis = self.scene.names.axis(axis);
        let mut operands = Vec::with_capacity(xs.len());
        for x in xs {
            let x = self.value(*x)?;
            operands.push(self.fit(x, &ty.over(ty.axes.without(axis)))?);
        }
        Ok(self.build.try_add(ops::Stack { axis }, &operands)?)
    }
}
