use super::{parse, print};

/// A kernel of each class, with everything that the text can hold.
pub(crate) const KERNELS: &[&str] = &[
    r#"kernel "softmax \"x\"" dims 1 vars 5 {
  b0 = read f32 "x"
  b1 = read i32 "pick"
  b2 = write f16 "y"
  %0 = load b1[i0]
  %1 = load b0[64*value(%0, n0) + i1] if i0 + -3 < n0 and (i1 / 2) < 32 else -inf
  %2 = temp t0
  %3 = load b0[64*value(%0, n0) + i2]
  %4 = sub %3, %2
  %5 = exp %4
  %6 = temp t1
  %7 = load b0[(i3 mod 4)*n0 + i3]
  %8 = div %7, %6
  %9 = index i32 i4 + n0
  %10 = cast f32 %9
  %11 = const f32 1e-5
  %12 = lt %10, %11
  %13 = select %12, %10, %8
  nest i0 "t" in n0 {
    t0 = max f32 over i1 "d" in 64 of %1
    t1 = sum f32 over i2 "d" in 64 of %5
    map i3 "d" in 64 {
      b2[64*i0 + i3] = %8
    }
    running sum exclusive over i4 "s" in 3 of %10 { b2[i0 + 3*i4] = %10 }
  }
}
"#,
    r#"kernel "grouped contract+silu" dims 1 vars 4 {
  b0 = read f32 "x"
  b1 = read packed f32 "packed w"
  b2 = read i32 "order"
  b3 = read i32 "offsets"
  b4 = write f32 "y"
  %0 = load b0[16*i1 + i3]
  %1 = acc 0
  %2 = acc 1
  %3 = sigmoid %1
  %4 = mul %3, %2
  contract batch i0 "" in 1 rows i1 "t" in n0 cols i2 "h" in 5 sums i3 "d" in 16 groups 2 x %0 w b1 experts 3 order b2 offsets b3 {
    b4[5*i1 + i2] = %4
  }
}
"#,
    r#"kernel "grouped contract, some rows of none" dims 1 vars 4 {
  b0 = read f32 "x"
  b1 = read packed f32 "packed w"
  b2 = read i32 "order"
  b3 = read i32 "offsets"
  b4 = write f32 "y"
  %0 = load b0[16*i1 + i3]
  %1 = acc 0
  %2 = acc 1
  %3 = sigmoid %1
  %4 = mul %3, %2
  contract batch i0 "" in 1 rows i1 "t" in n0 cols i2 "h" in 5 sums i3 "d" in 16 groups 2 x %0 w b1 experts 3 last none order b2 offsets b3 {
    b4[5*i1 + i2] = %4
  }
}
"#,
    r#"kernel "walk" dims 1 vars 4 {
  b0 = update f32 "carry"
  b1 = read f32 "x"
  b2 = write f32 "y"
  %0 = load b0[8*i0 + i2]
  %1 = load b1[i0 + 4*i1]
  %2 = add %0, %1
  %3 = load b0[8*i0 + i3]
  %4 = temp t1
  nest i0 "h" in 4 walk i1 "t" in n0 {
    map i2 "k" in 8 {
      b0[8*i0 + i2] = %2
    }
    t1 = sum f32 over i3 "k" in 8 of %3
    map {
      b2[i0 + 4*i1] = %4
    }
  }
}
"#,
    r#"kernel "contract" dims 1 vars 4 {
  b0 = read bf16 "x"
  b1 = read packed bf16 "packed w"
  b2 = write bf16 "y"
  %0 = load b0[16*i1 + i3]
  %1 = acc 0
  contract batch i0 "" in 1 rows i1 "t" in n0 cols i2 "h" in 5 sums i3 "d" in 16 groups 1 pairs x %0 w b1 {
    b2[5*i1 + i2] = %1
  }
}
"#,
    r#"kernel "halves" dims 1 vars 4 {
  b0 = read f32 "x"
  b1 = read packed bf16 "packed w"
  b2 = write f32 "y"
  %0 = load b0[16*i1 + i3]
  %1 = acc 0
  contract batch i0 "" in 1 rows i1 "t" in n0 cols i2 "h" in 5 sums i3 "d" in 16 groups 1 interleaved x %0 w b1 {
    b2[5*i1 + i2] = %1
  }
}
"#,
    r#"kernel "quantised" dims 1 vars 4 {
  b0 = read f32 "x"
  b1 = read packed u8 "packed w"
  b2 = read packed f16 "packed scales of w"
  b3 = write f32 "y"
  %0 = load b0[16*i1 + i3]
  %1 = acc 0
  contract batch i0 "" in 1 rows i1 "t" in n0 cols i2 "h" in 5 sums i3 "d" in 16 groups 1 x %0 w b1 bits 4 by 32 scales b2 {
    b3[5*i1 + i2] = %1
  }
}
"#,
    r#"kernel "attend" dims 2 vars 5 {
  b0 = read f32 "q"
  b1 = read packed f32 "packed keys"
  b2 = read packed f32 "packed values"
  b3 = write f32 "y"
  %0 = load b0[8*i0*n0 + 8*i1 + i4]
  %1 = acc 0
  %2 = index i32 i1
  %3 = index i32 i2
  %4 = ge %2, %3
  %5 = const f32 -inf
  %6 = select %4, %1, %5
  %7 = acc 1
  %8 = acc 2
  %9 = div %7, %8
  attend batch i0 "head" in 2 rows i1 "t" in n0 over i2 "src" in n1 by 64 cols i3 "v" in 5 sums i4 "k" in 8 x %0 keys b1 score %6 values b2 {
    b3[5*i0*n0 + 5*i1 + i3] = %9
  }
}
"#,
    r#"kernel "reduce" dims 2 vars 3 {
  b0 = read f32 "said"
  b1 = read i32 "order"
  b2 = read i32 "offsets"
  b3 = write f32 "sum"
  %0 = load b0[8*i2 + i1]
  %1 = temp t0
  nest i0 "node" in n0, i1 "d" in 8 {
    t0 = sum f32 over i2 "edge" in n1 segment i0 order b1 offsets b2 of %0
    map {
      b3[8*i0 + i1] = %1
    }
  }
}
"#,
    r#"kernel "top_k" dims 1 vars 3 {
  b0 = read f32 "scores"
  b1 = write i32 "index"
  %0 = load b0[8*i0 + i1]
  top_k i0 "t" in n0 over i1 "e" in 8 of %0 take 2 slot i2 { b1[2*i0 + i2] }
}
"#,
    r#"kernel "group_rows" dims 1 vars 2 {
  b0 = read i32 "index"
  b1 = write i32 "order"
  b2 = write i32 "offsets"
  %0 = load b0[2*i0 + i1]
  group_rows i0 "t" in n0, i1 "slot" in 2 of %0 experts 8 order b1 offsets b2
}
"#,
];

#[test]
fn what_is_printed_reads_back_to_the_same() {
    for text in KERNELS {
        let kernel = parse(text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
        assert_eq!(print(&kernel), *text);
        assert_eq!(parse(&print(&kernel)), Ok(kernel));
    }
}

#[test]
fn odd_names_and_numbers_survive() {
    let text = "kernel \"a\\\\b\\u{a}\" dims 0 vars 0 {\n  b0 = write f64 \"é\\u{7}\"\n  %0 = const f64 nan\n  \
                %1 = const f64 -0.0\n  %2 = const f64 -1.5e-300\n  %3 = const f64 inf\n  nest {\n  }\n}\n";
    assert_eq!(parse(text).map(|k| print(&k)).as_deref(), Ok(text));
}

#[test]
fn errors_say_where() {
    let error = |text: &str| parse(text).expect_err("no kernel").to_string();
    assert_eq!(error(""), "1:1: expected `kernel`");
    assert_eq!(error("kernel \"x\" dims 0 vars 0 {\n  b1 = read f32 \"x\"\n"), "2:3: expected number 0");
    assert_eq!(error("kernel \"x\" dims 0 vars 0 {\n  nest { map { b0[1 +] = %0 } }\n}"), "2:22: expected an index");
    assert_eq!(error("kernel \"x\" dims 0 vars 0 {\n  twist\n}"), "3:1: no class `twist`");
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = "(".repeat(100_000);
    let text = format!("kernel \"x\" dims 0 vars 0 {{\n  %0 = index i32 {deep}");
    assert!(parse(&text).expect_err("too deep").message.contains("at most"));
}

#[test]
fn the_kernels_of_the_documentation_are_as_they_print_and_verify() {
    let page = include_str!("../../../../docs/kernel-ir.md");
    let lines: Vec<&str> = page.lines().map(|l| l.strip_prefix("    ").unwrap_or_default()).collect();
    let starts = (0..lines.len()).filter(|i| lines[*i].starts_with("kernel "));
    let texts: Vec<String> = starts
        .map(|start| lines[start..].iter().take_while(|l| !l.is_empty()).flat_map(|l| [l, "\n"]).collect())
        .collect();
    assert_eq!(texts.len(), 3);
    for text in texts {
        let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
        assert_eq!(print(&kernel), text);
        assert_eq!(crate::kernel::verify::verify(&kernel), Ok(()));
    }
}
