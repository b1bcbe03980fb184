//! Steps of the generator: each adds a few nodes that make one new value of the pool.

use std::sync::Arc;

use gatec_lang::Size;

use super::Generator;
use crate::graph::{Axis, AxisSet, Builder, Elem, Type, Value};
use crate::ops::{self, Fill};
use crate::scalar::{Binary, Extreme, Fold, Unary};

impl Generator<'_, '_> {
    /// Adds one value to the pool; tries again where a step does not fit.
    pub(super) fn step(&mut self) {
        for _ in 0..20 {
            let value = match self.rng.below(37) {
                0 | 1 => self.unary(),
                2..=4 => self.pointwise(),
                5 => self.select(),
                6 => self.reduce(),
                7 => self.arg_reduce(),
                8 => self.running(),
                9..=11 => self.contract(),
                12 => self.softmax(),
                13 => self.regroup(),
                14 => self.part(),
                15 => self.moved(),
                16 => self.window(),
                17 => self.joined(),
                18 => self.gather(),
                32 | 33 => self.segment(),
                19 | 20 if self.options.routes => self.route(),
                21 | 22 if self.options.loops => self.scan(),
                23 => self.leaf(),
                24 | 25 => self.gated(),
                26 | 27 => self.prepared(),
                28 | 29 if self.options.routes => self.blocks(),
                30 | 31 if self.options.routes => self.mixture(),
                34 => self.quantized(),
                35 if self.options.loops => self.linear(),
                36 => self.written_out(),
                _ => None,
            };
            if let Some(value) = value {
                debug_assert_eq!(self.build.ty(value).elem, Elem::F32);
                self.pool.push(value);
                return;
            }
        }
    }

    fn unary(&mut self) -> Option<Value> {
        use Unary as U;
        let x = self.any();
        let mut smooth = [U::Neg, U::Abs, U::Tanh, U::Sigmoid, U::Sin, U::Cos, U::Erf, U::Tanh, U::Sigmoid];
        self.rng.shuffle(&mut smooth);
        Some(match self.rng.below(5) {
            0..=2 => self.build.unary(smooth[0], x),
            3 => {
                // Of something bounded, exponentials stay so too.
                let x = self.tame(x);
                let f = *self.rng.pick(&[U::Exp, U::Expm1]);
                self.build.unary(f, x)
            }
            _ => {
                let abs = self.build.unary(U::Abs, x);
                let one = self.build.number(Elem::F32, 1.0);
                let x = self.build.add(ops::Add, &[abs, one]);
                let f = *self.rng.pick(&[U::Sqrt, U::Rsqrt, U::Recip, U::Log, U::Log1p]);
                self.build.unary(f, x)
            }
        })
    }

    fn pointwise(&mut self) -> Option<Value> {
        let (a, b) = (self.any(), self.any());
        let axes = self.build.ty(a).axes.union(&self.build.ty(b).axes);
        if !self.is_small(&axes) {
            return None;
        }
        Some(match self.rng.below(6) {
            0 => {
                let sum = self.build.add(ops::Add, &[a, b]);
                self.tame(sum)
            }
            1 => {
                let (a, b) = (self.tame(a), self.tame(b));
                self.build.add(ops::Mul, &[a, b])
            }
            2 => {
                let difference = self.build.binary(Binary::Sub, a, b);
                self.scaled(difference, 0.5)
            }
            3 => self.build.binary(Binary::Max, a, b),
            4 => self.build.binary(Binary::Min, a, b),
            _ => {
                let (a, gate) = (self.tame(a), self.build.unary(Unary::Sigmoid, b));
                let c = self.build.number(Elem::F32, 0.75);
                self.build.add(ops::Mul, &[a, gate, c])
            }
        })
    }

    /// A mask of indices or of exact values.
    fn select(&mut self) -> Option<Value> {
        let (a, b) = (self.any(), self.any());
        let f = *self.rng.pick(&[Binary::Lt, Binary::Ge, Binary::Eq, Binary::Ne]);
        let axes: Vec<Axis> = self.build.ty(a).axes.iter().collect();
        let cond = if axes.is_empty() || self.rng.chance(30) {
            let x = *self.exact.first()?;
            let bound = self.build.number(Elem::F32, 0.25);
            self.build.binary(f, x, bound)
        } else {
            let axis = *self.rng.pick(&axes);
            let index = self.build.add(ops::Index { axis }, &[]);
            let size = self.build.add(ops::SizeOf { axis, elem: Elem::I32 }, &[]);
            let two = self.build.number(Elem::I32, 2.0);
            let half = self.build.binary(Binary::Div, size, two);
            self.build.binary(f, index, half)
        };
        let cond = if self.rng.chance(20) { self.build.unary(Unary::Not, cond) } else { cond };
        // One for all elements: then the other side is not computed.
        let over = self.build.ty(cond).axes.clone();
        let is_whole = !over.is_empty() && self.rng.chance(25);
        let cond = if is_whole { self.build.reduce(Fold::Any, over, cond) } else { cond };
        let types = [cond, a, b].map(|v| self.build.ty(v).axes.clone());
        let axes = types[0].union(&types[1]).union(&types[2]);
        self.is_small(&axes).then(|| self.build.add(ops::Select, &[cond, a, b]))
    }

    /// One or more axes of a value.
    pub(super) fn own_axes(&mut self, x: Value) -> Option<AxisSet> {
        let axes: Vec<Axis> = self.build.ty(x).axes.iter().collect();
        let first = *axes.get(self.rng.below(axes.len()))?;
        Some(axes.into_iter().filter(|a| *a == first || self.rng.chance(25)).collect())
    }

    pub(super) fn own_axis(&mut self, x: Value) -> Option<Axis> {
        let axes: Vec<Axis> = self.build.ty(x).axes.iter().collect();
        axes.get(self.rng.below(axes.len())).copied()
    }

    /// An axis of a value whose size is known, with the size.
    pub(super) fn known_axis(&mut self, x: Value) -> Option<(Axis, i64)> {
        let axis = self.own_axis(x)?;
        self.build.sizes.known(axis).map(|n| (axis, n))
    }

    fn reduce(&mut self) -> Option<Value> {
        let x = self.any();
        let over = self.own_axes(x)?;
        Some(match self.rng.below(5) {
            0 => {
                let zero = self.build.number(Elem::F32, 0.0);
                let positive = self.build.binary(Binary::Gt, *self.exact.first()?, zero);
                let over = self.own_axes(positive)?;
                let fold = *self.rng.pick(&[Fold::Any, Fold::All]);
                let any = self.build.reduce(fold, over, positive);
                self.build.add(ops::Cast { to: Elem::F32 }, &[any])
            }
            1 => {
                let x = self.tame(x);
                self.build.reduce(Fold::Prod, over, x)
            }
            2 => {
                // Over an empty axis these are infinite.
                let fold = *self.rng.pick(&[Fold::Max, Fold::Min]);
                let y = self.build.reduce(fold, over, x);
                self.tame(y)
            }
            _ => self.mean(x, over),
        })
    }

    /// Of an exact value, so that hardware finds the same place.
    fn arg_reduce(&mut self) -> Option<Value> {
        let x = *self.rng.pick(&self.exact);
        let over = self.own_axis(x)?;
        let which = *self.rng.pick(&[Extreme::Max, Extreme::Min]);
        let at = self.build.add(ops::ArgReduce { which, over }, &[x]);
        let at = self.build.add(ops::Cast { to: Elem::F32 }, &[at]);
        Some(self.scaled(at, 0.0625))
    }

    fn running(&mut self) -> Option<Value> {
        let x = self.any();
        let over = self.own_axis(x)?;
        let fold = *self.rng.pick(&[Fold::Sum, Fold::Max, Fold::Prod]);
        let x = self.tame(x);
        let exclusive = self.rng.chance(50);
        let y = self.build.add(ops::Running { fold, over, exclusive }, &[x]);
        Some(self.tame(y))
    }

    fn softmax(&mut self) -> Option<Value> {
        let x = self.any();
        let over = self.own_axes(x)?;
        let max = self.build.reduce(Fold::Max, over.clone(), x);
        let shifted = self.build.binary(Binary::Sub, x, max);
        let exp = self.build.unary(Unary::Exp, shifted);
        let sum = self.build.reduce(Fold::Sum, over, exp);
        Some(self.build.binary(Binary::Div, exp, sum))
    }

    /// Rename, split, merge, broadcast.
    fn regroup(&mut self) -> Option<Value> {
        let x = self.any();
        match self.rng.below(4) {
            0 => {
                let from = self.own_axis(x)?;
                let size = self.build.sizes.get(from)?.clone();
                let to = self.build.sizes.fresh(from.name(), size);
                Some(self.build.add(ops::Rename { from, to }, &[x]))
            }
            1 => {
                let (from, n) = self.known_axis(x).filter(|(_, n)| *n > 0)?;
                let divisors: Vec<i64> = (1..=n).filter(|d| n % d == 0).collect();
                let inner = *self.rng.pick(&divisors);
                let outer = self.build.sizes.fresh("o", Size::known(n / inner));
                let inner = self.build.sizes.fresh("i", Size::known(inner));
                Some(self.build.add(ops::Split { from, to: vec![outer, inner] }, &[x]))
            }
            2 => {
                let mut from: Vec<Axis> = self.build.ty(x).axes.iter().collect();
                self.rng.shuffle(&mut from);
                from.truncate(2);
                let mut size = Size::known(1);
                for axis in &from {
                    size = size.checked_mul(self.build.sizes.get(*axis)?)?;
                }
                let to = self.build.sizes.fresh("m", size);
                Some(self.build.add(ops::Merge { from, to }, &[x]))
            }
            _ => {
                let axes = self.axes.clone();
                let over = AxisSet::from(*self.rng.pick(&axes));
                let ty = self.build.ty(x).axes.clone();
                (ty.is_disjoint(&over) && self.is_small(&ty.union(&over)))
                    .then(|| self.build.add(ops::Broadcast { over }, &[x]))
            }
        }
    }

    /// Pick and slice.
    fn part(&mut self) -> Option<Value> {
        let x = self.any();
        let (axis, n) = self.known_axis(x)?;
        if n == 0 {
            return None;
        }
        let start = self.rng.below(n as usize) as i64;
        if self.rng.chance(50) {
            return Some(self.build.add(ops::Pick { axis, index: start }, &[x]));
        }
        let length = 1 + self.rng.below((n - start) as usize) as i64;
        let to = self.build.sizes.fresh(axis.name(), Size::known(length));
        let start = if self.rng.chance(20) { ops::Start::Last } else { ops::Start::At(start) };
        Some(self.build.add(ops::Slice { from: axis, to, start }, &[x]))
    }

    /// Shift and pad.
    fn moved(&mut self) -> Option<Value> {
        let x = self.any();
        let axis = self.own_axis(x)?;
        let fill = ops::bits(self.rng.number(1.0));
        if self.rng.chance(50) {
            let by = self.rng.below(5) as i64 - 2;
            return Some(self.build.add(ops::Shift { axis, by, fill }, &[x]));
        }
        let (before, after) = (self.rng.below(3) as i64, self.rng.below(3) as i64);
        let known = self.build.sizes.known(axis);
        let mirrors = known.is_some_and(|n| n > before.max(after)) && self.rng.chance(50);
        let size = self.build.sizes.get(axis)?.checked_add(&Size::known(before + after))?;
        let to = self.build.sizes.fresh(axis.name(), size);
        let fill = if mirrors { Fill::Reflect } else { Fill::Constant(fill) };
        let y = self.build.add(ops::Pad { from: axis, to, before, fill }, &[x]);
        self.is_small(&self.build.ty(y).axes.clone()).then_some(y)
    }

    /// A convolution, depthwise or over one more axis.
    fn window(&mut self) -> Option<Value> {
        let x = self.any();
        let from = self.own_axis(x)?;
        let (taps, stride) = (1 + self.rng.below(3) as i64, 1 + self.rng.below(2) as i64);
        let (dilation, pad) = (1 + self.rng.below(2) as i64, self.rng.below(2) as i64);
        // floor((n + 2 pad - dilation (taps - 1) - 1) / stride) + 1, grown so that it is positive for every n.
        let size = self.build.sizes.get(from)?.checked_add(&Size::known(2 * pad))?.checked_div(stride)?;
        let tap = self.build.sizes.fresh("tap", Size::known(taps));
        let to = self.build.sizes.fresh(from.name(), size);
        let y = self.build.add(ops::Window { from, to, tap, stride, dilation, pad }, &[x]);
        if !self.is_small(&self.build.ty(y).axes.clone()) {
            return None;
        }
        let mut over = AxisSet::from(tap);
        if self.rng.chance(40) {
            over = self.own_axes(y)?.with(tap).without(to);
        }
        let w = self.param(over.iter().collect())?;
        let y = self.build.contract(over, y, w);
        Some(self.tame(y))
    }

    /// Concat and stack.
    fn joined(&mut self) -> Option<Value> {
        let (a, b) = (self.any(), self.any());
        let ty = self.build.ty(a).axes.clone();
        let b = self.conform(b, &ty);
        if self.rng.chance(50) {
            let axis = self.build.sizes.fresh("two", Size::known(2));
            let y = self.build.add(ops::Stack { axis }, &[a, b]);
            return self.is_small(&ty.with(axis)).then_some(y);
        }
        let along = self.own_axis(a)?;
        let size = self.build.sizes.get(along)?.checked_mul(&Size::known(2))?;
        let to = self.build.sizes.fresh(along.name(), size);
        let y = self.build.add(ops::Concat { to, axes: vec![along, along] }, &[a, b]);
        self.is_small(&ty.without(along).with(to)).then_some(y)
    }

    /// Experts, as `route` lowers: every expert's value, of which top-k of an exact score keeps a few.
    fn route(&mut self) -> Option<Value> {
        let x = self.any();
        let (over, _) = self.known_axis(x)?;
        let experts = 1 + self.rng.below(5) as i64;
        let chosen = 1 + self.rng.below(experts as usize) as i64;
        let expert = self.build.sizes.fresh("expert", Size::known(experts));
        let slot = self.build.sizes.fresh("slot", Size::known(chosen));
        let out = self.build.sizes.fresh("out", Size::known(3));
        let rest = self.build.ty(x).axes.without(over);
        if !self.is_small(&rest.with(expert).with(out)) || rest.len() > 2 {
            return None;
        }
        let score = self.input_over(Elem::F32, rest.iter().chain([expert]).collect())?;
        let index = self.build.add(ops::TopK { axis: expert, slot }, &[score]);
        let weight = self.build.add(ops::Gather::new(expert), &[score, index]);
        let weight = self.build.unary(Unary::Sigmoid, weight);
        let w = self.param(vec![expert, over, out])?;
        let value = self.build.contract(over.into(), x, w);
        let gate = self.build.unary(Unary::Sigmoid, value);
        let value = self.build.add(ops::Mul, &[value, gate]);
        // Some choices are dropped.
        let or_zero = self.rng.chance(30);
        let index = if or_zero {
            let kept = self.input_over(Elem::F32, rest.iter().chain([slot]).collect())?;
            let zero = self.build.number(Elem::F32, 0.0);
            let is_kept = self.build.binary(Binary::Ge, kept, zero);
            let none = self.build.number(Elem::I32, -1.0);
            self.build.add(ops::Select, &[is_kept, index, none])
        } else {
            index
        };
        let kept = self.build.add(ops::Gather { axis: expert, or_zero }, &[value, index]);
        let y = self.build.contract(slot.into(), weight, kept);
        Some(self.tame(y))
    }

    /// A loop whose body is random too.
    fn scan(&mut self) -> Option<Value> {
        let x = self.any();
        let axis = self.own_axis(x)?;
        let item = self.build.ty(x).axes.without(axis);
        let mut carry = item.clone();
        let mut captures: Vec<Value> = Vec::new();
        if let Some((d, n)) = item.iter().find_map(|a| Some((a, self.build.sizes.known(a)?)))
            && self.rng.chance(70)
        {
            // A square weight: the body may contract the carry with it, if it renames first.
            let square = self.build.sizes.fresh(d.name(), Size::known(n));
            captures.push(self.param(vec![square, d])?);
        } else if item.len() > 1 && self.rng.chance(30) {
            carry = carry.without(item.iter().next()?);
        }
        let has_square = !captures.is_empty();
        let other = self.any();
        if !self.build.ty(other).axes.contains(axis) {
            captures.push(other);
        }
        let start = self.any();
        let init = if self.rng.chance(50) {
            let zero = self.build.number(Elem::F32, 0.0);
            self.conform(zero, &carry)
        } else {
            self.conform(start, &carry)
        };
        let mut operands = vec![init, x];
        operands.extend(&captures);
        let types: Vec<Type> = captures.iter().map(|v| self.build.ty(*v).clone()).collect();

        let mut build = Builder::new(self.build.sizes);
        let ty = |axes: &AxisSet| Type::new(Elem::F32, axes.clone());
        let h = build.add(ops::Carry { index: 0, ty: ty(&carry) }, &[]);
        let i = build.add(ops::Item { index: 0, ty: ty(&item) }, &[]);
        let mut pool = vec![i, h];
        for (index, ty) in types.into_iter().enumerate() {
            let square = has_square && index == 0;
            let w = build.add(ops::Capture { index: index as u32, ty: ty.clone() }, &[]);
            let ends: Vec<Axis> = ty.axes.iter().collect();
            match ends[..] {
                [a, b] if square && carry.contains(a) != carry.contains(b) => {
                    let (from, to) = if carry.contains(a) { (a, b) } else { (b, a) };
                    let renamed = build.add(ops::Rename { from, to }, &[h]);
                    let y = build.contract(to.into(), renamed, w);
                    pool.push(build.unary(Unary::Tanh, y));
                    if item.contains(from) && !item.contains(to) && self.rng.chance(50) {
                        let renamed = build.add(ops::Rename { from, to }, &[i]);
                        let z = build.contract(to.into(), renamed, w);
                        pool.push(build.add(ops::Add, &[y, z]));
                    }
                }
                _ => pool.push(w),
            }
        }
        if self.rng.chance(20) {
            let step = build.add(ops::Step, &[]);
            let step = build.add(ops::Cast { to: Elem::F32 }, &[step]);
            pool.push(build.unary(Unary::Sin, step));
        }
        let exact = vec![i];
        let mut inside = Generator {
            rng: &mut *self.rng,
            build,
            pool,
            exact,
            axes: self.axes.iter().copied().filter(|a| *a != axis).collect(),
            declared: None,
            options: super::Options { loops: false, routes: false, ..self.options },
        };
        for _ in 0..1 + inside.rng.below(4) {
            inside.step();
        }
        let last = inside.any();
        let sum = inside.conform(last, &carry);
        let drive = inside.conform(i, &carry);
        let next = inside.build.add(ops::Add, &[sum, drive, h]);
        let next = inside.tame(next);
        let mut results = vec![next];
        let y = inside.any();
        let has_yield = !inside.build.ty(y).axes.contains(axis) && inside.is_small(&inside.build.ty(y).axes.with(axis));
        if has_yield {
            results.push(y);
        }
        let body = Arc::new(inside.build.finish(results));
        let reverse = self.rng.chance(30);
        let scan = ops::Scan { axis, reverse, carries: 1, items: 1, body };
        let node = self.build.try_node(scan, &operands).ok()?;
        let results = self.build.results(node);
        if let Some(y) = results.get(1) {
            self.pool.push(results[0]);
            return Some(*y);
        }
        results.first().copied()
    }

    /// A small table, a parameter, or the index of an axis.
    fn leaf(&mut self) -> Option<Value> {
        let axes = self.axes.clone();
        let axis = *self.rng.pick(&axes);
        match (self.rng.below(3), self.build.sizes.known(axis)) {
            (0, Some(n)) => {
                let values = (0..n).map(|_| ops::bits(self.rng.number(1.0))).collect();
                Some(self.build.add(ops::Table { elem: Elem::F32, order: vec![axis], values }, &[]))
            }
            (1, Some(_)) => self.param(vec![axis]),
            _ => {
                let index = self.build.add(ops::Index { axis }, &[]);
                let index = self.build.add(ops::Cast { to: Elem::F32 }, &[index]);
                Some(self.scaled(index, 0.0625))
            }
        }
    }
}
