//! What names mean in a place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::Val;
use crate::program::{AxisId, Span};

/// A name and its value.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub val: Val,
    /// Loops around the place where it was made: what is made outside of a loop is read in it at the current index.
    pub depth: usize,
    pub span: Span,
    pub used: bool,
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
    /// Instances here may be called again: those of a part.
    pub shared: bool,
    /// Parameters of this instance, and where they are declared.
    pub params: BTreeMap<String, Span>,
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
            shared: false,
            params: BTreeMap::new(),
            is_pure: false,
        }
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
