//! Few rows: read where they stand, while the panels stream by.

use inkwell::IntPredicate;

use super::super::super::llvm::emit::Val;
use super::super::super::llvm::expr::Frame;
use super::super::super::llvm::loops::smallest;
use super::super::micro::{Micros, Shape, micro};
use super::{Plan, Share, Summed, epilogue, panel_at, scales_at};

/// Few rows: one tile, which reads them where they stand; several panels at once where one would leave the adders idle.
pub(super) fn rows<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
) {
    let e = frame.emit;
    e.advance(share.panels.0, share.panels.1, |p| some_panels(frame, micros, plan, share, count, p));
    frame.forget();
}

/// As many panels at once as rows are few, from the one of that number on; the number of the next.
fn some_panels<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    micros: &mut Micros<'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
    p: Val<'ctx>,
) -> Val<'ctx> {
    let e = frame.emit;
    let left = e.sub(share.panels.1, p);
    let at_once = plan.tile.panels_at_once.iter().enumerate().fold(e.index(1), |sofar, (i, &n)| {
        let rows = e.icmp(IntPredicate::EQ, count, e.index(i as i64 + 1));
        let enough = e.icmp(IntPredicate::SGE, left, e.index(i64::from(n)));
        e.select(e.and(rows, enough), e.index(i64::from(n)), sofar)
    });
    let panels = panel_at(frame, plan, share, p);
    let scales = scales_at(frame, plan, share, p);
    let mut call = |rows: u32, panels_at_once: u32| {
        // The shorter a tile, the more of them at once.
        let parts = plan.tile.parts;
        let (calls, parts) = if rows <= 2 { (1, parts * panels_at_once) } else { (parts, 1) };
        let shape = Shape {
            rows,
            panels: parts,
            vectors: plan.tile.vectors,
            sums: plan.steps.loops,
            dense: plan.steps.dense,
            lanes: plan.tile.lanes,
            elems: plan.elems,
        };
        let function = micro(micros, e, shape);
        for part in 0..i64::from(calls) {
            let panels = e.at(panels, e.memory(plan.elems.w), e.mul(plan.part_elements, e.index(part)));
            let sums = e.at(plan.sums, e.register(plan.elems.acc), e.index(part * plan.part_sums()));
            let mut args = vec![
                plan.pointers.into(),
                panels.into(),
                plan.part_elements,
                plan.steps.counts.into(),
                plan.steps.strides.into(),
                sums.into(),
                plan.block,
            ];
            args.extend(plan.scales_of_part(e, scales, e.index(part)).into_iter().flat_map(|(at, each)| [at, each]));
            e.call_function(function, &args);
        }
    };
    let summed = e.block("summed");
    for (i, &several) in plan.tile.panels_at_once.iter().enumerate().filter(|(_, n)| **n > 1) {
        let rows = e.icmp(IntPredicate::EQ, count, e.index(i as i64 + 1));
        let these = e.and(rows, e.icmp(IntPredicate::EQ, at_once, e.index(i64::from(several))));
        let (here, next) = (e.block("several"), e.block("next"));
        e.branch(these, here, next);
        e.builder.position_at_end(here);
        call(i as u32 + 1, several);
        e.go(summed);
        e.builder.position_at_end(next);
    }
    smallest(e, &plan.tile.rows, count, |rows| call(rows, 1));
    e.go(summed);
    e.builder.position_at_end(summed);
    let short = e.icmp(IntPredicate::SLE, count, e.index(2));
    let part_sums = e.select(short, e.mul(count, e.index(plan.width())), e.index(plan.part_sums()));
    let summed = Summed { first: e.index(0), count, sums: plan.sums, part_sums };
    epilogue(frame, plan, share, (p, at_once), summed);
    e.add(p, at_once)
}
