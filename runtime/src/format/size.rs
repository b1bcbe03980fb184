//! Sizes that depend on symbolic axes.

use serde::{Deserialize, Serialize};

/// A size as a small expression over the model's symbols, evaluated once when a session binds them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SizeExpr {
    /// Index into the manifest's symbols.
    Symbol(u32),
    Add(Vec<SizeExpr>),
    Mul(Vec<SizeExpr>),
    /// The least; of none, 0.
    Min(Vec<SizeExpr>),
    /// Floor division by a positive number.
    Div(Box<SizeExpr>, i64),
    /// Division by a positive number, rounded up.
    DivUp(Box<SizeExpr>, i64),
    /// In JSON the number alone: most sizes are known.
    #[serde(untagged)]
    Known(i64),
}

impl SizeExpr {
    /// The value under a binding of the symbols; `None` where a symbol is missing, a divisor is not positive, or a product
    /// leaves `i64`.
    pub fn eval(&self, symbols: &[i64]) -> Option<i64> {
        match self {
            Self::Known(n) => Some(*n),
            Self::Symbol(i) => symbols.get(*i as usize).copied(),
            Self::Add(terms) => terms.iter().try_fold(0i64, |sum, t| sum.checked_add(t.eval(symbols)?)),
            Self::Mul(factors) => factors.iter().try_fold(1i64, |p, t| p.checked_mul(t.eval(symbols)?)),
            Self::Min(sizes) => sizes
                .iter()
                .try_fold(None, |least: Option<i64>, t| {
                    let size = t.eval(symbols)?;
                    Some(Some(least.map_or(size, |least| least.min(size))))
                })
                .map(Option::unwrap_or_default),
            Self::Div(n, by) if *by > 0 => Some(n.eval(symbols)?.div_euclid(*by)),
            Self::DivUp(n, by) if *by > 0 => Some(n.eval(symbols)?.checked_add(*by - 1)?.div_euclid(*by)),
            Self::Div(..) | Self::DivUp(..) => None,
        }
    }

    /// Does the symbol stand in it?
    pub fn names(&self, symbol: u32) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Symbol(i) => *i == symbol,
            Self::Add(xs) | Self::Mul(xs) | Self::Min(xs) => xs.iter().any(|x| x.names(symbol)),
            Self::Div(x, _) | Self::DivUp(x, _) => x.names(symbol),
        }
    }

    /// How deep it nests; readers refuse what is too deep to evaluate.
    pub fn depth(&self) -> usize {
        1 + match self {
            Self::Known(_) | Self::Symbol(_) => 0,
            Self::Add(xs) | Self::Mul(xs) | Self::Min(xs) => xs.iter().map(Self::depth).max().unwrap_or(0),
            Self::Div(x, _) | Self::DivUp(x, _) => x.depth(),
        }
    }
}
