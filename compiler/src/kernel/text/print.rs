//! Kernel IR to text.

use std::fmt::Write as _;

use super::super::{
    Access, Attend, Body, Bound, Contract, Expr, ExprId, Extent, Fold, GroupRows, Index, Kernel, Loop, Nest, Products,
    Stage, Store, TopK,
};

/// A kernel as text.
pub fn print(kernel: &Kernel) -> String {
    let mut out = String::new();
    let mut line = |indent: usize, text: String| {
        out.extend(std::iter::repeat_n(' ', 2 * indent));
        out.push_str(&text);
        out.push('\n');
    };
    line(0, format!("kernel {} dims {} vars {} {{", quoted(&kernel.name), kernel.dims, kernel.vars));
    for (i, buffer) in kernel.buffers.iter().enumerate() {
        let access = match buffer.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Update => "update",
        };
        let packed = if buffer.packed { " packed" } else { "" };
        line(1, format!("b{i} = {access}{packed} {} {}", buffer.elem, quoted(&buffer.name)));
    }
    for (i, e) in kernel.exprs.iter().enumerate() {
        line(1, format!("%{i} = {}", expr(e)));
    }
    match &kernel.body {
        Body::Nest(nest) => print_nest(&mut line, nest),
        Body::Contract(contract) => {
            line(1, format!("{} {{", contract_head(contract)));
            contract.stores.iter().for_each(|s| line(2, store(s)));
            line(1, "}".into());
        }
        Body::Attend(attend) => {
            line(1, format!("{} {{", attend_head(attend)));
            attend.stores.iter().for_each(|s| line(2, store(s)));
            line(1, "}".into());
        }
        Body::TopK(t) => line(1, top_k(t)),
        Body::GroupRows(g) => line(1, group_rows(g)),
    }
    line(0, "}".into());
    out
}

fn print_nest(line: &mut impl FnMut(usize, String), nest: &Nest) {
    let walk = nest.walk.as_ref().map_or_else(String::new, |l| format!(" walk {}", one_loop(l)));
    let only = nest.only.map_or_else(String::new, |e| format!(" only %{}", e.0));
    line(1, format!("nest{}{only}{walk} {{", spaced(&nest.outer)));
    for stage in &nest.stages {
        match stage {
            Stage::Reduce { temp, elem, fold, inner, segment, value } => {
                let segment = segment.as_ref().map_or_else(String::new, |s| {
                    format!(" segment {} order b{} offsets b{}", index(&s.at), s.order.0, s.offsets.0)
                });
                let over = spaced(inner);
                line(2, format!("t{} = {} {elem} over{over}{segment} of %{}", temp.0, fold.name(), value.0));
            }
            Stage::Running { fold, over, exclusive, value, store } => {
                let exclusive = if *exclusive { " exclusive" } else { "" };
                let head = format!("running {}{exclusive} over {} of %{}", fold.name(), one_loop(over), value.0);
                line(2, format!("{head} {{ {} }}", self::store(store)));
            }
            Stage::Map { inner, stores } => {
                line(2, format!("map{} {{", spaced(inner)));
                stores.iter().for_each(|s| line(3, store(s)));
                line(2, "}".into());
            }
        }
    }
    line(1, "}".into());
}

fn contract_head(c: &Contract) -> String {
    let mut text = format!(
        "contract batch {} rows {} cols {} sums{} groups {}{} x %{} w b{}",
        one_loop(&c.batch),
        one_loop(&c.rows),
        one_loop(&c.cols),
        spaced(&c.sums),
        c.groups,
        match c.products {
            Products::One => "",
            Products::Interleaved => " interleaved",
            Products::Pairs => " pairs",
            Products::Tiles => " tiles",
            Products::Bytes => " bytes",
            Products::ByteTiles => " byte_tiles",
        },
        c.x.0,
        c.w.0
    );
    if let Some(b) = &c.blocks {
        let _ = write!(text, " bits {} by {} scales b{}", b.bits, b.size, b.scales.0);
    }
    if let Some(g) = &c.grouping {
        let none = if g.last_is_none { " last none" } else { "" };
        let _ = write!(text, " experts {}{none} order b{} offsets b{}", extent(g.experts), g.order.0, g.offsets.0);
    }
    text
}

fn attend_head(a: &Attend) -> String {
    let [batch, rows, over, cols] = [&a.batch, &a.rows, &a.over, &a.cols].map(one_loop);
    let sums = spaced(&a.sums);
    let operands = format!("x %{} keys b{} score %{} values b{}", a.x.0, a.keys.0, a.score.0, a.values.0);
    let only = a.only.map_or_else(String::new, |e| format!(" only %{}", e.0));
    format!("attend batch {batch}{only} rows {rows} over {over} by {} cols {cols} sums{sums} {operands}", a.block)
}

fn top_k(t: &TopK) -> String {
    let at = format!("b{}[{}]", t.buffer.0, index(&t.index));
    let over = one_loop(&t.over);
    format!("top_k{} over {over} of %{} take {} slot i{} {{ {at} }}", spaced(&t.rows), t.value.0, extent(t.k), t.slot.0)
}

fn group_rows(g: &GroupRows) -> String {
    let buffers = format!("order b{} offsets b{}", g.order.0, g.offsets.0);
    format!("group_rows{} of %{} experts {} {buffers}", spaced(&g.rows), g.expert.0, extent(g.experts))
}

fn one_loop(l: &Loop) -> String {
    format!("i{} {} in {}", l.var.0, quoted(&l.name), extent(l.extent))
}

/// Loops after a space each and with commas between; nothing for none.
fn spaced(loops: &[Loop]) -> String {
    let all: Vec<String> = loops.iter().map(one_loop).collect();
    if all.is_empty() { String::new() } else { format!(" {}", all.join(", ")) }
}

fn extent(e: Extent) -> String {
    match e {
        Extent::Known(n) => n.to_string(),
        Extent::Dim(d) => format!("n{}", d.0),
    }
}

fn store(s: &Store) -> String {
    format!("b{}[{}] = %{}", s.buffer.0, index(&s.index), s.value.0)
}

fn expr(e: &Expr) -> String {
    let ids = |ids: &[ExprId]| ids.iter().map(|i| format!("%{}", i.0)).collect::<Vec<_>>().join(", ");
    match e {
        Expr::Const { elem, value } => format!("const {elem} {}", number(*value)),
        Expr::Index { elem, index } => format!("index {elem} {}", self::index(index)),
        Expr::Load { buffer, index, bounds, otherwise } => {
            let mut text = format!("load b{}[{}]", buffer.0, self::index(index));
            let bound = |b: &Bound| format!("{} < {}", self::index(&b.index), extent(b.extent));
            if !bounds.is_empty() {
                let _ = write!(text, " if {}", bounds.iter().map(bound).collect::<Vec<_>>().join(" and "));
            }
            if !bounds.is_empty() || otherwise.to_bits() != 0 {
                let _ = write!(text, " else {}", number(*otherwise));
            }
            text
        }
        Expr::Unary(f, x) => format!("{f} {}", ids(&[*x])),
        Expr::Binary(f, a, b) => format!("{f} {}", ids(&[*a, *b])),
        Expr::Select(c, a, b) => format!("select {}", ids(&[*c, *a, *b])),
        Expr::Cast(elem, x) => format!("cast {elem} {}", ids(&[*x])),
        Expr::Temp(t) => format!("temp t{}", t.0),
        Expr::Acc(i) => format!("acc {i}"),
    }
}

/// An index as text: sums of products; divisions and remainders always in parentheses.
pub fn index(i: &Index) -> String {
    let inside = |i: &Index| match i {
        Index::Add(_) | Index::Mul(_) => format!("({})", index(i)),
        other => index(other),
    };
    // A product may stand in a sum as it is.
    let term = |i: &Index| if matches!(i, Index::Mul(_)) { index(i) } else { inside(i) };
    match i {
        Index::Known(n) => n.to_string(),
        Index::Var(v) => format!("i{}", v.0),
        Index::Dim(d) => format!("n{}", d.0),
        Index::Add(terms) => terms.iter().map(term).collect::<Vec<_>>().join(" + "),
        Index::Mul(factors) => factors.iter().map(inside).collect::<Vec<_>>().join("*"),
        Index::Div(n, by) => format!("({} / {})", index(n), index(by)),
        Index::Mod(n, by) => format!("({} mod {})", index(n), index(by)),
        Index::Value(e, x) => format!("value(%{}, {})", e.0, extent(*x)),
    }
}

/// The shortest text that reads back to the same number.
fn number(x: f64) -> String {
    if x.is_nan() { "nan".into() } else { format!("{x:?}") }
}

fn quoted(name: &str) -> String {
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Fold {
    pub const ALL: [Self; 8] =
        [Self::Sum, Self::Prod, Self::Max, Self::Min, Self::Any, Self::All, Self::ArgMax, Self::ArgMin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Max => "max",
            Self::Min => "min",
            Self::Any => "any",
            Self::All => "all",
            Self::ArgMax => "arg_max",
            Self::ArgMin => "arg_min",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
}
