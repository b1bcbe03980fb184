"""Golden values of graph networks: python fixture.py     (pip install numpy safetensors)

The block of the paper (Battaglia et al. 2018, algorithm 1) element by element, in float64 on float32 weights and
inputs; the order of concatenation is that of the authors' library (receiver before sender, edges before nodes
before globals).
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
EV, NV, GV, O, OUT, HEADS, K, W, STEPS = 2, 3, 2, 4, 2, 2, 3, 2, 2
RNG = np.random.default_rng(33)


# The network. `w` maps names to float64 arrays; a graph is a dictionary with x, v, u, snd, rcv, of_edge, of_node.


def linear(w, name, x):
    return x @ w[name + ".w"] + w[name + ".b"]


def phi(w, name, x):
    x = np.maximum(x @ w[name + ".w1"] + w[name + ".b1"], 0)
    x = np.maximum(x @ w[name + ".w2"] + w[name + ".b2"], 0)
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[name + ".scale"] + w[name + ".shift"]


def fold(x, index, count, how=sum, empty=0.0):
    """Row i of the result: `how` of the rows of x with index i, `empty` without any."""
    rows = [[x[j] for j in range(len(x)) if index[j] == i] for i in range(count)]
    return np.array([how(r) if r else np.full(x.shape[1:], empty) for r in rows]).reshape(count, *x.shape[1:])


def join(*parts):
    return np.concatenate(parts, axis=-1)


def block(w, name, x, v, u, g, sent=False):
    x = phi(w, name + ".edges", join(x, v[g["rcv"]], v[g["snd"]], u[g["of_edge"]]))
    ends_at = [fold(x, g[end], len(v)) for end in ("rcv", "snd")[: 1 + sent]]
    v = phi(w, name + ".nodes", join(*ends_at, v, u[g["of_node"]]))
    count = len(u)
    u = phi(w, name + ".globals", join(fold(x, g["of_edge"], count), fold(v, g["of_node"], count), u))
    return x, v, u


def full(w, g):
    return dict(zip(("edges", "nodes", "globals"), block(w, "full", g["x"], g["v"], g["u"], g)))


def sent(w, g):
    return dict(zip(("edges", "nodes", "globals"), block(w, "sent", g["x"], g["v"], g["u"], g, True)))


def independent(w, g):
    return {name: phi(w, "alone_" + k, g[k]) for name, k in (("edges", "x"), ("nodes", "v"), ("globals", "u"))}


def ends(g):
    return g["v"][g["rcv"]], g["v"][g["snd"]]


def interaction(w, g, name="interaction"):
    x = phi(w, name + "_x", join(g["x"], *ends(g)))
    return {"edges": x, "nodes": phi(w, name + "_v", join(fold(x, g["rcv"], len(g["v"])), g["v"]))}


def message_passing(w, g):
    r = interaction(w, g, "message")
    return r | {"globals": phi(w, "message_u", fold(r["nodes"], g["of_node"], len(g["nodes_of"])))}


def relation(w, g):
    x = phi(w, "relation_x", join(*ends(g)))
    return {"globals": phi(w, "relation_u", fold(x, g["of_edge"], len(g["edges_of"])))}


def deep_set(w, g):
    v = phi(w, "set_v", join(g["v"], g["u"][g["of_node"]]))
    return {"nodes": v, "globals": phi(w, "set_u", fold(v, g["of_node"], len(g["u"])))}


def comm_net(w, g):
    x = phi(w, "comm_x", g["v"][g["snd"]])
    return {"edges": x, "nodes": phi(w, "comm_v", join(fold(x, g["rcv"], len(g["v"])), phi(w, "comm_own", g["v"])))}


def attend(score, value, index, count):
    """A mean of the values of one index, with weights exp(score)."""
    result = np.zeros((count, *value.shape[1:]))
    for i in range(count):
        at = np.flatnonzero(index == i)
        if len(at):
            e = np.exp(score[at] - score[at].max(0))
            result[i] = (e / e.sum(0) * value[at]).sum(0)
    return result


def non_local(w, g):
    receiver, sender = ends(g)
    score = (linear(w, "theta", receiver) * linear(w, "eta", sender)).sum(-1, keepdims=True)
    return {"nodes": phi(w, "non_local_v", attend(score, linear(w, "beta", sender), g["rcv"], len(g["v"])))}


def self_attention(w, g):
    score = (g["key"][g["snd"]] * g["query"][g["rcv"]]).sum(-1)
    return {"y": attend(score[..., None], g["value"][g["snd"]], g["rcv"], len(g["key"]))}


def gated(w, g):
    x = phi(w, "gated_x", join(g["x"], *ends(g)))
    gate = 1 / (1 + np.exp(-linear(w, "gate", x)))
    total = fold(gate * x, g["rcv"], len(g["v"]))
    return {"total": total, "normalised": total / (fold(gate, g["rcv"], len(g["v"])) + 1e-6)}


def reducers(w, g):
    x, to, n = join(g["x"], g["v"][g["snd"]]), g["rcv"], len(g["v"])
    most = lambda rows: np.max(rows, axis=0)
    return {
        "average": fold(x, to, n, lambda rows: np.mean(rows, axis=0)),
        "product": fold(x, to, n, lambda rows: np.prod(rows, axis=0), 1.0),
        "most": fold(x, to, n, most),
        "least": fold(x, to, n, lambda rows: np.min(rows, axis=0)),
        "most_plain": fold(x, to, n, most, float(np.finfo(np.float32).min)),
    }


def recurrent(w, g):
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    result = {}
    fresh = block(w, "fresh", join(g["x"], g["hx"]), join(g["v"], g["hv"]), join(g["u"], g["hu"]), g)
    for name, k, c in zip(("edges", "nodes", "globals"), "xvu", fresh):
        h, gru = g["h" + k], "gru_" + k
        z, r = (sigmoid(linear(w, f"{gru}.{part}", join(c, h))) for part in ("keep", "reset"))
        result[name] = z * h + (1 - z) * np.tanh(linear(w, gru + ".candidate", join(c, r * h)))
    return result


def encode_process_decode(w, g):
    start = [phi(w, "encode_" + k, g[k]) for k in "xvu"]
    now, made = start, {"edges": [], "nodes": [], "globals": []}
    for _ in range(STEPS):
        now = block(w, "core", *(join(a, b) for a, b in zip(start, now)), g)
        for name, k, value in zip(made, "xvu", now):
            made[name].append(linear(w, "out_" + k, phi(w, "decode_" + k, value)))
    return {name: np.stack(value) for name, value in made.items()}


ENTRIES = {
    full: "x v u snd rcv of_edge of_node",
    independent: "x v u",
    interaction: "x v snd rcv",
    message_passing: "x v snd rcv nodes_of",
    relation: "v snd rcv edges_of",
    deep_set: "v u of_node",
    comm_net: "v snd rcv",
    non_local: "v snd rcv",
    self_attention: "key query value snd rcv",
    gated: "x v snd rcv",
    reducers: "x v snd rcv",
    recurrent: "x v u hx hv hu snd rcv of_edge of_node",
    encode_process_decode: "x v u snd rcv of_edge of_node",
    sent: "x v u snd rcv of_edge of_node",
}


# Weights and golden values.


def weights():
    w = {}

    def draw(name, *shape, scale=1.0, around=0.0):
        w[name] = (RNG.standard_normal(shape) * scale + around).astype(np.float32)

    def add_phi(name, wide):
        draw(name + ".w1", wide, O, scale=wide**-0.5)
        draw(name + ".w2", O, O, scale=O**-0.5)
        draw(name + ".b1", O, scale=0.3, around=0.3)
        draw(name + ".b2", O, scale=0.5, around=0.5)
        draw(name + ".scale", O, scale=0.2, around=1.0)
        draw(name + ".shift", O, scale=0.2)

    def add_linear(name, wide, out=O):
        draw(name + ".w", wide, out, scale=wide**-0.5)
        draw(name + ".b", out, scale=0.3)

    def add_block(name, x, v, u, ends=1):
        add_phi(name + ".edges", x + 2 * v + u)
        add_phi(name + ".nodes", ends * O + v + u)
        add_phi(name + ".globals", 2 * O + u)

    add_block("full", EV, NV, GV)
    add_block("fresh", EV + O, NV + O, GV + O)
    add_block("core", 2 * O, 2 * O, 2 * O)
    for kind, wide in zip("xvu", (EV, NV, GV)):
        add_phi("alone_" + kind, wide)
        add_phi("encode_" + kind, wide)
        add_phi("decode_" + kind, O)
        add_linear("out_" + kind, O, OUT)
        for part in ("keep", "reset", "candidate"):
            add_linear(f"gru_{kind}.{part}", 2 * O)
    for name in ("interaction", "message"):
        add_phi(name + "_x", EV + 2 * NV)
        add_phi(name + "_v", O + NV)
    for name, wide in {"message_u": O, "relation_x": 2 * NV, "relation_u": O, "set_v": NV + GV, "set_u": O,
                       "comm_x": NV, "comm_own": NV, "comm_v": 2 * O, "non_local_v": O,
                       "gated_x": EV + 2 * NV}.items():
        add_phi(name, wide)
    for name, wide in {"theta": NV, "eta": NV, "beta": NV, "gate": O}.items():
        add_linear(name, wide)
    add_block("sent", EV, NV, GV, ends=2)
    return w


def graphs(nodes_of, edges_of):
    """Random edges inside of each graph; the first is a self-loop, the last two of a graph are parallel."""
    snd, rcv, first = [], [], 0
    for n, count in zip(nodes_of, edges_of):
        ends_of = RNG.integers(0, max(n, 1), (count, 2)) + first
        if count:
            ends_of[0] = first
            ends_of[-1] = ends_of[-2]
        snd += list(ends_of[:, 0])
        rcv += list(ends_of[:, 1])
        first += n
    n, e, count = sum(nodes_of), sum(edges_of), len(nodes_of)
    shapes = {"x": (e, EV), "v": (n, NV), "u": (count, GV), "hx": (e, O), "hv": (n, O), "hu": (count, O),
              "key": (n, HEADS, K), "query": (n, HEADS, K), "value": (n, HEADS, W)}
    g = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    ids = {"snd": snd, "rcv": rcv, "nodes_of": nodes_of, "edges_of": edges_of,
           "of_node": np.repeat(np.arange(count), nodes_of), "of_edge": np.repeat(np.arange(count), edges_of)}
    return g | {name: np.array(value, np.int32) for name, value in ids.items()}


def main():
    w = weights()
    save_file(w, HERE / "weights.safetensors")
    w = {name: value.astype(np.float64) for name, value in w.items()}
    sizes = {"three": ([3, 4, 1], [4, 5, 0]), "five": ([2, 0, 7, 1, 5], [3, 0, 21, 2, 9]), "one": ([1], [0])}
    batches = {name: graphs(*size) for name, size in sizes.items()}
    order = RNG.permutation(9)
    per_edge = ("x", "hx", "snd", "rcv", "of_edge")
    batches["permuted"] = {k: v[order] if k in per_edge else v for k, v in batches["three"].items()}
    golden, results = {}, {}
    for batch, g in batches.items():
        wide = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in g.items()}
        for entry, inputs in ENTRIES.items():
            if batch in ("one", "permuted") and entry not in (full, sent, self_attention, encode_process_decode):
                continue
            made = entry(w, wide)
            results[batch, entry] = made
            for name, value in ({k: g[k] for k in inputs.split()} | made).items():
                kind = np.int32 if value.dtype == np.int32 else np.float32
                golden[f"{entry.__name__}_{batch}.{name}"] = np.ascontiguousarray(value, dtype=kind)
    for name in ("nodes", "globals"):
        assert np.allclose(results["three", full][name], results["permuted", full][name], rtol=0, atol=1e-12)
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"O": 64}


def medium():
    """Two steps on 100 graphs of 20 nodes and 200 edges."""
    import torch

    g = graphs([20] * 100, [200] * 100)
    w = {name: torch.tensor(value) for name, value in weights().items()}

    def phi(w, name, x):
        x = torch.relu(torch.relu(x @ w[name + ".w1"] + w[name + ".b1"]) @ w[name + ".w2"] + w[name + ".b2"])
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w[name + ".scale"], w[name + ".shift"])

    def total(x, index, count):
        return torch.zeros(count, x.shape[1], dtype=x.dtype).index_add(0, index, x)

    def core(w, x, v, u, g):
        x = phi(w, "core.edges", torch.cat([x, v[g["rcv"]], v[g["snd"]], u[g["of_edge"]]], -1))
        v = phi(w, "core.nodes", torch.cat([total(x, g["rcv"], len(v)), v, u[g["of_node"]]], -1))
        all_of = total(x, g["of_edge"], len(u)), total(v, g["of_node"], len(u))
        return x, v, phi(w, "core.globals", torch.cat([*all_of, u], -1))

    def network(w, g):
        start = now = [phi(w, "encode_" + k, g[k]) for k in "xvu"]
        made = {"edges": [], "nodes": [], "globals": []}
        for _ in range(STEPS):
            now = core(w, *(torch.cat([a, b], -1) for a, b in zip(start, now)), g)
            for name, k, value in zip(made, "xvu", now):
                made[name].append(phi(w, "decode_" + k, value) @ w[f"out_{k}.w"] + w[f"out_{k}.b"])
        return {name: torch.stack(value) for name, value in made.items()}

    inputs = {name: torch.tensor(g[name]) for name in ENTRIES[encode_process_decode].split()}
    return {"entry": "encode_process_decode", "weights": w, "inputs": inputs, "network": network, "axes": {"o": O}}


if __name__ == "__main__":
    main()
