//! Terms of the e-graph, and what is known of a class.

use std::collections::BTreeMap;

use egg::{Analysis, DidMerge, EGraph, Id, Language};

use crate::graph::{Sizes, Type};
use crate::ops::{Class, Op};

/// What stands at the head of a term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    Op(Op),
    /// A result of a loop.
    Result(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    pub head: Head,
    pub operands: Vec<Id>,
}

impl Language for Term {
    /// Names of ops: rules are anchored at them.
    type Discriminant = &'static str;

    fn discriminant(&self) -> &'static str {
        match &self.head {
            Head::Op(op) => op.name(),
            Head::Result(_) => "result",
        }
    }
    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.operands.len() == other.operands.len()
    }
    fn children(&self) -> &[Id] {
        &self.operands
    }
    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.operands
    }
}

/// The analysis: types, and what is known at load.
pub struct Facts {
    pub sizes: Sizes,
    /// Items (true) and captures (false) of the region that are known at load.
    pub known: BTreeMap<(bool, u32), bool>,
}

#[derive(Clone, Debug)]
pub struct Known {
    /// One for each result; one but for loops.
    pub types: Vec<Type>,
    /// Made of parameters and numbers alone, by ops that a load plan can take.
    pub at_load: bool,
}

impl Analysis<Term> for Facts {
    type Data = Known;

    fn make(egraph: &mut EGraph<Term, Self>, term: &Term, _: Id) -> Known {
        let operand = |i: usize| &egraph[term.operands[i]].data;
        let op = match &term.head {
            Head::Result(result) => {
                let types = vec![operand(0).types[*result as usize].clone()];
                return Known { types, at_load: false };
            }
            Head::Op(op) => op,
        };
        let types: Vec<&Type> = (0..term.operands.len()).map(|i| &operand(i).types[0]).collect();
        let types = match op.infer(&egraph.analysis.sizes, &types) {
            Ok(types) => types,
            // Rules give well-typed terms: their proof and the verifier behind this pass see to it.
            Err(why) => unreachable!("a rule made {} of wrong operands: {why}", op.name()),
        };
        let at_load = match op {
            Op::Param(_) | Op::Loaded(_) | Op::Const(_) | Op::Table(_) => true,
            Op::Item(item) => egraph.analysis.known.get(&(true, item.index)).copied().unwrap_or(false),
            Op::Capture(capture) => egraph.analysis.known.get(&(false, capture.index)).copied().unwrap_or(false),
            op => {
                !matches!(op.class(), Class::Leaf | Class::Loop | Class::Select)
                    && (0..term.operands.len()).all(|i| operand(i).at_load)
                    && egraph.analysis.sizes.are_known(&types[0].axes)
            }
        };
        Known { types, at_load }
    }

    fn merge(&mut self, a: &mut Known, b: Known) -> DidMerge {
        debug_assert_eq!(a.types, b.types, "a rule equated values of different types");
        let at_load = a.at_load || b.at_load;
        let changed = DidMerge(at_load != a.at_load, at_load != b.at_load);
        a.at_load = at_load;
        changed
    }
}
