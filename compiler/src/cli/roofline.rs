//! What this machine can do: multiply-adds, and bytes read, by as many threads as a model uses.
//!
//! Both are measured by kernels of the same code generator, run by the same runtime and its threads, in the same program as
//! what is held against them. A roof is the fastest of many rounds: nothing that runs beside them may pull it down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatec_runtime::format::{
    Arg, Axis, Buffer, Call, Elem, Entry, Isa, Kernel, Manifest, Place, Plan, SizeExpr, Step, Symbol, Tensor, VERSION,
    Variant,
};
use gatec_runtime::{LoadOptions, Model, RunError, Session, View, Weights};

use super::Failure;
use crate::codegen::x86::roof::{CHAINS, STREAMS, TILE_SUMS, UNROLLED, VECTORS};
use crate::kernel::Products;
use crate::schedule::Tiles;
use crate::{BuildError, artifact, codegen, schedule};

/// The least and greatest working set, in bytes: within the nearest cache, and beyond all of them.
const SMALLEST: u64 = 16 << 10;
const LARGEST: u64 = 256 << 20;
/// How long each figure is looked for.
const PATIENCE: Duration = Duration::from_millis(20);
/// A round takes about this long: starting the threads must not show.
const ROUND: Duration = Duration::from_millis(2);

/// Elements of a cache line.
const LINE: usize = 16;

/// The roofs of a machine, measured when they are first asked for.
pub struct Roofline {
    isa: Isa,
    threads: usize,
    peak: Peak,
    /// Of tiles, where there are any.
    tiles: Option<Peak>,
    read: RefCell<(Session, BTreeMap<u64, f64>)>,
}

struct Peak {
    session: Session,
    /// Operations in a round.
    each: u64,
    flops_per_ns: f64,
}

impl Peak {
    fn new(session: Session, each: u64) -> Result<Self, RunError> {
        let mut peak = Self { session, each, flops_per_ns: 0.0 };
        peak.again()?;
        Ok(peak)
    }

    fn again(&mut self) -> Result<(), RunError> {
        let found = fastest(|rounds| {
            let rounds = rounds.next_multiple_of(u64::from(UNROLLED));
            self.session.bind("rounds", rounds as usize)?;
            let start = Instant::now();
            self.session.run(&[("x", (&[0.5f32]).into())])?;
            Ok((start.elapsed(), rounds * self.each))
        })?;
        self.flops_per_ns = self.flops_per_ns.max(found);
        Ok(())
    }
}

impl Roofline {
    /// Measures the peak, with `threads` threads and the vectors of `isa`.
    pub fn new(isa: Isa, threads: usize) -> Result<Self, Failure> {
        let options = LoadOptions::default().isa(isa).threads(threads);
        let bytes = program(isa)?;
        let model =
            Model::from_bytes(bytes, Weights::default(), &options).map_err(|e| Failure::Other(e.to_string()))?;
        let session = |entry: &str| -> Result<Session, RunError> {
            let mut session = model.session(entry)?;
            session.bind("threads", threads)?;
            Ok(session)
        };
        let peak = |entry, each: u32| Peak::new(session(entry)?, u64::from(each) * threads as u64);
        let vectors = peak("peak", 2 * CHAINS * schedule::lanes(isa)).map_err(other)?;
        // Each of four sums has a row and a column for every pair.
        let of_tiles = || peak("tiles", TILE_SUMS * Tiles::ROWS * Tiles::PAIRS * 4 * Tiles::PAIRS);
        let tiles = schedule::has_tiles(isa).then(of_tiles).transpose().map_err(other)?;
        let read = RefCell::new((session("read").map_err(other)?, BTreeMap::new()));
        Ok(Self { isa, threads, peak: vectors, tiles, read })
    }

    /// Arithmetic operations of vectors in a nanosecond.
    pub fn flops_per_ns(&self) -> f64 {
        self.peak.flops_per_ns
    }

    /// Those of a kernel with such a label. Tiles of bytes hold twice as many numbers as those of bf16, and vectors of bytes four times as
    /// many as those of f32; they take as long.
    pub fn flops_per_ns_of(&self, label: &str) -> f64 {
        match &self.tiles {
            Some(tiles) if label.contains(Products::ByteTiles.label()) => 2.0 * tiles.flops_per_ns,
            Some(tiles) if label.contains(Products::Tiles.label()) => tiles.flops_per_ns,
            _ if label.contains(Products::Bytes.label()) => 4.0 * self.flops_per_ns(),
            _ => self.flops_per_ns(),
        }
    }

    /// Those of tiles, in variants that have them.
    pub fn tile_flops_per_ns(&self) -> Option<f64> {
        Some(self.tiles.as_ref()?.flops_per_ns)
    }

    /// Bytes read in a nanosecond, over and over from a working set of about `bytes`: the next smaller power of two, so that the
    /// figure is no less than that of `bytes`.
    pub fn bytes_per_ns(&self, bytes: u64) -> Result<f64, Failure> {
        let set = 1 << bytes.clamp(SMALLEST, LARGEST).ilog2();
        let mut read = self.read.borrow_mut();
        if let Some(known) = read.1.get(&set) {
            return Ok(*known);
        }
        let found = bandwidth(&mut read.0, self.isa, self.threads, set).map_err(other)?;
        read.1.insert(set, found);
        Ok(found)
    }

    /// Measures again: a roof that something went beyond may have been disturbed when it was measured. It only rises.
    pub fn again(&mut self) -> Result<(), Failure> {
        for peak in [Some(&mut self.peak), self.tiles.as_mut()].into_iter().flatten() {
            peak.again().map_err(other)?;
        }
        let (session, known) = self.read.get_mut();
        for (set, found) in known {
            *found = found.max(bandwidth(session, self.isa, self.threads, *set).map_err(other)?);
        }
        Ok(())
    }

    /// Working sets in bytes and their figures, as far as they were asked for.
    pub fn measured(&self) -> Vec<(u64, f64)> {
        self.read.borrow().1.iter().map(|(set, found)| (*set, *found)).collect()
    }
}

fn other(error: RunError) -> Failure {
    Failure::Other(format!("measuring the machine: {error}"))
}

/// Bytes in a nanosecond, from `set` bytes that the threads share evenly.
fn bandwidth(session: &mut Session, isa: Isa, threads: usize, set: u64) -> Result<f64, RunError> {
    // Elements of a vector, of one step, and of a thread's share.
    let vector = u64::from(schedule::lanes(isa));
    let (run, step) = (vector * u64::from(VECTORS), vector * u64::from(VECTORS * STREAMS));
    let steps = (set / 4 / threads as u64 / step).max(1);
    let share = steps * step;
    let count = (share * threads as u64) as usize;
    let memory = vec![1.0f32; count + LINE];
    // A vector that begins in the middle of a line reads two of them.
    let aligned = memory.as_ptr().align_offset(4 * LINE).min(LINE);
    let x = &memory[aligned..aligned + count];
    let mut best: f64 = 0.0;
    // One run after the other, or each stream in a part of its own; the processor's guess what comes next, or ours: kernels do
    // all of that, and which is faster depends on the cache.
    let streams = [(step, run), (run, share / u64::from(STREAMS))];
    for ((step, apart), steps_ahead) in streams.iter().flat_map(|s| [0, 8, 16].map(|ahead| (*s, ahead))) {
        let sizes =
            [("steps", steps), ("step", step), ("apart", apart), ("share", share), ("ahead", steps_ahead * step)];
        for (symbol, size) in sizes {
            session.bind(symbol, size as usize)?;
        }
        let found = fastest(|rounds| {
            session.bind("rounds", rounds as usize)?;
            let start = Instant::now();
            session.run(&[("x", View::flat(x))])?;
            Ok((start.elapsed(), rounds * 4 * share * threads as u64))
        })?;
        best = best.max(found);
    }
    Ok(best)
}

/// The most work in a nanosecond. `run` does so many rounds, and says how long they took and how much work they were.
fn fastest(mut run: impl FnMut(u64) -> Result<(Duration, u64), RunError>) -> Result<f64, RunError> {
    let mut rounds = 1;
    while run(rounds)?.0 < ROUND / 2 && rounds < 1 << 40 {
        rounds *= 2;
    }
    let (start, mut best) = (Instant::now(), 0.0f64);
    loop {
        let (took, work) = run(rounds)?;
        best = best.max(work as f64 / took.as_nanos().max(1) as f64);
        if start.elapsed() >= PATIENCE {
            return Ok(best);
        }
    }
}

/// The artifact of the kernels.
fn program(isa: Isa) -> Result<Vec<u8>, BuildError> {
    let object = codegen::roof(isa)?;
    Ok(artifact::assemble(&manifest(isa), std::slice::from_ref(&object), None)?)
}

const SYMBOLS: [&str; 8] = ["threads", "elements", "rounds", "steps", "step", "apart", "share", "ahead"];

fn symbol(name: &str) -> SizeExpr {
    SizeExpr::Symbol(SYMBOLS.iter().position(|s| *s == name).unwrap_or(usize::MAX) as u32)
}

fn manifest(isa: Isa) -> Manifest {
    let floats = |count: SizeExpr| SizeExpr::Mul(vec![SizeExpr::Known(4), count]);
    let tensor = |name: &str, axis: &str, size: &SizeExpr| Tensor {
        name: name.into(),
        elem: Elem::F32,
        axes: vec![Axis { name: axis.into(), size: size.clone() }],
    };
    let zero = || SizeExpr::Known(0);
    let arg = |buffer| Arg { buffer, offset: zero(), strides: vec![], odd: zero(), bytes: zero() };
    let entry = |name: &str, x: &SizeExpr| Entry {
        at_most: Vec::new(),
        name: name.into(),
        inputs: vec![tensor("x", "elements", x)],
        defaults: Vec::new(),
        outputs: vec![tensor("out", "threads", &symbol("threads"))],
        reads: vec![],
        sets: vec![],
        indices: vec![],
        needs: vec![],
    };
    let plan = |kernel: u32, x: &SizeExpr, dims: &[&str]| Plan {
        buffers: vec![
            Buffer { name: "x".into(), place: Place::Input(0), bytes: floats(x.clone()) },
            Buffer { name: "out".into(), place: Place::Output(0), bytes: floats(symbol("threads")) },
        ],
        steps: vec![Step::Call(Call {
            kernel,
            args: vec![arg(0), arg(1)],
            dims: dims.iter().map(|d| symbol(d)).collect(),
            units: symbol("threads"),
            // Worth sharing.
            unit_ns: ROUND.as_nanos() as f32,
            scratch_bytes: zero(),
            flops: zero(),
            lines: vec![],
            routing: None,
            checks: Vec::new(),
        })],
    };
    let kernel =
        |symbol: &str, dims| Kernel { symbol: symbol.into(), label: symbol.into(), args: 2, dims, launch: None };
    let (one, many) = (SizeExpr::Known(1), symbol("elements"));
    let mut entries = vec![entry("peak", &one), entry("read", &many)];
    let mut kernels = vec![kernel("peak", 1), kernel("read", 6)];
    let reading = ["rounds", "steps", "step", "apart", "share", "ahead"];
    let mut plans = vec![plan(0, &one, &["rounds"]), plan(1, &many, &reading)];
    if schedule::has_tiles(isa) {
        entries.push(entry("tiles", &one));
        kernels.push(kernel("tiles", 1));
        plans.push(plan(2, &one, &["rounds"]));
    }
    Manifest {
        version: VERSION,
        compiler: env!("CARGO_PKG_VERSION").into(),
        name: "roofline".into(),
        doc: String::new(),
        symbols: SYMBOLS.iter().map(|name| Symbol { name: (*name).into(), bound: None }).collect(),
        params: vec![],
        states: vec![],
        entries,
        variants: vec![Variant { isa, kernels, kept: vec![], load: Plan::default(), entries: plans }],
        code_hash: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(isa: Isa, entry: &str, x: &[f32], threads: usize, sizes: &[(&str, u64)]) -> Vec<f32> {
        let options = LoadOptions::default().isa(isa).threads(threads);
        let model = Model::from_bytes(program(isa).unwrap(), Weights::default(), &options).unwrap();
        let mut session = model.session(entry).unwrap();
        for (name, size) in [("threads", threads as u64)].iter().chain(sizes) {
            session.bind(name, *size as usize).unwrap();
        }
        session.run(&[("x", View::flat(x))]).unwrap().slice("out").unwrap().to_vec()
    }

    #[test]
    fn the_kernels_do_the_work_that_is_counted() {
        for isa in gatec_runtime::cpu::supported() {
            let lanes = u64::from(schedule::lanes(isa));
            // sum = sum / 2 + 1 / 2, from 0: 1 - 2^-8 after eight rounds, in each lane of each chain.
            let sum = f64::from(CHAINS) * lanes as f64 * (1.0 - 1.0 / 256.0);
            assert_eq!(run(isa, "peak", &[0.5], 2, &[("rounds", 8)]), [sum as f32; 2], "{isa}");
            if schedule::has_tiles(isa) {
                // 32 products with 0.5, every second of which is of zeros: the bits of an f32 are a pair.
                assert_eq!(run(isa, "tiles", &[0.5], 2, &[("rounds", 8)]), [8.0 * 16.0 * 0.25; 2], "{isa}");
            }
            let (run_of, step) = (lanes * u64::from(VECTORS), lanes * u64::from(VECTORS * STREAMS));
            let (steps, share) = (5, 5 * step);
            let x: Vec<f32> = (0..2 * share).map(|i| (i % 7) as f32).collect();
            let sums: Vec<f32> = x.chunks_exact(share as usize).map(|part| 3.0 * part.iter().sum::<f32>()).collect();
            for (step, apart) in [(step, run_of), (run_of, share / u64::from(STREAMS))] {
                let place = [("steps", steps), ("step", step), ("apart", apart), ("share", share)];
                for ahead in [0, 1 << 20] {
                    let sizes: Vec<_> = place.into_iter().chain([("rounds", 3), ("ahead", ahead)]).collect();
                    assert_eq!(run(isa, "read", &x, 2, &sizes), sums, "{isa}");
                }
            }
        }
    }

    #[test]
    fn a_machine_has_roofs() {
        let isa = gatec_runtime::cpu::supported().next().unwrap();
        let roofline = Roofline::new(isa, 1).unwrap();
        assert!(roofline.flops_per_ns() > 0.0 && roofline.bytes_per_ns(1 << 20).unwrap() > 0.0);
        roofline.bytes_per_ns((1 << 20) + 5).unwrap();
        assert_eq!(roofline.measured().len(), 1, "sets are rounded");
    }
}
