//! Values as what their place asks for: a tensor, a number that is known when building.

use super::{Checked, Checker, Reported, Template, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{Elem, Kind, NodeId, Span};

impl Checker<'_> {
    /// A value as a tensor; a number becomes one of type `elem`.
    pub fn as_tensor(&mut self, val: &Val, elem: Elem, span: Span) -> Checked<NodeId> {
        match val {
            Val::Tensor(node) => Ok(*node),
            Val::Number(n) if !has_number(elem, *n) => {
                let message = format!("a value of {} is expected, which has no {n}", elem.name());
                Err(self.say(Diagnostic::error(codes::ELEMS, span, message)))
            }
            Val::Number(n) => self.push(Kind::Number(*n), elem, Vec::new(), span),
            Val::Bool(b) => self.push(Kind::Number(f64::from(u8::from(*b))), Elem::Bool, Vec::new(), span),
            Val::Text(name) => {
                let message = format!("a tensor is expected, this is the name \"{name}\"");
                let help = "names are known when building: `match` and `if` choose by them";
                Err(self.say(Diagnostic::error(codes::NOT_A_TENSOR, span, message).help(help)))
            }
            Val::Size(size) => {
                let elem = if elem == Elem::Bool { Elem::F32 } else { elem };
                self.size_value(size, elem, span)
            }
            Val::Error => Err(Reported),
            Val::Record(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                let message = format!("a tensor is expected, this is a record of {}", names.join(", "));
                let help = format!("take a field: `.{}`", names.first().unwrap_or(&"y"));
                Err(self.say(Diagnostic::error(codes::NOT_A_TENSOR, span, message).help(help)))
            }
            Val::Params(_) => {
                let message = "a tensor is expected, this is a set of parameters";
                Err(self.say(Diagnostic::error(codes::NOT_A_TENSOR, span, message).help("`dot` and `norm` fold it")))
            }
            Val::Plan(_) => {
                let message = "a tensor is expected, this is a routing plan";
                Err(self.say(Diagnostic::error(codes::NOT_A_TENSOR, span, message).help("take `.weight` or `.index`")))
            }
            Val::Part { block: Template { name, .. }, .. }
            | Val::Block(Template { name, .. })
            | Val::Function(_, name) => {
                let message = format!("a tensor is expected, this is the block `{name}`");
                Err(self.say(Diagnostic::error(codes::NOT_A_TENSOR, span, message).help("call it")))
            }
        }
    }

    /// A value as a number that is known when building.
    pub fn as_number(&mut self, val: &Val, what: &str, span: Span) -> Checked<f64> {
        match val {
            Val::Number(n) => Ok(*n),
            Val::Error => Err(Reported),
            _ => {
                let message = format!("{what} must be a number that is known when building");
                Err(self.say(Diagnostic::error(codes::NOT_A_NUMBER, span, message)))
            }
        }
    }

    /// A value as the element, known when building, that fills a tensor of that type.
    pub fn as_fill(&mut self, val: &Val, elem: Elem, what: &str, span: Span) -> Checked<f64> {
        if let (Val::Bool(b), Elem::Bool) = (val, elem) {
            return Ok(f64::from(u8::from(*b)));
        }
        let n = self.as_number(val, what, span)?;
        if elem == Elem::Bool || !has_number(elem, n) {
            let message = format!("{what} is of {}, which has no {n}", elem.name());
            return Err(self.say(Diagnostic::error(codes::ELEMS, span, message)));
        }
        Ok(n)
    }

    /// A value as a whole number from `least` on.
    pub fn as_count(&mut self, val: &Val, what: &str, least: i64, span: Span) -> Checked<i64> {
        let n = self.as_number(val, what, span)?;
        if n.fract() != 0.0 || n < least as f64 || n > crate::size::MAX_SIZE as f64 {
            let message = format!("{what} must be a whole number of at least {least}, not {n}");
            return Err(self.say(Diagnostic::error(codes::AXIS_SIZE, span, message)));
        }
        Ok(n as i64)
    }
}

/// Does an element type have a number? Of floats every one, rounded.
pub(crate) fn has_number(elem: Elem, n: f64) -> bool {
    let behind = match elem {
        Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::F64 | Elem::Bool => return true,
        Elem::I8 => 128.0,
        Elem::U8 => 256.0,
        Elem::I32 => 2f64.powi(31),
        Elem::I64 => 2f64.powi(63),
    };
    n.fract() == 0.0 && n >= least(elem) && n < behind
}

/// The least number of an element type.
pub(crate) fn least(elem: Elem) -> f64 {
    match elem {
        Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::F64 => f64::NEG_INFINITY,
        Elem::U8 | Elem::Bool => 0.0,
        Elem::I8 => f64::from(i8::MIN),
        Elem::I32 => f64::from(i32::MIN),
        Elem::I64 => i64::MIN as f64,
    }
}
