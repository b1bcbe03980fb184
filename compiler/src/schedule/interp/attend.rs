//! Streaming attention: blocks of rows, panels of keys and of values.

use super::{Done, Machine};
use crate::kernel::Attend;
use crate::schedule::AttendTile;

impl Machine<'_> {
    pub(super) fn attend_on_cpu(&mut self, a: &Attend, tile: &AttendTile) -> Done {
        let (rows, block) = (self.extent(a.rows.extent), i64::from(tile.row_block));
        let blocks = (rows + block - 1) / block;
        let (number, batch) = (self.unit % blocks, self.unit / blocks);
        self.vars[a.batch.var.0 as usize] = batch;
        if let Some(only) = a.only
            && self.eval(only)? == 0.0
        {
            return Ok(());
        }
        for row in number * block..rows.min((number + 1) * block) {
            self.vars[a.rows.var.0 as usize] = row;
            self.attend_row(a, i64::from(tile.panel()), batch)?;
        }
        Ok(())
    }

    fn attend_row(&mut self, a: &Attend, panel: i64, batch: i64) -> Done {
        let (sum, over, cols) = (self.product(&a.sums), self.extent(a.over.extent), self.extent(a.cols.extent));
        let mut x = Vec::new();
        for k in 0..sum {
            self.unfold(&a.sums, k);
            x.push(self.eval(a.x)?);
        }
        // Element `step` of column `col` of this batch's matrix.
        let place = |cols: i64, steps: i64, col: i64, step: i64| {
            ((batch * ((cols + panel - 1) / panel) + col / panel) * steps + step) * panel + col % panel
        };
        let mut scores = Vec::new();
        for at in 0..over {
            let mut product = 0.0;
            for (k, x) in (0..).zip(&x) {
                product += x * self.read(a.keys, place(over, sum, at, k))?;
            }
            self.accs = vec![product];
            self.vars[a.over.var.0 as usize] = at;
            scores.push(self.eval(a.score)?);
        }
        let largest =
            scores.iter().copied().fold(f64::NEG_INFINITY, |most, s| if s > most || s.is_nan() { s } else { most });
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        for col in 0..cols {
            let mut weighed = 0.0;
            for (at, weight) in (0..).zip(&weights) {
                weighed += weight * self.read(a.values, place(cols, over, col, at))?;
            }
            self.accs = vec![0.0, weighed, weights.iter().sum()];
            self.vars[a.cols.var.0 as usize] = col;
            self.store_all(&a.stores)?;
        }
        Ok(())
    }
}
