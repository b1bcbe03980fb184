"""Golden values of the losses: python fixture.py     (pip install torch numpy safetensors)

Loops over tokens and experts in float64 on float32 inputs. There are no weights.
"""
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
E, K, DEVICES, LAYERS, TAU = 8, 2, 4, 3, 0.75


# The network: each loss takes its inputs.
def softmax(z, axis=-1):
    return torch.softmax(torch.from_numpy(np.ascontiguousarray(z)), axis).numpy()


def largest(scores, k=K):
    """The k largest, ties to the lower index."""
    return sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:k]


def counts(scores):
    n = np.zeros(E)
    for row in scores:
        n[largest(row)] += 1
    return n


def variation(x, ddof=0):
    return x.var(ddof=ddof) / (x.mean() ** 2 + 1e-10)


def importance(z):
    total = np.zeros(E)
    for p in softmax(z):
        chosen = largest(p)
        total[chosen] += p[chosen] / p[chosen].sum()
    return {"loss": variation(total), "ports": variation(total, 1)}


def phi(x):
    return torch.special.ndtr(torch.from_numpy(x)).numpy()


def load(z, h, sigma):
    limit = np.array([[np.sort(np.delete(row, e))[-K] for e in range(E)] for row in h])
    total = phi((z - limit) / sigma).sum(0)
    return {"loss": variation(total), "load": total}


def load_vmoe(z, h):
    limit = np.sort(h, -1)[:, -K, None]
    return {"loss": variation(phi((z - limit) * E).mean(0))}


def switch(z, real):
    p = softmax(z)[real == 1]
    f = np.array([(p.argmax(-1) == e).mean() for e in range(E)])
    return {"loss": E * (f * p.mean(0)).sum()}


def top_k(z):
    megatron = [E / (K * len(p)) * (counts(p) * p.mean(0)).sum() for p in softmax(z)]
    together = softmax(z.reshape(-1, E))
    onehot = np.zeros((len(together), K, E))
    for t, p in enumerate(together):
        for k, e in enumerate(largest(p)):
            onehot[t, k, e] = 1
    return {"megatron": np.array(megatron), "hugging_face": E * (onehot.mean(0) * together.mean(0)).sum()}


def sequence_wise(z):
    each = []
    for sequence in z:
        s = 1 / (1 + np.exp(-sequence))
        p = s / (s.sum(-1, keepdims=True) + 1e-20)
        each.append(E / (K * len(s)) * (counts(s) * p.mean(0)).sum())
    return {"loss": np.mean(each)}


def devices(z):
    p = softmax(z)
    f, mean = E / (K * len(p)) * counts(p), p.mean(0)
    loss = communication = 0
    for d in range(DEVICES):
        members = range(d * E // DEVICES, (d + 1) * E // DEVICES)
        sent = sum(bool(set(largest(row)) & set(members)) for row in p)
        loss += f[members].mean() * mean[members].sum()
        communication += DEVICES / (K * len(p)) * sent * mean[members].sum()
    return {"loss": loss, "communication": communication}


def z_loss(z):
    return {"loss": (torch.logsumexp(torch.from_numpy(z), -1) ** 2).mean().numpy()}


def moe_plus_plus(z):
    p = softmax(z)
    return {"loss": sum((1 if e < 4 else TAU) * counts(p)[e] / len(p) * p[:, e].mean() for e in range(E))}


def relu_routing(z, **factor):
    (value,) = factor.values()
    w = np.maximum(z, 0)
    each = [E / (K * len(v) ** 2) * sum((v[:, e] > 0).sum() * v[:, e].sum() for e in range(E)) for v in w]
    sparsity = (w == 0).mean()
    return {"loss": value * np.mean(each), "lambda_next": value * 1.2 if sparsity < 1 - K / E else value / 1.2}


def expert_choice(z):
    groups, tokens, _ = z.shape
    return {"loss": tokens * groups * (softmax(z, 1).mean(-1) ** 2).mean()}


def bias_update(z, bias, gamma):
    n = counts(1 / (1 + np.exp(-z)) + bias)
    return {"bias_next": bias + gamma * np.sign(n.mean() - n)}


# Weights and golden values.


def main():
    rng = np.random.default_rng(4)
    golden = {}
    for case, t, spread in (("t12", 12, 1.0), ("t1", 1, 1.0), ("large", 12, 80.0)):
        def logits(*first):
            z = rng.normal(size=(*first, t, E))
            return (z * spread / np.abs(z).max() if spread > 1 else z).astype(np.float32)

        z = logits()
        sigma = rng.uniform(0.5, 1.5, z.shape).astype(np.float32)
        h = (z + rng.normal(size=z.shape) * sigma).astype(np.float32)
        near = (z + rng.normal(size=z.shape) / E).astype(np.float32)
        real = np.ones(t, np.int32)
        real[8:] = 0
        number = np.float32(1e-3)
        runs = {importance: dict(z=z), load: dict(z=z, h=h, sigma=sigma), load_vmoe: dict(z=z, h=near),
                switch: dict(z=z, real=real),
                top_k: dict(z=logits(LAYERS)), sequence_wise: dict(z=logits(3)), devices: dict(z=z), z_loss: dict(z=z),
                moe_plus_plus: dict(z=z), relu_routing: dict(z=logits(LAYERS), **{"lambda": number}),
                expert_choice: dict(z=logits(3)),
                bias_update: dict(z=z, bias=rng.normal(0, 0.1, E).astype(np.float32), gamma=number)}
        if case == "large":  # where no choice depends on a score that underflows, or on sigmoids that round to 1
            runs = {f: runs[f] for f in (load, load_vmoe, switch, z_loss)}
        for loss, inputs in runs.items():
            wide = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in inputs.items()}
            for k, v in (inputs | loss(**wide)).items():
                v = np.asarray(v)
                assert np.isfinite(v).all()
                golden[f"{loss.__name__}.{case}.{k}"] = np.array(
                    v, np.float32 if v.dtype == np.float64 else v.dtype, order="C")
    save_file({}, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"E": 64}


def medium():
    """The loss of the load of 8,192 tokens, all at once."""

    def network(_, x):
        best = x["h"].topk(K + 1, -1).values
        is_chosen = x["h"] >= best[:, K - 1:K]
        limit = torch.where(is_chosen, best[:, K:], best[:, K - 1:K])
        total = torch.special.ndtr((x["z"] - limit) / x["sigma"]).sum(0)
        return {"loss": total.var(correction=0) / (total.mean() ** 2 + 1e-10), "load": total}

    torch.manual_seed(4)
    z, noise, sigma = torch.randn(8192, E), torch.randn(8192, E), 0.5 + torch.rand(8192, E)
    inputs = {"z": z, "h": z + sigma * noise, "sigma": sigma}
    return {"entry": "load", "weights": {}, "inputs": inputs, "network": network, "axes": {"e": E, "device": 32}}


if __name__ == "__main__":
    main()
