"""Golden values of Gated Associative Memory: python fixture.py     (pip install torch safetensors)

The module of the authors' repository, with torch.nn.functional, in float64 on float32 weights and inputs.
"""
import pathlib

import torch
from safetensors.torch import save_file
from torch.nn.functional import conv1d, gelu, layer_norm

HERE = pathlib.Path(__file__).parent
C, M, K, F, WORDS, PLACES, LAYERS = 16, 12, 3, 64, 40, 16, 2


# The network: `w` maps names to float64 tensors.


def local(w, name, x):
    """Padded on both sides by k - 1; what comes after the end is cut off."""
    weight = w[name + ".w"][:, None]
    y = conv1d(x.mT, weight, w[name + ".b"], padding=weight.shape[2] - 1, groups=C)
    return y[..., :x.shape[1]].mT


def memory(w, name, x):
    return torch.softmax(x @ w[name].T, -1) @ w[name]


def gates(w, name, x):
    return torch.sigmoid(x @ w[name + ".w"].flatten(0, 1).T + w[name + ".b"].flatten()).chunk(2, -1)


def norm(w, name, x, n=""):
    return layer_norm(x, (C,), w[f"{name}scale{n}"], w[f"{name}shift{n}"])


def gam(w, ids):
    r = w["token"][ids] + w["position"][:ids.shape[1]]
    for layer in range(LAYERS):
        w1 = {k: v[layer] for k, v in w.items() if k.startswith("layers.")}
        x = norm(w1, "layers.", r, 1)
        a, b = gates(w1, "layers.gates", x)
        r = r + a * local(w1, "layers.local", x) + b * memory(w1, "layers.memory.table", x)
        hidden = gelu(norm(w1, "layers.", r, 2) @ w1["layers.ffn.w1"].T + w1["layers.ffn.b1"])
        r = r + hidden @ w1["layers.ffn.w2"].T + w1["layers.ffn.b2"]
    return norm(w, "", r) @ w["token"].T, r


def seen(w, ids):
    """What the convolutions of each layer have seen last: the normed inputs of the last k - 1 tokens."""
    result, real = [], globals()["local"]

    def spy(w1, name, x):
        result.append(torch.cat([torch.zeros(1, K - 1, C, dtype=x.dtype), x], 1)[0, -(K - 1):])
        return real(w1, name, x)

    globals()["local"] = spy
    gam(w, ids)
    globals()["local"] = real
    return torch.stack(result)


def mixes(w, x):
    loc, one = local(w, "mix_local", x), local(w, "mix_narrow", x)
    glo = memory(w, "mix_memory.table", x)
    a, b = gates(w, "mix_gates", x)
    gated, narrow = a * loc + b * glo, a * one + b * glo
    return {"gated": gated, "total": loc + glo, "narrow": narrow, "global_only": glo, "local_only": loc}


# Weights and golden values.


def weights():
    draw = lambda *shape: torch.randn(shape) * shape[-1] ** -0.5
    w = {"token": draw(WORDS, C), "position": torch.randn(PLACES, C)}
    for i in ("", "layers.1", "layers.2"):
        name, n, lead = (i[:7], i[7:], (LAYERS,)) if i else ("", "", ())
        w[f"{name}scale{n}"] = 1 + 0.2 * torch.randn(*lead, C)
        w[f"{name}shift{n}"] = 0.2 * torch.randn(*lead, C)
    for prefix, lead in (("layers.", (LAYERS,)), ("mix_", ())):
        w[prefix + "local.w"] = torch.randn(*lead, C, K) * 0.5
        w[prefix + "local.b"] = torch.randn(*lead, C) * 0.3
        w[prefix + "memory.table"] = torch.randn(*lead, M, C) * 0.5
        w[prefix + "gates.w"] = torch.randn(*lead, 2, C, C) * 0.25
        w[prefix + "gates.b"] = torch.randn(*lead, 2, C) * 0.25
    w["mix_narrow.w"] = torch.randn(C, 1)
    w["mix_narrow.b"] = torch.randn(C) * 0.3
    w |= {"layers.ffn.w1": draw(LAYERS, F, C), "layers.ffn.b1": torch.randn(LAYERS, F) * 0.25,
          "layers.ffn.w2": draw(LAYERS, C, F), "layers.ffn.b2": torch.randn(LAYERS, C) * 0.25}
    return w


def main():
    torch.manual_seed(9)
    w = weights()
    save_file(w, HERE / "weights.safetensors")
    w = {name: value.double() for name, value in w.items()}
    golden = {}
    for b, t in [(2, 9), (1, 1), (3, 2), (1, 16)]:
        ids = torch.randint(WORDS, (b, t))
        golden |= {f"b{b}t{t}.ids": ids.int(), f"b{b}t{t}.logits": gam(w, ids)[0].float()}
        x = torch.randn(b, t, C)
        golden |= {f"mixes_b{b}t{t}.{k}": v.float().contiguous() for k, v in ({"x": x} | mixes(w, x.double())).items()}
    # The last sequence in calls of one token, of four, and in one call.
    for name, size in {"one": 1, "four": 4, "all": 16}.items():
        golden[f"{name}.ids"] = ids.int().reshape(-1, size)
        golden[f"{name}.logits"] = gam(w, ids)[0].float().reshape(-1, size, WORDS)
    golden |= {"end.seen": seen(w, ids).float(), "end.at": torch.tensor(16, dtype=torch.int32)}
    golden |= {"first.ids": ids[0].int(), "first.logits": gam(w, ids)[0][0].float()}
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"C": 256, "M": 256, "F": 1024, "WORDS": 1000, "PLACES": 256}


def medium():
    """Two layers of half the published width on 256 words."""
    torch.manual_seed(9)
    return {
        "entry": "whole", "weights": weights(), "inputs": {"ids": torch.randint(WORDS, (1, 256))},
        "network": lambda w, x: {"logits": gam(w, x["ids"])[0]},
        "axes": {"c": C, "m": M, "f": F, "word": WORDS, "place": PLACES},
    }


if __name__ == "__main__":
    main()
