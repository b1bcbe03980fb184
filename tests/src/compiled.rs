//! Compiled code against the interpreter, on random programs: every CPU variant of this machine, 1, 2 and 7 threads, which must
//! agree with each other to the bit.
#![allow(clippy::print_stdout, reason = "says which variants this machine lacks")]

use std::sync::Arc;

use gatec::graph::Elem;
use gatec::graph::random::{self, Options, Rng};
use gatec::graph::{Module, text};
use gatec::kernel::{Body, Kernel};
use gatec::pipeline::{OptimizeOptions, optimize};
use gatec::plan;
use gatec::schedule::{self, Along, Choices, Tuning};
use gatec_runtime::cpu;
use gatec_runtime::format::Isa;
use gatec_runtime::{Artifact, LoadOptions, Model, View, WeightSource};
use gatec_tests::{Built, ISAS, bytes, difference, elements, interpret, numbers};

/// On programs whose magnitudes stay near 1; the largest seen is 4e-6.
const TOLERANCE: f64 = 1e-4;

fn check(seed: u64, options: &Options, passes: bool) -> Result<(), String> {
    let module = random::module(seed, options);
    check_module(&module, passes, &[1, 0, 7], seed).map_err(|e| format!("seed {seed}: {e}"))?;
    Ok(())
}

/// The first entry of a module, for each of these sizes `t`; for how many of them it has a meaning.
fn check_module(module: &Module, passes: bool, sizes: &[i64], seed: u64) -> Result<usize, String> {
    let compiled = match passes {
        true => optimize(module.clone(), &OptimizeOptions::default()).map_err(|e| e.to_string())?.module,
        false => module.clone(),
    };
    check_optimized(module, &compiled, sizes, seed)
}

/// The first entry of what was made of a module, for each of these sizes `t`, against the module as it was written.
fn check_optimized(module: &Module, compiled: &Module, sizes: &[i64], seed: u64) -> Result<usize, String> {
    let built = Built::new(compiled).map_err(|e| e.to_string())?;
    let mut compared = 0;
    for &t in sizes {
        let values = random::values(module, 0, &[("t", t)], seed + 1);
        let Ok(expected) = interpret(module, 0, &values) else { continue };
        compared += 1;
        for &isa in &built.isas {
            let mut first = None;
            for threads in [1, 2, 7] {
                let at = format!("t = {t}, {isa:?}, {threads} threads");
                let found = built.run(0, &values, isa, threads).map_err(|e| format!("{at}: {e}"))?;
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let error = difference(found, expected);
                    if error > TOLERANCE {
                        return Err(format!("{at}: output {i} is off by {error:e}"));
                    }
                }
                let bits: Vec<Vec<u64>> = found.iter().map(|o| o.iter().map(|x| x.to_bits()).collect()).collect();
                match &first {
                    None => first = Some(bits),
                    Some(first) if *first != bits => return Err(format!("{at}: other bits than with 1 thread")),
                    Some(_) => {}
                }
            }
        }
    }
    Ok(compared)
}

fn check_all(passes: bool) {
    for isa in ISAS.into_iter().filter(|isa| !cpu::supports(*isa)) {
        println!(
            "this machine lacks {isa:?}: {}",
            if isa == Isa::X86V4Amx { "its tiles stand in memory" } else { "not run" }
        );
    }
    let count: u64 = std::env::var("GATEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let first: u64 = std::env::var("GATEC_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let failures: Vec<String> =
        (first..first + count).filter_map(|seed| check(seed, &Options::default(), passes).err()).collect();
    assert!(failures.is_empty(), "{} of {count} programs:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn random_programs_agree_with_the_interpreter() {
    check_all(false);
}

#[test]
fn optimised_random_programs_agree_with_the_interpreter_on_what_was_written() {
    check_all(true);
}

#[test]
fn contractions_of_every_element_type_agree_with_the_interpreter() {
    let mut failures = Vec::new();
    for case in elements::all() {
        let built = Built::new(&case.optimized()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for (t, isa) in [0, 1, 2, 17].into_iter().flat_map(|t| built.isas.iter().map(move |&isa| (t, isa))) {
            let values = case.values(t);
            let results = [1, 2, 7].map(|threads| built.run(0, &values, isa, threads));
            let [one, two, seven] = results.map(|r| r.unwrap_or_else(|e| panic!("{}: {e}", case.name)));
            let at = format!("{}, {isa:?}, t = {t}", case.name);
            if one != two || one != seven {
                failures.push(format!("{at}: other bits with other numbers of threads"));
            }
            failures.extend(case.wrong(&one, &values).map(|e| format!("{at}: {e}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Rows beyond a block, tiles of every height, sums in several pieces, one to four groups of accumulators.
#[test]
fn contractions_beyond_every_tile_agree_with_the_interpreter() {
    let products: Vec<String> = (1..=4)
        .map(|gates| {
            let picks: String = (0..gates).map(|g| format!("  %p{gates}{g} = pick[g{gates}, {g}] %c{gates} : f32[h, t]\n")).collect();
            let all: Vec<String> = (0..gates).map(|g| format!("%p{gates}{g}")).collect();
            let joined = if gates == 1 { "unary[tanh]" } else { "mul" };
            format!(
                "  %c{gates} = contract[d] %x, @w{gates} : f32[g{gates}, h, t]\n{picks}  %y{gates} = {joined} {} : f32[h, t]\n",
                all.join(", ")
            )
        })
        .collect();
    let params: String = (1..=4).map(|g| format!("param @w{g}: f32[d, g{g}, h]\n")).collect();
    let axes: String = (1..=4).map(|g| format!("axis g{g} = {g}\n")).collect();
    let text = format!(
        "module m\nsymbol t\naxis d = 450\n{axes}axis h = 37\naxis t = t\n{params}graph @f(%x: f32[t, d]) -> (f32[t, h], f32[t, h], f32[t, h], f32[t, h]) {{\n{}  return %y1, %y2, %y3, %y4\n}}\n",
        products.concat()
    );
    let module = text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(check_module(&module, false, &[1, 3, 9, 13, 31, 150], 1), Ok(6));
}

/// Weights in fewer bytes are rounded once and stand narrow in panels, those of loops too; other parameters stay as they are.
#[test]
fn narrow_weights_are_rounded_and_nothing_else_is() {
    let model = "axis d = 33
        axis h = 40
        model deep(x: f32[t, d]) -> f32[t, d] {
            param first: f32[d, d']
            let x = (x @ first)[d' -> d]
            repeat layer in 3 carry x {
                param s: f32[d]
                param up: f32[d, h]
                param down: f32[h, d]
                next x * s + 0.1 * tanh(x @ up) @ down
            }
        }";
    let program = gatec_lang::load_text("model.gate", model, &[]).unwrap_or_else(|d| panic!("{}", d.render(false)));
    let module = gatec::lower::lower(&program).expect("it lowers");
    for to in [Elem::Bf16, Elem::F16] {
        let options = OptimizeOptions { weights: Some(to), verify: true, ..Default::default() };
        let built = Built::new(&optimize(module.clone(), &options).expect("it optimises").module).expect("it compiles");
        for (t, isa) in [1, 3, 40].into_iter().flat_map(|t| built.isas.iter().map(move |isa| (t, *isa))) {
            let mut values = random::values(&module, 0, &[("t", t)], 3);
            // Not what a narrow type holds.
            for param in &mut values.params {
                param.data = Arc::new(param.data.iter().map(|x| f64::from((x * 1.0123) as f32)).collect());
            }
            let found = built.run(0, &values, isa, 2).expect("it runs");
            let exact = interpret(&module, 0, &values).expect("it runs");
            for (param, _) in values.params.iter_mut().zip(&module.params).filter(|(_, p)| p.tensor.name != "s") {
                param.data = Arc::new(numbers(to, &bytes(to, &param.data)));
            }
            let expected = interpret(&module, 0, &values).expect("it runs");
            let (far, near) = (difference(&exact[0], &expected[0]), difference(&found[0], &expected[0]));
            assert!(near < TOLERANCE && far > 5.0 * near, "{to}, {isa:?}, t = {t}: off by {near:e}, exact by {far:e}");
        }
        let planned = gatec::plan::plan(
            &optimize(module.clone(), &options).expect("it optimises").module,
            Isa::X86V3,
            &[],
            &Default::default(),
        );
        let kernels = planned.expect("it plans").kernels;
        let packed = kernels.iter().flat_map(|(_, k, _)| &k.buffers).filter(|b| b.packed);
        assert!(packed.clone().count() > 0 && packed.clone().all(|b| b.elem == to));
    }
}

/// A recurrence whose weights are more than the nearest cache holds goes through them back and forth. (Scaled, so that it is no
/// chaos which makes rounding errors grow.)
#[test]
fn recurrences_with_many_weights_agree_with_the_interpreter() {
    let text = "module m
symbol t
axis b = 3
axis h = 300
axis h' = 300
axis t = t
param @w: f32[h', h]
graph @f(%x: f32[t, b, h]) -> (f32[t, b, h]) {
  %0 = const[0.0] : f32[]
  %1 = broadcast[{b, h}] %0 : f32[b, h]
  %2:2 = scan[t, forward, 1, 1] %1, %x, @w : f32[b, h], f32[b, h, t] {
    %0 = carry[0] : f32[b, h]
    %1 = item[0] : f32[b, h]
    %2 = capture[0] : f32[h, h']
    %3 = rename[h, h'] %0 : f32[b, h']
    %4 = contract[h'] %3, %2 : f32[b, h]
    %5 = const[0.02] : f32[]
    %6 = mul %4, %5 : f32[b, h]
    %7 = add %1, %6 : f32[b, h]
    %8 = unary[tanh] %7 : f32[b, h]
    return %8, %8
  }
  return %2#1
}
";
    let module = text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(check_module(&module, false, &[1, 4, 7], 2), Ok(3));
}

/// A linear recurrence with a matrix as its state: which parts it has and along which axes they vary is drawn.
fn linear_recurrence(rng: &mut Rng) -> String {
    let heads = if rng.chance(60) { "h, " } else { "" };
    let gate = match rng.below(5) {
        0 => None,
        1 => Some(format!("t, {heads}k")),
        2 => Some(format!("t, {}", heads.trim_end_matches(", "))),
        3 => Some(format!("{heads}k")),
        _ => Some("k, t".to_string()),
    };
    let gate = gate.map(|axes| axes.trim_end_matches(", ").to_string());
    let [k, v] = [33 + rng.below(30), 48 + rng.below(40)];
    let item = |axes: &str| axes.split(", ").filter(|a| *a != "t").collect::<Vec<_>>().join(", ");
    let twice = rng.chance(40);
    let (gate_input, gate_operand) = match &gate {
        Some(axes) => (format!(", %a: f32[{axes}]"), ", %a"),
        None => (String::new(), ""),
    };
    // Items stand before captures.
    let (items, list, gate_leaf) = match &gate {
        Some(axes) if axes.contains('t') => {
            (4, format!("%k, %v, %q{gate_operand}"), format!("%a = item[3] : f32[{}]", item(axes)))
        }
        Some(axes) => (3, format!("%k, %v, %q{gate_operand}"), format!("%a = capture[0] : f32[{axes}]")),
        None => (3, "%k, %v, %q".to_string(), String::new()),
    };
    let state = format!("f32[{heads}k, v]");
    let fade = match &gate {
        Some(axes) => format!("%g = unary[sigmoid] %a : f32[{}]\n    %f = mul %g, %s : {state}", item(axes)),
        None => String::new(),
    };
    let faded = if gate.is_some() { "%f" } else { "%s" };
    let y = format!("f32[{heads}v]");
    let (more, result, results) = match twice {
        true => (
            format!("%p = unary[tanh] %q : f32[{heads}k]\n    %z = contract[k] %next, %p : {y}"),
            ", %z",
            format!(", f32[t, {heads}v]"),
        ),
        false => (String::new(), "", String::new()),
    };
    let outputs = if twice { "%0#0, %0#1, %0#2" } else { "%0#0, %0#1" };
    format!(
        "module m
symbol t
axis t = t
axis h = 3
axis k = {k}
axis v = {v}
graph @f(%s: {state}, %k: f32[t, {heads}k], %v: f32[t, {heads}v], %q: f32[t, {heads}k]{gate_input}) -> ({state}, f32[t, {heads}v]{results}) {{
  %0:{count} = scan[t, forward, 1, {items}] %s, {list} : {state}, f32[t, {heads}v]{results} {{
    %s = carry[0] : {state}
    %k = item[0] : f32[{heads}k]
    %v = item[1] : f32[{heads}v]
    %q = item[2] : f32[{heads}k]
    {gate_leaf}
    {fade}
    %w = mul %k, %v : {state}
    %next = add {faded}, %w : {state}
    %y = contract[k] %q, %next : {y}
    {more}
    return %next, %y{result}
  }}
  return {outputs}
}}
",
        count = 2 + u32::from(twice),
    )
}

#[test]
fn random_linear_recurrences_in_chunks_agree_with_the_interpreter_on_what_was_written() {
    for seed in 0..12 {
        let text = linear_recurrence(&mut Rng::new(seed));
        let module = text::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        let options = OptimizeOptions { assume: vec![("t".into(), 4096)], ..Default::default() };
        let optimized = optimize(module.clone(), &options).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert!(optimized.report.fired.iter().any(|f| f.rule == "steps-in-chunks"), "seed {seed}:\n{text}");
        let compared = check_optimized(&module, &optimized.module, &[0, 1, 3, 4, 7, 13], seed);
        assert_eq!(compared.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}")), 6);
    }
}

/// One step of a recurrence is computed from where its carries come to where they go, several in a buffer of their own: also of carries
/// that change places.
#[test]
fn a_recurrence_is_right_for_one_step_and_for_several() {
    let text = "module m
symbol t
axis t = t
axis k = 96
axis v = 100
graph @f(%s: f32[k, v], %z: f32[k, v], %k: f32[t, k], %v: f32[t, v]) -> (f32[k, v], f32[k, v], f32[t, v]) {
  %0:3 = scan[t, forward, 2, 2] %s, %z, %k, %v : f32[k, v], f32[k, v], f32[t, v] {
    %s = carry[0] : f32[k, v]
    %z = carry[1] : f32[k, v]
    %k = item[0] : f32[k]
    %v = item[1] : f32[v]
    %w = mul %k, %v : f32[k, v]
    %half = const[0.5] : f32[]
    %faded = mul %half, %s : f32[k, v]
    %next = add %faded, %w : f32[k, v]
    %y = contract[k] %k, %z : f32[v]
    return %z, %next, %y
  }
  return %0#0, %0#1, %0#2
}
";
    let module = text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(check_module(&module, false, &[0, 1, 2, 5], 4), Ok(4));
    let one_carry = text.replace("return %z, %next, %y", "return %next, %z, %y");
    let module = text::parse(&one_carry).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(check_module(&module, true, &[0, 1, 2, 5], 4), Ok(4));
}

/// Short folds of many points, whose lanes are folded across one another: of parts that are joined end to end, with a last block that is
/// not full, and lengths that are and are not whole vectors.
#[test]
fn folds_across_points_agree_with_the_interpreter() {
    let text = |elem: &str, d: i64| {
        format!(
            "module m
symbol t
axis d = {d}
axis heads = 3
axis r = 5
axis t = t
axis src = t + 5
axis src.2 = t
axis src.3 = 5
graph @f(%q: {elem}[heads, d], %keys: {elem}[heads, t, d], %fresh: {elem}[heads, r, d], %bias: {elem}[heads, src]) -> ({elem}[heads, src], {elem}[heads, src]) {{
  %0 = rename[t, src.2] %keys : {elem}[d, heads, src.2]
  %1 = rename[r, src.3] %fresh : {elem}[d, heads, src.3]
  %2 = concat[src, (src.2, src.3)] %0, %1 : {elem}[d, heads, src]
  %3 = mul %q, %2 : {elem}[d, heads, src]
  %4 = reduce[sum, d] %3 : {elem}[heads, src]
  %5 = unary[exp] %bias : {elem}[heads, src]
  %6 = add %4, %5 : {elem}[heads, src]
  %7 = unary[abs] %2 : {elem}[d, heads, src]
  %8 = reduce[max, d] %7 : {elem}[heads, src]
  return %6, %8
}}
"
        )
    };
    for (elem, d) in [("f32", 40), ("f32", 45), ("f32", 160), ("f32", 601), ("f64", 45), ("i32", 72)] {
        let text = text(elem, d);
        let text = if elem == "i32" { text.replace("unary[exp]", "unary[neg]") } else { text };
        let module = text::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        let planned = plan::plan(&module, Isa::X86V3, &[], &Tuning::default()).unwrap_or_else(|e| panic!("{e}"));
        let is_across = |(_, kernel, _): &(_, Kernel, _)| match &kernel.body {
            Body::Nest(nest) => schedule::along(kernel, nest, 8, &Choices::default()) == Along::Across(8),
            _ => false,
        };
        assert!(planned.kernels.iter().all(is_across), "{elem}, {d}");
        assert_eq!(check_module(&module, false, &[1, 11, 64], 7), Ok(3), "{elem}, {d}");
    }
}

/// Points that share what they read walk a part of the iterations together: with threads that share the points of a batch, and a last
/// part that is short.
#[test]
fn points_that_walk_in_parts_agree_with_the_interpreter() {
    let text = "module m
symbol t
axis t = t
axis b = 3
axis k = 64
axis v = 40
graph @f(%s: f32[b, k, v], %k: f32[t, b, k], %v: f32[t, b, v]) -> (f32[b, k, v], f32[t, b, v]) {
  %0:2 = scan[t, forward, 1, 2] %s, %k, %v : f32[b, k, v], f32[b, t, v] {
    %s = carry[0] : f32[b, k, v]
    %k = item[0] : f32[b, k]
    %v = item[1] : f32[b, v]
    %w = mul %k, %v : f32[b, k, v]
    %half = const[0.5] : f32[]
    %faded = mul %half, %s : f32[b, k, v]
    %next = add %faded, %w : f32[b, k, v]
    %y = contract[k] %k, %next : f32[b, v]
    return %next, %y
  }
  return %0#0, %0#1
}
";
    let module = text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let walks = |kernel: &Kernel| match &kernel.body {
        Body::Nest(nest) => schedule::walked_at_once(kernel, nest),
        _ => None,
    };
    let planned = plan::plan(&module, Isa::X86V3, &[], &Tuning::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(planned.kernels.iter().filter_map(|(_, kernel, _)| walks(kernel)).collect::<Vec<_>>(), [256]);
    assert_eq!(check_module(&module, false, &[1, 256, 600], 4), Ok(3));
}

/// As long as sequences get: gates that would fade to nothing thousands of times over neither overflow nor leave a trace.
#[test]
fn a_linear_recurrence_of_65536_steps_is_right_to_its_end() {
    let text = "module m
symbol t
axis t = t
axis k = 16
axis v = 32
graph @f(%s: f32[k, v], %a: f32[t, k], %k: f32[t, k], %v: f32[t, v], %q: f32[t, k]) -> (f32[k, v], f32[t, v]) {
  %0:2 = scan[t, forward, 1, 4] %s, %k, %v, %q, %a : f32[k, v], f32[t, v] {
    %s = carry[0] : f32[k, v]
    %k = item[0] : f32[k]
    %v = item[1] : f32[v]
    %q = item[2] : f32[k]
    %a = item[3] : f32[k]
    %square = mul %a, %a : f32[k]
    %eight = const[-8.0] : f32[]
    %x = mul %eight, %square, %square : f32[k]
    %gate = unary[exp] %x : f32[k]
    %f = mul %gate, %s : f32[k, v]
    %w = mul %k, %v : f32[k, v]
    %next = add %f, %w : f32[k, v]
    %y = contract[k] %q, %next : f32[v]
    return %next, %y
  }
  return %0#0, %0#1
}
";
    let module = text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let options = OptimizeOptions { assume: vec![("t".into(), 65_536)], ..Default::default() };
    let optimized = optimize(module.clone(), &options).unwrap_or_else(|e| panic!("{e}"));
    assert!(optimized.report.fired.iter().any(|f| f.rule == "steps-in-chunks"));
    assert_eq!(check_optimized(&module, &optimized.module, &[65_535, 65_536], 3), Ok(2));
}

/// Each layer of a `repeat` has a state of its own, and so has each instance of a block; calls go on from one another.
#[test]
fn states_of_layers_and_instances_are_their_own() {
    let text = "axis d = 3
        block sum(x: f32[.., d]) -> f32[.., d] {
            state seen: f32[d] = 0.5
            let y = x[t = 0] + seen
            next seen = y
            x + y
        }
        model m(x: f32[t, d]) -> f32[t, d] {
            let x = before: sum(x)
            repeat outer in 2 carry x {
                let x = repeat inner in 3 carry x { next deep: sum(x) }
                next 0.5 * sum(x)
            }
        }";
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("m.gate"), dir.path().join("m.so"));
    std::fs::write(&source, text).unwrap();
    gatec::build(&source, &gatec::BuildOptions::default(), &out).unwrap_or_else(|e| panic!("{e}"));
    let bytes = std::fs::read(&out).unwrap();
    // Of one row and one column, which are all alike.
    let mut states = [0.5f32; 9];
    let mut call = |x: f32| {
        let mut add = |x: f32, state: usize| {
            states[state] += x;
            x + states[state]
        };
        let mut x = add(x, 0);
        for outer in 0..2 {
            x = (0..3).fold(x, |x, inner| add(x, 1 + 3 * outer + inner));
            x = 0.5 * add(x, 7 + outer);
        }
        x
    };
    let expected = [call(1.0), call(-0.5), call(0.25)];
    for isa in gatec_tests::runnable(&Artifact::from_bytes(bytes.as_slice()).unwrap()) {
        let options = LoadOptions::default().isa(isa).threads(1);
        let model = Model::from_bytes(bytes.as_slice(), WeightSource::Random(1), &options).unwrap();
        let mut session = model.session("m").unwrap();
        for (x, expected) in [1.0f32, -0.5, 0.25].into_iter().zip(expected) {
            let outputs = session.run(&[("x", View::shaped(&[x; 6], &[2, 3]).unwrap())]).unwrap();
            assert_eq!(outputs.slice::<f32>("y").unwrap(), [expected; 6], "{isa}");
        }
        let names = ["before.seen", "deep.seen", "sum.seen"].map(|name| session.state::<f32>(name).unwrap());
        let sizes = names.map(|state| state.len());
        assert_eq!(sizes, [3, 18, 6], "{isa}");
    }
}
