//! Sizes that are only known at run time: where the cheapest form of an entry depends on one, several forms are built, and the size
//! says which of them runs.
//!
//! Rules know no sizes, costs do. So an entry is rewritten at a few assumed sizes; forms that differ are weighed against each
//! other, and where one overtakes another is found by bisection. Different forms may differ in their last bits. A size that only says
//! how many rows there are must not decide about them (same row, same bits): see [`mixes`].

use std::collections::BTreeMap;

use super::cost::{Extents, of_graph};
use crate::graph::{Axis, Entry, Graph, Module, Sizes, TYPICAL_SIZE, Value};
use crate::ops::{Attr, Class, Op, Scan};
use crate::pipeline::OptimizeOptions;

/// Sizes that are tried of a symbol about which nobody said anything, beside the typical one.
const TRIED: [i64; 2] = [1, 4096];
/// No entry is rewritten at more points.
pub const MOST_POINTS: usize = 16;
/// A form must save this share of the time somewhere to be built.
const WORTH: f64 = 0.1;

/// Sizes of symbols.
pub type Point = Vec<(String, i64)>;

/// The sizes of a module's symbols: the assumed ones, else typical ones.
pub fn point(module: &Module, assume: &[(String, i64)]) -> Point {
    let of = |(name, bound): &(String, Option<i64>)| {
        let typical = TYPICAL_SIZE.min(bound.unwrap_or(i64::MAX));
        let assumed = assume.iter().find(|(n, _)| n == name);
        (name.clone(), assumed.map_or(typical, |(_, size)| *size))
    };
    module.symbols.iter().map(of).collect()
}

/// A grid of sizes to try.
pub struct Grid {
    /// Sizes of all symbols, where nothing else is said.
    main: Point,
    /// Symbols of which several sizes are tried, and these in rising order.
    tried: Vec<Tried>,
}

struct Tried {
    name: String,
    sizes: Vec<i64>,
    /// Symbols that take the same sizes meanwhile: nodes and edges of a graph, queries and keys.
    along: Vec<String>,
}

impl Tried {
    fn set(&self, point: &mut Point, to: i64) {
        let is_meant = |name: &String| *name == self.name || self.along.contains(name);
        point.iter_mut().filter(|(name, _)| is_meant(name)).for_each(|(_, size)| *size = to);
    }
}

impl Grid {
    /// The sizes to try for an entry; one point, as a rule.
    pub fn new(module: &Module, entry: &Entry, options: &OptimizeOptions) -> Self {
        if let Some(point) = &entry.assumed {
            return Self { main: point.clone(), tried: Vec::new() };
        }
        let given = |name: &str| options.assume.iter().find(|(n, _)| n == name).map(|(_, size)| *size);
        let main = point(module, &options.assume);
        let mut tried: Vec<Tried> = Vec::new();
        let mut points = 1;
        for ((name, bound), (_, size)) in module.symbols.iter().zip(&main) {
            let asked = options.points.iter().find(|(n, _)| n == name).map(|(_, sizes)| sizes.as_slice());
            let sizes = match asked {
                Some(sizes) => sizes,
                // What the user did not mention is tried together: points would multiply.
                None if given(name).is_none() && options.points.is_empty() => &TRIED,
                None => continue,
            };
            // With fuel, every rewrite must be one of one build.
            if options.fuel.is_some() || !(options.fast || mixes(&entry.graph, &module.sizes, name)) {
                continue;
            }
            if let (None, Some(first)) = (asked, tried.first_mut()) {
                first.along.push(name.clone());
                continue;
            }
            let mut sizes: Vec<i64> =
                sizes.iter().copied().filter(|n| bound.is_none_or(|bound| *n <= bound)).chain([*size]).collect();
            sizes.sort_unstable();
            sizes.dedup();
            if sizes.len() > 1 && points * sizes.len() <= MOST_POINTS {
                points *= sizes.len();
                tried.push(Tried { name: name.clone(), sizes, along: Vec::new() });
            }
        }
        Self { main, tried }
    }

    /// The main point first, then the others in rising order.
    pub fn points(&self) -> Vec<Point> {
        let mut points = vec![self.main.clone()];
        points.extend(self.cells().into_iter().map(|cell| self.point(&cell)).filter(|point| *point != self.main));
        points
    }

    /// All places of the grid, the last symbol fastest.
    fn cells(&self) -> Vec<Vec<usize>> {
        self.tried.iter().fold(vec![Vec::new()], |cells, tried| {
            let longer = |cell: &Vec<usize>| {
                (0..tried.sizes.len()).map(|i| [cell.as_slice(), &[i]].concat()).collect::<Vec<_>>()
            };
            cells.iter().flat_map(longer).collect()
        })
    }

    fn point(&self, cell: &[usize]) -> Point {
        let mut point = self.main.clone();
        self.tried.iter().zip(cell).for_each(|(tried, i)| tried.set(&mut point, tried.sizes[*i]));
        point
    }

    /// Entries for the forms of a graph that are worth building (the first is that of the main point), each with the sizes that it serves.
    pub fn entries(&self, entry: &Entry, forms: &[Graph], sizes: &Sizes, options: &OptimizeOptions) -> Vec<Entry> {
        let cost = |form: usize, point: &Point| {
            let extents = Extents::at(sizes, options, point);
            of_graph(&forms[form], sizes, &extents, &|_| false)
        };
        let best = |point: &Point| {
            let cheapest = (0..forms.len()).min_by(|a, b| cost(*a, point).total_cmp(&cost(*b, point))).unwrap_or(0);
            if cost(cheapest, point) < (1.0 - WORTH) * cost(0, point) { cheapest } else { 0 }
        };
        let mut found: Vec<(Vec<usize>, usize)> = Vec::new();
        for cell in self.cells() {
            let form = best(&self.point(&cell));
            // The bound of the cell before along the last symbol is not needed.
            let continues = |(before, same): &(Vec<usize>, usize)| {
                *same == form && before.split_last().map(|l| l.1) == cell.split_last().map(|l| l.1)
            };
            if found.last().is_some_and(continues) {
                found.pop();
            }
            found.push((cell, form));
        }
        if found.iter().all(|(_, form)| *form == found[0].1) {
            let graph = forms[found[0].1].clone();
            return vec![Entry { graph, assumed: Some(self.main.clone()), ..entry.clone() }];
        }
        let guarded = found.iter().map(|(cell, form)| Entry {
            graph: forms[*form].clone(),
            assumed: Some(self.point(cell)),
            at_most: self.bounds(cell, &cost, &best),
            ..entry.clone()
        });
        guarded.collect()
    }

    /// Up to which sizes a cell serves: none along a symbol of which it is the last.
    fn bounds(&self, cell: &[usize], cost: &dyn Fn(usize, &Point) -> f64, best: &dyn Fn(&Point) -> usize) -> Point {
        let mut bounds = Point::new();
        for (tried, i) in self.tried.iter().zip(cell) {
            let Some(above) = tried.sizes.get(i + 1) else { continue };
            let at = |size: i64| {
                let mut point = self.main.clone();
                tried.set(&mut point, size);
                point
            };
            let (mut low, mut high) = (tried.sizes[*i], *above);
            let (here, there) = (best(&at(low)), best(&at(high)));
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                match cost(there, &at(middle)) < cost(here, &at(middle)) {
                    true => high = middle,
                    false => low = middle,
                }
            }
            bounds.push((tried.name.clone(), low));
        }
        bounds
    }
}

/// Does everything that an entry gives along axes of this size depend on all of their elements, so that the size is part of a row (the length
/// of its sequence)? `false` where it may only say how many rows there are: elements along it go their own ways, at least to one result.
pub fn mixes(graph: &Graph, sizes: &Sizes, symbol: &str) -> bool {
    let mut any = false;
    let mixed = mixed(graph, sizes, symbol, &|_| false, &mut any);
    let is_along = |value: &Value| graph.ty(*value).axes.iter().any(|axis| names(sizes, axis, symbol));
    any && graph.results.iter().filter(|value| is_along(value)).all(|value| mixed.get(value).copied().unwrap_or(false))
}

fn names(sizes: &Sizes, axis: Axis, symbol: &str) -> bool {
    sizes.get(axis).is_some_and(|size| size.symbols().iter().any(|s| **s == *symbol))
}

/// Whether each value comes from all elements along axes of the symbol, and whether any value of the graph does; `leaf` tells it of a body's
/// carries, items and captures.
fn mixed(
    graph: &Graph,
    sizes: &Sizes,
    symbol: &str,
    leaf: &dyn Fn(&Op) -> bool,
    any: &mut bool,
) -> BTreeMap<Value, bool> {
    let is_of = |axis: &Axis| names(sizes, *axis, symbol);
    let mut all: BTreeMap<Value, bool> = BTreeMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let operands: Vec<bool> = graph.operands(id).iter().map(|v| all.get(v).copied().unwrap_or(false)).collect();
        let below = match (&node.op, operands.as_slice()) {
            // Some elements are those of one operand alone.
            (Op::Concat(_) | Op::Stack(_), operands) => operands.iter().all(|is| *is),
            (Op::Select(_), [condition, yes, no]) => *condition || *yes && *no,
            (_, operands) => operands.contains(&true),
        };
        let folds = |attr: &Attr| match attr {
            Attr::Axis(axis) => is_of(axis),
            Attr::Axes(axes) => axes.iter().any(|axis| is_of(&axis)),
            _ => false,
        };
        if let Op::Scan(scan) = &node.op {
            *any |= is_of(&scan.axis);
            let results = mixed_in(scan, &operands, is_of(&scan.axis), sizes, symbol, any);
            all.extend((0..).zip(results).map(|(result, is)| (Value { node: id, result }, is)));
            continue;
        }
        let here = match (&node.op, node.op.class()) {
            (Op::Carry(_) | Op::Item(_) | Op::Capture(_), _) => leaf(&node.op),
            // Elements of a segment may be a graph of many: what is folded says an index.
            (Op::Segment(_), _) => false,
            (op, Class::Reduce | Class::Contract | Class::Select) => op.attrs().iter().any(folds),
            _ => false,
        };
        *any |= here;
        for result in 0..node.types.len() as u32 {
            all.insert(Value { node: id, result }, below || here);
        }
    }
    all
}

/// The same of each result of a loop. Along the symbol what comes from a carry does; else a carry that does in every iteration, from the first
/// on.
fn mixed_in(scan: &Scan, operands: &[bool], is_along: bool, sizes: &Sizes, symbol: &str, any: &mut bool) -> Vec<bool> {
    let (carries, items) = (scan.carries as usize, scan.items as usize);
    let mut carried: Vec<bool> = operands[..carries].iter().map(|init| is_along || *init).collect();
    loop {
        let leaf = |op: &Op| match op {
            Op::Carry(carry) => carried[carry.index as usize],
            Op::Item(item) => operands[carries + item.index as usize],
            Op::Capture(capture) => operands[carries + items + capture.index as usize],
            _ => false,
        };
        let body = mixed(&scan.body, sizes, symbol, &leaf, any);
        let results: Vec<bool> = scan.body.results.iter().map(|v| body.get(v).copied().unwrap_or(false)).collect();
        let next: Vec<bool> = carried.iter().zip(&results).map(|(is, next)| is_along || *is && *next).collect();
        if next == carried {
            return next.into_iter().chain(results.into_iter().skip(carries)).collect();
        }
        carried = next;
    }
}
