//! Indices and scalar expressions of a kernel as LLVM values.
//!
//! At most one loop variable at a time runs along vectors. An expression that does not vary with it is a scalar, one that does is
//! a vector. Neighbouring elements are loaded as a vector, others lane by lane.

use std::collections::BTreeMap;

use inkwell::types::BasicTypeEnum;
use inkwell::values::{InstructionOpcode, PointerValue};
use inkwell::{FloatPredicate, IntPredicate};

use super::emit::{Emit, Val};
use crate::codegen::math;
use crate::kernel::index::{mentions, stride, values};
use crate::kernel::types::accumulator;
use crate::kernel::{Bound, BufferId, Dim, Elem, Expr, ExprId, Extent, Index, Kernel, Temp, Var};
use crate::scalar::{Binary, Unary};

/// The vector that is being worked on.
#[derive(Clone, Copy)]
pub struct Lanes<'ctx> {
    pub var: Var,
    /// Index of lane 0.
    pub first: Val<'ctx>,
    pub count: u32,
    pub tail: Option<Tail<'ctx>>,
}

/// The lanes of a vector that are inside, where not all are.
#[derive(Clone, Copy)]
pub struct Tail<'ctx> {
    pub mask: Val<'ctx>,
    /// The index of the last.
    pub last: Val<'ctx>,
    /// How many there are, if that is known.
    pub count: Option<u32>,
}

/// A kernel's values while its code is emitted.
pub struct Frame<'a, 'ctx> {
    pub emit: &'a Emit<'ctx>,
    pub kernel: &'a Kernel,
    pub buffers: Vec<PointerValue<'ctx>>,
    pub dims: Vec<Val<'ctx>>,
    pub vars: BTreeMap<Var, Val<'ctx>>,
    pub temps: BTreeMap<Temp, Val<'ctx>>,
    pub temp_elems: BTreeMap<Temp, Elem>,
    /// Accumulators of the contraction, for its epilogue.
    pub accs: Vec<Val<'ctx>>,
    pub lanes: Option<Lanes<'ctx>>,
    /// Are products that are added not rounded before?
    pub fuses: bool,
    /// Whether whole vectors are stored past the caches; `None` where they never are.
    pub streams: Option<Val<'ctx>>,
    /// Set to 1 when an index was out of range.
    pub fault: PointerValue<'ctx>,
    /// Where numbers about the first one go; `None` where nobody looks.
    pub told: Option<PointerValue<'ctx>>,
    /// Where neighbours stand along the loop that vectors run along, of loads that have one place all along it.
    pub rows: BTreeMap<ExprId, PointerValue<'ctx>>,
    memo: BTreeMap<ExprId, Val<'ctx>>,
}

/// How an index varies along the vector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Same,
    Next,
    Any,
}

/// How an index varies within a vector. These begin at multiples of their lanes: what is divided by such a multiple stays the same, and
/// the remainder goes on like the dividend.
fn within_vector(index: &Index, lanes: &Lanes<'_>) -> Index {
    let all = |parts: &[Index]| parts.iter().map(|part| within_vector(part, lanes)).collect();
    let is_multiple = |by: &Index| matches!(by, Index::Known(by) if by % i64::from(lanes.count) == 0);
    match index {
        Index::Div(n, by) if **n == Index::Var(lanes.var) && is_multiple(by) => Index::Known(0),
        Index::Mod(n, by) if **n == Index::Var(lanes.var) && is_multiple(by) => (**n).clone(),
        Index::Add(parts) => Index::Add(all(parts)),
        Index::Mul(parts) => Index::Mul(all(parts)),
        other => other.clone(),
    }
}

/// Is an index never below zero, wherever it is asked for?
fn is_natural(index: &Index) -> bool {
    match index {
        Index::Known(n) => *n >= 0,
        Index::Dim(_) | Index::Var(_) | Index::Value(..) | Index::Mod(..) => true,
        Index::Add(parts) | Index::Mul(parts) => parts.iter().all(is_natural),
        Index::Div(n, _) => is_natural(n),
    }
}

impl<'a, 'ctx> Frame<'a, 'ctx> {
    pub fn new(
        emit: &'a Emit<'ctx>,
        kernel: &'a Kernel,
        buffers: Vec<PointerValue<'ctx>>,
        dims: Vec<Val<'ctx>>,
        fault: PointerValue<'ctx>,
    ) -> Self {
        Self {
            emit,
            kernel,
            buffers,
            dims,
            vars: BTreeMap::new(),
            temps: BTreeMap::new(),
            temp_elems: BTreeMap::new(),
            accs: Vec::new(),
            fuses: false,
            streams: None,
            lanes: None,
            fault,
            told: None,
            rows: BTreeMap::new(),
            memo: BTreeMap::new(),
        }
    }

    /// Values computed so far are not at hand where control goes next.
    pub fn forget(&mut self) {
        self.memo.clear();
    }

    /// The same of those that vary with a loop's variable, as it has another value.
    pub fn forget_varying(&mut self, var: Var) {
        self.memo.retain(|id, _| !self.kernel.varies(*id, var));
    }

    /// Values that are still at hand.
    pub fn remember(&mut self, known: &[(ExprId, Val<'ctx>)]) {
        self.memo.extend(known.iter().copied());
    }

    pub fn extent(&self, extent: Extent) -> Val<'ctx> {
        match extent {
            Extent::Known(n) => self.emit.index(n),
            Extent::Dim(Dim(d)) => self.dims[d as usize],
        }
    }

    /// An entry of a list of `i32`: an order of rows, the offsets of segments.
    pub fn entry(&self, list: BufferId, at: Val<'ctx>) -> Val<'ctx> {
        let e = self.emit;
        let i32 = e.int(32);
        e.cast(InstructionOpcode::SExt, e.load(i32, e.at(self.buffers[list.0 as usize], i32, at)), e.i64())
    }

    /// Where a segment begins and ends.
    pub fn segment(&self, offsets: BufferId, segment: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
        let e = self.emit;
        (self.entry(offsets, segment), self.entry(offsets, e.add(segment, e.index(1))))
    }

    // Types.

    /// The element type of an expression.
    pub fn elem(&self, id: ExprId) -> Elem {
        match self.kernel.expr(id) {
            Expr::Const { elem, .. } | Expr::Index { elem, .. } | Expr::Cast(elem, _) => *elem,
            Expr::Load { buffer, .. } => self.kernel.buffer(*buffer).elem,
            Expr::Unary(Unary::Not, _) => Elem::Bool,
            Expr::Unary(_, x) => self.elem(*x),
            Expr::Binary(f, ..) if f.is_predicate() => Elem::Bool,
            Expr::Binary(_, a, _) => self.elem(*a),
            Expr::Select(_, a, _) => self.elem(*a),
            Expr::Temp(temp) => self.temp_elems.get(temp).copied().unwrap_or(Elem::F32),
            Expr::Acc(_) => accumulator(self.kernel),
        }
    }

    /// The type in which elements are computed.
    pub fn register(&self, elem: Elem) -> BasicTypeEnum<'ctx> {
        self.emit.register(elem)
    }

    // Indices.

    /// How does an index vary with the vector's variable?
    pub(super) fn step(&self, index: &Index) -> Step {
        let Some(lanes) = &self.lanes else { return Step::Same };
        let mut read = Vec::new();
        values(index, &mut read);
        if read.iter().any(|v| self.kernel.varies(*v, lanes.var)) {
            return Step::Any;
        }
        if !mentions(index, lanes.var) {
            return Step::Same;
        }
        match stride(&within_vector(index, lanes), lanes.var) {
            Some(s) if s.known == 1 && s.dims.is_empty() => Step::Next,
            _ => Step::Any,
        }
    }

    /// An index as i64: a scalar where it is the same in all lanes. In a tail, lanes outside repeat the last one inside.
    pub fn index(&mut self, index: &Index) -> Val<'ctx> {
        let e = self.emit;
        match index {
            Index::Known(n) => e.index(*n),
            Index::Dim(Dim(d)) => self.dims[*d as usize],
            Index::Var(var) => match self.lanes {
                Some(lanes) if lanes.var == *var => {
                    let all = e.add(lanes.first, e.iota(lanes.count));
                    match lanes.tail {
                        Some(tail) => e.min(all, tail.last),
                        None => all,
                    }
                }
                _ => self.vars[var],
            },
            Index::Add(terms) => self.fold_index(terms, Emit::add),
            Index::Mul(factors) => self.fold_index(factors, Emit::mul),
            Index::Div(n, by) | Index::Mod(n, by) => {
                let is_natural = is_natural(n);
                let (n, by) = (self.index(n), self.index(by));
                let is_quotient = matches!(index, Index::Div(..));
                match e.known(by) {
                    // Rounds down, whatever the sign.
                    Some(by) if by.count_ones() == 1 && is_quotient => e.sar(n, u64::from(by.trailing_zeros())),
                    Some(by) if by.count_ones() == 1 => e.and(n, e.bits(n.get_type(), (by - 1) as u64)),
                    _ if is_natural && is_quotient => e.udiv(n, by),
                    _ if is_natural => e.urem(n, by),
                    _ if is_quotient => self.floor_div(n, by),
                    _ => e.sub(n, e.mul(self.floor_div(n, by), by)),
                }
            }
            Index::Value(expr, extent) => {
                let v = self.eval(*expr);
                let wide =
                    if e.element_of(v.get_type()) == e.i64() { v } else { e.cast(InstructionOpcode::SExt, v, e.i64()) };
                let extent = self.extent(*extent);
                let outside = e.icmp(IntPredicate::UGE, wide, extent);
                self.tell(*expr, wide, outside);
                e.select(outside, e.same(wide, 0.0), wide)
            }
        }
    }

    fn fold_index(&mut self, parts: &[Index], f: impl Fn(&Emit<'ctx>, Val<'ctx>, Val<'ctx>) -> Val<'ctx>) -> Val<'ctx> {
        let mut all = parts.iter();
        let mut sum = match all.next() {
            Some(first) => self.index(first),
            None => self.emit.index(0),
        };
        for part in all {
            let part = self.index(part);
            sum = f(self.emit, sum, part);
        }
        sum
    }

    /// Division by a positive number, rounded down.
    pub fn floor_div(&self, n: Val<'ctx>, by: Val<'ctx>) -> Val<'ctx> {
        let e = self.emit;
        let quotient = e.op(InstructionOpcode::SDiv, n, by);
        let rest = e.sub(n, e.mul(quotient, by));
        let below = e.icmp(IntPredicate::SLT, rest, e.same(rest, 0.0));
        e.select(below, e.sub(quotient, e.same(quotient, 1.0)), quotient)
    }

    /// An index in one lane.
    pub(super) fn index_at(&mut self, index: &Index, lane: u32) -> Val<'ctx> {
        let all = self.index(index);
        self.emit.lane(all, lane)
    }

    /// Index of lane 0 of an index whose lanes are neighbours.
    pub(super) fn first_index(&mut self, index: &Index) -> Val<'ctx> {
        let Some(lanes) = self.lanes.take() else { return self.index(index) };
        let before = self.vars.insert(lanes.var, lanes.first);
        let first = self.index(index);
        match before {
            Some(v) => self.vars.insert(lanes.var, v),
            None => self.vars.remove(&lanes.var),
        };
        self.lanes = Some(lanes);
        first
    }

    /// Whether all bounds hold: `None` if there are none.
    pub(super) fn inside(&mut self, bounds: &[Bound]) -> Option<Val<'ctx>> {
        let e = self.emit;
        let mut all = None;
        for bound in bounds {
            let index = self.index(&bound.index);
            let extent = self.extent(bound.extent);
            // Unsigned: below 0 is far above.
            let inside = e.icmp(IntPredicate::ULT, index, extent);
            all = Some(match all {
                Some(all) => e.and(all, inside),
                None => inside,
            });
        }
        all
    }

    // Expressions.

    pub fn eval(&mut self, id: ExprId) -> Val<'ctx> {
        if let Some(&v) = self.memo.get(&id) {
            return v;
        }
        let v = self.eval_new(id);
        self.memo.insert(id, v);
        v
    }

    fn eval_new(&mut self, id: ExprId) -> Val<'ctx> {
        let e = self.emit;
        let kernel = self.kernel;
        if let Some(row) = self.rows.get(&id) {
            return self.load_from_row(id, *row);
        }
        match kernel.expr(id) {
            Expr::Const { elem, value } => e.number(self.register(*elem), *value),
            Expr::Index { elem, index } => {
                let index = self.index(index);
                match elem {
                    Elem::I64 => index,
                    elem if elem.is_float() => e.cast(InstructionOpcode::SIToFP, index, self.register(*elem)),
                    elem => e.cast(InstructionOpcode::Trunc, index, self.register(*elem)),
                }
            }
            Expr::Load { buffer, index, bounds, otherwise } => self.load(*buffer, index, bounds, *otherwise),
            Expr::Unary(f, x) => {
                let elem = self.elem(*x);
                let x = self.eval(*x);
                self.unary(*f, elem, x)
            }
            Expr::Binary(Binary::Add, a, b) if self.fuses && self.elem(*a).is_float() => {
                let is_product = |id: ExprId| matches!(kernel.expr(id), Expr::Binary(Binary::Mul, ..));
                let (sum, product) = if is_product(*b) || !is_product(*a) { (*a, *b) } else { (*b, *a) };
                let elem = self.elem(sum);
                match kernel.expr(product) {
                    Expr::Binary(Binary::Mul, x, y) => {
                        let all = [*x, *y, sum].map(|id| self.eval(id));
                        let lanes = all.map(|v| e.lanes_of(v)).into_iter().max().unwrap_or(1);
                        let [x, y, sum] = all.map(|v| e.splat(v, lanes));
                        e.fma(x, y, sum)
                    }
                    _ => {
                        let (a, b) = (self.eval(sum), self.eval(product));
                        self.binary(Binary::Add, elem, a, b)
                    }
                }
            }
            Expr::Binary(f, a, b) => {
                let elem = self.elem(*a);
                let (a, b) = (self.eval(*a), self.eval(*b));
                self.binary(*f, elem, a, b)
            }
            Expr::Select(c, a, b) => {
                let c = self.eval(*c);
                // One answer for a whole vector of neighbours: where it is no, they are not read.
                if let (Expr::Load { buffer, index, bounds, .. }, Expr::Const { value, .. }) =
                    (kernel.expr(*a), kernel.expr(*b))
                    && bounds.is_empty()
                    && !c.is_vector_value()
                    && self.lanes.is_some()
                    && self.step(index) == Step::Next
                {
                    return self.load_if(Some(c), *buffer, index, *value);
                }
                if self.is_of_places(id) {
                    return self.load_from_place(id);
                }
                let (a, b) = (self.eval(*a), self.eval(*b));
                e.select(c, a, b)
            }
            Expr::Cast(to, x) => {
                let from = self.elem(*x);
                let x = self.eval(*x);
                self.cast(from, *to, x)
            }
            Expr::Temp(temp) => self.temps[temp],
            Expr::Acc(group) => self.accs[*group as usize],
        }
    }

    fn cast(&self, from: Elem, to: Elem, x: Val<'ctx>) -> Val<'ctx> {
        let e = self.emit;
        let register = self.register(to);
        let signed = !matches!(from, Elem::U8 | Elem::Bool);
        match (from.is_float(), to.is_float()) {
            (true, true) => match (self.register(from) == e.f64(), register == e.f64()) {
                (true, false) => e.cast(InstructionOpcode::FPTrunc, x, register),
                (false, true) => e.cast(InstructionOpcode::FPExt, x, register),
                _ => x,
            },
            (_, _) if to == Elem::Bool && from == Elem::Bool => x,
            (true, false) if to == Elem::Bool => e.fcmp(FloatPredicate::UNE, x, e.same(x, 0.0)),
            (false, false) if to == Elem::Bool => e.icmp(IntPredicate::NE, x, e.same(x, 0.0)),
            (true, false) => {
                let name = if to == Elem::U8 { "llvm.fptoui.sat" } else { "llvm.fptosi.sat" };
                let ty = e.like(x, register);
                e.call_as(name, &[ty, x.get_type()], &[x])
            }
            (false, true) => {
                e.cast(if signed { InstructionOpcode::SIToFP } else { InstructionOpcode::UIToFP }, x, register)
            }
            (false, false) => {
                let bits = |ty: BasicTypeEnum<'ctx>| ty.into_int_type().get_bit_width();
                match bits(self.register(from)).cmp(&bits(register)) {
                    std::cmp::Ordering::Equal => x,
                    std::cmp::Ordering::Greater => e.cast(InstructionOpcode::Trunc, x, register),
                    std::cmp::Ordering::Less => {
                        e.cast(if signed { InstructionOpcode::SExt } else { InstructionOpcode::ZExt }, x, register)
                    }
                }
            }
        }
    }

    fn unary(&self, f: Unary, elem: Elem, x: Val<'ctx>) -> Val<'ctx> {
        let e = self.emit;
        if elem.is_float() {
            return math::unary(e, f, x);
        }
        let zero = e.same(x, 0.0);
        let is_signed = !matches!(elem, Elem::U8 | Elem::Bool);
        match f {
            Unary::Not => e.not(x),
            Unary::Neg => e.sub(zero, x),
            Unary::Sign if !is_signed => e.select(e.icmp(IntPredicate::EQ, x, zero), zero, e.bits(x.get_type(), 1)),
            Unary::Abs if is_signed => e.select(e.icmp(IntPredicate::SLT, x, zero), e.sub(zero, x), x),
            Unary::Sign => {
                let below = e.select(e.icmp(IntPredicate::SLT, x, zero), e.bits(x.get_type(), u64::MAX), zero);
                e.select(e.icmp(IntPredicate::SGT, x, zero), e.bits(x.get_type(), 1), below)
            }
            // Integers are their own floor; the front end takes the others of floats only.
            _ => x,
        }
    }

    fn binary(&self, f: Binary, elem: Elem, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        if elem.is_float() {
            return math::binary(self.emit, f, a, b);
        }
        math::integer(self.emit, f, !matches!(elem, Elem::U8 | Elem::Bool), a, b)
    }
}
