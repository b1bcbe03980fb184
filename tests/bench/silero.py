"""Silero VAD: gatec beside ONNX Runtime, in turn, one thread: python silero.py [--rounds 5] [--json FILE]

Needs `make demo` before, and pip install silero-vad onnxruntime. Microseconds for 32 ms of sound: medians of a pass over the
recording for `chunk`, the fastest pass for `whole`; the least of all rounds.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
VAD = ROOT / "examples/silero-vad"
sys.path.insert(0, str(VAD))
import fixture  # noqa: E402


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


def timed(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6


def main():
    import silero_vad
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--json", type=pathlib.Path)
    a = ap.parse_args()
    models = pathlib.Path(silero_vad.__file__).parent / "data"
    sound = fixture.with_context(fixture.chunks())
    chunk, whole = session(models / "silero_vad_16k_op15.onnx"), session(models / "silero_vad_16k_sequence.onnx")
    rate, zero = np.array(16000), np.zeros((1, 1, 128), np.float32)

    def onnx_chunk():
        state, times = np.zeros((2, 1, 128), np.float32), []
        for samples in sound:
            feed = {"input": samples[None], "state": state, "sr": rate}
            start = time.perf_counter()
            _, state = chunk.run(None, feed)
            times.append((time.perf_counter() - start) * 1e6)
        return statistics.median(times)

    def onnx_whole():
        return min(timed(lambda: whole.run(None, {"input": sound, "h": zero, "c": zero})) for _ in range(5)) / len(sound)

    def gatec():
        command = [ROOT / "target/release/vad-demo", ROOT / "target/vad.so", VAD / "released.safetensors", VAD / "recording.wav"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [float(x) for x in re.findall(r"([\d.]+) us", text)]

    onnx_chunk(), onnx_whole(), gatec()
    rows = [(onnx_chunk(), onnx_whole(), *gatec()) for _ in range(a.rounds)]
    best = [min(column) for column in zip(*rows)]
    if a.json:
        pairs = [(name, best[i], best[i + 2]) for name, i in (("chunk", 0), ("whole", 1))]
        a.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "onnxruntime": onnxruntime.__version__, "rows": pairs}))
    print("| us for 32 ms | ONNX Runtime | gatec | ratio |\n| --- | ---: | ---: | ---: |")
    for name, i in ("chunk", 0), ("whole", 1):
        print(f"| {name} | {best[i]:.1f} | {best[i + 2]:.1f} | {best[i + 2] / best[i]:.2f} |")


if __name__ == "__main__":
    main()
