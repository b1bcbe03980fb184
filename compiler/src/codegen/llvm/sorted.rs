//! The greatest of many integers in order: a bitonic network, whose exchanges are vectors.
//!
//! Blocks of as many elements as are wanted (a power of two) are sorted, every second one the other way round; the greater halves of two such
//! neighbours are the greatest of both, which merging puts in order again, until one block is left. If all elements are wanted, there is but
//! one block from the start. For `n` elements of which `k` are wanted that is `n log²k` work, without a branch that depends on a value.

use inkwell::IntPredicate;
use inkwell::values::PointerValue;

use super::emit::{Emit, Val};

/// Signed integers of 64 bits in memory, whole vectors of them, and as many free ones behind as the next power of two takes.
pub struct Ranks<'e, 'ctx> {
    e: &'e Emit<'ctx>,
    start: PointerValue<'ctx>,
}

impl<'e, 'ctx> Ranks<'e, 'ctx> {
    pub fn new(e: &'e Emit<'ctx>, start: PointerValue<'ctx>) -> Self {
        Self { e, start }
    }

    /// Puts the `k` greatest of `count` in front, the greatest first. What stands behind is lost.
    pub fn greatest_first(&self, count: Val<'ctx>, k: Val<'ctx>) {
        let e = self.e;
        let lanes = e.index(i64::from(e.lanes));
        let power_above = |n| e.advance(lanes, n, |power| e.add(power, power));
        let whole = e.mul(e.udiv(e.add(count, e.index(i64::from(e.lanes) - 1)), lanes), lanes);
        let all = power_above(count);
        let block = power_above(e.min(k, count));
        let least = e.splat(e.bits(e.i64(), 1 << 63), e.lanes);
        self.vectors(whole, all, |_, at| e.store(least, at));
        // Sorted vectors, then blocks of twice the size, and so on.
        self.vectors(e.index(0), all, |first, at| {
            let mut v = e.load(self.vector(), at);
            for size in powers(2, e.lanes / 2) {
                for step in powers(1, size / 2).into_iter().rev() {
                    v = self.exchanged(v, step, |lane| lane & size == 0);
                }
            }
            e.store(self.merged(v, self.turned(first, lanes)), at);
        });
        e.advance(e.add(lanes, lanes), e.add(block, e.index(1)), |size| {
            self.merge(all, size);
            e.add(size, size)
        });
        // Down to one block: counted by the negative of what is left.
        let until = e.sub(e.index(0), block);
        e.advance(e.sub(e.index(0), all), until, |left| {
            let half = e.sub(e.index(0), e.sar(left, 1));
            self.vectors(e.index(0), half, |first, at| {
                let before = e.and(first, e.sub(e.index(0), block));
                let a = e.add(first, before);
                let [a, b] = [a, e.add(a, block)].map(|place| e.load(self.vector(), self.at(place)));
                e.store(e.call("llvm.smax", &[a, b]), at);
            });
            self.merge(half, block);
            e.sar(left, 1)
        });
    }

    /// Puts bitonic blocks of `size` in order, every second one the other way round.
    fn merge(&self, all: Val<'ctx>, size: Val<'ctx>) {
        let e = self.e;
        let lanes = i64::from(e.lanes);
        // The distance of what is exchanged, as a negative number: half the size, down to a vector.
        e.advance(e.sub(e.index(0), e.shr(size, 1)), e.index(1 - lanes), |distance| {
            let distance_up = e.sub(e.index(0), distance);
            e.advance(e.index(0), all, |pair| {
                let ascends = e.icmp(IntPredicate::NE, e.and(pair, size), e.index(0));
                let middle = e.add(pair, distance_up);
                self.vectors(pair, middle, |low, low_at| {
                    let high_at = self.at(e.add(low, distance_up));
                    let [a, b] = [low_at, high_at].map(|at| e.load(self.vector(), at));
                    let [greater, less] = ["llvm.smax", "llvm.smin"].map(|f| e.call(f, &[a, b]));
                    let [first, second] =
                        [(less, greater), (greater, less)].map(|(up, down)| e.select(ascends, up, down));
                    e.store(first, low_at);
                    e.store(second, high_at);
                });
                e.add(middle, distance_up)
            });
            e.sar(distance, 1)
        });
        self.vectors(e.index(0), all, |first, at| {
            let v = e.load(self.vector(), at);
            e.store(self.merged(v, self.turned(first, size)), at);
        });
    }

    /// A bitonic vector in order: with `turned`, which is all ones or zeros, the least first.
    fn merged(&self, v: Val<'ctx>, turned: Val<'ctx>) -> Val<'ctx> {
        let e = self.e;
        // To turn all bits of integers turns their order.
        let mut v = e.xor(v, turned);
        for step in powers(1, e.lanes / 2).into_iter().rev() {
            v = self.exchanged(v, step, |_| true);
        }
        e.xor(v, turned)
    }

    /// All ones where the blocks of `size` at `first` have the least in front.
    fn turned(&self, first: Val<'ctx>, size: Val<'ctx>) -> Val<'ctx> {
        let e = self.e;
        let descends = e.icmp(IntPredicate::EQ, e.and(first, size), e.index(0));
        e.splat(e.select(descends, e.index(0), e.index(-1)), e.lanes)
    }

    /// Lanes that are `step` apart, in order; the greater first where it `descends`.
    fn exchanged(&self, v: Val<'ctx>, step: u32, descends: impl Fn(u32) -> bool) -> Val<'ctx> {
        let e = self.e;
        let lanes: Vec<u32> = (0..e.lanes).collect();
        let crossed: Vec<u32> = lanes.iter().map(|lane| lane ^ step).collect();
        let other = e.shuffle(v, v, &crossed);
        let [greater, less] = ["llvm.smax", "llvm.smin"].map(|f| e.call(f, &[v, other]));
        let chosen = |lane: &u32| if (lane & step == 0) == descends(*lane) { *lane } else { e.lanes + lane };
        e.shuffle(greater, less, &lanes.iter().map(chosen).collect::<Vec<_>>())
    }

    fn vector(&self) -> inkwell::types::BasicTypeEnum<'ctx> {
        self.e.vector(self.e.i64(), self.e.lanes)
    }

    fn at(&self, place: Val<'ctx>) -> PointerValue<'ctx> {
        self.e.at(self.start, self.e.i64(), place)
    }

    /// Runs `body` for the vectors between two places.
    fn vectors(&self, from: Val<'ctx>, to: Val<'ctx>, body: impl FnOnce(Val<'ctx>, PointerValue<'ctx>)) {
        self.e.each(from, to, i64::from(self.e.lanes), |first| body(first, self.at(first)));
    }
}

/// Powers of two from `first` to `last`, both included.
fn powers(first: u32, last: u32) -> Vec<u32> {
    std::iter::successors(Some(first), |n| Some(n * 2)).take_while(|n| *n <= last).collect()
}
