//! Sorting rows by expert.

use inkwell::IntPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::Val;
use super::super::llvm::expr::Frame;
use super::super::llvm::loops::nested;
use crate::kernel::{Elem, GroupRows, Loop};

/// Histogram, prefix sum, permutation: stable, two walks over the rows. The offsets of experts serve as cursors in the second.
pub fn group_rows<'ctx>(frame: &mut Frame<'_, 'ctx>, group: &GroupRows) {
    let e = frame.emit;
    let i32 = e.int(32);
    let offsets = frame.buffers[group.offsets.0 as usize];
    let order = frame.buffers[group.order.0 as usize];
    let experts = frame.extent(group.experts);
    let end = e.add(experts, e.index(1));
    let one = e.bits(i32, 1);
    e.each(e.index(0), end, 1, |i| e.store(e.bits(i32, 0), e.at(offsets, i32, i)));
    let row = e.variable(e.function(), e.i64());

    // For each row that has an expert, `f(expert, row)`.
    let walk = |frame: &mut Frame<'_, 'ctx>, f: &dyn Fn(&Frame<'_, 'ctx>, Val<'ctx>, Val<'ctx>)| {
        e.store(e.index(0), row);
        let loops: Vec<Loop> = group.rows.clone();
        nested(frame, &loops, &mut |frame| {
            let expert = frame.eval(group.expert);
            let expert = match frame.elem(group.expert) {
                Elem::I64 => expert,
                _ => e.cast(InstructionOpcode::SExt, expert, e.i64()),
            };
            let number = e.load(e.i64(), row);
            let inside = e.icmp(IntPredicate::ULT, expert, experts);
            e.when(inside, || f(frame, expert, number));
            frame.tell(group.expert, expert, e.not(inside));
            e.store(e.add(number, e.index(1)), row);
        });
    };
    // Count: offsets[e + 1] holds the rows of e.
    walk(frame, &|_, expert, _| {
        let at = e.at(offsets, i32, e.add(expert, e.index(1)));
        e.store(e.add(e.load(i32, at), one), at);
    });
    // Sum: offsets[e + 1] is where e begins, shifted by one so that the next walk leaves the ends there.
    let sum = e.variable(e.function(), i32);
    e.store(e.bits(i32, 0), sum);
    e.each(e.index(1), end, 1, |i| {
        let at = e.at(offsets, i32, i);
        let (count, before) = (e.load(i32, at), e.load(i32, sum));
        e.store(before, at);
        e.store(e.add(before, count), sum);
    });
    walk(frame, &|_, expert, number| {
        let at = e.at(offsets, i32, e.add(expert, e.index(1)));
        let place = e.load(i32, at);
        e.store(e.add(place, one), at);
        let number = e.cast(InstructionOpcode::Trunc, number, i32);
        e.store(number, e.at(order, i32, e.cast(InstructionOpcode::SExt, place, e.i64())));
    });
}
