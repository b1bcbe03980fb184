//! Masks by index arithmetic: may a condition hold anywhere in a tile?
//!
//! What a condition compares is bounded over ranges of loop variables. No bound is a yes: a mask that is loaded is looked at element
//! by element.

use std::collections::BTreeMap;

use inkwell::IntPredicate;

use super::super::llvm::emit::Val;
use super::super::llvm::expr::Frame;
use crate::kernel::{Expr, ExprId, Index, Var};
use crate::scalar::{Binary, Unary};

/// First and last value.
type Bounds<'ctx> = (Val<'ctx>, Val<'ctx>);

/// Constants of conditions up to this add no number that leaves 32 bits, beside sizes that fit memory.
const LARGEST: f64 = (1 << 30) as f64;

pub struct Masks<'f, 'a, 'ctx> {
    pub frame: &'f Frame<'a, 'ctx>,
    /// Ranges of loop variables; those of others are one value each.
    pub ranges: BTreeMap<Var, Bounds<'ctx>>,
}

impl<'ctx> Masks<'_, '_, 'ctx> {
    /// May an element of the tile have a score above `-inf`? `None`: it may.
    pub fn may_count(&self, score: ExprId) -> Option<Val<'ctx>> {
        let is_nothing = |id: &ExprId| matches!(self.frame.kernel.expr(*id), Expr::Const { value, .. } if *value == f64::NEG_INFINITY);
        let Expr::Select(condition, then, otherwise) = self.frame.kernel.expr(score) else { return None };
        let (truth, inner) = match (is_nothing(then), is_nothing(otherwise)) {
            (false, true) => (true, then),
            (true, false) => (false, otherwise),
            _ => return None,
        };
        self.all(self.may_be(*condition, truth), self.may_count(*inner))
    }

    fn all(&self, a: Option<Val<'ctx>>, b: Option<Val<'ctx>>) -> Option<Val<'ctx>> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.frame.emit.and(a, b)),
            (known, None) | (None, known) => known,
        }
    }

    /// May a condition be so? `None`: it may.
    fn may_be(&self, condition: ExprId, truth: bool) -> Option<Val<'ctx>> {
        let e = self.frame.emit;
        let not_above = |a: Val<'ctx>, b: Val<'ctx>| e.icmp(IntPredicate::SLE, a, b);
        let below = |a: Val<'ctx>, b: Val<'ctx>| e.icmp(IntPredicate::SLT, a, b);
        match self.frame.kernel.expr(condition) {
            Expr::Unary(Unary::Not, x) => self.may_be(*x, !truth),
            Expr::Binary(f @ (Binary::And | Binary::Or), a, b) => {
                let (a, b) = (self.may_be(*a, truth), self.may_be(*b, truth));
                match (*f == Binary::And) == truth {
                    true => self.all(a, b),
                    false => Some(e.or(a?, b?)),
                }
            }
            Expr::Binary(f, a, b) if f.is_predicate() => {
                let (a, b) = (self.bounds(*a)?, self.bounds(*b)?);
                Some(match (f, truth) {
                    (Binary::Lt, true) | (Binary::Ge, false) => below(a.0, b.1),
                    (Binary::Le, true) | (Binary::Gt, false) => not_above(a.0, b.1),
                    (Binary::Gt, true) | (Binary::Le, false) => below(b.0, a.1),
                    (Binary::Ge, true) | (Binary::Lt, false) => not_above(b.0, a.1),
                    (Binary::Eq, true) | (Binary::Ne, false) => e.and(not_above(a.0, b.1), not_above(b.0, a.1)),
                    _ => return None,
                })
            }
            _ => None,
        }
    }

    /// Bounds of an integer expression.
    fn bounds(&self, id: ExprId) -> Option<Bounds<'ctx>> {
        let e = self.frame.emit;
        if self.frame.elem(id).is_float() {
            return None;
        }
        match self.frame.kernel.expr(id) {
            Expr::Const { value, .. } if value.abs() <= LARGEST => {
                let v = e.index(*value as i64);
                Some((v, v))
            }
            Expr::Index { index, .. } => self.bounds_of(index),
            Expr::Binary(f @ (Binary::Add | Binary::Sub), a, b) => {
                // Deeper sums might wrap.
                let is_leaf =
                    |id: &ExprId| matches!(self.frame.kernel.expr(*id), Expr::Const { .. } | Expr::Index { .. });
                if !is_leaf(a) || !is_leaf(b) {
                    return None;
                }
                let (a, b) = (self.bounds(*a)?, self.bounds(*b)?);
                Some(match f {
                    Binary::Add => (e.add(a.0, b.0), e.add(a.1, b.1)),
                    _ => (e.sub(a.0, b.1), e.sub(a.1, b.0)),
                })
            }
            _ => None,
        }
    }

    fn bounds_of(&self, index: &Index) -> Option<Bounds<'ctx>> {
        let e = self.frame.emit;
        let one = |v: Val<'ctx>| Some((v, v));
        match index {
            Index::Known(n) => one(e.index(*n)),
            Index::Dim(d) => one(self.frame.dims[d.0 as usize]),
            Index::Var(var) => self.ranges.get(var).copied().or_else(|| self.frame.vars.get(var).map(|v| (*v, *v))),
            Index::Add(terms) => {
                let mut all = terms.iter().map(|t| self.bounds_of(t));
                let first = all.next()??;
                all.try_fold(first, |sum, term| term.map(|t| (e.add(sum.0, t.0), e.add(sum.1, t.1))))
            }
            Index::Mul(factors) => {
                // One part that varies, times numbers of a known sign.
                let mut bounds = (e.index(1), e.index(1));
                for factor in factors {
                    let part = self.bounds_of(factor)?;
                    bounds = (e.mul(bounds.0, part.0), e.mul(bounds.1, part.1));
                    if matches!(factor, Index::Known(n) if *n < 0) {
                        bounds = (bounds.1, bounds.0);
                    }
                }
                let varying = factors.iter().filter(|f| !matches!(f, Index::Known(_) | Index::Dim(_))).count();
                (varying <= 1).then_some(bounds)
            }
            Index::Div(n, by) => {
                let (n, by) = (self.bounds_of(n)?, self.bounds_of(by)?.0);
                Some((self.frame.floor_div(n.0, by), self.frame.floor_div(n.1, by)))
            }
            Index::Mod(n, by) => {
                let (n, by) = (self.bounds_of(n)?, self.bounds_of(by)?.0);
                let (from, to) = (self.frame.floor_div(n.0, by), self.frame.floor_div(n.1, by));
                let rest = |n, times| e.sub(n, e.mul(times, by));
                let same = e.icmp(IntPredicate::EQ, from, to);
                let first = e.select(same, rest(n.0, from), e.index(0));
                Some((first, e.select(same, rest(n.1, to), e.sub(by, e.index(1)))))
            }
            Index::Value(..) => None,
        }
    }
}
