//! Codes of what goes wrong: each has its page, and a message that ends with it.

mod fixture;

use std::collections::BTreeMap;

use fixture::{bytes, f32s, link, model, safetensors, weights};
use gatec_runtime::codes::CODES;
use gatec_runtime::format::{Elem, Isa};
use gatec_runtime::{Artifact, LoadError, LoadOptions, Model, RunError, View, Weights};

/// The message of what fails.
fn told<T, E: ToString>(result: Result<T, E>) -> String {
    result.err().map(|error| error.to_string()).expect("it fails")
}

/// Loads with these weights.
fn load(tensors: &[(&str, &str, &[u64], &[u8])]) -> String {
    let weights = Weights::from_bytes(safetensors(tensors)).unwrap();
    told(Model::from_bytes(bytes(), weights, &LoadOptions::default()))
}

fn of_artifacts() -> Vec<String> {
    let mut damaged = bytes().to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let cpu = if cfg!(target_arch = "x86_64") { Isa::Aarch64 } else { Isa::X86 };
    vec![
        told(Artifact::from_bytes(b"no artifact".as_slice())),
        told(Artifact::open("no/such/file.so")),
        told(Artifact::from_bytes(damaged)),
        told(Artifact::from_bytes(link("", br#"{"version":99}"#, "-DNONE"))),
        told(Model::from_bytes(bytes(), weights(), &LoadOptions::default().isa(cpu))),
    ]
}

fn of_weights() -> Vec<String> {
    let two = f32s(&[1.0, 2.0]);
    let first: (&str, &str, &[u64], &[u8]) = ("w.0", "F32", &[2], &two);
    vec![
        load(&[first]),
        load(&[first, ("w.1", "F32", &[1, 2], &[0; 8])]),
        load(&[first, ("w.1", "F64", &[2], &[0; 16])]),
        told(Weights::from_bytes(b"{}".as_slice())),
    ]
}

fn of_calls() -> Vec<String> {
    let model = model(1);
    let session = |size| {
        let mut session = model.session("scale").unwrap();
        session.bind("n", size).unwrap();
        session
    };
    let mut room = [0.0f32; 4];
    let x = || View::from(&[1.0f32; 4]);
    let inside = [0u8; 32];
    let odd = usize::from((inside.as_ptr() as usize).is_multiple_of(2));
    let mut done = session(1);
    done.run_into(&[("x", x())], &mut [("y", (&mut room[..]).into())]).unwrap();
    vec![
        told(model.session("none")),
        told(session(1).run(&[])),
        told(session(1).run(&[("x", (&[1i32; 4]).into())])),
        told(session(1).run(&[("x", View::shaped(&[0.0f32; 3], &[1, 3]).unwrap())])),
        told(session(2).run(&[("x", View::shaped(&[0.0f32; 4], &[1, 4]).unwrap())])),
        told(model.session("scale").unwrap().run(&[])),
        told(session(1).bind("n", 1 << 30)),
        told(session(1).run(&[("x", x()), ("x", x())])),
        told(done.output::<f32>("y")),
        told(model.session("pick").unwrap().run(&[("index", (&[3i64, 4]).into())])),
        told(session(1).run(&[("x", View::bytes(Elem::F32, &inside[odd..odd + 16], None).unwrap())])),
    ]
}

/// What a test cannot bring about, or not on every machine.
fn of_machines() -> Vec<String> {
    vec![
        RunError::Size { what: "element 5 of axis `t`".into(), bound: vec![("t".into(), 3)] }.to_string(),
        RunError::StateSize { name: "h".into(), was: 64, now: 128 }.to_string(),
        RunError::OutOfMemory { bytes: 1 << 50 }.to_string(),
        LoadError::Threads(std::io::Error::other("no more of them")).to_string(),
        RunError::Device { message: "no CUDA device".into() }.to_string(),
    ]
}

#[test]
fn every_code_has_a_message_and_a_page() {
    let messages = [of_artifacts(), of_weights(), of_calls(), of_machines()].concat();
    let mut by_code: BTreeMap<&str, &str> = BTreeMap::new();
    for message in &messages {
        let code = message.rsplit_once('[').and_then(|(_, code)| code.strip_suffix(']')).expect("a code at the end");
        by_code.insert(code, message);
    }
    let listed: Vec<&str> = CODES.iter().map(|entry| entry.code).collect();
    assert_eq!(by_code.keys().copied().collect::<Vec<_>>(), listed, "{by_code:#?}");
    assert!(CODES.iter().all(|entry| entry.page.len() > 60 && !entry.title.is_empty()));
}
