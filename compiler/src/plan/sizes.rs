//! Sizes of the graph as expressions that the runtime evaluates.

use gatec_lang::Size;
use gatec_lang::size::Atom;
use gatec_runtime::format::SizeExpr;

use crate::graph::TYPICAL_SIZE;

/// The symbols of a module, by number.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    names: Vec<String>,
    /// Sizes at which costs are estimated.
    assumed: Vec<i64>,
}

impl Symbols {
    pub fn new(names: impl Iterator<Item = String>, assume: &[(String, i64)]) -> Self {
        let names: Vec<String> = names.collect();
        let assumed = names
            .iter()
            .map(|name| assume.iter().find(|(n, _)| n == name).map_or(TYPICAL_SIZE, |(_, size)| *size))
            .collect();
        Self { names, assumed }
    }

    /// A size as an expression over symbol numbers.
    pub fn expr(&self, size: &Size) -> SizeExpr {
        if let Some(n) = size.as_known() {
            return SizeExpr::Known(n);
        }
        let mut terms: Vec<SizeExpr> = size
            .terms()
            .map(|(atoms, coefficient)| {
                let mut factors: Vec<SizeExpr> = atoms.iter().map(|atom| self.atom(atom)).collect();
                if coefficient != 1 || factors.is_empty() {
                    factors.insert(0, SizeExpr::Known(coefficient));
                }
                if factors.len() == 1 { factors.remove(0) } else { SizeExpr::Mul(factors) }
            })
            .collect();
        if terms.len() == 1 { terms.remove(0) } else { SizeExpr::Add(terms) }
    }

    fn atom(&self, atom: &Atom) -> SizeExpr {
        match atom {
            Atom::Symbol(name) => {
                let number = self.names.iter().position(|n| **n == **name);
                // A module declares every symbol of its sizes: the verifier saw to it.
                SizeExpr::Symbol(number.unwrap_or(usize::MAX) as u32)
            }
            Atom::Floor(size, by) => SizeExpr::Div(Box::new(self.expr(size)), *by),
        }
    }

    /// Sizes of the symbols for estimates, by number.
    pub fn assumed(&self) -> &[i64] {
        &self.assumed
    }

    /// The size for estimates.
    pub fn estimate(&self, size: &Size) -> i64 {
        let of = |name: &str| self.names.iter().position(|n| n == name).map(|i| self.assumed[i]);
        size.eval(&of).unwrap_or(0)
    }
}

/// `size * by`.
///
/// Sizes of axes are at most 2^48 and the strides made of them passed the front end's check of products: a failure here is a
/// product of sizes that no memory can hold, and reads as 0 elements would be wrong, so it saturates.
pub fn times(size: &Size, by: i64) -> Size {
    size.checked_mul(&Size::known(by)).unwrap_or_else(|| Size::known(gatec_lang::size::MAX_SIZE))
}

/// `a * b`, as [`times`].
pub fn product(a: &Size, b: &Size) -> Size {
    a.checked_mul(b).unwrap_or_else(|| Size::known(gatec_lang::size::MAX_SIZE))
}

/// `a + b`, as [`times`].
pub fn sum(a: &Size, b: &Size) -> Size {
    a.checked_add(b).unwrap_or_else(|| Size::known(gatec_lang::size::MAX_SIZE))
}

/// `ceil(size / by)`.
pub fn div_up(size: &Size, by: i64) -> Size {
    sum(size, &Size::known(by - 1)).checked_div(by).unwrap_or_default()
}

/// The sum of expressions; multiples of one expression become one.
pub fn add(terms: impl Iterator<Item = SizeExpr>) -> SizeExpr {
    let mut sums: Vec<(i64, SizeExpr)> = Vec::new();
    for term in terms {
        let (count, of) = multiple(term);
        match sums.iter_mut().find(|(n, known)| *known == of && n.checked_add(count).is_some()) {
            Some((n, _)) => *n += count,
            None => sums.push((count, of)),
        }
    }
    // The number comes last.
    sums.sort_by_key(|(_, of)| *of == SizeExpr::Known(1));
    let times = |(count, of): (i64, SizeExpr)| mul([SizeExpr::Known(count), of].into_iter());
    let mut terms: Vec<SizeExpr> = sums.into_iter().filter(|(count, _)| *count != 0).map(times).collect();
    match terms.len() {
        0 => SizeExpr::Known(0),
        1 => terms.remove(0),
        _ => SizeExpr::Add(terms),
    }
}

/// How many times which expression.
fn multiple(term: SizeExpr) -> (i64, SizeExpr) {
    match term {
        SizeExpr::Known(n) => (n, SizeExpr::Known(1)),
        SizeExpr::Mul(mut factors) => match factors.first() {
            Some(SizeExpr::Known(n)) => {
                let n = *n;
                factors.remove(0);
                (n, mul(factors.into_iter()))
            }
            _ => (1, SizeExpr::Mul(factors)),
        },
        other => (1, other),
    }
}

/// The product of expressions, its numbers multiplied.
pub fn mul(factors: impl Iterator<Item = SizeExpr>) -> SizeExpr {
    let mut known = 1i64;
    let mut rest = Vec::new();
    let inner = |factor| if let SizeExpr::Mul(inner) = factor { inner } else { vec![factor] };
    for factor in factors.flat_map(inner) {
        match factor {
            SizeExpr::Known(n) => match known.checked_mul(n) {
                Some(product) => known = product,
                None => rest.push(SizeExpr::Known(n)),
            },
            other => rest.push(other),
        }
    }
    if known == 0 {
        return SizeExpr::Known(0);
    }
    if known != 1 || rest.is_empty() {
        rest.insert(0, SizeExpr::Known(known));
    }
    if rest.len() == 1 { rest.remove(0) } else { SizeExpr::Mul(rest) }
}
