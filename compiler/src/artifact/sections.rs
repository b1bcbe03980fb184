//! The object that carries manifest and PTX.

use gatec_runtime::format::{MANIFEST_SECTION, PTX_SECTION};
use gatec_runtime::open::ptx_bytes;
use object::elf::SHF_ALLOC;
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind};

/// An object for the same machine as `kernels` with a read-only, loaded section for each.
pub(super) fn object(kernels: &[u8], manifest: &[u8], ptx: Option<&str>) -> Result<Vec<u8>, object::write::Error> {
    let mut object = Object::new(BinaryFormat::Elf, architecture(kernels), Endianness::Little);
    let mut add = |name: &str, bytes: &[u8]| {
        let section = object.add_section(Vec::new(), name.into(), SectionKind::ReadOnlyData);
        object.section_mut(section).flags = SectionFlags::Elf { sh_flags: u64::from(SHF_ALLOC) };
        object.append_section_data(section, bytes, 16);
    };
    add(MANIFEST_SECTION, manifest);
    if let Some(text) = ptx {
        add(PTX_SECTION, &ptx_bytes(text));
    }
    // Without this note a linker assumes that the code wants an executable stack.
    object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Note);
    object.write()
}

/// From the ELF header; the linker refuses whatever else is wrong with it.
fn architecture(kernels: &[u8]) -> Architecture {
    const MACHINE: std::ops::Range<usize> = 18..20;
    let number = kernels.get(MACHINE).map(|bytes| bytes.iter().rev().fold(0, |n, b| n << 8 | u16::from(*b)));
    match number {
        Some(object::elf::EM_AARCH64) => Architecture::Aarch64,
        _ => Architecture::X86_64,
    }
}
