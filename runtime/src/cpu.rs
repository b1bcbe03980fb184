//! Which variants of an artifact this processor can run.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use crate::format::Isa;

/// Can this processor run code for `isa`? GPUs are not asked here.
pub fn supports(isa: Isa) -> bool {
    match isa {
        Isa::Sm80 => false,
        _ => cpu_supports(isa),
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_supports(isa: Isa) -> bool {
    let v3 = || {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi2")
    };
    let v4 = || {
        v3() && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
    };
    match isa {
        Isa::X86 => true,
        Isa::X86V3 => v3(),
        Isa::X86V4 => v4(),
        Isa::X86V4Amx => cpu_supports(Isa::X86V4Bf16) && may_use_tiles(),
        Isa::X86V4Bf16 => v4() && is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni"),
        Isa::Aarch64 | Isa::Sm80 => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn cpu_supports(isa: Isa) -> bool {
    isa == Isa::Aarch64
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_supports(_: Isa) -> bool {
    false
}

/// The variants that this processor can run, best first.
pub fn supported() -> impl Iterator<Item = Isa> {
    let mut all: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| supports(*isa)).collect();
    if !multiplies_pairs_fast()
        && let Some(pairs) = all.iter().position(|isa| *isa == Isa::X86V4Bf16)
    {
        // Right after it stands what it needs.
        all.swap(pairs, pairs + 1);
    }
    all.into_iter()
}

/// Has the processor tiles of bf16 and of i8 (AMX), and does the system let this process use them? Linux wants to be asked, once for all
/// threads: their state is larger than what it keeps room for otherwise.
#[cfg(target_arch = "x86_64")]
fn may_use_tiles() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        const AMX_INT8: u32 = 1 << 25;
        let has = |bit: u32| cpuid(7).edx & bit != 0;
        cpuid(0).eax >= 7 && [AMX_BF16, AMX_TILE, AMX_INT8].into_iter().all(has) && allows_tiles()
    })
}

/// Asks for the permission. Systems that know no AMX refuse.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code, reason = "asks the kernel")]
fn allows_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn allows_tiles() -> bool {
    false
}

/// A leaf of what the processor says of itself; 0 is always there, and tells the highest.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "reads what processor this is")]
#[allow(unused_unsafe, reason = "needed by rust-version, safe in newer compilers")]
fn cpuid(leaf: u32) -> std::arch::x86_64::CpuidResult {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { std::arch::x86_64::__cpuid_count(leaf, 0) }
}

/// Are products of pairs of bf16 (AVX-512 BF16) faster than those of f32? On Zen 4 they take half of the time; on Intel, whose
/// tiles (AMX) are there for them, 1.6 times it (measured on family 6, model 207).
#[cfg(target_arch = "x86_64")]
fn multiplies_pairs_fast() -> bool {
    let vendor = cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() != b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplies_pairs_fast() -> bool {
    true
}

/// The processor's architecture, as an artifact names it.
pub const ARCHITECTURE: &str = std::env::consts::ARCH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_runs_a_level_runs_the_levels_below() {
        if supports(Isa::X86V4Amx) {
            assert!(supports(Isa::X86V4Bf16));
        }
        if supports(Isa::X86V4Bf16) {
            assert!(supports(Isa::X86V4));
        }
        if supports(Isa::X86V4) {
            assert!(supports(Isa::X86V3));
        }
        if supports(Isa::X86V3) {
            assert!(supports(Isa::X86));
        }
        assert!(supported().all(|isa| isa != Isa::Sm80));
    }
}
