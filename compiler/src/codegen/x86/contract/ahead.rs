//! What an epilogue reads of other values is fetched while the sums are made: rows of a panel stand far apart, so that no prefetcher of a
//! processor sees them come, and each would be waited for.

use super::super::super::llvm::emit::Val;
use super::super::super::llvm::expr::Frame;
use super::{Plan, Share};
use crate::kernel::index::{known_stride, mentions, values};
use crate::kernel::{BufferId, Expr, Index};

/// Asks for what the stores of a panel read row by row.
pub(super) fn fetch<'ctx>(
    frame: &mut Frame<'_, 'ctx>,
    plan: &Plan<'_, 'ctx>,
    share: Share<'ctx>,
    count: Val<'ctx>,
    panel: Val<'ctx>,
) {
    let read = of_rows(frame, plan);
    if read.is_empty() {
        return;
    }
    let e = frame.emit;
    let width = i64::from(plan.tile.panel);
    frame.vars.insert(plan.contract.batch.var, share.batch);
    frame.vars.insert(plan.contract.cols.var, e.mul(panel, e.index(width)));
    e.each(e.index(0), count, 1, |i| {
        let number = e.load(e.i64(), e.at(plan.numbers, e.i64(), i));
        frame.vars.insert(plan.contract.rows.var, number);
        frame.forget();
        for (buffer, index) in &read {
            let elem = frame.kernel.buffer(*buffer).elem;
            let first = e.at(frame.buffers[buffer.0 as usize], e.memory(elem), frame.index(index));
            e.fetch_later(first, width * elem.bytes() as i64);
        }
    });
    frame.forget();
}

/// Loads of neighbours along the columns, anew for each row.
fn of_rows<'a>(frame: &Frame<'a, '_>, plan: &Plan<'_, '_>) -> Vec<(BufferId, &'a Index)> {
    let (rows, cols) = (plan.contract.rows.var, plan.contract.cols.var);
    let kernel = frame.kernel;
    let varies = |index: &Index| {
        let mut read = Vec::new();
        values(index, &mut read);
        mentions(index, rows) || read.iter().any(|id| kernel.varies(*id, rows))
    };
    let load = |expr: &'a Expr| match expr {
        Expr::Load { buffer, index, bounds, .. } if bounds.is_empty() => Some((*buffer, index)),
        _ => None,
    };
    kernel.exprs.iter().filter_map(load).filter(|(_, i)| known_stride(i, cols) == Some(1) && varies(i)).collect()
}
