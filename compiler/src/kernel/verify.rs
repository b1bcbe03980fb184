//! What every kernel keeps to, as numbered rules. Schedules, interpreter and code generation rely on it.
//!
//! - K01: every number (expression, buffer, size, variable) is one that the kernel has, and operands come before users;
//! - K02: a loop variable, a fold's result or an accumulator is used only where it has a value; none is bound twice at once;
//! - K03: buffers are read or written as they say; packed ones are right operands of a contraction or of attention and nothing else;
//! - K04: operands of a function have the types it takes;
//! - K05: what is stored has the type of its buffer; what is folded that of the fold;
//! - K06: indices are sums of products: none nested, none of fewer than two parts; divisors are positive;
//! - K07: sizes known when building are not negative, loaded indices are integers;
//! - K08: a contraction's left operand varies with batch, rows and sums only, its accumulators are there;
//! - K09: of attention, the left operand is a plain load of elements at equal distances, and blocks are whole panels of any machine;
//! - K10: a fold over a segment has one loop, and leaves no place.

mod exprs;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use super::types::{accumulator, computed_in, types};
use super::{
    Access, Attend, Body, Buffer, BufferId, Contract, Elem, ExprId, Extent, Fold, GroupRows, Index, Kernel, Loop, Nest,
    Products, Segment, Stage, Store, Temp, TopK, Var,
};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub rule: &'static str,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.rule, self.message)
    }
}

/// All rules that a kernel breaks; none: it may be run.
pub fn verify(kernel: &Kernel) -> Result<(), Vec<Fault>> {
    let mut check = Check { kernel, types: types(kernel), needs: Vec::new(), faults: Vec::new() };
    check.exprs();
    // What stands on numbers that are not there cannot be looked at.
    if check.faults.is_empty() {
        check.body();
    }
    if check.faults.is_empty() { Ok(()) } else { Err(check.faults) }
}

/// What an expression needs a value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Var(Var),
    Temp(Temp),
    Acc(u32),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Var(v) => write!(f, "i{}", v.0),
            Self::Temp(t) => write!(f, "t{}", t.0),
            Self::Acc(a) => write!(f, "accumulator {a}"),
        }
    }
}

type Scope = BTreeSet<Need>;

struct Check<'a> {
    kernel: &'a Kernel,
    types: Vec<Option<Elem>>,
    /// For each expression, with those of its operands.
    needs: Vec<Scope>,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, rule: &'static str, message: String) {
        let fault = Fault { rule, message };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn type_of(&self, id: ExprId) -> Elem {
        // Told once all numbers are right: K01.
        self.types.get(id.0 as usize).copied().flatten().unwrap_or(Elem::F32)
    }

    fn body(&mut self) {
        match &self.kernel.body {
            Body::Nest(nest) => self.nest(nest),
            Body::Contract(contract) => self.contract(contract),
            Body::Attend(attend) => self.attend(attend),
            Body::TopK(top_k) => self.top_k(top_k),
            Body::GroupRows(group) => self.group_rows(group),
        }
    }

    /// The scope inside loops.
    fn enter(&mut self, at: &str, scope: &Scope, loops: &[Loop]) -> Scope {
        let mut scope = scope.clone();
        for l in loops {
            self.extent(at, l.extent);
            if l.var.0 >= self.kernel.vars {
                self.fault("K01", format!("{at}: there is no i{}", l.var.0));
            }
            if !scope.insert(Need::Var(l.var)) {
                self.fault("K02", format!("{at}: i{} runs already", l.var.0));
            }
        }
        scope
    }

    /// K02.
    fn uses(&mut self, at: &str, id: ExprId, scope: &Scope) {
        let Some(needs) = self.needs.get(id.0 as usize) else {
            return self.fault("K01", format!("{at}: there is no %{}", id.0));
        };
        let missing: Vec<String> = needs.difference(scope).map(|n| n.to_string()).collect();
        for need in missing {
            self.fault("K02", format!("{at}: %{} needs {need}, which has no value there", id.0));
        }
    }

    /// An index outside of expressions.
    fn uses_index(&mut self, at: &str, index: &Index, scope: &Scope) {
        let (mut operands, mut needs) = (Vec::new(), Scope::new());
        self.index(at, index, &mut operands, &mut needs, self.kernel.exprs.len());
        operands.iter().for_each(|o| self.uses(at, *o, scope));
        let missing: Vec<String> = needs.difference(scope).map(|n| n.to_string()).collect();
        for need in missing {
            self.fault("K02", format!("{at}: the index needs {need}, which has no value there"));
        }
    }

    fn store(&mut self, at: &str, store: &Store, scope: &Scope) {
        self.access(at, store.buffer, Access::Write, false);
        self.uses_index(at, &store.index, scope);
        self.uses(at, store.value, scope);
        let Some(buffer) = self.kernel.buffers.get(store.buffer.0 as usize) else { return };
        let found = self.type_of(store.value);
        if computed_in(found) != computed_in(buffer.elem) {
            self.fault(
                "K05",
                format!("{at}: b{} holds {}, %{} is {found}", store.buffer.0, buffer.elem, store.value.0),
            );
        }
    }

    fn only(&mut self, at: &str, only: ExprId, scope: &Scope) {
        self.uses(at, only, scope);
        if self.type_of(only) != Elem::Bool {
            self.fault("K04", format!("{at}: only where %{}, which is {}", only.0, self.type_of(only)));
        }
    }

    fn nest(&mut self, nest: &Nest) {
        let points = self.enter("nest", &Scope::new(), &nest.outer);
        if let Some(only) = nest.only {
            self.only("nest", only, &points);
        }
        let mut scope = self.enter("walk", &points, nest.walk.as_slice());
        for (number, stage) in nest.stages.iter().enumerate() {
            let at = format!("stage {number}");
            match stage {
                Stage::Map { inner, stores } => {
                    let inside = self.enter(&at, &scope, inner);
                    stores.iter().for_each(|s| self.store(&at, s, &inside));
                }
                Stage::Reduce { temp, elem, fold, inner, segment, value } => {
                    if let Some(segment) = segment {
                        self.segment(&at, segment, (*fold, inner), &scope);
                    }
                    let inside = self.enter(&at, &scope, inner);
                    self.uses(&at, *value, &inside);
                    self.fold(&at, *fold, *value);
                    let found = self.type_of(*value);
                    let is_arg = matches!(fold, Fold::ArgMax | Fold::ArgMin);
                    if !is_arg && computed_in(found) != computed_in(*elem) {
                        self.fault("K05", format!("{at}: a fold of {elem} over %{}, which is {found}", value.0));
                    }
                    if !scope.insert(Need::Temp(*temp)) {
                        self.fault("K02", format!("{at}: t{} has a value already", temp.0));
                    }
                }
                Stage::Running { fold, over, value, store, .. } => {
                    let inside = self.enter(&at, &scope, std::slice::from_ref(over));
                    self.uses(&at, *value, &inside);
                    self.fold(&at, *fold, *value);
                    self.store(&at, store, &inside);
                    if matches!(fold, Fold::ArgMax | Fold::ArgMin) {
                        self.fault("K05", format!("{at}: no running `{}`", fold.name()));
                    }
                }
            }
        }
    }

    /// K10.
    fn segment(&mut self, at: &str, segment: &Segment, (fold, inner): (Fold, &[Loop]), scope: &Scope) {
        for buffer in [segment.order, segment.offsets] {
            self.access(at, buffer, Access::Read, false);
            self.holds_i32(at, buffer);
        }
        self.uses_index(at, &segment.at, scope);
        if inner.len() != 1 || matches!(fold, Fold::ArgMax | Fold::ArgMin) {
            self.fault("K10", format!("{at}: `{}` over {} loops of a segment", fold.name(), inner.len()));
        }
    }

    fn fold(&mut self, at: &str, fold: Fold, value: ExprId) {
        let found = self.type_of(value);
        if matches!(fold, Fold::Any | Fold::All) != (found == Elem::Bool) {
            self.fault("K05", format!("{at}: `{}` of {found}", fold.name()));
        }
    }

    fn contract(&mut self, c: &Contract) {
        let at = "contract";
        let points = [c.batch.clone(), c.rows.clone()];
        let points = self.enter(at, &Scope::new(), &points);
        let sums = self.enter(at, &points, &c.sums);
        self.left(at, c.x, &sums);
        self.right(at, c.w, c.x);
        let of = |w: &Buffer| c.products.weight().is_none_or(|elem| elem == w.elem);
        let acc = accumulator(self.kernel);
        let sums = match c.products {
            Products::Interleaved => acc == Elem::F32,
            products if products.operand() == Some(Elem::I8) => acc == Elem::I32,
            _ => acc.is_float(),
        };
        if c.products != Products::One && !(sums && self.kernel.buffers.get(c.w.0 as usize).is_none_or(of)) {
            self.fault("K04", format!("{at}: products of other types than bf16 in floats, or i8 in i32"));
        }
        if let Some(b) = &c.blocks {
            self.access(at, b.scales, Access::Read, true);
            let elem = |id: BufferId| self.kernel.buffers.get(id.0 as usize).map(|b| b.elem);
            let is_of = match b.bits {
                8 => elem(c.w) == Some(Elem::I8),
                4 => elem(c.w) == Some(Elem::U8),
                _ => false,
            };
            let has_scales = matches!(elem(b.scales), Some(Elem::F16 | Elem::Bf16 | Elem::F32));
            if !is_of || !has_scales || accumulator(self.kernel) != Elem::F32 {
                self.fault("K04", format!("{at}: values of {} bits with such scales and sums", b.bits));
            }
            if b.size == 0 || i64::from(b.size) % b.steps_of_row() != 0 || c.products != Products::One {
                self.fault("K08", format!("{at}: blocks of {} elements", b.size));
            }
        }
        if let Some(g) = &c.grouping {
            self.extent(at, g.experts);
            for buffer in [g.order, g.offsets] {
                self.access(at, buffer, Access::Read, false);
                self.holds_i32(at, buffer);
            }
            if c.batch.extent != Extent::Known(1) {
                self.fault("K08", format!("{at}: a grouped contraction has no batch"));
            }
        }
        if c.groups == 0 {
            self.fault("K08", format!("{at}: no groups of accumulators"));
        }
        let mut scope = self.enter(at, &points, std::slice::from_ref(&c.cols));
        scope.extend((0..c.groups).map(Need::Acc));
        c.stores.iter().for_each(|s| self.store(at, s, &scope));
    }

    /// A left operand.
    fn left(&mut self, at: &str, x: ExprId, scope: &Scope) {
        let missing: Vec<String> = match self.needs.get(x.0 as usize) {
            None => return self.fault("K01", format!("{at}: there is no %{}", x.0)),
            Some(needs) => needs.difference(scope).map(|n| n.to_string()).collect(),
        };
        for need in missing {
            self.fault("K08", format!("{at}: the left operand varies with {need}"));
        }
        if !(self.type_of(x).is_float() || self.type_of(x) == Elem::I32) {
            self.fault("K04", format!("{at}: a left operand of {}", self.type_of(x)));
        }
    }

    /// A packed right operand.
    fn right(&mut self, at: &str, w: BufferId, x: ExprId) {
        self.access(at, w, Access::Read, true);
        if let Some(w) = self.kernel.buffers.get(w.0 as usize) {
            let wide = w.elem == Elem::F64 && accumulator(self.kernel) != Elem::F64;
            let is_exact = match accumulator(self.kernel) {
                Elem::I32 => matches!(w.elem, Elem::I8 | Elem::U8 | Elem::I32),
                _ => w.elem.is_float() || matches!(w.elem, Elem::I8 | Elem::U8),
            };
            if !is_exact || wide {
                self.fault("K04", format!("{at}: a right operand of {} for a left one of {}", w.elem, self.type_of(x)));
            }
        }
    }

    fn attend(&mut self, a: &Attend) {
        let at = "attend";
        if let Some(only) = a.only {
            let batch = self.enter(at, &Scope::new(), std::slice::from_ref(&a.batch));
            self.only(at, only, &batch);
        }
        let points = self.enter(at, &Scope::new(), &[a.batch.clone(), a.rows.clone()]);
        let sums = self.enter(at, &points, &a.sums);
        self.left(at, a.x, &sums);
        self.right(at, a.keys, a.x);
        self.right(at, a.values, a.x);
        if a.x.0 as usize >= self.kernel.exprs.len() {
            return;
        }
        if !self.kernel.is_even(a.x, &a.sums) {
            self.fault("K09", format!("{at}: the left operand is not read at equal distances"));
        }
        if a.block == 0 || !a.block.is_multiple_of(Attend::WIDEST_PANEL) {
            self.fault("K09", format!("{at}: blocks of {} elements", a.block));
        }
        let mut scores = self.enter(at, &points, std::slice::from_ref(&a.over));
        scores.insert(Need::Acc(Attend::PRODUCT));
        self.uses(at, a.score, &scores);
        if a.score.0 as usize >= self.kernel.exprs.len() {
            return;
        }
        let score = self.type_of(a.score);
        if !score.is_float() || computed_in(score) != accumulator(self.kernel) {
            self.fault("K05", format!("{at}: scores of {score}"));
        }
        let mut scope = self.enter(at, &points, std::slice::from_ref(&a.cols));
        scope.extend([Attend::WEIGHED, Attend::TOTAL].map(Need::Acc));
        a.stores.iter().for_each(|s| self.store(at, s, &scope));
    }

    fn holds_i32(&mut self, at: &str, buffer: BufferId) {
        let elem = self.kernel.buffers.get(buffer.0 as usize).map(|b| b.elem);
        if elem.is_some_and(|e| e != Elem::I32) {
            self.fault("K05", format!("{at}: b{} does not hold i32", buffer.0));
        }
    }

    fn top_k(&mut self, t: &TopK) {
        let at = "top_k";
        let rows = self.enter(at, &Scope::new(), &t.rows);
        let over = self.enter(at, &rows, std::slice::from_ref(&t.over));
        self.uses(at, t.value, &over);
        self.extent(at, t.k);
        let slot = Loop { var: t.slot, name: String::new(), extent: t.k };
        let slots = self.enter(at, &rows, &[slot]);
        self.uses_index(at, &t.index, &slots);
        self.access(at, t.buffer, Access::Write, false);
        self.holds_i32(at, t.buffer);
    }

    fn group_rows(&mut self, g: &GroupRows) {
        let at = "group_rows";
        let rows = self.enter(at, &Scope::new(), &g.rows);
        self.uses(at, g.expert, &rows);
        self.extent(at, g.experts);
        let elem = self.type_of(g.expert);
        if elem.is_float() || elem == Elem::Bool {
            self.fault("K07", format!("{at}: an expert of type {elem}"));
        }
        for buffer in [g.order, g.offsets] {
            self.access(at, buffer, Access::Write, false);
            self.holds_i32(at, buffer);
        }
    }
}
