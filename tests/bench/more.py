"""Cases that other programs are known to be weak at, each checked against PyTorch before it is timed: odd widths of experts, many small
experts, all rows to one expert, tiny recurrences, and how time follows the active work.

    python3 tests/bench/more.py --out target/bench/more.json [--python ITS_PYTHON] [--only experts,recurrences,work]

Needs torch, onnx and onnxruntime in the Python that runs it for `experts` and `recurrences`; the rest needs gatec alone. PyTorch and ONNX
Runtime run in turn with gatec, in rounds; the fastest run of each counts.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from measure import ROOT, machine

ROUNDS = 4
# Largest difference from PyTorch's f32 that passes, relative to the largest expected magnitude.
TOLERANCE = 2e-4

EXPERTS = """axis d = {d}
axis h = {h}
axis e = {e}
block expert(x: f32[.., d]) -> f32[.., d] {{
    param gate, up: f32[h, d]
    param down: f32[d, h]
    (silu(x @ gate) * (x @ up)) @ down
}}
model moe(x: f32[t, d]) -> (y: f32[t, d]) {{
    param router: f32[e, d]
    param bias: f32[e]
    (y: route x over e by topk(softmax[e](x @ router + bias), {k}, normalize) {{ experts: expert(x) }} mix sum)
}}
"""

LSTM = """axis h = {h}
axis i = {h}
axis gate = 4
model lstm(x: f32[t, i]) -> (y: f32[t, h]) {{
    param wi: f32[gate, h, i] from "weight_ih_l0"[gate * h, i]
    param wh: f32[gate, h, h'] from "weight_hh_l0"[gate * h, h']
    param bi, bh: f32[gate, h]
    scan t carry (hid = 0.0 * bi[gate = 0], cell = 0.0 * bi[gate = 0]) {{
        let a = x @ wi + bi + hid[h -> h'] @ wh + bh
        let cell = sigmoid(a[gate = 1]) * cell + sigmoid(a[gate = 0]) * tanh(a[gate = 2])
        next (sigmoid(a[gate = 3]) * tanh(cell), cell)
    }} yield (y: hid)
}}
"""
GRU = """axis h = {h}
axis i = {h}
axis gate = 3
model gru(x: f32[t, i]) -> (y: f32[t, h]) {{
    param wi: f32[gate, h, i] from "weight_ih_l0"[gate * h, i]
    param wh: f32[gate, h, h'] from "weight_hh_l0"[gate * h, h']
    param bi, bh: f32[gate, h]
    scan t carry (hid = 0.0 * bi[gate = 0]) {{
        let a = x @ wi + bi
        let b = hid[h -> h'] @ wh + bh
        let r = sigmoid(a[gate = 0] + b[gate = 0])
        let z = sigmoid(a[gate = 1] + b[gate = 1])
        next (1.0 - z) * tanh(a[gate = 2] + r * b[gate = 2]) + z * hid
    }} yield (y: hid)
}}
"""


class Gatec:
    """A model of the text, built once; runs are checked and timed by the program."""

    def __init__(self, program, folder, text, weights=None, assume=None):
        self.program, self.folder = program, folder
        (folder / "model.gate").write_text(text)
        self.weights = weights
        sizes = [f"--assume={assume}"] if assume else []
        subprocess.run([program, "build", folder / "model.gate", "-o", folder / "model.so", "--no-ptx", *sizes], check=True)

    def arguments(self):
        return ["--weights", self.folder / "w.safetensors"] if self.weights else ["--random"]

    def output(self, x):
        import numpy as np
        np.save(self.folder / "x.npy", x)
        subprocess.run([self.program, "run", self.folder / "model.so", *self.arguments(), "--input", f"x={self.folder / 'x.npy'}",
                        "-o", self.folder / "y.npz"], check=True)
        with np.load(self.folder / "y.npz") as outputs:
            return outputs["y"]

    def us(self, sizes, seconds):
        text = subprocess.run([self.program, "bench", self.folder / "model.so", *self.arguments(), "--size", sizes, "--threads", "1",
                               "--seconds", str(seconds), "--json"], check=True, capture_output=True, text=True).stdout
        return json.loads(text)["min_ns"] / 1e3


def fastest(run, seconds):
    """Microseconds of the fastest run of about so long."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def in_turn(ways, seconds):
    """The fastest of each way, by name."""
    best = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            best[name] = min(best.get(name, float("inf")), way(seconds / ROUNDS))
    return best


def compared(case, program, ways, found, expected, seconds, gatec):
    error = float(abs(found - expected).max() / max(abs(expected).max(), 1e-30))
    row = {"case": case, "error": error, "ok": error <= TOLERANCE}
    if row["ok"]:
        row["us"] = in_turn({"gatec": gatec} | ways, seconds)
    print(row, file=sys.stderr)
    return row


def experts(program, seconds):
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save_file
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for name, e, h, k in (("16 experts of 176, 4 a row", 16, 176, 4), ("16 experts of 352, 4 a row", 16, 352, 4),
                          ("512 experts of 64, 10 a row", 512, 64, 10), ("16 experts of 352, all rows to one", 16, 352, 1)):
        d = 256
        w = {"gate": torch.randn(e, h, d) / 16, "up": torch.randn(e, h, d) / 16, "down": torch.randn(e, d, h) / 16,
             "router": torch.randn(e, d) / 16, "bias": torch.zeros(e)}
        if k == 1:
            w["bias"][3] = 100.0
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            save_file({n if n in ("router", "bias") else f"experts.{n}": v for n, v in w.items()}, folder / "w.safetensors")
            ours = Gatec(program, folder, EXPERTS.format(d=d, h=h, e=e, k=k), weights=True, assume="t=64")
            for t in (1, 4, 64, 512):
                x = torch.randn(t, d)

                def plan():
                    score = torch.softmax(x @ w["router"].T + w["bias"], -1)
                    weight, chosen = torch.topk(score, k)
                    return weight / weight.sum(-1, keepdim=True), chosen

                def loop():
                    weight, chosen = plan()
                    y = torch.zeros_like(x)
                    for number in chosen.unique().tolist():
                        row, slot = (chosen == number).nonzero(as_tuple=True)
                        part = x[row]
                        part = (F.silu(part @ w["gate"][number].T) * (part @ w["up"][number].T)) @ w["down"][number].T
                        y.index_add_(0, row, part * weight[row, slot, None])
                    return y

                def gathered():
                    weight, chosen = plan()
                    a = torch.einsum("td,tkhd->tkh", x, w["gate"][chosen])
                    b = torch.einsum("td,tkhd->tkh", x, w["up"][chosen])
                    return torch.einsum("tk,tkh,tkdh->td", weight, F.silu(a) * b, w["down"][chosen])

                with torch.inference_mode():
                    ways = {"PyTorch, loop over experts": lambda s: fastest(loop, s)}
                    if t <= 4:
                        ways["PyTorch, gathered weights"] = lambda s: fastest(gathered, s)
                    rows.append(compared(f"{name}, {t} rows", program, ways, ours.output(x.numpy()), loop().numpy(), seconds,
                                         lambda s: ours.us(f"t={t}", s)))
    return rows


def recurrences(program, seconds):
    import onnxruntime
    import torch
    from safetensors.torch import save_file
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for kind, text in (("LSTM", LSTM), ("GRU", GRU)):
        for h in (4, 64, 256):
            net = getattr(torch.nn, kind)(h, h).eval()
            w = dict(net.state_dict())
            gates = 4 if kind == "LSTM" else 3
            w["bi"], w["bh"] = (w.pop(f"bias_{n}_l0").reshape(gates, h) for n in ("ih", "hh"))
            with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
                folder = pathlib.Path(folder)
                save_file({n: v.contiguous() for n, v in w.items()}, folder / "w.safetensors")
                ours = Gatec(program, folder, text.format(h=h), weights=True, assume="t=100")
                for t in (1, 100, 1000):
                    x = torch.randn(t, 1, h)
                    ways = {"PyTorch": lambda s: fastest(lambda: net(x), s)}
                    torch.onnx.export(net, (x,), folder / "net.onnx", dynamo=False, input_names=["x"])
                    options = onnxruntime.SessionOptions()
                    options.intra_op_num_threads = 1
                    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), options)
                    feed = {"x": x.numpy()}
                    ways["ONNX Runtime"] = lambda s: fastest(lambda: session.run(None, feed), s)
                    expected = net(x)[0][:, 0].numpy()
                    rows.append(compared(f"{kind}, hidden {h}, {t} steps", program, ways, ours.output(x[:, 0].numpy()), expected, seconds,
                                         lambda s: ours.us(f"t={t}", s)))
    return rows


def work(program, seconds):
    """Time by number of experts and rows, two experts a row."""
    rows = []
    for e in (8, 32, 128, 512):
        with tempfile.TemporaryDirectory() as folder:
            ours = Gatec(program, pathlib.Path(folder), EXPERTS.format(d=256, h=256, e=e, k=2), assume="t=512")
            for t in (1, 8, 64, 512, 4096, 32768):
                rows.append({"experts": e, "rows": t, "us": min(ours.us(f"t={t}", seconds / 2) for _ in range(2))})
                print(rows[-1], file=sys.stderr)
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, default=ROOT / "target/bench/more.json")
    ap.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/gatec")
    ap.add_argument("--only", default="experts,recurrences,work")
    ap.add_argument("--seconds", type=float, default=1.0, help="for each case and program")
    a = ap.parse_args()
    all = json.loads(a.out.read_text()) if a.out.exists() else {}
    groups = {"experts": experts, "recurrences": recurrences, "work": work}
    for name in a.only.split(","):
        all[name] = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "rows": groups[name](a.program.resolve(), a.seconds)}
        if name in ("experts", "recurrences"):
            import torch
            all[name]["torch"] = torch.__version__
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(all, indent=1))


if __name__ == "__main__":
    main()
