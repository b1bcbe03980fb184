//! The prologue of a contraction: the left operand of a block of rows, evaluated into scratch memory with vectors along the innermost
//! loop of the sum. The microkernel then reads rows that are dense, and in the nearest caches.
//!
//! An element is the same whatever the block, the lane or the thread: blocks may be evaluated by several threads.

use inkwell::IntPredicate;
use inkwell::values::{InstructionOpcode, PointerValue};

use super::super::llvm::emit::Val;
use super::super::llvm::expr::Frame;
use super::super::llvm::loops::{nested, vectors};
use super::micro::Elems;
use crate::kernel::{Contract, Elem, Products};

/// Evaluates the rows from..to, one after the other from `block` on, each `sum` accumulators long and `apart` from the next: as such, or as
/// words of several steps. What these have beyond the sum's end, in the last word or the last tile, is zero. `number` gives a row's number.
pub(super) fn rows<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    contract: &Contract,
    elems: Elems,
    (block, sum, apart): (PointerValue<'ctx>, Val<'ctx>, Val<'ctx>),
    rows: (Val<'ctx>, Val<'ctx>),
    number: impl Fn(&Frame<'a, 'ctx>, Val<'ctx>) -> Val<'ctx>,
) {
    let e = frame.emit;
    let operand = contract.products.operand();
    let stored = operand.map_or(e.register(elems.acc), |elem| e.memory(elem));
    let [sum, apart] = [sum, apart].map(|n| e.mul(n, e.index(contract.products.together())));
    // At most one step less than go together is missing.
    let together = contract.products.steps() as u32;
    let zeros = e.zero(e.vector(stored, together));
    let of = frame.elem(contract.x);
    let computed = |frame: &mut Frame<'a, 'ctx>| {
        let v = frame.eval(contract.x);
        match elems.acc {
            _ if contract.products == Products::Bytes => {
                // Without sign: 128 more.
                let byte = e.cast(InstructionOpcode::Trunc, v, stored);
                e.add(byte, e.bits(byte.get_type(), 128))
            }
            _ if operand == Some(Elem::I8) => e.cast(InstructionOpcode::Trunc, v, stored),
            _ if operand.is_some() => e.to_memory(Elem::Bf16, v),
            Elem::F64 if of != Elem::F64 => e.cast(InstructionOpcode::FPExt, v, stored),
            _ => v,
        }
    };
    e.each(rows.0, rows.1, 1, |place| {
        let row = number(frame, place);
        frame.vars.insert(contract.rows.var, row);
        let start = e.at(block, stored, e.mul(e.sub(place, rows.0), apart));
        if operand.is_some() {
            e.when(e.icmp(IntPredicate::SGT, sum, e.index(0)), || {
                e.store(zeros, e.at(start, stored, e.sub(sum, e.index(i64::from(together)))));
            });
        }
        let Some((innermost, outer)) = contract.sums.split_last() else {
            frame.forget();
            return e.store(computed(frame), start);
        };
        let length = frame.extent(innermost.extent);
        nested(frame, outer, &mut |frame| {
            let before =
                outer.iter().fold(e.index(0), |sum, l| e.add(e.mul(sum, frame.extent(l.extent)), frame.vars[&l.var]));
            let start = e.at(start, stored, e.mul(before, length));
            vectors(frame, innermost, |frame| {
                let v = computed(frame);
                if let Some(lanes) = frame.lanes {
                    let (v, at) = (e.splat(v, lanes.count), e.at(start, stored, lanes.first));
                    match lanes.tail {
                        None => e.store(v, at),
                        Some(tail) => e.store_inside(v, at, tail),
                    }
                }
            });
        });
    });
    frame.forget();
}
