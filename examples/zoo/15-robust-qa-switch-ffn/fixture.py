"""Golden values of the question answering networks: python fixture.py     (pip install torch numpy safetensors)

In float64 on float32 weights; experts and their places token by token. The encoder's weights have the names of public
DistilBERT checkpoints.
"""
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
WORDS, PLACES, D, HEADS, H, E, LAYERS = 64, 16, 16, 2, 32, 4, 2
BERT = "distilbert.transformer.layer"


# The network.
def attention(x, mask, weights, biases):
    """Matrices as in torch.nn.Linear."""
    def heads(z):
        return z.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    q, k, v = (heads(F.linear(x, weights[i], biases[i])) for i in range(3))
    out = F.scaled_dot_product_attention(q, k, v, mask[:, None, None, :])
    return F.linear(out.transpose(1, 2).flatten(2), weights[3], biases[3])


def norm(x, scale, shift, eps):
    return F.layer_norm(x, (D,), scale, shift, eps)


def bert_ffn(w, layer, x):
    p = f"{BERT}.{layer}.ffn"
    hidden = F.gelu(F.linear(x, w[f"{p}.lin1.weight"], w[f"{p}.lin1.bias"]))
    return F.linear(hidden, w[f"{p}.lin2.weight"], w[f"{p}.lin2.bias"])


def bert_switch(w, layer, x):
    out = torch.zeros_like(x)
    for at in np.ndindex(x.shape[:2]):
        p = torch.softmax(F.linear(x[at], w[f"switch_ffn.{layer}.router.weight"],
                                   w[f"switch_ffn.{layer}.router.bias"]), -1)
        name = f"switch_ffn.{layer}.experts.{int(p.argmax())}"
        hidden = F.gelu(F.linear(x[at], w[f"{name}.lin1.weight"], w[f"{name}.lin1.bias"]))
        out[at] = p.max() * F.linear(hidden, w[f"{name}.lin2.weight"], w[f"{name}.lin2.bias"])
    return out


def encoder(w, ids, mask, ffn):
    x = w["distilbert.embeddings.word_embeddings.weight"][ids]
    x = x + w["distilbert.embeddings.position_embeddings.weight"][:ids.shape[1]]
    x = norm(x, w["distilbert.embeddings.LayerNorm.weight"], w["distilbert.embeddings.LayerNorm.bias"], 1e-12)
    for layer in range(LAYERS):
        p = f"{BERT}.{layer}"
        names = [f"{p}.attention.{n}_lin" for n in ("q", "k", "v", "out")]
        a = attention(x, mask, [w[f"{n}.weight"] for n in names], [w[f"{n}.bias"] for n in names])
        x = norm(x + a, w[f"{p}.sa_layer_norm.weight"], w[f"{p}.sa_layer_norm.bias"], 1e-12)
        x = norm(x + ffn(w, layer, x), w[f"{p}.output_layer_norm.weight"], w[f"{p}.output_layer_norm.bias"], 1e-12)
    return x


def head(w, y):
    z = F.linear(y, w["qa_outputs.weight"], w["qa_outputs.bias"])
    return {"start": z[..., 0], "end": z[..., 1]}


def top2(w, x, u, factor=1.25, policy="random"):
    p = torch.softmax(x @ w["best_two.router"], -1)
    batch, tokens, _ = x.shape
    capacity = max(4, min(tokens, math.floor(tokens * factor / E)))
    first, share, y = torch.zeros(batch, E).double(), p.mean(1), torch.zeros_like(x)
    dropped = 0
    for b in range(batch):
        choices = [[], []]
        for t in range(tokens):
            i1 = int(p[b, t].argmax())
            rest = p[b, t].clone()
            rest[i1] = 0
            i2 = int(rest.argmax())
            g1, g2 = float(p[b, t, i1]), float(p[b, t, i2])
            g1, g2 = g1 / (g1 + g2 + 1e-9), g2 / (g1 + g2 + 1e-9)
            first[b, i1] += 1 / tokens
            choices[0].append((t, i1, g1))
            if {"random": u is not None and u[b, t] < g2 / 0.2, "all": True, "threshold": g2 > 0.2, "none": False}[policy]:
                choices[1].append((t, i2, g2))
        taken = [0] * E
        for t, i, g in choices[0] + choices[1]:
            if taken[i] < capacity:
                taken[i] += 1
                y[b, t] += g * (F.leaky_relu(x[b, t] @ w["best_two.w1"][i], 0.01) @ w["best_two.w2"][i])
            else:
                dropped += 1
    return y, E**2 * (first * share).mean(), dropped


def relu_expert(w, name, i, row):
    hidden = torch.relu(row @ w[f"{name}.experts.w1"][i] + w[f"{name}.experts.b1"][i])
    return hidden @ w[f"{name}.experts.w2"][i] + w[f"{name}.experts.b2"][i]


def span(start, end, context):
    """Of the 20 best starts and ends inside the context the pair of the largest sum."""
    best = (-math.inf, 0, 0)
    for i in sorted(range(len(start)), key=lambda i: -start[i])[:20]:
        for j in sorted(range(len(end)), key=lambda j: -end[j])[:20]:
            if context[i] and context[j] and 0 < j - i < 30:
                best = max(best, (start[i] + end[j], i, j))
    return best


def switched(own, z, p):
    out = torch.zeros_like(z)
    for at in np.ndindex(z.shape[:2]):
        out[at] = p[at].max() * relu_expert(own, "switch", int(p[at].argmax()), z[at])
    return out


def switch_stack(w, x, mask, scaled=True):
    aux, s = 0, {n.removeprefix("switch_stack."): v for n, v in w.items() if n.startswith("switch_stack.")}
    for layer in range(LAYERS):
        own = {n: v[layer] for n, v in s.items() if n not in ("scale", "shift")}
        matrices = [own[f"attention.w{n}"].flatten(1).T for n in "qkv"] + [own["attention.wo"].flatten(0, 1).T]
        biases = [own[f"attention.b{n}"].flatten() for n in "qkvo"]
        x = x + attention(norm(x, own["scale1"], own["shift1"], 1e-5), mask, matrices, biases)
        z = norm(x, own["scale2"], own["shift2"], 1e-5)
        p = torch.softmax(z @ own["switch.router"] + own["switch.router_bias"], -1)
        out, f = switched(own, z, p if scaled else p.ge(p.max(-1, keepdim=True).values).to(p)), p.new_zeros(E)
        for i in p.argmax(-1).flatten().tolist():
            f[i] += 1 / p[..., 0].numel()
        x, aux = x + out, aux + E * (f * p.mean((0, 1))).sum()
    return norm(x, s["scale"], s["shift"], 1e-5), aux


def dropping(w, x, u):
    rows, order = x.flatten(0, 1), u.flatten().argsort()
    p = torch.softmax(rows @ w["router"] + w["router_bias"], -1)
    y, taken = p.max(-1).values[:, None] * rows, [0] * E
    for t in order:
        i = int(p[t].argmax())
        if taken[i] < int(1.25 * len(rows) / E):
            y[t] = p[t, i] * relu_expert({f".{n}": v for n, v in w.items()}, "", i, rows[t])
            taken[i] += 1
    return y.reshape(x.shape)


# Weights and golden values.


def weights():
    w, spread = {}, 0.3

    def normal(*shape):
        return torch.randn(*shape) * spread

    def layernorm(name):
        w[f"{name}.weight"], w[f"{name}.bias"] = 1 + 0.3 * normal(D), normal(D)

    w["distilbert.embeddings.word_embeddings.weight"] = normal(WORDS, D)
    w["distilbert.embeddings.position_embeddings.weight"] = normal(PLACES, D)
    layernorm("distilbert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        p = f"{BERT}.{layer}"
        linear = [(f"{p}.attention.{n}_lin", D, D) for n in ("q", "k", "v", "out")]
        linear += [(f"{p}.ffn.lin1", H, D), (f"{p}.ffn.lin2", D, H), (f"switch_ffn.{layer}.router", E, D)]
        for e in range(E):
            linear += [(f"switch_ffn.{layer}.experts.{e}.lin1", H, D), (f"switch_ffn.{layer}.experts.{e}.lin2", D, H)]
        for name, *shape in linear:
            w[f"{name}.weight"], w[f"{name}.bias"] = normal(*shape), normal(shape[0])
        layernorm(f"{p}.sa_layer_norm")
        layernorm(f"{p}.output_layer_norm")
    w |= {"qa_outputs.weight": normal(2, D), "qa_outputs.bias": normal(2)}
    w |= {"best_two.router": normal(D, E), "best_two.w1": normal(E, D, H), "best_two.w2": normal(E, H, D)}
    for name, first in (("", ()), ("switch_stack.switch.", (LAYERS,))):
        w |= {f"{name}router": normal(*first, D, E), f"{name}router_bias": normal(*first, E),
              f"{name}experts.w1": normal(*first, E, D, H), f"{name}experts.b1": normal(*first, E, H),
              f"{name}experts.w2": normal(*first, E, H, D), f"{name}experts.b2": normal(*first, E, D)}
    for n in "qkv":
        w |= {f"switch_stack.attention.w{n}": normal(LAYERS, D, HEADS, D // HEADS),
              f"switch_stack.attention.b{n}": normal(LAYERS, HEADS, D // HEADS)}
    w |= {"switch_stack.attention.wo": normal(LAYERS, HEADS, D // HEADS, D),
          "switch_stack.attention.bo": normal(LAYERS, D)}
    for n in ("1", "2", ""):
        first = (LAYERS,) if n else ()
        w |= {f"switch_stack.scale{n}": 1 + 0.3 * normal(*first, D), f"switch_stack.shift{n}": normal(*first, D)}
    return w


def main():
    torch.manual_seed(15)
    w = weights()
    exact = {name: value.double() for name, value in w.items()}
    golden = {}
    for case, batch, tokens, noise in (("b3", 3, 12, None), ("b1", 1, 7, None), ("all", 3, 12, 0.0),
                                       ("none", 3, 12, 1e3), ("b0", 0, 5, None)):
        ids = torch.randint(0, WORDS, (batch, tokens))
        if case in ("all", "none"):
            ids[1] = ids[1, 0]  # more than 6 tokens of one word choose the same expert
        mask = torch.ones(batch, tokens, dtype=torch.bool)
        if batch == 3:
            mask[2, 7:] = False
        u = torch.rand(batch, tokens) if noise is None else torch.full((batch, tokens), noise)
        z = torch.randn(batch, tokens, D)
        x = encoder(exact, ids, mask, bert_ffn)
        yb, aux_b, dropped = top2(exact, x, u)
        yc, aux_c = switch_stack(exact, x, mask)
        assert dropped or batch < 3
        ask = {"ids": ids.int(), "mask": mask.int()}
        runs = {"a": ask | head(exact, x), "b": ask | {"u": u, "factor": torch.tensor(1.25), "aux": aux_b} | head(exact, yb),
                "c": ask | {"aux": aux_c} | head(exact, yc),
                "d": ask | head(exact, encoder(exact, ids, mask, bert_switch)),
                "dropping": {"x": z, "u": u, "y": dropping(exact, z.double(), u)}}
        if not batch:  # an empty batch has no mean
            runs = {n: runs[n] for n in ("a", "d", "dropping")}
        if noise is not None:
            runs = {"b": runs["b"]}
        for entry, tensors in runs.items():
            for name, value in tensors.items():
                value = value.float() if value.is_floating_point() else value
                assert value.isfinite().all()
                golden[f"{entry}.{case}.{name}"] = np.asarray(value.numpy(), order="C")
        if case == "b3":
            y, _ = switch_stack(exact, x, mask, False)
            add = {f"c_unscaled.{name}": value for name, value in (ask | head(exact, y)).items()}
            y, aux, _ = top2(exact, x, u, 2.0)
            add |= {f"eval.{name}": value for name, value in (ask | {"u": u, "aux": aux} | head(exact, y)).items()}
            add |= {"eval.factor": torch.tensor(2.0), "policies.x": z, "policies.factor": torch.tensor(1.25)}
            for policy in ("all", "threshold", "none"):
                add[f"policies.{policy}"] = top2(exact, z.double(), None, 1.25, policy)[0]
            golden |= {n: np.asarray((v.float() if v.is_floating_point() else v).numpy(), order="C") for n, v in add.items()}
    for case, tokens in (("short", 12), ("long", 50)):
        start, end = 3 * torch.randn(4, tokens), 3 * torch.randn(4, tokens)
        context = (torch.arange(tokens) > 3).int().expand(4, -1)
        found = [span(*(v.tolist() for v in row)) for row in zip(start.double(), end.double(), context)]
        tensors = {"start": start, "end": end, "context": context, "sum": torch.tensor([f[0] for f in found])}
        tensors |= {"from": torch.tensor([f[1] for f in found]).int(), "to": torch.tensor([f[2] for f in found]).int()}
        golden |= {f"span.{case}.{n}": np.array(v.numpy(), order="C") for n, v in tensors.items()}
    save_file({name: np.asarray(value.numpy(), order="C") for name, value in w.items()}, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"WORDS": 1000, "PLACES": 384, "D": 256, "HEADS": 4, "H": 1024}


def medium():
    """Switch layers behind the encoder, on a text of 384 tokens; experts run for all their tokens at once."""
    torch.manual_seed(15)
    w = {name: value * (0.2 if value.dim() > 1 else 1) for name, value in weights().items()}

    def switch(own, z, p):
        best, out = p.max(-1), torch.zeros_like(z)
        for e in range(E):
            rows = best.indices == e
            out[rows] = best.values[rows, None] * relu_expert(own, "switch", e, z[rows])
        return out

    def network(w, x):
        globals()["switched"] = switch
        h, aux = switch_stack(w, encoder(w, x["ids"], x["mask"] == 1, bert_ffn), x["mask"] == 1)
        return head(w, h) | {"aux": aux}

    ids = torch.randint(0, WORDS, (1, PLACES))
    return {
        "entry": "c", "weights": w, "inputs": {"ids": ids, "mask": torch.ones_like(ids)}, "network": network,
        "axes": {"word": WORDS, "place": PLACES, "d": D, "head": HEADS, "k": D // HEADS, "h": H},
    }


if __name__ == "__main__":
    main()
