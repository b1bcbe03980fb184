//! Patterns: one side of a rule, as text.
//!
//! `(contract ?k (mul ?g.. ?x) ?w)` is an op with its attributes, then its operands. `?x` is a value or an attribute, the same
//! at each of its places; a word is itself (`sum`), a number a constant (of a left side); `?j+?k` the axes of both. Sums, products and contractions take their operands
//! in any order. `?g..` stands for one or more operands of a sum or product: all that nothing else takes. Of two such, the first
//! takes every operand for which the rule's conditions on it hold, the second the others: one match, not one for each subset.

use std::collections::BTreeMap;

use egg::Id;

use super::scene::{Scene, Tree};
use crate::graph::AxisSet;
use crate::ops::{Attr, Op, bits};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Op(&'static str, Vec<Pattern>),
    Variable(&'static str),
    /// Operands of a sum or product.
    Rest(&'static str),
    /// A constant, by the bits of an f64.
    Number(u64),
    /// Axes of both: an attribute of a right side.
    Union(&'static str, &'static str),
    Word(&'static str),
}

/// What variables stand for.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// One class, but for a [`Pattern::Rest`].
    pub values: BTreeMap<&'static str, Vec<Id>>,
    pub attrs: BTreeMap<&'static str, Attr>,
}

impl Bindings {
    pub fn has(&self, variable: &str) -> bool {
        self.values.contains_key(variable) || self.attrs.contains_key(variable)
    }

    /// The axes of a value or of an attribute.
    pub fn axes(&self, scene: &Scene, variable: &str) -> Option<AxisSet> {
        if let Some(attr) = self.attrs.get(variable) {
            return attr.as_axes();
        }
        let classes = self.values.get(variable)?;
        Some(classes.iter().fold(AxisSet::default(), |axes, c| axes.union(&scene.ty(*c).axes)))
    }
}

impl Pattern {
    /// Reads a pattern, or says what is wrong with it.
    pub fn parse(text: &'static str) -> Result<Self, String> {
        let mut open: Vec<Vec<Pattern>> = vec![Vec::new()];
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            rest = &rest[start..];
            let length = match rest.as_bytes()[0] {
                b'(' | b')' => 1,
                _ => rest.find(|c: char| c.is_whitespace() || "()".contains(c)).unwrap_or(rest.len()),
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            match token {
                "(" => open.push(Vec::new()),
                ")" => {
                    let mut items = open.pop().unwrap_or_default();
                    let (false, Some(outer)) = (items.is_empty(), open.last_mut()) else {
                        return Err(format!("`{text}` has a bracket too many"));
                    };
                    let Self::Word(name) = items.remove(0) else { return Err(format!("`{text}`: an op has a name")) };
                    outer.push(Self::Op(name, items));
                }
                atom => open.last_mut().into_iter().for_each(|items| items.push(Self::atom(atom))),
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(mut items), true) if items.len() == 1 => Ok(items.remove(0)),
            _ => Err(format!("`{text}` is not one pattern")),
        }
    }

    fn atom(token: &'static str) -> Self {
        if !token.starts_with('?') {
            return token.parse().map_or(Self::Word(token), |number| Self::Number(bits(number)));
        }
        match (token.split_once('+'), token.strip_suffix("..")) {
            (Some((a, b)), _) => Self::Union(a, b),
            (None, Some(name)) => Self::Rest(name),
            (None, None) => Self::Variable(token),
        }
    }

    /// Names of all ops in it.
    pub fn ops(&self) -> Vec<&'static str> {
        match self {
            Self::Op(name, items) => items.iter().flat_map(Self::ops).chain([*name]).collect(),
            _ => Vec::new(),
        }
    }

    /// How many ops stand in one another.
    pub fn depth(&self) -> usize {
        match self {
            Self::Op(_, items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            // A constant is an op.
            Self::Number(_) => 1,
            _ => 0,
        }
    }

    /// The values that a right side stands for.
    pub fn build(&self, bindings: &Bindings) -> Result<Tree, String> {
        match self {
            Self::Variable(name) | Self::Rest(name) => match bindings.values.get(name).map(Vec::as_slice) {
                Some([one]) => Ok(Tree::Class(*one)),
                _ => Err(format!("{name} is not one value")),
            },
            Self::Op(name, items) => {
                let (mut attrs, mut operands) = (Vec::new(), Vec::new());
                for item in items {
                    match item {
                        Self::Word(word) => attrs.push(Attr::word(word)),
                        Self::Union(a, b) => attrs.push(union(bindings, a, b)?),
                        Self::Variable(v) if bindings.attrs.contains_key(v) => attrs.push(bindings.attrs[v].clone()),
                        Self::Rest(v) => operands.extend(bindings.values[v].iter().map(|c| Tree::Class(*c))),
                        item => operands.push(item.build(bindings)?),
                    }
                }
                if operands.len() == 1 && is_flat(name) {
                    return Ok(operands.remove(0));
                }
                let op = Op::parse(name, &attrs, &[]).ok_or_else(|| format!("no op `{name}` with {attrs:?}"))?;
                Ok(Tree::Op(op, operands))
            }
            Self::Number(_) => Err("a constant of which type?".into()),
            Self::Union(..) | Self::Word(_) => Err("an attribute is no value".into()),
        }
    }
}

fn union(bindings: &Bindings, a: &str, b: &str) -> Result<Attr, String> {
    let axes = |v: &str| bindings.attrs.get(v).and_then(Attr::as_axes).ok_or_else(|| format!("{v} is no set of axes"));
    Ok(Attr::Axes(axes(a)?.union(&axes(b)?)))
}

/// Sums and products, of any number of operands.
pub(super) fn is_flat(op: &str) -> bool {
    matches!(op, "add" | "mul")
}

/// Ops whose operands may stand in any order.
fn commutes(op: &str) -> bool {
    is_flat(op) || op == "contract"
}

/// Finds a pattern in the e-graph.
pub struct Matcher<'a> {
    pub scene: &'a Scene,
    /// May this variable stand for these, as far as conditions on it alone can tell?
    pub fits: &'a dyn Fn(&Bindings, &'static str) -> bool,
}

impl Matcher<'_> {
    /// Every way in which a class is what the pattern says.
    pub fn find(&self, pattern: &Pattern, class: Id, given: &Bindings) -> Vec<Bindings> {
        match pattern {
            Pattern::Variable(name) => self.bind(given, name, vec![class]).into_iter().collect(),
            Pattern::Op(name, items) => {
                let nodes = self.scene.ops(class).filter(|(op, _)| op.name() == *name);
                nodes.flat_map(|(op, operands)| self.node(op, &operands, items, given)).collect()
            }
            Pattern::Number(bits) => {
                let is_it = |(op, _): (&Op, _)| matches!(op, Op::Const(number) if number.bits == *bits);
                if self.scene.ops(class).any(is_it) { vec![given.clone()] } else { Vec::new() }
            }
            Pattern::Rest(_) | Pattern::Union(..) | Pattern::Word(_) => Vec::new(),
        }
    }

    fn bind(&self, given: &Bindings, name: &'static str, classes: Vec<Id>) -> Option<Bindings> {
        if let Some(bound) = given.values.get(name) {
            return (*bound == classes).then(|| given.clone());
        }
        let mut bindings = given.clone();
        bindings.values.insert(name, classes);
        (self.fits)(&bindings, name).then_some(bindings)
    }

    fn node(&self, op: &Op, operands: &[Id], items: &[Pattern], given: &Bindings) -> Vec<Bindings> {
        let attrs = op.attrs();
        if items.len() < attrs.len() {
            return Vec::new();
        }
        let (heads, items) = items.split_at(attrs.len());
        let mut bindings = given.clone();
        for (item, attr) in heads.iter().zip(attrs) {
            let is_same = match item {
                Pattern::Variable(name) => bindings.attrs.entry(name).or_insert_with(|| attr.clone()) == &attr,
                Pattern::Word(word) => attr.as_word() == Some(*word),
                _ => false,
            };
            if !is_same {
                return Vec::new();
            }
        }
        if commutes(op.name()) {
            return self.in_any_order(operands, items, &bindings);
        }
        if items.len() != operands.len() {
            return Vec::new();
        }
        let one = |found: Vec<Bindings>, (item, class): (&Pattern, &Id)| -> Vec<Bindings> {
            found.iter().flat_map(|b| self.find(item, *class, b)).collect()
        };
        items.iter().zip(operands).fold(vec![bindings], one)
    }

    /// Gives each item an operand of its own, and the rests what is left.
    fn in_any_order(&self, operands: &[Id], items: &[Pattern], given: &Bindings) -> Vec<Bindings> {
        let (rests, single): (Vec<&Pattern>, Vec<&Pattern>) =
            items.iter().partition(|item| matches!(item, Pattern::Rest(_)));
        let mut found = vec![(given.clone(), operands.to_vec())];
        for item in single {
            let mut next = Vec::new();
            for (bindings, left) in &found {
                for (i, class) in left.iter().enumerate() {
                    // Equal operands would give equal matches.
                    if left[..i].contains(class) {
                        continue;
                    }
                    let mut others = left.clone();
                    others.remove(i);
                    next.extend(self.find(item, *class, bindings).into_iter().map(|b| (b, others.clone())));
                }
            }
            found = next;
        }
        found.into_iter().filter_map(|(bindings, left)| self.share(&rests, left, bindings)).collect()
    }

    fn share(&self, rests: &[&Pattern], left: Vec<Id>, bindings: Bindings) -> Option<Bindings> {
        match rests {
            [] => left.is_empty().then_some(bindings),
            [Pattern::Rest(name)] if !left.is_empty() => self.bind(&bindings, name, left),
            [Pattern::Rest(first), Pattern::Rest(second)] => {
                let (taken, left): (Vec<Id>, Vec<Id>) =
                    left.into_iter().partition(|c| self.bind(&bindings, first, vec![*c]).is_some());
                if taken.is_empty() || left.is_empty() {
                    return None;
                }
                self.bind(&self.bind(&bindings, first, taken)?, second, left)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_ops_variables_and_words() {
        let pattern = Pattern::parse("(reduce sum ?e (mul ?g.. ?x))").unwrap();
        let product = Pattern::Op("mul", vec![Pattern::Rest("?g"), Pattern::Variable("?x")]);
        assert_eq!(pattern, Pattern::Op("reduce", vec![Pattern::Word("sum"), Pattern::Variable("?e"), product]));
        assert_eq!(pattern.ops(), ["mul", "reduce"]);
        assert_eq!(Pattern::parse("?j+?k"), Ok(Pattern::Union("?j", "?k")));
        assert_eq!(Pattern::parse("0.5"), Ok(Pattern::Number(bits(0.5))));
    }

    #[test]
    fn what_is_no_pattern_says_so() {
        for text in ["", "(mul ?x", "mul ?x)", "((mul) ?x)", "?x ?y", "()"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
