//! Quantised weights of a packed panel: values of few bits times scales, in registers.
//!
//! Rows of the panel and of the scales are found by the number of a step, not by a pointer that moves on: two steps may share a byte, and
//! a piece of the sum may begin amid a block.

use inkwell::values::{FunctionValue, InstructionOpcode, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::micro::{Micros, begin};
use crate::kernel::{Blocks, Elem};

/// How weights are quantised.
#[derive(Clone, Copy, Debug)]
pub struct Quantized {
    pub bits: u32,
    /// Steps of the sum that share a scale.
    pub size: u32,
    /// What scales are stored as.
    pub scale: Elem,
}

/// A part of a panel.
#[derive(Clone, Copy)]
pub struct Panel<'ctx> {
    pub values: PointerValue<'ctx>,
    pub scales: PointerValue<'ctx>,
    pub vectors: u32,
    pub lanes: u32,
}

/// A step of the sum: `beyond` steps after `first`, which is a multiple of [`Step::WHOLE`] if it is `aligned`.
#[derive(Clone, Copy)]
pub struct Step<'ctx> {
    pub first: Val<'ctx>,
    pub beyond: i64,
    pub aligned: bool,
}

impl Step<'_> {
    pub const WHOLE: i64 = 4;
}

impl Quantized {
    /// A name for functions of such weights.
    pub fn name(&self) -> String {
        format!("q{}x{}_{}", self.bits, self.size, self.scale)
    }

    /// Do all steps from one that is aligned to the next share their scales?
    pub fn is_even(&self) -> bool {
        i64::from(self.size) % Step::WHOLE == 0
    }

    /// Rows of the values that so many steps have, and those of the scales.
    pub fn rows<'ctx>(&self, e: &Emit<'ctx>, steps: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
        let up = |by: i64| e.udiv(e.add(steps, e.index(by - 1)), e.index(by));
        (if self.bits == 4 { up(2) } else { steps }, up(i64::from(self.size)))
    }

    /// The scales of a step, a vector each.
    pub fn scales<'ctx>(&self, e: &Emit<'ctx>, panel: Panel<'ctx>, step: Step<'ctx>) -> Vec<Val<'ctx>> {
        let memory = e.memory(self.scale);
        let block = e.udiv(e.add(step.first, e.index(step.beyond)), e.index(i64::from(self.size)));
        let row = e.mul(block, e.index(i64::from(panel.vectors * panel.lanes)));
        let at = |v: u32| e.at(panel.scales, memory, e.add(row, e.index(i64::from(v * panel.lanes))));
        (0..panel.vectors)
            .map(|v| e.widened(self.scale, e.load(e.vector(memory, panel.lanes), at(v)), e.f32()))
            .collect()
    }

    /// The weights of a step.
    pub fn weights<'ctx>(
        &self,
        e: &Emit<'ctx>,
        panel: Panel<'ctx>,
        step: Step<'ctx>,
        scales: &[Val<'ctx>],
    ) -> Vec<Val<'ctx>> {
        let byte = e.int(8);
        let number = e.add(step.first, e.index(step.beyond));
        let row = if self.bits == 4 { e.udiv(number, e.index(2)) } else { number };
        let row = match step.aligned && self.bits == 4 {
            true => e.add(e.udiv(step.first, e.index(2)), e.index(step.beyond / 2)),
            false => row,
        };
        let row = e.mul(row, e.index(i64::from(panel.vectors * panel.lanes)));
        let weight = |(v, scale): (u32, &Val<'ctx>)| {
            let at = e.at(panel.values, byte, e.add(row, e.index(i64::from(v * panel.lanes))));
            let stored = e.load(e.vector(byte, panel.lanes), at);
            let number_of = |v| e.cast(InstructionOpcode::SIToFP, v, e.f32());
            if self.bits == 4 {
                // (n - 8) * scale in one instruction; exact, for a half has 11 bits.
                let n = number_of(self.half(e, stored, step, number));
                return e.fma(n, *scale, e.mul(*scale, e.same(*scale, -Blocks::ZERO)));
            }
            e.mul(number_of(e.cast(InstructionOpcode::SExt, stored, e.int(32))), *scale)
        };
        (0u32..).zip(scales).map(weight).collect()
    }

    /// `fn(panel, steps, first, to, scales)` writes the weights of `steps` steps of a panel, from number `first` on, in f32.
    pub fn widen<'ctx>(
        self,
        micros: &mut Micros<'ctx>,
        e: &Emit<'ctx>,
        vectors: u32,
        lanes: u32,
    ) -> FunctionValue<'ctx> {
        let name = format!("widen_{vectors}_{}", self.name());
        micros.get(e, &name, |e, name| {
            let (pointer, i64) = (e.pointer(), e.i64());
            let (function, params) = begin(e, name, &[pointer, i64, i64, pointer, pointer]);
            let [values, to, scales] = [0, 3, 4].map(|i: usize| params[i].into_pointer_value());
            let panel = Panel { values, scales, vectors, lanes };
            e.each(e.index(0), params[1], 1, |i| {
                let step = Step { first: e.add(params[2], i), beyond: 0, aligned: false };
                let row = e.mul(i, e.index(i64::from(vectors * lanes)));
                for (v, weight) in (0u32..).zip(self.weights(e, panel, step, &self.scales(e, panel, step))) {
                    e.store(weight, e.at(to, e.f32(), e.add(row, e.index(i64::from(v * lanes)))));
                }
            });
            e.builder.build_return(None).expect("the function returns nothing");
            function
        })
    }

    /// The half of each byte that is a step's: from 0 to 15.
    fn half<'ctx>(&self, e: &Emit<'ctx>, bytes: Val<'ctx>, step: Step<'ctx>, number: Val<'ctx>) -> Val<'ctx> {
        let bytes = e.cast(InstructionOpcode::ZExt, bytes, e.int(32));
        let moved = if step.aligned {
            e.shr(bytes, 4 * (step.beyond as u64 % 2))
        } else {
            let by = e.mul(e.and(number, e.index(1)), e.index(4));
            e.op(InstructionOpcode::LShr, bytes, e.cast(InstructionOpcode::Trunc, by, e.int(32)))
        };
        e.and(moved, e.bits(bytes.get_type(), 15))
    }
}
