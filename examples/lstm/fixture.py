"""Golden values of nn.LSTM: python fixture.py     (pip install torch numpy safetensors)

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


def network(w, x, hidden, cell):
    """x: [t, b, i], hidden and cell: [layer, b, h]."""
    hidden, cell = hidden.copy(), cell.copy()
    for layer in range(LAYERS):
        wi, wh, bi, bh = (w[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        y = []
        for row in x:
            i, f, g, o = np.split(row @ wi.T + bi + hidden[layer] @ wh.T + bh, 4, axis=-1)
            cell[layer] = sigmoid(f) * cell[layer] + sigmoid(i) * np.tanh(g)
            hidden[layer] = sigmoid(o) * np.tanh(cell[layer])
            y.append(hidden[layer].copy())
        x = np.stack(y)
    return x, hidden, cell


def main():
    torch.manual_seed(3)
    module = torch.nn.LSTM(INPUT, H, LAYERS)
    weights = {name: value.detach().numpy().copy() for name, value in module.named_parameters()}
    save_file(weights, HERE / "weights.safetensors")
    module.double()
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    golden = {}
    for steps, batch in SIZES:
        x, hidden, cell = (torch.randn(shape) for shape in [(steps, batch, INPUT), (LAYERS, batch, H), (LAYERS, batch, H)])
        given = [v.double().numpy() for v in (x, hidden, cell)]
        ours = network(weights, *given)
        if batch:
            with torch.no_grad():
                y, (h, c) = module(x.double(), (hidden.double(), cell.double()))
            for a, b in zip(ours, (y, h, c)):
                assert np.abs(a - b.numpy()).max() < 1e-12
        for name, value in zip(("x", "hidden", "cell", "y", "hidden_end", "cell_end"), (*given, *ours)):
            golden[f"t{steps}b{batch}.{name}"] = np.ascontiguousarray(value, dtype=np.float32)
    save_file(golden, HERE / "golden.safetensors")


if __name__ == "__main__":
    main()
