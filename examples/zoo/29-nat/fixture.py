"""Golden values of NAT: python fixture.py     (pip install numpy safetensors)

Written from the equations in NumPy, in float64 on float32 weights and inputs: one event, one entry at a time.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
N, EDGES, F, EF, S, R, TT, P, M, HEADS, HIDDEN, Q = 9, 20, 3, 2, 5, 2, 1, 3, (1, 3, 2), 2, 8, 11
# u, v, negative, edge, time
LOG = np.array([
    [[1, 2, 5, 1, 1], [2, 3, 6, 2, 1], [1, 3, 4, 3, 2], [1, 4, 2, 4, 3]],  # a triangle; node 1 three times
    [[4, 7, 3, 5, 4], [1, 7, 2, 6, 5], [8, 1, 9, 7, 5], [3, 4, 1, 8, 6]],  # 4 and 7 share a slot of 1
    [[2, 1, 7, 9, 7], [3, 1, 4, 10, 8], [7, 2, 8, 11, 8], [5, 9, 3, 12, 9]],  # 3 and 1 meet again
], dtype=np.int32)
rng = np.random.default_rng(29)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(w, name, x, h):
    a = [w[f"{name}.wi"][g] @ x + w[f"{name}.bi"][g] for g in range(3)]
    b = [w[f"{name}.wh"][g] @ h + w[f"{name}.bh"][g] for g in range(3)]
    r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
    return (1 - z) * np.tanh(a[2] + r * b[2]) + z * h


class Nat:
    def __init__(self, w, alpha):
        self.w, self.alpha = w, alpha
        self.own = np.zeros((N + 1, S))
        self.prev = [(0, 0, 0.0)] * (N + 1)
        # tables[hop][node][slot] = id, edge, time, vector
        self.tables = [[[(0, 0, 0.0, np.zeros(R)) for _ in range(m)] for _ in range(N + 1)] for m in M]

    def slot(self, hop, key):
        return (key * Q + key * key * (Q + 1)) % M[hop]

    def event(self, other, edge, time):
        code = np.cos(time * self.w["event.w"] + self.w["event.b"])
        return np.concatenate([self.own[other], self.w["edges"][edge], code])

    def look(self, node):
        """All entries of a node, read: by hop and slot."""
        found = []
        for hop in range(3):
            row = []
            for key, edge, time, vec in self.tables[hop][node]:
                key = node if hop == 0 else key
                new = gru(self.w, "read.gru", self.event(key, edge, time) @ self.w["read.w"], vec)
                row.append((key, edge, time, new if time != 0 else np.zeros(R)))
            found.append(row)
        return found

    def renewed(self, node):
        return gru(self.w, "renew.gru", self.event(*self.prev[node]) @ self.w["renew.w"], self.own[node])

    def logits(self, first, second, found):
        """Of one pair: with the sum over its tokens, and with attention over them."""
        joined = {}
        for of_second, node in enumerate((first, second)):
            for hop, row in enumerate(found[node]):
                for key, _, _, vec in row:
                    if key != 0:
                        g, code = joined.get(key, (np.zeros(F + R), 0))
                        g = g + np.concatenate([self.w["features"][key], vec])
                        joined[key] = (g, code + 2 ** (hop + 3 * of_second))
        y = np.stack([np.einsum("t,thf->hf", np.concatenate([g, self.w["place"][code]]), self.w["wg"])
                      for g, code in joined.values()])
        score = (y * self.w["pooled.source"]).sum(-1) + (y * self.w["pooled.target"]).sum(-1)
        a = np.exp(np.where(score > 0, score, 0.2 * score))
        attended = (a / a.sum(0))[..., None] * y
        logits = []
        for tokens in (y, attended):
            readout = tokens.sum(0).mean(0) + self.w["score.bias"]
            z = np.concatenate([readout, self.renewed(first), self.renewed(second)])
            z = np.maximum(z @ self.w["score.w1"] + self.w["score.b1"], 0)
            logits.append(z @ self.w["score.w2"] + self.w["score.b2"])
        return logits

    def batch(self, log, draw1, draw2):
        found = {int(node): self.look(int(node)) for node in set(log[:, :3].ravel())}
        pairs = [[self.logits(u, v, found), self.logits(u, w, found)] for u, v, w, _, _ in log.tolist()]
        renewed = {node: self.renewed(node) for node in found}
        before = [[list(row) for row in table] for table in self.tables]

        def offer(hop, node, key, edge, time, vec, draw):
            if key == 0:
                return
            slot = 0 if hop == 0 else self.slot(hop, key)
            held = before[hop][node][slot][0]
            if hop == 0 or held in (0, key) or draw < self.alpha:
                self.tables[hop][node][slot] = (key, edge, float(time), vec)

        sides = [(side, i, *((u, v) if side == 0 else (v, u)), e, t)
                 for side in (0, 1) for i, (u, v, _, e, t) in enumerate(log.tolist())]
        for side, i, a, b, _, _ in sides:
            for j, (key, edge, time, vec) in enumerate(found[a][1]):
                offer(2, b, key, edge, time, vec, draw2[side, i, j])
        for side, i, a, b, e, t in sides:
            key, _, _, vec = found[a][1][self.slot(1, b)]
            offer(1, a, b, e, t, vec if key == b else np.zeros(R), draw1[side, i])
        for _, _, a, b, e, t in sides:
            offer(0, a, a, e, t, found[a][0][0][3], 0)
            self.own[a] = renewed[a]
            self.prev[a] = (b, e, float(t))
        return np.array(pairs).transpose(2, 1, 0)  # form, pair, event

    def column(self, hop, at):
        return np.array([[entry[at] for entry in row] for row in self.tables[hop]])


# Weights and golden values.


def weights():
    shapes = {
        "features": (N + 1, F), "edges": (EDGES, EF), "place": (64, P), "wg": (F + R + P, HEADS, F),
        "event.w": (TT,), "event.b": (TT,), "read.w": (S + EF + TT, R), "renew.w": (S + EF + TT, S),
        "score.bias": (F,),
        "score.w1": (F + 2 * S, HIDDEN), "score.b1": (HIDDEN,), "score.w2": (HIDDEN,), "score.b2": (),
        "pooled.source": (HEADS, F), "pooled.target": (HEADS, F),
    }
    for name, n in (("read", R), ("renew", S)):
        shapes |= {f"{name}.gru.{m}": (3, n, n) for m in ("wi", "wh")}
        shapes |= {f"{name}.gru.{b}": (3, n) for b in ("bi", "bh")}
    w = {name: np.asarray(rng.standard_normal(shape) * 0.6, dtype=np.float32) for name, shape in shapes.items()}
    w["features"][0] = 0
    w["event.w"] = np.ones(TT, np.float32)
    return w


def main():
    stored = weights()
    w = {name: value.astype(np.float64) for name, value in stored.items()}
    golden = {"log": LOG}
    draw1 = golden["draw1"] = rng.random((2, 4), dtype=np.float32)
    draw2 = golden["draw2"] = rng.random((2, 4, M[1]), dtype=np.float32)
    for name, alpha in (("always", 1.0), ("half", 0.5)):
        net = Nat(w, alpha)
        results = []
        for log in LOG:
            plain, paper = net.batch(log, draw1, draw2)
            results.append((plain, paper, net.column(1, 0), net.column(2, 0)))
        golden[f"{name}.alpha"] = np.float32(alpha)
        for at, output in enumerate(("logit", "paper", "hop1", "hop2")):
            golden[f"{name}.{output}"] = np.stack([r[at] for r in results])
        golden[f"{name}.own"] = net.own
        golden[f"{name}.prev_time"] = np.array([[t] for _, _, t in net.prev])
        for hop in range(3):
            golden[f"{name}.time{hop}"] = net.column(hop, 2)
            golden[f"{name}.vec{hop}"] = net.column(hop, 3)
    for name, rows in (("one", 1), ("three", 3)):  # a session's first call, of other sizes
        net = Nat(w, 1.0)
        plain, paper = net.batch(LOG[0, :rows], draw1[:, :rows], draw2[:, :rows])
        golden |= {f"{name}.log": LOG[0, :rows], f"{name}.draw1": draw1[:, :rows], f"{name}.draw2": draw2[:, :rows],
                   f"{name}.alpha": np.float32(1), f"{name}.logit": plain, f"{name}.paper": paper,
                   f"{name}.hop1": net.column(1, 0), f"{name}.hop2": net.column(2, 0)}
    whole = ("log", "hop1", "hop2")
    for name, value in golden.items():
        golden[name] = np.array(value, np.int32 if name.split(".")[-1] in whole else np.float32, order="C")
    save_file(stored, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"N": 999, "EDGES": 500, "F": 32, "EF": 16, "S": 32, "R": 16, "TT": 8, "P": 8, "HIDDEN": 64}


def medium():
    """Two hundred events among a thousand nodes: a session's first call."""
    random = np.random.default_rng(29)
    w, events = weights(), 200
    log = np.concatenate([random.permuted(np.tile(np.arange(1, N + 1), (events, 1)), axis=1)[:, :3],
                          random.integers(1, EDGES, (events, 1)), np.arange(1, events + 1)[:, None]], 1)
    inputs = {"log": log, "draw1": random.random((2, events), np.float32),
              "draw2": random.random((2, events, M[1]), np.float32), "alpha": np.array(1, np.float32)}

    def network(w, x):
        net = Nat(w, x["alpha"])
        plain, paper = net.batch(x["log"], x["draw1"], x["draw2"])
        return {"logit": plain, "paper": paper, "hop1": net.column(1, 0), "hop2": net.column(2, 0)}

    axes = {"node": N + 1, "edge": EDGES, "f": F, "ef": EF, "s": S, "r": R, "tt": TT, "p": P, "hid": HIDDEN}
    return {"entry": "batch", "weights": w, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
