"""A system at a medium size: python medium.py SYSTEM OUT [--threads 1] [--seconds 2]

SYSTEM is a folder here whose fixture.py has `medium()`, which says what to run; with `MEDIUM`, if that is there, in the place of its constants:

    entry    of the model
    axes     of the model, with their sizes
    weights  in float32, by their names in the file
    inputs   by name
    network  (weights, inputs) -> outputs by name

Writes OUT/weights.safetensors, OUT/golden.safetensors (in.NAME, and out.NAME computed in float64) and OUT/medium.json: entry, axes, and how long
the same network takes in float32 in PyTorch (`torch_ms`, the fastest of its runs, whatever else the machine does), or why there is no such time (`why`).
"""
import argparse
import importlib.util
import json
import pathlib
import sys
import time

import numpy as np
from safetensors.numpy import save_file


def imported(path):
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("fixture", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_torch(x):
    return type(x).__module__ == "torch"


def floats(values, name):
    """With floats of that type; integers as they are."""

    def cast(x):
        if is_torch(x):
            return getattr(x, name)() if x.is_floating_point() else x
        return x.astype({"float": np.float32, "double": np.float64}[name]) if x.dtype.kind == "f" else x

    return {key: cast(x) for key, x in values.items()}


def stored(x):
    x = np.asarray(x.detach() if is_torch(x) else x)
    kind = {"f": np.float32, "i": np.int32}.get(x.dtype.kind, x.dtype)
    return np.array(x, dtype=kind, order="C")


def fastest_ms(network, weights, inputs, seconds):
    network(weights, inputs)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        network(weights, inputs)
        times.append(1e3 * (time.perf_counter() - begun))
    return min(times)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("system", type=pathlib.Path)
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--seconds", type=float, default=2)
    args = args.parse_args()
    fixture = imported(args.system / "fixture.py")
    vars(fixture).update(getattr(fixture, "MEDIUM", {}))
    made = fixture.medium()
    weights, inputs, network = floats(made["weights"], "float"), floats(made["inputs"], "float"), made["network"]
    about = {"entry": made["entry"], "axes": made["axes"]}

    exact = network(floats(weights, "double"), floats(inputs, "double"))
    golden = {f"in.{name}": stored(x) for name, x in inputs.items()} | {f"out.{name}": stored(y) for name, y in exact.items()}
    save_file({name: stored(w) for name, w in weights.items()}, args.out / "weights.safetensors")
    save_file(golden, args.out / "golden.safetensors")
    if any(is_torch(x) for x in (weights | inputs).values()):
        import torch

        torch.set_num_threads(args.threads)
        with torch.inference_mode():
            about["torch_ms"] = fastest_ms(network, weights, inputs, args.seconds)
    else:
        about["why"] = "its fixture is in NumPy"
    (args.out / "medium.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main()
