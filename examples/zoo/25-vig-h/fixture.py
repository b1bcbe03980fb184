"""Golden values of ViG-H: python fixture.py     (pip install torch safetensors)

PyTorch in float64 on float32 weights and inputs; the mixer is that of ../25-vig/fixture.py.
"""
import importlib.util
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("vig", HERE.parent / "25-vig" / "fixture.py")
vig = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vig)
D, K, V, R, CLASSES, EPS = 8, 2, 4, 4, 5, 1e-6
vars(vig).update(K=K, V=V, R=R)
sub, mixer, normal = vig.sub, vig.mixer, vig.normal


def stages(w, u):
    """ViG-H: layer norms in the blocks, and a convolution of stride 2 between stages."""
    def layer_norm(u, at):
        return F.layer_norm(u, u.shape[-1:], w[f"{at[0]}scale{at[1]}"], w[f"{at[0]}shift{at[1]}"], EPS)

    for name, layers in (("first", 2), ("second", 1)):
        if name == "second":
            u = F.conv2d(u.permute(0, 3, 1, 2), w["merge.w"], w["merge.b"], stride=2, padding=1).permute(0, 2, 3, 1)
            u = layer_norm(u, ("merge.", ""))
        for i in range(layers):
            own = {key: value[i] for key, value in sub(w, name).items()}
            norm = lambda u, n: F.layer_norm(u, u.shape[-1:], own[f"scale{n}"], own[f"shift{n}"], EPS)
            u = u + mixer(sub(own, "mixer"), norm(u, 1), lambda x: x)
            p, mlp = norm(u, 2), sub(own, "mlp")
            u = u + (F.silu(p @ mlp["gate"]) * (p @ mlp["up"])) @ mlp["down"]
    return layer_norm(u, ("", "")).mean((1, 2)) @ w["head_w"] + w["head_b"]


# Weights and golden values.


def weights():
    w = {"scale": 1 + normal(25, 2 * D), "shift": normal(25, 2 * D), "head_w": normal(2 * D, 2 * D, CLASSES),
         "head_b": normal(4, CLASSES), "merge.w": normal(9 * D, 2 * D, D, 3, 3), "merge.b": normal(16, 2 * D),
         "merge.scale": 1 + normal(25, 2 * D), "merge.shift": normal(25, 2 * D)}
    for name, n, d in (("first", 2, D), ("second", 1, 2 * D)):
        heads, hidden = d // V, 32 * -(-(8 * d // 3) // 32)
        own = {f"{part}{i}": (part == "scale") + normal(25, n, d) for part in ("scale", "shift") for i in (1, 2)}
        own |= {"mixer.conv": normal(9, n, d, 3, 3), "mixer.a": normal(d, n, d, R), "mixer.b": normal(R, n, R, 2, heads, K),
                "mixer.bb": normal(4, n, 2, heads, K), "mixer.bz": normal(4, n, heads, V), "mixer.norm": 1 + normal(25, n, V),
                "mixer.norm_local": 1 + normal(25, n, V), "mixer.wo": normal(d, n, heads, V, d)}
        own |= {f"mixer.w{m}": normal(d, n, d, heads, width) for m, width in (("q", K), ("k", K), ("v", V), ("z", V))}
        own |= {"mlp.gate": normal(d, n, d, hidden), "mlp.up": normal(d, n, d, hidden), "mlp.down": normal(hidden, n, hidden, d)}
        w |= {f"{name}.{key}": value for key, value in own.items()}
    return w


def main():
    torch.manual_seed(125)
    w, golden = weights(), {}
    for name, shape in (("even", (2, 4, 6)), ("odd", (1, 3, 5)), ("single", (3, 1, 1))):
        golden[f"{name}.u"] = torch.randn(*shape, D)
        golden[f"{name}.logits"] = stages({key: v.double() for key, v in w.items()}, golden[f"{name}.u"].double()).float()
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 96, "K": 16, "V": 32, "R": 16, "CLASSES": 1000}


def medium():
    """The first two stages at the published widths (tiny), on a grid of 14 x 14 and then of 7 x 7."""
    torch.manual_seed(125)
    vars(vig).update(K=K, V=V, R=R)
    axes = {"d": D, "k": K, "v": V, "r": R, "class": CLASSES}
    inputs = {"u": torch.randn(1, 14, 14, D)}
    return {"entry": "vig_h", "weights": weights(), "inputs": inputs, "axes": axes,
            "network": lambda w, x: {"logits": stages(w, x["u"])}}


if __name__ == "__main__":
    main()
