"""How well the cost model predicts: the time that it expects of every kernel beside the time that the kernel takes.

    python3 tests/bench/predicted.py --out target/bench [--machine FILE] [--threads 1]

Runs `gatec explain --profile --json` over CASES, and writes predicted.json; report.py draws it and prints the rank correlation. Without
`--machine` this machine is measured first (`gatec calibrate`).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

from measure import ROOT, machine, run, systems

# Model, axes that get another size (weights of a few MB, not GB), and sizes of its symbols.
PEERS, RUN = "tests/bench/cases", "tests/filetests/run"
CASES = [
    ("examples/gru/gru.gate", "", ["t=1,batch=1", "t=64,batch=1", "t=64,batch=16"]),
    ("examples/lstm/lstm.gate", "", ["t=1,batch=1", "t=64,batch=1", "t=64,batch=16"]),
    ("examples/mixtral-ffn/model.gate", "d=512,h=1792", ["tokens=1", "tokens=16", "tokens=256"]),
    ("examples/mixtral-bf16/model.gate", "d=512,h=1792", ["tokens=1", "tokens=16", "tokens=256"]),
    ("examples/moe-transformer/model.gate", "", ["batch=1,seq=1", "batch=1,seq=64"]),
    ("examples/silero-vad/vad.gate", "", ["step=1", "step=64"]),
    (f"{PEERS}/early_exit.gate", "", ["b=1", "b=64"]),
    (f"{PEERS}/gated_attention.gate", "", ["t=64", "t=512"]),
    (f"{PEERS}/gated_attention_decode.gate", "", ["s=1023"]),
    (f"{PEERS}/gatedgcn.gate", "", ["n=32,e=80", "n=2000,e=16000"]),
    (f"{PEERS}/gla.gate", "", ["t=1", "t=256"]),
    (f"{PEERS}/gmlp.gate", "", ["b=1", "b=8"]),
    (f"{PEERS}/gru.gate", "", ["t=1,b=1", "t=64,b=1", "t=64,b=32"]),
    (f"{PEERS}/lstm.gate", "", ["t=1,b=1", "t=64,b=1", "t=64,b=32"]),
    (f"{PEERS}/mingru.gate", "", ["t=1", "t=1024"]),
    (f"{PEERS}/mmoe.gate", "", ["b=1", "b=512"]),
    (f"{PEERS}/moe_cnn.gate", "", ["b=1", "b=4"]),
    (f"{PEERS}/moe_deepseek.gate", "", ["t=1", "t=16", "t=512"]),
    (f"{PEERS}/moe_mixtral.gate", "", ["t=1", "t=16", "t=512"]),
    (f"{PEERS}/ninformer.gate", "", ["b=1", "b=8"]),
    (f"{PEERS}/swiglu_ffn.gate", "", ["t=1", "t=16", "t=256"]),
    (f"{PEERS}/switch_top1.gate", "", ["t=1", "t=512"]),
    (f"{RUN}/attention.gate", "d=64,head=4,k=16", ["b=4,seq=64", "b=4,seq=256"]),
    (f"{RUN}/norms.gate", "d=256", ["t=16", "t=512"]),
    (f"{RUN}/quantized-tiles.gate", "", ["t=1", "t=64"]),
    (f"{RUN}/recurrences.gate", "", ["t=256,b=1", "t=64,b=8"]),
    (f"{RUN}/reductions.gate", "d=256", ["t=64"]),
    (f"{RUN}/segments.gate", "d=64", ["node=256,edge=1024"]),
]
# The systems as they are in the tests; those whose inputs must be indices of something cannot have random ones.
CASES += [(str(model.relative_to(ROOT)), "", [""]) for model in systems()]


def spearman(pairs):
    """Rank correlation; equal values share their mean rank."""
    def ranks(values):
        order = sorted(range(len(values)), key=values.__getitem__)
        rank, at = [0.0] * len(values), 0
        while at < len(order):
            end = at
            while end < len(order) and values[order[end]] == values[order[at]]:
                end += 1
            for i in order[at:end]:
                rank[i] = (at + end - 1) / 2
            at = end
        return rank
    a, b = (ranks([pair[i] for pair in pairs]) for i in (0, 1))
    mean = (len(pairs) - 1) / 2
    above = sum((x - mean) * (y - mean) for x, y in zip(a, b))
    return above / (sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)) ** 0.5


def profile(gatec, case, axes, sizes, threads, machine_file):
    command = [gatec, "explain", ROOT / case, "--profile", "--json", "--threads", threads]
    command += ["--axis", axes] if axes else []
    command += ["--assume", sizes] if sizes else []
    command += ["--machine", machine_file]
    done = run(*command, capture_output=True, text=True)
    # A roof that was disturbed says nothing of a prediction; that a size has no axis does.
    print(*(line for line in done.stderr.splitlines() if "no symbolic axis" in line), sep="\n", end="", file=sys.stderr)
    return json.loads(done.stdout)["profile"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, default=ROOT / "target/bench")
    ap.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release", help="where gatec is")
    ap.add_argument("--machine", help="a file of `gatec calibrate`, or the name of a machine")
    ap.add_argument("--threads", default="1")
    ap.add_argument("--rounds", type=int, default=3, help="of all cases; the fastest of them counts")
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    gatec = a.programs / "gatec"
    machine_file = a.machine or a.out / "this.machine"
    if not a.machine:
        run(gatec, "calibrate", "-o", machine_file)
    kernels = {}
    # Round after round, so that what disturbs one does not disturb all.
    for _ in range(a.rounds):
        for case, axes, all_sizes in CASES:
            for sizes in all_sizes:
                try:
                    profiles = profile(gatec, case, axes, sizes, a.threads, machine_file)
                except subprocess.CalledProcessError as failed:
                    print(f"warning: {case} {sizes}: {failed.stderr}", file=sys.stderr)
                    continue
                print(".", end="", file=sys.stderr, flush=True)
                for entry in profiles:
                    for number, kernel in enumerate(entry["kernels"]):
                        new = {"case": case, "sizes": sizes, "entry": entry["entry"]} | kernel
                        old = kernels.setdefault((case, sizes, entry["entry"], number), new)
                        old["measured_ns"] = min(old["measured_ns"], new["measured_ns"])
    kernels = list(kernels.values())
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "command": "make predicted",
             "threads": int(a.threads), "kernels": kernels}
    (a.out / "predicted.json").write_text(json.dumps(about, indent=1))
    print(f"{len(kernels)} kernels, rank correlation {spearman([(k['predicted_ns'], k['measured_ns']) for k in kernels]):.3f}")


if __name__ == "__main__":
    main()
