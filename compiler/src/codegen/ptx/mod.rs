//! Kernels for GPUs: PTX text of the lowest version that its instructions need, for every device from sm_80 on.
//!
//! The same Kernel IR, expressions and vector functions as on CPUs; what differs is who does what. A block computes one unit of
//! its kernel's [`Gpu`] schedule, see [`abi`](gatec_runtime::format::abi) for what it gets.

mod block;
mod contract;
mod fma;
mod group;
mod mma;
mod nest;
mod pieces;

use std::sync::Once;

use gatec_runtime::format::Isa;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use inkwell::types::BasicMetadataTypeEnum;
use inkwell::values::BasicValueEnum;
use inkwell::{AddressSpace, OptimizationLevel};

use super::llvm::emit::Emit;
use super::llvm::expr::Frame;
use super::llvm::loops::Range;
use super::llvm::top_k;
use super::{CodegenError, PASSES, Scheduled};
use crate::kernel::{Body, Kernel};
use crate::schedule::{BodySchedule, GPU_THREADS, Gpu, Schedule};
use block::Block;

const TRIPLE: &str = "nvptx64-nvidia-cuda";
const PROCESSOR: &str = "sm_80";
/// PTX 7.0 is the first that knows sm_80: drivers from CUDA 11.0 on take it.
const FEATURES: &str = "+ptx70";
/// LLVM's number of the calling convention of kernels.
const PTX_KERNEL: u32 = 71;
const GLOBAL: u16 = 1;

/// Compiles kernels to one PTX text.
pub fn compile(kernels: &[Scheduled]) -> Result<String, CodegenError> {
    let context = Context::create();
    let (module, machine) = build(&context, kernels)?;
    let text =
        machine.write_to_memory_buffer(&module, FileType::Assembly).map_err(|e| CodegenError::Llvm(e.to_string()))?;
    Ok(without_comments(&String::from_utf8_lossy(text.as_slice())))
}

/// The text is part of every artifact: LLVM's remarks to readers, and indentation, are not.
fn without_comments(text: &str) -> String {
    let lines = text.trim_end_matches('\0').lines();
    let lines = lines.map(|l| l.split("//").next().unwrap_or_default().trim()).filter(|l| !l.is_empty());
    lines.flat_map(|l| [l, "\n"]).collect()
}

fn build<'ctx>(context: &'ctx Context, kernels: &[Scheduled]) -> Result<(Module<'ctx>, TargetMachine), CodegenError> {
    static INITIALIZE: Once = Once::new();
    INITIALIZE.call_once(|| Target::initialize_nvptx(&InitializationConfig::default()));
    let failed = |e: &dyn ToString| CodegenError::Llvm(e.to_string());
    let triple = TargetTriple::create(TRIPLE);
    let target = Target::from_triple(&triple).map_err(|e| failed(&e))?;
    let machine = target
        .create_target_machine(
            &triple,
            PROCESSOR,
            FEATURES,
            OptimizationLevel::Default,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| CodegenError::Llvm(format!("no target machine for {TRIPLE}")))?;
    let module = context.create_module("gatec");
    module.set_triple(&triple);
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    let emit = Emit { context, module, builder: context.create_builder(), isa: Isa::Sm80, lanes: 1 };
    for (symbol, kernel, schedule) in kernels {
        entry(&emit, symbol, kernel, schedule);
    }
    let module = emit.module;
    module.verify().map_err(|e| failed(&e))?;
    module.run_passes(PASSES, &machine, PassBuilderOptions::create()).map_err(|e| failed(&e))?;
    Ok((module, machine))
}

/// Emits the entry `symbol` for a kernel.
fn entry<'ctx>(emit: &Emit<'ctx>, symbol: &str, kernel: &Kernel, schedule: &Schedule) {
    let global = emit.context.ptr_type(AddressSpace::from(GLOBAL));
    let i64 = emit.i64();
    let mut params: Vec<BasicMetadataTypeEnum> = vec![global.into(); kernel.buffers.len()];
    params.extend(std::iter::repeat_n(BasicMetadataTypeEnum::from(i64), kernel.dims as usize + 1));
    params.extend([BasicMetadataTypeEnum::from(global); 2]);
    let ty = emit.context.void_type().fn_type(&params, false);
    let function = emit.module.add_function(symbol, ty, None);
    function.set_call_conventions(PTX_KERNEL);
    emit.mark(function);
    let most = emit.context.create_string_attribute("nvvm.maxntid", &GPU_THREADS.to_string());
    function.add_attribute(inkwell::attributes::AttributeLoc::Function, most);
    // Else the assembler would rather spill than let fewer blocks share a multiprocessor.
    let least = emit.context.create_string_attribute("nvvm.minctasm", "1");
    function.add_attribute(inkwell::attributes::AttributeLoc::Function, least);
    emit.builder.position_at_end(emit.context.append_basic_block(function, "entry"));

    let params: Vec<BasicValueEnum> = function.get_param_iter().collect();
    let (buffers, rest) = params.split_at(kernel.buffers.len());
    let (dims, rest) = rest.split_at(kernel.dims as usize);
    let [begin, scratch, failed] = rest else { unreachable!("three parameters follow the sizes") };
    let buffers = buffers.iter().map(|b| b.into_pointer_value()).collect();
    let mut frame = Frame::new(emit, kernel, buffers, dims.to_vec(), failed.into_pointer_value());
    let block = Block::new(emit, *begin);
    // The point of a thread, for those that work alone.
    let alone = |frame: &Frame<'_, 'ctx>, loops: &[crate::kernel::Loop]| {
        let at = emit.add(emit.mul(block.unit, emit.index(i64::from(GPU_THREADS))), block.thread);
        let total = block::product(frame, loops);
        let end = emit.min(emit.add(at, emit.index(1)), total);
        Range { begin: at, end, scratch: scratch.into_pointer_value() }
    };
    match (&kernel.body, &schedule.body) {
        (Body::Nest(nest), BodySchedule::Gpu(Gpu::Elements)) => nest::elements(&mut frame, nest, &block),
        (Body::Nest(nest), BodySchedule::Gpu(Gpu::Row)) => nest::row(&mut frame, nest, &block),
        (Body::Nest(nest), BodySchedule::Gpu(Gpu::Points)) => {
            let range = alone(&frame, &nest.outer);
            super::llvm::nest::nest(&mut frame, nest, crate::schedule::Along::Nothing, range);
        }
        (Body::TopK(top_k), BodySchedule::Gpu(Gpu::Points)) => {
            let range = alone(&frame, &top_k.rows);
            top_k::top_k(&mut frame, top_k, range);
        }
        (Body::GroupRows(rows), BodySchedule::Gpu(Gpu::Block)) => group::group_rows(&mut frame, rows, &block),
        (Body::Contract(contract), BodySchedule::Gpu(Gpu::Contract(tile))) => {
            contract::contract(&mut frame, contract, tile, &block);
        }
        (body, schedule) => unreachable!("{body:?} scheduled as {schedule:?}"),
    }
    emit.builder.build_return(None).expect("the function returns nothing");
}
