//! Few rows: read where they stand, while the panels stream by.

use inkwell::IntPredicate;
use inkwell::values::FunctionValue;

use super::super::super::llvm::emit::{Emit, Val};
use super::super::super::llvm::expr::Frame;
use super::super::super::llvm::loops::smallest;
use super::super::micro::{Micros, Shape, begin, micro};
use super::{Plan, Share, listed};

/// How many panels so many rows take at once: several where one would leave the adders idle.
pub(super) fn at_once<'ctx>(e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>, count: Val<'ctx>, left: Val<'ctx>) -> Val<'ctx> {
    plan.tile.panels_at_once.iter().enumerate().fold(e.index(1), |sofar, (i, &n)| {
        let rows = e.icmp(IntPredicate::EQ, count, e.index(i as i64 + 1));
        let enough = e.icmp(IntPredicate::SGE, left, e.index(i64::from(n)));
        e.select(e.and(rows, enough), e.index(i64::from(n)), sofar)
    })
}

/// Sums of a share's rows for so many panels; how far apart those of its parts are then.
pub(super) fn sums<'ctx>(
    frame: &Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
    (panel, at_once): (Val<'ctx>, Val<'ctx>),
) -> Val<'ctx> {
    let e = frame.emit;
    let function = dispatch(micros, e, plan);
    let panels = super::panel_at(frame, plan, share, panel);
    let steps = [plan.steps.counts, plan.steps.strides].map(Val::from);
    let mut args = vec![count, at_once, plan.pointers.into(), panels.into(), plan.part_elements];
    args.extend(steps);
    args.extend([plan.sums.into(), plan.block]);
    let scales = super::scales_at(frame, plan, share, panel);
    args.extend(plan.scales_of_part(e, scales, e.index(0)).into_iter().flat_map(|(at, each)| [at, each]));
    e.call_function(function, &args);
    let short = e.icmp(IntPredicate::SLE, count, e.index(2));
    e.select(short, e.mul(count, e.index(plan.width())), e.index(plan.part_sums()))
}

/// `fn(count, at_once, rows, panels, part_elements, counts, strides, sums, block)`, of quantised weights also `scales` and how many a part
/// has: calls the microkernel for so many rows and panels at once. All kernels with such tiles share it.
fn dispatch<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, plan: &Plan<'_, 'ctx>) -> FunctionValue<'ctx> {
    let (tile, steps, elems) = (plan.tile, plan.steps, plan.elems);
    // The shorter a tile, the more parts of panels at once.
    let mut micro_of = |rows: u32, at_once: u32| {
        let (calls, panels) = if rows <= 2 { (1, tile.parts * at_once) } else { (tile.parts, 1) };
        let (sums, dense) = (steps.loops, steps.dense);
        (calls, micro(micros, e, Shape { rows, panels, vectors: tile.vectors, sums, dense, lanes: tile.lanes, elems }))
    };
    let several: Vec<_> = (1u32..).zip(tile.panels_at_once).filter(|(_, n)| *n > 1).collect();
    let several: Vec<_> = several.into_iter().map(|(rows, n)| (rows, n, micro_of(rows, n))).collect();
    let alone: Vec<_> = tile.rows.iter().map(|rows| micro_of(*rows, 1)).collect();
    let name = format!(
        "few_{}_{}_{}x{}_{}{}_{}_{}",
        listed(&tile.rows),
        listed(&tile.panels_at_once),
        tile.parts,
        tile.vectors,
        steps.loops,
        if steps.dense { "d" } else { "s" },
        elems.name(),
        plan.part_sums(),
    );
    micros.get(e, &name, |e, name| {
        let (pointer, i64) = (e.pointer(), e.i64());
        let types = [i64, i64, pointer, pointer, i64, pointer, pointer, pointer, i64, pointer, i64];
        let (function, params) = begin(e, name, &types[..if elems.quantized.is_some() { 11 } else { 9 }]);
        let (count, at_once) = (params[0], params[1]);
        let call = |(calls, micro): (u32, FunctionValue<'ctx>)| {
            for part in 0..i64::from(calls) {
                let shift = |each, memory, base: Val<'ctx>| {
                    e.at(base.into_pointer_value(), memory, e.mul(each, e.index(part))).into()
                };
                let mut args = params[2..].to_vec();
                args[1] = shift(params[4], e.memory(elems.w), params[3]);
                args[5] = shift(e.index(plan.part_sums()), e.register(elems.acc), params[7]);
                if let Some(quantized) = elems.quantized {
                    args[7] = shift(params[10], e.memory(quantized.scale), params[9]);
                }
                e.call_function(micro, &args);
            }
        };
        let done = e.block("done");
        for (rows, n, micro) in several {
            let has_rows = e.icmp(IntPredicate::EQ, count, e.index(i64::from(rows)));
            let these = e.and(has_rows, e.icmp(IntPredicate::EQ, at_once, e.index(i64::from(n))));
            let (here, next) = (e.block("several"), e.block("next"));
            e.branch(these, here, next);
            e.builder.position_at_end(here);
            call(micro);
            e.go(done);
            e.builder.position_at_end(next);
        }
        let mut alone = alone.into_iter();
        smallest(e, &tile.rows, count, |_| alone.next().into_iter().for_each(call));
        e.go(done);
        e.builder.position_at_end(done);
        e.builder.build_return(None).expect("the function returns nothing");
        function
    })
}
