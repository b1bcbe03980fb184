//! Patterns: one side of a rule, as text.
//!
//! `(contract ?k (mul ?g.. ?x) ?w)` is an op with its attributes, then its operands. `?x` is a value or an attribute, the same
//! at each of its places; a word is itself (`sum`), a number a constant (of a left side); `?j+?k` the axes of both. Sums, products and contractions take their operands
//! in any order. `?g..` stands for one or more operands of a sum or product: all that nothing else takes. Of two such, the first
//! takes every operand for which the rule's conditions on it hold, the second the others: one match, not one for each subset.

use std::borrow::Cow;

use egg::Id;

use super::scene::{Scene, Tree};
use super::term::{commutes, is_flat};
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

/// What variables stand for: as many as a pattern has bound on the way to where it is now.
#[derive(Clone, Debug, Default, Hash)]
pub struct Bindings(Vec<(&'static str, Bound)>);

#[derive(Clone, Debug, Hash)]
enum Bound {
    Value(Id),
    /// Of a [`Pattern::Rest`].
    Values(Vec<Id>),
    Attr(Attr),
}

impl Bindings {
    fn get(&self, variable: &str) -> Option<&Bound> {
        self.0.iter().find(|(name, _)| *name == variable).map(|(_, bound)| bound)
    }

    pub fn values(&self, variable: &str) -> Option<&[Id]> {
        match self.get(variable)? {
            Bound::Value(class) => Some(std::slice::from_ref(class)),
            Bound::Values(classes) => Some(classes),
            Bound::Attr(_) => None,
        }
    }

    pub fn attr(&self, variable: &str) -> Option<&Attr> {
        match self.get(variable)? {
            Bound::Attr(attr) => Some(attr),
            Bound::Value(_) | Bound::Values(_) => None,
        }
    }

    /// The axes of a value or of an attribute.
    pub fn axes<'a>(&'a self, scene: &'a Scene, variable: &str) -> Option<Cow<'a, AxisSet>> {
        let all = |axes: AxisSet, class: &Id| axes.union(&scene.ty(*class).axes);
        match self.get(variable)? {
            Bound::Attr(Attr::Axes(axes)) => Some(Cow::Borrowed(axes)),
            Bound::Attr(attr) => attr.as_axes().map(Cow::Owned),
            Bound::Value(one) => Some(Cow::Borrowed(&scene.ty(*one).axes)),
            Bound::Values(several) => Some(Cow::Owned(several.iter().fold(AxisSet::default(), all))),
        }
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
            Self::Variable(name) | Self::Rest(name) => match bindings.values(name) {
                Some([one]) => Ok(Tree::Class(*one)),
                _ => Err(format!("{name} is not one value")),
            },
            Self::Op(name, items) => {
                let (mut attrs, mut operands) = (Vec::new(), Vec::new());
                for item in items {
                    match item {
                        Self::Word(word) => attrs.push(Attr::word(*word)),
                        Self::Union(a, b) => attrs.push(union(bindings, a, b)?),
                        Self::Variable(v) if bindings.attr(v).is_some() => attrs.extend(bindings.attr(v).cloned()),
                        Self::Rest(v) => {
                            operands.extend(bindings.values(v).into_iter().flatten().map(|c| Tree::Class(*c)));
                        }
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
    let axes = |v: &str| bindings.attr(v).and_then(Attr::as_axes).ok_or_else(|| format!("{v} is no set of axes"));
    Ok(Attr::Axes(axes(a)?.union(&axes(b)?)))
}

/// Finds a pattern in the e-graph. What is found is handed on at once, with the variables that are bound by then: no list of partial
/// matches is made.
pub struct Matcher<'a> {
    pub scene: &'a Scene,
    /// May this variable stand for what it is bound to, as far as conditions on it alone can tell?
    pub fits: &'a dyn Fn(&Bindings, &'static str) -> bool,
}

/// What is to be done with a match.
type Then<'a> = &'a mut dyn FnMut(&mut Bindings);

impl Matcher<'_> {
    /// Every way in which a class is what the pattern says.
    pub fn find(&self, pattern: &Pattern, class: Id, bindings: &mut Bindings, then: Then) {
        match pattern {
            Pattern::Variable(name) => self.bind(bindings, name, &[class], then),
            Pattern::Op(name, items) => {
                for (op, operands) in self.scene.ops_named(class, name) {
                    self.node(op, operands, items, bindings, then);
                }
            }
            Pattern::Number(bits) => {
                let is_it = |(op, _): (&Op, _)| matches!(op, Op::Const(number) if number.bits == *bits);
                if self.scene.ops_named(class, "const").any(is_it) {
                    then(bindings);
                }
            }
            Pattern::Rest(_) | Pattern::Union(..) | Pattern::Word(_) => {}
        }
    }

    fn bind(&self, bindings: &mut Bindings, name: &'static str, classes: &[Id], then: Then) {
        if let Some(bound) = bindings.values(name) {
            if bound == classes {
                then(bindings);
            }
            return;
        }
        let before = bindings.0.len();
        let bound = match classes {
            [one] => Bound::Value(*one),
            several => Bound::Values(several.to_vec()),
        };
        bindings.0.push((name, bound));
        if (self.fits)(bindings, name) {
            then(bindings);
        }
        bindings.0.truncate(before);
    }

    fn node(&self, op: &Op, operands: &[Id], items: &[Pattern], bindings: &mut Bindings, then: Then) {
        // Most terms fail here, before anything is made for them.
        let is_below = |item: &Pattern| match item {
            Pattern::Op(name, _) => operands.iter().any(|o| self.scene.ops_named(*o, name).next().is_some()),
            _ => true,
        };
        if !items.iter().all(is_below) {
            return;
        }
        let attrs = op.attrs();
        if items.len() < attrs.len() {
            return;
        }
        let (heads, items) = items.split_at(attrs.len());
        let before = bindings.0.len();
        let mut all_same = true;
        for (item, attr) in heads.iter().zip(attrs) {
            all_same &= match item {
                Pattern::Variable(name) => match bindings.attr(name) {
                    Some(bound) => *bound == attr,
                    None => {
                        bindings.0.push((name, Bound::Attr(attr)));
                        true
                    }
                },
                Pattern::Word(word) => attr.as_word() == Some(*word),
                _ => false,
            };
        }
        if all_same {
            let has_rest = items.iter().any(|item| matches!(item, Pattern::Rest(_)));
            if let ([a, b], [_, _], true, false) = (operands, items, commutes(op.name()), has_rest) {
                self.in_order(operands, items, bindings, then);
                if a != b {
                    self.in_order(&[*b, *a], items, bindings, then);
                }
            } else if commutes(op.name()) {
                let (rests, single): (Vec<&Pattern>, Vec<&Pattern>) =
                    items.iter().partition(|item| matches!(item, Pattern::Rest(_)));
                self.in_any_order(operands, &single, &rests, bindings, then);
            } else if items.len() == operands.len() {
                self.in_order(operands, items, bindings, then);
            }
        }
        bindings.0.truncate(before);
    }

    fn in_order(&self, operands: &[Id], items: &[Pattern], bindings: &mut Bindings, then: Then) {
        match (operands, items) {
            ([first, operands @ ..], [item, items @ ..]) => {
                self.find(item, *first, bindings, &mut |b| self.in_order(operands, items, b, then));
            }
            _ => then(bindings),
        }
    }

    /// Gives each item an operand of its own, and the rests what is left.
    fn in_any_order(
        &self,
        operands: &[Id],
        items: &[&Pattern],
        rests: &[&Pattern],
        bindings: &mut Bindings,
        then: Then,
    ) {
        let [item, items @ ..] = items else { return self.share(rests, operands, bindings, then) };
        for (i, class) in operands.iter().enumerate() {
            // Equal operands would give equal matches.
            if operands[..i].contains(class) {
                continue;
            }
            let others = [&operands[..i], &operands[i + 1..]].concat();
            self.find(item, *class, bindings, &mut |b| self.in_any_order(&others, items, rests, b, then));
        }
    }

    fn share(&self, rests: &[&Pattern], left: &[Id], bindings: &mut Bindings, then: Then) {
        match rests {
            [] if left.is_empty() => then(bindings),
            [Pattern::Rest(name)] if !left.is_empty() => self.bind(bindings, name, left, then),
            [Pattern::Rest(first), Pattern::Rest(second)] => {
                let mut may_stand_for = |class: &Id| {
                    let mut fits = false;
                    self.bind(bindings, first, &[*class], &mut |_| fits = true);
                    fits
                };
                let (taken, left): (Vec<Id>, Vec<Id>) = left.iter().partition(|class| may_stand_for(class));
                if !taken.is_empty() && !left.is_empty() {
                    self.bind(bindings, first, &taken, &mut |b| self.bind(b, second, &left, then));
                }
            }
            _ => {}
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
