//! Sorting rows by expert, in one block: each thread has experts of its own, and walks over all rows for them. Rows stay in order
//! without any thread waiting for another's counter.

use inkwell::IntPredicate;
use inkwell::values::InstructionOpcode;

use super::super::llvm::emit::Val;
use super::super::llvm::expr::Frame;
use super::block::{Block, product, unfold};
use crate::kernel::{Elem, GroupRows};
use crate::schedule::GPU_THREADS;

pub fn group_rows<'ctx>(frame: &mut Frame<'_, 'ctx>, group: &GroupRows, block: &Block<'ctx>) {
    let e = frame.emit;
    let i32 = e.int(32);
    let offsets = frame.buffers[group.offsets.0 as usize];
    let order = frame.buffers[group.order.0 as usize];
    let experts = frame.extent(group.experts);
    let rows = product(frame, &group.rows);
    let one = e.bits(i32, 1);
    let count = e.variable(e.function(), i32);

    // For each row of an expert, `f(row)`.
    let walk = |frame: &mut Frame<'_, 'ctx>, expert: Val<'ctx>, f: &dyn Fn(Val<'ctx>)| {
        e.each(e.index(0), rows, 1, |row| {
            unfold(frame, &group.rows, row);
            let found = frame.eval(group.expert);
            let found = match frame.elem(group.expert) {
                Elem::I64 => found,
                _ => e.cast(InstructionOpcode::SExt, found, e.i64()),
            };
            e.when(e.icmp(IntPredicate::UGE, found, experts), || e.store(one, frame.fault));
            e.when(e.icmp(IntPredicate::EQ, found, expert), || f(row));
        });
        frame.forget();
    };
    let step = i64::from(GPU_THREADS);
    // Count: offsets[e + 1] holds the rows of e.
    e.each(block.thread, experts, step, |expert| {
        e.store(e.bits(i32, 0), count);
        walk(frame, expert, &|_| e.store(e.add(e.load(i32, count), one), count));
        e.store(e.load(i32, count), e.at(offsets, i32, e.add(expert, e.index(1))));
    });
    block.wait(e);
    // Sum: offsets[e + 1] is where e begins; the next walk leaves its end there.
    e.when(e.icmp(IntPredicate::EQ, block.thread, e.index(0)), || {
        e.store(e.bits(i32, 0), offsets);
        e.store(e.bits(i32, 0), count);
        e.each(e.index(1), e.add(experts, e.index(1)), 1, |i| {
            let at = e.at(offsets, i32, i);
            let (rows, before) = (e.load(i32, at), e.load(i32, count));
            e.store(before, at);
            e.store(e.add(before, rows), count);
        });
    });
    block.wait(e);
    e.each(block.thread, experts, step, |expert| {
        let at = e.at(offsets, i32, e.add(expert, e.index(1)));
        e.store(e.load(i32, at), count);
        walk(frame, expert, &|row| {
            let place = e.load(i32, count);
            e.store(e.add(place, one), count);
            let row = e.cast(InstructionOpcode::Trunc, row, i32);
            e.store(row, e.at(order, i32, e.cast(InstructionOpcode::SExt, place, e.i64())));
        });
        e.store(e.load(i32, count), at);
    });
}
