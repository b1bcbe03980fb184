//! Sizes of axes, as sizes and as values: `size(k)`, and what is made of them.

use super::scope::Scope;
use super::{Checked, Checker, Val, is_float};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{Binary, Elem, Kind, NodeId, Span, Unary};
use crate::size::{Atom, MAX_SIZE, Size};
use crate::syntax::{self, Argument, Expr, ExprKind, Infix, Name};

impl Checker<'_> {
    /// `size(k)`: a number where the size is known.
    pub fn size_of(&mut self, scope: &Scope, name: &Name) -> Checked<Val> {
        let axis = self.named_axis(scope, name)?;
        Ok(of_size(self.size(axis).clone()))
    }

    /// What two values make of which one is a size and the other a size or a whole number, if that is a size whatever the element
    /// type: a quotient that is not exact is another one for floats than for integers.
    pub(super) fn sizes_made(f: Binary, a: &Val, b: &Val) -> Option<Val> {
        if !matches!((a, b), (Val::Size(_), _) | (_, Val::Size(_))) {
            return None;
        }
        let size = |val: &Val| match val {
            Val::Size(size) => Some(size.clone()),
            Val::Number(n) if n.fract() == 0.0 && n.abs() <= MAX_SIZE as f64 => Some(Size::known(*n as i64)),
            _ => None,
        };
        let (a, b) = (size(a)?, size(b)?);
        let made = match f {
            Binary::Add => a.checked_add(&b),
            Binary::Sub => a.checked_sub(&b),
            Binary::Mul => a.checked_mul(&b),
            Binary::Div if b.as_known().is_some_and(|n| n > 0) => a.exact_div(&b),
            Binary::Rem => b.as_known().and_then(|by| a.checked_rem(by)),
            _ => None,
        };
        made.map(of_size)
    }

    /// A size as a scalar of an element type: that of an axis, or arithmetic on those.
    pub(super) fn size_value(&mut self, size: &Size, elem: Elem, span: Span) -> Checked<NodeId> {
        // An axis has no negative size, a value may be one.
        if let Some(axis) = self.axis_with(size).filter(|_| !size.may_be_negative()) {
            return self.push(Kind::SizeOf(axis), elem, Vec::new(), span);
        }
        let mut sum: Option<NodeId> = None;
        // Constants last.
        let terms: Vec<_> = size.terms().map(|(atoms, n)| (atoms.clone(), n)).collect();
        for (atoms, n) in terms.into_iter().rev() {
            // Only the first term has its sign in its factor.
            let factor = if sum.is_some() { n.abs() } else { n };
            let mut product = match atoms.is_empty() || factor != 1 {
                true => Some(self.push(Kind::Number(factor as f64), elem, Vec::new(), span)?),
                false => None,
            };
            for atom in &atoms {
                let atom = self.atom_value(atom, elem, span)?;
                product = Some(match product {
                    Some(product) => self.push(Kind::Binary(Binary::Mul, product, atom), elem, Vec::new(), span)?,
                    None => atom,
                });
            }
            sum = match (sum, product) {
                (Some(sum), Some(product)) => {
                    let f = if n < 0 { Binary::Sub } else { Binary::Add };
                    Some(self.push(Kind::Binary(f, sum, product), elem, Vec::new(), span)?)
                }
                (sum, product) => sum.or(product),
            };
        }
        match sum {
            Some(sum) => Ok(sum),
            None => self.push(Kind::Number(0.0), elem, Vec::new(), span),
        }
    }

    fn atom_value(&mut self, atom: &Atom, elem: Elem, span: Span) -> Checked<NodeId> {
        match atom {
            Atom::Symbol(name) => {
                let size = Size::symbol(name);
                let axis = match self.axis_with(&size) {
                    Some(axis) => axis,
                    None => self.axis_id(name, size, span),
                };
                self.push(Kind::SizeOf(axis), elem, Vec::new(), span)
            }
            Atom::Floor(size, divisor) => {
                let size = self.size_value(size, elem, span)?;
                let divisor = self.push(Kind::Number(*divisor as f64), elem, Vec::new(), span)?;
                // That of integers rounds down.
                let quotient = self.push(Kind::Binary(Binary::Div, size, divisor), elem, Vec::new(), span)?;
                match is_float(elem) {
                    true => self.push(Kind::Unary(Unary::Floor, quotient), elem, Vec::new(), span),
                    false => Ok(quotient),
                }
            }
        }
    }

    /// An expression as a size: a number, or sizes of axes with `+ - *`, whole quotients and remainders.
    pub fn size_expr(&mut self, scope: &mut Scope, expr: &Expr) -> Checked<Size> {
        let size = match &expr.kind {
            ExprKind::Call(call) if call.callee.text == "size" => match call.args.as_slice() {
                [Argument::Expr(Expr { kind: ExprKind::Name(name), .. })] => {
                    let axis = self.named_axis(scope, name)?;
                    Some(self.size(axis).clone())
                }
                _ => None,
            },
            ExprKind::Binary(f, a, b) => {
                let (a, divisor) = (self.size_expr(scope, a)?, b.span);
                let b = self.size_expr(scope, b)?;
                if matches!(f, Infix::Div | Infix::Rem) && b.as_known().is_none_or(|by| by <= 0) {
                    let message = format!("a size is divided by a number of at least 1, not by {b}");
                    return Err(self.say(Diagnostic::error(codes::AXIS_SIZE, divisor, message)));
                }
                match f {
                    Infix::Add => a.checked_add(&b),
                    Infix::Sub => a.checked_sub(&b),
                    Infix::Mul => a.checked_mul(&b),
                    Infix::Div => b.as_known().and_then(|by| a.checked_div(by)),
                    Infix::Rem => b.as_known().and_then(|by| a.checked_rem(by)),
                    _ => None,
                }
            }
            _ => match self.expr(scope, expr)? {
                Val::Size(size) => Some(size),
                val => return self.as_count(&val, "a size", 0, expr.span).map(Size::known),
            },
        };
        self.made_size(size, expr.span)
    }

    /// The size in an axis' declaration.
    pub fn declared_size(&mut self, expr: &Expr) -> Checked<Size> {
        let mut scope = self.fresh_scope();
        match self.expr(&mut scope, expr)? {
            Val::Number(_) => self.const_size(expr),
            // Whole quotients, too.
            _ => self.size_expr(&mut scope, expr),
        }
    }

    /// A size that is known when building.
    pub fn const_size(&mut self, expr: &syntax::Expr) -> Checked<Size> {
        let mut scope = self.fresh_scope();
        let val = self.expr(&mut scope, expr)?;
        let n = self.as_count(&val, "a size", 0, expr.span)?;
        self.checked_size(n, expr.span)
    }

    pub fn checked_size(&mut self, n: i64, span: Span) -> Checked<Size> {
        if (0..=MAX_SIZE).contains(&n) {
            return Ok(Size::known(n));
        }
        let message = format!("an axis has from 0 to {MAX_SIZE} elements, not {n}");
        Err(self.say(Diagnostic::error(codes::AXIS_SIZE, span, message)))
    }

    /// A size made of others, or an error that it is too large.
    pub fn made_size(&mut self, size: Option<Size>, span: Span) -> Checked<Size> {
        match size {
            Some(size) if size.as_known().is_none_or(|n| (0..=MAX_SIZE).contains(&n)) => Ok(size),
            Some(size) => {
                let message = format!("the axis would have {size} elements");
                Err(self.say(Diagnostic::error(codes::AXIS_SIZE, span, message)))
            }
            None => Err(self.say(Diagnostic::error(codes::AXIS_SIZE, span, "the size is too large to count"))),
        }
    }
}

fn of_size(size: Size) -> Val {
    match size.as_known() {
        Some(n) => Val::Number(n as f64),
        None => Val::Size(size),
    }
}
