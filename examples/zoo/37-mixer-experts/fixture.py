"""Golden values of MixER's other experts: python fixture.py     (pip install torch numpy safetensors)

NumPy in float64 on float32 weights, environment by environment.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
K, X, S, D, WIDTH, SEEN, BETWEEN, HIDDEN, LEAST = 2, 4, 2, 2, 8, 8, 4, 6, 0.3


# ---- the network


def swish(z, slope):
    return z / (1 + np.exp(-slope * z))


def root():
    """CoDA's: the parameters of a network in their order, where each one's rows of the hyper-network stand too."""
    return [("first.w", (WIDTH, D)), ("first.b", (WIDTH,)), ("slope1", ()), ("second.w", (WIDTH, WIDTH)), ("second.b", (WIDTH,)),
            ("slope2", ()), ("third.w", (D, WIDTH)), ("third.b", (D,))]


def hyper_name(name):
    """`first.w` has its rows in `first.hw`, `slope1` in `slope1_h`."""
    at, _, last = name.rpartition(".")
    return f"{at}.h{last}" if at else f"{name}_h"


def coda(w, y, xi):
    """dy/dt of the states y: [n, d]; all weights are a flat vector, theta + H xi."""
    theta = np.concatenate([w[name].reshape(-1) for name, _ in root()])
    h = np.concatenate([w[hyper_name(name)].reshape(-1, S) for name, _ in root()])
    theta, own, at = theta + h @ (xi + w["shift"]), {}, 0
    for name, shape in root():
        size = int(np.prod(shape))
        own[name], at = theta[at:at + size].reshape(shape), at + size
    y = swish(y @ own["first.w"].T + own["first.b"], own["slope1"])
    y = swish(y @ own["second.w"].T + own["second.b"], own["slope2"])
    return y @ own["third.w"].T + own["third.b"]


def ncf(w, y, xi):
    def linear(name, z):
        return z @ w[f"{name}.w"] + w[f"{name}.b"]

    def layer(name, z):
        return swish(linear(f"{name}.linear", z), w[f"{name}.slope"])

    told = linear("context2", layer("context1", xi + w["shift"]))
    data = linear("data2", layer("data1", y))
    h = np.concatenate([data, np.broadcast_to(told, data.shape)], -1)
    return linear("main3", layer("main2", layer("main1", h)))


def shplrnn(w, truth, xi):
    """truth: [n, t, d]."""
    xi = xi + w["shift"]
    own = {name: w[name] @ xi for name in ("a", "w1", "w2", "bias1", "bias2", "alpha")}
    alpha, z, out = max(own["alpha"], LEAST), np.zeros_like(truth[:, 0]), []
    for x in truth.swapaxes(0, 1):
        z = alpha * z + (1 - alpha) * x
        z = z @ np.diag(own["a"]) + np.maximum(z @ own["w2"].T + own["bias2"], 0) @ own["w1"].T + own["bias1"]
        out.append(z)
    return np.stack(out, 1)


def chosen(w, c):
    return int(np.argmax(c @ w["gate"] + w["gate_bias"]))


def expert(w, path, e):
    return {name[len(path) + 1:]: value[e] for name, value in w.items() if name.startswith(path + ".")}


def integrate(f, y, times):
    out = [y]
    for h in np.diff(times):
        k1 = f(y)
        k2 = f(y + h / 2 * k1)
        k3 = f(y + h / 2 * k2)
        k4 = f(y + h * k3)
        y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        out.append(y)
    return np.stack(out, 1)


def predict(w, name, y0, context, times):
    made = []
    for y, c in zip(y0, context):
        e = chosen(w, c)
        own, xi = expert(w, f"{name}.f", e), c[e * S:(e + 1) * S]
        made.append(integrate(lambda y: {"coda": coda, "ncf": ncf}[name](own, y, xi), y, times))
    return np.stack(made)


def forced(w, truth, context):
    picks = [chosen(w, c) for c in context]
    return np.stack([
        shplrnn(expert(w, "recurrence", e), x, c[e * S:(e + 1) * S]) for e, x, c in zip(picks, truth, context)
    ])


# Weights and golden values.


def weights(random):
    def normal(fan, *shape):
        return random.standard_normal((K, *shape)) * fan**-0.5

    w = {"gate": random.uniform(-1, 1, (X, K)), "gate_bias": 0.1 * random.standard_normal(K), "coda.f.shift": normal(100)}
    for name, shape in root():
        slope = name.startswith("slope")
        w[f"coda.f.{name}"] = random.uniform(0.01, 1, (K,)) if slope else normal((*shape, 4)[1 if len(shape) > 1 else 0] , *shape)
        w[f"coda.f.{hyper_name(name)}"] = normal(20, *shape, S)
    w["ncf.f.shift"] = normal(100)
    for name, i, o in (("data1", D, BETWEEN), ("data2", BETWEEN, SEEN), ("context1", S, BETWEEN), ("context2", BETWEEN, SEEN),
                       ("main1", 2 * SEEN, WIDTH), ("main2", WIDTH, WIDTH), ("main3", WIDTH, D)):
        inner = name if name in ("data2", "context2", "main3") else f"{name}.linear"
        w |= {f"ncf.f.{inner}.w": normal(i, i, o), f"ncf.f.{inner}.b": normal(10, o)}
        if inner != name:
            w[f"ncf.f.{name}.slope"] = random.uniform(0.01, 1, (K,))
    for name, shape in (("alpha", (S,)), ("a", (D, S)), ("bias1", (D, S)), ("w1", (D, HIDDEN, S)), ("w2", (HIDDEN, D, S)),
                        ("bias2", (HIDDEN, S)), ("shift", ())):
        w[f"recurrence.{name}"] = normal(4, *shape)
    return {name: value.astype(np.float32) for name, value in w.items()}


def main():
    random = np.random.default_rng(137)
    w = weights(random)
    double, golden = {name: value.astype(float) for name, value in w.items()}, {}

    def f32(*shape):
        return random.standard_normal(shape).astype(np.float32)

    for environments, rows, steps in ((6, 2, 5), (1, 1, 2), (3, 3, 1)):
        prefix, context = f"e{environments}t{steps}", f32(environments, X)
        y0, truth = f32(environments, rows, D), f32(environments, rows, steps, D)
        times = np.cumsum(random.uniform(0.1, 0.3, steps)).astype(np.float32)
        given = [a.astype(float) for a in (context, y0, truth, times)]
        assert environments < 6 or len({chosen(double, c) for c in given[0]}) == K
        golden |= {f"{prefix}.context": context, f"{prefix}.y0": y0, f"{prefix}.truth": truth, f"{prefix}.times": times}
        for name in ("coda", "ncf"):
            golden[f"{prefix}.{name}"] = predict(double, name, given[1], given[0], given[3])
        golden[f"{prefix}.z"] = forced(double, given[2], given[0])
    save_file(w, HERE / "weights.safetensors")
    save_file({name: np.ascontiguousarray(v, np.float32) for name, v in golden.items()}, HERE / "golden.safetensors")


MEDIUM = {"K": 3, "X": 768, "S": 256, "WIDTH": 128, "SEEN": 32, "BETWEEN": 32}


def medium():
    """NCF at the size published for Sel'kov's systems: 21 of them, with eight trajectories of 20 times; each expert integrates its
    systems at once, and looks at their contexts once."""
    import torch

    w = {name: torch.tensor(value) for name, value in weights(np.random.default_rng(137)).items()}
    torch.manual_seed(137)
    inputs = {"y0": torch.randn(21, 8, D), "context": torch.randn(21, X), "times": torch.arange(20) * 0.1}

    def linear(w, name, z):
        return z @ w[f"{name}.w"] + w[f"{name}.b"]

    def layer(w, name, z):
        z = linear(w, f"{name}.linear", z)
        return z * torch.sigmoid(w[f"{name}.slope"] * z)

    def f(w, y, told):
        """y, told: [e, n, ..]."""
        data = linear(w, "data2", layer(w, "data1", y))
        return linear(w, "main3", layer(w, "main2", layer(w, "main1", torch.cat([data, told], -1))))

    def network(w, x):
        chosen = (x["context"] @ w["gate"] + w["gate_bias"]).argmax(-1)
        out = torch.zeros(*x["y0"].shape[:2], len(x["times"]), D, dtype=x["y0"].dtype)
        for e in range(K):
            rows, own = chosen == e, expert(w, "ncf.f", e)
            y, xi = x["y0"][rows], x["context"][rows, e * S:(e + 1) * S]
            told = linear(own, "context2", layer(own, "context1", xi + own["shift"]))[:, None].expand(-1, y.shape[1], -1)
            made = [y]
            for h in x["times"].diff():
                k1 = f(own, y, told)
                k2 = f(own, y + h / 2 * k1, told)
                k3 = f(own, y + h / 2 * k2, told)
                k4 = f(own, y + h * k3, told)
                y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
                made.append(y)
            out[rows] = torch.stack(made, 2)
        return {"y": out}

    axes = {"expert": K, "x": X, "s": S, "h1": WIDTH, "h2": WIDTH, "seen": SEEN, "between": BETWEEN}
    return {"entry": "ncf", "weights": w, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
