"""Weights for `files/quantized.gate`, and what `gatec quantize` must make of them, in NumPy alone.

    python quantized.py         # writes files/floats.safetensors and files/quantized.safetensors
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

FILES = Path(__file__).parent / "files"
rng = np.random.default_rng(11)


def quantize(w, bits, axis, size):
    """Values and scales: of each block the scale that makes the largest weight the largest or the least value, whichever loses less."""
    w = np.moveaxis(np.float64(w), axis, -1)
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    n = w.shape[-1]
    q, scales = np.zeros(w.shape), np.zeros((*w.shape[:-1], -(-n // size)), np.float16)
    for row in np.ndindex(w.shape[:-1]):
        for block in range(scales.shape[-1]):
            part = slice(block * size, min(n, (block + 1) * size))
            x = w[row][part]
            extreme = x[np.argmax(np.abs(x))]
            ways = []
            for end in (most, least):
                scale = np.float16(extreme / end)
                value = np.clip(np.rint(x / np.float64(scale)), least, most) if scale else np.zeros(len(x))
                ways.append((((value * np.float64(scale) - x) ** 2).sum(), value, scale))
            _, q[row][part], scales[row][block] = min(ways, key=lambda way: way[0])
    if bits == 4:
        halves = np.pad(np.uint8(q + 8), [(0, 0)] * (w.ndim - 1) + [(0, n % 2)])
        q = halves[..., ::2] + 16 * halves[..., 1::2]
    q = np.uint8(q) if bits == 4 else np.int8(q)
    return np.moveaxis(q, -1, axis), np.moveaxis(scales, -1, axis)


d, h = 21, 34
floats = {
    "up.weight": np.float32(rng.normal(0, 0.3, (h, d))),
    "down": np.float16(rng.normal(0, 0.3, (h, d))),
    "bias": np.float32(rng.normal(0, 0.1, d)),
    "layers.0.w": np.float32(rng.normal(0, 0.3, (d, d))),
    "layers.1.w": np.float32(rng.normal(0, 0.3, (d, d))) * np.float32(np.arange(d) >= 6)[:, None] + np.float32(0),
}
quantized = {"bias": floats["bias"]}
for name, how in {
    "up.weight": (8, 1, 16), "down": (4, 0, 8), "layers.0.w": (4, 0, 6), "layers.1.w": (4, 0, 6),
}.items():
    quantized[name], quantized[f"{name}.scale"] = quantize(floats[name], *how)
for file, tensors in {"floats": floats, "quantized": quantized}.items():
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, FILES / f"{file}.safetensors")
    (FILES / f"{file}.safetensors").chmod(0o644)
