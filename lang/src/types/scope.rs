//! What names mean in a place.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Val;
use crate::program::{AxisId, NamePiece, Span};

/// A name and its value.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub val: Val,
    /// Loops around the place where it was made: what is made outside of a loop is read in it at the current index.
    pub depth: usize,
    pub span: Span,
    pub used: bool,
}

/// Values in the place of parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(pub BTreeMap<String, GivenParam>);

#[derive(Clone, Debug)]
pub(crate) struct GivenParam {
    pub val: Val,
    /// Loops around the call.
    pub depth: usize,
    pub span: Span,
    /// Some parameter took it.
    pub taken: Rc<Cell<bool>>,
}

impl Given {
    /// Those of an instance within.
    pub fn within(&self, label: &str) -> Self {
        let own = |(path, given): (&String, &GivenParam)| {
            let rest = path.strip_prefix(label)?.strip_prefix('.')?;
            Some((rest.to_string(), given.clone()))
        };
        Self(self.0.iter().filter_map(own).collect())
    }
}

/// The names that the copies of one name in a place have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copy {
    pub labels: BTreeSet<String>,
    pub params: BTreeMap<String, Span>,
    pub copies: BTreeMap<String, Copy>,
}

/// The names of a block's instance.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Axes by name: the block's own, then the file's.
    pub axes: BTreeMap<String, AxisId>,
    /// Those that the call bound: blocks that are called here take them before the file's.
    pub bound: BTreeMap<String, AxisId>,
    /// Names of axes that were looked for: a size that the call gives is for one of them.
    pub asked: RefCell<BTreeSet<String>>,
    /// What `..` stands for.
    pub rest: Vec<AxisId>,
    /// Innermost last.
    pub values: Vec<BTreeMap<String, Binding>>,
    /// Names under which blocks were instantiated.
    pub labels: BTreeSet<String>,
    /// The names before those of this instance's parameters.
    pub path: Vec<String>,
    /// What the names of its tensors in a weight file begin with, where a `from` says so; else that is `path`.
    pub place: Option<Vec<NamePiece>>,
    /// Values that a call gave to parameters, by their path from here on.
    pub given: Given,
    /// Instances here may be called again: those of a part.
    pub shared: bool,
    /// Parameters of this instance, and where they are declared.
    pub params: BTreeMap<String, Span>,
    /// What copies of a name have.
    pub copies: BTreeMap<String, Copy>,
    /// A `fn`, which has no parameters, parts, states and instances.
    pub is_pure: bool,
}

impl Scope {
    pub fn new(axes: BTreeMap<String, AxisId>) -> Self {
        Self {
            axes,
            bound: BTreeMap::new(),
            asked: RefCell::default(),
            rest: Vec::new(),
            values: vec![BTreeMap::new()],
            labels: BTreeSet::new(),
            path: Vec::new(),
            place: None,
            given: Given::default(),
            shared: false,
            params: BTreeMap::new(),
            copies: BTreeMap::new(),
            is_pure: false,
        }
    }

    /// Takes up the names of a copy, and leaves those that were here.
    pub fn swap_names(&mut self, copy: &mut Copy) {
        std::mem::swap(&mut self.labels, &mut copy.labels);
        std::mem::swap(&mut self.params, &mut copy.params);
        std::mem::swap(&mut self.copies, &mut copy.copies);
    }

    /// The axis that a name stands for.
    pub fn axis(&self, name: &str) -> Option<AxisId> {
        self.ask(name);
        self.axes.get(name).copied()
    }

    pub fn ask(&self, name: &str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(name) {
            asked.insert(name.to_string());
        }
    }

    /// Goes on with the parameters under a name.
    pub fn descend(&mut self, name: &str) {
        self.path.push(name.to_string());
        self.given = self.given.within(name);
        if let Some(place) = &mut self.place {
            place.push(NamePiece::Text(format!(".{name}")));
        }
    }

    /// What `{self}` is in the names of tensors; the model itself is no instance.
    pub fn instance(&self) -> Option<Vec<NamePiece>> {
        let own = || (!self.path.is_empty()).then(|| vec![NamePiece::Text(self.path.join("."))]);
        self.place.clone().or_else(own)
    }

    pub fn bind(&mut self, name: &str, val: Val, depth: usize, span: Span) -> Option<Binding> {
        let binding = Binding { val, depth, span, used: false };
        self.values.last_mut().and_then(|names| names.insert(name.to_string(), binding))
    }

    pub fn find(&mut self, name: &str) -> Option<&mut Binding> {
        self.values.iter_mut().rev().find_map(|names| names.get_mut(name))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flat_map(|names| names.keys().map(String::as_str))
    }
}
