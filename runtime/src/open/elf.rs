//! What an artifact's ELF file holds, read without loading it.

use std::collections::BTreeSet;

use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, elf};

use super::{OpenError, damaged};
use crate::format::{Isa, MANIFEST_SECTION, PTX_SECTION};

/// A range of the file, checked against its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileRange {
    pub start: usize,
    pub end: usize,
}

impl FileRange {
    pub(super) fn slice<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(self.start..self.end)
    }
}

/// The machine that a file's code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86,
    Aarch64,
    Other(u16),
}

impl Machine {
    fn of(e_machine: u16) -> Self {
        match e_machine {
            elf::EM_X86_64 => Self::X86,
            elf::EM_AARCH64 => Self::Aarch64,
            other => Self::Other(other),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::X86 => "x86_64".into(),
            Self::Aarch64 => "aarch64".into(),
            Self::Other(number) => format!("machine number {number}"),
        }
    }

    pub(super) fn is_this(self) -> bool {
        match self {
            Self::X86 => cfg!(target_arch = "x86_64"),
            Self::Aarch64 => cfg!(target_arch = "aarch64"),
            Self::Other(_) => false,
        }
    }

    pub(super) fn runs(self, isa: Isa) -> bool {
        match isa {
            Isa::X86 | Isa::X86V3 | Isa::X86V4 | Isa::X86V4Bf16 | Isa::X86V4Amx => self == Self::X86,
            Isa::Aarch64 => self == Self::Aarch64,
            Isa::Sm80 => true,
        }
    }
}

pub(super) struct Elf {
    pub machine: Machine,
    pub manifest: FileRange,
    pub ptx: Option<FileRange>,
    /// Functions that it exports.
    pub exports: BTreeSet<String>,
    /// Symbols and libraries that it wants from outside.
    pub needs: Vec<String>,
}

impl Elf {
    pub(super) fn parse(file: &[u8]) -> Result<Self, OpenError> {
        if file.is_empty() {
            return Err(OpenError::NotAnArtifact { why: "the file is empty".into() });
        }
        if !file.starts_with(&elf::ELFMAG) {
            return Err(OpenError::NotAnArtifact { why: "it is not an ELF file".into() });
        }
        if file.len() > elf_ident::CLASS
            && file.get(elf_ident::CLASS..=elf_ident::DATA) != Some(&[elf::ELFCLASS64, elf::ELFDATA2LSB])
        {
            return Err(OpenError::NotAnArtifact { why: "it is not a 64-bit little-endian ELF file".into() });
        }
        let parsed = ElfFile64::<Endianness>::parse(file).map_err(|e| damaged(&e.to_string()))?;
        let endian = parsed.endian();
        let header = parsed.elf_header();
        if header.e_type(endian) != elf::ET_DYN {
            return Err(OpenError::NotAnArtifact { why: "it is not a shared object".into() });
        }
        check_segments(&parsed, file.len())?;
        let manifest = section(&parsed, MANIFEST_SECTION, file.len())?.ok_or_else(|| OpenError::NotAnArtifact {
            why: format!("it has no section {MANIFEST_SECTION}, so gatec did not build it"),
        })?;
        let ptx = section(&parsed, PTX_SECTION, file.len())?;
        let mut exports = BTreeSet::new();
        let mut needs = libraries(&parsed)?;
        for symbol in parsed.dynamic_symbols() {
            let name = symbol.name().map_err(|e| damaged(&format!("symbol {}: {e}", symbol.index().0)))?;
            if symbol.is_undefined() {
                needs.push(format!("`{name}`"));
            } else if symbol.is_definition() {
                exports.insert(name.to_owned());
            }
        }
        Ok(Self { machine: Machine::of(header.e_machine(endian)), manifest, ptx, exports, needs })
    }
}

/// Offsets into the identification at the start of every ELF file.
mod elf_ident {
    pub const CLASS: usize = 4;
    pub const DATA: usize = 5;
}

/// The dynamic linker maps segments by these numbers: one beyond the file's end would fault when read.
fn check_segments(parsed: &ElfFile64<'_, Endianness>, file_bytes: usize) -> Result<(), OpenError> {
    let endian = parsed.endian();
    for (i, segment) in parsed.elf_program_headers().iter().enumerate() {
        let (offset, bytes) = (segment.p_offset(endian), segment.p_filesz(endian));
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= file_bytes as u64);
        if !inside {
            return Err(damaged(&format!(
                "segment {i} is {bytes} bytes at {offset}, the file has {file_bytes}: it was cut off"
            )));
        }
        if segment.p_type(endian) == elf::PT_LOAD && segment.p_memsz(endian) > crate::format::MAX_BYTES {
            return Err(damaged(&format!("segment {i} asks for {} bytes of memory", segment.p_memsz(endian))));
        }
    }
    Ok(())
}

fn section(parsed: &ElfFile64<'_, Endianness>, name: &str, file_bytes: usize) -> Result<Option<FileRange>, OpenError> {
    let Some(section) = parsed.section_by_name(name) else { return Ok(None) };
    let Some((offset, bytes)) = section.file_range() else {
        return Err(damaged(&format!("section {name} has no bytes")));
    };
    let end = offset.checked_add(bytes).filter(|end| *end <= file_bytes as u64).ok_or_else(|| {
        damaged(&format!("section {name} is {bytes} bytes at {offset}, the file has {file_bytes}: it was cut off"))
    })?;
    // Both fit `usize`: they are at most the file's size.
    Ok(Some(FileRange { start: offset as usize, end: end as usize }))
}

/// What the dynamic linker would fetch or run by itself: an artifact has nothing of the kind.
fn libraries(parsed: &ElfFile64<'_, Endianness>) -> Result<Vec<String>, OpenError> {
    let endian = parsed.endian();
    let mut needs = Vec::new();
    for segment in parsed.elf_program_headers() {
        let entries = segment.dynamic(endian, parsed.data()).map_err(|e| damaged(&format!("dynamic section: {e}")))?;
        for entry in entries.unwrap_or_default() {
            match entry.d_tag(endian) {
                DT_NEEDED => needs.push("a library".to_owned()),
                DT_INIT | DT_FINI | DT_INIT_ARRAY | DT_FINI_ARRAY | DT_PREINIT_ARRAY => {
                    needs.push("a function that runs on loading".to_owned());
                }
                _ => {}
            }
        }
    }
    Ok(needs)
}

const DT_NEEDED: u64 = elf::DT_NEEDED as u64;
const DT_INIT: u64 = elf::DT_INIT as u64;
const DT_FINI: u64 = elf::DT_FINI as u64;
const DT_INIT_ARRAY: u64 = elf::DT_INIT_ARRAY as u64;
const DT_FINI_ARRAY: u64 = elf::DT_FINI_ARRAY as u64;
const DT_PREINIT_ARRAY: u64 = elf::DT_PREINIT_ARRAY as u64;
