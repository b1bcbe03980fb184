//! How a contraction gets its left operand: from where it stands, evaluated by a prologue, or written out first.
//!
//! A prologue evaluates the rows of a block into scratch memory right before they are multiplied. It saves a kernel and a trip through
//! memory: of what floats (views with borders, products with a gate, dequantised numbers), and of what a nest would write for this
//! contraction alone (a normalised row: the nest then leaves its folds only). It costs as often as it is evaluated anew: by each reader,
//! by each window that an element is in, on a GPU by each block of columns.
//!
//! What pays is decided here and nowhere else, by the functions [`own_cost`] and [`Prologues::is_worth_it`].

use std::collections::{BTreeMap, BTreeSet};

use gatec_runtime::format::Isa;

use super::{Core, Fuser, Note, Roles, Way, has_buffer, is_plain_view};
use crate::graph::{AxisSet, TYPICAL_SIZE, Value};
use crate::ops::{Class, Fill, Op};
use crate::scalar::{Binary, Unary};

/// What a prologue does to the values around it.
#[derive(Clone, Debug, Default)]
pub struct Prologue {
    /// Members of nests that are evaluated here instead.
    pub detached: BTreeSet<Value>,
    /// Members of groups that are read.
    pub stored: BTreeSet<Value>,
    /// Floating values that are written out first, for to evaluate them here would cost more.
    pub demanded: BTreeSet<Value>,
    /// Instructions for an element, roughly: 0 where all is read in place.
    cost: f64,
}

/// To write an element and read it again, as pointwise instructions.
const TRIP: f64 = 8.0;
/// The most that is evaluated for an element: several threads may do it for the same rows.
const MOST: f64 = 40.0;
/// Columns of a GPU's tile: a block evaluates for itself.
const GPU_COLUMNS: f64 = 64.0;

/// Instructions for an element, roughly, and how often its operands are evaluated.
fn own_cost(op: &Op, operands: usize, is_plain: bool) -> (f64, f64) {
    use Unary::{Abs, Ceil, Floor, Neg, Not, Recip, Round, Rsqrt, Sign, Sqrt};
    let each = operands as f64;
    let own = match op {
        Op::Unary(unary) => match unary.f {
            Neg | Not | Abs | Sign | Floor | Ceil | Round => 1.0,
            Sqrt | Rsqrt | Recip => 4.0,
            _ => 16.0,
        },
        Op::Binary(binary) => match binary.f {
            Binary::Div | Binary::Rem => 4.0,
            Binary::Pow => 32.0,
            _ => 1.0,
        },
        Op::Add(_) | Op::Mul(_) => each - 1.0,
        Op::Select(_) | Op::Cast(_) => 1.0,
        Op::Shift(_) | Op::Dequantize(_) => 2.0,
        Op::Pad(pad) if pad.fill == Fill::Reflect => return (6.0, 3.0),
        Op::Pad(_) | Op::Window(_) if !is_plain => 2.0,
        Op::Concat(_) | Op::Stack(_) => 3.0 * each,
        // An index that varies along the sum: element by element.
        Op::Gather(_) if !is_plain => 4.0,
        _ => 0.0,
    };
    (own, 1.0)
}

/// The search for what a prologue takes on.
struct Prologues<'a, 'g> {
    fuser: &'a Fuser<'g>,
    sums: AxisSet,
    /// Values that nothing but this contraction needs.
    inner: BTreeSet<Value>,
    /// Elements of the left operand, as often as they are multiplied with a row of the right one.
    points: f64,
    /// Blocks of columns that evaluate for themselves.
    blocks: f64,
    known: BTreeMap<Value, Prologue>,
    why: Option<(Value, String)>,
}

impl Fuser<'_> {
    /// What a contraction's prologue takes on; `None` where its left operand is read where it stands.
    pub(super) fn prologue(&mut self, value: Value, roles: &Roles) -> Option<Prologue> {
        let all = roles.batch.union(&roles.rows).union(&roles.sums);
        let cols = self.elements(&roles.cols);
        let mut search = Prologues {
            fuser: self,
            sums: roles.sums.clone(),
            inner: self.needed_by(value, roles.x),
            points: self.elements(&all),
            blocks: if self.isa == Isa::Sm80 { (cols / GPU_COLUMNS).ceil().max(1.0) } else { 1.0 },
            known: BTreeMap::new(),
            why: None,
        };
        let prologue = search.look(roles.x);
        let why = search.why.take();
        if let Some((value, why)) = why {
            self.fusion.notes.push(Note { value, way: Way::WrittenOut, why });
        }
        (prologue.cost > 0.0).then_some(prologue)
    }

    fn elements(&self, axes: &AxisSet) -> f64 {
        let size = |axis| self.sizes.get(axis).and_then(|s| s.eval(&|_| Some(TYPICAL_SIZE)));
        axes.iter().map(|axis| size(axis).unwrap_or(TYPICAL_SIZE) as f64).product()
    }

    /// Pointwise values and views below `x`, itself included, that are read by `contraction` or by each other and by nobody else.
    fn needed_by(&self, contraction: Value, x: Value) -> BTreeSet<Value> {
        let mut inner = BTreeSet::new();
        let mut below = BTreeSet::from([x]);
        // Users come after what they use.
        while let Some(value) = below.pop_last() {
            let is_nobodys = match self.fusion.home(value) {
                Some(home) => {
                    matches!(self.fusion.groups[home.0].core, Core::Nest { .. }) && !self.fusion.is_root(value)
                }
                None => true,
            };
            let is_light = matches!(self.graph.op(value).class(), Class::Pointwise | Class::View);
            let is_only_here = |user| user == contraction.node || inner.contains(&Value::of(user));
            if is_nobodys
                && is_light
                && !self.wanted.contains(&value)
                && self.graph.uses(value).into_iter().all(|(user, _)| is_only_here(user))
            {
                inner.insert(value);
                below.extend(self.graph.operands(value.node));
            }
        }
        inner
    }
}

impl Prologues<'_, '_> {
    fn look(&mut self, value: Value) -> Prologue {
        if let Some(known) = self.known.get(&value) {
            return known.clone();
        }
        let found = self.look_anew(value);
        self.known.insert(value, found.clone());
        found
    }

    fn look_anew(&mut self, value: Value) -> Prologue {
        let fuser = self.fuser;
        let graph = fuser.graph;
        let stored = || Prologue { stored: BTreeSet::from([value]), ..Prologue::default() };
        let written = || Prologue { demanded: BTreeSet::from([value]), ..Prologue::default() };
        let home = fuser.fusion.home(value);
        if home.is_some() && !self.inner.contains(&value) {
            return stored();
        }
        let op = graph.op(value);
        if op.class() == Class::Leaf {
            return Prologue::default();
        }
        // What has to stand in a buffer anyway is read from there.
        if fuser.wanted.contains(&value) && !has_buffer(graph, value) {
            return written();
        }
        let operands = graph.operands(value.node);
        // Whoever computes a part can write it where it belongs.
        let is_joined = matches!(op, Op::Concat(_) | Op::Stack(_));
        if is_joined && operands.iter().any(|part| self.is_written_anywhere(*part)) {
            return written();
        }
        let mut all = Prologue::default();
        let mut cost = 0.0;
        let mut parts = Vec::new();
        for &operand in &operands {
            let part = self.look(operand);
            // What is the same along the sum is a scalar for a whole vector.
            let share = if graph.ty(operand).axes.is_disjoint(&self.sums) { 0.25 } else { 1.0 };
            cost += part.cost * share;
            parts.push((operand, part));
        }
        // A nest that has to write as much for the prologue as the prologue saves keeps all.
        let is_as_large = |v: &Value| {
            fuser.fusion.home(*v) == home && !fuser.fusion.is_root(*v) && 4.0 * self.elements(*v) > self.elements(value)
        };
        if home.is_some() && parts.iter().any(|(_, part)| part.stored.iter().any(is_as_large)) {
            return stored();
        }
        let (own, times) = own_cost(op, operands.len(), self.is_plain(value));
        all.cost = own + times * cost;
        let mut why = self.is_worth_it(value, all.cost);
        if why.is_some() && cost > 0.0 {
            // Perhaps without what it stands on.
            for (operand, part) in &mut parts {
                if part.cost > 0.0 {
                    *part = Prologue { demanded: BTreeSet::from([*operand]), ..Prologue::default() };
                    if let Some(why) = why.take() {
                        self.why = Some((*operand, why));
                    }
                }
            }
            all.cost = own;
            why = self.is_worth_it(value, own);
        }
        if let Some(why) = why {
            self.why = Some((value, why));
            return if home.is_some() { stored() } else { written() };
        }
        for (_, part) in parts {
            all.detached.extend(part.detached);
            all.stored.extend(part.stored);
            all.demanded.extend(part.demanded);
        }
        if home.is_some() {
            // Beside what a nest leaves, even a plain copy is work.
            all.cost = all.cost.max(1.0);
            all.detached.insert(value);
        }
        all
    }

    fn elements(&self, value: Value) -> f64 {
        self.fuser.elements(&self.fuser.graph.ty(value).axes)
    }

    fn is_written_anywhere(&self, value: Value) -> bool {
        let fusion = &self.fuser.fusion;
        let core = fusion.home(value).map(|home| &fusion.groups[home.0].core);
        core.is_some_and(Core::stores_anywhere)
    }

    /// Is it a view that moves no element, as the sum sees it?
    fn is_plain(&self, value: Value) -> bool {
        let graph = self.fuser.graph;
        let index = graph.operands(value.node).get(1).copied();
        is_plain_view(graph, self.fuser.sizes, value)
            && index.is_none_or(|index| graph.ty(index).axes.is_disjoint(&self.sums))
    }

    /// Why a value that costs `cost` for an element is better written out; `None` if it is not.
    fn is_worth_it(&self, value: Value, cost: f64) -> Option<String> {
        if cost == 0.0 {
            return None;
        }
        let graph = self.fuser.graph;
        let users: BTreeSet<_> = graph.uses(value).into_iter().map(|(user, _)| user).collect();
        let readers = if self.inner.contains(&value) { 1.0 } else { users.len().max(1) as f64 };
        let windows = self.points / self.elements(value).max(1.0);
        let again = cost * (readers * windows.max(1.0) * self.blocks - 1.0);
        if cost > MOST {
            return Some("dear to evaluate, and each thread would for the same rows".into());
        }
        (again > TRIP).then(|| {
            let by = [
                (readers > 1.0).then(|| format!("{readers} readers")),
                (windows > 1.0).then(|| format!("{windows:.1} uses of each element")),
                (self.blocks > 1.0).then(|| format!("{} blocks of columns", self.blocks)),
            ];
            let by: Vec<String> = by.into_iter().flatten().collect();
            format!("dearer to evaluate anew than to read: {}", by.join(", "))
        })
    }
}
