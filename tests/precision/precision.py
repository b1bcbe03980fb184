"""What PyTorch's f32 and f64 give for the programs beside this script: errors of compiled code are held against its errors.

    python precision.py         # writes precision.safetensors: NAME.f64 and NAME.f32

Weights and inputs are not stored: `made` writes them from their names, here and in tests/src/precision.rs.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = Path(__file__).parent


def made(name, *shape):
    """Numbers between -1 and 1 that look random; weights of products (two axes or more, not inputs) a sixteenth of that."""
    code = 2166136261
    for byte in name.encode():
        code = (code ^ byte) * 16777619 % 2**32
    x = (np.arange(np.prod(shape), dtype=np.uint64) * 0x9E3779B1 + code) % 2**32
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    x ^= x >> 16
    return (x.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(shape)


def weight(name, *shape):
    return made(name, *shape) / np.float32(16)


def product(x, w):
    return x @ w


def swiglu(x, gate, up, down):
    return (F.silu(x @ gate) * (x @ up)) @ down


def mlp(x, scale, shift, up, down):
    return x + F.gelu(F.layer_norm(x, x.shape[-1:], scale, shift) @ up) @ down


def attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5)


def lstm(x, h0, c0, w_ih, w_hh, b_ih, b_hh):
    h = w_hh.shape[1]
    layer = torch.nn.LSTM(x.shape[-1], h, dtype=x.dtype)
    parts = {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh, "bias_ih_l0": b_ih, "bias_hh_l0": b_hh}
    layer.load_state_dict({name: part.reshape(4 * h, *part.shape[2:]) for name, part in parts.items()})
    with torch.no_grad():
        return layer(x, (h0[None], c0[None]))[0]


def recurrence(q, key, value, g, s):
    ys = []
    for t in range(len(q)):
        s = torch.sigmoid(4 * g[t])[:, None] * s + key[t][:, None] * value[t]
        ys.append(q[t] @ s)
    return torch.stack(ys)


def folds(x, scale):
    x = torch.softmax(4 * x, -1) * 100 + x
    return F.rms_norm(x, x.shape[-1:], scale, 1e-6)


def functions(x):
    return torch.lgamma(3 * x + 3.25)


def experts(x, router, up, down):
    weights, index = torch.softmax(x @ router, -1).topk(2)
    y = torch.zeros_like(x)
    for slot in range(2):
        e = index[:, slot]
        each = torch.einsum("td,tdh->th", x, up[e])
        y = y + weights[:, slot, None] * torch.einsum("th,thd->td", F.silu(each), down[e])
    return y


CASES = {
    product: [made("x", 8, 1024), weight("w", 1024, 64)],
    swiglu: [made("x", 8, 256), weight("gate", 256, 512), weight("up", 256, 512), weight("down", 512, 256)],
    mlp: [made("x", 8, 256), made("scale", 256), made("shift", 256), weight("up", 256, 512), weight("down", 512, 256)],
    attention: [made("q", 64, 64), made("k", 64, 64), made("v", 64, 64)],
    lstm: [made("x", 32, 2, 96), made("h0", 2, 96), made("c0", 2, 96), weight("w_ih", 4, 96, 96), weight("w_hh", 4, 96, 96), weight("b_ih", 4, 96), weight("b_hh", 4, 96)],
    recurrence: [made("q", 64, 32), made("key", 64, 32), made("value", 64, 32), made("g", 64, 32), made("s0", 32, 32)],
    folds: [made("x", 8, 1024), made("scale", 1024)],
    functions: [made("x", 64, 64)],
    experts: [made("x", 16, 128), weight("router", 128, 8), weight("up", 8, 128, 96), weight("down", 8, 96, 128)],
}

file = {}
for case, tensors in CASES.items():
    for name, dtype in (("f64", torch.float64), ("f32", torch.float32)):
        y = case(*(torch.from_numpy(x).to(dtype) for x in tensors))
        file[f"{case.__name__}.{name}"] = np.ascontiguousarray(y.numpy())
save_file(file, HERE / "precision.safetensors")
