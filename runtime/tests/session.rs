//! Sessions over an artifact made by hand.

mod fixture;

use fixture::{bytes, model, weights};
use gatec_runtime::format::{Elem, Isa};
use gatec_runtime::{LoadOptions, Model, RunError, View};

#[test]
fn a_model_runs_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.so");
    std::fs::write(&path, bytes()).unwrap();
    let model = Model::load(&path, weights(), &LoadOptions::default()).unwrap();
    // The file may go: its code was copied.
    drop(dir);
    let mut session = model.session("scale").unwrap();
    let outputs = session.run(&[("x", (&[1.0f32; 8]).into())]).unwrap();
    assert_eq!(outputs.shape("y").unwrap(), [2, 4]);
    assert_eq!(outputs.slice::<f32>("y").unwrap(), [2.0, 4.0, 6.0, 8.0, 2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn states_live_in_the_session_and_are_shared_by_entries() {
    let model = model(1);
    let mut one = model.session("scale").unwrap();
    let mut other = model.session("scale").unwrap();
    assert_eq!(one.state::<f32>("sum").unwrap(), [1.0; 4]);
    one.run(&[("x", (&[1.0f32; 4]).into())]).unwrap();
    one.run(&[("x", (&[1.0f32; 4]).into())]).unwrap();
    assert_eq!(one.state::<f32>("sum").unwrap(), [5.0, 9.0, 13.0, 17.0]);
    assert_eq!(other.state::<f32>("sum").unwrap(), [1.0; 4]);
    one.enter("scan").unwrap();
    one.run(&[("x", (&[1.0f32; 4]).into())]).unwrap();
    one.enter("scale").unwrap();
    assert_eq!(one.state::<f32>("sum").unwrap(), [5.0, 9.0, 13.0, 17.0]);
    other.set_state("sum", &[0.0f32; 4]).unwrap();
    other.run(&[("x", (&[1.0f32; 4]).into())]).unwrap();
    assert_eq!(other.state::<f32>("sum").unwrap(), [2.0, 4.0, 6.0, 8.0]);
    one.reset();
    assert_eq!(one.state::<f32>("sum").unwrap(), [1.0; 4]);
}

#[test]
fn an_index_out_of_range_is_an_error_that_leaves_the_session_usable() {
    for threads in [1, 2] {
        let model = model(threads);
        let mut session = model.session("pick").unwrap();
        let outputs = session.run(&[("index", (&[3i64, 0]).into())]).unwrap();
        assert_eq!(outputs.slice::<f32>("y").unwrap(), [8.0, 2.0]);
        let error = session.run(&[("index", (&[3i64, 4]).into())]).unwrap_err();
        assert_eq!(error.to_string(), "an index out of range in kernel `pick it`, from test.gate:13 [R0312]");
        assert_eq!(session.output::<f32>("y").unwrap_err(), RunError::NoResult { name: "y".into() });
        assert!(session.run(&[("index", (&[3i64, 1]).into())]).is_ok());
    }
}

/// `h / 2 + x` over rows that all hold `first + row`.
fn scan(rows: usize, reverse: bool) -> f32 {
    let value = |row: usize| 1.0 + row as f32;
    let fold = |h: f32, row: usize| 0.5 * h + value(row);
    if reverse { (0..rows).rev().fold(0.0, fold) } else { (0..rows).fold(0.0, fold) }
}

#[test]
fn loops_carry_values_forwards_and_backwards() {
    for threads in [1, 2, 7] {
        let model = model(threads);
        let mut session = model.session("scan").unwrap();
        for rows in [0, 1, 2, 3, 64, 65] {
            let x: Vec<f32> = (0..rows).flat_map(|row| [1.0 + row as f32; 4]).collect();
            for (entry, reverse) in [("scan", false), ("back", true)] {
                session.enter(entry).unwrap();
                let outputs = session.run(&[("x", View::from(&x))]).unwrap();
                assert_eq!(
                    outputs.slice::<f32>("y").unwrap(),
                    [scan(rows, reverse); 4],
                    "{rows} rows, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let x: Vec<f32> = (0..4 * 129).map(|i| (i as f32).sin()).collect();
    let run = |threads: usize, used: usize| {
        let mut session = model(threads).session("scale").unwrap();
        session.set_threads(used);
        session.run(&[("x", View::from(&x))]).unwrap().slice::<f32>("y").unwrap().to_vec()
    };
    let one = run(1, 1);
    assert_eq!(one[4], x[4] * 2.0);
    for (threads, used) in [(2, 2), (7, 7), (7, 3), (2, 1)] {
        assert!(run(threads, used).iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn workers_that_wake_join_in_the_middle_of_a_loop() {
    let model = model(3);
    let mut session = model.session("scan").unwrap();
    let rows = 20_000;
    let x: Vec<f32> = (0..rows).flat_map(|row| [1.0 + row as f32; 4]).collect();
    for _ in 0..20 {
        // Long enough for workers to fall asleep.
        std::thread::sleep(std::time::Duration::from_millis(3));
        let outputs = session.run(&[("x", View::from(&x))]).unwrap();
        assert_eq!(outputs.slice::<f32>("y").unwrap(), [scan(rows, false); 4]);
    }
}

#[test]
fn sessions_of_one_model_run_in_several_threads() {
    let model = model(3);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let model = model.clone();
            scope.spawn(move || {
                let mut session = model.session("scale").unwrap();
                for round in 0..200 {
                    let x = vec![(thread * 1000 + round) as f32; 4 * (1 + round % 5)];
                    let outputs = session.run(&[("x", View::from(&x))]).unwrap();
                    let y = outputs.slice::<f32>("y").unwrap();
                    assert!(y.iter().zip(&x).enumerate().all(|(i, (y, x))| *y == x * 2.0 * (1 + i % 4) as f32));
                }
            });
        }
    });
}

#[test]
fn inputs_in_place_keep_their_values() {
    let model = model(1);
    let mut session = model.session("scale").unwrap();
    let unbound = session.input_mut::<f32>("x").unwrap_err();
    assert_eq!(unbound.to_string(), "the size of `n` is not known: set it, or give inputs with their shapes [R0306]");
    session.bind("n", 1).unwrap();
    assert_eq!(session.run(&[]).unwrap_err(), RunError::MissingInput { name: "x".into() });
    session.input_mut("x").unwrap().copy_from_slice(&[1.0f32, 1.0, 1.0, 0.5]);
    for _ in 0..2 {
        assert_eq!(session.run(&[]).unwrap().slice::<f32>("y").unwrap(), [2.0, 4.0, 6.0, 4.0]);
    }
    session.bind("n", 2).unwrap();
    assert_eq!(session.run(&[]).unwrap_err(), RunError::MissingInput { name: "x".into() });
}

#[test]
fn results_go_where_the_caller_wants_them() {
    let model = model(1);
    let mut session = model.session("scale").unwrap();
    let mut y = [0.0f32; 8];
    let x = [1.0f32; 8];
    session.run_into(&[("x", (&x).into())], &mut [("y", y[..].as_mut().into())]).unwrap();
    assert_eq!(y[..4], [2.0, 4.0, 6.0, 8.0]);
    assert!(session.output::<f32>("y").is_err());
    let short = session.run_into(&[("x", (&x).into())], &mut [("y", y[..4].as_mut().into())]).unwrap_err();
    assert_eq!(short.to_string(), "output `y` is f32[n = 2, d = 4], the given one has 4 elements [R0304]");
    assert!(session.run(&[("x", (&x).into())]).is_ok());
}

#[test]
fn what_does_not_fit_is_told_with_names_and_numbers() {
    let model = model(1);
    let mut session = model.session("scale").unwrap();
    let x = [0.0f32; 12];
    let told = |result: Result<gatec_runtime::Outputs, RunError>| result.unwrap_err().to_string();
    assert_eq!(
        told(session.run(&[])),
        "the size of `n` is not known: set it, or give inputs with their shapes [R0306]"
    );
    assert_eq!(told(session.run(&[("z", (&x).into())])), "no input `z`; there is `x` [R0301]");
    assert_eq!(told(session.run(&[("x", (&[0i32; 4]).into())])), "input `x` holds f32, the given one i32 [R0303]");
    let view = View::shaped(&x, &[4, 3]).unwrap();
    assert_eq!(
        told(session.run(&[("x", view)])),
        "input `x` is f32[n = 4, d = 4], the given one has shape [4, 3] [R0304]"
    );
    let view = View::shaped(&x, &[12]).unwrap();
    assert_eq!(told(session.run(&[("x", view)])), "input `x` is f32[n, d = 4], the given one has shape [12] [R0304]");
    assert_eq!(
        told(session.run(&[("x", (&x[..11]).into())])),
        "the size of `n` is not known: set it, or give inputs with their shapes [R0306]"
    );
    session.bind("n", 2).unwrap();
    assert_eq!(
        told(session.run(&[("x", (&x).into())])),
        "input `x` is f32[n = 2, d = 4], the given one has 12 elements [R0304]"
    );
    let view = View::shaped(&x, &[3, 4]).unwrap();
    assert_eq!(told(session.run(&[("x", view)])), "`n` is 2 by `bind`, but 3 by axis 0 of input `x` [R0305]");
    assert_eq!(told(session.run(&[("x", (&x[..8]).into()), ("x", (&x[..8]).into())])), "`x` is given twice [R0309]");
    assert_eq!(session.bind("m", 2).unwrap_err().to_string(), "no symbolic axis `m`; there is `n` [R0301]");
    assert_eq!(
        session.bind("n", 1 << 30).unwrap_err().to_string(),
        "`n` is 1073741824, the model was built for at most 1048576 [R0307]"
    );
    assert_eq!(View::shaped(&x, &[5]).unwrap_err().to_string(), "a view of shape [5] over 12 elements [R0304]");
    assert_eq!(session.output::<f64>("y").unwrap_err(), RunError::NoResult { name: "y".into() });
    session.run(&[("x", (&x[..8]).into())]).unwrap();
    assert_eq!(session.output::<f64>("y").unwrap_err().to_string(), "output `y` holds f32, the given one f64 [R0303]");
    assert_eq!(
        model.session("all").unwrap_err().to_string(),
        "no entry `all`; there is `scale`, `pick`, `scan`, `back` [R0301]"
    );
    assert_eq!(session.state::<f32>("h").unwrap_err().to_string(), "no state `h`; there is `sum` [R0301]");
    assert!(session.set_state("sum", &[0.0f32; 3]).is_err());
}

#[test]
fn bytes_that_are_not_aligned_are_refused() {
    let model = model(1);
    let mut session = model.session("scale").unwrap();
    let buffer = [0u8; 24];
    let bytes = &buffer[buffer.as_ptr().align_offset(4)..][..20];
    let view = View::bytes(Elem::F32, &bytes[1..17], None).unwrap();
    assert_eq!(session.run(&[("x", view)]).unwrap_err(), RunError::Misaligned { name: "x".into(), align: 4 });
    assert!(session.run(&[("x", View::bytes(Elem::F32, &bytes[4..], Some(&[1, 4])).unwrap())]).is_ok());
    assert!(View::bytes(Elem::F32, &bytes[1..], None).is_err());
}

#[test]
fn no_rows_are_an_ordinary_size() {
    let model = model(2);
    let mut session = model.session("scale").unwrap();
    let outputs = session.run(&[("x", View::shaped::<f32>(&[], &[0, 4]).unwrap())]).unwrap();
    assert_eq!(outputs.shape("y").unwrap(), [0, 4]);
    assert_eq!(outputs.slice::<f32>("y").unwrap(), [0.0f32; 0]);
    session.run(&[("x", View::bytes(Elem::F32, &[], Some(&[0, 4])).unwrap())]).unwrap();
    assert_eq!(session.state::<f32>("sum").unwrap(), [1.0; 4]);
}

#[test]
fn a_profile_counts_calls() {
    let model = model(1);
    let mut session = model.session("scan").unwrap();
    session.set_profiled(true);
    session.run(&[("x", (&[0.0f32; 20]).into())]).unwrap();
    let profile = session.profile();
    let counts: Vec<_> = profile.iter().map(|call| (call.label.as_str(), call.calls)).collect();
    assert_eq!(counts, [("zero it", 1), ("step it", 5), ("copy it", 1)]);
    assert_eq!(profile[1].lines, [("test.gate".to_owned(), 15)]);
    let shown = profile[1].to_string();
    assert!(shown.contains("5 x") && shown.ends_with("us  step it  test.gate:15"), "{shown}");
}

#[test]
fn a_trace_has_a_span_for_each_part_of_each_call() {
    let model = model(2);
    let mut session = model.session("scan").unwrap();
    assert!(session.trace().is_none());
    session.set_threads(1).set_traced(100);
    session.run(&[("x", (&[0.0f32; 20]).into())]).unwrap();
    let trace = session.trace().unwrap();
    let spans: Vec<_> = trace.spans().map(|span| (span.call, span.iteration)).collect();
    assert_eq!(spans, [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]);
    assert_eq!(trace.lost(), 0);
    let mut end = 0;
    for span in trace.spans() {
        assert!((span.entry, span.thread) == (2, 0) && span.start_ns >= end);
        end = span.start_ns + span.ns;
    }

    // Shared work: what both threads did, or the first alone while the other slept.
    session.enter("scale").unwrap();
    session.set_threads(2).set_traced(3);
    for _ in 0..50 {
        session.run(&[("x", (&[0.0f32; 400]).into())]).unwrap();
    }
    let trace = session.trace().unwrap();
    assert!(trace.spans().all(|span| span.entry == 0 && (span.thread == 0 || span.call == 0)));
    assert!(trace.lost() >= 97, "room for three of the first thread's");
    session.set_traced(0);
    assert!(session.trace().is_none());
}

#[test]
fn the_variant_can_be_chosen() {
    let load = |isa| Model::from_bytes(bytes(), weights(), &LoadOptions::default().threads(1).isa(isa));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(load(Isa::X86).unwrap().isa(), Isa::X86);
        let absent = load(Isa::X86V4).unwrap_err().to_string();
        assert_eq!(absent, "x86-64-v4 was asked for, but the artifact has x86-64-v3, x86-64 [R0105]");
    }
    assert!(load(Isa::Sm80).unwrap_err().to_string().starts_with("sm_80 was asked for, but the artifact has"));
}

#[test]
fn models_are_shared_and_sessions_move_between_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    fn moved<T: Send>(_: &T) {}
    let model = model(1);
    shared(&model);
    moved(&model.session("scale").unwrap());
}
