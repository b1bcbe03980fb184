"""Golden values of the score functions: python fixture.py     (pip install torch numpy safetensors)

Each gate token by token in float64 on float32 weights and inputs; PyTorch has the densities.
"""
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
D, E, P, A, TASKS, LAYERS, WORDS = 8, 4, 6, 5, 3, 3, 32


# The network: each gate takes weights and inputs, and gives [t, e].
def softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True)) if z.size else z
    return z / z.sum(-1, keepdims=True)


def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def softplus(z):
    return np.logaddexp(z, 0)


def linear_softmax(w, x):
    return softmax(x @ w["router"])


def linear_sigmoid(w, x):
    return sigmoid(x @ w["router"])


def sqrt_softplus(w, x):
    return np.sqrt(softplus(x @ w["router"]))


def noisy(w, x, n):
    return x @ w["router"] + n * (softplus(x @ w["noise"]) + 1e-2)


def jitter(w, x, u):
    return softmax((x * u) @ w["router"])


def vmoe_noise(w, x, n):
    return softmax(x @ w["router"] + n / E)


def cosine(w, x):
    s = np.zeros((len(x), E))
    scale = min(np.exp(w["tau"]), 100)
    for t, row in enumerate(x):
        v = row @ w["proj"] + w["bias"]
        v = v / max(np.linalg.norm(v), 1e-12)
        for e in range(E):
            c = w["centre"][:, e]
            s[t, e] = scale * (v @ c) / max(np.linalg.norm(c), 1e-12)
    return softmax(s)


def gaussian(w, x):
    density = torch.distributions.MultivariateNormal(
        torch.from_numpy(w["mu"]), torch.from_numpy(np.linalg.inv(w["precision"])), validate_args=False)
    return softmax(density.log_prob(torch.from_numpy(x)[:, None]).numpy() + w["log_pi"])


def laplace(w, x):
    return softmax(-np.array([[np.linalg.norm(row - m) for m in w["mu"]] for row in x]).reshape(len(x), E))


def two_layers(w, x):
    return softmax(np.tanh(x @ w["first"]) @ w["second"])


def router_residual(w, x):
    z, every = None, []
    for layer in range(LAYERS):
        own = x[layer] @ w["own"][layer]
        z = own if z is None else own + z @ w["before"][layer]
        every.append(softmax(z))
    return np.stack(every)


def of_task(w, ids):
    return softmax(np.array([w["embed"][i] @ w["gate"] for i in ids]).reshape(len(ids), E))


def hash(w, ids):
    return np.array([w["table"][i] for i in ids], np.int32)


# Weights and golden values.


def weights(rng):
    def normal(*shape):
        return rng.normal(0, 0.3, shape)

    factor = rng.normal(0, 0.4, (E, D, D)) + np.eye(D)
    precision = (factor @ factor.transpose(0, 2, 1)).astype(np.float32)
    w = dict(
        router=normal(D, E), mu=normal(E, D), noise=normal(D, E), proj=normal(D, P), bias=normal(P),
        centre=normal(P, E),
        tau=np.array(np.log(2)), log_pi=np.log(softmax(normal(E))), precision=precision,
        log_det=-np.linalg.slogdet(precision.astype(np.float64))[1],
        first=normal(D, 8 * E), second=normal(8 * E, E), own=normal(LAYERS, D, E), before=normal(LAYERS, E, E),
        embed=normal(TASKS, A), gate=normal(A, E))
    w = {name: np.array(value, np.float32, order="C") for name, value in w.items()}
    return w | {"table": rng.integers(0, E, WORDS).astype(np.int32)}


def main():
    rng = np.random.default_rng(16)
    w = weights(rng)
    exact = {name: value.astype(np.float64) if value.dtype == np.float32 else value for name, value in w.items()}
    golden = {}
    random = rng.normal(size=(12, D))
    large = random * 80 / np.abs(random @ exact["router"]).max()
    cases = {"t12": random, "t1": random[:1] + 0.5, "t0": random[:0], "same": np.repeat(random[:1], 12, 0),
             "large": large}
    for case, x in cases.items():
        t = len(x)
        x = x.astype(np.float32)
        n, u = rng.normal(size=(t, E)).astype(np.float32), rng.uniform(0.99, 1.01, (t, D)).astype(np.float32)
        stack = np.stack([x, x[::-1], x * np.float32(0.5)])
        ids, tasks = (rng.integers(0, k, t).astype(np.int32) for k in (WORDS, TASKS))
        runs = {
            linear_softmax: dict(x=x), linear_sigmoid: dict(x=x), sqrt_softplus: dict(x=x), noisy: dict(x=x, n=n),
            jitter: dict(x=x, u=u), vmoe_noise: dict(x=x, n=n), cosine: dict(x=x), gaussian: dict(x=x),
            laplace: dict(x=x),
            two_layers: dict(x=x), router_residual: dict(x=stack), of_task: dict(ids=tasks), hash: dict(ids=ids),
        }
        for gate, inputs in runs.items():
            wide = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in inputs.items()}
            s = gate(exact, **wide)
            assert np.isfinite(s).all()
            name = "expert" if gate is hash else "s"
            inputs[name] = s if gate is hash else s.astype(np.float32)
            for k, v in inputs.items():
                golden[f"{gate.__name__}.{case}.{k}"] = np.ascontiguousarray(v)
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 64, "E": 16}


def medium():
    """The densities of 2,048 tokens, all at once."""
    rng = np.random.default_rng(16)
    w = {name: torch.from_numpy(value) for name, value in weights(rng).items()}

    def network(w, x):
        off = x["x"][:, None] - w["mu"]
        distance = (torch.einsum("ted,edf->tef", off, w["precision"]) * off).sum(-1)
        return {"s": torch.softmax(w["log_pi"] - distance / 2 - w["log_det"] / 2, -1)}

    inputs = {"x": torch.from_numpy(rng.normal(size=(2048, D)).astype(np.float32))}
    return {"entry": "gaussian", "weights": w, "inputs": inputs, "network": network, "axes": {"d": D, "e": E}}


if __name__ == "__main__":
    main()
