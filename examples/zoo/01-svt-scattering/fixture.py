"""Golden values of the scattering layer: python fixture.py     (pip install torch numpy safetensors)

In float64 on float32 weights; what wavelets.py computes is compared with known numbers first.
"""
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

import wavelets

HERE = pathlib.Path(__file__).parent
C, ROWS, COLS = 8, 8, 6


def with_tokens(w, x):
    """Half of the channels through a convolution, half through the wavelets. x: [b, y, x, c]."""
    x = x.transpose(0, 3, 1, 2)
    half = x.shape[1] // 2
    u, v = torch.tensor(x[:, :half]), x[:, half:]
    conv, bias = torch.tensor(w["conv"])[:, None], torch.tensor(w["conv_bias"])
    u = torch.nn.functional.conv2d(u, conv, bias, padding=1, groups=half).numpy()
    low, waves = wavelets.forward(v)
    waves = wavelets.across_channels(wavelets.under(w, "across_channels"), waves)
    waves = wavelets.along_rows(wavelets.under(w, "along_rows"), waves)
    v = wavelets.inverse(low * w["low_gate"], waves)
    out = np.zeros_like(x)
    out[:, 0::2], out[:, 1::2] = u, v
    return out.transpose(0, 2, 3, 1)


# Weights and golden values.


def check(random):
    for shape in ((4, 4), (6, 8), (2, 2), (8, 8)):
        x = random.standard_normal(shape)
        assert np.abs(wavelets.inverse(*wavelets.forward(x)) - x).max() < 1e-12
    impulse = np.zeros((4, 4))
    impulse[1, 2] = 1
    low, waves = wavelets.forward(impulse)
    assert np.abs(low[1] - [-0.049270, 0.173637, 0.258668, 0.125559]).max() < 1e-6
    assert np.abs(waves[0].real - [[-0.122641, -0.232733], [0.018406, -0.089298]]).max() < 1e-6
    assert np.abs(waves[0].imag - [[-0.126633, 0.157168], [-0.060191, -0.045606]]).max() < 1e-6
    return impulse


def main():
    random = np.random.default_rng(1)
    impulse = check(random)
    w = wavelets.scattering_weights(random, "scattering", C, ROWS, COLS)
    w |= wavelets.scattering_weights(random, "with_tokens", C // 2, ROWS, COLS)
    w["with_tokens.conv"] = random.standard_normal((C // 2, 3, 3)) / 3
    w["with_tokens.conv_bias"] = 0.1 * random.standard_normal(C // 2)
    for n in "12":
        w[f"with_tokens.along_rows.w{n}"] = random.standard_normal((2, ROWS // 2, COLS // 2, COLS // 2)) / COLS**0.5
        w[f"with_tokens.along_rows.b{n}"] = 0.1 * random.standard_normal((2, COLS // 2))
    w = {name: value.astype(np.float32) for name, value in w.items()}
    double = {name: value.astype(float) for name, value in w.items()}
    golden = {}
    for batch in (0, 1, 2, 3):
        x = random.standard_normal((batch, ROWS, COLS, C)).astype(np.float32)
        golden[f"b{batch}.x"] = golden[f"b{batch}_tokens.x"] = x
        golden[f"b{batch}.y"] = wavelets.scattering(wavelets.under(double, "scattering"), x.astype(float))
        golden[f"b{batch}_tokens.y"] = with_tokens(wavelets.under(double, "with_tokens"), x.astype(float))
    images = {"8x6": random.standard_normal((2, 8, 6)), "4x4": np.stack([impulse, random.standard_normal((4, 4))])}
    images["2x2"] = random.standard_normal((3, 2, 2))
    for name, x in images.items():
        x = x.astype(np.float32)
        low, waves = wavelets.forward(x.astype(float))
        waves = np.stack([waves.real, waves.imag], -1)
        golden |= {f"{name}.x": x, f"{name}.low": low, f"{name}.waves": waves, f"{name}.back": x}
    x = random.standard_normal((2, 5, 3)).astype(np.float32)
    low, waves = wavelets.forward(np.pad(x.astype(float), ((0, 0), (0, 1), (0, 1)), mode="edge"))
    golden |= {"odd.x": x, "odd.low": low, "odd.waves": np.stack([waves.real, waves.imag], -1), "odd.back": x}
    x, own = random.standard_normal((2, ROWS, COLS, C)).astype(np.float32), wavelets.under(double, "scattering")
    golden |= {"shrunk.x": x, "shrunk.least": np.float32(0.4)}
    golden["shrunk.y"] = wavelets.scattering(own, x.astype(float), float(np.float32(0.4)))
    save_file(w, HERE / "weights.safetensors")
    save_file({name: np.array(x, np.float32, order="C") for name, x in golden.items()}, HERE / "golden.safetensors")


def medium():
    """SVT-S' first stage, 56 x 56 with 64 channels, half the side."""
    c, side = 64, 28
    random = np.random.default_rng(1)
    w = wavelets.scattering_weights(random, "scattering", c, side, side)
    w |= wavelets.scattering_weights(random, "with_tokens", c // 2, side, side)
    more = {"conv": (c // 2, 3, 3), "conv_bias": (c // 2,)}
    more |= {f"along_rows.w{n}": (2, side // 2, side // 2, side // 2) for n in "12"}
    more |= {f"along_rows.b{n}": (2, side // 2) for n in "12"}
    w |= {f"with_tokens.{name}": np.zeros(shape, np.float32) for name, shape in more.items()}
    return {
        "entry": "scatter", "weights": {name: torch.tensor(value) for name, value in w.items()},
        "inputs": {"x": torch.randn(1, side, side, c)},
        "network": lambda w, x: {"y": wavelets.in_torch(wavelets.under(w, "scattering"), x["x"])},
        "axes": {"row": side, "col": side, "c": c},
    }


if __name__ == "__main__":
    main()
