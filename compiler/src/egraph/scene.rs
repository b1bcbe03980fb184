//! A region's e-graph, as rules see it, and what they found in it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use egg::{EGraph, Id, Language};
use gatec_lang::Size;

use super::news::News;
use super::pattern::{Bindings, Matcher, Pattern};
use super::term::{Facts, Head, Term};
use crate::graph::{Axis, Sizes, Type};
use crate::ops::{Class, Dequantize, Gather, Mul, Op, Scan};
use crate::rules::{Condition, Find, Rule};

/// A replacement: ops over classes that are there.
#[derive(Clone, Debug, Hash)]
pub enum Tree {
    Class(Id),
    Op(Op, Vec<Tree>),
    /// A result of a loop.
    Result(u32, Box<Tree>),
}

impl Tree {
    pub fn op(op: impl Into<Op>, operands: Vec<Self>) -> Self {
        Self::Op(op.into(), operands)
    }
    /// The product of values; of one, itself.
    pub fn product(mut factors: Vec<Self>) -> Self {
        match factors.len() {
            1 => factors.remove(0),
            _ => Self::op(Mul, factors),
        }
    }
}

/// One application of a rule: values and other ways to write them. Those of one application pay together: gates of one product are
/// taken out as picks of it all at once, or not at all.
#[derive(Clone, Debug, Hash)]
pub struct Match {
    pub places: Vec<(Id, Tree)>,
}

impl Match {
    pub fn one(class: Id, tree: Tree) -> Self {
        Self { places: vec![(class, tree)] }
    }
}

/// A term that a rule made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub class: Id,
    pub term: Term,
    pub rule: &'static str,
    /// The class that it helps to write.
    pub instead_of: Id,
}

/// Elements of fewer bytes are narrow.
const WIDE_BYTES: u64 = 4;
/// Views through which weights are looked for.
const VIEWS: usize = 4;

#[derive(Clone)]
pub struct Scene {
    pub(super) egraph: EGraph<Term, Facts>,
    pub(super) made: Vec<Made>,
    /// Matches that were found, by their hashes: another round finds them again.
    known: HashSet<u64>,
    pub(super) news: News,
    /// For each application, the classes with their new terms.
    pub(super) applied: Vec<Vec<(Id, Term)>>,
    /// Groups of values that a rule has dealt with.
    dealt_with: BTreeMap<&'static str, Vec<Vec<Id>>>,
    /// A condition that a proof has switched off.
    pub(super) off: Option<Condition>,
    /// Contractions that one side of a choice needs: its condition, and what that is then. `None`: several values are one class, of several sides.
    sides: BTreeMap<Id, Option<(Id, bool)>>,
}

impl Scene {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            egraph: EGraph::new(facts),
            made: Vec::new(),
            known: HashSet::new(),
            news: News::default(),
            applied: Vec::new(),
            dealt_with: BTreeMap::new(),
            off: None,
            sides: BTreeMap::new(),
        }
    }

    pub(super) fn set_side(&mut self, class: Id, side: (Id, bool)) {
        if self.ops_named(class, "contract").next().is_some() {
            self.sides.entry(class).and_modify(|known| *known = known.filter(|k| *k == side)).or_insert(Some(side));
        }
    }

    /// The side of a choice, for the whole call or for each row, that alone needs a product: its condition, and what that is then.
    pub fn side(&self, product: Id) -> Option<(Id, bool)> {
        let of = |(class, side): (&Id, &Option<(Id, bool)>)| (self.egraph.find(*class) == product).then_some(*side)?;
        self.sides.iter().find_map(of)
    }

    /// All terms with an op of that name: class, op, operands. By class, in a fixed order.
    pub fn nodes(&self, name: &'static str) -> Vec<(Id, Op, Vec<Id>)> {
        let of = |class: Id| self.ops_named(class, name).map(move |(op, c)| (class, op.clone(), c.to_vec()));
        self.classes(name).into_iter().flat_map(of).collect()
    }

    /// All classes, in a fixed order.
    pub fn all(&self) -> Vec<Id> {
        let mut classes: Vec<Id> = self.egraph.classes().map(|c| c.id).collect();
        classes.sort();
        classes
    }

    /// Classes that can be written with an op of that name, in a fixed order.
    fn classes(&self, name: &'static str) -> Vec<Id> {
        let mut classes: Vec<Id> = self.egraph.classes_for_op(&name).into_iter().flatten().collect();
        classes.sort();
        classes
    }

    /// The ways to write a value.
    pub fn class(&self, class: Id) -> Vec<(Op, Vec<Id>)> {
        let operands = |operands: &[Id]| operands.iter().map(|c| self.egraph.find(*c)).collect();
        self.ops(class).map(|(op, below)| (op.clone(), operands(below))).collect()
    }

    /// The same to look at: nothing is copied, and an operand may be an old name of its class.
    fn ops(&self, class: Id) -> impl Iterator<Item = (&Op, &[Id])> {
        self.egraph[class].nodes.iter().filter_map(|term| match &term.head {
            Head::Op(op) => Some((op, term.operands.as_slice())),
            Head::Result(_) => None,
        })
    }

    /// Those with an op of that name. Rules look while the e-graph is whole: operands are classes.
    pub(super) fn ops_named(&self, class: Id, name: &str) -> impl Iterator<Item = (&Op, &[Id])> {
        self.egraph[class].nodes.iter().filter_map(move |term| match &term.head {
            Head::Op(op) if op.name() == name => Some((op, term.operands.as_slice())),
            _ => None,
        })
    }

    /// The class of a loop's result, if the program has it.
    pub fn result(&self, class: Id, number: u32) -> Option<Id> {
        self.egraph.lookup(Term { head: Head::Result(number), operands: vec![class] })
    }

    /// The loops of which a value is a result: its number, the loop, its operands.
    pub fn loops(&self, class: Id) -> Vec<(u32, Scan, Vec<Id>)> {
        let of = |class: Id, number: u32| {
            let scan = self.ops_named(class, "scan").filter_map(|(op, operands)| match op {
                Op::Scan(scan) => Some((scan.clone(), operands.iter().map(|c| self.egraph.find(*c)).collect())),
                _ => None,
            });
            scan.map(move |(scan, operands): (Scan, Vec<Id>)| (number, scan, operands)).collect::<Vec<_>>()
        };
        let results = self.egraph[class].nodes.iter().filter_map(|term| match term.head {
            Head::Result(number) => Some((self.egraph.find(term.operands[0]), number)),
            Head::Op(_) => None,
        });
        results.flat_map(|(class, number)| of(class, number)).chain(of(class, 0)).collect()
    }

    pub fn ty(&self, class: Id) -> &Type {
        &self.egraph[class].data.types[0]
    }

    /// Is it made of parameters and numbers alone?
    pub fn at_load(&self, class: Id) -> bool {
        self.egraph[class].data.at_load
    }

    /// The number that a value is.
    pub fn constant(&self, class: Id) -> Option<f64> {
        self.egraph[class].data.number.map(f64::from_bits)
    }

    /// `gather[axis](weights, index)` with weights known at load.
    pub fn gathered_at_load(&self, class: Id) -> Option<(Gather, Id, Id)> {
        self.ops(class).find_map(|(op, operands)| match op {
            Op::Gather(gather) if self.at_load(operands[0]) && !self.at_load(operands[1]) => {
                Some((gather.clone(), self.egraph.find(operands[0]), self.egraph.find(operands[1])))
            }
            _ => None,
        })
    }

    /// How weights are quantised, through some views.
    pub fn quantized(&self, class: Id) -> Option<Dequantize> {
        self.quantized_below(class, VIEWS)
    }

    fn quantized_below(&self, class: Id, views: usize) -> Option<Dequantize> {
        self.ops(class).find_map(|(op, operands)| match op {
            Op::Dequantize(how) => Some(how.clone()),
            op if op.class() == Class::View && views > 0 => self.quantized_below(*operands.first()?, views - 1),
            _ => None,
        })
    }

    /// The size of an axis, if it is known when building.
    pub fn known_size(&self, axis: Axis) -> Option<i64> {
        self.egraph.analysis.sizes.known(axis)
    }

    pub fn size(&self, axis: Axis) -> Option<&Size> {
        self.egraph.analysis.sizes.get(axis)
    }

    pub fn sizes(&self) -> &Sizes {
        &self.egraph.analysis.sizes
    }

    /// Has the rule dealt with all of these values together? If not, it has now.
    pub fn is_news(&mut self, rule: &'static str, values: &[Id]) -> bool {
        let mut values: Vec<Id> = values.iter().map(|v| self.egraph.find(*v)).collect();
        values.sort();
        let groups = self.dealt_with.entry(rule).or_default();
        let is_in = |group: &Vec<Id>| values.iter().all(|v| group.iter().any(|g| self.egraph.find(*g) == *v));
        let is_news = !groups.iter().any(is_in);
        if is_news {
            groups.push(values);
        }
        is_news
    }

    /// Does a rule's condition hold, or is it switched off?
    pub fn holds(&self, condition: Condition, holds: bool) -> bool {
        holds || self.off == Some(condition)
    }

    /// A new axis, named after `like` and its size, where that is known: entries that make axes of other sizes then make others, and can be
    /// rewritten side by side.
    pub fn fresh_axis(&mut self, like: &str, size: Size) -> Axis {
        let name = size.as_known().map_or(like.to_string(), |n| format!("{like}{n}"));
        self.egraph.analysis.sizes.fresh(&name, size)
    }

    /// What a rule finds that it has not found before, in a fixed order.
    pub(super) fn find_new(&mut self, rule: &Rule) -> Result<Vec<Match>, String> {
        let mut known = std::mem::take(&mut self.known);
        let found = match rule.find {
            Find::Search { find, .. } => {
                let mut found = find(self);
                found.retain(|found| is_new(&mut known, (rule.name, found)));
                Ok(found)
            }
            Find::Pattern { from, to } => {
                let choose = |news: &mut News, depth, classes| news.of(rule.name, depth, classes);
                self.find_pattern(rule, (from, to), true, choose, |class, b| is_new(&mut known, (rule.name, class, b)))
            }
        };
        self.known = known;
        found
    }

    /// Everything that a rule finds, in a fixed order. A proof asks without regard to what pays.
    pub(super) fn find(&mut self, rule: &Rule, only_if_it_pays: bool) -> Result<Vec<Match>, String> {
        match rule.find {
            Find::Search { find, .. } => Ok(find(self)),
            Find::Pattern { from, to } => {
                self.find_pattern(rule, (from, to), only_if_it_pays, |_, _, classes| classes, |_, _| true)
            }
        }
    }

    /// In the classes that `choose` takes, the matches that `wanted` takes.
    fn find_pattern(
        &mut self,
        rule: &Rule,
        (from, to): (&'static str, &'static str),
        only_if_it_pays: bool,
        choose: impl Fn(&mut News, usize, Vec<Id>) -> Vec<Id>,
        mut wanted: impl FnMut(Id, &Bindings) -> bool,
    ) -> Result<Vec<Match>, String> {
        let (from, to) = (Pattern::parse(from)?, Pattern::parse(to)?);
        let Pattern::Op(root, _) = from else { return Err(format!("`{from:?}` is no op")) };
        // An op that is nowhere in the region: no match, without a look at the others.
        if from.ops().iter().any(|op| self.egraph.classes_for_op(op).is_none_or(|mut classes| classes.next().is_none()))
        {
            return Ok(Vec::new());
        }
        let pays: &[Condition] = if only_if_it_pays { rule.pays } else { &[] };
        let conditions: Vec<Condition> = rule.when.iter().chain(pays).copied().collect();
        let mut found = Vec::new();
        let classes = self.classes(root);
        for class in choose(&mut self.news, from.depth(), classes) {
            let holds = |c: &Condition, bindings: &Bindings| {
                self.off == Some(*c) || self.is_true(*c, bindings, class) != Some(false)
            };
            let fits = |bindings: &Bindings, variable: &'static str| {
                conditions.iter().filter(|c| c.is_about(variable)).all(|c| holds(c, bindings))
            };
            let matcher = Matcher { scene: self, fits: &fits };
            let mut wrong = None;
            matcher.find(&from, class, &mut Bindings::default(), &mut |bindings| {
                if conditions.iter().all(|c| holds(c, bindings)) && wanted(class, bindings) {
                    match to.build(bindings) {
                        Ok(tree) => found.push(Match::one(class, tree)),
                        Err(why) => wrong = Some(why),
                    }
                }
            });
            if let Some(why) = wrong {
                return Err(why);
            }
        }
        Ok(found)
    }

    /// `None` until all that the condition speaks of is bound; of a match in class `root`.
    fn is_true(&self, condition: Condition, bindings: &Bindings, root: Id) -> Option<bool> {
        let axes = |v| bindings.axes(self, v);
        let all_at_load = |v| Some(bindings.values(v)?.iter().all(|c| self.at_load(*c)));
        match condition {
            Condition::Disjoint(a, b) => Some(axes(a)?.is_disjoint(&*axes(b)?)),
            Condition::Has(a, b) => Some(axes(b)?.is_subset(&*axes(a)?)),
            Condition::Within(a, b) => Some(axes(a)?.is_subset(&*axes(b)?) && !axes(a)?.is_empty()),
            Condition::NotEmpty(k) => Some(axes(k)?.iter().all(|a| self.known_size(a).is_some_and(|n| n > 0))),
            Condition::NotEmptyAlone(k) => {
                let sizes = &self.egraph.analysis.sizes;
                let is_of_result = |a| self.ty(root).axes.iter().any(|b| sizes.get(b) == sizes.get(a));
                Some(axes(k)?.iter().all(|a| self.known_size(a).is_some_and(|n| n > 0) || is_of_result(a)))
            }
            Condition::AtLoad(v) => all_at_load(v),
            Condition::Late(v) => Some(!all_at_load(v)?),
            Condition::Wide(v) => Some(bindings.values(v)?.iter().all(|c| self.is_wide(*c, VIEWS))),
            Condition::Says(_) => Some(true),
        }
    }

    /// Is it of 32 bits or more, and not a cast of weights of fewer than it has, through some views?
    fn is_wide(&self, class: Id, views: usize) -> bool {
        let bytes = self.ty(class).elem.bytes();
        let is_narrow = |(op, operands): (&Op, &[Id])| match op {
            Op::Cast(_) => self.ty(operands[0]).elem.bytes() < bytes,
            op => op.class() == Class::View && views > 0 && operands.iter().any(|o| !self.is_wide(*o, views - 1)),
        };
        bytes >= WIDE_BYTES && !(self.at_load(class) && self.ops(class).any(is_narrow))
    }

    /// Adds another way to write some values; is it new?
    pub(super) fn apply(&mut self, found: &Match, rule: &'static str) -> bool {
        let mut changed = false;
        let mut places = Vec::new();
        for (class, tree) in &found.places {
            let id = self.add(tree, rule, *class);
            let head = match tree {
                Tree::Op(op, _) => Some(Head::Op(op.clone())),
                Tree::Result(number, _) => Some(Head::Result(*number)),
                Tree::Class(_) => None,
            };
            let made = self.made.iter().rev().find(|m| m.class == id && Some(&m.term.head) == head.as_ref());
            if let Some(made) = made {
                places.push((*class, made.term.clone()));
            }
            changed |= self.egraph.union(*class, id);
        }
        self.applied.push(places);
        changed
    }

    fn add(&mut self, tree: &Tree, rule: &'static str, instead_of: Id) -> Id {
        match tree {
            Tree::Class(id) => *id,
            Tree::Op(op, operands) => {
                let operands = operands.iter().map(|t| self.add(t, rule, instead_of)).collect();
                self.add_term(Term { head: Head::Op(op.clone()), operands }, rule, instead_of)
            }
            Tree::Result(number, of) => {
                let of = self.add(of, rule, instead_of);
                self.add_term(Term { head: Head::Result(*number), operands: vec![of] }, rule, instead_of)
            }
        }
    }

    fn add_term(&mut self, term: Term, rule: &'static str, instead_of: Id) -> Id {
        let class = self.egraph.add(term.clone());
        self.made.push(Made { class, term, rule, instead_of });
        class
    }

    /// A term as it stands in its class.
    pub(super) fn canonical(&self, term: &Term) -> Term {
        term.clone().map_children(|c| self.egraph.find(c))
    }
}

/// Was this not found yet, in these very classes? It is known now.
fn is_new(known: &mut HashSet<u64>, found: impl Hash) -> bool {
    let mut hasher = DefaultHasher::new();
    found.hash(&mut hasher);
    known.insert(hasher.finish())
}
