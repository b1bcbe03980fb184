"""Golden values of gated attention: python fixture.py     (pip install torch safetensors)

Written from the paper's equations in PyTorch, in float64 on float32 weights and inputs. The backbone has the names of
Hugging Face checkpoints; the gates of all layers are stacked in one tensor each, under the place where they stand.
"""
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
D, H, K, WIDTH, F, V, LAYERS, THETA = 32, 4, 2, 8, 48, 50, 2, 10000.0
# The place's name in the weight file, and how many heads a gate there has.
PLACES = {"g1": ("y", H), "g2": ("val", K), "g3": ("key", K), "g4": ("q", H)}
ACTIVATIONS = ["sigma", "ns", "add_silu"]
ENTRIES = (
    ["plain"]
    + [f"{place}_{form}_{how}" for place in PLACES for form in ("elementwise", "headwise") for how in ACTIVATIONS]
    + [f"g5_elementwise_{how}" for how in ACTIVATIONS]
    + ["g1_shared_sigma", "g1_fixed_sigma", "g1_norm", "g1_swish", "g1_elementwise_add"]
)
OTHER_SIZES = [
    "g1_elementwise_sigma", "g1_headwise_sigma", "g2_elementwise_ns", "g3_headwise_add_silu", "g4_headwise_ns",
]


def rms(x, w):
    return w * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def meet(y, s, how):
    """How the score of a gate meets what it gates."""
    return {
        "sigma": lambda: y * torch.sigmoid(s),
        "ns": lambda: y * (0.5 + 0.5 * torch.sigmoid(s)),
        "add_silu": lambda: y + torch.nn.functional.silu(s),
        "add": lambda: y + s,
    }[how]()


def gate(w, layer, place, y, x, entry):
    """The gate of `entry` at `place`, on y: [b, n, heads, k] (or [b, n, D] at g5)."""
    at, _, rest = entry.partition("_")
    if at != place:
        return y
    if place == "g5":
        return meet(y, x @ w["decoder.attention.o.w"][layer], rest.removeprefix("elementwise_"))
    form, _, how = rest.partition("_")
    name = f"decoder.attention.{PLACES[place][0]}"
    if form == "elementwise":
        return meet(y, torch.einsum("bnd,dhk->bnhk", x, w[f"{name}.each"][layer]), how)
    if form == "headwise":
        return meet(y, (x @ w[f"{name}.whole"][layer])[..., None], how)
    if form == "shared":  # one score for all heads: the mean over them, before the sigmoid
        return meet(y, torch.einsum("bnd,dhk->bnhk", x, w[f"{name}.each"][layer]).mean(2, keepdim=True), how)
    if form == "fixed":
        return y * torch.sigmoid(w[f"{name}.p"][layer])
    if form == "norm":
        return rms(y, w[f"{name}.scale"][layer])
    assert form == "swish"
    return torch.nn.functional.silu(y)


def rope(x):
    """x: [b, n, heads, k]; pairs are (j, j + k / 2)."""
    n, k = x.shape[1], x.shape[3]
    inv = THETA ** (-2 * torch.arange(k // 2, dtype=torch.float64) / k)
    angle = (torch.arange(n, dtype=torch.float64)[:, None] * inv).repeat(1, 2)[:, None]
    rotated = torch.cat([-x[..., k // 2:], x[..., :k // 2]], -1)
    return x * torch.cos(angle).to(x.dtype) + rotated * torch.sin(angle).to(x.dtype)


def attention(w, layer, x, entry):
    def linear(name):
        return x @ w[f"model.layers.{layer}.self_attn.{name}.weight"].T

    b, n = x.shape[:2]
    q = linear("q_proj").view(b, n, H, WIDTH)
    key = linear("k_proj").view(b, n, K, WIDTH)
    v = gate(w, layer, "g2", linear("v_proj").view(b, n, K, WIDTH), x, entry)
    q = rope(gate(w, layer, "g4", rms(q, w[f"model.layers.{layer}.self_attn.q_norm.weight"]), x, entry))
    key = rope(gate(w, layer, "g3", rms(key, w[f"model.layers.{layer}.self_attn.k_norm.weight"]), x, entry))
    y = torch.zeros(b, n, H, WIDTH, dtype=x.dtype)
    for h in range(H):
        score = q[:, :, h] @ key[:, :, h // (H // K)].transpose(1, 2) / WIDTH**0.5
        score = score.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf)
        y[:, :, h] = score.softmax(-1) @ v[:, :, h // (H // K)]
    y = gate(w, layer, "g1", y, x, entry).reshape(b, n, H * WIDTH)
    return gate(w, layer, "g5", y @ w[f"model.layers.{layer}.self_attn.o_proj.weight"].T, x, entry)


def decoder(w, ids, entry):
    h = w["model.embed_tokens.weight"][ids]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        h = h + attention(w, layer, rms(h, w[f"{at}.input_layernorm.weight"]), entry)
        u = rms(h, w[f"{at}.post_attention_layernorm.weight"])
        up = torch.nn.functional.silu(u @ w[f"{at}.mlp.gate_proj.weight"].T) * (u @ w[f"{at}.mlp.up_proj.weight"].T)
        h = h + up @ w[f"{at}.mlp.down_proj.weight"].T
    return rms(h, w["model.norm.weight"]) @ w["lm_head.weight"].T


# Weights and golden values.


def weights():
    def matrix(*shape, fan):
        return torch.randn(*shape) * fan**-0.5

    def scale(*shape):
        return 1 + 0.3 * torch.randn(*shape)

    w = {
        "model.embed_tokens.weight": torch.randn(V, D),
        "model.norm.weight": scale(D),
        "lm_head.weight": matrix(V, D, fan=D),
        "decoder.attention.o.w": matrix(LAYERS, D, D, fan=D),
        "decoder.attention.y.p": torch.randn(LAYERS, H, WIDTH),
        "decoder.attention.y.scale": scale(LAYERS, WIDTH),
    }
    for name, heads in PLACES.values():
        w[f"decoder.attention.{name}.each"] = matrix(LAYERS, D, heads, WIDTH, fan=D)
        w[f"decoder.attention.{name}.whole"] = matrix(LAYERS, D, heads, fan=D)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        w |= {
            f"{at}.input_layernorm.weight": scale(D),
            f"{at}.post_attention_layernorm.weight": scale(D),
            f"{at}.self_attn.q_norm.weight": scale(WIDTH),
            f"{at}.self_attn.k_norm.weight": scale(WIDTH),
            f"{at}.self_attn.q_proj.weight": matrix(H * WIDTH, D, fan=D),
            f"{at}.self_attn.k_proj.weight": matrix(K * WIDTH, D, fan=D),
            f"{at}.self_attn.v_proj.weight": matrix(K * WIDTH, D, fan=D),
            f"{at}.self_attn.o_proj.weight": matrix(D, H * WIDTH, fan=D),
            f"{at}.mlp.gate_proj.weight": matrix(F, D, fan=D),
            f"{at}.mlp.up_proj.weight": matrix(F, D, fan=D),
            f"{at}.mlp.down_proj.weight": matrix(D, F, fan=F),
        }
    return w


def released(form):
    """The published layout, `q_proj.weight` with the gate's rows behind each group's queries, and a text read in pieces."""
    stored, name = weights(), {"headwise": "whole", "elementwise": "each"}[form]
    packed = {key: value for key, value in stored.items() if not key.startswith("decoder.")}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.self_attn.q_proj.weight"
        rows = stored[f"decoder.attention.y.{name}"][layer].flatten(1).T
        packed[at] = torch.cat([stored[at].view(K, -1, D), rows.reshape(K, -1, D)], 1).flatten(0, 1).contiguous()
    w, ids = {key: value.double() for key, value in stored.items()}, torch.randint(V, (3, 12))
    logits, golden = decoder(w, ids, f"g1_{form}_sigma"), {}
    for run, length in (("whole", 12), ("halves", 6), ("words", 1)):
        for key, value in (("ids", ids.int()), ("logits", logits.float())):
            golden[f"{run}.{key}"] = value.unflatten(1, (-1, length)).transpose(0, 1).contiguous()
    folder = HERE.parent / {"headwise": "03-gated-attention-released", "elementwise": "03-gated-attention-each"}[form]
    save_file(packed, folder / "weights.safetensors")
    save_file(golden, folder / "golden.safetensors")


def main():
    torch.manual_seed(3)
    stored = weights()
    w = {name: value.double() for name, value in stored.items()}
    ids = {"b2n7": torch.randint(V, (2, 7)), "b1n1": torch.randint(V, (1, 1)), "b3n5": torch.randint(V, (3, 5))}
    golden = {f"{name}.ids": value.int() for name, value in ids.items()}
    for name, value in ids.items():
        for entry in ENTRIES if name == "b2n7" else OTHER_SIZES:
            golden[f"{name}.{entry}"] = decoder(w, value, entry).float().contiguous()
    save_file(stored, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")
    released("headwise")
    released("elementwise")


MEDIUM = {"D": 256, "H": 8, "K": 2, "WIDTH": 32, "F": 768, "V": 1000, "LAYERS": 2}
MEDIUM["PLACES"] = {"g1": ("y", 8), "g2": ("val", 2), "g3": ("key", 2), "g4": ("q", 8)}


def medium():
    """Two layers on 128 words."""
    torch.manual_seed(3)
    entry = "g1_elementwise_sigma"
    return {
        "entry": entry, "weights": weights(), "inputs": {"ids": torch.randint(V, (1, 128))},
        "network": lambda w, x: {"logits": decoder(w, x["ids"], entry)},
        "axes": {"d": D, "head": H, "kv": K, "r": H // K, "k": WIDTH, "f": F, "word": V, "layer": LAYERS},
    }


if __name__ == "__main__":
    main()
