//! Fusion: which values of a graph become buffers, and which kernel makes each.
//!
//! A *group* is what one kernel computes: a core (a contraction, a nest with its outer axes, a top-k, a loop) and the pointwise
//! work around it. Every value is in one of three places:
//!
//! - *in a group*: its expression may hold the group's accumulators or reduction results; others see it only if it is a
//!   *root* of the group, that is, stored in a buffer;
//! - *floating*: pointwise work and views over leaves and buffers, evaluated by whoever reads it;
//! - a *leaf*: somebody else's buffer, or a number.
//!
//! One walk in topological order: a pointwise value joins the latest group that its operands are in, if it varies as that group
//! does; else it floats, and what it reads of the group becomes a root. So an epilogue takes all that follows a
//! contraction, with several results (an LSTM's cell and hidden value), and softmax becomes three stages of one nest.
//!
//! Attention (see [`attend`]) is found before the walk: its kernel computes what stands before and after a softmax.
//!
//! Known weakness: a floating value that several groups read is evaluated in each, unless it is dear.

mod attend;
mod flagged;
mod groups;
mod items;
mod needed;
mod order;
mod prologue;
mod roles;
mod turn;
mod unchosen;

use std::collections::{BTreeMap, BTreeSet};

use gatec_runtime::format::Isa;
use petgraph::graph::NodeIndex;

use crate::graph::{Axis, AxisSet, Graph, Sizes, Value};
use crate::ops::{Class, Op};
use crate::scalar::{Binary, Unary};

pub use attend::Attention;
pub use groups::{Core, Fusion, Group, GroupId, Note, Way};
pub use needed::{Need, Needs, Only, is_leaf, lasting};
pub use roles::{Grouped, Roles, axes_below, is_plain_view, order_above, stays_inside};

/// The most accumulators for one result element: gates of one product.
pub const MAX_GATES: i64 = 4;

/// What is known of a graph from outside.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Is a value known when a model is loaded?
    pub at_load: &'a dyn Fn(Value) -> bool,
    /// The axis along which neighbours of a leaf stand in memory.
    pub innermost: &'a dyn Fn(Value) -> Option<Axis>,
    /// Which rows of values anybody needs.
    pub needs: &'a Needs,
}

/// Fuses a graph for a kind of machine. `wanted` are the values that must be in buffers at the end (leaves among them that have one
/// are left alone).
pub fn fuse(graph: &Graph, sizes: &Sizes, wanted: &[Value], outside: Outside, isa: Isa) -> Fusion {
    let Outside { at_load, innermost, needs } = outside;
    let live = live_nodes(graph, wanted);
    let mut fuser = Fuser {
        graph,
        sizes,
        at_load,
        innermost_of: innermost,
        needs,
        asked: Vec::new(),
        isa,
        wanted,
        attention: if isa == Isa::Sm80 { BTreeMap::new() } else { attend::find(graph, sizes, &live, wanted) },
        fusion: Fusion::default(),
        latest: BTreeMap::new(),
        late: BTreeMap::new(),
    };
    let inner: BTreeSet<NodeIndex> = fuser
        .attention
        .values()
        .flat_map(|a| &a.members)
        .map(|m| m.node)
        .filter(|id| !fuser.attention.contains_key(id))
        .collect();
    // What is inside of attention has its home from the visit of the last of it.
    for &id in live.difference(&inner) {
        fuser.visit(id);
    }
    for &value in wanted {
        fuser.demand(value);
    }
    fuser.store_what_is_dear(&live);
    fuser.store_flags();
    fuser.leave_out_unchosen();
    fuser.order(&live);
    fuser.fusion
}

/// Nodes that some wanted value needs, in order.
fn live_nodes(graph: &Graph, wanted: &[Value]) -> BTreeSet<NodeIndex> {
    let mut live = BTreeSet::new();
    let mut stack: Vec<NodeIndex> = wanted.iter().map(|v| v.node).collect();
    while let Some(id) = stack.pop() {
        if live.insert(id) {
            stack.extend(graph.operands(id).iter().map(|v| v.node));
        }
    }
    live
}

struct Fuser<'a> {
    graph: &'a Graph,
    sizes: &'a Sizes,
    at_load: &'a dyn Fn(Value) -> bool,
    innermost_of: &'a dyn Fn(Value) -> Option<Axis>,
    needs: &'a Needs,
    /// By group: the condition under which all of it is needed.
    asked: Vec<Option<Only>>,
    isa: Isa,
    wanted: &'a [Value],
    /// By the node of its result.
    attention: BTreeMap<NodeIndex, Attention>,
    fusion: Fusion,
    /// The latest group that a value depends on.
    latest: BTreeMap<Value, GroupId>,
    /// Groups of a value that had floated until then, and the latest group that it depends on. Groups in between may read it,
    /// so it must not come to depend on them.
    late: BTreeMap<GroupId, Option<GroupId>>,
}

impl Fuser<'_> {
    fn visit(&mut self, id: NodeIndex) {
        if let Some(attention) = self.attention.remove(&id) {
            return self.visit_attention(attention);
        }
        let value = Value::of(id);
        match self.graph.node(id).op.class() {
            Class::Leaf => {}
            Class::Pointwise | Class::View => self.visit_pointwise(value),
            Class::Reduce => self.visit_reduce(value),
            Class::Contract => self.visit_contract(value),
            Class::Select => {
                self.read_from_outside(id);
                self.open(Core::TopK { value }, &[value]);
                self.store(value);
            }
            Class::Loop => self.visit_scan(id),
        }
    }

    /// The latest group that a node's operands depend on.
    fn latest_of(&self, id: NodeIndex) -> Option<GroupId> {
        self.graph.operands(id).iter().filter_map(|v| self.latest.get(v).copied()).max()
    }

    fn open(&mut self, core: Core, values: &[Value]) -> GroupId {
        let group = GroupId(self.fusion.groups.len());
        self.fusion.groups.push(Group { core, roots: Vec::new(), folds: Vec::new() });
        self.asked.push(values.first().and_then(|v| self.needs.of(*v).whole(self.graph)));
        for &value in values {
            self.join(value, group);
        }
        group
    }

    fn join(&mut self, value: Value, group: GroupId) {
        self.fusion.home.insert(value, group);
        self.latest.insert(value, group);
    }

    /// Reads a node's operands from anywhere: those in groups must be stored.
    fn read_from_outside(&mut self, id: NodeIndex) {
        for operand in self.graph.operands(id) {
            if self.fusion.home(operand).is_some() {
                self.store(operand);
            }
        }
    }

    /// Reads a node's operands from within `group`: members are at hand, members of other groups must be stored.
    fn read_from_group(&mut self, id: NodeIndex, group: GroupId) {
        for operand in self.graph.operands(id) {
            if self.fusion.home(operand).is_some_and(|home| home != group) {
                self.store(operand);
            }
        }
    }

    fn store(&mut self, value: Value) {
        if self.fusion.roots.insert(value)
            && let Some(home) = self.fusion.home(value)
        {
            self.fusion.groups[home.0].roots.push(value);
        }
    }

    /// Makes sure that a value is in a buffer: a root, a leaf that has one, or a map of its own.
    fn demand(&mut self, value: Value) {
        if self.fusion.home(value).is_some() {
            self.store(value);
        // The numbers of a loop's steps are stored before it.
        } else if !has_buffer(self.graph, value) && !matches!(self.graph.op(value), Op::Step(_)) {
            let outer = self.graph.ty(value).axes.clone();
            let before = self.latest.get(&value).copied();
            let group = self.open(Core::Nest { outer }, &[value]);
            self.late.insert(group, before);
            self.store(value);
        }
    }

    /// Is a node made of members of a group and of what is there before the group runs? A floating value that reads the
    /// group's own roots (its result one row further up, say) is not.
    fn follows(&self, id: NodeIndex, group: GroupId) -> bool {
        let operands = self.graph.operands(id);
        let is_member = |v: &Value| self.fusion.home(*v) == Some(group);
        operands.iter().any(is_member) && operands.iter().all(|v| is_member(v) || self.is_before(*v, group))
    }

    /// Is a value there before a group runs?
    fn is_before(&self, value: Value, group: GroupId) -> bool {
        let is_before = |latest: &GroupId| match self.late.get(&group) {
            Some(before) => Some(*latest) <= *before,
            None => *latest < group,
        };
        self.latest.get(&value).is_none_or(is_before) && !self.floats_on(value, group)
    }

    /// Does a floating value read members of a late group? What was there before the group does not know.
    fn floats_on(&self, value: Value, group: GroupId) -> bool {
        if !self.late.contains_key(&group) {
            return false;
        }
        let mut seen = BTreeSet::new();
        let mut below = vec![value];
        while let Some(value) = below.pop() {
            match self.fusion.home(value) {
                Some(home) if home == group => return true,
                Some(_) => {}
                None if seen.insert(value) => below.extend(self.graph.operands(value.node)),
                None => {}
            }
        }
        false
    }

    fn visit_pointwise(&mut self, value: Value) {
        let id = value.node;
        let latest = self.latest_of(id);
        let joined = latest.filter(|&group| self.follows(id, group) && self.accepts(group, value));
        if let Some(group) = joined {
            self.read_from_group(id, group);
            self.join(value, group);
            return;
        }
        self.read_from_outside(id);
        if let Some(latest) = latest {
            self.latest.insert(value, latest);
        }
    }

    /// May a value become part of a group's expressions?
    fn accepts(&self, group: GroupId, value: Value) -> bool {
        let op = self.graph.op(value);
        let axes = &self.graph.ty(value).axes;
        if !self.may_mix(group, value) {
            return false;
        }
        match &self.fusion.groups[group.0].core {
            Core::Contract { value: core, roles } => match (op, roles.gate) {
                (Op::Pick(pick), Some(gate)) => pick.axis == gate && self.graph.operands(value.node)[0] == *core,
                (op, _) => op.class() == Class::Pointwise && *axes == roles.point(),
            },
            Core::Attend(attention) => op.class() == Class::Pointwise && *axes == attention.point(),
            Core::Nest { outer } => op.class() == Class::Pointwise && outer.is_subset(axes),
            Core::Running { .. } | Core::TopK { .. } | Core::Scan { .. } => false,
        }
    }

    fn visit_reduce(&mut self, value: Value) {
        let id = value.node;
        if matches!(self.graph.op(value), Op::Running(_)) {
            self.read_from_outside(id);
            self.open(Core::Running { value }, &[value]);
            self.store(value);
            return;
        }
        let axes = self.graph.ty(value).axes.clone();
        // Rows are sorted into segments before the fold's own kernel.
        let sorted_by = match self.graph.op(value) {
            Op::Segment(_) => Some(self.graph.operands(id)[1]),
            _ => None,
        };
        sorted_by.into_iter().for_each(|index| self.demand(index));
        let joined = self.latest_of(id).filter(|&group| {
            matches!(&self.fusion.groups[group.0].core, Core::Nest { outer } if *outer == axes)
                && self.follows(id, group)
                && self.asked[group.0] == self.needs.of(value).whole(self.graph)
                && sorted_by.is_none_or(|index| self.fusion.home(index) != Some(group))
        });
        let joined = joined.or_else(|| sorted_by.and_then(|index| self.beside(value, index)));
        let group = match joined {
            Some(group) => {
                self.read_from_group(id, group);
                self.join(value, group);
                group
            }
            None => {
                self.read_from_outside(id);
                self.open(Core::Nest { outer: axes }, &[value])
            }
        };
        self.fusion.groups[group.0].folds.push(value);
    }

    /// The group that folds the same segments as `value`, if all that it reads is there before.
    fn beside(&self, value: Value, index: Value) -> Option<GroupId> {
        let op = |v: Value| (self.graph.op(v), self.graph.operands(v.node));
        let folds_same = |fold: &Value| {
            let (Op::Segment(a), Op::Segment(b)) = (op(*fold).0, op(value).0) else { return false };
            (a.from, a.to, op(*fold).1[1]) == (b.from, b.to, index)
        };
        let axes = &self.graph.ty(value).axes;
        let group = self.fusion.groups.iter().rposition(|group| {
            matches!(&group.core, Core::Nest { outer } if outer == axes) && group.folds.iter().any(folds_same)
        });
        let group = group.map(GroupId).filter(|g| self.asked[g.0] == self.needs.of(value).whole(self.graph))?;
        self.graph.operands(value.node).iter().all(|v| self.is_before(*v, group)).then_some(group)
    }

    fn visit_contract(&mut self, value: Value) {
        let roles = match Roles::of(self.graph, self.sizes, value, self.at_load, self.isa) {
            Ok(roles) => self.turned(roles),
            Err(why) => {
                self.fusion.notes.push(Note { value, way: Way::Nest, why: why.into() });
                return self.visit_reduce(value);
            }
        };
        if let Some(prologue) = self.prologue(value, &roles) {
            for member in prologue.detached {
                self.fusion.home.remove(&member);
            }
            prologue.stored.into_iter().for_each(|v| self.store(v));
            prologue.demanded.into_iter().for_each(|v| self.demand(v));
        } else {
            self.read_in_place(roles.x, &roles.sums);
        }
        if self.fusion.home(roles.w).is_some() {
            self.store(roles.w);
        }
        if let Some(grouped) = &roles.grouped {
            self.demand(grouped.index);
        }
        self.open(Core::Contract { value, roles }, &[value]);
    }

    /// The left operand is a view of something that is in a buffer.
    fn read_in_place(&mut self, mut x: Value, sums: &AxisSet) {
        let mut summed = sums.clone();
        while self.fusion.home(x).is_none() && is_plain_view(self.graph, self.sizes, x) {
            let operands = self.graph.operands(x.node);
            // The index of a gather is read once for every row: it must not vary along the sum.
            if let Some(&index) = operands.get(1) {
                if !self.graph.ty(index).axes.is_disjoint(&summed) {
                    break;
                }
                self.demand(index);
            }
            summed = axes_below(self.graph.op(x), &summed);
            x = operands[0];
        }
        self.demand(x);
    }

    fn visit_scan(&mut self, id: NodeIndex) {
        let Op::Scan(scan) = &self.graph.node(id).op else { return };
        self.visit_operands(id, scan);
        let results: Vec<Value> =
            (0..self.graph.node(id).types.len()).map(|r| Value { node: id, result: r as u32 }).collect();
        self.open(Core::Scan { node: id }, &results);
        for result in results {
            self.store(result);
        }
    }
}

/// Is it a leaf that stands in a buffer (not a number)?
pub fn has_buffer(graph: &Graph, value: Value) -> bool {
    let op = graph.op(value);
    op.class() == Class::Leaf && !matches!(op, Op::Const(_) | Op::Table(_) | Op::Index(_) | Op::SizeOf(_) | Op::Step(_))
}

/// Does it cost more than reading it back?
pub fn is_dear(op: &Op) -> bool {
    use Unary::{Abs, Ceil, Floor, Neg, Not, Round, Sign};
    matches!(op, Op::Unary(unary) if !matches!(unary.f, Neg | Not | Abs | Sign | Floor | Ceil | Round))
}

/// Does it divide, at several times the cost of a product?
pub fn divides(op: &Op) -> bool {
    matches!(op, Op::Binary(binary) if matches!(binary.f, Binary::Div | Binary::Rem | Binary::Pow))
}
