//! Damaged, doubled and mixed inputs for every reader, for a bounded time; `fuzz/` has targets that go on as long as one likes.
//! `PROPTEST_CASES` says how many inputs each reader gets.

use std::path::Path;
use std::sync::OnceLock;

use gatec::BuildOptions;
use gatec_runtime::Artifact;
use gatec_runtime::format::Isa;
use gatec_tests::readers;
use proptest::prelude::*;
use proptest::sample::Index;

/// Files below a folder of the repository with this ending.
fn corpus(folders: &[&str], ending: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut open: Vec<_> = folders.iter().map(|f| root.join(f)).collect();
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "there are .{ending} files in {folders:?}");
    files.iter().map(|f| std::fs::read(f).expect("a file of the repository")).collect()
}

/// A change of an input.
#[derive(Clone, Debug)]
enum Edit {
    Byte(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, usize),
    /// A piece of this or of another input of the corpus, put elsewhere.
    Splice(Index, Index, Index, usize),
    End(Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..8),
        prop::sample::select(vec![
            "(",
            "[",
            "{",
            ")",
            "]",
            "}",
            "-",
            "@",
            "%0",
            "%1",
            "b0",
            "i0",
            "n0",
            "99999999999999999999",
            "-1",
            "0",
            "inf",
            "nan",
            "''",
            "\"",
            "axis",
            "param",
            "scan",
            "in",
            "0.0",
            "1e999",
            "value(%0, n0)",
            "/ 0",
            "//",
            "\n",
            "\u{0}",
            "é",
            "f32",
            "i32[",
            "load",
            "\\u0000",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    let edit = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Edit::Byte(at, value)),
        (any::<Index>(), piece).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), 1usize..40).prop_map(|(at, length)| Edit::Cut(at, length)),
        (any::<Index>(), any::<Index>(), any::<Index>(), 1usize..80).prop_map(|(a, b, c, n)| Edit::Splice(a, b, c, n)),
        any::<Index>().prop_map(Edit::End),
    ];
    prop::collection::vec(edit, 1..6)
}

fn edited(corpus: &[Vec<u8>], which: Index, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = corpus[which.index(corpus.len())].clone();
    for edit in edits {
        let length = bytes.len();
        match edit {
            _ if length == 0 => {}
            Edit::Byte(at, value) => bytes[at.index(length)] = *value,
            Edit::Insert(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, piece.iter().copied());
            }
            Edit::Cut(at, most) => {
                let at = at.index(length);
                bytes.drain(at..(at + most).min(length));
            }
            Edit::Splice(other, from, to, most) => {
                let other = &corpus[other.index(corpus.len())];
                if !other.is_empty() {
                    let from = from.index(other.len());
                    let piece = other[from..(from + most).min(other.len())].to_vec();
                    let to = to.index(length);
                    bytes.splice(to..to, piece);
                }
            }
            Edit::End(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

fn sources() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| corpus(&["examples", "tests/bench", "tests/cli"], "gate"))
}

fn graphs() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| corpus(&["tests/filetests"], "gir"))
}

/// The kernels of two models, for a processor and for a GPU.
fn kernels() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let options = BuildOptions { targets: vec![Isa::X86V3], ..Default::default() };
        let models = ["bench/cases/moe_mixtral.gate", "bench/cases/gru.gate"];
        let compiled = models.map(|m| gatec::compile(&root.join(m), &options).unwrap_or_else(|e| panic!("{e}")));
        let planned = compiled.iter().flat_map(|c| &c.planned).flat_map(|p| &p.kernels);
        planned.map(|(_, kernel, _)| gatec::kernel::text::print(kernel).into_bytes()).collect()
    })
}

fn artifacts() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("two.so");
        let options = BuildOptions { targets: vec![Isa::X86], ..Default::default() };
        gatec::build(&root.join("cli/files/two.gate"), &options, &out).unwrap_or_else(|e| panic!("{e}"));
        vec![std::fs::read(&out).expect("the artifact")]
    })
}

/// The weights of `two.gate`.
fn weights() -> &'static [Vec<u8>] {
    static CORPUS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let header = br#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}       "#;
        vec![[(header.len() as u64).to_le_bytes().as_slice(), header, &[0; 24]].concat()]
    })
}

fn model() -> &'static Artifact {
    static MODEL: OnceLock<Artifact> = OnceLock::new();
    MODEL.get_or_init(|| Artifact::from_bytes(artifacts()[0].as_slice()).expect("a good artifact"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600)
    ))]

    #[test]
    fn damaged_programs_get_an_answer(which: Index, edits in edits()) {
        readers::source(&edited(sources(), which, &edits));
    }

    #[test]
    fn damaged_graphs_get_an_answer(which: Index, edits in edits()) {
        readers::graph(&edited(graphs(), which, &edits));
    }

    #[test]
    fn damaged_kernels_get_an_answer(which: Index, edits in edits()) {
        readers::kernel(&edited(kernels(), which, &edits));
    }

    #[test]
    fn damaged_artifacts_get_an_answer(which: Index, edits in edits()) {
        readers::artifact(&edited(artifacts(), which, &edits));
    }

    #[test]
    fn damaged_weights_get_an_answer(which: Index, edits in edits()) {
        readers::weights(&edited(weights(), which, &edits), Some(model()));
    }
}

#[test]
fn undamaged_inputs_are_read() {
    for text in sources() {
        readers::source(text);
    }
    assert!(kernels().iter().all(|k| gatec::kernel::text::parse(&String::from_utf8_lossy(k)).is_ok()));
    let modules = graphs().iter().filter(|g| gatec::graph::text::parse(&String::from_utf8_lossy(g)).is_ok());
    assert!(modules.count() > 0, "some filetests are whole modules");
    assert!(Artifact::from_bytes(artifacts()[0].as_slice()).is_ok());
    readers::weights(&weights()[0], Some(model()));
}

#[test]
fn nesting_a_million_deep_gets_an_answer() {
    const DEEP: usize = 1_000_000;
    let graph = "module m\naxis d = 4\ngraph @f(%x: f32[d]) -> (y: f32[d]) {\n  %0 = ";
    let kernel = "kernel \"k\" dims 0 vars 1 {\n  b0 = write f32 \"y\"\n  %0 = load b0[";
    for piece in
        ["(", "[", "{", "-", "floor(", "value(", "scan[d, forward, 0, 0] {\n", "2*(", "i0 / (", "\"", "//", "if "]
    {
        let deep = piece.repeat(DEEP / piece.len());
        readers::source(deep.as_bytes());
        readers::source(format!("model m(x: f32[t]) -> f32[t] {{ {deep}").as_bytes());
        readers::graph(deep.as_bytes());
        readers::graph(format!("{graph}{deep}").as_bytes());
        readers::graph(format!("module m\naxis d = {deep}").as_bytes());
        readers::kernel(deep.as_bytes());
        readers::kernel(format!("{kernel}{deep}").as_bytes());
        readers::artifact(deep.as_bytes());
        readers::weights(deep.as_bytes(), None);
    }
}
