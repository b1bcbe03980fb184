//! Axis brackets: rename, split, merge, pick, slice, gather, shift.

use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Span};
use crate::size::Size;
use crate::syntax::{Bracket, Expr, ExprKind, Infix, Name, Prefix};

impl Checker<'_> {
    pub fn brackets(&mut self, scope: &mut Scope, x: &Expr, all: &[Bracket]) -> Checked<Val> {
        let val = self.expr(scope, x)?;
        let mut node = self.as_tensor(&val, Elem::F32, x.span)?;
        for bracket in all {
            node = match bracket {
                Bracket::Arrow { from, to, span } => self.arrow(scope, node, from, to, *span)?,
                Bracket::Pick { axis, value, fill, span } => {
                    self.pick(scope, node, axis, value, fill.as_deref(), *span)?
                }
                Bracket::Slice { axis, from, to, span } => {
                    self.slice(scope, node, axis, (from.as_deref(), to.as_deref()), *span)?
                }
            };
        }
        Ok(Val::Tensor(node))
    }

    fn arrow(&mut self, scope: &mut Scope, x: NodeId, from: &[Name], to: &[Name], span: Span) -> Checked<NodeId> {
        let ty = self.ty(x).clone();
        let mut old = Vec::new();
        for name in from {
            old.push(self.axis_of(scope, name, &ty)?);
        }
        let rest = self.axes_without(x, &old);
        let has = |a: &AxisId, name: &Name| self.stem(*a) == name.text || scope.axes.get(&name.text) == Some(a);
        if let Some(name) = to.iter().find(|name| rest.iter().any(|a| has(a, name))) {
            let message = format!("the value already has an axis `{}`: it is {}", name.text, self.show(&ty));
            return Err(self.say(Diagnostic::error(codes::BRACKETS, name.span, message)));
        }
        let total = old.iter().try_fold(Size::known(1), |n, a| n.checked_mul(self.size(*a)));
        let total = self.made_size(total, span)?;
        match (old.as_slice(), to) {
            ([one], [name]) => {
                let axis = self.new_axis(scope, name, total);
                let axes = with(rest, &[axis]);
                self.push(Kind::Rename { from: *one, to: axis, x }, ty.elem, axes, span)
            }
            ([one], several) => {
                let parts = self.split_sizes(scope, several, &total, span)?;
                let axes = with(rest, &parts);
                self.push(Kind::Split { from: *one, to: parts, x }, ty.elem, axes, span)
            }
            (_, [name]) => {
                let axis = self.new_axis(scope, name, total);
                let axes = with(rest, &[axis]);
                self.push(Kind::Merge { from: old, to: axis, x }, ty.elem, axes, span)
            }
            _ => {
                let message = "brackets split one axis or merge several, not both at once";
                Err(self.say(Diagnostic::error(codes::BRACKETS, span, message)))
            }
        }
    }

    /// The axis that brackets name anew: the one that the name stands for, if that has the size. From here on the name stands for it,
    /// if it stood for none.
    pub fn new_axis(&mut self, scope: &mut Scope, name: &Name, size: Size) -> AxisId {
        let axis = self.axis_of_size(scope, name, size);
        scope.ask(&name.text);
        scope.axes.entry(name.text.clone()).or_insert(axis);
        axis
    }

    /// The parts of a split axis: all but one are declared, that one takes what is left.
    fn split_sizes(&mut self, scope: &mut Scope, names: &[Name], total: &Size, span: Span) -> Checked<Vec<AxisId>> {
        let mut product = Size::known(1);
        let mut open = None;
        let mut parts: Vec<Option<AxisId>> = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let declared = scope.axis(&name.text);
            let declared =
                declared.or_else(|| if name.text.ends_with('\'') { self.named_axis(scope, name).ok() } else { None });
            match declared {
                Some(id) => {
                    let size = product.checked_mul(self.size(id));
                    product = self.made_size(size, span)?;
                }
                None if open.is_none() => open = Some(i),
                None => {
                    let message = format!(
                        "the sizes of `{}` and `{}` are both unknown",
                        names[open.unwrap_or(0)].text,
                        name.text
                    );
                    return Err(
                        self.say(Diagnostic::error(codes::SIZES, name.span, message).help("declare one of them"))
                    );
                }
            }
            parts.push(declared);
        }
        let left = total.exact_div(&product);
        match (open, left) {
            (Some(i), Some(size)) => {
                parts[i] = Some(self.new_axis(scope, &names[i], size));
            }
            (None, _) if product == *total => {}
            _ => {
                let message = format!("an axis of {total} does not split into parts of {product}");
                return Err(self.say(Diagnostic::error(codes::SIZES, span, message)));
            }
        }
        Ok(parts.into_iter().flatten().collect())
    }

    fn pick(
        &mut self,
        scope: &mut Scope,
        x: NodeId,
        name: &Name,
        value: &Expr,
        fill: Option<&Expr>,
        span: Span,
    ) -> Checked<NodeId> {
        let ty = self.ty(x).clone();
        let axis = self.axis_of(scope, name, &ty)?;
        let rest = self.axes_without(x, &[axis]);
        if let Some(by) = shift_of(name, value) {
            let fill = match fill {
                Some(fill) => {
                    let val = self.expr(scope, fill)?;
                    self.as_fill(&val, ty.elem, "what fills the gap", fill.span)?
                }
                None => {
                    let message = "a shift says what comes in at the end";
                    let fix = format!("{} else 0.0", self.text(span));
                    return Err(self.say(Diagnostic::error(codes::BRACKETS, span, message).fix(span, fix)));
                }
            };
            return self.push(Kind::Shift { axis, by, fill, x }, ty.elem, ty.axes.clone(), span);
        }
        if let Some(fill) = fill {
            let message = "`else` fills what a shift leaves open; nothing is shifted here";
            let help = format!("a shift is written `[{} = {} - 1 else 0.0]`", name.text, name.text);
            return Err(self.say(Diagnostic::error(codes::BRACKETS, fill.span, message).help(help)));
        }
        match self.expr(scope, value)? {
            Val::Number(n) if n < 0.0 && n.fract() == 0.0 && !self.size(axis).is_known() => {
                let index = self.counted_back(axis, -n, span)?;
                self.push(Kind::Gather { axis, index, x }, ty.elem, rest, span)
            }
            Val::Number(n) => {
                let size = self.size(axis).as_known();
                let index = if n < 0.0 { size.map(|s| n + s as f64) } else { Some(n) };
                match index {
                    Some(i) if i.fract() == 0.0 && i >= 0.0 && size.is_none_or(|s| i < s as f64) => {
                        self.push(Kind::Pick { axis, index: i as i64, x }, ty.elem, rest, span)
                    }
                    _ => {
                        let message =
                            format!("axis `{}` has no element {n}: its size is {}", name.text, self.show_size(axis));
                        Err(self.say(Diagnostic::error(codes::BRACKETS, value.span, message)))
                    }
                }
            }
            val => {
                let index = self.as_tensor(&val, Elem::I32, value.span)?;
                if !matches!(self.ty(index).elem, Elem::I32 | Elem::I64) {
                    let message = format!("an index is i32 or i64, this is {}", self.show(&self.ty(index).clone()));
                    let fix = self.cast_text(Elem::I32, value.span);
                    let diagnostic = Diagnostic::error(codes::ELEMS, value.span, message).help("cast it");
                    return Err(self.say(diagnostic.fix(value.span, fix)));
                }
                if self.has(index, axis) {
                    let message = format!("the index itself has axis `{}`", name.text);
                    let help = "rename it: what is gathered lies along the index's axes";
                    return Err(self.say(Diagnostic::error(codes::BRACKETS, value.span, message).help(help)));
                }
                let axes = with(rest, &self.ty(index).axes.clone());
                self.push(Kind::Gather { axis, index, x }, ty.elem, axes, span)
            }
        }
    }

    /// `[t = 1..5]`; an open end is that of the axis. A negative end counts from the back.
    fn slice(
        &mut self,
        scope: &mut Scope,
        x: NodeId,
        name: &Name,
        (from, to): (Option<&Expr>, Option<&Expr>),
        span: Span,
    ) -> Checked<NodeId> {
        let ty = self.ty(x).clone();
        let axis = self.axis_of(scope, name, &ty)?;
        let whole = self.size(axis).clone();
        let start = match from {
            Some(expr) => self.slice_end(scope, expr, &whole)?,
            None => Size::known(0),
        };
        let end = match to {
            Some(expr) => self.slice_end(scope, expr, &whole)?,
            None => whole.clone(),
        };
        let size = end.checked_sub(&start);
        let negative = |size: &Size| size.as_known().is_some_and(|n| n < 0);
        let beyond = whole.checked_sub(&end).is_some_and(|rest| negative(&rest));
        match size {
            Some(size) if !negative(&start) && !negative(&size) && !beyond => {
                let sliced = self.axis_id(&name.text, size, span);
                if sliced == axis {
                    return Ok(x);
                }
                let axes = with(self.axes_without(x, &[axis]), &[sliced]);
                let kind = match start.as_known() {
                    None => {
                        let first = self.size_value(&start, Elem::I32, span)?;
                        let place = self.push(Kind::Index(sliced), Elem::I32, vec![sliced], span)?;
                        let index = Kind::Binary(Binary::Add, place, first);
                        Kind::Gather { axis, index: self.push(index, Elem::I32, vec![sliced], span)?, x }
                    }
                    Some(start) => Kind::Slice { from: axis, to: sliced, start, x },
                };
                self.push(kind, ty.elem, axes, span)
            }
            _ => {
                let message = format!("axis `{}` of {whole} has no elements {start}..{end}", name.text);
                Err(self.say(Diagnostic::error(codes::BRACKETS, span, message)))
            }
        }
    }

    /// The index of an element that is counted from the end of an axis.
    fn counted_back(&mut self, axis: AxisId, back: f64, span: Span) -> Checked<NodeId> {
        let size = self.push(Kind::SizeOf(axis), Elem::I32, Vec::new(), span)?;
        let back = self.push(Kind::Number(back), Elem::I32, Vec::new(), span)?;
        self.push(Kind::Binary(Binary::Sub, size, back), Elem::I32, Vec::new(), span)
    }

    /// One end of a slice.
    fn slice_end(&mut self, scope: &mut Scope, expr: &Expr, whole: &Size) -> Checked<Size> {
        if let ExprKind::Unary(Prefix::Neg, n) = &expr.kind {
            let back = self.size_expr(scope, n)?;
            return match whole.checked_sub(&back) {
                Some(end) => Ok(end),
                None => self.made_size(None, expr.span),
            };
        }
        self.size_expr(scope, expr)
    }
}

pub fn with(mut axes: Vec<AxisId>, more: &[AxisId]) -> Vec<AxisId> {
    axes.extend(more);
    axes
}

/// `t - 1`, `t + 2` in `[t = ...]`: how far.
fn shift_of(axis: &Name, value: &Expr) -> Option<i64> {
    let ExprKind::Binary(f, a, b) = &value.kind else { return None };
    let (ExprKind::Name(name), ExprKind::Number(n)) = (&a.kind, &b.kind) else { return None };
    if name.text != axis.text || n.fract() != 0.0 {
        return None;
    }
    match f {
        Infix::Add => Some(*n as i64),
        Infix::Sub => Some(-*n as i64),
        _ => None,
    }
}
