//! Kernels for CPUs: one exported function each.

mod attend;
mod contract;
mod group;
mod mask;
mod micro;
mod prologue;
mod quantized;
pub mod roof;
mod tall;
#[cfg(test)]
mod tests;
mod tile;

use gatec_runtime::format::abi::FAULT_NUMBERS;
use inkwell::types::BasicType;
use inkwell::values::{BasicValueEnum, FunctionValue};

use super::llvm::emit::Emit;
use super::llvm::expr::Frame;
use super::llvm::loops::Range;
use super::llvm::{nest, top_k};
use crate::kernel::{Body, Kernel};
use crate::schedule::{BodySchedule, Schedule};

pub use micro::Micros;

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
    let before_scratch = emit.at(params[4].into_pointer_value(), i64, emit.index(-(FAULT_NUMBERS as i64)));
    let mut frame = Frame::new(emit, kernel, buffers, dims, fault);
    frame.told = Some(before_scratch);
    match (&kernel.body, &schedule.body) {
        (Body::Nest(nest), BodySchedule::Nest(along)) => nest::nest(&mut frame, nest, *along, range),
        (Body::Contract(contract), BodySchedule::Contract(tile)) => {
            contract::contract(&mut frame, micros, contract, tile, range);
        }
        (Body::Attend(attend), BodySchedule::Attend(tile)) => attend::attend(&mut frame, micros, attend, tile, range),
        (Body::TopK(top_k), BodySchedule::Ranked { sorted }) => {
            top_k::ranked_top_k(&mut frame, top_k, *sorted, range);
        }
        (Body::TopK(top_k), _) => top_k::top_k(&mut frame, top_k, range),
        (Body::GroupRows(group), _) => group::group_rows(&mut frame, group),
        (body, schedule) => unreachable!("{body:?} scheduled as {schedule:?}"),
    }
    let fault = emit.load(emit.int(32), fault);
    emit.builder.build_return(Some(&fault)).expect("the function returns i32");
    function
}
