"""PGN at a medium size; its golden values are written by ../36-tpgn/fixture.py.     (pip install torch)"""
import torch
import torch.nn.functional as F


def network(w, x):
    x, window = x["x"], w["history"].shape[-1]
    past = F.conv1d(F.pad(x.mT, (window, 0))[..., :-1], w["history"], w["history_bias"]).mT
    both = torch.cat([x, past], -1)
    g, y = (F.linear(both, w["fuse"][i], w["fuse_bias"][i]) for i in range(2))
    g = torch.sigmoid(g)
    return {"y": g * past + (1 - g) * torch.tanh(y)}


def medium():
    """Sixteen sequences of 512 steps at width 64, which look back 16 steps."""
    torch.manual_seed(36)
    d, h, window = 64, 64, 16
    shapes = {"history": (h, d, window), "history_bias": (h,), "fuse": (2, h, d + h), "fuse_bias": (2, h)}
    w = {name: (2 * torch.rand(shape) - 1) * (d * window) ** -0.5 for name, shape in shapes.items()}
    inputs = {"x": torch.randn(16, 512, d)}
    return {"entry": "pgn", "weights": w, "inputs": inputs, "network": network, "axes": {"d": d, "h": h, "w": window}}
