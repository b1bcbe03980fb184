"""Golden files of the programs of routes that are arms, queues or soft, as `golden.py` makes those of the others.

    python golden_routes.py
"""

import numpy as np
from golden import at, best, limited, routed, sigmoid, softmax, write

rng = np.random.default_rng(8)


def rand(*shape):
    return np.round(rng.uniform(-1.5, 1.5, shape), 3)


def route_arms():
    t, d, h, e = 11, 16, 32, 4
    x, router, constant = rand(t, d), rand(e, d), rand(d)
    kind, level = rng.integers(0, 6, (2, t)).astype(np.int32)
    p = {
        "big.up": rand(d, h) / 4, "big.down": rand(h, d) / 4, "small.w": rand(d, d) / 4, "small.b": rand(d),
        "wide.up": rand(d, h) / 4, "wide.down": rand(h, d) / 4, "thin.w": rand(d, d) / 4, "thin.b": rand(d),
        "experts.v": rand(e, d, d),
    }
    wide = lambda row, name="big": np.maximum(row @ p[name + ".up"], 0) @ p[name + ".down"]
    thin = lambda row, name="small": np.tanh(row @ p[name + ".w"] + p[name + ".b"])
    copy, none, fixed = lambda row: row, lambda row: 0 * row, lambda row: constant
    score = softmax(x @ router.T)
    index = best(score, 2)
    weight = at(score, index) / at(score, index).sum(-1, keepdims=True)

    def by(arms, index=index):
        return routed(x, index, lambda i, row: arms[i](row))

    own = [lambda row: wide(row, "wide"), lambda row: thin(row, "thin"), copy, none]
    usual, filled = [wide, copy, thin, none], [wide, copy, thin, fixed]
    two = (weight[..., None] * by([wide, lambda row: 2 * thin(row), copy, fixed])).sum(1)
    every = np.array([
        [w[0] * wide(thin(row)) + w[1] * thin(row) + w[2] * row + w[3] * constant] for row, w in zip(x, score)
    ])[:, 0]
    chosen, share = limited(index, at(score, index), int(np.ceil(0.5 * 2 * t / e)), e)
    few = (share[..., None] * by([wide, thin, copy, none], chosen)).sum(1)
    few = np.where((chosen < 0).all(-1, keepdims=True), 3 * x, few)
    gate = sigmoid(x @ router.T)
    some = np.array([
        sum(((w > 0.5) * w * arm(row) for w, arm in zip(weights, [wide, thin, copy, none])), 0 * row)
        for row, weights in zip(x, gate)
    ])
    # Two rows each, of those that come to these experts.
    inner, taken, favourite = np.zeros((t, d)), [0] * e, score.argmax(-1)
    for row in range(t):
        if kind[row] % 3 == 0:
            inner[row] = [wide, thin][level[row] % 2](x[row])
        elif kind[row] % 3 == 2:
            inner[row] = x[row]
        else:
            i = favourite[row]
            taken[i] += 1
            inner[row] = score[row, i] * x[row] @ p["experts.v"][i] if taken[i] <= 2 else 0
    write("route-arms", {
        "in.x": x, "in.kind": kind, "in.level": level, "router": router, "constant": constant, **p,
        "out.one": by(own, best(x @ router.T, 1))[:, 0], "out.two": two, "out.mean": by(usual).mean(1),
        "out.max": by(usual).max(1), "out.lse": np.log(np.exp(by(usual)).sum(1)),
        "out.joined": by(filled).reshape(t, -1), "out.every": every, "out.few": few, "out.chosen": chosen,
        "out.given": by([wide, thin, copy], kind[:, None] % 3)[:, 0], "out.some": some, "out.inner": inner,
    })


def route_queues():
    b, t, d, e, f = 2, 7, 4, 3, 2
    x, router, small = rand(b, t, d), rand(e, d), rand(f, d)
    late, ids = rng.integers(0, 5, (2, b, t)).astype(np.int32)
    u, v, w, z, q = rand(e, d, d), rand(e, d, d), rand(e, d, f), rand(e, f, d, d), rand(f, d, d)
    score = softmax(x @ router.T)

    def served(index, weight, most, e, priority):
        """As `limited`, for rows in the order of their priority."""
        order = np.argsort(-priority, kind="stable")
        chosen, share = limited(index[order], weight[order], most, e)
        back = np.argsort(order, kind="stable")
        return chosen[back], share[back]

    index = best(score, 2)
    weight = at(score, index)
    ceil = lambda a: int(np.ceil(round(a, 9)))
    apart = np.stack([limited(i, g, ceil(0.75 * 2 * t / e), e)[0] for i, g in zip(index, weight)])
    flat = lambda a: a.reshape(b * t, -1)
    sure = score.max(-1)
    first = served(flat(index), flat(weight), ceil(0.5 * 2 * b * t / e), e, sure.ravel())[0].reshape(b, t, 2)
    both = np.zeros((b, t, d))
    for n in range(b):
        chosen, share = served(index[n], weight[n], 2, e, sure[n])
        rows = (share[..., None] * routed(x[n], chosen, lambda i, row: row @ u[i])).sum(1)
        both[n] = np.where((chosen < 0).all(-1, keepdims=True), x[n], rows)
    one = best(score, 1)
    early = served(flat(one), flat(at(score, one)), 2, e, -late.ravel())[0].reshape(b, t, 1)
    choice = np.zeros((b, t, d))
    for n in range(b):
        for i in range(e):
            for row in np.argsort(-score[n, :, i], kind="stable")[:2]:
                choice[n, row] += score[n, row, i] * x[n, row] @ v[i]
    rows, to = flat(x), ids.ravel() % e
    within = np.zeros((b * t, d))
    for i in range(e):
        mine = np.flatnonzero(to == i)
        if len(mine):
            prob = softmax(rows[mine] @ w[i])
            inner = best(prob, 1)
            chosen, share = limited(inner, at(prob, inner), ceil(0.6 * len(mine) / f), f)
            within[mine] = [s[0] * row @ z[i, c[0]] for row, c, s in zip(rows[mine], chosen, share)]
    there = np.flatnonzero(ids.ravel() % 2 == 1)
    prob = softmax(rows @ small.T)
    counts = np.bincount(prob[there].argmax(-1), minlength=f)
    load, experts = rows.copy(), rows.copy()
    load[there] *= (counts * np.arange(f)).sum()
    experts[there] = 0
    for i in range(f):
        for row in there[np.argsort(-prob[there, i], kind="stable")[: ceil(len(there) / f)]]:
            experts[row] += prob[row, i] * rows[row] @ q[i]
    write("route-queues", {
        "in.x": x, "in.late": late, "in.ids": ids, "router": router, "inner": small, "u": u, "v": v, "w": w, "z": z,
        "chosen.q": q, "out.apart": apart, "out.first": first, "out.both": both, "out.early": early, "out.choice": choice,
        "out.within": within.reshape(b, t, d), "out.load": load.reshape(b, t, d), "out.experts": experts.reshape(b, t, d),
    })


def route_soft():
    b, t, d, e, p = 2, 5, 8, 3, 2
    x, phi, psi = rand(b, t, d), rand(d, e, p), rand(d, e)
    u, v, w, z = (rand(e, d, d) for _ in range(4))
    slots, one, arms = (np.zeros((b, t, d)) for _ in range(3))
    for n in range(b):
        logit = (x[n] @ phi.reshape(d, -1))
        mixed = (softmax(logit, 0).T @ x[n]).reshape(e, p, d)
        combine = softmax(logit)
        slots[n] = combine @ np.stack([np.maximum(mixed[i] @ u[i], 0) @ v[i] for i in range(e)]).reshape(-1, d)
        kinds = [mixed[0], mixed[1] * (np.arange(p) + 1)[:, None], np.full((p, d), 0.5)]
        arms[n] = combine @ np.stack(kinds).reshape(-1, d)
        score = x[n] @ psi
        mixed = softmax(score, 0).T @ x[n]
        one[n] = softmax(score) @ np.stack([np.tanh(mixed[i] @ w[i]) for i in range(e)])
    score = x @ psi
    mixed = np.einsum("bte,btd->ed", sigmoid(score), x)
    write("route-soft", {
        "in.x": x, "phi": phi, "psi": psi, "u": u, "v": v, "w": w, "z": z, "out.slots": slots, "out.one": one,
        "out.arms": arms, "out.all": np.einsum("bte,ed,edf->btf", score, mixed, z),
    })


if __name__ == "__main__":
    for make in [route_arms, route_queues, route_soft]:
        make()
