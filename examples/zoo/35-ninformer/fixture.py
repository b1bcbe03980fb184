"""Golden values of NiNformer and its variants: python fixture.py     (pip install torch numpy safetensors)

The equations of README.md in PyTorch, in float64 on float32 weights and inputs. Layers are stacked in the first axis.
"""
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
CIN, SIDE, PATCH, D, HIDDEN, LAYERS, CLASSES = 3, 8, 4, 8, 12, 2, 3
N = (SIDE // PATCH) ** 2
BATCHES = [0, 1, 2, 3]


# ---- the network: w holds the weights of one variant, or of one layer of it

def sub(w, name):
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def norm(w, x):
    return F.layer_norm(x, x.shape[-1:], w["scale"], w["shift"], 1e-5)


def ff(w, x):
    return F.gelu(x @ w["up"] + w["up_bias"]) @ w["down"] + w["down_bias"]


def mixer(w, x):
    y = norm(sub(w, "norm1"), x)
    x = x + ff(sub(w, "tokens"), y.transpose(1, 2)).transpose(1, 2)
    return x + ff(sub(w, "channels"), norm(sub(w, "norm2"), x))


def fourier(w, x):
    return torch.fft.fft(torch.fft.fft(x, dim=2), dim=1).real


def linear(w, x):
    return (x.transpose(1, 2) @ w["w"] + w["b"]).transpose(1, 2)


def gated(gate):
    def layer(w, x):
        w = sub(w, "gated")
        y = norm(sub(w, "before"), x)
        x = x + (y @ w["wp"] + w["bp"]) * gate(sub(w, "gate"), y)
        return x + ff(sub(w, "out"), norm(sub(w, "before"), x))
    return layer


def classifier(w, layer, image):
    x = F.conv2d(image, w["embed"], w["embed_bias"], stride=PATCH)
    x = x.flatten(2).transpose(1, 2)  # [batch, n, d], tokens row by row
    for i in range(LAYERS):
        x = layer({name: value[i] for name, value in sub(w, "layer").items()}, x)
    return x.mean(1) @ w["head"] + w["head_bias"]


VARIANTS = {"ninformer": gated(mixer), "fourier": gated(fourier), "linear": gated(linear), "mlp_mixer": mixer}


# Weights and golden values.

def uniform(fan_in, *shape):
    return (2 * torch.rand(shape) - 1) * fan_in**-0.5


def norm_weights(name):
    return {f"{name}.scale": 1 + 0.2 * torch.randn(LAYERS, D), f"{name}.shift": 0.2 * torch.randn(LAYERS, D)}


def ff_weights(name, width):
    return {
        f"{name}.up": uniform(width, LAYERS, width, HIDDEN), f"{name}.up_bias": uniform(width, LAYERS, HIDDEN),
        f"{name}.down": uniform(HIDDEN, LAYERS, HIDDEN, width), f"{name}.down_bias": uniform(HIDDEN, LAYERS, width),
    }


def mixer_weights(name):
    return (norm_weights(f"{name}.norm1") | ff_weights(f"{name}.tokens", N)
            | norm_weights(f"{name}.norm2") | ff_weights(f"{name}.channels", D))


def make_weights():
    weights = {}
    for variant in VARIANTS:
        fan_in = CIN * PATCH**2
        weights |= {
            f"{variant}.embed": uniform(fan_in, D, CIN, PATCH, PATCH), f"{variant}.embed_bias": uniform(fan_in, D),
            f"{variant}.head": uniform(D, D, CLASSES), f"{variant}.head_bias": uniform(D, CLASSES),
        }
        layer = f"{variant}.layer"
        if variant == "mlp_mixer":
            weights |= mixer_weights(layer)
            continue
        weights |= {f"{layer}.gated.wp": uniform(D, LAYERS, D, D), f"{layer}.gated.bp": uniform(D, LAYERS, D)}
        weights |= norm_weights(f"{layer}.gated.before") | ff_weights(f"{layer}.gated.out", D)
        if variant == "ninformer":
            weights |= mixer_weights(f"{layer}.gated.gate")
        if variant == "linear":
            gate = f"{layer}.gated.gate"
            weights |= {f"{gate}.w": uniform(N, LAYERS, N, N), f"{gate}.b": uniform(N, LAYERS, N)}
    return weights


def main():
    torch.manual_seed(35)
    weights = make_weights()
    save_file({name: value.numpy() for name, value in weights.items()}, HERE / "weights.safetensors")
    weights = {name: value.double() for name, value in weights.items()}
    golden = {}
    for batch in BATCHES:
        image = torch.randn(batch, CIN, SIDE, SIDE)
        for variant, layer in VARIANTS.items():
            if batch:
                logits = classifier(sub(weights, variant), layer, image.double()).numpy()
            else:
                logits = np.zeros((0, CLASSES))
            golden[f"{variant}.b{batch}.image"] = image.numpy()
            golden[f"{variant}.b{batch}.logits"] = np.ascontiguousarray(logits, dtype=np.float32)
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"SIDE": 64, "PATCH": 8, "D": 256, "HIDDEN": 512, "LAYERS": 4, "CLASSES": 10, "N": 64}


def medium():
    """Four layers on four images of 64 x 64."""
    torch.manual_seed(35)
    return {
        "entry": "ninformer", "weights": make_weights(), "inputs": {"image": torch.randn(4, CIN, SIDE, SIDE)},
        "network": lambda w, x: {"logits": classifier(sub(w, "ninformer"), VARIANTS["ninformer"], x["image"])},
        "axes": {"height": SIDE, "width": SIDE, "patch": PATCH, "d": D, "f": HIDDEN, "depth": LAYERS, "c": CLASSES},
    }


if __name__ == "__main__":
    main()
