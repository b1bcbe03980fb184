//! Map/reduce nests on a GPU: a thread for each element of a map, or a block for each point around the stages.

use super::super::llvm::expr::Frame;
use super::super::llvm::nest::{declare_temps, identity, join};
use super::block::{Block, product, unfold};
use crate::kernel::{Elem, ExprId, Fold, Loop, Nest, Stage, Temp};
use crate::schedule::GPU_THREADS;
use crate::schedule::gpu::ELEMENTS;
use inkwell::IntPredicate;
use inkwell::values::InstructionOpcode;

/// The elements of the only map, each thread some of them, neighbours by neighbouring threads.
pub fn elements<'ctx>(frame: &mut Frame<'_, 'ctx>, nest: &Nest, block: &Block<'ctx>) {
    let [Stage::Map { inner, stores }] = nest.stages.as_slice() else { unreachable!("scheduled as one map") };
    let e = frame.emit;
    let loops: Vec<Loop> = nest.outer.iter().chain(inner).cloned().collect();
    let total = product(frame, &loops);
    let first = e.mul(block.unit, e.index(i64::from(ELEMENTS)));
    let end = e.min(e.add(first, e.index(i64::from(ELEMENTS))), total);
    e.each(e.add(first, block.thread), end, i64::from(GPU_THREADS), |at| {
        unfold(frame, &loops, at);
        stores.iter().for_each(|s| frame.store(s));
    });
    frame.forget();
}

/// One point of the outer loops; stage after stage, all threads along the stage's own loops.
pub fn row<'ctx>(frame: &mut Frame<'_, 'ctx>, nest: &Nest, block: &Block<'ctx>) {
    declare_temps(frame, nest);
    unfold(frame, &nest.outer, block.unit);
    for stage in &nest.stages {
        match stage {
            Stage::Map { inner, stores } => {
                share(frame, inner, block, |frame| stores.iter().for_each(|s| frame.store(s)));
            }
            Stage::Reduce { temp, elem, fold, inner, value, .. } => {
                reduce(frame, *temp, *elem, *fold, inner, *value, block);
            }
            Stage::Running { .. } => unreachable!("a running fold is one thread's"),
        }
    }
}

/// Runs `body` for the points of loops, each thread every [`GPU_THREADS`]th.
fn share<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    loops: &[Loop],
    block: &Block<'ctx>,
    mut body: impl FnMut(&mut Frame<'a, 'ctx>),
) {
    let e = frame.emit;
    let total = product(frame, loops);
    e.each(block.thread, total, i64::from(GPU_THREADS), |at| {
        unfold(frame, loops, at);
        body(frame);
    });
    frame.forget();
}

/// Each thread folds its share; then halves are folded together in shared memory. The order depends on the extent alone.
fn reduce<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    temp: Temp,
    elem: Elem,
    fold: Fold,
    inner: &[Loop],
    value: ExprId,
    block: &Block<'ctx>,
) {
    let e = frame.emit;
    let ty = frame.register(elem);
    let sum = e.variable(e.function(), ty);
    e.store(identity(frame, fold, elem, ty), sum);
    share(frame, inner, block, |frame| {
        let v = frame.eval(value);
        e.store(join(frame, fold, elem, e.load(ty, sum), v), sum);
    });
    // Single bits have no address.
    let is_bit = ty == e.int(1);
    let memory = if is_bit { e.int(8) } else { ty };
    let shared = block.shared(e, memory, GPU_THREADS);
    let read = |at| {
        let v = e.load(memory, e.at(shared, memory, at));
        if is_bit { e.icmp(IntPredicate::NE, v, e.same(v, 0.0)) } else { v }
    };
    let write = |v, at| {
        let v = if is_bit { e.cast(InstructionOpcode::ZExt, v, memory) } else { v };
        e.store(v, e.at(shared, memory, at));
    };
    write(e.load(ty, sum), block.thread);
    block.wait(e);
    let mut half = GPU_THREADS / 2;
    while half > 0 {
        let apart = e.index(i64::from(half));
        e.when(e.icmp(IntPredicate::SLT, block.thread, apart), || {
            let (a, b) = (read(block.thread), read(e.add(block.thread, apart)));
            write(join(frame, fold, elem, a, b), block.thread);
        });
        block.wait(e);
        half /= 2;
    }
    // Each fold has shared memory of its own, so nobody has to wait before the next.
    let result = read(e.index(0));
    frame.forget();
    frame.temps.insert(temp, result);
}
