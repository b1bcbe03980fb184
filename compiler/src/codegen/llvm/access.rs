//! Loads and stores of a kernel: vectors of neighbours, or lane by lane.

use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use inkwell::values::PointerValue;

use super::emit::Val;
use super::expr::{Frame, Lanes, Step};
use crate::kernel::index::known_stride;
use crate::kernel::{Bound, BufferId, Elem, Expr, ExprId, Extent, Index, Loop, Store};

/// Elements of a row that is found once for a loop: as many zeros may have to stand somewhere.
const LONGEST_ROW: i64 = 1024;

impl<'ctx> Frame<'_, 'ctx> {
    pub(super) fn load(&mut self, buffer: BufferId, index: &Index, bounds: &[Bound], otherwise: f64) -> Val<'ctx> {
        let inside = self.inside(bounds);
        self.load_if(inside, buffer, index, otherwise)
    }

    /// Elements that are read only where something holds.
    pub(super) fn load_if(
        &mut self,
        inside: Option<Val<'ctx>>,
        buffer: BufferId,
        index: &Index,
        otherwise: f64,
    ) -> Val<'ctx> {
        let e = self.emit;
        let elem = self.kernel.buffer(buffer).elem;
        let (memory, pointer) = (e.memory(elem), self.buffers[buffer.0 as usize]);
        let fill = e.number(self.register(elem), otherwise);
        let step = self.step(index);
        let varying_bounds = inside.is_some_and(|i| i.is_vector_value());
        match (step, self.lanes) {
            (Step::Next, Some(lanes)) => {
                let first = self.first_index(index);
                let at = e.at(pointer, memory, first);
                let ty = e.vector(memory, lanes.count);
                let mask = match (inside, lanes.tail) {
                    (None, None) => return e.from_memory(elem, e.load(ty, at)),
                    (Some(inside), None) => e.splat(inside, lanes.count),
                    (None, Some(tail)) => tail.mask,
                    (Some(inside), Some(tail)) => e.and(inside, tail.mask),
                };
                // Lanes outside of a tail may hold anything.
                if memory == self.register(elem) {
                    return e.masked_load(ty, at, mask, e.splat(fill, lanes.count));
                }
                let loaded = e.from_memory(elem, e.masked_load(ty, at, mask, e.zero(ty)));
                match inside {
                    Some(inside) => e.select(inside, loaded, fill),
                    None => loaded,
                }
            }
            (Step::Any, Some(lanes)) => self.load_lanes(elem, pointer, index, inside, fill, lanes.count),
            (_, Some(lanes)) if varying_bounds => self.load_lanes(elem, pointer, index, inside, fill, lanes.count),
            _ => {
                let at = self.index(index);
                match inside {
                    None => e.from_memory(elem, e.load(memory, e.at(pointer, memory, at))),
                    Some(inside) => {
                        e.choose(inside, || e.from_memory(elem, e.load(memory, e.at(pointer, memory, at))), fill)
                    }
                }
            }
        }
    }

    /// Do all lanes stand side by side in one place, whichever of several it is? Parts that are joined end to end, for one.
    pub(super) fn is_of_places(&self, id: ExprId) -> bool {
        let Some(lanes) = self.lanes.filter(|lanes| lanes.tail.is_none()) else { return false };
        match self.kernel.expr(id) {
            Expr::Load { index, bounds, otherwise, .. } => {
                let is_one = bounds.iter().all(|b| self.step(&b.index) == Step::Same);
                self.step(index) == Step::Next && is_one && (bounds.is_empty() || *otherwise == 0.0)
            }
            Expr::Select(c, a, b) => {
                !self.kernel.varies(*c, lanes.var) && self.is_of_places(*a) && self.is_of_places(*b)
            }
            _ => false,
        }
    }

    /// Finds such places of loads below `value` once for all of a loop, where they depend on nothing inside it.
    pub(super) fn find_rows(&mut self, value: ExprId, l: &Loop) {
        let e = self.emit;
        let Extent::Known(n @ 1..=LONGEST_ROW) = l.extent else { return };
        self.lanes = Some(Lanes { var: l.var, first: e.index(0), count: e.lanes, tail: None });
        for id in self.kernel.ids_below(value) {
            let goes_on = |e: &Expr| matches!(e, Expr::Load { index, .. } if known_stride(index, l.var) == Some(1));
            let is_row = || self.kernel.loads(id).into_iter().all(goes_on);
            if matches!(self.kernel.expr(id), Expr::Select(..)) && self.is_of_places(id) && is_row() {
                let ty = e.vector(e.memory(self.elem(id)), n as u32);
                let row = self.place(id, ty).into_pointer_value();
                self.rows.insert(id, row);
            }
        }
        self.lanes = None;
        self.forget();
    }

    /// A vector of such a row.
    pub(super) fn load_from_row(&mut self, id: ExprId, row: PointerValue<'ctx>) -> Val<'ctx> {
        let (e, elem) = (self.emit, self.elem(id));
        let memory = e.memory(elem);
        let Some(lanes) = self.lanes else { unreachable!("rows are read in vectors") };
        let ty = e.vector(memory, lanes.count);
        let at = e.at(row, memory, lanes.first);
        let v = match lanes.tail {
            Some(tail) => e.masked_load(ty, at, tail.mask, e.zero(ty)),
            None => e.load(ty, at),
        };
        e.from_memory(elem, v)
    }

    /// One load from the place that holds: of what is read under a mask, each place would be asked.
    pub(super) fn load_from_place(&mut self, id: ExprId) -> Val<'ctx> {
        let (e, elem) = (self.emit, self.elem(id));
        let ty = e.vector(e.memory(elem), self.lanes.map_or(1, |l| l.count));
        let place = self.place(id, ty);
        e.from_memory(elem, e.load(ty, place.into_pointer_value()))
    }

    fn place(&mut self, id: ExprId, ty: BasicTypeEnum<'ctx>) -> Val<'ctx> {
        let e = self.emit;
        match self.kernel.expr(id) {
            Expr::Load { buffer, index, bounds, .. } => {
                let inside = self.inside(bounds);
                let first = self.first_index(index);
                let at = e.at(self.buffers[buffer.0 as usize], e.element_of(ty), first).into();
                inside.map_or(at, |inside| e.select(inside, at, e.zeros(ty).into()))
            }
            Expr::Select(c, a, b) => {
                let c = self.eval(*c);
                let (a, b) = (self.place(*a, ty), self.place(*b, ty));
                e.select(c, a, b)
            }
            _ => unreachable!("no place"),
        }
    }

    /// Lane by lane. Lanes outside of a tail repeat a lane inside, so they may be read.
    fn load_lanes(
        &mut self,
        elem: Elem,
        pointer: PointerValue<'ctx>,
        index: &Index,
        inside: Option<Val<'ctx>>,
        fill: Val<'ctx>,
        count: u32,
    ) -> Val<'ctx> {
        let e = self.emit;
        let memory = e.memory(elem);
        let indices = self.index(index);
        let fill = e.splat(fill, count);
        let each = |inside: Option<Val<'ctx>>| {
            let mut all = fill;
            for lane in 0..count {
                let at = e.lane(indices, lane);
                let read = || e.from_memory(elem, e.load(memory, e.at(pointer, memory, at)));
                let value = match inside {
                    Some(inside) => e.choose(e.lane(inside, lane), read, e.lane(fill, lane)),
                    None => read(),
                };
                all = e.insert(all, value, lane);
            }
            all
        };
        match inside {
            // A border is met by few vectors: the others do not look at each lane.
            Some(inside) if inside.is_vector_value() => {
                let any = e.call("llvm.vector.reduce.or", &[inside]);
                e.choose(any, || each(Some(inside)), fill)
            }
            inside => each(inside),
        }
    }

    /// `buffer[index] = value`, lanes inside only.
    pub fn store(&mut self, store: &Store) {
        let value = self.eval(store.value);
        self.store_value(store, value);
    }

    /// `buffer[index] = value` for a value that is at hand.
    pub fn store_value(&mut self, store: &Store, value: Val<'ctx>) {
        let e = self.emit;
        let elem = self.kernel.buffer(store.buffer).elem;
        let pointer = self.buffers[store.buffer.0 as usize];
        let memory = e.memory(elem);
        let value = e.to_memory(elem, value);
        match (self.step(&store.index), self.lanes) {
            (Step::Next, Some(lanes)) => {
                let first = self.first_index(&store.index);
                let at = e.at(pointer, memory, first);
                let value = e.splat(value, lanes.count);
                match (lanes.tail, self.streams) {
                    (Some(tail), _) => e.store_inside(value, at, tail),
                    (None, None) => e.store(value, at),
                    (None, Some(streams)) => {
                        e.when(e.not(streams), || e.store(value, at));
                        e.when(streams, || e.stream(value, at));
                    }
                }
            }
            (Step::Any, Some(lanes)) => {
                let value = e.splat(value, lanes.count);
                // Lanes outside repeat the last one inside: they store what it stores.
                let last = lanes.tail.map(|tail| e.sub(tail.last, lanes.first));
                for lane in 0..lanes.count {
                    let at = self.index_at(&store.index, lane);
                    let write = || e.store(e.lane(value, lane), e.at(pointer, memory, at));
                    match last {
                        Some(last) => e.when(e.icmp(IntPredicate::SLE, e.index(i64::from(lane)), last), write),
                        None => write(),
                    }
                }
            }
            _ => {
                let at = self.index(&store.index);
                e.store(e.lane(value, 0), e.at(pointer, memory, at));
            }
        }
    }
}
