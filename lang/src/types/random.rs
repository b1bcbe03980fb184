//! Noise: `uniform[t, d](key)`, `normal`, `gumbel`, `bernoulli[t](key, p)`.
//!
//! Numbers are a function of a key, the number of the draw and the number of the element: Threefry-2x32 of 20 rounds (Salmon, Moraes,
//! Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), written out in integer operations. So they are the same on every
//! machine, and what an element gets depends on no other.

use super::scope::Scope;
use super::{Checked, Checker, Val};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Span, Unary};
use crate::syntax::Call;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    Uniform,
    Normal,
    Gumbel,
    Bernoulli,
}

/// Kinds of noise and their names.
pub const NOISE: &[(&str, Noise)] = &[
    ("uniform", Noise::Uniform),
    ("normal", Noise::Normal),
    ("gumbel", Noise::Gumbel),
    ("bernoulli", Noise::Bernoulli),
];

const ROTATIONS: [f64; 8] = [13.0, 15.0, 26.0, 6.0, 17.0, 29.0, 16.0, 24.0];
const ROUNDS: usize = 20;
/// Of the key schedule: 0x1BD11BDA.
const PARITY: f64 = 466_688_986.0;

impl Checker<'_> {
    pub(super) fn noise(&mut self, scope: &mut Scope, noise: Noise, call: &Call, span: Span) -> Checked<Val> {
        let name = &call.callee.text;
        let (names, most): (&[&str], usize) =
            if noise == Noise::Bernoulli { (&["key", "p", "draw"], 3) } else { (&["key", "draw"], 2) };
        self.only(call, most, names, span)?;
        if call.axes.iter().any(|axis| axis.into.is_some() || axis.from.is_some()) {
            let message = format!("`{name}` takes the names of the axes of what it makes");
            return Err(self.say(Diagnostic::error(codes::ARGUMENTS, span, message)));
        }
        let mut axes = Vec::new();
        for axis in &call.axes {
            axes.push(self.named_axis(scope, &axis.name)?);
        }
        let (key, at) = self.argument(scope, call, 0, "key", span)?;
        let key = self.key_word(&key, "key", at)?;
        let chance = match noise {
            Noise::Bernoulli => {
                let (p, at) = self.argument(scope, call, 1, "p", span)?;
                let p = self.as_tensor(&p, Elem::F32, at)?;
                if self.ty(p).elem != Elem::F32 {
                    return Err(self.wrong_elem("a chance", Elem::F32, self.ty(p).elem, at));
                }
                Some(p)
            }
            _ => None,
        };
        let draw = match self.optional(scope, call, most - 1, "draw")? {
            Some((draw, at)) => self.key_word(&draw, "draw", at)?,
            None => self.int(0.0, span)?,
        };
        let number = self.element_number(&axes, span)?;
        let zero = self.int(0.0, span)?;
        let [first, second] = self.threefry([key, draw], [number, zero], span)?;
        let u = self.between(first, span)?;
        let made = match noise {
            Noise::Uniform => u,
            Noise::Bernoulli => {
                let p = chance.unwrap_or(u);
                let axes = self.union(&[u, p]);
                self.push(Kind::Binary(Binary::Lt, u, p), Elem::Bool, axes, span)?
            }
            Noise::Gumbel => {
                // -log(-log(u))
                let inner = self.minus_log(u, span)?;
                self.minus_log(inner, span)?
            }
            Noise::Normal => {
                // Box and Muller: sqrt(-2 log(u)) cos(2 pi v)
                let v = self.between(second, span)?;
                let log = self.minus_log(u, span)?;
                let square = self.scaled_by(log, 2.0, span)?;
                let radius = self.of_float(Unary::Sqrt, square, span)?;
                let angle = self.scaled_by(v, std::f64::consts::TAU, span)?;
                let cos = self.of_float(Unary::Cos, angle, span)?;
                let axes = self.ty(cos).axes.clone();
                self.push(Kind::Binary(Binary::Mul, radius, cos), Elem::F32, axes, span)?
            }
        };
        Ok(Val::Tensor(made))
    }

    /// A word of a key or counter.
    fn key_word(&mut self, val: &Val, what: &str, at: Span) -> Checked<NodeId> {
        let word = self.as_tensor(val, Elem::I32, at)?;
        let elem = self.ty(word).elem;
        if elem == Elem::I32 { Ok(word) } else { Err(self.wrong_elem(&format!("a {what}"), Elem::I32, elem, at)) }
    }

    /// The number of an element among those of these axes, the last one innermost, modulo 2^32.
    fn element_number(&mut self, axes: &[AxisId], span: Span) -> Checked<NodeId> {
        let mut number = self.int(0.0, span)?;
        for axis in axes {
            let size = match self.size(*axis).as_known() {
                Some(n) => self.int(n as f64, span)?,
                None => self.push(Kind::SizeOf(*axis), Elem::I32, Vec::new(), span)?,
            };
            let index = match self.loops.iter().any(|l| l.axis == *axis) {
                true => self.push(Kind::Step(*axis), Elem::I32, Vec::new(), span)?,
                false => self.push(Kind::Index(*axis), Elem::I32, vec![*axis], span)?,
            };
            let before = self.ints(Binary::Mul, number, size, span)?;
            number = self.ints(Binary::Add, before, index, span)?;
        }
        Ok(number)
    }

    fn threefry(&mut self, key: [NodeId; 2], counter: [NodeId; 2], span: Span) -> Checked<[NodeId; 2]> {
        let parity = self.int(PARITY, span)?;
        let both = self.ints(Binary::BitXor, key[0], key[1], span)?;
        let keys = [key[0], key[1], self.ints(Binary::BitXor, both, parity, span)?];
        let mut x = [0, 1].map(|i| self.ints(Binary::Add, counter[i], keys[i], span));
        for round in 0..ROUNDS {
            let [a, b] = x;
            let a = self.ints(Binary::Add, a?, b?, span)?;
            let by = self.int(ROTATIONS[round % 8], span)?;
            let b = self.ints(Binary::Rotate, b?, by, span)?;
            let b = self.ints(Binary::BitXor, b, a, span)?;
            x = [Ok(a), Ok(b)];
            if round % 4 == 3 {
                let injected = round / 4 + 1;
                let number = self.int(injected as f64, span)?;
                let b = self.ints(Binary::Add, b, keys[(injected + 1) % 3], span)?;
                x = [self.ints(Binary::Add, a, keys[injected % 3], span), self.ints(Binary::Add, b, number, span)];
            }
        }
        let [a, b] = x;
        Ok([a?, b?])
    }

    /// The upper bits of a word as a number between 0 and 1, neither of them: an odd number of 24 bits is an f32, to the bit.
    fn between(&mut self, word: NodeId, span: Span) -> Checked<NodeId> {
        let [by, mask, one] = [8.0, f64::from(0x00FF_FFFF), 1.0].map(|n| self.int(n, span));
        let high = self.ints(Binary::Shr, word, by?, span)?;
        let bits = self.ints(Binary::BitAnd, high, mask?, span)?;
        let odd = self.ints(Binary::BitOr, bits, one?, span)?;
        let axes = self.ty(odd).axes.clone();
        let float = self.push(Kind::Cast(odd), Elem::F32, axes, span)?;
        self.scaled_by(float, 0.5f64.powi(24), span)
    }

    fn minus_log(&mut self, x: NodeId, span: Span) -> Checked<NodeId> {
        let log = self.of_float(Unary::Log, x, span)?;
        self.of_float(Unary::Neg, log, span)
    }

    fn of_float(&mut self, f: Unary, x: NodeId, span: Span) -> Checked<NodeId> {
        let axes = self.ty(x).axes.clone();
        self.push(Kind::Unary(f, x), Elem::F32, axes, span)
    }

    fn scaled_by(&mut self, x: NodeId, by: f64, span: Span) -> Checked<NodeId> {
        let by = self.push(Kind::Number(by), Elem::F32, Vec::new(), span)?;
        let axes = self.ty(x).axes.clone();
        self.push(Kind::Binary(Binary::Mul, x, by), Elem::F32, axes, span)
    }

    fn int(&mut self, n: f64, span: Span) -> Checked<NodeId> {
        self.push(Kind::Number(n), Elem::I32, Vec::new(), span)
    }

    fn ints(&mut self, f: Binary, a: NodeId, b: NodeId, span: Span) -> Checked<NodeId> {
        let axes = self.union(&[a, b]);
        self.push(Kind::Binary(f, a, b), Elem::I32, axes, span)
    }
}
