//! Which rows of a value anybody needs: those that a select will take.
//!
//! `select(left, kept, value)` needs `value` only where `left` is false, and so on down through whatever keeps the rows of `left`
//! apart: pointwise functions, reductions and contractions over other axes. In a loop it holds of a carry, too, if all that reads
//! the carry needs it only where another one, which never turns back, is still false. So the rows that have left an early exit
//! (see `lang/src/types/exit.rs`) cost nothing, and so does any other row that nobody will look at.
//!
//! A condition without axes tells of whole values: then what only the other side needs is not needed at all, through ops of any kind,
//! and its kernels are not called.
//!
//! A loop that captures the condition under which its results are needed (`passes/told.rs`) has it in its body.
//!
//! Where the condition is no leaf, its own kernel has to run first: `flagged.rs` sees to that, and leaves out what cannot be told in time.
//!
//! Known weakness: one condition is kept for a value, of several around it the one that is a leaf, or else the innermost.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use crate::graph::{Axis, Graph, Value};
use crate::ops::{Class, Op, Scan};
use crate::scalar::Binary;

/// The rows of a value that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nowhere,
    /// Where a value of `bool` is this.
    Where(Value, bool),
    Everywhere,
}

impl Need {
    /// The condition under which a whole value is needed, if there is one.
    pub fn whole(self, graph: &Graph) -> Option<Only> {
        match self {
            Self::Where(flag, when) if graph.ty(flag).axes.is_empty() => Some(Only { flag, when }),
            _ => None,
        }
    }

    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nowhere, need) | (need, Self::Nowhere) => need,
            (a, b) if a == b => a,
            _ => Self::Everywhere,
        }
    }
}

/// What is needed of the values of a graph.
#[derive(Clone, Debug, Default)]
pub struct Needs(BTreeMap<Value, Need>);

impl Needs {
    /// All results are needed everywhere.
    pub fn of_graph(graph: &Graph) -> Self {
        Self::below(graph, &vec![Need::Everywhere; graph.results.len()])
    }

    /// Of a loop's body; `operands` are the loop's, `outside` is what is needed of its results.
    pub fn of_body(scan: &Scan, operands: &[Value], outside: &dyn Fn(u32) -> (Value, Need)) -> Self {
        let (graph, carries) = (&*scan.body, scan.carries as usize);
        let carry = |i: usize| {
            let is_carry = move |op: &Op| matches!(op, Op::Carry(c) if c.index as usize == i);
            graph.ids().filter(move |id| is_carry(&graph.node(*id).op)).map(Value::of)
        };
        let lasting: Vec<(usize, Need)> = (0..carries)
            .filter_map(|j| lasting(graph, j).map(|(kept, stays)| (j, Need::Where(kept, !stays))))
            .collect();
        let axes = |need: &Need| if let Need::Where(c, _) = need { Some(&graph.ty(*c).axes) } else { None };
        // A condition outside that the body has as a capture.
        let captured = |flag: Value| {
            let own = operands[carries + scan.items as usize..].iter().position(|v| *v == flag)?;
            let is_it = |v: &Value| matches!(graph.op(*v), Op::Capture(c) if c.index as usize == own);
            graph.ids().map(Value::of).find(is_it)
        };
        // What the loop's own condition at the end says is weaker than what it says in the iteration before.
        let after = |i: usize| match outside(i as u32) {
            (result, Need::Where(c, when)) if c.node == result.node => {
                let same = |(j, need): &&(usize, Need)| {
                    *j == c.result as usize && matches!(need, Need::Where(_, w) if *w == when)
                };
                lasting.iter().find(same).map_or(Need::Everywhere, |(_, need)| *need)
            }
            (_, Need::Nowhere) => Need::Nowhere,
            (_, Need::Where(c, when)) => captured(c).map_or(Need::Everywhere, |c| Need::Where(c, when)),
            _ => Need::Everywhere,
        };
        let told = (0..graph.results.len()).map(after).fold(Need::Nowhere, Need::join);
        let candidate = |i: usize| {
            let of = &graph.ty(graph.results[i]).axes;
            let fits = |need: &Need| axes(need).is_some_and(|a| a.is_subset(of));
            let lasting = lasting.iter().filter(|(j, _)| *j != i).map(|(_, need)| need);
            lasting.chain([&told]).find(|need| fits(need)).copied().unwrap_or(Need::Everywhere)
        };
        let mut next: Vec<Need> = (0..carries).map(candidate).collect();
        // Taken for granted until a reader says otherwise.
        loop {
            let results: Vec<Need> =
                (0..graph.results.len()).map(|i| next.get(i).map_or(after(i), |need| need.join(after(i)))).collect();
            let needs = Self::below(graph, &results);
            let fails = |i: &usize| {
                let read = carry(*i).map(|c| needs.of(c)).fold(Need::Nowhere, Need::join);
                next[*i] != Need::Everywhere && next[*i].join(read) != next[*i]
            };
            let Some(wrong) = (0..carries).find(fails) else { return needs };
            next[wrong] = Need::Everywhere;
        }
    }

    pub fn of(&self, value: Value) -> Need {
        self.0.get(&value).copied().unwrap_or(Need::Nowhere)
    }

    /// From what is needed of the results.
    fn below(graph: &Graph, results: &[Need]) -> Self {
        let mut needs = Self::default();
        for (value, need) in graph.results.iter().zip(results) {
            needs.add(*value, *need);
        }
        let mut ids: Vec<_> = graph.ids().collect();
        ids.reverse();
        for id in ids {
            let of_loop = match &graph.node(id).op {
                Op::Scan(scan) => Some((scan, needs.within(scan, &graph.operands(id), id))),
                _ => None,
            };
            for (number, operand) in graph.operands(id).into_iter().enumerate() {
                let need = match &of_loop {
                    Some((scan, body)) => body.of_item(scan, &graph.operands(id), number),
                    None => needs.of_operand(graph, Value::of(id), number, operand),
                };
                needs.add(operand, need);
                // What tells of whole values is looked at in any case.
                if let Some(only) = need.whole(graph) {
                    needs.add(only.flag, Need::Everywhere);
                }
            }
        }
        needs
    }

    /// Of the body of a loop of this graph.
    pub fn within(&self, scan: &Scan, operands: &[Value], node: NodeIndex) -> Self {
        Self::of_body(scan, operands, &|result| (Value { node, result }, self.of(Value { node, result })))
    }

    /// What a loop, of whose body these are the needs, needs of an operand: of an item what every iteration needs of its own part, where an
    /// item or a capture tells that.
    fn of_item(&self, scan: &Scan, operands: &[Value], number: usize) -> Need {
        let (body, carries) = (&*scan.body, scan.carries as usize);
        let outside = |value: Value| match body.op(value) {
            Op::Item(item) => Some(carries + item.index as usize),
            Op::Capture(capture) => Some(carries + scan.items as usize + capture.index as usize),
            _ => None,
        };
        if !(carries..carries + scan.items as usize).contains(&number) {
            return Need::Everywhere;
        }
        let parts = body.ids().map(Value::of).filter(|part| outside(*part) == Some(number));
        match parts.map(|part| self.of(part)).fold(Need::Nowhere, Need::join) {
            Need::Where(flag, when) => outside(flag).map_or(Need::Everywhere, |i| Need::Where(operands[i], when)),
            need => need,
        }
    }

    fn add(&mut self, value: Value, need: Need) {
        let before = self.of(value);
        self.0.insert(value, before.join(need));
    }

    /// What a node needs of an operand.
    fn of_operand(&self, graph: &Graph, user: Value, number: usize, operand: Value) -> Need {
        let op = graph.op(user);
        let of_results = (0..graph.node(user.node).types.len() as u32).map(|result| self.of(Value { result, ..user }));
        let own = of_results.fold(Need::Nowhere, Need::join);
        if let (Op::Select(_), 1 | 2) = (op, number)
            && own != Need::Nowhere
            && graph.ty(graph.operands(user.node)[0]).axes.is_empty()
        {
            return Need::Where(graph.operands(user.node)[0], number == 1);
        }
        if own.whole(graph).is_some() {
            return own;
        }
        // Rows stay rows where both sides have their axes; these take from other rows, or tell which are taken.
        if matches!(op, Op::Shift(_) | Op::Running(_) | Op::Gather(_) | Op::Segment(_)) {
            return Need::Everywhere;
        }
        let is_told = |v: Value| is_leaf(graph, v) || graph.op(v).class() == Class::Loop;
        let has = |v: Value, axis: Axis| graph.ty(v).axes.contains(axis);
        let fits = |c: Value| {
            let axes = &graph.ty(c).axes;
            !axes.is_empty() && axes.iter().all(|a| has(operand, a) && has(user, a))
        };
        let operands = graph.operands(user.node);
        let condition = match (op, number) {
            (Op::Select(_), 1) => Some((operands[0], true)),
            (Op::Select(_), 2) => Some((operands[0], false)),
            (Op::Binary(b), _) if b.f == Binary::Or => Some((operands[1 - number], false)),
            (Op::Binary(b), _) if b.f == Binary::And => Some((operands[1 - number], true)),
            _ => None,
        };
        match (own, condition) {
            (Need::Nowhere, _) => Need::Nowhere,
            (Need::Where(c, when), _) if fits(c) && is_told(c) => Need::Where(c, when),
            (_, Some((c, when))) if fits(c) => Need::Where(c, when),
            (Need::Where(c, when), _) if fits(c) => Need::Where(c, when),
            _ => Need::Everywhere,
        }
    }
}

/// A carry of a loop's body that never turns back, and what it then stays: `left or ..` true, `here and ..` false.
pub fn lasting(body: &Graph, carry: usize) -> Option<(Value, bool)> {
    let next = body.results[carry];
    let stays = match body.op(next) {
        Op::Binary(b) if b.f == Binary::Or => true,
        Op::Binary(b) if b.f == Binary::And => false,
        _ => return None,
    };
    let is_carry = |v: &Value| matches!(body.op(*v), Op::Carry(c) if c.index as usize == carry);
    body.operands(next.node).into_iter().find(is_carry).map(|kept| (kept, stays))
}

/// The rows that a kernel has to compute: where a leaf is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only {
    pub flag: Value,
    pub when: bool,
}

impl Only {
    /// Of the kernel that makes these values.
    pub fn of(needs: &Needs, values: impl IntoIterator<Item = Value>) -> Option<Self> {
        let need = values.into_iter().map(|v| needs.of(v)).fold(Need::Nowhere, Need::join);
        match need {
            Need::Where(flag, when) => Some(Self { flag, when }),
            _ => None,
        }
    }
}

/// Is a value there before all kernels of its graph?
pub fn is_leaf(graph: &Graph, value: Value) -> bool {
    graph.op(value).class() == Class::Leaf && !matches!(graph.op(value), Op::Const(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::parse;

    /// What is needed of the results of a loop's body, by name.
    fn body(text: &str) -> Vec<String> {
        let module = parse(text).unwrap_or_else(|e| panic!("{e}"));
        let graph = &module.entries[0].graph;
        let node = graph.ids().find(|id| matches!(graph.node(*id).op, Op::Scan(_))).unwrap();
        let Op::Scan(scan) = &graph.node(node).op else { unreachable!() };
        let outer = Needs::of_graph(graph);
        let outside = |i: u32| {
            let result = Value { node, result: i };
            (result, outer.of(result))
        };
        let needs = Needs::of_body(scan, &graph.operands(node), &outside);
        let show = |value: &Value| match needs.of(*value) {
            Need::Where(c, when) => format!("{} is {when}", scan.body.op(c).name()),
            need => format!("{need:?}"),
        };
        scan.body.results.iter().map(show).collect()
    }

    fn exit(next: &str, result: &str) -> Vec<String> {
        body(&format!(
            "module m\nsymbol t\naxis t = t\naxis l = 3\naxis d = 2\ngraph @m(%x: f32[t, d], %p: bool[t]) -> (y: f32[t, d]) {{\n\
             %0:3 = scan[l, forward, 3, 0] %x, %p, %x : f32[t, d], bool[t], f32[t, d] {{\n\
             %0 = carry[0] : f32[t, d]\n %1 = carry[1] : bool[t]\n %2 = carry[2] : f32[t, d]\n\
             %3 = unary[exp] %0 : f32[t, d]\n %4 = reduce[sum, d] %3 : f32[t]\n %5 = const[1.0] : f32[]\n\
             %6 = binary[gt] %4, %5 : bool[t]\n %7 = {next} : bool[t]\n %8 = select %1, %2, %3 : f32[t, d]\n\
             return %3, %7, %8\n }}\n return %0#{result}\n}}\n"
        ))
    }

    #[test]
    fn rows_that_have_left_need_nothing() {
        assert_eq!(exit("binary[or] %1, %6", "2"), ["carry is false", "Everywhere", "Everywhere"]);
    }

    #[test]
    fn rows_that_may_come_back_need_all() {
        assert_eq!(exit("binary[gt] %4, %5", "2"), ["Everywhere", "Everywhere", "Everywhere"]);
        // Of a carry that is a result all rows are looked at.
        assert_eq!(exit("binary[or] %1, %6", "0")[0], "Everywhere");
    }
}
