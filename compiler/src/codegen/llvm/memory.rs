//! Memory: addresses, loads and stores, what is fetched ahead, variables of a function.

use inkwell::IntPredicate;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Linkage;
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicValue, FunctionValue, PointerValue, UnnamedAddress};

use super::emit::{Emit, TYPED, Val};
use super::expr::Tail;

impl<'ctx> Emit<'ctx> {
    pub fn at(
        &self,
        pointer: PointerValue<'ctx>,
        element: BasicTypeEnum<'ctx>,
        index: Val<'ctx>,
    ) -> PointerValue<'ctx> {
        #[allow(unsafe_code, reason = "inkwell marks address arithmetic unsafe; it only emits an instruction")]
        // SAFETY: the index has an integer type, as the instruction wants; nothing is accessed here.
        let pointer = unsafe { self.builder.build_gep(element, pointer, &[index.into_int_value()], "") };
        pointer.expect(TYPED)
    }
    /// Loads at the alignment of elements: vectors may start anywhere.
    pub fn load(&self, ty: BasicTypeEnum<'ctx>, pointer: PointerValue<'ctx>) -> Val<'ctx> {
        let v = self.builder.build_load(ty, pointer, "").expect(TYPED);
        if let Some(load) = v.as_instruction_value() {
            load.set_alignment(self.align_of(ty)).expect("a power of two");
        }
        v
    }
    pub fn store(&self, v: Val<'ctx>, pointer: PointerValue<'ctx>) {
        let store = self.builder.build_store(pointer, v).expect(TYPED);
        store.set_alignment(self.align_of(v.get_type())).expect("a power of two");
    }
    /// Stores past the caches, where `pointer` allows it: memory that is not read soon then neither is fetched before it is written
    /// over, nor drives out what is. Other processors may see such stores late: [`Self::fence_streams`].
    pub fn stream(&self, v: Val<'ctx>, pointer: PointerValue<'ctx>) {
        let bytes = self.align_of(v.get_type()) * self.lanes_of(v);
        let place = self.builder.build_ptr_to_int(pointer, self.i64().into_int_type(), "").expect(TYPED);
        let aside = self.and(place.into(), self.index(i64::from(bytes) - 1));
        let (aligned, other, after) = (self.block("aligned"), self.block("other"), self.block("stored"));
        self.branch(self.icmp(IntPredicate::EQ, aside, self.index(0)), aligned, other);
        self.builder.position_at_end(aligned);
        let store = self.builder.build_store(pointer, v).expect(TYPED);
        store.set_alignment(bytes).expect("a power of two");
        let is_so = self.context.metadata_node(&[self.context.i32_type().const_int(1, false).into()]);
        store.set_metadata(is_so, self.context.get_kind_id("nontemporal")).expect("stores take metadata");
        self.go(after);
        self.builder.position_at_end(other);
        self.store(v, pointer);
        self.go(after);
        self.builder.position_at_end(after);
    }
    /// Puts streamed stores before all that come after.
    pub fn fence_streams(&self) {
        self.call_any("llvm.x86.sse.sfence", &[], &[]);
    }
    pub fn align_of(&self, ty: BasicTypeEnum<'ctx>) -> u32 {
        match self.element_of(ty) {
            BasicTypeEnum::IntType(t) => t.get_bit_width().div_ceil(8).max(1),
            BasicTypeEnum::FloatType(t) if t == self.context.f32_type() => 4,
            BasicTypeEnum::FloatType(t) if t == self.context.f16_type() => 2,
            _ => 8,
        }
    }
    /// Where zeros of this type stand, never written.
    pub fn zeros(&self, ty: BasicTypeEnum<'ctx>) -> PointerValue<'ctx> {
        let zero = self.zero(ty);
        let name = format!("zeros{}", self.align_of(ty) * self.lanes_of(zero));
        if let Some(zeros) = self.module.get_global(&name) {
            return zeros.as_pointer_value();
        }
        let zeros = self.module.add_global(ty, None, &name);
        zeros.set_initializer(&zero);
        zeros.set_constant(true);
        zeros.set_linkage(Linkage::Private);
        zeros.set_unnamed_address(UnnamedAddress::Global);
        zeros.as_pointer_value()
    }
    /// Lanes of `otherwise` where `mask` is false; those are not read.
    pub fn masked_load(
        &self,
        ty: BasicTypeEnum<'ctx>,
        pointer: PointerValue<'ctx>,
        mask: Val<'ctx>,
        otherwise: Val<'ctx>,
    ) -> Val<'ctx> {
        let overload = [ty, self.pointer()];
        let args = self.with_alignment("llvm.masked.load", &overload, &[pointer.into()], &[mask, otherwise], ty);
        self.call_as("llvm.masked.load", &overload, &args)
    }
    /// Stores the lanes that are inside.
    pub fn store_inside(&self, v: Val<'ctx>, pointer: PointerValue<'ctx>, tail: Tail<'ctx>) {
        match tail.count {
            // Some processors store masks of AVX2 in dozens of steps: in plain parts, of a half, a quarter and so on.
            Some(count) if !self.has_avx512() => {
                let halves = (0..self.lanes_of(v).ilog2()).rev().map(|bit| 1 << bit);
                let mut from = 0;
                for width in halves.filter(|width| count & width != 0) {
                    let part: Vec<u32> = (from..from + width).collect();
                    let at = self.at(pointer, self.element_of(v.get_type()), self.index(i64::from(from)));
                    self.store(self.shuffle(v, v, &part), at);
                    from += width;
                }
            }
            _ => self.masked_store(v, pointer, tail.mask),
        }
    }
    fn masked_store(&self, v: Val<'ctx>, pointer: PointerValue<'ctx>, mask: Val<'ctx>) {
        let overload = [v.get_type(), self.pointer()];
        let args = self.with_alignment("llvm.masked.store", &overload, &[v, pointer.into()], &[mask], v.get_type());
        self.call_any("llvm.masked.store", &overload, &args);
    }
    /// Older LLVMs take the alignment as an operand between the others; newer ones as an attribute.
    fn with_alignment(
        &self,
        name: &str,
        overload: &[BasicTypeEnum<'ctx>],
        before: &[Val<'ctx>],
        after: &[Val<'ctx>],
        ty: BasicTypeEnum<'ctx>,
    ) -> Vec<Val<'ctx>> {
        let intrinsic = Intrinsic::find(name).unwrap_or_else(|| unreachable!("LLVM has no {name}"));
        let function = intrinsic.get_declaration(&self.module, overload).expect(TYPED);
        let mut args = before.to_vec();
        if function.count_params() as usize > before.len() + after.len() {
            args.push(self.bits(self.int(32), u64::from(self.align_of(ty))));
        }
        args.extend(after);
        args
    }
    /// Asks for the cache lines of `bytes` bytes, soon to be read.
    pub fn prefetch(&self, pointer: PointerValue<'ctx>, bytes: i64) {
        self.prefetch_lines(pointer, bytes, 3);
    }
    /// Asks for cache lines that may wait in the second-level cache.
    pub fn fetch_later(&self, pointer: PointerValue<'ctx>, bytes: i64) {
        self.prefetch_lines(pointer, bytes, 2);
    }
    fn prefetch_lines(&self, pointer: PointerValue<'ctx>, bytes: i64, locality: u64) {
        let i32 = |n: u64| self.bits(self.int(32), n);
        for line in 0..(bytes + 63) / 64 {
            let line = self.at(pointer, self.int(8), self.index(line * 64));
            // To read, how near, data.
            self.call_any("llvm.prefetch", &[self.pointer()], &[line.into(), i32(0), i32(locality), i32(1)]);
        }
    }
    /// A variable of the function, at its entry: SROA turns it into a register.
    pub fn variable(&self, function: FunctionValue<'ctx>, ty: BasicTypeEnum<'ctx>) -> PointerValue<'ctx> {
        let here = self.builder.get_insert_block();
        let entry = function.get_first_basic_block().expect("the function has begun");
        match entry.get_first_instruction() {
            Some(first) => self.builder.position_before(&first),
            None => self.builder.position_at_end(entry),
        }
        let variable = self.builder.build_alloca(ty, "").expect(TYPED);
        if let Some(here) = here {
            self.builder.position_at_end(here);
        }
        variable
    }
}
