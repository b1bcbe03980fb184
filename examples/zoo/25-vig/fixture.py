"""Golden values of ViG: python fixture.py     (pip install torch numpy safetensors)

The equations of README.md in PyTorch, in float64 on float32 weights and inputs; the recurrences go token by token.
Three files of weights: random ones, and the same with forget gates that are shut (their bias is -20) or open (+20).
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
CIN, HEIGHT, WIDTH, HALF = 3, 48, 64, 8
D, HEADS, K, V, R, HIDDEN, LAYERS, CLASSES = 16, 2, 4, 8, 4, 24, 2, 5
GRID = (3, 4)
EPS = 1e-6


# ---- the network

def sub(w, name):
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def rmsnorm(x, scale):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * scale


def stem(w, image):
    """[b, 3, height, width] to [b, y, x, d]."""
    x = F.conv2d(image, w["w1"], w["b1"], stride=8, padding=1).permute(0, 2, 3, 1)
    x = F.silu(F.layer_norm(x, (HALF,), w["scale1"], w["shift1"]))
    x = F.conv2d(x.permute(0, 3, 1, 2), w["w2"], w["b2"], stride=2, padding=1).permute(0, 2, 3, 1)
    return F.layer_norm(x, (D,), w["scale2"], w["shift2"]) + w["place.pos"]


def one_way(q, k, v, decay, order):
    """q, k, decay: [b, n, head, k]; v: [b, n, head, v]."""
    state = torch.zeros(len(q), q.shape[2], K, V, dtype=q.dtype)
    o = torch.zeros_like(v)
    for t in order:
        state = decay[:, t, :, :, None] * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        o[:, t] = torch.einsum("bhk,bhkv->bhv", K**-0.5 * q[:, t], state)
    return o


def mixer(w, u, act):
    """u: [b, y, x, d]."""
    b, y, x, d = u.shape
    n, heads = y * x, d // V
    c = F.conv2d(u.permute(0, 3, 1, 2), w["conv"][:, None], padding=1, groups=d).permute(0, 2, 3, 1)
    c = act(c).reshape(b, n, d)
    q, k, v, z = ((c @ w[name].reshape(d, -1)).reshape(b, n, heads, -1) for name in ("wq", "wk", "wv", "wz"))
    a = c @ w["a"] @ w["b"].reshape(R, -1) + w["bb"].flatten()
    first, second = (torch.exp(F.logsigmoid(half.reshape(b, n, heads, K)) / 16) for half in a.chunk(2, -1))
    o = (one_way(q, k, v, first, range(n)) + one_way(q, k, v, second, reversed(range(n)))) / 2
    o = rmsnorm(o, w["norm"])
    local = rmsnorm(c.reshape(b, n, heads, V), w["norm_local"])
    z = torch.sigmoid(z + w["bz"])
    m = act(z * o + (1 - z) * local)
    return (m.reshape(b, n, d) @ w["wo"].reshape(d, d)).reshape(u.shape)


def trunk(w, u, act):
    for i in range(LAYERS):
        mix, mlp = ({name: value[i] for name, value in sub(w, part).items()} for part in ("mixer", "mlp"))
        u = u + mixer(mix, rmsnorm(u, w["w1"][i]), act)
        p = rmsnorm(u, w["w2"][i])
        u = u + (F.silu(p @ mlp["gate"]) * (p @ mlp["up"])) @ mlp["down"]
    return rmsnorm(u, w["norm"]).mean((1, 2)) @ w["head"] + w["head_bias"], u


# Weights and golden values.

def normal(fan_in, *shape):
    return torch.randn(shape) * fan_in**-0.5


def make_weights():
    stem_weights = {
        "w1": normal(CIN * 81, HALF, CIN, 9, 9), "b1": normal(16, HALF),
        "scale1": 1 + normal(25, HALF), "shift1": normal(25, HALF),
        "w2": normal(HALF * 9, D, HALF, 3, 3), "b2": normal(16, D),
        "scale2": 1 + normal(25, D), "shift2": normal(25, D),
        "place.pos": normal(25, *GRID, D),
    }
    mixer_weights = {
        "conv": normal(9, D, 3, 3), "wq": normal(D, D, HEADS, K), "wk": normal(D, D, HEADS, K),
        "wv": normal(D, D, HEADS, V), "wz": normal(D, D, HEADS, V), "bz": normal(4, HEADS, V),
        "a": normal(D, D, R), "b": normal(R, R, 2, HEADS, K), "bb": normal(4, 2, HEADS, K),
        "norm": 1 + normal(25, V), "norm_local": 1 + normal(25, V), "wo": normal(D, HEADS, V, D),
    }
    mlp_weights = {"gate": normal(D, D, HIDDEN), "up": normal(D, D, HIDDEN), "down": normal(HIDDEN, HIDDEN, D)}
    layer_weights = {"w1": 1 + normal(25, D), "w2": 1 + normal(25, D)}
    layer_weights |= {f"mixer.{name}": value for name, value in mixer_weights.items()}
    layer_weights |= {f"mlp.{name}": value for name, value in mlp_weights.items()}
    w = {f"stem.{name}": value for name, value in stem_weights.items()}
    for name, value in layer_weights.items():  # further layers: the first one's, shuffled
        others = [value.flatten()[torch.randperm(value.numel())].reshape(value.shape) for _ in range(LAYERS - 1)]
        w[f"all_blocks.{name}"] = torch.stack([value, *others])
    return w | {
        "all_blocks.norm": 1 + normal(25, D),
        "all_blocks.head": normal(D, D, CLASSES), "all_blocks.head_bias": normal(4, CLASSES),
    }


def check_reversal(w, u):
    """A turned grid, with the kernel turned and the halves of the gate exchanged, gives the turned answer."""
    axes = {"mixer.conv": (2, 3), "mixer.b": 2, "mixer.bb": 1}
    turned = w | {name: w[name].flip(a) for name, a in axes.items()}
    for ours, other in zip(trunk(w, u, F.silu), trunk(turned, u.flip(1, 2), F.silu)):
        other = other.flip(1, 2) if other.dim() == 4 else other
        assert (ours - other).abs().max() < 1e-12


def main():
    torch.manual_seed(25)
    weights, golden = make_weights(), {}

    def keep(run, **values):
        for name, value in values.items():
            golden[f"{run}.{name}"] = value.float().clone().contiguous()

    grids = {"b2": (2, *GRID), "line": (1, 1, 7), "single": (3, 1, 1), "large": (1, 9, 11)}
    patches = {name: torch.randn(*shape, D) for name, shape in grids.items()}
    for gates, bias in (("weights", None), ("shut", -20.0), ("open", 20.0)):
        if bias is not None:
            weights = weights | {"all_blocks.mixer.bb": torch.full((LAYERS, 2, HEADS, K), bias)}
        save_file(weights, HERE / f"{gates}.safetensors")
        w = {name: value.double() for name, value in weights.items()}
        body = sub(w, "all_blocks")
        check_reversal(body, patches["b2"].double())
        for name, u in patches.items():
            if bias is not None and name != "b2":
                continue
            for model, act in (("tiny", F.silu), ("small", lambda x: x)):
                logits, out = trunk(body, u.double(), act)
                keep(f"{model}.{name if bias is None else gates}", u=u, logits=logits, out=out)
        if bias is None:
            for batch in (1, 2):
                image = torch.randn(batch, CIN, HEIGHT, WIDTH)
                u = stem(sub(w, "stem"), image.double())
                keep(f"image.b{batch}", image=image, logits=trunk(body, u, F.silu)[0])
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 192, "HEADS": 3, "K": 32, "V": 64, "R": 16, "HIDDEN": 512, "LAYERS": 2, "CLASSES": 1000, "GRID": (3, 4)}


def medium():
    """Two layers of ViG-T on a grid of 14 x 14."""
    torch.manual_seed(25)

    def network(w, x):
        logits, out = trunk(sub(w, "all_blocks"), x["u"], F.silu)
        return {"logits": logits, "out": out}

    return {
        "entry": "tiny", "weights": make_weights(), "inputs": {"u": torch.randn(1, 14, 14, D)}, "network": network,
        "axes": {"d": D, "head": HEADS, "k": K, "v": V, "r": R, "f": HIDDEN, "depth": LAYERS, "class": CLASSES},
    }


if __name__ == "__main__":
    main()
