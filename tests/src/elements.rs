//! Contractions of every pair of element types that weights and rows are stored in, as small programs.

use std::fmt::Write as _;

use gatec::graph::interp::Values;
use gatec::graph::{Elem, Module, random, text};
use gatec::kernel::Body;
use gatec::pipeline::optimize;
use gatec::plan::Planned;
use gatec::schedule::{BodySchedule, Gpu, Math, products};

use gatec_runtime::format::Isa;

use crate::{difference, interpret};

/// How a program uses its contractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    /// Two products of one operand meet in the epilogue.
    Gated,
    /// Rows choose their matrix.
    Grouped,
    /// A matrix for each element of a shared axis, and no weight known at load.
    Batched,
    /// Rows stand along the innermost axis: nothing is dense.
    Across,
}

const FORMS: [Form; 5] = [Form::Plain, Form::Gated, Form::Grouped, Form::Batched, Form::Across];

/// (computed in, rows stored as, weights stored as)
const TYPES: [(Elem, Elem, Elem); 19] = [
    (Elem::F32, Elem::F32, Elem::F32),
    (Elem::F32, Elem::F32, Elem::Bf16),
    (Elem::F32, Elem::F32, Elem::F16),
    (Elem::F32, Elem::Bf16, Elem::Bf16),
    (Elem::F32, Elem::F16, Elem::Bf16),
    (Elem::Bf16, Elem::Bf16, Elem::Bf16),
    (Elem::F16, Elem::F16, Elem::F16),
    (Elem::F64, Elem::F64, Elem::F64),
    (Elem::F64, Elem::F64, Elem::F32),
    (Elem::F64, Elem::F32, Elem::Bf16),
    (Elem::F64, Elem::F16, Elem::F16),
    (Elem::F64, Elem::F32, Elem::F64),
    (Elem::F32, Elem::F32, Elem::I8),
    (Elem::F32, Elem::Bf16, Elem::U8),
    (Elem::F64, Elem::F64, Elem::I8),
    (Elem::I32, Elem::I8, Elem::I8),
    (Elem::I32, Elem::U8, Elem::I8),
    (Elem::I32, Elem::I32, Elem::U8),
    (Elem::I32, Elem::I8, Elem::I32),
];

/// A program.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub module: Module,
    /// The element types of the contraction, and of rows and weights as they are stored.
    pub computed: Elem,
    rows: Elem,
    weights: Elem,
}

/// All of them: extents below, at and above the widths of panels.
pub fn all() -> Vec<Case> {
    let extents = [(5, 6), (16, 48), (33, 70), (40, 129)];
    let mut cases = Vec::new();
    for (number, types) in TYPES.into_iter().enumerate() {
        for (place, form) in FORMS.into_iter().enumerate() {
            let (d, h) = extents[(number + place) % extents.len()];
            cases.push(Case::new(form, types, d, h));
        }
    }
    cases
}

impl Case {
    fn new(form: Form, (computed, rows, weights): (Elem, Elem, Elem), d: i64, h: i64) -> Self {
        let scale = if computed.is_float() { format!("{:?}", 1.0 / (d as f64).sqrt()) } else { "3.0".into() };
        let mut text =
            format!("module m\nsymbol t <= 100\naxis b = 2\naxis d = {d}\naxis e = 3\naxis h = {h}\naxis t = t\n");
        let (x_axes, w_axes, w_order) = match form {
            Form::Plain | Form::Gated => ("t, d", "d, h", "d, h"),
            Form::Across => ("d, t", "d, h", "h, d"),
            Form::Grouped => ("t, d", "d, e, h", "e, h, d"),
            Form::Batched => ("t, b, d", "b, d, h", "b, h, d"),
        };
        let mut declared = format!("%x: {rows}[{x_axes}]");
        match form {
            Form::Batched => write!(declared, ", %w: {weights}[{w_order}]"),
            Form::Grouped => write!(declared, ", %i: i32[t]"),
            _ => Ok(()),
        }
        .expect("writing to a string");
        if form != Form::Batched {
            writeln!(text, "param @w: {weights}[{w_order}]\nparam @v: {weights}[{w_order}]").expect("as above");
        }
        let out = if form == Form::Batched { "b, h, t" } else { "h, t" };
        let y = if form == Form::Batched { "t, b, h" } else { "t, h" };
        let mut body = String::new();
        let mut cast = |value: &str, from: Elem, axes: &str| -> String {
            if from == computed {
                return value.to_owned();
            }
            let name = format!("%{}c", &value[1..]);
            let mut sorted: Vec<&str> = axes.split(", ").collect();
            sorted.sort_unstable();
            writeln!(body, "  {name} = cast[{computed}] {value} : {computed}[{}]", sorted.join(", "))
                .expect("as above");
            name
        };
        let x = cast("%x", rows, x_axes);
        let (w, v) = match form {
            Form::Batched => (cast("%w", weights, w_axes), String::new()),
            _ => (
                cast("@w", weights, w_axes),
                if form == Form::Gated { cast("@v", weights, w_axes) } else { String::new() },
            ),
        };
        let ty = format!("{computed}[{out}]");
        let product = match form {
            Form::Grouped => {
                format!("  %g = gather[e] {w}, %i : {computed}[d, h, t]\n  %a = contract[d] {x}, %g : {ty}\n")
            }
            _ => format!("  %a = contract[d] {x}, {w} : {ty}\n"),
        };
        body += &product;
        let [gate, bend] = match computed.is_float() {
            true => ["unary[sigmoid] %r", "unary[tanh] %a"],
            false => ["binary[max] %r, %n", "binary[max] %a, %n"],
        };
        if form == Form::Gated {
            body += &format!("  %r = contract[d] {x}, {v} : {ty}\n  %s = {gate} : {ty}\n  %p = mul %a, %s : {ty}\n");
        } else {
            body += &format!("  %p = {bend} : {ty}\n");
        }
        // Of halves also what they were before they were rounded.
        let is_half = computed.bytes() == 2;
        let (declared_z, z, returned) = if is_half {
            (format!(", z: f32[{y}]"), format!("  %z = cast[f32] %y : f32[{out}]\n"), "%y, %z")
        } else {
            (String::new(), String::new(), "%y")
        };
        write!(
            text,
            "graph @f({declared}) -> (y: {computed}[{y}]{declared_z}) {{\n  %n = const[{scale}] : {computed}[]\n{body}  \
             %y = mul %p, %n : {ty}\n{z}  return {returned}\n}}\n"
        )
        .expect("as above");
        let module = text::parse(&text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
        let name = format!("{form:?} {computed} of {rows} by {weights}, {d}x{h}").to_lowercase();
        Self { name, module, computed, rows, weights }
    }

    /// The program after all passes.
    pub fn optimized(&self) -> Module {
        let done = optimize(self.module.clone(), &Default::default());
        done.unwrap_or_else(|e| panic!("{}: {e}", self.name)).module
    }

    pub fn values(&self, t: i64) -> Values {
        random::values(&self.module, 0, &[("t", t)], 3 + t as u64)
    }

    /// Contractions run on panels of the weights' own type; on a GPU halves are multiplied by tensor cores.
    pub fn misplanned(&self, planned: &Planned) -> Option<String> {
        let contractions = planned.kernels.iter().filter_map(|(_, kernel, schedule)| match &kernel.body {
            Body::Contract(contract) => Some((kernel.buffer(contract.w).elem, contract.products, schedule)),
            _ => None,
        });
        let is_half = self.computed.bytes() == 2;
        let mut count = 0;
        let isa = planned.variant.isa;
        if !self.computed.is_float() && isa == Isa::Sm80 {
            return None;
        }
        let expected = products(isa, [self.rows, self.weights], if is_half { Elem::F32 } else { self.computed });
        for (elem, products, schedule) in contractions {
            count += 1;
            if elem != self.weights {
                return Some(format!("weights are packed as {elem}"));
            }
            if products != expected {
                return Some(format!("{} by {}: {products:?}", self.rows, self.weights));
            }
            if let BodySchedule::Gpu(Gpu::Contract(tile)) = &schedule.body
                && (tile.math == Math::Half) != is_half
            {
                return Some(format!("rows of {} are multiplied by {:?}", self.rows, tile.math));
            }
        }
        (count != 1).then(|| format!("{count} contractions on panels"))
    }

    /// What is not as the interpreter says. The first result is rounded to the contraction's element type, the second, of
    /// halves, is what it was before: sums in f32.
    pub fn wrong(&self, found: &[Vec<f64>], values: &Values) -> Option<String> {
        let expected = interpret(&self.module, 0, values).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let summed = match self.computed {
            Elem::F64 => 1e-14,
            float if float.is_float() => 2e-6,
            _ => 0.0,
        };
        let rounded = match self.computed {
            Elem::Bf16 => 2f64.powi(-8),
            Elem::F16 => 2f64.powi(-11),
            _ => summed,
        };
        let tolerances = [("y", rounded), ("z", summed)];
        found.iter().zip(&expected).zip(tolerances).find_map(|((found, expected), (name, tolerance))| {
            let error = difference(found, expected);
            (error > tolerance).then(|| format!("{name} is off by {error:e}"))
        })
    }
}
