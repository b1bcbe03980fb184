//! What may come in from outside, one function for each reader: any bytes give a value or an error. `fuzz/` and the property tests
//! of `fuzzed.rs` call the same functions.

use gatec::graph::{text as graph_text, verify as graph_verify};
use gatec::kernel::{text as kernel_text, verify as kernel_verify};
use gatec_runtime::{Artifact, LoadOptions, Model, Weights, need};

/// The language: a program or errors, and messages that can be shown; the formatter keeps what it formatted.
pub fn source(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (program, diagnostics) = gatec_lang::check_text("fuzz.gate", &text, &[]);
    assert_eq!(program.is_some(), !diagnostics.has_errors(), "a program, or an error that says why there is none");
    let _ = (diagnostics.render(false), diagnostics.to_json());
    if let Ok(formatted) = gatec_lang::format(&text) {
        assert_eq!(gatec_lang::format(&formatted).ok().as_deref(), Some(formatted.as_str()), "formatting twice");
    }
    if let Some(program) = program
        && let Ok(module) = gatec::lower::lower(&program)
    {
        assert!(graph_verify::verify(&module).is_ok(), "what passes the check lowers to a graph that verifies");
    }
}

/// The text of the Graph IR: what was read prints, and reads back to the same text; the verifier has an answer.
pub fn graph(bytes: &[u8]) {
    if let Ok(module) = graph_text::parse(&String::from_utf8_lossy(bytes)) {
        let printed = graph_text::print(&module);
        let again = graph_text::parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        assert_eq!(graph_text::print(&again), printed);
        let _ = graph_verify::verify(&module);
    }
}

/// The text of the Kernel IR, likewise.
pub fn kernel(bytes: &[u8]) {
    if let Ok(kernel) = kernel_text::parse(&String::from_utf8_lossy(bytes)) {
        let printed = kernel_text::print(&kernel);
        let again = kernel_text::parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        assert_eq!(kernel_text::print(&again), printed);
        let _ = kernel_verify::verify(&kernel);
    }
}

/// An artifact, as it is and with a hash that is right, as a hostile writer would make it. Its code is not run.
pub fn artifact(bytes: &[u8]) {
    let _ = Artifact::from_bytes(bytes);
    let mut sealed = bytes.to_vec();
    if gatec_runtime::open::seal(&mut sealed).is_err() {
        return;
    }
    let Ok(artifact) = Artifact::from_bytes(sealed) else { return };
    let _ = artifact.ptx();
    let manifest = artifact.manifest();
    for sizes in [0, 1, 1 << 40, i64::MAX] {
        let symbols = vec![sizes; manifest.symbols.len()];
        for variant in 0..manifest.variants.len() {
            for entry in 0..manifest.entries.len() {
                let _ = need(manifest, variant, entry, &symbols);
            }
        }
    }
}

/// A file of weights. `model` is an artifact that they are bound to, if there is one.
pub fn weights(bytes: &[u8], model: Option<&Artifact>) {
    let Ok(weights) = Weights::from_bytes(bytes) else { return };
    assert!(weights.tensors().all(|(_, _, shape)| shape.len() < 1 << 20));
    if let Some(artifact) = model {
        let _ = Model::from_artifact(artifact, weights, &LoadOptions::default().threads(1));
    }
}
