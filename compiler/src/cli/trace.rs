//! `gatec run --trace`: a timeline that Perfetto and Chrome's tracing page show.
//!
//! One track for each thread, one span for each part of a call that it computed, named after the kernel and the line of the
//! model. What a thread does between spans is waiting for others. The format is Chrome's trace events:
//! microseconds, complete (`X`) and metadata (`M`) events; one event is one line.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use gatec_runtime::format::Manifest;
use gatec_runtime::{CallProfile, Session, Span};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Failure, Talk};
use crate::artifact;

/// Spans that a trace holds: of more than this a viewer shows nothing in reasonable time.
const MOST: usize = 1 << 20;

/// Phases of the program around a run, on the caller's track.
pub struct Timeline {
    start: Instant,
    /// Name, start and length in nanoseconds.
    phases: Vec<(String, u64, u64)>,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    cat: &'static str,
    pid: u32,
    tid: u32,
    ts: f64,
    dur: f64,
    args: Value,
}

impl Timeline {
    pub fn new() -> Self {
        Self { start: Instant::now(), phases: Vec::new() }
    }

    /// Does something, and remembers how long it took.
    pub fn phase<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = self.ns(Instant::now());
        let done = work();
        self.phases.push((name.into(), start, self.ns(Instant::now()) - start));
        done
    }

    fn ns(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.start).as_nanos() as u64
    }

    /// Room for spans of each thread.
    pub fn room(threads: usize) -> usize {
        (MOST / threads.max(1)).max(1)
    }

    /// Writes what a session recorded of its entry to a file, which is whole or not there.
    pub fn write(&self, path: &Path, session: &Session, talk: &Talk) -> Result<(), Failure> {
        let bytes = self.json(session).map_err(|e| Failure::file(path, e))?;
        artifact::replace(path, &bytes).map_err(|e| Failure::file(path, e))?;
        let lost = session.trace().map_or(0, gatec_runtime::Trace::lost);
        if lost > 0 {
            talk.warn(format!("{}: the first {MOST} spans only, {lost} more had no room", path.display()));
        }
        Ok(())
    }

    fn json(&self, session: &Session) -> std::io::Result<Vec<u8>> {
        let mut out = b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n".to_vec();
        let manifest = session.model().manifest();
        let process = format!("{} on {}", manifest.name, session.model().isa());
        serde_json::to_writer(&mut out, &metadata("process_name", 0, &process))?;
        for thread in 0..session.model().threads() as u32 {
            let name = if thread == 0 { "thread 0 (the caller)".into() } else { format!("thread {thread}") };
            next(&mut out, &metadata("thread_name", thread, &name))?;
        }
        for (name, ts, dur) in &self.phases {
            next(
                &mut out,
                &Event { name, ph: "X", cat: "phase", pid: 0, tid: 0, ts: us(*ts), dur: us(*dur), args: json!({}) },
            )?;
        }
        let calls = session.profile();
        let names: Vec<String> = calls.iter().map(name).collect();
        let trace = session.trace();
        let since = trace.map_or(0, |trace| self.ns(trace.since()));
        for span in trace.iter().flat_map(|trace| trace.spans()) {
            let (Some(call), Some(name)) = (calls.get(span.call as usize), names.get(span.call as usize)) else {
                continue;
            };
            let (ts, dur) = (us(since + span.start_ns), us(span.ns));
            let args = args(manifest, call, span);
            next(&mut out, &Event { name, ph: "X", cat: "kernel", pid: 0, tid: span.thread, ts, dur, args })?;
        }
        out.write_all(b"\n]}\n")?;
        Ok(out)
    }
}

fn next(out: &mut Vec<u8>, event: &impl Serialize) -> std::io::Result<()> {
    out.write_all(b",\n")?;
    Ok(serde_json::to_writer(out, event)?)
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn metadata(what: &str, thread: u32, name: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": 0, "tid": thread, "args": { "name": name } })
}

/// `contract+silu model.gate:7`
fn name(call: &CallProfile) -> String {
    match call.lines.first() {
        Some((file, line)) => format!("{} {file}:{line}", call.label),
        None => call.label.clone(),
    }
}

/// What a viewer shows of a span when it is picked. Work is that of the whole call, not of the thread's part.
fn args(manifest: &Manifest, call: &CallProfile, span: &Span) -> Value {
    let lines: Vec<String> = call.lines.iter().map(|(file, line)| format!("{file}:{line}")).collect();
    let entry = manifest.entries.get(span.entry as usize).map(|entry| entry.name.as_str());
    let mut args = json!({
        "kernel": call.label, "lines": lines, "entry": entry, "call": span.call, "flops": call.flops, "bytes": call.bytes(),
    });
    if call.around.is_some() {
        args["iteration"] = span.iteration.into();
    }
    args
}
