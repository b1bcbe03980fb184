"""Golden values of nn.GRU: python fixture.py     (pip install torch numpy safetensors)

PyTorch's own module in float64 on float32 weights and inputs; the equations of README.md, written out in NumPy, must agree
with it. Weights have PyTorch's names.
"""
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
INPUT, H, LAYERS = 29, 37, 3
SIZES = [(1, 1), (7, 3), (65, 2), (3, 0)]  # steps, batch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def network(w, x, hidden):
    """x: [t, b, i], hidden: [layer, b, h]."""
    hidden = hidden.copy()
    for layer in range(LAYERS):
        wi, wh, bi, bh = (w[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        y = []
        for row in x:
            from_input = np.split(row @ wi.T + bi, 3, axis=-1)
            from_hidden = np.split(hidden[layer] @ wh.T + bh, 3, axis=-1)
            r, z = (sigmoid(a + b) for a, b in zip(from_input[:2], from_hidden[:2]))
            n = np.tanh(from_input[2] + r * from_hidden[2])
            hidden[layer] = (1 - z) * n + z * hidden[layer]
            y.append(hidden[layer].copy())
        x = np.stack(y)
    return x, hidden


def main():
    torch.manual_seed(4)
    module = torch.nn.GRU(INPUT, H, LAYERS)
    weights = {name: value.detach().numpy().copy() for name, value in module.named_parameters()}
    save_file(weights, HERE / "weights.safetensors")
    module.double()
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    golden = {}
    for steps, batch in SIZES:
        x, hidden = torch.randn(steps, batch, INPUT), torch.randn(LAYERS, batch, H)
        given = [v.double().numpy() for v in (x, hidden)]
        ours = network(weights, *given)
        if batch:
            with torch.no_grad():
                theirs = module(x.double(), hidden.double())
            for a, b in zip(ours, theirs):
                assert np.abs(a - b.numpy()).max() < 1e-12
        for name, value in zip(("x", "hidden", "y", "hidden_end"), (*given, *ours)):
            golden[f"t{steps}b{batch}.{name}"] = np.ascontiguousarray(value, dtype=np.float32)
    save_file(golden, HERE / "golden.safetensors")


if __name__ == "__main__":
    main()
