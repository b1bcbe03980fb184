//! Top-k, and sorting rows by expert.

use std::cmp::Ordering;

use super::{Done, Machine};
use crate::kernel::{GroupRows, TopK};

impl Machine<'_> {
    pub(super) fn top_k(&mut self, t: &TopK, row: i64) -> Done {
        self.unfold(&t.rows, row);
        let mut candidates = Vec::new();
        for at in 0..self.extent(t.over.extent) {
            self.vars[t.over.var.0 as usize] = at;
            candidates.push((self.eval(t.value)?, at));
        }
        // Greatest first, NaN last, equal ones by index: the sort is stable.
        candidates.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
            (false, false) => b.partial_cmp(a).unwrap_or(Ordering::Equal),
            (a, b) => a.cmp(&b),
        });
        let k = self.extent(t.k).max(0) as usize;
        self.in_range &= k <= candidates.len();
        candidates.into_iter().take(k).enumerate().try_for_each(|(slot, (_, at))| {
            self.vars[t.slot.0 as usize] = slot as i64;
            let index = self.index(&t.index)?;
            self.write(t.buffer, index, at as f64)
        })
    }

    pub(super) fn group_rows(&mut self, g: &GroupRows) -> Done {
        let experts = self.extent(g.experts);
        let mut segments = vec![Vec::new(); experts.max(0) as usize];
        for row in 0..self.product(&g.rows) {
            self.unfold(&g.rows, row);
            let expert = self.eval(g.expert)? as i64;
            match usize::try_from(expert).ok().and_then(|e| segments.get_mut(e)) {
                Some(segment) => segment.push(row),
                None => self.in_range = false,
            }
        }
        let mut place = 0;
        self.write(g.offsets, 0, 0.0)?;
        for (expert, segment) in segments.iter().enumerate() {
            for row in segment {
                self.write(g.order, place, *row as f64)?;
                place += 1;
            }
            self.write(g.offsets, expert as i64 + 1, place as f64)?;
        }
        Ok(())
    }
}
