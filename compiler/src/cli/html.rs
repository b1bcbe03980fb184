//! `gatec explain --html`: one page that needs nothing else: kernels with their times, the rules that fired, and the source, each
//! line with its share of the time.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::bench::{size, time};
use super::profile::{Kernel, Profile, count, percent};
use super::slower;
use crate::graph::Module;
use crate::pipeline::Report;
use crate::plan::Planned;

/// What the page is about.
pub struct Page<'a> {
    pub model: &'a str,
    pub doc: &'a str,
    pub module: &'a Module,
    pub report: &'a Report,
    pub planned: &'a Planned,
    pub profiles: &'a [Profile],
}

const STYLE: &str = "
:root { --ink: #1b1f24; --faint: #667; --paper: #fff; --band: #f3f4f6; --bar: #d9480f; --other: #1c7ed6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --faint: #99a; --paper: #15171a; --band: #202327; --bar: #ff922b; --other: #74c0fc; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; } p.faint, .faint { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { text-align: right; padding: .15rem .6rem; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid var(--faint); } th:first-child, td:first-child, .left { text-align: left; }
tbody tr:nth-child(even) { background: var(--band); } td.why { white-space: normal; text-align: left; min-width: 20rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; } a { color: var(--other); text-decoration: none; }
.bar { display: inline-block; height: .6em; background: var(--bar); } .bar.expected { background: var(--other); opacity: .6; }
.track { display: inline-block; width: 8rem; text-align: left; line-height: .7; }
pre.source { border: 1px solid var(--band); padding: .5rem 0; overflow-x: auto; } pre.source span { display: block; padding: 0 .6rem; }
pre.source span:target { outline: 2px solid var(--other); } pre.source i { font-style: normal; color: var(--faint); display: inline-block; width: 9rem; }
";

impl Page<'_> {
    pub fn html(&self) -> String {
        let model = escaped(self.model);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{model}: gatec explain</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body>\n\
             <h1>{model}</h1>\n"
        );
        for line in self.doc.lines().filter(|line| !line.is_empty()) {
            let _ = writeln!(out, "<p>{}</p>", escaped(line));
        }
        for profile in self.profiles {
            self.kernels(profile, &mut out);
        }
        self.rules(&mut out);
        self.slower(&mut out);
        self.source(&mut out);
        out += "</body></html>\n";
        out
    }

    fn kernels(&self, profile: &Profile, out: &mut String) {
        let _ =
            writeln!(out, "<h2>Entry <code>{}</code></h2>\n<p>{}.", escaped(&profile.entry), escaped(&profile.about()));
        if let Some(cost) = self.report.costs.iter().find(|c| c.entry == profile.form) {
            let (before, after) = (time(cost.before_ns), time(cost.after_ns));
            let _ = write!(out, " By the cost model of the rewriting: {before} as it was written, {after} as it runs.");
        }
        *out += "</p>\n<div class=\"wide\"><table><thead><tr><th>kernel<th>calls<th>flops<th>bytes<th>predicted<th>measured\
                 <th>of the roofline<th>bound by<th>of the run<th class=\"left\"><th class=\"left\">source</tr></thead><tbody>\n";
        let all: f64 = profile.kernels.iter().map(Kernel::run_ns).sum();
        let most = profile.kernels.iter().map(|k| k.run_ns().max(k.calls * k.predicted_ns)).fold(1.0, f64::max);
        for kernel in &profile.kernels {
            let bar = |class: &str, ns: f64| {
                format!("<span class=\"{class}\" style=\"width:{:.1}%\"></span>", 100.0 * ns / most)
            };
            let mut bars = bar("bar expected", kernel.calls * kernel.predicted_ns);
            if kernel.measured_ns.is_some() {
                bars = bar("bar", kernel.run_ns()) + "<br>" + &bars;
            }
            let _ = writeln!(
                out,
                "<tr><td><code>{}</code><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td><span class=\"track\">{bars}</span>\
                 <td class=\"left\">{}</tr>",
                escaped(&kernel.kernel),
                kernel.calls,
                count(kernel.flops),
                size(kernel.bytes),
                time(kernel.predicted_ns),
                kernel.measured_ns.map(time).unwrap_or_default(),
                kernel.achieved.map(percent).unwrap_or_default(),
                kernel.bound_by.unwrap_or_default(),
                percent(kernel.run_ns() / all.max(1.0)),
                self.links(&kernel.lines),
            );
        }
        *out += "</tbody></table></div>\n<p class=\"faint\">Times, flops and bytes of one call. Predicted: one core of a typical machine, \
                 everything from its caches";
        *out += if profile.measured.is_some() { " (pale bars). Measured: on this machine.</p>\n" } else { ".</p>\n" };
    }

    fn rules(&self, out: &mut String) {
        if self.report.fired.is_empty() {
            return;
        }
        let worth = self.report.fired.iter().any(|f| f.without_ns.is_some());
        *out += "<h2>What was rewritten</h2>\n<div class=\"wide\"><table><thead><tr><th>rule<th>entry<th>nodes";
        *out += if worth { "<th>without it" } else { "" };
        *out += "<th class=\"left\">why<th class=\"left\">source</tr></thead><tbody>\n";
        for fired in &self.report.fired {
            let without = fired.without_ns.map(time).unwrap_or_default();
            let without = if worth { format!("<td>{without}") } else { String::new() };
            let _ = writeln!(
                out,
                "<tr><td><code>{}</code><td>{}<td>{}{without}<td class=\"why\">{}<td class=\"left\">{}</tr>",
                escaped(fired.rule),
                escaped(&fired.entry),
                fired.count,
                escaped(fired.why),
                self.links(&fired.lines)
            );
        }
        *out += "</tbody></table></div>\n";
    }

    fn slower(&self, out: &mut String) {
        if self.planned.slower.is_empty() {
            return;
        }
        let isa = self.planned.variant.isa;
        let _ = writeln!(
            out,
            "<h2>Slower ways on {isa}</h2>\n<div class=\"wide\"><table><thead><tr><th>value<th>entry<th class=\"left\">way\
             <th class=\"left\">why<th class=\"left\">source</tr></thead><tbody>"
        );
        for slower in &self.planned.slower {
            let _ = writeln!(
                out,
                "<tr><td><code>{}</code><td>{}<td class=\"left\">{}<td class=\"why\">{}<td class=\"left\">{}</tr>",
                escaped(&slower.value),
                escaped(slower::entry(self.module, slower)),
                escaped(slower.way.words()),
                escaped(&slower.why),
                self.links(slower.line.as_slice())
            );
        }
        *out += "</tbody></table></div>\n";
    }

    /// Each file; beside a line its share of the time of all entries.
    fn source(&self, out: &mut String) {
        let mut shares: BTreeMap<(&str, u32), f64> = BTreeMap::new();
        let all: f64 = self.profiles.iter().flat_map(|p| &p.kernels).map(Kernel::run_ns).sum();
        for kernel in self.profiles.iter().flat_map(|p| &p.kernels) {
            for (file, line) in &kernel.lines {
                let part = kernel.run_ns() / all.max(1.0) / kernel.lines.len() as f64;
                *shares.entry((file, *line)).or_default() += part;
            }
        }
        for (number, (path, text)) in self.module.files.iter().enumerate() {
            let _ = write!(out, "<h2><code>{}</code></h2>\n<pre class=\"source\">", escaped(path));
            for (line, code) in text.lines().enumerate() {
                let line = line as u32 + 1;
                let share = shares.get(&(path.as_str(), line)).copied().unwrap_or(0.0);
                let shown = if share >= 0.005 { percent(share) } else { String::new() };
                let heat =
                    format!("background:color-mix(in srgb, var(--bar) {:.0}%, transparent)", 60.0 * share.min(1.0));
                let heat = if shown.is_empty() { String::new() } else { format!(" style=\"{heat}\"") };
                let code = escaped(code);
                let _ = write!(out, "<span id=\"f{number}-{line}\"{heat}><i>{shown:>5} {line:>5}</i>{code}</span>");
            }
            *out += "</pre>\n";
        }
    }

    /// Links to lines of the source on this page.
    fn links(&self, lines: &[(String, u32)]) -> String {
        let link = |(file, line): &(String, u32)| {
            let shown = escaped(&format!("{file}:{line}"));
            match self.module.files.iter().position(|(path, _)| path == file) {
                Some(number) => format!("<a href=\"#f{number}-{line}\">{shown}</a>"),
                None => shown,
            }
        };
        lines.iter().map(link).collect::<Vec<_>>().join(" ")
    }
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
