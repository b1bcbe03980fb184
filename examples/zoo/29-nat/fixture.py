"""Golden values of NAT: python fixture.py     (pip install torch numpy safetensors)

Written from the equations in PyTorch, in float64 on float32 weights and inputs: tokens by grouping, offers in their order.
"""
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn.functional import leaky_relu

HERE = pathlib.Path(__file__).parent
N, EDGES, F, EF, S, R, TT, P, M, HEADS, HIDDEN, Q = 9, 20, 3, 2, 5, 2, 1, 3, (1, 3, 2), 2, 8, 11
# u, v, negative, edge, time
LOG = np.array([
    [[1, 2, 5, 1, 1], [2, 3, 6, 2, 1], [1, 3, 4, 3, 2], [1, 4, 2, 4, 3]],  # a triangle; node 1 three times
    [[4, 7, 3, 5, 4], [1, 7, 2, 6, 5], [8, 1, 9, 7, 5], [3, 4, 1, 8, 6]],  # 4 and 7 share a slot of 1
    [[2, 1, 7, 9, 7], [3, 1, 4, 10, 8], [7, 2, 8, 11, 8], [5, 9, 3, 12, 9]],  # 3 and 1 meet again
], dtype=np.int32)
rng = np.random.default_rng(29)


def gru(w, name, x, h):
    """PyTorch's cell is this one, for rows."""
    parts = (w[f"{name}.{part}"].flatten(0, 1) for part in ("wi", "wh", "bi", "bh"))
    return torch.gru_cell(x.flatten(0, -2), h.flatten(0, -2), *parts).view(h.shape)


def total(rows, to, x):
    """Row `to` of the result gets that row of x."""
    return x.new_zeros(rows, *x.shape[1:]).index_add(0, to, x)


class Nat:
    def __init__(self, w, alpha):
        def none(*shape):
            return torch.zeros(shape, dtype=torch.long)

        self.w, self.alpha, zeros = w, alpha, w["features"].new_zeros
        self.own = zeros(N + 1, S)
        # By hop; columns are [node, slot].
        self.tables = [{"id": none(N + 1, m), "edge": none(N + 1, m), "time": zeros(N + 1, m), "vec": zeros(N + 1, m, R)}
                       for m in M]
        # Hop 0 has a node's own last event, and here whom it was with.
        self.tables[0] |= {"id": torch.arange(N + 1)[:, None], "other": none(N + 1, 1)}

    def event(self, other, edge, time):
        code = torch.cos(time[..., None] * self.w["event.w"] + self.w["event.b"])
        return torch.cat([self.own[other], self.w["edges"][edge], code], -1)

    def look(self, nodes):
        """All entries of these nodes, read: by hop."""
        found = [{name: column[nodes] for name, column in table.items()} for table in self.tables]
        for e in found:
            x = self.event(e["id"], e["edge"], e["time"]) @ self.w["read.w"]
            e["vec"] = torch.where(e["time"][..., None] != 0, gru(self.w, "read.gru", x, e["vec"]), 0)
        return found

    def renewed(self, nodes):
        other, edge, time = (self.tables[0][name][nodes, 0] for name in ("other", "edge", "time"))
        return gru(self.w, "renew.gru", self.event(other, edge, time) @ self.w["renew.w"], self.own[nodes])

    def logits(self, key, vec, own):
        """Of pairs: with the sum over its tokens, and with attention over them. key: [pair, end, slot of any hop]."""
        pairs, (pair, end, slot) = len(key), key.nonzero(as_tuple=True)
        key, vec = key[pair, end, slot], vec[pair, end, slot]
        bit = 2 ** (torch.repeat_interleave(torch.tensor(M))[slot] + 3 * end)
        token, to = torch.unique(pair * (N + 1) + key, return_inverse=True)
        pair, code = token // (N + 1), total(len(token), to, bit)
        g = total(len(token), to, torch.cat([self.w["features"][key], vec], -1))
        y = torch.einsum("nt,thf->nhf", torch.cat([g, self.w["place"][code]], -1), self.w["wg"])
        score = leaky_relu((y * self.w["pooled.source"]).sum(-1) + (y * self.w["pooled.target"]).sum(-1), 0.2)
        a = torch.exp(score)
        attended = (a / total(pairs, pair, a)[pair])[..., None] * y
        logits = []
        for tokens in (y, attended):
            readout = total(pairs, pair, tokens).mean(1) + self.w["score.bias"]
            z = torch.relu(torch.cat([readout, own.flatten(1)], -1) @ self.w["score.w1"] + self.w["score.b1"])
            logits.append(z @ self.w["score.w2"] + self.w["score.b2"])
        return torch.stack(logits)

    def slot(self, hop, key):
        return (key * Q + key * key * (Q + 1)) % M[hop]

    def offer(self, hop, node, draw=0, **new):
        """To the table of a node, under the key `id`; of several to one slot the last counts."""
        table, key = self.tables[hop], new["id"]
        slot = self.slot(hop, key)
        held = table["id"][node, slot]
        ok = (key != 0) & ((held == 0) | (held == key) | (draw < self.alpha))
        offers = zip(node[ok].tolist(), slot[ok].tolist())
        last = list({place: i for i, place in enumerate(offers)}.values())
        for name, x in new.items():
            table[name][node[ok][last], slot[ok][last]] = x[ok][last]

    def batch(self, log, draw1, draw2):
        found, renewed = self.look(log[:, :3]), self.renewed(log[:, :3])
        key, vec = (torch.cat([e[name] for e in found], 2) for name in ("id", "vec"))
        logits = [self.logits(key[:, ends], vec[:, ends], renewed[:, ends]) for ends in ([0, 1], [0, 2])]
        # [side, event]: from u to v, and from v to u; what was found is [side, event, slot].
        a, b = log[:, [0, 1]].T, log[:, [1, 0]].T
        edge, time = (x.expand(2, -1) for x in (log[:, 3], log[:, 4].to(self.own.dtype)))
        zero, one = ({name: column[:, :2].transpose(0, 1) for name, column in e.items()} for e in found[:2])
        self.offer(2, b[..., None].expand_as(one["id"]), draw2, **one)
        had = (one["vec"] * (one["id"] == b[..., None])[..., None]).sum(2)  # no key stands in two slots
        self.offer(1, a, draw1, id=b, edge=edge, time=time, vec=had)
        self.offer(0, a, id=a, edge=edge, time=time, vec=zero["vec"][:, :, 0], other=b)
        self.own[a] = renewed[:, :2].transpose(0, 1)
        return torch.stack(logits, 1)  # form, pair, event

    def column(self, hop, name):
        return self.tables[hop][name].clone()


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
    w = {name: torch.tensor(value).double() for name, value in stored.items()}
    golden, log = {"log": LOG}, torch.tensor(LOG).long()
    draw1 = golden["draw1"] = torch.tensor(rng.random((2, 4), dtype=np.float32))
    draw2 = golden["draw2"] = torch.tensor(rng.random((2, 4, M[1]), dtype=np.float32))
    for name, alpha in (("always", 1.0), ("half", 0.5)):
        net = Nat(w, alpha)
        results = []
        for events in log:
            plain, paper = net.batch(events, draw1, draw2)
            results.append((plain, paper, net.column(1, "id"), net.column(2, "id")))
        golden[f"{name}.alpha"] = np.float32(alpha)
        for at, output in enumerate(("logit", "paper", "hop1", "hop2")):
            golden[f"{name}.{output}"] = torch.stack([r[at] for r in results])
        golden[f"{name}.own"] = net.own
        golden[f"{name}.prev_time"] = net.column(0, "time")
        for hop in range(3):
            golden[f"{name}.time{hop}"] = net.column(hop, "time")
            golden[f"{name}.vec{hop}"] = net.column(hop, "vec")
    for name, rows in (("one", 1), ("three", 3)):  # a session's first call, of other sizes
        net = Nat(w, 1.0)
        plain, paper = net.batch(log[0, :rows], draw1[:, :rows], draw2[:, :rows])
        golden |= {f"{name}.log": LOG[0, :rows], f"{name}.draw1": draw1[:, :rows], f"{name}.draw2": draw2[:, :rows],
                   f"{name}.alpha": np.float32(1), f"{name}.logit": plain, f"{name}.paper": paper,
                   f"{name}.hop1": net.column(1, "id"), f"{name}.hop2": net.column(2, "id")}
    whole = ("log", "hop1", "hop2")
    for name, value in golden.items():
        golden[name] = np.asarray(value, np.int32 if name.split(".")[-1] in whole else np.float32, order="C")
    save_file(stored, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"N": 999, "EDGES": 500, "F": 32, "EF": 16, "S": 32, "R": 16, "TT": 8, "P": 8, "HIDDEN": 64}


def medium():
    """Two hundred events among a thousand nodes: a session's first call; further ones, which are timed, find its tables filled."""
    random = np.random.default_rng(29)
    w, events = weights(), 200
    log = np.concatenate([random.permuted(np.tile(np.arange(1, N + 1), (events, 1)), axis=1)[:, :3],
                          random.integers(1, EDGES, (events, 1)), np.arange(1, events + 1)[:, None]], 1)
    inputs = {"log": log, "draw1": random.random((2, events), np.float32),
              "draw2": random.random((2, events, M[1]), np.float32), "alpha": np.array(1, np.float32)}
    w, inputs = ({name: torch.tensor(value) for name, value in given.items()} for given in (w, inputs))

    sessions = {}

    def network(w, x):
        net = sessions.setdefault(x["alpha"].dtype, Nat(w, x["alpha"]))
        plain, paper = net.batch(x["log"], x["draw1"], x["draw2"])
        return {"logit": plain, "paper": paper, "hop1": net.column(1, "id"), "hop2": net.column(2, "id")}

    axes = {"node": N + 1, "edge": EDGES, "f": F, "ef": EF, "s": S, "r": R, "tt": TT, "p": P, "hid": HIDDEN}
    return {"entry": "batch", "weights": w, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
