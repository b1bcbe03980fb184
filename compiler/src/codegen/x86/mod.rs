//! Kernels for CPUs: one exported function each.

mod contract;
mod micro;
pub(super) mod nest;
mod prologue;
pub mod roof;
pub(super) mod select;
mod tall;
#[cfg(test)]
mod tests;

use inkwell::types::BasicType;
use inkwell::values::{BasicValueEnum, FunctionValue, PointerValue};

use super::llvm::emit::{Emit, Val};
use super::llvm::expr::Frame;
use crate::kernel::{Body, Extent, Kernel, Loop, Var};
use crate::schedule::{BodySchedule, Schedule};

pub use micro::{Micros, smallest};

/// What a kernel's function gets beside buffers and sizes.
#[derive(Clone, Copy)]
pub(super) struct Range<'ctx> {
    pub begin: Val<'ctx>,
    pub end: Val<'ctx>,
    pub scratch: PointerValue<'ctx>,
}

/// Emits the function `symbol` for a kernel.
pub fn kernel<'ctx>(
    emit: &Emit<'ctx>,
    micros: &mut Micros<'ctx>,
    symbol: &str,
    kernel: &Kernel,
    schedule: &Schedule,
) -> FunctionValue<'ctx> {
    let (pointer, i64) = (emit.pointer(), emit.i64());
    let ty = emit.int(32).fn_type(&[pointer.into(), pointer.into(), i64.into(), i64.into(), pointer.into()], false);
    let function = emit.module.add_function(symbol, ty, None);
    emit.mark(function);
    let params: Vec<BasicValueEnum> = function.get_param_iter().collect();
    let entry = emit.context.append_basic_block(function, "entry");
    emit.builder.position_at_end(entry);
    let (args, dims) = (params[0].into_pointer_value(), params[1].into_pointer_value());
    let buffers = (0..kernel.buffers.len())
        .map(|i| emit.load(pointer, emit.at(args, pointer, emit.index(i as i64))).into_pointer_value())
        .collect();
    let dims = (0..kernel.dims).map(|i| emit.load(i64, emit.at(dims, i64, emit.index(i64::from(i))))).collect();
    let fault = emit.variable(function, emit.int(32));
    emit.store(emit.bits(emit.int(32), 0), fault);
    let range = Range { begin: params[2], end: params[3], scratch: params[4].into_pointer_value() };
    let mut frame = Frame::new(emit, kernel, buffers, dims, fault);
    match (&kernel.body, &schedule.body) {
        (Body::Nest(nest), BodySchedule::Nest(along)) => nest::nest(&mut frame, nest, *along, range),
        (Body::Contract(contract), BodySchedule::Contract(tile)) => {
            contract::contract(&mut frame, micros, contract, tile, range);
        }
        (Body::TopK(top_k), BodySchedule::Ranked) => select::ranked_top_k(&mut frame, top_k, range),
        (Body::TopK(top_k), _) => select::top_k(&mut frame, top_k, range),
        (Body::GroupRows(group), _) => select::group_rows(&mut frame, group),
        (body, schedule) => unreachable!("{body:?} scheduled as {schedule:?}"),
    }
    let fault = emit.load(emit.int(32), fault);
    emit.builder.build_return(Some(&fault)).expect("the function returns i32");
    function
}

/// Runs `body` for each unit of `begin..end`, the linear index over `loops`, with their variables set. They are counted up, not
/// divided anew.
pub(super) fn for_units<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    loops: &[Loop],
    range: Range<'ctx>,
    body: impl FnOnce(&mut Frame<'a, 'ctx>),
) {
    let e = frame.emit;
    let function = e.function();
    let variables: Vec<(Var, Extent, PointerValue)> =
        loops.iter().map(|l| (l.var, l.extent, e.variable(function, e.i64()))).collect();
    // Where the first unit stands.
    let mut rest = range.begin;
    for (_, extent, variable) in variables.iter().rev() {
        let extent = frame.extent(*extent);
        // An empty loop has no units: nothing is divided by it.
        let safe = e.select(e.icmp(inkwell::IntPredicate::EQ, extent, e.index(0)), e.index(1), extent);
        e.store(e.urem(rest, safe), *variable);
        rest = e.udiv(rest, safe);
    }
    e.each(range.begin, range.end, 1, |_| {
        for (var, _, variable) in &variables {
            let at = e.load(e.i64(), *variable);
            frame.vars.insert(*var, at);
        }
        frame.forget();
        body(frame);
        frame.forget();
        count_up(frame, &variables);
    });
    frame.forget();
}

/// The next point, innermost variable first.
fn count_up<'ctx>(frame: &Frame<'_, 'ctx>, variables: &[(Var, Extent, PointerValue<'ctx>)]) {
    let Some(((_, extent, variable), outer)) = variables.split_last() else { return };
    let e = frame.emit;
    let next = e.add(e.load(e.i64(), *variable), e.index(1));
    e.store(next, *variable);
    if !outer.is_empty() {
        let wrapped = e.icmp(inkwell::IntPredicate::SGE, next, frame.extent(*extent));
        e.when(wrapped, || {
            e.store(e.index(0), *variable);
            count_up(frame, outer);
        });
    }
}

/// Runs `body` over nested loops, outermost first.
pub(super) fn nested<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    loops: &[Loop],
    body: &mut dyn FnMut(&mut Frame<'a, 'ctx>),
) {
    match loops.split_first() {
        None => {
            frame.forget();
            body(frame);
        }
        Some((l, rest)) => {
            let e = frame.emit;
            let end = frame.extent(l.extent);
            e.each(e.index(0), end, 1, |i| {
                frame.vars.insert(l.var, i);
                nested(frame, rest, body);
            });
            frame.forget();
        }
    }
}
