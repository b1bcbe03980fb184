//! Files that are not what they should be: an error that says so, never a panic, a hang or a crash, and none of their code
//! runs.

mod fixture;

use fixture::{arg, artifact, artifact_from, bytes, known, link, manifest, weights};
use gatec_runtime::format::*;
use gatec_runtime::open::{MAX_EXPR_DEPTH, MAX_LOOP_DEPTH, manifest_bytes, seal};
use gatec_runtime::{Artifact, LoadOptions, Model, OpenError, WeightSource};
use proptest::prelude::*;

const NOTHING: &str = "";

fn told(bytes: &[u8]) -> String {
    Artifact::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = bytes();
    let lengths = (0..256).chain((256..whole.len()).step_by(41)).chain([whole.len() - 1]);
    for length in lengths {
        assert!(Artifact::from_bytes(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    assert_eq!(told(&[]), "not an artifact: the file is empty [R0101]");
    assert!(told(&whole[..whole.len() / 2]).contains("damaged artifact"), "{}", told(&whole[..whole.len() / 2]));
}

#[test]
fn a_file_edited_anywhere_is_refused() {
    for at in (0..bytes().len()).step_by(37) {
        let mut edited = bytes().to_vec();
        edited[at] ^= 1;
        assert!(Artifact::from_bytes(edited).is_err(), "byte {at}");
    }
    let mut edited = bytes().to_vec();
    *edited.last_mut().unwrap() ^= 0x80;
    assert!(matches!(Artifact::from_bytes(edited), Err(OpenError::Hash { .. })));
    let mut longer = bytes().to_vec();
    longer.push(0);
    assert!(matches!(Artifact::from_bytes(longer), Err(OpenError::Hash { .. })));
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    assert_eq!(told(b"model vad { }"), "not an artifact: it is not an ELF file [R0101]");
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(told(&program).starts_with("not an artifact: it has no section .gate.manifest"));
    let mut object = bytes().to_vec();
    object[16] = 1;
    assert_eq!(told(&object), "not an artifact: it is not a shared object [R0101]");
    let mut narrow = bytes().to_vec();
    narrow[4] = 1;
    assert_eq!(told(&narrow), "not an artifact: it is not a 64-bit little-endian ELF file [R0101]");
    let endless = Artifact::open("/dev/zero").unwrap_err().to_string();
    assert_eq!(endless, "not an artifact: it is no regular file [R0101]");
    let error = Artifact::open("no/such/file.so").unwrap_err().to_string();
    assert!(error.starts_with("cannot read no/such/file.so: "), "{error}");
}

#[test]
fn another_version_is_refused_before_anything_else_is_looked_at() {
    let error = told(&link(NOTHING, br#"{"version":99,"future":[1,2]}"#, "-DNONE"));
    assert_eq!(
        error,
        "artifact of format version 99, this runtime reads version 7: build it again with a matching gatec [R0104]"
    );
}

#[test]
fn another_machine_is_refused() {
    let mut foreign = bytes().to_vec();
    // e_machine: RISC-V.
    foreign[18..20].copy_from_slice(&243u16.to_le_bytes());
    seal(&mut foreign).unwrap();
    assert!(told(&foreign).contains("in a file for machine number 243"), "{}", told(&foreign));
    if cfg!(target_arch = "x86_64") {
        let mut on_arm = manifest();
        on_arm.variants.truncate(1);
        on_arm.variants[0].isa = Isa::Aarch64;
        let mut file = link(include_str!("fixture/kernels.c"), &manifest_bytes(&on_arm).unwrap(), "-DNONE");
        file[18..20].copy_from_slice(&183u16.to_le_bytes());
        seal(&mut file).unwrap();
        let error = Model::from_bytes(file, WeightSource::Random(1), &LoadOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), "artifact for aarch64, this machine is x86_64 [R0105]");
    }
}

#[test]
fn code_that_wants_more_than_an_artifact_may_is_refused() {
    let json = manifest_bytes(&manifest()).unwrap();
    let with = |source: &str, flag: &str| {
        told(&artifact_from(&format!("{}\n{source}", include_str!("fixture/kernels.c")), &json, flag))
    };
    let outside = with("float expf(float); float out(float x) { return expf(x); }", "-DNONE");
    assert_eq!(outside, "artifact needs `expf` from outside, which an artifact never does [R0103]");
    let runs = with("int n; __attribute__((constructor)) void start(void) { n = 1; }", "-DNONE");
    assert!(runs.contains("a function that runs on loading"), "{runs}");
    let library = with("", "-Wl,--no-as-needed,-lc");
    assert!(library.contains("a library"), "{library}");
    let missing = told(&artifact_from(NOTHING, &json, "-DNONE"));
    assert!(missing.contains("kernel `pack` is not in the file"), "{missing}");
}

/// The message about the manifest after `edit`.
fn with(edit: impl FnOnce(&mut Manifest)) -> String {
    let mut edited = manifest();
    edited.variants.truncate(1);
    edit(&mut edited);
    told(&artifact(&edited))
}

fn call(plan: &mut Plan) -> &mut Call {
    match &mut plan.steps[0] {
        Step::Call(call) => call,
        Step::Loop { .. } | Step::When { .. } => unreachable!("the plans of the fixture start with a call"),
    }
}

fn nested(depth: usize) -> SizeExpr {
    (0..depth).fold(known(1), |size, _| SizeExpr::Add(vec![size]))
}

#[test]
fn a_manifest_that_points_outside_is_refused() {
    type Edit = Box<dyn FnOnce(&mut Manifest)>;
    let cases: Vec<(&str, Edit)> = vec![
        ("parameter 3 of 1", Box::new(|m| m.states[0].init = Init::Param(3))),
        ("begins with `w`, which is of another type", Box::new(|m| m.states[0].init = Init::Param(0))),
        ("kernel 99 of 7", Box::new(|m| call(&mut m.variants[0].entries[0]).kernel = 99)),
        ("buffer 99 of 5", Box::new(|m| call(&mut m.variants[0].entries[0]).args[0].buffer = 99)),
        (
            "takes 3 buffers and 1 sizes, a call gives 2 and 1",
            Box::new(|m| {
                call(&mut m.variants[0].entries[0]).args.pop();
            }),
        ),
        ("symbol 5 of 1", Box::new(|m| call(&mut m.variants[0].entries[0]).units = SizeExpr::Symbol(5))),
        ("symbol 0 of 0", Box::new(|m| call(&mut m.variants[0].load).units = SizeExpr::Symbol(0))),
        (
            "division by 0",
            Box::new(|m| {
                call(&mut m.variants[0].entries[0]).units = SizeExpr::Div(Box::new(known(1)), 0);
            }),
        ),
        ("input 1 of 1", Box::new(|m| m.variants[0].entries[0].buffers[0].place = Place::Input(1))),
        ("kept buffer 1 of 1", Box::new(|m| m.variants[0].entries[0].buffers[1].place = Place::Kept(1))),
        ("nothing writes output `y`", Box::new(|m| m.variants[0].entries[0].buffers[2].place = Place::Input(0))),
        ("nothing writes state 0", Box::new(|m| m.variants[0].entries[0].buffers[4].place = Place::Kept(0))),
        ("which loading has not", Box::new(|m| m.variants[0].load.buffers[1].place = Place::Output(0))),
        ("is larger than what it stands for", Box::new(|m| m.variants[0].load.buffers[1].bytes = known(1 << 20))),
        (
            "lives from step 2 to 1 of 3",
            Box::new(|m| {
                m.variants[0].entries[2].buffers[1].place = Place::Arena { from: 2, to: 1 };
            }),
        ),
        (
            "lives from step 0 to 3 of 3",
            Box::new(|m| {
                m.variants[0].entries[2].buffers[1].place = Place::Arena { from: 0, to: 3 };
            }),
        ),
        (
            "1 strides inside 0 loops",
            Box::new(|m| call(&mut m.variants[0].entries[0]).args[0].strides = vec![known(4)]),
        ),
        (
            "alternating buffers outside a loop",
            Box::new(|m| call(&mut m.variants[0].entries[0]).args[0].odd = known(4)),
        ),
        ("counted argument 3 of 3", Box::new(|m| call(&mut m.variants[0].entries[0]).routing = Some(routing(3, 1)))),
        ("loading has no router", Box::new(|m| call(&mut m.variants[0].load).routing = Some(routing(0, 1)))),
        (
            "3 plans for 4 entries",
            Box::new(|m| {
                m.variants[0].entries.pop();
            }),
        ),
        ("is made of 2 parts of [3]", Box::new(|m| m.params[0].part_shape = vec![3])),
        ("has no known size", Box::new(|m| m.params[0].tensor.axes[0].size = SizeExpr::Symbol(0))),
        ("its sizes are not all served by one entry", Box::new(|m| m.entries[0].name = "pick".into())),
        ("another of this name has other inputs", Box::new(|m| m.entries[0].name = "pick".into())),
        ("its sizes are not all served", Box::new(|m| m.entries[0].at_most = vec![AtMost { symbol: 0, size: 1 }])),
        ("symbol 9 of 1", Box::new(|m| m.entries[0].at_most = vec![AtMost { symbol: 9, size: 1 }])),
        ("two of entry", Box::new(|m| m.entries[0].name = m.entries[2].name.clone())),
        ("state 4 of 1", Box::new(|m| m.entries[0].sets = vec![4])),
        ("it has no variant", Box::new(|m| m.variants.clear())),
        ("it stands there twice", Box::new(|m| m.variants.push(m.variants[0].clone()))),
        ("kept buffer `packed` of 18446744073709551615 bytes", Box::new(|m| m.variants[0].kept[0].bytes = u64::MAX)),
        (
            "a size nests deeper than 16",
            Box::new(|m| {
                call(&mut m.variants[0].entries[0]).units = nested(MAX_EXPR_DEPTH);
            }),
        ),
        (
            "a size of more than 512 terms",
            Box::new(|m| {
                call(&mut m.variants[0].entries[0]).units = SizeExpr::Add(vec![known(1); 600]);
            }),
        ),
        (
            "loops nest deeper than 8",
            Box::new(|m| {
                let body = |steps| Step::Loop { count: known(1), reverse: false, body: steps, exits: None };
                m.variants[0].entries[0].steps = (0..=MAX_LOOP_DEPTH).fold(vec![], |steps, _| vec![body(steps)]);
            }),
        ),
        (
            "steps nest deeper than 32",
            Box::new(|m| {
                let when = |body| Step::When { flag: arg(0), is: true, body };
                m.variants[0].entries[0].steps = (0..=32).fold(vec![], |steps, _| vec![when(steps)]);
            }),
        ),
        (
            "buffer 99 of 5",
            Box::new(|m| m.variants[0].entries[0].steps.push(Step::When { flag: arg(99), is: true, body: vec![] })),
        ),
    ];
    for (want, edit) in cases {
        let error = with(edit);
        assert!(error.contains(want), "expected {want:?} in {error:?}");
    }
    let both = with(|m| {
        m.entries[0].sets = vec![4];
        call(&mut m.variants[0].entries[0]).kernel = 99;
    });
    assert!(both.contains("state 4 of 1") && both.contains("kernel 99 of 7"), "all faults are told: {both}");
}

fn routing(offsets: u32, experts: i64) -> Routing {
    Routing { expert: "e".into(), experts: known(experts), offsets, last_is_none: false }
}

#[test]
fn counts_that_would_not_stand_in_their_buffer_are_refused() {
    // `zero` of `scan` writes a buffer of 32 bytes in the arena, `scale` one of the caller.
    let run = |entry: usize, units: i64, routing: Routing| {
        let mut edited = manifest();
        for variant in &mut edited.variants {
            let call = call(&mut variant.entries[entry]);
            (call.units, call.routing) = (known(units), Some(routing.clone()));
        }
        let model = Model::from_bytes(artifact(&edited), weights(), &LoadOptions::default().threads(1)).unwrap();
        let mut session = model.session(&model.manifest().entries[entry].name).unwrap();
        session.set_counted(true);
        session.run(&[("x", (&[0.0f32; 8]).into())]).map_err(|e| e.to_string())?;
        Ok::<_, String>(session.routers())
    };
    let routers = run(2, 1, routing(0, 7)).unwrap();
    assert_eq!((routers[0].layers[0].calls, &routers[0].layers[0].rows[..]), (1, &[0; 7][..]));
    for (entry, units, routing) in [
        (2, 1, routing(0, 8)),
        (2, 1, routing(0, -1)),
        (2, 1, routing(0, i64::MAX)),
        (2, 4, routing(0, 7)),
        (0, 1, routing(2, 1)),
    ] {
        let error = run(entry, units, routing).unwrap_err();
        assert!(error.contains("what is counted"), "{error}");
    }
}

#[test]
fn steps_run_only_if_their_flag_says_so() {
    // `scan` ends with a copy of the carry to the output. The first byte of its input is 0.
    let run = |flag: Arg, is: bool| {
        let mut edited = manifest();
        for variant in &mut edited.variants {
            let last = variant.entries[2].steps.pop().into_iter().collect();
            variant.entries[2].steps.push(Step::When { flag: flag.clone(), is, body: last });
        }
        let model = Model::from_bytes(artifact(&edited), weights(), &LoadOptions::default().threads(1)).unwrap();
        let mut session = model.session("scan").unwrap();
        session.set_profiled(true);
        session.run(&[("x", (&[0.0f32; 8]).into())]).map_err(|e| e.to_string())?;
        Ok::<_, String>(session.profile().last().unwrap().calls)
    };
    assert_eq!((run(arg(0), true), run(arg(0), false)), (Ok(0), Ok(1)));
    for outside in [Arg { offset: known(32), ..arg(1) }, Arg { offset: known(-1), ..arg(1) }] {
        assert!(run(outside, true).unwrap_err().contains("a flag"));
    }
}

#[test]
fn flags_that_would_not_stand_in_their_buffer_are_refused() {
    // `scan` has a buffer of 32 bytes in the arena; one of its halves is the carry of the loop.
    let run = |rows: i64, left: Arg| {
        let mut edited = manifest();
        for variant in &mut edited.variants {
            let Step::Loop { exits, .. } = &mut variant.entries[2].steps[1] else { unreachable!("a loop") };
            let (axis, rows) = ("r".into(), known(rows));
            *exits = Some(Box::new(Exits { axis, rows, left: left.clone(), lines: vec![] }));
        }
        let bytes = artifact(&edited);
        let model =
            Model::from_bytes(bytes, weights(), &LoadOptions::default().threads(1)).map_err(|e| e.to_string())?;
        let mut session = model.session("scan").unwrap();
        session.set_counted(true);
        session.run(&[("x", (&[0.0f32; 8]).into())]).map_err(|e| e.to_string())?;
        Ok::<_, String>(session.exits())
    };
    let half = || Arg { offset: known(16), odd: known(-16), ..arg(1) };
    // Halves of zeros: nobody leaves in either of two iterations.
    let exits = run(16, half()).unwrap();
    assert_eq!((&exits[0].layers[..], exits[0].stayed), (&[0, 0][..], 16));
    let cases = [
        (17, half()),
        (-1, half()),
        (i64::MAX, half()),
        (1, Arg { offset: known(33), ..arg(1) }),
        (1, Arg { strides: vec![known(1)], ..arg(1) }),
        // The caller's memory.
        (1, arg(0)),
    ];
    for (rows, left) in cases {
        let error = run(rows, left).unwrap_err();
        assert!(error.contains("what is counted of a loop"), "{error}");
    }
    assert!(run(1, arg(9)).unwrap_err().contains("buffer 9 of 3"));
}

#[test]
fn json_without_end_is_refused() {
    for garbage in [
        "[".repeat(1 << 20),
        format!(r#"{{"version":5,"x":{}"#, "[".repeat(1 << 20)),
        r#"{"version":5}"#.to_owned(),
        r#"{"version":-1}"#.to_owned(),
        r#"{"version":"1"}"#.to_owned(),
        "\u{0}".repeat(100),
        String::new(),
    ] {
        assert!(told(&link(NOTHING, garbage.as_bytes(), "-DNONE")).contains("artifact"));
    }
    let not_utf8 = link(NOTHING, &[b'{', 0xff, 0xfe], "-DNONE");
    assert!(told(&not_utf8).starts_with("damaged artifact: manifest: "));
}

/// The artifact of the fixture with this as its PTX section.
fn with_ptx(section: &[u8]) -> Artifact {
    Artifact::from_bytes(fixture::artifact_with_ptx(section)).unwrap()
}

#[test]
fn ptx_that_does_not_inflate_is_refused_when_it_is_asked_for() {
    let text = include_str!("fixture/twice.ptx");
    assert_eq!(with_ptx(&gatec_runtime::open::ptx_bytes(text)).ptx().unwrap().as_deref(), Some(text));
    let packed = gatec_runtime::open::ptx_bytes(text);
    for wrong in [b"not compressed".as_slice(), &packed[..packed.len() / 2]] {
        let error = with_ptx(wrong).ptx().unwrap_err().to_string();
        assert!(error.starts_with("damaged artifact: PTX: "), "{error}");
    }
    let not_utf8 = miniz_oxide::deflate::compress_to_vec_zlib(&[0xff, 0xfe], 1);
    assert!(with_ptx(&not_utf8).ptx().unwrap_err().to_string().contains("utf-8"));
}

#[test]
fn ptx_that_inflates_without_end_is_refused() {
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b' '; MAX_PTX_BYTES + 1], 1);
    let error = with_ptx(&bomb).ptx().unwrap_err().to_string();
    assert!(error.starts_with("damaged artifact: PTX: "), "{error}");
}

#[test]
fn sizes_that_overflow_are_refused_when_they_are_bound() {
    let mut huge = manifest();
    huge.symbols[0].bound = None;
    huge.variants[0].entries[2].buffers[1].bytes = SizeExpr::Mul(vec![fixture::rows(), known(1 << 40)]);
    let model =
        Model::from_bytes(artifact(&huge), WeightSource::Random(1), &LoadOptions::default().threads(1)).unwrap();
    let mut session = model.session("scan").unwrap();
    for rows in [1 << 40, usize::MAX] {
        session.bind("n", rows).unwrap();
        let error = session.run(&[]).unwrap_err().to_string();
        assert!(error.contains("is out of range for n = "), "{error}");
    }
    session.bind("n", 1 << 10).unwrap();
    let error = session.run(&[]).unwrap_err().to_string();
    assert_eq!(error, "no memory for 1125899906842624 bytes [R0401]");
    // A pointer that would leave its buffer is found when sizes are bound, before a kernel gets it.
    let mut outside = manifest();
    call(&mut outside.variants[0].entries[0]).args[0].offset = known(-4);
    let model =
        Model::from_bytes(artifact(&outside), WeightSource::Random(1), &LoadOptions::default().threads(1)).unwrap();
    let error = model.session("scale").unwrap().run(&[("x", (&[0.0f32; 4]).into())]).unwrap_err().to_string();
    assert_eq!(error, "a buffer of a call of kernel 1 is out of range for n = 1 [R0308]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn edits_of_a_file_never_get_through(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut edited = bytes().to_vec();
        for (at, value) in &edits {
            let at = at.index(edited.len());
            edited[at] = *value;
        }
        prop_assert!(edited == bytes() || Artifact::from_bytes(edited).is_err());
    }

    /// Edits with a right hash, as a hostile writer would make them: whatever they are, reading them ends.
    #[test]
    fn sealed_edits_of_a_file_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        headers in any::<bool>(),
    ) {
        let mut edited = bytes().to_vec();
        // Most bytes are code and padding; half of the cases edit the headers only.
        let reach = if headers { 1024 } else { edited.len() };
        for (at, value) in &edits {
            let at = at.index(reach);
            edited[at] = *value;
        }
        if seal(&mut edited).is_ok() {
            let _ = Artifact::from_bytes(edited);
        }
    }

    /// The same for the text of the manifest.
    #[test]
    fn sealed_edits_of_the_manifest_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0123456789-\"{}[],:en.".to_vec())), 1..4),
    ) {
        let mut edited = bytes().to_vec();
        let start = edited.windows(10).position(|w| w == b"{\"version\"").unwrap();
        let length = edited[start..].iter().position(|b| *b == 0).unwrap_or(edited.len() - start);
        for (at, value) in &edits {
            edited[start + at.index(length)] = *value;
        }
        if seal(&mut edited).is_ok() {
            let _ = Artifact::from_bytes(edited);
        }
    }

    #[test]
    fn garbage_is_refused(mut garbage in prop::collection::vec(any::<u8>(), 0..2000), magic in any::<bool>()) {
        if magic && garbage.len() > 20 {
            garbage[..20].copy_from_slice(&bytes()[..20]);
        }
        prop_assert!(Artifact::from_bytes(garbage).is_err());
    }
}
