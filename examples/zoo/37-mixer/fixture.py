"""Golden values of MixER: python fixture.py     (pip install torch numpy safetensors)

NumPy in float64 on float32 weights, environment by environment; the gate's least squares by numpy.linalg.lstsq.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
K, X, S, D, WIDTH = 2, 4, 2, 2, 8
CLEAR = 1e-3  # between two choices


def swish(z, slope):
    return z / (1 + np.exp(-slope * z))


def geps(w, y, xi):
    """An expert: dy/dt of the states y: [n, d] of one environment."""
    xi = xi + w["shift"]
    for n, name in enumerate(("first", "second", "third"), 1):
        v = w[f"{name}.v"] + w[f"{name}.a"] @ np.diag(xi) @ w[f"{name}.b"]
        y = y @ v.T + w[f"{name}.bias"] + w[f"{name}.bias_a"] @ xi
        if n < 3:
            y = swish(y, w[f"slope{n}"] + w[f"slope{n}_a"] @ xi)
    return y


def trajectory(w, expert, y, context, times):
    own = {name[9:]: value[expert] for name, value in w.items() if name.startswith("answer.f.")}
    xi = context[expert * S : (expert + 1) * S]
    out = [y]
    for h in np.diff(times):
        k1 = geps(own, y, xi)
        k2 = geps(own, y + h / 2 * k1, xi)
        k3 = geps(own, y + h / 2 * k2, xi)
        k4 = geps(own, y + h * k3, xi)
        y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        out.append(y)
    return np.stack(out, 1)


def scores(gate, context):
    return np.append(context, 1) @ gate


def predict(w, y0, context, times):
    chosen = [int(np.argmax(scores(w["gate"], c))) for c in context]
    return np.stack([trajectory(w, e, y, c, times) for e, y, c in zip(chosen, y0, context)]), np.array(chosen)


def losses(w, y, context, times):
    return np.array([
        [((trajectory(w, e, truth[:, 0], c, times) - truth) ** 2).mean() for e in range(K)]
        for truth, c in zip(y, context)
    ])


def kmeans(context, centre):
    for _ in range(20):
        distance = np.array([[np.abs(c - m).mean() for m in centre] for c in context])
        assert np.abs(distance[:, 0] - distance[:, 1]).min() > 1e-5
        own = distance.argmin(1)
        if len(set(own)) < K:
            return None
        new = np.array([context[own == j].mean(0) for j in range(K)])
        if (np.abs(new - centre) <= 1e-4 + 1e-5 * np.abs(centre)).all():
            return own, new
        centre = new
    return None


def update(gate, context, loss, centre, noise):
    found = kmeans(context, centre)
    if found is None:
        return gate, np.zeros_like(centre), np.full(len(context), -1), np.full(K, -1), 0
    own, centre = found
    free, expert_of = list(range(K)), []
    for j in range(K):
        cost = np.median(loss[own == j], axis=0)
        best = min(free, key=lambda e: cost[e])
        free.remove(best)
        expert_of.append(best)
    expert_of = np.array(expert_of)
    a = np.concatenate([context + 1e-4 * noise, np.ones((len(context), 1))], 1)
    return np.linalg.lstsq(a, np.eye(K)[expert_of[own]], rcond=None)[0], centre, own, expert_of, 1


# Weights and golden values.


def weights(random):
    def xavier(*shape):
        return random.uniform(-1, 1, shape) * (6 / (shape[-1] + shape[-2])) ** 0.5

    w = {"gate": random.uniform(-1, 1, (X + 1, K)) / (X + 1) ** 0.5, "answer.f.shift": 0.1 * random.standard_normal(K)}
    for name, o, i in (("first", WIDTH, D), ("second", WIDTH, WIDTH), ("third", D, WIDTH)):
        name = f"answer.f.{name}"
        w |= {f"{name}.v": xavier(K, o, i), f"{name}.a": xavier(K, o, S), f"{name}.b": xavier(K, S, i)}
        w |= {f"{name}.bias": 0.2 * random.standard_normal((K, o)), f"{name}.bias_a": xavier(K, o, S)}
    for n in (1, 2):
        w |= {f"answer.f.slope{n}": random.uniform(0.01, 1, K), f"answer.f.slope{n}_a": xavier(K, 1, S)[:, 0]}
    return {name: value.astype(np.float32) for name, value in w.items()}


def main():
    random = np.random.default_rng(37)
    w = weights(random)
    w["gate"][-1] = 0
    double = {name: value.astype(float) for name, value in w.items()}
    golden = {}

    def f32(*shape):
        return random.standard_normal(shape).astype(np.float32)

    def add(prefix, **values):
        for name, value in values.items():
            value = np.asarray(value)
            kind = np.int32 if value.dtype.kind == "i" else np.float32
            golden[f"{prefix}.{name}"] = np.array(value, dtype=kind, order="C")

    def call(f, *args):
        return f(*(a if isinstance(a, dict) else a.astype(float) for a in args))

    for environments, rows, steps in ((6, 2, 5), (1, 1, 2), (3, 3, 1)):
        prefix = f"e{environments}t{steps}"
        context = f32(environments, X)
        while min(np.ptp(scores(double["gate"], c)) for c in context) < CLEAR:
            context = f32(environments, X)
        y0, times = f32(environments, rows, D), np.cumsum(random.uniform(0.1, 0.3, steps)).astype(np.float32)
        y, chosen = call(predict, double, y0, context, times)
        assert environments < 6 or len(set(chosen)) == K
        add(prefix, y0=y0, context=context, times=times, y=y, chosen=chosen)
        truth = (y + 0.3 * random.standard_normal(y.shape)).astype(np.float32)
        loss = call(losses, double, truth, context, times)
        add(f"{prefix}_losses", y=truth, context=context, times=times, loss=loss)

    def gate(prefix, context, loss, start, ok):
        noise = f32(*context.shape)
        new, centre, own, expert_of, found = call(update, double["gate"], context, loss, start, noise)
        assert found == ok
        add(prefix, context=context, loss=loss, noise=noise, new=new, own=own, expert_of=expert_of, ok=ok)
        golden[f"{prefix}.start"], golden[f"{prefix}.end"] = start, centre.astype(np.float32)
        if ok:
            assert all(scores(new, c).argmax() == expert_of[j] for c, j in zip(context, own))

    blobs = np.array([1, -1, -1, 1, -1, 1], np.float32)[:, None] * np.array([1, 0.5, -1, 0.8], np.float32)
    start = random.uniform(-1e-3, 1e-3, (K, X)).astype(np.float32)
    # Both clusters have the lower loss with expert 0: the first takes it.
    loss = np.array([[0.1, 0.5]] * 6, np.float32) + random.random((6, K)).astype(np.float32) * 0.05
    gate("blobs", blobs + 0.2 * f32(6, X), loss, start, 1)
    # Fewer environments than unknowns: the solution of the smallest norm.
    gate("few", blobs[:3] + 0.2 * f32(3, X), loss[:3, ::-1].copy(), start, 1)
    # One blob, and a centre far away: its cluster is empty.
    gate("empty", blobs[:1] + 0.2 * f32(6, X), loss, np.concatenate([blobs[:1], blobs[:1] + 10]), 0)
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"WIDTH": 64}


def medium():
    """Sixty-four environments of eight trajectories, 20 times; each expert integrates its environments at once."""
    import torch

    random = np.random.default_rng(37)
    w = {name: torch.tensor(value) for name, value in weights(random).items()}
    inputs = {"y0": torch.randn(64, 8, D), "context": torch.randn(64, X), "times": torch.arange(20) * 0.1}

    def f(w, y, xi):
        """y: [e, n, d], xi: [e, s]."""
        xi = xi + w["shift"]
        for n, name in enumerate(("first", "second", "third"), 1):
            v = w[f"{name}.v"] + (w[f"{name}.a"] * xi[:, None]) @ w[f"{name}.b"]
            y = y @ v.mT + (w[f"{name}.bias"] + xi @ w[f"{name}.bias_a"].T)[:, None]
            if n < 3:
                y = y * torch.sigmoid((w[f"slope{n}"] + xi @ w[f"slope{n}_a"])[:, None, None] * y)
        return y

    def network(w, x):
        score = x["context"] @ w["gate"][:-1] + w["gate"][-1]
        chosen, out = score.argmax(-1), torch.zeros(*x["y0"].shape[:2], len(x["times"]), D, dtype=score.dtype)
        for e in range(K):
            rows = chosen == e
            own = {name[9:]: value[e] for name, value in w.items() if name.startswith("answer.f.")}
            y, xi = x["y0"][rows], x["context"][rows, e * S:(e + 1) * S]
            made = [y]
            for h in x["times"].diff():
                k1 = f(own, y, xi)
                k2 = f(own, y + h / 2 * k1, xi)
                k3 = f(own, y + h / 2 * k2, xi)
                k4 = f(own, y + h * k3, xi)
                y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
                made.append(y)
            out[rows] = torch.stack(made, 2)
        return {"y": out, "chosen": chosen}

    axes = {"h1": WIDTH, "h2": WIDTH}
    return {"entry": "predict", "weights": w, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
