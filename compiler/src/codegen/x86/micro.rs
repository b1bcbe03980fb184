//! Microkernels for few rows: a tile of sums held in registers, shared by all contractions of a module.
//!
//! `rows` rows of the left operand, each behind a pointer of its own, against `panels` packed panels of `vectors` vectors. Every
//! accumulator adds its products one after the other in the order of the sums, in blocks of so many steps ([`InBlocks`]), whatever the
//! tile: one row and many rows give the same bits.

use std::collections::BTreeMap;

use inkwell::IntPredicate;
use inkwell::module::Linkage;
use inkwell::types::{BasicType, BasicTypeEnum};
use inkwell::values::{BasicValueEnum, FunctionValue, PointerValue};

use super::super::llvm::emit::{Emit, Val};
use super::super::llvm::expr::Frame;
use super::quantized::{Panel, Quantized, Step};
use crate::kernel::index::{Stride, stride};
use crate::kernel::{Elem, Index, Loop, Products};

/// How far ahead of its use a panel is fetched, in steps of a sum of f32 or their bytes: by one row and two, which take several panels at once, and
/// by more. Farther, weights in the second-level cache come more slowly; nearer, those in distant caches and memory do.
const AHEAD: [i64; 2] = [16, 64];
/// Steps of the sum in one turn of the loop.
const UNROLL: i64 = Step::WHOLE;

/// What tells one microkernel from another.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub rows: u32,
    pub panels: u32,
    pub vectors: u32,
    /// Loops that make up the sum.
    pub sums: u32,
    /// The innermost one steps over neighbours.
    pub dense: bool,
    /// Accumulators of a vector.
    pub lanes: u32,
    pub elems: Elems,
}

/// Element types: of rows and panels as they are stored, which are widened right after they are read, and of the accumulators.
#[derive(Clone, Copy, Debug)]
pub struct Elems {
    pub x: Elem,
    pub w: Elem,
    pub acc: Elem,
    /// Where both operands are words of several steps they move as accumulators do.
    pub products: Products,
    pub quantized: Option<Quantized>,
}

impl Elems {
    /// A name for functions of these types.
    pub(super) fn name(&self) -> String {
        match &self.quantized {
            _ if self.products == Products::Pairs => "pairs".into(),
            _ if self.products == Products::Bytes => "bytes".into(),
            _ if self.products == Products::Interleaved => format!("{}_interleaved", self.x),
            Some(quantized) => format!("{}_{}", self.x, quantized.name()),
            None => format!("{}_{}_{}", self.x, self.w, self.acc),
        }
    }

    /// The vectors of a step of a panel that is not quantised, as they are multiplied.
    pub(super) fn weights<'ctx>(
        &self,
        e: &Emit<'ctx>,
        row: PointerValue<'ctx>,
        (vectors, lanes): (u32, u32),
    ) -> Vec<Val<'ctx>> {
        let memory = e.memory(self.w);
        let at = |v: u32| e.at(row, memory, e.index(i64::from(v * lanes)));
        let paired = if self.products == Products::Interleaved { vectors / 2 * 2 } else { 0 };
        let of_pair = |v: u32| {
            let words = e.load(e.vector(e.int(32), lanes), at(v));
            let upper = e.and(words, e.bits(words.get_type(), 0xFFFF_0000));
            [e.shl(words, 16), upper].map(|word| e.bitcast(word, e.f32()))
        };
        let alone = |v: u32| e.widened(self.w, e.load(e.vector(memory, lanes), at(v)), e.register(self.acc));
        (0..paired).step_by(2).flat_map(of_pair).chain((paired..vectors).map(alone)).collect()
    }

    /// `x * w + sum`; of pairs, both products.
    pub(super) fn add_product<'ctx>(&self, e: &Emit<'ctx>, x: Val<'ctx>, w: Val<'ctx>, sum: Val<'ctx>) -> Val<'ctx> {
        match self.products {
            Products::Pairs => e.fma_pairs(x, w, sum),
            Products::Bytes => e.add_bytes(x, w, sum),
            _ if self.acc.is_float() => e.fma(x, w, sum),
            _ => e.add(e.mul(x, w), sum),
        }
    }
}

/// The loops of a sum, outermost first, as functions take them: how many steps each has, and how far apart they are in elements.
#[derive(Clone, Copy)]
pub struct Steps<'ctx> {
    pub counts: PointerValue<'ctx>,
    pub strides: PointerValue<'ctx>,
    pub loops: u32,
    /// The innermost one steps over neighbours.
    pub dense: bool,
}

impl<'ctx> Steps<'ctx> {
    /// No loops: one step.
    pub fn new(frame: &Frame<'_, 'ctx>, steps: &[(Val<'ctx>, Stride)]) -> Self {
        let e = frame.emit;
        let loops = steps.len().max(1) as u32;
        let array = e.i64().array_type(loops);
        let [counts, strides] = [(); 2].map(|()| e.variable(e.function(), array.into()));
        for (i, (extent, step)) in steps.iter().enumerate() {
            let step = step.dims.iter().fold(e.index(step.known), |s, d| e.mul(s, frame.dims[d.0 as usize]));
            e.store(*extent, e.at(counts, e.i64(), e.index(i as i64)));
            e.store(step, e.at(strides, e.i64(), e.index(i as i64)));
        }
        if steps.is_empty() {
            e.store(e.index(1), counts);
            e.store(e.index(0), strides);
        }
        let dense = steps.last().is_some_and(|(_, step)| *step == Stride::neighbours());
        Self { counts, strides, loops, dense }
    }

    /// The loops of a load where it stands.
    pub fn of_load(frame: &Frame<'_, 'ctx>, index: &Index, sums: &[Loop]) -> Vec<(Val<'ctx>, Stride)> {
        sums.iter().map(|l| (frame.extent(l.extent), stride(index, l.var).unwrap_or_default())).collect()
    }
}

/// Functions that the kernels of a module share, by name.
#[derive(Default)]
pub struct Micros<'ctx> {
    functions: BTreeMap<String, FunctionValue<'ctx>>,
}

impl<'ctx> Micros<'ctx> {
    /// The function of that name, built where it is not there yet.
    pub fn get(
        &mut self,
        emit: &Emit<'ctx>,
        name: &str,
        build: impl FnOnce(&Emit<'ctx>, &str) -> FunctionValue<'ctx>,
    ) -> FunctionValue<'ctx> {
        if let Some(&function) = self.functions.get(name) {
            return function;
        }
        let here = emit.builder.get_insert_block();
        let function = build(emit, name);
        if let Some(here) = here {
            emit.builder.position_at_end(here);
        }
        self.functions.insert(name.into(), function);
        function
    }
}

/// Begins a function of the module's own; its parameters.
pub(super) fn begin<'ctx>(
    e: &Emit<'ctx>,
    name: &str,
    params: &[BasicTypeEnum<'ctx>],
) -> (FunctionValue<'ctx>, Vec<BasicValueEnum<'ctx>>) {
    let params: Vec<_> = params.iter().map(|p| (*p).into()).collect();
    let function = e.module.add_function(name, e.context.void_type().fn_type(&params, false), Some(Linkage::Internal));
    e.mark(function);
    e.builder.position_at_end(e.context.append_basic_block(function, "entry"));
    (function, function.get_param_iter().collect())
}

/// `fn(rows: *const *const x, panels: *const w, panel_elements, counts: *const i64, strides: *const i64, tile: *mut acc, block)`:
/// the tile is `[panel][row][vector]`; counts and strides (in elements) are those of the loops of the sum, of which `block` steps are added
/// up by themselves. Of quantised weights also
/// `scales` and how far apart those of two panels are.
pub fn micro<'ctx>(micros: &mut Micros<'ctx>, e: &Emit<'ctx>, shape: Shape) -> FunctionValue<'ctx> {
    let Shape { rows, panels, vectors, sums, dense, elems, .. } = shape;
    let dense = if dense { "d" } else { "s" };
    let name = format!("micro_{rows}x{panels}x{vectors}_{sums}{dense}_{}", elems.name());
    micros.get(e, &name, |e, name| build(e, name, shape))
}

fn build<'ctx>(e: &Emit<'ctx>, name: &str, shape: Shape) -> FunctionValue<'ctx> {
    let Shape { rows, panels, vectors, sums, dense, lanes, elems } = shape;
    let (pointer, i64) = (e.pointer(), e.i64());
    let types = [pointer, pointer, i64, pointer, pointer, pointer, i64, pointer, i64];
    let (function, params) = begin(e, name, &types[..if elems.quantized.is_some() { 9 } else { 7 }]);

    let (x_memory, w_memory, acc_type) = (e.memory(elems.x), e.memory(elems.w), e.register(elems.acc));
    let vector = e.vector(acc_type, lanes);
    let sum = InBlocks::new(e, function, panels * rows * vectors, (elems.acc, lanes), params[5].into_pointer_value());
    let acc = |p: u32, r: u32, v: u32| sum.accs[((p * rows + r) * vectors + v) as usize];
    sum.begin(e, params[6], e.index(0));
    let excess = Excess::new(e, function, elems, (panels * vectors, lanes));
    let row_pointers: Vec<_> = (0..rows)
        .map(|r| e.load(pointer, e.at(params[0].into_pointer_value(), pointer, e.index(i64::from(r)))))
        .collect();
    let panel = e.variable(function, pointer);
    e.store(params[1], panel);
    let (counts, strides) = (params[3].into_pointer_value(), params[4].into_pointer_value());
    let number = |at, i: u32| e.load(i64, e.at(at, i64, e.index(i64::from(i))));
    let step_elements = i64::from(vectors * lanes);
    let steps_ahead = AHEAD[usize::from(rows > 2)] * Elem::F32.bytes() as i64 / elems.w.bytes() as i64;
    let ahead = steps_ahead * step_elements;

    // Quantised weights are found by the number of a step, which is a multiple of UNROLL at each turn of a sum of one loop.
    let passed = e.variable(function, i64);
    e.store(e.index(0), passed);
    let quantized_panel = |p: u32, quantized: Quantized| {
        let shift = |apart, memory, base: usize| {
            e.at(params[base].into_pointer_value(), memory, e.mul(params[apart], e.index(i64::from(p))))
        };
        let (values, scales) = (shift(2, w_memory, 1), shift(8, e.memory(quantized.scale), 7));
        Panel { values, scales, vectors, lanes }
    };
    let aligned = sums == 1;
    let scales = |ahead: i64| -> Vec<Vec<Val<'ctx>>> {
        let Some(quantized) = elems.quantized else { return Vec::new() };
        let step = Step { first: e.load(i64, passed), beyond: ahead, aligned };
        (0..panels).map(|p| quantized.scales(e, quantized_panel(p, quantized), step)).collect()
    };

    // One step of the sum: `offset` elements into each row, `ahead` steps beyond the panels' position.
    let step = |offset: Val<'ctx>, base: Val<'ctx>, ahead: i64, scales: &[Vec<Val<'ctx>>], aligned: bool| {
        for p in 0..panels {
            let w: Vec<Val> = if let Some(quantized) = elems.quantized {
                let step = Step { first: e.load(i64, passed), beyond: ahead, aligned };
                quantized.weights(e, quantized_panel(p, quantized), step, &scales[p as usize])
            } else {
                let shift = e.add(e.mul(params[2], e.index(i64::from(p))), e.index(ahead * step_elements));
                let row = e.at(base.into_pointer_value(), w_memory, shift);
                elems.weights(e, row, (vectors, lanes))
            };
            w.iter().zip(0..).for_each(|(w, v)| excess.add(e, p * vectors + v, *w));
            for r in 0..rows {
                let x = e.load(x_memory, e.at(row_pointers[r as usize].into_pointer_value(), x_memory, offset));
                let x = e.widened_in(elems.x, x, acc_type, lanes);
                for v in 0..vectors {
                    let sum = e.load(vector, acc(p, r, v));
                    e.store(elems.add_product(e, x, w[v as usize], sum), acc(p, r, v));
                }
            }
        }
    };
    let pass = |base: Val<'ctx>, steps: i64| {
        // Of two steps in a byte the panel only serves to fetch what lies ahead.
        let rows = if elems.quantized.is_some_and(|q| q.bits == 4) { steps / 2 } else { steps };
        e.store(e.at(base.into_pointer_value(), w_memory, e.index(rows * step_elements)).into(), panel);
        e.store(e.add(e.load(i64, passed), e.index(steps)), passed);
    };
    let innermost = |start: Val<'ctx>| {
        let count = number(counts, sums - 1);
        let stride = if dense { e.index(1) } else { number(strides, sums - 1) };
        let at = |k: Val<'ctx>| if dense { e.add(start, k) } else { e.add(start, e.mul(k, stride)) };
        sum.each(e, count, |from, count| {
            let whole = e.sub(count, e.index(UNROLL - 1));
            let rest = e.each(from, whole, UNROLL, |k| {
                let base = e.load(pointer, panel);
                for p in 0..panels {
                    let shift = e.add(e.mul(params[2], e.index(i64::from(p))), e.index(ahead));
                    let bytes = UNROLL * step_elements * elems.w.bytes() as i64;
                    e.prefetch(e.at(base.into_pointer_value(), w_memory, shift), bytes);
                }
                let shared = elems.quantized.filter(|q| aligned && q.is_even()).map(|_| scales(0));
                for u in 0..UNROLL {
                    let own = if shared.is_none() { scales(u) } else { Vec::new() };
                    step(at(e.add(k, e.index(u))), base, u, shared.as_ref().unwrap_or(&own), aligned);
                }
                pass(base, UNROLL);
            });
            e.each(rest, count, 1, |k| {
                let base = e.load(pointer, panel);
                step(at(k), base, 0, &scales(0), false);
                pass(base, 1);
            });
        });
    };
    outer_sums(e, sums, &number, counts, strides, 0, e.index(0), &innermost);

    sum.finish(e);
    let of = |n: u32| n / (rows * vectors) * vectors + n % vectors;
    excess.take(e, params[5].into_pointer_value(), panels * rows * vectors, of);
    e.builder.build_return(None).expect("the function returns nothing");
    function
}

/// A tile of sums in registers, a block of steps at a time: its sums then join those of the blocks before, in memory.
pub(super) struct InBlocks<'ctx> {
    /// Of the block under way.
    pub accs: Vec<PointerValue<'ctx>>,
    tile: PointerValue<'ctx>,
    elem: Elem,
    lanes: u32,
    /// Steps of a block, and those that the one under way lacks.
    block: PointerValue<'ctx>,
    left: PointerValue<'ctx>,
    /// Zero before the first block is done.
    goes_on: PointerValue<'ctx>,
}

impl<'ctx> InBlocks<'ctx> {
    /// `count` vectors, which are `tile` in memory.
    pub fn new(
        e: &Emit<'ctx>,
        function: FunctionValue<'ctx>,
        count: u32,
        (elem, lanes): (Elem, u32),
        tile: PointerValue<'ctx>,
    ) -> Self {
        let vector = e.vector(e.register(elem), lanes);
        let accs = (0..count).map(|_| e.variable(function, vector)).collect();
        let [block, left, goes_on] = [(); 3].map(|()| e.variable(function, e.i64()));
        Self { accs, tile, elem, lanes, block, left, goes_on }
    }

    /// At the first step of a block; `goes_on` is zero if there was none before.
    pub fn begin(&self, e: &Emit<'ctx>, block: Val<'ctx>, goes_on: Val<'ctx>) {
        e.store(block, self.block);
        e.store(goes_on, self.goes_on);
        self.empty(e);
    }

    /// `steps` more: `body` runs those from..to, which are of one block.
    pub fn each(&self, e: &Emit<'ctx>, steps: Val<'ctx>, body: impl FnOnce(Val<'ctx>, Val<'ctx>)) {
        e.advance(e.index(0), steps, |from| {
            let left = e.load(e.i64(), self.left);
            let to = e.min(steps, e.add(from, left));
            body(from, to);
            let left = e.sub(left, e.sub(to, from));
            e.store(left, self.left);
            e.when(e.icmp(IntPredicate::EQ, left, e.index(0)), || self.join(e));
            to
        });
    }

    /// Joins what there is of the last block; of no steps at all, zeros.
    pub fn finish(&self, e: &Emit<'ctx>) {
        let [block, left, goes_on] = [self.block, self.left, self.goes_on].map(|v| e.load(e.i64(), v));
        let is_first = e.icmp(IntPredicate::EQ, goes_on, e.index(0));
        e.when(e.or(is_first, e.icmp(IntPredicate::SLT, left, block)), || self.join(e));
    }

    fn empty(&self, e: &Emit<'ctx>) {
        e.store(e.load(e.i64(), self.block), self.left);
        let zero = e.zero(e.vector(e.register(self.elem), self.lanes));
        self.accs.iter().for_each(|acc| e.store(zero, *acc));
    }

    fn join(&self, e: &Emit<'ctx>) {
        let vector = e.vector(e.register(self.elem), self.lanes);
        let place = |i: usize| e.at(self.tile, e.register(self.elem), e.index(i as i64 * i64::from(self.lanes)));
        e.when(e.icmp(IntPredicate::NE, e.load(e.i64(), self.goes_on), e.index(0)), || {
            for (i, acc) in self.accs.iter().enumerate() {
                e.store(e.add(e.load(vector, place(i)), e.load(vector, *acc)), *acc);
            }
        });
        self.accs.iter().enumerate().for_each(|(i, acc)| e.store(e.load(vector, *acc), place(i)));
        e.store(e.index(1), self.goes_on);
        self.empty(e);
    }
}

/// Products of bytes take those of rows without sign: 128 was added to each. What that adds to a sum, 128 times the sum of the panel's
/// column, is made beside it and taken away at the end.
pub(super) struct Excess<'ctx> {
    sums: Vec<PointerValue<'ctx>>,
    lanes: u32,
}

impl<'ctx> Excess<'ctx> {
    /// Of `count` vectors of columns, if there is any.
    pub fn new(e: &Emit<'ctx>, function: FunctionValue<'ctx>, elems: Elems, (count, lanes): (u32, u32)) -> Self {
        let vector = e.vector(e.int(32), lanes);
        let count = if elems.products == Products::Bytes { count } else { 0 };
        let sums: Vec<_> = (0..count).map(|_| e.variable(function, vector)).collect();
        sums.iter().for_each(|sum| e.store(e.zero(vector), *sum));
        Self { sums, lanes }
    }

    /// A step of a vector of columns.
    pub fn add(&self, e: &Emit<'ctx>, i: u32, w: Val<'ctx>) {
        let Some(&sum) = self.sums.get(i as usize) else { return };
        let vector = e.vector(e.int(32), self.lanes);
        let offset = e.splat(e.bits(e.int(32), 0x8080_8080), self.lanes);
        e.store(e.add_bytes(offset, w, e.load(vector, sum)), sum);
    }

    /// Takes it away from the sums in `tile`, of which number `n` is of the vector `of(n)` of columns.
    pub fn take(&self, e: &Emit<'ctx>, tile: PointerValue<'ctx>, count: u32, of: impl Fn(u32) -> u32) {
        if self.sums.is_empty() {
            return;
        }
        let vector = e.vector(e.int(32), self.lanes);
        for n in 0..count {
            let at = e.at(tile, e.int(32), e.index(i64::from(n * self.lanes)));
            let excess = e.load(vector, self.sums[of(n) as usize]);
            e.store(e.sub(e.load(vector, at), excess), at);
        }
    }
}

/// The loops of the sum around the innermost one; `start` is the offset in each row.
#[allow(clippy::too_many_arguments, reason = "one recursive loop nest, spelled out")]
pub(super) fn outer_sums<'ctx>(
    e: &Emit<'ctx>,
    sums: u32,
    number: &dyn Fn(inkwell::values::PointerValue<'ctx>, u32) -> Val<'ctx>,
    counts: inkwell::values::PointerValue<'ctx>,
    strides: inkwell::values::PointerValue<'ctx>,
    level: u32,
    start: Val<'ctx>,
    innermost: &dyn Fn(Val<'ctx>),
) {
    if level + 1 >= sums {
        return innermost(start);
    }
    let (count, stride) = (number(counts, level), number(strides, level));
    e.each(e.index(0), count, 1, |i| {
        let start = e.add(start, e.mul(i, stride));
        outer_sums(e, sums, number, counts, strides, level + 1, start, innermost);
    });
}
