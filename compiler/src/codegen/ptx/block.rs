//! A block: its unit, its threads, what they share.

use inkwell::AddressSpace;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Linkage;
use inkwell::types::{BasicType, BasicTypeEnum};
use inkwell::values::{InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::Frame;
use crate::kernel::Loop;

const SHARED: u16 = 3;

pub struct Block<'ctx> {
    /// The number of the unit.
    pub unit: Val<'ctx>,
    /// The number of this thread in its block.
    pub thread: Val<'ctx>,
}

impl<'ctx> Block<'ctx> {
    pub fn new(e: &Emit<'ctx>, begin: Val<'ctx>) -> Self {
        let read = |name: &str| {
            let v = e.call_as(&format!("llvm.nvvm.read.ptx.sreg.{name}"), &[], &[]);
            e.cast(InstructionOpcode::ZExt, v, e.i64())
        };
        Self { unit: e.add(begin, read("ctaid.x")), thread: read("tid.x") }
    }

    /// Waits for all threads of the block; what they wrote is seen afterwards.
    pub fn wait(&self, e: &Emit<'ctx>) {
        // The first is the name in newer versions of LLVM.
        const NAMES: [&str; 2] = ["llvm.nvvm.barrier.cta.sync.aligned.all", "llvm.nvvm.barrier0"];
        if Intrinsic::find(NAMES[0]).is_some() {
            e.call_any(NAMES[0], &[], &[e.bits(e.int(32), 0)]);
        } else {
            e.call_any(NAMES[1], &[], &[]);
        }
    }

    /// Memory that the block shares: an array.
    pub fn shared(&self, e: &Emit<'ctx>, element: BasicTypeEnum<'ctx>, count: u32) -> PointerValue<'ctx> {
        let ty = element.array_type(count);
        let global = e.module.add_global(ty, Some(AddressSpace::from(SHARED)), "shared");
        global.set_linkage(Linkage::Internal);
        global.set_initializer(&ty.get_undef());
        global.set_alignment(16);
        global.as_pointer_value()
    }
}

/// The product of loops' extents.
pub fn product<'ctx>(frame: &Frame<'_, 'ctx>, loops: &[Loop]) -> Val<'ctx> {
    loops.iter().fold(frame.emit.index(1), |n, l| frame.emit.mul(n, frame.extent(l.extent)))
}

/// Sets the variables of loops from a linear index over them.
pub fn unfold<'ctx>(frame: &mut Frame<'_, 'ctx>, loops: &[Loop], index: Val<'ctx>) {
    let e = frame.emit;
    let mut rest = index;
    for (i, l) in loops.iter().enumerate().rev() {
        if i == 0 {
            frame.vars.insert(l.var, rest);
        } else {
            let extent = frame.extent(l.extent);
            frame.vars.insert(l.var, e.urem(rest, extent));
            rest = e.udiv(rest, extent);
        }
    }
    frame.forget();
}
