//! Arithmetic on indices: sums and products stay flat and sorted, affine stays affine, and division by what is known to divide
//! goes away.

use std::collections::BTreeMap;

use super::{Dim, ExprId, Extent, Index, Var};

/// The extent of each loop variable: what divisions need to know.
#[derive(Clone, Debug, Default)]
pub struct Vars(BTreeMap<Var, Extent>);

impl Vars {
    pub fn declare(&mut self, var: Var, extent: Extent) {
        self.0.insert(var, extent);
    }
    pub fn extent(&self, var: Var) -> Option<Extent> {
        self.0.get(&var).copied()
    }
    /// Every variable below it, as an index: `0 <= var < extent`.
    fn is_below(&self, index: &Index, bound: &Index) -> bool {
        match (index, bound) {
            (Index::Var(var), bound) => match (self.extent(*var), bound) {
                (Some(Extent::Known(n)), Index::Known(b)) => n <= *b,
                (Some(Extent::Dim(d)), Index::Dim(b)) => d == *b,
                _ => false,
            },
            (index, Index::Known(b)) => self.range(index).is_some_and(|(low, high)| 0 <= low && high < *b),
            _ => false,
        }
    }
    /// The least and greatest value, where they are known.
    pub fn range(&self, index: &Index) -> Option<(i64, i64)> {
        match index {
            Index::Known(n) => Some((*n, *n)),
            Index::Var(var) => match self.extent(*var)? {
                Extent::Known(n) if n > 0 => Some((0, n - 1)),
                _ => None,
            },
            Index::Value(_, Extent::Known(n)) if *n > 0 => Some((0, n - 1)),
            Index::Dim(_) | Index::Value(..) => None,
            Index::Add(terms) => terms.iter().try_fold((0i64, 0i64), |(low, high), t| {
                let (l, h) = self.range(t)?;
                Some((low.checked_add(l)?, high.checked_add(h)?))
            }),
            Index::Mul(factors) => factors.iter().try_fold((1i64, 1i64), |(low, high), f| {
                let (l, h) = self.range(f)?;
                let products = [low.checked_mul(l)?, low.checked_mul(h)?, high.checked_mul(l)?, high.checked_mul(h)?];
                Some((*products.iter().min()?, *products.iter().max()?))
            }),
            Index::Div(n, by) => match **by {
                Index::Known(by) if by > 0 => {
                    let (low, high) = self.range(n)?;
                    Some((low.div_euclid(by), high.div_euclid(by)))
                }
                _ => None,
            },
            Index::Mod(_, by) => match **by {
                Index::Known(by) if by > 0 => Some((0, by - 1)),
                _ => None,
            },
        }
    }
}

/// A term of a sum: a coefficient and the factors that are no numbers.
fn term(index: &Index) -> (i64, Vec<Index>) {
    match index {
        Index::Known(n) => (*n, Vec::new()),
        Index::Mul(factors) => {
            let mut coefficient = 1i64;
            let mut rest = Vec::new();
            for factor in factors {
                match factor {
                    Index::Known(n) => coefficient = coefficient.wrapping_mul(*n),
                    other => rest.push(other.clone()),
                }
            }
            (coefficient, rest)
        }
        other => (1, vec![other.clone()]),
    }
}

fn from_term(coefficient: i64, mut factors: Vec<Index>) -> Index {
    if coefficient == 0 || factors.is_empty() {
        return Index::Known(coefficient);
    }
    if coefficient != 1 {
        factors.insert(0, Index::Known(coefficient));
    }
    if factors.len() == 1 { factors.remove(0) } else { Index::Mul(factors) }
}

/// The terms of a sum.
pub fn terms(index: &Index) -> Vec<Index> {
    match index {
        Index::Add(terms) => terms.clone(),
        Index::Known(0) => Vec::new(),
        other => vec![other.clone()],
    }
}

fn sum(collected: BTreeMap<Vec<Index>, i64>) -> Index {
    let mut terms: Vec<Index> =
        collected.into_iter().filter(|(_, c)| *c != 0).map(|(factors, c)| from_term(c, factors)).collect();
    match terms.len() {
        0 => Index::Known(0),
        1 => terms.remove(0),
        _ => Index::Add(terms),
    }
}

fn collect(all: impl IntoIterator<Item = Index>) -> BTreeMap<Vec<Index>, i64> {
    let mut collected: BTreeMap<Vec<Index>, i64> = BTreeMap::new();
    for part in all {
        for t in terms(&part) {
            let (coefficient, factors) = term(&t);
            let entry = collected.entry(factors).or_insert(0);
            *entry = entry.wrapping_add(coefficient);
        }
    }
    collected
}

/// The sum of indices. `(a / n) * n + a % n` is `a` again.
pub fn add(_: &Vars, parts: Vec<Index>) -> Index {
    let mut collected = collect(parts);
    // c * n * (a / n) + c * (a % n) = c * a
    loop {
        let found = collected.iter().find_map(|(factors, &c)| {
            let (position, a, n) = factors.iter().enumerate().find_map(|(i, f)| match f {
                Index::Mod(a, n) => Some((i, (**a).clone(), (**n).clone())),
                _ => None,
            })?;
            let mut others = factors.clone();
            others.remove(position);
            let quotient = Index::Div(Box::new(a.clone()), Box::new(n.clone()));
            let (scale, mut partner) = match n {
                Index::Known(n) => (c.checked_mul(n)?, vec![quotient]),
                n => (c, vec![quotient, n]),
            };
            partner.extend(others.iter().cloned());
            partner.sort();
            (collected.get(&partner) == Some(&scale)).then(|| (factors.clone(), partner, others, a, c))
        });
        let Some((remainder, quotient, others, a, c)) = found else { break };
        collected.remove(&remainder);
        collected.remove(&quotient);
        for t in terms(&a) {
            let (coefficient, mut factors) = term(&t);
            factors.extend(others.iter().cloned());
            factors.sort();
            *collected.entry(factors).or_insert(0) += c.wrapping_mul(coefficient);
        }
        collected.retain(|_, c| *c != 0);
    }
    sum(collected)
}

/// The product of indices, distributed over sums.
pub fn mul(vars: &Vars, factors: Vec<Index>) -> Index {
    let mut product = vec![(1i64, Vec::<Index>::new())];
    for factor in factors {
        let parts: Vec<(i64, Vec<Index>)> = terms(&factor).iter().map(term).collect();
        product = product
            .iter()
            .flat_map(|(c, left)| {
                parts.iter().map(move |(d, right)| {
                    let mut factors: Vec<Index> = left.iter().chain(right).cloned().collect();
                    factors.sort();
                    (c.wrapping_mul(*d), factors)
                })
            })
            .collect();
    }
    add(vars, product.into_iter().map(|(c, factors)| from_term(c, factors)).collect())
}

/// Terms that `by` divides (quotients) and the rest.
fn split(index: &Index, by: &Index) -> (Vec<Index>, Vec<Index>) {
    let (mut quotients, mut rest) = (Vec::new(), Vec::new());
    for t in terms(index) {
        let (coefficient, mut factors) = term(&t);
        match by {
            Index::Known(n) if coefficient % n == 0 => quotients.push(from_term(coefficient / n, factors)),
            Index::Known(_) => rest.push(t),
            by => match factors.iter().position(|f| f == by) {
                Some(position) => {
                    factors.remove(position);
                    quotients.push(from_term(coefficient, factors));
                }
                None => rest.push(t),
            },
        }
    }
    (quotients, rest)
}

/// `floor(n / by)`, `by` positive.
pub fn div(vars: &Vars, n: Index, by: Index) -> Index {
    if let (Index::Known(n), Index::Known(by)) = (&n, &by)
        && *by > 0
    {
        return Index::Known(n.div_euclid(*by));
    }
    if by == Index::Known(1) {
        return n;
    }
    let (mut quotients, rest) = split(&n, &by);
    let rest = add(vars, rest);
    if !vars.is_below(&rest, &by) && rest != Index::Known(0) {
        if quotients.is_empty() {
            return Index::Div(Box::new(n), Box::new(by));
        }
        quotients.push(Index::Div(Box::new(rest), Box::new(by)));
    }
    add(vars, quotients)
}

/// `n mod by`, not negative, `by` positive.
pub fn rem(vars: &Vars, n: Index, by: Index) -> Index {
    if let (Index::Known(n), Index::Known(by)) = (&n, &by)
        && *by > 0
    {
        return Index::Known(n.rem_euclid(*by));
    }
    if by == Index::Known(1) {
        return Index::Known(0);
    }
    let (_, rest) = split(&n, &by);
    let rest = add(vars, rest);
    if rest == Index::Known(0) || vars.is_below(&rest, &by) {
        return rest;
    }
    Index::Mod(Box::new(rest), Box::new(by))
}

/// A factor of a stride: a number times sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stride {
    pub known: i64,
    pub dims: Vec<Dim>,
}

impl Stride {
    /// The stride of elements side by side.
    pub fn neighbours() -> Self {
        Self { known: 1, dims: Vec::new() }
    }
}

/// How far apart the elements for neighbouring values of `var` are; `None` if that is no constant of the call.
pub fn stride(index: &Index, var: Var) -> Option<Stride> {
    let mut stride = Stride { known: 0, dims: Vec::new() };
    for t in terms(index) {
        let (coefficient, factors) = term(&t);
        if !factors.iter().any(|f| mentions(f, var)) {
            continue;
        }
        if stride.known != 0 {
            return None;
        }
        let mut seen = false;
        stride.known = coefficient;
        for factor in factors {
            match factor {
                Index::Var(v) if v == var && !seen => seen = true,
                Index::Dim(d) => stride.dims.push(d),
                _ => return None,
            }
        }
        if !seen {
            return None;
        }
    }
    Some(stride)
}

/// [`stride`] as a number, if it is one.
pub fn known_stride(index: &Index, var: Var) -> Option<i64> {
    stride(index, var).filter(|s| s.dims.is_empty()).map(|s| s.known)
}

/// Does the index vary with `var`? What a [`Index::Value`] varies with is in its expression.
pub fn mentions(index: &Index, var: Var) -> bool {
    match index {
        Index::Var(v) => *v == var,
        Index::Known(_) | Index::Dim(_) | Index::Value(..) => false,
        Index::Add(parts) | Index::Mul(parts) => parts.iter().any(|p| mentions(p, var)),
        Index::Div(a, b) | Index::Mod(a, b) => mentions(a, var) || mentions(b, var),
    }
}

/// The same index with `to` where `from` was.
pub fn renamed(index: &Index, from: Var, to: Var) -> Index {
    let all = |parts: &[Index]| {
        let mut parts: Vec<Index> = parts.iter().map(|p| renamed(p, from, to)).collect();
        parts.sort();
        parts
    };
    let one = |index: &Index| Box::new(renamed(index, from, to));
    match index {
        Index::Var(v) if *v == from => Index::Var(to),
        Index::Known(_) | Index::Dim(_) | Index::Var(_) | Index::Value(..) => index.clone(),
        Index::Add(parts) => Index::Add(all(parts)),
        Index::Mul(parts) => Index::Mul(all(parts)),
        Index::Div(a, b) => Index::Div(one(a), one(b)),
        Index::Mod(a, b) => Index::Mod(one(a), one(b)),
    }
}

/// The expressions whose values it reads.
pub fn values(index: &Index, found: &mut Vec<ExprId>) {
    match index {
        Index::Value(expr, _) => found.push(*expr),
        Index::Known(_) | Index::Dim(_) | Index::Var(_) => {}
        Index::Add(parts) | Index::Mul(parts) => parts.iter().for_each(|p| values(p, found)),
        Index::Div(a, b) | Index::Mod(a, b) => {
            values(a, found);
            values(b, found);
        }
    }
}

#[cfg(test)]
mod tests;
