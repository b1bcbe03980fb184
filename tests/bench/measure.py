"""Everything that BENCHMARKS.md shows, measured into JSON files that report.py reads: `make bench` calls both.

    python3 tests/bench/measure.py --out target/bench [--peers SUITE --python PYTHON] [--cases null,lstm] [--threads 1,2]

SUITE is a checkout of the peer suite (its bench.py runs other programs and gatec's adapter in turn), PYTHON the interpreter that
has its packages. Without them gatec is measured alone. The programs must be built: gatec, gatec-peer and vad-demo.
"""
import argparse
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
VAD = ROOT / "examples/silero-vad"
BUILDS = 3
# Run in the suite: the least time that its roofline allows, beside the figures of each case.
BOUNDS = """import json, sys
from roofline.measure import bound_us
path = sys.argv[1]
report = json.load(open(path))
for r in report["results"]:
    roof = report["roofline"]
    r["bound_us"] = bound_us(roof.get(str(r["threads"])) or roof[r["threads"]], r)[0]
json.dump(report, open(path, "w"))
"""


def machine():
    info = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    simd = [f for f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if f in info.get("flags", "").split()]
    return {"cpu": info.get("model name", platform.machine()), "cores": len(os.sched_getaffinity(0)), "simd": simd,
            "family": f"{info.get('cpu family')}/{info.get('model')}"}


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, **options)


def output(*command):
    return run(*command, capture_output=True, text=True).stdout


def build(gatec, name, model, out):
    """The fastest of a few builds; the artifact's size."""
    best = None
    for _ in range(BUILDS):
        start = time.perf_counter()
        about = json.loads(output(gatec, "build", model, "-o", out, "--json"))
        took = time.perf_counter() - start
        best = min(best or took, took)
    return {"name": name, "seconds": best, "bytes": about["bytes"]}


def systems():
    """The models of the zoo; some stand in several folders, with other sizes."""
    cases = sorted((ROOT / "examples/zoo").glob("*/case.toml"))
    return sorted({(case.parent / tomllib.loads(case.read_text())["model"]).resolve() for case in cases})


def ours(gatec, work, threads, seconds):
    """Builds, and runs against the roofline."""
    vad = work / "vad.so"
    builds = [build(gatec, "Silero VAD", VAD / "vad.gate", vad),
              build(gatec, "12 layers with experts", ROOT / "examples/moe-transformer/model.gate", work / "moe.so")]
    runs = []
    for count in threads:
        for entry, sizes in (("chunk", []), ("whole", ["--size", "step=512"])):
            text = output(gatec, "bench", vad, "--entry", entry, "--weights", VAD / "released.safetensors",
                          "--threads", count, "--seconds", seconds, "--json", *sizes)
            runs.append({"model": "Silero VAD", "sizes": " ".join(sizes[1:])} | json.loads(text))
    return {"builds": builds, "runs": runs}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, default=ROOT / "target/bench")
    ap.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release", help="where gatec and gatec-peer are")
    ap.add_argument("--peers", type=pathlib.Path, help="a checkout of the peer suite")
    ap.add_argument("--python", default=sys.executable, help="the Python that has the suite's packages")
    ap.add_argument("--cases", default="null,swiglu_ffn,moe_mixtral,lstm,gru")
    ap.add_argument("--others", default="torch,torch_compile,onnxruntime,openvino,jax,iree", help="the peers to run")
    ap.add_argument("--threads", default="1,2")
    ap.add_argument("--seconds", default="1", help="for each case and peer")
    ap.add_argument("--rounds", default="5")
    ap.add_argument("--only-gatec", action="store_true", help="leave out the peers, keep their last figures")
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    threads = [int(n) for n in a.threads.split(",")]
    # As somebody else would type it: the paths of this machine are of no use to him.
    others = " PEERS=SUITE PYTHON=ITS_PYTHON" if a.peers else ""
    given = [f"--{name} {value}" for name, value in vars(a).items()
             if name in ("cases", "others", "threads", "seconds", "rounds") and value != ap.get_default(name)]
    options = f" BENCH={shlex.quote(' '.join(given))}" if given else ""
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "command": f"make bench{others}{options}",
             "llvm": (ROOT / "target/llvm-version").read_text().strip()}
    about |= ours(a.programs / "gatec", a.out, threads, a.seconds)
    (a.out / "gatec.json").write_text(json.dumps(about, indent=1))
    if a.peers and not a.only_gatec:
        suite = a.peers.resolve()
        run(a.python, "bench.py", "--cases", a.cases, "--peers", a.others, "--peer", f"gatec={shlex.quote(str(a.programs.resolve() / 'gatec-peer'))}",
            "--threads", a.threads, "--seconds", a.seconds, "--rounds", a.rounds, "--case-dir", a.out.resolve() / "cases",
            "--json", a.out.resolve() / "peers.json", cwd=suite, stdout=subprocess.DEVNULL)
        run(a.python, "-c", BOUNDS, a.out.resolve() / "peers.json", cwd=suite)
        has_silero = subprocess.run([a.python, "-c", "import silero_vad, onnxruntime"], capture_output=True).returncode == 0
        try:
            if has_silero:
                run(a.programs / "gatec", "build", VAD / "vad.gate", "-o", ROOT / "target/vad.so")
                run(a.python, ROOT / "tests/bench/silero.py", "--json", a.out / "silero.json")
            else:
                print("note: no silero_vad or onnxruntime in that Python: Silero beside ONNX Runtime was not measured", file=sys.stderr)
        except subprocess.CalledProcessError as failed:
            print(f"warning: {failed}", file=sys.stderr)


if __name__ == "__main__":
    main()
