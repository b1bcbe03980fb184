"""Golden values of the layers: python fixture.py     (pip install torch numpy safetensors)

Each layer token by token in float64 on float32 weights and inputs.
"""
import math
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
D, E, M, H, SHARED, OUT, R, SLOTS = 8, 4, 8, 16, 24, 6, 3, 2
ERF = np.vectorize(math.erf, otypes=[float])


# The network: each layer takes weights and inputs, [t, d] each.
def softmax(z, axis=-1):
    z = np.exp(z - z.max(axis, keepdims=True)) if z.size else z
    return z / z.sum(axis, keepdims=True)


def sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


def silu(z):
    return z * sigmoid(z)


def gelu(z):
    return z * (1 + ERF(z / 2**0.5)) / 2


def largest(scores, k):
    """The k largest, ties to the lower index."""
    return sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:k]


def swiglu(w, name, x, e=...):
    gate, up, down = (w[f"{name}.{part}"][e] for part in ("gate", "up", "down"))
    return (silu(x @ gate) * (x @ up)) @ down


def rows(y, width=None):
    return {"y": np.array(y).reshape(-1, width or D)}


def mixtral(w, x):
    y = []
    for row, p in zip(x, softmax(x @ w["router"])):
        chosen = largest(p, 2)
        y.append(sum(p[e] / p[chosen].sum() * swiglu(w, "experts", row, e) for e in chosen))
    return rows(y)


def qwen2(w, x):
    y = []
    for row, p in zip(x, softmax(x @ w["router"])):
        routed = sum(p[e] * swiglu(w, "experts", row, e) for e in largest(p, 2))
        y.append(routed + sigmoid(row @ w["shared_gate"]) * swiglu(w, "shared", row))
    return rows(y)


def gpt_oss(w, x):
    y = []
    for row in x:
        z = row @ w["router"] + w["router_bias"]
        chosen = largest(z, 2)
        total = 0
        for p, e in zip(softmax(z[chosen]), chosen):
            both = row @ w["gpt_oss.experts.gate_up_proj"][e] + w["gpt_oss.experts.gate_up_proj_bias"][e]
            g, u = np.minimum(both[::2], 7), np.clip(both[1::2], -7, 7)
            total += p * (((u + 1) * g * sigmoid(1.702 * g)) @ w["gpt_oss.down"][e] + w["gpt_oss.down_bias"][e])
        y.append(total)
    return rows(y)


def llama4(w, x):
    y = []
    for row in x:
        z = row @ w["router"]
        e = int(z.argmax())
        y.append(swiglu(w, "experts", sigmoid(z[e]) * row, e) + swiglu(w, "shared", row))
    return rows(y)


def within_groups(q, group_score):
    groups = q.reshape(4, -1)
    kept = largest([group_score(g) for g in groups], 2)
    q = np.where(np.isin(np.arange(M) // groups.shape[1], kept), q, -np.inf)
    return largest(q, 2)


def deepseek_v2(w, x):
    y = []
    for row, p in zip(x, softmax(x @ w["fine_router"])):
        routed = sum(p[e] * swiglu(w, "fine", row, e) for e in within_groups(p, max))
        y.append(16 * routed + swiglu(w, "shared", row))
    return rows(y)


def deepseek_v3(w, x):
    y, expert = [], []
    for row in x:
        s = sigmoid(row @ w["fine_router"])
        chosen = within_groups(s + w["bias"], lambda g: np.sort(g)[-2:].sum())
        weight = 2.5 * s[chosen] / (s[chosen].sum() + 1e-20)
        y.append(sum(g * swiglu(w, "fine", row, e) for g, e in zip(weight, chosen)) + swiglu(w, "shared", row))
        expert.append(chosen)
    return rows(y) | {"expert": np.array(expert, np.int32).reshape(-1, 2)}


def moe_plus_plus(w, x):
    y = []
    for row, p in zip(x, softmax(x @ w["kinds"])):
        weight = {e: 0 if e == 7 else p[e] for e in largest(p, 2)}
        row, out = 2 * row, 0
        for e, g in weight.items():
            if e < 4:
                value = swiglu(w, "experts", row, e)
            elif e < 6:
                a1, a2 = softmax(row @ w["const_gate"][e - 4])
                value = a1 * row + a2 * w["const_value"][e - 4]
            else:
                value = row if e == 6 else 0 * row
            out = out + g / sum(weight.values()) * value
        y.append(out)
    return rows(y)


def lora(w, x):
    y = []
    for row, g in zip(x, softmax(x @ w["router"])):
        y.append(row @ w["w0"] + 2 / R * sum(g[e] * (row @ w["a"][e] @ w["b"][e]) for e in range(E)))
    return rows(y, OUT)


def mixlora(w, x):
    y = []
    for row, p in zip(x, softmax(x @ w["router"])):
        chosen, total = largest(p, 2), 0
        for e in chosen:
            # The adapted matrices themselves: W + s A B.
            wg, wu, wd = (w[f"w{n}"] + 2 / R * w[f"a{n}"][e] @ w[f"b{n}"][e] for n in "gud")
            total = total + p[e] / p[chosen].sum() * ((silu(row @ wg) * (row @ wu)) @ wd)
        y.append(total)
    return rows(y)


def soft(w, x):
    y = []
    mu = w["mu"] / np.sqrt((w["mu"] ** 2).sum(0) + 1e-6) * w["mu_scale"]
    for group in x:
        logit = np.einsum("md,des->mes", group / np.sqrt((group**2).sum(-1, keepdims=True) + 1e-6), mu)
        dispatch = softmax(logit, 0)
        mix = softmax(logit.reshape(len(group), E * SLOTS)).reshape(logit.shape)
        slots = np.einsum("mes,md->esd", dispatch, group)
        made = np.stack([gelu(slots[e] @ w["w1"][e]) @ w["w2"][e] for e in range(E)])
        y.append(np.einsum("mes,esd->md", mix, made))
    return {"y": np.array(y).reshape(x.shape)}


def arms(w, x):
    kernel = torch.from_numpy(w["conv"].transpose(2, 1, 0).copy())
    padded = torch.nn.functional.pad(torch.from_numpy(x.T.copy()), (2, 1))
    conv = torch.nn.functional.conv1d(padded[None], kernel)[0].numpy().T[:len(x)]
    ffn = gelu(x @ w["ffn.w1"] + w["ffn.b1"]) @ w["ffn.w2"] + w["ffn.b2"]
    y = []
    for t, p in enumerate(softmax(x @ w["arm_gate"])):
        chosen = largest(p, 2)
        y.append(sum(p[i] / p[chosen].sum() * (x[t], ffn[t], conv[t])[i] for i in chosen))
    return rows(y)


# Weights and golden values.


def weights(rng):
    shapes = {
        "router": (D, E), "fine_router": (D, M), "shared_gate": (D,), "router_bias": (E,), "bias": (M,),
        "kinds": (D, 8),
        "const_gate": (2, D, 2), "const_value": (2, D), "w0": (D, OUT), "a": (E, D, R), "b": (E, R, OUT),
        "gpt_oss.experts.gate_up_proj": (E, D, 2 * H), "gpt_oss.experts.gate_up_proj_bias": (E, 2 * H),
        "gpt_oss.down": (E, H, D), "gpt_oss.down_bias": (E, D),
        "wg": (D, H), "wu": (D, H), "wd": (H, D), "ag": (E, D, R), "bg": (E, R, H), "au": (E, D, R), "bu": (E, R, H),
        "ad": (E, H, R), "bd": (E, R, D), "mu": (D, E, SLOTS), "mu_scale": (), "w1": (E, D, H), "w2": (E, H, D),
        "arm_gate": (D, 3), "conv": (3, D, D), "ffn.w1": (D, H), "ffn.b1": (H,), "ffn.w2": (H, D), "ffn.b2": (D,)}
    for name, first, width in (("experts", (E,), H), ("fine", (M,), H), ("shared", (), SHARED)):
        shapes |= {f"{name}.gate": (*first, D, width), f"{name}.up": (*first, D, width),
                   f"{name}.down": (*first, width, D)}
    w = {name: np.array(rng.normal(0, 0.3, shape), np.float32) for name, shape in shapes.items()}
    return w | {"mu_scale": np.array(1.2, np.float32)}


def main():
    rng = np.random.default_rng(8)
    w = weights(rng)
    exact = {name: value.astype(np.float64) for name, value in w.items()}
    random = rng.normal(size=(12, D))
    tie = random.copy()
    tie[[0, 7]] = 0
    unused = rng.normal(size=(60, D))
    unused = unused[[2 not in largest(row, 2) for row in unused @ exact["router"]]][:9]
    cases = {"t12": random, "t1": random[3:4], "t0": random[:0], "same": np.repeat(random[:1], 12, 0), "tie": tie,
             "unused": unused, "large": random * 80 / np.abs(random @ exact["router"]).max()}
    only = {"unused": [mixtral, qwen2, llama4], "large": [mixtral, gpt_oss, llama4],
            "tie": [mixtral, gpt_oss, deepseek_v2, deepseek_v3, moe_plus_plus, arms]}
    golden = {}
    for case, x in cases.items():
        x = x.astype(np.float32)
        for layer in only.get(case, [mixtral, qwen2, gpt_oss, llama4, deepseek_v2, deepseek_v3, moe_plus_plus, lora,
                                     mixlora, soft, arms]):
            given = np.stack([x, x[::-1], x * np.float32(0.5)]) if layer is soft else x
            for k, v in (layer(exact, given.astype(np.float64)) | {"x": given}).items():
                v = v.astype(np.float32) if v.dtype == np.float64 else v
                assert np.isfinite(v).all()
                golden[f"{layer.__name__}.{case}.{k}"] = np.ascontiguousarray(v)
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 256, "H": 512}


def medium():
    """Mixtral's layer, 64 tokens; each expert runs once, for its tokens."""
    import torch

    rng = np.random.default_rng(8)

    def network(w, x):
        x, y = x["x"], torch.zeros_like(x["x"])
        best = torch.softmax(x @ w["router"], -1).topk(2)
        weight = best.values / best.values.sum(-1, keepdim=True)
        for e in range(E):
            row, at = (best.indices == e).nonzero(as_tuple=True)
            gate, up, down = (w[f"experts.{part}"][e] for part in ("gate", "up", "down"))
            out = (torch.nn.functional.silu(x[row] @ gate) * (x[row] @ up)) @ down
            y.index_add_(0, row, weight[row, at, None] * out)
        return {"y": y}

    return {
        "entry": "mixtral", "weights": {name: torch.tensor(value) for name, value in weights(rng).items()},
        "inputs": {"x": torch.tensor(rng.normal(size=(64, D)))}, "network": network, "axes": {"d": D, "h": H},
    }


if __name__ == "__main__":
    main()
