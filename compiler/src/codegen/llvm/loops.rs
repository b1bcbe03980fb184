//! Loops of a kernel: over the units of one call, nested, and a vector at a time.

use inkwell::IntPredicate;
use inkwell::values::PointerValue;

use super::emit::{Emit, Val};
use super::expr::{Frame, Lanes, Tail};
use crate::kernel::{Expr, Extent, Loop, Store, Var};

/// What a kernel's function gets beside buffers and sizes.
#[derive(Clone, Copy)]
pub struct Range<'ctx> {
    pub begin: Val<'ctx>,
    pub end: Val<'ctx>,
    pub scratch: PointerValue<'ctx>,
}

/// Runs `body` for each unit of `begin..end`, the linear index over `loops`, with their variables set. They are counted up, not
/// divided anew.
pub fn for_units<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    loops: &[Loop],
    range: Range<'ctx>,
    body: impl FnOnce(&mut Frame<'a, 'ctx>),
) {
    let counts: Vec<(Var, Val)> = loops.iter().map(|l| (l.var, frame.extent(l.extent))).collect();
    for_counts(frame, &counts, range, body);
}

/// [`for_units`] over variables that run up to these numbers.
pub fn for_counts<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    counts: &[(Var, Val<'ctx>)],
    range: Range<'ctx>,
    body: impl FnOnce(&mut Frame<'a, 'ctx>),
) {
    let e = frame.emit;
    let function = e.function();
    let variables: Vec<(Var, Val, PointerValue)> =
        counts.iter().map(|(var, extent)| (*var, *extent, e.variable(function, e.i64()))).collect();
    // Where the first unit stands.
    let mut rest = range.begin;
    for &(_, extent, ref variable) in variables.iter().rev() {
        // An empty loop has no units: nothing is divided by it.
        let safe = e.select(e.icmp(IntPredicate::EQ, extent, e.index(0)), e.index(1), extent);
        e.store(e.urem(rest, safe), *variable);
        rest = e.udiv(rest, safe);
    }
    e.each(range.begin, range.end, 1, |_| {
        for (var, _, variable) in &variables {
            let at = e.load(e.i64(), *variable);
            frame.vars.insert(*var, at);
        }
        frame.forget();
        body(frame);
        frame.forget();
        count_up(frame, &variables);
    });
    frame.forget();
}

/// The next point, innermost variable first.
fn count_up<'ctx>(frame: &Frame<'_, 'ctx>, variables: &[(Var, Val<'ctx>, PointerValue<'ctx>)]) {
    let Some((&(_, extent, ref variable), outer)) = variables.split_last() else { return };
    let e = frame.emit;
    let next = e.add(e.load(e.i64(), *variable), e.index(1));
    e.store(next, *variable);
    if !outer.is_empty() {
        let wrapped = e.icmp(IntPredicate::SGE, next, extent);
        e.when(wrapped, || {
            e.store(e.index(0), *variable);
            count_up(frame, outer);
        });
    }
}

/// Runs `body` over nested loops, outermost first.
pub fn nested<'a, 'ctx>(frame: &mut Frame<'a, 'ctx>, loops: &[Loop], body: &mut dyn FnMut(&mut Frame<'a, 'ctx>)) {
    match loops.split_first() {
        None => {
            frame.forget();
            body(frame);
        }
        Some((l, rest)) => {
            let e = frame.emit;
            let end = frame.extent(l.extent);
            e.each(e.index(0), end, 1, |i| {
                frame.vars.insert(l.var, i);
                nested(frame, rest, body);
            });
            frame.forget();
        }
    }
}

/// Runs `body` for whole vectors along a loop, then for the tail.
pub fn vectors<'a, 'ctx>(frame: &mut Frame<'a, 'ctx>, l: &Loop, body: impl FnMut(&mut Frame<'a, 'ctx>)) {
    let e = frame.emit;
    let all = (e.index(0), frame.extent(l.extent));
    vectors_of(frame, e.lanes, l, all, body);
}

/// Lanes for these stores along a loop: two vectors where long functions are computed and no half of them stays empty.
pub fn lanes_for(frame: &Frame<'_, '_>, stores: &[Store], lanes: u32, extent: Extent) -> u32 {
    let wide = lanes * frame.emit.side_by_side();
    let is_long = |e: &&Expr| matches!(e, Expr::Unary(f, _) if f.is_long());
    let fills = match extent {
        Extent::Known(n) => n % i64::from(wide) == 0 || n > 8 * i64::from(wide),
        Extent::Dim(_) => true,
    };
    let has_long = || stores.iter().any(|s| frame.kernel.all_below(s.value).iter().any(is_long));
    if fills && has_long() { wide } else { lanes }
}

/// Vectors of a short loop that are written out one by one.
pub const WRITTEN_OUT: i64 = 4;

/// [`vectors`] of so many lanes, between two places.
pub fn vectors_of<'a, 'ctx>(
    frame: &mut Frame<'a, 'ctx>,
    count: u32,
    l: &Loop,
    (from, extent): (Val<'ctx>, Val<'ctx>),
    mut body: impl FnMut(&mut Frame<'a, 'ctx>),
) {
    let e = frame.emit;
    let lanes = i64::from(count);
    let mut whole = |frame: &mut Frame<'a, 'ctx>, first| {
        frame.lanes = Some(Lanes { var: l.var, first, count, tail: None });
        frame.forget();
        body(frame);
    };
    // Blocks begin at multiples of a vector: without a tail in the whole loop there is none in a part of it.
    let vectors = match l.extent {
        Extent::Known(n) if n % lanes == 0 => Some(n / lanes),
        _ => None,
    };
    let end = e.sub(extent, e.index(lanes - 1));
    let rest = match vectors {
        Some(n) if n <= WRITTEN_OUT && from == e.index(0) && extent == e.index(n * lanes) => {
            (0..n).for_each(|i| whole(frame, e.index(i * lanes)));
            extent
        }
        _ => e.each(from, end, lanes, |first| whole(frame, first)),
    };
    if vectors.is_some() {
        frame.lanes = None;
        return frame.forget();
    }
    e.when(e.icmp(IntPredicate::SLT, rest, extent), || {
        let last = e.sub(extent, e.index(1));
        let mask = e.icmp(IntPredicate::SLE, e.add(rest, e.iota(count)), last);
        let tail = Tail { mask, last, count: tail_of(l.extent, lanes) };
        frame.lanes = Some(Lanes { var: l.var, first: rest, count, tail: Some(tail) });
        frame.forget();
        body(frame);
    });
    frame.lanes = None;
    frame.forget();
}

/// Lanes inside the last vector of a loop whose blocks begin at multiples of a vector.
pub fn tail_of(extent: Extent, lanes: i64) -> Option<u32> {
    match extent {
        Extent::Known(n) => u32::try_from(n % lanes).ok(),
        Extent::Dim(_) => None,
    }
}

/// Calls `call` with the smallest of the sizes, which ascend, that holds `rows`.
pub fn smallest<'ctx>(e: &Emit<'ctx>, sizes: &[u32], rows: Val<'ctx>, mut call: impl FnMut(u32)) {
    let Some((&most, smaller)) = sizes.split_last() else { return };
    let after = e.block("tiled");
    for &size in smaller {
        let (fits, next) = (e.block("fits"), e.block("next"));
        e.branch(e.icmp(IntPredicate::SLE, rows, e.index(i64::from(size))), fits, next);
        e.builder.position_at_end(fits);
        call(size);
        e.go(after);
        e.builder.position_at_end(next);
    }
    call(most);
    e.go(after);
    e.builder.position_at_end(after);
}
