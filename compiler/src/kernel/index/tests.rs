use proptest::prelude::*;

use super::*;

/// The extents of i0, i1, i2, and what n0 and n1 are.
const EXTENTS: [Extent; 3] = [Extent::Known(4), Extent::Known(6), Extent::Dim(Dim(0))];

/// How an index is put together.
#[derive(Clone, Debug)]
enum Build {
    Leaf(Index),
    Add(Vec<Build>),
    Mul(Vec<Build>),
    Div(Box<Build>, Index),
    Rem(Box<Build>, Index),
}

fn vars() -> Vars {
    let mut vars = Vars::default();
    for (number, extent) in EXTENTS.into_iter().enumerate() {
        vars.declare(Var(number as u32), extent);
    }
    vars
}

impl Build {
    fn index(&self, vars: &Vars) -> Index {
        match self {
            Self::Leaf(index) => index.clone(),
            Self::Add(parts) => add(vars, parts.iter().map(|p| p.index(vars)).collect()),
            Self::Mul(parts) => mul(vars, parts.iter().map(|p| p.index(vars)).collect()),
            Self::Div(n, by) => div(vars, n.index(vars), by.clone()),
            Self::Rem(n, by) => rem(vars, n.index(vars), by.clone()),
        }
    }

    /// The value by plain arithmetic.
    fn value(&self, at: &[i64; 3], dims: &[i64; 2]) -> i64 {
        match self {
            Self::Leaf(index) => value(index, at, dims),
            Self::Add(parts) => parts.iter().map(|p| p.value(at, dims)).sum(),
            Self::Mul(parts) => parts.iter().map(|p| p.value(at, dims)).product(),
            Self::Div(n, by) => n.value(at, dims).div_euclid(value(by, at, dims)),
            Self::Rem(n, by) => n.value(at, dims).rem_euclid(value(by, at, dims)),
        }
    }
}

fn value(index: &Index, at: &[i64; 3], dims: &[i64; 2]) -> i64 {
    match index {
        Index::Known(n) => *n,
        Index::Var(v) => at[v.0 as usize],
        Index::Dim(d) => dims[d.0 as usize],
        Index::Add(parts) => parts.iter().map(|p| value(p, at, dims)).sum(),
        Index::Mul(parts) => parts.iter().map(|p| value(p, at, dims)).product(),
        Index::Div(n, by) => value(n, at, dims).div_euclid(value(by, at, dims)),
        Index::Mod(n, by) => value(n, at, dims).rem_euclid(value(by, at, dims)),
        Index::Value(..) => 0,
    }
}

/// Sums and products flat, sorted, of at least two parts; no number but the first of a product or sum.
fn is_canonical(index: &Index) -> bool {
    match index {
        Index::Add(parts) => parts.len() > 1 && parts.iter().all(|p| !matches!(p, Index::Add(_)) && is_canonical(p)),
        Index::Mul(parts) => {
            let flat = parts.iter().all(|p| !matches!(p, Index::Add(_) | Index::Mul(_)) && is_canonical(p));
            let numbers = parts.iter().skip(1).all(|p| !matches!(p, Index::Known(_)));
            flat && numbers && parts.len() > 1 && parts[usize::from(matches!(parts[0], Index::Known(_)))..].is_sorted()
        }
        Index::Div(a, b) | Index::Mod(a, b) => is_canonical(a) && is_canonical(b),
        _ => true,
    }
}

fn build() -> impl Strategy<Value = Build> {
    let leaf = prop_oneof![
        (-9i64..10).prop_map(|n| Build::Leaf(Index::Known(n))),
        (0u32..3).prop_map(|v| Build::Leaf(Index::Var(Var(v)))),
        (0u32..2).prop_map(|d| Build::Leaf(Index::Dim(Dim(d)))),
    ];
    let by = prop_oneof![(1i64..9).prop_map(Index::Known), (0u32..2).prop_map(|d| Index::Dim(Dim(d)))];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Build::Add),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Build::Mul),
            (inner.clone(), by.clone()).prop_map(|(n, by)| Build::Div(Box::new(n), by)),
            (inner, by.clone()).prop_map(|(n, by)| Build::Rem(Box::new(n), by)),
        ]
    })
}

proptest! {
    #[test]
    fn simplifying_keeps_the_value(build in build(), at in (0i64..4, 0i64..6, 0i64..8), dims in (1i64..9, 1i64..9)) {
        let (at, dims) = ([at.0, at.1, at.2.min(dims.0 - 1)], [dims.0, dims.1]);
        let index = build.index(&vars());
        prop_assert_eq!(value(&index, &at, &dims), build.value(&at, &dims), "{}", crate::kernel::text::index(&index));
        prop_assert!(is_canonical(&index), "{}", crate::kernel::text::index(&index));
    }

    #[test]
    fn a_stride_is_what_one_step_moves(build in build(), at in (0i64..3, 0i64..5, 0i64..8), dims in (2i64..9, 1i64..9)) {
        let (at, dims) = ([at.0, at.1, at.2.min(dims.0 - 2)], [dims.0, dims.1]);
        let index = build.index(&vars());
        for var in 0..3 {
            if let Some(stride) = stride(&index, Var(var)) {
                let mut next = at;
                next[var as usize] += 1;
                let step = stride.known * stride.dims.iter().map(|d| dims[d.0 as usize]).product::<i64>();
                prop_assert_eq!(value(&index, &next, &dims) - value(&index, &at, &dims), step);
            }
        }
    }

    #[test]
    fn what_is_printed_reads_back(build in build()) {
        let index = build.index(&vars());
        let text = format!(
            "kernel \"k\" dims 2 vars 3 {{ b0 = read f32 \"x\" %0 = load b0[{}] nest {{ }} }}",
            crate::kernel::text::index(&index)
        );
        let kernel = crate::kernel::text::parse(&text);
        let Ok(kernel) = kernel else { return Err(TestCaseError::fail(format!("{kernel:?}"))) };
        let expected = crate::kernel::Expr::Load { buffer: crate::kernel::BufferId(0), index, bounds: vec![], otherwise: 0.0 };
        prop_assert_eq!(&kernel.exprs[0], &expected);
    }
}

fn var(v: u32) -> Index {
    Index::Var(Var(v))
}

#[test]
fn merged_and_split_again_is_as_it_was() {
    let vars = vars();
    // (6 i0 + i1) / 6, mod 6
    let six = || Index::Known(6);
    let merged = add(&vars, vec![mul(&vars, vec![var(0), six()]), var(1)]);
    assert_eq!(div(&vars, merged.clone(), six()), var(0));
    assert_eq!(rem(&vars, merged, six()), var(1));
    // i1 / 2 * 2 + i1 mod 2
    let two = || Index::Known(2);
    let (quotient, rest) = (div(&vars, var(1), two()), rem(&vars, var(1), two()));
    assert_eq!(add(&vars, vec![mul(&vars, vec![quotient, two()]), rest]), var(1));
    // The same with a run-time size: n0 i1 + i2, i2 below n0.
    let size = || Index::Dim(Dim(0));
    let merged = add(&vars, vec![mul(&vars, vec![var(1), size()]), var(2)]);
    assert_eq!(div(&vars, merged.clone(), size()), var(1));
    assert_eq!(rem(&vars, merged, size()), var(2));
    let (quotient, rest) = (div(&vars, var(0), size()), rem(&vars, var(0), size()));
    assert_eq!(add(&vars, vec![mul(&vars, vec![quotient, size()]), rest]), var(0));
}

#[test]
fn ranges_are_told_from_extents() {
    let vars = vars();
    let sum = add(&vars, vec![mul(&vars, vec![var(0), Index::Known(-2)]), var(1), Index::Known(3)]);
    assert_eq!(vars.range(&sum), Some((-3, 8)));
    assert_eq!(vars.range(&var(2)), None);
    assert_eq!(vars.range(&rem(&vars, sum, Index::Known(4))), Some((0, 3)));
}
