//! Sizes of the graph as expressions that the runtime evaluates.

use gatec_lang::Size;
use gatec_lang::size::Atom;
use gatec_runtime::format::SizeExpr;

/// The symbols of a module, by number.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    names: Vec<String>,
    /// Sizes at which costs are estimated.
    assumed: Vec<i64>,
}

/// The size that a symbol without an assumption is taken to have in estimates.
pub const TYPICAL_SIZE: i64 = 64;

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

/// The sum of expressions, its numbers added up.
pub fn add(terms: impl Iterator<Item = SizeExpr>) -> SizeExpr {
    let mut known = 0i64;
    let mut rest = Vec::new();
    for term in terms {
        match term {
            SizeExpr::Known(n) => match known.checked_add(n) {
                Some(sum) => known = sum,
                None => rest.push(SizeExpr::Known(n)),
            },
            other => rest.push(other),
        }
    }
    if known != 0 || rest.is_empty() {
        rest.push(SizeExpr::Known(known));
    }
    if rest.len() == 1 { rest.remove(0) } else { SizeExpr::Add(rest) }
}

/// The product of expressions, its numbers multiplied.
pub fn mul(factors: impl Iterator<Item = SizeExpr>) -> SizeExpr {
    let mut known = 1i64;
    let mut rest = Vec::new();
    for factor in factors {
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
