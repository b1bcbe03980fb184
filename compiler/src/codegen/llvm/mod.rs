//! What all targets of LLVM share: values and expressions, loops, and the kernels that one thread computes alone.

mod access;
mod across;
mod ahead;
mod elem;
pub mod emit;
pub mod expr;
mod fault;
pub mod loops;
mod memory;
pub mod nest;
mod sorted;
mod together;
pub mod top_k;
pub mod turned;

use gatec_runtime::format::Isa;

/// LLVM's name of a processor, what it has beyond that name, and the vectors it should prefer.
pub(super) fn processor(isa: Isa) -> Option<(&'static str, &'static str, &'static str)> {
    match isa {
        Isa::X86V4Amx => Some(("x86-64-v4", "+avx512bf16,+amx-tile,+amx-bf16,+amx-int8", "512")),
        Isa::X86V4Bf16 => Some(("x86-64-v4", "+avx512bf16,+avx512vnni", "512")),
        Isa::X86V4 => Some(("x86-64-v4", "", "512")),
        Isa::X86V3 => Some(("x86-64-v3", "", "256")),
        Isa::X86 => Some(("x86-64", "", "128")),
        Isa::Aarch64 | Isa::Sm80 => None,
    }
}
