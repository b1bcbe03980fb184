//! Expressions, indices and sizes, and what they need a value of: K01, K03, K04, K06, K07.

use super::super::types::computed_in;
use super::super::{Access, BufferId, Dim, Elem, Expr, ExprId, Extent, Index, text};
use super::{Check, Need, Scope};
use crate::scalar::{Binary, Unary};

impl Check<'_> {
    pub(super) fn exprs(&mut self) {
        let kernel = self.kernel;
        for (number, expr) in kernel.exprs.iter().enumerate() {
            let mut scope = Scope::new();
            let mut operands: Vec<ExprId> = Vec::new();
            let at = format!("%{number}");
            match expr {
                Expr::Const { .. } => {}
                Expr::Index { index, .. } => self.index(&at, index, &mut operands, &mut scope, number),
                Expr::Load { buffer, index, bounds, .. } => {
                    self.access(&at, *buffer, Access::Read, false);
                    self.index(&at, index, &mut operands, &mut scope, number);
                    for bound in bounds {
                        self.index(&at, &bound.index, &mut operands, &mut scope, number);
                        self.extent(&at, bound.extent);
                    }
                }
                Expr::Unary(_, x) | Expr::Cast(_, x) => operands.push(*x),
                Expr::Binary(_, a, b) => operands.extend([*a, *b]),
                Expr::Select(c, a, b) => operands.extend([*c, *a, *b]),
                Expr::Temp(t) => {
                    scope.insert(Need::Temp(*t));
                }
                Expr::Acc(a) => {
                    scope.insert(Need::Acc(*a));
                }
            }
            let early = operands.iter().filter(|o| o.0 as usize >= number).map(|o| o.0).collect::<Vec<_>>();
            for operand in early {
                self.fault("K01", format!("{at}: %{operand} does not come before it"));
            }
            for operand in operands {
                if let Some(inner) = self.needs.get(operand.0 as usize) {
                    scope.extend(inner.iter().copied());
                }
            }
            self.needs.push(scope);
            if self.faults.is_empty() {
                self.function(&at, expr);
            }
        }
    }

    /// K04.
    fn function(&mut self, at: &str, expr: &Expr) {
        match expr {
            Expr::Unary(f, x) => {
                let x = self.type_of(*x);
                let fits = match f {
                    Unary::Not => x == Elem::Bool,
                    f if f.needs_float() => x.is_float(),
                    _ => x != Elem::Bool,
                };
                if !fits {
                    self.fault("K04", format!("{at}: `{f}` of {x}"));
                }
            }
            Expr::Binary(f, a, b) => {
                let (a, b) = (self.type_of(*a), self.type_of(*b));
                let fits = match f {
                    Binary::And | Binary::Or => a == Elem::Bool,
                    Binary::Eq | Binary::Ne => true,
                    Binary::Pow => a.is_float(),
                    f if f.is_of_bits() => a != Elem::Bool && !a.is_float(),
                    _ => a != Elem::Bool,
                };
                if computed_in(a) != computed_in(b) || !fits {
                    self.fault("K04", format!("{at}: `{f}` of {a} and {b}"));
                }
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.type_of(*c), self.type_of(*a), self.type_of(*b));
                if c != Elem::Bool || computed_in(a) != computed_in(b) {
                    self.fault("K04", format!("{at}: `select` of {c}, {a} and {b}"));
                }
            }
            _ => {}
        }
    }

    /// K03.
    pub(super) fn access(&mut self, at: &str, buffer: BufferId, access: Access, packed: bool) {
        let Some(found) = self.kernel.buffers.get(buffer.0 as usize) else {
            return self.fault("K01", format!("{at}: there is no b{}", buffer.0));
        };
        if found.access != access && found.access != Access::Update {
            self.fault("K03", format!("{at}: b{} is not there to {}", buffer.0, verb(access)));
        }
        if found.packed != packed {
            let is = if packed { "is not packed" } else { "is packed" };
            self.fault("K03", format!("{at}: b{} {is}", buffer.0));
        }
    }

    pub(super) fn extent(&mut self, at: &str, extent: Extent) {
        match extent {
            Extent::Known(n) if n < 0 => self.fault("K07", format!("{at}: size {n}")),
            Extent::Dim(Dim(d)) if d >= self.kernel.dims => self.fault("K01", format!("{at}: there is no n{d}")),
            _ => {}
        }
    }

    /// K01, K06, K07; gathers what the index needs. `before`: expressions that it may read.
    pub(super) fn index(
        &mut self,
        at: &str,
        index: &Index,
        operands: &mut Vec<ExprId>,
        scope: &mut Scope,
        before: usize,
    ) {
        match index {
            Index::Known(_) => {}
            Index::Var(v) if v.0 >= self.kernel.vars => self.fault("K01", format!("{at}: there is no i{}", v.0)),
            Index::Var(v) => {
                scope.insert(Need::Var(*v));
            }
            Index::Dim(d) => self.extent(at, Extent::Dim(*d)),
            Index::Add(parts) | Index::Mul(parts) => {
                let nested = parts.iter().any(|p| {
                    matches!(
                        (index, p),
                        (Index::Add(_), Index::Add(_)) | (Index::Mul(_), Index::Mul(_) | Index::Add(_))
                    )
                });
                if nested || parts.len() < 2 {
                    self.fault("K06", format!("{at}: `{}` is no plain sum of products", text::index(index)));
                }
                parts.iter().for_each(|p| self.index(at, p, operands, scope, before));
            }
            Index::Div(n, by) | Index::Mod(n, by) => {
                let positive = |i: &Index| match i {
                    Index::Known(n) => *n > 0,
                    Index::Dim(_) => true,
                    _ => false,
                };
                let fits = match &**by {
                    Index::Mul(factors) => factors.iter().all(positive),
                    by => positive(by),
                };
                if !fits {
                    self.fault("K06", format!("{at}: division by `{}`", text::index(by)));
                }
                self.index(at, n, operands, scope, before);
                self.index(at, by, operands, scope, before);
            }
            Index::Value(expr, extent) => {
                self.extent(at, *extent);
                if expr.0 as usize >= before {
                    return self.fault("K01", format!("{at}: %{} does not come before it", expr.0));
                }
                let elem = self.type_of(*expr);
                if elem.is_float() || elem == Elem::Bool {
                    self.fault("K07", format!("{at}: an index of type {elem}"));
                }
                operands.push(*expr);
            }
        }
    }
}

fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Update => "update",
    }
}
