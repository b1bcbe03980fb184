//! The element types of a kernel's expressions.

use super::{Attend, Body, Contract, Elem, Expr, ExprId, Fold, Kernel, Stage, Temp};
use crate::scalar::Unary;

/// The type of each expression, as far as operands come before users; `None` where it cannot be told.
pub fn types(kernel: &Kernel) -> Vec<Option<Elem>> {
    let mut types: Vec<Option<Elem>> = Vec::with_capacity(kernel.exprs.len());
    for expr in &kernel.exprs {
        let of = |id: &super::ExprId| types.get(id.0 as usize).copied().flatten();
        let ty = match expr {
            Expr::Const { elem, .. } | Expr::Index { elem, .. } | Expr::Cast(elem, _) => Some(*elem),
            Expr::Load { buffer, .. } => kernel.buffers.get(buffer.0 as usize).map(|b| b.elem),
            Expr::Unary(Unary::Not, _) => Some(Elem::Bool),
            Expr::Unary(_, x) => of(x),
            Expr::Binary(f, ..) if f.is_predicate() => Some(Elem::Bool),
            Expr::Binary(_, a, _) | Expr::Select(_, a, _) => of(a),
            Expr::Temp(temp) => temp_type(kernel, *temp),
            Expr::Acc(_) => Some(accumulator(kernel)),
        };
        types.push(ty);
    }
    types
}

/// What a reduction stage leaves: an index for `arg_max` and `arg_min`.
pub fn temp_type(kernel: &Kernel, wanted: Temp) -> Option<Elem> {
    let Body::Nest(nest) = &kernel.body else { return None };
    nest.stages.iter().find_map(|stage| match stage {
        Stage::Reduce { temp, fold: Fold::ArgMax | Fold::ArgMin, .. } if *temp == wanted => Some(Elem::I32),
        Stage::Reduce { temp, elem, .. } if *temp == wanted => Some(*elem),
        _ => None,
    })
}

/// In which type a contraction or attention adds its products: f64 for f64, else f32.
pub fn accumulator(kernel: &Kernel) -> Elem {
    fn below(kernel: &Kernel, id: ExprId) -> Option<Elem> {
        let operand = |x: ExprId| if x < id { below(kernel, x) } else { None };
        match kernel.exprs.get(id.0 as usize)? {
            Expr::Const { elem, .. } | Expr::Index { elem, .. } | Expr::Cast(elem, _) => Some(*elem),
            Expr::Load { buffer, .. } => kernel.buffers.get(buffer.0 as usize).map(|b| b.elem),
            Expr::Unary(_, x) | Expr::Binary(_, x, _) | Expr::Select(_, x, _) => operand(*x),
            Expr::Temp(_) | Expr::Acc(_) => None,
        }
    }
    match &kernel.body {
        Body::Contract(Contract { x, .. }) | Body::Attend(Attend { x, .. }) => match below(kernel, *x) {
            Some(exact @ (Elem::F64 | Elem::I32)) => exact,
            _ => Elem::F32,
        },
        _ => Elem::F32,
    }
}

/// The type in which arithmetic on an element type is done: halves compute in f32.
pub fn computed_in(elem: Elem) -> Elem {
    if matches!(elem, Elem::F16 | Elem::Bf16) { Elem::F32 } else { elem }
}
