"""Golden values of X-LoRA: python fixture.py     (pip install torch safetensors)

A decoder in the manner of Mistral with adapters on five linear layers of each block, in float64 on float32 weights and
inputs. As in the authors' code each forward goes over the whole sequence, twice, without a cache; a step with a cache
must agree with it.
"""
import pathlib

import torch
from safetensors.torch import save_file
from torch.nn.functional import rms_norm, silu

HERE = pathlib.Path(__file__).parent
D, HEADS, KV, HIDDEN, WORDS, LAYERS, SITES, N, R, ALPHA, WIDE, REACH = 16, 4, 2, 24, 40, 2, 5, 3, 2, 4.0, 8, 5
K = D // HEADS
RANKS = (("low", 1, 4.0), ("middle", 2, 6.0), ("high", 4, 8.0))


# The network: `w` maps names to float64 tensors.


def rotate(x):
    """x: [b, t, heads, k]; pairs (i, i + k/2) as complex numbers."""
    z = torch.complex(*x.split(K // 2, -1))
    freq = 10000.0 ** (-torch.arange(K // 2, dtype=x.dtype) / (K // 2))
    angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * freq
    z = z * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.cat([z.real, z.imag], -1)


def adapted(w, name, layer, x, s, base="base"):
    """x: [b, t, i], s: [b, t, n]."""
    y = x @ w[f"{base}.{name}.w"][layer]
    if base == "ranked":
        for j, (which, rank, alpha) in enumerate(RANKS):
            at = f"ranked.{name}.{which}"
            y = y + alpha / rank * s[..., j:j + 1] * (x @ w[f"{at}.down"][layer] @ w[f"{at}.up"][layer])
        return y
    for j in range(N):
        y = y + ALPHA / R * (s[..., j:j + 1] * x) @ w[f"base.{name}.down"][layer, j] @ w[f"base.{name}.up"][layer, j]
    return y


def decoder(w, ids, s, base="base"):
    """s: [b, t, l, n], l counts q, k, v, o, gate of each layer. Returns hidden state, keys, values by layer."""
    x, cache = w[f"{base}.embed"][ids], []
    b, t = ids.shape
    mask = torch.ones(t, t, dtype=torch.bool).tril().triu(1 - REACH)
    for layer in range(LAYERS):
        site = lambda i: s[:, :, layer * SITES + i]
        y = rms_norm(x, (D,), w[f"{base}.norm1"][layer], 1e-5)
        q, k, v = (adapted(w, m, layer, y, site(i), base).reshape(b, t, -1, K) for i, m in enumerate("qkv"))
        q, k = rotate(q), rotate(k)
        cache.append((k, v))
        q, k, v = (a.transpose(1, 2).repeat_interleave(HEADS // a.shape[2], 1) for a in (q, k, v))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + adapted(w, "o", layer, mixed.transpose(1, 2).reshape(b, t, D), site(3), base)
        y = rms_norm(x, (D,), w[f"{base}.norm2"][layer], 1e-5)
        x = x + (silu(adapted(w, "gate", layer, y, site(4), base)) * (y @ w[f"{base}.up"][layer])) @ w[f"{base}.down"][layer]
    keys, values = (torch.stack([c[i] for c in cache]) for i in (0, 1))
    return rms_norm(x, (D,), w[f"{base}.norm"], 1e-5), keys, values


def head(w, kind, h):
    """Scalings [b, t, l, n]."""
    if kind == "flat":
        s = torch.softmax((h @ w["flat_head.w"] + w["flat_head.b"]) / 0.5, -1)
        return s[:, :, None].expand(-1, -1, LAYERS * SITES, -1)
    flat = lambda name: w[f"{kind}_head.{name}"].flatten(-3)
    if kind == "deep":
        z = torch.relu(h @ w["deep_head.w1"] + w["deep_head.b1"]) @ flat("w2") + flat("b2")
    else:
        z = h @ flat("w") + flat("b")
    z = z.unflatten(-1, (LAYERS * SITES, N))
    if kind == "best_two":  # of what is left, a softmax
        best = z.topk(2)
        return torch.zeros_like(z).scatter(-1, best.indices, torch.softmax(best.values, -1))
    s = torch.softmax(z, -1)
    if kind == "best":
        s = s * torch.zeros_like(s).scatter(-1, s.topk(2).indices, 1.0)
    return s


def x_lora(w, kind, ids):
    off = torch.full((*ids.shape, LAYERS * SITES, N), 1 / N if kind == "flat" else 0, dtype=w["lm_head"].dtype)
    h, *first = decoder(w, ids, off)
    s = head(w, kind, h)
    h, *second = decoder(w, ids, s)
    keys, values = (torch.stack(pair) for pair in zip(first, second))
    return h @ w["lm_head"], s, keys, values


# Weights and golden values.


def weights():
    w = {"base.embed": torch.randn(WORDS, D), "base.norm": 1 + 0.2 * torch.randn(D),
         "lm_head": torch.randn(D, WORDS) * D**-0.5}
    for name in ("norm1", "norm2"):
        w["base." + name] = 1 + 0.2 * torch.randn(LAYERS, D)
    w["base.up"] = torch.randn(LAYERS, D, HIDDEN) * D**-0.5
    w["base.down"] = torch.randn(LAYERS, HIDDEN, D) * HIDDEN**-0.5
    for name, out in (("q", D), ("k", KV * K), ("v", KV * K), ("o", D), ("gate", HIDDEN)):
        w[f"base.{name}.w"] = torch.randn(LAYERS, D, out) * D**-0.5
        w[f"base.{name}.down"] = torch.randn(LAYERS, N, D, R) * D**-0.5
        w[f"base.{name}.up"] = torch.randn(LAYERS, N, R, out) * 0.5
    for kind in ("shallow", "best"):
        w[kind + "_head.w"] = torch.randn(D, LAYERS, SITES, N) * 0.5
        w[kind + "_head.b"] = torch.randn(LAYERS, SITES, N) * 0.5
    w |= {"deep_head.w1": torch.randn(D, WIDE) * 0.4, "deep_head.b1": torch.randn(WIDE) * 0.3,
          "deep_head.w2": torch.randn(WIDE, LAYERS, SITES, N) * 0.5,
          "deep_head.b2": torch.randn(LAYERS, SITES, N) * 0.5}
    for name in ("embed", "norm", "norm1", "norm2", "up", "down"):
        w["ranked." + name] = w["base." + name].clone()
    for name in ("q", "k", "v", "o", "gate"):
        out = w[f"base.{name}.w"].shape[-1]
        w[f"ranked.{name}.w"] = w[f"base.{name}.w"].clone()
        for which, rank, _ in RANKS:
            w[f"ranked.{name}.{which}.down"] = torch.randn(LAYERS, D, rank) * D**-0.5
            w[f"ranked.{name}.{which}.up"] = torch.randn(LAYERS, rank, out) * 0.3
    w["best_two_head.w"] = torch.randn(D, LAYERS, SITES, N) * 0.5
    w["best_two_head.b"] = torch.randn(LAYERS, SITES, N) * 0.5
    w["flat_head.w"], w["flat_head.b"] = torch.randn(D, N) * 0.5, torch.randn(N) * 0.5
    return w


def main():
    torch.manual_seed(32)
    w = weights()
    options, only = HERE.parent / "32-x-lora-options", ("best_two", "flat", "ranked")
    both = ("base.", "lm_head")
    save_file({name: v for name, v in w.items() if not name.startswith(only)}, HERE / "weights.safetensors")
    save_file({name: v for name, v in w.items() if name.startswith(only + both)}, options / "weights.safetensors")
    w = {name: value.double() for name, value in w.items()}
    golden = {}

    def add(prefix, **values):
        for name, v in values.items():
            golden[f"{prefix}.{name}"] = (v.int() if v.dtype == torch.int64 else v.float()).clone().contiguous()

    by_layer = lambda s: s.unflatten(2, (LAYERS, SITES))
    nothing = torch.zeros(LAYERS, 2, 0, KV, K)
    ids = torch.randint(WORDS, (2, 6))
    # Scalings that are given: any, none (the base model), and those of one adapter alone.
    s = torch.rand(2, 6, LAYERS * SITES, N)
    alone = torch.zeros_like(s)
    alone[..., 1] = 1
    for name, s in {"any": s, "none": 0 * s, "alone": alone}.items():
        h, _, _ = decoder(w, ids, s.double())
        add("given_" + name, ids=ids, s=by_layer(s), keys=nothing, values=nothing, logits=h @ w["lm_head"])
        if name == "any":
            h, _, _ = decoder(w, ids, s.double(), "ranked")
            add("given_ranks", ids=ids, s=by_layer(s), keys=nothing, values=nothing, logits=h @ w["lm_head"])
    merged = dict(w)
    for m in ("q", "k", "v", "o", "gate"):
        merged[f"base.{m}.w"] = w[f"base.{m}.w"] + ALPHA / R * w[f"base.{m}.down"][:, 1] @ w[f"base.{m}.up"][:, 1]
    gap = decoder(merged, ids, 0 * alone.double())[0] - decoder(w, ids, alone.double())[0]
    assert gap.abs().max() < 1e-12

    for kind in ("shallow", "deep", "best"):
        for b, t in [(2, 6), (1, 1), (3, 7)]:
            ids = torch.randint(WORDS, (b, t))
            logits, s, keys, values = x_lora(w, kind, ids)
            old = torch.zeros(2, LAYERS, b, 0, KV, K)
            add(f"{kind}_b{b}t{t}", ids=ids, keys=old, values=old, logits=logits, s=by_layer(s), new_keys=keys,
                new_values=values)
            if t == 7:  # The last token after those before it.
                add(f"{kind}_step", ids=ids[:, 6:], keys=keys[:, :, :, :6], values=values[:, :, :, :6],
                    logits=logits[:, 6:], s=by_layer(s)[:, 6:], new_keys=keys[:, :, :, 6:],
                    new_values=values[:, :, :, 6:])
    for kind in ("best_two", "flat"):
        ids = torch.randint(WORDS, (2, 6))
        logits, s, _, _ = x_lora(w, kind, ids)
        old = torch.zeros(2, LAYERS, 2, 0, KV, K)
        add(kind, ids=ids, keys=old, values=old, logits=logits, s=by_layer(s))
    only = ("best_two", "flat", "given_ranks")
    save_file({name: v for name, v in golden.items() if not name.startswith(only)}, HERE / "golden.safetensors")
    save_file({name: v for name, v in golden.items() if name.startswith(only)}, options / "golden.safetensors")


MEDIUM = {"D": 256, "HEADS": 8, "KV": 2, "HIDDEN": 768, "WORDS": 1000, "R": 8, "REACH": 128, "K": 32}


def medium():
    """Both passes over 128 words, adapters of rank 8."""
    torch.manual_seed(32)
    old = torch.zeros(2, LAYERS, 1, 0, KV, K)

    def network(w, x):
        logits, s, keys, values = x_lora(w, "shallow", x["ids"])
        return {"logits": logits, "s": s.unflatten(2, (LAYERS, SITES)), "new_keys": keys, "new_values": values}

    inputs = {"ids": torch.randint(WORDS, (1, 128)), "keys": old, "values": old.clone()}
    return {
        "entry": "with_shallow", "weights": weights(), "inputs": inputs, "network": network,
        "axes": {"d": D, "kv": KV, "share": HEADS // KV, "k": K, "h": HIDDEN, "word": WORDS, "r": R, "reach": REACH},
    }


if __name__ == "__main__":
    main()
