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
    /// Operands that may stand in any order stand in one: terms that differ in that alone are one term.
    fn update_children<F: FnMut(Id) -> Id>(&mut self, mut class_of: F) {
        self.operands.iter_mut().for_each(|id| *id = class_of(*id));
        if let Head::Op(op) = &self.head
            && commutes(op.name())
        {
            self.operands.sort_unstable();
        }
    }
}

/// Sums and products, of any number of operands.
pub fn is_flat(op: &str) -> bool {
    matches!(op, "add" | "mul")
}

/// Ops whose operands may stand in any order.
pub fn commutes(op: &str) -> bool {
    is_flat(op) || op == "contract"
}

/// The analysis: types, and what is known at load.
#[derive(Clone, Debug)]
pub struct Facts {
    pub sizes: Sizes,
    /// Items (true) and captures (false) of the region that are known at load.
    pub known: BTreeMap<(bool, u32), bool>,
    /// Classes that cannot be: two numbers, or two types, that a rule made one.
    pub faults: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Known {
    /// One for each result; one but for loops.
    pub types: Vec<Type>,
    /// Made of parameters and numbers alone, by ops that a load plan can take.
    pub at_load: bool,
    /// Bits of the number that it is.
    pub number: Option<u64>,
}

/// Is an op's result known at load? `known` tells of leaves.
pub fn is_at_load(op: &Op, ty: &Type, operands: &[bool], sizes: &Sizes, known: &dyn Fn(&Op) -> bool) -> bool {
    match op {
        Op::Param(_) | Op::Loaded(_) | Op::Const(_) | Op::Table(_) => true,
        op if matches!(op.class(), Class::Leaf) => known(op),
        op => {
            !matches!(op.class(), Class::Loop | Class::Select)
                && operands.iter().all(|o| *o)
                && sizes.are_known(&ty.axes)
        }
    }
}

impl Analysis<Term> for Facts {
    type Data = Known;

    fn make(egraph: &mut EGraph<Term, Self>, term: &Term, _: Id) -> Known {
        let operand = |i: usize| &egraph[term.operands[i]].data;
        let op = match &term.head {
            Head::Result(result) => {
                let types = vec![operand(0).types[*result as usize].clone()];
                return Known { types, at_load: false, number: None };
            }
            Head::Op(op) => op,
        };
        let types: Vec<&Type> = (0..term.operands.len()).map(|i| &operand(i).types[0]).collect();
        let types = match op.infer(&egraph.analysis.sizes, &types) {
            Ok(types) => types,
            // Rules give well-typed terms: their proof and the verifier behind this pass see to it.
            Err(why) => unreachable!("a rule made {} of wrong operands: {why}", op.name()),
        };
        let operands: Vec<bool> = (0..term.operands.len()).map(|i| operand(i).at_load).collect();
        let known = |op: &Op| {
            let known = &egraph.analysis.known;
            match op {
                Op::Item(item) => known.get(&(true, item.index)).copied().unwrap_or(false),
                Op::Capture(capture) => known.get(&(false, capture.index)).copied().unwrap_or(false),
                _ => false,
            }
        };
        let at_load = is_at_load(op, &types[0], &operands, &egraph.analysis.sizes, &known);
        let number = if let Op::Const(c) = op { Some(c.bits) } else { None };
        Known { types, at_load, number }
    }

    fn merge(&mut self, a: &mut Known, b: Known) -> DidMerge {
        if a.types != b.types {
            self.faults.push(format!("{:?} and {:?}", a.types, b.types));
        }
        if let (Some(a), Some(b)) = (a.number, b.number)
            && a != b
        {
            self.faults.push(format!("{} and {}", f64::from_bits(a), f64::from_bits(b)));
        }
        let at_load = a.at_load || b.at_load;
        let number = a.number.or(b.number);
        let changed = DidMerge((at_load, number) != (a.at_load, a.number), (at_load, number) != (b.at_load, b.number));
        (a.at_load, a.number) = (at_load, number);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Elem;
    use crate::ops::Const;

    fn number(egraph: &mut EGraph<Term, Facts>, elem: Elem, x: f64) -> Id {
        egraph.add(Term { head: Head::Op(Const::new(elem, x).into()), operands: Vec::new() })
    }

    #[test]
    fn two_numbers_in_one_class_are_a_fault_and_so_are_two_types() {
        let facts = Facts { sizes: Sizes::default(), known: BTreeMap::new(), faults: Vec::new() };
        let mut egraph = EGraph::new(facts);
        let [one, two] = [1.0, 2.0].map(|x| number(&mut egraph, Elem::F32, x));
        egraph.union(one, one);
        assert!(egraph.analysis.faults.is_empty());
        egraph.union(one, two);
        egraph.rebuild();
        assert_eq!(egraph.analysis.faults, ["1 and 2"]);
        let [three, other] = [Elem::F32, Elem::F64].map(|elem| number(&mut egraph, elem, 3.0));
        egraph.union(three, other);
        egraph.rebuild();
        assert_eq!(egraph.analysis.faults[1..], ["[f32[]] and [f64[]]"]);
    }
}
