//! Products of tiles of bf16 and of bytes (AMX). On processors without them `Built` has variants whose tiles stand in memory: the same packing, the same addresses,
//! borders and epilogues, by other instructions. The real instructions are looked at as text.
#![allow(clippy::print_stdout, reason = "says what this machine lacks")]

use gatec::codegen::{self, Text};
use gatec::graph::random::{self, Rng};
use gatec::{BuildOptions, graph::Module, lower, pipeline, plan};
use gatec_runtime::format::Isa;
use gatec_runtime::{LoadOptions, Model, Weights, cpu};
use gatec_tests::{Built, difference, interpret, weights};

/// The largest seen is 2e-7.
const TOLERANCE: f64 = 2e-6;

/// Contractions of bytes likewise: their sums are exact.
fn of_bytes(rng: &mut Rng) -> String {
    let (d, h, gates) = (1 + rng.below(900), 1 + rng.below(90), 1 + rng.below(4));
    let (index, axes, pick) = if rng.chance(40) { (", i: i32[t]", "e, h, d", "[e = i]") } else { ("", "h, d", "") };
    let params: String = (0..gates).map(|g| format!("    param w{g}: i8[{axes}]\n")).collect();
    let products: Vec<String> = (0..gates).map(|g| format!("(i32(x) @[d] i32(w{g}){pick})")).collect();
    format!(
        "axis d = {d}\naxis e = 3\naxis h = {h}\nmodel m(x: i8[t, d]{index}) -> i32[t, h] {{\n{params}    {}\n}}\n",
        products.join(" + ")
    )
}

/// Contractions of bf16 with drawn sizes and form: one to four gates, rows that choose their matrix, rows that are evaluated first.
fn program(rng: &mut Rng) -> String {
    let d = 1 + if rng.chance(25) { 380 + rng.below(600) } else { rng.below(140) };
    let (h, gates, is_grouped) = (1 + rng.below(90), 1 + rng.below(4), rng.chance(40));
    let (index, axes, pick) = if is_grouped { (", i: i32[t]", "e, h, d", "[e = i]") } else { ("", "h, d", "") };
    let params: String = (0..gates).map(|g| format!("    param w{g}: bf16[{axes}]\n")).collect();
    let products: Vec<String> =
        (0..gates).map(|g| format!("tanh((x @[d] f32(w{g}){pick}) * {:.3})", (3.0 / d as f64).sqrt())).collect();
    let x = if rng.chance(40) { "f32(bf16(f32(x) * 0.5))" } else { "f32(x)" };
    format!(
        "axis d = {d}\naxis e = 3\naxis h = {h}\nmodel m(x: bf16[t, d]{index}) -> f32[t, h] {{\n{params}    let x = {x}\n    {}\n}}\n",
        products.join(" * ")
    )
}

fn module(program: &str) -> Module {
    let typed = gatec_lang::load_text("m.gate", program, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
    let module = lower::lower(&typed).unwrap_or_else(|e| panic!("{e} in\n{program}"));
    pipeline::optimize(module, &Default::default()).unwrap_or_else(|e| panic!("{e} in\n{program}")).module
}

#[test]
fn tiles_of_any_sizes_agree_with_the_interpreter_and_with_themselves() {
    if !cpu::supports(Isa::X86V4Amx) {
        println!("this machine lacks {}: its tiles stand in memory", Isa::X86V4Amx);
    }
    let count: u64 = std::env::var("GATEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let (mut checked, mut largest) = (0, 0.0f64);
    for seed in 0..count {
        let mut rng = Rng::new(seed);
        let (program, tolerance) =
            if seed % 3 == 2 { (of_bytes(&mut rng), 0.0) } else { (program(&mut rng), TOLERANCE) };
        let module = module(&program);
        let built = Built::new(&module).unwrap_or_else(|e| panic!("{e} in\n{program}"));
        // Products that the passes keep in another form have no tiles.
        if !built.isas.contains(&Isa::X86V4Amx) {
            continue;
        }
        checked += 1;
        for t in [0, 1, 2, 15, 16, 17, 33, 150] {
            let values = random::values(&module, 0, &[("t", t)], seed);
            let expected = interpret(&module, 0, &values).unwrap_or_else(|e| panic!("{e}"));
            let run = |threads| built.run(0, &values, Isa::X86V4Amx, threads).unwrap_or_else(|e| panic!("{e}"));
            let found = run(1);
            let error = difference(&found[0], &expected[0]);
            largest = largest.max(error);
            assert!(error <= tolerance, "seed {seed}, t = {t}: off by {error:e} in\n{program}");
            assert!([2, 7].map(run).iter().all(|other| *other == found), "seed {seed}, t = {t}: other bits");
        }
    }
    println!("{checked} of {count} programs have tiles; the largest error is {largest:e}");
    assert!(2 * checked > count, "{checked} of {count}");
}

/// Names in the code of a small gated product.
fn assembly(isa: Isa) -> String {
    let module = module(
        "axis d = 96\naxis h = 64\nmodel m(x: bf16[t, d]) -> f32[t, h] {\n    param w: bf16[d, h]\n    f32(x) @ f32(w)\n}\n",
    );
    let planned = plan::plan(&module, isa, &[], &Default::default()).unwrap_or_else(|e| panic!("{e}"));
    codegen::text(&planned.kernels, Text::Assembly).unwrap_or_else(|e| panic!("{e}"))
}

/// Two tiles of rows by two vectors in the innermost loop: what it loads and multiplies, and no more.
#[test]
fn the_instructions_are_there_and_no_tile_is_moved() {
    let text = assembly(Isa::X86V4Amx);
    let function = text.split("\ntiles_3x1x2:").nth(1).and_then(|rest| rest.split(".Lfunc_end").next());
    let function = function.unwrap_or_else(|| panic!("no microkernel in\n{text}"));
    let counts = ["tdpbf16ps", "tilezero", "tileloadd", "tilestored"].map(|name| function.matches(name).count());
    // Back and forth: of three left operands one serves both right ones.
    assert_eq!(counts, [6, 6, 7, 6], "{function}");
    assert!(["ldtilecfg", "tilerelease"].iter().all(|name| text.contains(name) && !function.contains(name)));
    assert!(!assembly(Isa::X86V4Bf16).contains("tile"));
}

/// The best variant of an artifact may be one that the machine cannot run, whether for its processor or for its system.
#[test]
fn an_artifact_with_tiles_opens_on_machines_without() {
    let module = module(&program(&mut Rng::new(0)));
    let options = BuildOptions { ptx: false, ..Default::default() };
    let planned = gatec::plan_all(&module, &options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(planned.first().map(|p| p.variant.isa), Some(Isa::X86V4Amx), "it has products of bf16");
    let bytes = gatec::generate(&module, "", planned).unwrap_or_else(|e| panic!("{e}"));
    let values = random::values(&module, 0, &[("t", 3)], 1);
    let model = |options: &LoadOptions| {
        let weights = Weights::from_bytes(weights(&module, &values).unwrap_or_else(|e| panic!("{e}")));
        Model::from_bytes(bytes.as_slice(), weights.unwrap_or_else(|e| panic!("{e}")), options)
    };
    let opened = model(&LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    assert!(cpu::supports(opened.isa()), "{}", opened.isa());
    if !cpu::supports(Isa::X86V4Amx) {
        let refused = model(&LoadOptions::default().isa(Isa::X86V4Amx)).err().map(|e| e.to_string());
        assert!(refused.as_ref().is_some_and(|e| e.contains("x86-64-v4-amx")), "{refused:?}");
    }
}
