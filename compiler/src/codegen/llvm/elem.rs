//! Elements: the types in which they are computed and stored, and the way between the two.

use inkwell::types::BasicTypeEnum;
use inkwell::values::InstructionOpcode;
use inkwell::{FloatPredicate, IntPredicate};

use super::emit::{Emit, TYPED, Val};
use crate::kernel::Elem;
use gatec_runtime::format::Isa;

impl<'ctx> Emit<'ctx> {
    /// The type in which elements are computed: halves in f32.
    pub fn register(&self, elem: Elem) -> BasicTypeEnum<'ctx> {
        match elem {
            Elem::F32 | Elem::F16 | Elem::Bf16 => self.f32(),
            Elem::F64 => self.f64(),
            Elem::I32 => self.int(32),
            Elem::I64 => self.i64(),
            Elem::I8 | Elem::U8 => self.int(8),
            Elem::Bool => self.int(1),
        }
    }

    /// The type in which elements are stored.
    pub fn memory(&self, elem: Elem) -> BasicTypeEnum<'ctx> {
        match elem {
            Elem::Bool => self.int(8),
            Elem::Bf16 => self.int(16),
            Elem::F16 if self.lacks_halves() => self.int(16),
            Elem::F16 => self.context.f16_type().into(),
            other => self.register(other),
        }
    }

    /// Processors without conversions of IEEE halves: LLVM would call a C library for them.
    fn lacks_halves(&self) -> bool {
        self.isa == Isa::X86
    }

    /// Stored elements as they are computed. Exact.
    pub fn from_memory(&self, elem: Elem, v: Val<'ctx>) -> Val<'ctx> {
        match elem {
            Elem::Bool => self.icmp(IntPredicate::NE, v, self.same(v, 0.0)),
            Elem::Bf16 => self.bitcast(self.shl(self.cast(InstructionOpcode::ZExt, v, self.int(32)), 16), self.f32()),
            Elem::F16 if self.lacks_halves() => self.half_to_f32(v),
            Elem::F16 => self.cast(InstructionOpcode::FPExt, v, self.f32()),
            _ => v,
        }
    }

    /// Computed elements as they are stored: halves to nearest, ties to even; NaN stays NaN.
    pub fn to_memory(&self, elem: Elem, v: Val<'ctx>) -> Val<'ctx> {
        match elem {
            Elem::Bool => self.cast(InstructionOpcode::ZExt, v, self.int(8)),
            Elem::F16 if self.lacks_halves() => self.f32_to_half(v),
            Elem::F16 => self.cast(InstructionOpcode::FPTrunc, v, self.context.f16_type().into()),
            Elem::Bf16 if matches!(self.isa, Isa::X86V4Bf16 | Isa::X86V4Amx) => {
                let half = self.cast(InstructionOpcode::FPTrunc, v, self.context.bf16_type().into());
                self.bitcast(half, self.int(16))
            }
            Elem::Bf16 => {
                let bits = self.bitcast(v, self.int(32));
                let odd = self.and(self.shr(bits, 16), self.bits(bits.get_type(), 1));
                let rounded = self.add(self.add(bits, self.bits(bits.get_type(), 0x7FFF)), odd);
                let nan = self.fcmp(FloatPredicate::UNO, v, v);
                let quiet = self.or(bits, self.bits(bits.get_type(), 0x0040_0000));
                self.cast(InstructionOpcode::Trunc, self.shr(self.select(nan, quiet, rounded), 16), self.int(16))
            }
            _ => v,
        }
    }

    /// Stored floats, or integers of a byte, in the type of an accumulator, which holds each of their values.
    pub fn widened(&self, elem: Elem, v: Val<'ctx>, to: BasicTypeEnum<'ctx>) -> Val<'ctx> {
        let v = self.from_memory(elem, v);
        match elem {
            Elem::I8 if to.is_float_type() => return self.cast(InstructionOpcode::SIToFP, v, to),
            Elem::U8 if to.is_float_type() => return self.cast(InstructionOpcode::UIToFP, v, to),
            Elem::I8 if to == self.int(32) => return self.cast(InstructionOpcode::SExt, v, to),
            Elem::U8 if to == self.int(32) => return self.cast(InstructionOpcode::ZExt, v, to),
            _ => {}
        }
        if to == self.f64() && elem != Elem::F64 { self.cast(InstructionOpcode::FPExt, v, to) } else { v }
    }

    /// One stored element, likewise, in so many lanes.
    pub fn widened_in(&self, elem: Elem, v: Val<'ctx>, to: BasicTypeEnum<'ctx>, lanes: u32) -> Val<'ctx> {
        if elem != Elem::Bf16 || to != self.f32() || lanes == 1 {
            return self.widened(elem, self.splat(v, lanes), to);
        }
        // In both halves of each word: no shuffle makes room for the lower one.
        let words = self.vector(self.int(32), lanes);
        let words = self.builder.build_bit_cast(self.splat(v, 2 * lanes), words, "").expect(TYPED);
        self.bitcast(self.and(words, self.bits(words.get_type(), 0xFFFF_0000)), to)
    }

    /// Bits of IEEE halves to f32. The exponent is moved by a multiplication, which also normalises denormals.
    fn half_to_f32(&self, half: Val<'ctx>) -> Val<'ctx> {
        let bits = self.cast(InstructionOpcode::ZExt, half, self.int(32));
        let constant = |n: u64| self.bits(bits.get_type(), n);
        let magnitude = self.and(bits, constant(0x7FFF));
        let moved = self.bitcast(self.shl(magnitude, 13), self.f32());
        let scaled = self.mul(moved, self.same(moved, 112f64.exp2()));
        let scaled = self.bitcast(scaled, self.int(32));
        let is_finite = self.icmp(IntPredicate::ULT, magnitude, constant(0x7C00));
        let all = self.select(is_finite, scaled, self.or(scaled, constant(0x7F80_0000)));
        let sign = self.shl(self.and(bits, constant(0x8000)), 16);
        self.bitcast(self.or(all, sign), self.f32())
    }

    /// f32 to bits of IEEE halves, to nearest, ties to even.
    fn f32_to_half(&self, v: Val<'ctx>) -> Val<'ctx> {
        let bits = self.bitcast(v, self.int(32));
        let constant = |n: u64| self.bits(bits.get_type(), n);
        let magnitude = self.and(bits, constant(0x7FFF_FFFF));
        // Half an ulp, and what makes ties even; the exponent's bias from 127 to 15. A carry runs into the exponent, up to infinity.
        let odd = self.and(self.shr(magnitude, 13), constant(1));
        let normal = self.add(self.add(magnitude, constant(0xFFF)), odd);
        let normal = self.shr(self.sub(normal, constant(112 << 23)), 13);
        // Denormals: the last bit of a sum with 1/2 counts steps of 2^-24, and the addition rounds.
        let small = self.bitcast(magnitude, self.f32());
        let small = self.bitcast(self.add(small, self.same(small, 0.5)), self.int(32));
        let small = self.sub(small, constant(0x3F00_0000));
        let is_small = self.icmp(IntPredicate::ULT, magnitude, constant(113 << 23));
        // From 2^16 on, below which rounding finds infinity by itself.
        let is_large = self.icmp(IntPredicate::UGE, magnitude, constant(143 << 23));
        let is_nan = self.icmp(IntPredicate::UGT, magnitude, constant(0x7F80_0000));
        let special = self.select(is_nan, constant(0x7E00), constant(0x7C00));
        let all = self.select(is_large, special, self.select(is_small, small, normal));
        let sign = self.shr(self.and(bits, constant(0x8000_0000)), 16);
        self.cast(InstructionOpcode::Trunc, self.or(all, sign), self.int(16))
    }
}
