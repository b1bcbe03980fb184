"""Golden values of the mixture: python fixture.py     (pip install torch numpy safetensors)

Row by row in float64 on float32 weights and inputs; the gate's steps by PyTorch's own derivatives.
"""
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
D, K, O = 3, 5, 4
RIDGE, RATE, GATE_STEPS = 1e-6, 0.1, 3


# The network.
def chosen(v, count):
    """The count largest, ties to the lower index."""
    return sorted(range(K), key=lambda i: (-v[i], i))[:count]


def normal(y, mean, variance):
    return np.exp(-((y - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def gate(w, row, count):
    v = w["B1"] @ row
    S = chosen(v, count)
    weight = np.zeros(K)
    weight[S] = np.exp(v[S] + w["b0"][S] - (v[S] + w["b0"][S]).max())
    return S, weight / weight.sum()


def density(w, x, y, count):
    out = {"log_p": [], "mean": [], "variance": [], "weight": []}
    for row, response in zip(x, y):
        S, weight = gate(w, row, count)
        mu = w["A"] @ row + w["c"]
        mean = sum(weight[i] * mu[i] for i in S)
        out["log_p"].append(np.log(sum(weight[i] * normal(response, mu[i], w["s"][i]) for i in S)))
        out["mean"].append(mean)
        out["variance"].append(sum(weight[i] * (w["s"][i] + (mu[i] - mean) ** 2) for i in S))
        out["weight"].append(weight)
    return {name: np.array(value).reshape(len(x), *([K] if name == "weight" else [])) for name, value in out.items()}


def layer(w, x):
    y = [sum(gate(w, row, 2)[1][i] * (row @ w["maps"][i] + w["shifts"][i]) for i in range(K)) for row in x]
    return {"y": np.array(y).reshape(-1, O)}


def em(w, x, y, count):
    r, likelihood = np.zeros((len(x), K)), 0
    for n, (row, response) in enumerate(zip(x, y)):
        joint = gate(w, row, count)[1] * normal(response, w["A"] @ row + w["c"], w["s"])
        r[n], likelihood = joint / joint.sum(), likelihood + np.log(joint.sum()) / len(x)
    A, c, s = w["A"].copy(), w["c"].copy(), w["s"].copy()
    for i in range(K):
        if r[:, i].sum() > 0:
            # Weighted least squares; the ridge is D + 1 more rows.
            ones, root = np.c_[x, np.ones(len(x))], np.sqrt(r[:, i])
            rows = np.r_[ones * root[:, None], np.sqrt(RIDGE) * np.eye(D + 1)]
            best = np.linalg.lstsq(rows, np.r_[y * root, np.zeros(D + 1)], rcond=None)[0]
            A[i], c[i] = best[:D], best[D]
            s[i] = (r[:, i] * (y - ones @ best) ** 2).sum() / r[:, i].sum()
    B, b = torch.tensor(w["B1"], requires_grad=True), torch.tensor(w["b0"], requires_grad=True)
    for _ in range(GATE_STEPS):
        objective = 0
        for n, row in enumerate(torch.from_numpy(x)):
            v = B @ row
            S = chosen(v.tolist(), count)
            objective = objective + (torch.from_numpy(r)[n, S] * torch.log_softmax((v + b)[S], -1)).sum() / len(x)
        for value, slope in zip((B, b), torch.autograd.grad(objective, (B, b))):
            value.data += RATE * slope
    return {"likelihood": np.array(likelihood), "r": r, "A_next": A, "c_next": c, "s_next": s,
            "B1_next": B.detach().numpy(), "b0_next": b.detach().numpy()}


# Weights and golden values.


def main():
    rng = np.random.default_rng(12)
    w = {"B1": rng.normal(size=(K, D)), "b0": np.array([0.5, -1.5, 1, 2, -0.5]), "A": rng.normal(size=(K, D)),
         "c": rng.normal(size=K), "s": rng.uniform(0.2, 1, K), "maps": rng.normal(size=(K, D, O)) * 0.5,
         "shifts": rng.normal(size=(K, O)) * 0.5}
    w["B1"][4] = w["B1"][:4].mean(0)  # so that expert 4 never has the largest score: with K = 1 it has no rows
    w = {name: np.array(value, np.float32, order="C") for name, value in w.items()}
    exact = {name: value.astype(np.float64) for name, value in w.items()}
    golden = {}

    def put(prefix, tensors):
        for name, value in tensors.items():
            value = np.asarray(value)
            assert np.isfinite(value).all(), (prefix, name)
            golden[f"{prefix}.{name}"] = np.array(value, np.float32 if value.dtype == np.float64 else value.dtype,
                                                  order="C")

    for case, n in (("n7", 7), ("n1", 1), ("n0", 0)):
        x, y = rng.normal(size=(n, D)).astype(np.float32), rng.normal(size=n).astype(np.float32)
        x[5:6] = 0  # all scores are equal
        if n == 7:
            v = x.astype(float) @ exact["B1"].T
            assert sum(set(chosen(row, 2)) != set(chosen(row + exact["b0"], 2)) for row in v) >= 2
        for count in (1, 2, 5):
            out = density(exact, x.astype(float), y.astype(float), count)
            put(f"density.{case}k{count}", {"x": x, "y": y, "count": np.int32(count)} | out)
            if count == 2:
                put(f"routed.{case}", {"x": x, "y": y, "log_p": out["log_p"]})
        put(f"layer.{case}", {"x": x} | layer(exact, x.astype(float)))
        if n == 7:  # the same vector added to each row of B1, the same number to b0
            moved = {"B1": exact["B1"] + rng.normal(size=D), "b0": exact["b0"] + 0.7}
            again = density(exact | moved, x[:5].astype(float), y[:5].astype(float), 2)
            before = density(exact, x[:5].astype(float), y[:5].astype(float), 2)
            assert np.abs(again["log_p"] - before["log_p"]).max() < 1e-12
    x, y = rng.normal(size=(96, D)).astype(np.float32), rng.normal(size=96).astype(np.float32)
    for count in (1, 2, 5):
        out = em(exact, x.astype(float), y.astype(float), count)
        assert count > 1 or out["r"][:, 4].sum() == 0
        put(f"em.k{count}", {"x": x, "y": y, "count": np.int32(count)} | out)
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


def medium():
    """The layer: 512 rows of 256, two of eight experts each."""
    d, k, o = 256, 8, 256
    torch.manual_seed(12)
    w = {"B1": torch.randn(k, d) * d**-0.5, "b0": torch.randn(k), "A": torch.randn(k, d), "c": torch.randn(k),
         "s": torch.rand(k) + 0.2, "maps": torch.randn(k, d, o) * d**-0.5, "shifts": torch.randn(k, o)}

    def network(w, x):
        x = x["x"]
        best = (x @ w["B1"].T).topk(2)
        weight, y = torch.softmax(best.values + w["b0"][best.indices], -1), torch.zeros(len(x), o, dtype=x.dtype)
        for i in range(k):
            row, at = (best.indices == i).nonzero(as_tuple=True)
            y.index_add_(0, row, weight[row, at, None] * (x[row] @ w["maps"][i] + w["shifts"][i]))
        return {"y": y}

    return {
        "entry": "layer", "weights": w, "inputs": {"x": torch.randn(512, d)}, "network": network,
        "axes": {"d": d, "k": k, "o": o},
    }


if __name__ == "__main__":
    main()
