//! Loads and stores of a kernel: vectors of neighbours, or lane by lane.

use inkwell::IntPredicate;
use inkwell::values::PointerValue;

use super::emit::Val;
use super::expr::{Frame, Step};
use crate::kernel::{Bound, BufferId, Elem, Index, Store};

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
