//! Command lines and what they give: every `tests/cli/*.cmd` is a list of them, run one after the other in a folder of its own
//! that holds the files of `tests/cli/files`. A snapshot has the output, what was said, and the exit code where it is not 0.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use safetensors::SafeTensors;

const GATEC: &str = env!("CARGO_BIN_EXE_gatec");

/// What a command left: standard output, standard error, exit code.
struct Done {
    out: Vec<u8>,
    said: String,
    code: Option<i32>,
}

/// Runs one line: `gatec ARGUMENTS`, perhaps with `NAME=VALUE` before it, and `< FILE` and `> FILE`.
fn run(line: &str, folder: &Path) -> Done {
    let mut words = line.split_whitespace().peekable();
    let mut command = Command::new(GATEC);
    command.current_dir(folder).env_remove("NO_COLOR").env("COLUMNS", "100").stdin(Stdio::null());
    while let Some((name, value)) = words.peek().and_then(|w| w.split_once('=')) {
        command.env(name, value);
        words.next();
    }
    assert_eq!(words.next(), Some("gatec"), "{line}");
    let mut target = None;
    while let Some(word) = words.next() {
        match word {
            "<" => {
                let file = File::open(folder.join(words.next().expect("a file"))).expect("it is there");
                command.stdin(file);
            }
            ">" => target = words.next(),
            word => {
                command.arg(word);
            }
        }
    }
    let output = command.output().expect("gatec runs");
    if let Some(target) = target {
        std::fs::write(folder.join(target), &output.stdout).expect("a file is written");
    }
    let out = if target.is_some() { Vec::new() } else { output.stdout };
    Done { out, said: String::from_utf8_lossy(&output.stderr).into_owned(), code: output.status.code() }
}

/// A folder with the files that command lines speak of.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli/files");
    for file in std::fs::read_dir(files).expect("the files").flatten() {
        std::fs::copy(file.path(), dir.path().join(file.file_name())).expect("a copy");
    }
    dir
}

/// `tests/cli/quantized.py` does the same in NumPy.
#[test]
fn quantised_weights_are_those_of_numpy() {
    let folder = folder();
    let done = run("gatec quantize quantized.gate -w floats.safetensors -o q.safetensors", folder.path());
    assert_eq!(done.code, Some(0), "{}", done.said);
    let [found, expected] = ["q", "quantized"]
        .map(|name| std::fs::read(folder.path().join(name).with_extension("safetensors")).expect("the file is there"));
    let [found, expected] = [&found, &expected].map(|bytes| {
        let mut tensors = SafeTensors::deserialize(bytes).expect("safetensors").tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    });
    assert_eq!(found, expected);
}

#[test]
fn command_lines_give_what_their_snapshots_say() {
    insta::glob!("../../tests/cli", "*.cmd", |path| {
        let dir = folder();
        let mut shown = String::new();
        for line in std::fs::read_to_string(path).expect("a list").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let done = run(line, dir.path());
            shown += &format!("$ {line}\n{}", String::from_utf8_lossy(&done.out));
            shown += &done.said.lines().map(|l| format!("! {l}\n")).collect::<String>();
            if done.code != Some(0) {
                shown += &format!("exit {}\n", done.code.map_or("by a signal".to_string(), |c| c.to_string()));
            }
            shown += "\n";
        }
        insta::with_settings!({
            snapshot_path => path.parent().expect("a folder"),
            prepend_module_to_snapshot => false,
            omit_expression => true,
            filters => [
                (r"gatec \d+\.\d+\.\d+", "gatec [version]"),
                (r"\x1b\[", "\\e["),
                // Sizes, times and the number of kernels change with the compiler.
                (r"\b\d+ (B|KiB|MiB)\b", "[size]"),
                (r"\b\d+(\.\d+)? +(ns|us|ms|s)\b", "[time]"),
                (r#""(artifact_bytes|bytes|ms|ptx_bytes)": [0-9.]+"#, "\"$1\": [number]"),
            ],
        }, {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            insta::assert_snapshot!(name, shown);
        });
    });
}

/// Rewritten where snapshots are (`INSTA_UPDATE=always`).
#[test]
fn the_page_of_the_library_is_what_its_files_say() {
    let mut page = String::from(
        "# The standard library\n\nFiles of blocks that are part of the compiler: `use \"std/norms.gate\"`. `gatec doc std/norms.gate` shows one. \
         Made from `lang/std`: `make bless` rewrites it.\n",
    );
    for (name, _) in gatec_lang::LIBRARY {
        let done = run(&format!("gatec doc {name}"), Path::new("."));
        assert_eq!(done.code, Some(0), "{}", done.said);
        for line in String::from_utf8_lossy(&done.out).trim_end().lines() {
            page += &format!("\n{}{line}", if line.starts_with('#') { "#" } else { "" });
        }
        page += "\n";
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/generated/std.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(&path, &page).expect("the page is written");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "docs/generated/std.md is stale: make bless");
}

/// Rewritten where snapshots are (`INSTA_UPDATE=always`).
#[test]
fn the_page_of_errors_is_what_the_codes_say() {
    let mut page = String::from(
        "# Errors and warnings\n\nA code never changes its meaning. `gatec explain-error E0203` shows one. Made from `lang/errors` and \
         `runtime/errors`: `make bless` rewrites it.\n\nCodes with an E are mistakes in programs, told when one is checked or built; W is \
         a warning. [Those with an R](#when-a-model-is-loaded-or-runs) are told when an artifact is opened, loaded or run.\n",
    );
    for entry in gatec_lang::codes::CODES {
        let wrong =
            entry.page.split("```gate\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the mistake");
        let diagnostics = gatec_lang::check_text("model.gate", wrong, &[]).1.list;
        let Some(found) = diagnostics.iter().find(|d| d.code == entry.code) else { continue };
        let mut message = format!("> {}\n", found.message);
        if let Some(help) = &found.help {
            message += &format!(">\n> Help: {help}\n");
        }
        let wrong = format!("{wrong}```\n");
        let told = entry.page.replacen(&wrong, &format!("{wrong}\n{message}"), 1);
        page += &format!("\n## {}: {}\n\n{told}", entry.code, entry.title);
    }
    page += "\n# When a model is loaded or runs\n\nThese codes stand at the end of their messages: `.. [R0312]`.\n";
    for entry in gatec_runtime::codes::CODES {
        page += &format!("\n## {}: {}\n\n{}", entry.code, entry.title, entry.page);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(&path, &page).expect("the page is written");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "docs/errors.md is stale: make bless");
}

/// Files that are none of what gatec reads.
fn garbage(dir: &Path) -> Vec<String> {
    let long = "(".repeat(1_000_000);
    let files: [(&str, Vec<u8>); 9] = [
        ("empty", vec![]),
        ("bytes", (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("zeros", vec![0; 100_000]),
        ("deep", long.into_bytes()),
        ("elf", [b"\x7fELF\x02\x01\x01".as_slice(), &[0xff; 200]].concat()),
        (
            "numpy",
            b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }".to_vec(),
        ),
        ("zip", [b"PK\x03\x04".as_slice(), &[0x41; 300]].concat()),
        ("huge", [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat()),
        ("model", b"model m(x: f32[t]) -> f32[t] { x".to_vec()),
    ];
    let mut names: Vec<String> = vec![".".into(), "missing".into(), "/dev/null".into(), "/dev/zero".into()];
    for (name, bytes) in files {
        for ending in ["gate", "so", "npy", "npz", "safetensors", "json"] {
            let file = format!("{name}.{ending}");
            std::fs::write(dir.join(&file), &bytes).expect("a file");
            names.push(file);
        }
    }
    names
}

#[test]
fn whatever_a_file_holds_the_answer_is_an_error_and_never_a_panic() {
    let dir = folder();
    let good = run("gatec build double.gate --target-cpu=native --no-ptx", dir.path());
    assert_eq!(good.code, Some(0), "{}", good.said);
    let weights = run("gatec build two.gate --target-cpu=native --no-ptx", dir.path());
    assert_eq!(weights.code, Some(0), "{}", weights.said);
    for file in garbage(dir.path()) {
        let lines = [
            format!("gatec check {file}"),
            format!("gatec fmt --check {file}"),
            format!("gatec build {file} -o never.so"),
            format!("gatec build double.gate -o never.so --tuned {file}"),
            format!("gatec explain {file}"),
            format!("gatec explain double.gate --machine {file}"),
            format!("gatec inspect {file}"),
            format!("gatec run {file} --random"),
            format!("gatec run double.so -i x={file}"),
            format!("gatec run double.so -i {file}"),
            format!("gatec run two.so --entry up --size n=1 --random -w {file}"),
        ];
        for line in lines {
            let done = run(&line, dir.path());
            // Nothing is as well formatted as it can be.
            if line.contains(" fmt ") && (file.starts_with("empty") || file == "/dev/null") {
                assert_eq!(done.code, Some(0), "{line}");
                continue;
            }
            let told = done.said.contains("rror") || done.said.contains("not formatted");
            assert!(matches!(done.code, Some(1 | 2)) && told, "{line}: exit {:?}\n{}", done.code, done.said);
            assert!(!done.said.contains("panicked") && !done.said.contains("internal error"), "{line}\n{}", done.said);
        }
    }
    assert!(!dir.path().join("never.so").exists(), "nothing was built of garbage");
}

#[test]
fn who_stops_reading_gets_no_panic() {
    let dir = folder();
    for line in ["fmt -", "build two.gate --emit=llvm", "--help"] {
        let mut command = Command::new(GATEC);
        command.current_dir(dir.path()).args(line.split(' '));
        if line == "fmt -" {
            command.stdin(File::open(dir.path().join("double.gate")).expect("it is there"));
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gatec runs");
        drop(child.stdout.take());
        let done = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!said.contains("panicked") && done.status.code().is_some_and(|c| c < 100), "{line}: {said}");
    }
}

#[test]
fn a_file_that_cannot_be_written_leaves_what_was_there() {
    let dir = folder();
    std::fs::write(dir.path().join("double.so"), "what was there").expect("a file");
    std::fs::write(dir.path().join("y.npy"), "what was there").expect("a file");
    let at = |file: &str| std::fs::read(dir.path().join(file)).expect("it is there");
    for line in ["gatec build broken.gate -o double.so", "gatec run double.gate --random --size t=2 -o no/y.npy"] {
        assert_eq!(run(line, dir.path()).code, Some(1), "{line}");
    }
    assert_eq!(at("double.so"), b"what was there");
    let done = run("gatec run double.gate --random --size t=2 -o y.npy", dir.path());
    assert_eq!(done.code, Some(0), "{}", done.said);
    assert!(at("y.npy").starts_with(b"\x93NUMPY"), "a whole file took its place");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").flatten().map(|f| f.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".gatec-")), "{left:?}");
}

#[test]
fn tensors_pass_through_every_format() {
    let dir = folder();
    let lines = [
        "gatec run double.gate --random --size t=3 -o a.npy",
        "gatec run double.gate -i x=a.npy -o b.npz",
        "gatec run double.gate -i y=b.npz -o c.safetensors",
    ];
    for line in &lines[..2] {
        assert_eq!(run(line, dir.path()).code, Some(0), "{line}");
    }
    // The output is called `y`, the input `x`.
    assert_eq!(run(lines[2], dir.path()).code, Some(1));
    for line in
        ["gatec run double.gate -i x=b.npz -o c.safetensors", "gatec run double.gate -i x=- -o - < a.npy > d.npy"]
    {
        assert_eq!(run(line, dir.path()).code, Some(0), "{line}");
    }
    let read = |file: &str| std::fs::read(dir.path().join(file)).expect("it is there");
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let (a, c, d) = (read("a.npy"), read("c.safetensors"), read("d.npy"));
    let first = numbers(&a[a.len() - 12..]);
    let last = numbers(&c[c.len() - 12..]);
    assert!(first.iter().zip(&last).all(|(x, y)| x * 4.0 == *y), "{first:?}, {last:?}");
    assert!(first.iter().zip(numbers(&d[d.len() - 12..])).all(|(x, y)| x * 2.0 == y));
}

#[test]
fn what_a_benchmark_says_of_its_work_is_the_model_s() {
    let dir = folder();
    let done = run("gatec bench two.gate --entry up --size n=5 --threads 1 --seconds 0.01 --json", dir.path());
    assert_eq!(done.code, Some(0), "{}", done.said);
    let report: serde_json::Value = serde_json::from_slice(&done.out).expect("JSON");
    // A product of 5 rows, 2 sums, 3 columns; the input, the weights, the output.
    assert_eq!(report["total"]["flops"], 2 * 5 * 2 * 3);
    assert_eq!(report["total"]["bytes"], 4 * (5 * 2 + 2 * 3 + 5 * 3));
    assert_eq!(report["kernels"].as_array().map(Vec::len), Some(1));
    for key in ["min_ns", "median_ns"] {
        assert!(report[key].as_f64().is_some_and(|ns| ns > 0.0), "{key}");
    }
    assert!(report["roofline"]["peak_gflops"].as_f64().is_some_and(|peak| peak > 0.0));
    assert!(report["total"]["achieved"].as_f64().is_some_and(|part| part > 0.0));
    let shown =
        String::from_utf8_lossy(&run("gatec bench two.gate --entry add --seconds 0.01", dir.path()).out).into_owned();
    assert!(shown.contains("what the roofline allows") && shown.contains("GB/s from 16 KiB"), "{shown}");
}

#[test]
fn a_trace_names_kernels_and_lines() {
    let dir = folder();
    let done = run("gatec run glu.gate --random --size t=64 --threads 2 --trace t.json", dir.path());
    assert_eq!(done.code, Some(0), "{}", done.said);
    let trace: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("t.json")).expect("a trace")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let of = |cat: &str| events.iter().filter(|e| e["cat"] == cat).collect::<Vec<_>>();
    let us = |e: &serde_json::Value, key: &str| e[key].as_f64().expect("a number");
    let phases = of("phase");
    assert_eq!(
        phases.iter().map(|e| e["name"].as_str().expect("a name")).collect::<Vec<_>>(),
        ["open", "load", "run glu"]
    );
    let kernels = of("kernel");
    assert!(!kernels.is_empty());
    for span in kernels {
        let name = span["name"].as_str().expect("a name");
        assert!(name.contains("contract") && name.ends_with(" glu.gate:8"), "{name}");
        assert_eq!(span["args"]["lines"], serde_json::json!(["glu.gate:8"]));
        let (start, end) = (us(span, "ts"), us(span, "ts") + us(span, "dur"));
        assert!(start >= us(phases[2], "ts") && end <= us(phases[2], "ts") + us(phases[2], "dur"), "within the run");
    }
    assert!(events.iter().any(|e| e["name"] == "thread_name" && e["tid"] == 1));

    assert_eq!(run("gatec run glu.gate --random --size t=2 --trace no/t.json", dir.path()).code, Some(1));
}

#[test]
fn explain_shows_measured_times_beside_expected_ones() {
    let dir = folder();
    let done = run("gatec explain glu.gate --assume t=5 --profile --threads 2 --json", dir.path());
    assert_eq!(done.code, Some(0), "{}", done.said);
    let all: serde_json::Value = serde_json::from_slice(&done.out).expect("JSON");
    let profile = &all["profile"][0];
    assert_eq!((&profile["entry"], &profile["sizes"]), (&"glu".into(), &serde_json::json!([["t", 5]])));
    assert_eq!(profile["measured"]["threads"], 2);
    let number = |of: &serde_json::Value, key: &str| of[key].as_f64().expect("a number");
    let kernels = profile["kernels"].as_array().expect("kernels");
    // Three products of 5 rows, 64 by 128; the gate is not much more.
    let flops: f64 = kernels.iter().map(|k| number(k, "flops")).sum();
    assert!((1.0..1.1).contains(&(flops / (3.0 * 2.0 * 5.0 * 64.0 * 128.0))), "{flops}");
    for kernel in kernels {
        assert!(number(kernel, "predicted_ns") > 0.0 && number(kernel, "measured_ns") > 0.0);
        assert!(number(kernel, "achieved") > 0.0 && kernel["lines"] == serde_json::json!([["glu.gate", 8]]));
    }
    let shown = String::from_utf8_lossy(&run("gatec explain two.gate --profile", dir.path()).out).into_owned();
    for entry in ["kernels of up on", "kernels of add on"] {
        assert!(shown.contains(entry), "{shown}");
    }
    assert!(shown.contains("measured on 1 thread"), "{shown}");
}

#[test]
fn what_was_tuned_stands_beside_the_model_and_is_read_from_there() {
    let dir = folder();
    let tuned = run("gatec build glu.gate --tune --tune-seconds 0.5", dir.path());
    assert_eq!(tuned.code, Some(0), "{}", tuned.said);
    let text = std::fs::read_to_string(dir.path().join("glu.tune.json")).expect("a file beside the model");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let count = file["kernels"].as_array().expect("a list").len();
    let built = std::fs::read(dir.path().join("glu.so")).expect("an artifact");

    let again = run("gatec build glu.gate -o again.so", dir.path());
    assert_eq!((again.code, again.said.as_str()), (Some(0), ""), "no entry is stale");
    assert_eq!(std::fs::read(dir.path().join("again.so")).expect("an artifact"), built, "the same choices");
    let explained: serde_json::Value =
        serde_json::from_slice(&run("gatec explain glu.gate --json", dir.path()).out).expect("JSON");
    assert_eq!(explained["tuned"].as_array().map(Vec::len), Some(count));

    std::fs::write(dir.path().join("glu.tune.json"), "what was there").expect("a file");
    assert_eq!(run("gatec build broken.gate --tune", dir.path()).code, Some(1));
    assert_eq!(run("gatec build glu.gate --tune --tuned no/glu.json --tune-seconds 0.1", dir.path()).code, Some(1));
    assert_eq!(std::fs::read(dir.path().join("glu.tune.json")).expect("it is there"), b"what was there");
}

#[test]
fn a_page_of_explain_needs_nothing_else() {
    let dir = folder();
    for options in ["--profile", "--worth"] {
        let done = run(&format!("gatec explain routed.gate {options} --html page.html"), dir.path());
        assert_eq!((done.code, done.out.len()), (Some(0), 0), "{}", done.said);
        let page = std::fs::read_to_string(dir.path().join("page.html")).expect("a page");
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        for outside in ["http", "src=", "url(", "@import", "<link", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
        // Links lead to lines that are there, and the text of the model is no markup.
        let links: Vec<&str> = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!links.is_empty());
        for link in links {
            assert!(page.contains(&format!("<span id=\"{link}\"")), "{link}");
        }
        assert!(page.contains("model routed(x: f32[t, d]) -&gt; f32[t, d] {"));
        for shown in ["grouped contract", "group_rows", "What was rewritten"] {
            assert!(page.contains(shown), "{shown}");
        }
        assert_eq!(page.contains("Measured: on this machine"), options == "--profile");
    }
    let on_output = run("gatec explain glu.gate --html -", dir.path());
    assert!(on_output.out.starts_with(b"<!doctype html>"), "{}", on_output.said);
    std::fs::write(dir.path().join("page.html"), "what was there").expect("a file");
    assert_eq!(run("gatec explain broken.gate --html page.html", dir.path()).code, Some(1));
    assert_eq!(std::fs::read(dir.path().join("page.html")).expect("it is there"), b"what was there");
    assert_eq!(run("gatec explain glu.gate --html no/page.html", dir.path()).code, Some(1));
}

#[test]
fn people_at_a_terminal_get_colour_and_programs_none() {
    let dir = folder();
    let plain = run("gatec check broken.gate", dir.path());
    assert!(!plain.said.contains('\x1b'), "{}", plain.said);
    // `script` is part of every Debian: it gives a command a terminal.
    let at_terminal = |environment: &str| {
        let line = format!("{environment} {GATEC} check broken.gate");
        let output = Command::new("script").current_dir(dir.path()).args(["-qec", &line, "/dev/null"]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if let Some(shown) = at_terminal("TERM=xterm") {
        assert!(shown.contains("\x1b[") && shown.contains("E0101"), "{shown}");
        let shown = at_terminal("TERM=xterm NO_COLOR=1").expect("as before");
        assert!(!shown.contains("\x1b[3") && shown.contains("E0101"), "{shown}");
    }
}
