//! Expressions and indices at a point.

use std::rc::Rc;

use super::{InterpError, Machine};
use crate::kernel::index::values;
use crate::kernel::{Expr, ExprId, Index};
use crate::scalar;

impl Machine<'_> {
    pub(super) fn eval(&mut self, id: ExprId) -> Result<f64, InterpError> {
        for number in self.closure(id).iter() {
            self.values[*number as usize] = self.eval_one(*number)?;
        }
        Ok(self.values[id.0 as usize])
    }

    /// What an expression stands on, in order.
    fn closure(&mut self, id: ExprId) -> Rc<[u32]> {
        if let Some(known) = &self.closures[id.0 as usize] {
            return known.clone();
        }
        let mut needed = vec![false; id.0 as usize + 1];
        needed[id.0 as usize] = true;
        // Operands come before users.
        for number in (0..=id.0 as usize).rev().filter(|n| *n < self.kernel.exprs.len()) {
            if needed[number] {
                operands(&self.kernel.exprs[number], &mut |o| needed[o.0 as usize] = true);
            }
        }
        let all: Rc<[u32]> = (0..=id.0).filter(|n| needed[*n as usize]).collect();
        self.closures[id.0 as usize] = Some(all.clone());
        all
    }

    fn eval_one(&mut self, number: u32) -> Result<f64, InterpError> {
        let kernel = self.kernel;
        let elem = self.types[number as usize];
        let value = |this: &Self, id: &ExprId| this.values[id.0 as usize];
        let ty = |this: &Self, id: &ExprId| this.types[id.0 as usize];
        Ok(match &kernel.exprs[number as usize] {
            Expr::Const { value, .. } => *value,
            Expr::Index { index, .. } => scalar::wrap(elem, self.index_now(index) as f64),
            Expr::Load { buffer, index, bounds, otherwise } => {
                let index = self.index_now(index);
                let outside = bounds.iter().any(|b| {
                    let at = self.index_now(&b.index);
                    at < 0 || at >= self.extent(b.extent)
                });
                if outside { *otherwise } else { self.read(*buffer, index)? }
            }
            Expr::Unary(f, x) => scalar::wrap(elem, f.eval(value(self, x))),
            Expr::Binary(f, a, b) => scalar::wrap(elem, f.eval(ty(self, a), value(self, a), value(self, b))),
            Expr::Select(c, a, b) => value(self, if value(self, c) == 0.0 { b } else { a }),
            Expr::Cast(to, x) => scalar::cast(ty(self, x), *to, value(self, x)),
            Expr::Temp(t) => self.temps.get(t.0 as usize).copied().unwrap_or(f64::NAN),
            Expr::Acc(i) => self.accs.get(*i as usize).copied().unwrap_or(f64::NAN),
        })
    }

    /// An index whose values have been evaluated.
    pub(super) fn index_now(&mut self, index: &Index) -> i64 {
        match index {
            Index::Known(n) => *n,
            Index::Var(v) => self.vars[v.0 as usize],
            Index::Dim(d) => self.dims[d.0 as usize],
            Index::Add(parts) => parts.iter().fold(0i64, |sum, p| sum.wrapping_add(self.index_now(p))),
            Index::Mul(parts) => parts.iter().fold(1i64, |product, p| product.wrapping_mul(self.index_now(p))),
            Index::Div(n, by) => {
                let by = self.index_now(by).max(1);
                self.index_now(n).div_euclid(by)
            }
            Index::Mod(n, by) => {
                let by = self.index_now(by).max(1);
                self.index_now(n).rem_euclid(by)
            }
            Index::Value(expr, extent) => {
                let at = self.values[expr.0 as usize] as i64;
                let inside = (0..self.extent(*extent)).contains(&at);
                self.in_range &= inside;
                if inside { at } else { 0 }
            }
        }
    }
}

fn operands(expr: &Expr, f: &mut dyn FnMut(ExprId)) {
    let mut read = Vec::new();
    match expr {
        Expr::Index { index, .. } => values(index, &mut read),
        Expr::Load { index, bounds, .. } => {
            values(index, &mut read);
            bounds.iter().for_each(|b| values(&b.index, &mut read));
        }
        Expr::Unary(_, x) | Expr::Cast(_, x) => read.push(*x),
        Expr::Binary(_, a, b) => read.extend([*a, *b]),
        Expr::Select(c, a, b) => read.extend([*c, *a, *b]),
        Expr::Const { .. } | Expr::Temp(_) | Expr::Acc(_) => {}
    }
    read.into_iter().for_each(f);
}
