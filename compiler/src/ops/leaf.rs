//! Leaves that stand for a value of somebody else, by its number.

use crate::graph::interp::{Env, EvalError};
use crate::graph::tensor::Tensor;
use crate::graph::{Sizes, Type};
use crate::ops::{Attr, Class, OpDef};

/// One leaf each: its name, where the interpreter has its value, what it is.
macro_rules! leaves {
    ($($op:ident $name:literal $values:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $op {
            pub index: u32,
            pub ty: Type,
        }

        impl OpDef for $op {
            const NAME: &'static str = $name;
            const DOC: &'static str = $doc;

            fn attrs(&self) -> Vec<Attr> {
                vec![Attr::Int(i64::from(self.index))]
            }
            fn parse(attrs: &[Attr], types: &[Type]) -> Option<Self> {
                let ([index], [ty]) = (attrs, types) else { return None };
                Some(Self { index: index.as_count()?, ty: ty.clone() })
            }
            fn arity(&self) -> Option<usize> {
                Some(0)
            }
            fn infer(&self, sizes: &Sizes, _: &[&Type]) -> Result<Vec<Type>, String> {
                self.ty.is_sized(sizes)?;
                Ok(vec![self.ty.clone()])
            }
            fn eval(&self, env: &Env, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
                Ok(vec![env.leaf(Self::NAME, env.$values, self.index, &self.ty)?])
            }
            fn class(&self) -> Class {
                Class::Leaf
            }
        }
    )*};
}

leaves! {
    Input "input" inputs "`input[i]`: input `i` of the entry.";
    Param "param" params "`param[i]`: parameter `i` of the module.";
    State "state" states "`state[i]`: state `i` of the module, as it was before the call.";
    Loaded "loaded" loaded "`loaded[i]`: result `i` of the module's `load` graph, computed once when a model is loaded.";
    Carry "carry" carries "`carry[i]`: in a loop's body: carry `i` before this iteration.";
    Item "item" items "`item[i]`: in a loop's body: item operand `i` at this iteration, without the loop's axis.";
    Capture "capture" captures "`capture[i]`: in a loop's body: capture operand `i`, the same in every iteration.";
}
