//! Each rule bites, and what keeps to all of them passes.

use super::verify;
use crate::kernel::text::{parse, print};

/// The rules that a kernel breaks; lines of a map over i0 with i1 spare.
fn rules(exprs: &str, stores: &str) -> Vec<&'static str> {
    let text = format!(
        "kernel \"k\" dims 1 vars 2 {{\n  b0 = read f32 \"x\"\n  b1 = write f32 \"y\"\n  b2 = read packed f32 \"w\"\n\
         {exprs}\n  nest i0 \"t\" in n0 {{\n    {stores}\n  }}\n}}"
    );
    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
    assert_eq!(parse(&print(&kernel)).as_ref(), Ok(&kernel));
    verify(&kernel).err().unwrap_or_default().iter().map(|f| f.rule).collect()
}

#[test]
fn a_plain_map_verifies() {
    assert_eq!(rules("%0 = load b0[i0]", "map { b1[i0] = %0 }"), Vec::<&str>::new());
    assert_eq!(walk("walk i1 \"t\" in 3", "b0[i0 + i1]"), Vec::<&str>::new());
    assert_eq!(walk("", "b0[i0]"), Vec::<&str>::new());
    assert_eq!(walk("walk i0 \"t\" in 3", "b0[i0]"), ["K02"]);
    assert_eq!(walk("", "b0[i0 + i1]"), ["K02", "K02"]);
    assert_eq!(walk("only %0", "b0[i0]"), ["K04"]);
}

/// The rules that a nest with such a walk breaks, which stores there what it loads.
fn walk(walk: &str, place: &str) -> Vec<&'static str> {
    let text = format!(
        "kernel \"k\" dims 1 vars 2 {{ b0 = update f32 \"x\" %0 = load {place} nest i0 \"h\" in n0 {walk} {{ map {{ {place} = %0 }} }} }}"
    );
    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
    verify(&kernel).err().unwrap_or_default().iter().map(|f| f.rule).collect()
}

#[test]
fn each_rule_bites() {
    assert_eq!(rules("%0 = neg %0", "map { }"), ["K01"]);
    assert_eq!(rules("%0 = load b7[i0]", "map { }"), ["K01"]);
    assert_eq!(rules("%0 = load b0[n3]", "map { }"), ["K01"]);
    assert_eq!(rules("%0 = load b0[i9]", "map { }"), ["K01"]);
    assert_eq!(rules("%0 = load b0[i1]", "map { b1[i0] = %0 }"), ["K02"]);
    assert_eq!(rules("%0 = load b0[i0]", "map { b1[i1] = %0 }"), ["K02"]);
    assert_eq!(rules("%0 = load b0[i0]", "map i0 \"t\" in 3 { b1[i0] = %0 }"), ["K02"]);
    assert_eq!(rules("%0 = acc 0", "map { b1[i0] = %0 }"), ["K02"]);
    assert_eq!(rules("%0 = temp t0", "map { b1[i0] = %0 }"), ["K02"]);
    assert_eq!(
        rules("%0 = load b0[i0]\n%1 = temp t0", "map { b1[i0] = %1 }\n t0 = sum f32 over i1 \"k\" in 2 of %0"),
        ["K02"]
    );
    assert_eq!(rules("%0 = load b1[i0]", "map { }"), ["K03"]);
    assert_eq!(rules("%0 = load b2[i0]", "map { }"), ["K03"]);
    assert_eq!(rules("%0 = load b0[i0]", "map { b0[i0] = %0 }"), ["K03"]);
    assert_eq!(rules("%0 = load b0[i0]\n%1 = not %0", "map { }"), ["K04"]);
    assert_eq!(rules("%0 = load b0[i0]\n%1 = const i32 1.0\n%2 = add %0, %1", "map { }"), ["K04"]);
    assert_eq!(rules("%0 = load b0[i0]\n%1 = select %0, %0, %0", "map { }"), ["K04"]);
    assert_eq!(rules("%0 = const i32 1.0", "map { b1[i0] = %0 }"), ["K05"]);
    assert_eq!(rules("%0 = load b0[i0]", "t0 = any bool over of %0"), ["K05", "K05"]);
    assert_eq!(rules("%0 = load b0[(i0 / -2)]", "map { }"), ["K06"]);
    assert_eq!(rules("%0 = load b0[i0 + (n0 + 1)]", "map { }"), ["K06"]);
    assert_eq!(rules("%0 = load b0[i0]\n%1 = load b0[value(%0, 3)]", "map { }"), ["K07"]);
    assert_eq!(rules("", "map i1 \"k\" in -1 { }"), ["K07"]);
}

#[test]
fn segments_keep_their_roles() {
    let rules = |fold: &str, order: &str| -> Vec<&'static str> {
        let text = format!(
            "kernel \"k\" dims 0 vars 3 {{ b0 = read f32 \"x\" b1 = read i32 \"order\" %0 = load b0[i1]\n nest i0 \"n\" in 2 {{ \
             t0 = {fold} f32 over i1 \"e\" in 5 segment {order} offsets b1 of %0 }} }}"
        );
        let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
        verify(&kernel).err().unwrap_or_default().iter().map(|f| f.rule).collect()
    };
    assert_eq!(rules("sum", "i0 order b1"), Vec::<&str>::new());
    assert_eq!(rules("sum", "i1 order b1"), ["K02"]);
    assert_eq!(rules("sum", "i0 order b0"), ["K05"]);
    assert_eq!(rules("sum", "i0 order b7"), ["K01"]);
    assert_eq!(rules("arg_max", "i0 order b1"), ["K10"]);
}

#[test]
fn attention_keeps_its_roles() {
    let rules = |x: &str, block: u32, score: u32, stored: u32| -> Vec<&'static str> {
        let text = format!(
            "kernel \"k\" dims 0 vars 5 {{\n b0 = read f32 \"x\"\n b1 = read packed f32 \"k\"\n b2 = read packed f32 \"v\"\n\
             b3 = write f32 \"y\"\n %0 = {x}\n %1 = acc {score}\n %2 = acc {stored}\n attend batch i0 \"\" in 1 \
             rows i1 \"t\" in 2 over i2 \"s\" in 7 by {block} cols i3 \"v\" in 3 sums i4 \"k\" in 4 x %0 keys b1 \
             score %1 values b2 {{ b3[3*i1 + i3] = %2 }}\n}}"
        );
        let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
        verify(&kernel).err().unwrap_or_default().iter().map(|f| f.rule).collect()
    };
    assert_eq!(rules("load b0[4*i1 + i4]", 64, 0, 1), Vec::<&str>::new());
    assert_eq!(rules("load b0[4*i1 + i4]", 64, 0, 2), Vec::<&str>::new());
    assert_eq!(rules("load b0[4*i1 + i4 + i2]", 64, 0, 1), ["K08"]);
    assert_eq!(rules("load b0[4*i1 + i4] if i4 < 3 else 0.0", 64, 0, 1), ["K09"]);
    assert_eq!(rules("load b0[4*i1 + i4]", 40, 0, 1), ["K09"]);
    assert_eq!(rules("load b0[4*i1 + i4]", 0, 0, 1), ["K09"]);
    assert_eq!(rules("load b0[4*i1 + i4]", 64, 1, 1), ["K02"]);
    assert_eq!(rules("load b0[4*i1 + i4]", 64, 0, 0), ["K02"]);
}

#[test]
fn contractions_keep_their_roles() {
    let text = |x: &str, acc: u32| {
        format!(
            "kernel \"k\" dims 0 vars 4 {{\n b0 = read f32 \"x\"\n b1 = read packed f32 \"w\"\n b2 = write f32 \"y\"\n\
             %0 = load b0[{x}]\n %1 = acc {acc}\n contract batch i0 \"\" in 1 rows i1 \"t\" in 2 cols i2 \"h\" in 3 \
             sums i3 \"d\" in 4 groups 1 x %0 w b1 {{ b2[3*i1 + i2] = %1 }}\n}}"
        )
    };
    let rules = |text: String| -> Vec<&'static str> {
        let kernel = parse(&text).unwrap_or_else(|e| panic!("{e} in {text}"));
        verify(&kernel).err().unwrap_or_default().iter().map(|f| f.rule).collect()
    };
    assert_eq!(rules(text("4*i1 + i3", 0)), Vec::<&str>::new());
    assert_eq!(rules(text("4*i1 + i3 + i2", 0)), ["K08"]);
    assert_eq!(rules(text("4*i1 + i3", 1)), ["K02"]);
    let quantised = |elem: &str, bits: u32, size: u32, scale: &str| {
        let blocks = format!("w b1 bits {bits} by {size} scales b3");
        let text = text("4*i1 + i3", 0).replace("w b1", &blocks).replace("packed f32", &format!("packed {elem}"));
        rules(text.replace("%0 =", &format!("b3 = read packed {scale} \"s\"\n %0 =")))
    };
    assert_eq!(quantised("i8", 8, 3, "f16"), Vec::<&str>::new());
    assert_eq!(quantised("u8", 4, 2, "f32"), Vec::<&str>::new());
    assert_eq!(quantised("u8", 8, 2, "f16"), ["K04"]);
    assert_eq!(quantised("i8", 8, 2, "i8"), ["K04"]);
    assert_eq!(quantised("u8", 4, 3, "f16"), ["K08"]);
    assert_eq!(quantised("i8", 8, 0, "f16"), ["K08"]);
}
