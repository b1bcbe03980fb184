//! The tile registers of AMX. Nothing else knows how they are used: by the instructions, or, for tests on processors that have none, by
//! others that do the same to stand-ins in memory.
//!
//! Registers are named by their numbers: code then has its tiles where it says, no pass of LLVM moves or spills them, and a share
//! of the work sets their sizes once for all its microkernels. (Where LLVM chooses registers, every function that has tiles sets sizes
//! itself.) All tiles have 64 bytes in a row; those of sums and of left operands have as many rows as there are, those of
//! right operands 16, one for each pair of steps.
//!
//! The stand-ins add as the processor does: 16 pairs from zero on by fused multiply-adds, first and second ones apart, then both, then to
//! what was there. They differ in one thing: they keep denormals, which the processor takes and leaves as zeros.

use inkwell::types::BasicType;
use inkwell::values::{InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use crate::schedule;

/// The first of six registers for sums, one for a left operand, one for a right one: a processor renames them, so that the next load does
/// not wait for the products of the last.
pub const SUMS: u32 = 0;
pub const SUM_REGISTERS: u32 = schedule::Tiles::AT_ONCE;
pub const LEFT: u32 = SUM_REGISTERS;
pub const RIGHT: u32 = LEFT + 1;
const REGISTERS: u32 = 8;

/// Bytes of a row, of a configuration, of a stand-in.
const ROW: i64 = 64;
const CONFIGURATION: u32 = 64;
const REGISTER: u32 = 1024;
/// In a configuration: bytes of a row, two bytes for each register, and rows, one byte for each.
const COLUMNS_AT: usize = 16;
const ROWS_AT: usize = 48;

/// The registers; `memory` is their configuration, with stand-ins behind it.
#[derive(Clone, Copy)]
pub struct Registers<'ctx> {
    pub how: schedule::Tiles,
    /// Four i8 in a word, sums in i32; else pairs of bf16, sums in f32.
    pub bytes: bool,
    pub memory: PointerValue<'ctx>,
}

impl<'ctx> Registers<'ctx> {
    /// Those of a kernel.
    pub fn new(e: &Emit<'ctx>, how: schedule::Tiles, bytes: bool) -> Self {
        let size = match how {
            schedule::Tiles::Registers => CONFIGURATION,
            schedule::Tiles::Memory => CONFIGURATION + REGISTERS * REGISTER,
        };
        Self { how, bytes, memory: e.variable(e.function(), e.int(8).array_type(size).into()) }
    }

    /// Sets sizes: `rows` of sums and of left operands.
    pub fn configure(&self, e: &Emit<'ctx>, rows: Val<'ctx>) {
        let mut bytes = [0u8; CONFIGURATION as usize];
        bytes[0] = 1;
        for register in 0..REGISTERS as usize {
            bytes[COLUMNS_AT + 2 * register] = ROW as u8;
            bytes[ROWS_AT + register] = schedule::Tiles::ROWS as u8;
        }
        let bytes: Vec<Val> = bytes.into_iter().map(|byte| e.bits(e.int(8), u64::from(byte))).collect();
        e.store(e.constant_vector(&bytes), self.memory);
        let rows = e.cast(InstructionOpcode::Trunc, rows, e.int(8));
        for register in SUMS..RIGHT {
            e.store(rows, self.rows_of(e, register));
        }
        if self.how == schedule::Tiles::Registers {
            e.call_any("llvm.x86.ldtilecfg", &[], &[self.memory.into()]);
        }
    }

    /// Gives them back: a thread that holds tiles is dearer to interrupt.
    pub fn release(&self, e: &Emit<'ctx>) {
        if self.how == schedule::Tiles::Registers {
            e.call_any("llvm.x86.tilerelease", &[], &[]);
        }
    }

    pub fn zero(&self, e: &Emit<'ctx>, register: u32) {
        match self.how {
            schedule::Tiles::Registers => drop(e.call_any("llvm.x86.tilezero", &[], &[number(e, register)])),
            schedule::Tiles::Memory => self.zeros(e, register, e.index(0)),
        }
    }

    /// Loads rows that begin `apart` bytes from each other.
    pub fn load(&self, e: &Emit<'ctx>, register: u32, from: PointerValue<'ctx>, apart: Val<'ctx>) {
        match self.how {
            schedule::Tiles::Registers => self.move_rows(e, "llvm.x86.tileloadd64", register, from, apart),
            schedule::Tiles::Memory => {
                let rows = self.rows(e, register);
                e.each(e.index(0), rows, 1, |row| {
                    let v = e.load(words(e), e.at(from, e.int(8), e.mul(row, apart)));
                    e.store(v, self.row(e, register, row));
                });
                self.zeros(e, register, rows);
            }
        }
    }

    pub fn store(&self, e: &Emit<'ctx>, register: u32, to: PointerValue<'ctx>, apart: Val<'ctx>) {
        match self.how {
            schedule::Tiles::Registers => self.move_rows(e, "llvm.x86.tilestored64", register, to, apart),
            schedule::Tiles::Memory => {
                e.each(e.index(0), self.rows(e, register), 1, |row| {
                    let v = e.load(words(e), self.row(e, register, row));
                    e.store(v, e.at(to, e.int(8), e.mul(row, apart)));
                });
            }
        }
    }

    /// Adds to `sums` the products of `left` and `right`.
    pub fn add_products(&self, e: &Emit<'ctx>, sums: u32, left: u32, right: u32) {
        match self.how {
            schedule::Tiles::Registers => {
                let name = if self.bytes { "llvm.x86.tdpbssd" } else { "llvm.x86.tdpbf16ps" };
                e.call_any(name, &[], &[sums, left, right].map(|register| number(e, register)));
            }
            schedule::Tiles::Memory if self.bytes => self.add_products_of_bytes(e, sums, left, right),
            schedule::Tiles::Memory => self.add_products_of_halves(e, sums, left, right),
        }
    }

    fn add_products_of_bytes(&self, e: &Emit<'ctx>, sums: u32, left: u32, right: u32) {
        let rows = self.rows(e, sums);
        // The byte of each word that is so many bits up, with its sign.
        let byte = |words: Val<'ctx>, up: u64| e.sar(e.shl(words, 24 - up), 24);
        e.each(e.index(0), rows, 1, |row| {
            let at = self.row(e, sums, row);
            e.each(e.index(0), e.index(i64::from(schedule::Tiles::PAIRS)), 1, |word| {
                let x = e.load(e.int(32), e.at(self.row(e, left, row), e.int(32), word));
                let x = e.splat(x, schedule::Tiles::ROWS);
                let w = e.load(words(e), self.row(e, right, word));
                let product = |up| e.mul(byte(x, up), byte(w, up));
                let sum = [0, 8, 16, 24].map(product).into_iter().fold(e.load(words(e), at), |sum, p| e.add(sum, p));
                e.store(sum, at);
            });
        });
        self.zeros(e, sums, rows);
    }

    fn add_products_of_halves(&self, e: &Emit<'ctx>, sums: u32, left: u32, right: u32) {
        let ty = e.vector(e.f32(), schedule::Tiles::ROWS);
        // The two bf16 of each word.
        let parts = |words: Val<'ctx>| {
            let second = e.and(words, e.bits(words.get_type(), 0xFFFF_0000));
            [e.shl(words, 16), second].map(|bits| e.bitcast(bits, e.f32()))
        };
        let rows = self.rows(e, sums);
        let apart = [(); 2].map(|()| e.variable(e.function(), ty));
        e.each(e.index(0), rows, 1, |row| {
            apart.iter().for_each(|sum| e.store(e.zero(ty), *sum));
            e.each(e.index(0), e.index(i64::from(schedule::Tiles::PAIRS)), 1, |pair| {
                let x = e.load(e.int(32), e.at(self.row(e, left, row), e.int(32), pair));
                let (x, w) = (parts(x), parts(e.load(words(e), self.row(e, right, pair))));
                for ((x, w), sum) in x.into_iter().zip(w).zip(apart) {
                    e.store(e.fma(x, w, e.load(ty, sum)), sum);
                }
            });
            let [first, second] = apart.map(|sum| e.load(ty, sum));
            let at = self.row(e, sums, row);
            e.store(e.add(e.load(ty, at), e.add(first, second)), at);
        });
        self.zeros(e, sums, rows);
    }

    fn move_rows(&self, e: &Emit<'ctx>, name: &str, register: u32, at: PointerValue<'ctx>, apart: Val<'ctx>) {
        e.call_any(name, &[], &[number(e, register), at.into(), apart]);
    }

    // Stand-ins.

    /// Where the configuration has the rows of a register.
    fn rows_of(&self, e: &Emit<'ctx>, register: u32) -> PointerValue<'ctx> {
        e.at(self.memory, e.int(8), e.index((ROWS_AT + register as usize) as i64))
    }

    fn rows(&self, e: &Emit<'ctx>, register: u32) -> Val<'ctx> {
        e.cast(InstructionOpcode::ZExt, e.load(e.int(8), self.rows_of(e, register)), e.i64())
    }

    fn row(&self, e: &Emit<'ctx>, register: u32, row: Val<'ctx>) -> PointerValue<'ctx> {
        let start = i64::from(CONFIGURATION + register * REGISTER);
        e.at(self.memory, e.int(8), e.add(e.index(start), e.mul(row, e.index(ROW))))
    }

    /// Zeros from a row on.
    fn zeros(&self, e: &Emit<'ctx>, register: u32, from: Val<'ctx>) {
        let end = e.index(i64::from(schedule::Tiles::ROWS));
        e.each(from, end, 1, |row| e.store(e.zero(words(e)), self.row(e, register, row)));
    }
}

/// The type of a row.
fn words<'ctx>(e: &Emit<'ctx>) -> inkwell::types::BasicTypeEnum<'ctx> {
    e.vector(e.int(32), (ROW / 4) as u32)
}

/// A register, as an instruction names it.
fn number<'ctx>(e: &Emit<'ctx>, register: u32) -> Val<'ctx> {
    e.bits(e.int(8), u64::from(register))
}
