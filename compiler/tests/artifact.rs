//! Artifacts that are written are those that the runtime reads and runs.

use gatec::artifact::{ArtifactError, assemble, replace};
use gatec_runtime::format::*;
use gatec_runtime::{Artifact, LoadOptions, Model, Weights};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// An object with one exported function.
fn object(architecture: Architecture, name: &str, code: &[u8]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    let value = object.append_section_data(text, code, 16);
    object.add_symbol(Symbol {
        name: name.into(),
        value,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    object.write().unwrap()
}

/// `*args[0] = 1.0f; return 0`
const ONE: &[u8] = &[0x48, 0x8b, 0x07, 0xc7, 0x00, 0x00, 0x00, 0x80, 0x3f, 0x31, 0xc0, 0xc3];
/// `return 0`
const NOTHING_ON_ARM: &[u8] = &[0x00, 0x00, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];

/// A network without inputs, whose output is what `kernel` writes.
fn manifest(isa: Isa, kernel: &str) -> Manifest {
    let known = SizeExpr::Known;
    let arg = Arg { buffer: 0, offset: known(0), strides: vec![], odd: known(0), bytes: known(4) };
    let call = Call {
        kernel: 0,
        args: vec![arg],
        dims: vec![],
        units: known(1),
        unit_ns: 1.0,
        scratch_bytes: known(0),
        flops: known(0),
        lines: vec![],
        routing: None,
        checks: Vec::new(),
    };
    let plan = Plan {
        buffers: vec![Buffer { name: "y".into(), place: Place::Output(0), bytes: known(4) }],
        steps: vec![Step::Call(call)],
    };
    let kernel = Kernel { symbol: kernel.into(), label: "one".into(), args: 1, dims: 0, launch: None };
    Manifest {
        version: VERSION,
        compiler: "test".into(),
        name: "one".into(),
        doc: "Says \"1\" in 1 µs.".into(),
        symbols: vec![],
        params: vec![],
        states: vec![],
        entries: vec![Entry {
            indices: Vec::new(),
            needs: Vec::new(),
            defaults: Vec::new(),
            at_most: Vec::new(),
            name: "one".into(),
            inputs: vec![],
            outputs: vec![Tensor { name: "y".into(), elem: Elem::F32, axes: vec![] }],
            reads: vec![],
            sets: vec![],
        }],
        variants: vec![Variant {
            isa,
            kernels: vec![kernel],
            kept: vec![],
            load: Plan::default(),
            entries: vec![plan],
        }],
        code_hash: String::new(),
    }
}

#[test]
fn an_artifact_is_read_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.so");
    let (manifest, code) = (manifest(Isa::X86, "one_x86"), object(Architecture::X86_64, "one_x86", ONE));
    replace(&path, &assemble(&manifest, std::slice::from_ref(&code), Some("// PTX")).unwrap()).unwrap();
    let artifact = Artifact::open(&path).unwrap();
    assert_eq!(Manifest { code_hash: String::new(), ..artifact.manifest().clone() }, manifest);
    assert_eq!(artifact.manifest().code_hash.len(), 64);
    assert_eq!(artifact.ptx().unwrap().as_deref(), Some("// PTX"));
    assert!(artifact.bytes().len() < 8192, "{} bytes for twelve of code", artifact.bytes().len());
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["one.so"], "no temporary file stays");
    if cfg!(target_arch = "x86_64") {
        let model = Model::load(&path, Weights::default(), &LoadOptions::default().threads(1)).unwrap();
        let mut session = model.session("one").unwrap();
        assert_eq!(session.run(&[]).unwrap().slice::<f32>("y").unwrap(), [1.0]);
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (manifest, code) = (manifest(Isa::X86, "one_x86"), object(Architecture::X86_64, "one_x86", ONE));
    let first = assemble(&manifest, std::slice::from_ref(&code), None).unwrap();
    assert!(first == assemble(&manifest, std::slice::from_ref(&code), None).unwrap());
    // What the manifest held as a hash does not matter.
    assert!(
        first == assemble(&Manifest { code_hash: "x".into(), ..manifest }, std::slice::from_ref(&code), None).unwrap()
    );
}

#[test]
fn an_artifact_for_another_machine_is_read_but_not_loaded() {
    let (manifest, code) =
        (manifest(Isa::Aarch64, "one_arm"), object(Architecture::Aarch64, "one_arm", NOTHING_ON_ARM));
    let bytes = assemble(&manifest, std::slice::from_ref(&code), None).unwrap();
    assert_eq!(Artifact::from_bytes(bytes.as_slice()).unwrap().manifest().name, "one");
    if cfg!(target_arch = "x86_64") {
        let error = Model::from_bytes(bytes, Weights::default(), &LoadOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), "artifact for aarch64, this machine is x86_64 [R0105]");
    }
}

#[test]
fn kernels_that_do_not_fit_the_manifest_make_no_artifact() {
    let code = object(Architecture::X86_64, "two", ONE);
    let error = assemble(&manifest(Isa::X86, "one_x86"), std::slice::from_ref(&code), None).unwrap_err();
    assert!(matches!(&error, ArtifactError::Refused(_)), "{error}");
    assert!(error.to_string().contains("kernel `one_x86` is not in the file"), "{error}");
}

#[test]
fn a_file_in_a_folder_that_is_not_there_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let error = replace(&dir.path().join("no/one.so"), b"artifact").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
