"""Renews the generated parts of BENCHMARKS.md, and its pictures, from the JSON files of measure.py.

    python3 tests/bench/report.py target/bench [--into BENCHMARKS.md] [--also xeon]

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else in the file is left as people wrote
it. A part whose figures were not measured stays as it is. With `--also` the figures are those of a further machine: only the table beside
other programs is renewed, in the part `peers MACHINE`.
"""
import argparse
import json
import math
import pathlib
import re

from predicted import spearman

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = "gatec"
# Differences below this are noise on a shared machine: marked, but neither lead nor lag.
NOISE = 0.15
# The larger of least flops over peak and least bytes over bandwidth, both measured in the same run.
BOUND = "the least time that the machine allows"


def figure(us):
    return f"{us:.2f}" if us < 1 else f"{us:.1f}" if us < 100 else f"{us:,.0f}"


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


def geometric(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def mark(ratio):
    if ratio <= 1:
        return f"{ratio:.2f}"
    return f"**{ratio:.2f} behind**" if ratio > 1 + NOISE else f"{ratio:.2f} behind, within the noise"


def good(peer):
    return peer and peer["ok"]


def rows(report):
    """(case, threads, {peer: us}, disturbed peers), of the cases that gatec ran."""
    for r in report["results"]:
        times = {n: p["min_us"] for n, p in r["peers"].items() if good(p)}
        yield r["case"], r["threads"], times, {n for n, p in r["peers"].items() if good(p) and p["others"] >= 0.15}, r


def peers(report, picture):
    names = [n for n in dict.fromkeys(n for r in report["results"] for n in r["peers"]) if n != OURS]
    lines = [f"| case | threads | {' | '.join(names)} | gatec | gatec / fastest other | gatec / bound |", "| --- | ---: |" + " ---: |" * (len(names) + 3)]
    ratios = {}
    failed = []
    for case, threads, times, noisy, r in rows(report):
        ours = times.get(OURS)
        best = min((us for n, us in times.items() if n != OURS), default=None)
        cells = []
        for n in names:
            if n not in times:
                cells.append("–")
                continue
            text = figure(times[n]) + ("~" if n in noisy else "")
            cells.append(f"{text} ({ours / times[n]:.2f})" if ours else text)
            if ours:
                ratios.setdefault((n, threads), []).append(ours / times[n])
        if ours and best:
            ratios.setdefault(("the fastest other", threads), []).append(ours / best)
        # Below a tenth of a microsecond a bound says nothing of a call.
        bound = r.get("bound_us") or 0
        of_bound = ours / bound if ours and bound > 0.1 else None
        if of_bound:
            ratios.setdefault((BOUND, threads), []).append(of_bound)
        if not ours:
            why = "; ".join(v for v in (r["peers"].get(OURS) or {}).get("tried", {}).values() if isinstance(v, str))
            failed.append(f"`{case}`, {threads}: gatec has no figure{': ' + why if why else ''}.")
        lines.append(f"| `{case}` | {threads} | {' | '.join(cells)} | {figure(ours) if ours else '–'} | {mark(ours / best) if ours and best else '–'} | {f'{of_bound:.2f}' if of_bound else '–'} |")
    counts = sorted({t for _, t in ratios})
    means = ["", "Geometric means of gatec's time over that of each, cases that both ran:", "",
             "| " + " | ".join(["", *(f"{t} thread{'s' * (t > 1)}" for t in counts), "cases"]) + " |", "| --- |" + " ---: |" * (len(counts) + 1)]
    for n in [*names, "the fastest other", BOUND]:
        cells = [geometric(ratios.get((n, t), [])) for t in counts]
        cases = max((len(ratios.get((n, t), [])) for t in counts), default=0)
        if cases:
            means.append(f"| {n} | " + " | ".join(f"{c:.2f}" if c else "–" for c in cells) + f" | {cases} |")
    m = report["machine"]
    # Of a program that was named on the command line the suite knows the command, which is of no use elsewhere.
    versions = ", ".join(f"{k} {v}" for k, v in sorted(report["versions"].items()) if k != OURS)
    head = [f"{report['date']}, {cpu(m)}; {versions}. Fastest run in microseconds, all programs in turn in "
            "one run; in brackets gatec's time over theirs (below 1: gatec is ahead). `~`: others used the machine meanwhile.", ""]
    shown = [f'<picture><source media="(prefers-color-scheme: dark)" srcset="docs/{picture}-dark.svg">',
             f'<img src="docs/{picture}-light.svg" alt="gatec\'s time over that of the fastest other program, for each case"></picture>', ""]
    return head + shown + lines + means + ([""] + failed if failed else [])


def bars(report, dark):
    """A bar for each case: gatec over the fastest other, by a logarithmic scale, one colour for each number of threads."""
    data = {}
    for case, threads, times, _, _ in rows(report):
        best = min((us for n, us in times.items() if n != OURS), default=None)
        if best and OURS in times:
            data.setdefault(case, {})[threads] = times[OURS] / best
    ink, faint, colours = ("#e6edf3", "#3d444d", ["#58a6ff", "#3fb950", "#d29922"]) if dark else ("#1f2328", "#d1d9e0", ["#0969da", "#1a7f37", "#9a6700"])
    left, width, high, gap = 150, 430, 9, 8
    counts = sorted({t for d in data.values() for t in d})
    low, top = math.log(0.1), math.log(2)
    x = lambda ratio: left + width * (min(max(math.log(ratio), low), top) - low) / (top - low)
    height = 40 + len(data) * (high * len(counts) + gap)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height}" font-family="sans-serif" font-size="11" fill="{ink}">',
           "<title>gatec's time over that of the fastest other program; left of the line gatec is ahead</title>"]
    for tick in (0.1, 0.2, 0.5, 1, 2):
        stroke = f'stroke="{ink}" stroke-width="1.5"' if tick == 1 else f'stroke="{faint}"'
        out.append(f'<path d="M{x(tick):.1f} 16V{height - 16}" {stroke}/><text x="{x(tick):.1f}" y="{height - 4}" text-anchor="middle">{tick}</text>')
    for i, t in enumerate(counts):
        out.append(f'<text x="{left + 110 * i}" y="11" fill="{colours[i % 3]}">{t} thread{"s" * (t > 1)}</text>')
    y = 20
    for case, ratios in data.items():
        out.append(f'<text x="{left - 6}" y="{y + high * len(counts) / 2 + 4:.0f}" text-anchor="end">{case}</text>')
        for i, t in enumerate(counts):
            if t in ratios:
                a, b = sorted((x(1), x(ratios[t])))
                out.append(f'<rect x="{a:.1f}" y="{y}" width="{max(b - a, 1):.1f}" height="{high - 1}" fill="{colours[i % 3]}"/>')
                out.append(f'<text x="{x(ratios[t]) + (4 if ratios[t] > 1 else -4):.1f}" y="{y + high - 1}" font-size="9" text-anchor="{"start" if ratios[t] > 1 else "end"}">{ratios[t]:.2f}</text>')
            y += high
        y += gap
    return "\n".join([*out, "</svg>"]) + "\n"


def miss(kernel):
    """By which factor a kernel takes longer than predicted."""
    return kernel["measured_ns"] / kernel["predicted_ns"]


# What a kernel does, as its name begins.
CLASSES = {"contract": "contraction", "grouped": "contraction by expert", "attend": "attention", "walk": "recurrence",
           "top_k": "top-k", "group_rows": "sorting by expert", "reduce": "folds"}


def class_of(kernel):
    return next((name for start, name in CLASSES.items() if kernel["kernel"].startswith(start)), "maps and copies")


def predicted(about):
    kernels = about["kernels"]
    share = lambda ks, factor: sum(1 / factor <= miss(k) <= factor for k in ks) / len(ks)
    pairs = lambda ks: [(k["predicted_ns"], k["measured_ns"]) for k in ks]
    lines = [f"{about['date']}, {cpu(about['machine'])}, one thread; `{about['command']}`.", "",
             '<picture><source media="(prefers-color-scheme: dark)" srcset="docs/predicted-dark.svg">',
             '<img src="docs/predicted-light.svg" alt="predicted and measured time of every kernel, both by logarithmic scales"></picture>', "",
             f"Rank correlation (Spearman) of {len(kernels)} kernels: **{spearman(pairs(kernels)):.3f}**.", "",
             "| kernels | | rank correlation | within 1.5 times | within 2 times |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in [*dict.fromkeys([*CLASSES.values(), "maps and copies"]), "all"]:
        ks = [k for k in kernels if name in ("all", class_of(k))]
        if len(ks) > 2:
            lines.append(f"| {name} | {len(ks)} | {spearman(pairs(ks)):.2f} | {100 * share(ks, 1.5):.0f} % | {100 * share(ks, 2):.0f} % |")
    worst = sorted(kernels, key=lambda k: -abs(math.log(miss(k))))[:5]
    told = [f"`{k['kernel']}` of `{pathlib.Path(k['case']).parent.name}/{pathlib.Path(k['case']).name}` ({k['sizes']}): {figure(k['predicted_ns'] / 1e3)} us predicted, {figure(k['measured_ns'] / 1e3)} measured"
            for k in worst]
    return [*lines, "", "Furthest off: " + "; ".join(told) + "."]


def scatter(about, dark):
    """A dot for each kernel: predicted time to the right, measured time upwards."""
    ink, faint, colours = ("#e6edf3", "#3d444d", ["#58a6ff", "#3fb950", "#d29922", "#f85149", "#bc8cff", "#39c5cf", "#db61a2", "#8b949e"]) if dark else \
                          ("#1f2328", "#d1d9e0", ["#0969da", "#1a7f37", "#9a6700", "#cf222e", "#8250df", "#1b7c83", "#bf3989", "#59636e"])
    times = [k[key] for k in about["kernels"] for key in ("predicted_ns", "measured_ns")]
    low, top = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    left, size, legend = 60, 420, 150
    at = lambda ns: size * (math.log10(ns) - low) / (top - low)
    x, y = (lambda ns: left + at(ns)), (lambda ns: 12 + size - at(ns))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + size + legend}" height="{size + 50}" font-family="sans-serif" font-size="11" fill="{ink}">',
           "<title>predicted and measured time of every kernel; on the line both are equal, between the thin lines they differ by less than twice</title>"]
    for power in range(low, top + 1):
        ns = 10.0 ** power
        name = f"{ns:g} ns" if power < 3 else f"{ns / 1e3:g} us" if power < 6 else f"{ns / 1e6:g} ms"
        out.append(f'<path d="M{x(ns):.1f} 12V{12 + size}M{left} {y(ns):.1f}H{left + size}" stroke="{faint}"/>')
        out.append(f'<text x="{x(ns):.1f}" y="{size + 28}" text-anchor="middle">{name}</text><text x="{left - 6}" y="{y(ns) + 4:.1f}" text-anchor="end">{name}</text>')
    first, last = 10.0 ** low, 10.0 ** top
    out.append(f'<path d="M{x(first):.1f} {y(first):.1f}L{x(last):.1f} {y(last):.1f}" stroke="{ink}"/>')
    out.append(f'<path d="M{x(2 * first):.1f} {y(first):.1f}L{x(last):.1f} {y(last / 2):.1f}M{x(first):.1f} {y(2 * first):.1f}L{x(last / 2):.1f} {y(last):.1f}" stroke="{ink}" stroke-width="0.4"/>')
    out.append(f'<text x="{left + size / 2}" y="{size + 44}" text-anchor="middle">predicted</text><text x="{left + 6}" y="24">measured</text>')
    names = dict.fromkeys([*CLASSES.values(), "maps and copies"])
    for i, name in enumerate(names):
        for k in about["kernels"]:
            if class_of(k) == name:
                out.append(f'<circle cx="{x(k["predicted_ns"]):.1f}" cy="{y(k["measured_ns"]):.1f}" r="2.2" fill="{colours[i]}" fill-opacity="0.7"/>')
        out.append(f'<circle cx="{left + size + 16}" cy="{20 + 16 * i}" r="4" fill="{colours[i]}"/><text x="{left + size + 26}" y="{24 + 16 * i}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def silero(about, machine):
    lines = [f"{about['date']}, {cpu(machine)}, one thread, microseconds for 32 ms of sound; ONNX Runtime {about['onnxruntime']} runs the package's own models, in turn "
             "(`tests/bench/silero.py`).", "", "| | ONNX Runtime | gatec | ratio |", "| --- | ---: | ---: | ---: |"]
    return lines + [f"| `{name}` | {o:.1f} | {g:.1f} | {mark(g / o)} |" for name, o, g in about["rows"]]


def cpu(m):
    return f"{m['cpu']} ({m['family']}), {m['cores']} processors, {' '.join(m['simd'])}"


def heading(about):
    return f"{about['date']}, {cpu(about['machine'])}, LLVM {about['llvm']}; `{about['command']}`."


def roofline(about):
    lines = [heading(about), "", "| model | entry | threads | fastest | median | GFLOP/s | GB/s | of the roofline | first result |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    faults = []
    for r in about["runs"]:
        t = r["total"]
        first = f"{r['first_result_ns'] / 1e6:.1f} ms" if r["first_result_ns"] else "–"
        sizes = f" ({r['sizes']})" if r["sizes"] else ""
        lines.append(f"| {r['model']} | `{r['entry']}`{sizes} | {r['threads']} | {r['min_ns'] / 1e3:,.1f} us | {r['median_ns'] / 1e3:,.1f} us | "
                     f"{t['gflops']:.0f} | {t['gbytes_per_s']:.0f} | {100 * t['achieved']:.0f} % | {first} |")
        faults += [f"`{r['entry']}`, {r['threads']} threads: {fault}." for fault in r["faults"]]
    peaks = {r["threads"]: r["roofline"] for r in about["runs"]}
    for threads, roof in sorted(peaks.items()):
        sets = ", ".join(f"{x['gbytes_per_s']:.0f} GB/s from {x['working_set_bytes'] >> 10} KiB" for x in roof["read"])
        lines += ["", f"Roofline, {threads} thread{'s' * (threads > 1)}: {roof['peak_gflops']:.0f} GFLOP/s, {sets}."]
    return lines + ([""] + faults if faults else [])


def builds(about):
    lines = [heading(about), "", "| | build | artifact |", "| --- | ---: | ---: |"]
    return lines + [f"| {b['name']} | {b['seconds']:.2f} s | {b['bytes'] / 1000:.0f} kB |" for b in about["builds"]]


def scale(about):
    lines = [f"{about['date']}, {cpu(about['machine'])}, LLVM {about['llvm']}; `{about['command']}`. The decoder is that of "
             f"`examples/moe-transformer` with {about['experts']} experts.", "",
             "| model | e-graphs | e-nodes | the largest | classes | rounds | rewriting | whole build | peak memory | warnings |",
             "| --- |" + " ---: |" * 9]
    for r in about["rows"]:
        e = r["egraphs"]
        rewriting = sum(stage["ms"] for stage in r["stages"] if stage["stage"] == "optimize") / 1e3
        lines.append(f"| {r['name']} | {r['regions']} | {e['nodes']:,} | {e['largest']:,} | {e['classes']:,} | {e['rounds']} | {rewriting:.2f} s | "
                     f"{r['seconds']:.2f} s | {r['peak_kib'] / 1024:.0f} MiB | {len(r['warnings'])} |")
    warnings = [f"{r['name']}: {warning}." for r in about["rows"] for warning in r["warnings"]]
    return lines + ([""] + warnings if warnings else [])


def of(about):
    return f"{about['date']}, {cpu(about['machine'])}"


def side_by_side(about):
    """Cases of more.py: gatec beside the others."""
    names = [n for n in dict.fromkeys(n for r in about["rows"] for n in r.get("us", {})) if n != OURS]
    lines = [f"{of(about)}, one thread, f32; torch {about['torch']}. Fastest run in microseconds, in turn; in brackets gatec's time over theirs.", "",
             f"| case | {' | '.join(names)} | gatec |", "| --- |" + " ---: |" * (len(names) + 1)]
    for r in about["rows"]:
        us = r.get("us", {})
        cells = [f"{figure(us[n])} ({us[OURS] / us[n]:.2f})" if n in us else "–" for n in names]
        ours = figure(us[OURS]) if us else f"wrong by {r['error']:.1e}"
        lines.append(f"| {r['case']} | {' | '.join(cells)} | {ours} |")
    return lines


def work(about):
    counts = sorted({r["experts"] for r in about["rows"]})
    sizes = sorted({r["rows"] for r in about["rows"]})
    us = {(r["experts"], r["rows"]): r["us"] for r in about["rows"]}
    picture = ['<picture><source media="(prefers-color-scheme: dark)" srcset="docs/work-dark.svg">',
               '<img src="docs/work-light.svg" alt="time by rows, a line for each number of experts"></picture>', ""]
    lines = [f"{of(about)}, one thread. Microseconds.", "", *picture, f"| rows | {' | '.join(f'{e} experts' for e in counts)} |",
             "| ---: |" + " ---: |" * len(counts)]
    return lines + [f"| {t:,} | {' | '.join(figure(us[e, t]) for e in counts)} |" for t in sizes]


def curves(about, dark):
    """Time by rows, both logarithmic, a line for each number of experts."""
    ink, faint, colours = (("#e6edf3", "#3d444d", ["#58a6ff", "#3fb950", "#d29922", "#f778ba"]) if dark
                           else ("#1f2328", "#d1d9e0", ["#0969da", "#1a7f37", "#9a6700", "#bf3989"]))
    rows = about["rows"]
    times, sizes = [r["us"] for r in rows], sorted({r["rows"] for r in rows})
    left, top, width, height = 60, 24, 480, 300
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    most = math.log2(max(sizes))
    x = lambda n: left + width * math.log2(n) / most
    y = lambda us: top + height * (high - math.log10(us)) / (high - low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 100}" height="{top + height + 40}" font-family="sans-serif" font-size="11" fill="{ink}">',
           "<title>Time of a layer of experts by rows, two experts a row</title>", f'<text x="{left}" y="12">microseconds</text>',
           f'<text x="{left + width}" y="{top + height + 34}" text-anchor="end">rows</text>']
    for n in sizes:
        out.append(f'<path d="M{x(n):.1f} {top}V{top + height}" stroke="{faint}"/><text x="{x(n):.1f}" y="{top + height + 16}" text-anchor="middle">{n:,}</text>')
    for power in range(low, high + 1):
        out.append(f'<path d="M{left} {y(10 ** power):.1f}H{left + width}" stroke="{faint}"/><text x="{left - 6}" y="{y(10 ** power) + 4:.1f}" text-anchor="end">{10 ** power:,}</text>')
    for i, e in enumerate(sorted({r["experts"] for r in rows})):
        line = sorted((r["rows"], r["us"]) for r in rows if r["experts"] == e)
        points = " ".join(f"{x(n):.1f},{y(us):.1f}" for n, us in line)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colours[i % 4]}" stroke-width="2"/>')
        out.append(f'<text x="{left + width + 8}" y="{top + 14 + 16 * i}" fill="{colours[i % 4]}">{e} experts</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def load(about):
    lines = [f"A call with nothing to do: {about['null_ns'] / 1e3:.2f} us.", "", "| tokens | uncounted | counted | costs |", "| ---: | ---: | ---: | ---: |"]
    lines += [f"| {r['tokens']} | {figure(r['plain_ns'] / 1e3)} us | {figure(r['counted_ns'] / 1e3)} us | {100 * r['costs']:.1f} % |" for r in about["counting"]]
    lines += ["", "| case | one session, calls in a second | many sessions | ratio |", "| --- | ---: | ---: | ---: |"]
    for r in about["load"]:
        lines.append(f"| `{r['case']}`, sizes {r['size']} | {r['one_calls_per_s']:,.0f} ({r['threads']} threads) | "
                     f"{r['many_calls_per_s']:,.0f} ({r['sessions']} sessions) | {r['many_over_one']:.2f} |")
    return lines


def renew(text, name, lines):
    """The text with the lines in the part of that name."""
    part = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not part.search(text):
        raise SystemExit(f"no part `{name}`: it begins with <!-- begin {name} --> and ends with <!-- end {name} -->")
    return part.sub(lambda m: m[1] + "\n".join(lines) + "\n" + m[2], text)


def write(path, text):
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("results", type=pathlib.Path)
    ap.add_argument("--into", type=pathlib.Path, default=ROOT / "BENCHMARKS.md")
    ap.add_argument("--pictures", type=pathlib.Path, default=ROOT / "docs")
    ap.add_argument("--also", metavar="MACHINE", help="the figures are those of a further machine")
    a = ap.parse_args()
    text = a.into.read_text()
    if report := read(a.results / "peers.json"):
        part, picture = (f"peers {a.also}", f"benchmarks-{a.also}") if a.also else ("peers", "benchmarks")
        text = renew(text, part, peers(report, picture))
        for dark in (False, True):
            (a.pictures / f"{picture}-{'dark' if dark else 'light'}.svg").write_text(bars(report, dark))
    if a.also:
        return write(a.into, text)
    ours = read(a.results / "gatec.json")
    if ours:
        text = renew(renew(text, "roofline", roofline(ours)), "builds", builds(ours))
    if ours and (about := read(a.results / "silero.json")):
        text = renew(text, "silero", silero(about, ours["machine"]))
    if about := read(a.results / "predicted.json"):
        text = renew(text, "predicted", predicted(about))
        for dark in (False, True):
            (a.pictures / f"predicted-{'dark' if dark else 'light'}.svg").write_text(scatter(about, dark))
    more = read(a.results / "more.json") or {}
    parts = {"experts": side_by_side, "recurrences": side_by_side, "work": work}
    for name in parts.keys() & more.keys():
        text = renew(text, name, parts[name](more[name]))
    if "work" in more:
        for dark in (False, True):
            (a.pictures / f"work-{'dark' if dark else 'light'}.svg").write_text(curves(more["work"], dark))
    if about := read(a.results / "load.json"):
        text = renew(text, "load", load(about))
    write(a.into, text)
    if about := read(a.results / "scale.json"):
        page = ROOT / "docs/scale.md"
        write(page, renew(page.read_text(), "scale", scale(about)))


if __name__ == "__main__":
    main()
