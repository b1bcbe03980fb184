//! Code generation: scheduled kernels to object code. The only folder that names LLVM.

pub mod llvm;
pub mod math;
pub mod ptx;
pub mod x86;

use std::sync::Once;

use gatec_runtime::format::Isa;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use thiserror::Error;

use crate::kernel::Kernel;
use crate::schedule::Schedule;
use llvm::emit::Emit;

/// A kernel with its symbol and schedule.
pub type Scheduled = (String, Kernel, Schedule);

/// Why code could not be generated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodegenError {
    #[error("LLVM: {0}")]
    Llvm(String),
}

/// What `--emit` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Llvm,
    Assembly,
}

/// Explicit vectors need little: variables into registers, common subexpressions, invariant code out of loops. The
/// whole of `-O3` takes ten times as long and finds no more.
const PASSES: &str = "sroa,early-cse<memssa>,loop-mssa(licm),instcombine<no-verify-fixpoint>,early-cse,simplifycfg";

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Compiles kernels for x86-64 to one relocatable ELF object.
pub fn compile(kernels: &[Scheduled]) -> Result<Vec<u8>, CodegenError> {
    let context = Context::create();
    let (module, machine) = build(&context, kernels)?;
    let object =
        machine.write_to_memory_buffer(&module, FileType::Object).map_err(|e| CodegenError::Llvm(e.to_string()))?;
    Ok(object.as_slice().to_vec())
}

/// The code of kernels as text.
pub fn text(kernels: &[Scheduled], text: Text) -> Result<String, CodegenError> {
    let context = Context::create();
    let (module, machine) = build(&context, kernels)?;
    match text {
        Text::Llvm => Ok(module.print_to_string().to_string()),
        Text::Assembly => {
            let assembly = machine.write_to_memory_buffer(&module, FileType::Assembly);
            let assembly = assembly.map_err(|e| CodegenError::Llvm(e.to_string()))?;
            Ok(String::from_utf8_lossy(assembly.as_slice()).into_owned())
        }
    }
}

/// The kernels that measure a machine, for one kind of processor: `peak` and `read` of [`x86::roof`].
pub fn roof(isa: Isa) -> Result<Vec<u8>, CodegenError> {
    let context = Context::create();
    let (module, machine) = empty(&context)?;
    let emit =
        Emit { context: &context, module, builder: context.create_builder(), isa, lanes: crate::schedule::lanes(isa) };
    x86::roof::peak(&emit, "peak");
    x86::roof::read(&emit, "read");
    if crate::schedule::has_tiles(isa) {
        x86::roof::tiles(&emit, "tiles");
    }
    let module = emit.module;
    optimize(&module, &machine)?;
    let object =
        machine.write_to_memory_buffer(&module, FileType::Object).map_err(|e| CodegenError::Llvm(e.to_string()))?;
    Ok(object.as_slice().to_vec())
}

fn build<'ctx>(context: &'ctx Context, kernels: &[Scheduled]) -> Result<(Module<'ctx>, TargetMachine), CodegenError> {
    let (mut module, machine) = empty(context)?;
    let mut isas: Vec<(Isa, u32)> = kernels.iter().map(|(_, _, schedule)| (schedule.isa, schedule.lanes)).collect();
    isas.sort();
    isas.dedup();
    for (isa, lanes) in isas {
        let emit = Emit { context, module, builder: context.create_builder(), isa, lanes };
        let mut micros = x86::Micros::default();
        for (symbol, kernel, schedule) in kernels.iter().filter(|(_, _, s)| (s.isa, s.lanes) == (isa, lanes)) {
            x86::kernel(&emit, &mut micros, symbol, kernel, schedule);
        }
        module = emit.module;
    }
    optimize(&module, &machine)?;
    Ok((module, machine))
}

/// A module for x86-64 and what turns it into code; functions say which instructions they may use.
fn empty(context: &Context) -> Result<(Module<'_>, TargetMachine), CodegenError> {
    static INITIALIZE: Once = Once::new();
    INITIALIZE.call_once(|| Target::initialize_x86(&InitializationConfig::default()));
    let triple = TargetTriple::create(TRIPLE);
    let target = Target::from_triple(&triple).map_err(|e| CodegenError::Llvm(e.to_string()))?;
    let machine = target
        .create_target_machine(&triple, "x86-64", "", OptimizationLevel::Default, RelocMode::PIC, CodeModel::Default)
        .ok_or_else(|| CodegenError::Llvm(format!("no target machine for {TRIPLE}")))?;
    let module = context.create_module("gatec");
    module.set_triple(&triple);
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    Ok((module, machine))
}

fn optimize(module: &Module, machine: &TargetMachine) -> Result<(), CodegenError> {
    let failed = |e: &dyn ToString| CodegenError::Llvm(e.to_string());
    module.verify().map_err(|e| failed(&e))?;
    module.run_passes(PASSES, machine, PassBuilderOptions::create()).map_err(|e| failed(&e))
}
