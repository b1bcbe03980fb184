"""Golden values of recurrence, attention and gating: python fixture.py     (pip install numpy safetensors)

Written from the equations in NumPy, in float64 on float32 weights and inputs, one step at a time.
"""
import math
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
K, D, H, HK, W, L, LAG, F, SEG, VECTORS = 4, 8, 2, 4, 3, 2, 16, 16, 4, 2
# Entry: cell, its gate, the gate where attention joins, what the recurrence carries.
RECURRENT = {
    "rhn_coupled": ("rhn", None, "coupled", "s"),
    "rhn_additive": ("rhn", None, "additive", "s"),
    "rhn_learned": ("rhn", None, "learned", "s"),
    "rhn_dependent": ("rhn", None, "dependent", "s"),
    "rhn_alone": ("rhn", None, None, "s"),
    "rhn_uncoupled": ("uncoupled", None, "coupled", "s"),
    "rhn_fed_back": ("rhn", None, "coupled", "o"),
    "elman": ("elman", "replace", "coupled", "s"),
    "elman_additive": ("elman", "additive", "coupled", "s"),
    "elman_learned": ("elman", "learned", "coupled", "s"),
    "elman_dependent": ("elman", "dependent", "coupled", "s"),
    "elman_coupled": ("elman", "coupled", "coupled", "s"),
    "lstm": ("lstm", None, "coupled", "s"),
    "lstm_additive": ("gated_lstm", "additive", "coupled", "s"),
    "lstm_learned": ("gated_lstm", "learned", "coupled", "s"),
    "lstm_coupled": ("gated_lstm", "coupled", "coupled", "s"),
    "gru": ("gru", "coupled", "coupled", "s"),
    "gru_learned": ("gru", "learned", "coupled", "s"),
}
TRANSFORMER = ["additive", "learned", "dependent", "coupled"]
rng = np.random.default_rng(4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Weights:
    """The weights under a dotted path."""

    def __init__(self, all_of_them, path):
        self.all_of_them, self.path = all_of_them, path

    def __getattr__(self, name):
        value = self.all_of_them.get(f"{self.path}.{name}")
        return Weights(self.all_of_them, f"{self.path}.{name}") if value is None else value


def affine(z, w, b):
    """[s; u] @ w: the file has the rows of s before those of u."""
    return z @ w.reshape(2 * D, D) + b


def gate(kind, w, s, u):
    z = np.concatenate([s, u], -1)
    if kind in ("replace", None):
        return u if kind else s
    if kind == "additive":
        return s + u
    if kind == "learned":
        return sigmoid(w.a) * s + sigmoid(w.c) * u
    if kind == "dependent":
        return sigmoid(affine(z, w.wf, w.bf)) * s + sigmoid(affine(z, w.wi, w.bi)) * u
    g = sigmoid(affine(z, w.wg, w.bg))
    return (1 - g) * s + g * u


def cell(name, kind, w, x, s, c):
    if name == "elman":
        return gate(kind, w.gate, s, np.tanh(x @ w.w + s @ w.r + w.b)), c
    z = np.concatenate([s, x], -1)
    if name == "gru":
        r = sigmoid(affine(z, w.wr, w.br))
        return gate(kind, w.gate, s, np.tanh(x @ w.w + (r * s) @ w.r + w.b)), c
    if name == "lstm":
        c = sigmoid(affine(z, w.wf, w.bf)) * c + sigmoid(affine(z, w.wi, w.bi)) * np.tanh(affine(z, w.wg, w.bg))
        return sigmoid(affine(z, w.wo, w.bo)) * np.tanh(c), c
    if name == "gated_lstm":
        c = gate(kind, w.gate, c, np.tanh(affine(z, w.wg, w.bg)))
        return sigmoid(affine(z, w.wo, w.bo)) * np.tanh(c), c
    for layer in range(L):
        first = 1.0 if layer == 0 else 0.0
        h = np.tanh(first * (x @ w.wh) + s @ w.rh[layer] + w.bh[layer])
        q = sigmoid(first * (x @ w.wt) + s @ w.rt[layer] + w.bt[layer])
        kept = 1 - q if name == "rhn" else sigmoid(first * (x @ w.wc) + s @ w.rc[layer] + w.bc[layer])
        s = h * q + s * kept
    return s, c


def attend(w, s, memory):
    """memory: the states before s, [b, d] each, the latest first."""
    out = np.zeros_like(s)
    if not memory:
        return out
    m = np.stack(memory, 1)
    for head in range(H):
        q, key, v = s @ w.wq[:, head], m @ w.wk[:, head], m @ w.wv[:, head]
        score = np.einsum("bk,bwk->bw", q, key) / math.sqrt(HK) + w.rel[head, : len(memory)]
        out += np.einsum("bw,bwk->bk", softmax(score), v) @ w.wo[head]
    return out


class Recurrent:
    def __init__(self, w, entry, batch):
        self.w, self.kinds = w, RECURRENT[entry]
        self.s, self.c, self.memory = np.zeros((batch, D)), np.zeros((batch, D)), []

    def step(self, x):
        name, kind, join, carried = self.kinds
        w = self.w
        s, self.c = cell(name, kind, w.cell, x @ w.win + w.bin, self.s, self.c)
        o = s if join is None else gate(join, w.join, s, attend(w.attend, s, self.memory))
        self.memory = [s, *self.memory][:W]
        self.s = s if carried == "s" else o
        return x + o @ w.wout + w.bout


def layernorm(x, scale, shift):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale + shift


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def heads(w, n, all_of_them, lag, seen):
    """Rows n: [t, b, d] look at the rows of all_of_them, where `seen`: [t, s] says so."""
    u = np.zeros_like(n)
    for head in range(H):
        q, key, v = n @ w.wq[:, head], all_of_them @ w.wk[:, head], all_of_them @ w.wv[:, head]
        score = np.einsum("tbk,sbk->bts", q, key) / math.sqrt(HK) + w.rel[head][np.maximum(lag, 0)]
        u += np.einsum("bts,sbk->tbk", softmax(np.where(seen, score, -np.inf)), v) @ w.wo[head]
    return u


def transformer(w, kind, x, old=None, vectors=None):
    """x: [t, b, K]. Of the segment before: `old`, the inputs of each layer, [l, t, b, d]; or `vectors`, [l, m, b, d]. Also gives
    the inputs of each layer, and the new vectors."""
    h, inputs, new = x @ w.win + w.bin, [], []
    for layer in range(L):
        own = _layer(w, layer)
        inputs.append(h)
        n = layernorm(h, own.s1, own.b1)
        before = [] if old is None else list(layernorm(old[layer], own.s1, own.b1))
        if vectors is not None:
            before = list(layernorm(vectors[layer], own.s1, own.b1))
            rows, all_of_them = np.stack(before), np.stack(before + list(n))
            nothing = np.zeros((len(rows), len(all_of_them)), int)
            new.append(gate(kind, own.memory, vectors[layer], heads(own.heads, rows, all_of_them, nothing, nothing == 0)))
        lag = np.arange(len(x))[:, None] + len(before) - np.arange(len(before) + len(x))
        h = gate(kind, own.attention, h, heads(own.heads, n, np.stack(before + list(n)), lag, lag >= 0))
        a = layernorm(h, own.feed.s2, own.feed.b2) @ own.feed.up
        h = gate(kind, own.feedforward, h, gelu(a) @ own.feed.down)
    return x + h @ w.wout + w.bout, np.stack(inputs), np.array(new)


def _layer(w, layer):
    """The weights of one layer."""
    return Weights({f"w.{name.removeprefix(w.path + '.')}": value[layer]
                    for name, value in w.all_of_them.items() if name.startswith(w.path + ".")}, "w")


# Weights and golden values.


def gate_weights(kind, *more):
    pair, bias = (*more, 2, D, D), (*more, D)
    return {
        "learned": {"a": bias, "c": bias},
        "dependent": {"wf": pair, "wi": pair, "bf": bias, "bi": bias},
        "coupled": {"wg": pair, "bg": bias},
    }.get(kind, {})


def weights():
    square, pair = (D, D), (2, D, D)
    ends = {"win": (K, D), "bin": (D,), "wout": (D, K), "bout": (K,)}
    mix = {"wq": (D, H, HK), "wk": (D, H, HK), "wv": (D, H, HK), "wo": (H, HK, D)}
    rhn = {"wh": square, "wt": square, "rh": (L, D, D), "rt": (L, D, D), "bh": (L, D), "bt": (L, D)}
    cells = {
        "elman": {"w": square, "r": square, "b": (D,)},
        "gru": {"wr": pair, "w": square, "r": square, "br": (D,), "b": (D,)},
        "gated_lstm": {f"w{g}": pair for g in "go"} | {f"b{g}": (D,) for g in "go"},
        "lstm": {f"w{g}": pair for g in "figo"} | {f"b{g}": (D,) for g in "figo"},
        "rhn": rhn,
        "uncoupled": rhn | {"wc": square, "rc": (L, D, D), "bc": (L, D)},
    }
    shapes = {}

    def add(path, some):
        shapes.update({f"{path}.{name}": shape for name, shape in some.items()})

    for entry, (name, kind, join, _) in RECURRENT.items():
        path = path_of(entry)
        add(path, ends)
        add(f"{path}.cell", cells[name])
        add(f"{path}.cell.gate", gate_weights(kind))
        add(f"{path}.attend", mix | {"rel": (H, W)})
        add(f"{path}.join", gate_weights(join))
    def add_transformer(path, kind):
        add(path, ends | {name: (L, D) for name in ("s1", "b1")})
        add(f"{path}.heads", {name: (L, *shape) for name, shape in mix.items()} | {"rel": (L, H, LAG)})
        add(f"{path}.feed", {"s2": (L, D), "b2": (L, D), "up": (L, D, F), "down": (L, F, D)})
        add(f"{path}.attention", gate_weights(kind, L))
        add(f"{path}.feedforward", gate_weights(kind, L))

    for kind in TRANSFORMER:
        add_transformer(f"transformer_{kind}", kind)
    add_transformer("cached", "coupled")
    add_transformer("remembering", "coupled")
    add("remembering.memory", gate_weights("coupled", L))
    made = {}
    for name, shape in shapes.items():
        last = name.rsplit(".", 1)[1]
        w = rng.standard_normal(shape) * (0.4 if len(shape) > 1 else 0.3)
        # The transform gates start closed, as the paper says.
        made[name] = (w - 1 if last in ("bt", "bg") else w + 1 if last in ("s1", "s2") else w).astype(np.float32)
    return made


def path_of(entry):
    return "best" if entry == "rhn_coupled" else f"{entry}.step"


def main():
    stored = weights()
    w = {name: value.astype(np.float64) for name, value in stored.items()}
    golden = {}
    for steps, batch in [(5, 3), (1, 1), (9, 2)]:
        at = f"t{steps}b{batch}"
        x = golden[f"{at}.x"] = rng.standard_normal((steps, batch, K)).astype(np.float32)
        x = x.astype(np.float64)
        for entry in RECURRENT:
            net = Recurrent(Weights(w, path_of(entry)), entry, batch)
            golden[f"{at}.{entry}"] = np.stack([net.step(row) for row in x])
            if entry == "rhn_coupled":
                golden[f"{at}.s"] = net.s
                golden[f"{at}.past"] = np.stack((net.memory + [np.zeros_like(net.s)] * W)[:W], 1)
                y = golden[f"{at}.{entry}"][-1]
                ahead = []
                for _ in range(4):
                    y = net.step(y)
                    ahead.append(y)
                golden[f"{at}.ahead"] = np.arange(4, dtype=np.int32)
                golden[f"{at}.forecast"] = np.stack(ahead)
        for kind in TRANSFORMER:
            golden[f"{at}.transformer_{kind}"] = transformer(Weights(w, f"transformer_{kind}"), kind, x)[0]
    x = golden["segments.x"] = rng.standard_normal((3, SEG, 2, K)).astype(np.float32)
    inputs, vectors, y, z = None, np.zeros((L, VECTORS, 2, D)), [], []
    for part in x.astype(np.float64):
        made, inputs, _ = transformer(Weights(w, "cached"), "coupled", part, inputs)
        y.append(made)
        made, _, vectors = transformer(Weights(w, "remembering"), "coupled", part, vectors=vectors)
        z.append(made)
    golden |= {"segments.y": np.stack(y), "segments.z": np.stack(z), "segments.inputs": inputs, "segments.vectors": vectors}
    golden = {name: v if v.dtype == np.int32 else np.ascontiguousarray(v, np.float32) for name, v in golden.items()}
    segments, only = HERE.parent / "04-rhn-segments", ("cached.", "remembering.", "segments.")
    for tensors, file in ((stored, "weights.safetensors"), (golden, "golden.safetensors")):
        save_file({name: v for name, v in tensors.items() if not name.startswith(only)}, HERE / file)
        save_file({name: v for name, v in tensors.items() if name.startswith(only)}, segments / file)


MEDIUM = {"K": 16, "D": 128, "H": 4, "HK": 32, "W": 8, "L": 3}


def medium():
    """The best form, 64 steps of eight series. Wider, its weights are smaller: else it would be chaotic, and no rounding would agree."""
    import torch

    only = ("cached.", "remembering.")
    small = {name: torch.tensor(w * np.float32(0.25 if w.ndim > 1 else 1)) for name, w in weights().items()
             if not name.startswith(only)}

    def network(w, x):
        own = {name.removeprefix("best."): value for name, value in w.items() if name.startswith("best.")}
        x, y = x["x"], []
        enter = x @ own["win"] + own["bin"]
        first = [enter @ own["cell.wh"], enter @ own["cell.wt"]]  # of all steps at once
        s, keys, values = torch.zeros(x.shape[1], D, dtype=x.dtype), [], []
        for t in range(len(x)):
            for layer in range(L):
                h, q = (s @ own[f"cell.r{n}"][layer] + own[f"cell.b{n}"][layer] for n in "ht")
                if layer == 0:
                    h, q = h + first[0][t], q + first[1][t]
                q = torch.sigmoid(q)
                s = torch.tanh(h) * q + s * (1 - q)
            c = torch.zeros_like(s)
            if keys:
                score = torch.einsum("bhk,wbhk->bhw", torch.einsum("bd,dhk->bhk", s, own["attend.wq"]), torch.stack(keys))
                a = torch.softmax(score / HK**0.5 + own["attend.rel"][:, : len(keys)], -1)
                c = torch.einsum("bhw,wbhk,hkd->bd", a, torch.stack(values), own["attend.wo"])
            g = torch.sigmoid(torch.cat([s, c], -1) @ own["join.wg"].flatten(0, 1) + own["join.bg"])
            o = (1 - g) * s + g * c
            keys = [torch.einsum("bd,dhk->bhk", s, own["attend.wk"]), *keys][:W]
            values = [torch.einsum("bd,dhk->bhk", s, own["attend.wv"]), *values][:W]
            y.append(x[t] + o @ own["wout"] + own["bout"])
        return {"y": torch.stack(y)}

    return {
        "entry": "rhn_coupled_all", "weights": small, "inputs": {"x": torch.tensor(rng.standard_normal((64, 8, K)))},
        "network": network,
        "axes": {"var": K, "d": D, "head": H, "hk": HK, "w": W, "l": L},
    }


if __name__ == "__main__":
    main()
