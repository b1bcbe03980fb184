//! What a kernel tells of an index out of range: that there was one, and on CPUs which, what it is and where.

use gatec_runtime::format::abi::{FAULT_NUMBERS, FAULT_VARS};
use inkwell::IntPredicate;
use inkwell::values::BasicValueEnum;

use super::emit::Val;
use super::expr::Frame;
use crate::kernel::{ExprId, Var};

impl<'ctx> Frame<'_, 'ctx> {
    /// Tells of `index`, an i64 in each lane, where it is `outside`. What is told is about the first one, the lowest lane of several.
    pub fn tell(&self, expr: ExprId, index: Val<'ctx>, outside: Val<'ctx>) {
        let e = self.emit;
        let i32 = e.int(32);
        let any = if outside.is_vector_value() { e.call("llvm.vector.reduce.or", &[outside]) } else { outside };
        e.when(any, || {
            if self.told.is_some() {
                let is_first = e.icmp(IntPredicate::EQ, e.load(i32, self.fault), e.bits(i32, 0));
                e.when(is_first, || self.tell_first(expr, index, outside));
            }
            e.store(e.bits(i32, 1), self.fault);
        });
    }

    fn tell_first(&self, expr: ExprId, index: Val<'ctx>, outside: Val<'ctx>) {
        let e = self.emit;
        let Some(told) = self.told else { return };
        let put = |number: usize, value: Val<'ctx>| e.store(value, e.at(told, e.i64(), e.index(number as i64)));
        let lane = match outside {
            BasicValueEnum::VectorValue(v) => {
                let lanes = e.iota(v.get_type().get_size());
                let none = e.same(lanes, f64::from(v.get_type().get_size()));
                e.call("llvm.vector.reduce.umin", &[e.select(outside, lanes, none)])
            }
            _ => e.index(0),
        };
        put(0, e.index(i64::from(expr.0)));
        put(1, e.lane_at(index, lane));
        for var in (0..self.kernel.vars).map(Var).take(FAULT_NUMBERS - FAULT_VARS) {
            if self.kernel.mentions(expr, var) {
                let value = match self.lanes {
                    Some(lanes) if lanes.var == var => Some(e.add(lanes.first, lane)),
                    _ => self.vars.get(&var).copied(),
                };
                put(FAULT_VARS + var.0 as usize, value.unwrap_or(e.index(-1)));
            }
        }
    }
}
