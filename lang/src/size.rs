//! Sizes of axes: polynomials over symbolic sizes, in a normal form, so that equal sizes compare equal.
//!
//! A size is a sum of terms; a term is an integer coefficient times a product of atoms; an atom is a symbol that is bound
//! when a model runs (`tokens`) or the floor of a size divided by a constant (what a strided window leaves).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The largest number of elements of an axis, and the largest product of sizes, that gatec accepts: indices and byte
/// offsets stay far inside `i64`, whatever the element type.
pub const MAX_SIZE: i64 = 1 << 48;

/// A factor of a term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// The size of a symbolic axis.
    Symbol(Arc<str>),
    /// `floor(size / divisor)`, divisor at least 2.
    Floor(Box<Size>, i64),
}

/// A product of atoms, sorted; empty for the constant term.
pub type Monomial = Vec<Atom>;

/// A size in normal form: no term has the coefficient 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    terms: BTreeMap<Monomial, i64>,
}

impl Size {
    /// A size that is known when building.
    pub fn known(n: i64) -> Self {
        Self::term(Vec::new(), n)
    }

    /// The size of the symbolic axis `name`.
    pub fn symbol(name: &str) -> Self {
        Self::term(vec![Atom::Symbol(name.into())], 1)
    }

    fn term(monomial: Monomial, coefficient: i64) -> Self {
        let mut terms = BTreeMap::new();
        if coefficient != 0 {
            terms.insert(monomial, coefficient);
        }
        Self { terms }
    }

    /// Terms as (atoms, coefficient), in a fixed order.
    pub fn terms(&self) -> impl Iterator<Item = (&Monomial, i64)> {
        self.terms.iter().map(|(m, c)| (m, *c))
    }

    /// The number, if no symbol is in it.
    pub fn as_known(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// Is this size known when building?
    pub fn is_known(&self) -> bool {
        self.as_known().is_some()
    }

    /// `self + other`; `None` if a coefficient leaves [`MAX_SIZE`].
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let mut terms = self.terms.clone();
        for (m, c) in &other.terms {
            let sum = terms.get(m).copied().unwrap_or(0).checked_add(*c).filter(|n| n.abs() <= MAX_SIZE)?;
            if sum == 0 {
                terms.remove(m);
            } else {
                terms.insert(m.clone(), sum);
            }
        }
        Some(Self { terms })
    }

    /// `self - other`; `None` if a coefficient leaves [`MAX_SIZE`].
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.checked_add(&other.checked_mul(&Self::known(-1))?)
    }

    /// `self * other`; `None` if a coefficient leaves [`MAX_SIZE`].
    pub fn checked_mul(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (m, c) in &self.terms {
            for (n, d) in &other.terms {
                let mut monomial: Monomial = m.iter().chain(n).cloned().collect();
                monomial.sort();
                let coefficient = c.checked_mul(*d).filter(|n| n.abs() <= MAX_SIZE)?;
                product = product.checked_add(&Self::term(monomial, coefficient))?;
            }
        }
        Some(product)
    }

    /// `floor(self / divisor)`; `None` if `divisor` is not positive. Whole multiples of the divisor are taken out, so that
    /// `floor((t - 2) / 2) + 1` is `floor(t / 2)`.
    pub fn checked_div(&self, divisor: i64) -> Option<Self> {
        if divisor <= 0 {
            return None;
        }
        let parts = |part: fn(i64, i64) -> i64| {
            let terms = self.terms.iter().map(|(m, c)| (m.clone(), part(*c, divisor)));
            Self { terms: terms.filter(|(_, c)| *c != 0).collect() }
        };
        let (whole, rest) = (parts(i64::div_euclid), parts(i64::rem_euclid));
        match rest.as_known() {
            // Less than the divisor.
            Some(_) => Some(whole),
            None => whole.checked_add(&Self::term(vec![Atom::Floor(Box::new(rest), divisor)], 1)),
        }
    }

    /// What `floor(self / divisor)` leaves; `None` if `divisor` is not positive.
    pub fn checked_rem(&self, divisor: i64) -> Option<Self> {
        self.checked_sub(&self.checked_div(divisor)?.checked_mul(&Self::known(divisor))?)
    }

    /// `self / other` where that is exact: a known divisor, or one monomial that every term holds.
    pub fn exact_div(&self, other: &Self) -> Option<Self> {
        let (divisor, by) = other.terms.iter().next().filter(|_| other.terms.len() == 1)?;
        let mut terms = BTreeMap::new();
        for (m, c) in &self.terms {
            if c % by != 0 {
                return None;
            }
            let mut rest = m.clone();
            for atom in divisor {
                rest.remove(rest.iter().position(|a| a == atom)?);
            }
            terms.insert(rest, c / by);
        }
        Some(Self { terms })
    }

    /// A size that is at least this one: a positive multiple of a divisor times a floor is taken for the whole, as in
    /// `4 * floor(n / 4) <= n`.
    pub fn upper_bound(&self) -> Self {
        let mut bound = Self::default();
        for (m, c) in &self.terms {
            let whole = match m.as_slice() {
                [Atom::Floor(size, divisor)] if *c > 0 && c % divisor == 0 => {
                    size.checked_mul(&Self::known(c / divisor))
                }
                _ => None,
            };
            let term = whole.unwrap_or_else(|| Self::term(m.clone(), *c));
            let Some(sum) = bound.checked_add(&term) else { return self.clone() };
            bound = sum;
        }
        bound
    }

    /// Is it below 0 for some sizes of symbols, of which none is?
    pub fn may_be_negative(&self) -> bool {
        let of_atom = |atom: &Atom| matches!(atom, Atom::Floor(inner, _) if inner.may_be_negative());
        self.terms.iter().any(|(atoms, coefficient)| *coefficient < 0 || atoms.iter().any(of_atom))
    }

    /// The value under a binding of symbols; `None` if a symbol is unbound, or the value is negative or over [`MAX_SIZE`].
    pub fn eval(&self, bind: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        self.eval_signed(bind).filter(|n| (0..=MAX_SIZE).contains(n))
    }

    fn eval_signed(&self, bind: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let mut sum: i64 = 0;
        for (m, c) in &self.terms {
            let mut product = *c;
            for atom in m {
                let value = match atom {
                    Atom::Symbol(name) => bind(name)?,
                    Atom::Floor(size, divisor) => size.eval_signed(bind)?.div_euclid(*divisor),
                };
                product = product.checked_mul(value)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// The names of the symbols in it, each once, in order.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.collect_symbols(&mut names);
        names.sort();
        names.dedup();
        names
    }

    fn collect_symbols(&self, names: &mut Vec<Arc<str>>) {
        for atom in self.terms.keys().flatten() {
            match atom {
                Atom::Symbol(name) => names.push(name.clone()),
                Atom::Floor(size, _) => size.collect_symbols(names),
            }
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        for (i, (m, c)) in self.terms.iter().rev().enumerate() {
            match (i, *c < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            let mut first = true;
            if c.abs() != 1 || m.is_empty() {
                write!(f, "{}", c.abs())?;
                first = false;
            }
            for atom in m {
                if !first {
                    f.write_str("*")?;
                }
                first = false;
                match atom {
                    Atom::Symbol(name) => f.write_str(name)?,
                    Atom::Floor(size, divisor) => write!(f, "floor(({size})/{divisor})")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_compare_equal() {
        let t = Size::symbol("t");
        let grown = t.checked_add(&Size::known(1)).unwrap();
        assert_eq!(grown.checked_sub(&Size::known(1)).unwrap(), t);
        assert_eq!(grown.to_string(), "t + 1");
        assert_eq!(t.checked_mul(&Size::known(6)).unwrap().checked_div(3).unwrap().to_string(), "2*t");
        assert_eq!(grown.checked_div(2).unwrap().eval(&|_| Some(6)), Some(3));
        let strided = t.checked_sub(&Size::known(2)).unwrap().checked_div(2).unwrap().checked_add(&Size::known(1));
        assert_eq!(strided, t.checked_div(2), "what a window of 2 by steps of 2 leaves");
        let odd = t.checked_mul(&Size::known(-3)).unwrap().checked_add(&Size::known(28)).unwrap();
        for n in 0..9 {
            assert_eq!(odd.checked_div(2).unwrap().eval(&|_| Some(n)), Some((28 - 3 * n) / 2), "{n}");
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let big = Size::known(MAX_SIZE);
        assert_eq!(big.checked_mul(&big), None);
        let t = Size::symbol("t");
        assert_eq!(t.checked_mul(&t).unwrap().eval(&|_| Some(1 << 40)), None);
    }
}
