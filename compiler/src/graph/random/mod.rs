//! Random well-typed modules and values for them, from a seed: what differential tests of passes, rules and kernels run on.
//!
//! Programs are small, cover every kind of op, and are tame: magnitudes stay near 1, and whatever jumps (comparisons, top-k, casts) looks
//! at inputs or indices only, which hardware holds exactly. So compiled code may be compared with the interpreter closely.
//!
//! The same seed gives the same module and values everywhere.

mod indexed;
mod mixtures;
mod products;
mod quantized;
mod recurrences;
mod steps;
mod values;

use gatec_lang::Size;

pub use values::values;

use super::{
    Axis, AxisSet, Boundary, Builder, Elem, Entry, Init, Module, NamePiece, Param, Sizes, Source, State, Type, Value,
};
use crate::ops;
use crate::scalar::{Fold, Unary};

/// What a random module may hold.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many steps, each of one to a dozen nodes.
    pub steps: usize,
    pub loops: bool,
    pub routes: bool,
    /// An axis whose size is bound when the program runs: the symbol `t`.
    pub symbols: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 8, loops: true, routes: true, symbols: true }
    }
}

/// Elements of the largest value, with [`SYMBOL`] elements along an axis of unknown size.
const MAX_ELEMENTS: i64 = 4096;
/// The extent that unknown sizes are taken for where the generator bounds its values.
const SYMBOL: i64 = 8;
const MAX_AXES: usize = 4;

/// A module with one entry, `f`.
pub fn module(seed: u64, options: &Options) -> Module {
    let mut rng = Rng::new(seed);
    let mut sizes = Sizes::default();
    let mut axes = Vec::new();
    for name in ["d", "h", "e", "k"] {
        let size = *rng.pick(&[1, 2, 3, 4, 5, 7, 8, 16, 17]);
        axes.push(Axis::new(name));
        sizes.declare(Axis::new(name), Size::known(size));
    }
    let mut symbols = Vec::new();
    if options.symbols {
        symbols.push(("t".to_owned(), Some(64)));
        axes.push(Axis::new("t"));
        sizes.declare(Axis::new("t"), Size::symbol("t"));
    }
    let mut declared = Declared::default();
    let mut generator = Generator {
        rng: &mut rng,
        build: Builder::new(&mut sizes),
        pool: Vec::new(),
        exact: Vec::new(),
        axes,
        declared: Some(&mut declared),
        options: *options,
    };
    for _ in 0..2 {
        generator.input(Elem::F32);
    }
    if generator.rng.chance(30) {
        generator.state();
    }
    for _ in 0..options.steps {
        generator.step();
    }
    let (outputs, next, results) = generator.results();
    let graph = generator.build.finish(results);
    let entry = Entry {
        name: "f".into(),
        at_most: Vec::new(),
        assumed: None,
        inputs: declared.inputs,
        defaults: Vec::new(),
        outputs,
        next_states: next,
        graph,
    };
    Module {
        name: format!("random{seed}"),
        sizes,
        symbols,
        params: declared.params,
        states: declared.states,
        entries: vec![entry],
        ..Module::default()
    }
}

/// What a module declares, as the generator goes.
#[derive(Default)]
struct Declared {
    inputs: Vec<Boundary>,
    params: Vec<Param>,
    states: Vec<State>,
}

struct Generator<'a, 'b> {
    rng: &'a mut Rng,
    build: Builder<'b>,
    /// Floats to compute with.
    pool: Vec<Value>,
    /// Those of them that hardware holds exactly.
    exact: Vec<Value>,
    axes: Vec<Axis>,
    /// Absent in loops' bodies, which cannot declare anything.
    declared: Option<&'a mut Declared>,
    options: Options,
}

impl Generator<'_, '_> {
    /// A random order of random axes.
    fn some_axes(&mut self, at_most: usize) -> Vec<Axis> {
        let mut axes = self.axes.clone();
        self.rng.shuffle(&mut axes);
        axes.truncate(self.rng.below(at_most + 1));
        axes
    }

    fn input(&mut self, elem: Elem) -> Option<Value> {
        let order = self.some_axes(3);
        self.input_over(elem, order)
    }

    fn input_over(&mut self, elem: Elem, order: Vec<Axis>) -> Option<Value> {
        let declared = self.declared.as_mut()?;
        let index = declared.inputs.len() as u32;
        let boundary = Boundary { name: format!("x{index}"), elem, order };
        let ty = boundary.ty();
        declared.inputs.push(boundary);
        let value = self.build.add(ops::Input { index, ty }, &[]);
        if elem.is_float() {
            self.pool.push(value);
            self.exact.push(value);
        }
        Some(value)
    }

    fn param(&mut self, order: Vec<Axis>) -> Option<Value> {
        self.param_of(Elem::F32, order)
    }

    fn param_of(&mut self, elem: Elem, mut order: Vec<Axis>) -> Option<Value> {
        self.rng.shuffle(&mut order);
        if order.iter().any(|a| self.build.sizes.known(*a).is_none()) {
            return None;
        }
        let declared = self.declared.as_mut()?;
        let index = declared.params.len() as u32;
        let name = format!("w{index}");
        let tensor = Boundary { name: name.clone(), elem, order };
        let source =
            Source { name: vec![NamePiece::Text(name)], order: tensor.order.iter().map(|a| vec![*a]).collect() };
        let ty = tensor.ty();
        declared.params.push(Param { tensor, source, default: None });
        Some(self.build.add(ops::Param { index, ty }, &[]))
    }

    fn state(&mut self) {
        let order = self.some_axes(2);
        let Some(declared) = self.declared.as_mut() else { return };
        let tensor = Boundary { name: "s".into(), elem: Elem::F32, order };
        let ty = tensor.ty();
        declared.states.push(State { tensor, init: Init::Each(0.0) });
        let value = self.build.add(ops::State { index: 0, ty }, &[]);
        self.pool.push(value);
    }

    /// A value of the pool.
    fn any(&mut self) -> Value {
        // Later values more often: programs get deep.
        let n = self.pool.len();
        let i = self.rng.below(n).max(self.rng.below(n));
        self.pool[i]
    }

    /// Outputs and next states with their values.
    fn results(&mut self) -> (Vec<Boundary>, Vec<usize>, Vec<Value>) {
        let (mut outputs, mut results) = (Vec::new(), Vec::new());
        let count = 1 + self.rng.below(3);
        let last: Vec<Value> = self.pool.iter().rev().take(count).copied().collect();
        for (i, value) in last.into_iter().enumerate() {
            let ty = self.build.ty(value).clone();
            let mut order: Vec<Axis> = ty.axes.iter().collect();
            self.rng.shuffle(&mut order);
            outputs.push(Boundary { name: format!("y{i}"), elem: ty.elem, order });
            results.push(value);
        }
        let states: Vec<Type> =
            self.declared.as_ref().map(|d| d.states.iter().map(|s| s.tensor.ty()).collect()).unwrap_or_default();
        let mut next = Vec::new();
        for (i, ty) in states.iter().enumerate() {
            let value = self.any();
            results.push(self.conform(value, &ty.axes));
            next.push(i);
        }
        (outputs, next, results)
    }

    /// Elements that a type has at most.
    fn elements(&self, axes: &AxisSet) -> i64 {
        axes.iter().map(|a| self.build.sizes.known(a).unwrap_or(SYMBOL)).product()
    }

    fn is_small(&self, axes: &AxisSet) -> bool {
        axes.len() <= MAX_AXES && self.elements(axes) <= MAX_ELEMENTS
    }

    /// A value over other axes: means over those that it should lack, copies along those that it should have.
    fn conform(&mut self, x: Value, axes: &AxisSet) -> Value {
        let extra = self.build.ty(x).axes.minus(axes);
        let x = if extra.is_empty() { x } else { self.mean(x, extra) };
        let over = axes.minus(&self.build.ty(x).axes);
        if over.is_empty() { x } else { self.build.add(ops::Broadcast { over }, &[x]) }
    }

    fn mean(&mut self, x: Value, over: AxisSet) -> Value {
        let scale = 1.0 / self.elements(&over) as f64;
        let sum = self.build.reduce(Fold::Sum, over, x);
        self.scaled(sum, scale)
    }

    fn scaled(&mut self, x: Value, by: f64) -> Value {
        let by = self.build.number(Elem::F32, by);
        self.build.add(ops::Mul, &[x, by])
    }

    fn tame(&mut self, x: Value) -> Value {
        self.build.unary(Unary::Tanh, x)
    }
}

/// Pseudo-random numbers: splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// `0..n`; 0 if `n` is.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next_u64() % n as u64) as usize }
    }
    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
    /// A multiple of 1/64 in `-range..=range`: exact in every float type for small ranges.
    pub fn number(&mut self, range: f64) -> f64 {
        let n = (range * 64.0) as i64;
        (self.below(2 * n as usize + 1) as i64 - n) as f64 / 64.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::interp::run;
    use crate::graph::text::{parse, print};
    use crate::graph::verify::verify;

    #[test]
    fn random_modules_verify_run_and_read_back() {
        let mut ops = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let module = module(seed, &Options::default());
            let text = print(&module);
            assert_eq!(verify(&module), Ok(()), "seed {seed}\n{text}");
            let again = parse(&text).unwrap();
            assert_eq!(print(&again), text, "seed {seed}");
            for t in [0, 1, 5] {
                let given = values(&module, 0, &[("t", t)], seed);
                let outcome =
                    run(&module, &module.entries[0], &given).unwrap_or_else(|e| panic!("{seed}: {e}\n{text}"));
                let read = run(&again, &again.entries[0], &given).unwrap();
                assert_eq!(format!("{outcome:?}"), format!("{read:?}"), "seed {seed}");
                let wild = |x: &f64| x.is_finite() && x.abs() > 100.0;
                assert!(!outcome.outputs.iter().any(|y| y.data.iter().any(wild)), "seed {seed}\n{text}");
            }
            let graph = &module.entries[0].graph;
            ops.extend(graph.ids().map(|id| graph.node(id).op.name()));
        }
        // The generator is of use if it knows every op that an entry can hold.
        let outside = ["loaded", "carry", "item", "capture", "step"];
        let missing: Vec<_> =
            crate::ops::REFERENCE.iter().map(|r| r.0).filter(|op| !ops.contains(op) && !outside.contains(op)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn one_seed_is_one_module() {
        let options = Options::default();
        assert_eq!(print(&module(7, &options)), print(&module(7, &options)));
    }
}
