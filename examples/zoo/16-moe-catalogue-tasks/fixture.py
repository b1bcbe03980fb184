"""Golden values of MMoE and PLE: python fixture.py     (pip install numpy safetensors)

Row by row, task by task and expert by expert, in float64 on float32 weights and inputs.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
D, H, O, E, TASKS, OWN, COMMON, R, U = 8, 16, 6, 4, 2, 3, 2, 5, 7


# The network.
def relu(z):
    return np.maximum(z, 0)


def softmax(z):
    z = np.exp(z - z.max())
    return z / z.sum()


def expert(w, prefix, at, row):
    w1, b1, w2, b2 = (w[f"{prefix}{n}"][at] for n in ("w1", "b1", "w2", "b2"))
    return relu(relu(row @ w1 + b1) @ w2 + b2)


def gate(w, prefix, at, row):
    w1, b1, w2 = (w[f"{prefix}{n}"][at] for n in ("w1", "b1", "w2"))
    return softmax(relu(row @ w1 + b1) @ w2)


def tower(w, prefix, task, row):
    w1, b1, w2, b2 = (w[f"{prefix}.{n}"][task] for n in ("w1", "b1", "w2", "b2"))
    return relu(row @ w1 + b1) @ w2 + b2


def mmoe(w, x):
    y = np.zeros((len(x), TASKS))
    for n, row in enumerate(x):
        answers = [expert(w, "", e, row) for e in range(E)]
        for task in range(TASKS):
            mixed = sum(p * f for p, f in zip(gate(w, "gate_", task, row), answers))
            y[n, task] = tower(w, "mmoe", task, mixed)
    return y


def level(w, name, rows, shared):
    """A CGC: rows of tasks, the shared row."""
    own = [[expert(w, f"{name}.own_", (task, i), rows[task]) for i in range(OWN)] for task in range(TASKS)]
    common = [expert(w, f"{name}.common_", i, shared) for i in range(COMMON)]
    out = [sum(p * f for p, f in zip(gate(w, f"{name}_gates.", task, rows[task]), own[task] + common))
           for task in range(TASKS)]
    if f"{name}_shared.w1" not in w:
        return out, None
    return out, sum(p * f for p, f in zip(gate(w, f"{name}_shared.", ..., shared), sum(own, []) + common))


def ple(w, x):
    y = np.zeros((len(x), TASKS))
    for n, row in enumerate(x):
        rows, shared = level(w, "first", [row] * TASKS, row)
        rows, _ = level(w, "second", rows, shared)
        y[n] = [tower(w, "ple", task, rows[task]) for task in range(TASKS)]
    return y


# Weights and golden values.


def weights(rng):
    shapes = {"w1": (E, D, H), "b1": (E, H), "w2": (E, H, O), "b2": (E, O), "gate_w1": (TASKS, D, R),
              "gate_b1": (TASKS, R), "gate_w2": (TASKS, R, E), "first_shared.w1": (D, R), "first_shared.b1": (R,),
              "first_shared.w2": (R, TASKS * OWN + COMMON)}
    for name, width in (("first", D), ("second", O)):
        for kind, first in (("own", (TASKS, OWN)), ("common", (COMMON,))):
            shapes |= {f"{name}.{kind}_w1": (*first, width, H), f"{name}.{kind}_b1": (*first, H),
                       f"{name}.{kind}_w2": (*first, H, O), f"{name}.{kind}_b2": (*first, O)}
        shapes |= {f"{name}_gates.w1": (TASKS, width, R), f"{name}_gates.b1": (TASKS, R),
                   f"{name}_gates.w2": (TASKS, R, OWN + COMMON)}
    for name in ("mmoe", "ple"):
        shapes |= {f"{name}.w1": (TASKS, O, U), f"{name}.b1": (TASKS, U), f"{name}.w2": (TASKS, U),
                   f"{name}.b2": (TASKS,)}
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def main():
    rng = np.random.default_rng(17)
    w = weights(rng)
    exact = {name: value.astype(np.float64) for name, value in w.items()}
    golden = {}
    for case, rows in (("b1", 1), ("b3", 3), ("b13", 13), ("b0", 0)):
        x = rng.normal(size=(rows, D)).astype(np.float32)
        for model in (mmoe, ple):
            y = model(exact, x.astype(float)).astype(np.float32)
            golden |= {f"{model.__name__}.{case}.x": x, f"{model.__name__}.{case}.y": y}
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 128, "H": 256, "O": 128, "R": 64, "U": 64}


def medium():
    """PLE, 256 rows: the experts of a level are one product."""
    import torch

    rng = np.random.default_rng(17)
    w = {name: torch.tensor(value) * (0.3 if value.ndim > 1 else 1) for name, value in weights(rng).items()}

    def experts(w, prefix, x):
        z = torch.relu(torch.einsum("b...i,...ih->b...h", x, w[f"{prefix}w1"]) + w[f"{prefix}b1"])
        return torch.relu(torch.einsum("b...h,...ho->b...o", z, w[f"{prefix}w2"]) + w[f"{prefix}b2"])

    def gates(w, name, x):
        hidden = torch.relu(torch.einsum("b...i,...ir->b...r", x, w[f"{name}.w1"]) + w[f"{name}.b1"])
        return torch.softmax(torch.einsum("b...r,...rn->b...n", hidden, w[f"{name}.w2"]), -1)

    def network(w, x):
        rows, shared = x["x"][:, None].expand(-1, TASKS, -1), x["x"]
        for name in ("first", "second"):
            own = experts(w, f"{name}.own_", rows[:, :, None].expand(-1, -1, OWN, -1))
            common = experts(w, f"{name}.common_", shared[:, None].expand(-1, COMMON, -1))
            seen = torch.cat([own, common[:, None].expand(-1, TASKS, -1, -1)], 2)
            if name == "first":
                every = torch.cat([own.flatten(1, 2), common], 1)
                shared = torch.einsum("bn,bno->bo", gates(w, "first_shared", shared), every)
            rows = torch.einsum("btn,btno->bto", gates(w, f"{name}_gates", rows), seen)
        hidden = torch.relu(torch.einsum("bto,tou->btu", rows, w["ple.w1"]) + w["ple.b1"])
        return {"y": (hidden * w["ple.w2"]).sum(-1) + w["ple.b2"]}

    axes = {"d": D, "h": H, "o": O, "r": R, "u": U}
    return {"entry": "ple", "weights": w, "inputs": {"x": torch.randn(256, D)}, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
