"""Golden values of the density and the layer: python fixture.py     (pip install torch numpy safetensors)

The density by PyTorch's distributions, its gradients by PyTorch's own derivatives, the layer row by row; in float64 on
float32 weights and inputs.
"""
import pathlib

import numpy as np
import torch
import torch.distributions as dist
import torch.nn.functional as F
from safetensors.numpy import save_file

dist.Distribution.set_default_validate_args(False)  # it fails for no rows
HERE = pathlib.Path(__file__).parent
D, K, WIDTH, E, H = 3, 4, 8, 4, 16


# The network.
def mixture(w, x, tau, sigma):
    l = (sigma(x @ w["B"].T) + w["b"]) / tau
    experts = dist.Normal(x @ w["A"].T + w["c"], w["s"].sqrt().expand(len(x), K))
    return dist.MixtureSameFamily(dist.Categorical(logits=l), experts)


def gradients(w, x, y, tau):
    w, tau = {n: w[n].clone().requires_grad_() for n in "BbAcs"}, tau.clone().requires_grad_()
    (-mixture(w, x, tau, torch.tanh).log_prob(y).mean()).backward()
    return {f"{n}_grad": v.grad for n, v in w.items()} | {"tau_grad": tau.grad}


def layer(w, x, score, tau, theta):
    y, kept = torch.zeros_like(x), torch.zeros(len(x), E, dtype=torch.bool)
    q = torch.softmax(score / tau, -1)
    for t in range(len(x)):
        for e in range(E):
            kept[t, e] = q[t, e] >= theta or e == int(q[t].argmax())
            if kept[t, e]:
                hidden = F.gelu(x[t] @ w["sparse.experts.w1"][e] + w["sparse.experts.b1"][e])
                y[t] += q[t, e] * (hidden @ w["sparse.experts.w2"][e] + w["sparse.experts.b2"][e])
    return {"y": y, "kept": kept.sum(-1).int(), "loss": E * (kept.double().mean(0) * q.mean(0)).sum()}


# Weights and golden values.


SIGMA = {"linear": lambda u: u, "tanh_gate": torch.tanh, "sigmoid_gate": torch.sigmoid, "gelu_gate": F.gelu,
         "relu_gate": torch.relu}


def main():
    torch.manual_seed(19)

    def number(v):
        return torch.tensor(v, dtype=torch.float32)

    w = {"B": torch.randn(K, D), "b": torch.randn(K) * 0.5, "A": torch.randn(K, D), "c": torch.randn(K),
         "s": torch.rand(K) + 0.2,
         "router": torch.randn(WIDTH, E) * 0.5, "bias": torch.randn(E) * 0.3}
    for name, *shape in (("w1", E, WIDTH, H), ("b1", E, H), ("w2", E, H, WIDTH), ("b2", E, WIDTH)):
        w[f"sparse.experts.{name}"] = torch.randn(*shape) * 0.3
    exact = {name: value.double() for name, value in w.items()}
    golden = {}

    def put(prefix, tensors):
        for name, value in tensors.items():
            value = value.detach()
            assert value.isfinite().all(), (prefix, name)
            golden[f"{prefix}.{name}"] = np.asarray((value.float() if value.is_floating_point() else value).numpy(),
                                                    order="C")

    for case, n, tau in (("cold", 9, 0.05), ("n9", 9, 1.0), ("hot", 9, 20.0), ("n1", 1, 1.0), ("n0", 0, 1.0)):
        x, y, tau = torch.randn(n, D), torch.randn(n), number(tau)
        for gate, sigma in SIGMA.items():
            p = mixture(exact, x.double(), tau.double(), sigma)
            put(f"{gate}.{case}", {"x": x, "y": y, "tau": tau, "log_p": p.log_prob(y.double()), "mean": p.mean})
        if n:
            put(f"gradient.{case}", {"x": x, "y": y, "tau": tau} | gradients(
                exact, x.double(), y.double(), tau.double()))
    x = torch.randn(6, WIDTH)
    x[3] = 0  # all experts are equal
    for case, t, tau, theta in (("hot", 6, 2.0, 0.2), ("warm", 6, 0.7, 0.2), ("cool", 6, 0.3, 0.2),
                                ("cold", 6, 1e-3, 0.2),
                                ("dense", 6, 1.0, 0.0), ("best", 6, 20.0, 0.9), ("t1", 1, 0.7, 0.2)):
        x, tau, theta = x[:t], number(tau), number(theta)
        z, bias = x.double() @ exact["router"], exact["bias"]
        gumbel = torch.zeros(t, E) if case != "warm" else -torch.log(-torch.log(torch.rand(t, E)))
        near = [((torch.softmax(s / tau.double(), -1) - theta.double()).abs() > 1e-3).all()
                for s in (z + gumbel, z.tanh() + bias)]
        assert all(near), case
        given = {"x": x, "tau": tau, "theta": theta}
        exactly = (x.double(), tau.double(), theta.double())
        put(f"layer.{case}", given | {"gumbel": gumbel} | layer(exact, exactly[0], z + gumbel, *exactly[1:]))
        put(f"layer_tanh.{case}", given | layer(exact, exactly[0], z.tanh() + bias, *exactly[1:]))
    save_file({name: value.numpy() for name, value in w.items()}, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


def medium():
    """The layer at a temperature where about two experts are left: 512 rows of 256."""
    d, e, h = 256, 8, 512
    torch.manual_seed(19)
    w = {"B": torch.randn(K, D), "b": torch.randn(K), "A": torch.randn(K, D), "c": torch.randn(K), "s": torch.rand(K) + 0.2,
         "router": torch.randn(d, e) * d**-0.5, "bias": torch.randn(e), "sparse.experts.w1": torch.randn(e, d, h) * d**-0.5,
         "sparse.experts.b1": torch.randn(e, h), "sparse.experts.w2": torch.randn(e, h, d) * h**-0.5,
         "sparse.experts.b2": torch.randn(e, d)}

    def network(w, x):
        x, q = x["x"], torch.softmax((x["x"] @ w["router"] + x["gumbel"]) / x["tau"], -1)
        keep = (q >= 0.2) | (torch.arange(e) == q.argmax(-1, keepdim=True))
        y = torch.zeros_like(x)
        for i in range(e):
            row = keep[:, i].nonzero()[:, 0]
            hidden = F.gelu(x[row] @ w["sparse.experts.w1"][i] + w["sparse.experts.b1"][i])
            y.index_add_(0, row, q[row, i, None] * (hidden @ w["sparse.experts.w2"][i] + w["sparse.experts.b2"][i]))
        return {"y": y, "kept": keep.sum(-1), "loss": e * (keep.to(q).mean(0) * q.mean(0)).sum()}

    inputs = {"x": torch.randn(512, d), "gumbel": torch.zeros(512, e), "tau": torch.tensor(0.5), "theta": torch.tensor(0.2)}
    return {"entry": "layer", "weights": w, "inputs": inputs, "network": network, "axes": {"width": d, "e": e, "h": h}}


if __name__ == "__main__":
    main()
