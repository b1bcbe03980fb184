"""Golden values of the routings: python fixture.py     (pip install numpy safetensors)

Each routing token by token and place by place, in float64 on float32 weights and inputs.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
D, E, H, GROUPS, TABLES, WORDS, C = 8, 4, 16, 2, 2, 32, 3


# The network: each routing takes weights and inputs.
def softmax(z, axis=-1):
    z = np.exp(z - z.max(axis, keepdims=True)) if z.size else z
    return z / z.sum(axis, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def ffn(w, e, row, name="experts"):
    return np.maximum(row @ w[f"{name}.w1"][e], 0) @ w[f"{name}.w2"][e]


def best(scores, k):
    """The k largest, ties to the lower index."""
    return sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:k]


def combine(w, x, chosen):
    """chosen: for each token pairs of an expert and a weight."""
    y = [sum((g * ffn(w, e, row) for e, g in pairs), np.zeros(D)) for row, pairs in zip(x, chosen)]
    return np.array(y).reshape(-1, D)


def fill(order, capacity):
    """Gives places to (token, expert, weight) in this order."""
    taken, kept = [0] * E, {}
    for t, e, g in order:
        if taken[e] < capacity:
            kept.setdefault(t, []).append((e, g))
            taken[e] += 1
    return kept


def dense(w, x):
    return {"y": combine(w, x, [list(enumerate(p)) for p in softmax(x @ w["router"])])}


def noisy_top_k(w, x, n):
    score = x @ w["router"] + n * (np.logaddexp(x @ w["noise"], 0) + 1e-2)
    return {"y": combine(w, x, [list(zip(best(s, 2), softmax(s[best(s, 2)]))) for s in score])}


def switch(w, x, real=None):
    p = softmax(x @ w["router"])
    order = [(t, int(p[t].argmax()), p[t].max()) for t in range(len(x)) if real is None or real[t]]
    kept = fill(order, C)
    y = combine(w, x, [kept.get(t, []) for t in range(len(x))])
    return {"y": y, "expert": np.array([kept[t][0][0] if t in kept else -1 for t in range(len(x))], np.int32)}


def switch_padded(w, x, real):
    return {"y": switch(w, x, real)["y"]}


def gshard(w, x, u=None):
    p = softmax(x @ w["router"])
    first, second = [], []
    for t, row in enumerate(p):
        e1 = int(row.argmax())
        others = row.copy()
        others[e1] = 0
        e2 = int(others.argmax())
        g1, g2 = row[e1], row[e2]
        g1, g2 = g1 / (g1 + g2 + 1e-9), g2 / (g1 + g2 + 1e-9)
        first.append((t, e1, g1))
        if u is None or u[t] < g2 / 0.2:
            second.append((t, e2, g2))
    kept = fill(first + second, C)
    return {"y": combine(w, x, [kept.get(t, []) for t in range(len(x))])}


def gshard_random(w, x, u):
    return gshard(w, x, u)


def top_k(w, x):
    p = softmax(x @ w["router"])
    order = [(t, best(row, 2)[k], row[best(row, 2)[k]]) for k in range(2) for t, row in enumerate(p)]
    kept = fill(order, int(np.ceil(2 * len(x) * 0.75 / E)))
    return {"y": combine(w, x, [kept.get(t, []) for t in range(len(x))])}


def prioritised(w, x):
    p = softmax(x @ w["router"])
    tokens = np.argsort(-p.max(-1), kind="stable")
    kept = fill([(t, best(p[t], 2)[k], p[t, best(p[t], 2)[k]]) for k in range(2) for t in tokens], C)
    return {"y": combine(w, x, [kept.get(t, []) for t in range(len(x))])}


def expert_choice(w, x):
    p = softmax(x @ w["router"])
    chosen = [[] for _ in x]
    for e in range(E):
        for t in best(p[:, e], 2 * len(x) // E):
            chosen[t].append((e, p[t, e]))
    return {"y": combine(w, x, chosen)}


def expert_choice_mesh(w, x):
    p = softmax(x @ w["router"], 0)
    chosen = [[] for _ in x]
    for e in range(E):
        for t in best(p[:, e], 2 * len(x) // E):
            chosen[t].append((e, p[t, e]))
    return {"y": combine(w, x, [[(e, g / max(len(pairs), 1)) for e, g in pairs] for pairs in chosen])}


def base_expert(w, e, v):
    for layer in ("base.first", "base.second"):
        n = (v - v.mean()) / np.sqrt(v.var() + 1e-5) * w[f"{layer}.scale"][e] + w[f"{layer}.shift"][e]
        v = v + ffn(w, e, n, f"{layer}.ffn")
    return v


def base_assigned(w, x, expert):
    alpha = [sigmoid(row @ w["router"][:, e]) for row, e in zip(x, expert)]
    y = [a * base_expert(w, e, row) + (1 - a) * row for a, row, e in zip(alpha, x, expert)]
    return {"y": np.array(y).reshape(-1, D)}


def base(w, x):
    return base_assigned(w, x, (x @ w["router"]).argmax(-1))


def auction(a):
    """The released solver: experts bid for tokens. Returns the expert of each token, and what tokens cost."""
    tokens, share = len(a), len(a) // E
    epsilon, cost, winner, wins = max((a.max() - a.min()) / 50, 1e-4), np.zeros(tokens), None, []
    for counter in range(400):
        value = a - cost[:, None]
        for t in wins:
            value[t, winner[t]] = a.max() if counter <= 100 else a[t, winner[t]]
        bids, top = np.zeros((tokens, E)), []
        for e in range(E):
            order = np.argsort(-value[:, e], kind="stable")
            top.append(order[:share])
            bids[order[:share], e] = value[order[:share], e] - value[order[share], e] + epsilon
        if 0 < counter < 100:
            for t in wins:
                bids[t, winner[t]] = epsilon
        high = bids.max(1)
        if (high > 0).all():
            expert = np.full(tokens, -1)
            for e in range(E):
                expert[top[e]] = e
            return expert, cost
        cost, winner, wins = cost + high, bids.argmax(1), np.flatnonzero(high > 0)
    raise AssertionError("no end")


def base_auction(w, x):
    a = x @ w["router"]
    (expert, cost), share = auction(a), len(x) // E
    assert (np.bincount(expert, minlength=E) == share).all()
    # No assignment has a larger sum than the costs and what experts could gain at them.
    bound = cost.sum() + np.sort(a - cost[:, None], 0)[len(x) - share:].sum()
    assert bound - a[np.arange(len(x)), expert].sum() <= len(x) * max((a.max() - a.min()) / 50, 1e-4)
    assert (auction(a.astype(np.float32))[0] == expert).all()
    return base_assigned(w, x, expert) | {"expert": expert.astype(np.int32)}


def limited(w, x, capacity):
    p = softmax(x @ w["router"])
    kept = fill([(t, best(row, 2)[k], row[best(row, 2)[k]]) for k in range(2) for t, row in enumerate(p)], capacity)
    return {"y": combine(w, x, [kept.get(t, []) for t in range(len(x))])}


def multiple_of_four(w, x, factor):
    c = int(np.ceil(2 * len(x) * factor / E))
    return limited(w, x, c + -c % 4)


def tutel(w, x, factor):
    return limited(w, x, 2 * int(factor * np.ceil(len(x) / E)))


def at_least_four(w, x, factor):
    p = softmax(x @ w["router"])
    kept = fill([(t, int(row.argmax()), row.max()) for t, row in enumerate(p)], max(int(len(x) * factor / E), 4))
    return {"y": combine(w, x, [kept.get(t, []) for t in range(len(x))])}


def largest_kept(w, x, factor):
    p, chosen = softmax(x @ w["router"]), [[] for _ in x]
    for e in range(E):
        mine = sorted((t for t, row in enumerate(p) if e in best(row, 2)), key=lambda t: (-p[t, e], t))
        for t in mine[:int(np.ceil(2 * len(x) * factor / E))]:
            chosen[t].append((e, p[t, e]))
    return {"y": combine(w, x, chosen)}


def sinkhorn_scores(z):
    q, v, rounds = np.exp(z), np.ones(E), 0
    while True:
        u = 1 / (len(z) * (q @ v + 1e-8))
        new = 1 / (E * (u @ q + 1e-8))
        change, v, rounds = np.abs(new - v).mean(), new, rounds + 1
        if change < 1e-4:
            assert rounds < 60
            return v * q * u[:, None]


def sinkhorn(w, x):
    z = x @ w["router"]
    expert = sinkhorn_scores(z).argmax(-1) if len(x) else np.zeros(0, int)
    return {"y": combine(w, x, [[(e, sigmoid(row[e]))] for row, e in zip(z, expert)]),
            "expert": expert.astype(np.int32)}


def sinkhorn_two(w, x):
    z = x @ w["router"]
    scores = sinkhorn_scores(z) if len(x) else z
    return {"y": combine(w, x, [[(e, p[e]) for e in best(s, 2)] for p, s in zip(softmax(z), scores)])}


def hash_layer(w, x, ids):
    return {"y": combine(w, x, [[(w["experts_of"][0, i], 1)] for i in ids])}


def multi_hash(w, x, ids):
    y = []
    for row, i in zip(x, ids):
        chosen = w["experts_of"][:, i]
        hidden = np.concatenate([np.maximum(row @ w["segments.w1"][n, e], 0) for n, e in enumerate(chosen)])
        y.append(hidden @ np.concatenate([w["segments.w2"][n, e] for n, e in enumerate(chosen)]))
    return {"y": np.array(y).reshape(-1, D)}


def relu_routing(w, x):
    return {"y": combine(w, x, [[(e, g) for e, g in enumerate(row) if g > 0] for row in x @ w["router"]])}


def sparse_mixer(w, x):
    chosen = []
    for z in x @ w["router"]:
        pairs, left = [], np.ones(E, bool)
        for _ in range(2):
            m = z[left].max()
            near = left & ~((m - z) > 2 * 0.01 * np.maximum(np.abs(z), m))
            e = best(np.where(left, z, -np.inf), 1)[0]
            pairs.append((e, np.exp(z[e]) / np.exp(z[near]).sum()))
            left[e] = False
        chosen.append(pairs)
    return {"y": combine(w, x, chosen)}


def hierarchical(w, x):
    chosen = []
    for row in x:
        outer = softmax(row @ w["outer"])
        g = int(outer.argmax())
        inner = softmax(row @ w["within"][:, g])
        chosen.append([(g * E // GROUPS + i, outer[g] * p) for i, p in enumerate(inner)])
    return {"y": combine(w, x, chosen)}


# Weights and golden values.


def weights(rng):
    def normal(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    half = H // TABLES
    w = {"router": normal(D, E), "noise": normal(D, E), "outer": normal(D, GROUPS),
         "within": normal(D, GROUPS, E // GROUPS),
         "experts.w1": normal(E, D, H), "experts.w2": normal(E, H, D),
         "segments.w1": normal(TABLES, E, D, half), "segments.w2": normal(TABLES, E, half, D)}
    for layer in ("base.first", "base.second"):
        w |= {f"{layer}.scale": 1 + normal(E, D), f"{layer}.shift": normal(E, D),
              f"{layer}.ffn.w1": normal(E, D, H), f"{layer}.ffn.w2": normal(E, H, D)}
    return w | {"experts_of": rng.integers(0, E, (TABLES, WORDS)).astype(np.int32)}


def wide(tensors):
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in tensors.items()}


def main():
    rng = np.random.default_rng(3)
    w = weights(rng)
    exact = wide(w)
    router = exact["router"]
    random = rng.normal(size=(12, D))
    tie = random.copy()
    tie[[1, 4, 5]] = 0  # all scores are equal: the lower index, and of tokens the earlier one
    # Scores that sparse_mixer finds near each other, or not.
    near = np.array([[1, 0.99, 0.985, -1], [1, 0.9, 0.89, 0.885], [-1, -1.01, -2, -1.015], [0.3, 1, 0.999, 0.3]])
    near = near @ np.linalg.pinv(router)
    some = random[(random @ router).argmax(-1) != 2]  # no token chooses expert 2 first
    cases = {"t12": random, "t1": random[:1], "t0": random[:0], "same": np.repeat(random[:1], 12, 0), "tie": tie,
             "unused": some, "large": random * 80 / np.abs(random @ router).max(), "near": near}
    every = [dense, noisy_top_k, switch, switch_padded, gshard, gshard_random, top_k, prioritised, expert_choice,
             expert_choice_mesh, base, base_assigned, sinkhorn, sinkhorn_two, hash_layer, multi_hash, relu_routing,
             sparse_mixer, hierarchical]
    only = {"large": [dense, noisy_top_k, switch], "near": [sparse_mixer], "unused": [switch, gshard, top_k, base],
            "tie": [switch, gshard, gshard_random, top_k, prioritised, expert_choice, sparse_mixer]}
    golden = {}
    for case, x in cases.items():
        t = len(x)
        x = x.astype(np.float32)
        ids = rng.integers(0, WORDS, t).astype(np.int32)
        expert = rng.permutation(np.arange(t) % E).astype(np.int32)  # every expert the same number of tokens
        more = {noisy_top_k: dict(n=rng.normal(size=(t, E)).astype(np.float32)),
                switch_padded: dict(real=(np.arange(t) % 3 != 1).astype(np.int32)),
                gshard_random: dict(u=rng.uniform(size=t).astype(np.float32)),
                base_assigned: dict(expert=expert), hash_layer: dict(ids=ids), multi_hash: dict(ids=ids)}
        for routing in only.get(case, every):
            inputs = {"x": x, **more.get(routing, {})}
            outputs = routing(exact, **wide(inputs))
            outputs = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in outputs.items()}
            assert np.isfinite(outputs["y"]).all()
            for k, v in (inputs | outputs).items():
                golden[f"{routing.__name__}.{case}.{k}"] = np.ascontiguousarray(v)
    limits = [multiple_of_four, tutel, at_least_four, largest_kept]
    crowd = random.copy()
    crowd[:7] = random[:1] + rng.normal(0, 0.02, (7, D))  # seven tokens want the same experts
    runs = [(base_auction, f"t{t}", rng.normal(size=(t, D)), {}) for t in (4, 12, 20)]
    runs += [(f, name, x, {"factor": np.float32(c)}) for f in limits
             for name, x, c in (("crowd", crowd, 0.75), ("crowd_more", crowd, 1.25), ("t0", crowd[:0], 1.25))]
    for routing, case, x, more in runs:
        inputs = {"x": x.astype(np.float32), **more}
        outputs = routing(exact, **{k: v.astype(float) for k, v in inputs.items()})
        for k, v in (inputs | outputs).items():
            golden[f"{routing.__name__}.{case}.{k}"] = np.array(v, np.int32 if k == "expert" else np.float32, order="C")
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 256, "H": 1024}


def medium():
    """Top-2 with a capacity, 512 tokens; each expert runs once, for the tokens that it keeps."""
    import torch

    rng = np.random.default_rng(3)
    w = {name: torch.tensor(value) for name, value in weights(rng).items()}
    scale = {"router": 0.2, "experts.w1": 0.2, "experts.w2": 0.1}
    w = {name: value * scale.get(name, 1) for name, value in w.items()}

    def network(w, x):
        x = x["x"]
        best = torch.softmax(x @ w["router"], -1).topk(2)
        capacity, y = int(np.ceil(2 * len(x) * 0.75 / E)), torch.zeros_like(x)
        token = torch.arange(len(x)).repeat(2)
        choice, weight = best.indices.T.flatten(), best.values.T.flatten()  # first choices before second ones
        for e in range(E):
            at = (choice == e).nonzero()[:capacity, 0]
            out = torch.relu(x[token[at]] @ w["experts.w1"][e]) @ w["experts.w2"][e]
            y.index_add_(0, token[at], weight[at, None] * out)
        return {"y": y}

    return {
        "entry": "top_k", "weights": w, "inputs": {"x": torch.randn(512, D)}, "network": network,
        "axes": {"d": D, "h": H, "segment": H // TABLES},
    }


if __name__ == "__main__":
    main()
