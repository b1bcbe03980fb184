"""What builds cost as models grow: e-graphs, time and memory of `gatec build` for every example, every system of the zoo, and for a decoder of more and more
layers. Writes scale.json, which report.py makes the table of docs/scale.md from: `make scale`.

    python3 tests/bench/scale.py --out target/bench
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

from measure import ROOT, machine, systems

DECODER = ROOT / "examples/moe-transformer/model.gate"
LAYERS = [1, 8, 24, 48]
EXPERTS = 128


def decoder(layers, is_written_out):
    """The decoder of the examples with so many layers and EXPERTS experts, as one `repeat` or with each layer written out."""
    text = DECODER.read_text()
    text = re.sub(r"axis e = \d+", f"axis e = {EXPERTS}", text)
    loop = re.compile(r"    let y = repeat layer in \d+ carry x \{\n(.*?)        next x\n    \}\n", re.DOTALL)
    body = loop.search(text)[1]
    if not is_written_out:
        return text.replace(loop.search(text)[0], f"    let y = repeat layer in {layers} carry x {{\n{body}        next x\n    }}\n")
    block = "block one(x: f32[.., seq, d]) -> f32[.., seq, d] {\n" + body.replace("        ", "    ") + "    x\n}\n\n"
    calls = "".join(f"    let x{n + 1} = l{n}: one(x{n})\n" for n in range(layers)).replace("(x0)", "(x)")
    return loop.sub("", text).replace("model decoder", block + "model decoder").replace("    param final", calls + "    param final").replace("rmsnorm[d](y,", f"rmsnorm[d](x{layers},")


def build(gatec, name, model, out):
    """One build; time and memory as the system counts them."""
    start = time.perf_counter()
    child = subprocess.Popen([str(gatec), "build", str(model), "-o", str(out), "--json"], stdout=subprocess.PIPE, text=True)
    about = json.loads(child.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{name}: gatec failed")
    return {"name": name, "seconds": time.perf_counter() - start, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_kib": usage.ru_maxrss} | about


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, default=ROOT / "target/bench")
    ap.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release", help="where gatec is")
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    gatec, rows = a.programs / "gatec", []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for model in [*sorted((ROOT / "examples").glob("*/*.gate")), *systems()]:
            rows.append(build(gatec, f"{model.parent.name}/{model.name}", model, folder / "built.so"))
            print(rows[-1]["name"], f"{rows[-1]['seconds']:.1f} s", flush=True)
        for is_written_out in (False, True):
            for layers in LAYERS:
                model = folder / "decoder.gate"
                model.write_text(decoder(layers, is_written_out))
                name = f"{layers} layers, {'written out' if is_written_out else 'repeat'}"
                rows.append(build(gatec, name, model, folder / "built.so"))
                print(name, f"{rows[-1]['seconds']:.1f} s", flush=True)
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "command": "make scale", "experts": EXPERTS, "rows": rows,
             "llvm": (ROOT / "target/llvm-version").read_text().strip()}
    (a.out / "scale.json").write_text(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
