"""Golden values of TPGN and PGN: python fixture.py     (pip install torch numpy safetensors)

NumPy in float64 on float32 weights: series by series, row by row. Writes this folder and
../36-pgn, the layer on its own.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
R, P, M, Q, H, AHEAD = 3, 4, 2, 3, 5, 2
F, L, W = 1 + Q, R * P, R - 1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pgn(z, history, history_bias, fuse, fuse_bias):
    """z: [.., rows, f]; history: [h, f, window]; fuse: [2, h, f + h]."""
    window = history.shape[-1]
    out = np.zeros((*z.shape[:-1], len(history)))
    for r in range(z.shape[-2]):
        past = np.zeros((*z.shape[:-2], len(history))) + history_bias
        for w in range(window):
            if r - window + w >= 0:
                past += z[..., r - window + w, :] @ history[:, :, w].T
        both = np.concatenate([z[..., r, :], past], -1)
        g = sigmoid(both @ fuse[0].T + fuse_bias[0])
        out[..., r, :] = g * past + (1 - g) * np.tanh(both @ fuse[1].T + fuse_bias[1])
    return out


def series(w, x, marks):
    """One series, x: [b, L], with its weights."""
    b = len(x)
    z = np.concatenate([x[..., None], marks], -1).reshape(b, R, P, F)
    along = z.transpose(0, 2, 1, 3)  # a row of each period, for each place in it
    o = pgn(along, *(w[f"pgn.{name}"] for name in ("history", "history_bias", "fuse", "fuse_bias")))
    long = np.einsum("ghr,bcrh->bcg", w["along"], o) + w["along_bias"]
    s1 = np.einsum("hfc,brcf->brh", w["patch"], z) + w["patch_bias"]
    s2 = np.einsum("ghr,brh->bg", w["patches"], s1) + w["patches_bias"]
    short = np.repeat(s2[:, None], P, 1)
    head = w["head"].reshape(AHEAD, 2 * H)  # short first
    y = np.concatenate([short, long], -1) @ head.T + w["head_bias"]
    return y.transpose(0, 2, 1).reshape(b, AHEAD * P)


def network(w, x, marks, norm):
    y = np.zeros((len(x), AHEAD * P, M))
    for m in range(M):
        one = x[:, :, m]
        mean, deviation = np.zeros((len(x), 1)), np.ones((len(x), 1))
        if norm:
            mean = one.mean(1, keepdims=True)
            deviation = np.sqrt(one.var(1, keepdims=True) + 1e-5)
        own = {name: value[m] for name, value in w.items()}
        y[:, :, m] = series(own, (one - mean) / deviation, marks) * deviation + mean
    return y


# Weights and golden values.


def check(w, random):
    """The history of a row does not include the row."""
    own = [w[f"net.pgn.{name}"][0].astype(float) for name in ("history", "history_bias", "fuse", "fuse_bias")]
    z = random.standard_normal((R, F))
    own[2] = own[2] * 0
    own[3] = own[3] * 0 + 1e3  # the gate lets nothing but the history pass
    other = z.copy()
    other[1] += 1
    assert (pgn(z, *own) == pgn(other, *own)).all(1).tolist() == [True, True, False]


def uniform(random, fan, *shape):
    return random.uniform(-(fan**-0.5), fan**-0.5, shape).astype(np.float32)


def main():
    random = np.random.default_rng(36)
    w = {
        "net.along": uniform(random, H * R, M, H, H, R),
        "net.along_bias": uniform(random, H * R, M, H),
        "net.patch": uniform(random, F * P, M, H, F, P),
        "net.patch_bias": uniform(random, F * P, M, H),
        "net.patches": uniform(random, H * R, M, H, H, R),
        "net.patches_bias": uniform(random, H * R, M, H),
        "net.head": uniform(random, 2 * H, M, AHEAD, 2, H),
        "net.head_bias": uniform(random, 2 * H, M, AHEAD),
        "net.pgn.history": uniform(random, F * W, M, H, F, W),
        "net.pgn.history_bias": uniform(random, F * W, M, H),
        "net.pgn.fuse": uniform(random, F + H, M, 2, H, F + H),
        "net.pgn.fuse_bias": uniform(random, F + H, M, 2, H),
    }
    check(w, random)
    double = {name[4:]: value.astype(float) for name, value in w.items()}
    golden = {}
    for batch in (0, 1, 2, 3):
        x = (3 + 2 * random.standard_normal((batch, L, M))).astype(np.float32)
        if batch == 3:
            x[1] = 2.5  # constant series: their deviation is that of the epsilon
        marks = random.uniform(-0.5, 0.5, (batch, L, Q)).astype(np.float32)
        for name, norm in (("plain", False), ("normed", True)):
            y = network(double, x.astype(float), marks.astype(float), norm)
            golden |= {f"{name}{batch}.x": x, f"{name}{batch}.marks": marks, f"{name}{batch}.y": y.astype(np.float32)}
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")

    d, h, window = 6, 5, 4
    w = {
        "history": uniform(random, d * window, h, d, window),
        "history_bias": uniform(random, d * window, h),
        "fuse": uniform(random, d + h, 2, h, d + h),
        "fuse_bias": uniform(random, d + h, 2, h),
    }
    golden = {}
    for steps, batch in ((1, 1), (3, 2), (17, 3), (0, 2)):
        x = random.standard_normal((batch, steps, d)).astype(np.float32)
        y = pgn(x.astype(float), *(value.astype(float) for value in w.values()))
        golden |= {f"t{steps}b{batch}.x": x, f"t{steps}b{batch}.y": y.astype(np.float32)}
    save_file(w, HERE.parent / "36-pgn/weights.safetensors")
    save_file(golden, HERE.parent / "36-pgn/golden.safetensors")


def medium():
    """A week of hours of 32 samples, two series, at width 64; a day ahead."""
    import torch
    import torch.nn.functional as F

    r, p, f, h, ahead = 7, 24, 1 + Q, 64, 1
    random = np.random.default_rng(36)
    shapes = {"along": (h, h, r), "along_bias": (h,), "patch": (h, f, p), "patch_bias": (h,), "patches": (h, h, r),
              "patches_bias": (h,), "head": (ahead, 2, h), "head_bias": (ahead,), "pgn.history": (h, f, r - 1),
              "pgn.history_bias": (h,), "pgn.fuse": (2, h, f + h), "pgn.fuse_bias": (2, h)}
    w = {f"net.{name}": torch.tensor(uniform(random, np.prod(shape[1:]), M, *shape)) for name, shape in shapes.items()}
    inputs = {"x": torch.randn(32, r * p, M), "marks": torch.rand(32, r * p, Q) - 0.5}

    def network(w, x):
        out = []
        for m in range(M):
            own = {name[4:]: value[m] for name, value in w.items()}
            z = torch.cat([x["x"][..., m:m + 1], x["marks"]], -1).reshape(-1, r, p, f)
            along = z.permute(0, 2, 3, 1).flatten(0, 1)  # [b * p, f, r]
            past = F.conv1d(F.pad(along, (r - 1, 0))[..., :-1], own["pgn.history"], own["pgn.history_bias"]).mT
            both = torch.cat([along.mT, past], -1)
            gate = torch.sigmoid(F.linear(both, own["pgn.fuse"][0], own["pgn.fuse_bias"][0]))
            o = gate * past + (1 - gate) * torch.tanh(F.linear(both, own["pgn.fuse"][1], own["pgn.fuse_bias"][1]))
            long = F.linear(o.mT.flatten(1), own["along"].flatten(1), own["along_bias"]).reshape(-1, p, h)
            s1 = F.linear(z.mT.flatten(2), own["patch"].flatten(1), own["patch_bias"])
            s2 = F.linear(s1.mT.flatten(1), own["patches"].flatten(1), own["patches_bias"])
            y = torch.cat([s2[:, None].expand(-1, p, -1), long], -1)
            out.append(F.linear(y, own["head"].flatten(1), own["head_bias"]).mT.flatten(1))
        return {"y": torch.stack(out, -1)}

    axes = {"row": r, "p": p, "h": h, "ahead": ahead}
    return {"entry": "plain", "weights": w, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
