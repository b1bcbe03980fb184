//! Axes by name. Names are interned, so that an [`Axis`] can be copied; it compares and prints as its name.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, Mutex};

use gatec_lang::Size;

/// A named axis. Its size stands in [`Sizes`].
#[derive(Clone, Copy)]
pub struct Axis(&'static str);

/// There is one text for each name.
impl PartialEq for Axis {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Axis {}

/// Of the name, not of where it stands: the same in every process.
impl Hash for Axis {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Ord for Axis {
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other { Ordering::Equal } else { self.0.cmp(other.0) }
    }
}

impl PartialOrd for Axis {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

static NAMES: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);

impl Axis {
    /// The axis of that name; the same name is the same axis everywhere in the process.
    pub fn new(name: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(&name) = names.get(name) {
            return Self(name);
        }
        // Names live as long as the process: programs are few and their axes fewer.
        let name: &'static str = Box::leak(name.into());
        names.insert(name);
        Self(name)
    }

    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of axes, sorted by name.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AxisSet(Vec<Axis>);

impl AxisSet {
    pub fn contains(&self, axis: Axis) -> bool {
        self.0.contains(&axis)
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Axis> + DoubleEndedIterator + Clone + '_ {
        self.0.iter().copied()
    }
    pub fn union(&self, other: &Self) -> Self {
        if other.is_subset(self) { self.clone() } else { self.iter().chain(other.iter()).collect() }
    }
    pub fn minus(&self, other: &Self) -> Self {
        Self(self.iter().filter(|a| !other.contains(*a)).collect())
    }
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.iter().filter(|a| other.contains(*a)).collect())
    }
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|a| other.contains(a))
    }
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.iter().all(|a| !other.contains(a))
    }
    pub fn with(&self, axis: Axis) -> Self {
        self.iter().chain([axis]).collect()
    }
    pub fn without(&self, axis: Axis) -> Self {
        Self(self.iter().filter(|a| *a != axis).collect())
    }
}

impl FromIterator<Axis> for AxisSet {
    fn from_iter<I: IntoIterator<Item = Axis>>(axes: I) -> Self {
        let mut axes: Vec<Axis> = axes.into_iter().collect();
        axes.sort();
        axes.dedup();
        Self(axes)
    }
}

impl From<Axis> for AxisSet {
    fn from(axis: Axis) -> Self {
        Self(vec![axis])
    }
}

impl fmt::Display for AxisSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, axis) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{axis}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for AxisSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// What estimates take for a size that is a symbol about which nobody said anything.
pub const TYPICAL_SIZE: i64 = 64;

/// The size of every axis of a module. Each name has one size in a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(BTreeMap<Axis, Size>);

impl Sizes {
    pub fn get(&self, axis: Axis) -> Option<&Size> {
        self.0.get(&axis)
    }
    /// Are all of these sizes known when building?
    pub fn are_known(&self, axes: &AxisSet) -> bool {
        axes.iter().all(|a| self.get(a).is_some_and(Size::is_known))
    }
    /// Declares an axis; `false` if it is there with another size.
    pub fn declare(&mut self, axis: Axis, size: Size) -> bool {
        match self.0.get(&axis) {
            Some(old) => *old == size,
            None => {
                self.0.insert(axis, size);
                true
            }
        }
    }
    /// A new axis named `like`, or `like.2`, `like.3` if that is taken.
    pub fn fresh(&mut self, like: &str, size: Size) -> Axis {
        let stem = like.split('.').next().unwrap_or(like);
        let mut axis = Axis::new(stem);
        if self.0.contains_key(&axis) {
            let number = |axis: &Axis| axis.name().strip_prefix(stem)?.strip_prefix('.')?.parse().ok();
            let taken: BTreeSet<u64> = self.0.keys().filter_map(number).collect();
            let free = (2..).find(|n| !taken.contains(n)).unwrap_or_default();
            axis = Axis::new(&format!("{stem}.{free}"));
        }
        self.0.insert(axis, size);
        axis
    }
    /// Forgets axes.
    pub fn retain(&mut self, keep: impl Fn(Axis) -> bool) {
        self.0.retain(|axis, _| keep(*axis));
    }
    /// The size of an axis, or that it has none, as a message.
    pub fn require(&self, axis: Axis) -> Result<&Size, String> {
        self.get(axis).ok_or_else(|| format!("axis {axis} has no size"))
    }
    /// The size of an axis, if it is known when building.
    pub fn known(&self, axis: Axis) -> Option<i64> {
        self.get(axis).and_then(Size::as_known)
    }
    pub fn iter(&self) -> impl Iterator<Item = (Axis, &Size)> {
        self.0.iter().map(|(a, s)| (*a, s))
    }
}
