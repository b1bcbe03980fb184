//! Quantised parameters: `param w: q8[d: 32, h]`.
//!
//! Such a parameter is two: values of few bits, and a scale for each block along one axis, the contracted one as a rule. The
//! weight file has both, the scales under the name of the values and `.scale`. What the model sees is `value * scale`.

use super::params::Declaration;
use super::scope::Scope;
use super::{Checked, Checker, Reported, Val, elem_of};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Elem, FileAxis, Kind, NamePiece, Quantized, Source};
use crate::size::Size;
use crate::syntax::{Name, Ty};

/// Bits of a value of each quantised type.
pub(super) const TYPES: [(&str, u32); 2] = [("q8", 8), ("q4", 4)];

/// How a parameter is quantised.
struct Scheme {
    axis: AxisId,
    block: AxisId,
    size: i64,
    bytes: Option<AxisId>,
}

/// Bits of a value, if the type is quantised.
fn bits(ty: &Ty) -> Option<u32> {
    TYPES.iter().find(|(name, _)| *name == ty.elem.text).map(|(_, bits)| *bits)
}

impl Checker<'_> {
    /// Types of anything but parameters: neither quantised nor in blocks.
    pub(super) fn not_quantized(&mut self, ty: &Ty) -> Checked<()> {
        if bits(ty).is_some() {
            let message = format!("only parameters are quantised, so `{}` cannot stand here", ty.elem.text);
            let help = "what a quantised parameter stands for is `f32`";
            return Err(self.say(Diagnostic::error(codes::QUANTIZED, ty.elem.span, message).help(help)));
        }
        match ty.blocks.first() {
            Some((axis, size)) if elem_of(&ty.elem.text).is_some() => {
                let (elem, axis) = (&ty.elem.text, &ty.axes[*axis].text);
                let message = format!("`{elem}` has no blocks, but axis `{axis}` is in some");
                let help = format!("quantise it: `q8[{axis}: ..]`; or leave the length of blocks out");
                Err(self.say(Diagnostic::error(codes::QUANTIZED, size.span, message).help(help)))
            }
            _ => Ok(()),
        }
    }

    /// A parameter's value, if its type is quantised.
    pub(super) fn quantized(
        &mut self,
        scope: &mut Scope,
        name: &Name,
        Declaration { ty, source, buffer, .. }: Declaration,
    ) -> Checked<Option<Val>> {
        let Some(bits) = bits(ty) else { return Ok(None) };
        if buffer.is_some() {
            let message = format!("only parameters are quantised, `{}` is a buffer", name.text);
            return Err(self.say(Diagnostic::error(codes::QUANTIZED, ty.elem.span, message)));
        }
        if let Some(axis) = source.and_then(super::fused::fused_axis) {
            let message = "a quantised parameter is a tensor of its own in the file";
            let help = "quantise what the file holds as one parameter, and slice its value";
            return Err(self.say(Diagnostic::error(codes::QUANTIZED, axis.span, message).help(help)));
        }
        let order = self.axes_written(scope, ty)?;
        let scheme = self.scheme(ty, &order, bits)?;
        let stored = scheme.bytes.unwrap_or(scheme.axis);
        let swap = |order: &[AxisId], with: AxisId| -> Vec<AxisId> {
            order.iter().map(|a| if *a == scheme.axis { with } else { *a }).collect()
        };
        let gained = self.gained_beside(&order);
        let all: Vec<AxisId> = gained.iter().chain(&order).copied().collect();
        self.known_sizes(&all, ty.span)?;
        let path = self.path_of(scope, name);
        let file = self.source(scope, &name.text, &gained, &order, source)?;
        if file.name.iter().any(|piece| matches!(piece, NamePiece::Index { axis, .. } if *axis == scheme.axis)) {
            let message = format!("`{}` is in blocks: it cannot stand in the names of tensors", self.stem(scheme.axis));
            let span = source.map_or(name.span, |s| s.name_span);
            return Err(self.say(Diagnostic::error(codes::QUANTIZED, span, message)));
        }
        let file_of = |with: AxisId, suffix: &str| Source {
            name: file.name.iter().cloned().chain([NamePiece::Text(suffix.into())]).collect(),
            order: file.order.iter().map(|axis| swapped(axis, scheme.axis, with)).collect(),
        };
        let (x_elem, x_file) = (if bits == 8 { Elem::I8 } else { Elem::U8 }, file_of(stored, ""));
        let x = self.declared_param(path.clone(), x_elem, swap(&all, stored), name.span, (x_file, None))?;
        let scale_file = file_of(scheme.block, ".scale");
        let scale_order = swap(&all, scheme.block);
        let scale =
            self.declared_param(format!("{path}.scale"), Elem::F16, scale_order, name.span, (scale_file, None))?;
        let axes: Vec<AxisId> = self.axes_without(x, &[stored]).into_iter().chain([scheme.axis]).collect();
        let Scheme { axis, block, size, bytes } = scheme;
        let [values, scales] = [path.clone(), format!("{path}.scale")].map(|path| self.param_ids[&path]);
        let known = Quantized { values, scales, bits, axis, size, stored };
        if !self.program.quantized.contains(&known) {
            self.program.quantized.push(known);
        }
        self.tensor(Kind::Dequantize { axis, block, size, bytes, x, scale }, Elem::F32, axes, name.span).map(Some)
    }

    fn scheme(&mut self, ty: &Ty, order: &[AxisId], bits: u32) -> Checked<Scheme> {
        let elem = &ty.elem.text;
        let (at, length) = match ty.blocks.as_slice() {
            [(at, length)] => (*at, length),
            [] => {
                let first = ty.axes.first().map_or("d", |a| a.text.as_str());
                let message = format!("`{elem}` does not say which axis is in blocks that share a scale");
                let help =
                    format!("write the length of a block at the axis that is contracted: `{elem}[{first}: 32, ..]`");
                return Err(self.say(Diagnostic::error(codes::QUANTIZED, ty.span, message).help(help)));
            }
            [_, (at, length), ..] => {
                let message = format!("a second axis in blocks, `{}`: there is one", ty.axes[*at].text);
                let help = "leave the length out at all but the contracted axis";
                return Err(self.say(Diagnostic::error(codes::QUANTIZED, length.span, message).help(help)));
            }
        };
        let size = self.const_size(length)?.as_known().ok_or(Reported)?;
        if size < 1 || bits == 4 && size % 2 != 0 {
            let even =
                if bits == 4 { "an even number of elements, for two share a byte" } else { "at least one element" };
            let message = format!("a block of `{elem}` has {even}, not {size}");
            return Err(self.say(Diagnostic::error(codes::QUANTIZED, length.span, message)));
        }
        let axis = order[at];
        if self.gained.contains(&axis) {
            let message = format!("`{}` is in blocks, but the `route` or `repeat` around is over it", self.stem(axis));
            let help = "put the contracted axis into blocks";
            return Err(self.say(Diagnostic::error(codes::QUANTIZED, ty.axes[at].span, message).help(help)));
        }
        self.known_sizes(&[axis], ty.span)?;
        let n = self.size(axis).as_known().ok_or(Reported)?;
        let name = self.stem(axis).to_owned();
        let mut pieces =
            |what: &str, by: i64| self.axis_id(&format!("{name}.{what}"), Size::known((n + by - 1) / by), ty.span);
        let block = pieces("block", size);
        let bytes = (bits == 4).then(|| pieces("byte", 2));
        Ok(Scheme { axis, block, size, bytes })
    }
}

/// An axis of a file with another in the place of one.
fn swapped(axis: &FileAxis, from: AxisId, to: AxisId) -> FileAxis {
    let swap = |a: &AxisId| if *a == from { to } else { *a };
    match axis {
        FileAxis::Axis(a) => FileAxis::Axis(swap(a)),
        FileAxis::Merged(axes) => FileAxis::Merged(axes.iter().map(swap).collect()),
        FileAxis::Unit => FileAxis::Unit,
    }
}
