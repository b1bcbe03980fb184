"""Golden values of SVT: python fixture.py     (pip install torch numpy safetensors)

PyTorch's functions in float64 on float32 weights, channels first; wavelets by ../01-svt-scattering/wavelets.py.
"""
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "01-svt-scattering"))
from wavelets import in_torch, scattering, scattering_weights, under  # noqa: E402

STEM, WIDTHS, HEADS, RATIO, CLASSES, SIDE = 8, dict(a=8, b=16, c=16, d=16), 2, 2, 5, 32


def first(x):
    return x.permute(0, 2, 3, 1)


def norm(w, x, eps=1e-6):
    """Over the last axis."""
    return F.layer_norm(x, x.shape[-1:], w["scale"], w["shift"], eps)


def image_norm(w, x, eps=1e-6):
    return norm(w, first(x), eps).permute(0, 3, 1, 2)


def batchnorm(w, x):
    return F.batch_norm(x, w["average"], w["variance"], w["gamma"], w["beta"], eps=1e-5)


def narrow(w, x):
    return image_norm(w, F.conv2d(x, w["w"], w["bias"], stride=2, padding=1), 1e-5)


def begin(w, x):
    x = F.relu(batchnorm(under(w, "first"), F.conv2d(x, w["w1"], stride=2, padding=3)))
    x = F.relu(batchnorm(under(w, "second"), F.conv2d(x, w["w2"], padding=1)))
    x = F.relu(batchnorm(under(w, "third"), F.conv2d(x, w["w3"], padding=1)))
    return narrow(under(w, "narrow"), x)


def feed(w, x):
    x = F.conv2d(x, w["up"][:, :, None, None], w["up_bias"])
    x = F.gelu(F.conv2d(x, w["near"][:, None], w["near_bias"], padding=1, groups=len(w["near"])))
    return F.conv2d(x, w["down"][:, :, None, None], w["down_bias"])


def attention(w, x, y):
    """x: [b, s, c] looks at y: [b, src, c]."""
    c = x.shape[-1]

    def heads(t, weight, bias):
        return F.linear(t, weight.reshape(c, c), bias.reshape(c)).unflatten(-1, (HEADS, -1)).transpose(1, 2)

    q = heads(x, w["wq"], w["bq"])
    k, v = (heads(y, w["wkv"][n], w["bkv"][n]) for n in (0, 1))
    z = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return F.linear(z, w["wo"].reshape(c, c), w["bo"])


def wavelets(w, x):
    own = {name: value.numpy() for name, value in under(w, "scattering").items()}
    y = first(image_norm(under(w, "norm1"), x)).numpy()
    x = x + torch.tensor(scattering(own, y)).permute(0, 3, 1, 2)
    return x + feed(under(w, "feed"), image_norm(under(w, "norm2"), x))


def attend(w, x):
    y = norm(under(w, "norm1"), first(x)).flatten(1, 2)
    y = attention(under(w, "attention"), y, y).transpose(1, 2).reshape(x.shape)
    x = x + y
    return x + feed(under(w, "feed"), image_norm(under(w, "norm2"), x))


def finish(w, x):
    x = first(x).flatten(1, 2)
    t = x.mean(1, keepdim=True)
    seen = norm(under(w, "norm1"), torch.cat([t, x], 1))
    t = t + attention(under(w, "attention"), seen[:, :1], seen)
    hidden = F.gelu(F.linear(norm(under(w, "norm2"), t), w["up"], w["up_bias"]))
    t = t + F.linear(hidden, w["down"], w["down_bias"])
    y = norm(under(w, "norm3"), torch.cat([t, x], 1))
    aux = F.linear(y[:, 1:], w["aux"], w["aux_bias"])
    return F.linear(y[:, 0], w["tell"], w["tell_bias"]) + 0.5 * aux.max(1).values


def network(w, x):
    x = begin(under(w, "begin"), x)
    for stage in WIDTHS:
        if stage != "a":
            x = narrow(under(w, f"narrow_{stage}"), x)
        only = {name: value[0] for name, value in under(w, stage).items()}  # one block in each stage
        x = (wavelets if stage == "a" else attend)(only, x)
        if stage != "d":
            x = image_norm(under(w, f"norm_{stage}"), x)
    return finish(under(w, "finish"), x)


# Weights and golden values.


def weights():
    w = {}

    def matrix(name, *shape, fan):
        w[name] = torch.randn(*shape) / fan**0.5

    def vectors(prefix, names, *shape):
        for name in names.split():
            positive = name in ("scale", "gamma", "variance")
            w[prefix + name] = 0.5 + torch.rand(*shape) if positive else 0.2 * torch.randn(*shape)

    def attention_weights(name, c, *lead):
        matrix(f"{name}.wq", *lead, HEADS, c // HEADS, c, fan=c / 2)
        matrix(f"{name}.wkv", *lead, 2, HEADS, c // HEADS, c, fan=c / 2)
        matrix(f"{name}.wo", *lead, c, HEADS, c // HEADS, fan=c)
        vectors(f"{name}.", "bq", *lead, HEADS, c // HEADS)
        vectors(f"{name}.", "bkv", *lead, 2, HEADS, c // HEADS)
        vectors(f"{name}.", "bo", *lead, c)

    for n, (i, size) in enumerate(((3, 7), (STEM, 3), (STEM, 3)), 1):
        matrix(f"begin.w{n}", STEM, i, size, size, fan=i * size * size / 2)
        vectors(f"begin.{('first', 'second', 'third')[n - 1]}.", "gamma beta average variance", STEM)
    before = STEM
    for stage, c in WIDTHS.items():
        name = "begin.narrow" if stage == "a" else f"narrow_{stage}"
        matrix(f"{name}.w", c, before, 3, 3, fan=9 * before)
        vectors(f"{name}.", "bias scale shift", c)
        before, m = c, RATIO * c
        for n in "12":
            vectors(f"{stage}.norm{n}.", "scale shift", 1, c)
        if stage == "a":
            side = SIDE // 4
            for key, value in scattering_weights(np.random.default_rng(1), "scattering", c, side, side).items():
                w[f"a.{key}"] = torch.tensor(value)[None].contiguous()
        else:
            attention_weights(f"{stage}.attention", c, 1)
        matrix(f"{stage}.feed.up", 1, m, c, fan=c)
        matrix(f"{stage}.feed.near", 1, m, 3, 3, fan=9)
        matrix(f"{stage}.feed.down", 1, c, m, fan=m)
        vectors(f"{stage}.feed.", "up_bias near_bias", 1, m)
        vectors(f"{stage}.feed.", "down_bias", 1, c)
        if stage != "d":
            vectors(f"norm_{stage}.", "scale shift", c)
    c = WIDTHS["d"]
    for n in "123":
        vectors(f"finish.norm{n}.", "scale shift", c)
    attention_weights("finish.attention", c)
    matrix("finish.up", RATIO * c, c, fan=c)
    matrix("finish.down", c, RATIO * c, fan=RATIO * c)
    matrix("finish.tell", CLASSES, c, fan=c)
    matrix("finish.aux", CLASSES, c, fan=c)
    vectors("finish.", "up_bias", RATIO * c)
    vectors("finish.", "down_bias", c)
    vectors("finish.", "tell_bias aux_bias", CLASSES)
    return w


def main():
    torch.manual_seed(1)
    w = weights()
    double = {name: value.double() for name, value in w.items()}
    golden = {}
    for batch in (0, 1, 3):
        image = torch.randn(batch, 3, SIDE, SIDE)
        logits = network(double, image.double()) if batch else torch.zeros(0, CLASSES)
        golden |= {f"b{batch}.image": image, f"b{batch}.logits": logits.float()}
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"STEM": 32, "WIDTHS": dict(a=64, b=128, c=320, d=448), "SIDE": 64, "CLASSES": 1000}


def medium():
    """One block in each stage of SVT-S, on an image of 64 x 64."""
    torch.manual_seed(1)

    def spectral(w, x):
        y = in_torch(under(w, "scattering"), first(image_norm(under(w, "norm1"), x)))
        x = x + y.permute(0, 3, 1, 2)
        return x + feed(under(w, "feed"), image_norm(under(w, "norm2"), x))

    def run(w, x):
        globals()["wavelets"] = spectral
        return {"logits": network(w, x["image"])}

    widths = {f"c{stage}": c for stage, c in WIDTHS.items()}
    return {
        "entry": "svt", "weights": weights(), "inputs": {"image": torch.randn(1, 3, SIDE, SIDE)}, "network": run,
        "axes": {"height": SIDE, "width": SIDE, "stem": STEM, "class": CLASSES} | widths,
    }


if __name__ == "__main__":
    main()
