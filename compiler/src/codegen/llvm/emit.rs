//! What every emitter of code stands on: types, constants, arithmetic, loops. A thin cover over inkwell in which a value
//! is a scalar or a vector, and the same call serves both.
//!
//! Operands of wrong types are a bug in gatec, not an error of the user: they panic.

use gatec_runtime::format::Isa;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicTypeEnum, VectorType};
use inkwell::values::{BasicValueEnum, FunctionValue, InstructionOpcode};
use inkwell::{FloatPredicate, IntPredicate};

/// A scalar or a vector.
pub type Val<'ctx> = BasicValueEnum<'ctx>;

pub(super) const TYPED: &str = "operands have the types that the instruction takes";

/// A module under construction, for one kind of processor.
pub struct Emit<'ctx> {
    pub context: &'ctx Context,
    pub module: Module<'ctx>,
    pub builder: Builder<'ctx>,
    pub isa: Isa,
    /// f32 in a vector register.
    pub lanes: u32,
}

impl<'ctx> Emit<'ctx> {
    // Types.

    pub fn f32(&self) -> BasicTypeEnum<'ctx> {
        self.context.f32_type().into()
    }
    pub fn f64(&self) -> BasicTypeEnum<'ctx> {
        self.context.f64_type().into()
    }
    pub fn int(&self, bits: u32) -> BasicTypeEnum<'ctx> {
        match bits {
            1 => self.context.bool_type().into(),
            8 => self.context.i8_type().into(),
            16 => self.context.i16_type().into(),
            32 => self.context.i32_type().into(),
            _ => self.context.i64_type().into(),
        }
    }
    pub fn i64(&self) -> BasicTypeEnum<'ctx> {
        self.int(64)
    }
    pub fn pointer(&self) -> BasicTypeEnum<'ctx> {
        self.context.ptr_type(inkwell::AddressSpace::default()).into()
    }
    /// `lanes` of `ty`; 1 is the scalar.
    pub fn vector(&self, ty: BasicTypeEnum<'ctx>, lanes: u32) -> BasicTypeEnum<'ctx> {
        match (ty, lanes) {
            (ty, 1) => ty,
            (BasicTypeEnum::FloatType(t), n) => t.vec_type(n).into(),
            (BasicTypeEnum::IntType(t), n) => t.vec_type(n).into(),
            (BasicTypeEnum::PointerType(t), n) => t.vec_type(n).into(),
            (other, _) => unreachable!("no vector of {other}"),
        }
    }
    /// Elements of a vector's type, the type itself of a scalar's.
    pub fn element_of(&self, ty: BasicTypeEnum<'ctx>) -> BasicTypeEnum<'ctx> {
        match ty {
            BasicTypeEnum::VectorType(v) => v.get_element_type(),
            scalar => scalar,
        }
    }
    pub fn lanes_of(&self, v: Val<'ctx>) -> u32 {
        match v.get_type() {
            BasicTypeEnum::VectorType(v) => v.get_size(),
            _ => 1,
        }
    }
    /// The type with the lanes of `like` and elements `element`.
    pub fn like(&self, like: Val<'ctx>, element: BasicTypeEnum<'ctx>) -> BasicTypeEnum<'ctx> {
        self.vector(element, self.lanes_of(like))
    }
    pub fn is_float(&self, v: Val<'ctx>) -> bool {
        self.element_of(v.get_type()).is_float_type()
    }
    /// Does the processor multiply and add in one instruction?
    pub fn has_fma(&self) -> bool {
        self.isa != Isa::X86
    }
    /// Does it have vectors of 512 bits?
    pub fn has_avx512(&self) -> bool {
        matches!(self.isa, Isa::X86V4 | Isa::X86V4Bf16 | Isa::X86V4Amx)
    }

    /// Vectors for which a long function is computed side by side: its steps wait for one another, and a processor looks ahead less far
    /// than to the next vector's. With AVX-512 one is as much work as two.
    pub fn side_by_side(&self) -> u32 {
        if self.lanes == 1 || self.has_avx512() { 1 } else { 2 }
    }

    // Constants.

    /// A number of a type, in every lane.
    pub fn number(&self, ty: BasicTypeEnum<'ctx>, value: f64) -> Val<'ctx> {
        match ty {
            BasicTypeEnum::FloatType(t) => t.const_float(value).into(),
            BasicTypeEnum::IntType(t) => t.const_int(value as i64 as u64, true).into(),
            BasicTypeEnum::VectorType(t) => {
                let lane = self.number(t.get_element_type(), value);
                self.constant_vector(&vec![lane; t.get_size() as usize])
            }
            other => unreachable!("no number of type {other}"),
        }
    }
    /// A number of the type of `like`.
    pub fn same(&self, like: Val<'ctx>, value: f64) -> Val<'ctx> {
        self.number(like.get_type(), value)
    }
    /// An integer of any width in every lane of the type of `like`.
    pub fn bits(&self, ty: BasicTypeEnum<'ctx>, value: u64) -> Val<'ctx> {
        match ty {
            BasicTypeEnum::IntType(t) => t.const_int(value, false).into(),
            BasicTypeEnum::VectorType(t) => {
                let lane = self.bits(t.get_element_type(), value);
                self.constant_vector(&vec![lane; t.get_size() as usize])
            }
            other => unreachable!("no bits of type {other}"),
        }
    }
    pub fn index(&self, value: i64) -> Val<'ctx> {
        self.context.i64_type().const_int(value as u64, true).into()
    }
    pub fn zero(&self, ty: BasicTypeEnum<'ctx>) -> Val<'ctx> {
        ty.const_zero()
    }
    pub fn constant_vector(&self, lanes: &[Val<'ctx>]) -> Val<'ctx> {
        let constants = lanes.to_vec();
        match constants.first() {
            Some(BasicValueEnum::FloatValue(_)) => {
                let all: Vec<_> = constants.into_iter().map(BasicValueEnum::into_float_value).collect();
                VectorType::const_vector(&all).into()
            }
            _ => {
                let all: Vec<_> = constants.into_iter().map(BasicValueEnum::into_int_value).collect();
                VectorType::const_vector(&all).into()
            }
        }
    }
    /// 0, 1, 2, ... as i64.
    pub fn iota(&self, lanes: u32) -> Val<'ctx> {
        let all: Vec<Val> = (0..lanes).map(|i| self.index(i64::from(i))).collect();
        self.constant_vector(&all)
    }

    // Vectors.

    /// The scalar in every lane; a vector as it is.
    pub fn splat(&self, v: Val<'ctx>, lanes: u32) -> Val<'ctx> {
        if lanes == 1 || v.is_vector_value() {
            return v;
        }
        let ty = self.vector(v.get_type(), lanes).into_vector_type();
        let zero = self.context.i32_type().const_zero();
        let first = self.builder.build_insert_element(ty.get_poison(), v, zero, "").expect(TYPED);
        let mask = self.context.i32_type().vec_type(lanes).const_zero();
        self.builder.build_shuffle_vector(first, ty.get_poison(), mask, "").expect(TYPED).into()
    }
    /// Two values with the same number of lanes.
    pub fn matched(&self, a: Val<'ctx>, b: Val<'ctx>) -> (Val<'ctx>, Val<'ctx>) {
        let lanes = self.lanes_of(a).max(self.lanes_of(b));
        (self.splat(a, lanes), self.splat(b, lanes))
    }
    pub fn lane(&self, v: Val<'ctx>, lane: u32) -> Val<'ctx> {
        match v {
            BasicValueEnum::VectorValue(vector) => {
                let at = self.context.i32_type().const_int(u64::from(lane), false);
                self.builder.build_extract_element(vector, at, "").expect(TYPED)
            }
            scalar => scalar,
        }
    }
    /// The same, of a lane that code finds.
    pub fn lane_at(&self, v: Val<'ctx>, lane: Val<'ctx>) -> Val<'ctx> {
        match v {
            BasicValueEnum::VectorValue(vector) => {
                self.builder.build_extract_element(vector, lane.into_int_value(), "").expect(TYPED)
            }
            scalar => scalar,
        }
    }
    pub fn insert(&self, v: Val<'ctx>, value: Val<'ctx>, lane: u32) -> Val<'ctx> {
        let at = self.context.i32_type().const_int(u64::from(lane), false);
        self.builder.build_insert_element(v.into_vector_value(), value, at, "").expect(TYPED).into()
    }
    /// The upper or lower half of a vector.
    pub fn half(&self, v: Val<'ctx>, upper: bool) -> Val<'ctx> {
        let vector = v.into_vector_value();
        let half = vector.get_type().get_size() / 2;
        let from = if upper { half } else { 0 };
        let i32 = self.context.i32_type();
        let mask: Vec<_> = (from..from + half).map(|i| i32.const_int(u64::from(i), false)).collect();
        let poison = vector.get_type().get_poison();
        if half == 1 {
            return self.lane(v, from);
        }
        self.builder.build_shuffle_vector(vector, poison, VectorType::const_vector(&mask), "").expect(TYPED).into()
    }

    /// With more lanes, whose values nobody uses, or with the first `lanes` only.
    pub fn resized(&self, v: Val<'ctx>, lanes: u32) -> Val<'ctx> {
        match (self.lanes_of(v), lanes) {
            (1, _) => self.splat(v, lanes),
            (_, 1) => self.lane(v, 0),
            (have, _) => self.shuffle(v, v, &(0..lanes).map(|i| i.min(have - 1)).collect::<Vec<_>>()),
        }
    }

    /// Lanes of `a` and `b`, those of `b` counted on from those of `a`.
    pub fn shuffle(&self, a: Val<'ctx>, b: Val<'ctx>, lanes: &[u32]) -> Val<'ctx> {
        let i32 = self.context.i32_type();
        let mask: Vec<_> = lanes.iter().map(|i| i32.const_int(u64::from(*i), false)).collect();
        let (a, b) = (a.into_vector_value(), b.into_vector_value());
        self.builder.build_shuffle_vector(a, b, VectorType::const_vector(&mask), "").expect(TYPED).into()
    }

    // Arithmetic.

    pub fn op(&self, op: InstructionOpcode, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        let (a, b) = self.matched(a, b);
        self.builder.build_binop(op, a, b, "").expect(TYPED)
    }
    pub fn add(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(if self.is_float(a) { InstructionOpcode::FAdd } else { InstructionOpcode::Add }, a, b)
    }
    pub fn sub(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(if self.is_float(a) { InstructionOpcode::FSub } else { InstructionOpcode::Sub }, a, b)
    }
    pub fn mul(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(if self.is_float(a) { InstructionOpcode::FMul } else { InstructionOpcode::Mul }, a, b)
    }
    pub fn fdiv(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(InstructionOpcode::FDiv, a, b)
    }
    pub fn and(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(InstructionOpcode::And, a, b)
    }
    pub fn or(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(InstructionOpcode::Or, a, b)
    }
    pub fn xor(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.op(InstructionOpcode::Xor, a, b)
    }
    pub fn not(&self, a: Val<'ctx>) -> Val<'ctx> {
        let ones = self.bits(a.get_type(), u64::MAX);
        self.xor(a, ones)
    }
    pub fn shl(&self, a: Val<'ctx>, by: u64) -> Val<'ctx> {
        let by = self.bits(a.get_type(), by);
        self.op(InstructionOpcode::Shl, a, by)
    }
    pub fn shr(&self, a: Val<'ctx>, by: u64) -> Val<'ctx> {
        let by = self.bits(a.get_type(), by);
        self.op(InstructionOpcode::LShr, a, by)
    }
    /// Likewise of signed integers.
    pub fn sar(&self, a: Val<'ctx>, by: u64) -> Val<'ctx> {
        let by = self.bits(a.get_type(), by);
        self.op(InstructionOpcode::AShr, a, by)
    }
    /// `a * b + c`, rounded once where the processor can.
    pub fn fma(&self, a: Val<'ctx>, b: Val<'ctx>, c: Val<'ctx>) -> Val<'ctx> {
        let lanes = self.lanes_of(a).max(self.lanes_of(b)).max(self.lanes_of(c));
        let [a, b, c] = [a, b, c].map(|v| self.splat(v, lanes));
        if self.has_fma() { self.call("llvm.fma", &[a, b, c]) } else { self.add(self.mul(a, b), c) }
    }
    /// `c` and the products of pairs of bf16, each pair in the bits of an f32: the second product is added first.
    pub fn fma_pairs(&self, a: Val<'ctx>, b: Val<'ctx>, c: Val<'ctx>) -> Val<'ctx> {
        let pairs = self.context.bf16_type().vec_type(2 * self.lanes_of(c));
        let [a, b] = [a, b].map(|v| self.builder.build_bit_cast(v, pairs, "").expect(TYPED));
        self.call_as("llvm.x86.avx512bf16.dpbf16ps.512", &[], &[c, a, b])
    }
    /// `c` and the products of fours of bytes, those of `a` without sign, of `b` with it.
    pub fn add_bytes(&self, a: Val<'ctx>, b: Val<'ctx>, c: Val<'ctx>) -> Val<'ctx> {
        let bytes = self.context.i8_type().vec_type(4 * self.lanes_of(c));
        let [a, b] = [a, b].map(|v| self.builder.build_bit_cast(v, bytes, "").expect(TYPED));
        self.call_as("llvm.x86.avx512.vpdpbusd.512", &[], &[c, a, b])
    }
    /// `x * c + d` with numbers.
    pub fn fma_n(&self, x: Val<'ctx>, c: f64, d: Val<'ctx>) -> Val<'ctx> {
        self.fma(x, self.same(x, c), d)
    }
    /// A polynomial by Horner's rule, highest coefficient first.
    /// A polynomial, highest power first. Two terms each make one in x^2, two of these one in x^4 (Estrin's scheme), so that fewer steps
    /// wait for one another than in Horner's; the last step is Horner's, whose rounding is felt least.
    pub fn polynomial(&self, x: Val<'ctx>, coefficients: &[f64]) -> Val<'ctx> {
        let mut terms: Vec<Val> = coefficients.iter().rev().map(|c| self.same(x, *c)).collect();
        let first = terms.remove(0);
        let mut power = x;
        while terms.len() > 1 {
            let joined =
                terms.chunks(2).map(|pair| pair.get(1).map_or(pair[0], |high| self.fma(*high, power, pair[0])));
            terms = joined.collect();
            power = self.mul(power, power);
        }
        terms.pop().map_or(first, |rest| self.fma(rest, x, first))
    }
    pub fn fneg(&self, a: Val<'ctx>) -> Val<'ctx> {
        match a {
            BasicValueEnum::FloatValue(v) => self.builder.build_float_neg(v, "").expect(TYPED).into(),
            v => self.builder.build_float_neg(v.into_vector_value(), "").expect(TYPED).into(),
        }
    }
    pub fn icmp(&self, p: IntPredicate, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        match self.matched(a, b) {
            (BasicValueEnum::IntValue(a), BasicValueEnum::IntValue(b)) => {
                self.builder.build_int_compare(p, a, b, "").expect(TYPED).into()
            }
            (a, b) => {
                let (a, b) = (a.into_vector_value(), b.into_vector_value());
                self.builder.build_int_compare(p, a, b, "").expect(TYPED).into()
            }
        }
    }
    pub fn fcmp(&self, p: FloatPredicate, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        match self.matched(a, b) {
            (BasicValueEnum::FloatValue(a), BasicValueEnum::FloatValue(b)) => {
                self.builder.build_float_compare(p, a, b, "").expect(TYPED).into()
            }
            (a, b) => {
                let (a, b) = (a.into_vector_value(), b.into_vector_value());
                self.builder.build_float_compare(p, a, b, "").expect(TYPED).into()
            }
        }
    }
    pub fn select(&self, c: Val<'ctx>, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        let (a, b) = self.matched(a, b);
        let lanes = self.lanes_of(c).max(self.lanes_of(a));
        let (a, b) = (self.splat(a, lanes), self.splat(b, lanes));
        match c {
            BasicValueEnum::IntValue(c) => self.builder.build_select(c, a, b, "").expect(TYPED),
            c => self.builder.build_select(c.into_vector_value(), a, b, "").expect(TYPED),
        }
    }
    pub fn cast(&self, op: InstructionOpcode, v: Val<'ctx>, element: BasicTypeEnum<'ctx>) -> Val<'ctx> {
        self.builder.build_cast(op, v, self.like(v, element), "").expect(TYPED)
    }
    pub fn bitcast(&self, v: Val<'ctx>, element: BasicTypeEnum<'ctx>) -> Val<'ctx> {
        self.cast(InstructionOpcode::BitCast, v, element)
    }
    /// An intrinsic that is overloaded by the type of its first operand.
    pub fn call(&self, name: &str, args: &[Val<'ctx>]) -> Val<'ctx> {
        self.call_as(name, &[args[0].get_type()], args)
    }
    pub fn call_as(&self, name: &str, overload: &[BasicTypeEnum<'ctx>], args: &[Val<'ctx>]) -> Val<'ctx> {
        self.call_any(name, overload, args).expect("the intrinsic gives a value")
    }
    pub fn call_any(&self, name: &str, overload: &[BasicTypeEnum<'ctx>], args: &[Val<'ctx>]) -> Option<Val<'ctx>> {
        let intrinsic = Intrinsic::find(name).unwrap_or_else(|| unreachable!("LLVM has no {name}"));
        let function = intrinsic.get_declaration(&self.module, overload).expect(TYPED);
        let args: Vec<_> = args.iter().map(|a| (*a).into()).collect();
        self.builder.build_call(function, &args, "").expect(TYPED).try_as_basic_value().basic()
    }

    /// A call of a function that gives nothing.
    pub fn call_function(&self, function: FunctionValue<'ctx>, args: &[Val<'ctx>]) {
        let args: Vec<_> = args.iter().map(|a| (*a).into()).collect();
        self.builder.build_call(function, &args, "").expect(TYPED);
    }

    // Control.

    pub fn function(&self) -> FunctionValue<'ctx> {
        self.builder.get_insert_block().and_then(BasicBlock::get_parent).expect("code is emitted inside a function")
    }
    pub fn block(&self, name: &str) -> BasicBlock<'ctx> {
        self.context.append_basic_block(self.function(), name)
    }
    pub fn go(&self, to: BasicBlock<'ctx>) {
        self.builder.build_unconditional_branch(to).expect(TYPED);
    }
    pub fn branch(&self, c: Val<'ctx>, then: BasicBlock<'ctx>, otherwise: BasicBlock<'ctx>) {
        self.builder.build_conditional_branch(c.into_int_value(), then, otherwise).expect(TYPED);
    }
    /// `for i in (from..to).step_by(step)`, leaving the first `i` that was not run.
    pub fn each(&self, from: Val<'ctx>, to: Val<'ctx>, step: i64, body: impl FnOnce(Val<'ctx>)) -> Val<'ctx> {
        // One turn is no loop.
        if let (Some(first), Some(end)) = (self.known(from), self.known(to))
            && first < end
            && first + step >= end
        {
            body(from);
            return self.index(first + step);
        }
        self.advance(from, to, |i| {
            body(i);
            self.add(i, self.index(step))
        })
    }
    /// A constant's number.
    pub fn known(&self, v: Val<'ctx>) -> Option<i64> {
        match v {
            BasicValueEnum::IntValue(v) => v.get_sign_extended_constant(),
            _ => None,
        }
    }
    /// From `from` on, as long as it is below `to`: `body` says where it goes on. Leaves the first place that was not run.
    pub fn advance(&self, from: Val<'ctx>, to: Val<'ctx>, body: impl FnOnce(Val<'ctx>) -> Val<'ctx>) -> Val<'ctx> {
        let before = self.builder.get_insert_block().expect("code is emitted inside a block");
        let (head, inside, after) = (self.block("head"), self.block("body"), self.block("after"));
        self.go(head);
        self.builder.position_at_end(head);
        let i = self.builder.build_phi(self.i64(), "i").expect(TYPED);
        let more = self.icmp(IntPredicate::SLT, i.as_basic_value(), to);
        self.branch(more, inside, after);
        self.builder.position_at_end(inside);
        let next = body(i.as_basic_value());
        let end = self.builder.get_insert_block().expect("code is emitted inside a block");
        self.go(head);
        i.add_incoming(&[(&from, before), (&next, end)]);
        self.builder.position_at_end(after);
        i.as_basic_value()
    }
    /// Emits `then` under a condition.
    pub fn when(&self, c: Val<'ctx>, then: impl FnOnce()) {
        let (inside, after) = (self.block("then"), self.block("after"));
        self.branch(c, inside, after);
        self.builder.position_at_end(inside);
        then();
        self.go(after);
        self.builder.position_at_end(after);
    }
    /// `c ? then() : otherwise`, with `then` run only under the condition.
    pub fn choose(&self, c: Val<'ctx>, then: impl FnOnce() -> Val<'ctx>, otherwise: Val<'ctx>) -> Val<'ctx> {
        let before = self.builder.get_insert_block().expect("code is emitted inside a block");
        let (inside, after) = (self.block("then"), self.block("after"));
        self.branch(c, inside, after);
        self.builder.position_at_end(inside);
        let value = then();
        let end = self.builder.get_insert_block().expect("code is emitted inside a block");
        self.go(after);
        self.builder.position_at_end(after);
        let phi = self.builder.build_phi(value.get_type(), "").expect(TYPED);
        phi.add_incoming(&[(&value, end), (&otherwise, before)]);
        phi.as_basic_value()
    }
    pub fn min(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.select(self.icmp(IntPredicate::SLT, a, b), a, b)
    }
    pub fn max(&self, a: Val<'ctx>, b: Val<'ctx>) -> Val<'ctx> {
        self.select(self.icmp(IntPredicate::SGT, a, b), a, b)
    }
    /// `floor(n / by)`, both not negative as the kernels use it.
    pub fn udiv(&self, n: Val<'ctx>, by: Val<'ctx>) -> Val<'ctx> {
        self.op(InstructionOpcode::UDiv, n, by)
    }
    pub fn urem(&self, n: Val<'ctx>, by: Val<'ctx>) -> Val<'ctx> {
        self.op(InstructionOpcode::URem, n, by)
    }

    /// Attributes of generated functions: the processor, no unwinding, no calls into a C library.
    pub fn mark(&self, function: FunctionValue<'ctx>) {
        let text = |key: &str, value: &str| self.context.create_string_attribute(key, value);
        let flag = |name: &str| self.context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), 0);
        function.add_attribute(AttributeLoc::Function, flag("nounwind"));
        function.add_attribute(AttributeLoc::Function, text("no-builtins", ""));
        function.add_attribute(AttributeLoc::Function, text("frame-pointer", "none"));
        if let Some((cpu, more, width)) = super::processor(self.isa) {
            function.add_attribute(AttributeLoc::Function, text("target-cpu", cpu));
            function.add_attribute(AttributeLoc::Function, text("target-features", more));
            function.add_attribute(AttributeLoc::Function, text("prefer-vector-width", width));
        }
    }
}
