//! Top-k: the numbers of the greatest candidates of a row.

use inkwell::values::InstructionOpcode;
use inkwell::{FloatPredicate, IntPredicate};

use super::emit::{Emit, Val};
use super::expr::Frame;
use super::loops::{Range, for_units, nested, vectors};
use super::sorted::Ranks;
use crate::codegen::math;
use crate::kernel::{Elem, Store, TopK};
use crate::scalar::Binary;

/// Top-k of candidates that are ranked first: each becomes an integer in scratch memory, greater where it comes earlier in the
/// total order, no two alike. A slot then is the greatest of them, found with vectors, which is struck out; of many slots the ranks are
/// `sorted`, as far as they are wanted.
pub fn ranked_top_k<'ctx>(frame: &mut Frame<'_, 'ctx>, top_k: &TopK, sorted: bool, range: Range<'ctx>) {
    let e = frame.emit;
    let elem = frame.elem(top_k.value);
    let struck = e.bits(e.i64(), 1 << 63);
    let rank_at = |index| e.at(range.scratch, e.i64(), index);
    let ty = e.vector(e.i64(), e.lanes);
    for_units(frame, &top_k.rows, range, |frame| {
        vectors(frame, &top_k.over, |frame| {
            let Some(lanes) = frame.lanes else { return };
            let value = frame.eval(top_k.value);
            let number = e.add(lanes.first, e.iota(lanes.count));
            let rank = rank(e, elem, e.splat(value, lanes.count), number);
            let rank = match lanes.tail {
                None => rank,
                // Whole vectors are looked through.
                Some(tail) => e.select(tail.mask, rank, struck),
            };
            e.store(rank, rank_at(lanes.first));
        });
        let count = frame.extent(top_k.over.extent);
        let slot_end = slots(frame, top_k, count);
        if sorted {
            Ranks::new(e, range.scratch).greatest_first(count, slot_end);
        }
        let greatest = || {
            let best = e.variable(e.function(), ty);
            e.store(e.splat(struck, e.lanes), best);
            e.each(e.index(0), count, i64::from(e.lanes), |first| {
                let greater = e.call("llvm.smax", &[e.load(ty, best), e.load(ty, rank_at(first))]);
                e.store(greater, best);
            });
            e.call("llvm.vector.reduce.smax", &[e.load(ty, best)])
        };
        e.each(e.index(0), slot_end, 1, |slot| {
            let best = if sorted { e.load(e.i64(), rank_at(slot)) } else { greatest() };
            let place = e.sub(e.index(LAST_PLACE), e.and(best, e.index(LAST_PLACE | 1)));
            if !sorted {
                e.store(struck, rank_at(place));
            }
            frame.vars.insert(top_k.slot, slot);
            frame.forget();
            let number = e.cast(InstructionOpcode::Trunc, place, e.int(32));
            frame.store_value(&Store { buffer: top_k.buffer, index: top_k.index.clone(), value: top_k.value }, number);
        });
        frame.forget();
    });
}

/// As many slots as there are candidates; to want more is a fault.
fn slots<'ctx>(frame: &mut Frame<'_, 'ctx>, top_k: &TopK, count: Val<'ctx>) -> Val<'ctx> {
    let e = frame.emit;
    let k = frame.extent(top_k.k);
    e.when(e.icmp(IntPredicate::SGT, k, count), || e.store(e.bits(e.int(32), 1), frame.fault));
    e.min(k, count)
}

/// The lower half of a rank counts down from here: an earlier place ranks higher, and no rank is the greatest integer.
const LAST_PLACE: i64 = 0xFFFF_FFFE;

/// Where a value of at most 32 bits stands in the order (greater first, NaN last, equal ones by place), as an i64.
fn rank<'ctx>(e: &Emit<'ctx>, elem: Elem, v: Val<'ctx>, place: Val<'ctx>) -> Val<'ctx> {
    let upper = if elem.is_float() {
        // -0 is 0. The bits of positive numbers are in order; those of negative ones are the other way round.
        let bits = e.bitcast(e.add(v, e.same(v, 0.0)), e.int(32));
        let sign = e.op(InstructionOpcode::AShr, bits, e.bits(bits.get_type(), 31));
        let ordered = e.xor(bits, e.and(sign, e.bits(bits.get_type(), 0x7FFF_FFFF)));
        let least = e.bits(bits.get_type(), 0x8000_0000);
        e.cast(InstructionOpcode::SExt, e.select(e.fcmp(FloatPredicate::UNO, v, v), least, ordered), e.i64())
    } else {
        let is_signed = !matches!(elem, Elem::U8 | Elem::Bool);
        e.cast(if is_signed { InstructionOpcode::SExt } else { InstructionOpcode::ZExt }, v, e.i64())
    };
    e.or(e.shl(upper, 32), e.sub(e.same(place, LAST_PLACE as f64), place))
}

/// Top-k of 64-bit candidates. For each slot the best candidate that comes after the one before it in the total order (greater first, equal ones by index,
/// NaN last): no memory, `k` walks over the candidates.
pub fn top_k<'ctx>(frame: &mut Frame<'_, 'ctx>, top_k: &TopK, range: Range<'ctx>) {
    let e = frame.emit;
    let elem = frame.elem(top_k.value);
    let ty = frame.register(elem);
    let function = e.function();
    let (best, place, last, last_place) = (
        e.variable(function, ty),
        e.variable(function, e.i64()),
        e.variable(function, ty),
        e.variable(function, e.i64()),
    );
    // a before b in the order; places tell equal ones apart.
    let before = |a, a_place, b, b_place| {
        let earlier = e.icmp(IntPredicate::SLT, a_place, b_place);
        if !elem.is_float() {
            let greater = math::integer(e, Binary::Gt, elem != Elem::U8, a, b);
            return e.or(greater, e.and(e.icmp(IntPredicate::EQ, a, b), earlier));
        }
        let (a_nan, b_nan) = (e.fcmp(FloatPredicate::UNO, a, a), e.fcmp(FloatPredicate::UNO, b, b));
        let greater = e.or(e.fcmp(FloatPredicate::OGT, a, b), e.and(b_nan, e.not(a_nan)));
        let equal = e.or(e.fcmp(FloatPredicate::OEQ, a, b), e.and(a_nan, b_nan));
        e.or(greater, e.and(equal, earlier))
    };
    for_units(frame, &top_k.rows, range, |frame| {
        e.store(e.index(-1), last_place);
        e.store(e.zero(ty), last);
        let count = frame.extent(top_k.over.extent);
        let slot_end = slots(frame, top_k, count);
        e.each(e.index(0), slot_end, 1, |slot| {
            e.store(e.index(-1), place);
            e.store(e.zero(ty), best);
            nested(frame, std::slice::from_ref(&top_k.over), &mut |frame| {
                let v = frame.eval(top_k.value);
                let at = frame.vars[&top_k.over.var];
                let (p, b) = (e.load(e.i64(), place), e.load(ty, best));
                let (lp, l) = (e.load(e.i64(), last_place), e.load(ty, last));
                let first_slot = e.icmp(IntPredicate::SLT, lp, e.index(0));
                let open = e.or(first_slot, before(l, lp, v, at));
                let none = e.icmp(IntPredicate::SLT, p, e.index(0));
                let wins = e.and(open, e.or(none, before(v, at, b, p)));
                e.store(e.select(wins, v, b), best);
                e.store(e.select(wins, at, p), place);
            });
            let p = e.load(e.i64(), place);
            e.store(p, last_place);
            e.store(e.load(ty, best), last);
            frame.vars.insert(top_k.slot, slot);
            frame.forget();
            let number = e.cast(InstructionOpcode::Trunc, p, e.int(32));
            frame.store_value(&Store { buffer: top_k.buffer, index: top_k.index.clone(), value: top_k.value }, number);
        });
        frame.forget();
    });
}
