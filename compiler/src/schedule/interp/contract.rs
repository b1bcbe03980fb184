//! Contractions: tiles of rows, panels of packed columns.

use super::{Done, InterpError, Machine};
use crate::kernel::types::accumulator;
use crate::kernel::{Blocks, Contract, Grouping};
use crate::schedule::{GpuTile, Left, Math, Tile};

/// Rows from..to (numbers, or places in the order of the grouping) and one panel of a matrix.
#[derive(Clone, Copy)]
struct Part {
    batch: i64,
    matrix: i64,
    rows: (i64, i64),
    panel: i64,
}

impl Machine<'_> {
    pub(super) fn contract_on_cpu(&mut self, c: &Contract, tile: &Tile) -> Done {
        let panels = self.panels(c, tile.panel);
        let block = i64::from(tile.row_block);
        let (from, to, batch, matrix, first, last) = match &c.grouping {
            Some(grouping) => {
                let experts = self.extent(grouping.experts);
                let (expert, number) = (self.unit % experts, self.unit / experts);
                let (from, to) = self.segment(grouping, expert)?;
                let span = i64::from(tile.span());
                (from, to, 0, expert, number * span, panels.min((number + 1) * span))
            }
            None => {
                let rows = self.extent(c.rows.extent);
                let blocks = (rows + block - 1) / block;
                let (panel, outer) = (self.unit % panels, self.unit / panels);
                let (number, batch) = (outer % blocks, outer / blocks);
                // Blocks of whole tiles.
                let tallest = i64::from(tile.tallest());
                let cut = |number: i64| (rows + tallest - 1) / tallest * number / blocks * tallest;
                (cut(number), rows.min(cut(number + 1)), batch, batch, panel, panel + 1)
            }
        };
        for start in (from..to).step_by(block.max(1) as usize) {
            let count = (to - start).min(block);
            let block = match tile.left {
                Left::InPlace => None,
                Left::Evaluated => Some(self.evaluated(c, batch, (start, start + count))?),
            };
            for panel in first..last {
                let part = Part { batch, matrix, rows: (start, start + count), panel };
                match &block {
                    None => self.part(c, part, (tile.panel, tile.parts), Math::Fma)?,
                    Some(block) => self.part_of(c, part, (tile.panel, tile.parts), Math::Fma, block)?,
                }
            }
        }
        Ok(())
    }

    pub(super) fn contract_on_gpu(&mut self, c: &Contract, tile: &GpuTile) -> Done {
        let panels = self.panels(c, tile.panel).max(1);
        let height = i64::from(tile.most_rows());
        let (panel, outer) = (self.unit % panels, self.unit / panels);
        let part = match &c.grouping {
            None => {
                let rows = self.extent(c.rows.extent);
                let tiles = ((rows + height - 1) / height).max(1);
                let (number, batch) = (outer % tiles, outer / tiles);
                Part { batch, matrix: batch, rows: (number * height, rows.min((number + 1) * height)), panel }
            }
            Some(grouping) => {
                let mut left = outer;
                let mut found = None;
                for expert in 0..self.extent(grouping.experts) {
                    let (from, to) = self.segment(grouping, expert)?;
                    let tiles = (to - from + height - 1) / height;
                    if left < tiles {
                        let first = from + left * height;
                        found = Some(Part { batch: 0, matrix: expert, rows: (first, to.min(first + height)), panel });
                        break;
                    }
                    left -= tiles;
                }
                // Units are counted as if every expert's last tile were begun.
                let Some(part) = found else { return Ok(()) };
                part
            }
        };
        self.part(c, part, (tile.panel, 1), tile.math)
    }

    fn panels(&self, c: &Contract, panel: u32) -> i64 {
        let panel = i64::from(panel);
        (self.extent(c.cols.extent) + panel - 1) / panel
    }

    fn segment(&self, grouping: &Grouping, expert: i64) -> Result<(i64, i64), InterpError> {
        let offset = |at| self.read(grouping.offsets, at).map(|n| n as i64);
        Ok((offset(expert)?, offset(expert + 1)?))
    }

    /// Is it the segment of rows that have no expert?
    fn has_no_matrix(&self, c: &Contract, matrix: i64) -> bool {
        c.grouping.as_ref().is_some_and(|g| g.last_is_none && matrix + 1 == self.extent(g.experts))
    }

    /// The left operand of rows, as a prologue leaves it in scratch memory.
    fn evaluated(&mut self, c: &Contract, batch: i64, rows: (i64, i64)) -> Result<Vec<Vec<f64>>, InterpError> {
        let sum = self.product(&c.sums);
        let elem = c.products.operand().unwrap_or(accumulator(self.kernel));
        let mut block = Vec::new();
        for place in rows.0..rows.1 {
            self.vars[c.batch.var.0 as usize] = batch;
            self.vars[c.rows.var.0 as usize] = self.row(c, place)?;
            let mut x = Vec::with_capacity(sum as usize);
            for k in 0..sum {
                self.unfold(&c.sums, k);
                x.push(super::rounded(elem, self.eval(c.x)?));
            }
            block.push(x);
        }
        Ok(block)
    }

    /// The number of a row: itself, or what the grouping put at that place.
    fn row(&self, c: &Contract, place: i64) -> Result<i64, InterpError> {
        match &c.grouping {
            Some(grouping) => Ok(self.read(grouping.order, place)? as i64),
            None => Ok(place),
        }
    }

    /// `layout`: columns of a panel, for each group, and its parts.
    fn part(&mut self, c: &Contract, part: Part, layout: (u32, u32), math: Math) -> Done {
        let x = self.evaluated(c, part.batch, part.rows)?;
        self.part_of(c, part, layout, math, &x)
    }

    /// A part whose left operand is at hand.
    fn part_of(&mut self, c: &Contract, part: Part, layout: (u32, u32), math: Math, x: &[Vec<f64>]) -> Done {
        let sum = self.product(&c.sums);
        let (panels, lanes, parts) = (self.panels(c, layout.0), i64::from(layout.0), i64::from(layout.1));
        let groups = i64::from(c.groups) / parts;
        let cols = self.extent(c.cols.extent);
        for (place, x) in (part.rows.0..part.rows.1).zip(x) {
            let row = self.row(c, place)?;
            self.vars[c.batch.var.0 as usize] = part.batch;
            self.vars[c.rows.var.0 as usize] = row;
            let x: Vec<f64> = x.iter().map(|v| multiplied(math, *v)).collect();
            for col in part.panel * lanes..cols.min((part.panel + 1) * lanes) {
                let mut accs = vec![0.0; c.groups as usize];
                let steps = if self.has_no_matrix(c, part.matrix) { 0 } else { x.len() };
                for (k, x) in x.iter().take(steps).enumerate() {
                    for (g, acc) in accs.iter_mut().enumerate() {
                        let g = g as i64;
                        let place = (part.matrix * panels + part.panel) * parts + g / groups;
                        let k = k as i64;
                        let lane = col - part.panel * lanes;
                        let (steps, together) = (c.products.steps(), c.products.together());
                        let word = place * ((sum + steps - 1) / steps * steps / together) + k / together;
                        let of_row = c.products.column((g % groups, groups), lane, lanes);
                        let at = (word * groups * lanes + of_row) * together + k % together;
                        let w = match &c.blocks {
                            None => self.read(c.w, at)?,
                            Some(blocks) => {
                                let row = |every: i64| {
                                    let row = place * ((sum + every - 1) / every) + k / every;
                                    (row * groups + g % groups) * lanes + lane
                                };
                                let stored = self.read(c.w, row(blocks.steps_of_row()))?;
                                let value = match (blocks.bits, k % 2) {
                                    (4, 0) => stored.rem_euclid(16.0) - Blocks::ZERO,
                                    (4, _) => (stored / 16.0).floor() - Blocks::ZERO,
                                    _ => stored,
                                };
                                value * self.read(blocks.scales, row(i64::from(blocks.size)))?
                            }
                        };
                        *acc += x * multiplied(math, w);
                    }
                }
                let acc = accumulator(self.kernel);
                self.accs = accs.into_iter().map(|sum| crate::scalar::wrap(acc, sum)).collect();
                self.vars[c.cols.var.0 as usize] = col;
                self.store_all(&c.stores)?;
            }
        }
        Ok(())
    }
}

/// An operand as it is multiplied.
fn multiplied(math: Math, x: f64) -> f64 {
    match math {
        Math::Tf32 => super::to_fraction(x, 10, -126, f64::from(f32::MAX)),
        Math::Fma | Math::Half => x,
    }
}
