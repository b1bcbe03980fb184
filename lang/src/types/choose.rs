//! `choose g { wide: f(x)  small: h(x) }`: one arm for the whole call, or all of them weighed.
//!
//! An arm is no operation of its own: its value is taken by a select whose condition is a scalar, and what only the side of such a
//! select needs that is not taken is not computed. An arm that weighs 0 is not taken either. A choice that is known when building
//! keeps the arms that count, and drops the others with their parameters.

use super::scope::Scope;
use super::{Checked, Checker, Reported, Val, is_float};
use crate::diagnostics::{Diagnostic, codes};
use crate::program::{AxisId, Binary, Elem, Kind, NodeId, Span};
use crate::size::Size;
use crate::syntax::{Arm, Arms, Choose, Name};

/// So many arms of one `level in 0..n`.
const MAX_ARMS: i64 = 1000;

/// What arms are chosen by.
enum By {
    /// For each arm what it weighs, known when building; `None`: 1.
    Known(Vec<Option<f64>>),
    /// The number of an arm.
    Index(NodeId),
    /// What each weighs.
    Weights(Vec<NodeId>),
}

/// An arm, and what its name stands for in it.
struct Choice {
    arm: Arm,
    number: Option<(Name, f64)>,
}

/// A value of an arm: taken where this holds, times this.
#[derive(Clone, Copy)]
struct Taken {
    when: Option<NodeId>,
    weight: Option<NodeId>,
}

impl Checker<'_> {
    pub fn choose(&mut self, scope: &mut Scope, choose: &Choose, span: Span) -> Checked<Val> {
        let by = self.expr(scope, &choose.by);
        let choices = self.choices(scope, choose, span)?;
        let by = self.chosen_by(&by?, choices.len(), choose.by.span)?;
        scope.values.push(Default::default());
        let mut failed = self.statements(scope, &choose.statements).is_err();
        let (mut arms, mut vals, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        for (number, choice) in choices.into_iter().enumerate() {
            let Some(this) = self.taken(&by, number, choice.arm.name.span)? else {
                self.not_kept(scope, choice.arm.value.span);
                continue;
            };
            scope.values.push(Default::default());
            if let Some((name, value)) = choice.number {
                scope.bind(&name.text, Val::Number(value), self.loops.len(), name.span);
                scope.find(&name.text).into_iter().for_each(|binding| binding.used = true);
            }
            let around = self.chosen.len();
            self.chosen.extend(this.when);
            let val = self.arm(scope, &choice.arm);
            self.chosen.truncate(around);
            scope.values.pop();
            failed |= val.is_err();
            vals.push(val.unwrap_or(Val::Error));
            arms.push(choice.arm);
            taken.push(this);
        }
        self.leave_side(scope);
        if failed { Err(Reported) } else { self.joined(&arms, &vals, &taken, span) }
    }

    fn choices(&mut self, scope: &mut Scope, choose: &Choose, span: Span) -> Checked<Vec<Choice>> {
        let (name, from, to, value) = match &choose.arms {
            Arms::Named(arms) if arms.is_empty() => {
                let message = "there is no arm to choose";
                let help = "an arm is `name: value`, or one for each number: `level in 0..16: value`";
                return Err(self.say(Diagnostic::error(codes::CHOOSE, span, message).help(help)));
            }
            Arms::Named(arms) => {
                return Ok(arms.iter().map(|arm| Choice { arm: arm.clone(), number: None }).collect());
            }
            Arms::Each { name, from, to, value } => (name, &**from, &**to, &**value),
        };
        let (low, high) = (self.expr(scope, from)?, self.expr(scope, to)?);
        let low = self.as_count(&low, "the number of the first arm", 0, from.span)?;
        let high = self.as_count(&high, "the number behind the last arm", 0, to.span)?;
        if high <= low || high - low > MAX_ARMS {
            let message = format!("from 1 to {MAX_ARMS} arms, not {}: {low}..{high}", (high - low).max(0));
            let at = Span { end: to.span.end, ..from.span };
            return Err(self.say(Diagnostic::error(codes::CHOOSE, at, message)));
        }
        let arm = |number: i64| Choice {
            arm: Arm { name: Name { text: format!("{}.{number}", name.text), span: name.span }, value: value.clone() },
            number: Some((name.clone(), number as f64)),
        };
        Ok((low..high).map(arm).collect())
    }

    fn chosen_by(&mut self, by: &Val, count: usize, at: Span) -> Checked<By> {
        let help = "an i32 is the number of an arm; f32 weights have one axis, with an element for each arm; of two arms \
                    an f32 says how much the second counts";
        match by {
            Val::Number(n) if n.fract() == 0.0 && (0.0..count as f64).contains(n) => {
                Ok(By::Known((0..count).map(|i| (i as f64 != *n).then_some(0.0)).collect()))
            }
            Val::Number(n) if count == 2 && (0.0..=1.0).contains(n) => Ok(By::Known(vec![Some(1.0 - n), Some(*n)])),
            Val::Number(n) => {
                let message = format!("there is no arm {n}: they are 0 to {}", count - 1);
                Err(self.say(Diagnostic::error(codes::CHOOSE, at, message)))
            }
            Val::Tensor(node) => {
                let ty = self.ty(*node).clone();
                match (is_float(ty.elem), ty.axes.as_slice()) {
                    (false, []) if ty.elem != Elem::Bool => self.number_of_arm(*node, count, at).map(By::Index),
                    (true, []) if count == 2 => {
                        let one = self.push(Kind::Number(1.0), ty.elem, Vec::new(), at)?;
                        let first = self.push(Kind::Binary(Binary::Sub, one, *node), ty.elem, Vec::new(), at)?;
                        Ok(By::Weights(vec![first, *node]))
                    }
                    (true, [axis]) if self.size(*axis).as_known() == Some(count as i64) => {
                        self.weights(*node, *axis, count, at)
                    }
                    (true, [axis]) => {
                        let (name, size) = (self.stem(*axis), self.show_size(*axis));
                        let s = if count == 1 { "" } else { "s" };
                        let message = format!("{count} arm{s}, but `{name}` has {size} weights");
                        Err(self.say(Diagnostic::error(codes::CHOOSE, at, message)))
                    }
                    _ => {
                        let message = format!("a choice for the whole call is not by {}", self.show(&ty));
                        let diagnostic = Diagnostic::error(codes::CHOOSE, at, message);
                        Err(self.say(match (ty.elem, ty.axes.is_empty()) {
                            (Elem::Bool, true) => {
                                diagnostic.help("false is 0, true is 1").fix(at, self.cast_text(Elem::I32, at))
                            }
                            (_, false) => diagnostic.help(format!("{help}. What differs between rows is a `route`")),
                            _ => diagnostic.help(help),
                        }))
                    }
                }
            }
            Val::Error => Err(Reported),
            _ => {
                let message = "a choice for the whole call is by a number or by weights";
                Err(self.say(Diagnostic::error(codes::CHOOSE, at, message).help(help)))
            }
        }
    }

    /// The number as it came in, in a place where it is looked up: an error when the model runs if there is no such arm.
    fn number_of_arm(&mut self, mut index: NodeId, count: usize, at: Span) -> Checked<NodeId> {
        // In an arm that is not taken it may be any number.
        if let Some(around) = self.chosen.last().copied() {
            let elem = self.ty(index).elem;
            let first = self.push(Kind::Number(0.0), elem, Vec::new(), at)?;
            index = self.push(Kind::Where(around, index, first), elem, Vec::new(), at)?;
        }
        let arms = self.axis_id("arm", Size::known(count as i64), at);
        let numbers = self.push(Kind::Index(arms), Elem::I32, vec![arms], at)?;
        self.push(Kind::Gather { axis: arms, index, x: numbers }, Elem::I32, Vec::new(), at)
    }

    fn weights(&mut self, weights: NodeId, axis: AxisId, count: usize, at: Span) -> Checked<By> {
        if let Kind::Table { values, .. } = &self.nodes[weights.0 as usize].kind {
            return Ok(By::Known(values.iter().copied().map(Some).collect()));
        }
        let elem = self.ty(weights).elem;
        let pick = |index| Kind::Pick { axis, index: index as i64, x: weights };
        let each = (0..count).map(|index| self.push(pick(index), elem, Vec::new(), at));
        each.collect::<Checked<_>>().map(By::Weights)
    }

    /// When the arm of that number counts, and how much; `None`: never.
    fn taken(&mut self, by: &By, number: usize, at: Span) -> Checked<Option<Taken>> {
        let (f, x, other, weight) = match by {
            By::Known(weights) => {
                return Ok(match weights[number] {
                    Some(0.0) => None,
                    Some(n) => {
                        let weight = self.push(Kind::Number(n), Elem::F64, Vec::new(), at)?;
                        Some(Taken { when: None, weight: Some(weight) })
                    }
                    None => Some(Taken { when: None, weight: None }),
                });
            }
            By::Index(index) => (Binary::Eq, *index, number as f64, None),
            By::Weights(weights) => (Binary::Ne, weights[number], 0.0, Some(weights[number])),
        };
        let other = self.push(Kind::Number(other), self.ty(x).elem, Vec::new(), at)?;
        let mut when = self.push(Kind::Binary(f, x, other), Elem::Bool, Vec::new(), at)?;
        // Where an arm around is not taken, nor is one in it.
        if let Some(around) = self.chosen.last().copied() {
            let never = self.push(Kind::Number(0.0), Elem::Bool, Vec::new(), at)?;
            when = self.push(Kind::Where(around, when, never), Elem::Bool, Vec::new(), at)?;
        }
        Ok(Some(Taken { when: Some(when), weight }))
    }

    /// The value of the arm that is taken, or the sum of all that count: of records, field by field.
    fn joined(&mut self, arms: &[Arm], vals: &[Val], taken: &[Taken], span: Span) -> Checked<Val> {
        self.by_field(vals, span, &mut |this, vals| this.joined_tensors(arms, vals, taken, span))
    }

    fn joined_tensors(&mut self, arms: &[Arm], vals: &[Val], taken: &[Taken], span: Span) -> Checked<Val> {
        let (values, ty) = self.alike(arms, vals)?;
        if taken.iter().any(|t| t.weight.is_some()) && !is_float(ty.elem) {
            let message = format!("weights are for floats, these arms are {}", ty.elem.name());
            return Err(self.say(Diagnostic::error(codes::CHOOSE, span, message)));
        }
        let mut y: Option<NodeId> = None;
        for (value, taken) in values.into_iter().zip(taken).rev() {
            let mut term = value;
            if let Some(mut weight) = taken.weight {
                if self.ty(weight).elem != ty.elem {
                    weight = self.push(Kind::Cast(weight), ty.elem, Vec::new(), span)?;
                }
                let axes = self.ty(term).axes.clone();
                term = self.push(Kind::Binary(Binary::Mul, weight, term), ty.elem, axes, span)?;
            }
            if let Some(when) = taken.when {
                let other = match y {
                    Some(y) if taken.weight.is_none() => y,
                    _ => self.push(Kind::Number(0.0), ty.elem, Vec::new(), span)?,
                };
                let axes = self.union(&[term, other]);
                term = self.push(Kind::Where(when, term, other), ty.elem, axes, span)?;
            }
            y = Some(match y {
                Some(rest) if taken.weight.is_some() => {
                    let axes = self.union(&[rest, term]);
                    self.push(Kind::Binary(Binary::Add, term, rest), ty.elem, axes, span)?
                }
                _ => term,
            });
        }
        match y {
            Some(y) => self.tensor(Kind::Broadcast(y), ty.elem, ty.axes, span),
            // All weigh 0.
            None => {
                let zero = self.push(Kind::Number(0.0), ty.elem, Vec::new(), span)?;
                self.tensor(Kind::Broadcast(zero), ty.elem, ty.axes, span)
            }
        }
    }
}
