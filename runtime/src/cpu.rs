//! Which variants of an artifact this processor can run.

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
        Isa::X86V4Bf16 => v4() && is_x86_feature_detected!("avx512bf16"),
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
    if matches!(all[..], [Isa::X86V4Bf16, Isa::X86V4, ..]) && !multiplies_pairs_fast() {
        all.swap(0, 1);
    }
    all.into_iter()
}

/// Are products of pairs of bf16 (AVX-512 BF16) faster than those of f32? On Zen 4 they take half of the time; on Intel, whose
/// tiles (AMX) are there for them, 1.6 times it (measured on family 6, model 207).
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "reads what processor this is")]
#[allow(unused_unsafe, reason = "needed by rust-version, safe in newer compilers")]
fn multiplies_pairs_fast() -> bool {
    // SAFETY: every x86-64 processor has the instruction.
    let vendor = unsafe { std::arch::x86_64::__cpuid(0) };
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
