//! Nests: stages at a point, folds shared by lanes or threads.

use super::{Done, InterpError, Machine};
use crate::kernel::{Elem, ExprId, Fold, Loop, Nest, Segment, Stage};
use crate::scalar;
use crate::schedule::gpu::ELEMENTS;
use crate::schedule::{Along, GPU_THREADS, Gpu};

impl Machine<'_> {
    pub(super) fn nest_on_cpu(&mut self, nest: &Nest, along: Along, lanes: u32) -> Done {
        match (along, nest.outer.split_last()) {
            (Along::Outer, Some((lane_loop, shared))) => {
                self.unfold(shared, self.unit);
                // Each lane is a point of its own.
                (0..self.extent(lane_loop.extent)).try_for_each(|i| {
                    self.vars[lane_loop.var.0 as usize] = i;
                    self.walk(nest, 1)
                })
            }
            (Along::Points(n) | Along::Across(n), Some((lane_loop, shared))) => {
                let extent = self.extent(lane_loop.extent);
                let blocks = (extent + i64::from(n) - 1) / i64::from(n);
                self.unfold(shared, self.unit / blocks.max(1));
                let first = self.unit % blocks.max(1) * i64::from(n);
                let shared_by = if matches!(along, Along::Across(_)) { lanes } else { 1 };
                (first..extent.min(first + i64::from(n))).try_for_each(|i| {
                    self.vars[lane_loop.var.0 as usize] = i;
                    self.walk(nest, shared_by)
                })
            }
            (Along::Turned(with), _) => {
                let (mut rest, with, lanes) = (self.unit, with as usize, i64::from(lanes));
                for (i, l) in nest.outer.iter().enumerate().rev() {
                    let extent = self.extent(l.extent);
                    let count = if i == with { (extent + lanes - 1) / lanes } else { extent }.max(1);
                    self.vars[l.var.0 as usize] = rest % count;
                    rest /= count;
                }
                let across = &nest.outer[with];
                let first = self.vars[across.var.0 as usize] * lanes;
                (first..self.extent(across.extent).min(first + lanes)).try_for_each(|i| {
                    self.vars[across.var.0 as usize] = i;
                    self.walk(nest, 1)
                })
            }
            _ => {
                self.unfold(&nest.outer, self.unit);
                self.walk(nest, if along == Along::Inner { lanes } else { 1 })
            }
        }
    }

    pub(super) fn nest_on_gpu(&mut self, nest: &Nest, gpu: &Gpu) -> Done {
        if nest.walk.is_some() {
            return Err(InterpError::Schedule);
        }
        match (gpu, nest.stages.as_slice()) {
            (Gpu::Elements, [Stage::Map { inner, stores }]) => {
                let loops: Vec<Loop> = nest.outer.iter().chain(inner).cloned().collect();
                let first = self.unit * i64::from(ELEMENTS);
                let end = (first + i64::from(ELEMENTS)).min(self.product(&loops));
                (0..i64::from(GPU_THREADS)).rev().try_for_each(|thread| {
                    (first + thread..end).step_by(GPU_THREADS as usize).try_for_each(|at| {
                        self.unfold(&loops, at);
                        self.store_all(stores)
                    })
                })
            }
            (Gpu::Row, _) => {
                self.unfold(&nest.outer, self.unit);
                self.stages(nest, GPU_THREADS)
            }
            (Gpu::Points, _) => {
                let total = self.product(&nest.outer);
                self.block_of_points(total).try_for_each(|point| {
                    self.unfold(&nest.outer, point);
                    self.stages(nest, 1)
                })
            }
            _ => Err(InterpError::Schedule),
        }
    }

    /// All iterations at a point.
    fn walk(&mut self, nest: &Nest, shared_by: u32) -> Done {
        if let Some(only) = nest.only
            && self.eval(only)? == 0.0
        {
            return Ok(());
        }
        let Some(walk) = &nest.walk else { return self.stages(nest, shared_by) };
        (0..self.extent(walk.extent)).try_for_each(|i| {
            self.vars[walk.var.0 as usize] = i;
            self.stages(nest, shared_by)
        })
    }

    /// The stages at a point, each shared by that many lanes or threads.
    fn stages(&mut self, nest: &Nest, shared_by: u32) -> Done {
        self.temps.clear();
        nest.stages.iter().try_for_each(|stage| match stage {
            Stage::Map { inner, stores } => (0..self.product(inner)).try_for_each(|at| {
                self.unfold(inner, at);
                self.store_all(stores)
            }),
            Stage::Reduce { temp, elem, fold, inner, segment, value } => {
                let result = match segment {
                    Some(segment) => self.fold_segment(*elem, *fold, &inner[0], segment, *value)?,
                    None => self.fold(*elem, *fold, inner, *value, shared_by)?,
                };
                let number = temp.0 as usize;
                self.temps.resize(self.temps.len().max(number + 1), f64::NAN);
                self.temps[number] = result;
                Ok(())
            }
            Stage::Running { fold, over, exclusive, value, store } => {
                let elem = self.types[value.0 as usize];
                let mut sum = unit(*fold, elem);
                (0..self.extent(over.extent)).try_for_each(|i| {
                    self.vars[over.var.0 as usize] = i;
                    let v = self.eval(*value)?;
                    let after = join(*fold, elem, sum, v);
                    self.store(store, if *exclusive { sum } else { after })?;
                    sum = after;
                    Ok(())
                })
            }
        })
    }

    fn fold_segment(
        &mut self,
        elem: Elem,
        fold: Fold,
        l: &Loop,
        segment: &Segment,
        value: ExprId,
    ) -> Result<f64, InterpError> {
        let at = self.index(&segment.at)?;
        let [from, to] = [at, at + 1].map(|i| self.read(segment.offsets, i));
        let mut sum = unit(fold, elem);
        for place in from? as i64..to? as i64 {
            self.vars[l.var.0 as usize] = self.read(segment.order, place)? as i64;
            sum = join(fold, elem, sum, self.eval(value)?);
        }
        Ok(sum)
    }

    fn fold(
        &mut self,
        elem: Elem,
        fold: Fold,
        inner: &[Loop],
        value: ExprId,
        shared_by: u32,
    ) -> Result<f64, InterpError> {
        let total = self.product(inner);
        if matches!(fold, Fold::ArgMax | Fold::ArgMin) {
            let mut best: Option<(f64, i64)> = None;
            for at in 0..total {
                self.unfold(inner, at);
                let v = self.eval(value)?;
                let wins = best.is_none_or(|(b, _)| if fold == Fold::ArgMax { v > b } else { v < b });
                if wins && !v.is_nan() {
                    best = Some((v, at));
                }
            }
            return Ok(best.map_or(0, |(_, at)| at) as f64);
        }
        let mut partial = vec![unit(fold, elem); shared_by as usize];
        for at in 0..total {
            self.unfold(inner, at);
            let v = self.eval(value)?;
            let share = (at % i64::from(shared_by)) as usize;
            partial[share] = join(fold, elem, partial[share], v);
        }
        while partial.len() > 1 {
            let upper = partial.split_off(partial.len() / 2);
            partial.iter_mut().zip(upper).for_each(|(a, b)| *a = join(fold, elem, *a, b));
        }
        Ok(partial[0])
    }
}

fn graph_fold(fold: Fold) -> scalar::Fold {
    match fold {
        Fold::Sum => scalar::Fold::Sum,
        Fold::Prod => scalar::Fold::Prod,
        Fold::Max | Fold::ArgMax => scalar::Fold::Max,
        Fold::Min | Fold::ArgMin => scalar::Fold::Min,
        Fold::Any => scalar::Fold::Any,
        Fold::All => scalar::Fold::All,
    }
}

fn unit(fold: Fold, elem: Elem) -> f64 {
    graph_fold(fold).unit(elem)
}

fn join(fold: Fold, elem: Elem, a: f64, b: f64) -> f64 {
    graph_fold(fold).step(elem, a, b)
}
